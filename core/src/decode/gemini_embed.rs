//! Gemini's `embedContent` and `batchEmbedContents`, and Vertex AI's `predict` of embedding models.
//!
//! Source: the Gemini API reference, "Embeddings", and Vertex AI's, "Text embeddings API".

use serde_json::{Value, json};

use super::call::Call;
use super::gemini::{camel, items, member, parts, usage};
use super::json::count;
use super::{Format, PLAIN, Source};

const PARAMETERS: &[&str] = &["taskType", "title", "outputDimensionality", "autoTruncate"];

/// How it is read.
pub(super) const FORMAT: Format = Format { embedding: true, request, response, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    let (requests, instances) = (member(body, "requests"), member(body, "instances"));
    call.input = if requests.is_some() {
        Some(items(requests).iter().map(|one| member(one, "content").map_or(Value::Null, content)).collect())
    } else if instances.is_some() {
        // An instance of a multimodal model has no content: it is what it is.
        Some(items(instances).iter().map(|one| member(one, "content").unwrap_or(one).clone()).collect())
    } else {
        member(body, "content").map(content)
    };
    let first = items(requests).first().or_else(|| items(instances).first());
    let places = [Some(body), config(body), first, first.and_then(config), member(body, "parameters")];
    for name in PARAMETERS {
        if let Some(value) = places.iter().flatten().find_map(|place| member(place, name)) {
            call.parameters.insert((*name).to_owned(), camel(value));
        }
    }
}

fn config(request: &Value) -> Option<&Value> {
    member(request, "embedContentConfig")
}

/// A content that is one text is that text, any other the list of its parts.
fn content(content: &Value) -> Value {
    let parts = parts(content);
    match parts.as_slice() {
        [one] if one.as_object().is_some_and(|part| part.len() == 2) && one["type"] == "text" => one["text"].clone(),
        _ => Value::Array(parts),
    }
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    usage(body, call);
    let predictions = items(body.get("predictions"));
    let vectors: Vec<Option<&Value>> = if body.get("predictions").is_some() {
        predictions.iter().flat_map(predicted).collect()
    } else {
        let embeddings = items(body.get("embedding").or_else(|| body.get("embeddings")));
        embeddings.iter().map(|embedding| embedding.get("values")).collect()
    };
    if ["predictions", "embedding", "embeddings"].iter().any(|name| body.get(*name).is_some()) {
        call.embedding_count = Some(vectors.len() as u64);
        let first = vectors.first().copied().flatten().and_then(Value::as_array);
        call.embedding_dimensions = first.map(|values| values.len() as u64);
    }
    let counts = predictions.iter().filter_map(|prediction| {
        let statistics = member(member(prediction, "embeddings")?, "statistics")?;
        count(member(statistics, "tokenCount"))
    });
    if let Some(tokens) = counts.reduce(u64::saturating_add) {
        call.tokens.input = Some(tokens);
        call.usage.input_text = Some(tokens);
        let metadata = body.get("metadata").filter(|metadata| metadata.is_object());
        call.raw_usage = Some(metadata.cloned().unwrap_or_else(|| json!({})));
    }
}

/// The vectors of a prediction: one of a text, or those of a multimodal instance.
fn predicted(prediction: &Value) -> Vec<Option<&Value>> {
    let text = member(prediction, "embeddings").map(|embeddings| embeddings.get("values"));
    let others = ["textEmbedding", "imageEmbedding"].map(|name| member(prediction, name).map(Some));
    let scenes = items(member(prediction, "videoEmbeddings")).iter().map(|scene| scene.get("embedding"));
    text.into_iter().chain(others.into_iter().flatten()).chain(scenes).collect()
}
