//! Reading the store in its own order, and with SQL.

use rusqlite::types::Value as Cell;

use super::read::Reader;
use super::{pack, read_json};
use crate::error::{Error, ErrorKind, Result};

impl Reader {
    /// Events that were written after the one with an id and began at or after a time (milliseconds since 1970), at most
    /// so many: their ids and their JSON to the byte. In the order in which they were written.
    pub fn events_after(&self, id: i64, since_ms: i64, limit: usize) -> Result<Vec<(i64, String)>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(
                "SELECT id FROM event_rows WHERE id > ?1 AND timestamp_ms >= ?2 ORDER BY id LIMIT ?3",
            )?;
            let ids = find.query_map((id, since_ms, i64::try_from(limit).unwrap_or(i64::MAX)), |row| row.get(0))?;
            let ids = ids.collect::<rusqlite::Result<Vec<i64>>>()?;
            ids.into_iter().filter_map(|id| Some(read_json(db, id).transpose()?.map(|json| (id, json)))).collect()
        })
    }

    /// The answer to a question in SQL, row by row after the names of its columns, until `each` says that it has enough.
    /// Nothing can be written. `unpack(json)` gives the text of a packed value.
    ///
    /// # Errors
    /// An input error that says what SQLite says of the question.
    pub fn sql(&self, sql: &str, mut each: impl FnMut(&[String], &[Cell]) -> bool) -> Result<()> {
        let wrong = |error: rusqlite::Error| {
            Error::new(ErrorKind::Input, format!("this SQL does not work: {error}")).with_source(error)
        };
        self.asked_once(|db| {
            Ok((|| {
                db.pragma_update(None, "query_only", true)?;
                db.create_scalar_function(
                    "unpack",
                    1,
                    rusqlite::functions::FunctionFlags::SQLITE_UTF8
                        | rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC,
                    |given| Ok(pack::unpack(given.get::<Cell>(0)?)),
                )?;
                let mut question = db.prepare(sql)?;
                let names: Vec<String> = question.column_names().map(str::to_owned).collect();
                let mut rows = question.query([])?;
                while let Some(row) = rows.next()? {
                    let cells = (0..names.len()).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Cell>>>()?;
                    if !each(&names, &cells) {
                        break;
                    }
                }
                Ok(())
            })())
        })?
        .map_err(wrong)
    }
}
