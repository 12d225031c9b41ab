//! The event: what is sent, in the shape of PostHog's LLM analytics.

pub(crate) mod build;
pub mod detect;
pub(crate) mod media;
pub mod policy;
pub(crate) mod properties;
pub(crate) mod recorded;
pub(crate) mod secrets;
pub(crate) mod texts;
pub mod usage;
pub(crate) mod write;

pub use texts::Text;

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value};
use uuid::Uuid;

use properties::Properties;

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
    /// What the local store gets in its place, where its policy is another one.
    pub(crate) stored: Option<Bytes>,
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
        let Self { event, uuid, distinct_id, timestamp, properties } = self;
        encode(event, *uuid, distinct_id, timestamp, |out| write::object(properties, out))
    }
}

/// An [`Event`] while it is made.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) event: Cow<'static, str>,
    pub(crate) uuid: Uuid,
    pub(crate) distinct_id: String,
    pub(crate) timestamp: String,
    pub(crate) properties: Properties,
}

impl Draft {
    /// As [`Event::encode`].
    pub(crate) fn encode(&self) -> WireEvent {
        let Self { event, uuid, distinct_id, timestamp, properties } = self;
        encode(event, *uuid, distinct_id, timestamp, |out| properties.write(out))
    }
}

impl From<Draft> for Event {
    fn from(draft: Draft) -> Self {
        let Draft { event, uuid, distinct_id, timestamp, properties } = draft;
        Self { event: event.into_owned(), uuid, distinct_id, timestamp, properties: properties.into() }
    }
}

fn encode(
    event: &str,
    uuid: Uuid,
    distinct_id: &str,
    timestamp: &str,
    properties: impl FnOnce(&mut Vec<u8>),
) -> WireEvent {
    let lane = if AI_EVENTS.contains(&event) { Lane::Ai } else { Lane::General };
    let mut room = Uuid::encode_buffer();
    let id = uuid.hyphenated().encode_lower(&mut room);
    // In the order of their names.
    let json = drafted(|draft| {
        let mut members = write::Members::begin(draft);
        write::text(distinct_id, members.ours("distinct_id"));
        write::text(event, members.ours("event"));
        properties(members.ours("properties"));
        write::text(timestamp, members.ours("timestamp"));
        write::text(id, members.ours("uuid"));
        members.end();
    });
    WireEvent { uuid, lane, json, stored: None }
}

/// A text in exactly as much memory as it needs, for it may be waited with for long: one that grew while it was written
/// holds up to twice its length.
fn drafted(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    thread_local! {
        static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    /// What is kept for the next event.
    const KEPT: usize = 256 << 10;
    DRAFT.with_borrow_mut(|draft| {
        draft.clear();
        write(draft);
        let json = Bytes::copy_from_slice(draft);
        draft.truncate(KEPT);
        draft.shrink_to(KEPT);
        json
    })
}

/// A time as the envelope wants it.
pub fn timestamp(time: SystemTime) -> String {
    crate::day::timestamp(time)
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> i64 {
    let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(millis).unwrap_or(i64::MAX)
}
