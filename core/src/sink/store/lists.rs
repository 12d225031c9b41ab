//! Messages as chains. A call's input is the conversation so far: a chain whose last link is its last message, and
//! whose other links are those of the call before. So a growing conversation costs one link a message, and not one
//! a message and call.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{body, damaged, pack};

/// The end of a chain, where it begins.
pub(super) const NOTHING: i64 = 0;

/// Links that were looked up or made lately. Forgotten when another process removed some, and when a write failed.
#[derive(Default)]
pub(super) struct Known {
    links: HashMap<(i64, [u8; 16]), i64>,
    removals: i64,
}

impl Known {
    /// About 3 MB at most.
    const MOST: usize = 40_000;

    /// Begins a transaction.
    pub(super) fn refresh(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let removals = removals(tx)?;
        if removals != self.removals || self.links.len() > Self::MOST {
            self.links.clear();
            self.removals = removals;
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
    }

    /// The last link of a chain of these items, which is made as far as it is not there.
    pub(super) fn chain<'a>(
        &mut self,
        tx: &Transaction<'_>,
        items: impl Iterator<Item = &'a str>,
    ) -> rusqlite::Result<i64> {
        let mut link = NOTHING;
        for item in items {
            let hash = body::hash(item);
            link = if let Some(known) = self.links.get(&(link, hash)) {
                *known
            } else {
                let content = content(tx, item, &hash)?;
                let found = next(tx, link, content)?;
                self.links.insert((link, hash), found);
                found
            };
        }
        Ok(link)
    }
}

/// How often events were removed from the file.
pub(super) fn removals(db: &Connection) -> rusqlite::Result<i64> {
    let mut find = db.prepare_cached("SELECT value FROM meta WHERE key = 'removals'")?;
    Ok(find.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn next(tx: &Transaction<'_>, parent: i64, content: i64) -> rusqlite::Result<i64> {
    let mut find = tx.prepare_cached("SELECT id FROM lists WHERE parent_id = ?1 AND content_id = ?2")?;
    if let Some(id) = find.query_row((parent, content), |row| row.get(0)).optional()? {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO lists (parent_id, content_id) VALUES (?1, ?2)")?.execute((parent, content))?;
    Ok(tx.last_insert_rowid())
}

/// The id of a content, which is put in if it is not there.
pub(super) fn content(tx: &Transaction<'_>, json: &str, hash: &[u8; 16]) -> rusqlite::Result<i64> {
    let mut find = tx.prepare_cached("SELECT id FROM contents WHERE hash = ?1")?;
    if let Some(id) = find.query_row([&hash[..]], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let size = i64::try_from(json.len()).unwrap_or(i64::MAX);
    tx.prepare_cached("INSERT INTO contents (hash, size, json) VALUES (?1, ?2, ?3)")?.execute((
        &hash[..],
        size,
        pack::content(json),
    ))?;
    Ok(tx.last_insert_rowid())
}

/// The items of a chain, with the link of each.
pub(super) fn items(db: &Connection, last: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    /// No conversation is longer; a damaged file must not lead in circles.
    const MOST: usize = 1_000_000;
    let mut find = db.prepare_cached(
        "SELECT parent_id, json FROM lists JOIN contents ON contents.id = content_id WHERE lists.id = ?1",
    )?;
    let mut found = Vec::new();
    let mut link = last;
    while link != NOTHING {
        let (parent, packed): (i64, Value) = find.query_row([link], |row| Ok((row.get(0)?, row.get(1)?)))?;
        found.push((link, pack::unpack(packed).ok_or_else(damaged)?));
        if parent >= link || found.len() > MOST {
            return Err(damaged());
        }
        link = parent;
    }
    found.reverse();
    Ok(found)
}
