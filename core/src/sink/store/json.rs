//! Finding the members of JSON text without building it: what is cut out goes back in byte by byte.

use std::ops::Range;

/// A member of an object: its name (without quotes, escapes as they are) and where its value is.
pub(super) struct Member<'a> {
    pub name: &'a str,
    pub value: Range<usize>,
}

/// A member, and where its items are if it is a list whose items are asked for.
pub(super) type Listed<'a> = (Member<'a>, Option<Vec<Range<usize>>>);

/// The members of the object that `text` is; positions count from the start of `text`. `None` when it is no object.
pub(super) fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut scan = Scan::of(text);
    let mut found = Vec::with_capacity(MANY);
    scan.object(|scan, name| {
        found.push(Member { name, value: scan.value()? });
        Some(())
    })?;
    scan.is_end().then_some(found)
}

/// An event: its members, but for its one `properties`, and the members of that.
pub(super) struct Event<'a> {
    pub members: Vec<Member<'a>>,
    pub properties: Vec<Listed<'a>>,
}

/// The members of an event, and of those properties with these names where their items are, if they can be put together
/// again from them. In one pass over a text most of which is messages.
pub(super) fn event<'a>(text: &'a str, lists: &[&str]) -> Option<Event<'a>> {
    let mut scan = Scan::of(text);
    let mut top = Vec::with_capacity(8);
    let mut found = None;
    scan.object(|scan, name| {
        if name != "properties" {
            top.push(Member { name, value: scan.value()? });
            return Some(());
        }
        let mut members = Vec::with_capacity(MANY);
        scan.object(|scan, name| {
            scan.blanks();
            let start = scan.at;
            let items = if lists.contains(&name) { scan.objects() } else { None };
            if items.is_none() {
                scan.at = start;
                scan.value()?;
            }
            members.push((Member { name, value: start..scan.at }, items));
            Some(())
        })?;
        // Of two nobody can say which it is.
        found.replace(members).is_none().then_some(())
    })?;
    let properties = found.filter(|_| scan.is_end())?;
    Some(Event { members: top, properties })
}

/// Room for the members of most events.
const MANY: usize = 48;

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    /// Goes through the members of the object that begins here; `value` goes over the value of each.
    fn object(&mut self, mut value: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.next_is(b'}') {
            return Some(());
        }
        loop {
            let name = self.value()?;
            let name = self.text.get(name)?.strip_prefix('"')?.strip_suffix('"')?;
            self.expect(b':')?;
            value(self, name)?;
            if !self.next_is(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Where the items of the list are that begins here, if it is one of at least one object and of nothing else, and has
    /// no blanks between its items: only then can it be put together again from them.
    fn objects(&mut self) -> Option<Vec<Range<usize>>> {
        let mut found = Vec::new();
        self.byte(b'[')?;
        loop {
            if self.peek()? != b'{' {
                return None;
            }
            found.push(self.value()?);
            if self.byte(b',').is_none() {
                return self.byte(b']').map(|()| found);
            }
        }
    }

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
        assert_eq!(Scan::of(text).objects().unwrap(), [1..12, 13..15]);
        for text in ["[]", "[1]", "[{},1]", "[{}, {}]", "[ {}]", "{}", "[{}"] {
            assert!(Scan::of(text).objects().is_none(), "{text}");
        }
    }

    #[test]
    fn the_members_of_an_event_and_of_its_properties_are_where_they_are() {
        let text = r#"{"event":"e","properties":{"n":[{}], "a" : [{"x":1},{}],"b":[{}, {}]},"uuid":"{"}"#;
        let found = event(text, &["a", "b"]).unwrap();
        let top: Vec<_> = found.members.iter().map(|m| (m.name, &text[m.value.clone()])).collect();
        assert_eq!(top, [("event", "\"e\""), ("uuid", "\"{\"")]);
        let shown: Vec<_> = found
            .properties
            .iter()
            .map(|(member, items)| {
                let items =
                    items.as_ref().map(|items| items.iter().map(|item| &text[item.clone()]).collect::<Vec<_>>());
                (member.name, &text[member.value.clone()], items)
            })
            .collect();
        let a = Some(vec![r#"{"x":1}"#, "{}"]);
        assert_eq!(shown, [("n", "[{}]", None), ("a", r#"[{"x":1},{}]"#, a), ("b", "[{}, {}]", None)]);
        for text in [
            "{}",
            r#"{"event":{"properties":{}}}"#,
            r#"{"properties":[]}"#,
            r#"{"properties":{},"properties":{}}"#,
            r#"{"properties":{"a":[{}]]}"#,
            r#"{"properties":{}}x"#,
        ] {
            assert!(event(text, &["a"]).is_none(), "{text}");
        }
    }
}
