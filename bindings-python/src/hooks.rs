//! Hooks of the application's, run by a thread of Python's: this is where it gets its work.

use bytes::Bytes;
use llmtrail::{HookDesk, HookWork, Language, Verdict};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::seconds;

type Work<'py> =
    (Vec<(u64, Vec<(String, String)>)>, Vec<(u64, Bound<'py, PyBytes>)>, Vec<String>, Vec<(&'static str, String)>);

/// Where texts wait for `redact`, events for `before_send`, calls that are over for `on_generation`, and trouble for
/// `on_error`.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Hooks(pub(crate) HookDesk);

#[pymethods]
impl Hooks {
    /// Texts with their paths by number, events by number, as JSON, calls as JSON, and trouble as code and sentence; after `timeout` seconds nothing. `None` at the end.
    fn take<'py>(&self, py: Python<'py>, timeout: f64) -> Option<Work<'py>> {
        let HookWork { texts, events, generations, notices } = py.detach(|| self.0.take(seconds(timeout)))?;
        let events = events.iter().map(|(number, json)| (*number, PyBytes::new(py, json))).collect();
        let pairs = |texts: Vec<llmtrail::event::Text>| texts.into_iter().map(|text| (text.text, text.path)).collect();
        let texts = texts.into_iter().map(|(number, texts)| (number, pairs(texts))).collect();
        let calls = generations.iter().map(|call| call.to_json(Language::Python).to_string()).collect();
        Some((texts, events, calls, notices.into_iter().map(|notice| (notice.code, notice.message)).collect()))
    }

    /// These texts stand in the place of those that were asked about; None: `redact` failed on it, for the reason `why`.
    fn redacted(&self, number: u64, texts: Vec<Option<String>>, why: Option<String>) {
        self.0.give([(number, Verdict::Texts(texts, why))]);
    }

    /// So many calls were told of; on `failed` of them the hook failed.
    fn told(&self, count: u64, failed: u64) {
        self.0.told(count, failed);
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
