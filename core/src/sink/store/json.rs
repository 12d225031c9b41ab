//! Finding the members of JSON text without building it: what is cut out goes back in byte by byte.

use std::ops::Range;

/// A member of an object: its name (without quotes, escapes as they are) and where its value is.
pub(super) struct Member<'a> {
    pub name: &'a str,
    pub value: Range<usize>,
}

/// The members of the object that `text` is; positions count from the start of `text`. `None` when it is no object.
pub(super) fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let mut found = Vec::new();
    scan.expect(b'{')?;
    if scan.next_is(b'}') {
        return scan.is_end().then_some(found);
    }
    loop {
        let name = scan.value()?;
        let name = text.get(name)?.strip_prefix('"')?.strip_suffix('"')?;
        scan.expect(b':')?;
        found.push(Member { name, value: scan.value()? });
        if !scan.next_is(b',') {
            scan.expect(b'}')?;
            return scan.is_end().then_some(found);
        }
    }
}

/// Where the items of a list are, if `text` is a list of at least one object and nothing else, and has no blanks
/// between its items: only then can it be put together again from them.
pub(super) fn objects(text: &str) -> Option<Vec<Range<usize>>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let mut found = Vec::new();
    scan.byte(b'[')?;
    loop {
        if scan.peek()? != b'{' {
            return None;
        }
        found.push(scan.value()?);
        if scan.byte(b',').is_none() {
            scan.byte(b']')?;
            return (scan.at == text.len()).then_some(found);
        }
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        self.byte(byte)
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.expect(byte).is_some()
    }

    fn is_end(&mut self) -> bool {
        self.blanks();
        self.at == self.bytes.len()
    }

    /// The extent of the value that begins here. It is taken to be valid: brackets are counted, not matched.
    fn value(&mut self) -> Option<Range<usize>> {
        self.blanks();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth == 0 => return None,
                _ if depth == 0 => {
                    let rest = &self.bytes[self.at..];
                    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
                _ => self.at += 1,
            }
            if depth == 0 {
                return Some(start..self.at);
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let stop = memchr::memchr2(b'"', b'\\', rest)?;
            self.at += stop + 1;
            if rest[stop] == b'"' {
                return Some(());
            }
            // What a backslash stands before is never the end, whatever it is.
            self.at += 1;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_where_they_are() {
        let text = r#" {"a" : [1,{"x":"]}"}], "b\"c":-1.5e3,"d":"\\","e":{} } "#;
        let found = members(text).unwrap();
        let pairs: Vec<_> = found.iter().map(|m| (m.name, &text[m.value.clone()])).collect();
        assert_eq!(pairs, [("a", r#"[1,{"x":"]}"}]"#), (r#"b\"c"#, "-1.5e3"), ("d", r#""\\""#), ("e", "{}")]);
        assert_eq!(members("{}").unwrap().len(), 0);
        for text in ["", "[]", "{", "{\"a\":}", "{\"a\":1", "{\"a\":1}x", "{\"a\":\"\\", "null"] {
            assert!(members(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_a_tight_list_of_objects_is_taken_apart() {
        let text = r#"[{"a":"},{"},{}]"#;
        assert_eq!(objects(text).unwrap(), [1..12, 13..15]);
        for text in ["[]", "[1]", "[{},1]", "[{}, {}]", "[ {}]", "{}", "[{}", "[{}]]"] {
            assert!(objects(text).is_none(), "{text}");
        }
    }
}
