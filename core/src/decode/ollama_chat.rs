//! Ollama's own chat and generate.
//!
//! Source: the API reference's pages "Generate a chat message", "Generate a response" and "Streaming".

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::{Call, CallError, Tokens};
use super::json::{append, count, is_something, pick, text};
use super::{Fold, Folded, Format, PLAIN, Source, openai_chat};

/// Members of `options` that say how to generate; the others say how to run the model.
const OPTIONS: &[&str] = &[
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "tfs_z",
    "num_predict",
    "num_ctx",
    "num_keep",
    "seed",
    "stop",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
];

const PARAMETERS: &[&str] = &["format", "think", "raw", "template", "stream", "logprobs", "top_logprobs", "truncate"];

/// The counters that stand in for a usage object.
const COUNTERS: &[&str] =
    &["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"];

/// How it is read.
pub(super) const FORMAT: Format = Format { request, response, fold: |_| Box::new(OllamaFold::default()), ..PLAIN };

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model"));
    call.input = body.get("messages").cloned().or_else(|| prompt(body));
    call.parameters = parameters(body);
    call.max_tokens = call.parameters.get("num_predict").filter(|most| count(Some(most)).is_some()).cloned();
    call.tools = body.get("tools").filter(|tools| is_something(tools)).cloned();
    // A request that says nothing asks for a stream; one that was not seen says nothing either way.
    call.stream = body.is_object() && body.get("stream") != Some(&Value::Bool(false));
}

/// What generate is asked, as messages.
fn prompt(body: &Value) -> Option<Value> {
    let mut messages = Vec::new();
    if let Some(system) = text(body.get("system")) {
        messages.push(json!({"role": "system", "content": system}));
    }
    let mut asked = pick(body, &["images", "suffix"]);
    if let Some(prompt) = body.get("prompt").filter(|prompt| !prompt.is_null()) {
        asked.insert("content".to_owned(), prompt.clone());
    }
    if !asked.is_empty() {
        asked.insert("role".to_owned(), "user".into());
        messages.push(Value::Object(asked));
    }
    (!messages.is_empty()).then_some(Value::Array(messages))
}

/// The parameters in `options` and beside it.
pub(super) fn parameters(body: &Value) -> Map<String, Value> {
    let mut parameters = pick(body.get("options").unwrap_or(&Value::Null), OPTIONS);
    parameters.extend(pick(body, PARAMETERS));
    parameters
}

fn response(_: &Source<'_>, body: &Value, call: &mut Call) {
    call.model = text(body.get("model"));
    if let Some(reason) = text(body.get("done_reason")) {
        call.stop_reasons.push(reason);
    }
    if let Some(message) = message(body) {
        call.output.push(message);
    }
    call.metadata.extend(pick(body, &["remote_model", "remote_host"]));
    usage(body, call);
}

/// The answer's message: chat's is a member, generate's members lie in the body itself.
fn message(body: &Value) -> Option<Value> {
    let mut message = body.get("message").and_then(Value::as_object).cloned().or_else(|| generated(body))?;
    if let Some(thinking) = message.remove("thinking") {
        message.insert("reasoning_content".to_owned(), thinking);
    }
    Some(openai_chat::message(&Value::Object(message)))
}

fn generated(body: &Value) -> Option<Map<String, Value>> {
    let mut message = pick(body, &["thinking", "tool_calls"]);
    let answer = body.get("response").filter(|answer| answer.is_string());
    if let Some(image) = body.get("image").filter(|image| image.is_string()) {
        let text = text(answer).map(|text| json!({"type": "text", "text": text}));
        let image = json!({"type": "image", "image": image});
        message.insert("content".to_owned(), text.into_iter().chain([image]).collect());
    } else if let Some(answer) = answer {
        message.insert("content".to_owned(), answer.clone());
    }
    (!message.is_empty()).then_some(message)
}

/// Reads the counters of an answer.
pub(super) fn usage(body: &Value, call: &mut Call) {
    let raw = pick(body, COUNTERS);
    if raw.is_empty() {
        return;
    }
    call.tokens = Tokens {
        input: count(raw.get("prompt_eval_count")),
        output: count(raw.get("eval_count")),
        ..Tokens::default()
    };
    super::settle_inclusive(call);
    call.raw_usage = Some(Value::Object(raw));
}

/// Folds lines into the object that the plain call would have given.
#[derive(Default)]
struct OllamaFold {
    body: Map<String, Value>,
    done: bool,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for OllamaFold {
    fn event(&mut self, _name: &str, data: &Value, at: Duration) {
        if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
            self.error = Some(super::provider_error(error));
        }
        self.done |= data.get("done") == Some(&Value::Bool(true));
        let mut content = false;
        for (name, value) in data.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("error", _) => {}
                ("message", Value::Object(pieces)) => {
                    if !self.body.get("message").is_some_and(Value::is_object) {
                        self.body.insert(name.clone(), json!({}));
                    }
                    if let Some(Value::Object(message)) = self.body.get_mut("message") {
                        for (name, value) in pieces {
                            content |= join(message, name, value);
                        }
                    }
                }
                _ => content |= join(&mut self.body, name, value),
            }
        }
        if content {
            self.first_content_at.get_or_insert(at);
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        Folded {
            body: Value::Object(self.body),
            complete: self.done,
            error: self.error,
            first_content_at: self.first_content_at,
        }
    }
}

/// Joins a member of a line to what came before; says whether it is content.
fn join(object: &mut Map<String, Value>, name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) => false,
        ("content" | "response" | "thinking", Value::String(piece)) => {
            append(object, name, piece);
            !piece.is_empty()
        }
        ("tool_calls", Value::Array(calls)) => {
            match object.get_mut(name) {
                Some(Value::Array(all)) => all.extend(calls.iter().cloned()),
                _ => {
                    object.insert(name.to_owned(), value.clone());
                }
            }
            !calls.is_empty()
        }
        _ => {
            object.insert(name.to_owned(), value.clone());
            name == "image"
        }
    }
}
