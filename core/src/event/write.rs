//! JSON as text: to the byte what `serde_json` writes, with many bytes of a text looked at in one step.

use serde_json::{Map, Value};

/// Writes a value.
pub(crate) fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            // A number can always be written, and to memory at that.
            let _ = serde_json::to_writer(out, number);
        }
        Value::String(text) => self::text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                self::value(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => object(members, out),
    }
}

/// Writes an object.
pub(crate) fn object(members: &Map<String, Value>, out: &mut Vec<u8>) {
    let mut written = Members::begin(out);
    for (name, member) in members {
        value(member, written.member(name));
    }
    written.end();
}

/// Writes a text with its quotes.
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    quoted(text, |piece| out.extend_from_slice(piece.as_bytes()));
}

/// Gives a text with its quotes, piece by piece.
pub(crate) fn quoted(text: &str, mut put: impl FnMut(&str)) {
    /// What the characters before the space are.
    const ESCAPED: [&str; 0x20] = [
        "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t", "\\n",
        "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014",
        "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e",
        "\\u001f",
    ];
    put("\"");
    let mut rest = text;
    loop {
        let (clean, then) = rest.split_at(clean(rest.as_bytes()));
        put(clean);
        let Some(odd) = then.bytes().next() else { break };
        put(match odd {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            _ => ESCAPED.get(usize::from(odd)).copied().unwrap_or_default(),
        });
        rest = &then[1..];
    }
    put("\"");
}

/// Writes a list of texts.
pub(crate) fn list<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, item) in texts.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(item, out);
    }
    out.push(b']');
}

/// Writes a whole number.
pub(crate) fn count(count: u64, out: &mut Vec<u8>) {
    // A number can always be written, and to memory at that.
    let _ = serde_json::to_writer(out, &count);
}

/// How many bytes there are before the first that JSON wants escaped.
pub(crate) fn clean(text: &[u8]) -> usize {
    /// So many are looked at in one step, and so many where there is an odd one among those.
    const BLOCK: usize = 32;
    const WORD: usize = 8;
    // Numbers, for the compiler makes no block of what may end early.
    let odd = |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let passed =
        blocks.iter().take_while(|block| block.iter().fold(0, |any, byte| any | odd(byte)) == 0).count() * BLOCK;
    let (words, rest) = text[passed..].as_chunks::<WORD>();
    for (number, word) in words.iter().enumerate() {
        let found = odd_of(u64::from_le_bytes(*word));
        if found != 0 {
            return passed + number * WORD + found.trailing_zeros() as usize / 8;
        }
    }
    let at = rest.iter().position(|byte| odd(byte) != 0);
    at.map_or(text.len(), |at| text.len() - rest.len() + at)
}

/// The highest bit of the first byte that JSON wants escaped, and perhaps bits of some behind it.
const fn odd_of(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const fn below(word: u64, limit: u64) -> u64 {
        word.wrapping_sub(ONES * limit) & !word & (ONES << 7)
    }
    below(word, 0x20) | below(word ^ (ONES * b'"' as u64), 1) | below(word ^ (ONES * b'\\' as u64), 1)
}

/// An object that is written member by member.
pub(crate) struct Members<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a member's name, and gives where its value is to be written.
    pub(crate) fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        text(name, self.out);
        self.out.push(b':');
        self.out
    }

    /// The same for a name of ours, in which there is nothing to escape.
    pub(crate) fn ours(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.reserve(name.len() + 4);
        self.out.extend_from_slice(if std::mem::replace(&mut self.empty, false) { b"\"" } else { b",\"" });
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn same(written: &Value) {
        let mut out = Vec::new();
        value(written, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), written.to_string());
    }

    #[test]
    fn it_is_what_serde_json_writes() {
        same(
            &json!({"": null, "a\"\n": [true, false, [], {}, [1, -2, 3.5, 1e300, u64::MAX, 0.1, -0.0]], "z": {"y": "x"}}),
        );
    }

    #[test]
    fn whatever_is_odd_is_found_wherever_it_is() {
        let every: String = ('\0'..'\u{180}').collect();
        same(&json!(every));
        for odd in ["\"", "\\", "\n", "\u{1f}", " ", "\u{7f}", "é", "\u{80}"] {
            for before in 0..80 {
                for after in [0, 1, 7, 8, 31, 40] {
                    same(&json!(format!("{}{odd}{}", "x".repeat(before), "!".repeat(after))));
                    same(&json!(format!("{}{odd}{odd}{}", "ä".repeat(before), "\t".repeat(after))));
                }
            }
        }
    }
}
