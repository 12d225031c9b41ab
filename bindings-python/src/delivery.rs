//! What became of events, as Python sees it.

use std::collections::BTreeMap;

use pyo3::prelude::*;

/// What was sent, what is pending and what was dropped, by reason. Counts are of events since the client began.
#[pyclass(frozen, get_all, module = "llmtrail")]
pub(crate) struct Report {
    captured: u64,
    delivered: u64,
    pending: u64,
    dropped: BTreeMap<&'static str, u64>,
}

/// How things stand.
#[pyclass(frozen, get_all, module = "llmtrail")]
pub(crate) struct Stats {
    captured: u64,
    delivered: u64,
    pending: u64,
    dropped: BTreeMap<&'static str, u64>,
    queued_bytes: u64,
    sink: String,
    last_error: Option<String>,
    notes: BTreeMap<&'static str, u64>,
}

#[pymethods]
impl Report {
    fn __repr__(&self) -> String {
        let Self { captured, delivered, pending, dropped } = self;
        format!("Report(captured={captured}, delivered={delivered}, pending={pending}, dropped={dropped:?})")
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let Self { captured, delivered, pending, dropped, sink, notes, .. } = self;
        format!(
            "Stats(captured={captured}, delivered={delivered}, pending={pending}, dropped={dropped:?}, \
             sink={sink:?}, notes={notes:?})"
        )
    }
}

impl From<llmtrail::Report> for Report {
    fn from(report: llmtrail::Report) -> Self {
        let llmtrail::Report { captured, delivered, pending, dropped } = report;
        Self { captured, delivered, pending, dropped }
    }
}

impl From<llmtrail::Stats> for Stats {
    fn from(stats: llmtrail::Stats) -> Self {
        let llmtrail::Stats { report, queued_bytes, sink, last_error, notes } = stats;
        let llmtrail::Report { captured, delivered, pending, dropped } = report;
        Self { captured, delivered, pending, dropped, queued_bytes, sink, last_error, notes }
    }
}
