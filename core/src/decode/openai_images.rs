//! OpenAI's image generations.
//!
//! Source: the API reference's page "Create image" and its streaming events.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, CallError};
use super::json::{merge, pick, text};
use super::{Fold, Folded, Format, PLAIN, Source, openai_responses};

const PARAMETERS: &[&str] = &[
    "n",
    "size",
    "quality",
    "style",
    "background",
    "moderation",
    "output_format",
    "output_compression",
    "response_format",
    "partial_images",
    "stream",
];

/// How it is read.
pub(super) const FORMAT: Format = Format { request, response, fold: |_| Box::new(ImageFold::default()), ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    call.input = text(body.get("prompt")).map(|prompt| json!([{"role": "user", "content": prompt}]));
    call.parameters = pick(body, PARAMETERS);
    call.stream |= body.get("stream") == Some(&Value::Bool(true));
}

fn response(source: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    call.response_id = text(body.get("id"));
    if let Some(Value::Array(images)) = body.get("data") {
        let format = text(body.get("output_format")).or_else(|| text(source.request.get("output_format")));
        let parts: Vec<Value> = images.iter().map(|image| part(image, format.as_deref())).collect();
        call.output.push(json!({"role": "assistant", "content": parts}));
    }
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        openai_responses::usage(raw, call);
        if raw.get("output_tokens_details").is_none_or(Value::is_null) {
            call.tokens.image_out = call.tokens.output;
            super::settle_inclusive(call);
        }
    }
}

/// An image as a part. A data URL holds its type until it is redacted.
fn part(image: &Value, format: Option<&str>) -> Value {
    let mut part: Map<String, Value> = match image {
        Value::Object(members) => {
            members.iter().filter(|(_, value)| !value.is_null()).map(|(n, v)| (n.clone(), v.clone())).collect()
        }
        _ => Map::new(),
    };
    part.insert("type".to_owned(), "image".into());
    let format = format.filter(|format| format.len() < 50 && format.bytes().all(|b| b.is_ascii_alphanumeric()));
    if let (Some(format), Some(Value::String(packed))) = (format, part.get_mut("b64_json"))
        && !packed.is_empty()
        && !packed.starts_with("data:")
    {
        *packed = format!("data:image/{format};base64,{packed}");
    }
    Value::Object(part)
}

/// Folds the events of images: the completed ones, or the last preview when there is none.
#[derive(Default)]
struct ImageFold {
    images: Vec<Value>,
    preview: Option<Value>,
    format: Option<Value>,
    usage: Value,
    finished: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for ImageFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
            self.error = Some(super::provider_error(error));
        }
        let kind = data.get("type").and_then(Value::as_str).unwrap_or(name);
        let image = match kind {
            "image_generation.partial_image" | "image_generation.completed" => {
                self.first_content_at.get_or_insert(at);
                self.format = data.get("output_format").cloned().or(self.format.take());
                Value::Object(pick(data, &["b64_json"]))
            }
            _ => return,
        };
        if kind == "image_generation.completed" {
            self.images.push(image);
            self.finished = true;
            merge(&mut self.usage, data.get("usage").unwrap_or(&Value::Null));
        } else {
            self.preview = Some(image);
        }
    }

    fn done(&mut self) {
        self.finished = true;
    }

    fn finish(self: Box<Self>) -> Folded {
        let mut images = self.images;
        if images.is_empty() {
            images.extend(self.preview);
        }
        let mut body = json!({"output_format": self.format, "usage": self.usage});
        if !images.is_empty() {
            body["data"] = Value::Array(images);
        }
        Folded { body, complete: self.finished, error: self.error, first_content_at: self.first_content_at }
    }
}
