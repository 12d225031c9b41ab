//! The columns that the viewer keeps in memory, as numbers, and the texts that some of these numbers stand for.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::read::{BY_UUID, Reader};
use super::{lists, names};
use crate::error::Result;

/// The number of a text or an id in the file; 0 is none.
pub(crate) type Number = u32;

/// An event's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scanned {
    pub id: i64,
    pub timestamp_ms: i64,
    /// A text, as all names below.
    pub event: Number,
    /// Who it was for: an id; none when it was for nobody.
    pub user: Number,
    /// An id; an event without one is a trace of its own.
    pub trace: Number,
    /// An id.
    pub session: Number,
    pub name: Number,
    pub span_type: Number,
    pub provider: Number,
    pub model: Number,
    pub error_type: Number,
    pub cost_source: Number,
    pub language: Number,
    pub tools_called: Number,
    pub http_status: u16,
    pub is_error: bool,
    pub has_tokens: bool,
    /// Seconds; not a number when it is not known.
    pub latency: f32,
    pub first: f32,
    pub input: u32,
    pub output: u32,
    pub cached: u32,
    /// Of 1e-9 and of 1e-18 USD.
    pub cost: Option<(i64, u32)>,
    /// US dollars.
    pub saved: f32,
}

const COLUMNS: &str = "id, timestamp_ms, event, distinct_id, trace_id, session_id, name, span_type, provider,
    model, http_status, is_error, error_type, latency, time_to_first_token,
    input_tokens IS NOT NULL OR output_tokens IS NOT NULL, total_input_tokens, output_tokens, cache_read_input_tokens,
    cost_nano, cost_atto, cost_source, lib_language, tools_called, cache_saved";

impl Reader {
    /// The events with these ids, from the one up to and without the other, in their order.
    pub(crate) fn scan(&self, from: i64, to: i64, mut each: impl FnMut(Scanned)) -> Result<()> {
        self.asked_once(|db| {
            let nobody = number_of(db, "")?;
            let sql = format!("SELECT {COLUMNS} FROM event_rows WHERE id >= ?1 AND id < ?2 ORDER BY id");
            let mut find = db.prepare_cached(&sql)?;
            let mut rows = find.query([from, to])?;
            while let Some(row) = rows.next()? {
                let mut event = scanned(row)?;
                if event.user == nobody || (event.trace == 0 && is_own(db, event.id, event.user)?) {
                    event.user = 0;
                }
                if event.session == nobody {
                    event.session = 0;
                }
                each(event);
            }
            Ok(())
        })
    }

    /// The id of the event that was written last, and how often events were changed: what tells that the store has changed.
    pub(crate) fn position(&self) -> Result<(i64, i64)> {
        self.asked(|db| {
            let last =
                db.prepare_cached("SELECT coalesce(max(id), 0) FROM event_rows")?.query_row([], |row| row.get(0))?;
            Ok((last, lists::changes(db)?))
        })
    }

    /// When the latest event began.
    pub(crate) fn newest(&self) -> Result<Option<i64>> {
        self.asked(|db| db.query_row("SELECT max(timestamp_ms) FROM event_rows", [], |row| row.get(0)))
    }

    /// The lowest id of the events that began from one time on and before another. The index alone is read.
    pub(crate) fn lowest_id(&self, from: i64, to: i64) -> Result<Option<i64>> {
        self.asked(|db| {
            let sql = "SELECT min(id) FROM event_rows WHERE timestamp_ms >= ?1 AND timestamp_ms < ?2";
            db.query_row(sql, [from, to], |row| row.get(0))
        })
    }

    /// Names by their numbers; those that are not there are left out.
    pub(crate) fn names(&self, numbers: &[Number]) -> Result<Vec<(Number, String)>> {
        self.texts_of("texts", numbers)
    }

    /// Ids of traces, sessions and people by their numbers; those that are not there are left out.
    pub(crate) fn ids(&self, numbers: &[Number]) -> Result<Vec<(Number, String)>> {
        self.texts_of("ids", numbers)
    }

    fn texts_of(&self, table: &str, numbers: &[Number]) -> Result<Vec<(Number, String)>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!("SELECT text FROM {table} WHERE id = ?1"))?;
            let texts = numbers.iter().map(|number| {
                let text = find.query_row([number], |row| row.get(0)).optional()?;
                Ok(text.map(|text| (*number, text)))
            });
            texts.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    /// The number of an id as it stands.
    pub(crate) fn id_number(&self, id: &str) -> Result<Option<Number>> {
        self.asked(|db| number_of(db, id)).map(|number| (number != 0).then_some(number))
    }

    /// Ids after the one with a number, in the order of their numbers; or only those that begin with a text as it stands.
    pub(crate) fn all_ids(&self, after: Number, begin: Option<&str>, mut each: impl FnMut(Number, &str)) -> Result<()> {
        self.asked_once(|db| {
            let mut go = |condition: &str, given: &[Value]| {
                let sql = format!("SELECT id, text FROM ids WHERE {condition}");
                let mut find = db.prepare_cached(&sql)?;
                let mut rows = find.query(rusqlite::params_from_iter(given))?;
                while let Some(row) = rows.next()? {
                    if let (Ok(text), number) = (row.get_ref(1)?.as_str(), number(row, 0)?) {
                        each(number, text);
                    }
                }
                Ok(())
            };
            let Some(begin) = begin else { return go("id > ?1 ORDER BY id", &[i64::from(after).into()]) };
            for (low, high) in names::beginning_with(begin) {
                go("key >= ?1 AND key < ?2 AND id > ?3", &[low, high, i64::from(after).into()])?;
            }
            Ok(())
        })
    }

    /// The id in the file of an event by its uuid.
    pub(crate) fn event_id(&self, uuid: &str) -> Result<Option<i64>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(&format!("SELECT id FROM event_rows WHERE {BY_UUID}"))?;
            find.query_row([names::key(uuid)], |row| row.get(0)).optional()
        })
    }

    /// The events without a trace: their ids in the file, and their uuids.
    pub(crate) fn lone(&self, mut each: impl FnMut(i64, &str)) -> Result<()> {
        self.asked_once(|db| {
            let mut find = db.prepare_cached("SELECT id, uuid FROM event_rows WHERE trace_id IS NULL")?;
            let mut rows = find.query([])?;
            let mut room = uuid::Uuid::encode_buffer();
            while let Some(row) = rows.next()? {
                let uuid = uuid::Uuid::from_bytes(row.get(1)?);
                each(row.get(0)?, uuid.as_hyphenated().encode_lower(&mut room));
            }
            Ok(())
        })
    }

    /// The id of the event that is the first in the file.
    pub(crate) fn first_id(&self) -> Result<Option<i64>> {
        self.asked(|db| db.query_row("SELECT min(id) FROM event_rows", [], |row| row.get(0)))
    }

    /// The uuid of an event by its id in the file.
    pub(crate) fn uuid(&self, id: i64) -> Result<Option<String>> {
        self.asked(|db| uuid_of(db, id))
    }
}

fn uuid_of(db: &Connection, id: i64) -> rusqlite::Result<Option<String>> {
    let mut find = db.prepare_cached("SELECT uuid FROM event_rows WHERE id = ?1")?;
    let uuid = find.query_row([id], |row| row.get::<_, [u8; 16]>(0)).optional()?;
    Ok(uuid.map(|uuid| uuid::Uuid::from_bytes(uuid).to_string()))
}

fn number_of(db: &Connection, id: &str) -> rusqlite::Result<Number> {
    let mut find = db.prepare_cached("SELECT id FROM ids WHERE key = ?1")?;
    let number = find.query_row([names::key(id)], |row| number(row, 0)).optional()?;
    Ok(number.unwrap_or(0))
}

/// Whether the person of an event without a trace is the event itself: nobody.
fn is_own(db: &Connection, id: i64, user: Number) -> rusqlite::Result<bool> {
    let mut find = db.prepare_cached("SELECT text FROM ids WHERE id = ?1")?;
    let user: Option<String> = find.query_row([user], |row| row.get(0)).optional()?;
    Ok(user == uuid_of(db, id)?)
}

// Another program may have written anything: what is no number is none.

fn number(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Number> {
    Ok(row.get_ref(at)?.as_i64().ok().and_then(|number| Number::try_from(number).ok()).unwrap_or(0))
}

fn count(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<u32> {
    let count = row.get_ref(at)?.as_i64().unwrap_or(0).max(0);
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What is counted in whole units, or else as it is.
fn scaled(row: &rusqlite::Row<'_>, at: usize, units: f64) -> rusqlite::Result<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "what lists are sorted by, and sums of seconds")]
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(count) => (count as f64 / units) as f32,
        ValueRef::Real(number) => number as f32,
        _ => f32::NAN,
    })
}

fn scanned(row: &rusqlite::Row<'_>) -> rusqlite::Result<Scanned> {
    let whole = |at: usize| row.get_ref(at).map(|cell| cell.as_i64().ok());
    let (distinct, trace) = (number(row, 3)?, number(row, 4)?);
    let cost = whole(19)?.zip(whole(20)?.and_then(|atto| u32::try_from(atto).ok()));
    let saved = scaled(row, 24, 1e12)?;
    Ok(Scanned {
        id: row.get(0)?,
        timestamp_ms: whole(1)?.unwrap_or(0),
        event: number(row, 2)?,
        // Of an event that is for nobody this is the trace's id.
        user: if distinct == trace { 0 } else { distinct },
        trace,
        session: number(row, 5)?,
        name: number(row, 6)?,
        span_type: number(row, 7)?,
        provider: number(row, 8)?,
        model: number(row, 9)?,
        error_type: number(row, 12)?,
        cost_source: number(row, 21)?,
        language: number(row, 22)?,
        tools_called: number(row, 23)?,
        http_status: whole(10)?.and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
        is_error: whole(11)?.is_some_and(|error| error != 0),
        has_tokens: whole(15)?.is_some_and(|has| has != 0),
        latency: scaled(row, 13, 1e6)?,
        first: scaled(row, 14, 1e6)?,
        input: count(row, 16)?,
        output: count(row, 17)?,
        cached: count(row, 18)?,
        cost,
        saved: if saved.is_nan() { 0.0 } else { saved },
    })
}

/// What the health page says of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub schema: i64,
    pub bytes: u64,
    pub log_bytes: u64,
    pub search_bytes: u64,
    pub contents: u64,
    pub content_bytes: u64,
    pub packed_bytes: u64,
}

impl Reader {
    /// Sizes and counts; those of contents take a look at each and are only given for a small store.
    pub(crate) fn facts(&self) -> Result<Facts> {
        /// Above this the sums would take too long.
        const FEW: i64 = 200_000;
        let path = self.path();
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let beside = |name: &str| size(&path.with_file_name(name));
        let log = path.file_name().map(|name| format!("{}-wal", name.to_string_lossy())).unwrap_or_default();
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let (schema, contents, sums) = self.asked(|db: &Connection| {
            let contents: i64 = db.query_row("SELECT coalesce(max(id), 0) FROM contents", [], |row| row.get(0))?;
            let sums = if contents <= FEW {
                let sql = "SELECT coalesce(sum(size), 0), coalesce(sum(length(json)), 0) FROM contents";
                db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?
            } else {
                (0, 0)
            };
            Ok((super::schema::version(db)?, contents, sums))
        })?;
        Ok(Facts {
            schema,
            bytes: size(path),
            log_bytes: beside(&log),
            search_bytes: size(&super::search::place(path)),
            contents: count(contents),
            content_bytes: count(sums.0),
            packed_bytes: count(sums.1),
        })
    }
}
