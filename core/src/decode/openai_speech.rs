//! OpenAI's speech: text in, sound out.
//!
//! Source: the API reference's page "Create speech" and its streaming events.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::call::{Call, CallError};
use super::json::{pick, text};
use super::{Fold, Folded, Format, PLAIN, Source, openai_responses};

const PARAMETERS: &[&str] = &["voice", "speed", "response_format", "stream_format"];

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, response, fold: |_| Box::new(SpeechFold::default()), other, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    let mut messages = Vec::new();
    for (role, name) in [("system", "instructions"), ("user", "input")] {
        if let Some(words) = text(body.get(name)) {
            messages.push(json!({"role": role, "content": words}));
        }
    }
    call.input = (!messages.is_empty()).then_some(Value::Array(messages));
    call.parameters = pick(body, PARAMETERS);
    call.stream = body.get("stream_format").and_then(Value::as_str) == Some("sse");
}

/// A stream, as it was folded.
fn response(source: &Source<'_>, body: &Value, call: &mut Call) {
    if let Some(sound) = body.get("audio").and_then(Value::as_str) {
        call.output.push(message(source, None, sound));
    }
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        openai_responses::usage(raw, call);
        call.tokens.audio_out = call.tokens.audio_out.or(call.tokens.output);
        super::settle_inclusive(call);
    }
}

/// The sound itself.
fn other(source: &Source<'_>, body: &[u8], call: &mut Call) -> bool {
    let kind = source.header("content-type").and_then(|kind| kind.split(';').next()).map(str::trim);
    call.output.push(message(source, kind, &STANDARD.encode(body)));
    true
}

/// The message with the sound. A data URL holds its type until it is redacted.
fn message(source: &Source<'_>, kind: Option<&str>, sound: &str) -> Value {
    if sound.is_empty() {
        return json!({"role": "assistant", "content": []});
    }
    let plain = |kind: &str| {
        kind.len() < 100 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+.-_".contains(&byte))
    };
    let asked = source.request.get("response_format").and_then(Value::as_str).map(|format| format!("audio/{format}"));
    let kind = kind.filter(|kind| !kind.is_empty()).map(str::to_owned).or(asked).filter(|kind| plain(kind));
    let kind = kind.unwrap_or_else(|| "audio/mpeg".to_owned());
    let part = json!({"type": "audio", "data": format!("data:{kind};base64,{sound}")});
    json!({"role": "assistant", "content": [part]})
}

/// Joins the pieces of a sound. Each is base64 that is whole in itself.
#[derive(Default)]
struct SpeechFold {
    sound: Vec<u8>,
    body: Map<String, Value>,
    finished: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for SpeechFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
            self.error = Some(super::provider_error(error));
        }
        match data.get("type").and_then(Value::as_str).unwrap_or(name) {
            "speech.audio.delta" => {
                let piece = data.get("audio").and_then(Value::as_str).unwrap_or_default();
                // A piece that does not decode is lost, and the rest is not.
                self.sound.extend(STANDARD.decode(piece).unwrap_or_default());
                self.first_content_at.get_or_insert(at);
            }
            "speech.audio.done" => {
                self.body = pick(data, &["usage"]);
                self.finished = true;
            }
            _ => {}
        }
    }

    fn done(&mut self) {
        self.finished = true;
    }

    fn finish(self: Box<Self>) -> Folded {
        let mut body = self.body;
        if self.finished || !self.sound.is_empty() {
            body.insert("audio".to_owned(), STANDARD.encode(&self.sound).into());
        }
        Folded {
            body: Value::Object(body),
            complete: self.finished,
            error: self.error,
            first_content_at: self.first_content_at,
        }
    }
}
