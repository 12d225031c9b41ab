//! The worker: one thread with one clock. It runs inputs through the stage, and batches through the sink; what to do
//! is decided by the lanes.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Stage;
use super::lane::{Kind, Lane, Policy, Settled, Trouble};
use super::notice::Notices;
use super::queue::{Flush, Life, Shared};
use crate::config::Config;
use crate::event::{self, WireEvent};
use crate::sink::{self, Outcome, Sending, Sink};

/// How long inputs are processed before the sockets get a turn.
const SLICE: Duration = Duration::from_millis(5);
/// The local store is written sooner than a server is asked: it costs little, and people look at it at once.
const LOCAL_INTERVAL: Duration = Duration::from_millis(500);
/// A shutdown's last moments, kept for closing the books before the caller stops waiting.
const CLOSING: Duration = Duration::from_millis(20);

/// The thread's whole life.
pub(crate) fn live<S: Stage>(shared: &Arc<Shared<S>>) {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build();
        match runtime {
            Ok(runtime) => {
                let Some((stage, sink)) = shared.state().luggage.take() else { return true };
                let sink = sink.unwrap_or_else(|| sink::of(&shared.config));
                let mut worker = Worker::new(Arc::clone(shared), stage, sink);
                runtime.block_on(worker.run());
                worker.finish();
                // A name lookup that hangs has a thread of its own, which is not waited for.
                runtime.shutdown_background();
                true
            }
            Err(error) => {
                shared.not_started(&error);
                false
            }
        }
    }));
    if matches!(lived, Ok(false)) {
        return;
    }
    let mut state = shared.state();
    state.books.give_up_all(if lived.is_ok() { "shutdown" } else { "panic" });
    state.life = Life::Ended;
    let inputs = std::mem::take(&mut state.inputs);
    state.flushes.drain(..).for_each(|flush| flush.finish());
    drop(state);
    shared.changed.notify_all();
    drop(inputs);
}

/// What is said once each.
#[derive(PartialEq, Eq, Hash)]
enum Topic {
    Panic,
    Overflow,
    Lost,
    Lane(Kind),
}

/// After work the worker looks again after this time before it sleeps until it is woken: calls seldom come alone.
const NAP: Duration = Duration::from_millis(5);

struct Worker<S: Stage> {
    shared: Arc<Shared<S>>,
    config: Arc<Config>,
    stage: S,
    sink: Box<dyn Sink>,
    lanes: [Lane; 2],
    /// What is under way, by lane.
    sends: [Option<Sending>; 2],
    /// Events that entered a lane are of this epoch; each flush begins a new one.
    epoch: u64,
    /// Flushes whose events are all in the lanes, with their last epoch.
    flushing: Vec<(Flush, u64)>,
    start: Instant,
    notices: Notices<Topic>,
    place: String,
    dice: u64,
}

fn index(lane: event::Lane) -> usize {
    match lane {
        event::Lane::Ai => 0,
        event::Lane::General => 1,
    }
}

impl<S: Stage> Worker<S> {
    fn new(shared: Arc<Shared<S>>, stage: S, sink: Box<dyn Sink>) -> Self {
        let config = Arc::clone(&shared.config);
        let local = config.api_key.is_none();
        let policy = Policy {
            flush_at: config.flush_at,
            flush_interval: if local { config.flush_interval.min(LOCAL_INTERVAL) } else { config.flush_interval },
            max_retries: config.max_retries,
        };
        let lanes = [event::Lane::Ai, event::Lane::General].map(|lane| Lane::new(policy, sink.routes(lane)));
        let notices = Notices::new(config.debug);
        let place = sink::place(&config);
        // Seeded by the standard library's own randomness.
        let dice = RandomState::new().build_hasher().finish() | 1;
        Self {
            shared,
            config,
            stage,
            sink,
            lanes,
            sends: [None, None],
            epoch: 0,
            flushing: Vec::new(),
            start: Instant::now(),
            notices,
            place,
            dice,
        }
    }

    async fn run(&mut self) {
        self.introduce();
        loop {
            let (some, more) = self.process_inputs();
            self.tick();
            self.begin_flushes();
            self.begin_sends();
            if self.end_flushes() {
                return;
            }
            self.shared.state().napping = some && !more;
            let answers = self.wait(if more { Some(Duration::ZERO) } else { some.then_some(NAP) }).await;
            self.shared.state().napping = false;
            for (lane, outcome) in answers {
                self.settle(lane, outcome);
            }
        }
    }

    /// The one line that says where data goes, and what is odd about the environment.
    fn introduce(&self) {
        super::notice::line(&match &self.config.api_key {
            Some(key) => format!("events go to {} ({key:?})", self.place),
            None => format!("events go to the local store {}; see them with 'llmtrail ls'", self.place),
        });
        for warning in &self.config.warnings {
            super::notice::line(warning);
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.start)
    }

    /// Runs inputs through the stage for a while. Says whether there were any, and whether there are more.
    fn process_inputs(&mut self) -> (bool, bool) {
        let until = Instant::now() + SLICE;
        let mut out = Vec::new();
        let mut next = self.shared.state().inputs.pop_front();
        let mut some = false;
        while let Some((input, size)) = next {
            some = true;
            let stage = &mut self.stage;
            let done = catch_unwind(AssertUnwindSafe(|| stage.process(input, &mut out)));
            let held = self.held();
            let mut state = self.shared.state();
            let refused = state.books.processed(size, held, &mut out, done.is_err(), self.config.max_memory);
            state.processed += 1;
            next = if Instant::now() < until { state.inputs.pop_front() } else { None };
            drop(state);
            if done.is_err() {
                self.notices
                    .warn(Topic::Panic, "an observed call could not be read and is not recorded: a bug of llmtrail's");
            }
            self.enlane(&mut out, refused);
        }
        if some {
            self.shared.changed.notify_all();
        }
        (some, !self.shared.state().inputs.is_empty())
    }

    fn held(&self) -> usize {
        catch_unwind(AssertUnwindSafe(|| self.stage.held())).unwrap_or(0)
    }

    /// How long until something that is held back is due.
    fn held_for(&self) -> Option<Duration> {
        catch_unwind(AssertUnwindSafe(|| self.stage.wakes_in())).unwrap_or(None)
    }

    /// Lets the stage give out what it held back long enough.
    fn tick(&mut self) {
        if self.held_for().is_some_and(|wait| wait.is_zero()) {
            self.give_out(S::tick);
        }
    }

    fn give_out(&mut self, how: impl FnOnce(&mut S, &mut Vec<WireEvent>)) {
        let mut out = Vec::new();
        let stage = &mut self.stage;
        let done = catch_unwind(AssertUnwindSafe(|| how(stage, &mut out)));
        let held = self.held();
        let mut state = self.shared.state();
        let refused = if done.is_ok() {
            state.books.emitted(held, &mut out, self.config.max_memory)
        } else {
            out.clear();
            state.books.lost_in_stage(held);
            0
        };
        drop(state);
        if done.is_err() {
            self.notices
                .warn(Topic::Panic, "an observed call could not be read and is not recorded: a bug of llmtrail's");
        }
        self.enlane(&mut out, refused);
    }

    fn enlane(&mut self, out: &mut Vec<WireEvent>, refused: usize) {
        if refused > 0 {
            self.warn_overflow();
        }
        let now = self.now();
        for event in out.drain(..) {
            self.lanes[index(event.lane)].push(event, self.epoch, now);
        }
    }

    fn warn_overflow(&mut self) {
        let text = format!("max_memory ({} bytes) is full: new events are dropped and counted", self.config.max_memory);
        self.notices.warn(Topic::Overflow, &text);
    }

    /// Begins the flushes whose inputs are all processed.
    fn begin_flushes(&mut self) {
        let mut state = self.shared.state();
        let processed = state.processed;
        let due: Vec<Flush> = state.flushes.extract_if(.., |flush| flush.offered <= processed).collect();
        let overflowed = state.books.overflowed();
        drop(state);
        if overflowed {
            self.warn_overflow();
        }
        if due.is_empty() {
            return;
        }
        self.give_out(S::drain);
        let now = self.now();
        for lane in &mut self.lanes {
            lane.hurry(now);
        }
        self.flushing.extend(due.into_iter().map(|flush| (flush, self.epoch)));
        self.epoch += 1;
    }

    fn hurried(&self, lane: &Lane) -> bool {
        self.flushing.iter().any(|(_, epoch)| lane.owes(*epoch))
    }

    fn begin_sends(&mut self) {
        let now = self.now();
        for lane in 0..self.lanes.len() {
            let hurry = self.hurried(&self.lanes[lane]);
            if self.sends[lane].is_some() {
                continue;
            }
            let Some((route, events)) = self.lanes[lane].take(now, hurry) else { continue };
            self.notices.debug(|| format!("sending {} events to {} ({route:?})", events.len(), self.place));
            let (sink, timeout) = (&mut self.sink, self.config.timeout);
            let sending = catch_unwind(AssertUnwindSafe(|| sink.send(&events, route, timeout)));
            let sending = sending.unwrap_or_else(|_| Sending::done(panicked()));
            self.shared.state().books.bytes += sending.bytes;
            self.sends[lane] = Some(sending);
        }
    }

    /// Ends the flushes that are done, in vain or late. True when the worker is to end.
    fn end_flushes(&mut self) -> bool {
        let (now, start) = (self.now(), self.start);
        let lanes = &self.lanes;
        let over = |flush: &Flush, epoch: u64| {
            let deadline = flush.deadline.saturating_duration_since(start);
            now >= deadline || lanes.iter().all(|lane| !lane.owes(epoch) || lane.stuck(now, deadline))
        };
        let ended: Vec<(Flush, u64)> = self.flushing.extract_if(.., |(flush, epoch)| over(flush, *epoch)).collect();
        let mut state = self.shared.state();
        let late: Vec<Flush> = state.flushes.extract_if(.., |flush| Instant::now() >= flush.deadline).collect();
        let over = ended.into_iter().map(|(flush, _)| flush).chain(late).inspect(Flush::finish).count();
        let closing = state.closing;
        let end = closing.is_some_and(|deadline| {
            let idle = state.flushes.is_empty() && self.flushing.is_empty() && state.inputs.is_empty();
            idle || Instant::now() + CLOSING >= deadline
        });
        drop(state);
        if over > 0 && !end {
            self.shared.changed.notify_all();
        }
        end
    }

    /// Waits for an answer, for callers, or for the next thing that is due, at most so long.
    async fn wait(&mut self, most: Option<Duration>) -> Vec<(usize, Outcome)> {
        if most == Some(Duration::ZERO) {
            // The runtime looks after its sockets before it comes back.
            tokio::task::yield_now().await;
        }
        let due = self.next_due();
        let until = most.map_or(due, |most| due.min(self.now() + most));
        let mut woken = pin!(self.shared.wake.notified());
        let mut timer = pin!(tokio::time::sleep_until(tokio::time::Instant::from_std(later(self.start, until))));
        let sends = &mut self.sends;
        let books = &self.shared;
        let mut answers = Vec::new();
        poll_fn(|context| {
            for (lane, slot) in sends.iter_mut().enumerate() {
                let Some(sending) = slot else { continue };
                let polled = catch_unwind(AssertUnwindSafe(|| sending.answer.as_mut().poll(context)));
                if let Poll::Ready(outcome) = polled.unwrap_or_else(|_| Poll::Ready(panicked())) {
                    books.state().books.bytes -= sending.bytes;
                    *slot = None;
                    answers.push((lane, outcome));
                }
            }
            let woken = woken.as_mut().poll(context).is_ready();
            let rung = timer.as_mut().poll(context).is_ready();
            if woken || rung || !answers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        answers
    }

    /// When something is due, if nobody calls before.
    fn next_due(&self) -> Duration {
        let lanes = self.lanes.iter().filter_map(|lane| lane.wakes_at(self.hurried(lane)));
        // Not at once, should the stage have left something that is due: the worker never spins.
        let held = self.held_for().map(|wait| self.now() + wait.max(SLICE));
        let flushes = self.flushing.iter().map(|(flush, _)| self.at(flush.deadline));
        let closing = self.shared.state().closing.map(|deadline| self.at(deadline).saturating_sub(CLOSING));
        lanes.chain(held).chain(flushes).chain(closing).min().unwrap_or(Duration::MAX)
    }

    fn settle(&mut self, lane: usize, outcome: Outcome) {
        let (now, dice) = (self.now(), self.dice());
        let Settled { delivered, dropped, freed, trouble } = self.lanes[lane].answered(now, outcome, dice);
        let mut state = self.shared.state();
        state.books.bytes -= freed;
        state.books.deliver(delivered as u64);
        for (reason, _) in &dropped {
            state.books.give_up(reason, 1);
        }
        if let Some(Trouble { why, .. }) = &trouble {
            state.last_error = Some(format!("{}: {why}", self.place));
        }
        drop(state);
        if delivered > 0 {
            self.notices.debug(|| format!("{delivered} events are delivered"));
        }
        if let Some(trouble) = trouble {
            self.tell(trouble);
        }
    }

    fn tell(&mut self, Trouble { kind, why }: Trouble) {
        let place = &self.place;
        let key = self.config.api_key.as_ref().map(|key| format!(" with the key {key:?}")).unwrap_or_default();
        let text = match kind {
            Kind::Retry => return self.notices.debug(|| format!("{place}: {why}; trying again")),
            Kind::NoRoute => return self.notices.debug(|| format!("{place}: {why}; taking the route /batch/")),
            Kind::Parked => {
                format!("events cannot be delivered to {place}: {why}. They are kept in memory and tried again")
            }
            Kind::Denied => format!("{place} refuses events{key}: {why}. They are kept in memory; check the key"),
            Kind::Rejecting => format!("{place} rejects every event: {why}. They are kept in memory and tried again"),
            Kind::Poison => format!("{place} rejects an event, which is dropped and counted: {why}"),
            Kind::TooBig => format!("{place} finds an event too large, which is dropped and counted: {why}"),
        };
        self.notices.warn(Topic::Lane(kind), &text);
    }

    /// From 0 to 1 (xorshift64*; it only has to keep processes apart).
    fn dice(&mut self) -> f64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Closes the books: what is still here is lost, and said to be.
    fn finish(&mut self) {
        self.sends = [None, None];
        let rest: Vec<(WireEvent, bool)> = self.lanes.iter_mut().flat_map(Lane::drain).collect();
        let mut state = self.shared.state();
        for (_, rejected) in &rest {
            state.books.give_up(if *rejected { "rejected" } else { "shutdown" }, 1);
        }
        state.books.give_up_rest("shutdown");
        let last_error = state.last_error.clone();
        drop(state);
        if !rest.is_empty() {
            let why = last_error.map(|why| format!(" ({why})")).unwrap_or_default();
            let count = if rest.len() == 1 { "1 event was".to_owned() } else { format!("{} events were", rest.len()) };
            self.notices.warn(Topic::Lost, &format!("{count} not delivered before the end{why}"));
        }
    }
}

fn panicked() -> Outcome {
    Outcome::Later { after: None, why: "sending failed in an unforeseen way: a bug of llmtrail's".to_owned() }
}

/// A far future instead of an overflow.
fn later(start: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    start + by.min(FAR)
}
