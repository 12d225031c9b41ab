//! Makes an event fit: cuts its longest strings in the middle and names what was cut in `$ai_truncated`.
//!
//! It works on the text of the JSON and not on values, so that everything that is not cut stays as it was to the last
//! byte: a number that is read and written again may change.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;

/// No string is cut below this, however large the event is: what is left should still tell something.
const LEAST: usize = 256;
/// Room for the mark where a string was cut.
const MARK: usize = 48;
const TRUNCATED: &str = "$ai_truncated";

/// The same event in at most `limit` bytes; `None` when its strings cannot give that much.
pub(crate) fn shorten(json: &Bytes, limit: usize) -> Option<Bytes> {
    if json.len() <= limit {
        return Some(json.clone());
    }
    let text = std::str::from_utf8(json).ok()?;
    let layout = scan(text)?;
    let names: usize = layout.strings.iter().map(|string| string.property).collect::<BTreeSet<_>>().len();
    let longest_name = layout.strings.iter().map(|string| string.property.len()).max()?;
    let list = (names * (longest_name + 3) + TRUNCATED.len() + 8).min(json.len() / 2);
    let keep = level(&layout.strings, json.len() + list - limit)?;
    let cut: Vec<&Text<'_>> = layout.strings.iter().filter(|string| string.span.len() > keep + MARK).collect();
    let cut_names: BTreeSet<&str> = cut.iter().map(|string| string.property).collect();
    let cut_names: Vec<String> = cut_names.iter().map(|name| format!("\"{name}\"")).collect();

    let mut out = String::with_capacity(limit);
    let (before, list, after) = match layout.truncated {
        Some(inside) => (inside, cut_names.join(",") + ",", ""),
        None => (layout.inside, format!("\"{TRUNCATED}\":[{}]", cut_names.join(",")), ","),
    };
    let mut from = 0;
    let mut listed = false;
    for string in cut {
        if !listed && before <= string.span.start {
            out.push_str(&text[from..before]);
            out.push_str(&list);
            out.push_str(after);
            from = before;
            listed = true;
        }
        let (head, tail) = halves(&text[string.span.clone()], keep);
        out.push_str(&text[from..string.span.start + head]);
        let _ = write!(out, "...[{} bytes cut]...", tail - head);
        from = string.span.start + tail;
    }
    if !listed {
        out.push_str(&text[from..before]);
        out.push_str(&list);
        out.push_str(after);
        from = before;
    }
    out.push_str(&text[from..]);
    (out.len() <= limit).then(|| Bytes::from(out))
}

/// A string value, without its quotes, and the name of the property that it is in.
struct Text<'a> {
    property: &'a str,
    span: Range<usize>,
}

struct Layout<'a> {
    strings: Vec<Text<'a>>,
    /// Right after the `{` of the properties.
    inside: usize,
    /// Right after the `[` of a list of what was cut before.
    truncated: Option<usize>,
}

/// Finds the strings of the properties. `None` when the text is not an event with properties.
fn scan(text: &str) -> Option<Layout<'_>> {
    let bytes = text.as_bytes();
    let mut layout = Layout { strings: Vec::new(), inside: 0, truncated: None };
    let mut open: Vec<u8> = Vec::new();
    let (mut member, mut property) = ("", "");
    let mut key_next = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let start = at + 1;
                let end = string_end(bytes, start)?;
                if key_next {
                    match open.len() {
                        1 => member = &text[start..end],
                        2 => property = &text[start..end],
                        _ => {}
                    }
                } else if member == "properties" && open.len() > 1 && property != TRUNCATED {
                    layout.strings.push(Text { property, span: start..end });
                }
                at = end;
            }
            opening @ (b'{' | b'[') => {
                open.push(opening);
                key_next = opening == b'{';
                if member == "properties" && opening == b'{' && open.len() == 2 {
                    layout.inside = at + 1;
                } else if member == "properties" && opening == b'[' && open.len() == 3 && property == TRUNCATED {
                    layout.truncated = Some(at + 1);
                }
            }
            b'}' | b']' => {
                open.pop();
            }
            b',' => key_next = open.last() == Some(&b'{'),
            b':' => key_next = false,
            _ => {}
        }
        at += 1;
    }
    (layout.inside > 0 && bytes.get(layout.inside) != Some(&b'}')).then_some(layout)
}

fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The length to which every longer string is cut so that together they give `needed` bytes.
fn level(strings: &[Text<'_>], needed: usize) -> Option<usize> {
    let mut lengths: Vec<usize> = strings.iter().map(|string| string.span.len()).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let mut sum = 0;
    for (index, length) in lengths.iter().enumerate() {
        sum += length;
        let count = index + 1;
        let next = lengths.get(count).copied().unwrap_or(0);
        // Cutting these `count` strings to one length; each also gets a mark, and may be cut at a character's border.
        let Some(keep) = sum.checked_sub(needed + count * (MARK + 16)).map(|left| left / count) else { continue };
        if keep >= next.saturating_sub(MARK) || count == lengths.len() {
            return (keep >= LEAST).then_some(keep);
        }
    }
    None
}

/// Where the head ends and the tail begins, so that together they have about `keep` bytes and nothing is cut through:
/// neither a character nor an escape nor a pair of surrogates.
fn halves(raw: &str, keep: usize) -> (usize, usize) {
    let bytes = raw.as_bytes();
    let (mut at, mut head) = (0, 0);
    while at < bytes.len() && at < bytes.len() - keep / 2 {
        if at <= keep / 2 {
            head = at;
        }
        at += match bytes[at] {
            b'\\' if bytes.get(at + 1) == Some(&b'u') => {
                let high =
                    matches!(bytes.get(at + 2..at + 4), Some([b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B']));
                if high && bytes.get(at + 6..at + 8) == Some(br"\u") { 12 } else { 6 }
            }
            b'\\' | 0x80..=0xdf => 2,
            0..=0x7f => 1,
            0xe0..=0xef => 3,
            0xf0.. => 4,
        };
    }
    (head, at.min(bytes.len()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(properties: &Value) -> Bytes {
        let event = json!({"event": "$ai_generation", "distinct_id": "d".repeat(300), "uuid": "u", "timestamp": "t",
            "properties": properties});
        Bytes::from(event.to_string())
    }

    fn shortened(properties: &Value, limit: usize) -> Value {
        let json = shorten(&event(properties), limit).unwrap();
        assert!(json.len() <= limit, "{} > {limit}", json.len());
        serde_json::from_slice(&json).unwrap()
    }

    #[test]
    fn the_longest_strings_give_way_and_are_named() {
        let properties = json!({"$ai_input": [{"role": "user", "content": "a".repeat(50_000)}],
            "$ai_model": "gpt", "$ai_output_choices": [{"content": "b".repeat(5_000)}], "$ai_total_cost_usd": 0.1,
            "z": "c".repeat(40_000)});
        let out = shortened(&properties, 20_000);
        assert_eq!(out["properties"]["$ai_truncated"], json!(["$ai_input", "z"]));
        assert_eq!(out["properties"]["$ai_output_choices"], properties["$ai_output_choices"]);
        assert_eq!(out["distinct_id"].as_str().unwrap().len(), 300);
        let content = out["properties"]["$ai_input"][0]["content"].as_str().unwrap();
        assert!(content.starts_with("aaa") && content.ends_with("aaa") && content.contains(" bytes cut]"), "{content}");
    }

    #[test]
    fn what_was_cut_before_stays_named() {
        let properties = json!({"$ai_truncated": ["a"], "$before": "x".repeat(3000), "z": "y".repeat(9000)});
        let out = shortened(&properties, 4000);
        assert_eq!(out["properties"]["$ai_truncated"], json!(["$before", "z", "a"]));
    }

    #[test]
    fn numbers_stay_to_the_last_digit() {
        let text = format!(
            r#"{{"event":"e","properties":{{"n":0.30000000000000004,"m":12345678901234567890123,"s":"{}"}}}}"#,
            "x".repeat(5000)
        );
        let out = shorten(&Bytes::from(text), 1000).unwrap();
        let out = std::str::from_utf8(&out).unwrap();
        assert!(out.contains(r#""n":0.30000000000000004,"m":12345678901234567890123,"#), "{out}");
    }

    #[test]
    fn an_event_without_long_strings_cannot_be_shortened() {
        let numbers: Vec<u32> = (0..5000).collect();
        assert_eq!(shorten(&event(&json!({ "n": numbers })), 1000), None);
        assert_eq!(shorten(&event(&json!({})), 10), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_strings_the_result_is_json_and_fits(
            strings in proptest::collection::vec("(\\PC|[\u{0}-\u{1f}\"\\\\]|😀){0,2000}", 1..6),
            limit in 1500usize..6000,
        ) {
            let mut properties: serde_json::Map<_, _> =
                strings.iter().enumerate().map(|(i, s)| (format!("p{i}"), json!([s]))).collect();
            properties.insert("n".to_owned(), json!(1.5));
            let event = event(&Value::Object(properties));
            // Also as an encoder would write it that escapes all but ASCII.
            let ascii: String = std::str::from_utf8(&event).unwrap().encode_utf16().map(|unit| match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
                _ => format!("\\u{unit:04x}"),
            }).collect();
            for event in [event, Bytes::from(ascii)] {
                if let Some(short) = shorten(&event, limit) {
                    proptest::prop_assert!(short.len() <= limit);
                    let value: Value = serde_json::from_slice(&short).unwrap();
                    proptest::prop_assert_eq!(&value["properties"]["n"], &json!(1.5));
                } else {
                    proptest::prop_assert!(event.len() > limit);
                }
            }
        }
    }
}
