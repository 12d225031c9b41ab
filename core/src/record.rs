//! What an application tells of a call, span or trace that no transport saw.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::context::ScopeOptions;
use crate::error::Result;
use crate::fields::{Fields, unknown_name};

/// What a call is called in errors.
const CALL: &str = "a call";

/// A generation or an embedding in the application's own words. Everything is optional; what is absent stays absent.
#[derive(Debug, Clone, Default)]
pub struct CallRecord {
    /// Whom it is for and where it belongs, over what the surrounding scope says. `name` is the call's `$ai_span_name`.
    pub scope: ScopeOptions,
    /// The call's own id; a fresh one when absent.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Who served it (`openai`, `anthropic`, ...); the price depends on it.
    pub provider: Option<String>,
    /// Messages, a text, or what was embedded.
    pub input: Option<Value>,
    /// The answer: a text, a message, or a list with one message per choice.
    pub output: Option<Value>,
    /// The tools that the model could call.
    pub tools: Option<Value>,
    /// What shaped the answer: temperature and the like.
    pub parameters: Map<String, Value>,
    /// What it used: the provider's own usage object, or counts by the names of the event's properties without `$ai_`
    /// (`input_tokens`, `output_tokens`, `cache_read_input_tokens`, `reasoning_tokens`, ...).
    pub usage: Option<Value>,
    /// What it cost in US dollars, where that is known better than from a price list.
    pub cost_usd: Option<String>,
    /// Why the answer ended.
    pub stop_reason: Option<String>,
    /// It was streamed.
    pub stream: bool,
    /// How long it took.
    pub latency: Option<Duration>,
    /// How long until the first piece of the answer; what has one was streamed.
    pub time_to_first_token: Option<Duration>,
    /// The HTTP status, where there was one.
    pub http_status: Option<u16>,
    /// Scheme, host and path of the server; query and user information are cut off.
    pub base_url: Option<String>,
    /// What went wrong.
    pub error: Option<RecordedError>,
}

/// A span or a trace in the application's own words.
#[derive(Debug, Clone, Default)]
pub struct StepRecord {
    /// Name, type, input, ids and whom it is for.
    pub scope: ScopeOptions,
    /// What came out.
    pub output: Option<Value>,
    /// How long it took.
    pub latency: Option<Duration>,
    /// What went wrong.
    pub error: Option<RecordedError>,
}

/// An error: its type, if it has one, and its message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedError {
    /// Such as `ValueError` or `rate_limit_exceeded`.
    pub kind: Option<String>,
    /// What it says.
    pub message: String,
}

impl CallRecord {
    /// A record from an object with the names that its members have in a language.
    ///
    /// # Errors
    /// A usage error for a name that is none of its members'. A value of the wrong type counts as not given.
    pub fn read(fields: Fields) -> Result<Self> {
        Self::read_at(fields, SystemTime::now())
    }

    /// As [`read`](Self::read), of what was told at that time.
    pub(crate) fn read_at(mut fields: Fields, at: SystemTime) -> Result<Self> {
        let input = fields.take("input");
        let error = RecordedError::read(&mut fields);
        let mut record = Self {
            id: fields.text("span_id"),
            model: fields.text("model"),
            provider: fields.text("provider"),
            input,
            output: fields.take("output"),
            tools: fields.take("tools"),
            parameters: fields.object("parameters").unwrap_or_default(),
            usage: fields.take("usage").filter(Value::is_object),
            cost_usd: fields.text("cost_usd"),
            stop_reason: fields.text("stop_reason"),
            stream: fields.switch("stream").unwrap_or(false),
            latency: fields.duration("latency"),
            time_to_first_token: fields.duration("time_to_first_token"),
            http_status: fields.count("http_status").and_then(|status| u16::try_from(status).ok()),
            base_url: fields.text("base_url"),
            error,
            scope: ScopeOptions::read(&mut fields),
        };
        record.fill_start(at);
        fields.finish(CALL).map(|()| record)
    }

    /// What is said of a name that is none of a call's.
    pub(crate) fn unknown_name(name: &str) -> String {
        unknown_name(CALL, name)
    }

    /// The start of a call of which only its length is known: it ended at that time.
    pub(crate) fn fill_start(&mut self, at: SystemTime) {
        start(&mut self.scope, self.latency, at);
    }
}

impl StepRecord {
    /// A record from an object with the names that its members have in a language.
    ///
    /// # Errors
    /// As [`CallRecord::read`].
    pub fn read(mut fields: Fields) -> Result<Self> {
        let mut record = Self {
            output: fields.take("output"),
            latency: fields.duration("latency"),
            error: RecordedError::read(&mut fields),
            scope: ScopeOptions::read(&mut fields),
        };
        record.fill_start();
        fields.finish("a span or trace").map(|()| record)
    }

    pub(crate) fn fill_start(&mut self) {
        start(&mut self.scope, self.latency, SystemTime::now());
    }
}

fn start(scope: &mut ScopeOptions, latency: Option<Duration>, at: SystemTime) {
    if scope.started_at.is_none() {
        scope.started_at = at.checked_sub(latency.unwrap_or_default());
    }
}

impl RecordedError {
    /// `error` is a text or an object with `type` and `message`; `error_type` wins.
    fn read(fields: &mut Fields) -> Option<Self> {
        let kind = fields.text("error_type");
        let given = fields.take("error");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let (own, message) = match given {
            Some(Value::String(message)) => (None, message),
            Some(Value::Bool(false)) => return None,
            Some(Value::Object(error)) => {
                let message = text(error.get("message")).unwrap_or_default();
                (text(error.get("type")), message)
            }
            Some(Value::Bool(true)) | None if kind.is_some() => (None, String::new()),
            Some(Value::Bool(true)) => (None, "error".to_owned()),
            Some(other) => (None, other.to_string()),
            None => return None,
        };
        Some(Self { kind: kind.or(own), message })
    }
}
