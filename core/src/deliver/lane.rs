//! One lane to a sink: what waits, what is under way, and what the sink's answers mean for it.
//!
//! Pure: it neither sleeps nor sends. The worker asks [`Lane::take`] for a batch, sends it, and tells
//! [`Lane::answered`] what came back; time is a number and the dice are handed in, so that every schedule can be tried
//! under a simulated clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::retry;
use super::shelf::Kept;
use super::shorten::shorten;
use super::tally::Ticket;
use crate::event::WireEvent;
use crate::sink::{Outcome, Route};

/// Memory that an event takes beside its JSON: its item, in a queue that doubles when it is full, and what an allocator
/// rounds up.
const OVERHEAD: usize = 192;
/// Events in a batch when somebody waits for the lane to be empty.
const HURRIED: usize = 1000;
/// The least that a batch aims at, however often it was too large.
const LEAST_TARGET: usize = 1024;
/// An event below this is not made shorter when it is too large alone: no size would do.
const SHORTENABLE: usize = 64 << 10;

/// When batches are due and how long a failure is followed up; the part of the configuration that lanes need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) flush_at: usize,
    pub(crate) flush_interval: Duration,
    pub(crate) max_retries: u32,
}

/// An event on its way.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: WireEvent,
    /// Which flush waits for it: see [`Lane::owes`].
    epoch: u64,
    since: Duration,
    shortened: bool,
    /// It was rejected alone, when the sink had accepted so many batches.
    rejected_at: Option<u64>,
    /// Where it is on disk, if it is.
    pub(crate) kept: Option<Kept>,
    pub(crate) ticket: Ticket,
}

impl Item {
    pub(crate) fn new(event: WireEvent, epoch: u64, now: Duration, kept: Option<Kept>, ticket: Ticket) -> Self {
        Self { event, epoch, since: now, shortened: false, rejected_at: None, kept, ticket }
    }

    pub(crate) fn cost(&self) -> usize {
        cost(&self.event)
    }
}

/// The memory that an event takes in a lane.
pub(crate) fn cost(event: &WireEvent) -> usize {
    event.json.len() + event.stored.as_ref().map_or(0, bytes::Bytes::len) + OVERHEAD
}

/// Why a lane rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The sink cannot be reached or fails.
    Failing,
    /// The sink takes no event at all, one by one.
    Rejecting,
    /// The key is refused.
    Denied,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// The same events go again then.
    Waiting(Duration),
    /// One batch is tried then.
    Parked(Cause, Duration),
}

/// The search for what was wrong with a rejected batch.
#[derive(Debug, Default)]
struct Trial {
    /// Something was accepted since it began: so the sink is well, and what it rejects alone is poison.
    accepted: bool,
    /// Rejected alone while nothing was accepted: perhaps poison, perhaps a sink that rejects everything.
    suspects: Vec<Item>,
}

/// What an answer did to the events, and what people should know.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) delivered: Vec<Item>,
    pub(crate) dropped: Vec<(&'static str, Item)>,
    /// Memory that is free now.
    pub(crate) freed: usize,
    /// What went wrong, and for how long the lane rests, if it does.
    pub(crate) trouble: Option<Trouble>,
}

/// Something that went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    pub(crate) why: String,
}

/// The kinds of trouble; one warning each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It will be tried again soon: worth a line in debug mode only.
    Retry,
    /// The lane rests, for the sink fails.
    Parked,
    /// The key was refused.
    Denied,
    /// Events were given up, for the sink rejects them and takes others.
    Poison,
    /// The lane rests, for the sink rejects everything.
    Rejecting,
    /// An event was given up, for the sink finds it too large.
    TooBig,
    /// The route does not exist there; the next one is taken.
    NoRoute,
}

/// See the module.
pub(crate) struct Lane {
    policy: Policy,
    routes: &'static [Route],
    queue: VecDeque<Item>,
    queue_bytes: usize,
    /// Parts of batches that are sent before the queue; the last one first.
    pieces: Vec<Vec<Item>>,
    flight: Option<Vec<Item>>,
    trial: Option<Trial>,
    gate: Gate,
    /// The sink named this time: nothing goes sooner, whoever is in a hurry.
    not_before: Duration,
    /// The batch under way is the one that tells whether a parked lane may open.
    probing: Option<Cause>,
    failures: u32,
    parked: u32,
    /// Batches that the sink accepted so far.
    accepted: u64,
    /// Bytes that a batch aims at: lowered by what was too large, then slowly raised.
    target: usize,
    route: usize,
    /// When the first route is tried again.
    first_route_at: Duration,
    /// How many events of each epoch are in the lane.
    epochs: BTreeMap<u64, usize>,
    /// Memory that was freed since the last answer.
    freed: usize,
    /// Events that are in memory alone.
    unkept: usize,
}

impl Lane {
    pub(crate) fn new(policy: Policy, routes: &'static [Route]) -> Self {
        Self {
            policy,
            routes,
            queue: VecDeque::new(),
            queue_bytes: 0,
            pieces: Vec::new(),
            flight: None,
            trial: None,
            gate: Gate::Open,
            not_before: Duration::ZERO,
            probing: None,
            failures: 0,
            parked: 0,
            accepted: 0,
            target: routes[0].batch_bytes(),
            route: 0,
            first_route_at: Duration::ZERO,
            epochs: BTreeMap::new(),
            freed: 0,
            unkept: 0,
        }
    }

    /// Puts an event at the end.
    pub(crate) fn push(&mut self, item: Item) {
        *self.epochs.entry(item.epoch).or_default() += 1;
        self.queue_bytes += item.cost();
        self.unkept += usize::from(item.kept.is_none());
        self.queue.push_back(item);
    }

    /// Whether the sink takes nothing at the moment, and not for want of a moment's patience.
    pub(crate) fn rests(&self) -> bool {
        matches!(self.gate, Gate::Parked(..))
    }

    /// Whether what was tried last failed.
    pub(crate) fn fails(&self) -> bool {
        self.rests() || self.failures > 0
    }

    /// Whether nothing is here, under way or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Memory that what waits in line takes.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// The events that are in memory alone and not under way. Whoever puts some of them on disk says so to
    /// [`kept`](Self::kept).
    pub(crate) fn unkept(&mut self) -> Vec<&mut Item> {
        if self.unkept == 0 {
            return Vec::new();
        }
        let suspects = self.trial.iter_mut().flat_map(|trial| trial.suspects.iter_mut());
        let all = self.pieces.iter_mut().flatten().chain(suspects).chain(self.queue.iter_mut());
        all.filter(|item| item.kept.is_none()).collect()
    }

    /// Of the oldest events in line, so many bytes, those that are in memory alone.
    pub(crate) fn oldest_unkept(&mut self, bytes: usize) -> Vec<&mut Item> {
        let mut sum = 0;
        let oldest = self.queue.iter_mut().skip(1).take_while(|item| {
            let before = sum;
            sum += item.cost();
            before < bytes
        });
        oldest.filter(|item| item.kept.is_none()).collect()
    }

    /// Looks whether what was put on disk is still there.
    pub(crate) fn recheck(&mut self, holds: impl Fn(Kept) -> bool) {
        let suspects = self.trial.iter_mut().flat_map(|trial| trial.suspects.iter_mut());
        for item in self.pieces.iter_mut().flatten().chain(suspects).chain(self.queue.iter_mut()) {
            if item.kept.is_some_and(|kept| !holds(kept)) {
                item.kept = None;
                self.unkept += 1;
            }
        }
    }

    /// So many events are on disk now.
    pub(crate) fn kept(&mut self, events: usize) {
        self.unkept -= events;
    }

    /// Takes out the oldest events in line that are on disk, so many bytes. The first one stays: a lane that has
    /// anything has something to try with.
    pub(crate) fn part_with(&mut self, bytes: usize) -> Vec<Item> {
        let Some(first) = self.queue.pop_front() else { return Vec::new() };
        let (mut out, mut sum) = (Vec::new(), 0);
        while sum < bytes
            && self.queue.front().is_some_and(|item| item.kept.is_some())
            && let Some(item) = self.queue.pop_front()
        {
            sum += self.forget(&item);
            out.push(item);
        }
        self.queue_bytes -= sum;
        self.queue.push_front(first);
        out
    }

    /// Whether anything of this epoch or an older one is still here.
    pub(crate) fn owes(&self, epoch: u64) -> bool {
        self.epochs.range(..=epoch).next().is_some()
    }

    /// Events here, under way or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.epochs.values().sum()
    }

    /// Somebody waits: what only waits out of politeness or caution is tried at once. A time that the sink named, and
    /// a refused key, stay.
    pub(crate) fn hurry(&mut self, now: Duration) {
        let at = now.max(self.not_before);
        match &mut self.gate {
            Gate::Waiting(until) | Gate::Parked(Cause::Failing | Cause::Rejecting, until) => *until = at.min(*until),
            Gate::Open | Gate::Parked(Cause::Denied, _) => {}
        }
    }

    /// Whether waiting until `deadline` is in vain: nothing is under way, and nothing will be tried before. A lane
    /// that rests counts as such however long the deadline is, for its next try is one batch and not a delivery.
    pub(crate) fn stuck(&self, now: Duration, deadline: Duration) -> bool {
        self.flight.is_none()
            && match self.gate {
                Gate::Open => false,
                Gate::Waiting(until) => until > deadline,
                Gate::Parked(_, until) => until > now,
            }
    }

    /// When [`take`](Self::take) may have something, if nothing else happens. It may lie in the past.
    pub(crate) fn wakes_at(&self, hurry: bool) -> Option<Duration> {
        if self.flight.is_some() || (self.pieces.is_empty() && self.queue.is_empty()) {
            return None;
        }
        Some(match self.gate {
            Gate::Waiting(until) | Gate::Parked(_, until) => until,
            Gate::Open if hurry || !self.pieces.is_empty() || self.is_full() => Duration::ZERO,
            Gate::Open => self.queue.front().map_or(Duration::ZERO, |first| first.since + self.policy.flush_interval),
        })
    }

    /// The next batch, if one is due and none is under way. `hurry`: somebody waits, so anything is due.
    pub(crate) fn take(&mut self, now: Duration, hurry: bool) -> Option<(Route, Vec<WireEvent>)> {
        if self.wakes_at(hurry)? > now {
            return None;
        }
        if self.route > 0 && now >= self.first_route_at {
            self.route = 0;
        }
        let route = self.routes[self.route];
        if let Gate::Parked(cause, _) = self.gate {
            self.probing = Some(cause);
        }
        let most = match self.probing {
            // The sink rejected whole batches and single events: only a single one tells something new.
            Some(Cause::Rejecting) => 1,
            _ if hurry => self.policy.flush_at.max(HURRIED),
            _ => self.policy.flush_at,
        };
        if self.probing == Some(Cause::Rejecting)
            && let Some(fresh) = self.queue.iter().position(|item| item.rejected_at.is_none())
            && let Some(item) = self.queue.remove(fresh)
        {
            // One that was not rejected alone yet: perhaps only those that were are to blame.
            self.queue.push_front(item);
        }
        let mut batch = self.next_piece(self.target.min(route.batch_bytes()), most)?;
        for item in &mut batch {
            if item.event.json.len() > route.event_bytes() && !item.shortened {
                let before = item.cost();
                item.shorten_to(route.event_bytes());
                self.freed += before - item.cost();
            }
        }
        let events = batch.iter().map(|item| item.event.clone()).collect();
        self.flight = Some(batch);
        Some((route, events))
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= self.policy.flush_at || self.queue_bytes >= self.target
    }

    /// Up to so many events and bytes (but one at least) from the pieces, else from the queue.
    fn next_piece(&mut self, bytes: usize, most: usize) -> Option<Vec<Item>> {
        if let Some(mut piece) = self.pieces.pop() {
            let fits = fitting(piece.iter(), bytes, most);
            if fits < piece.len() {
                let rest = piece.split_off(fits);
                self.pieces.push(rest);
            }
            return Some(piece);
        }
        let fits = self.whole_segments(fitting(self.queue.iter(), bytes, most).min(self.queue.len()));
        let piece: Vec<Item> = self.queue.drain(..fits).collect();
        self.queue_bytes -= piece.iter().map(Item::cost).sum::<usize>();
        (!piece.is_empty()).then_some(piece)
    }

    /// At most so many events of the queue, without the beginning of a segment whose end does not fit: what is
    /// acknowledged together is removed from the disk together, and nothing of it is sent again after a crash.
    fn whole_segments(&self, most: usize) -> usize {
        let segment = |at: usize| self.queue.get(at).and_then(|item| item.kept).map(|kept| kept.segment);
        let Some(cut) = segment(most) else { return most };
        let whole = (0..most).rev().take_while(|at| segment(*at) == Some(cut)).last().unwrap_or(most);
        if whole == 0 { most } else { whole }
    }

    /// Gives up on the answer to the batch under way; its events stay.
    pub(crate) fn abandon(&mut self) {
        self.probing = None;
        if let Some(batch) = self.flight.take() {
            self.pieces.push(batch);
        }
    }

    /// Takes everything out; says of each event whether it is one that the sink rejected.
    pub(crate) fn drain(&mut self) -> Vec<(Item, bool)> {
        self.abandon();
        let suspects = self.trial.take().map(|trial| trial.suspects).unwrap_or_default();
        let others = std::mem::take(&mut self.pieces).into_iter().flatten().chain(self.queue.drain(..));
        let all = others.map(|item| (item, false)).chain(suspects.into_iter().map(|item| (item, true)));
        let all = all.collect();
        (self.queue_bytes, self.unkept) = (0, 0);
        self.epochs.clear();
        all
    }

    /// What the sink said to the batch under way. `dice` is from 0 to 1.
    pub(crate) fn answered(&mut self, now: Duration, outcome: Outcome, dice: f64) -> Settled {
        let Some(batch) = self.flight.take() else { return Settled::default() };
        let mut settled = Settled { freed: std::mem::take(&mut self.freed), ..Settled::default() };
        let probing = self.probing.take();
        match outcome {
            Outcome::Accepted => self.accepted(batch, &mut settled),
            Outcome::Rejected(why) => self.rejected(batch, probing, now, dice, why, &mut settled),
            Outcome::TooLarge(why) => self.too_large(batch, why, &mut settled),
            Outcome::NoRoute(why) => {
                self.pieces.push(batch);
                if self.route + 1 < self.routes.len() {
                    self.route += 1;
                    self.first_route_at = now + retry::NO_ROUTE;
                    // The next route is a part of the same probe.
                    self.probing = probing;
                    self.gate = Gate::Open;
                    settled.trouble = Some(Trouble { kind: Kind::NoRoute, why });
                } else {
                    self.first_route_at = now;
                    self.park(Cause::Failing, now + retry::park(self.parked, dice));
                    settled.trouble = Some(Trouble { kind: Kind::Parked, why });
                }
            }
            Outcome::Denied(why) => {
                self.pieces.push(batch);
                self.park(Cause::Denied, now + retry::DENIED);
                settled.trouble = Some(Trouble { kind: Kind::Denied, why });
            }
            Outcome::Later { after, why } => {
                self.pieces.push(batch);
                self.failures += 1;
                self.not_before = now + retry::honoured(after);
                let kind = if probing.is_some() || self.failures > self.policy.max_retries {
                    self.park(Cause::Failing, now + retry::park(self.parked, dice));
                    Kind::Parked
                } else {
                    self.gate = Gate::Waiting((now + retry::backoff(self.failures, dice)).max(self.not_before));
                    Kind::Retry
                };
                settled.trouble = Some(Trouble { kind, why });
            }
            Outcome::Closed { again, why } => {
                self.pieces.push(batch);
                self.park(Cause::Failing, now + again);
                settled.trouble = Some(Trouble { kind: Kind::Parked, why });
            }
        }
        match &self.trial {
            Some(trial) if self.pieces.is_empty() && trial.suspects.is_empty() => self.trial = None,
            // Nothing else is here that could tell whether the suspect is to blame.
            Some(_) if self.pieces.is_empty() && self.queue.is_empty() => self.rest_rejecting(now, dice),
            _ => {}
        }
        settled
    }

    fn accepted(&mut self, batch: Vec<Item>, settled: &mut Settled) {
        self.failures = 0;
        self.parked = 0;
        self.accepted += 1;
        self.gate = Gate::Open;
        let bytes: usize = batch.iter().map(Item::cost).sum();
        if bytes >= self.target / 2 {
            self.target = (self.target + self.target / 16).min(self.routes[self.route].batch_bytes());
        }
        if let Some(trial) = &mut self.trial {
            trial.accepted = true;
            // The sink is well now: each suspect gets its one fair trial.
            self.pieces.extend(trial.suspects.drain(..).map(|suspect| vec![suspect]));
        }
        for item in &batch {
            settled.freed += self.forget(item);
        }
        settled.delivered = batch;
    }

    /// Halves the batch until the poison stands alone. A sink that rejects everything looks the same at first: the
    /// search goes down one half to a single event, then down the largest other piece; when that ends at a rejected
    /// single event too and nothing was accepted on the way, no event is to blame and the lane rests.
    fn rejected(
        &mut self,
        mut batch: Vec<Item>,
        probing: Option<Cause>,
        now: Duration,
        dice: f64,
        why: String,
        settled: &mut Settled,
    ) {
        self.failures = 0;
        self.gate = Gate::Open;
        let trial = self.trial.get_or_insert_default();
        if batch.len() > 1 {
            let right = batch.split_off(batch.len() / 2);
            self.pieces.push(right);
            self.pieces.push(batch);
            settled.trouble = Some(Trouble { kind: Kind::Retry, why });
            return;
        }
        // Rejected alone before, and the sink accepted others between the two times.
        let again = batch.iter().any(|item| item.rejected_at.is_some_and(|accepted| self.accepted > accepted));
        if again || (trial.accepted && probing.is_none()) {
            for item in batch {
                settled.freed += self.forget(&item);
                settled.dropped.push(("rejected", item));
            }
            settled.trouble = Some(Trouble { kind: Kind::Poison, why });
            return;
        }
        for item in &mut batch {
            item.rejected_at.get_or_insert(self.accepted);
        }
        trial.suspects.append(&mut batch);
        if trial.suspects.len() > 1
            || probing == Some(Cause::Rejecting)
            || (self.pieces.is_empty() && self.queue.is_empty())
        {
            self.rest_rejecting(now, dice);
            settled.trouble = Some(Trouble { kind: Kind::Rejecting, why });
            return;
        }
        if let Some(largest) = (0..self.pieces.len()).max_by_key(|index| self.pieces[*index].len()) {
            let piece = self.pieces.remove(largest);
            self.pieces.push(piece);
        }
        settled.trouble = Some(Trouble { kind: Kind::Retry, why });
    }

    fn too_large(&mut self, mut batch: Vec<Item>, why: String, settled: &mut Settled) {
        self.failures = 0;
        self.gate = Gate::Open;
        let bytes: usize = batch.iter().map(Item::cost).sum();
        if batch.len() > 1 {
            self.target = (bytes / 2).max(LEAST_TARGET).min(self.target);
            let half = fitting(batch.iter(), bytes / 2, batch.len() - 1);
            let right = batch.split_off(half);
            self.pieces.push(right);
            self.pieces.push(batch);
            settled.trouble = Some(Trouble { kind: Kind::Retry, why });
            return;
        }
        let limit = self.routes[self.route].event_bytes().min(Route::Batch.event_bytes());
        for mut item in batch {
            let before = item.cost();
            let size = item.event.json.len();
            let limit = if size > limit { limit } else { size / 2 };
            if size >= SHORTENABLE && !item.shortened && item.shorten_to(limit) {
                settled.freed += before.saturating_sub(item.cost());
                self.pieces.push(vec![item]);
                settled.trouble = Some(Trouble { kind: Kind::Retry, why: why.clone() });
            } else {
                settled.freed += self.forget(&item);
                settled.dropped.push(("too_big", item));
                settled.trouble = Some(Trouble { kind: Kind::TooBig, why: why.clone() });
            }
        }
    }

    /// Rests, for nothing at all is accepted. What was tried goes to the end of the queue: the next probe is to ask
    /// about another event, lest the lane rest forever over one.
    fn rest_rejecting(&mut self, now: Duration, dice: f64) {
        let suspects = self.trial.take().map(|trial| trial.suspects).unwrap_or_default();
        let pieces = std::mem::take(&mut self.pieces);
        for item in pieces.into_iter().rev().flatten().chain(suspects) {
            self.queue_bytes += item.cost();
            self.queue.push_back(item);
        }
        self.park(Cause::Rejecting, now + retry::park(self.parked, dice));
    }

    fn park(&mut self, cause: Cause, until: Duration) {
        self.gate = Gate::Parked(cause, until.max(self.not_before));
        self.parked += 1;
        self.failures = 0;
        if let Some(trial) = &mut self.trial {
            // What was true before the rest may not be true after it.
            trial.accepted = false;
        }
    }

    /// Takes an event that leaves off the books; says what memory that frees.
    fn forget(&mut self, item: &Item) -> usize {
        self.unkept -= usize::from(item.kept.is_none());
        if let Some(count) = self.epochs.get_mut(&item.epoch) {
            *count -= 1;
            if *count == 0 {
                self.epochs.remove(&item.epoch);
            }
        }
        item.cost()
    }
}

impl Item {
    /// Makes the event shorter, once; false when it cannot be.
    fn shorten_to(&mut self, limit: usize) -> bool {
        self.shortened = true;
        match shorten(&self.event.json, limit) {
            Some(json) => {
                self.event.json = json;
                true
            }
            None => false,
        }
    }
}

/// How many of these fit, but one at least.
fn fitting<'a>(items: impl Iterator<Item = &'a Item>, bytes: usize, most: usize) -> usize {
    let mut sum = 0;
    let fits = items.take(most.max(1)).take_while(|item| {
        sum += item.cost();
        sum <= bytes
    });
    fits.count().max(1)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
