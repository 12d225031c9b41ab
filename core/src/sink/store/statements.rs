//! The statements of a transaction, each looked up once. The connection finds them by their texts, which are long: to hash
//! and to copy those takes as long as many a statement's work.

use rusqlite::{CachedStatement, Connection};

/// See the module.
pub(super) struct Statements<'t> {
    db: &'t Connection,
    made: Vec<(&'static str, CachedStatement<'t>)>,
}

impl<'t> Statements<'t> {
    pub(super) fn of(db: &'t Connection) -> Self {
        Self { db, made: Vec::with_capacity(24) }
    }

    /// The statement of a text, which is known by its place in memory: of the same text elsewhere there may be another.
    pub(super) fn get(&mut self, sql: &'static str) -> rusqlite::Result<&mut CachedStatement<'t>> {
        let at = if let Some(at) = self.made.iter().position(|(made, _)| std::ptr::eq(*made, sql)) {
            at
        } else {
            self.made.push((sql, self.db.prepare_cached(sql)?));
            self.made.len() - 1
        };
        Ok(&mut self.made[at].1)
    }

    /// The connection, for what is done once.
    pub(super) fn db(&self) -> &'t Connection {
        self.db
    }

    /// The id of the row that was put in last.
    pub(super) fn last_id(&self) -> i64 {
        self.db.last_insert_rowid()
    }
}
