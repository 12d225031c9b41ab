//! Ollama's own embeddings, of the present path and of the old one.
//!
//! Source: the API reference's page "Generate embeddings".

use serde_json::Value;

use super::call::Call;
use super::json::{is_something, pick, text};
use super::{Format, PLAIN, Source, ollama_chat};

/// How it is read.
pub(super) const FORMAT: Format = Format { embedding: true, request, response, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model"));
    call.input = body.get("input").or_else(|| body.get("prompt")).filter(|input| !input.is_null()).cloned();
    call.parameters = ollama_chat::parameters(body);
    call.parameters.extend(pick(body, &["dimensions"]));
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    let vectors: Option<Vec<&Value>> = match (body.get("embeddings"), body.get("embedding")) {
        (Some(Value::Array(vectors)), _) => Some(vectors.iter().collect()),
        // The old path gives one vector, an empty one when there was nothing to read.
        (_, Some(vector @ Value::Array(_))) => Some([vector].into_iter().filter(|one| is_something(one)).collect()),
        _ => None,
    };
    call.embedding_count = vectors.as_ref().map(|vectors| vectors.len() as u64);
    let first = vectors.and_then(|vectors| vectors.first()?.as_array());
    call.embedding_dimensions = first.map(|vector| vector.len() as u64);
    ollama_chat::usage(body, call);
}
