//! Content encodings, undone piece by piece.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::exchange::Chunk;

/// A body is inflated up to this many bytes; a small body must not be able to fill the memory.
const INFLATED_LIMIT: usize = 64 << 20;

/// Undoes a content encoding piece by piece, so that each piece keeps its time. A body that ends early or is damaged
/// gives what could be read. `None`: an encoding that is not known here.
pub(crate) fn inflate<'a>(chunks: &'a [Chunk], encoding: &str) -> Option<Cow<'a, [Chunk]>> {
    let opened = match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => return Some(chunks.into()),
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
    };
    opened.map(Cow::Owned)
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
