//! Capture by hand, as Python calls it. Everything that is told of an event arrives as one JSON object.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use llmtrail::manual::{CaptureOptions, TraceRef};
use llmtrail::{CallRecord, Language, StepRecord, WrittenCall};

use crate::client::Client;
use crate::error::{raise, usage};
use crate::json;
use crate::scope::{self, Scope, fields};

/// A call that the application makes by itself, while it lasts.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Timer(llmtrail::Timer);

#[pymethods]
impl Timer {
    #[getter]
    fn id(&self) -> &str {
        self.0.id()
    }

    fn first_token(&self) {
        self.0.first_token();
    }

    fn end(&self, py: Python<'_>, record: &str) -> PyResult<()> {
        self.0.end(CallRecord::read(fields(record)?).map_err(|error| raise(py, &error))?);
        Ok(())
    }
}

#[pymethods]
impl Client {
    fn capture(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, Scope>>,
        event: &str,
        options: &str,
    ) -> PyResult<String> {
        let options = CaptureOptions::read(fields(options)?).map_err(|error| raise(py, &error))?;
        self.0.capture_in(core(scope), event, options).map(|uuid| uuid.to_string()).map_err(|error| raise(py, &error))
    }

    fn capture_call(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, Scope>>,
        embedding: bool,
        record: &str,
    ) -> PyResult<String> {
        let record = CallRecord::read(fields(record)?).map_err(|error| raise(py, &error))?;
        Ok(self.0.capture_call_in(core(scope), embedding, record))
    }

    /// The same of members as they are; `None` when there is a value that Python's encoder has to make JSON of.
    fn capture_plain_call(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, Scope>>,
        embedding: bool,
        members: &Bound<'_, PyDict>,
    ) -> PyResult<Option<String>> {
        let Some(json) = json::of_members(members) else { return Ok(None) };
        let call = WrittenCall::new(Language::Python, json).map_err(|error| raise(py, &error))?;
        Ok(Some(self.0.capture_written_in(core(scope), embedding, call)))
    }

    fn capture_step(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, Scope>>,
        kind: &str,
        record: &str,
    ) -> PyResult<String> {
        let kind = scope::kind(kind).ok_or_else(|| usage(py, format!("{kind}: unknown kind of scope")))?;
        let record = StepRecord::read(fields(record)?).map_err(|error| raise(py, &error))?;
        Ok(self.0.capture_step_in(core(scope), kind, record))
    }

    fn feedback(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, Scope>>,
        trace: Option<&Bound<'_, PyAny>>,
        options: &str,
    ) -> PyResult<()> {
        let mut given = fields(options)?;
        let (score, comment) = (given.take("score"), given.text("comment"));
        let options = CaptureOptions::read(given).map_err(|error| raise(py, &error))?;
        let trace = trace.map(trace_of).transpose()?;
        self.0
            .feedback_in(core(scope), trace.as_ref().map(Trace::of), score, comment.as_deref(), options)
            .map_err(|error| raise(py, &error))
    }

    fn metric(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, Scope>>,
        trace: Option<&Bound<'_, PyAny>>,
        name: &str,
        options: &str,
    ) -> PyResult<()> {
        let mut given = fields(options)?;
        let value = given.take("value").unwrap_or_default();
        let options = CaptureOptions::read(given).map_err(|error| raise(py, &error))?;
        let trace = trace.map(trace_of).transpose()?;
        self.0
            .metric_in(core(scope), trace.as_ref().map(Trace::of), name, value, options)
            .map_err(|error| raise(py, &error))
    }

    fn headers(&self, scope: Option<&Bound<'_, Scope>>) -> Vec<(&'static str, String)> {
        llmtrail::propagate::headers(core(scope).filter(|_| self.0.config().enabled))
    }

    #[pyo3(signature = (scope, embedding))]
    fn timer(&self, scope: Option<&Bound<'_, Scope>>, embedding: bool) -> Timer {
        Timer(self.0.timer_in(core(scope).cloned(), embedding))
    }
}

enum Trace {
    Scope(llmtrail::Scope),
    Id(String),
}

impl Trace {
    fn of(&self) -> TraceRef<'_> {
        match self {
            Self::Scope(scope) => TraceRef::Scope(scope),
            Self::Id(id) => TraceRef::Id(id),
        }
    }
}

fn trace_of(given: &Bound<'_, PyAny>) -> PyResult<Trace> {
    if let Ok(scope) = given.cast::<Scope>() {
        return Ok(Trace::Scope(scope.get().0.clone()));
    }
    Ok(Trace::Id(given.cast::<PyString>()?.to_str()?.to_owned()))
}

fn core<'a>(scope: Option<&'a Bound<'_, Scope>>) -> Option<&'a llmtrail::Scope> {
    scope.map(|scope| &scope.get().0)
}
