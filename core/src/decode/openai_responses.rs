//! OpenAI Responses.
//!
//! Source: the API reference's pages "Create a model response", "The response object" and "Streaming events".

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, CallError, Tokens};
use super::json::{Slots, append, count, is_something, merge, pick, slot, text};
use super::{Fold, Folded, Format, PLAIN, Source, openai_chat};

const PARAMETERS: &[&str] = &[
    "temperature",
    "top_p",
    "max_output_tokens",
    "max_tool_calls",
    "reasoning",
    "text",
    "tool_choice",
    "parallel_tool_calls",
    "truncation",
    "service_tier",
    "stream",
    "background",
    "previous_response_id",
    "include",
    "top_logprobs",
];

/// How it is read.
pub(super) const FORMAT: Format = Format {
    request,
    content,
    response,
    fold: |_| Box::new(ResponsesFold::default()),
    error_in_answer: false,
    ..PLAIN
};

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    call.parameters = pick(body, PARAMETERS);
    call.max_tokens = body.get("max_output_tokens").cloned();
    call.stream |= body.get("stream") == Some(&Value::Bool(true));
}

fn content(body: &mut Value, call: &mut Call) {
    let mut messages = Vec::new();
    if let Some(instructions) = body.get("instructions").filter(|instructions| is_something(instructions)) {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    match body.get_mut("input").map(Value::take) {
        Some(Value::Array(items)) => messages.extend(items.into_iter().map(input_item)),
        None | Some(Value::Null) => {}
        Some(input) => messages.push(json!({"role": "user", "content": input})),
    }
    call.input = Some(Value::Array(messages));
    call.tools = body.get_mut("tools").map(Value::take).filter(is_something);
}

/// An item of the input as a message.
fn input_item(mut item: Value) -> Value {
    let kind = item.get("type").and_then(Value::as_str);
    match kind {
        None | Some("message") if item.get("role").is_some() => {
            if let Value::Object(members) = &mut item {
                members.retain(|name, _| !matches!(name.as_str(), "type" | "id" | "status"));
            }
            item
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            json!({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        }
        _ => json!({"role": "assistant", "content": output_item(&item)}),
    }
}

fn response(source: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    call.response_id = text(body.get("id"));
    call.service_tier = text(body.get("service_tier"));
    if let Some(details) = body.get("incomplete_details").filter(|details| !details.is_null()) {
        call.metadata.insert("incomplete_details".to_owned(), details.clone());
    }
    let status = text(body.get("status"));
    // Until a response is done its status says nothing about why it stopped.
    let open = matches!(status.as_deref(), Some("queued" | "in_progress"));
    call.pending = open && [body, source.request].iter().any(|said| said.get("background") == Some(&true.into()));
    call.stop_reasons.extend(status.filter(|_| !open));
    call.ran = ran(body);
    let items: Vec<&Value> = body.get("output").and_then(Value::as_array).into_iter().flatten().collect();
    if !items.is_empty() {
        let parts: Vec<Value> = items.iter().flat_map(|item| output_item(item)).collect();
        call.output.push(json!({"role": "assistant", "content": parts}));
    }
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        usage(raw, call);
    }
    let searches = items.iter().filter(|item| is_search(item)).count() as u64;
    if searches > 0 {
        call.tokens.web_searches = Some(searches);
        call.usage.web_searches = Some(searches);
    }
    if let Some(error) = body.get("error").filter(|error| error.is_object()) {
        call.error = Some(response_error(error));
    }
}

/// The time between the two that a response gives, in whole seconds.
fn ran(body: &Value) -> Option<Duration> {
    let seconds = count(body.get("completed_at"))?.checked_sub(count(body.get("created_at"))?)?;
    Some(Duration::from_secs(seconds))
}

/// Opening a page or finding something in it is not a search, and not charged as one.
fn is_search(item: &Value) -> bool {
    item["type"] == "web_search_call" && matches!(item["action"]["type"].as_str(), None | Some("search"))
}

/// An item of the answer as parts in the normal form.
fn output_item(item: &Value) -> Vec<Value> {
    match item.get("type").and_then(Value::as_str) {
        Some("message") => {
            item.get("content").and_then(Value::as_array).into_iter().flatten().map(content_part).collect()
        }
        Some("reasoning") => {
            let texts = |name: &str| -> Vec<String> {
                let parts = item.get(name).and_then(Value::as_array).into_iter().flatten();
                parts.filter_map(|part| text(part.get("text"))).collect()
            };
            let thinking = [texts("summary"), texts("content")].concat().join("\n\n");
            let mut part = json!({"type": "thinking", "thinking": thinking});
            if let Some(signature) = text(item.get("encrypted_content")) {
                part["signature"] = signature.into();
            }
            vec![part]
        }
        Some("function_call") => vec![json!({
            "type": "function",
            "id": item.get("call_id"),
            "function": {"name": item.get("name"), "arguments": item.get("arguments")},
        })],
        Some("custom_tool_call") => vec![json!({
            "type": "custom",
            "id": item.get("call_id"),
            "custom": {"name": item.get("name"), "input": item.get("input")},
        })],
        _ => vec![item.clone()],
    }
}

fn content_part(part: &Value) -> Value {
    match part.get("type").and_then(Value::as_str) {
        Some("output_text") => {
            let mut out = json!({"type": "text", "text": part.get("text")});
            if let Some(annotations) = part.get("annotations").filter(|annotations| is_something(annotations)) {
                out["annotations"] = annotations.clone();
            }
            out
        }
        Some("refusal") => json!({"type": "refusal", "refusal": part.get("refusal")}),
        _ => part.clone(),
    }
}

/// Reads a usage object in the style of Responses.
pub(super) fn usage(raw: &Value, call: &mut Call) {
    let input_details = ["input_tokens_details", "input_token_details"];
    // Transcriptions spell it without the plural.
    let input_details = input_details.iter().find_map(|name| raw.get(name)).unwrap_or(&Value::Null);
    let output_details = raw.get("output_tokens_details").unwrap_or(&Value::Null);
    call.tokens = Tokens {
        input: count(raw.get("input_tokens")),
        output: count(raw.get("output_tokens")),
        total: count(raw.get("total_tokens")),
        cache_read: count(input_details.get("cached_tokens")),
        cache_write: count(input_details.get("cache_write_tokens")),
        reasoning: count(output_details.get("reasoning_tokens")),
        audio_in: count(input_details.get("audio_tokens")),
        audio_out: count(output_details.get("audio_tokens")),
        image_in: count(input_details.get("image_tokens")),
        image_out: count(output_details.get("image_tokens")),
        text_out: count(output_details.get("text_tokens")),
        ..Tokens::default()
    };
    call.reported_usd = openai_chat::reported_usd(raw);
    super::settle_inclusive(call);
    call.raw_usage = Some(raw.clone());
}

/// Folds a stream of events into the response object that the plain call would have given.
///
/// The last event carries that object whole; what is folded here matters when it never comes.
#[derive(Default)]
pub(super) struct ResponsesFold {
    response: Value,
    items: Slots,
    /// Parts of the items, by the item and the list that they are in.
    parts: BTreeMap<(u64, &'static str), Slots>,
    finished: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl ResponsesFold {
    fn item(&mut self, data: &Value) -> &mut Map<String, Value> {
        slot(&mut self.items, count(data.get("output_index")).unwrap_or(0))
    }

    /// The part of an item that an event is about: of its `content` or its `summary`, by the index of that.
    fn part(&mut self, data: &Value, list: &'static str, kind: &str) -> &mut Map<String, Value> {
        let item = count(data.get("output_index")).unwrap_or(0);
        let index = count(data.get("content_index")).or_else(|| count(data.get("summary_index"))).unwrap_or(0);
        if !self.parts.contains_key(&(item, list)) {
            // What the item began with.
            let begun = self.item(data).get(list).and_then(Value::as_array).into_iter().flatten();
            let begun = (0..).zip(begun.filter_map(Value::as_object).cloned()).collect();
            self.parts.insert((item, list), begun);
        }
        let part = slot(self.parts.entry((item, list)).or_default(), index);
        part.entry("type").or_insert_with(|| kind.into());
        part
    }

    fn add(&mut self, data: &Value, list: &'static str, kind: &str, member: &str) {
        let piece = data.get("delta").and_then(Value::as_str).unwrap_or_default();
        append(self.part(data, list, kind), member, piece);
    }
}

impl Fold for ResponsesFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        let kind = data.get("type").and_then(Value::as_str).unwrap_or(name);
        if kind.ends_with(".delta") || kind == "response.output_item.added" && is_tool_item(&data["item"]["type"]) {
            self.first_content_at.get_or_insert(at);
        }
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                merge(&mut self.response, data.get("response").unwrap_or(&Value::Null));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.response = data.get("response").cloned().unwrap_or_default();
                self.finished = true;
            }
            "error" => self.error = Some(response_error(data.get("error").unwrap_or(data))),
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(Value::Object(item)) = data.get("item") {
                    let index = count(data.get("output_index")).unwrap_or(0);
                    for list in ["content", "summary"] {
                        self.parts.remove(&(index, list));
                    }
                    *self.item(data) = item.clone();
                }
            }
            "response.content_part.added" | "response.content_part.done" => {
                if let Some(Value::Object(new)) = data.get("part") {
                    *self.part(data, "content", "output_text") = new.clone();
                }
            }
            "response.reasoning_summary_part.added" | "response.reasoning_summary_part.done" => {
                if let Some(Value::Object(new)) = data.get("part") {
                    *self.part(data, "summary", "summary_text") = new.clone();
                }
            }
            "response.output_text.delta" => self.add(data, "content", "output_text", "text"),
            "response.refusal.delta" => self.add(data, "content", "refusal", "refusal"),
            "response.reasoning_text.delta" => self.add(data, "content", "reasoning_text", "text"),
            "response.reasoning_summary_text.delta" => self.add(data, "summary", "summary_text", "text"),
            "response.output_text.annotation.added" => {
                if let Some(annotation) = data.get("annotation").cloned() {
                    let part = self.part(data, "content", "output_text");
                    match part.get_mut("annotations") {
                        Some(Value::Array(all)) => all.push(annotation),
                        _ => {
                            part.insert("annotations".to_owned(), Value::Array(vec![annotation]));
                        }
                    }
                }
            }
            "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta" => {
                let piece = data.get("delta").and_then(Value::as_str).unwrap_or_default();
                append(self.item(data), "arguments", piece);
            }
            "response.custom_tool_call_input.delta" => {
                let piece = data.get("delta").and_then(Value::as_str).unwrap_or_default();
                append(self.item(data), "input", piece);
            }
            "response.code_interpreter_call_code.delta" => {
                let piece = data.get("delta").and_then(Value::as_str).unwrap_or_default();
                append(self.item(data), "code", piece);
            }
            _ => {}
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        let Self { mut response, mut items, parts, .. } = *self;
        for ((of, list), parts) in parts {
            let parts = parts.into_iter().map(|(_, part)| Value::Object(part)).collect();
            slot(&mut items, of).insert(list.to_owned(), parts);
        }
        items.sort_by_key(|(index, _)| *index);
        if !response.is_object() {
            response = json!({});
        }
        if response.get("output").is_none_or(|output| !is_something(output)) {
            response["output"] = items.into_iter().map(|(_, item)| Value::Object(item)).collect();
        }
        Folded { body: response, complete: self.finished, error: self.error, first_content_at: self.first_content_at }
    }
}

/// The errors of a response name themselves by their code.
fn response_error(error: &Value) -> CallError {
    let found = super::provider_error(error);
    CallError { kind: text(error.get("code")).or(found.kind), ..found }
}

/// An item whose first sign is content in itself; messages and reasoning begin empty.
fn is_tool_item(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| kind.ends_with("_call"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_costs_no_more_than_its_event() {
        let mut fold = ResponsesFold::default();
        for item in 0..100 {
            let event = json!({"type": "response.output_text.delta", "output_index": item, "content_index": 9_999, "delta": "x"});
            fold.event("", &event, Duration::ZERO);
        }
        let body = Box::new(fold).finish().body;
        assert_eq!(body["output"][99]["content"], json!([{"type": "output_text", "text": "x"}]));
    }
}
