//! OpenAI chat completions, and everything compatible with them.
//!
//! Source: the API reference's pages "Create chat completion" and "Chat completion chunk".

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, CallError, Tokens};
use super::json::{Slots, append, count, is_something, keep, merge, pick, slot, text};
use super::{Fold, Folded, Format, PLAIN, Source};
use crate::price::Amount;

const PARAMETERS: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "verbosity",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "service_tier",
    "stream",
    "stream_options",
    "modalities",
    "audio",
    "web_search_options",
    "random_seed",
    "safe_prompt",
    "prompt_mode",
    "search_mode",
];

/// Members beside the choices that belong to the answer's content (Perplexity, xAI).
const BESIDE_CHOICES: &[&str] = &["citations", "search_results", "images", "related_questions"];

/// Members of a message that the normal form gives a place of their own.
const PLACED: &[&str] =
    &["role", "content", "refusal", "reasoning_content", "reasoning", "audio", "tool_calls", "function_call"];

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, content, response, fold: |source| Box::new(ChatFold::new(source.request)), ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    call.parameters = pick(body, PARAMETERS);
    call.max_tokens = body.get("max_completion_tokens").or_else(|| body.get("max_tokens")).cloned();
    call.stream |= body.get("stream") == Some(&Value::Bool(true));
}

fn content(body: &mut Value, call: &mut Call) {
    call.input = body.get_mut("messages").map(Value::take);
    let tools = if body.get("tools").is_some() { "tools" } else { "functions" };
    call.tools = body.get_mut(tools).map(Value::take).filter(is_something);
}

pub(super) fn response(source: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    call.response_id = text(body.get("id"));
    call.completion_id = call.response_id.clone();
    call.service_tier = text(body.get("service_tier"));
    if let Some(fingerprint) = text(body.get("system_fingerprint")) {
        call.metadata.insert("system_fingerprint".to_owned(), fingerprint.into());
    }
    let mut choices: Vec<&Value> = body.get("choices").and_then(Value::as_array).into_iter().flatten().collect();
    choices.sort_by_key(|choice| count(choice.get("index")).unwrap_or(0));
    for choice in &choices {
        call.output.push(message(choice.get("message").unwrap_or(&Value::Null)));
        if let Some(reason) = text(choice.get("finish_reason")) {
            call.stop_reasons.push(reason);
        }
    }
    if let Some(Value::Object(first)) = call.output.first_mut() {
        for (name, value) in pick(body, BESIDE_CHOICES) {
            if is_something(&value) {
                first.entry(name).or_insert(value);
            }
        }
    }
    let of_choice = || choices.iter().find_map(|choice| choice.get("usage").filter(|usage| usage.is_object()));
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()).or_else(of_choice) {
        usage(raw, call);
    } else if let Some(raw) = body.get("timings") {
        timings(raw, call);
    }
    // A stream's headers are sent before it is known what the stream costs.
    if !call.stream
        && let Some(cost) = source.header("x-litellm-response-cost").filter(|cost| cost.parse::<f64>().is_ok())
    {
        call.reported_usd = Some(cost.to_owned());
    }
}

/// llama.cpp counts in its timings, where it has no usage to give.
fn timings(raw: &Value, call: &mut Call) {
    let number = |name| count(raw.get(name));
    if let (Some(prompt), Some(cached), Some(output)) = (number("prompt_n"), number("cache_n"), number("predicted_n")) {
        call.tokens = Tokens {
            input: Some(prompt.saturating_add(cached)),
            cache_read: Some(cached),
            output: Some(output),
            ..Tokens::default()
        };
        super::settle_inclusive(call);
        call.raw_usage = Some(raw.clone());
    }
}

/// A message of the answer in the normal form.
pub(super) fn message(message: &Value) -> Value {
    let mut parts = Vec::new();
    let thinking = text(message.get("reasoning_content")).or_else(|| text(message.get("reasoning")));
    if let Some(thinking) = thinking {
        parts.push(json!({"type": "thinking", "thinking": thinking}));
    }
    let content = message.get("content").unwrap_or(&Value::Null);
    match content {
        Value::String(text) if !text.is_empty() => parts.push(json!({"type": "text", "text": text})),
        Value::Array(items) => parts.extend(items.iter().map(content_part)),
        _ => {}
    }
    if let Some(refusal) = text(message.get("refusal")) {
        parts.push(json!({"type": "refusal", "refusal": refusal}));
    }
    if let Some(Value::Object(audio)) = message.get("audio").filter(|audio| !is_blank(audio)) {
        let mut part = audio.clone();
        part.insert("type".to_owned(), "audio".into());
        parts.push(Value::Object(part));
    }
    for tool_call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        parts.push(self::tool_call(tool_call));
    }
    if let Some(function) = message.get("function_call").filter(|call| call.is_object() && !is_blank(call)) {
        parts.push(json!({"type": "function", "function": pick(function, &["name", "arguments"])}));
    }
    let only_text = parts.iter().all(|part| part["type"] == "text");
    let content = match content {
        Value::String(_) if only_text => content.clone(),
        _ => Value::Array(parts),
    };
    let mut out = Map::new();
    let role = message.get("role").filter(|role| role.is_string()).cloned();
    out.insert("role".to_owned(), role.unwrap_or_else(|| "assistant".into()));
    out.insert("content".to_owned(), content);
    for (name, value) in message.as_object().into_iter().flatten() {
        if !PLACED.contains(&name.as_str()) && is_something(value) {
            out.insert(name.clone(), value.clone());
        }
    }
    Value::Object(out)
}

/// An object in which nothing is said: Snowflake writes out all members that a message may have.
fn is_blank(object: &Value) -> bool {
    let blank = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        _ => false,
    };
    object.as_object().is_some_and(|members| members.values().all(blank))
}

/// A part of a content that is a list. Mistral's thinking is a list of texts.
fn content_part(part: &Value) -> Value {
    match part.get("thinking") {
        Some(Value::Array(pieces)) if part["type"] == "thinking" => {
            let thinking: String = pieces.iter().filter_map(|piece| piece.get("text")?.as_str()).collect();
            let mut out = json!({"type": "thinking", "thinking": thinking});
            if let Some(signature) = text(part.get("signature")) {
                out["signature"] = signature.into();
            }
            out
        }
        _ => part.clone(),
    }
}

fn tool_call(call: &Value) -> Value {
    let mut part = Map::new();
    if let Some(id) = call.get("id").filter(|id| !id.is_null()) {
        part.insert("id".to_owned(), id.clone());
    }
    let kind = text(call.get("type")).unwrap_or_else(|| "function".to_owned());
    match kind.as_str() {
        "function" => part.insert(
            "function".to_owned(),
            Value::Object(pick(call.get("function").unwrap_or(&Value::Null), &["name", "arguments"])),
        ),
        "custom" => part.insert(
            "custom".to_owned(),
            Value::Object(pick(call.get("custom").unwrap_or(&Value::Null), &["name", "input"])),
        ),
        // A kind that is not known is kept as sent.
        _ => return call.clone(),
    };
    part.insert("type".to_owned(), kind.into());
    Value::Object(part)
}

/// Reads a usage object in the style of chat completions.
pub(super) fn usage(raw: &Value, call: &mut Call) {
    let input_details = raw.get("prompt_tokens_details").unwrap_or(&Value::Null);
    let output_details = raw.get("completion_tokens_details").unwrap_or(&Value::Null);
    call.tokens = Tokens {
        input: count(raw.get("prompt_tokens")),
        output: count(raw.get("completion_tokens")),
        total: count(raw.get("total_tokens")),
        cache_read: count(input_details.get("cached_tokens"))
            .or_else(|| count(raw.get("prompt_cache_hit_tokens")))
            .or_else(|| count(raw.get("cached_tokens"))),
        cache_write: count(input_details.get("cache_write_tokens")),
        reasoning: count(output_details.get("reasoning_tokens")),
        audio_in: count(input_details.get("audio_tokens")),
        audio_out: count(output_details.get("audio_tokens")),
        image_in: count(input_details.get("image_tokens")),
        image_out: count(output_details.get("image_tokens")),
        text_out: count(output_details.get("text_tokens")),
        ..Tokens::default()
    };
    call.reported_usd = reported_usd(raw);
    super::settle_inclusive(call);
    call.raw_usage = Some(raw.clone());
}

/// What a usage object says that the call cost: in dollars (OpenRouter, Perplexity), or in xAI's ticks.
pub(super) fn reported_usd(raw: &Value) -> Option<String> {
    /// There are ten to the power of this in a dollar.
    const TICKS: i32 = 10;
    let cost = raw.get("cost").map(|cost| cost.get("total_cost").unwrap_or(cost));
    // Where others serve xAI's models (Azure), it is there and zero.
    let ticks = count(raw.get("cost_in_usd_ticks")).filter(|ticks| *ticks > 0);
    let ticks = || Amount::parse_per(&ticks?.to_string(), TICKS);
    cost.filter(|cost| cost.is_number()).map(ToString::to_string).or_else(|| Some(ticks()?.to_string()))
}

/// Folds a stream of chunks into the body that the plain call would have had.
#[derive(Default)]
pub(super) struct ChatFold {
    body: Map<String, Value>,
    /// Messages by choice index; tool calls are kept apart until the end.
    choices: Slots,
    tool_calls: BTreeMap<u64, Slots>,
    /// The `data` of their audio.
    sounds: BTreeMap<u64, Sound>,
    finish: BTreeMap<u64, Value>,
    usage: Value,
    done: bool,
    expected_choices: u64,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl ChatFold {
    pub(super) fn new(request: &Value) -> Self {
        Self { expected_choices: count(request.get("n")).unwrap_or(1), ..Self::default() }
    }

    fn choice(&mut self, choice: &Value, at: Duration) {
        let index = count(choice.get("index")).unwrap_or(0);
        slot(&mut self.choices, index);
        let mut content = false;
        let delta = choice.get("delta").filter(|delta| delta.is_object()).or_else(|| choice.get("message"));
        for (name, value) in delta.and_then(Value::as_object).into_iter().flatten() {
            match (name.as_str(), value) {
                // Together numbers its tokens.
                (_, Value::Null) | ("token_id", _) => {}
                ("tool_calls", calls) => {
                    for call in calls.as_array().into_iter().flatten() {
                        content = true;
                        self.tool_call(index, call);
                    }
                }
                ("role", role) => {
                    slot(&mut self.choices, index).insert(name.clone(), role.clone());
                }
                ("content", Value::Array(pieces)) => {
                    content = true;
                    let message = slot(&mut self.choices, index);
                    for piece in pieces {
                        join_part(message, content_part(piece));
                    }
                }
                ("content", Value::String(piece)) if slot(&mut self.choices, index).get(name).is_some_and(is_list) => {
                    content |= !piece.is_empty();
                    if !piece.is_empty() {
                        join_part(slot(&mut self.choices, index), json!({"type": "text", "text": piece}));
                    }
                }
                ("content" | "refusal" | "reasoning_content" | "reasoning", Value::String(piece)) => {
                    content |= !piece.is_empty();
                    append(slot(&mut self.choices, index), name, piece);
                }
                ("audio", Value::Object(pieces)) => {
                    content = true;
                    let audio = object_of(slot(&mut self.choices, index), name);
                    for (member, piece) in pieces {
                        match piece {
                            Value::String(piece) if member == "data" => {
                                self.sounds.entry(index).or_default().push(piece);
                            }
                            Value::String(piece) if member == "transcript" => append(audio, member, piece),
                            Value::Null => {}
                            other => {
                                audio.insert(member.clone(), other.clone());
                            }
                        }
                    }
                }
                ("function_call", Value::Object(pieces)) => {
                    content = true;
                    let function = object_of(slot(&mut self.choices, index), name);
                    for (member, piece) in pieces {
                        if let Value::String(piece) = piece {
                            append(function, member, piece);
                        }
                    }
                }
                ("reasoning_details", Value::Array(items)) => {
                    content = true;
                    let message = slot(&mut self.choices, index);
                    let all = message.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                    if let Value::Array(all) = all {
                        for item in items {
                            join_detail(all, item);
                        }
                    }
                }
                (_, Value::Array(items)) => {
                    if let Some(Value::Array(all)) = slot(&mut self.choices, index).get_mut(name) {
                        all.extend(items.iter().cloned());
                    } else {
                        slot(&mut self.choices, index).insert(name.clone(), value.clone());
                    }
                }
                _ => {
                    slot(&mut self.choices, index).insert(name.clone(), value.clone());
                }
            }
        }
        if content {
            self.first_content_at.get_or_insert(at);
        }
        if let Some(reason) = choice.get("finish_reason").filter(|reason| !reason.is_null()) {
            self.finish.insert(index, reason.clone());
        }
        // Some servers put the usage into the last choice.
        if let Some(usage) = choice.get("usage").filter(|usage| usage.is_object()) {
            merge(&mut self.usage, usage);
        }
    }

    /// Arguments come in pieces, those of several calls interleaved; the index says whose they are. Servers that leave
    /// the index out send whole calls, told apart by their ids.
    fn tool_call(&mut self, choice: u64, delta: &Value) {
        /// A piece goes on with a call that is not long ago; to look through all of a great many takes too long.
        const RECENT: usize = 1000;
        let calls = self.tool_calls.entry(choice).or_default();
        let index = count(delta.get("index")).unwrap_or_else(|| {
            let same = text(delta.get("id")).map_or(calls.last(), |id| {
                calls
                    .iter()
                    .rev()
                    .take(RECENT)
                    .find(|(_, call)| call.get("id").and_then(Value::as_str) == Some(id.as_str()))
            });
            let next = calls.last().map_or(0, |(last, _)| last.saturating_add(1));
            same.map_or(next, |(index, _)| *index)
        });
        let index = place_of(calls, index, delta);
        let call = slot(calls, index);
        for (name, value) in delta.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                (_, Value::Null) | ("index", _) => {}
                // Some servers repeat the members of the first piece, but empty.
                ("id" | "type", Value::String(empty)) if empty.is_empty() && call.contains_key(name) => {}
                ("function" | "custom", Value::Object(pieces)) => {
                    let inner = object_of(call, name);
                    for (member, piece) in pieces {
                        match piece {
                            Value::String(piece) => append(inner, member, piece),
                            Value::Null => {}
                            other => {
                                inner.insert(member.clone(), other.clone());
                            }
                        }
                    }
                }
                _ => {
                    call.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

/// Where a piece of a call belongs that says this index. Some servers send whole calls that all say the same: what has
/// a name, and another id than what is there, is a call of its own, and what follows without an id goes on with the last.
fn place_of(calls: &Slots, index: u64, delta: &Value) -> u64 {
    /// What is added for each further call that says the same index, which nobody counts to.
    const FURTHER: u64 = 1 << 32;
    let there = |place: u64| calls.binary_search_by_key(&place, |(here, _)| *here).ok().map(|at| &calls[at].1);
    let Some(first) = there(index) else { return index };
    let (mut place, mut last) = (index, first);
    while let Some(next) = place.checked_add(FURTHER).and_then(|next| Some((next, there(next)?))) {
        (place, last) = next;
    }
    let named =
        ["function", "custom"].iter().any(|kind| text(delta.get(*kind).and_then(|call| call.get("name"))).is_some());
    let other = text(delta.get("id")).is_some_and(|id| last.get("id").is_some_and(|before| *before != *id));
    if named && other { place.saturating_add(FURTHER) } else { place }
}

/// Base64 that comes in pieces: each may be whole in itself, padding included, so what they stand for is joined.
#[derive(Default)]
struct Sound(Vec<String>);

impl Sound {
    fn push(&mut self, piece: &str) {
        match self.0.last_mut().filter(|last| !last.ends_with('=')) {
            Some(last) => last.push_str(piece),
            None => self.0.push(piece.to_owned()),
        }
    }

    fn join(self) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        if self.0.len() > 1
            && let Ok(bytes) = self.0.iter().map(|whole| STANDARD.decode(whole)).collect::<Result<Vec<_>, _>>()
        {
            return STANDARD.encode(bytes.concat());
        }
        self.0.concat()
    }
}

fn is_list(value: &Value) -> bool {
    value.is_array()
}

/// Puts a piece of a content that is a list onto the part that it continues, or behind it. What came as a string
/// before is a first text.
fn join_part(message: &mut Map<String, Value>, piece: Value) {
    let content = message.entry("content").or_insert(Value::Null);
    if !content.is_array() {
        let before = content.as_str().filter(|text| !text.is_empty()).map(|text| json!({"type": "text", "text": text}));
        *content = before.into_iter().collect();
    }
    let Value::Array(parts) = content else { return };
    let kind = piece.get("type").and_then(Value::as_str).unwrap_or_default();
    let joined = ["text", "thinking"].into_iter().find(|joined| kind == *joined);
    match (joined, parts.last_mut(), &piece) {
        (Some(kind), Some(Value::Object(last)), Value::Object(pieces)) if last.get("type") == Some(&kind.into()) => {
            for (name, value) in pieces {
                match value {
                    Value::Null => {}
                    Value::String(text) if name == kind => append(last, name, text),
                    _ => {
                        last.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        _ => parts.push(piece),
    }
}

/// Pieces of one reasoning detail have the same type and index; their texts belong together.
fn join_detail(all: &mut Vec<Value>, piece: &Value) {
    let same = all.iter_mut().find(|detail| {
        piece.get("index").is_some_and(|index| detail.get("index") == Some(index))
            && detail.get("type") == piece.get("type")
    });
    let (Some(Value::Object(detail)), Value::Object(piece)) = (same, piece) else {
        all.push(piece.clone());
        return;
    };
    for (name, value) in piece {
        match value {
            Value::Null => {}
            Value::String(text) if matches!(name.as_str(), "text" | "summary" | "data") => append(detail, name, text),
            _ => {
                detail.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A member that is an object, made when it is not there.
fn object_of<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let member = parent.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !member.is_object() {
        *member = Value::Object(Map::new());
    }
    match member {
        Value::Object(object) => object,
        _ => unreachable!("made an object above"),
    }
}

impl Fold for ChatFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        // An event of that name may be the error itself.
        let itself = Some(data).filter(|data| name == "error" && data.is_object());
        if let Some(error) = data.get("error").filter(|error| !error.is_null()).or(itself) {
            self.error = Some(super::provider_error(error));
        }
        for (name, value) in data.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("choices", choices) => {
                    for choice in choices.as_array().into_iter().flatten() {
                        self.choice(choice, at);
                    }
                }
                ("usage", usage) if usage.is_object() => merge(&mut self.usage, usage),
                ("x_groq", extra) => merge(&mut self.usage, extra.get("usage").unwrap_or(&Value::Null)),
                (_, Value::Array(items)) if !items.is_empty() && BESIDE_CHOICES.contains(&name.as_str()) => {
                    keep(&mut self.body, name, value);
                }
                (_, Value::Null | Value::Array(_)) | ("error", _) => {}
                // Azure's first chunk, which only tells of the prompt's filter, has empty ids.
                (_, Value::String(empty)) if empty.is_empty() => {}
                _ => keep(&mut self.body, name, value),
            }
        }
    }

    fn done(&mut self) {
        self.done = true;
    }

    fn finish(self: Box<Self>) -> Folded {
        let Self { mut body, choices, mut tool_calls, mut sounds, finish, usage, .. } = *self;
        let finished = !choices.is_empty()
            && choices.len() as u64 >= self.expected_choices
            && choices.iter().all(|(index, _)| finish.contains_key(index));
        let choices: Vec<Value> = choices
            .into_iter()
            .map(|(index, mut message)| {
                if let Some(calls) = tool_calls.remove(&index) {
                    let calls = calls.into_iter().map(|(_, call)| Value::Object(call)).collect();
                    message.insert("tool_calls".to_owned(), calls);
                }
                if let Some(sound) = sounds.remove(&index) {
                    object_of(&mut message, "audio").insert("data".to_owned(), sound.join().into());
                }
                let reason = finish.get(&index);
                json!({"index": index, "message": message, "finish_reason": reason})
            })
            .collect();
        body.insert("choices".to_owned(), Value::Array(choices));
        body.insert("usage".to_owned(), usage);
        Folded {
            body: Value::Object(body),
            complete: self.done || finished,
            error: self.error,
            first_content_at: self.first_content_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_in_ticks_is_one_when_there_are_any() {
        for (usage, cost) in [
            (json!({"cost_in_usd_ticks": 37_756_000}), Some("0.0037756")),
            (json!({"cost_in_usd_ticks": 0}), None),
            (json!({"cost": 0.25, "cost_in_usd_ticks": 1}), Some("0.25")),
            (json!({}), None),
        ] {
            assert_eq!(reported_usd(&usage).as_deref(), cost, "{usage}");
        }
    }

    #[test]
    fn pieces_of_sound_are_joined_as_what_they_stand_for() {
        for (pieces, whole) in [
            (&["AAE=", "Ag==", "Aw=="][..], "AAECAw=="),
            (&["AAE", "=", "Ag=="], "AAEC"),
            (&["AA", "EC"], "AAEC"),
            (&["!=", "Ag=="], "!=Ag=="),
        ] {
            let mut sound = Sound::default();
            for piece in pieces {
                sound.push(piece);
            }
            assert_eq!(sound.join(), whole, "{pieces:?}");
        }
    }

    #[test]
    fn calls_that_all_say_one_index_stay_apart() {
        let call = |id: &str, arguments: &str| {
            let name = if id.is_empty() { "" } else { "f" };
            json!({"choices": [{"delta": {"tool_calls": [
                {"index": 0, "id": id, "function": {"name": name, "arguments": arguments}}
            ]}}]})
        };
        let mut fold = ChatFold::default();
        for (id, arguments) in [("a", "1"), ("", "2"), ("b", "3"), ("", "4"), ("c", "5"), ("c", "6")] {
            fold.event("", &call(id, arguments), Duration::ZERO);
        }
        let body = Box::new(fold).finish().body;
        let calls = body["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        let said: Vec<_> = calls.iter().map(|call| (&call["id"], &call["function"]["arguments"])).collect();
        assert_eq!(json!(said), json!([["a", "12"], ["b", "34"], ["c", "56"]]));
    }
}
