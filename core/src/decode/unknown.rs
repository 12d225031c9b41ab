//! A call whose format is not read: what its headers count, and nothing that would be a guess.

use std::time::Duration;

use serde_json::{Value, json};

use super::bedrock::{self, exception};
use super::call::{Call, CallError, Tokens};
use super::framing::{CUT, chunk_of};
use super::json::{count, text};
use super::{Fold, Folded, Format, PLAIN, Source};
use crate::exchange::End;

const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// How it is not read.
pub(super) const FORMAT: Format = Format {
    response,
    fold: |source| {
        let ended = source.exchange.end == End::Complete;
        Box::new(UnknownFold { ended, cut: false, metrics: Value::Null, error: None, first_content_at: None })
    },
    other: |source, _, call| {
        response(source, &Value::Null, call);
        true
    },
    error: bedrock::error,
    error_in_answer: false,
    ..PLAIN
};

/// The same at any host of models: the model, where request or answer has one, and nothing else.
pub(super) const ANY: Format = Format {
    request: |source, call| {
        call.unknown = true;
        call.model_requested = text(source.request.get("model"));
        call.stream = source.request.get("stream") == Some(&Value::Bool(true));
    },
    response: |_, body, call| call.model = text(body.get("model")),
    fold: FORMAT.fold,
    other: |_, _, _| true,
    error_in_answer: false,
    ..PLAIN
};

fn response(source: &Source<'_>, body: &Value, call: &mut Call) {
    let header = |name: &str| {
        let name = format!("x-amzn-bedrock-{name}-token-count");
        source.header(&name)?.trim().parse::<u64>().ok()
    };
    let metrics = body.get(METRICS).filter(|metrics| call.stream && metrics.is_object());
    let told = |name: &str| metrics.and_then(|metrics| count(metrics.get(name)));
    call.tokens = Tokens {
        input: header("input").or_else(|| told("inputTokenCount")),
        output: header("output").or_else(|| told("outputTokenCount")),
        cache_read: header("cache-read-input").or_else(|| told("cacheReadInputTokenCount")),
        cache_write: header("cache-write-input").or_else(|| told("cacheWriteInputTokenCount")),
        ..Tokens::default()
    };
    call.raw_usage = metrics.cloned();
    super::settle_exclusive(call);
}

/// Looks for the counts of a stream, and whether it was cut.
struct UnknownFold {
    ended: bool,
    cut: bool,
    metrics: Value,
    error: Option<CallError>,
    first_content_at: Option<Duration>,
}

impl Fold for UnknownFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        if name == CUT {
            self.cut = true;
            return;
        }
        if let Some(error) = exception(name, data) {
            self.error = Some(error);
            return;
        }
        self.first_content_at.get_or_insert(at);
        if let Some(metrics) = chunk_of(data).as_mut().and_then(|chunk| chunk.get_mut(METRICS)) {
            self.metrics = metrics.take();
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        // The metrics are in the last message, so nothing that comes after them is missed.
        let complete = (self.ended && !self.cut) || self.metrics.is_object();
        let body = json!({METRICS: self.metrics});
        Folded { body, complete, error: self.error, first_content_at: self.first_content_at }
    }
}
