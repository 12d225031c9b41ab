//! The shapes of `--json`: keys in `snake_case`, named as the event's properties without `$ai_`, and always there: what
//! is not known is null. Sums of money come twice, as a number and to the last digit as a string.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::store::{Row, Totals, Trace};

/// One event, as it is listed.
pub(super) fn row(row: &Row, depth: usize) -> Map<String, Value> {
    let mut shape = match serde_json::to_value(row) {
        Ok(Value::Object(shape)) => shape,
        _ => Map::new(),
    };
    let own = row.properties.as_deref().and_then(|text| serde_json::from_str(text).ok());
    shape.insert("properties".to_owned(), own.unwrap_or_else(|| json!({})));
    shape.insert("timestamp".to_owned(), timestamp(row.timestamp_ms));
    shape.insert("depth".to_owned(), depth.into());
    shape.remove("timestamp_ms");
    shape
}

/// A trace with its events, parents before their children. `own` is its own event, if it has one.
pub(super) fn trace(trace: &Trace, event: impl Fn(&Row, usize) -> Value) -> Value {
    let mut shape = Map::new();
    for (key, value) in [
        ("trace_id", json!(trace.id)),
        ("name", json!(trace.name)),
        ("session_id", json!(trace.session_id)),
        ("distinct_id", json!(trace.user)),
        ("timestamp", timestamp(trace.timestamp_ms)),
        ("duration", json!(trace.duration)),
        ("own", trace.own.as_ref().map_or(Value::Null, |own| event(own, 0))),
        ("events", trace.nodes.iter().map(|node| event(&node.row, node.depth)).collect()),
    ] {
        shape.insert(key.to_owned(), value);
    }
    shape.extend(totals(&trace.totals));
    shape.into()
}

/// Sums over calls.
pub(super) fn totals(totals: &Totals) -> Map<String, Value> {
    // Of calls that have no price at all, the sum is not zero but unknown.
    let cost = (totals.calls == 0 || totals.calls > totals.unpriced).then_some(totals.cost);
    [
        ("calls", totals.calls.into()),
        ("errors", totals.errors.into()),
        ("total_input_tokens", totals.total_input_tokens.into()),
        ("cache_read_input_tokens", totals.cache_read_input_tokens.into()),
        ("cache_creation_input_tokens", totals.cache_creation_input_tokens.into()),
        ("output_tokens", totals.output_tokens.into()),
        ("reasoning_tokens", totals.reasoning_tokens.into()),
        ("total_cost_usd", cost.map_or(Value::Null, |cost| cost.to_f64().into())),
        ("total_cost_usd_exact", cost.map_or(Value::Null, |cost| cost.to_string().into())),
        ("unpriced_calls", totals.unpriced.into()),
    ]
    .into_iter()
    .map(|(key, value): (&str, Value)| (key.to_owned(), value))
    .collect()
}

/// A time as the event's envelope has it.
pub(super) fn timestamp(timestamp_ms: i64) -> Value {
    Timestamp::from_millisecond(timestamp_ms).map_or(Value::Null, |time| format!("{time:.3}").into())
}
