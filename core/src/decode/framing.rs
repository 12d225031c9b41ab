//! From the pieces that were read to JSON values: content encodings and server-sent events.

use std::cell::Cell;
use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::exchange::Chunk;

/// A body is inflated up to this many bytes; a small body must not be able to fill the memory.
const INFLATED_LIMIT: usize = 256 << 20;

/// Undoes a content encoding piece by piece, so that each piece keeps its time. A body that ends early or is damaged
/// gives what could be read. `None`: an encoding that is not known here.
pub(crate) fn inflate(chunks: &[Chunk], encoding: &str) -> Option<Vec<Chunk>> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some(chunks.to_vec()),
        "gzip" | "x-gzip" => Some(pump(chunks, MultiGzDecoder::new(Vec::new()), MultiGzDecoder::get_mut)),
        "deflate" => {
            // RFC 9110 means zlib; some servers send raw deflate. The first byte tells: zlib begins with 0x78.
            let first = chunks.iter().find_map(|chunk| chunk.bytes.first());
            Some(if first == Some(&0x78) {
                pump(chunks, ZlibDecoder::new(Vec::new()), ZlibDecoder::get_mut)
            } else {
                pump(chunks, DeflateDecoder::new(Vec::new()), DeflateDecoder::get_mut)
            })
        }
        "br" => {
            let source = Pieces::of(chunks);
            Some(drain(&source, brotli_decompressor::Decompressor::new(&source, 4 << 10)))
        }
        "zstd" => {
            let source = Pieces::of(chunks);
            let opened = ruzstd::decoding::StreamingDecoder::new(&source);
            Some(opened.map(|decoder| drain(&source, decoder)).unwrap_or_default())
        }
        _ => None,
    }
}

/// The pieces of a body as one reader that remembers when the piece came that it last gave from.
struct Pieces<'a> {
    chunks: &'a [Chunk],
    /// The piece, and how much of it was given.
    next: Cell<(usize, usize)>,
    at: Cell<Duration>,
}

impl<'a> Pieces<'a> {
    fn of(chunks: &'a [Chunk]) -> Self {
        Self { chunks, next: Cell::new((0, 0)), at: Cell::new(Duration::ZERO) }
    }
}

impl Read for &Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let (piece, given) = self.next.get();
            let Some(chunk) = self.chunks.get(piece) else { return Ok(0) };
            let rest = &chunk.bytes[given..];
            if rest.is_empty() {
                self.next.set((piece + 1, 0));
                continue;
            }
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            self.next.set((piece, given + count));
            self.at.set(chunk.at);
            return Ok(count);
        }
    }
}

/// Reads until the end, a damaged place or the limit.
fn drain(source: &Pieces<'_>, mut decoder: impl Read) -> Vec<Chunk> {
    let mut plain = Vec::new();
    let mut total = 0;
    let mut buffer = vec![0; 16 << 10];
    while total <= INFLATED_LIMIT {
        match decoder.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                total += count;
                plain.push(Chunk { bytes: Bytes::copy_from_slice(&buffer[..count]), at: source.at.get() });
            }
        }
    }
    plain
}

fn pump<D: Write>(chunks: &[Chunk], mut decoder: D, output: impl Fn(&mut D) -> &mut Vec<u8>) -> Vec<Chunk> {
    let mut plain = Vec::with_capacity(chunks.len());
    let mut total = 0;
    for chunk in chunks {
        // In small steps, so that one piece that inflates a thousandfold is stopped in time.
        let mut healthy = true;
        for step in chunk.bytes.chunks(16 << 10) {
            healthy = decoder.write_all(step).is_ok();
            if !healthy || total + output(&mut decoder).len() > INFLATED_LIMIT {
                break;
            }
        }
        // A flush of a decoder gives out what it holds; its failure says no more than that the rest is missing.
        let _ = decoder.flush();
        let bytes = std::mem::take(output(&mut decoder));
        total += bytes.len();
        if !bytes.is_empty() {
            plain.push(Chunk { bytes: Bytes::from(bytes), at: chunk.at });
        }
        if !healthy || total > INFLATED_LIMIT {
            break;
        }
    }
    plain
}

/// All pieces in one.
pub(crate) fn join(chunks: &[Chunk]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [only] => only.bytes.clone(),
        many => {
            let mut all = Vec::with_capacity(many.iter().map(|chunk| chunk.bytes.len()).sum());
            for chunk in many {
                all.extend_from_slice(&chunk.bytes);
            }
            Bytes::from(all)
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The `event` field; empty when there was none.
    pub(crate) name: String,
    /// The `data` lines, joined by newlines.
    pub(crate) data: String,
    /// When its last byte came, on the provider's clock.
    pub(crate) at: Duration,
}

/// Splits a stream of server-sent events as the HTML standard says (LF, CRLF or CR; comments; a byte-order mark), but
/// for an event that the end cuts off: it is given out too, for a reader that finds whole JSON in it.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

impl SseParser {
    /// Reads one piece; events that it completes are appended.
    pub(crate) fn push(&mut self, bytes: &[u8], at: Duration, out: &mut Vec<SseEvent>) {
        let mut rest = bytes;
        if self.after_cr && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
        if !rest.is_empty() || !bytes.is_empty() {
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            self.line.extend_from_slice(&rest[..end]);
            let crlf = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
            self.after_cr = rest[end] == b'\r' && end + 1 == rest.len();
            rest = &rest[end + 1 + usize::from(crlf)..];
            self.end_line(at, out);
        }
        self.line.extend_from_slice(rest);
    }

    /// The stream ended: what is left counts as an event.
    pub(crate) fn finish(&mut self, at: Duration, out: &mut Vec<SseEvent>) {
        if !self.line.is_empty() {
            self.end_line(at, out);
        }
        self.end_event(at, out);
    }

    fn end_line(&mut self, at: Duration, out: &mut Vec<SseEvent>) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event(at, out);
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line, &[][..]),
        };
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            _ => {}
        }
    }

    fn end_event(&mut self, at: Duration, out: &mut Vec<SseEvent>) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            out.push(SseEvent { name, data, at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROTLI: &[u8] = &[
        0x21, 0x54, 0x00, 0x04, 0x64, 0x61, 0x74, 0x61, 0x3a, 0x20, 0x6f, 0x6e, 0x65, 0x0a, 0x0a, 0x64, 0x61, 0x74,
        0x61, 0x3a, 0x20, 0x74, 0x77, 0x6f, 0x0a, 0x0a, 0x03,
    ];
    const ZSTD: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x16, 0xb1, 0x00, 0x00, 0x64, 0x61, 0x74, 0x61, 0x3a, 0x20, 0x6f, 0x6e, 0x65,
        0x0a, 0x0a, 0x64, 0x61, 0x74, 0x61, 0x3a, 0x20, 0x74, 0x77, 0x6f, 0x0a, 0x0a, 0xb3, 0x95, 0x26, 0x3c,
    ];

    fn parse(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece, Duration::ZERO, &mut out);
        }
        parser.finish(Duration::ZERO, &mut out);
        out.into_iter().map(|event| (event.name, event.data)).collect()
    }

    #[test]
    fn every_cut_gives_the_same_events() {
        let stream = "\u{feff}: hello\r\nevent: a\r\ndata: {\"x\":\r\ndata: 1}\r\n\r\ndata:two\n\n\nevent: b\rdata: drei\r\rdata: é";
        let whole = parse(&[stream.as_bytes()]);
        let pair = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        assert_eq!(whole, [pair("a", "{\"x\":\n1}"), pair("", "two"), pair("b", "drei"), pair("", "é")]);
        for cut in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            assert_eq!(parse(&[head, tail]), whole, "cut at {cut}");
            assert_eq!(parse(&[head, b"", tail]), whole, "cut at {cut} with an empty piece");
        }
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn a_damaged_body_gives_what_could_be_read() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let plain: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
        assert!(encoder.write_all(&plain).is_ok());
        let packed = encoder.finish().unwrap_or_default();
        let chunk = |bytes: &[u8]| Chunk { bytes: Bytes::copy_from_slice(bytes), at: Duration::ZERO };
        let whole = inflate(&[chunk(&packed[..100]), chunk(&packed[100..])], "gzip").map(|c| join(&c));
        assert_eq!(whole.as_deref(), Some(&plain[..]));
        let cut = inflate(&[chunk(&packed[..packed.len() / 2])], "gzip").map(|c| join(&c)).unwrap_or_default();
        assert!(!cut.is_empty() && plain.starts_with(&cut));
        assert!(inflate(&[chunk(b"x")], "compress").is_none());
        assert_eq!(inflate(&[chunk(b"x")], "zstd").map(|c| c.len()), Some(0));
        assert_eq!(inflate(&[chunk(b"x")], "br").map(|c| c.len()), Some(0));
    }

    #[test]
    fn brotli_and_zstd_are_opened_piece_by_piece() {
        // `printf 'data: one\n\ndata: two\n\n' | brotli -q 5 | xxd -p` and the same with `zstd`.
        for (encoding, packed) in [("br", BROTLI), ("zstd", ZSTD)] {
            let chunks: Vec<Chunk> = packed
                .iter()
                .enumerate()
                .map(|(n, byte)| Chunk { bytes: Bytes::copy_from_slice(&[*byte]), at: Duration::from_millis(n as u64) })
                .collect();
            let plain = inflate(&chunks, encoding).unwrap_or_default();
            assert_eq!(join(&plain), "data: one\n\ndata: two\n\n", "{encoding}");
            assert!(plain.iter().all(|chunk| chunk.at > Duration::ZERO), "{encoding}");
        }
    }
}
