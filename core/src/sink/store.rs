//! The local store: events in a SQLite file, written by many processes at once.
//!
//! What reads want in lists is in columns; messages are kept apart from that, each once (`schema` has the tables, `body`
//! takes an event apart). An event that is read back is, to the byte, the JSON that was written.

mod body;
mod connections;
#[cfg(feature = "cli")]
mod dump;
mod fields;
mod json;
mod lists;
mod migrate;
mod names;
mod pack;
mod preview;
pub(crate) mod prune;
pub mod read;
#[cfg(feature = "cli")]
pub(crate) mod reprice;
mod row;
#[cfg(feature = "viewer")]
pub(crate) mod scan;
mod schema;
mod search;
mod shape;
pub(crate) mod spent;
mod statements;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use body::Parts;
use connections::Slot;
use statements::Statements;

use crate::error::{Error, ErrorKind, Result};
use crate::event::WireEvent;

/// The file's name in its folder.
pub(crate) const FILE: &str = "llmtrail.db";

/// How long SQLite itself waits for another process's lock. Short, for it does so with the process's own lock held.
const BUSY: Duration = Duration::from_millis(200);

/// How long a write is tried in all. Beyond this something holds the file that is not one of ours at work.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a removal waits for those who still read what is in the log.
const SWEEPING: Duration = Duration::from_secs(5);

/// The store in a folder, open for writing.
pub(crate) struct Store {
    slot: Slot,
    path: PathBuf,
    known: lists::Known,
}

impl Store {
    /// Opens the store in a folder; makes both, for the user's eyes only, when they are not there.
    ///
    /// # Errors
    /// A store error: no place to write, a file that is damaged, or one that a newer version made.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        Self::open_file(&dir.join(FILE))
    }

    /// The same by the file itself.
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let dir = path.parent().unwrap_or(Path::new(""));
        make_private(dir, &path).map_err(|error| {
            let why = format!("the local store {} cannot be made: {error}", path.display());
            Error::new(ErrorKind::Store, why).with_source(error)
        })?;
        let store = Self { slot: Slot::new(), path, known: lists::Known::default() };
        let version = patiently(|| store.with(|db| schema::version(db)));
        let version = version.map_err(|error| trouble(&store.path, "cannot be opened", error))?;
        if version > schema::newest() {
            return Err(too_new(&store.path, version));
        }
        Ok(store)
    }

    /// Writes events in one transaction: all of them, or none and an error. An event that is already there stays as
    /// it is. Waits for other processes, at most about ten seconds.
    pub(crate) fn write(&mut self, events: &[WireEvent]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let Self { slot, path, known } = self;
        patiently(|| {
            let done = slot.with(
                || prepare(path),
                |db| {
                    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    let mut statements = Statements::of(&tx);
                    known.refresh(&mut statements)?;
                    for event in events {
                        insert(&mut statements, event, None, known)?;
                    }
                    drop(statements);
                    tx.commit()
                },
            );
            // What was made in a transaction that did not end is not there.
            done.inspect_err(|_| known.clear())
        })
        .map_err(|error| trouble(path, "cannot be written", error))
    }

    /// How many events it has.
    #[cfg(feature = "cli")]
    pub(crate) fn count(&self) -> Result<u64> {
        let count = patiently(|| {
            self.with(|db| db.query_row("SELECT count(*) FROM event_rows", [], |row| row.get::<_, i64>(0)))
        });
        let count = count.map_err(|error| trouble(&self.path, "cannot be read", error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Removes events, with what only they used, and says how many. Waits for other processes as a write does.
    #[cfg_attr(
        not(any(feature = "cli", test)),
        expect(dead_code, reason = "only the command line points out what is to go")
    )]
    pub(crate) fn remove(&mut self, which: &prune::Which) -> Result<u64> {
        let mut removed = 0;
        loop {
            let some = patiently(|| self.with(|db| prune::some(db, which)));
            match some.map_err(|error| trouble(&self.path, "cannot be written", error))? {
                0 => break,
                some => removed += some as u64,
            }
        }
        self.known.clear();
        // Also when there was nothing: the one that removed it may have been killed before it came to this. The words of what
        // was removed are in the index.
        search::remove(&self.path);
        patiently(|| self.with(prune::forget)).map_err(|error| trouble(&self.path, "cannot be written", error))?;
        let sweep = || self.with(|db| if prune::sweep(db)? { Ok(()) } else { Err(busy()) });
        match patiently_for(SWEEPING, sweep) {
            Ok(()) => Ok(removed),
            Err(error) if is_busy(&error) => Err(Error::new(
                ErrorKind::Store,
                format!(
                    "what was asked for is removed from the local store {} (events: {removed}), but another program reads \
                     it, and so its log (-wal) still has that. Do it again when nobody does",
                    self.path.display()
                ),
            )
            .with_source(error)),
            Err(error) => Err(trouble(&self.path, "cannot be written", error)),
        }
    }

    /// Removes what is older than a time (milliseconds since 1970), and the oldest as long as the file is larger than so
    /// many bytes. Stops after `patience` and says whether it got to the end.
    pub(crate) fn retain(&mut self, since_ms: Option<i64>, bytes: Option<u64>, patience: Duration) -> Result<bool> {
        let begin = Instant::now();
        let fail = |path: &Path, error| trouble(path, "cannot be written", error);
        let mut done = false;
        let mut removed = 0;
        while !done && begin.elapsed() < patience {
            let too_large = |db: &Connection| match bytes {
                Some(most) => Ok::<_, rusqlite::Error>(prune::size(db)? > most),
                None => Ok(false),
            };
            let some = patiently(|| {
                self.with(|db| match since_ms {
                    Some(time) => prune::some(db, &prune::Which::Before(time)),
                    None => Ok(0),
                })
            });
            let mut some = some.map_err(|error| fail(&self.path, error))?;
            if some == 0 {
                let oldest = patiently(|| {
                    self.with(|db| if too_large(db)? { prune::some(db, &prune::Which::Oldest) } else { Ok(0) })
                });
                some = oldest.map_err(|error| fail(&self.path, error))?;
            }
            done = some == 0;
            removed += some;
        }
        if removed > 0 {
            self.known.clear();
            // Every event is looked at for it, so in a large file it is left to `remove`.
            patiently(|| self.with(|db| if prune::is_small(db)? { prune::forget(db) } else { Ok(()) }))
                .map_err(|error| fail(&self.path, error))?;
            patiently(|| self.with(|db| prune::shrink(db))).map_err(|error| fail(&self.path, error))?;
        }
        Ok(done)
    }

    fn with<T>(&self, using: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.slot.with(|| prepare(&self.path), using)
    }
}

/// A store, open for writing whole events into it: for programs that bring events from elsewhere. Applications need none:
/// what they capture gets there by itself.
pub struct Writer(Store);

impl Writer {
    /// Opens the store in a folder, or makes it.
    ///
    /// # Errors
    /// A store error: no place to write, a file that is damaged, or one that a newer version made.
    pub fn open(dir: &Path) -> Result<Self> {
        Store::open(dir).map(Self)
    }

    /// Writes events in one transaction: all of them, or none and an error. One that is already there (by its uuid) stays
    /// as it is. Waits for other processes, at most about ten seconds.
    ///
    /// # Errors
    /// A store error.
    pub fn write(&mut self, events: &[WireEvent]) -> Result<()> {
        self.0.write(events)
    }
}

/// A folder and file that only the user can read. What is already there keeps its permissions.
fn make_private(dir: &Path, path: &Path) -> std::io::Result<()> {
    let mut folder = std::fs::DirBuilder::new();
    let mut file = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if !dir.as_os_str().is_empty() && !dir.is_dir() {
        folder.recursive(true).create(dir)?;
    }
    // Made here and not by SQLite, which asks for no mode; its other files take over the mode of this one.
    match file.write(true).create_new(true).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    // Has to come before the first table; later it changes nothing.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // With a write-ahead log this loses nothing when the process dies; when the machine does, the last moments.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Hashes are looked up and put in all over their index: what is in memory of it need not be read and written anew.
    // In KiB; SQLite takes as much as it needs. The log is put into the file less often, for the same reason.
    db.pragma_update(None, "cache_size", -8_192)?;
    db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    // References hold by construction; to have them checked would cost every write.
    db.pragma_update(None, "foreign_keys", false)?;
    // What is removed is overwritten, and not only forgotten.
    db.pragma_update(None, "secure_delete", true)?;
    db.set_prepared_statement_cache_capacity(64);
    // Or else a statement that may use a partial index is made anew for each event.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let before = schema::version(&db)?;
    schema::migrate(&mut db, schema::STEPS)?;
    if before > 0 && before < schema::newest() {
        // Tables of before left their pages.
        prune::sweep(&db)?;
    }
    for (id, bytes) in pack::DICTIONARIES {
        let known: bool = db.query_row("SELECT count(*) FROM dictionaries WHERE id = ?1", [id], |row| row.get(0))?;
        if !known {
            db.execute("INSERT OR IGNORE INTO dictionaries (id, bytes) VALUES (?1, ?2)", (id, bytes))?;
        }
    }
    Ok(db)
}

/// Writes an event, with an id of its own if it is to have one.
fn insert(
    tx: &mut Statements<'_>,
    event: &WireEvent,
    id: Option<i64>,
    known: &mut lists::Known,
) -> rusqlite::Result<()> {
    if tx.get(&IS_THERE)?.exists([&event.uuid.as_bytes()[..]])? {
        return Ok(());
    }
    // What is as it should be is looked at faster this way.
    let text = std::str::from_utf8(&event.json)
        .map_or_else(|_| String::from_utf8_lossy(&event.json), std::borrow::Cow::Borrowed);
    let Parts { body, pieces, fields } = body::split(&text);
    let ids = row::Ids::of(event, &fields);

    let mut contents = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.is_item()) {
        let (content, _) = known.content(tx, piece.json, body::hash(piece.json), false)?;
        contents.push((name_id(tx, piece.property)?, piece.json, content));
    }
    let mut chain = |property: &str, from: preview::From<'_>| {
        let items = pieces.iter().filter(|piece| piece.is_item() && piece.property == property);
        let item = if let preview::From::Item(at) = from { Some(at) } else { None };
        let chain = known.chain(tx, items.map(|piece| piece.json), item)?;
        let shown = match from {
            preview::From::Words(words) => row::Cell::Text(words.into()),
            preview::From::Content(json) => contents.iter().find(|(_, of, _)| *of == json).map(|(.., id)| *id).into(),
            preview::From::Item(_) | preview::From::Nothing => chain.shown.into(),
        };
        Ok::<_, rusqlite::Error>((chain.last, shown))
    };
    let (input_list, input) = chain(body::INPUT, preview::input(&fields, &pieces))?;
    let (output_list, output) = chain(body::OUTPUT, preview::output(&fields, &pieces))?;
    let shown = row::Shown { input, output, tools_called: preview::tools_called(&pieces) };

    let cells = row::cells(tx, &mut known.names, (id, event), &fields, &ids, shown)?;
    tx.get(&INSERT_EVENT)?.execute(rusqlite::params_from_iter(cells))?;
    let id = tx.last_id();
    let packed = body::pack(tx, &mut known.names, &body, &fields, &ids.said(fields.own.as_deref()))?;
    tx.get("INSERT INTO event_bodies (event_id, body, input_list, output_list) VALUES (?1, ?2, ?3, ?4)")?.execute((
        id,
        packed,
        input_list,
        output_list,
    ))?;
    for (name, _, content) in contents {
        tx.get("INSERT INTO event_contents (event_id, name_id, content_id) VALUES (?1, ?2, ?3)")?
            .execute((id, name, content))?;
    }
    Ok(())
}

static IS_THERE: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!("SELECT 1 FROM event_rows WHERE {}", read::BY_UUID));

static INSERT_EVENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let places = vec!["?"; row::COLUMNS.len()].join(", ");
    let columns = row::COLUMNS.join(", ");
    format!("INSERT INTO event_rows ({columns}) VALUES ({places})")
});

fn name_id(tx: &mut Statements<'_>, property: &str) -> rusqlite::Result<i64> {
    let find = tx.get("SELECT id FROM content_names WHERE property = ?1")?;
    if let Some(id) = find.query_row([property], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    tx.get("INSERT INTO content_names (property) VALUES (?1)")?.execute([property])?;
    Ok(tx.last_id())
}

/// The JSON of an event as it was written; `None` when there is no such event.
fn read_json(db: &Connection, event_id: i64) -> rusqlite::Result<Option<String>> {
    let mut find = db.prepare_cached("SELECT input_list, output_list FROM event_bodies WHERE event_id = ?1")?;
    let found = find.query_row([event_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((input, output)): Option<(Option<i64>, Option<i64>)> = found else { return Ok(None) };
    let mut find = db.prepare_cached(
        "SELECT property, json FROM event_contents
         JOIN content_names ON content_names.id = name_id JOIN contents ON contents.id = content_id
         WHERE event_id = ?1",
    )?;
    let rows = find.query_map([event_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut pieces = Vec::new();
    for piece in rows {
        let (property, packed) = piece?;
        pieces.push((property, body::WHOLE, pack::unpack(packed).ok_or_else(damaged)?));
    }
    for (property, last) in [(body::INPUT, input), (body::OUTPUT, output)] {
        let Some(last) = last else { continue };
        let items = lists::items(db, last)?;
        pieces.extend(items.into_iter().zip(0..).map(|((_, json), position)| (property.to_owned(), position, json)));
    }
    let Some(body) = body::read(db, event_id)? else { return Ok(None) };
    body::join(&body, &pieces).ok_or_else(damaged).map(Some)
}

fn damaged() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), None)
}

/// Tries until no other process is in the way. SQLite waits by itself for most locks, but not while a file becomes a
/// WAL file, nor while another process recovers its log.
fn patiently<T>(attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    patiently_for(PATIENCE, attempt)
}

fn patiently_for<T>(patience: Duration, mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && begin.elapsed() < patience => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The trouble in words: what failed, on what, what to do.
fn trouble(path: &Path, failed: &str, error: rusqlite::Error) -> Error {
    let why = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "it may only be read: set LLMTRAIL_DIR to a folder that can be written".to_owned()
        }
        Some(ErrorCode::CannotOpen) => {
            "the file or its folder cannot be opened: check their permissions, or set LLMTRAIL_DIR".to_owned()
        }
        Some(ErrorCode::NotADatabase) => "the file is not a SQLite database: move it away".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged: move it away, or repair it with sqlite3".to_owned(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program keeps it locked".to_owned(),
        _ => error.to_string(),
    };
    Error::new(ErrorKind::Store, format!("the local store {} {failed}: {why}", path.display())).with_source(error)
}

fn too_new(path: &Path, version: i64) -> Error {
    let newest = schema::newest();
    Error::new(
        ErrorKind::Store,
        format!(
            "the local store {} was made by a newer llmtrail (schema {version}, this one knows {newest}): upgrade \
             llmtrail, or set LLMTRAIL_DIR to another folder",
            path.display()
        ),
    )
}
