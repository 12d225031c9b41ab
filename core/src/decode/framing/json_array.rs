//! One JSON list that comes element by element.

use std::time::Duration;

use super::{Frame, Framing};

/// Splits the elements of the outermost list, looking at brackets and strings and nothing else. A document that is no
/// list is one frame.
#[derive(Debug, Default)]
pub(super) struct JsonArray {
    element: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The outermost bracket was seen and it is a list's.
    is_list: Option<bool>,
}

impl JsonArray {
    fn end_element(&mut self, at: Duration, out: &mut Vec<Frame>) {
        let element = std::mem::take(&mut self.element);
        let element = element.trim_ascii();
        if !element.is_empty() {
            out.push(Frame { name: String::new(), data: String::from_utf8_lossy(element).into_owned(), at });
        }
    }
}

impl Framing for JsonArray {
    fn push(&mut self, bytes: &[u8], at: Duration, out: &mut Vec<Frame>) {
        for &byte in bytes {
            if self.is_list.is_none() && !byte.is_ascii_whitespace() {
                self.is_list = Some(byte == b'[');
                if byte == b'[' {
                    continue;
                }
            }
            let list = self.is_list == Some(true);
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b',' | b']' if list && self.depth == 0 => {
                        self.end_element(at, out);
                        continue;
                    }
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if list && self.depth == 0 {
                            // An element is whole with its last bracket, not with the comma that may come much later.
                            self.element.push(byte);
                            self.end_element(at, out);
                            continue;
                        }
                    }
                    _ => {}
                }
            }
            self.element.push(byte);
        }
    }

    fn finish(&mut self, at: Duration, out: &mut Vec<Frame>) {
        self.end_element(at, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> Vec<String> {
        let (mut list, mut out) = (JsonArray::default(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            list.push(piece, Duration::ZERO, &mut out);
        }
        list.finish(Duration::ZERO, &mut out);
        out.into_iter().map(|frame| frame.data).collect()
    }

    #[test]
    fn every_cut_gives_the_same_elements() {
        let text = "[{\"a\": \"],\\\"}\"}\n,\r\n{\"b\": [1, {\"c\": 2}]}, {\"cut\": ";
        for size in 1..=text.len() {
            assert_eq!(split(text, size), ["{\"a\": \"],\\\"}\"}", "{\"b\": [1, {\"c\": 2}]}", "{\"cut\":"]);
        }
        assert_eq!(split(" {\"error\": [1, 2]}", 3), ["{\"error\": [1, 2]}"]);
    }
}
