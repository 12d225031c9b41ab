//! Reading the local store: recent traces, one trace as a tree, one event whole, totals.
//!
//! Nothing here writes, and lists never touch messages. The schema is documented where it is made
//! (`core/src/sink/store/schema.rs`), so that other programs can read the file as well.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlResult, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::Serialize;

use super::{BUSY, FILE, names, pack, patiently, preview, read_json, row, schema, search, too_new, trouble};
use crate::error::Result;
use crate::price::Amount;

pub use super::Writer;
pub use super::search::Progress;
pub use super::tree::{Node, Trace, tree};

/// Events that are calls: what tokens and costs are summed over.
pub(super) const CALLS: [&str; 2] = ["$ai_generation", "$ai_embedding"];

/// A true or false that SQLite keeps as a number.
struct Switch(bool);

impl FromSql for Switch {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(|number| Self(number != 0))
    }
}

/// What a preview is made of: words that are kept, or else a short message or the value of a span.
macro_rules! shown {
    ($of:literal) => {
        concat!(
            "CASE WHEN ",
            $of,
            "_content IS NULL THEN ",
            $of,
            "_preview ELSE
                (SELECT preview FROM contents WHERE contents.id = ",
            $of,
            "_content) END AS ",
            $of,
            "_words,
             (SELECT CASE WHEN preview IS NULL THEN json END FROM contents
                WHERE contents.id = ",
            $of,
            "_content) AS ",
            $of,
            "_json"
        )
    };
}

fn shown(words: Option<String>, packed: Option<Value>) -> Option<String> {
    words.or_else(|| preview::of(&pack::unpack(packed?)?))
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident: $kind:ty),* $(,)?) => {
        /// An event as lists show it: everything but messages and details. `None` is what the event does not say.
        /// Names are those of the event's properties without `$ai_`.
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct Row {
            $($(#[$doc])* pub $name: $kind,)*
            /// The beginning of the last message by the user, or of a span's input.
            pub input_preview: Option<String>,
            /// The beginning of the answer, or of a span's output.
            pub output_preview: Option<String>,
            /// What it cost, exactly.
            #[serde(serialize_with = "as_text")]
            pub total_cost_usd_exact: Option<Amount>,
            /// Whether it failed.
            pub is_error: bool,
            /// Whether it was a stream.
            pub stream: Option<bool>,
        }

        impl Row {
            const COLUMNS: &'static str = concat!(
                $(stringify!($name), ", ",)*
                "cost_nano, cost_atto, is_error, stream, ", shown!("input"), ", ", shown!("output")
            );

            fn read(from: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
                let (nano, atto): (Option<i64>, Option<i64>) = (from.get("cost_nano")?, from.get("cost_atto")?);
                Ok(Self {
                    $($name: from.get(stringify!($name))?,)*
                    input_preview: shown(from.get("input_words")?, from.get("input_json")?),
                    output_preview: shown(from.get("output_words")?, from.get("output_json")?)
                        .or_else(|| from.get::<_, Option<String>>("tools_called").ok()?.as_deref().map(preview::calls)),
                    total_cost_usd_exact: nano.zip(atto).map(|(nano, atto)| row::amount(nano, atto)),
                    is_error: from.get::<_, Switch>("is_error")?.0,
                    stream: from.get::<_, Option<Switch>>("stream")?.map(|switch| switch.0),
                })
            }
        }
    };
}

rows! {
    /// The event's id.
    uuid: String,
    /// Its kind, such as `$ai_generation`.
    event: String,
    /// When it began: milliseconds since 1970.
    timestamp_ms: i64,
    /// Who it was for.
    distinct_id: String,
    /// The trace that it belongs to.
    trace_id: Option<String>,
    /// The session that it belongs to.
    session_id: Option<String>,
    /// Its own id in the tree.
    span_id: Option<String>,
    /// The id of the span or trace that it is in.
    parent_id: Option<String>,
    /// Of a trace, span, call or metric.
    name: Option<String>,
    /// `tool`, `retrieval`, `agent`...
    span_type: Option<String>,
    /// Who served the call.
    provider: Option<String>,
    /// The model that answered.
    model: Option<String>,
    /// The last attempt's.
    http_status: Option<i64>,
    /// The provider's type or code.
    error_type: Option<String>,
    /// The first 300 characters of the provider's message.
    error: Option<String>,
    /// `complete`, `abandoned`, `error` or `timeout`.
    stream_status: Option<String>,
    /// As the provider says it.
    stop_reason: Option<String>,
    /// Attempts before this one.
    retries: Option<i64>,
    /// Seconds; of a trace, from its start to its end.
    latency: Option<f64>,
    /// Seconds.
    time_to_first_token: Option<f64>,
    /// As the provider counts.
    input_tokens: Option<i64>,
    /// All input, cached or not.
    total_input_tokens: Option<i64>,
    /// As the provider counts.
    output_tokens: Option<i64>,
    /// Input that came from the provider's cache.
    cache_read_input_tokens: Option<i64>,
    /// Input that went into the provider's cache.
    cache_creation_input_tokens: Option<i64>,
    /// Output spent on thinking.
    reasoning_tokens: Option<i64>,
    /// As a double.
    input_cost_usd: Option<f64>,
    /// As a double.
    output_cost_usd: Option<f64>,
    /// As a double.
    total_cost_usd: Option<f64>,
    /// Where the cost is from: `reported`, `custom`, `openrouter`...
    cost_source: Option<String>,
    /// Of a metric or feedback.
    value: Option<String>,
    /// The language of the application.
    lib_language: Option<String>,
    /// The application's own properties, as JSON.
    properties: Option<String>,
    /// The names of the tools that the answer calls, separated by commas.
    tools_called: Option<String>,
    /// What reading from a cache saved, less what filling it cost more. As a double.
    cache_saved_usd: Option<f64>,
}

#[expect(clippy::ref_option, reason = "serde asks for this signature")]
fn as_text<S: serde::Serializer>(amount: &Option<Amount>, to: S) -> std::result::Result<S::Ok, S::Error> {
    amount.map(|amount| amount.to_string()).serialize(to)
}

impl Row {
    /// Whether it is a call, with tokens and a cost.
    pub fn is_call(&self) -> bool {
        CALLS.contains(&self.event.as_str())
    }

    /// Its id in the tree of its trace.
    pub fn node_id(&self) -> &str {
        self.span_id.as_deref().unwrap_or(&self.uuid)
    }

    /// The trace that it belongs to; an event without one is a trace of its own.
    pub fn trace(&self) -> &str {
        self.trace_id.as_deref().unwrap_or(&self.uuid)
    }
}

/// Sums over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Generations and embeddings.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// All input tokens, cached or not.
    pub total_input_tokens: u64,
    /// Those that came from a provider's cache.
    pub cache_read_input_tokens: u64,
    /// Those that went into a provider's cache.
    pub cache_creation_input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Those spent on thinking.
    pub reasoning_tokens: u64,
    /// What the priced calls cost, exactly.
    pub cost: Amount,
    /// Calls whose cost is not known; one that failed and used nothing is not among them.
    pub unpriced: u64,
}

impl Totals {
    /// Adds a call; other events change nothing.
    pub fn add(&mut self, row: &Row) {
        if !row.is_call() {
            return;
        }
        self.calls += 1;
        self.errors += u64::from(row.is_error);
        for (sum, count) in [
            (&mut self.total_input_tokens, row.total_input_tokens),
            (&mut self.cache_read_input_tokens, row.cache_read_input_tokens),
            (&mut self.cache_creation_input_tokens, row.cache_creation_input_tokens),
            (&mut self.output_tokens, row.output_tokens),
            (&mut self.reasoning_tokens, row.reasoning_tokens),
        ] {
            *sum = sum.saturating_add(u64::try_from(count.unwrap_or(0)).unwrap_or(0));
        }
        if let Some(cost) = row.total_cost_usd_exact {
            self.cost = self.cost + cost;
        } else {
            let used = row.input_tokens.or(row.output_tokens).is_some();
            self.unpriced += u64::from(used || !row.is_error);
        }
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.calls, other.calls),
            (&mut self.errors, other.errors),
            (&mut self.total_input_tokens, other.total_input_tokens),
            (&mut self.cache_read_input_tokens, other.cache_read_input_tokens),
            (&mut self.cache_creation_input_tokens, other.cache_creation_input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.unpriced, other.unpriced),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.cost = self.cost + other.cost;
    }
}

/// A model whose price is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpriced {
    /// Who serves it.
    pub provider: Option<String>,
    /// Its name.
    pub model: Option<String>,
    /// How many calls have no cost for that.
    pub calls: u64,
}

/// What totals are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The model that answered.
    Model,
    /// Who served the call.
    Provider,
    /// `distinct_id`; that of a call for nobody is its trace's id, and counts as none.
    User,
    /// `session_id`.
    Session,
    /// Quarters of an hour since 1970, of which every time zone's days are made. The key is their number.
    QuarterHour,
}

/// What an id, or a part of one, stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A trace, by its id.
    Trace(String),
    /// One event.
    Event(Box<Row>),
    /// More than one thing; some of their ids.
    Several(Vec<String>),
    /// Nothing.
    Nothing,
}

/// A store, open for reading. Other processes may write to it meanwhile.
pub struct Reader {
    db: Connection,
    path: PathBuf,
    /// What the path led to when it was opened.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only who looks for long asks"))]
    file: Option<Identity>,
    index: RefCell<Option<search::Index>>,
}

/// What tells a file from another one with its name.
type Identity = (u64, u64);

/// `None` where there is no file.
#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.exists().then_some((0, 0))
}

impl Reader {
    /// Opens the store in a folder; `None` when there is none yet.
    ///
    /// # Errors
    /// A store error: the file cannot be read, is damaged, or was made by a newer version.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        Self::open_file(&dir.join(FILE))
    }

    /// Opens a store by its file; `None` when there is none yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_file(path: &Path) -> Result<Option<Self>> {
        let path = path.to_owned();
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let file = identity(&path);
        let fail = |error| trouble(&path, "cannot be read", error);
        let mut db = patiently(|| read_only(&path)).map_err(fail)?;
        let mut version = schema::version(&db).map_err(fail)?;
        if version == 0 {
            // Another process is about to make it.
            return Ok(None);
        }
        if version < schema::newest() {
            drop(super::Store::open_file(&path)?);
            db = patiently(|| read_only(&path)).map_err(fail)?;
            version = schema::version(&db).map_err(fail)?;
        }
        if version > schema::newest() {
            return Err(too_new(&path, version));
        }
        Ok(Some(Self { db, path, file, index: RefCell::new(None) }))
    }

    /// The traces with the latest events, oldest first.
    pub fn recent_traces(&self, limit: usize) -> Result<Vec<Trace>> {
        let ids = self.asked(|db| {
            let mut find = db.prepare_cached(
                "SELECT coalesce(trace_id, uuid) FROM events WHERE event LIKE '$ai\\_%' ESCAPE '\\'
                 ORDER BY timestamp_ms DESC, id DESC",
            )?;
            let mut rows = find.query([])?;
            let (mut ids, mut seen) = (Vec::new(), HashSet::new());
            while ids.len() < limit
                && let Some(row) = rows.next()?
            {
                let id: String = row.get(0)?;
                if seen.insert(id.clone()) {
                    ids.push(id);
                }
            }
            Ok(ids)
        })?;
        let mut traces = Vec::new();
        for id in ids {
            // One that was removed meanwhile is not there.
            traces.extend(self.trace(&id)?);
        }
        traces.sort_by_key(|trace| trace.timestamp_ms);
        Ok(traces)
    }

    /// A trace with everything in it.
    pub fn trace(&self, id: &str) -> Result<Option<Trace>> {
        let mut rows = self.rows(IN_TRACE, id)?;
        if rows.is_empty() {
            rows = self.rows(&format!("{BY_UUID} AND trace_id IS NULL"), id)?;
        }
        Ok(tree(id, rows))
    }

    /// Looks up an id of a trace, span, call or event: whole, or its beginning or end if that is unique.
    pub fn find(&self, id: &str) -> Result<Found> {
        if id.is_empty() {
            return Ok(Found::Nothing);
        }
        let is_trace = format!("SELECT 1 FROM event_rows WHERE {IN_TRACE}");
        // That a span or event has the id of a trace is no doubt.
        if self.asked(|db| db.prepare_cached(&is_trace)?.exists([names::key(id)]))? {
            return Ok(Found::Trace(id.to_owned()));
        }
        if let Some(row) = self.event(id)? {
            return Ok(Found::Event(Box::new(row)));
        }
        let spans = self.spans(id)?;
        if !spans.is_empty() {
            let names = spans.clone();
            return self.found(Hits { traces: Vec::new(), events: spans, names });
        }
        let (beginning, ending) = self.parts(id)?;
        self.found(if beginning.names.is_empty() { ending } else { beginning })
    }

    fn found(&self, mut hits: Hits) -> Result<Found> {
        Ok(match (&hits.traces[..], &hits.events[..]) {
            ([], []) => Found::Nothing,
            ([trace], []) => Found::Trace(trace.clone()),
            ([], [uuid]) => self.event(uuid)?.map_or(Found::Nothing, |row| Found::Event(Box::new(row))),
            _ => {
                hits.names.truncate(SOME);
                Found::Several(hits.names)
            }
        })
    }

    /// The events with a span's id, by uuid. There is no index of these: it would be a tenth of the file. But a uuid of
    /// version 7 has the time in it at which the span began, and times have one.
    fn spans(&self, id: &str) -> Result<Vec<String>> {
        /// Milliseconds that clocks may have been set by in the meantime.
        const AWAY: i64 = 60_000;
        let uuids = |condition: &str, given: &[Value]| {
            let sql = format!("SELECT uuid FROM event_rows WHERE {condition} LIMIT {}", SOME + 1);
            self.asked(|db| {
                let mut find = db.prepare_cached(&sql)?;
                let uuids = find.query_map(rusqlite::params_from_iter(given), |row| row.get::<_, [u8; 16]>(0))?;
                uuids.map(|uuid| Ok(uuid::Uuid::from_bytes(uuid?).to_string())).collect::<rusqlite::Result<Vec<_>>>()
            })
        };
        let key = names::key(id);
        if let Some(begin) = made_ms(id) {
            let given = [key.clone(), begin.saturating_sub(AWAY).into(), begin.saturating_add(AWAY).into()];
            let near = uuids(NEAR, &given)?;
            if !near.is_empty() {
                return Ok(near);
            }
        }
        // Of another program's, or of an event with a time that was given to it.
        uuids("span_id = ?1", &[key])
    }

    /// What has an id that begins like this, and what has one that ends so; of many a few. Every id is looked at once.
    fn parts(&self, part: &str) -> Result<(Hits, Hits)> {
        self.asked(|db| {
            let mut hits = (Hits::default(), Hits::default());
            let mut has = db.prepare_cached("SELECT 1 FROM event_rows WHERE trace_id = ?1")?;
            let mut find = db.prepare_cached("SELECT id, key FROM ids")?;
            let mut rows = find.query([])?;
            while let Some(row) = rows.next()? {
                let (begins, ends) = fits(row.get_ref(1)?, part);
                // It may be that of a session or a person.
                if (begins || ends) && has.exists([row.get::<_, i64>(0)?])? {
                    let id = id_text(row.get_ref(1)?);
                    for hits in [begins.then_some(&mut hits.0), ends.then_some(&mut hits.1)].into_iter().flatten() {
                        hits.add(&id, |hits| &mut hits.traces, &id);
                    }
                }
            }
            let mut find = db.prepare_cached("SELECT uuid, span_id FROM event_rows")?;
            let mut rows = find.query([])?;
            while let Some(row) = rows.next()? {
                let (uuid, span) = (row.get_ref(0)?, row.get_ref(1)?);
                let (of_uuid, of_span) = (fits(uuid, part), fits(span, part));
                for (by_span, by_uuid, hits) in
                    [(of_span.0, of_uuid.0, &mut hits.0), (of_span.1, of_uuid.1, &mut hits.1)]
                {
                    if by_span || by_uuid {
                        let name = id_text(if by_span { span } else { uuid });
                        hits.add(&name, |hits| &mut hits.events, &id_text(uuid));
                    }
                }
            }
            Ok(hits)
        })
    }

    /// The JSON of an event, to the byte as it was captured; `None` when there is no such event.
    pub fn event_json(&self, uuid: &str) -> Result<Option<String>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!("SELECT id FROM event_rows WHERE {BY_UUID}"))?;
            let Some(id) = find.query_row([names::key(uuid)], |row| row.get(0)).optional()? else { return Ok(None) };
            read_json(db, id)
        })
    }

    /// Sums over the calls that began at or after a time (milliseconds since 1970), by group. `None` is the group of
    /// calls that do not say. In no order.
    pub fn totals(&self, since_ms: i64, by: By) -> Result<Vec<(Option<String>, Totals)>> {
        let (key, text) = match by {
            By::Model => ("model", TEXT),
            By::Provider => ("provider", TEXT),
            By::User => ("nullif(distinct_id, trace_id)", ID),
            By::Session => ("session_id", ID),
            By::QuarterHour => ("timestamp_ms / 900000", "CAST(key AS TEXT)"),
        };
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!(
                "SELECT {text}, calls, errors, i, r, c, o, t, nano, atto, unpriced FROM (
                     SELECT {key} AS key, count(*) AS calls, sum(is_error) AS errors, sum(total_input_tokens) AS i,
                         sum(cache_read_input_tokens) AS r, sum(cache_creation_input_tokens) AS c,
                         sum(output_tokens) AS o, sum(reasoning_tokens) AS t, sum(cost_nano) AS nano,
                         sum(cost_atto) AS atto, sum({UNPRICED}) AS unpriced
                     FROM event_rows WHERE timestamp_ms >= ?1 AND {IS_CALL} GROUP BY 1
                 ) AS grouped"
            ))?;
            let groups = find.query_map([since_ms], |row| {
                let sum = |at: usize| row.get::<_, Option<i64>>(at).map(|sum| sum.unwrap_or(0));
                let count = |at: usize| sum(at).map(|sum| u64::try_from(sum).unwrap_or(0));
                let totals = Totals {
                    calls: count(1)?,
                    errors: count(2)?,
                    total_input_tokens: count(3)?,
                    cache_read_input_tokens: count(4)?,
                    cache_creation_input_tokens: count(5)?,
                    output_tokens: count(6)?,
                    reasoning_tokens: count(7)?,
                    cost: row::amount(sum(8)?, sum(9)?),
                    unpriced: count(10)?,
                };
                Ok((row.get(0)?, totals))
            })?;
            groups.collect()
        })
    }

    /// Which models have calls without a known cost since a time: those with the most calls first.
    pub fn unpriced(&self, since_ms: i64) -> Result<Vec<Unpriced>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!(
                "SELECT (SELECT text FROM texts WHERE id = provider), (SELECT text FROM texts WHERE id = model), calls FROM (
                     SELECT provider, model, count(*) AS calls FROM event_rows
                     WHERE timestamp_ms >= ?1 AND {IS_CALL} AND {UNPRICED} GROUP BY 1, 2
                 ) ORDER BY 3 DESC, 1, 2"
            ))?;
            let rows = find.query_map([since_ms], |row| {
                let calls: i64 = row.get(2)?;
                let calls = u64::try_from(calls).unwrap_or(0);
                Ok(Unpriced { provider: row.get(0)?, model: row.get(1)?, calls })
            })?;
            rows.collect()
        })
    }

    /// Events (by their ids in the file, the latest first, at most so many) in whose messages all these words are;
    /// words in quotes as they stand, and the last may go on. An index is made beside the store, for about as long as
    /// `patience`; how far it has come is said as well, and what is not in it yet is not found yet.
    ///
    /// # Errors
    /// A store error.
    pub fn search(&self, words: &str, limit: usize, patience: Duration) -> Result<(Vec<i64>, Progress)> {
        let mut slot = self.index.borrow_mut();
        if slot.as_ref().is_some_and(|index| !index.is_there()) {
            *slot = None;
        }
        let fail = |error| trouble(&self.path, "cannot be searched", error);
        let index = match &mut *slot {
            Some(index) => index,
            none => none.insert(search::Index::open(&self.path).map_err(fail)?),
        };
        let progress = index.grow(&self.db, patience).map_err(fail)?;
        let contents = index.find(words, limit.saturating_mul(4)).map_err(fail)?;
        let events = self.asked(|db| search::events(db, &contents, limit))?;
        Ok((events, progress))
    }

    /// Events of a trace or uuid, by time.
    fn rows(&self, condition: &str, id: &str) -> Result<Vec<Row>> {
        self.asked(|db| {
            let columns = Row::COLUMNS;
            let sql = format!(
                "SELECT {columns} FROM events WHERE id IN (SELECT id FROM event_rows WHERE {condition})
                 ORDER BY timestamp_ms, id"
            );
            let mut find = db.prepare_cached(&sql)?;
            let rows = find.query_map([names::key(id)], Row::read)?;
            rows.collect()
        })
    }

    /// Whether the store is still where it was opened: it may have been deleted, and another one may have taken its place.
    #[cfg(feature = "cli")]
    pub(crate) fn is_there(&self) -> bool {
        self.file == identity(&self.path)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last calls that were written, in the order in which they were, and the id of the event that was last of all.
    pub fn last_calls(&self, limit: usize) -> Result<(i64, Vec<Row>)> {
        self.asked(|db| {
            let last = db.query_row("SELECT coalesce(max(id), 0) FROM event_rows", [], |row| row.get(0))?;
            let columns = Row::COLUMNS;
            let sql = format!(
                "SELECT {columns} FROM events WHERE id IN (
                     SELECT id FROM event_rows WHERE {IS_CALL} AND id <= ?1 ORDER BY id DESC LIMIT ?2
                 ) ORDER BY id DESC"
            );
            let mut find = db.prepare_cached(&sql)?;
            let rows = find.query_map((last, i64::try_from(limit).unwrap_or(i64::MAX)), Row::read)?;
            let mut rows = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
            rows.reverse();
            Ok((last, rows))
        })
    }

    /// The calls that were written after the event with an id, and the id of the event that is last now.
    pub fn calls_after(&self, id: i64) -> Result<(i64, Vec<Row>)> {
        self.asked(|db| {
            let last: i64 = db.query_row("SELECT coalesce(max(id), 0) FROM event_rows", [], |row| row.get(0))?;
            let columns = Row::COLUMNS;
            let sql = format!(
                "SELECT {columns} FROM events WHERE id IN (
                     SELECT id FROM event_rows WHERE {IS_CALL} AND id > ?1 AND id <= ?2
                 ) ORDER BY id"
            );
            let mut find = db.prepare_cached(&sql)?;
            let rows = find.query_map((id, last), Row::read)?;
            Ok((last, rows.collect::<rusqlite::Result<Vec<Row>>>()?))
        })
    }

    /// Model, latency and time to first token (seconds) of the generations that began at or after a time.
    #[expect(clippy::type_complexity, reason = "three columns")]
    pub fn times(&self, since_ms: i64) -> Result<Vec<(Option<String>, Option<f64>, Option<f64>)>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(
                "SELECT model, latency, time_to_first_token FROM events
                 WHERE id IN (SELECT id FROM event_rows WHERE timestamp_ms >= ?1 AND event = 1)",
            )?;
            let rows = find.query_map([since_ms], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })
    }

    /// Bytes that all messages and other content take, as they are packed. Looks at each of them.
    pub fn packed_bytes(&self) -> Result<u64> {
        let sum: i64 = self.asked(|db| {
            db.query_row("SELECT coalesce(sum(length(CAST(json AS BLOB))), 0) FROM contents", [], |row| row.get(0))
        })?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    /// Events by their ids in the file, in the order of the ids that were given. What is not there is left out.
    pub fn rows_by_id(&self, ids: &[i64]) -> Result<Vec<Row>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!("SELECT {} FROM events WHERE id = ?1", Row::COLUMNS))?;
            let rows = ids.iter().map(|id| find.query_row([id], Row::read).optional());
            rows.filter_map(std::result::Result::transpose).collect()
        })
    }

    /// An event by its uuid.
    pub fn event(&self, uuid: &str) -> Result<Option<Row>> {
        Ok(self.rows(BY_UUID, uuid)?.pop())
    }

    /// The lists of messages of an event: of each message its link in the chain that its conversation is. Two events
    /// whose lists begin with the same links begin with the same messages.
    pub fn chain(&self, uuid: &str) -> Result<Vec<i64>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!(
                "WITH RECURSIVE chain(id, parent_id) AS (
                    SELECT lists.id, lists.parent_id FROM event_rows JOIN event_bodies ON event_id = event_rows.id
                        JOIN lists ON lists.id = input_list WHERE {BY_UUID}
                    UNION ALL SELECT lists.id, lists.parent_id FROM chain JOIN lists ON lists.id = chain.parent_id
                 )
                 SELECT id FROM chain ORDER BY id",
            ))?;
            let links = find.query_map([names::key(uuid)], |row| row.get(0))?;
            links.collect()
        })
    }

    /// The generations before one in its trace or session, the latest first, a few: by uuid.
    pub fn calls_before(&self, row: &Row) -> Result<Vec<String>> {
        const FEW: i64 = 6;
        self.asked(|db| {
            let mut found: Vec<String> = Vec::new();
            for (column, id) in [("trace_id", &row.trace_id), ("session_id", &row.session_id)] {
                let Some(id) = id else { continue };
                let mut find = db.prepare_cached(&format!(
                    "SELECT uuid FROM events WHERE id IN (
                         SELECT id FROM event_rows WHERE {column} = (SELECT id FROM ids WHERE key = ?1)
                         AND timestamp_ms <= ?2 AND uuid < ?3 AND event = 1 ORDER BY timestamp_ms DESC LIMIT ?4
                     ) ORDER BY timestamp_ms DESC"
                ))?;
                let uuids =
                    find.query_map((names::key(id), row.timestamp_ms, names::key(&row.uuid), FEW), |row| row.get(0))?;
                for uuid in uuids {
                    found.push(uuid?);
                }
            }
            found.dedup();
            Ok(found)
        })
    }

    /// A question that is not asked again when another process is in the way: its answer was given in part.
    #[cfg(feature = "cli")]
    pub(crate) fn asked_once<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        question(&self.db).map_err(|error| trouble(&self.path, "cannot be read", error))
    }

    pub(super) fn asked<T>(&self, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        patiently(|| question(&self.db)).map_err(|error| trouble(&self.path, "cannot be read", error))
    }
}

/// So many are named where an id fits more than one thing.
const SOME: usize = 6;

/// What ids that begin or end alike stand for; no more of it than tells that there are several.
#[derive(Default)]
struct Hits {
    traces: Vec<String>,
    /// By uuid.
    events: Vec<String>,
    /// The ids that fit, of both.
    names: Vec<String>,
}

impl Hits {
    fn add(&mut self, name: &str, to: impl Fn(&mut Self) -> &mut Vec<String>, what: &str) {
        if self.names.len() < SOME {
            to(self).push(what.to_owned());
            self.names.push(name.to_owned());
        }
    }
}

/// In `event_rows`, those with a span's id that began at about a time: by the index of times.
pub(super) const NEAR: &str = "span_id = ?1 AND timestamp_ms BETWEEN ?2 AND ?3";

/// Milliseconds since 1970 in an id that is a uuid of version 7.
fn made_ms(id: &str) -> Option<i64> {
    let uuid = uuid::Uuid::try_parse(id).ok().filter(|uuid| uuid.get_version_num() == 7)?;
    i64::try_from(uuid.as_u128() >> 80).ok()
}

/// Whether an id, as the file keeps it, begins and whether it ends with a text, in any case of letters. A number stands
/// for the id of a trace, which is found as that.
fn fits(kept: ValueRef<'_>, part: &str) -> (bool, bool) {
    let mut room = uuid::Uuid::encode_buffer();
    let text = match kept {
        ValueRef::Text(text) => text,
        ValueRef::Blob(bytes) => match uuid::Uuid::from_slice(bytes) {
            Ok(uuid) => uuid.as_hyphenated().encode_lower(&mut room).as_bytes(),
            Err(_) => return (false, false),
        },
        _ => return (false, false),
    };
    let part = part.as_bytes();
    let Some(rest) = text.len().checked_sub(part.len()) else { return (false, false) };
    (text[..part.len()].eq_ignore_ascii_case(part), text[rest..].eq_ignore_ascii_case(part))
}

/// An id, as the file keeps it, as people write it.
fn id_text(kept: ValueRef<'_>) -> String {
    match kept {
        ValueRef::Blob(bytes) => uuid::Uuid::from_slice(bytes).map_or_else(|_| String::new(), |uuid| uuid.to_string()),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

/// In `event_rows`, the event of a uuid: as its index has it.
pub(super) const BY_UUID: &str = "substr(uuid, 1, 8) = substr(?1, 1, 8) AND uuid = ?1";
const IS_CALL: &str = "event IN (1, 2)";
const IN_TRACE: &str = "trace_id = (SELECT id FROM ids WHERE key = ?1)";

/// Of a group's key.
const TEXT: &str = "(SELECT text FROM texts WHERE id = grouped.key)";
const ID: &str = "(SELECT text FROM ids WHERE id = grouped.key)";

/// Not priced, though something was or may have been used. As in [`Totals::add`].
const UNPRICED: &str =
    "(cost_nano IS NULL AND (is_error = 0 OR input_tokens IS NOT NULL OR output_tokens IS NOT NULL))";

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let ready = |db: Connection| {
        db.busy_timeout(BUSY)?;
        schema::version(&db)?;
        Ok(db)
    };
    let first = Connection::open_with_flags(path, flags).and_then(ready);
    let Err(error) = first else { return first };
    // In a folder that cannot be written SQLite has no place for its lock file; then nobody writes the store either.
    let is_unwritable =
        matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly));
    let Some(text) = path.to_str().filter(|_| is_unwritable) else { return Err(error) };
    let text = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Connection::open_with_flags(format!("file:{text}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)
        .and_then(ready)
        .map_err(|_| error)
}
