//! New costs for events that are stored already.

use rusqlite::{OptionalExtension, TransactionBehavior};
use serde_json::{Map, Value};

use super::fields::{Fields, text as text_of};
use super::read::Reader;
use super::statements::Statements;
use super::{Store, body, json, lists, pack, patiently, prepare, row, trouble};
use crate::error::Result;

/// Events that are read, and written, at a time.
const PAGE: i64 = 200;

/// A stored event that has, or may have, a cost.
pub(crate) struct Stored {
    pub id: i64,
    pub timestamp_ms: i64,
    pub is_call: bool,
    /// Its properties; content is not among them.
    pub properties: Map<String, Value>,
}

/// New properties for an event: those of these names go, and these come.
pub(crate) struct Rewrite {
    pub id: i64,
    pub without: Vec<&'static str>,
    pub with: Map<String, Value>,
}

impl Reader {
    /// The next events with a cost since a time (milliseconds since 1970), in the order of their ids; none at the end.
    pub(crate) fn priced(&self, since_ms: i64, after: i64) -> Result<Vec<Stored>> {
        self.asked(|db| {
            let mut find = db.prepare_cached(
                "SELECT id, timestamp_ms, event IN (1, 2) FROM event_rows
                 WHERE id > ?1 AND timestamp_ms >= ?2 AND (cost_source IS NOT NULL OR event IN (1, 2))
                 ORDER BY id LIMIT ?3",
            )?;
            let rows = find.query_map((after, since_ms, PAGE), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let mut found = Vec::new();
            let mut long = db.prepare_cached(
                "SELECT contents.json FROM event_contents JOIN content_names ON content_names.id = name_id
                 JOIN contents ON contents.id = content_id WHERE event_id = ?1 AND property = '$ai_cost_details'",
            )?;
            for row in rows {
                let (id, timestamp_ms, is_call) = row?;
                let body = body::read(db, id)?.unwrap_or_default();
                let mut event: Map<String, Value> = serde_json::from_str(&body).unwrap_or_default();
                let Some(Value::Object(mut properties)) = event.remove("properties") else { continue };
                if properties.get("$ai_cost_details").is_some_and(Value::is_boolean) {
                    let details = long.query_row([id], |row| row.get(0)).optional()?;
                    let details = details.and_then(pack::unpack).and_then(|text| serde_json::from_str(&text).ok());
                    properties.insert("$ai_cost_details".to_owned(), details.unwrap_or_default());
                }
                found.push(Stored { id, timestamp_ms, is_call, properties });
            }
            Ok(found)
        })
    }
}

impl Store {
    /// Writes new costs in one transaction. Everything else about the events stays to the byte.
    pub(crate) fn reprice(&mut self, changed: &[Rewrite]) -> Result<()> {
        let Self { slot, path, known } = self;
        let done = patiently(|| {
            let done = slot.with(
                || prepare(path),
                |db| {
                    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    let mut statements = Statements::of(&tx);
                    known.refresh(&mut statements)?;
                    for change in changed {
                        write(&mut statements, known, change)?;
                    }
                    drop(statements);
                    // Whoever has numbers of these events in memory has to read them again.
                    lists::count_rewrite(&tx)?;
                    tx.commit()
                },
            );
            done.inspect_err(|_| known.clear())
        });
        done.map_err(|error| trouble(path, "cannot be written", error))
    }
}

fn write(statements: &mut Statements<'_>, known: &mut lists::Known, change: &Rewrite) -> rusqlite::Result<()> {
    let tx = statements.db();
    // Another process may have removed it meanwhile.
    let Some(old) = body::read(tx, change.id)? else { return Ok(()) };
    let Some(text) = rewritten(&old, change) else { return Ok(()) };
    let fields = Fields::of(&text);
    let packed = body::pack(statements, &mut known.names, &text, &fields, &body::said(tx, change.id)?.as_str())?;
    tx.prepare_cached("UPDATE event_bodies SET body = ?1 WHERE event_id = ?2")?.execute((packed, change.id))?;
    tx.prepare_cached(
        "DELETE FROM event_contents WHERE event_id = ?1
         AND name_id IN (SELECT id FROM content_names WHERE property = '$ai_cost_details')",
    )?
    .execute([change.id])?;
    let costs = row::Costs::of(&fields);
    let source = text_of(fields.cost_source).map(|text| known.names.text(statements, &text)).transpose()?;
    tx.prepare_cached(
        "UPDATE event_rows SET input_cost = ?1, output_cost = ?2, cost_nano = ?3, cost_atto = ?4, cost_source = ?5,
         cache_saved = ?6 WHERE id = ?7",
    )?
    .execute((costs.input, costs.output, costs.nano, costs.atto, source, costs.saved, change.id))?;
    Ok(())
}

/// The body with other properties.
fn rewritten(text: &str, change: &Rewrite) -> Option<String> {
    let top = json::members(text)?;
    let place = body::only(&top, "properties")?;
    let old = &text[place.clone()];
    let mut members: Vec<String> = json::members(old)?
        .into_iter()
        .filter(|member| !change.without.contains(&member.name) && !change.with.contains_key(member.name))
        .map(|member| format!("\"{}\":{}", member.name, &old[member.value]))
        .collect();
    members.extend(change.with.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))));
    Some(format!("{}{{{}}}{}", &text[..place.start], members.join(","), &text[place.end..]))
}
