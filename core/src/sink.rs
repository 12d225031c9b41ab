//! Where events end up.
//!
//! A sink takes a batch and says what became of it; it decides nothing. What an [`Outcome`] means for the events (try
//! again, split, give up) is decided in `deliver`, alike for every sink.

#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod posthog;
#[cfg(feature = "store")]
pub(crate) mod store;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
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
    /// A place on this machine.
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

/// What became of a batch. Texts are for people; they name no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
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
    /// It did not work this time; never sooner than `after`.
    Later { after: Option<Duration>, why: String },
    /// It cannot work before something else changes: ask again then.
    Closed { again: Duration, why: String },
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

/// A place for events. Lives on the worker's thread and is made there.
pub(crate) trait Sink: Send {
    /// The ways that events of a lane can take, best first; never empty.
    fn routes(&self, lane: Lane) -> &'static [Route];

    /// Sends a batch by a route and gives up after `deadline`. Called within the worker's runtime.
    fn send(&mut self, events: &[WireEvent], route: Route, deadline: Duration) -> Sending;
}

/// The sink that a configuration asks for. Opens nothing yet.
pub(crate) fn of(config: &Config) -> Box<dyn Sink> {
    if let Some(key) = &config.api_key {
        return Box::new(posthog::PostHog::new(&config.host, key.clone(), config.gzip));
    }
    Box::new(Local {
        dir: config.dir.clone(),
        open: None,
        #[cfg(feature = "store")]
        keep: Keep::new(config),
    })
}

/// Where events go, for people: the host or the store's folder.
pub(crate) fn place(config: &Config) -> String {
    if config.api_key.is_some() { config.host.clone() } else { config.dir.display().to_string() }
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

impl Sink for Local {
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
