//! Small readers of JSON that take what is there and never mind what is not.

use serde_json::{Map, Value};

/// JSON text as the readers of Python and JavaScript take it. Half of a surrogate pair, which a text that was cut in the
/// middle of an emoji ends with, is U+FFFD, and what Python writes for a number that is none is null: neither must hide
/// all else that was said.
pub(crate) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| serde_json::from_str(&mended(text)?).ok())
}

/// The text with what [`parse`] says in place of what is no JSON; `None` when there is no such thing in it.
fn mended(text: &str) -> Option<String> {
    const NO_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let (mut at, mut copied, mut quoted) = (0, 0, false);
    while let Some(byte) = text.as_bytes().get(at) {
        let (length, instead) = match byte {
            b'"' => {
                quoted = !quoted;
                (1, None)
            }
            b'\\' if quoted => match unit(at) {
                Some(0xd800..0xdc00) if matches!(unit(at + 6), Some(0xdc00..0xe000)) => (12, None),
                Some(0xd800..0xe000) => (6, Some("\\ufffd")),
                _ => (2, None),
            },
            b'N' | b'I' | b'-' if !quoted => match NO_NUMBERS.iter().find(|word| text[at..].starts_with(*word)) {
                Some(word) => (word.len(), Some("null")),
                None => (1, None),
            },
            _ => (1, None),
        };
        if let Some(instead) = instead {
            out.push_str(&text[copied..at]);
            out.push_str(instead);
            copied = at + length;
        }
        at += length;
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// A count of tokens: a whole number of zero or more, also when it was written as `12.0`.
pub(crate) fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        Some(number as u64)
    })
}

/// A string that is not empty.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Neither null nor an empty list.
pub(crate) fn is_something(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
}

/// The members of an allow-list that are there and not null, copied.
pub(crate) fn pick(from: &Value, names: &[&str]) -> Map<String, Value> {
    // By the members, for a body has few of them and a list has many names.
    let members = from.as_object().into_iter().flatten();
    let picked = members.filter(|(name, value)| !value.is_null() && names.contains(&name.as_str()));
    picked.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Puts `later` over `into`, member by member; null never erases, and numbers of earlier members stay.
pub(crate) fn merge(into: &mut Value, later: &Value) {
    match (into, later) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(later)) => {
            for (name, value) in later {
                match into.get_mut(name) {
                    Some(old) => merge(old, value),
                    None => {
                        into.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (into, later) => *into = later.clone(),
    }
}

/// Puts a copy of a member in. In a stream it is mostly there already, and the same.
pub(crate) fn keep(object: &mut Map<String, Value>, name: &str, value: &Value) {
    match object.get_mut(name) {
        Some(old) if old == value => {}
        Some(old) => *old = value.clone(),
        None => {
            object.insert(name.to_owned(), value.clone());
        }
    }
}

/// Appends a piece of text to a member that may not be there yet.
pub(crate) fn append(object: &mut Map<String, Value>, name: &str, piece: &str) {
    match object.get_mut(name) {
        Some(Value::String(text)) => text.push_str(piece),
        _ => {
            object.insert(name.to_owned(), Value::String(piece.to_owned()));
        }
    }
}

/// Objects by a provider's index.
pub(crate) type Slots = Vec<(u64, Map<String, Value>)>;

/// A list's slot by a provider's index, made when it is not there. Indices come from outside, so they are looked up
/// rather than trusted: a stream that says index 4,000,000,000 costs one slot. Slots are in the order of their indices.
pub(crate) fn slot(slots: &mut Slots, index: u64) -> &mut Map<String, Value> {
    let at = slots.binary_search_by_key(&index, |(here, _)| *here).unwrap_or_else(|at| {
        slots.insert(at, (index, Map::new()));
        at
    });
    &mut slots[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_other_readers_take_is_read() {
        for (text, value) in [
            (r#"{"a": "x\ud83d", "b": 1}"#, json!({"a": "x\u{fffd}", "b": 1})),
            (r#""\ude00y\uD83D\uDE00\ud83d\ud83d\ude00""#, json!("\u{fffd}y\u{1f600}\u{fffd}\u{1f600}")),
            (
                r#"["\\ud83d", "\"NaN", NaN, -Infinity, Infinity, -1, "é\ud800"]"#,
                json!(["\\ud83d", "\"NaN", null, null, null, -1, "é\u{fffd}"]),
            ),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in ["", "{", "nan", r#""\ud83d"#, r#"{"a": "\ud8"}"#, "NaNé", "\\", "\"\\"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
