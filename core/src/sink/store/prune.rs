//! Taking events out again: by age, by size, or those of a person.
//!
//! What is removed is gone from the file with everything that only it used. It goes in small transactions, so that
//! nobody waits for it long.

use std::collections::{BTreeSet, HashSet};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{body, lists, names, row};

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
            Self::Before(_) => "SELECT id FROM event_rows WHERE timestamp_ms < ?1 ORDER BY timestamp_ms LIMIT ?2",
            Self::Oldest => "SELECT id FROM event_rows WHERE ?1 = ?1 ORDER BY timestamp_ms LIMIT ?2",
            // As the indices have it: an event for nobody has its trace's id there.
            Self::User(_) => {
                "SELECT event_rows.id FROM event_rows JOIN ids ON key = ?1
                 WHERE (distinct_id = ids.id AND distinct_id IS NOT trace_id) OR (trace_id = ids.id AND distinct_id = ids.id)
                 LIMIT ?2"
            }
            Self::Session(_) => "SELECT event_rows.id FROM event_rows JOIN ids ON key = ?1 WHERE session_id = ids.id LIMIT ?2",
            Self::Trace(_) => "SELECT event_rows.id FROM event_rows JOIN ids ON key = ?1 WHERE trace_id = ids.id LIMIT ?2",
        }
    }

    fn given(&self) -> rusqlite::types::Value {
        match self {
            Self::Before(time) => (*time).into(),
            Self::Oldest => 0.into(),
            Self::User(id) | Self::Session(id) | Self::Trace(id) => names::key(id),
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
    let mut who = BTreeSet::new();
    for id in &ids {
        let mut of = tx.prepare_cached("SELECT distinct_id, trace_id, session_id FROM event_rows WHERE id = ?1")?;
        let of: [Option<i64>; 3] = of.query_row([id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        who.extend(of.into_iter().flatten());
        let mut body = tx.prepare_cached("SELECT input_list, output_list FROM event_bodies WHERE event_id = ?1")?;
        let found: Option<(Option<i64>, Option<i64>)> =
            body.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        ends.extend(found.into_iter().flat_map(|(input, output)| [input, output]).flatten());
        let mut contents = tx.prepare_cached("SELECT content_id FROM event_contents WHERE event_id = ?1")?;
        for content in contents.query_map([id], |row| row.get(0))? {
            loose.push(content?);
        }
        for table in ["event_contents WHERE event_id", "event_bodies WHERE event_id", "event_rows WHERE id"] {
            tx.prepare_cached(&format!("DELETE FROM {table} = ?1"))?.execute([id])?;
        }
    }
    for end in ends {
        cut(&tx, end, &mut loose)?;
    }
    loose.sort_unstable();
    loose.dedup();
    for content in loose {
        lists::remove_unused(&tx, content)?;
    }
    for id in who {
        tx.prepare_cached(
            "DELETE FROM ids WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM event_rows WHERE trace_id = ?1)
             AND NOT EXISTS (SELECT 1 FROM event_rows WHERE session_id = ?1)
             AND NOT EXISTS (SELECT 1 FROM event_rows WHERE distinct_id = ?1 AND distinct_id IS NOT trace_id)",
        )?
        .execute([id])?;
    }
    lists::count_removal(&tx)?;
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
             AND NOT EXISTS (SELECT 1 FROM event_bodies WHERE input_list = ?1)
             AND NOT EXISTS (SELECT 1 FROM event_bodies WHERE output_list = ?1)",
        )?;
        let free: Option<(i64, i64)> = find.query_row([link], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((parent, content)) = free else { return Ok(()) };
        tx.prepare_cached("DELETE FROM lists WHERE id = ?1")?.execute([link])?;
        loose.push(content);
        link = parent;
    }
    Ok(())
}

/// Removes texts and forms of bodies that no event has any more. Looks at every event.
pub(super) fn forget(db: &mut Connection) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut texts, mut forms) = (HashSet::new(), HashSet::new());
    for column in row::NAMES {
        let mut all = tx.prepare(&format!("SELECT DISTINCT {column} FROM event_rows WHERE {column} IS NOT NULL"))?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            texts.insert(row.get::<_, i64>(0)?);
        }
    }
    let mut all = tx.prepare("SELECT body FROM event_bodies WHERE typeof(body) = 'blob'")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        body::refers(row.get_ref(0)?.as_blob()?, &mut forms, &mut texts);
    }
    drop(rows);
    drop(all);
    let mut removed = 0;
    for (table, used) in [("texts", &texts), ("shapes", &forms)] {
        // The first texts are part of the schema.
        let mut all = tx.prepare(&format!("SELECT id FROM {table} WHERE id > ?1"))?;
        let first = if table == "texts" { row::KINDS } else { 0 };
        let ids = all.query_map([first], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        for id in ids.iter().filter(|id| !used.contains(id)) {
            removed += tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?.execute([id])?;
        }
    }
    if removed > 0 {
        lists::count_removal(&tx)?;
    }
    tx.commit()
}

/// Whether looking at every event takes no time.
pub(super) fn is_small(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) < 20000 FROM (SELECT 1 FROM event_rows LIMIT 20000)", [], |row| row.get(0))
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

/// Leaves nothing of what was removed behind, not even in the log; or says that somebody still reads what is in there.
pub(super) fn sweep(db: &Connection) -> rusqlite::Result<bool> {
    shrink(db)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}
