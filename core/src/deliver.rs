//! Delivery: the bounded queue, the one worker thread, batches, retries.
//!
//! Callers put inputs into the queue and go on. The worker (one thread, started at the first input) runs them through a
//! [`Stage`], puts the events that come out into the lanes of each sink, and sends batches. What to do about a sink's
//! answers is decided in `lane`, and what is on disk in `shelf`; both are pure. Files are touched in `spool` alone.

pub(crate) mod hook;
mod hooked;
mod keeper;
mod lane;
pub(crate) mod notice;
mod outlet;
mod queue;
mod retry;
mod shelf;
mod shorten;
pub(crate) mod spool;
#[cfg(feature = "stages")]
pub(crate) mod stages;
mod tally;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::event::WireEvent;
use crate::finished::FinishedCall;
use crate::sink::{self, Carrier};
use hook::HookDesk;
use queue::{Flush, Life, Shared};

/// What was sent, what is pending and what was dropped, by reason, at the end of a flush. All counts are of events
/// since the client began, so that captured = delivered + pending + dropped. What was handed over and is not decoded
/// yet counts as one event; it may turn out to be none (an attempt that was repeated) or several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything that was handed over, and what was found in the spool of processes that ended.
    pub captured: u64,
    /// Accepted by every sink.
    pub delivered: u64,
    /// Still on the way. After a shutdown: in the spool, for the next process.
    pub pending: u64,
    /// Lost, by named reason: `overflow` (no room in memory and on disk), `too_big`, `rejected`, `expired` (a week in the
    /// spool), `corrupt` (the spool was damaged), `hook`, `sampled`, `panic`, and `shutdown` for what was left at a shutdown and
    /// could not be spooled, or came after it.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The counts.
    pub report: Report,
    /// Bytes queued in memory; a batch that is being sent takes its packed size beyond that.
    pub queued_bytes: u64,
    /// Events in this process's part of the spool; they are pending.
    pub spooled: u64,
    /// Bytes of it.
    pub spooled_bytes: u64,
    /// Events of `captured` that were found in the spool of processes that ended.
    pub recovered: u64,
    /// Where events go: the server's host or the store's path; the first, if there are several.
    pub sink: String,
    /// How each sink does; empty until the first event.
    pub sinks: Vec<SinkStats>,
    /// The last trouble, in a sentence.
    pub last_error: Option<String>,
    /// When the first sink last took something.
    pub last_success: Option<SystemTime>,
    /// Notes on what was observed, by named reason (`unknown_format`, `bad_properties`, ...).
    pub notes: BTreeMap<&'static str, u64>,
}

/// How one sink does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// The server's host, the store's path, or the name that it was added with.
    pub name: String,
    /// Events that it took.
    pub delivered: u64,
    /// Events on the way to it.
    pub pending: u64,
    /// Events that it did not get, by named reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Its last trouble, in a sentence.
    pub last_error: Option<String>,
    /// When it last took something.
    pub last_success: Option<SystemTime>,
}

/// What the worker does with an input before delivery: decoding, pricing, encoding. Runs on the worker's thread.
pub(crate) trait Stage: Send + 'static {
    /// What is handed over by callers.
    type Input: Send + 'static;
    /// Turns one input into the events that are due now.
    fn process(&mut self, input: Self::Input, out: &mut Vec<WireEvent>);
    /// Gives out what has waited long enough. Called when [`Stage::wakes_in`] has passed.
    fn tick(&mut self, out: &mut Vec<WireEvent>);
    /// How long until something that is held back is due.
    fn wakes_in(&self) -> Option<Duration>;
    /// Gives out what is held back: at a flush what the caller may wait for, at the end (`last`) everything.
    fn drain(&mut self, last: bool, out: &mut Vec<WireEvent>);
    /// Events that were left out on purpose, by sampling, since this was asked last.
    fn left_out(&mut self) -> u64 {
        0
    }
    /// Calls that are over, since this was asked last.
    fn finished(&mut self) -> Vec<FinishedCall> {
        Vec::new()
    }
    /// Events that are held back.
    fn held(&self) -> usize;
}

/// How long the last handle's `Drop` may block.
const DROP_DEADLINE: Duration = Duration::from_secs(2);
/// How much longer a shutdown may take to write to the spool what could not be sent.
const SAVING: Duration = Duration::from_millis(500);

/// A client's delivery in one process. The worker thread starts at the first [`Delivery::offer`].
pub(crate) struct Delivery<S: Stage> {
    shared: Arc<Shared<S>>,
    pid: u32,
}

impl<S: Stage> Delivery<S> {
    pub(crate) fn new(config: Arc<Config>, stage: S) -> Self {
        Self::build(config, stage, Vec::new())
    }

    #[cfg(test)]
    pub(crate) fn with_sink(config: Arc<Config>, stage: S, sink: impl Carrier + 'static) -> Self {
        Self::build(config, stage, vec![Box::new(sink)])
    }

    fn build(config: Arc<Config>, stage: S, sinks: Vec<Box<dyn Carrier>>) -> Self {
        Self { shared: Arc::new(Shared::new(config, stage, sinks)), pid: std::process::id() }
    }

    /// Where events wait for the application's hooks, if it has any.
    pub(crate) fn desk(&self) -> Option<HookDesk> {
        self.shared.desk.clone()
    }

    /// Hands over an input of a size in bytes. Never blocks on anything slow; false when it was refused and counted.
    pub(crate) fn offer(&self, input: S::Input, size: usize) -> bool {
        let mut state = self.shared.state();
        if state.closing.is_some() || state.life == Life::Ended {
            let reason = if state.closing.is_some() { "shutdown" } else { "panic" };
            state.books.refuse(reason);
            // A refused input may be large: it is freed outside the lock.
            drop(state);
            return false;
        }
        if !state.books.offer(size, self.shared.config.max_memory) {
            drop(state);
            return false;
        }
        // The worker empties the queue before it sleeps, so only the first input has to wake it, and not even that one
        // while the worker naps: waking a thread costs the caller more than everything else here.
        let wake = state.inputs.is_empty() && !state.napping;
        state.inputs.push_back((input, size));
        state.offered += 1;
        let unborn = state.life == Life::Unborn;
        drop(state);
        if unborn {
            self.start();
        } else if wake {
            self.shared.wake.notify_one();
        }
        true
    }

    /// Starts the worker, unless that failed a moment ago.
    fn start(&self) {
        let mut state = self.shared.state();
        if state.life != Life::Unborn || state.start_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        state.life = Life::Running;
        drop(state);
        let shared = Arc::clone(&self.shared);
        // Never joined: after a fork a handle looks alive, and joining it hangs or panics.
        let started = std::thread::Builder::new().name("llmtrail".to_owned()).spawn(move || worker::live(&shared));
        if let Err(error) = started {
            self.shared.not_started(&error);
        }
    }

    /// Waits until everything offered so far went through the stage, at most this long. True when it did.
    pub(crate) fn settle(&self, timeout: Duration) -> bool {
        let offered = self.shared.state().offered;
        self.shared.wake.notify_one();
        self.shared.wait(deadline(timeout), |state| state.processed >= offered || state.life != Life::Running)
            && self.shared.state().processed >= offered
    }

    /// Sends everything there is, at most this long; also what processes that ended left in the spool.
    pub(crate) fn flush(&self, timeout: Duration) -> Report {
        let deadline = deadline(timeout);
        let done = Arc::new(AtomicBool::new(false));
        let mut state = self.shared.state();
        if state.life == Life::Unborn && (!state.inputs.is_empty() || has_heritage(&self.shared.config)) {
            drop(state);
            self.start();
            state = self.shared.state();
        }
        if state.life == Life::Running {
            let offered = state.offered;
            state.flushes.push(Flush { offered, deadline, done: Arc::clone(&done) });
            drop(state);
            self.shared.wake.notify_one();
            self.shared.wait(deadline, |state| done.load(Ordering::Acquire) || state.life != Life::Running);
            state = self.shared.state();
        }
        state.books.report()
    }

    /// Flushes and ends the worker. Later offers are refused and counted.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Report {
        let until = deadline(timeout);
        let mut state = self.shared.state();
        let offered = state.offered;
        state.closing.get_or_insert(until);
        match state.life {
            Life::Running => {
                let done = Arc::default();
                state.flushes.push(Flush { offered, deadline: until, done });
                drop(state);
                self.shared.wake.notify_one();
                // Who is about to write down what is left is given the time for it.
                if !self.shared.wait(until, |state| state.life != Life::Running) {
                    self.shared.wait(until + SAVING, |state| state.life != Life::Running || !state.saving);
                }
                state = self.shared.state();
            }
            Life::Unborn => {
                state.life = Life::Ended;
                state.books.give_up_all("shutdown", 0);
                let inputs = std::mem::take(&mut state.inputs);
                drop(state);
                if let Some(desk) = &self.shared.desk {
                    desk.close();
                }
                drop(inputs);
                state = self.shared.state();
            }
            Life::Ended => {}
        }
        state.books.report()
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.shared.state();
        Stats {
            report: state.books.report(),
            queued_bytes: state.books.queued() as u64,
            spooled: state.spooled.1 as u64,
            spooled_bytes: state.spooled.0,
            recovered: state.books.recovered(),
            sink: sink::place(&self.shared.config),
            sinks: state.sinks.clone(),
            last_error: state.last_error.clone(),
            last_success: state.sinks.first().and_then(|sink| sink.last_success),
            notes: self.shared.desk.as_ref().map(HookDesk::notes).unwrap_or_default(),
        }
    }
}

impl<S: Stage> Drop for Delivery<S> {
    fn drop(&mut self) {
        // In a forked child neither the thread nor the holders of the locks exist.
        if self.pid == std::process::id() {
            self.shutdown(DROP_DEADLINE);
        }
    }
}

/// Whether processes that ended may have left something to be sent.
pub(crate) fn has_heritage(config: &Config) -> bool {
    sink::destination(config).is_some_and(|destination| keeper::may_find(config, &destination))
}

/// A far future instead of an overflow.
fn deadline(timeout: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + timeout.min(FAR)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
