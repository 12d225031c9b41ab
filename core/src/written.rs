//! A record as its language wrote it: a JSON text or packed, which the worker reads. The caller only has its names looked at.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::{Number, Value};

use crate::config::Language;
use crate::context::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::event::write;
use crate::fields::Fields;
use crate::packed;
use crate::record::CallRecord;
use crate::stream_usage::{Member, Members};

/// What a language told of a call, in the members of a [`CallRecord`] by its own names. Made of a text that is JSON for
/// certain: what the worker cannot read is not recorded, and counted as `unreadable_record`.
#[derive(Debug)]
pub struct WrittenCall {
    language: Language,
    form: Form,
    id: Option<String>,
}

#[derive(Debug)]
enum Form {
    Json(Box<str>),
    Packed(Box<[u8]>),
}

/// A call on its way to the worker.
pub(crate) struct WrittenInput {
    pub(crate) call: WrittenCall,
    pub(crate) embedding: bool,
    pub(crate) scope: Option<Scope>,
    /// When it was told of.
    pub(crate) at: SystemTime,
    pub(crate) id: String,
}

impl WrittenCall {
    /// Takes the text of an object.
    ///
    /// # Errors
    /// A usage error for a name that is none of a call's. A value of the wrong type counts as not given.
    pub fn new<'a>(language: Language, json: impl Into<Cow<'a, str>>) -> Result<Self> {
        let json: Box<str> = json.into().into();
        let mut id = None;
        for member in Members::of(json.as_bytes()) {
            let Member::Of { key, value, .. } = member else { break };
            match name_in(language, key, &mut [0; 32]) {
                Some(b"span_id") => id = text(value),
                Some(name) if is_of_a_call(name) => {}
                _ if value == b"null" => {}
                _ => {
                    let name = String::from_utf8_lossy(key);
                    return Err(unknown(&serde_json::from_str(&format!("\"{name}\"")).unwrap_or(name.into_owned())));
                }
            }
        }
        Ok(Self { language, form: Form::Json(json), id })
    }

    /// Takes an object that is packed as [`crate::packed`] says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn packed(language: Language, record: &[u8]) -> Result<Self> {
        let mut id = None;
        for (key, value) in packed::members(record) {
            match name_in(language, key, &mut [0; 32]) {
                Some(b"span_id") => {
                    id = match packed::value(value) {
                        Some(Value::String(text)) => Some(text),
                        Some(Value::Number(number)) => Some(number.to_string()),
                        _ => None,
                    };
                }
                Some(name) if is_of_a_call(name) => {}
                _ if value == b"n" => {}
                _ => return Err(unknown(&String::from_utf8_lossy(key))),
            }
        }
        Ok(Self { language, form: Form::Packed(record.into()), id })
    }

    /// The memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let told = match &self.form {
            Form::Json(json) => json.len(),
            Form::Packed(packed) => packed.len(),
        };
        told + self.id.as_ref().map_or(0, String::len)
    }

    /// Its own id, where it has one.
    pub(crate) fn take_id(&mut self) -> Option<String> {
        self.id.take()
    }

    /// What it tells; `None` when it is no JSON, or not packed as it should be.
    pub(crate) fn read(&self, at: SystemTime) -> Option<CallRecord> {
        let members = match &self.form {
            Form::Json(json) => serde_json::from_str(json).ok()?,
            Form::Packed(packed) => packed::object(packed)?,
        };
        CallRecord::read_at(Fields::new(self.language, members), at).ok()
    }
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::Usage, CallRecord::unknown_name(name))
}

/// Writes a text as JSON writes it, for bindings.
pub fn quote(text: &str, out: &mut String) {
    write::quoted(text, |piece| out.push_str(piece));
}

/// A name of a language's as one of ours: snake case. `None`: it is none of the language's.
fn name_in<'a>(language: Language, key: &'a [u8], room: &'a mut [u8; 32]) -> Option<&'a [u8]> {
    if language != Language::Node {
        return Some(key);
    }
    let mut length = 0;
    let mut put = |byte| {
        *room.get_mut(length)? = byte;
        length += 1;
        Some(())
    };
    for byte in key {
        match byte {
            b'_' => return None,
            b'A'..=b'Z' => {
                put(b'_')?;
                put(byte.to_ascii_lowercase())?;
            }
            _ => put(*byte)?,
        }
    }
    Some(&room[..length])
}

/// The names that [`CallRecord::read`] takes, beside `span_id`.
fn is_of_a_call(name: &[u8]) -> bool {
    matches!(
        name,
        b"base_url"
            | b"cost_usd"
            | b"distinct_id"
            | b"error"
            | b"error_type"
            | b"groups"
            | b"headers"
            | b"http_status"
            | b"input"
            | b"latency"
            | b"model"
            | b"name"
            | b"otel_trace_id"
            | b"output"
            | b"parameters"
            | b"parent_id"
            | b"privacy"
            | b"properties"
            | b"provider"
            | b"session_id"
            | b"stop_reason"
            | b"stream"
            | b"time_to_first_token"
            | b"timestamp"
            | b"tools"
            | b"trace_id"
            | b"type"
            | b"usage"
    )
}

/// As [`Fields::text`] reads it.
fn text(value: &[u8]) -> Option<String> {
    match value.first()? {
        b'"' => serde_json::from_slice(value).ok(),
        b'-' | b'0'..=b'9' => serde_json::from_slice::<Number>(value).ok().map(|number| number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn new(language: Language, value: &Value) -> Result<WrittenCall> {
        let mut bytes = Vec::new();
        packed::tests::pack(value, &mut bytes);
        let packed = WrittenCall::packed(language, &bytes);
        let written = WrittenCall::new(language, value.to_string());
        // However it is handed over, it is the same.
        let at = SystemTime::UNIX_EPOCH;
        let told = |call: &Result<WrittenCall>| match call {
            Ok(call) => format!("{:?} {:?}", call.id, call.read(at)),
            Err(error) => error.to_string(),
        };
        assert_eq!(told(&packed), told(&written));
        written
    }

    /// Whether the parsed record takes the name.
    fn read_takes(language: Language, name: &str) -> bool {
        let members = Map::from_iter([(name.to_owned(), json!("x"))]);
        CallRecord::read(Fields::new(language, members)).is_ok()
    }

    #[test]
    fn the_names_are_those_of_the_record() {
        let names = [
            "base_url",
            "cost_usd",
            "distinct_id",
            "error",
            "error_type",
            "groups",
            "headers",
            "http_status",
            "input",
            "latency",
            "model",
            "name",
            "otel_trace_id",
            "output",
            "parameters",
            "parent_id",
            "privacy",
            "properties",
            "provider",
            "session_id",
            "span_id",
            "stop_reason",
            "stream",
            "time_to_first_token",
            "timestamp",
            "tools",
            "trace_id",
            "type",
            "usage",
            "modle",
            "",
            "started_at",
            "a_name_that_is_longer_than_any_of_ours_is",
        ];
        for language in [Language::Python, Language::Node] {
            for name in names.iter().flat_map(|name| [(*name).to_owned(), crate::config::camel(name)]) {
                let taken = new(language, &Value::Object(Map::from_iter([(name.clone(), json!("x"))]))).is_ok();
                assert_eq!(taken, read_takes(language, &name), "{language:?} {name}");
            }
        }
    }

    #[test]
    fn a_text_is_quoted_as_json_does() {
        let all: String = (0..0x80_u8).map(char::from).collect();
        let long = "x".repeat(31);
        for text in [
            "",
            "plain",
            "\"\n\\\t\u{1f}\u{7f}",
            "äö€😀",
            &all,
            &long,
            &format!("{long}\n{long}xx\""),
            &format!("{long}é"),
        ] {
            let mut out = String::from("before");
            quote(text, &mut out);
            let json = out.strip_prefix("before").unwrap();
            assert_eq!(serde_json::from_str::<String>(json).unwrap(), text, "{json}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_told_as_it_was_written() {
        let error = new(Language::Python, &json!({"model": "m", "mod\"le": {"span_id": 1}})).unwrap_err();
        assert_eq!(error.to_string(), "a call: mod\"le is no name that is known here");
        assert!(new(Language::Node, &json!({"modle": null})).is_ok());
    }

    #[test]
    fn it_reads_as_if_it_had_been_parsed_at_once() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(100);
        let given = json!({"spanId": "é\n", "input": ["}", {"spanId": 7}], "latency": 500});
        let mut call = new(Language::Node, &given).unwrap();
        let record = call.read(at).unwrap();
        assert_eq!(record.input, Some(json!(["}", {"spanId": 7}])));
        assert_eq!(record.scope.started_at, at.checked_sub(std::time::Duration::from_millis(500)));
        assert_eq!(call.take_id().as_deref(), Some("é\n"));
        assert_eq!(new(Language::Python, &json!({"span_id": 7.5})).unwrap().take_id().as_deref(), Some("7.5"));
        assert_eq!(new(Language::Python, &json!({"span_id": [7]})).unwrap().take_id(), None);
    }
}
