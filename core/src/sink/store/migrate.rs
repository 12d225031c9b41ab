//! From the tables of versions 1 and 2 to those of version 3: every event is read as it was written, and written anew.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::statements::Statements;
use super::{body, damaged, insert, lists, pack, schema};
use crate::event::{Lane, WireEvent};

/// Events that are read at a time.
const STEP: i64 = 1000;

/// Takes over everything. Ids stay: `llmtrail push` remembers one.
pub(super) fn to_version_3(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(
        "DROP VIEW calls;
         DROP INDEX lists_by_parent; DROP INDEX lists_by_content; DROP INDEX events_by_content;
         ALTER TABLE events RENAME TO old_events;
         ALTER TABLE bodies RENAME TO old_bodies;
         ALTER TABLE contents RENAME TO old_contents;
         ALTER TABLE lists RENAME TO old_lists;
         ALTER TABLE event_contents RENAME TO old_event_contents;",
    )?;
    schema::make_version_3(tx)?;
    let mut known = lists::Known::default();
    let mut statements = Statements::of(tx);
    known.refresh(&mut statements)?;
    let mut last = 0;
    loop {
        let mut find = tx.prepare_cached("SELECT id, uuid FROM old_events WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let some = find.query_map((last, STEP), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let some = some.collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
        let Some((newest, _)) = some.last() else { break };
        last = *newest;
        for (id, uuid) in &some {
            let json = read_old(tx, *id)?;
            let uuid = uuid.parse().map_err(|_| damaged())?;
            let event = WireEvent { uuid, lane: Lane::Ai, json: json.into(), stored: None };
            insert(&mut statements, &event, Some(*id), &mut known)?;
        }
    }
    drop(statements);
    tx.execute_batch(
        "DROP TABLE old_event_contents; DROP TABLE old_lists; DROP TABLE old_contents; DROP TABLE old_bodies;
         DROP TABLE old_events;",
    )?;
    // Who remembers numbers of contents and lists must forget them.
    lists::count_removal(tx)
}

/// An event's JSON from the tables of version 2, which may have events from version 1.
fn read_old(db: &Connection, id: i64) -> rusqlite::Result<String> {
    let (packed, input, output): (Value, Option<i64>, Option<i64>) = db
        .prepare_cached("SELECT json, input_list, output_list FROM old_bodies WHERE event_id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut find = db.prepare_cached(
        "SELECT property, position, json FROM old_event_contents
         JOIN content_names ON content_names.id = name_id JOIN old_contents ON old_contents.id = content_id
         WHERE event_id = ?1 ORDER BY name_id, position",
    )?;
    let rows = find.query_map([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut pieces = Vec::new();
    for piece in rows {
        let (property, position, packed) = piece?;
        pieces.push((property, position, pack::unpack(packed).ok_or_else(damaged)?));
    }
    for (property, last) in [(body::INPUT, input), (body::OUTPUT, output)] {
        let mut items = Vec::new();
        let mut link = last.unwrap_or(lists::NOTHING);
        while link != lists::NOTHING {
            let mut find = db.prepare_cached(
                "SELECT parent_id, json FROM old_lists JOIN old_contents ON old_contents.id = content_id
                 WHERE old_lists.id = ?1",
            )?;
            let found = find.query_row([link], |row| Ok((row.get(0)?, row.get::<_, Value>(1)?))).optional()?;
            let (parent, packed): (i64, Value) = found.filter(|(parent, _)| *parent < link).ok_or_else(damaged)?;
            items.push(pack::unpack(packed).ok_or_else(damaged)?);
            link = parent;
        }
        let items = items.into_iter().rev().zip(0..);
        pieces.extend(items.map(|(json, position)| (property.to_owned(), position, json)));
    }
    let body = pack::unpack(packed).ok_or_else(damaged)?;
    body::join(&body, &pieces).ok_or_else(damaged)
}
