//! Scopes, as Python sees them. Values arrive as JSON text from Python's own encoder.

use pyo3::prelude::*;
use serde_json::{Map, Value};

use llmtrail::{Fields, Language, ScopeKind};

/// A session, trace, span or set of options that calls are made in.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Scope(pub(crate) llmtrail::Scope);

#[pymethods]
impl Scope {
    #[getter]
    fn name(&self) -> Option<String> {
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

    /// Whether it was opened in there, however deep.
    fn is_inside(&self, around: &Self) -> bool {
        self.0.is_inside(&around.0)
    }

    fn set_name(&self, name: String) {
        self.0.set_name(name);
    }

    fn set_type(&self, kind: String) {
        self.0.set_type(kind);
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

/// The members of a JSON object with the names that they have in Python.
pub(crate) fn fields(json: &str) -> PyResult<Fields> {
    Ok(Fields::new(Language::Python, object(json)?))
}

pub(crate) fn object(json: &str) -> PyResult<Map<String, Value>> {
    serde_json::from_str(json).map_err(|error| bad_json(&error))
}

pub(crate) fn value(json: &str) -> PyResult<Value> {
    serde_json::from_str(json).map_err(|error| bad_json(&error))
}

/// The caller then hands over a tamer text: JSON of Python's may hold numbers or depths that the core does not take.
fn bad_json(error: &serde_json::Error) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(error.to_string())
}
