//! Comparing events: what to leave out, and where two JSON values differ.

use std::io;
use std::path::Path;

use regex_lite::Regex;
use serde_json::{Map, Number, Value};

/// The properties that no comparison looks at, as `tests/corpus/normalise.json` lists them for every language.
#[derive(Debug, Clone)]
pub struct Volatile {
    names: Vec<String>,
    cost: Regex,
}

impl Volatile {
    /// Reads the list of a corpus.
    ///
    /// # Errors
    /// When it is not there or not what it should be.
    pub fn read(corpus: &Path) -> io::Result<Self> {
        let list: Value = serde_json::from_slice(&std::fs::read(corpus.join("normalise.json"))?)?;
        let names: Vec<String> = serde_json::from_value(list["volatile"].clone())?;
        let cost = list["cost"].as_str().unwrap_or_default();
        let cost = Regex::new(cost).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self { names, cost })
    }

    /// Whether a property is left out.
    pub fn is(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name) || self.cost.is_match(name)
    }

    /// The properties that are compared.
    pub fn without(&self, properties: &Map<String, Value>) -> Value {
        properties
            .iter()
            .filter(|(name, _)| !self.is(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// Where two values differ, a line each; empty when they are equal. Numbers are compared by value: `1` is `1.0`.
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk("", Some(expected), Some(actual), &mut out);
    out
}

fn walk(path: &str, expected: Option<&Value>, actual: Option<&Value>, out: &mut Vec<String>) {
    match (expected, actual) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, left.get(key), right.get(key), out);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            for at in 0..left.len().max(right.len()) {
                walk(&format!("{path}[{at}]"), left.get(at), right.get(at), out);
            }
        }
        (Some(Value::Number(left)), Some(Value::Number(right))) if same_number(left, right) => {}
        (Some(left), Some(right)) if left == right => {}
        (left, right) => {
            out.push(format!("  {path}\n    expected {}\n    got      {}", show(left), show(right)));
        }
    }
}

fn same_number(left: &Number, right: &Number) -> bool {
    #[expect(clippy::float_cmp, reason = "the same decimal text reads as the same double")]
    let same = |left: f64, right: f64| left == right;
    left == right || left.as_f64().zip(right.as_f64()).is_some_and(|(left, right)| same(left, right))
}

fn show(value: Option<&Value>) -> String {
    const LONGEST: usize = 600;
    let Some(value) = value else { return "(absent)".to_owned() };
    let text = value.to_string();
    if text.chars().count() > LONGEST {
        return format!("{}...", text.chars().take(LONGEST).collect::<String>());
    }
    text
}
