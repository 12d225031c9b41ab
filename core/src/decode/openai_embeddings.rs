//! OpenAI embeddings, and everything compatible with them.
//!
//! Source: the API reference's page "Create embeddings".

use base64::Engine as _;
use serde_json::Value;

use super::call::{Call, Tokens};
use super::json::{count, pick, text};
use super::{Format, PLAIN, Source};

const PARAMETERS: &[&str] = &["dimensions", "encoding_format"];

/// How it is read.
pub(super) const FORMAT: Format = Format { embedding: true, request, response, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    call.input = body.get("input").filter(|input| !input.is_null()).cloned();
    call.parameters = pick(body, PARAMETERS);
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    call.response_id = text(body.get("id"));
    if let Some(vectors) = body.get("data").and_then(Value::as_array) {
        call.embedding_count = Some(vectors.len() as u64);
        call.embedding_dimensions = vectors.first().and_then(|vector| dimensions(vector.get("embedding")?));
    }
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        call.tokens = Tokens {
            input: count(raw.get("prompt_tokens")),
            total: count(raw.get("total_tokens")),
            ..Tokens::default()
        };
        call.reported_usd = raw.get("cost").filter(|cost| cost.is_number()).map(ToString::to_string);
        super::settle_inclusive(call);
        call.raw_usage = Some(raw.clone());
    }
}

/// How long a vector is: a list of numbers, or base64 of 32-bit floats.
pub(super) fn dimensions(vector: &Value) -> Option<u64> {
    match vector {
        Value::Array(numbers) => Some(numbers.len() as u64),
        Value::String(packed) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed).ok()?;
            Some(bytes.len() as u64 / 4)
        }
        _ => None,
    }
}
