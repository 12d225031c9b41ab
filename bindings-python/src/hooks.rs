//! Hooks of the application's, run by a thread of Python's: this is where it gets its work.

use bytes::Bytes;
use llmtrail::{HookDesk, HookWork, Verdict};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::seconds;

type Work<'py> = (Vec<(u64, Bound<'py, PyBytes>)>, Vec<(&'static str, String)>);

/// Where events wait for `before_send`, and trouble for `on_error`.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Hooks(pub(crate) HookDesk);

#[pymethods]
impl Hooks {
    /// Events by number, as JSON, and trouble as code and sentence; after `timeout` seconds nothing. `None` at the end.
    fn take<'py>(&self, py: Python<'py>, timeout: f64) -> Option<Work<'py>> {
        let HookWork { events, notices } = py.detach(|| self.0.take(seconds(timeout)))?;
        let events = events.iter().map(|(number, json)| (*number, PyBytes::new(py, json))).collect();
        Some((events, notices.into_iter().map(|notice| (notice.code, notice.message)).collect()))
    }

    /// The event goes on, as this JSON.
    fn send(&self, number: u64, json: &str) {
        self.0.give([(number, Verdict::Send(Bytes::copy_from_slice(json.as_bytes())))]);
    }

    /// The event is not to be sent.
    fn drop(&self, number: u64) {
        self.0.give([(number, Verdict::Drop)]);
    }

    /// The hook failed.
    fn fail(&self, number: u64, why: String) {
        self.0.give([(number, Verdict::Failed(why))]);
    }
}
