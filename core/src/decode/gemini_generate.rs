//! Gemini's `generateContent` and `streamGenerateContent`, at AI Studio and at Vertex AI.
//!
//! Source: the Gemini API reference, "Generating content", and Vertex AI's, "GenerateContentResponse".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::call::{Call, CallError};
use super::error::is_error;
use super::framing;
use super::gemini::{camel, camel_name, is_empty, items, member, message, parts, usage};
use super::json::{append, count, is_something, merge, pick, text};
use super::{Fold, Folded, Format, Framed, PLAIN, Source};
use crate::event::media;

/// Of `generationConfig`.
const PARAMETERS: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "responseLogprobs",
    "logprobs",
    "thinkingConfig",
    "speechConfig",
    "imageConfig",
    "mediaResolution",
    "audioTimestamp",
    "routingConfig",
    "modelSelectionConfig",
    "enableEnhancedCivicAnswers",
];

/// Beside it.
const BESIDE: &[&str] = &["toolConfig", "safetySettings", "cachedContent", "serviceTier"];

/// Members of a candidate that stay on its message.
const KEPT: &[&str] =
    &["citationMetadata", "groundingMetadata", "urlContextMetadata", "safetyRatings", "finishMessage"];

/// Those of them that come in pieces.
const MERGED: &[&str] = &["citationMetadata", "groundingMetadata", "urlContextMetadata"];

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, response, fold: |_| Box::new(GenerateFold::default()), framing, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    let system = member(body, "systemInstruction").filter(|system| !is_empty(system));
    let system = system.map(|system| json!({"role": "system", "content": parts(system)}));
    let contents = member(body, "contents");
    if system.is_some() || contents.is_some() {
        call.input = Some(system.into_iter().chain(items(contents).iter().map(message)).collect());
    }
    let config = member(body, "generationConfig").map(camel).unwrap_or_default();
    call.parameters = pick(&config, PARAMETERS);
    for name in BESIDE {
        if let Some(value) = member(body, name) {
            call.parameters.insert((*name).to_owned(), camel(value));
        }
    }
    call.max_tokens = call.parameters.get("maxOutputTokens").cloned();
    call.tools = body.get("tools").filter(|tools| is_something(tools)).cloned();
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(member(body, "modelVersion"));
    call.response_id = text(member(body, "responseId"));
    let mut candidates: Vec<&Value> =
        items(body.get("candidates")).iter().filter(|candidate| candidate.is_object()).collect();
    candidates.sort_by_key(|candidate| index(candidate));
    usage(body, call);
    let mut searches = 0;
    for candidate in candidates {
        let content = candidate.get("content").map(parts).unwrap_or_default();
        let mut message =
            Map::from_iter([("role".to_owned(), "assistant".into()), ("content".to_owned(), content.into())]);
        for name in KEPT {
            if let Some(value) = member(candidate, name).filter(|value| !is_empty(value)) {
                message.insert((*name).to_owned(), value.clone());
            }
        }
        call.output.push(Value::Object(message));
        call.stop_reasons.extend(text(member(candidate, "finishReason")));
        let grounding = member(candidate, "groundingMetadata");
        searches += items(grounding.and_then(|grounding| member(grounding, "webSearchQueries"))).len() as u64;
    }
    if searches > 0 {
        call.tokens.web_searches = Some(searches);
        // A cost of the searches alone would look like the whole.
        call.usage.web_searches = call.raw_usage.is_some().then_some(searches);
    }
    if let Some(feedback) = member(body, "promptFeedback").filter(|feedback| !is_empty(feedback)) {
        call.metadata.insert("promptFeedback".to_owned(), feedback.clone());
        call.error = blocked(feedback).or(call.error.take());
    }
}

fn index(candidate: &Value) -> u64 {
    count(candidate.get("index")).unwrap_or(0)
}

/// A prompt that was not answered is an error, whatever the status says.
fn blocked(feedback: &Value) -> Option<CallError> {
    let reason = text(member(feedback, "blockReason"))?;
    let message = text(member(feedback, "blockReasonMessage"));
    Some(CallError::new(reason.clone(), message.unwrap_or_else(|| format!("Prompt blocked: {reason}"))))
}

/// With `alt=sse` a stream is server-sent events, without it one list; the bytes say which, for headers are often
/// wrong.
fn framing(source: &Source<'_>, first: &[u8]) -> Framed {
    if source.found.streams != Some(true) {
        return None;
    }
    match first.first() {
        None | Some(b'[' | b'{') => Some(framing::json_array()),
        _ if [&b":"[..], b"data", b"event", b"id", b"retry"].iter().any(|field| first.starts_with(field)) => {
            Some(framing::sse_with_bare_json())
        }
        _ => None,
    }
}

/// Folds the chunks of a stream into the answer that the plain call would have given.
#[derive(Default)]
struct GenerateFold {
    body: Map<String, Value>,
    candidates: Vec<Candidate>,
    usage: Value,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

#[derive(Default)]
struct Candidate {
    index: u64,
    members: Map<String, Value>,
    parts: Vec<Piece>,
}

/// A part that the next chunk may go on with.
struct Piece {
    part: Value,
    kind: Kind,
    /// What the audio came to, when it is of several pieces.
    audio: Vec<u8>,
}

#[derive(PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
    Audio(String),
    Other,
}

impl Piece {
    fn of(part: &Value) -> Self {
        let part = camel(part);
        let kind = if part.get("text").is_some_and(Value::is_string) {
            if part.get("thought") == Some(&Value::Bool(true)) { Kind::Thought } else { Kind::Text }
        } else {
            let mime = part.get("inlineData").and_then(|data| data.get("mimeType")?.as_str()).unwrap_or_default();
            let audio = mime.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("audio/"));
            if audio { Kind::Audio(mime.to_owned()) } else { Kind::Other }
        };
        Self { part, kind, audio: Vec::new() }
    }

    fn text(&self) -> Option<&str> {
        self.part.get("text").and_then(Value::as_str)
    }

    /// Pieces of base64 are whole in themselves, padding included.
    fn sound(&self) -> Option<Vec<u8>> {
        media::decode(self.part.get("inlineData")?.get("data")?.as_str()?)
    }

    /// Goes on with the piece that follows; gives it back where it is a part of its own.
    fn join(&mut self, next: Self) -> Option<Self> {
        if self.kind != next.kind || self.kind == Kind::Other {
            return Some(next);
        }
        if let Kind::Audio(_) = self.kind {
            let Some(more) = next.sound() else { return Some(next) };
            if self.audio.is_empty() {
                let Some(begun) = self.sound() else { return Some(next) };
                self.audio = begun;
            }
            self.audio.extend(more);
        }
        if let (Value::Object(part), Value::Object(next)) = (&mut self.part, next.part) {
            for (name, value) in next {
                match (name.as_str(), value) {
                    (_, Value::Null) | ("inlineData", _) => {}
                    ("text", Value::String(text)) => append(part, "text", &text),
                    (_, value) => {
                        part.insert(name, value);
                    }
                }
            }
        }
        None
    }

    fn finish(self) -> Value {
        let mut part = self.part;
        if !self.audio.is_empty()
            && let Some(data) = part.get_mut("inlineData").and_then(|data| data.get_mut("data"))
        {
            *data = STANDARD.encode(self.audio).into();
        }
        part
    }
}

impl Candidate {
    /// Reads one chunk's piece of the candidate, and says whether it has content.
    fn read(&mut self, chunk: &Map<String, Value>) -> bool {
        let mut content = false;
        for (name, value) in chunk {
            let name = camel_name(name);
            match name.as_str() {
                "index" => {}
                "content" => {
                    for (at, part) in items(value.get("parts")).iter().enumerate() {
                        let piece = Piece::of(part);
                        let signed = piece.part.get("thoughtSignature").is_some_and(|signature| !is_empty(signature));
                        if piece.text() == Some("") && !signed {
                            continue;
                        }
                        content |= piece.text() != Some("");
                        let last = if at == 0 { self.parts.last_mut() } else { None };
                        let own = match last {
                            Some(last) => last.join(piece),
                            None => Some(piece),
                        };
                        self.parts.extend(own);
                    }
                }
                name if MERGED.contains(&name) => join_members(self.members.entry(name).or_insert(Value::Null), value),
                _ if value.is_null() => {}
                _ => {
                    self.members.insert(name, value.clone());
                }
            }
        }
        content
    }

    fn is_finished(&self) -> bool {
        self.members.get("finishReason").is_some_and(|reason| !is_empty(reason))
    }

    fn finish(self) -> Value {
        let mut members = self.members;
        let parts: Vec<Value> = self.parts.into_iter().map(Piece::finish).collect();
        members.insert("index".to_owned(), self.index.into());
        members.insert("content".to_owned(), json!({"role": "model", "parts": parts}));
        Value::Object(members)
    }
}

/// Metadata that comes in pieces: lists go on, of anything else the last counts.
fn join_members(into: &mut Value, later: &Value) {
    let (Value::Object(into), Value::Object(later)) = (&mut *into, later) else {
        if !later.is_null() {
            *into = later.clone();
        }
        return;
    };
    for (name, value) in later {
        match (into.get_mut(name), value) {
            (_, Value::Null) => {}
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more.iter().cloned()),
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

impl GenerateFold {
    fn chunk(&mut self, chunk: &Map<String, Value>, at: Duration) {
        for (name, value) in chunk {
            match camel_name(name).as_str() {
                "candidates" => {
                    for candidate in items(Some(value)) {
                        let Value::Object(members) = candidate else { continue };
                        let index = index(candidate);
                        let slot = self.candidates.binary_search_by_key(&index, |here| here.index);
                        let slot = slot.unwrap_or_else(|at| {
                            self.candidates.insert(at, Candidate { index, ..Candidate::default() });
                            at
                        });
                        if self.candidates[slot].read(members) {
                            self.first_content_at.get_or_insert(at);
                        }
                    }
                }
                "usageMetadata" => merge(&mut self.usage, value),
                "error" if is_error(value) => {
                    self.error.get_or_insert_with(|| super::provider_error(value));
                }
                _ if is_empty(value) => {}
                name => {
                    if name == "promptFeedback"
                        && let Some(error) = blocked(value)
                    {
                        self.error.get_or_insert(error);
                    }
                    self.body.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
}

impl Fold for GenerateFold {
    fn event(&mut self, _name: &str, data: &Value, at: Duration) {
        for chunk in items(Some(data)) {
            if let Value::Object(chunk) = chunk {
                self.chunk(chunk, at);
            }
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        let Self { mut body, candidates, usage, error, first_content_at } = *self;
        let complete = !candidates.is_empty() && candidates.iter().all(Candidate::is_finished);
        body.insert("candidates".to_owned(), candidates.into_iter().map(Candidate::finish).collect());
        body.insert("usageMetadata".to_owned(), usage);
        Folded { body: Value::Object(body), complete, error, first_content_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(chunks: &[Value]) -> Value {
        let mut fold = Box::new(GenerateFold::default());
        for chunk in chunks {
            fold.event("", chunk, Duration::ZERO);
        }
        fold.finish().body["candidates"][0]["content"]["parts"].clone()
    }

    fn chunk(parts: &Value) -> Value {
        json!({"candidates": [{"content": {"parts": parts}}]})
    }

    #[test]
    fn only_the_first_part_goes_on() {
        let parts = folded(&[
            chunk(&json!([{"text": "a"}])),
            chunk(&json!([{"text": "b"}, {"text": "c"}])),
            chunk(&json!([{"text": "d", "thought": true}])),
            chunk(&json!([{"text": "", "thoughtSignature": "s"}])),
        ]);
        let expected = json!([
            {"text": "ab"}, {"text": "c"}, {"text": "d", "thought": true}, {"text": "", "thoughtSignature": "s"}
        ]);
        assert_eq!(parts, expected);
    }

    #[test]
    fn audio_that_does_not_decode_stays_apart() {
        let audio = |data: &str| chunk(&json!([{"inlineData": {"mimeType": "audio/pcm", "data": data}}]));
        let parts = folded(&[audio("AAE="), audio("!"), audio("AAE="), audio("Ag==")]);
        let data: Vec<&Value> = items(Some(&parts)).iter().map(|part| &part["inlineData"]["data"]).collect();
        assert_eq!(data, ["AAE=", "!", "AAEC"]);
    }
}
