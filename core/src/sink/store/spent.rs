//! What each process spent, for budgets that several processes share: a small file beside the store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, params};

use super::connections::Slot;
use super::make_private;
use crate::context::new_id;
use crate::price::Amount;

/// The file's name in the store's folder.
pub(crate) const FILE: &str = "budgets.db";

/// What was read counts for so long. A caller waits for what is read.
const FRESH: Duration = Duration::from_millis(10);

/// How long another process's write is waited for.
const BUSY: Duration = Duration::from_millis(100);

/// What nobody added to for so long is forgotten.
const KEPT: Duration = Duration::from_secs(32 * 24 * 3600);

/// Sums that are remembered from the last look.
const REMEMBERED: usize = 4096;

/// Amounts in the file are whole numbers of 1e-12 USD.
const ATTO_IN_PICO: i128 = 1_000_000;

/// One process's place in the file.
pub(crate) struct Spent {
    slot: Slot,
    path: PathBuf,
    process: String,
    read: Mutex<HashMap<String, (Instant, Amount)>>,
}

impl Spent {
    /// The file in a folder. It is made when something is first told or asked.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { slot: Slot::new(), path: dir.join(FILE), process: new_id(), read: Mutex::default() }
    }

    /// Tells the others what this process spent in all.
    pub(crate) fn tell(&self, sums: &[(String, Amount)]) -> rusqlite::Result<()> {
        let now = unix_seconds(SystemTime::now());
        self.with(|db| {
            let tx = db.transaction()?;
            for (key, amount) in sums {
                let pico = i64::try_from(amount.atto() / ATTO_IN_PICO).unwrap_or(i64::MAX);
                tx.prepare_cached("INSERT OR REPLACE INTO spent (key, process, pico, at) VALUES (?, ?, ?, ?)")?
                    .execute(params![key, self.process, pico, now])?;
            }
            tx.commit()
        })
    }

    /// What all others spent, as of a moment ago.
    pub(crate) fn elsewhere(&self, key: &str) -> rusqlite::Result<Amount> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        if let Some((at, amount)) = known
            && at.elapsed() < FRESH
        {
            return Ok(amount);
        }
        let pico: i64 = self.with(|db| {
            db.prepare_cached("SELECT coalesce(sum(pico), 0) FROM spent WHERE key = ? AND process <> ?")?
                .query_row(params![key, self.process], |row| row.get(0))
        })?;
        let amount = Amount::from_atto(i128::from(pico) * ATTO_IN_PICO);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= REMEMBERED {
            read.clear();
        }
        read.insert(key.to_owned(), (Instant::now(), amount));
        Ok(amount)
    }

    fn with<T>(&self, using: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.slot.with(|| open(&self.path), using)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // A failure is SQLite's to tell, at the next step.
    let _ = make_private(path.parent().unwrap_or(Path::new("")), path);
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    // What a crash of the machine takes away is no more than the last moment's spending.
    db.execute_batch(
        "PRAGMA journal_mode = wal;
         PRAGMA synchronous = off;
         CREATE TABLE IF NOT EXISTS spent (
             key TEXT NOT NULL, process TEXT NOT NULL, pico INTEGER NOT NULL, at INTEGER NOT NULL,
             PRIMARY KEY (key, process)
         ) WITHOUT ROWID;",
    )?;
    let before = SystemTime::now().checked_sub(KEPT).map_or(0, unix_seconds);
    db.execute("DELETE FROM spent WHERE at < ?", [before])?;
    Ok(db)
}

fn unix_seconds(at: SystemTime) -> i64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn each_process_sees_what_the_others_spent_and_not_its_own() {
        let usd = |text| Amount::parse(text).unwrap();
        let folder = Folder::new();
        let [one, two] = [Spent::new(&folder.0), Spent::new(&folder.0)];
        one.tell(&[("day 2026-01-01".into(), usd("0.01")), ("user ann".into(), usd("0.02"))]).unwrap();
        one.tell(&[("day 2026-01-01".into(), usd("0.03"))]).unwrap();
        two.tell(&[("day 2026-01-01".into(), usd("1"))]).unwrap();
        assert_eq!(two.elsewhere("day 2026-01-01").unwrap(), usd("0.03"));
        assert_eq!(one.elsewhere("day 2026-01-01").unwrap(), usd("1"));
        assert_eq!(two.elsewhere("user ann").unwrap(), usd("0.02"));
        assert_eq!(two.elsewhere("user bob").unwrap(), Amount::ZERO);
    }
}
