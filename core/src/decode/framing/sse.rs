//! Server-sent events.

use std::time::Duration;

use super::{Frame, Framing};

/// Splits a stream of server-sent events as the HTML standard says (LF, CRLF or CR; comments; a byte-order mark), but
/// for an event that the end cuts off: it is given out too, for a reader that finds whole JSON in it.
#[derive(Debug, Default)]
pub(super) struct Sse {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    after_cr: bool,
    begun: bool,
    /// Lines of a JSON object that stand among the events without `data:`; `None`: they are passed over, as the
    /// standard says.
    bare: Option<String>,
}

impl Framing for Sse {
    fn push(&mut self, bytes: &[u8], at: Duration, out: &mut Vec<Frame>) {
        let mut rest = bytes;
        if self.after_cr && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
        if !rest.is_empty() || !bytes.is_empty() {
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            let line = &rest[..end];
            let crlf = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
            self.after_cr = rest[end] == b'\r' && end + 1 == rest.len();
            rest = &rest[end + 1 + usize::from(crlf)..];
            if self.line.is_empty() {
                self.end_line(line, at, out);
            } else {
                self.line.extend_from_slice(line);
                self.end_begun_line(at, out);
            }
        }
        self.line.extend_from_slice(rest);
    }

    fn finish(&mut self, at: Duration, out: &mut Vec<Frame>) {
        if !self.line.is_empty() {
            self.end_begun_line(at, out);
        }
        self.end_event(at, out);
    }
}

impl Sse {
    /// Gives out such objects too: Google breaks off streams with one.
    pub(super) fn with_bare_json() -> Self {
        Self { bare: Some(String::new()), ..Self::default() }
    }

    /// A line that came in pieces is whole.
    fn end_begun_line(&mut self, at: Duration, out: &mut Vec<Frame>) {
        let mut line = std::mem::take(&mut self.line);
        self.end_line(&line, at, out);
        line.clear();
        self.line = line;
    }

    fn end_line(&mut self, mut line: &[u8], at: Duration, out: &mut Vec<Frame>) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event(at, out);
            return;
        }
        if let Some(bare) = &mut self.bare
            && (!bare.is_empty() || line.starts_with(b"{"))
        {
            append(bare, line);
            bare.push('\n');
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
                append(&mut self.data, value);
            }
            _ => {}
        }
    }

    fn end_event(&mut self, at: Duration, out: &mut Vec<Frame>) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            out.push(Frame { name, data, at });
        }
        if let Some(bare) = self.bare.as_mut().filter(|bare| !bare.is_empty()) {
            out.push(Frame { name: String::new(), data: std::mem::take(bare), at });
        }
    }
}

fn append(text: &mut String, bytes: &[u8]) {
    // What is text is checked for it many bytes at a time.
    match std::str::from_utf8(bytes) {
        Ok(more) => text.push_str(more),
        Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Sse::default();
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
}
