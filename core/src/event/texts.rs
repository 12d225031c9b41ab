//! Every text of an event that may say something about somebody: what `redact` is asked about.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Such as `$ai_input[0].content`.
    pub path: String,
    /// What stands there.
    pub text: String,
}

/// What stands in the place of a text on which `redact` failed.
pub(crate) const WITHHELD: &str = "[withheld]";

/// Ids, the library's own words, and words that choose among few.
const LEFT_ALONE: [&str; 23] = [
    "$ai_trace_id",
    "$ai_session_id",
    "$ai_span_id",
    "$ai_parent_id",
    "$ai_tool_call_id",
    "$session_id",
    "$groups",
    "$lib",
    "$lib_version",
    "$ai_lib",
    "$ai_lib_version",
    "$ai_lib_language",
    "$ai_provider",
    "$ai_model",
    "$ai_model_cost_used",
    "$ai_response_id",
    "$ai_completion_id",
    "$ai_tokens_source",
    "$ai_stream_status",
    "$ai_cost_details",
    "$ai_cost_model_source",
    "$ai_cost_model_provider",
    "$ai_truncated",
];

/// The texts of an event's properties, in an order that is the same each time.
pub(crate) fn of(mut properties: Map<String, Value>) -> Vec<Text> {
    let mut texts = Vec::new();
    each(&mut properties, &mut |path, text| {
        texts.push(Text { path: path.to_owned(), text: std::mem::take(text) });
    });
    texts
}

/// Puts texts in the place of those that [`of`] gave; `None` and what is missing: withheld.
pub(crate) fn replace(properties: &mut Map<String, Value>, by: Vec<Option<String>>) {
    let mut by = by.into_iter();
    each(properties, &mut |_, text| *text = by.next().flatten().unwrap_or_else(|| WITHHELD.to_owned()));
}

fn each(properties: &mut Map<String, Value>, f: &mut impl FnMut(&str, &mut String)) {
    for (name, value) in properties.iter_mut().filter(|(name, _)| !LEFT_ALONE.contains(&name.as_str())) {
        let mut path = name.clone();
        walk(value, &mut path, f);
    }
}

fn walk(value: &mut Value, path: &mut String, f: &mut impl FnMut(&str, &mut String)) {
    let length = path.len();
    match value {
        Value::String(text) if !text.is_empty() => f(path, text),
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                let _ = write!(path, "[{at}]");
                walk(item, path, f);
                path.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if is_word(name, member) {
                    continue;
                }
                path.push('.');
                path.push_str(name);
                walk(member, path, f);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Whether it is one of the wire format's own words (`"role": "user"`, `"type": "input_text"`), without which nobody could
/// read a message.
fn is_word(name: &str, member: &Value) -> bool {
    const LONGEST: usize = 32;
    let plain = |text: &str| {
        (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    matches!(name, "role" | "type") && member.as_str().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_come_with_their_paths_and_go_back_to_where_they_were() {
        let Value::Object(mut properties) = json!({
            "$ai_input": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "Odd one", "n": 1}]}],
            "$ai_error": "b",
            "$ai_trace_id": "left",
            "plan": "",
            "who": {"name": "c"},
        }) else {
            return;
        };
        let found: Vec<_> = of(properties.clone()).into_iter().map(|text| (text.path, text.text)).collect();
        let expected = [
            ("$ai_error", "b"),
            ("$ai_input[0].content[0].text", "a"),
            ("$ai_input[0].content[1].type", "Odd one"),
            ("who.name", "c"),
        ];
        assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        replace(&mut properties, vec![Some("B".into()), None, Some("x".into())]);
        assert_eq!(
            Value::Object(properties),
            json!({
                "$ai_input": [{"role": "user", "content": [{"type": "text", "text": "[withheld]"}, {"type": "x", "n": 1}]}],
                "$ai_error": "B",
                "$ai_trace_id": "left",
                "plan": "",
                "who": {"name": "[withheld]"},
            })
        );
    }
}
