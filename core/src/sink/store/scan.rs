//! The columns that the viewer keeps in memory, row by row.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::read::Reader;
use super::{lists, row};
use crate::error::Result;
use crate::price::Amount;

/// An event's numbers and names, borrowed from the file.
pub(crate) struct Scanned<'a> {
    pub id: i64,
    pub timestamp_ms: i64,
    pub event: &'a str,
    pub distinct_id: &'a str,
    /// An event without one is a trace of its own.
    pub trace_id: &'a str,
    pub session_id: Option<&'a str>,
    pub name: Option<&'a str>,
    pub span_type: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub http_status: Option<i64>,
    pub is_error: bool,
    pub error_type: Option<&'a str>,
    pub latency: Option<f64>,
    pub time_to_first_token: Option<f64>,
    pub has_tokens: bool,
    pub total_input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_input_tokens: Option<i64>,
    pub cost: Option<Amount>,
    pub cost_source: Option<&'a str>,
    pub lib_language: Option<&'a str>,
    pub tools_called: Option<&'a str>,
    pub cache_saved_usd: Option<f64>,
}

const COLUMNS: &str = "id, timestamp_ms, event, distinct_id, trace_id, session_id, name, span_type, provider,
    model, http_status, is_error, error_type, latency, time_to_first_token,
    input_tokens IS NOT NULL OR output_tokens IS NOT NULL, total_input_tokens, output_tokens, cache_read_input_tokens,
    cost_nano, cost_atto, cost_source, lib_language, tools_called, cache_saved, uuid";

impl Reader {
    /// All events, the latest first, until `each` says that it has enough.
    pub(crate) fn scan_back(&self, each: impl FnMut(&Scanned<'_>) -> bool) -> Result<()> {
        // The order is that of an index, so the first rows come at once.
        self.scan(&format!("SELECT {COLUMNS} FROM event_rows ORDER BY timestamp_ms DESC, id DESC"), 0, each)
    }

    /// Events that were written after the one with an id.
    pub(crate) fn scan_after(&self, id: i64, each: impl FnMut(&Scanned<'_>) -> bool) -> Result<()> {
        self.scan(&format!("SELECT {COLUMNS} FROM event_rows WHERE id > ?1 ORDER BY id"), id, each)
    }

    /// The id of the event that was written last, and how often events were removed: what tells that the store has changed.
    pub(crate) fn position(&self) -> Result<(i64, i64)> {
        self.asked(|db| {
            let last =
                db.prepare_cached("SELECT coalesce(max(id), 0) FROM event_rows")?.query_row([], |row| row.get(0))?;
            Ok((last, lists::removals(db)?))
        })
    }

    fn scan(&self, sql: &str, after: i64, mut each: impl FnMut(&Scanned<'_>) -> bool) -> Result<()> {
        self.asked_once(|db| {
            let mut find = db.prepare_cached(sql)?;
            let mut rows = if find.parameter_count() > 0 { find.query([after])? } else { find.query([])? };
            let mut texts = Texts::new(db, "texts")?;
            let mut ids = Texts::new(db, "ids")?;
            while let Some(row) = rows.next()? {
                let mut uuid = uuid::Uuid::encode_buffer();
                if !each(&scanned(row, &mut texts, &mut ids, &mut uuid)?) {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Texts by their numbers, those that were asked for lately in memory.
struct Texts<'a> {
    find: rusqlite::CachedStatement<'a>,
    known: HashMap<i64, Box<str>>,
}

impl<'a> Texts<'a> {
    /// Of more than so many few come again.
    const MOST: usize = 50_000;

    fn new(db: &'a Connection, table: &str) -> rusqlite::Result<Self> {
        let find = db.prepare_cached(&format!("SELECT text FROM {table} WHERE id = ?1"))?;
        Ok(Self { find, known: HashMap::new() })
    }

    /// Has the texts of these ready.
    fn learn(&mut self, ids: &[Option<i64>]) -> rusqlite::Result<()> {
        if self.known.len() > Self::MOST {
            self.known.clear();
        }
        for id in ids.iter().flatten() {
            if !self.known.contains_key(id) {
                let text = self.find.query_row([id], |row| row.get::<_, String>(0)).optional()?;
                self.known.insert(*id, text.unwrap_or_default().into());
            }
        }
        Ok(())
    }

    fn get(&self, id: Option<i64>) -> Option<&str> {
        self.known.get(&id?).map(|text| &**text)
    }
}

/// What is counted in whole units, or else as it is.
fn scaled(row: &rusqlite::Row<'_>, at: usize, units: f64) -> rusqlite::Result<Option<f64>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(count) => Some(count as f64 / units),
        ValueRef::Real(number) => Some(number),
        _ => None,
    })
}

fn scanned<'a>(
    row: &rusqlite::Row<'_>,
    texts: &'a mut Texts<'_>,
    ids: &'a mut Texts<'_>,
    uuid: &'a mut [u8; 45],
) -> rusqlite::Result<Scanned<'a>> {
    // Another program may have written anything: what is no number is none.
    let whole = |at: usize| row.get_ref(at).map(|cell| cell.as_i64().ok());
    let who = [whole(3)?, whole(4)?, whole(5)?];
    ids.learn(&who)?;
    let names = [whole(2)?, whole(6)?, whole(7)?, whole(8)?, whole(9)?, whole(12)?, whole(21)?, whole(22)?, whole(23)?];
    texts.learn(&names)?;
    let (texts, ids) = (&*texts, &*ids);
    let [event, name, span_type, provider, model, error_type, cost_source, lib_language, tools_called] =
        names.map(|id| texts.get(id));
    let [distinct_id, trace_id, session_id] = who.map(|id| ids.get(id));
    let trace_id = match trace_id {
        Some(trace_id) => trace_id,
        None => uuid::Uuid::from_bytes(row.get(25)?).as_hyphenated().encode_lower(uuid),
    };
    let cost: (Option<i64>, Option<i64>) = (row.get(19)?, row.get(20)?);
    Ok(Scanned {
        id: row.get(0)?,
        timestamp_ms: row.get(1)?,
        event: event.unwrap_or_default(),
        distinct_id: distinct_id.unwrap_or_default(),
        trace_id,
        session_id,
        name,
        span_type,
        provider,
        model,
        http_status: row.get(10)?,
        is_error: row.get::<_, i64>(11)? != 0,
        error_type,
        latency: scaled(row, 13, 1e6)?,
        time_to_first_token: scaled(row, 14, 1e6)?,
        has_tokens: row.get::<_, i64>(15)? != 0,
        total_input_tokens: row.get(16)?,
        output_tokens: row.get(17)?,
        cache_read_input_tokens: row.get(18)?,
        cost: cost.0.zip(cost.1).map(|(nano, atto)| row::amount(nano, atto)),
        cost_source,
        lib_language,
        tools_called,
        cache_saved_usd: scaled(row, 24, 1e12)?,
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
            search_bytes: beside(super::search::FILE),
            contents: count(contents),
            content_bytes: count(sums.0),
            packed_bytes: count(sums.1),
        })
    }
}
