//! Messages as chains. A call's input is the conversation so far: a chain whose last link is its last message, and
//! whose other links are those of the call before. So a growing conversation costs one link a message, and not one
//! a message and call.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::names::Names;
use super::statements::Statements;
use super::{body, damaged, pack, preview};

/// The end of a chain, where it begins.
pub(super) const NOTHING: i64 = 0;

/// Contents of so many numbers have keys that begin alike, as a power of two. A message is looked for among those of
/// its own span and of the one before: the index is then read and written where it was just read and written, however
/// large the file is. What comes again later than that is kept again.
const SPAN: u32 = 17;

/// Bits of a key that are from the hash: so few that two now and then have the same, and a short number will do.
const HASH: u32 = 26;

/// What was looked up or made lately. Forgotten when another process removed something, and when a write failed.
#[derive(Default)]
pub(super) struct Known {
    pub names: Names,
    /// By the link before and the hash of an item: the link, and the content.
    links: HashMap<(i64, [u8; 16]), (i64, i64)>,
    removals: i64,
    last_content: i64,
}

/// A chain that was found or made.
pub(super) struct Chain {
    /// Its last link; `None` when it has none.
    pub last: Option<i64>,
    /// The content at the place that was asked for.
    pub shown: Option<i64>,
}

impl Known {
    /// About 3 MB at most.
    const MOST: usize = 40_000;

    /// Begins a transaction.
    pub(super) fn refresh(&mut self, tx: &mut Statements<'_>) -> rusqlite::Result<()> {
        let removals = removals(tx.db())?;
        if removals != self.removals {
            self.clear();
            self.removals = removals;
        }
        if self.links.len() > Self::MOST {
            self.links.clear();
        }
        let last = "SELECT coalesce(max(id), 0) FROM contents";
        self.last_content = tx.get(last)?.query_row([], |row| row.get(0))?;
        self.names.refresh(tx)
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.names.clear();
    }

    /// The chain of these items, which is made as far as it is not there.
    pub(super) fn chain<'a>(
        &mut self,
        tx: &mut Statements<'_>,
        items: impl Iterator<Item = &'a str>,
        shown: Option<usize>,
    ) -> rusqlite::Result<Chain> {
        let mut chain = Chain { last: None, shown: None };
        for (at, item) in items.enumerate() {
            let hash = body::hash(item);
            let before = chain.last.unwrap_or(NOTHING);
            let (link, content) = if let Some(known) = self.links.get(&(before, hash)) {
                *known
            } else {
                let (content, is_new) = self.content(tx, item, hash, true)?;
                let found = next(tx, before, content, is_new)?;
                self.links.insert((before, hash), (found, content));
                (found, content)
            };
            chain.last = Some(link);
            if shown == Some(at) {
                chain.shown = Some(content);
            }
        }
        Ok(chain)
    }

    /// The number of a content, which is put in if it is not there, and whether it was.
    pub(super) fn content(
        &mut self,
        tx: &mut Statements<'_>,
        json: &str,
        hash: [u8; 16],
        is_message: bool,
    ) -> rusqlite::Result<(i64, bool)> {
        let span = (self.last_content + 1) >> SPAN;
        for span in [span, span - 1].into_iter().filter(|span| *span >= 0) {
            let find =
                tx.get("SELECT content_id, json FROM content_keys JOIN contents ON id = content_id WHERE key = ?1")?;
            let mut rows = find.query([key(span, hash)])?;
            while let Some(row) = rows.next()? {
                if pack::is(row.get_ref(1)?, json) {
                    return Ok((row.get(0)?, false));
                }
            }
        }
        let size = i64::try_from(json.len()).unwrap_or(i64::MAX);
        let packed = pack::content(json);
        let preview = if is_message && packed.is_packed() { preview::of(json) } else { None };
        tx.get("INSERT INTO contents (size, json, preview) VALUES (?1, ?2, ?3)")?.execute((size, packed, preview))?;
        self.last_content = tx.last_id();
        tx.get("INSERT INTO content_keys (key, content_id) VALUES (?1, ?2)")?
            .execute((key(self.last_content >> SPAN, hash), self.last_content))?;
        Ok((self.last_content, true))
    }
}

fn key(span: i64, hash: [u8; 16]) -> i64 {
    let low = i64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) >> (32 - HASH));
    span << HASH | low
}

/// Removes a content that nothing uses any more.
pub(super) fn remove_unused(tx: &Transaction<'_>, content: i64) -> rusqlite::Result<()> {
    let mut find = tx.prepare_cached(
        "SELECT json FROM contents WHERE id = ?1
         AND NOT EXISTS (SELECT 1 FROM lists WHERE content_id = ?1)
         AND NOT EXISTS (SELECT 1 FROM event_contents WHERE content_id = ?1)",
    )?;
    let Some(packed) = find.query_row([content], |row| row.get(0)).optional()? else { return Ok(()) };
    let json = pack::unpack(packed).ok_or_else(damaged)?;
    tx.prepare_cached("DELETE FROM content_keys WHERE key = ?1 AND content_id = ?2")?
        .execute((key(content >> SPAN, body::hash(&json)), content))?;
    tx.prepare_cached("DELETE FROM contents WHERE id = ?1")?.execute([content])?;
    Ok(())
}

/// How often events were removed from the file.
pub(super) fn removals(db: &Connection) -> rusqlite::Result<i64> {
    let mut find = db.prepare_cached("SELECT value FROM meta WHERE key = 'removals'")?;
    Ok(find.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Says that something was removed, whose number may be given again.
pub(super) fn count_removal(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    count_one(tx, "removals")
}

/// Says that numbers of an event have changed.
#[cfg(feature = "cli")]
pub(super) fn count_rewrite(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    count_one(tx, "rewrites")
}

fn count_one(tx: &Transaction<'_>, what: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1";
    tx.prepare_cached(sql)?.execute([what])?;
    Ok(())
}

/// How often events were removed or have changed.
#[cfg(feature = "viewer")]
pub(super) fn changes(db: &Connection) -> rusqlite::Result<i64> {
    let mut find =
        db.prepare_cached("SELECT coalesce(sum(value), 0) FROM meta WHERE key IN ('removals', 'rewrites')")?;
    find.query_row([], |row| row.get(0))
}

fn next(tx: &mut Statements<'_>, parent: i64, content: i64, is_new: bool) -> rusqlite::Result<i64> {
    // What is new is in no list yet.
    if !is_new {
        let find = tx.get("SELECT id FROM lists WHERE parent_id = ?1 AND content_id = ?2")?;
        if let Some(id) = find.query_row((parent, content), |row| row.get(0)).optional()? {
            return Ok(id);
        }
    }
    tx.get("INSERT INTO lists (parent_id, content_id) VALUES (?1, ?2)")?.execute((parent, content))?;
    Ok(tx.last_id())
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
