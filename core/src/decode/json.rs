//! Small readers of JSON that take what is there and never mind what is not.

use serde_json::{Map, Value};

/// A count of tokens: a whole number of zero or more, also when it was written as `12.0`.
pub(crate) fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        Some(number as u64)
    })
}

/// A string that is not empty.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Neither null nor an empty list.
pub(crate) fn is_something(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
}

/// The members of an allow-list that are there and not null, copied.
pub(crate) fn pick(from: &Value, names: &[&str]) -> Map<String, Value> {
    // By the members, for a body has few of them and a list has many names.
    let members = from.as_object().into_iter().flatten();
    let picked = members.filter(|(name, value)| !value.is_null() && names.contains(&name.as_str()));
    picked.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Puts `later` over `into`, member by member; null never erases, and numbers of earlier members stay.
pub(crate) fn merge(into: &mut Value, later: &Value) {
    match (into, later) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(later)) => {
            for (name, value) in later {
                match into.get_mut(name) {
                    Some(old) => merge(old, value),
                    None => {
                        into.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (into, later) => *into = later.clone(),
    }
}

/// Puts a copy of a member in. In a stream it is mostly there already, and the same.
pub(crate) fn keep(object: &mut Map<String, Value>, name: &str, value: &Value) {
    match object.get_mut(name) {
        Some(old) if old == value => {}
        Some(old) => *old = value.clone(),
        None => {
            object.insert(name.to_owned(), value.clone());
        }
    }
}

/// Appends a piece of text to a member that may not be there yet.
pub(crate) fn append(object: &mut Map<String, Value>, name: &str, piece: &str) {
    match object.get_mut(name) {
        Some(Value::String(text)) => text.push_str(piece),
        _ => {
            object.insert(name.to_owned(), Value::String(piece.to_owned()));
        }
    }
}

/// Objects by a provider's index.
pub(crate) type Slots = Vec<(u64, Map<String, Value>)>;

/// A list's slot by a provider's index, made when it is not there. Indices come from outside, so they are looked up
/// rather than trusted: a stream that says index 4,000,000,000 costs one slot.
pub(crate) fn slot(slots: &mut Slots, index: u64) -> &mut Map<String, Value> {
    let at = slots.iter().position(|(here, _)| *here == index).unwrap_or_else(|| {
        slots.push((index, Map::new()));
        slots.len() - 1
    });
    &mut slots[at].1
}
