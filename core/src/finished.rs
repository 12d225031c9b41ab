//! What `on_generation` is told of a call that is over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::Language;
use crate::event::Draft;
use crate::event::usage::Usage;

/// A generation or an embedding that is over, as `on_generation` gets it: numbers, names and ids, and no content.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FinishedCall {
    /// `$ai_generation` or `$ai_embedding`.
    pub event: String,
    /// The id of the event.
    pub uuid: String,
    /// When the call began: RFC 3339, UTC.
    pub timestamp: String,
    /// Whom it was for; the trace's id where nobody said.
    pub distinct_id: String,
    /// Where it stands.
    pub trace_id: Option<String>,
    /// See [`trace_id`](Self::trace_id).
    pub session_id: Option<String>,
    /// See [`trace_id`](Self::trace_id).
    pub span_id: Option<String>,
    /// See [`trace_id`](Self::trace_id).
    pub parent_id: Option<String>,
    /// The model that answered, else the one that was asked for.
    pub model: Option<String>,
    /// Who served it.
    pub provider: Option<String>,
    /// Units by bucket (`input_text`, `cache_read`, `output_text`, ...), those that were reported.
    pub usage: BTreeMap<&'static str, u64>,
    /// What it cost in US dollars; `None`: not known.
    pub cost_usd: Option<f64>,
    /// How long the provider was waited for.
    pub latency: Option<Duration>,
    /// The same up to the first piece of a streamed answer.
    pub time_to_first_token: Option<Duration>,
    /// It was streamed.
    pub stream: bool,
    /// `complete`, `abandoned`, `error` or `timeout`, of a stream.
    pub stream_status: Option<String>,
    /// As the provider says it.
    pub stop_reason: Option<String>,
    /// Of the last attempt.
    pub http_status: Option<u16>,
    /// It failed.
    pub is_error: bool,
    /// The provider's type or code of the error.
    pub error_type: Option<String>,
}

impl FinishedCall {
    /// Of a call's event.
    pub(crate) fn of(event: &Draft, usage: &Usage, cost_usd: Option<f64>) -> Self {
        let p = &event.properties;
        let text = |name: &str| p.text(name).map(str::to_owned);
        let time = |name: &str| {
            p.get(name).and_then(Value::as_f64).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        Self {
            event: event.event.clone().into_owned(),
            uuid: event.uuid.to_string(),
            timestamp: event.timestamp.clone(),
            distinct_id: event.distinct_id.clone(),
            trace_id: text("$ai_trace_id"),
            session_id: text("$ai_session_id"),
            span_id: text("$ai_span_id"),
            parent_id: text("$ai_parent_id"),
            model: text("$ai_model"),
            provider: text("$ai_provider"),
            usage: usage.buckets().collect(),
            cost_usd,
            latency: time("$ai_latency"),
            time_to_first_token: time("$ai_time_to_first_token"),
            stream: p.get("$ai_stream") == Some(&Value::Bool(true)),
            stream_status: text("$ai_stream_status"),
            stop_reason: text("$ai_stop_reason"),
            http_status: p.get("$ai_http_status").and_then(Value::as_u64).and_then(|status| status.try_into().ok()),
            is_error: p.get("$ai_is_error") == Some(&Value::Bool(true)),
            error_type: text("$ai_error_type"),
        }
    }

    /// As JSON, with a language's own names and unit of time: for bindings. What is not known is null.
    pub fn to_json(&self, language: Language) -> Value {
        let time = |time: Option<Duration>| {
            time.map(|time| (time.as_secs_f64() * language.units_in_a_second() * 1e6).round() / 1e6)
        };
        let members: [(&str, Value); 20] = [
            ("event", json!(self.event)),
            ("uuid", json!(self.uuid)),
            ("timestamp", json!(self.timestamp)),
            ("distinct_id", json!(self.distinct_id)),
            ("trace_id", json!(self.trace_id)),
            ("session_id", json!(self.session_id)),
            ("span_id", json!(self.span_id)),
            ("parent_id", json!(self.parent_id)),
            ("model", json!(self.model)),
            ("provider", json!(self.provider)),
            ("usage", json!(self.usage)),
            ("cost_usd", json!(self.cost_usd)),
            ("latency", json!(time(self.latency))),
            ("time_to_first_token", json!(time(self.time_to_first_token))),
            ("stream", json!(self.stream)),
            ("stream_status", json!(self.stream_status)),
            ("stop_reason", json!(self.stop_reason)),
            ("http_status", json!(self.http_status)),
            ("is_error", json!(self.is_error)),
            ("error_type", json!(self.error_type)),
        ];
        members.into_iter().map(|(name, value)| (language.name_of(name), value)).collect::<Map<_, _>>().into()
    }
}
