//! The worker: one thread with one clock. It runs inputs through the stage, and batches through the sink; what to do
//! is decided by the lanes.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::hook::HookDesk;
use super::hooked::{self, Hooked, Passed, Step};
use super::keeper::News;
use super::lane::{self, Kind, Lane, Settled, Trouble};
use super::notice::Notices;
use super::outlet::Outlet;
use super::queue::{Flush, Life, Shared};
use super::tally::{End, Ticket};
use super::{SAVING, SinkStats, Stage};
use crate::config::Config;
use crate::event::WireEvent;
use crate::sink::{self, Carrier, Outcome, Sending};

/// How long inputs are processed before the sockets get a turn.
const SLICE: Duration = Duration::from_millis(5);
/// A shutdown's last moments, kept for closing the books before the caller stops waiting.
const CLOSING: Duration = Duration::from_millis(20);
/// Bytes a millisecond that surely can be written to the spool in those moments.
const SAVED_A_MILLI: usize = 256 << 10;

/// The thread's whole life.
pub(crate) fn live<S: Stage>(shared: &Arc<Shared<S>>) {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build();
        match runtime {
            Ok(runtime) => {
                let Some((stage, sinks)) = shared.state().luggage.take() else { return true };
                let sinks = if sinks.is_empty() { sink::of(&shared.config) } else { sinks };
                let mut worker = Worker::new(Arc::clone(shared), stage, sinks);
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
    let on_disk = state.spooled.1 as u64;
    state.books.give_up_all(if lived.is_ok() { "shutdown" } else { "panic" }, on_disk);
    state.saving = false;
    state.life = Life::Ended;
    let inputs = std::mem::take(&mut state.inputs);
    state.flushes.drain(..).for_each(|flush| flush.finish());
    drop(state);
    if let Some(desk) = &shared.desk {
        desk.close();
    }
    shared.changed.notify_all();
    drop(inputs);
}

/// What the thread does with everything that was offered, without the thread: one sink, which accepts it.
#[cfg(feature = "stages")]
pub(crate) fn at_once<S: Stage>(shared: &Arc<Shared<S>>) {
    let Some((stage, sinks)) = shared.state().luggage.take() else { return };
    let mut worker = Worker::new(Arc::clone(shared), stage, sinks);
    while worker.process_inputs().1 {}
    let flush = Flush { offered: 0, deadline: later(worker.start, Duration::MAX), done: Arc::default() };
    shared.state().flushes.push(flush);
    worker.begin_flushes();
    loop {
        worker.begin_sends();
        let Some((at, lane)) = worker.ways().find(|(at, lane)| worker.outlets[*at].sends[*lane].take().is_some())
        else {
            break;
        };
        worker.settle(at, lane, Outcome::Accepted);
    }
    worker.end_flushes();
    shared.state().life = Life::Ended;
}

/// What is said once each.
#[derive(PartialEq, Eq, Hash)]
enum Topic {
    Panic,
    Overflow,
    Lost,
    Spool,
    Expired,
    Corrupt,
    Hook,
    Redact,
    Lane(usize, Kind),
}

impl Topic {
    /// As `on_error` gets it.
    fn code(&self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Overflow => "overflow",
            Self::Lost => "shutdown",
            Self::Spool => "spool",
            Self::Expired => "expired",
            Self::Corrupt => "corrupt",
            Self::Hook => "hook",
            Self::Redact => "redact",
            Self::Lane(_, Kind::Parked | Kind::Retry | Kind::NoRoute) => "unreachable",
            Self::Lane(_, Kind::Denied) => "denied",
            Self::Lane(_, Kind::Rejecting) => "rejecting",
            Self::Lane(_, Kind::Poison) => "rejected",
            Self::Lane(_, Kind::TooBig) => "too_big",
        }
    }
}

/// After work the worker looks again after this time before it sleeps until it is woken: calls seldom come alone.
const NAP: Duration = Duration::from_millis(5);

struct Worker<S: Stage> {
    shared: Arc<Shared<S>>,
    config: Arc<Config>,
    stage: S,
    /// The sinks, the most important one first; never none.
    outlets: Vec<Outlet>,
    /// Events that entered a lane are of this epoch; each flush begins a new one.
    epoch: u64,
    /// Flushes whose events are all in the lanes or with the hooks.
    flushing: Vec<Flushing>,
    /// Where each event goes past hooks.
    way: Vec<Step>,
    /// Events that wait for a hook's verdict, by number. Their memory is that of the lanes.
    hooked: BTreeMap<u64, Hooked>,
    start: Instant,
    notices: Notices<Topic>,
    dice: u64,
}

/// A flush, the last epoch of its events, and the calls that are to be told of by then.
struct Flushing {
    flush: Flush,
    epoch: u64,
    heard: u64,
}

impl<S: Stage> Worker<S> {
    fn new(shared: Arc<Shared<S>>, stage: S, sinks: Vec<Box<dyn Carrier>>) -> Self {
        let config = Arc::clone(&shared.config);
        let outlets: Vec<Outlet> = sinks.into_iter().map(|sink| Outlet::new(sink, &config)).collect();
        shared.state().sinks =
            outlets.iter().map(|outlet| SinkStats { name: outlet.place.clone(), ..SinkStats::default() }).collect();
        let notices = Notices::new(config.debug);
        let way = shared.desk.as_ref().map(|desk| hooked::way(&config, desk.which())).unwrap_or_default();
        // Seeded by the standard library's own randomness.
        let dice = RandomState::new().build_hasher().finish() | 1;
        Self {
            shared,
            config,
            stage,
            outlets,
            epoch: 0,
            flushing: Vec::new(),
            way,
            hooked: BTreeMap::new(),
            start: Instant::now(),
            notices,
            dice,
        }
    }

    async fn run(&mut self) {
        let mut introduced = false;
        loop {
            let (some, more) = self.process_inputs();
            self.tick();
            self.collect();
            self.begin_flushes();
            self.keep();
            // What is said may have to wait for who reads it.
            if !std::mem::replace(&mut introduced, true) {
                self.introduce();
            }
            self.tend();
            self.begin_sends();
            if self.end_flushes() {
                return;
            }
            self.shared.state().napping = some && !more;
            let answers = self.wait(if more { Some(Duration::ZERO) } else { some.then_some(NAP) }).await;
            self.shared.state().napping = false;
            for (outlet, lane, outcome) in answers {
                self.settle(outlet, lane, outcome);
            }
        }
    }

    /// The one line that says where data goes, and what is odd about the environment.
    fn introduce(&self) {
        let places: Vec<String> = self
            .outlets
            .iter()
            .map(|outlet| match &self.config.api_key {
                _ if outlet.carrier.is_local() => {
                    format!("the local store {}; see them with 'llmtrail ls'", outlet.place)
                }
                Some(key) if outlet.carrier.destination().is_some() => format!("{} ({key:?})", outlet.place),
                _ => outlet.place.clone(),
            })
            .collect();
        super::notice::line(&format!("events go to {}", places.join(" and to ")));
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
            let (held, left_out) = (self.held(), self.stage.left_out());
            let most = self.most();
            let mut state = self.shared.state();
            let refused = state.books.processed(size, held, &mut out, done.is_err(), most);
            state.books.left_out(left_out);
            state.processed += 1;
            next = if Instant::now() < until { state.inputs.pop_front() } else { None };
            let bytes = state.books.bytes;
            drop(state);
            if done.is_err() {
                self.warn(Topic::Panic, "an observed call could not be read and is not recorded: a bug of llmtrail's");
            }
            self.tell_of_calls();
            self.enlane(&mut out, refused);
            self.relieve(bytes);
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
        let (held, left_out) = (self.held(), self.stage.left_out());
        let most = self.most();
        let mut state = self.shared.state();
        state.books.left_out(left_out);
        let refused = if done.is_ok() {
            state.books.emitted(held, &mut out, most)
        } else {
            out.clear();
            state.books.lost_in_stage(held);
            0
        };
        drop(state);
        if done.is_err() {
            self.warn(Topic::Panic, "an observed call could not be read and is not recorded: a bug of llmtrail's");
        }
        self.tell_of_calls();
        self.enlane(&mut out, refused);
    }

    fn tell_of_calls(&mut self) {
        if let Some(desk) = &self.shared.desk {
            desk.finished(self.stage.finished());
        }
    }

    fn enlane(&mut self, out: &mut Vec<WireEvent>, refused: usize) {
        if refused > 0 {
            self.warn_overflow();
        }
        if out.is_empty() {
            return;
        }
        if let Some(desk) = self.shared.desk.clone().filter(|_| !self.way.is_empty()) {
            for event in out.drain(..) {
                self.pass(&desk, desk.number(), Hooked::new(event, self.epoch));
            }
            return desk.ring();
        }
        self.shared.state().sinks.iter_mut().for_each(|sink| sink.pending += out.len() as u64);
        for event in out.drain(..) {
            self.enter(&event, self.epoch);
        }
    }

    /// Puts an event in a lane of each sink. Each holds it for itself, and gives back its memory when it is done with it.
    fn enter(&mut self, event: &WireEvent, epoch: u64) {
        let (now, sinks, before) = (self.now(), self.outlets.len(), lane::cost(event));
        let (mut event, stored) = (event.clone(), event.stored.clone());
        event.stored = None;
        let mut all = 0;
        for (outlet, ticket) in self.outlets.iter_mut().zip(Ticket::for_each(sinks)) {
            let json = stored.as_ref().filter(|_| outlet.carrier.is_local()).unwrap_or(&event.json).clone();
            let event = WireEvent { json, ..event.clone() };
            all += lane::cost(&event);
            outlet.enter(event, epoch, now, ticket);
        }
        if sinks > 1 {
            let mut state = self.shared.state();
            state.books.bytes = state.books.bytes + all - before;
        }
    }

    /// Sends an event past the hook that is next, or into the lanes.
    fn pass(&mut self, desk: &HookDesk, number: u64, hooked: Hooked) {
        if let Some(question) = hooked.question(&self.way) {
            desk.ask(number, question);
            self.hooked.insert(number, hooked);
        } else {
            self.shared.state().sinks.iter_mut().for_each(|sink| sink.pending += 1);
            self.enter(&hooked.event, hooked.epoch);
        }
    }

    /// Does what the hooks said.
    fn collect(&mut self) {
        let Some(desk) = self.shared.desk.clone() else { return };
        let verdicts = desk.verdicts();
        if verdicts.is_empty() {
            return;
        }
        for (number, verdict) in verdicts {
            let Some(mut hooked) = self.hooked.remove(&number) else { continue };
            let cost = lane::cost(&hooked.event);
            let passed = hooked.answered(&self.way, verdict);
            let mut state = self.shared.state();
            state.books.bytes -= cost;
            if matches!(passed, Passed::On(..)) {
                state.books.bytes += lane::cost(&hooked.event);
            } else {
                state.books.settle(End::Dropped("hook"));
            }
            drop(state);
            match passed {
                Passed::On(withheld, why) => {
                    if withheld > 0 {
                        desk.withheld(withheld);
                        let why = why.unwrap_or_default();
                        let text = format!("redact failed, and the texts that it failed on are withheld: {why}");
                        self.warn(Topic::Redact, &text);
                    }
                    self.pass(&desk, number, hooked);
                }
                Passed::Dropped => {}
                Passed::Failed(why) => {
                    let text =
                        format!("before_send failed, and what it is not done with is dropped and counted: {why}");
                    self.warn(Topic::Hook, &text);
                }
            }
        }
        desk.ring();
        let bytes = self.shared.state().books.bytes;
        self.relieve(bytes);
    }

    /// A warning: on stderr the first time that its kind occurs, and to `on_error`.
    fn warn(&mut self, topic: Topic, text: &str) {
        if let Some(desk) = &self.shared.desk {
            desk.notice(topic.code(), text);
        }
        self.notices.warn(topic, text);
    }

    /// The memory that new events may take. What can be spilled is taken in first and spilled then.
    fn most(&self) -> usize {
        let now = self.now();
        if self.outlets.iter().any(|outlet| outlet.can_spill(now)) { usize::MAX } else { self.config.max_memory }
    }

    /// Spills the oldest events when memory is short, or when their sink fails and there are many.
    fn relieve(&mut self, bytes: usize) {
        let now = self.now();
        for at in 0..self.outlets.len() {
            let outlet = &mut self.outlets[at];
            let spillable = outlet.lanes.iter().map(Lane::queue_bytes).sum();
            let failing = outlet.lanes.iter().any(Lane::fails);
            let excess = excess(bytes, spillable, failing, self.config.max_memory);
            if excess > 0 {
                let freed = outlet.spill(excess, now);
                self.shared.state().books.bytes -= freed;
                self.hear(at);
            }
        }
    }

    /// Puts on disk what belongs there, before anything that may take its time: looking for what other processes left,
    /// reading it, encoding and sending. What is in memory alone goes with the process.
    fn keep(&mut self) {
        let now = self.now();
        for at in 0..self.outlets.len() {
            if self.outlets[at].keep(now) {
                self.hear(at);
            }
        }
    }

    /// Sees to what is on disk.
    fn tend(&mut self) {
        let now = self.now();
        for at in 0..self.outlets.len() {
            if let Some(keeper) = &mut self.outlets[at].keeper {
                keeper.tend(now);
                self.hear(at);
            }
        }
    }

    /// Writes into the books, and tells, what became of events on disk.
    fn hear(&mut self, at: usize) {
        let Some(keeper) = &mut self.outlets[at].keeper else { return };
        let News { lost, recovered, unknown, trouble } = keeper.news();
        let mut state = self.shared.state();
        state.spooled = keeper.holds();
        state.books.recover((recovered + unknown.len()) as u64);
        state.sinks[at].pending += (recovered + unknown.len()) as u64;
        let unknown = unknown.into_iter().map(|reason| (reason, Ticket::default()));
        let mut reasons = Vec::new();
        for (reason, ticket) in lost.into_iter().chain(unknown) {
            reasons.push(reason);
            state.sinks[at].pending -= 1;
            *state.sinks[at].dropped.entry(reason).or_default() += 1;
            if let Some(end) = ticket.settle(End::Dropped(reason)) {
                state.books.settle(end);
            }
        }
        if let Some(trouble) = &trouble {
            let why = format!("the spool in {} cannot be written: {trouble}", self.config.dir.display());
            state.sinks[at].last_error = Some(why.clone());
            state.last_error = Some(why);
        }
        drop(state);
        if let Some(trouble) = trouble {
            let text = format!(
                "the spool in {} cannot be written ({trouble}): events are kept in memory only, and it is tried again \
                 each minute",
                self.config.dir.display()
            );
            self.warn(Topic::Spool, &text);
        }
        if recovered > 0 {
            self.notices.debug(|| format!("{recovered} events of processes that ended are sent on"));
        }
        for reason in reasons {
            let (topic, text) = match reason {
                "expired" => (Topic::Expired, "events that waited in the spool for a week are dropped and counted"),
                "corrupt" => (Topic::Corrupt, "a part of the spool was damaged; its events are counted and put aside"),
                _ => (Topic::Overflow, "the spool is full: its oldest events are dropped and counted"),
            };
            self.warn(topic, text);
        }
    }

    fn warn_overflow(&mut self) {
        let text = format!("max_memory ({} bytes) is full: new events are dropped and counted", self.config.max_memory);
        self.warn(Topic::Overflow, &text);
    }

    /// Begins the flushes whose inputs are all processed.
    fn begin_flushes(&mut self) {
        let mut state = self.shared.state();
        let processed = state.processed;
        let last = state.closing.is_some();
        let due: Vec<Flush> = state.flushes.extract_if(.., |flush| flush.offered <= processed).collect();
        let overflowed = state.books.overflowed();
        drop(state);
        if overflowed {
            self.warn_overflow();
        }
        if due.is_empty() {
            return;
        }
        self.give_out(|stage, out| stage.drain(last, out));
        let now = self.now();
        for lane in self.outlets.iter_mut().flat_map(|outlet| &mut outlet.lanes) {
            lane.hurry(now);
        }
        let heard = self.shared.desk.as_ref().map_or(0, |desk| desk.progress().0);
        self.flushing.extend(due.into_iter().map(|flush| Flushing { flush, epoch: self.epoch, heard }));
        self.epoch += 1;
    }

    fn hurried(&self, outlet: &Outlet, lane: usize) -> bool {
        self.flushing.iter().any(|flushing| outlet.owes(lane, flushing.epoch))
    }

    fn begin_sends(&mut self) {
        let now = self.now();
        for (at, lane) in self.ways() {
            if self.outlets[at].sends[lane].is_some() {
                continue;
            }
            let room = (self.config.max_memory / 2).saturating_sub(self.shared.state().books.bytes);
            let hurry = self.hurried(&self.outlets[at], lane);
            let outlet = &mut self.outlets[at];
            if outlet.keeper.is_some() {
                let taken = outlet.fetch(lane, now, room);
                self.shared.state().books.bytes += taken;
                self.hear(at);
            }
            let outlet = &mut self.outlets[at];
            let Some((route, events)) = outlet.lanes[lane].take(now, hurry) else { continue };
            if let Some(keeper) = &mut outlet.keeper {
                keeper.seal(lane);
            }
            let place = &outlet.place;
            self.notices.debug(|| format!("sending {} events to {place} ({route:?})", events.len()));
            let (carrier, timeout) = (&mut outlet.carrier, self.config.timeout);
            let sending = catch_unwind(AssertUnwindSafe(|| carrier.send(&events, route, timeout)));
            let sending = sending.unwrap_or_else(|_| Sending::done(panicked()));
            self.shared.state().books.sends(sending.bytes);
            outlet.sends[lane] = Some(sending);
        }
    }

    /// Every lane of every sink.
    fn ways(&self) -> impl Iterator<Item = (usize, usize)> + use<S> {
        (0..self.outlets.len()).flat_map(|outlet| (0..2).map(move |lane| (outlet, lane)))
    }

    /// Ends the flushes that are done, in vain or late. True when the worker is to end.
    fn end_flushes(&mut self) -> bool {
        let (now, start) = (self.now(), self.start);
        let ways: Vec<(usize, usize)> = self.ways().collect();
        let outlets = &self.outlets;
        let told = self.shared.desk.as_ref().map_or(0, |desk| desk.progress().1);
        let over = |Flushing { flush, epoch, heard }: &Flushing| {
            let epoch = *epoch;
            let deadline = flush.deadline.saturating_duration_since(start);
            let settled =
                |at: usize, lane: usize| !outlets[at].owes(lane, epoch) || outlets[at].lanes[lane].stuck(now, deadline);
            // Numbers and epochs grow together, so the first one tells.
            let hooked = self.hooked.values().next().is_some_and(|hooked| hooked.epoch <= epoch);
            now >= deadline || (!hooked && told >= *heard && ways.iter().all(|(at, lane)| settled(*at, *lane)))
        };
        let ended: Vec<Flushing> = self.flushing.extract_if(.., |flushing| over(flushing)).collect();
        let mut state = self.shared.state();
        let late: Vec<Flush> = state.flushes.extract_if(.., |flush| Instant::now() >= flush.deadline).collect();
        let over = ended.into_iter().map(|ended| ended.flush).chain(late).inspect(Flush::finish).count();
        let closing = state.closing;
        let end = closing.is_some_and(|deadline| {
            let idle = state.flushes.is_empty() && self.flushing.is_empty() && state.inputs.is_empty();
            idle || Instant::now() + closing_time(state.books.bytes) >= deadline
        });
        state.saving = end;
        drop(state);
        if over > 0 && !end {
            self.shared.changed.notify_all();
        }
        end
    }

    /// Waits for an answer, for callers, or for the next thing that is due, at most so long.
    async fn wait(&mut self, most: Option<Duration>) -> Vec<(usize, usize, Outcome)> {
        if most == Some(Duration::ZERO) {
            // The runtime looks after its sockets before it comes back.
            tokio::task::yield_now().await;
        }
        let due = self.next_due();
        let until = most.map_or(due, |most| due.min(self.now() + most));
        let mut woken = pin!(self.shared.wake.notified());
        let mut timer = pin!(tokio::time::sleep_until(tokio::time::Instant::from_std(later(self.start, until))));
        let outlets = &mut self.outlets;
        let books = &self.shared;
        let mut answers = Vec::new();
        poll_fn(|context| {
            for (at, outlet) in outlets.iter_mut().enumerate() {
                for (lane, slot) in outlet.sends.iter_mut().enumerate() {
                    let Some(sending) = slot else { continue };
                    let polled = catch_unwind(AssertUnwindSafe(|| sending.answer.as_mut().poll(context)));
                    if let Poll::Ready(outcome) = polled.unwrap_or_else(|_| Poll::Ready(panicked())) {
                        books.state().books.sent(sending.bytes);
                        *slot = None;
                        answers.push((at, lane, outcome));
                    }
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
        let now = self.now();
        let outlets = self.outlets.iter().filter_map(|outlet| outlet.wakes_at(now, |lane| self.hurried(outlet, lane)));
        // Not at once, should the stage have left something that is due: the worker never spins.
        let held = self.held_for().map(|wait| self.now() + wait.max(SLICE));
        let flushes = self.flushing.iter().map(|flushing| self.at(flushing.flush.deadline));
        let state = self.shared.state();
        let closing = state.closing.map(|deadline| self.at(deadline).saturating_sub(closing_time(state.books.bytes)));
        drop(state);
        outlets.chain(held).chain(flushes).chain(closing).min().unwrap_or(Duration::MAX)
    }

    fn settle(&mut self, at: usize, lane: usize, outcome: Outcome) {
        let (now, dice) = (self.now(), self.dice());
        let outlet = &mut self.outlets[at];
        let Settled { delivered, dropped, freed, trouble } = outlet.lanes[lane].answered(now, outcome, dice);
        let mut state = self.shared.state();
        state.books.bytes -= freed;
        let account = &mut state.sinks[at];
        account.pending -= (delivered.len() + dropped.len()) as u64;
        account.delivered += delivered.len() as u64;
        if !delivered.is_empty() {
            account.last_success = Some(std::time::SystemTime::now());
        }
        for (reason, _) in &dropped {
            *account.dropped.entry(reason).or_default() += 1;
        }
        if let Some(Trouble { why, .. }) = &trouble {
            let why = format!("{}: {why}", outlet.place);
            account.last_error = Some(why.clone());
            state.last_error = Some(why);
        }
        drop(state);
        if !delivered.is_empty() {
            self.notices.debug(|| format!("{} events are delivered", delivered.len()));
        }
        if let Some(keeper) = &mut outlet.keeper {
            for (reason, item) in &dropped {
                keeper.bury(reason, trouble.as_ref().map_or("", |trouble| trouble.why.as_str()), &item.event);
            }
            delivered.iter().chain(dropped.iter().map(|(_, item)| item)).filter_map(|item| item.kept).for_each(
                |kept| {
                    keeper.settled(kept);
                },
            );
        }
        let delivered = delivered.into_iter().map(|item| (End::Delivered, item));
        let dropped = dropped.into_iter().map(|(reason, item)| (End::Dropped(reason), item));
        let ends: Vec<End> = delivered.chain(dropped).filter_map(|(end, item)| item.ticket.settle(end)).collect();
        let mut state = self.shared.state();
        for end in ends {
            state.books.settle(end);
        }
        drop(state);
        if let Some(trouble) = trouble {
            self.tell(at, trouble);
        }
        self.hear(at);
    }

    fn tell(&mut self, at: usize, Trouble { kind, why }: Trouble) {
        let outlet = &self.outlets[at];
        let place = &outlet.place;
        let key = self.config.api_key.as_ref().map(|key| format!(" with the key {key:?}")).unwrap_or_default();
        let kept = if outlet.can_spill(self.now()) { "on disk" } else { "in memory" };
        let text = match kind {
            Kind::Retry => return self.notices.debug(|| format!("{place}: {why}; trying again")),
            Kind::NoRoute => return self.notices.debug(|| format!("{place}: {why}; taking the route /batch/")),
            Kind::Parked => {
                format!("events cannot be delivered to {place}: {why}. They are kept {kept} and tried again")
            }
            Kind::Denied => format!("{place} refuses events{key}: {why}. They are kept {kept}; check the key"),
            Kind::Rejecting => format!("{place} rejects every event: {why}. They are kept {kept} and tried again"),
            Kind::Poison => format!("{place} rejects an event, which is dropped and counted: {why}"),
            Kind::TooBig => format!("{place} finds an event too large, which is dropped and counted: {why}"),
        };
        self.warn(Topic::Lane(at, kind), &text);
    }

    /// From 0 to 1 (xorshift64*; it only has to keep processes apart).
    fn dice(&mut self) -> f64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Closes the books: what is still here goes to the spool, or is lost and said to be.
    fn finish(&mut self) {
        let until = Instant::now() + SAVING / 2;
        let now = self.now();
        if self.outlets.iter().any(|outlet| outlet.can_spill(now)) {
            // What was captured in the last moments is no event yet.
            while self.process_inputs().1 && Instant::now() < until {}
            self.give_out(|stage, out| stage.drain(true, out));
        }
        self.collect();
        // Without their verdict they are not sent, nor kept for another process.
        let (mut lost, mut spooled) = (self.hooked.len() as u64, 0);
        for at in 0..self.outlets.len() {
            let outlet = &mut self.outlets[at];
            outlet.sends = [None, None];
            for (number, lane) in outlet.lanes.iter_mut().enumerate() {
                lane.abandon();
                if let Some(keeper) = &mut outlet.keeper {
                    keeper.keep_all(number, lane, now);
                }
            }
            for lane in &mut outlet.lanes {
                // The other lane's events may have taken the room.
                if let Some(keeper) = &outlet.keeper {
                    keeper.recheck(lane);
                }
                let mut state = self.shared.state();
                for (item, rejected) in lane.drain() {
                    if item.kept.is_some() {
                        spooled += 1;
                        continue;
                    }
                    let reason = if rejected { "rejected" } else { "shutdown" };
                    state.sinks[at].pending -= 1;
                    *state.sinks[at].dropped.entry(reason).or_default() += 1;
                    lost += 1;
                    if let Some(end) = item.ticket.settle(End::Dropped(reason)) {
                        state.books.settle(end);
                    }
                }
            }
            self.hear(at);
            if let Some(keeper) = self.outlets[at].keeper.take() {
                keeper.leave();
            }
        }
        let mut state = self.shared.state();
        state.books.give_up_rest("shutdown");
        let last_error = state.last_error.clone();
        drop(state);
        if lost > 0 {
            let why = last_error.map(|why| format!(" ({why})")).unwrap_or_default();
            let count = if lost == 1 { "1 event was".to_owned() } else { format!("{lost} events were") };
            self.warn(Topic::Lost, &format!("{count} not delivered before the end{why}"));
        }
        if spooled > 0 {
            self.notices.debug(|| format!("{spooled} events are in the spool, for the next process"));
        }
    }
}

/// How many bytes are to be spilled, if there are enough of them to be worth it. What waits in line has a part of memory
/// only: when it is written over what callers handed over, some allocators keep both.
fn excess(bytes: usize, spillable: usize, failing: bool, most: usize) -> usize {
    let many = if failing || bytes > most / 4 * 3 { most / 8 } else { most / 8 * 3 };
    if spillable > many { spillable - most / 16 } else { 0 }
}

/// How long before a shutdown's deadline the worker stops sending: so that it can write what is left.
fn closing_time(bytes: usize) -> Duration {
    CLOSING + Duration::from_millis((bytes / SAVED_A_MILLI) as u64)
}

fn panicked() -> Outcome {
    Outcome::Later { after: None, why: "sending failed in an unforeseen way: a bug of llmtrail's".to_owned() }
}

/// A far future instead of an overflow.
fn later(start: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    start + by.min(FAR)
}
