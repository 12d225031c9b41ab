//! Cohere's rerank, version 2: a step of a retrieval, not a generation.
//!
//! Source: Cohere's API reference, "Rerank".

use serde_json::Value;

use super::call::{Call, Step};
use super::json::{count, pick, text};
use super::{Format, PLAIN, Source};

const PARAMETERS: &[&str] = &["top_n", "max_tokens_per_doc", "relevant_spans", "priority"];

/// How it is read.
pub(super) const FORMAT: Format = Format { request, response, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    let given = pick(body, &["query", "documents"]);
    let input = if given.is_empty() { None } else { Some(Value::Object(given)) };
    call.step = Some(Step { name: "rerank", kind: "retrieval", input, output: None });
    call.parameters = pick(body, PARAMETERS);
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.response_id = text(body.get("id"));
    if let Some(step) = &mut call.step {
        step.output = body.get("results").filter(|results| !results.is_null()).cloned();
    }
    if let Some(raw) = billed(body) {
        call.usage.requests = count(raw.get("search_units"));
        call.raw_usage = Some(raw.clone());
    }
}

/// What Cohere bills, where an answer has it in its `meta`.
pub(super) fn billed(body: &Value) -> Option<&Value> {
    body.get("meta")?.get("billed_units").filter(|units| units.is_object())
}
