//! Taking events out again: by age, by size, or those of a person.
//!
//! What is removed is gone from the file with everything that only it used. It goes in small transactions, so that
//! nobody waits for it long.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::lists;

/// Events in one transaction.
const STEP: usize = 200;

/// Which events go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "cli", test)),
    expect(dead_code, reason = "only the command line points out what is to go")
)]
pub(crate) enum Which {
    /// Those that began before a time (milliseconds since 1970).
    Before(i64),
    /// The oldest.
    Oldest,
    /// Those of a person, by `distinct_id`.
    User(String),
    /// Those of a session.
    Session(String),
    /// Those of a trace.
    Trace(String),
}

impl Which {
    fn find(&self) -> &'static str {
        match self {
            Self::Before(_) => "SELECT id FROM events WHERE timestamp_ms < ?1 ORDER BY timestamp_ms LIMIT ?2",
            Self::Oldest => "SELECT id FROM events WHERE ?1 = ?1 ORDER BY timestamp_ms LIMIT ?2",
            Self::User(_) => "SELECT id FROM events WHERE distinct_id = ?1 LIMIT ?2",
            Self::Session(_) => "SELECT id FROM events WHERE session_id = ?1 LIMIT ?2",
            Self::Trace(_) => "SELECT id FROM events WHERE trace_id = ?1 LIMIT ?2",
        }
    }

    fn given(&self) -> rusqlite::types::Value {
        match self {
            Self::Before(time) => (*time).into(),
            Self::Oldest => 0.into(),
            Self::User(id) | Self::Session(id) | Self::Trace(id) => id.clone().into(),
        }
    }
}

/// Removes some of these events and says how many; 0 when none is left.
pub(super) fn some(db: &mut Connection, which: &Which) -> rusqlite::Result<usize> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let ids = {
        let mut find = tx.prepare_cached(which.find())?;
        let ids = find.query_map((which.given(), i64::try_from(STEP).unwrap_or(i64::MAX)), |row| row.get(0))?;
        ids.collect::<rusqlite::Result<Vec<i64>>>()?
    };
    if ids.is_empty() {
        return Ok(0);
    }
    let mut loose = Vec::new();
    let mut ends = Vec::new();
    for id in &ids {
        let mut body = tx.prepare_cached("SELECT input_list, output_list FROM bodies WHERE event_id = ?1")?;
        let found: Option<(Option<i64>, Option<i64>)> =
            body.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        ends.extend(found.into_iter().flat_map(|(input, output)| [input, output]).flatten());
        let mut contents = tx.prepare_cached("SELECT content_id FROM event_contents WHERE event_id = ?1")?;
        for content in contents.query_map([id], |row| row.get(0))? {
            loose.push(content?);
        }
        for table in ["event_contents WHERE event_id", "bodies WHERE event_id", "events WHERE id"] {
            tx.prepare_cached(&format!("DELETE FROM {table} = ?1"))?.execute([id])?;
        }
    }
    for end in ends {
        cut(&tx, end, &mut loose)?;
    }
    loose.sort_unstable();
    loose.dedup();
    for content in loose {
        tx.prepare_cached(
            "DELETE FROM contents WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM lists WHERE content_id = ?1)
             AND NOT EXISTS (SELECT 1 FROM event_contents WHERE content_id = ?1)",
        )?
        .execute([content])?;
    }
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ('removals', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1",
        [],
    )?;
    tx.commit()?;
    Ok(ids.len())
}

/// Takes a chain's links away from its end, as far as nothing else is built on them.
fn cut(tx: &Transaction<'_>, end: i64, loose: &mut Vec<i64>) -> rusqlite::Result<()> {
    let mut link = end;
    while link != lists::NOTHING {
        let mut find = tx.prepare_cached(
            "SELECT parent_id, content_id FROM lists WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM lists WHERE parent_id = ?1)
             AND NOT EXISTS (SELECT 1 FROM bodies WHERE input_list = ?1)
             AND NOT EXISTS (SELECT 1 FROM bodies WHERE output_list = ?1)",
        )?;
        let free: Option<(i64, i64)> = find.query_row([link], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((parent, content)) = free else { return Ok(()) };
        tx.prepare_cached("DELETE FROM lists WHERE id = ?1")?.execute([link])?;
        loose.push(content);
        link = parent;
    }
    Ok(())
}

/// Bytes of the file that are in use.
pub(super) fn size(db: &Connection) -> rusqlite::Result<u64> {
    let ask = |what: &str| db.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, i64>(0));
    let bytes = (ask("page_count")? - ask("freelist_count")?) * ask("page_size")?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Gives free pages back to the file system.
pub(super) fn shrink(db: &Connection) -> rusqlite::Result<()> {
    let mut step = db.prepare("PRAGMA incremental_vacuum(2000)")?;
    let mut rows = step.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Leaves nothing of what was removed behind, not even in the log.
pub(super) fn sweep(db: &Connection) -> rusqlite::Result<()> {
    shrink(db)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
