//! What became of events, as Python sees it.

use std::collections::BTreeMap;
use std::time::SystemTime;

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
    spooled: u64,
    spooled_bytes: u64,
    recovered: u64,
    sink: String,
    sinks: Vec<SinkStats>,
    last_error: Option<String>,
    last_success: Option<f64>,
    notes: BTreeMap<&'static str, u64>,
}

/// How one sink does.
#[pyclass(frozen, get_all, module = "llmtrail")]
#[derive(Clone)]
pub(crate) struct SinkStats {
    name: String,
    delivered: u64,
    pending: u64,
    dropped: BTreeMap<&'static str, u64>,
    last_error: Option<String>,
    last_success: Option<f64>,
}

#[pymethods]
impl SinkStats {
    fn __repr__(&self) -> String {
        let Self { name, delivered, pending, dropped, .. } = self;
        format!("SinkStats(name={name:?}, delivered={delivered}, pending={pending}, dropped={dropped:?})")
    }
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
        let llmtrail::Report { captured, delivered, pending, dropped } = stats.report;
        Self {
            captured,
            delivered,
            pending,
            dropped,
            queued_bytes: stats.queued_bytes,
            spooled: stats.spooled,
            spooled_bytes: stats.spooled_bytes,
            recovered: stats.recovered,
            sink: stats.sink,
            sinks: stats.sinks.into_iter().map(Into::into).collect(),
            last_error: stats.last_error,
            last_success: stats.last_success.map(seconds_since_1970),
            notes: stats.notes,
        }
    }
}

impl From<llmtrail::SinkStats> for SinkStats {
    fn from(stats: llmtrail::SinkStats) -> Self {
        let llmtrail::SinkStats { name, delivered, pending, dropped, last_error, last_success } = stats;
        Self { name, delivered, pending, dropped, last_error, last_success: last_success.map(seconds_since_1970) }
    }
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
