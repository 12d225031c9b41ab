//! From an event's body to the columns of its row.

use std::collections::BTreeMap;

use rusqlite::types::Value as Cell;
use serde_json::{Map, Value};

use super::body::Piece;
use super::preview;
use crate::event::WireEvent;
use crate::price::Amount;

/// Long texts are cut to this many characters in columns; they are whole in the body.
const CUT: usize = 300;

/// The columns of `events` but for its key, in the order of [`cells`].
pub(super) const COLUMNS: [&str; 41] = [
    "uuid",
    "event",
    "timestamp_ms",
    "distinct_id",
    "trace_id",
    "session_id",
    "span_id",
    "parent_id",
    "name",
    "span_type",
    "provider",
    "model",
    "http_status",
    "is_error",
    "error_type",
    "error",
    "stream",
    "stream_status",
    "stop_reason",
    "retries",
    "latency",
    "time_to_first_token",
    "input_tokens",
    "total_input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
    "input_cost_usd",
    "output_cost_usd",
    "total_cost_usd",
    "cost_nano",
    "cost_atto",
    "cost_source",
    "value",
    "lib_language",
    "properties",
    "input_preview",
    "output_preview",
    "tools_called",
    "cache_saved_usd",
];

/// The row of an event. What the body does not say, or says in a way that is not
/// understood, is NULL: a row is never refused.
pub(super) fn cells(event: &WireEvent, body: &str, pieces: &[Piece<'_>]) -> [Cell; 41] {
    let mut body: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
    let own = body.get("properties").and_then(Value::as_object).map_or(Cell::Null, |p| own_properties(p, pieces));
    let p = &mut match body.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    // A long error, or long details of a cost: they are no content, and columns are made from them.
    for piece in pieces.iter().filter(|piece| !piece.is_content()) {
        p.insert(piece.property.to_owned(), serde_json::from_str(piece.json).unwrap_or_default());
    }
    let p = &*p;
    let preview = preview::of(p, pieces);
    let top = |name: &str| body.get(name).and_then(Value::as_str);
    let cost = exact_cost(p);
    let nano = cost.map(|cost| i64::try_from(cost.atto().div_euclid(NANO)).unwrap_or(i64::MAX));
    let atto = cost.and_then(|cost| i64::try_from(cost.atto().rem_euclid(NANO)).ok());
    let first = |names: &[&str]| names.iter().map(|name| text(p, name)).find(|cell| *cell != Cell::Null);
    [
        Cell::Text(event.uuid.to_string()),
        Cell::Text(top("event").unwrap_or_default().to_owned()),
        Cell::Integer(timestamp_ms(event, top("timestamp"))),
        Cell::Text(top("distinct_id").unwrap_or_default().to_owned()),
        text(p, "$ai_trace_id"),
        text(p, "$ai_session_id"),
        text(p, "$ai_span_id"),
        text(p, "$ai_parent_id"),
        first(&["$ai_span_name", "$ai_trace_name", "$ai_metric_name"]).unwrap_or(Cell::Null),
        text(p, "$ai_span_type"),
        text(p, "$ai_provider"),
        text(p, "$ai_model"),
        whole(p, "$ai_http_status"),
        Cell::Integer(i64::from(p.get("$ai_is_error").and_then(Value::as_bool).unwrap_or(false))),
        cut(p, "$ai_error_type"),
        cut(p, "$ai_error"),
        p.get("$ai_stream").and_then(Value::as_bool).map_or(Cell::Null, |stream| Cell::Integer(i64::from(stream))),
        text(p, "$ai_stream_status"),
        cut(p, "$ai_stop_reason"),
        whole(p, "$ai_retries"),
        match real(p, "$ai_trace_latency") {
            Cell::Null => real(p, "$ai_latency"),
            seconds => seconds,
        },
        real(p, "$ai_time_to_first_token"),
        whole(p, "$ai_input_tokens"),
        total_input(p),
        whole(p, "$ai_output_tokens"),
        whole(p, "$ai_cache_read_input_tokens"),
        whole(p, "$ai_cache_creation_input_tokens"),
        whole(p, "$ai_reasoning_tokens"),
        real(p, "$ai_input_cost_usd"),
        real(p, "$ai_output_cost_usd"),
        real(p, "$ai_total_cost_usd"),
        nano.map_or(Cell::Null, Cell::Integer),
        atto.map_or(Cell::Null, Cell::Integer),
        text(p, "$ai_cost_model_source"),
        match cut(p, "$ai_metric_value") {
            Cell::Null => cut(p, "$ai_feedback_text"),
            value => value,
        },
        text(p, "$ai_lib_language"),
        own,
        optional(preview.input),
        optional(preview.output),
        optional(preview.tools_called),
        cache_saved(p).map_or(Cell::Null, |saved| Cell::Real(saved.to_f64())),
    ]
}

/// Units of 1e-18 in one of 1e-9.
const NANO: i128 = 1_000_000_000;

/// The cost as two columns hold it.
pub(super) fn amount(nano: i64, atto: i64) -> Amount {
    Amount::from_atto(i128::from(nano).saturating_mul(NANO).saturating_add(i128::from(atto)))
}

/// The exact total is a decimal string in the details; a cost that the application gave is a double.
fn exact_cost(p: &Map<String, Value>) -> Option<Amount> {
    let given = p.get("$ai_total_cost_usd").filter(|value| value.is_number())?;
    let exact = p.get("$ai_cost_details").and_then(|details| Amount::parse(details.get("total")?.as_str()?));
    // The application may have put its own total over ours.
    let exact = exact.filter(|exact| given.as_f64().is_some_and(|given| close(given, exact.to_f64())));
    exact.or_else(|| Amount::parse(&given.to_string()))
}

/// What the call would have cost more without a cache, by the bill's own prices. Not known when no input paid the full
/// price.
fn cache_saved(p: &Map<String, Value>) -> Option<Amount> {
    let buckets = p.get("$ai_cost_details")?.get("buckets")?.as_object()?;
    let price = |name: &str| Amount::parse(buckets.get(name)?.get("unit_price")?.as_str()?);
    let full = price("input_text")?;
    let cached = ["cache_read", "cache_write_5m", "cache_write_1h"].into_iter().filter_map(|name| {
        let units = buckets.get(name)?.get("units")?.as_u64().filter(|units| *units > 0)?;
        Some((full - price(name)?).times(units))
    });
    cached.reduce(|sum, more| sum + more)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn timestamp_ms(event: &WireEvent, timestamp: Option<&str>) -> i64 {
    let parsed = timestamp.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_millisecond);
    parsed.unwrap_or_else(|| {
        let made = event.uuid.get_timestamp().map(|time| time.to_unix());
        made.map_or(0, |(seconds, _)| i64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
    })
}

/// All input tokens. Whether cached ones are inside `$ai_input_tokens` depends on the provider, and the event says so.
fn total_input(p: &Map<String, Value>) -> Cell {
    let Cell::Integer(mut total) = whole(p, "$ai_input_tokens") else { return Cell::Null };
    if p.get("$ai_cache_reporting_exclusive").and_then(Value::as_bool) == Some(true) {
        for name in ["$ai_cache_read_input_tokens", "$ai_cache_creation_input_tokens"] {
            if let Cell::Integer(more) = whole(p, name) {
                total = total.saturating_add(more);
            }
        }
    }
    Cell::Integer(total)
}

/// What the application gave, but for what is kept as content.
fn own_properties(p: &Map<String, Value>, pieces: &[Piece<'_>]) -> Cell {
    let is_own = |name: &str| !name.starts_with('$') || name == "$groups";
    let is_here = |name: &str| pieces.iter().all(|piece| piece.property != name);
    let own: BTreeMap<&String, &Value> = p.iter().filter(|(name, _)| is_own(name) && is_here(name)).collect();
    if own.is_empty() {
        return Cell::Null;
    }
    serde_json::to_string(&own).map_or(Cell::Null, Cell::Text)
}

/// Texts, and what can stand for one.
fn text(p: &Map<String, Value>, name: &str) -> Cell {
    match p.get(name) {
        Some(Value::String(text)) => Cell::Text(text.clone()),
        None | Some(Value::Null) => Cell::Null,
        Some(other) => Cell::Text(other.to_string()),
    }
}

fn optional(text: Option<String>) -> Cell {
    text.map_or(Cell::Null, Cell::Text)
}

fn cut(p: &Map<String, Value>, name: &str) -> Cell {
    match text(p, name) {
        Cell::Text(mut text) => {
            if let Some((end, _)) = text.char_indices().nth(CUT) {
                text.truncate(end);
            }
            Cell::Text(text)
        }
        other => other,
    }
}

fn whole(p: &Map<String, Value>, name: &str) -> Cell {
    let count = crate::decode::json::count(p.get(name)).and_then(|count| i64::try_from(count).ok());
    count.map_or(Cell::Null, Cell::Integer)
}

fn real(p: &Map<String, Value>, name: &str) -> Cell {
    p.get(name).and_then(Value::as_f64).map_or(Cell::Null, Cell::Real)
}
