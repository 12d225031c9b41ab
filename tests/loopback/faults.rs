//! Faults of the ingestion side, on demand.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

/// Which of PostHog's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Route {
    Ai,
    Batch,
    All,
}

impl Route {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ai => "ai",
            Self::Batch => "batch",
            Self::All => "all",
        }
    }
}

/// A fault as it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "all")]
    route: Route,
    /// The status to answer with.
    status: Option<u16>,
    /// So many requests; all of them when absent.
    times: Option<u32>,
    /// For so long after it was asked for.
    for_ms: Option<u64>,
    /// The header, seconds or a date.
    retry_after: Option<Value>,
    /// The header, for redirects.
    location: Option<String>,
    /// The body; one that begins with `<` is HTML.
    body: Option<String>,
    /// Waits before it goes on. Alone, that is all it does.
    delay_ms: Option<u64>,
    /// Takes the events, then resets the connection without a response.
    #[serde(default)]
    reset: bool,
    /// Whether the events count as taken all the same. Default: only with `reset`.
    accept: Option<bool>,
    /// Only batches with more events than this (413).
    max_events: Option<usize>,
    /// Only batches that contain this text (400).
    poison: Option<String>,
    /// The route is not there (404).
    #[serde(default)]
    absent: bool,
}

fn all() -> Route {
    Route::All
}

/// A fault in force.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    asked: Asked,
    until: Option<Instant>,
    left: Option<u32>,
    shown: u32,
}

/// What a request meets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    pub(crate) accept: bool,
    pub(crate) outcome: Option<Outcome>,
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Reset,
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
}

impl Fault {
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let asked = Asked::deserialize(value).map_err(|error| error.to_string())?;
        if asked.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err("status: expected 200 to 599".to_owned());
        }
        Ok(Self {
            until: asked.for_ms.map(|ms| Instant::now() + Duration::from_millis(ms)),
            left: asked.times,
            shown: 0,
            asked,
        })
    }

    pub(crate) fn describe(&self) -> Value {
        json!({"route": self.asked.route.name(), "left": self.left, "shown": self.shown, "over": self.is_over()})
    }

    fn is_over(&self) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn strikes(&self, route: Route, events: usize, body: &str) -> bool {
        let asked = &self.asked;
        !self.is_over()
            && (asked.route == Route::All || asked.route == route)
            && asked.max_events.is_none_or(|most| events > most)
            && asked.poison.as_ref().is_none_or(|poison| body.contains(poison.as_str()))
    }

    fn outcome(&self) -> Option<Outcome> {
        let asked = &self.asked;
        if asked.reset {
            return Some(Outcome::Reset);
        }
        let status = asked.status.or_else(|| {
            if asked.absent {
                Some(404)
            } else if asked.poison.is_some() {
                Some(400)
            } else if asked.max_events.is_some() {
                Some(413)
            } else {
                asked.body.as_ref().map(|_| 200)
            }
        })?;
        let body = asked.body.clone().unwrap_or_else(|| match status {
            200..=299 => r#"{"status":1}"#.to_owned(),
            _ => {
                json!({"type": "server_error", "code": status.to_string(), "detail": "asked for by a test"}).to_string()
            }
        });
        let kind = if body.trim_start().starts_with('<') { "text/html" } else { "application/json" };
        let mut headers = vec![("content-type", kind.to_owned())];
        if let Some(after) = &asked.retry_after {
            headers.push(("retry-after", after.as_str().map_or_else(|| after.to_string(), str::to_owned)));
        }
        if let Some(location) = &asked.location {
            headers.push(("location", location.clone()));
        }
        Some(Outcome::Answer { status, headers, body })
    }
}

/// What the faults in force do to a batch. Waits add up; the first that answers decides.
pub(crate) fn judge(faults: &mut [Fault], route: Route, events: usize, body: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for fault in faults {
        if !fault.strikes(route, events, body) {
            continue;
        }
        fault.shown += 1;
        if let Some(left) = &mut fault.left {
            *left -= 1;
        }
        verdict.delay += Duration::from_millis(fault.asked.delay_ms.unwrap_or_default().min(60_000));
        verdict.outcome = fault.outcome();
        if verdict.outcome.is_some() {
            verdict.accept = fault.asked.accept.unwrap_or(fault.asked.reset);
            break;
        }
    }
    verdict
}
