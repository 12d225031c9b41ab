//! A call's messages as people read them: what is new first, tools with their results, thinking folded.

use std::cell::Cell;
use std::collections::HashMap;

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::markdown;
use crate::cli::terminal::bytes;

/// How it is shown.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Texts as Markdown, or as they are.
    pub(super) markdown: bool,
    /// How many of the first messages were in the call before as well.
    pub(super) known: usize,
}

/// Characters of a text that are shown at once.
const LONG: usize = 20_000;

/// Characters of a text that are shown at all; the raw event has the rest.
const MOST: usize = 1_000_000;

/// What a tool answered.
struct Answer<'a> {
    content: &'a Value,
    failed: bool,
    /// The place of its message.
    at: usize,
    /// It is shown with the call that it answers.
    is_shown: Cell<bool>,
}

/// Answers of tools, in their order, and their places by the id of the call. Some servers give the same id to many calls.
#[derive(Default)]
struct Results<'a> {
    all: Vec<Answer<'a>>,
    by_id: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Results<'a> {
    fn of(messages: &'a [Value]) -> Self {
        let mut results = Self::default();
        for (at, message) in messages.iter().enumerate() {
            let mut add = |of: &'a Value, id: &str, content: &str, failed: bool| {
                if let (Some(id), Some(content)) = (of.get(id).and_then(Value::as_str), of.get(content)) {
                    results.by_id.entry(id).or_default().push(results.all.len());
                    results.all.push(Answer { content, failed, at, is_shown: Cell::new(false) });
                }
            };
            add(message, "tool_call_id", "content", false);
            add(message, "call_id", "output", false);
            for part in message.get("content").and_then(Value::as_array).into_iter().flatten() {
                let failed = part.get("is_error").and_then(Value::as_bool).unwrap_or(false);
                add(part, "tool_use_id", "content", failed);
            }
        }
        results
    }

    /// The first answer after a message to a call in it, which is then shown there.
    fn take(&self, id: &str, at: usize) -> Option<&Answer<'a>> {
        let mut answers = self.by_id.get(id)?.iter().map(|place| &self.all[*place]);
        let answer = answers.find(|answer| answer.at > at && !answer.is_shown.get())?;
        answer.is_shown.set(true);
        Some(answer)
    }

    /// Whether all that a message says is shown with the calls that it answers.
    fn has_shown(&self, message: &Value, at: usize) -> bool {
        let parts = message.get("content").and_then(Value::as_array);
        let answers = message.get("tool_call_id").is_some()
            || (message.get("call_id").is_some() && message.get("output").is_some())
            || parts
                .is_some_and(|parts| !parts.is_empty() && parts.iter().all(|part| part.get("tool_use_id").is_some()));
        let first = self.all.partition_point(|answer| answer.at < at);
        let mut own = self.all[first..].iter().take_while(|answer| answer.at == at).peekable();
        answers && own.peek().is_some() && own.all(|answer| answer.is_shown.get())
    }
}

/// The input and the output of a call, or of a span.
pub(super) fn show(p: &Map<String, Value>, look: Look) -> Markup {
    let messages = p.get("$ai_input").and_then(Value::as_array).filter(|items| items.iter().all(is_message));
    let empty = Vec::new();
    let input = messages.unwrap_or(&empty);
    let output = p.get("$ai_output_choices").and_then(Value::as_array).unwrap_or(&empty);
    // One that is asked again says nothing new; its question is shown all the same.
    let known = look.known.min(input.len().saturating_sub(1));
    let (old, new) = input.split_at(known);
    let results = Results::of(new);
    let later: Vec<Markup> = new.iter().enumerate().map(|(at, message)| one(message, look, &results, at)).collect();
    html! {
        div.conversation {
            @if let Some(state) = p.get("$ai_input_state").filter(|state| !state.is_null()) { (labelled("Input", &value(state, look))) }
            @if messages.is_none() && let Some(input) = p.get("$ai_input").filter(|input| !input.is_null()) { (labelled("Input", &value(input, look))) }
            @if !old.is_empty() {
                details.earlier {
                    summary { (old.len()) " earlier message" (if old.len() == 1 { "" } else { "s" }) ", as in the call before" }
                    @let results = Results::of(old);
                    @for (at, message) in old.iter().enumerate() { (one(message, look, &results, at)) }
                }
            }
            @for (at, shown) in later.iter().enumerate() { @if !results.has_shown(&new[at], at) { (shown) } }
            @if !output.is_empty() {
                div.choices {
                    @for (at, choice) in output.iter().enumerate() {
                        @if output.len() > 1 { h4.choice { "Choice " (at + 1) " of " (output.len()) } }
                        (one(choice, look, &Results::default(), 0))
                    }
                }
            }
            @if let Some(state) = p.get("$ai_output_state").filter(|state| !state.is_null()) { (labelled("Output", &value(state, look))) }
            @if let Some(error) = p.get("$ai_error").and_then(Value::as_str) {
                article.message.failed aria-label="error" {
                    h4 { "Error" @if let Some(kind) = p.get("$ai_error_type").and_then(Value::as_str) { " " code { (kind) } } }
                    (text(error, Look { markdown: false, ..look }))
                }
            }
            @if is_hidden(p) { p.note { "Messages are not recorded: privacy mode is on." } }
        }
    }
}

fn is_hidden(p: &Map<String, Value>) -> bool {
    ["$ai_input", "$ai_output_choices"].iter().all(|name| p.get(*name).is_some_and(Value::is_null))
}

fn is_message(value: &Value) -> bool {
    value.get("role").is_some() || value.get("type").is_some()
}

fn labelled(label: &str, content: &Markup) -> Markup {
    html! { article.message.state aria-label=(label) { h4 { (label) } (content) } }
}

fn one(message: &Value, look: Look, results: &Results<'_>, at: usize) -> Markup {
    let string = |key: &str| message.get(key).and_then(Value::as_str);
    let role = string("role").unwrap_or_else(|| string("type").unwrap_or("message"));
    let name = string("name").filter(|_| string("role").is_some());
    let class = match role {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        "tool" => "tool",
        _ => "other",
    };
    let body = html! {
        @for key in ["reasoning_content", "reasoning"] { @if let Some(thought) = string(key) { (thinking(thought)) } }
        @match message.get("content") {
            Some(content) => (parts(content, look, results, at)),
            None if string("role").is_none() => (part(message, look, results, at)),
            None => {},
        }
        @if let Some(refusal) = string("refusal") { p.refusal { "Refused: " (refusal) } }
        @for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() { (part(call, look, results, at)) }
    };
    if class == "system" {
        let first = first_line(message.get("content"));
        return html! {
            details.message.system { summary { span.role { (role) } span.first { (first) } } (body) }
        };
    }
    html! {
        article class=(format!("message {class}")) aria-label=(role) {
            h4 { span.role { (role) } @if let Some(name) = name { " " span.who { (name) } } }
            (body)
        }
    }
}

fn first_line(content: Option<&Value>) -> String {
    let text = match content {
        Some(Value::String(text)) => text.as_str(),
        Some(Value::Array(parts)) => parts.iter().find_map(|part| part.get("text")?.as_str()).unwrap_or_default(),
        _ => "",
    };
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

fn parts(content: &Value, look: Look, results: &Results<'_>, at: usize) -> Markup {
    match content {
        Value::Null => html! {},
        Value::Array(items) => html! { @for item in items { (part(item, look, results, at)) } },
        other => value(other, look),
    }
}

fn part(part: &Value, look: Look, results: &Results<'_>, at: usize) -> Markup {
    let Value::Object(members) = part else { return value(part, look) };
    let string = |key: &str| members.get(key).and_then(Value::as_str);
    let kind = string("type").unwrap_or("text");
    let given = |holder: &str, name: &str| members.get(holder).and_then(|holder| holder.get(name));
    match kind {
        "text" | "input_text" | "output_text" => match string("text") {
            Some(said) => html! { (text(said, look)) (citations(members)) },
            None => value(part, look),
        },
        "thinking" => thinking(string("thinking").unwrap_or_default()),
        "redacted_thinking" => html! { p.note { "Thinking that the provider keeps to itself" } },
        "refusal" => html! { p.refusal { "Refused: " (string("refusal").unwrap_or_default()) } },
        "function" => call(
            given("function", "name").and_then(Value::as_str),
            given("function", "arguments"),
            string("id"),
            look,
            results,
            at,
        ),
        "custom" => call(
            given("custom", "name").and_then(Value::as_str),
            given("custom", "input"),
            string("id"),
            look,
            results,
            at,
        ),
        "tool_use" | "server_tool_use" => call(string("name"), members.get("input"), string("id"), look, results, at),
        "function_call" | "custom_tool_call" => call(
            string("name"),
            members.get("arguments").or_else(|| members.get("input")),
            string("call_id"),
            look,
            results,
            at,
        ),
        "function_call_output" | "custom_tool_call_output" => result(members.get("output"), false, look),
        kind if kind.ends_with("tool_result") => {
            result(members.get("content"), members.get("is_error").and_then(Value::as_bool).unwrap_or(false), look)
        }
        _ if members.contains_key("media") || is_media(kind) => media(kind, members),
        _ => value(part, look),
    }
}

fn citations(part: &Map<String, Value>) -> Markup {
    let all = ["annotations", "citations"].iter().filter_map(|name| part.get(*name)?.as_array()).flatten();
    let links: Vec<(&str, &str)> = all
        .filter_map(|citation| {
            let holder = citation.get("url_citation").unwrap_or(citation);
            let url = holder.get("url")?.as_str()?;
            Some((url, holder.get("title").and_then(Value::as_str).unwrap_or(url)))
        })
        .filter(|(url, _)| url.starts_with("https://") || url.starts_with("http://"))
        .collect();
    html! { @if !links.is_empty() { p.citations { @for (url, title) in links { a href=(url) rel="noopener noreferrer nofollow" target="_blank" { (title) } " " } } } }
}

fn thinking(thought: &str) -> Markup {
    html! {
        details.thinking {
            summary { "Thinking" span.first { (thought.lines().next().unwrap_or_default().chars().take(120).collect::<String>()) } }
            @if thought.is_empty() { p.note { "not shown by the provider" } } @else { (text(thought, Look { markdown: true, known: 0 })) }
        }
    }
}

fn call(
    name: Option<&str>,
    arguments: Option<&Value>,
    id: Option<&str>,
    look: Look,
    results: &Results<'_>,
    at: usize,
) -> Markup {
    // Arguments come as JSON or as JSON in a text.
    let read = arguments.and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let answer = id.and_then(|id| results.take(id, at));
    html! {
        div.call {
            p.what { "→ " code { (name.unwrap_or("tool")) } @if let Some(id) = id { " " span.id { (id) } } }
            @if let Some(arguments) = read.as_ref().or(arguments).filter(|value| !value.is_null()) { (value(arguments, look)) }
            @if let Some(answer) = answer { (result(Some(answer.content), answer.failed, look)) }
        }
    }
}

fn result(content: Option<&Value>, failed: bool, look: Look) -> Markup {
    html! {
        div class=(if failed { "result failed" } else { "result" }) {
            p.what { "← " (if failed { "failed" } else { "result" }) }
            @if let Some(content) = content { (parts(content, look, &Results::default(), 0)) }
        }
    }
}

fn is_media(kind: &str) -> bool {
    ["image", "image_url", "input_image", "document", "file", "input_file", "audio", "input_audio", "video"]
        .contains(&kind)
}

/// A picture that was stored, or what is known of one that was not.
fn media(kind: &str, part: &Map<String, Value>) -> Markup {
    let inner = part.get(kind).or_else(|| part.get("source"));
    let of = |key: &str| inner.and_then(|inner| inner.get(key)?.as_str()).or_else(|| part.get(key)?.as_str());
    let url = part.get("image_url").and_then(Value::as_str).or_else(|| of("url"));
    let stored = url.filter(|url| is_picture(url)).map(str::to_owned).or_else(|| {
        let url = format!("data:{};base64,{}", of("media_type")?, of("data")?);
        is_picture(&url).then_some(url)
    });
    let about = part.get("media");
    let mime = about.and_then(|about| about.get("mime")?.as_str()).or_else(|| of("media_type")).unwrap_or(kind);
    let size = about.and_then(|about| about.get("bytes")?.as_u64()).map(bytes);
    let name = ["title", "filename", "file_id", "transcript"].iter().find_map(|key| of(key));
    html! {
        @if let Some(stored) = stored { img src=(stored) alt=(format!("{mime} in the message")); }
        @else {
            p.media { span.badge { (mime) } @if let Some(size) = size { " " (size) } @if let Some(name) = name { " " (name) }
                @if let Some(url) = url.filter(|url| url.starts_with("http")) { " " code { (url) } } @else { " " span.none { "not stored" } } }
        }
    }
}

/// Base64 of a kind of picture that cannot hold a script.
fn is_picture(url: &str) -> bool {
    let kinds =
        ["data:image/png;base64,", "data:image/jpeg;base64,", "data:image/gif;base64,", "data:image/webp;base64,"];
    kinds.iter().any(|kind| {
        url.strip_prefix(kind).is_some_and(|data| {
            !data.is_empty() && data.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=\n".contains(&byte))
        })
    })
}

/// Any value: a text as a text, anything else as JSON.
pub(super) fn value(value: &Value, look: Look) -> Markup {
    /// A list this long of numbers is a text as tokens, or a vector.
    const NUMBERS: usize = 24;
    match value {
        Value::String(said) => text(said, look),
        Value::Array(items) if items.len() > NUMBERS && items.iter().all(Value::is_number) => {
            html! { p.note { (items.len()) " numbers" } }
        }
        other => code(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}

/// JSON, coloured by the script where there is one.
pub(super) fn code(json: &str) -> Markup {
    let (shown, rest) = cut(json, LONG);
    html! { pre.json { code { (shown) } } (more(rest)) }
}

fn text(said: &str, look: Look) -> Markup {
    let trimmed = said.trim_start();
    if (trimmed.starts_with('{') || trimmed.starts_with('['))
        && said.len() < LONG
        && let Ok(json @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(said)
    {
        return code(&serde_json::to_string_pretty(&json).unwrap_or_default());
    }
    let (shown, rest) = cut(said, LONG);
    html! {
        @if look.markdown { div.markdown { (markdown::render(shown)) } } @else { (markdown::plain(shown)) }
        (more(rest))
    }
}

fn more(rest: &str) -> Markup {
    let (shown, left) = cut(rest, MOST);
    html! { @if !rest.is_empty() {
        details.more { summary { "The other " (bytes(rest.len() as u64)) } pre.plain { (shown) }
            @if !left.is_empty() { p.note { (bytes(left.len() as u64)) " more are in the raw event" } } }
    } }
}

fn cut(text: &str, at: usize) -> (&str, &str) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.split_at(at)
}
