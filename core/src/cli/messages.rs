//! Messages as a person reads them.

use std::io;

use serde_json::{Map, Value};

use super::terminal::{Style, Terminal, bytes, harmless, line, wrap};

/// Prints content that is a list of messages, or anything else.
pub(super) fn print(terminal: &mut Terminal<'_>, content: &Value) -> io::Result<()> {
    match content {
        Value::Null => text(terminal, 2, Style::Dim, "hidden (privacy mode)"),
        Value::Array(items) if items.is_empty() => text(terminal, 2, Style::Dim, "nothing"),
        Value::Array(items) if items.iter().all(is_message) => {
            items.iter().try_for_each(|item| message(terminal, item))
        }
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().try_for_each(|item| value(terminal, 2, item))
        }
        other => value(terminal, 2, other),
    }
}

fn is_message(item: &Value) -> bool {
    item.is_object()
}

/// Prints one message: who says it, then what.
pub(super) fn message(terminal: &mut Terminal<'_>, message: &Value) -> io::Result<()> {
    let Value::Object(message) = message else { return value(terminal, 2, message) };
    let Some(role) = string(message, "role") else {
        // An item that is no message, such as a bare call of a tool.
        return parts(terminal, 2, &Value::Array(vec![message.clone().into()]));
    };
    let about: Vec<String> = ["name", "tool_call_id"].iter().filter_map(|key| string(message, key)).map(line).collect();
    let (role, about) = (terminal.paint(Style::Mark, &line(role)), terminal.paint(Style::Dim, &about.join("  ")));
    writeln!(terminal.out, "  {role}{}{about}", if about.is_empty() { "" } else { "  " })?;
    for (key, content) in message {
        match key.as_str() {
            // The last three say in other words what the parts say.
            "role" | "name" | "tool_call_id" | "annotations" | "reasoning_details" | "media" => {}
            "content" | "tool_calls" | "images" => parts(terminal, 4, content)?,
            "refusal" if content.is_string() => refusal(terminal, 4, content)?,
            "reasoning_content" | "reasoning" if content.is_string() => thinking(terminal, 4, content)?,
            "function_call" => {
                let call = string_of(content.get("name"));
                call_line(terminal, 4, call, content.get("arguments"), None)?;
            }
            _ if content.is_null() => {}
            _ => text(terminal, 4, Style::Dim, &format!("{key}: {content}"))?,
        }
    }
    Ok(())
}

fn parts(terminal: &mut Terminal<'_>, indent: usize, content: &Value) -> io::Result<()> {
    match content {
        Value::Null => Ok(()),
        Value::Array(items) => items.iter().try_for_each(|item| match item {
            Value::Object(item) => part(terminal, indent, item),
            other => value(terminal, indent, other),
        }),
        Value::Object(item) => part(terminal, indent, item),
        other => value(terminal, indent, other),
    }
}

fn part(terminal: &mut Terminal<'_>, indent: usize, part: &Map<String, Value>) -> io::Result<()> {
    let kind = string(part, "type").unwrap_or_default();
    match kind {
        "text" | "input_text" | "output_text" => value(terminal, indent, part.get("text").unwrap_or(&Value::Null)),
        "thinking" => thinking(terminal, indent, part.get("thinking").unwrap_or(&Value::Null)),
        "redacted_thinking" => text(terminal, indent, Style::Dim, "thinking, hidden by the provider"),
        "refusal" => refusal(terminal, indent, part.get("refusal").unwrap_or(&Value::Null)),
        "function" | "custom" => {
            let call = part.get(kind);
            let given = call.and_then(|call| call.get("arguments").or_else(|| call.get("input")));
            call_line(terminal, indent, string_of(call.and_then(|call| call.get("name"))), given, part.get("id"))
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            call_line(terminal, indent, string_of(part.get("name")), part.get("input"), part.get("id"))
        }
        "function_call" | "custom_tool_call" => {
            let given = part.get("arguments").or_else(|| part.get("input"));
            call_line(terminal, indent, string_of(part.get("name")), given, part.get("call_id"))
        }
        "function_call_output" | "custom_tool_call_output" => {
            result(terminal, indent, part.get("call_id"), part.get("output"), false)
        }
        kind if kind == "tool_result" || kind.ends_with("_tool_result") => {
            let failed = part.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            result(terminal, indent, part.get("tool_use_id"), part.get("content"), failed)
        }
        _ if part.contains_key("media") || is_media(kind) => text(terminal, indent, Style::Warn, &media(kind, part)),
        _ => text(terminal, indent, Style::Dim, &Value::Object(part.clone()).to_string()),
    }
}

fn is_media(kind: &str) -> bool {
    ["image", "image_url", "input_image", "document", "file", "input_file", "audio", "input_audio", "video"]
        .contains(&kind)
}

/// `[image/png, 1.2 KB]`, `[image https://...]`, with a title, file name or transcript where there is one.
fn media(kind: &str, part: &Map<String, Value>) -> String {
    let media = part.get("media");
    let mime = media.and_then(|media| media.get("mime")?.as_str()).unwrap_or(kind);
    let mut words = vec![mime.to_owned()];
    words.extend(media.and_then(|media| media.get("bytes")?.as_u64()).map(bytes));
    let inner = part.get(kind).or_else(|| part.get("source"));
    for (key, holder) in [
        ("title", None),
        ("filename", None),
        ("filename", inner),
        ("url", inner),
        ("file_id", None),
        ("file_id", inner),
        ("transcript", None),
    ] {
        let found = holder.map_or_else(|| part.get(key), |holder| holder.get(key));
        words.extend(found.and_then(Value::as_str).filter(|text| !text.starts_with("[redacted")).map(str::to_owned));
    }
    words.extend(part.get("image_url").and_then(Value::as_str).filter(|_| media.is_none()).map(str::to_owned));
    let data = inner.and_then(|source| source.get("data")?.as_str()).filter(|_| media.is_none());
    words.extend(data.map(str::to_owned));
    format!("[{}]", words.join(", "))
}

fn thinking(terminal: &mut Terminal<'_>, indent: usize, content: &Value) -> io::Result<()> {
    let thought = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
    if thought.is_empty() {
        return text(terminal, indent, Style::Dim, "thinking, not shown by the provider");
    }
    text(terminal, indent, Style::Dim, &format!("thinking: {thought}"))
}

fn refusal(terminal: &mut Terminal<'_>, indent: usize, content: &Value) -> io::Result<()> {
    text(terminal, indent, Style::Bad, &format!("refused: {}", content.as_str().unwrap_or_default()))
}

/// `→ lookup_order({"order": 17})  call_1`
fn call_line(
    terminal: &mut Terminal<'_>,
    indent: usize,
    name: &str,
    given: Option<&Value>,
    id: Option<&Value>,
) -> io::Result<()> {
    let given = match given {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    text(terminal, indent, Style::Good, &format!("→ {name}({given})"))?;
    match string_of(id) {
        "" => Ok(()),
        id => text(terminal, indent + 2, Style::Dim, id),
    }
}

fn result(
    terminal: &mut Terminal<'_>,
    indent: usize,
    id: Option<&Value>,
    content: Option<&Value>,
    failed: bool,
) -> io::Result<()> {
    let (style, word) = if failed { (Style::Bad, "failed") } else { (Style::Good, "result") };
    let arrow = terminal.paint(style, &format!("← {word}"));
    let id = terminal.paint(Style::Dim, &line(string_of(id)));
    writeln!(terminal.out, "{:indent$}{arrow}  {id}", "")?;
    parts(terminal, indent + 2, content.unwrap_or(&Value::Null))
}

/// Any value: a text as it is, anything else as JSON.
pub(super) fn value(terminal: &mut Terminal<'_>, indent: usize, value: &Value) -> io::Result<()> {
    /// A list this long of numbers is a text as tokens, or a vector.
    const NUMBERS: usize = 24;
    match value {
        Value::Null => Ok(()),
        Value::String(content) => text(terminal, indent, Style::Plain, content),
        Value::Array(items) if items.len() > NUMBERS && items.iter().all(Value::is_number) => {
            text(terminal, indent, Style::Dim, &format!("[{} numbers]", items.len()))
        }
        other => text(terminal, indent, Style::Plain, &serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}

/// Text of several lines, wrapped and indented.
pub(super) fn text(terminal: &mut Terminal<'_>, indent: usize, style: Style, content: &str) -> io::Result<()> {
    let room = terminal.width.map(|width| width.saturating_sub(indent));
    for line in wrap(&harmless(content), room) {
        let line = terminal.paint(style, &line);
        let indent = if line.is_empty() { 0 } else { indent };
        writeln!(terminal.out, "{:indent$}{line}", "")?;
    }
    Ok(())
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn string_of(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
