//! From an event's JSON to its row: numbers, and the numbers of names.

use std::borrow::Cow;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use serde::Deserialize;
use uuid::Uuid;

use super::fields::{Fields, count, cut, real, scaled, string, switch, text};
use super::names::Names;
use super::shape::{self, Said};
use super::statements::Statements;
use crate::event::WireEvent;
use crate::price::Amount;

/// Long texts are cut to this many characters in columns; they are whole in the body.
const CUT: usize = 300;

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Whole(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Uuid(Uuid),
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Whole(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Uuid(uuid) => ValueRef::Blob(uuid.as_bytes()),
        }))
    }
}

impl From<Option<i64>> for Cell<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Whole)
    }
}

impl<'a> From<Option<Cow<'a, str>>> for Cell<'a> {
    fn from(text: Option<Cow<'a, str>>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// The columns of `event_rows`, in the order of [`cells`].
pub(super) const COLUMNS: [&str; 41] = [
    "id",
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
    "value",
    "lib_language",
    "properties",
    "input",
    "output",
    "tools_called",
    "input_cost",
    "output_cost",
    "cost_nano",
    "cost_atto",
    "cost_source",
    "cache_saved",
];

/// Those that hold the number of a text.
pub(super) const NAMES: [&str; 11] = [
    "event",
    "name",
    "span_type",
    "provider",
    "model",
    "error_type",
    "stream_status",
    "stop_reason",
    "lib_language",
    "tools_called",
    "cost_source",
];

/// The texts up to this number are the kinds of events, calls first.
pub(super) const KINDS: i64 = 6;

/// What lists show of an event's content: a content by its number, or a few words themselves.
pub(super) struct Shown {
    pub input: Cell<'static>,
    pub output: Cell<'static>,
    pub tools_called: Option<String>,
}

/// What of the row its body refers to.
pub(super) struct Ids<'a> {
    distinct_id: Cow<'a, str>,
    trace_id: Option<Cow<'a, str>>,
    session_id: Option<Cow<'a, str>>,
    span_id: Option<Cow<'a, str>>,
    parent_id: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    uuid: String,
    timestamp_ms: i64,
    timestamp: String,
}

impl<'a> Ids<'a> {
    pub(super) fn of(event: &WireEvent, fields: &Fields<'a>) -> Self {
        let timestamp_ms = timestamp_ms(event, string(fields.timestamp).as_deref());
        Self {
            distinct_id: string(fields.distinct_id).unwrap_or_default(),
            trace_id: text(fields.trace_id),
            session_id: text(fields.session_id),
            span_id: text(fields.span_id),
            parent_id: text(fields.parent_id),
            error: cut(fields.error, CUT),
            uuid: event.uuid.to_string(),
            timestamp_ms,
            timestamp: written(timestamp_ms),
        }
    }

    /// As bodies refer to it.
    pub(super) fn said<'s>(&'s self, own: Option<&'s str>) -> Said<&'s str> {
        Said {
            strings: [
                Some(&self.uuid),
                Some(&self.distinct_id),
                self.trace_id.as_deref(),
                self.session_id.as_deref(),
                self.span_id.as_deref(),
                self.parent_id.as_deref(),
                Some(&self.timestamp),
                self.error.as_deref(),
            ],
            own,
        }
    }
}

/// A time as events have it.
pub(super) fn written(timestamp_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(timestamp_ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// The row of an event. What the body does not say, or says in a way that is not understood, is NULL: a row is never
/// refused.
pub(super) fn cells<'a>(
    tx: &mut Statements<'_>,
    names: &mut Names,
    (id, event): (Option<i64>, &WireEvent),
    f: &'a Fields<'_>,
    ids: &'a Ids<'_>,
    shown: Shown,
) -> rusqlite::Result<[Cell<'a>; 41]> {
    let mut id_of = |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| names.id(tx, text)).transpose();
    let distinct_id = id_of(&Some(Cow::Borrowed(&*ids.distinct_id)))?;
    let trace_id = id_of(&ids.trace_id)?;
    let session_id = id_of(&ids.session_id)?;
    // A span in a trace has the trace's id as its parent, most often.
    let span = |text: &'a Option<Cow<'_, str>>| match text.as_deref() {
        None => Cell::Null,
        Some(text) if Some(text) == ids.trace_id.as_deref() => trace_id.into(),
        Some(text) => shape::plain_uuid(text).map_or(Cell::Text(Cow::Borrowed(text)), Cell::Uuid),
    };
    let (span_id, parent_id) = (span(&ids.span_id), span(&ids.parent_id));
    let mut name = |text: Option<Cow<'_, str>>| -> rusqlite::Result<Cell<'static>> {
        Ok(text.map(|text| names.text(tx, &text)).transpose()?.into())
    };
    let costs = Costs::of(f);
    Ok([
        id.into(),
        Cell::Uuid(event.uuid),
        name(Some(string(f.event).unwrap_or_default()))?,
        Cell::Whole(ids.timestamp_ms),
        distinct_id.into(),
        trace_id.into(),
        session_id.into(),
        span_id,
        parent_id,
        name(text(f.span_name).or_else(|| text(f.trace_name)).or_else(|| text(f.metric_name)))?,
        name(text(f.span_type))?,
        name(text(f.provider))?,
        name(text(f.model))?,
        count(f.http_status).into(),
        Cell::Whole(i64::from(switch(f.is_error) == Some(true))),
        name(cut(f.error_type, CUT))?,
        ids.error.as_deref().map(Cow::Borrowed).into(),
        switch(f.stream).map(i64::from).into(),
        name(text(f.stream_status))?,
        name(cut(f.stop_reason, CUT))?,
        count(f.retries).into(),
        number(f.trace_latency.filter(|json| real(Some(json)).is_some()).or(f.latency), 6),
        number(f.time_to_first_token, 6),
        count(f.input_tokens).into(),
        total_input(f).into(),
        count(f.output_tokens).into(),
        count(f.cache_read).into(),
        count(f.cache_creation).into(),
        count(f.reasoning_tokens).into(),
        cut(f.metric_value, CUT).or_else(|| cut(f.feedback_text, CUT)).into(),
        name(text(f.lib_language))?,
        f.own.as_deref().map(Cow::Borrowed).into(),
        shown.input,
        shown.output,
        name(shown.tools_called.map(Cow::Owned))?,
        costs.input,
        costs.output,
        costs.nano.into(),
        costs.atto.into(),
        name(text(f.cost_source))?,
        costs.saved,
    ])
}

/// The columns that say what an event cost, but for where that is from.
pub(super) struct Costs {
    pub input: Cell<'static>,
    pub output: Cell<'static>,
    pub nano: Option<i64>,
    pub atto: Option<i64>,
    pub saved: Cell<'static>,
}

impl Costs {
    pub(super) fn of(f: &Fields<'_>) -> Self {
        let details = f.cost_details.and_then(|json| serde_json::from_str::<Details<'_>>(json).ok());
        let cost = exact_cost(f, details.as_ref());
        let saved = details.as_ref().and_then(cache_saved);
        Self {
            input: number(f.input_cost, 12),
            output: number(f.output_cost, 12),
            nano: cost.map(|cost| i64::try_from(cost.atto().div_euclid(NANO)).unwrap_or(i64::MAX)),
            atto: cost.and_then(|cost| i64::try_from(cost.atto().rem_euclid(NANO)).ok()),
            saved: saved.map_or(Cell::Null, |saved| number(Some(&saved.to_f64().to_string()), 12)),
        }
    }
}

/// What of `$ai_cost_details` columns are made from.
#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    total: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    buckets: Option<Buckets<'a>>,
}

#[derive(Deserialize)]
struct Buckets<'a> {
    #[serde(borrow, default)]
    input_text: Option<Bucket<'a>>,
    #[serde(borrow, default)]
    cache_read: Option<Bucket<'a>>,
    #[serde(borrow, default)]
    cache_write_5m: Option<Bucket<'a>>,
    #[serde(borrow, default)]
    cache_write_1h: Option<Bucket<'a>>,
}

#[derive(Deserialize)]
struct Bucket<'a> {
    #[serde(default)]
    units: u64,
    #[serde(borrow, default)]
    unit_price: Option<Cow<'a, str>>,
}

/// Units of 1e-18 in one of 1e-9.
const NANO: i128 = 1_000_000_000;

/// The cost as two columns hold it.
pub(super) fn amount(nano: i64, atto: i64) -> Amount {
    Amount::from_atto(i128::from(nano).saturating_mul(NANO).saturating_add(i128::from(atto)))
}

/// The exact total is a decimal string in the details; a cost that the application gave is a double.
fn exact_cost(f: &Fields<'_>, details: Option<&Details<'_>>) -> Option<Amount> {
    let given = real(f.total_cost)?;
    let exact = details.and_then(|details| Amount::parse(details.total.as_deref()?));
    // The application may have put its own total over ours.
    let exact = exact.filter(|exact| close(given, exact.to_f64()));
    exact.or_else(|| Amount::parse(f.total_cost?))
}

/// What the call would have cost more without a cache, by the bill's own prices. Not known when no input paid the full
/// price.
fn cache_saved(details: &Details<'_>) -> Option<Amount> {
    let price = |bucket: &Bucket<'_>| Amount::parse(bucket.unit_price.as_deref()?);
    let buckets = details.buckets.as_ref()?;
    let full = price(buckets.input_text.as_ref()?)?;
    let cached = [&buckets.cache_read, &buckets.cache_write_5m, &buckets.cache_write_1h].into_iter().flatten();
    let saved = cached.filter(|bucket| bucket.units > 0).filter_map(|bucket| {
        let less = full - price(bucket)?;
        Some(less.times(bucket.units))
    });
    saved.reduce(|sum, more| sum + more)
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
fn total_input(f: &Fields<'_>) -> Option<i64> {
    let mut total = count(f.input_tokens)?;
    if switch(f.cache_exclusive) == Some(true) {
        for more in [count(f.cache_read), count(f.cache_creation)].into_iter().flatten() {
            total = total.saturating_add(more);
        }
    }
    Some(total)
}

/// Whole units of 1e-`digits` when that says it to the last bit.
fn number(json: Option<&str>, digits: u32) -> Cell<'static> {
    match scaled(json, digits) {
        Some(units) => Cell::Whole(units),
        None => real(json).map_or(Cell::Null, Cell::Real),
    }
}
