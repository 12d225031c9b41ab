//! An event's JSON, taken apart into a body and its content, and put together again to the byte.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::json;

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
    /// Whether it is content, and not only long.
    pub(super) fn is_content(&self) -> bool {
        CONTENT.contains(&self.property)
    }

    /// Whether it is an item of a list.
    pub(super) fn is_item(&self) -> bool {
        self.position != WHOLE
    }
}

/// Takes an event apart. What is not the JSON of an event is its own body.
pub(super) fn split(text: &str) -> (Cow<'_, str>, Vec<Piece<'_>>) {
    try_split(text).unwrap_or((Cow::Borrowed(text), Vec::new()))
}

fn try_split(text: &str) -> Option<(Cow<'_, str>, Vec<Piece<'_>>)> {
    let top = json::members(text)?;
    let properties = only(&top, "properties")?;
    let base = properties.start;
    let members = json::members(&text[properties])?;
    let mut body = String::new();
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut done = 0;
    for member in &members {
        let place = base + member.value.start..base + member.value.end;
        let value = &text[place.clone()];
        let is_content = CONTENT.contains(&member.name);
        let items = if BY_ITEM.contains(&member.name) { json::objects(value) } else { None };
        if items.is_none() && value.len() < if is_content { SHORT } else { LONG } {
            continue;
        }
        if members.iter().filter(|other| other.name == member.name).count() > 1 {
            return None;
        }
        body.push_str(&text[done..place.start]);
        if let Some(items) = items {
            // The placeholder says how many there are, for those who read the body alone.
            let _ = write!(body, "{}", items.len());
            pieces.extend(items.into_iter().zip(0..).map(|(item, position)| Piece {
                property: member.name,
                position,
                json: &value[item],
            }));
        } else {
            body.push_str("true");
            pieces.push(Piece { property: member.name, position: WHOLE, json: value });
        }
        done = place.end;
    }
    if pieces.is_empty() {
        return None;
    }
    body.push_str(&text[done..]);
    Some((Cow::Owned(body), pieces))
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
