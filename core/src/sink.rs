//! Where events end up.
//!
//! A [`Sink`] takes a batch and says what became of it; it decides nothing. What an [`Outcome`] means for the events (try
//! again, split, give up) is decided in `deliver`, alike for every sink. PostHog and the local store are built in;
//! others are added with [`Options::add_sink`](crate::Options::add_sink). Each sink makes its own progress: one that is
//! away holds up none of the others.

mod gzip;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod posthog;
#[cfg(feature = "store")]
pub(crate) mod store;
mod threaded;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::event::{Lane, WireEvent};

/// A way into a sink, with its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// PostHog's route for LLM analytics. Absent on older and self-hosted servers.
    Ai,
    /// PostHog's route for everything.
    Batch,
    /// A place on this machine, or a sink of the application's: it knows its own limits.
    Local,
}

impl Route {
    /// Bytes of events that one batch aims at. Below the limits, for a full batch is slow to lose and to repeat.
    pub(crate) fn batch_bytes(self) -> usize {
        match self {
            // Some proxies in front of it stop at 983,040 bytes.
            Self::Batch => 900_000,
            Self::Ai | Self::Local => 1 << 20,
        }
    }

    /// Bytes that one event may have.
    pub(crate) fn event_bytes(self) -> usize {
        match self {
            Self::Ai => 8 << 20,
            Self::Batch => 900_000,
            Self::Local => usize::MAX,
        }
    }
}

/// What became of a batch: all of it or none. Texts are for people; they name no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The events are the sink's now.
    Accepted,
    /// At least one event is of a kind that the sink does not take, and so it took none.
    Rejected(String),
    /// More bytes than the sink takes at once.
    TooLarge(String),
    /// This route does not exist there.
    NoRoute(String),
    /// The sink does not know us.
    Denied(String),
    /// It did not work this time: the same events come again.
    Later {
        /// No sooner than this.
        after: Option<Duration>,
        /// What went wrong.
        why: String,
    },
    /// It cannot work before something else changes.
    Closed {
        /// Ask again after this.
        again: Duration,
        /// What has to change.
        why: String,
    },
}

/// A place for events, for others to add.
///
/// It lives on a thread of its own, is made there by the function that [`Options::add_sink`](crate::Options::add_sink)
/// got, and anew in a forked child. Its events are kept in memory until it has them, not in the spool.
///
/// ```
/// use std::time::Duration;
/// use llmtrail::{Outcome, Sink, event::WireEvent};
///
/// struct Lines(std::fs::File);
///
/// impl Sink for Lines {
///     fn send(&mut self, batch: &[WireEvent], _deadline: Duration) -> Outcome {
///         use std::io::Write as _;
///         let lines: Vec<u8> = batch.iter().flat_map(|event| [&event.json[..], b"\n"].concat()).collect();
///         match self.0.write_all(&lines) {
///             Ok(()) => Outcome::Accepted,
///             Err(error) => Outcome::Later { after: None, why: error.to_string() },
///         }
///     }
/// }
/// ```
pub trait Sink {
    /// Takes a batch, all of it or nothing. May block, for no longer than `deadline`; what takes longer counts as failed
    /// and comes again, so events are to be told apart by their `uuid`.
    fn send(&mut self, batch: &[WireEvent], deadline: Duration) -> Outcome;
}

/// A sink to be made, on the thread that it will live on.
#[derive(Clone)]
pub struct MadeSink {
    pub(crate) name: String,
    pub(crate) make: Arc<dyn Fn() -> Box<dyn Sink> + Send + Sync>,
}

impl std::fmt::Debug for MadeSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MadeSink").field(&self.name).finish()
    }
}

/// A batch on its way. Dropping it gives up on the answer, not on the events.
pub(crate) struct Sending {
    pub(crate) answer: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    /// Memory that it takes while it is under way.
    pub(crate) bytes: usize,
}

impl Sending {
    /// An answer that is known at once.
    pub(crate) fn done(outcome: Outcome) -> Self {
        Self { answer: Box::pin(std::future::ready(outcome)), bytes: 0 }
    }
}

/// A sink as the worker sees it: it answers later and has several ways. Lives on the worker's thread and is made there.
pub(crate) trait Carrier: Send {
    /// Where the events go, for people.
    fn place(&self) -> String;

    /// What tells this destination from every other one on disk; `None`: its events are not kept there.
    fn destination(&self) -> Option<String> {
        None
    }

    /// Whether it is the local store.
    fn is_local(&self) -> bool {
        false
    }

    /// The ways that events of a lane can take, best first; never empty.
    fn routes(&self, lane: Lane) -> &'static [Route];

    /// Sends a batch by a route and gives up after `deadline`. Called within the worker's runtime.
    fn send(&mut self, events: &[WireEvent], route: Route, deadline: Duration) -> Sending;
}

/// The sinks that a configuration asks for, the most important one first; never none. Opens nothing yet.
pub(crate) fn of(config: &Config) -> Vec<Box<dyn Carrier>> {
    let mut all: Vec<Box<dyn Carrier>> = Vec::new();
    if let Some(key) = &config.api_key {
        all.push(Box::new(posthog::PostHog::new(&config.host, key.clone(), config.gzip)));
    }
    all.extend(config.sinks.iter().map(|made| Box::new(threaded::Threaded::new(made.clone())) as _));
    if config.local || all.is_empty() {
        all.push(Box::new(Local {
            dir: config.dir.clone(),
            open: None,
            #[cfg(feature = "store")]
            keep: Keep::new(config),
        }));
    }
    all
}

/// Whether events go to the local store, among others.
#[cfg(feature = "store")]
pub(crate) fn writes_store(config: &Config) -> bool {
    config.local || (config.api_key.is_none() && config.sinks.is_empty())
}

/// Where events go, for people: the first sink's place.
pub(crate) fn place(config: &Config) -> String {
    match (&config.api_key, config.sinks.first()) {
        (Some(_), _) => config.host.clone(),
        (None, Some(made)) => made.name.clone(),
        (None, None) => config.dir.display().to_string(),
    }
}

/// The destination of what a configuration keeps in the spool.
pub(crate) fn destination(config: &Config) -> Option<String> {
    config.api_key.as_ref().map(|key| posthog::destination(&config.host, key))
}

/// The local store, opened at the first batch and again after trouble.
struct Local {
    dir: PathBuf,
    #[cfg(feature = "store")]
    open: Option<store::Store>,
    #[cfg(not(feature = "store"))]
    open: Option<std::convert::Infallible>,
    #[cfg(feature = "store")]
    keep: Keep,
}

/// How long the store's events stay.
#[cfg(feature = "store")]
struct Keep {
    age: Option<Duration>,
    bytes: Option<u64>,
    next: std::time::Instant,
}

#[cfg(feature = "store")]
impl Keep {
    fn new(config: &Config) -> Self {
        Self { age: config.store_max_age, bytes: config.store_max_size, next: std::time::Instant::now() }
    }

    /// Removes some of what is too old or too much, now and then. That it did not work is no reason to lose an event.
    fn look(&mut self, store: &mut store::Store) {
        /// So that writes never wait long for it.
        const PATIENCE: Duration = Duration::from_millis(50);
        const PAUSE: Duration = Duration::from_secs(60);
        let now = std::time::Instant::now();
        if (self.age.is_none() && self.bytes.is_none()) || now < self.next {
            return;
        }
        let oldest = self.age.and_then(|age| std::time::SystemTime::now().checked_sub(age));
        let done = store.retain(oldest.map(crate::event::unix_ms), self.bytes, PATIENCE);
        // As long as there is more of it, at every write.
        self.next = if matches!(done, Ok(false)) { now } else { now + PAUSE };
    }
}

impl Local {
    #[cfg(feature = "store")]
    fn write(&mut self, events: &[WireEvent]) -> crate::error::Result<()> {
        let store = match self.open.take() {
            Some(store) => self.open.insert(store),
            None => self.open.insert(store::Store::open(&self.dir)?),
        };
        let done = store.write(events);
        match &done {
            Ok(()) => self.keep.look(store),
            Err(_) => self.open = None,
        }
        done
    }

    #[cfg(not(feature = "store"))]
    fn write(&mut self, _events: &[WireEvent]) -> crate::error::Result<()> {
        let _ = (&self.dir, &self.open);
        Err(crate::error::Error::new(
            crate::error::ErrorKind::Store,
            "no key is set and this build has no local store: set POSTHOG_API_KEY",
        ))
    }
}

impl Carrier for Local {
    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn routes(&self, _lane: Lane) -> &'static [Route] {
        &[Route::Local]
    }

    fn send(&mut self, events: &[WireEvent], _route: Route, _deadline: Duration) -> Sending {
        const AGAIN: Duration = Duration::from_secs(60);
        Sending::done(match self.write(events) {
            Ok(()) => Outcome::Accepted,
            Err(error) => Outcome::Closed { again: AGAIN, why: error.to_string() },
        })
    }
}
