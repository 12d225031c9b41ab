//! What callers and the worker share: the inputs, the books, and the requests to hurry.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::hook::HookDesk;
use super::tally::End;
use super::{Report, SinkStats, Stage, lane};
use crate::config::Config;
use crate::event::WireEvent;
use crate::sink::Carrier;

/// Memory that an input takes beside its size.
const OVERHEAD: usize = 64;

/// One for a delivery; callers hold it briefly and never while anything slow happens.
pub(crate) struct Shared<S: Stage> {
    pub(crate) config: Arc<Config>,
    state: Mutex<State<S>>,
    /// Told when something that a caller may wait for has happened.
    pub(crate) changed: Condvar,
    /// Told when the worker has something to do.
    pub(crate) wake: Arc<Notify>,
    /// Where events wait for the application's hooks, if it has any.
    pub(crate) desk: Option<HookDesk>,
}

pub(crate) struct State<S: Stage> {
    pub(crate) inputs: VecDeque<(S::Input, usize)>,
    pub(crate) books: Books,
    pub(crate) life: Life,
    /// The worker had work a moment ago and looks again by itself.
    pub(crate) napping: bool,
    /// What the worker's thread takes with it when it starts.
    pub(crate) luggage: Option<(S, Vec<Box<dyn Carrier>>)>,
    /// When a thread that could not be started may be tried again.
    pub(crate) start_after: Option<Instant>,
    /// Inputs that were taken in, and how many of them went through the stage.
    pub(crate) offered: u64,
    pub(crate) processed: u64,
    pub(crate) flushes: Vec<Flush>,
    /// Set by a shutdown: nothing more is taken in, and the worker ends by then.
    pub(crate) closing: Option<Instant>,
    /// The worker writes down what is left, and is to be waited for a moment longer.
    pub(crate) saving: bool,
    pub(crate) last_error: Option<String>,
    /// Each sink's own account; empty until the worker has begun.
    pub(crate) sinks: Vec<SinkStats>,
    /// Bytes and events on disk.
    pub(crate) spooled: (u64, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// No worker yet.
    Unborn,
    Running,
    Ended,
}

/// Somebody waits for everything that was offered so far.
pub(crate) struct Flush {
    pub(crate) offered: u64,
    pub(crate) deadline: Instant,
    pub(crate) done: Arc<AtomicBool>,
}

impl<S: Stage> Shared<S> {
    pub(crate) fn new(config: Arc<Config>, stage: S, sinks: Vec<Box<dyn Carrier>>) -> Self {
        let state = State {
            inputs: VecDeque::new(),
            books: Books::default(),
            life: Life::Unborn,
            napping: false,
            luggage: Some((stage, sinks)),
            start_after: None,
            offered: 0,
            processed: 0,
            flushes: Vec::new(),
            closing: None,
            saving: false,
            last_error: None,
            sinks: Vec::new(),
            spooled: (0, 0),
        };
        let wake = Arc::new(Notify::new());
        let desk = HookDesk::new(&config.hooks, &wake);
        Self { config, state: Mutex::new(state), changed: Condvar::new(), wake, desk }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker could not be started. Inputs wait (and are counted when there is no more room), and it is tried again
    /// with a later one.
    pub(crate) fn not_started(&self, error: &std::io::Error) {
        const AGAIN: Duration = Duration::from_secs(1);
        let why = format!("the worker cannot be started: {error}");
        let mut state = self.state();
        state.life = Life::Unborn;
        let first = state.start_after.replace(Instant::now() + AGAIN).is_none();
        let line = format!("nothing is sent yet: {why}");
        state.last_error = Some(why);
        drop(state);
        self.changed.notify_all();
        if first {
            super::notice::line(&line);
        }
    }

    /// Waits until something holds, at most until then. Says whether it holds.
    pub(crate) fn wait(&self, deadline: Instant, mut holds: impl FnMut(&State<S>) -> bool) -> bool {
        let mut state = self.state();
        loop {
            if holds(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Flush {
    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }
}

/// The books: where everything that was handed over is. Counts are of events; an input that was not processed yet
/// counts as one.
#[derive(Debug, Default)]
pub(crate) struct Books {
    captured: u64,
    delivered: u64,
    dropped: BTreeMap<&'static str, u64>,
    /// Inputs that were not processed yet, the one under way among them.
    inputs: u64,
    /// Held back by the stage.
    held: u64,
    /// In the lanes, or on disk for them.
    laned: u64,
    /// Found on disk, left by other processes; captured events too.
    recovered: u64,
    /// Memory: inputs, what the stage holds back (as large as the inputs that it came from), lanes, encoded batches.
    pub(crate) bytes: usize,
    /// Of it encoded batches: copies of events that are in the lanes. What is queued may fill all that there is room for when
    /// one is made, so it comes on top then.
    sending: usize,
    held_bytes: usize,
    /// Something was refused for want of room since the worker last looked.
    overflowed: bool,
}

impl Books {
    /// Takes an input in; false when there is no room for it.
    pub(crate) fn offer(&mut self, size: usize, most: usize) -> bool {
        self.captured += 1;
        let size = size.saturating_add(OVERHEAD);
        if self.bytes.saturating_add(size) > most {
            self.drop_unseen("overflow", 1);
            self.overflowed = true;
            return false;
        }
        self.inputs += 1;
        self.bytes += size;
        true
    }

    /// A batch of so many bytes was encoded.
    pub(crate) fn sends(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.sending += bytes;
    }

    /// It was answered.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.sending -= bytes;
    }

    /// Memory of what waits.
    pub(crate) fn queued(&self) -> usize {
        self.bytes - self.sending
    }

    /// So many events were captured and left out on purpose.
    pub(crate) fn left_out(&mut self, count: u64) {
        if count > 0 {
            self.captured += count;
            self.drop_unseen("sampled", count);
        }
    }

    /// Whether [`offer`](Self::offer) refused anything since this was asked last.
    pub(crate) fn overflowed(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    /// Refuses an input for another reason than room.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.captured += 1;
        self.drop_unseen(reason, 1);
    }

    /// An input of a size went through the stage, which now holds back so many; `out` came out of it. Leaves in `out`
    /// what there is room for, and says how many that were too many.
    pub(crate) fn processed(
        &mut self,
        size: usize,
        held: usize,
        out: &mut Vec<WireEvent>,
        panicked: bool,
        most: usize,
    ) -> usize {
        let size = size.saturating_add(OVERHEAD);
        self.inputs -= 1;
        self.captured -= 1;
        self.bytes -= size;
        if panicked {
            self.captured += 1;
            self.drop_unseen("panic", 1);
        }
        if held as u64 > self.held {
            self.held_bytes += size;
            self.bytes += size;
        }
        self.emitted(held, out, most)
    }

    /// The stage gave something out by itself: after a wait, or for a flush.
    pub(crate) fn emitted(&mut self, held: usize, out: &mut Vec<WireEvent>, most: usize) -> usize {
        let held = held as u64;
        if held < self.held {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a size in memory")]
            let keep = (self.held_bytes as f64 * (held as f64 / self.held as f64)) as usize;
            self.bytes -= self.held_bytes - keep;
            self.held_bytes = keep;
        }
        self.captured += out.len() as u64 + held;
        self.captured -= self.held;
        self.held = held;
        let mut fits = 0;
        for event in out.iter() {
            let bytes = self.bytes + lane::cost(event);
            if bytes > most {
                break;
            }
            self.bytes = bytes;
            fits += 1;
        }
        let refused = out.len() - fits;
        out.truncate(fits);
        self.laned += fits as u64;
        if refused > 0 {
            self.drop_unseen("overflow", refused as u64);
        }
        refused
    }

    /// What the stage held back is gone, but for so many, without having come out.
    pub(crate) fn lost_in_stage(&mut self, held: usize) {
        let lost = self.held.saturating_sub(held as u64);
        self.emitted(held, &mut Vec::new(), usize::MAX);
        if lost > 0 {
            self.captured += lost;
            self.drop_unseen("panic", lost);
        }
    }

    /// An event left the lanes.
    pub(crate) fn settle(&mut self, end: End) {
        self.laned -= 1;
        match end {
            End::Delivered => self.delivered += 1,
            End::Dropped(reason) => self.drop_unseen(reason, 1),
        }
    }

    /// Events that another process captured are in the lanes now.
    pub(crate) fn recover(&mut self, count: u64) {
        self.captured += count;
        self.recovered += count;
        self.laned += count;
    }

    /// So many events were found on disk.
    pub(crate) fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Events left the lanes for nowhere.
    fn give_up(&mut self, reason: &'static str, count: u64) {
        self.laned -= count;
        self.drop_unseen(reason, count);
    }

    /// Everything that is not in the lanes is given up.
    pub(crate) fn give_up_rest(&mut self, reason: &'static str) {
        let rest = self.inputs + self.held;
        (self.inputs, self.held, self.held_bytes, self.bytes, self.sending) = (0, 0, 0, 0, 0);
        if rest > 0 {
            self.drop_unseen(reason, rest);
        }
    }

    /// Everything is given up but for so many events that are on disk: the worker is gone.
    pub(crate) fn give_up_all(&mut self, reason: &'static str, on_disk: u64) {
        let lost = self.laned.saturating_sub(on_disk);
        if lost > 0 {
            self.give_up(reason, lost);
        }
        self.give_up_rest(reason);
    }

    fn drop_unseen(&mut self, reason: &'static str, count: u64) {
        *self.dropped.entry(reason).or_default() += count;
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            captured: self.captured,
            delivered: self.delivered,
            pending: self.inputs + self.held + self.laned,
            dropped: self.dropped.clone(),
        }
    }
}
