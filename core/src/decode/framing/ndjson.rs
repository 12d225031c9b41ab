//! JSON values, one a line.

use std::time::Duration;

use super::{Frame, Framing};

/// Splits lines; empty ones are passed over.
#[derive(Debug, Default)]
pub(super) struct Ndjson {
    line: Vec<u8>,
}

impl Ndjson {
    fn end_line(&mut self, at: Duration, out: &mut Vec<Frame>) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        if !line.is_empty() {
            out.push(Frame { name: String::new(), data: String::from_utf8_lossy(line).into_owned(), at });
        }
    }
}

impl Framing for Ndjson {
    fn push(&mut self, bytes: &[u8], at: Duration, out: &mut Vec<Frame>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.end_line(at, out);
        }
        self.line.extend_from_slice(rest);
    }

    fn finish(&mut self, at: Duration, out: &mut Vec<Frame>) {
        self.end_line(at, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_gives_the_same_lines() {
        let text = b"{\"a\":1}\r\n\n{\"b\":\"x\"}\n{\"cut\":";
        for size in 1..=text.len() {
            let (mut lines, mut out) = (Ndjson::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece, Duration::ZERO, &mut out);
            }
            lines.finish(Duration::ZERO, &mut out);
            let data: Vec<&str> = out.iter().map(|frame| frame.data.as_str()).collect();
            assert_eq!(data, ["{\"a\":1}", "{\"b\":\"x\"}", "{\"cut\":"]);
        }
    }
}
