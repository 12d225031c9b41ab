//! Scopes, as Python sees them. Values arrive as JSON text from Python's own encoder.

use pyo3::prelude::*;
use serde_json::{Map, Value};

use llmtrail::{ScopeKind, ScopeOptions};

/// A session, trace, span or set of options that calls are made in.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Scope(pub(crate) llmtrail::Scope);

#[pymethods]
impl Scope {
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name()
    }

    #[getter]
    fn trace_id(&self) -> Option<&str> {
        self.0.trace_id()
    }

    #[getter]
    fn span_id(&self) -> Option<&str> {
        self.0.span_id()
    }

    #[getter]
    fn session_id(&self) -> Option<&str> {
        self.0.session_id()
    }

    #[getter]
    fn distinct_id(&self) -> Option<&str> {
        self.0.distinct_id()
    }

    fn set_input(&self, json: &str) -> PyResult<()> {
        self.0.set_input(value(json)?);
        Ok(())
    }

    fn set_output(&self, json: &str) -> PyResult<()> {
        self.0.set_output(value(json)?);
        Ok(())
    }

    fn set_error(&self, kind: String, message: String) {
        self.0.set_error(kind, message);
    }

    fn set_properties(&self, json: &str) -> PyResult<()> {
        self.0.set_properties(object(json)?);
        Ok(())
    }
}

/// A scope's kind by its name.
pub(crate) fn kind(name: &str) -> Option<ScopeKind> {
    Some(match name {
        "session" => ScopeKind::Session,
        "trace" => ScopeKind::Trace,
        "span" => ScopeKind::Span,
        "options" => ScopeKind::Options,
        _ => return None,
    })
}

/// A scope's options from a JSON object with the names that they have in Python.
pub(crate) fn options(json: &str) -> PyResult<ScopeOptions> {
    let mut given = object(json)?;
    let mut text = |name: &str| match given.remove(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        // An id that is a number is an id all the same.
        Some(other) => Some(other.to_string()),
    };
    let mut options = ScopeOptions {
        name: text("name"),
        distinct_id: text("distinct_id"),
        session_id: text("session_id"),
        trace_id: text("trace_id"),
        span_type: text("span_type"),
        ..ScopeOptions::default()
    };
    options.privacy = given.get("privacy").and_then(Value::as_bool);
    options.input = given.remove("input");
    for (name, into) in [("properties", &mut options.properties), ("groups", &mut options.groups)] {
        if let Some(Value::Object(members)) = given.remove(name) {
            *into = members;
        }
    }
    Ok(options)
}

pub(crate) fn object(json: &str) -> PyResult<Map<String, Value>> {
    serde_json::from_str(json).map_err(|error| bad_json(&error))
}

fn value(json: &str) -> PyResult<Value> {
    serde_json::from_str(json).map_err(|error| bad_json(&error))
}

/// The caller then hands over a tamer text: JSON of Python's may hold numbers or depths that the core does not take.
fn bad_json(error: &serde_json::Error) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(error.to_string())
}
