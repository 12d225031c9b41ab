//! Cohere's embeddings, version 2.
//!
//! Source: Cohere's API reference, "Embed".

use serde_json::Value;

use super::call::{Call, Tokens};
use super::json::{count, is_something, pick, text};
use super::openai_embeddings::dimensions;
use super::{Format, PLAIN, Source};

const PARAMETERS: &[&str] =
    &["input_type", "embedding_types", "output_dimension", "truncate", "max_tokens", "priority"];

/// How it is read.
pub(super) const FORMAT: Format = Format { embedding: true, request, response, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    call.input = ["texts", "images", "inputs"]
        .iter()
        .find_map(|name| body.get(*name).filter(|input| is_something(input)))
        .cloned();
    call.parameters = pick(body, PARAMETERS);
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.response_id = text(body.get("id"));
    let vectors = body.get("embeddings").and_then(|by_type| {
        let types = ["float", "int8", "uint8", "base64", "binary", "ubinary"];
        types.iter().find_map(|kind| Some((*kind, by_type.get(*kind)?.as_array()?)))
    });
    if let Some((kind, vectors)) = vectors {
        call.embedding_count = Some(vectors.len() as u64);
        // A packed number holds eight dimensions, a bit each.
        let each = if kind.ends_with("binary") { 8 } else { 1 };
        call.embedding_dimensions = vectors.first().and_then(dimensions).map(|numbers| numbers * each);
    }
    if let Some(raw) = super::cohere_rerank::billed(body) {
        let (input, images) = (count(raw.get("input_tokens")), count(raw.get("image_tokens")));
        call.tokens = Tokens { input, image_in: images, ..Tokens::default() };
        // Images are billed beside the texts.
        call.usage.input_text = input;
        call.usage.image_in = images;
        call.raw_usage = Some(raw.clone());
    }
}
