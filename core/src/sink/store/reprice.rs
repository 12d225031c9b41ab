//! New costs for events that are stored already.

use rusqlite::{OptionalExtension, TransactionBehavior};
use serde_json::{Map, Value};

use super::read::Reader;
use super::{Store, body, json, pack, patiently, row, trouble};
use crate::error::Result;
use crate::event::WireEvent;

/// Events that are read, and written, at a time.
const PAGE: i64 = 200;

/// The columns that say what an event cost.
const COLUMNS: [&str; 7] =
    ["input_cost_usd", "output_cost_usd", "total_cost_usd", "cost_nano", "cost_atto", "cost_source", "cache_saved_usd"];

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
                "SELECT id, timestamp_ms, event IN ('$ai_generation', '$ai_embedding'), json
                 FROM events JOIN bodies ON event_id = id
                 WHERE id > ?1 AND timestamp_ms >= ?2
                   AND (cost_source IS NOT NULL OR event IN ('$ai_generation', '$ai_embedding'))
                 ORDER BY id LIMIT ?3",
            )?;
            let rows = find.query_map((after, since_ms, PAGE), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, rusqlite::types::Value>(3)?))
            })?;
            let mut found = Vec::new();
            let mut long = db.prepare_cached(
                "SELECT contents.json FROM event_contents JOIN content_names ON content_names.id = name_id
                 JOIN contents ON contents.id = content_id WHERE event_id = ?1 AND property = '$ai_cost_details'",
            )?;
            for row in rows {
                let (id, timestamp_ms, is_call, packed) = row?;
                let body = pack::unpack(packed).unwrap_or_default();
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
        let done = patiently(|| {
            self.with(|db| {
                let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
                for change in changed {
                    write(&tx, change)?;
                }
                tx.commit()
            })
        });
        done.map_err(|error| trouble(&self.path, "cannot be written", error))
    }
}

fn write(tx: &rusqlite::Transaction<'_>, change: &Rewrite) -> rusqlite::Result<()> {
    let found = tx
        .prepare_cached("SELECT json, uuid FROM bodies JOIN events ON id = event_id WHERE event_id = ?1")?
        .query_row([change.id], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    // Another process may have removed it meanwhile.
    let Some((packed, uuid)) = found else { return Ok(()) };
    let Some(text) = pack::unpack(packed).and_then(|old| rewritten(&old, change)) else { return Ok(()) };
    tx.prepare_cached("UPDATE bodies SET json = ?1 WHERE event_id = ?2")?.execute((pack::body(&text), change.id))?;
    tx.prepare_cached(
        "DELETE FROM event_contents WHERE event_id = ?1
         AND name_id IN (SELECT id FROM content_names WHERE property = '$ai_cost_details')",
    )?
    .execute([change.id])?;
    let event =
        WireEvent { uuid: uuid.parse().unwrap_or_default(), lane: crate::event::Lane::Ai, json: bytes::Bytes::new() };
    let cells = row::cells(&event, &text, &[]);
    let of = |name: &str| row::COLUMNS.iter().position(|column| *column == name).map(|at| cells[at].clone());
    let values = COLUMNS.iter().filter_map(|name| of(name)).chain([change.id.into()]);
    let sets: Vec<_> = COLUMNS.iter().map(|name| format!("{name} = ?")).collect();
    tx.prepare_cached(&format!("UPDATE events SET {} WHERE id = ?", sets.join(", ")))?
        .execute(rusqlite::params_from_iter(values))?;
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
