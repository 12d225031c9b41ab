//! The event: what is sent, in the shape of PostHog's LLM analytics.

pub(crate) mod build;
pub mod detect;
pub(crate) mod media;
pub(crate) mod recorded;
pub(crate) mod secrets;
pub mod usage;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value};
use uuid::Uuid;

/// An event with its envelope. `uuid`, `timestamp`, `event` and `distinct_id` are fixed when it is made and never
/// change, for the server deduplicates on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `$ai_generation`.
    pub event: String,
    /// UUID v7.
    pub uuid: Uuid,
    /// Who it is about.
    pub distinct_id: String,
    /// RFC 3339, UTC, milliseconds: the start of what it tells of.
    pub timestamp: String,
    /// Everything else.
    pub properties: Map<String, Value>,
}

/// An event in its final form: the JSON that goes over the wire, and what delivery needs to know of it.
#[derive(Debug, Clone)]
pub struct WireEvent {
    /// The event's id.
    pub uuid: Uuid,
    /// Where it may be sent.
    pub lane: Lane,
    /// `{"event", "distinct_id", "uuid", "timestamp", "properties"}`.
    pub json: Bytes,
}

/// The two ways into PostHog: its route for LLM analytics takes only events of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// `$ai_*` events.
    Ai,
    /// Everything else.
    General,
}

/// The names that the AI route takes.
pub const AI_EVENTS: [&str; 6] =
    ["$ai_generation", "$ai_embedding", "$ai_span", "$ai_trace", "$ai_feedback", "$ai_metric"];

impl Event {
    /// The event of a final form; `None` when it is none.
    pub(crate) fn decode(json: &[u8]) -> Option<Self> {
        let mut members: Map<String, Value> = serde_json::from_slice(json).ok()?;
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Some(Self {
            event: text("event")?,
            uuid: text("uuid")?.parse().ok()?,
            distinct_id: text("distinct_id")?,
            timestamp: text("timestamp")?,
            properties: match members.remove("properties") {
                Some(Value::Object(properties)) => properties,
                _ => Map::new(),
            },
        })
    }

    /// The final form.
    pub fn encode(&self) -> WireEvent {
        let lane = if AI_EVENTS.contains(&self.event.as_str()) { Lane::Ai } else { Lane::General };
        let json = serde_json::json!({
            "event": self.event,
            "distinct_id": self.distinct_id,
            "uuid": self.uuid.to_string(),
            "timestamp": self.timestamp,
            "properties": self.properties,
        });
        WireEvent { uuid: self.uuid, lane, json: Bytes::from(json.to_string()) }
    }
}

/// A time as the envelope wants it.
pub fn timestamp(time: SystemTime) -> String {
    let millis = unix_ms(time);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> i64 {
    let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(millis).unwrap_or(i64::MAX)
}
