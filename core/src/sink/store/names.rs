//! Texts, ids and forms of bodies by number: each is in the file once, and what was looked up lately is remembered.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use super::shape;
use super::statements::Statements;
use rusqlite::types::Value;

/// What is remembered at most of each kind.
const MOST: usize = 20_000;

/// A text in a body that comes this often gets a number.
const OFTEN: u8 = 4;

/// A text in a body that is longer is not looked for.
const LONGEST: usize = 120;

/// So many forms are looked through one by one.
const LAST: usize = 64;

/// So many forms get into the file at once; others have to come again first.
const FORMS: i64 = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Names {
    texts: HashMap<Box<str>, i64>,
    ids: HashMap<Box<str>, i64>,
    forms: HashMap<[u8; 16], Option<i64>>,
    /// Those of the last bodies: they are long, and quicker compared than hashed.
    last_forms: Vec<(Box<str>, i64)>,
    /// How often a text or form was met that has no number.
    met: HashMap<u64, u8>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.ids.clear();
        self.forms.clear();
        self.last_forms.clear();
    }

    /// Begins a transaction.
    pub(super) fn refresh(&mut self, tx: &mut Statements<'_>) -> rusqlite::Result<()> {
        for map in [&mut self.texts, &mut self.ids] {
            if map.len() > MOST {
                map.clear();
            }
        }
        if self.forms.len() > MOST {
            self.forms.clear();
        }
        if self.met.len() > MOST {
            self.met.clear();
        }
        if self.texts.is_empty() {
            // What others found to come often.
            let all = tx.get("SELECT id, text FROM texts ORDER BY id LIMIT 1000")?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                self.texts.insert(row.get::<_, String>(1)?.into(), row.get(0)?);
            }
        }
        Ok(())
    }

    /// The number of a text, which is put in if it is not there.
    pub(super) fn text(&mut self, tx: &mut Statements<'_>, text: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.texts.get(text) {
            return Ok(*id);
        }
        let found = tx.get("SELECT id FROM texts WHERE text = ?1")?.query_row([text], |row| row.get(0));
        let id = if let Some(id) = found.optional()? {
            id
        } else {
            tx.get("INSERT INTO texts (text) VALUES (?1)")?.execute([text])?;
            tx.last_id()
        };
        self.texts.insert(text.into(), id);
        Ok(id)
    }

    /// The same for a text that has one, or comes often enough to get one.
    pub(super) fn common(&mut self, tx: &mut Statements<'_>, text: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.texts.get(text) {
            return Ok(Some(*id));
        }
        if !(3..=LONGEST).contains(&text.len()) || !self.is_often(hash(text), OFTEN) {
            return Ok(None);
        }
        self.text(tx, text).map(Some)
    }

    fn is_often(&mut self, what: [u8; 16], often: u8) -> bool {
        let met = self.met.entry(short(&what).cast_unsigned()).or_default();
        *met = met.saturating_add(1);
        *met >= often
    }

    /// The number of an id, which is put in if it is not there.
    pub(super) fn id(&mut self, tx: &mut Statements<'_>, id: &str) -> rusqlite::Result<i64> {
        if let Some(known) = self.ids.get(id) {
            return Ok(*known);
        }
        let key = key(id);
        let found = tx.get("SELECT id FROM ids WHERE key = ?1")?.query_row([&key], |row| row.get(0));
        let number = if let Some(found) = found.optional()? {
            found
        } else {
            tx.get("INSERT INTO ids (key) VALUES (?1)")?.execute([&key])?;
            tx.last_id()
        };
        self.ids.insert(id.into(), number);
        Ok(number)
    }

    /// The number of a form; `None` when it has none and does not get one yet.
    pub(super) fn form(&mut self, tx: &mut Statements<'_>, form: &str) -> rusqlite::Result<Option<i64>> {
        if let Some((_, id)) = self.last_forms.iter().find(|(last, _)| **last == *form) {
            return Ok(Some(*id));
        }
        let hash = hash(form);
        if let Some(known) = self.forms.get(&hash)
            && (known.is_some() || !self.is_often(hash, 2))
        {
            let known = self.forms[&hash];
            self.remember(form, known);
            return Ok(known);
        }
        let found = tx
            .get("SELECT id, template FROM shapes WHERE hash = ?1")?
            .query_row([short(&hash)], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        let id = if let Some((id, template)) = found {
            (template == form).then_some(id)
        } else {
            let last = "SELECT coalesce(max(id), 0) FROM shapes";
            let last: i64 = tx.get(last)?.query_row([], |row| row.get(0))?;
            let is_kept = last < FORMS || (last < 16 * FORMS && self.forms.contains_key(&hash));
            if is_kept {
                tx.get("INSERT INTO shapes (hash, template) VALUES (?1, ?2)")?.execute((short(&hash), form))?;
            }
            is_kept.then(|| tx.last_id())
        };
        self.forms.insert(hash, id);
        self.remember(form, id);
        Ok(id)
    }

    fn remember(&mut self, form: &str, id: Option<i64>) {
        if self.last_forms.len() == LAST {
            self.last_forms.clear();
        }
        self.last_forms.extend(id.map(|id| (form.into(), id)));
    }
}

fn hash(text: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
    short
}

fn short(hash: &[u8; 16]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}

/// An id as the file keeps it.
pub(super) fn key(id: &str) -> Value {
    match shape::plain_uuid(id) {
        Some(uuid) => Value::Blob(uuid.as_bytes().to_vec()),
        None => Value::Text(id.to_owned()),
    }
}

/// Between what keys those of the ids are that begin with a text as it stands: from the first, and before the second.
pub(super) fn beginning_with(begin: &str) -> Vec<(Value, Value)> {
    // No text has a higher character in that place.
    let texts = (Value::Text(begin.to_owned()), Value::Text(format!("{begin}{}", char::MAX)));
    let mut ranges = vec![texts];
    ranges.extend(uuids_beginning_with(begin).map(|(low, high)| {
        // No uuid is longer than its 16 bytes, so one byte more is above the last of them.
        let high = high.into_iter().chain([0]).collect();
        (Value::Blob(low.to_vec()), Value::Blob(high))
    }));
    ranges
}

/// The first and the last uuid that begin with a text as it stands; `None` when none can.
pub(super) fn uuids_beginning_with(begin: &str) -> Option<([u8; 16], [u8; 16])> {
    const FORM: &str = "00000000-0000-0000-0000-000000000000";
    let rest = FORM.get(begin.len()..)?;
    let filled = |with: &str| {
        let text = format!("{begin}{}", rest.replace('0', with));
        shape::plain_uuid(&text).map(uuid::Uuid::into_bytes)
    };
    begin.is_ascii().then_some(())?;
    Some((filled("0")?, filled("f")?))
}

/// The text of a number.
pub(super) fn text_of(db: &Connection, id: i64) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT text FROM texts WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()
}
