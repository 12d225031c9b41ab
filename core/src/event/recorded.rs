//! From what an application told of a call to its event: the same properties as if it had been observed.

use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::properties::Properties;
use super::{Draft, build, secrets};
use crate::config::{Config, camel};
use crate::context::Scope;
use crate::decode::call::{Call, CallError, StreamStatus, Tokens};
use crate::decode::json::count;
use crate::decode::passed_usage;
use crate::event::usage::Usage;
use crate::price::{Convention, Counts};
use crate::record::{CallRecord, RecordedError};

/// The names of the counts that the application gives, and where they go.
type Count = (&'static str, fn(&mut Tokens) -> &mut Option<u64>);
const COUNTS: [Count; 15] = [
    ("input_tokens", |tokens| &mut tokens.input),
    ("output_tokens", |tokens| &mut tokens.output),
    ("total_tokens", |tokens| &mut tokens.total),
    ("cache_read_input_tokens", |tokens| &mut tokens.cache_read),
    ("cache_creation_input_tokens", |tokens| &mut tokens.cache_write),
    ("cache_creation_5m_input_tokens", |tokens| &mut tokens.cache_write_5m),
    ("cache_creation_1h_input_tokens", |tokens| &mut tokens.cache_write_1h),
    ("reasoning_tokens", |tokens| &mut tokens.reasoning),
    ("audio_input_tokens", |tokens| &mut tokens.audio_in),
    ("audio_output_tokens", |tokens| &mut tokens.audio_out),
    ("image_input_tokens", |tokens| &mut tokens.image_in),
    ("image_output_tokens", |tokens| &mut tokens.image_out),
    ("text_output_tokens", |tokens| &mut tokens.text_out),
    ("cache_read_audio_tokens", |tokens| &mut tokens.cache_read_audio),
    ("web_search_count", |tokens| &mut tokens.web_searches),
];

/// What providers call the limit of an answer's length.
const LIMITS: [&str; 4] = ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"];

/// The event without its cost, what it used, and the cost that the application or the usage object gave.
pub(crate) fn event(
    config: &Config,
    record: CallRecord,
    embedding: bool,
    scope: &Scope,
    id: String,
    started: SystemTime,
) -> (Draft, Usage, Option<String>) {
    let mut p = Properties::new();
    build::ids(&mut p, Some(scope), Some(id));
    p.put("$ai_span_name", scope.name());
    let provider = record.provider.as_deref().map(|name| crate::price::canonical_provider(name).into_owned());
    p.put("$ai_provider", provider.clone());
    if let Some(url) = &record.base_url {
        build::base_address(&mut p, url);
    }
    p.put("$ai_http_status", record.http_status);
    p.put("$ai_latency", record.latency.map(build::seconds));
    let convention =
        Convention::usual(provider.as_deref().unwrap_or_default(), record.model.as_deref().unwrap_or_default());
    let (call, requests) = call_of(record, embedding, convention.cache_outside);
    let reported = call.reported_usd.clone();
    let settled = call.usage;
    build::call_properties(&mut p, call, std::time::Duration::ZERO);
    p.put("$ai_request_count", requests);
    let usage = if settled == Usage::default() { Counts::of(|name| p.get(name)).usage(convention).0 } else { settled };
    let name = if embedding { "$ai_embedding" } else { "$ai_generation" };
    (build::finish(config, name, Some(scope), started, p), usage, reported)
}

fn call_of(record: CallRecord, embedding: bool, cache_exclusive: bool) -> (Call, Option<u64>) {
    let mut call = Call {
        embedding,
        passed_on: true,
        model: record.model,
        input: record.input.map(|input| if embedding { input } else { messages(input, "user") }),
        output: record.output.map(choices).unwrap_or_default(),
        tools: record.tools,
        // Only what is streamed has a first piece.
        stream: record.stream || record.time_to_first_token.is_some(),
        stop_reasons: record.stop_reason.into_iter().collect(),
        first_content_at: record.time_to_first_token,
        cache_exclusive,
        ..Call::default()
    };
    call.max_tokens = LIMITS.iter().find_map(|name| record.parameters.get(*name)).cloned();
    call.parameters = record.parameters;
    let mut requests = None;
    if let Some(usage) = record.usage
        && !passed_usage(&usage, &mut call)
    {
        // Node's own names are taken too: a usage object may be the SDK's or made by hand.
        static CAMEL: LazyLock<[String; COUNTS.len()]> = LazyLock::new(|| COUNTS.map(|(name, _)| camel(name)));
        for ((name, place), camel) in COUNTS.iter().zip(&*CAMEL) {
            *place(&mut call.tokens) = count(usage.get(name).or_else(|| usage.get(camel)));
        }
        requests = count(usage.get("request_count").or_else(|| usage.get("requestCount")));
        call.raw_usage = Some(usage);
    }
    call.reported_usd = record.cost_usd.or(call.reported_usd.take());
    call.error =
        record.error.map(|RecordedError { kind, message }| CallError { kind, message: secrets::mask(&message) });
    if call.stream {
        call.stream_status = Some(if call.error.is_some() { StreamStatus::Error } else { StreamStatus::Complete });
    }
    (call, requests)
}

/// A text as the message that it is; a message as a list of one.
fn messages(value: Value, role: &str) -> Value {
    match value {
        Value::String(text) => json!([{"role": role, "content": text}]),
        Value::Object(message) => Value::Array(vec![Value::Object(message)]),
        other => other,
    }
}

/// The answer as one message per choice.
fn choices(output: Value) -> Vec<Value> {
    let choice = |value: Value| match value {
        Value::String(text) => json!({"role": "assistant", "content": text}),
        Value::Object(mut message) => {
            // A choice of a chat completion holds its message.
            if let Some(Value::Object(inner)) = message.get_mut("message") {
                message = std::mem::take(inner);
            }
            with_role(message)
        }
        other => json!({"role": "assistant", "content": other}),
    };
    match output {
        Value::Array(items) => items.into_iter().map(choice).collect(),
        other => vec![choice(other)],
    }
}

fn with_role(mut message: Map<String, Value>) -> Value {
    message.entry("role").or_insert_with(|| "assistant".into());
    Value::Object(message)
}
