//! What waits, off the event loop; and what became of events.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use llmtrail::Client;
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::convert::number;

/// What was sent, what is pending and what was dropped, by reason. Counts are of events since the client began.
#[napi(object)]
pub struct Report {
    /// Everything that was handed over.
    pub captured: i64,
    /// Accepted by the sink.
    pub delivered: i64,
    /// Still on the way.
    pub pending: i64,
    /// Lost, by named reason.
    pub dropped: HashMap<String, i64>,
}

/// How things stand.
#[napi(object)]
pub struct Stats {
    /// See [`Report`].
    pub captured: i64,
    /// See [`Report`].
    pub delivered: i64,
    /// See [`Report`].
    pub pending: i64,
    /// See [`Report`].
    pub dropped: HashMap<String, i64>,
    /// Bytes queued in memory.
    pub queued_bytes: i64,
    /// Events in this process's part of the spool.
    pub spooled: i64,
    /// Bytes of it.
    pub spooled_bytes: i64,
    /// Events that were found in the spool of processes that ended.
    pub recovered: i64,
    /// Where events go.
    pub sink: String,
    /// How each sink does.
    pub sinks: Vec<SinkStats>,
    /// The last trouble, in a sentence.
    pub last_error: Option<String>,
    /// When the first sink last took something, in milliseconds since 1970.
    pub last_success: Option<f64>,
    /// Notes on what was observed, by named reason.
    pub notes: HashMap<String, i64>,
}

/// How one sink does.
#[napi(object)]
pub struct SinkStats {
    /// What it is called.
    pub name: String,
    /// See [`Report`].
    pub delivered: i64,
    /// See [`Report`].
    pub pending: i64,
    /// See [`Report`].
    pub dropped: HashMap<String, i64>,
    /// Its last trouble, in a sentence.
    pub last_error: Option<String>,
    /// When it last took something, in milliseconds since 1970.
    pub last_success: Option<f64>,
}

/// What the calls in a scope used and cost.
#[napi(object)]
pub struct Totals {
    /// Number of generations and embeddings.
    pub calls: i64,
    /// Those whose cost is not known.
    pub unpriced: i64,
    /// The sum of the known costs.
    pub cost_usd: Option<f64>,
    /// Units by bucket.
    pub usage: HashMap<String, i64>,
}

fn counts<'a>(of: impl IntoIterator<Item = (&'a &'static str, &'a u64)>) -> HashMap<String, i64> {
    of.into_iter().map(|(name, count)| ((*name).to_owned(), number(*count))).collect()
}

impl From<llmtrail::Report> for Report {
    fn from(report: llmtrail::Report) -> Self {
        Self {
            captured: number(report.captured),
            delivered: number(report.delivered),
            pending: number(report.pending),
            dropped: counts(&report.dropped),
        }
    }
}

impl From<llmtrail::Stats> for Stats {
    fn from(stats: llmtrail::Stats) -> Self {
        let Report { captured, delivered, pending, dropped } = stats.report.into();
        Self {
            captured,
            delivered,
            pending,
            dropped,
            queued_bytes: number(stats.queued_bytes),
            spooled: number(stats.spooled),
            spooled_bytes: number(stats.spooled_bytes),
            recovered: number(stats.recovered),
            sink: stats.sink,
            sinks: stats.sinks.into_iter().map(Into::into).collect(),
            last_error: stats.last_error,
            last_success: stats.last_success.map(millis_since_1970),
            notes: counts(&stats.notes),
        }
    }
}

impl From<llmtrail::SinkStats> for SinkStats {
    fn from(stats: llmtrail::SinkStats) -> Self {
        Self {
            name: stats.name,
            delivered: number(stats.delivered),
            pending: number(stats.pending),
            dropped: counts(&stats.dropped),
            last_error: stats.last_error,
            last_success: stats.last_success.map(millis_since_1970),
        }
    }
}

fn millis_since_1970(time: SystemTime) -> f64 {
    (time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3).round()
}

/// A flush, or a shutdown, on a thread of Node's pool.
pub struct Flush {
    pub(crate) client: Client,
    pub(crate) timeout: Duration,
    pub(crate) last: bool,
}

impl Task for Flush {
    type Output = llmtrail::Report;
    type JsValue = Report;

    fn compute(&mut self) -> Result<Self::Output> {
        Ok(if self.last { self.client.shutdown(self.timeout) } else { self.client.flush(self.timeout) })
    }

    fn resolve(&mut self, _env: Env, report: Self::Output) -> Result<Report> {
        Ok(report.into())
    }
}

/// Whose totals are asked for.
pub enum Whose {
    /// Those of a scope.
    Scope(llmtrail::Scope),
    /// Those of all that has an id.
    Of(llmtrail::TotalsOf),
}

/// A wait until what was observed is decoded, on a thread of Node's pool.
pub struct Settle {
    pub(crate) client: Client,
    pub(crate) whose: Whose,
    pub(crate) timeout: Duration,
}

impl Task for Settle {
    type Output = llmtrail::context::Totals;
    type JsValue = Totals;

    fn compute(&mut self) -> Result<Self::Output> {
        Ok(match &self.whose {
            Whose::Scope(scope) => self.client.totals(scope, self.timeout),
            Whose::Of(whose) => self.client.totals_of(whose, self.timeout),
        })
    }

    fn resolve(&mut self, _env: Env, totals: Self::Output) -> Result<Totals> {
        Ok(Totals {
            calls: number(totals.calls),
            unpriced: number(totals.unpriced),
            cost_usd: totals.cost_usd(),
            usage: totals.usage.buckets().map(|(bucket, units)| (bucket.to_owned(), number(units))).collect(),
        })
    }
}

/// A checkup, on a thread of Node's pool: it asks the server.
pub struct Doctor {
    pub(crate) client: Client,
    pub(crate) host: Option<llmtrail::doctor::Host>,
    pub(crate) timeout: Duration,
}

/// What was found.
#[napi(object)]
pub struct Checkup {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: String,
}

impl Task for Doctor {
    type Output = Checkup;
    type JsValue = Checkup;

    fn compute(&mut self) -> Result<Checkup> {
        let found = self.client.doctor(self.host.take().unwrap_or_default(), self.timeout);
        Ok(Checkup { text: found.to_string(), json: found.to_json().to_string() })
    }

    fn resolve(&mut self, _env: Env, found: Checkup) -> Result<Checkup> {
        Ok(found)
    }
}
