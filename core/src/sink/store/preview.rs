//! A call's first input and last output in a few words, so that lists need not look at messages.

use std::borrow::Cow;

use serde_json::Value;

use super::body::{INPUT, OUTPUT, Piece};
use super::fields::Fields;

/// Characters of a preview.
const LENGTH: usize = 80;

/// From where an event's preview is.
#[derive(Debug, PartialEq)]
pub(super) enum From<'a> {
    /// The item at this place of a list.
    Item(usize),
    /// A value of the event that is kept as content.
    Content(&'a str),
    /// These are the words.
    Words(String),
    Nothing,
}

/// Of what lists show a few words: of the last message by the user, or a span's input.
pub(super) fn input<'a>(fields: &Fields<'_>, pieces: &[Piece<'a>]) -> From<'a> {
    let items = || pieces.iter().filter(|piece| piece.property == INPUT && piece.is_item());
    let asked = items().rev().find(|piece| is_user(piece.json)).or_else(|| items().next_back());
    match asked {
        Some(piece) => From::Item(usize::try_from(piece.position).unwrap_or(0)),
        None => value(&[(INPUT, fields.input), ("$ai_input_state", fields.input_state)], pieces),
    }
}

/// Likewise: of the first answer, or a span's output.
pub(super) fn output<'a>(fields: &Fields<'_>, pieces: &[Piece<'a>]) -> From<'a> {
    if pieces.iter().any(|piece| piece.property == OUTPUT && piece.is_item()) {
        return From::Item(0);
    }
    value(&[(OUTPUT, fields.output), ("$ai_output_state", fields.output_state)], pieces)
}

fn value<'a>(names: &[(&str, Option<&str>)], pieces: &[Piece<'a>]) -> From<'a> {
    for (name, json) in names {
        if let Some(piece) = pieces.iter().find(|piece| piece.property == *name && !piece.is_item()) {
            return From::Content(piece.json);
        }
        if let Some(words) = json.filter(|json| !matches!(*json, "null" | "[]")).and_then(of) {
            return From::Words(words);
        }
    }
    From::Nothing
}

/// The names of the tools that answers call, each once, separated by commas.
pub(super) fn tools_called(pieces: &[Piece<'_>]) -> Option<String> {
    let mut tools = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.property == OUTPUT && piece.is_item()) {
        // Most answers call none, and need not be read.
        if ["tool", "function", "custom"].iter().any(|word| piece.json.contains(word))
            && let Ok(message) = serde_json::from_str(piece.json)
        {
            tools_of(&message, &mut tools);
        }
    }
    (!tools.is_empty()).then(|| tools.join(","))
}

/// The beginning of what a message, or any value, says; `None` when it says nothing.
pub(super) fn of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok().as_ref().and_then(short)
}

/// How calls of tools are shown where an answer says nothing else.
pub(super) fn calls(tools: &str) -> String {
    cut(&format!("→ {}", tools.replace(',', ", ")))
}

/// Without reading all of a message that may be long: wire formats have the role first or last.
fn is_user(json: &str) -> bool {
    const AWAY: usize = 40;
    let near = |text: &str| text.contains("\"role\":\"user\"");
    let mut head = json.len().min(AWAY);
    let mut tail = json.len().saturating_sub(AWAY);
    while !json.is_char_boundary(head) {
        head += 1;
    }
    while !json.is_char_boundary(tail) {
        tail -= 1;
    }
    near(&json[..head]) || near(&json[tail..])
}

fn tools_of(message: &Value, tools: &mut Vec<String>) {
    let parts = message.get("content").and_then(Value::as_array).into_iter().flatten();
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    for part in parts.chain(calls) {
        let name = match part.get("type").and_then(Value::as_str) {
            Some("function") => part.get("function").and_then(|function| function.get("name")),
            Some("custom") => part.get("custom").and_then(|custom| custom.get("name")),
            Some("tool_use" | "function_call" | "custom_tool_call") => part.get("name"),
            _ => None,
        };
        let Some(name) = name.and_then(Value::as_str) else { continue };
        if !tools.iter().any(|known| known == name) {
            tools.push(name.replace(',', " "));
        }
    }
}

/// The beginning of what a message, or any value, says; `None` when it says nothing.
fn short(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Object(message) if message.contains_key("role") => text_of(message.get("content")?)?,
        Value::Null => return None,
        Value::Array(items) => match items.first() {
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(Value::Object(message)) if message.contains_key("role") => text_of(message.get("content")?)?,
            Some(_) => Cow::Owned(value.to_string()),
            None => return None,
        },
        other => Cow::Owned(other.to_string()),
    };
    let text = cut(&text);
    (!text.is_empty()).then_some(text)
}

fn text_of(content: &Value) -> Option<Cow<'_, str>> {
    match content {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Array(parts) => {
            let text = |part: &Value| match part.get("type").and_then(Value::as_str) {
                Some("text" | "input_text" | "output_text") | None => {
                    part.get("text").and_then(Value::as_str).map(str::to_owned)
                }
                Some("refusal") => part.get("refusal").and_then(Value::as_str).map(str::to_owned),
                Some("tool_result") => part.get("content").and_then(text_of).map(Cow::into_owned),
                Some("function" | "custom" | "tool_use" | "function_call" | "thinking" | "redacted_thinking") => None,
                Some(other) => Some(format!("[{other}]")),
            };
            let texts: Vec<String> = parts.iter().filter_map(text).collect();
            (!texts.is_empty()).then(|| Cow::Owned(texts.join(" ")))
        }
        _ => None,
    }
}

/// One line of at most [`LENGTH`] characters.
fn cut(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let gap = (length > 0).then_some(' ');
        for c in gap.into_iter().chain(word.chars()) {
            if length == LENGTH {
                out.push('…');
                return out;
            }
            out.push(c);
            length += 1;
        }
    }
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_few_words_of_each() {
        let both = |text: &str| {
            let fields = Fields::of(text);
            (input(&fields, &[]), output(&fields, &[]))
        };
        let words = |text: &str| From::Words(text.to_owned());
        assert_eq!(
            both(r#"{"properties":{"$ai_input":"a  b\nc","$ai_output_state":{"x":1}}}"#),
            (words("a b c"), words("{\"x\":1}"))
        );
        assert_eq!(
            both(r#"{"properties":{"$ai_input":null,"$ai_output_choices":[]}}"#),
            (From::Nothing, From::Nothing)
        );
        assert_eq!(both(r#"{"properties":{"$ai_input":["one","two"]}}"#).0, words("one"));
        assert_eq!(cut(&"é".repeat(100)).chars().count(), 81);
    }

    #[test]
    fn the_last_question_and_the_tools_of_the_answer() {
        let item = |property, position, json| Piece { property, position, json };
        let question = r#"{"content":[{"type":"text","text":"second"},{"type":"image"}],"role":"user"}"#;
        let answer = r#"{"role":"assistant","content":[{"type":"function","function":{"name":"look"}},{"type":"tool_use","name":"see"}]}"#;
        let pieces = [
            item(INPUT, 0, r#"{"role":"user","content":"first"}"#),
            item(INPUT, 1, question),
            item(INPUT, 2, r#"{"role":"tool","content":"found"}"#),
            item(OUTPUT, 0, answer),
        ];
        let fields = Fields::default();
        assert_eq!((input(&fields, &pieces), output(&fields, &pieces)), (From::Item(1), From::Item(0)));
        assert_eq!(of(question).as_deref(), Some("second [image]"));
        assert_eq!(of(answer), None);
        let tools = tools_called(&pieces).unwrap();
        assert_eq!((tools.as_str(), calls(&tools).as_str()), ("look,see", "→ look, see"));
    }
}
