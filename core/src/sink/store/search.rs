//! Searching messages: a full-text index (FTS5) in a file of its own beside the store, made when somebody first
//! searches. It holds no text, only which words are in which content; it may be deleted at any time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use serde_json::Value;

use super::{body, lists, pack};

/// Of the file, so that one that another version made is made anew.
const VERSION: i64 = 2;

/// The index's file, beside the store's and named after it: there may be several stores in a folder.
pub(super) fn place(store: &Path) -> PathBuf {
    let name = store.file_stem().unwrap_or_default().to_string_lossy();
    store.with_file_name(format!("{name}-search.db"))
}

/// Contents in one transaction.
const STEP: i64 = 1000;

/// Characters of one content that are searched.
const MOST: usize = 200_000;

/// How far the index has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Contents in the index.
    pub done: u64,
    /// Contents in the store.
    pub total: u64,
}

impl Progress {
    /// Whether everything can be found.
    pub fn is_complete(self) -> bool {
        self.done >= self.total
    }
}

/// The index, open.
pub(super) struct Index {
    db: Connection,
    /// What the file was opened as: a new one in its place is noticed.
    path: Option<PathBuf>,
}

impl Index {
    /// Opens the index of the store in a file. Where no file can be written, it is in memory.
    pub(super) fn open(store: &Path) -> rusqlite::Result<Self> {
        let path = place(store);
        if let Ok(db) = Self::open_file(&path) {
            return Ok(Self { db, path: Some(path) });
        }
        let db = Connection::open_in_memory()?;
        make(&db)?;
        Ok(Self { db, path: None })
    }

    fn open_file(path: &Path) -> rusqlite::Result<Connection> {
        let mut file = std::fs::OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        // Made here, for SQLite asks for no mode. What is wrong with it shows when it is opened.
        let _ = file.write(true).create_new(true).open(path);
        let db =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(Duration::from_secs(2))?;
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // It can be made again.
        db.pragma_update(None, "synchronous", "OFF")?;
        make(&db)?;
        Ok(db)
    }

    /// Takes in what is new, for about so long, and says how far that came.
    pub(super) fn grow(&mut self, store: &Connection, patience: Duration) -> rusqlite::Result<Progress> {
        let begin = Instant::now();
        let newest: i64 = store.query_row("SELECT coalesce(max(id), 0) FROM contents", [], |row| row.get(0))?;
        let removals = lists::removals(store)?;
        let (mut done, seen, last) = self.state()?;
        if seen != removals || mark(store, done)? != last {
            // Ids may have been given again to something else, or this is another store of the same name.
            self.db.execute_batch("DROP TABLE messages; DELETE FROM state;")?;
            make(&self.db)?;
            self.db.execute("UPDATE state SET removals = ?1", [removals])?;
            done = 0;
        }
        while done < newest && begin.elapsed() < patience {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have come further meanwhile.
            done = tx.query_row("SELECT done FROM state", [], |row| row.get(0))?;
            let mut find = store.prepare_cached("SELECT id, json FROM contents WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let mut rows = find.query((done, STEP))?;
            let mut last = newest;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                let (id, packed): (i64, Cell) = (row.get(0)?, row.get(1)?);
                let text = pack::unpack(packed).map(|json| words(&json)).unwrap_or_default();
                if !text.is_empty() {
                    tx.prepare_cached("INSERT OR IGNORE INTO messages (rowid, text) VALUES (?1, ?2)")?
                        .execute((id, text))?;
                }
                last = id;
                count += 1;
            }
            done = if count < STEP { last.max(newest) } else { last };
            tx.execute("UPDATE state SET done = ?1, mark = ?2", (done, mark(store, done)?))?;
            tx.commit()?;
        }
        let count = |id: i64| u64::try_from(id).unwrap_or(0);
        Ok(Progress { done: count(done), total: count(newest) })
    }

    fn state(&self) -> rusqlite::Result<(i64, i64, Option<[u8; 16]>)> {
        let sql = "SELECT done, removals, mark FROM state";
        self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    /// Contents with these words, the latest first.
    pub(super) fn find(&self, words: &str, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let Some(query) = query(words) else { return Ok(Vec::new()) };
        let mut find = self
            .db
            .prepare_cached("SELECT rowid FROM messages WHERE messages MATCH ?1 ORDER BY rowid DESC LIMIT ?2")?;
        let found = find.query_map((query, i64::try_from(limit).unwrap_or(i64::MAX)), |row| row.get(0))?;
        found.collect()
    }

    /// Whether the file that was opened is still the one there.
    pub(super) fn is_there(&self) -> bool {
        self.path.as_ref().is_none_or(|path| path.exists())
    }
}

/// What tells a store from another one in its place: the content with the last number that is in the index.
fn mark(store: &Connection, id: i64) -> rusqlite::Result<Option<[u8; 16]>> {
    let mut find = store.prepare_cached("SELECT json FROM contents WHERE id = ?1")?;
    let packed: Option<Cell> = find.query_row([id], |row| row.get(0)).optional()?;
    Ok(packed.and_then(pack::unpack).map(|json| body::hash(&json)))
}

fn make(db: &Connection) -> rusqlite::Result<()> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; DROP TABLE IF EXISTS messages; DROP TABLE IF EXISTS state; PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
    }
    db.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE VIRTUAL TABLE IF NOT EXISTS messages USING fts5 (
             text, content = '', detail = 'full', tokenize = 'unicode61 remove_diacritics 2'
         );
         CREATE TABLE IF NOT EXISTS state (done INTEGER NOT NULL, removals INTEGER NOT NULL, mark BLOB);
         INSERT INTO state SELECT 0, 0, NULL WHERE NOT EXISTS (SELECT 1 FROM state);
         COMMIT;",
    )
}

/// Removes the index, which is made again when somebody searches.
pub(super) fn remove(store: &Path) {
    let index = place(store).into_os_string();
    for end in ["", "-wal", "-shm"] {
        let mut path = index.clone();
        path.push(end);
        // What is not there need not be removed.
        let _ = std::fs::remove_file(path);
    }
}

/// The events in whose messages one of these contents is, the latest first, at most so many.
pub(super) fn events(store: &Connection, contents: &[i64], limit: usize) -> rusqlite::Result<Vec<i64>> {
    let contents = serde_json::to_string(contents).unwrap_or_default();
    let mut find = store.prepare_cached(
        "WITH RECURSIVE hits(id) AS (SELECT value FROM json_each(?1)),
            chains(id) AS (
                SELECT lists.id FROM hits JOIN lists ON lists.content_id = hits.id
                UNION SELECT lists.id FROM chains JOIN lists ON lists.parent_id = chains.id
            )
         SELECT event_id FROM (
             SELECT event_id FROM chains JOIN event_bodies ON input_list = chains.id
             UNION SELECT event_id FROM chains JOIN event_bodies ON output_list = chains.id
             UNION SELECT event_id FROM hits JOIN event_contents ON event_contents.content_id = hits.id
         ) ORDER BY event_id DESC LIMIT ?2",
    )?;
    let found = find.query_map((contents, i64::try_from(limit).unwrap_or(i64::MAX)), |row| row.get(0))?;
    found.collect()
}

/// Every word has to be there, what is in quotes as it stands; the last may go on.
fn query(words: &str) -> Option<String> {
    let mut terms: Vec<String> = Vec::new();
    for (at, piece) in words.split('"').enumerate() {
        if at % 2 == 1 {
            terms.push(piece.to_owned());
        } else {
            terms.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    terms.retain(|term| term.chars().any(char::is_alphanumeric));
    let terms: Vec<String> = terms.iter().map(|term| format!("\"{}\"", term.replace('\0', " "))).collect();
    (!terms.is_empty()).then(|| format!("{} *", terms.join(" AND ")))
}

/// What people wrote and read in a message: its texts, without types, ids and signatures.
fn words(json: &str) -> String {
    const NOT: [&str; 11] = [
        "role",
        "type",
        "id",
        "tool_call_id",
        "tool_use_id",
        "call_id",
        "signature",
        "encrypted_content",
        "sha256",
        "mime",
        "media_type",
    ];
    fn collect(value: &Value, out: &mut String) {
        match value {
            Value::String(text) if out.len() < MOST => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
            Value::Object(members) => {
                members
                    .iter()
                    .filter(|(name, _)| !NOT.contains(&name.as_str()))
                    .for_each(|(_, value)| collect(value, out));
            }
            _ => {}
        }
    }
    let mut out = String::new();
    if let Ok(value) = serde_json::from_str(json) {
        collect(&value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_people_read() {
        let json = r#"{"role":"user","content":[{"type":"text","text":"Refund?"},{"type":"tool_use","id":"x","input":{"a":"b"}}]}"#;
        assert_eq!(words(json), "Refund?\nb\n");
        assert_eq!(words("not JSON"), "");
    }

    #[test]
    fn queries_cannot_break_out() {
        for (given, made) in [
            ("refund", Some("\"refund\" *")),
            ("refund my \"old book\"", Some("\"refund\" AND \"my\" AND \"old book\" *")),
            ("a\" OR b", Some("\"a\" AND \" OR b\" *")),
            (" \" ", None),
            ("* -", None),
        ] {
            assert_eq!(query(given).as_deref(), made);
        }
    }
}
