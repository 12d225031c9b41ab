//! Anthropic messages.
//!
//! Source: Anthropic's API reference, "Messages" and "Streaming Messages".

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, CallError, Tokens};
use super::json::{Slots, append, count, is_something, merge, parse, pick, slot, text};
use super::{Fold, Folded, Format, PLAIN, Source};

const PARAMETERS: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "thinking",
    "tool_choice",
    "service_tier",
    "stream",
    "output_config",
    "output_format",
    "container",
    "context_management",
    "speed",
    "inference_geo",
];

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, content, response, fold: |_| Box::new(MessagesFold::default()), ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    call.parameters = pick(body, PARAMETERS);
    call.max_tokens = body.get("max_tokens").cloned();
    call.stream |= body.get("stream") == Some(&Value::Bool(true));
}

fn content(body: &mut Value, call: &mut Call) {
    let mut take = |name| body.get_mut(name).map(Value::take);
    if let Some(Value::Array(messages)) = take("messages") {
        let system = take("system").filter(is_something).map(|system| {
            let members = [("role".to_owned(), "system".into()), ("content".to_owned(), system)];
            Value::Object(members.into_iter().collect())
        });
        call.input = Some(system.into_iter().chain(messages).collect());
    }
    call.tools = take("tools").filter(is_something);
}

/// Reads a request whose path says the model and whether a stream is asked for; the body does not count for these.
pub(super) fn request_by_path(source: &Source<'_>, call: &mut Call) {
    let requested = call.model_requested.take();
    request(source, call);
    call.model_requested = requested;
    call.stream = source.found.streams == Some(true);
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model")).or(call.model.take());
    call.response_id = text(body.get("id"));
    call.stop_reasons.extend(text(body.get("stop_reason")));
    for name in ["stop_sequence", "stop_details"] {
        if let Some(value) = body.get(name).filter(|value| !value.is_null()) {
            call.metadata.insert(name.to_owned(), value.clone());
        }
    }
    let blocks = body.get("content").and_then(Value::as_array).into_iter().flatten();
    let content: Vec<Value> = blocks.map(block).collect();
    call.output.push(json!({"role": "assistant", "content": content}));
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        usage(raw, call);
    }
}

/// A block of the answer in the normal form.
fn block(block: &Value) -> Value {
    match block.get("type").and_then(Value::as_str) {
        Some("tool_use") => json!({
            "type": "function",
            "id": block.get("id"),
            "function": {"name": block.get("name"), "arguments": block.get("input")},
        }),
        Some("redacted_thinking") => json!({"type": "redacted_thinking"}),
        Some("text") => {
            let members = block.as_object().into_iter().flatten();
            members.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        _ => block.clone(),
    }
}

/// Reads a usage object in the style of Anthropic's messages.
pub(super) fn usage(raw: &Value, call: &mut Call) {
    // What a compaction took is billed with the rest, and is not in the counts at the top.
    let parts: Vec<&Value> = [raw].into_iter().chain(iterations(raw, "compaction")).collect();
    let sum = |name: &str| parts.iter().filter_map(|part| count(part.get(name))).reduce(u64::saturating_add);
    let cache_write = sum("cache_creation_input_tokens");
    let both = lifetimes(&parts, cache_write);
    let tokens = Tokens {
        input: sum("input_tokens"),
        output: sum("output_tokens"),
        cache_read: sum("cache_read_input_tokens"),
        cache_write,
        cache_write_5m: both.map(|(short, _)| short),
        cache_write_1h: both.map(|(_, long)| long),
        reasoning: count(raw.get("output_tokens_details").and_then(|details| details.get("thinking_tokens"))),
        web_searches: count(raw.get("server_tool_use").and_then(|used| used.get("web_search_requests"))),
        ..Tokens::default()
    };
    call.tokens = tokens;
    // The fast mode of a model has a price of its own, and is told beside the tier.
    let fast = text(raw.get("speed")).filter(|speed| speed == "fast");
    call.service_tier = fast.or_else(|| text(raw.get("service_tier"))).or(call.service_tier.take());
    super::settle_exclusive(call);
    call.raw_usage = Some(raw.clone());
}

/// The turns of one kind that a call took inside the provider.
fn iterations<'a>(raw: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let all = raw.get("iterations").and_then(Value::as_array).into_iter().flatten();
    all.filter(move |one| one.get("type").and_then(Value::as_str) == Some(kind))
}

/// Another model's tokens came with the call: an advisor's, which are counted apart and charged at that model's price.
pub(crate) fn used_another_model(raw: &Value) -> bool {
    iterations(raw, "advisor_message").next().is_some()
}

/// The region that the model was kept in, where that has a price of its own.
pub(crate) fn kept_in(raw: &Value) -> Option<&str> {
    raw.get("inference_geo").and_then(Value::as_str).filter(|geo| *geo == "us")
}

/// What was written to the cache for five minutes and for an hour. A stream tells of these in its first event alone: of
/// what was written later there is only the sum, and the rest belongs to the one lifetime that was used.
fn lifetimes(parts: &[&Value], all: Option<u64>) -> Option<(u64, u64)> {
    let mut sums: Option<(u64, u64)> = None;
    for created in parts.iter().filter_map(|part| part.get("cache_creation")) {
        let of = |name: &str| count(created.get(name));
        if let Some((short, long)) = of("ephemeral_5m_input_tokens").zip(of("ephemeral_1h_input_tokens")) {
            let before = sums.unwrap_or_default();
            sums = Some((before.0.saturating_add(short), before.1.saturating_add(long)));
        }
    }
    match (sums?, all) {
        ((short, 0), Some(all)) if all > short => Some((all, 0)),
        ((0, long), Some(all)) if all > long => Some((0, all)),
        (sums, _) => Some(sums),
    }
}

/// Folds a stream of events into the message that the plain call would have given.
#[derive(Default)]
pub(super) struct MessagesFold {
    message: Map<String, Value>,
    blocks: Slots,
    /// Pieces of a block's input, which are JSON only when they are together.
    inputs: BTreeMap<u64, String>,
    stopped: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl MessagesFold {
    fn delta(&mut self, index: u64, delta: &Value) {
        let block = slot(&mut self.blocks, index);
        match delta.get("type").and_then(Value::as_str) {
            Some("text_delta") => append(block, "text", delta["text"].as_str().unwrap_or_default()),
            Some("thinking_delta") => append(block, "thinking", delta["thinking"].as_str().unwrap_or_default()),
            Some("signature_delta") => append(block, "signature", delta["signature"].as_str().unwrap_or_default()),
            Some("citations_delta") => {
                if let Some(citation) = delta.get("citation") {
                    match block.get_mut("citations") {
                        Some(Value::Array(all)) => all.push(citation.clone()),
                        _ => {
                            block.insert("citations".to_owned(), Value::Array(vec![citation.clone()]));
                        }
                    }
                }
            }
            Some("input_json_delta") => {
                let piece = delta.get("partial_json").and_then(Value::as_str).unwrap_or_default();
                self.inputs.entry(index).or_default().push_str(piece);
            }
            _ => {}
        }
    }
}

impl Fold for MessagesFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        let kind = data.get("type").and_then(Value::as_str).unwrap_or(name);
        let index = count(data.get("index"));
        match kind {
            "message_start" => {
                if let Some(Value::Object(message)) = data.get("message") {
                    self.message = message.clone();
                    for (index, block) in
                        message.get("content").and_then(Value::as_array).into_iter().flatten().enumerate()
                    {
                        if let Value::Object(block) = block {
                            *slot(&mut self.blocks, index as u64) = block.clone();
                        }
                    }
                }
            }
            "content_block_start" => {
                if let (Some(index), Some(Value::Object(block))) = (index, data.get("content_block")) {
                    // A text block begins empty; anything else is content from its first event on.
                    let empty = ["text", "thinking"]
                        .iter()
                        .any(|member| block.get(*member).is_some_and(|text| text.as_str() == Some("")));
                    if !empty {
                        self.first_content_at.get_or_insert(at);
                    }
                    *slot(&mut self.blocks, index) = block.clone();
                }
            }
            "content_block_delta" => {
                if let (Some(index), Some(delta)) = (index, data.get("delta")) {
                    self.first_content_at.get_or_insert(at);
                    self.delta(index, delta);
                }
            }
            "message_delta" => {
                for (name, value) in data.get("delta").and_then(Value::as_object).into_iter().flatten() {
                    if !value.is_null() {
                        self.message.insert(name.clone(), value.clone());
                    }
                }
                if let Some(usage) = data.get("usage") {
                    merge(self.message.entry("usage").or_insert(Value::Null), usage);
                }
            }
            "message_stop" => self.stopped = true,
            "error" => self.error = Some(super::provider_error(data.get("error").unwrap_or(data))),
            _ => {}
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        let Self { mut message, mut blocks, inputs, stopped, error, first_content_at } = *self;
        for (index, text) in inputs {
            if !text.is_empty() {
                let input = parse(&text).unwrap_or(Value::String(text));
                slot(&mut blocks, index).insert("input".to_owned(), input);
            }
        }
        // Some callers leave at the stop reason, with all there is of the answer and its usage.
        let complete = stopped || message.get("stop_reason").is_some_and(Value::is_string);
        blocks.sort_by_key(|(index, _)| *index);
        let content = blocks.into_iter().map(|(_, block)| Value::Object(block)).collect();
        message.insert("content".to_owned(), content);
        Folded { body: Value::Object(message), complete, error, first_content_at }
    }
}
