//! What a person asks when no events arrive: which SDKs there are, what is observed, where events go, whether the server
//! takes the key, and what was dropped and why. [`Client::doctor`] looks at all of it and says it in one piece.

mod disk;
mod sdks;
mod server;
mod show;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Client;
use crate::config::{Config, Language, SpoolMode, camel};
use crate::event::timestamp;

pub use disk::{Leftovers, Spool};
pub use sdks::{Sdk, Tested, Versions, known};

/// What a language knows of its process, for [`Client::doctor`]. In Rust there is nothing to add: the default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Host {
    /// The interpreter and its version, such as `CPython 3.12.3`.
    pub runtime: Option<String>,
    /// The provider SDKs that are installed.
    pub sdks: Vec<Installed>,
    /// What is observed in this process; `None`: it is not the application's (a command line).
    pub observed: Option<Vec<Observed>>,
}

/// An SDK that is installed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Installed {
    /// Its name in the registry of its language.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Something whose calls are observed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Observed {
    /// A class of clients, such as `openai.OpenAI`, or the HTTP library of an observed process.
    pub what: String,
    /// `wrapped` or `instrumented`.
    pub how: String,
    /// Calls to a provider that were seen by it, its attempts counted one by one.
    pub calls: u64,
}

/// What [`Client::doctor`] found. Its JSON has the same members, in the language's own spelling.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Checkup {
    /// There are no `problems`.
    pub ok: bool,
    /// What keeps events from being recorded or delivered, a sentence each.
    pub problems: Vec<String>,
    /// What is worth knowing and is not wrong.
    pub hints: Vec<String>,
    /// Of llmtrail.
    pub version: &'static str,
    /// `rust`, `python` or `node`.
    pub language: &'static str,
    /// See [`Host::runtime`].
    pub runtime: Option<String>,
    /// False: everything is switched off.
    pub enabled: bool,
    /// The provider SDKs that are installed.
    pub sdks: Vec<Sdk>,
    /// See [`Host::observed`].
    pub observed: Option<Vec<Observed>>,
    /// Where events go, the most important place first.
    pub places: Vec<Place>,
    /// What is kept on disk for the server; absent where there is none.
    pub spool: Option<Spool>,
    /// What became of events since the client began.
    pub delivery: Delivery,
    #[serde(skip)]
    spelling: Language,
}

/// Where events go.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Place {
    /// A server that speaks PostHog's ingestion.
    #[non_exhaustive]
    Server {
        /// Scheme and host.
        host: String,
        /// The first letters of the key.
        key: String,
        /// Whether the server takes the key; `None`: it could not be found out.
        accepts_key: Option<bool>,
        /// What the server said, or why there was no answer.
        answer: String,
    },
    /// The store on this machine.
    #[non_exhaustive]
    Store {
        /// Its file.
        path: String,
        /// Whether it can be written, or made where there is none yet.
        writable: bool,
        /// Its size in bytes; `None`: there is none yet.
        bytes: Option<u64>,
        /// Why it cannot be used.
        trouble: Option<String>,
    },
    /// A sink that the application added.
    #[non_exhaustive]
    Sink {
        /// The name that it was added with.
        name: String,
    },
}

/// What became of events; see [`Stats`](crate::Stats).
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Delivery {
    /// Everything that was handed over.
    pub captured: u64,
    /// Accepted by every place.
    pub delivered: u64,
    /// On the way.
    pub pending: u64,
    /// Lost, by named reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// What was noted while calls were observed, by named reason.
    pub notes: BTreeMap<&'static str, u64>,
    /// The last trouble, in a sentence.
    pub last_error: Option<String>,
    /// When the first place last took something, in RFC 3339.
    pub last_success: Option<String>,
}

impl Client {
    /// Looks at everything that decides whether calls become events, and says what is wrong. With a key set it asks the
    /// server whether it knows that key, waiting at most `timeout`; nothing is captured or sent as an event. Blocks as
    /// long as that takes; starts nothing else.
    ///
    /// ```no_run
    /// # fn main() -> llmtrail::Result<()> {
    /// let trail = llmtrail::Client::from_env()?;
    /// let found = trail.doctor(Default::default(), std::time::Duration::from_secs(5));
    /// println!("{found}");
    /// # assert!(found.ok); Ok(()) }
    /// ```
    pub fn doctor(&self, host: Host, timeout: Duration) -> Checkup {
        let config = self.config();
        let mut checkup = Checkup {
            ok: true,
            problems: config.warnings.clone(),
            hints: Vec::new(),
            version: env!("CARGO_PKG_VERSION"),
            language: config.language.as_str(),
            spelling: config.language,
            runtime: host.runtime,
            enabled: config.enabled,
            sdks: host.sdks.iter().map(|sdk| sdks::look(config.language, sdk, host.observed.as_deref())).collect(),
            observed: host.observed,
            places: places(config, timeout),
            spool: disk::spool(config),
            delivery: delivery(&self.stats()),
        };
        checkup.judge(config);
        checkup
    }
}

impl Checkup {
    /// All of it, for programs; with camel case where the language has that.
    pub fn to_json(&self) -> Value {
        let json = serde_json::to_value(self).unwrap_or_default();
        if self.spelling == Language::Node { in_camel(json) } else { json }
    }

    fn judge(&mut self, config: &Config) {
        if !self.enabled {
            self.hints.push("llmtrail is switched off (LLMTRAIL_ENABLED, or the option): nothing is recorded.".into());
        }
        for place in &self.places {
            match place {
                Place::Server { host, key, accepts_key, answer } => match accepts_key {
                    Some(true) => {}
                    Some(false) => self.problems.push(format!(
                        "{host} does not take the key {key}: {answer}. It is the project's key that is needed \
                         (POSTHOG_API_KEY), and the server of the same region (POSTHOG_HOST)."
                    )),
                    None => self.problems.push(format!("whether {host} takes the key is not known: {answer}.")),
                },
                Place::Store { path, trouble: Some(trouble), .. } => {
                    self.problems.push(format!("the local store {path} cannot be used: {trouble}."));
                }
                Place::Store { .. } | Place::Sink { .. } => {}
            }
        }
        if let Some(spool) = &self.spool {
            let path = &spool.path;
            if let Some(trouble) = spool.trouble.as_ref().filter(|_| spool.mode != "off") {
                self.problems.push(format!(
                    "the spool in {path} cannot be written: {trouble}. What cannot be sent is kept in memory only."
                ));
            }
            if spool.waiting.files > 0 {
                self.hints
                    .push(format!("events of earlier processes wait in {path}: the next capture or flush sends them."));
            }
            if spool.rejected.files > 0 {
                self.hints.push(format!("what the server rejected is written down in {path}/dead-letters."));
            }
            if spool.damaged.files > 0 {
                self.hints.push(format!("parts of the spool that were damaged are in {path}/quarantine."));
            }
        }
        for (reason, count) in &self.delivery.dropped {
            let wanted = matches!(*reason, "sampled" | "hook");
            let list = if wanted { &mut self.hints } else { &mut self.problems };
            list.push(format!("{count} events were dropped: {reason} ({}).", why(reason)));
        }
        if let Some(error) = self.delivery.last_error.as_ref().filter(|_| self.delivery.pending > 0) {
            self.problems.push(format!("{} events wait: {error}.", self.delivery.pending));
        }
        if config.spool == SpoolMode::Off && config.api_key.is_some() {
            self.hints.push("the spool is off: what is not sent when the process ends is lost.".into());
        }
        self.judge_sdks();
        self.ok = self.problems.is_empty();
    }

    fn judge_sdks(&mut self) {
        for sdk in &self.sdks {
            let Sdk { name, version, tested, .. } = sdk;
            match (tested, &sdk.tested_versions) {
                (Tested::Newer, Some(range)) => self.hints.push(format!(
                    "{name} {version} is newer than what was tested ({}); it is observed all the same.",
                    range.newest
                )),
                (Tested::Older, Some(range)) => self
                    .hints
                    .push(format!("{name} {version} is older than what was tested ({} and newer).", range.oldest)),
                _ => {}
            }
        }
        if let Some(observed) = &self.observed {
            if observed.is_empty() && self.enabled {
                self.hints.push(
                    "nothing is observed in this process: wrap(client) observes one client, instrument() all.".into(),
                );
            }
            for unseen in observed.iter().filter(|one| one.calls == 0) {
                self.hints.push(format!("{} is {} and no call of it was seen so far.", unseen.what, unseen.how));
            }
        }
    }
}

/// What a reason for a drop means.
fn why(reason: &str) -> &'static str {
    match reason {
        "overflow" => "no room in memory and on disk",
        "too_big" => "larger than the server takes",
        "rejected" => "the server does not want them; they are in dead-letters",
        "expired" => "a week in the spool",
        "corrupt" => "the spool was damaged",
        "sampled" => "of traces that sample_rate leaves out",
        "hook" => "before_send did not give them back, or failed",
        "shutdown" => "not sent before the shutdown, or captured after it",
        _ => "a fault of llmtrail's",
    }
}

fn places(config: &Config, timeout: Duration) -> Vec<Place> {
    let server = config.api_key.as_ref().map(|key| server::ask(&config.host, key, timeout));
    let sinks = config.sinks.iter().map(|made| Place::Sink { name: made.name.clone() });
    let mut all: Vec<Place> = server.into_iter().chain(sinks).collect();
    if config.local || all.is_empty() {
        all.push(disk::store(config));
    }
    all
}

fn delivery(stats: &crate::Stats) -> Delivery {
    Delivery {
        captured: stats.report.captured,
        delivered: stats.report.delivered,
        pending: stats.report.pending,
        dropped: stats.report.dropped.clone(),
        notes: stats.notes.clone(),
        last_error: stats.last_error.clone(),
        last_success: stats.last_success.map(|at: SystemTime| timestamp(at)),
    }
}

/// The same with the names of members in camel case; reasons are no names of members.
fn in_camel(json: Value) -> Value {
    const BY_REASON: [&str; 2] = ["dropped", "notes"];
    match json {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let value = if BY_REASON.contains(&name.as_str()) { value } else { in_camel(value) };
                (camel(&name), value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(in_camel).collect(),
        other => other,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
