//! Values as the Node package packs them on the caller's thread: neither is a character looked at there for JSON's sake, nor
//! is a text made that JavaScript would have to collect.
//!
//! A value is a letter and what belongs to it: `n`, `t` and `f`; `i` and a whole number; `#` and any other, as a text that is
//! JSON; `"` and a text; `[`, how many, and the values; `{`, how many, and for each a name as a text and the value. A text is
//! its length in bytes and UTF-8; a length is one byte, or 255 and four. All else that counts is four bytes, the lowest first.

use serde_json::{Map, Number, Value};

/// Deeper than this it is not read: the package packs nothing that is as deep.
const DEEPEST: usize = 128;

/// The members of an object. `None`: it is not packed as it should be.
pub(crate) fn object(packed: &[u8]) -> Option<Map<String, Value>> {
    match value(packed)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// A value, with nothing behind it.
pub(crate) fn value(packed: &[u8]) -> Option<Value> {
    let mut rest = packed;
    let value = take(&mut rest, 0)?;
    rest.is_empty().then_some(value)
}

/// The names of an object's members and their values as they are packed. Ends early where it is not packed as it should be.
pub(crate) fn members(packed: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = packed;
    let count = if byte(&mut rest) == Some(b'{') { count(&mut rest).unwrap_or_default() } else { 0 };
    (0..count).map_while(move |_| {
        let name = text(&mut rest)?;
        let value = rest;
        skip(&mut rest, 0)?;
        Some((name, &value[..value.len() - rest.len()]))
    })
}

fn take(rest: &mut &[u8], depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    Some(match byte(rest)? {
        b'n' => Value::Null,
        b't' => true.into(),
        b'f' => false.into(),
        b'i' => count(rest)?.cast_signed().into(),
        b'#' => serde_json::from_slice::<Number>(text(rest)?).ok()?.into(),
        b'"' => owned(text(rest)?).into(),
        b'[' => Value::Array((0..count(rest)?).map(|_| take(rest, depth + 1)).collect::<Option<_>>()?),
        b'{' => {
            let count = count(rest)?;
            let member = |_| Some((owned(text(rest)?), take(rest, depth + 1)?));
            Value::Object((0..count).map(member).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn skip(rest: &mut &[u8], depth: usize) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    match byte(rest)? {
        b'n' | b't' | b'f' => {}
        b'i' => _ = count(rest)?,
        b'#' | b'"' => _ = text(rest)?,
        b'[' => (0..count(rest)?).try_for_each(|_| skip(rest, depth + 1))?,
        b'{' => (0..count(rest)?).try_for_each(|_| text(rest).and_then(|_| skip(rest, depth + 1)))?,
        _ => return None,
    }
    Some(())
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, then) = rest.split_first()?;
    *rest = then;
    Some(*first)
}

fn count(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, then) = rest.split_first_chunk()?;
    *rest = then;
    Some(u32::from_le_bytes(*bytes))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match byte(rest)? {
        u8::MAX => count(rest)? as usize,
        short => short.into(),
    };
    let (text, then) = rest.split_at_checked(length)?;
    *rest = then;
    Some(text)
}

fn owned(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    fn text(text: &str, out: &mut Vec<u8>) {
        match u8::try_from(text.len()) {
            Ok(short) if short < u8::MAX => out.push(short),
            _ => {
                out.push(u8::MAX);
                out.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            }
        }
        out.extend(text.as_bytes());
    }

    fn count(count: usize, out: &mut Vec<u8>) {
        out.extend(u32::try_from(count).unwrap().to_le_bytes());
    }

    fn whole(number: &Number) -> Option<i32> {
        i32::try_from(number.as_i64()?).ok()
    }

    pub(crate) fn pack(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => out.push(b'n'),
            Value::Bool(it) => out.push(if *it { b't' } else { b'f' }),
            Value::Number(number) if whole(number).is_some() => {
                out.push(b'i');
                out.extend(whole(number).unwrap().to_le_bytes());
            }
            Value::Number(number) => {
                out.push(b'#');
                text(&number.to_string(), out);
            }
            Value::String(string) => {
                out.push(b'"');
                text(string, out);
            }
            Value::Array(items) => {
                out.push(b'[');
                count(items.len(), out);
                for item in items {
                    pack(item, out);
                }
            }
            Value::Object(members) => {
                out.push(b'{');
                count(members.len(), out);
                for (name, member) in members {
                    text(name, out);
                    pack(member, out);
                }
            }
        }
    }

    fn packed(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        pack(value, &mut out);
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_package() {
        // As `pack.test.ts` has it.
        let bytes = b"{\x02\0\0\0\x01a\"\x02\xc3\xbc\x01n[\x04\0\0\0#\x04-0.5i\xfe\xff\xff\xfftn";
        assert_eq!(value(bytes), Some(json!({"a": "ü", "n": [-0.5, -2, true, null]})));
    }

    #[test]
    fn what_was_packed_is_read_as_it_was() {
        let long = "é".repeat(200);
        for given in [
            json!(null),
            json!([true, false, 0, -7, 1.5, 1e300, u64::MAX, "", "\0\"\\", long, {}, []]),
            json!({"": {"a": [[[]]]}, (long.clone()): long}),
        ] {
            assert_eq!(value(&packed(&given)), Some(given));
        }
        assert_eq!(value(b"#\x0421e3"), Some(json!(21e3)));
        assert_eq!(value(b"\"\x02a\xff"), Some(json!("a\u{fffd}")));
    }

    #[test]
    fn members_are_found_without_reading_them() {
        let given = json!({"a": [{"b": 1}, "x"], "c": null, "d": 2});
        let bytes = packed(&given);
        let found: Vec<_> = members(&bytes).map(|(name, member)| (name, value(member).unwrap())).collect();
        assert_eq!(found, [(&b"a"[..], json!([{"b": 1}, "x"])), (b"c", json!(null)), (b"d", json!(2))]);
        assert_eq!(members(b"[\0\0\0\0").count(), 0);
    }

    #[test]
    fn what_is_no_packed_value_is_none() {
        let whole = packed(&json!({"a": ["text", 1, true], "b": {"c": "x".repeat(300)}}));
        for end in 0..whole.len() {
            assert_eq!(value(&whole[..end]), None);
            assert!(members(&whole[..end]).count() <= 2);
        }
        let deep = b"[\x01\0\0\0".repeat(100_000);
        for odd in [&b"x"[..], b"nn", b"i\0\0\0", b"#\x01x", b"#\0", b"[\xff\xff\xff\xffn", &deep] {
            assert_eq!(value(odd), None);
            assert_eq!(
                members(&[b"{\x01\0\0\0\x01a", odd].concat()).count(),
                usize::from(odd == b"nn" || odd[0] == b'#')
            );
        }
        assert_eq!(object(b"n"), None);
    }
}
