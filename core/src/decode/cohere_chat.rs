//! Cohere's chat, version 2.
//!
//! Source: Cohere's API reference, "Chat" and "Chat with Streaming".

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, CallError, Tokens};
use super::json::{Slots, append, count, is_something, merge, pick, slot, text};
use super::{Fold, Folded, Format, PLAIN, Source};

const PARAMETERS: &[&str] = &[
    "temperature",
    "max_tokens",
    "p",
    "k",
    "seed",
    "stop_sequences",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "response_format",
    "safety_mode",
    "citation_options",
    "tool_choice",
    "strict_tools",
    "thinking",
    "priority",
    "stream",
];

/// How it is read.
pub(super) const FORMAT: Format = Format { request, response, fold: |_| Box::new(ChatFold::default()), ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    if let Some(messages) = body.get("messages").and_then(Value::as_array) {
        let documents = body.get("documents").and_then(Value::as_array).filter(|documents| !documents.is_empty());
        let documents = documents.map(|documents| {
            let parts = documents.iter().map(|document| json!({"type": "document", "document": document}));
            json!({"role": "system", "content": parts.collect::<Value>()})
        });
        call.input = Some(documents.into_iter().chain(messages.iter().cloned()).collect());
    }
    call.parameters = pick(body, PARAMETERS);
    call.max_tokens = body.get("max_tokens").cloned();
    call.tools = body.get("tools").filter(|tools| is_something(tools)).cloned();
    call.stream |= body.get("stream") == Some(&Value::Bool(true));
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.response_id = text(body.get("id"));
    call.stop_reasons.extend(text(body.get("finish_reason")));
    if let Some(answer) = body.get("message").filter(|message| message.is_object()) {
        call.output.push(message(answer));
    }
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        usage(raw, call);
    }
}

fn message(answer: &Value) -> Value {
    let list = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut content = Vec::new();
    if let Some(plan) = text(answer.get("tool_plan")) {
        content.push(json!({"type": "thinking", "thinking": plan}));
    }
    content.extend(text(answer.get("content")).map(|text| json!({"type": "text", "text": text})));
    content.extend(list("content").cloned());
    content.extend(list("tool_calls").map(|called| {
        let function = called.get("function").unwrap_or(&Value::Null);
        let function = json!({"name": function.get("name"), "arguments": function.get("arguments")});
        json!({"type": "function", "id": called.get("id"), "function": function})
    }));
    let mut message = json!({"role": "assistant", "content": content});
    if let Some(citations) = answer.get("citations").filter(|citations| is_something(citations)) {
        message["citations"] = citations.clone();
    }
    message
}

/// A cost follows what is billed, which is less than what the model reads. The cached tokens are a part of the latter.
fn usage(raw: &Value, call: &mut Call) {
    let of = |unit: &str, name: &str| count(raw.get(unit).and_then(|counts| counts.get(name)));
    let billed = of("billed_units", "input_tokens");
    call.tokens = Tokens {
        input: billed.or_else(|| of("tokens", "input_tokens")),
        output: of("billed_units", "output_tokens").or_else(|| of("tokens", "output_tokens")),
        cache_read: if billed.is_none() { count(raw.get("cached_tokens")) } else { None },
        ..Tokens::default()
    };
    super::settle_inclusive(call);
    call.raw_usage = Some(raw.clone());
}

/// Folds a stream of events into the body that the plain call would have given.
#[derive(Default)]
struct ChatFold {
    /// `id`, `finish_reason`, `usage`.
    body: Map<String, Value>,
    message: Option<Map<String, Value>>,
    content: Slots,
    calls: Slots,
    citations: Slots,
    ended: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for ChatFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        let kind = data.get("type").and_then(Value::as_str).unwrap_or(name);
        let delta = data.get("delta").unwrap_or(&Value::Null);
        let message = delta.get("message").unwrap_or(&Value::Null);
        let index = count(data.get("index"));
        match kind {
            "message-start" => {
                self.body.extend(pick(data, &["id"]));
                if let Value::Object(message) = message {
                    self.message = Some(message.clone());
                }
            }
            "tool-plan-delta" => {
                if let Some(piece) = message.get("tool_plan").and_then(Value::as_str) {
                    self.first_content_at.get_or_insert(at);
                    append(self.message.get_or_insert_default(), "tool_plan", piece);
                }
            }
            "content-start" | "content-delta" => self.piece(index, kind, message.get("content"), at),
            "tool-call-start" | "tool-call-delta" => self.piece(index, kind, message.get("tool_calls"), at),
            "citation-start" => self.piece(index, kind, message.get("citations"), at),
            "message-end" => {
                self.ended = true;
                for (name, value) in pick(delta, &["finish_reason", "usage"]) {
                    merge(self.body.entry(name).or_insert(Value::Null), &value);
                }
                if let Some(message) = text(delta.get("error")) {
                    self.error = Some(CallError { kind: text(delta.get("finish_reason")), message });
                }
            }
            _ => {}
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        let Self { mut body, message, content, calls, citations, .. } = *self;
        let begun = message.is_some() || !(content.is_empty() && calls.is_empty() && citations.is_empty());
        if begun {
            let mut message = message.unwrap_or_default();
            for (name, slots) in [("content", content), ("tool_calls", calls), ("citations", citations)] {
                message.insert(name.to_owned(), in_order(slots));
            }
            body.insert("message".to_owned(), message.into());
        }
        Folded {
            body: Value::Object(body),
            complete: self.ended,
            error: self.error,
            first_content_at: self.first_content_at,
        }
    }
}

impl ChatFold {
    /// A piece of the content, of a call or of a citation; each of the three has indices of its own.
    fn piece(&mut self, index: Option<u64>, kind: &str, piece: Option<&Value>, at: Duration) {
        let (Some(index), Some(Value::Object(piece))) = (index, piece) else { return };
        let slots = match kind {
            "content-start" | "content-delta" => &mut self.content,
            "citation-start" => &mut self.citations,
            _ => &mut self.calls,
        };
        let slot = slot(slots, index);
        if kind.ends_with("-start") {
            slot.clone_from(piece);
        } else {
            join(slot, piece);
        }
        // An empty text that begins a block is no content yet.
        if kind != "content-start" {
            self.first_content_at.get_or_insert(at);
        }
    }
}

/// Texts are put together at any depth; of other members the last counts.
fn join(into: &mut Map<String, Value>, piece: &Map<String, Value>) {
    for (name, value) in piece {
        match (into.get_mut(name), value) {
            (Some(Value::String(text)), Value::String(piece)) => text.push_str(piece),
            (Some(Value::Object(into)), Value::Object(piece)) => join(into, piece),
            (_, Value::Null) => {}
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

fn in_order(mut slots: Slots) -> Value {
    slots.sort_by_key(|(index, _)| *index);
    slots.into_iter().map(|(_, slot)| Value::Object(slot)).collect()
}
