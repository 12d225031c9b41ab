//! The properties of an event while it is made.
//!
//! An event has about forty, nearly all with names of ours. A map with a key and a node of its own for each took a good part
//! of what making an event takes; this is one list, and beside it the names' heads in order.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::write;

/// A property: a value, or what is known to be written as it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Property {
    Value(Value),
    /// One of our own words, in which there is nothing to escape.
    Word(&'static str),
    /// JSON text.
    Written(Vec<u8>),
}

impl Property {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value(value) => write::value(value, out),
            Self::Word(word) => {
                out.push(b'"');
                out.extend_from_slice(word.as_bytes());
                out.push(b'"');
            }
            Self::Written(json) => out.extend_from_slice(json),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Word(word) => word.into(),
            Self::Written(json) => serde_json::from_slice(&json).unwrap_or_default(),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties {
    /// In the order of the names, in which they are written: the head of each, and behind it its place in `members`.
    order: Vec<u128>,
    members: Vec<(Cow<'static, str>, Property)>,
}

/// Bits of an entry of the order that are the place.
const PLACE: u32 = 32;

/// The first bytes of a name as a number, with room for its place: names that differ in it are in the order of these
/// numbers. What nearly all begin with is one byte of it. Of a name that is known it is known when this is compiled.
#[inline(always)]
fn head(name: &str) -> u128 {
    const USUAL: &str = "$ai_";
    let mut bytes = [0; 16];
    let (class, rest) = match name.strip_prefix(USUAL) {
        Some(rest) => (1, rest),
        None => (if name < USUAL { 0 } else { 2 }, name),
    };
    bytes[0] = class;
    let room = &mut bytes[1..16 - PLACE as usize / 8];
    let length = rest.len().min(room.len());
    room[..length].copy_from_slice(&rest.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

impl Properties {
    pub(crate) fn new() -> Self {
        /// What most events have room in.
        const USUAL: usize = 48;
        Self { order: Vec::with_capacity(USUAL), members: Vec::with_capacity(USUAL) }
    }

    /// The place of a property, or where in the order it would be.
    fn find(&self, head: u128, name: &str) -> Result<usize, usize> {
        let mut at = self.order.partition_point(|entry| *entry < head);
        while let Some(entry) = self.order.get(at).filter(|entry| *entry >> PLACE == head >> PLACE) {
            let place = place(*entry);
            match self.members[place].0.as_ref().cmp(name) {
                Ordering::Equal => return Ok(place),
                Ordering::Less => at += 1,
                Ordering::Greater => break,
            }
        }
        Err(at)
    }

    fn add(&mut self, at: usize, head: u128, name: Cow<'static, str>, property: Property) {
        self.order.insert(at, head | self.members.len() as u128);
        self.members.push((name, property));
    }

    fn set(&mut self, head: u128, name: Cow<'static, str>, property: Property) {
        match self.find(head, &name) {
            Ok(place) => self.members[place].1 = property,
            Err(at) => self.add(at, head, name, property),
        }
    }

    /// Puts a value in, over one that has its name.
    #[inline]
    pub(crate) fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let name = name.into();
        self.set(head(&name), name, Property::Value(value.into()));
    }

    /// Puts a value in if there is one.
    #[inline]
    pub(crate) fn put<T: Into<Value>>(&mut self, name: &'static str, value: Option<T>) {
        // A caller may send `"messages": null`, which says no more than to leave it out.
        if let Some(value) = value.map(Into::into).filter(|value| !value.is_null()) {
            self.insert(name, value);
        }
    }

    /// Puts one of our own words in, in which there is nothing to escape.
    #[inline]
    pub(crate) fn word(&mut self, name: &'static str, word: &'static str) {
        self.set(head(name), name.into(), Property::Word(word));
    }

    /// Puts a property in if there is none of its name.
    pub(crate) fn add_new(&mut self, name: &'static str, property: Property) {
        let head = head(name);
        if let Err(at) = self.find(head, name) {
            self.add(at, head, name.into(), property);
        }
    }

    #[inline]
    fn property(&self, name: &str) -> Option<&Property> {
        self.find(head(name), name).ok().map(|place| &self.members[place].1)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// A property that is a value.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        match self.property(name)? {
            Property::Value(value) => Some(value),
            Property::Word(_) | Property::Written(_) => None,
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let place = self.find(head(name), name).ok()?;
        match &mut self.members[place].1 {
            Property::Value(value) => Some(value),
            Property::Word(_) | Property::Written(_) => None,
        }
    }

    /// A property that is a text.
    #[inline]
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.property(name)? {
            Property::Value(value) => value.as_str(),
            Property::Word(word) => Some(word),
            Property::Written(_) => None,
        }
    }

    /// All that are values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().filter_map(|(name, property)| match property {
            Property::Value(value) => Some((name.as_ref(), value)),
            Property::Word(_) | Property::Written(_) => None,
        })
    }

    /// Writes them as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut object = write::Members::begin(out);
        for entry in &self.order {
            let (name, property) = &self.members[place(*entry)];
            property.write(match name {
                Cow::Borrowed(name) => object.ours(name),
                Cow::Owned(name) => object.member(name),
            });
        }
        object.end();
    }
}

/// The place that an entry of the order names.
#[expect(clippy::cast_possible_truncation, reason = "the part that is the place")]
fn place(entry: u128) -> usize {
    entry as u32 as usize
}

impl Extend<(String, Value)> for Properties {
    fn extend<T: IntoIterator<Item = (String, Value)>>(&mut self, members: T) {
        for (name, value) in members {
            self.insert(name, value);
        }
    }
}

impl From<Properties> for Map<String, Value> {
    fn from(properties: Properties) -> Self {
        let members = properties.members.into_iter();
        members.map(|(name, property)| (name.into_owned(), property.into_value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn they_are_written_as_a_map_of_them_is() {
        let names = [
            "$ai_input",
            "$ai_input_tokens",
            "$ai_input_token_price",
            "$ai",
            "$ai_",
            "$aj",
            "$a",
            "plan",
            "",
            "$lib",
            "$ai_cache_creation_5m_input_tokens",
            "$ai_cache_creation_1h_input_tokens",
            "$ai_cache_creation_input_tokens",
            "$ai_a\u{0}",
            "$ai_a",
            "$ai_zzzzzzzzzzz",
            "$ai_zzzzzzzzzz",
            "Zoe",
            "\u{e9}",
            "a \"name\"",
            "$ai_input",
        ];
        let (mut properties, mut map) = (Properties::new(), Map::new());
        for (number, name) in names.into_iter().enumerate() {
            assert_eq!(properties.contains(name), map.contains_key(name), "{name}");
            if number % 2 == 0 && write::clean(name.as_bytes()) == name.len() {
                properties.insert(name, number);
            } else {
                properties.insert(name.to_owned(), number);
            }
            map.insert(name.to_owned(), number.into());
        }
        properties.add_new("$ai_input", Property::Word("not taken"));
        assert_eq!(properties.get("$ai_input"), Some(&json!(20)));
        assert_eq!(properties.get("$ai_inpu"), None);
        let mut written = Vec::new();
        properties.write(&mut written);
        assert_eq!(String::from_utf8_lossy(&written), Value::Object(map.clone()).to_string());
        assert_eq!(Map::from(properties), map);
    }
}
