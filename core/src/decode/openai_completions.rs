//! OpenAI's old completions, and filling in the middle as Mistral has it: asked like these, answered like chat.
//!
//! Source: the API reference's page "Create completion".

use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::json::{count, pick, text};
use super::openai_chat::{self, ChatFold};
use super::{Fold, Folded, Format, PLAIN, Source};

const PARAMETERS: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "n",
    "best_of",
    "echo",
    "logprobs",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "stream",
    "stream_options",
    "service_tier",
];

/// How it is read.
pub(super) const FORMAT: Format = Format {
    request,
    response: |source, body, call| openai_chat::response(source, &as_chat(body), call),
    fold: |source| {
        let prompts = prompts(source.request).len().max(1) as u64;
        let choices = count(source.request.get("n")).unwrap_or(1).saturating_mul(prompts);
        Box::new(CompletionFold(ChatFold::new(&json!({"n": choices}))))
    },
    ..PLAIN
};

fn request(source: &Source<'_>, call: &mut Call) {
    let body = source.request;
    call.model_requested = text(body.get("model")).or(call.model_requested.take());
    let messages = prompts(body).into_iter().map(|prompt| {
        let mut message = pick(body, &["suffix"]);
        message.insert("role".to_owned(), "user".into());
        message.insert("content".to_owned(), prompt.clone());
        Value::Object(message)
    });
    call.input = Some(messages.collect()).filter(|messages: &Value| messages.get(0).is_some());
    call.parameters = pick(body, PARAMETERS);
    call.max_tokens = body.get("max_tokens").cloned();
    call.stream |= body.get("stream") == Some(&Value::Bool(true));
}

/// The prompts of a request: a text or a list of token numbers is one, a list of these is several.
fn prompts(body: &Value) -> Vec<&Value> {
    match body.get("prompt") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) if !items.first().is_some_and(Value::is_number) => items.iter().collect(),
        Some(prompt) => vec![prompt],
    }
}

/// A body, or a chunk of a stream, as chat would have it: the `text` of a choice is the content of its message.
fn as_chat(body: &Value) -> Value {
    let mut body = body.clone();
    for choice in body.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let has_message = ["message", "delta"].iter().any(|name| choice.get(name).is_some_and(Value::is_object));
        if let Some(choice) = choice.as_object_mut().filter(|_| !has_message)
            && let Some(text) = choice.remove("text")
        {
            choice.insert("message".to_owned(), json!({"content": text}));
        }
    }
    body
}

/// Folds a stream as chat does.
struct CompletionFold(ChatFold);

impl Fold for CompletionFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        self.0.event(name, &as_chat(data), at);
    }

    fn done(&mut self) {
        self.0.done();
    }

    fn finish(self: Box<Self>) -> Folded {
        Box::new(self.0).finish()
    }
}
