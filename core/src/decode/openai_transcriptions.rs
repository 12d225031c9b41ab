//! OpenAI's transcriptions and translations of sound.
//!
//! Source: the API reference's pages "Create transcription", "Create translation" and their streaming events.

use std::time::Duration;

use memchr::memmem;
use serde_json::{Map, Value, json};

use super::call::{Call, CallError};
use super::json::{append, pick, text};
use super::{Fold, Folded, Format, PLAIN, Source, openai_responses};

const PARAMETERS: &[&str] = &[
    "language",
    "response_format",
    "temperature",
    "stream",
    "timestamp_granularities",
    "include",
    "chunking_strategy",
];

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, response, fold: |_| Box::new(TranscriptFold::default()), other, ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    // Some hosts take JSON in place of the form.
    let form;
    let body = if source.request.is_object() {
        source.request
    } else {
        form = Value::Object(fields(&source.exchange.request_body));
        &form
    };
    call.model_requested = text(body.get("model"));
    call.input = text(body.get("prompt")).map(|prompt| json!([{"role": "user", "content": prompt}]));
    call.parameters = pick(body, PARAMETERS);
    call.stream = body.get("stream") == Some(&Value::Bool(true));
}

/// The fields of a form that are no files. Its boundary is its first line.
fn fields(form: &[u8]) -> Map<String, Value> {
    /// Longer ones are no parameters.
    const LONGEST: usize = 64 << 10;
    let mut fields = Map::new();
    let Some(end) = memchr::memchr(b'\n', form).filter(|_| form.starts_with(b"--")) else { return fields };
    let boundary = [b"\r\n", form[..end].trim_ascii_end()].concat();
    let mut rest = &form[end + 1..];
    while let Some(end) = memmem::find(rest, &boundary) {
        let part = &rest[..end];
        rest = &rest[end + boundary.len()..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let Some(gap) = memmem::find(part, b"\r\n\r\n") else { continue };
        let (head, value) = (String::from_utf8_lossy(&part[..gap]), &part[gap + 4..]);
        if value.len() > LONGEST {
            continue;
        }
        let Some(name) = field_name(&head) else { continue };
        let value = String::from_utf8_lossy(value).into_owned();
        if let Some(name) = name.strip_suffix("[]") {
            match fields.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(list) => list.push(scalar(value)),
                single => *single = scalar(value),
            }
        } else {
            // Words are words, whatever they look like.
            let words = matches!(name, "prompt" | "model");
            fields.insert(name.to_owned(), if words { value.into() } else { scalar(value) });
        }
    }
    fields
}

/// The name in a part's headers; `None` for a file.
fn field_name(head: &str) -> Option<&str> {
    let line = head.lines().find(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
    })?;
    let parameter = |wanted: &str| {
        line.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
        })
    };
    if parameter("filename").or_else(|| parameter("filename*")).is_some() { None } else { parameter("name") }
}

/// A field's value: a number or a switch, where it is one in JSON.
fn scalar(value: String) -> Value {
    let parsed = serde_json::from_str::<Value>(&value).ok();
    parsed.filter(|parsed| parsed.is_number() || parsed.is_boolean()).unwrap_or(Value::String(value))
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    call.response_id = text(body.get("id"));
    if let Some(heard) = body.get("text").filter(|heard| heard.is_string()) {
        call.output.push(json!({"role": "assistant", "content": heard}));
    }
    if let Some(raw) = body.get("usage").filter(|usage| usage.is_object()) {
        openai_responses::usage(raw, call);
    }
}

/// Plain text and subtitles.
fn other(source: &Source<'_>, body: &[u8], call: &mut Call) -> bool {
    if source.header("content-type").is_some_and(|kind| kind.contains("json")) {
        return false;
    }
    call.output.push(json!({"role": "assistant", "content": String::from_utf8_lossy(body)}));
    true
}

/// Folds the pieces of a transcript.
#[derive(Default)]
struct TranscriptFold {
    body: Map<String, Value>,
    finished: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for TranscriptFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
            self.error = Some(super::provider_error(error));
        }
        match data.get("type").and_then(Value::as_str).unwrap_or(name) {
            "transcript.text.delta" => {
                if let Some(piece) = text(data.get("delta")) {
                    self.first_content_at.get_or_insert(at);
                    append(&mut self.body, "text", &piece);
                }
            }
            "transcript.text.done" => {
                self.body.extend(pick(data, &["text", "usage"]));
                self.finished = true;
            }
            _ => {}
        }
    }

    fn done(&mut self) {
        self.finished = true;
    }

    fn finish(self: Box<Self>) -> Folded {
        Folded {
            body: Value::Object(self.body),
            complete: self.finished,
            error: self.error,
            first_content_at: self.first_content_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_in_every_spelling_and_damaged_ones_as_far_as_they_go() {
        let form = "--b\r\ncontent-disposition: form-data; name=model\r\nContent-Type: text/plain\r\n\r\nw\r\n--b\r\n\
                    Content-Disposition: form-data; name=\"prompt\"\r\n\r\n42\r\n--b\r\n\
                    Content-Disposition: form-data; name=\"x[]\"\r\n\r\n1.5\r\n--b\r\n\
                    Content-Disposition: form-data; name=\"x[]\"\r\n\r\nno\r\n--b\r\n\
                    Content-Disposition: form-data; filename=\"a;b.wav\"; name=\"file\"\r\n\r\n\0\r\n--b--\r\n";
        let whole = json!({"model": "w", "prompt": "42", "x": [1.5, "no"]});
        assert_eq!(Value::Object(fields(form.as_bytes())), whole);
        for cut in 0..form.len() {
            let some = fields(&form.as_bytes()[..cut]);
            assert!(some.iter().all(|(name, value)| whole[name] == *value || name == "x"), "{cut}: {some:?}");
        }
    }
}
