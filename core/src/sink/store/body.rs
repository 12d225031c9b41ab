//! An event's JSON, taken apart into a body and its content, and put together again to the byte.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use super::fields::Fields;
use super::names::{self, Names};
use super::shape::Said;
use super::statements::Statements;
use super::{damaged, json, pack, row, shape};

/// Properties that hold content.
const CONTENT: [&str; 5] = ["$ai_input", "$ai_output_choices", "$ai_tools", "$ai_input_state", "$ai_output_state"];

/// A call's messages.
pub(super) const INPUT: &str = "$ai_input";

/// A call's answers.
pub(super) const OUTPUT: &str = "$ai_output_choices";

/// Lists that are kept item by item, for their items come again in later calls.
const BY_ITEM: [&str; 2] = [INPUT, OUTPUT];

/// Content below this many bytes that is no list of messages stays in the body: looking it up would take more.
const SHORT: usize = 16;

/// Any other property from this many bytes on is kept like content.
const LONG: usize = 2048;

/// The position of a value that is not a list's item.
pub(super) const WHOLE: i64 = -1;

/// A piece of an event's content.
pub(super) struct Piece<'a> {
    pub property: &'a str,
    pub position: i64,
    pub json: &'a str,
}

impl Piece<'_> {
    /// Whether it is an item of a list.
    pub(super) fn is_item(&self) -> bool {
        self.position != WHOLE
    }
}

/// An event that was taken apart.
pub(super) struct Parts<'a> {
    pub body: Cow<'a, str>,
    pub pieces: Vec<Piece<'a>>,
    /// Its own properties' place is that in the body.
    pub fields: Fields<'a>,
}

/// Takes an event apart. What is not the JSON of an event is its own body.
pub(super) fn split(text: &str) -> Parts<'_> {
    let whole = || Parts { body: Cow::Borrowed(text), pieces: Vec::new(), fields: Fields::of(text) };
    try_split(text).unwrap_or_else(whole)
}

fn try_split(text: &str) -> Option<Parts<'_>> {
    let event = json::event(text, &BY_ITEM)?;
    let members = &event.properties;
    let mut body = String::new();
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut done = 0;
    // Ends of values that were taken out, and of what is in their places.
    let mut ends = Vec::new();
    for (member, items) in members {
        let place = member.value.clone();
        let value = &text[place.clone()];
        let is_content = CONTENT.contains(&member.name);
        if items.is_none() && value.len() < if is_content { SHORT } else { LONG } {
            continue;
        }
        if members.iter().filter(|(other, _)| other.name == member.name).count() > 1 {
            return None;
        }
        body.push_str(&text[done..place.start]);
        if let Some(items) = items {
            // The placeholder says how many there are, for those who read the body alone.
            let _ = write!(body, "{}", items.len());
            pieces.extend(items.iter().zip(0..).map(|(item, position)| Piece {
                property: member.name,
                position,
                json: &text[item.clone()],
            }));
        } else {
            body.push_str("true");
            pieces.push(Piece { property: member.name, position: WHOLE, json: value });
        }
        done = place.end;
        ends.push((place.end, body.len()));
    }
    let mut fields = Fields::of_event(text, &event, |name| pieces.iter().all(|piece| piece.property != name));
    if pieces.is_empty() {
        return Some(Parts { body: Cow::Borrowed(text), pieces, fields });
    }
    body.push_str(&text[done..]);
    fields.own_place = fields.own_place.map(|place| {
        let (end, now) = ends.iter().rfind(|(end, _)| *end <= place.start).copied().unwrap_or_default();
        let start = place.start - end + now;
        start..start + place.len()
    });
    Some(Parts { body: Cow::Owned(body), pieces, fields })
}

/// Puts an event together. `pieces` are in the order of their positions.
pub(super) fn join(body: &str, pieces: &[(String, i64, String)]) -> Option<String> {
    if pieces.is_empty() {
        return Some(body.to_owned());
    }
    let top = json::members(body)?;
    let properties = only(&top, "properties")?;
    let base = properties.start;
    let mut text = String::with_capacity(body.len() + pieces.iter().map(|(_, _, json)| json.len() + 1).sum::<usize>());
    let mut done = 0;
    for member in json::members(&body[properties])? {
        let mut mine = pieces.iter().filter(|(property, ..)| property == member.name).peekable();
        let Some((_, position, _)) = mine.peek() else { continue };
        let list = *position != WHOLE;
        text.push_str(&body[done..base + member.value.start]);
        text.push_str(if list { "[" } else { "" });
        for (at, (_, _, json)) in mine.enumerate() {
            text.push_str(if at > 0 { "," } else { "" });
            text.push_str(json);
        }
        text.push_str(if list { "]" } else { "" });
        done = base + member.value.end;
    }
    text.push_str(&body[done..]);
    Some(text)
}

/// The first byte of a body that is kept as its values: the number of its form follows, as whole numbers do there.
const VALUES: u8 = 4;

/// A body as the file keeps it.
pub(super) fn pack(
    tx: &mut Statements<'_>,
    names: &mut Names,
    body: &str,
    fields: &Fields<'_>,
    said: &Said<&str>,
) -> rusqlite::Result<Value> {
    let own = fields.own_place.as_ref().filter(|_| said.own == fields.own.as_deref());
    let taken = shape::encode(body, said, own, |text| names.common(tx, text))?;
    if let Some((form, values)) = taken
        && let Some(form) = names.form(tx, &form)?
    {
        let mut packed = Vec::with_capacity(values.len() + 4);
        packed.push(VALUES);
        shape::varint(form.unsigned_abs(), &mut packed);
        packed.extend_from_slice(&values);
        return Ok(Value::Blob(packed));
    }
    Ok(pack::body(body).into())
}

/// Which forms and texts a packed body refers to.
pub(super) fn refers(packed: &[u8], forms: &mut HashSet<i64>, texts: &mut HashSet<i64>) {
    let Some((&VALUES, mut values)) = packed.split_first() else { return };
    forms.extend(shape::whole(&mut values).and_then(|form| i64::try_from(form).ok()));
    shape::texts(values, texts);
}

/// What the row of an event says.
pub(super) fn said(db: &Connection, event_id: i64) -> rusqlite::Result<Said<String>> {
    let mut find = db.prepare_cached(
        "SELECT uuid, distinct_id, trace_id, session_id, span_id, parent_id, timestamp_ms, error, properties
         FROM events WHERE id = ?1",
    )?;
    find.query_row([event_id], |row| {
        let time = Some(row::written(row.get(6)?));
        let ids = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let [uuid, distinct_id, trace_id, session_id, span_id, parent_id] = ids;
        let strings = [uuid, distinct_id, trace_id, session_id, span_id, parent_id, time, row.get(7)?];
        Ok(Said { strings, own: row.get(8)? })
    })
}

/// The body of an event; `None` when there is no such event.
pub(super) fn read(db: &Connection, event_id: i64) -> rusqlite::Result<Option<String>> {
    let mut find = db.prepare_cached("SELECT body FROM event_bodies WHERE event_id = ?1")?;
    let Some(packed) = find.query_row([event_id], |row| row.get::<_, Value>(0)).optional()? else { return Ok(None) };
    let blob = match packed {
        Value::Blob(blob) if blob.first() == Some(&VALUES) => blob,
        other => return pack::unpack(other).ok_or_else(damaged).map(Some),
    };
    let mut values = &blob[1..];
    let form = shape::whole(&mut values).and_then(|form| i64::try_from(form).ok()).ok_or_else(damaged)?;
    let mut find = db.prepare_cached("SELECT template FROM shapes WHERE id = ?1")?;
    let form: String = find.query_row([form], |row| row.get(0))?;
    let said = said(db, event_id)?;
    let mut failed = None;
    let body = shape::decode(&form, values, &said, |id| {
        names::text_of(db, id).unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    });
    match failed {
        Some(error) => Err(error),
        None => body.ok_or_else(damaged).map(Some),
    }
}

/// The value of the one member of this name.
pub(super) fn only(members: &[json::Member<'_>], name: &str) -> Option<std::ops::Range<usize>> {
    let mut found = members.iter().filter(|member| member.name == name);
    let value = found.next()?.value.clone();
    found.next().is_none().then_some(value)
}

/// What a content is known by.
pub(super) fn hash(json: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(json.as_bytes())[..16]);
    short
}
