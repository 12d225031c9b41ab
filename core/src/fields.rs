//! Members of a JSON object as the languages hand them over: in their own names, with their own units of time.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::config::Language;
use crate::decode::json::count;
use crate::error::{Error, ErrorKind, Result};

/// Options on their way to a struct. What is of another type than it should be counts as not given: what a program
/// says of its calls must not make them fail.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    language: Language,
    members: Map<String, Value>,
}

impl Fields {
    /// The members of an object in a language.
    pub fn new(language: Language, members: Map<String, Value>) -> Self {
        Self { language, members }
    }

    /// One member by its general name, in the same language.
    pub(crate) fn with(&self, name: &str, value: Value) -> Self {
        Self { language: self.language, members: Map::from_iter([(self.language.name_of(name), value)]) }
    }

    /// What was not taken.
    pub fn rest(self) -> Map<String, Value> {
        self.members
    }

    /// Says what is left over and so was no name that is known.
    ///
    /// # Errors
    /// A usage error that names it.
    pub fn finish(&self, what: &str) -> Result<()> {
        match self.members.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(ErrorKind::Usage, unknown_name(what, name))),
        }
    }

    /// Any value but null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        if self.members.is_empty() {
            return None;
        }
        self.members.remove(&*self.language.spelled(name)).filter(|value| !value.is_null())
    }

    /// A text; a number is one all the same.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// True or false.
    pub fn switch(&mut self, name: &str) -> Option<bool> {
        self.take(name)?.as_bool()
    }

    /// A whole number of zero or more.
    pub fn count(&mut self, name: &str) -> Option<u64> {
        count(self.take(name).as_ref())
    }

    /// Free-form members.
    pub fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A time span: seconds in Python, else milliseconds.
    pub fn duration(&mut self, name: &str) -> Option<Duration> {
        let given = self.take(name)?.as_f64()?;
        Duration::try_from_secs_f64(given / self.language.units_in_a_second()).ok()
    }

    /// A time since 1970, in the same units.
    pub fn time(&mut self, name: &str) -> Option<SystemTime> {
        // To the microsecond: a double holds no more, and cutting it off loses a millisecond.
        let since = self.duration(name)?.as_nanos().saturating_add(500) / 1000;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(u64::try_from(since).ok()?))
    }
}

/// What is said of a name that is none.
pub(crate) fn unknown_name(what: &str, name: &str) -> String {
    format!("{what}: {name} is no name that is known here")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(language: Language, value: &Value) -> Fields {
        Fields::new(language, value.as_object().unwrap().clone())
    }

    #[test]
    fn each_language_has_its_names_and_units() {
        let mut python =
            fields(Language::Python, &json!({"trace_id": 7, "time_to_first_token": 0.25, "timestamp": 1.5}));
        let mut node = fields(Language::Node, &json!({"traceId": "7", "timeToFirstToken": 250, "timestamp": 1500}));
        for fields in [&mut python, &mut node] {
            assert_eq!(fields.text("trace_id").as_deref(), Some("7"));
            assert_eq!(fields.duration("time_to_first_token"), Some(Duration::from_millis(250)));
            assert_eq!(fields.time("timestamp"), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
        }
    }

    #[test]
    fn what_is_of_another_type_is_not_given() {
        let mut odd = fields(
            Language::Rust,
            &json!({"a": [], "b": "yes", "c": -1, "d": "x", "e": -5, "f": null, "g": 1e300, "h": []}),
        );
        assert_eq!(odd.text("a"), None);
        assert_eq!(odd.switch("b"), None);
        assert_eq!(odd.count("c"), None);
        assert_eq!(odd.object("d"), None);
        assert_eq!(odd.duration("e"), None);
        assert_eq!(odd.take("f"), None);
        assert_eq!(odd.time("g"), None);
        assert_eq!(odd.rest().len(), 1);
    }
}
