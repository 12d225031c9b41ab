//! Bedrock Converse and ConverseStream.
//!
//! Source: the Bedrock runtime's API reference, "Converse" and "ConverseStream".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::bedrock::{self, exception, model_of_arn, name_model};
use super::call::{Call, CallError, Tokens};
use super::json::{Slots, append, count, is_something, merge, parse, pick, slot, text};
use super::{Fold, Folded, Format, PLAIN, Source};

/// Members of `inferenceConfig`.
const INFERENCE: &[&str] = &["maxTokens", "temperature", "topP", "stopSequences"];
/// Members of the request.
const OUTER: &[&str] = &["guardrailConfig", "performanceConfig", "serviceTier", "outputConfig"];
/// Members of `additionalModelRequestFields` that choose how the model works, by the names of several makers.
const ADDITIONAL: &[&str] = &[
    "top_k",
    "top_p",
    "thinking",
    "reasoning_effort",
    "reasoning_config",
    "reasoningConfig",
    "output_config",
    "inferenceConfig",
];

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, response, fold: |_| Box::new(ConverseFold::default()), error: bedrock::error, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    name_model(call);
    if let Some(messages) = body.get("messages").and_then(Value::as_array) {
        let system = body.get("system").filter(|system| is_something(system));
        let system = system.map(|system| json!({"role": "system", "content": parts(system)}));
        call.input = Some(system.into_iter().chain(messages.iter().map(message)).collect());
    }
    let member = |name: &str| body.get(name).unwrap_or(&Value::Null);
    call.parameters = pick(member("inferenceConfig"), INFERENCE);
    call.parameters.append(&mut pick(member("toolConfig"), &["toolChoice"]));
    call.parameters.append(&mut pick(body, OUTER));
    call.parameters.append(&mut pick(member("additionalModelRequestFields"), ADDITIONAL));
    call.max_tokens = member("inferenceConfig").get("maxTokens").cloned();
    call.tools = member("toolConfig").get("tools").filter(|tools| is_something(tools)).cloned();
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    let trace = body.get("trace").unwrap_or(&Value::Null);
    if let Some(invoked) = text(trace.get("promptRouter").and_then(|router| router.get("invokedModelId"))) {
        call.model = Some(model_of_arn(&invoked).map_or(invoked.clone(), str::to_owned));
    }
    call.stop_reasons.extend(text(body.get("stopReason")));
    let answer = body.get("output").and_then(|output| output.get("message")).filter(|message| message.is_object());
    if let Some(answer) = answer {
        let mut answer = message(answer);
        for (name, value) in [
            ("guardrail", trace.get("guardrail")),
            ("additionalModelResponseFields", body.get("additionalModelResponseFields")),
        ] {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                answer[name] = value.clone();
            }
        }
        call.output.push(answer);
    }
    let tier = body.get("serviceTier").and_then(|tier| text(tier.get("type")));
    call.service_tier = tier.or(call.service_tier.take());
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        usage(raw, call);
    }
}

/// A message with parts in place of blocks.
fn message(message: &Value) -> Value {
    let role = message.get("role").and_then(Value::as_str).unwrap_or("assistant");
    json!({"role": role, "content": message.get("content").map_or_else(|| json!([]), parts)})
}

fn parts(blocks: &Value) -> Value {
    match blocks {
        Value::Array(blocks) => blocks.iter().map(part).collect(),
        other => other.clone(),
    }
}

/// A block in the normal form. A block is an object with one member, whose name is its kind.
fn part(block: &Value) -> Value {
    let Some((kind, content)) = block.as_object().and_then(|members| members.iter().next()) else {
        return block.clone();
    };
    // Tools that the service runs say which kind they are, and stay as sent.
    let own = content.get("type").is_none_or(Value::is_null);
    match kind.as_str() {
        "text" => json!({"type": "text", "text": content}),
        "toolUse" if own => json!({
            "type": "function",
            "id": content.get("toolUseId"),
            "function": {"name": content.get("name"), "arguments": content.get("input")},
        }),
        "toolResult" if own => {
            let inner = content.get("content").map_or_else(|| json!([]), parts);
            let mut part = json!({"type": "tool_result", "tool_use_id": content.get("toolUseId"), "content": inner});
            if let Some(status) = content.get("status").and_then(Value::as_str) {
                part["is_error"] = (status == "error").into();
            }
            part
        }
        "reasoningContent" if content.get("redactedContent").is_some() => json!({"type": "redacted_thinking"}),
        "reasoningContent" if content.get("reasoningText").is_some_and(Value::is_object) => {
            let reasoning = &content["reasoningText"];
            let mut part = json!({"type": "thinking", "thinking": text(reasoning.get("text")).unwrap_or_default()});
            if let Some(signature) = reasoning.get("signature").filter(|signature| !signature.is_null()) {
                part["signature"] = signature.clone();
            }
            part
        }
        "citationsContent" => {
            let texts = content.get("content").and_then(Value::as_array).into_iter().flatten();
            let joined: String = texts.filter_map(|piece| piece.get("text")?.as_str()).collect();
            let mut part = json!({"type": "text", "text": joined});
            if let Some(citations) = content.get("citations").filter(|citations| !citations.is_null()) {
                part["citations"] = citations.clone();
            }
            part
        }
        kind => {
            let mut part = block.clone();
            part["type"] = kind.into();
            part
        }
    }
}

fn usage(raw: &Value, call: &mut Call) {
    let (mut short, mut long) = (None, None);
    for entry in raw.get("cacheDetails").and_then(Value::as_array).into_iter().flatten() {
        let Some(written) = count(entry.get("inputTokens")) else { continue };
        let (short, long) = (short.get_or_insert(0_u64), long.get_or_insert(0_u64));
        let into = if entry.get("ttl").and_then(Value::as_str) == Some("1h") { long } else { short };
        *into = into.saturating_add(written);
    }
    let tokens = Tokens {
        input: count(raw.get("inputTokens")),
        output: count(raw.get("outputTokens")),
        total: count(raw.get("totalTokens")),
        cache_read: count(raw.get("cacheReadInputTokens")),
        cache_write: count(raw.get("cacheWriteInputTokens")),
        cache_write_5m: short,
        cache_write_1h: long,
        ..Tokens::default()
    };
    call.tokens = tokens;
    super::settle_exclusive(call);
    if let (Some(input), Some(output), Some(total)) = (tokens.input, tokens.output, tokens.total) {
        // Some models count the cache in the total, others do not.
        let plain = input.saturating_add(output);
        let cached = tokens.cache_read.unwrap_or(0).saturating_add(tokens.cache_write.unwrap_or(0));
        call.usage_inconsistent |= total != plain && total != plain.saturating_add(cached);
    }
    call.raw_usage = Some(raw.clone());
}

/// Folds a stream of events into the answer that Converse would have given.
#[derive(Default)]
struct ConverseFold {
    role: Option<String>,
    blocks: Slots,
    /// Pieces of a tool's input, which are JSON only when they are together.
    inputs: Vec<(u64, String)>,
    /// What stays of the last events: stop reason, usage, trace, tier.
    rest: Map<String, Value>,
    stopped: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for ConverseFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        let index = count(data.get("contentBlockIndex"));
        match name {
            "messageStart" => self.role = text(data.get("role")),
            "contentBlockStart" => {
                let start = data.get("start").and_then(Value::as_object).filter(|start| !start.is_empty());
                if let (Some(index), Some(start)) = (index, start) {
                    self.first_content_at.get_or_insert(at);
                    *slot(&mut self.blocks, index) = start.clone();
                }
            }
            "contentBlockDelta" => {
                let delta = data.get("delta").and_then(Value::as_object);
                if let (Some(index), Some(delta)) = (index, delta) {
                    for (kind, piece) in delta {
                        if self.delta(index, kind, piece) {
                            self.first_content_at.get_or_insert(at);
                        }
                    }
                }
            }
            "messageStop" => {
                self.stopped = true;
                self.keep(data, &["stopReason", "additionalModelResponseFields"]);
            }
            "metadata" => self.keep(data, &["usage", "trace", "serviceTier"]),
            name => {
                if let Some(error) = exception(name, data) {
                    self.error = Some(error);
                }
            }
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        let Self { role, mut blocks, mut inputs, rest, .. } = *self;
        blocks.sort_by_key(|(index, _)| *index);
        let begun = role.is_some() || !blocks.is_empty();
        let mut body = Value::Object(rest);
        let content: Vec<Value> = blocks
            .into_iter()
            .map(|(index, mut block)| {
                if let Some(Value::Object(tool)) = block.get_mut("toolUse") {
                    let at = inputs.iter().position(|(here, _)| *here == index);
                    let input = at.map(|at| inputs.swap_remove(at).1).filter(|input| !input.is_empty());
                    match input {
                        Some(input) => {
                            let input = parse(&input).unwrap_or(Value::String(input));
                            tool.insert("input".to_owned(), input);
                        }
                        None => {
                            tool.entry("input").or_insert_with(|| json!({}));
                        }
                    }
                }
                cited(block)
            })
            .collect();
        if begun {
            body["output"] = json!({"message": {"role": role, "content": content}});
        }
        Folded { body, complete: self.stopped, error: self.error, first_content_at: self.first_content_at }
    }
}

impl ConverseFold {
    fn keep(&mut self, data: &Value, names: &[&str]) {
        for (name, value) in pick(data, names) {
            merge(self.rest.entry(name).or_insert(Value::Null), &value);
        }
    }

    /// One piece of a block. False: it is of a kind that is not known.
    fn delta(&mut self, index: u64, kind: &str, piece: &Value) -> bool {
        match kind {
            "text" => append(slot(&mut self.blocks, index), "text", piece.as_str().unwrap_or_default()),
            "citation" => {
                let block = slot(&mut self.blocks, index);
                push(block, "citations", std::slice::from_ref(piece));
            }
            "toolUse" => {
                let Some(input) = piece.get("input").and_then(Value::as_str) else { return true };
                // A start that was lost must not lose what was said.
                member(slot(&mut self.blocks, index), "toolUse");
                match self.inputs.iter_mut().find(|(here, _)| *here == index) {
                    Some((_, text)) => text.push_str(input),
                    None => self.inputs.push((index, input.to_owned())),
                }
            }
            "toolResult" => {
                if let Value::Array(more) = piece {
                    push(member(slot(&mut self.blocks, index), "toolResult"), "content", more);
                }
            }
            "reasoningContent" => {
                let reasoning = member(slot(&mut self.blocks, index), "reasoningContent");
                for name in ["text", "signature"] {
                    if let Some(piece) = piece.get(name).and_then(Value::as_str) {
                        append(member(reasoning, "reasoningText"), name, piece);
                    }
                }
                if let Some(hidden) = piece.get("redactedContent") {
                    reasoning.insert("redactedContent".to_owned(), hidden.clone());
                }
            }
            kind => {
                // A kind that began with a start of its own, such as an image.
                let known =
                    kind == "image" || self.blocks.iter().any(|(at, block)| *at == index && block.contains_key(kind));
                if known && let Value::Object(piece) = piece {
                    grow(member(slot(&mut self.blocks, index), kind), piece);
                }
                return known;
            }
        }
        true
    }
}

/// The object behind a member, made when there is none.
fn member<'a>(object: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = object.entry(name).or_insert(Value::Null);
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(members) => members,
        _ => unreachable!("it was made an object"),
    }
}

fn push(object: &mut Map<String, Value>, name: &str, more: &[Value]) {
    match object.get_mut(name) {
        Some(Value::Array(all)) => all.extend_from_slice(more),
        _ => {
            object.insert(name.to_owned(), more.to_vec().into());
        }
    }
}

/// Puts a piece to what came before it: `bytes` are joined as bytes, for each piece is base64 by itself.
fn grow(into: &mut Map<String, Value>, piece: &Map<String, Value>) {
    for (name, value) in piece {
        match (into.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(value)) => grow(old, value),
            (Some(Value::String(old)), Value::String(more)) if name == "bytes" => {
                match (BASE64.decode(&*old), BASE64.decode(more)) {
                    (Ok(mut bytes), Ok(more)) => {
                        bytes.extend(more);
                        *old = BASE64.encode(bytes);
                    }
                    _ => old.push_str(more),
                }
            }
            (Some(Value::Array(old)), Value::Array(more)) => old.extend_from_slice(more),
            (_, Value::Null) => {}
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A text block with citations is what the plain call calls `citationsContent`.
fn cited(mut block: Map<String, Value>) -> Value {
    match block.remove("citations") {
        Some(citations) if block.is_empty() || block.contains_key("text") => {
            let text = block.remove("text").unwrap_or_else(|| "".into());
            json!({"citationsContent": {"content": [{"text": text}], "citations": citations}})
        }
        _ => Value::Object(block),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_image_are_joined_as_bytes() {
        let mut fold = Box::new(ConverseFold::default());
        let at = Duration::ZERO;
        fold.event("contentBlockStart", &json!({"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}), at);
        for bytes in ["aGVsbG8=", "IHdvcmxk"] {
            let delta = json!({"contentBlockIndex": 0, "delta": {"image": {"source": {"bytes": bytes}}}});
            fold.event("contentBlockDelta", &delta, at);
        }
        let body = fold.finish().body;
        let image = json!({"format": "png", "source": {"bytes": "aGVsbG8gd29ybGQ="}});
        assert_eq!(body["output"]["message"]["content"], json!([{"image": image}]));
    }
}
