//! A call's first input and last output in a few words, so that lists need not look at messages.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::body::{INPUT, OUTPUT, Piece};

/// Characters of a preview.
const LENGTH: usize = 80;

/// What lists show of an event's content.
#[derive(Default)]
pub(super) struct Preview {
    /// Of the last message by the user, or of a span's input.
    pub input: Option<String>,
    /// Of the first answer, or of a span's output.
    pub output: Option<String>,
    /// The names of the tools that the answer calls, each once, separated by commas.
    pub tools_called: Option<String>,
}

/// Looks at the one message that each needs. `p` are the properties that are not in pieces.
pub(super) fn of(p: &Map<String, Value>, pieces: &[Piece<'_>]) -> Preview {
    let whole = |name: &str| {
        let piece = pieces.iter().find(|piece| piece.property == name && !piece.is_item());
        piece.and_then(|piece| serde_json::from_str(piece.json).ok()).or_else(|| p.get(name).cloned())
    };
    let items = |name: &'static str| pieces.iter().filter(move |piece| piece.property == name && piece.is_item());
    let asked = items(INPUT).rev().find(|piece| is_user(piece.json)).or_else(|| items(INPUT).next_back());
    let asked = asked.and_then(|piece| serde_json::from_str(piece.json).ok());
    let input = asked.or_else(|| whole(INPUT)).or_else(|| whole("$ai_input_state"));
    let mut tools = Vec::new();
    let mut output = None;
    for piece in items(OUTPUT) {
        let Ok(message) = serde_json::from_str::<Value>(piece.json) else { continue };
        tools_of(&message, &mut tools);
        output.get_or_insert(message);
    }
    let output = output.or_else(|| whole(OUTPUT)).or_else(|| whole("$ai_output_state"));
    let said = output.as_ref().and_then(short);
    let calls = || (!tools.is_empty()).then(|| cut(&format!("→ {}", tools.join(", "))));
    Preview {
        input: input.as_ref().and_then(short),
        output: said.or_else(calls),
        tools_called: (!tools.is_empty()).then(|| tools.join(",")),
    }
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
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_few_words_of_each() {
        let preview = |p: Value| of(&p.as_object().cloned().unwrap_or_default(), &[]);
        let both = |p: Value| {
            let preview = preview(p);
            (preview.input.unwrap_or_default(), preview.output.unwrap_or_default())
        };
        assert_eq!(
            both(json!({"$ai_input": "a  b\nc", "$ai_output_state": {"x": 1}})),
            ("a b c".into(), "{\"x\":1}".into())
        );
        assert_eq!(both(json!({"$ai_input": null, "$ai_output_choices": []})), (String::new(), String::new()));
        assert_eq!(both(json!({"$ai_input": ["one", "two"]})).0, "one");
        assert_eq!(cut(&"é".repeat(100)).chars().count(), 81);
    }

    #[test]
    fn the_last_question_and_the_tools_of_the_answer() {
        let item = |property, position, json| Piece { property, position, json };
        let pieces = [
            item(INPUT, 0, r#"{"role":"user","content":"first"}"#),
            item(INPUT, 1, r#"{"content":[{"type":"text","text":"second"},{"type":"image"}],"role":"user"}"#),
            item(INPUT, 2, r#"{"role":"tool","content":"found"}"#),
            item(
                OUTPUT,
                0,
                r#"{"role":"assistant","content":[{"type":"function","function":{"name":"look"}},{"type":"tool_use","name":"see"}]}"#,
            ),
        ];
        let preview = of(&Map::new(), &pieces);
        assert_eq!(preview.input.as_deref(), Some("second [image]"));
        assert_eq!(preview.output.as_deref(), Some("→ look, see"));
        assert_eq!(preview.tools_called.as_deref(), Some("look,see"));
    }
}
