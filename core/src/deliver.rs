//! Delivery: the bounded queue, the one worker thread, batches, retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::event::WireEvent;

/// What was sent, what is pending and what was dropped, by reason, at the end of a flush. All counts are of events
/// since the client began, so that captured = delivered + pending + dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything that was handed over.
    pub captured: u64,
    /// Accepted by the sink.
    pub delivered: u64,
    /// Still on the way.
    pub pending: u64,
    /// Lost, by named reason: `overflow`, `too_big`, `rejected`, `expired`, `corrupt`, `hook`, `panic`.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The counts.
    pub report: Report,
    /// Bytes queued in memory.
    pub queued_bytes: u64,
    /// Where events go: the server's host or the store's path.
    pub sink: String,
    /// The last trouble, in a sentence.
    pub last_error: Option<String>,
    /// Notes on what was observed, by named reason (`unknown_format`, `bad_properties`, ...).
    pub notes: BTreeMap<&'static str, u64>,
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
    /// Gives out everything that is held back: a flush or the end.
    fn drain(&mut self, out: &mut Vec<WireEvent>);
    /// Events that are held back.
    fn held(&self) -> usize;
}

/// A client's delivery in one process. The worker thread starts at the first [`Delivery::offer`].
pub(crate) struct Delivery<S: Stage> {
    _stage: std::marker::PhantomData<fn(S)>,
}

impl<S: Stage> Delivery<S> {
    pub(crate) fn new(_config: Arc<Config>, _stage: S) -> Self {
        Self { _stage: std::marker::PhantomData }
    }

    /// Hands over an input of a size in bytes. Never blocks on anything slow; false when it was refused and counted.
    pub(crate) fn offer(&self, _input: S::Input, _size: usize) -> bool {
        false
    }

    /// Waits until everything offered so far went through the stage, at most this long. True when it did.
    pub(crate) fn settle(&self, _timeout: Duration) -> bool {
        true
    }

    /// Sends everything there is, at most this long.
    pub(crate) fn flush(&self, _timeout: Duration) -> Report {
        Report::default()
    }

    /// Flushes and ends the worker. Later offers are refused and counted.
    pub(crate) fn shutdown(&self, _timeout: Duration) -> Report {
        Report::default()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats::default()
    }
}
