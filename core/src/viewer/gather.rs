//! Lists of traces, sessions and people: what of their events sorts them, and of those on a page everything.
//!
//! There may be a million of them, so of each only the number is held that the list is sorted by.

use std::collections::HashMap;

use super::columns::{Block, Columns};
use super::data::{Data, Event, Of, SPAN, Sums, TRACE};
use super::filter::Measure;
use super::query::{Bits, By, Distinct, Ready};
use crate::sink::store::scan::Number;

/// The part of a list that is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub(super) from: usize,
    pub(super) len: usize,
    /// Whether the highest come first.
    pub(super) falls: bool,
}

/// The first of many by a value, and then the latest, without all of them in memory.
pub(super) struct Top {
    slice: Slice,
    best: Vec<(u64, i64, i64)>,
    pub(super) total: usize,
}

impl Top {
    pub(super) fn new(slice: Slice) -> Self {
        Self { slice, best: Vec::new(), total: 0 }
    }

    /// Takes part. What has no value comes last, whichever way; of the same value the later one comes first.
    pub(super) fn offer(&mut self, value: Option<f64>, time: i64, what: i64) {
        self.total += 1;
        let value = value.filter(|value| !value.is_nan()).map_or(u64::MAX, |value| {
            let bits = value.to_bits();
            // In the order of the numbers.
            let rising = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            if self.slice.falls { !rising } else { rising }
        });
        self.best.push((value, time.saturating_neg(), what.saturating_neg()));
        if self.best.len() > 4096 && self.best.len() >= 2 * (self.slice.from + self.slice.len) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let keep = self.slice.from + self.slice.len;
        if self.best.len() > keep {
            self.best.select_nth_unstable(keep);
            self.best.truncate(keep);
        }
    }

    /// Those on the page, in order.
    pub(super) fn page(mut self) -> Vec<i64> {
        self.cut();
        let from = self.slice.from;
        if from >= self.best.len() {
            return Vec::new();
        }
        self.best.select_nth_unstable(from);
        self.best[from..].sort_unstable();
        self.best[from..].iter().map(|(_, _, what)| what.saturating_neg()).collect()
    }
}

/// A trace, over all its events.
pub(super) struct Trace {
    pub(super) number: u32,
    pub(super) start: i64,
    /// Milliseconds since 1970, of the last thing that ended.
    end: i64,
    own_seconds: f32,
    own_place: (i64, i64),
    pub(super) name: Number,
    name_time: i64,
    pub(super) user: Number,
    pub(super) session: Number,
    /// Its own event failed.
    pub(super) failed: bool,
    pub(super) events: u32,
    /// The model of a trace that is one call.
    pub(super) model: Number,
    /// One of its events.
    pub(super) any: i64,
    /// The own event, the first and the last call: whose previews are shown.
    pub(super) own: i64,
    pub(super) first: (i64, i64),
    pub(super) last: (i64, i64),
    pub(super) sums: Sums,
}

impl Trace {
    fn new(number: u32) -> Self {
        Self {
            number,
            start: i64::MAX,
            end: i64::MIN,
            own_seconds: f32::NAN,
            own_place: (i64::MAX, 0),
            name: 0,
            name_time: i64::MAX,
            user: 0,
            session: 0,
            failed: false,
            events: 0,
            model: 0,
            any: 0,
            own: 0,
            first: (i64::MAX, 0),
            last: (i64::MIN, 0),
            sums: Sums::default(),
        }
    }

    /// Seconds from its start to its end.
    pub(super) fn seconds(&self) -> f64 {
        seconds(self.start, self.end, self.own_seconds)
    }

    fn add(&mut self, data: &Data, event: &Event) {
        let form = data.form(event);
        self.events += 1;
        self.any = event.id;
        self.start = self.start.min(event.time);
        self.end = self.end.max(end(event));
        self.user = if self.user == 0 { event.user } else { self.user };
        self.session = if self.session == 0 { event.session } else { self.session };
        match form.kind {
            // Of several the first, as on its own page.
            TRACE if (event.time, event.id) < self.own_place => {
                self.own_place = (event.time, event.id);
                self.own = event.id;
                self.own_seconds = event.latency;
                self.failed = form.is_error;
                // Nothing is a better name.
                (self.name, self.name_time) = (form.name, i64::MIN);
            }
            SPAN if event.time < self.name_time => (self.name, self.name_time) = (form.name, event.time),
            _ => {}
        }
        if form.is_call() {
            self.sums.add(event, form);
            self.model = form.model;
        }
        if form.is_call() || form.kind == SPAN {
            let place = (event.time, event.id);
            // A call says more than a span.
            self.first = self.first.min(place);
            self.last = if form.is_call() { self.last.max(place) } else { self.last };
        }
    }
}

fn end(event: &Event) -> i64 {
    let seconds = Some(event.latency).filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
    event.time.saturating_add((f64::from(seconds) * 1000.0) as i64)
}

fn seconds(start: i64, end: i64, own: f32) -> f64 {
    if own.is_nan() { (end - start) as f64 / 1000.0 } else { f64::from(own) }
}

/// Some traces by their places, and between what numbers they are.
struct Traces {
    places: Bits,
    numbers: (u32, u32),
}

impl Traces {
    fn new() -> Self {
        Self { places: Bits::default(), numbers: (u32::MAX, 0) }
    }

    fn insert(&mut self, data: &Data, number: u32) {
        self.places.insert(data.place(number));
        self.numbers = (self.numbers.0.min(number), self.numbers.1.max(number));
    }

    /// Those whose places fit.
    fn only(&self, data: &Data, fits: impl Fn(usize) -> bool) -> Self {
        let mut only = Self::new();
        self.places.iter().filter(|place| fits(*place)).for_each(|place| only.insert(data, data.at(place)));
        only
    }

    /// The places of those with a call whose cost is known.
    fn priced(&self, data: &Data) -> Bits {
        let mut priced = Bits::default();
        self.each(data, Of::Calls, Columns::NONE, |event, place| {
            if data.form(event).is_priced {
                priced.insert(place);
            }
        });
        priced
    }

    /// Whether a block has no event of theirs for certain.
    fn misses(&self, block: &Block) -> bool {
        block.traces.1 < self.numbers.0 || block.traces.0 > self.numbers.1
    }

    /// Goes through all their events, in time or not.
    fn each(&self, data: &Data, of: Of, columns: Columns, mut take: impl FnMut(&Event, usize)) {
        data.each(
            of,
            columns.and(Columns::TRACE),
            |block| self.misses(block),
            |events| {
                for event in events {
                    let place = data.place(event.trace);
                    if self.places.has(place) {
                        take(event, place);
                    }
                }
            },
        );
    }

    /// A number of each of them, by its place.
    fn measure(&self, data: &Data, measure: Summed) -> Vec<f64> {
        let mut values = vec![0.0; data.places()];
        let mut sum = |columns: Columns, get: &dyn Fn(&Event) -> f64| {
            self.each(data, Of::Calls, columns, |event, place| values[place] += get(event));
        };
        match measure {
            Summed::Calls => sum(Columns::NONE, &|_| 1.0),
            // What has no price has no digits of one either.
            Summed::Sum(Measure::Cost) => sum(Columns::COST, &Event::dollars),
            Summed::Sum(Measure::Tokens) => sum(Columns::INPUT.and(Columns::OUTPUT), &Event::tokens),
            Summed::Sum(Measure::Input) => sum(Columns::INPUT, &|event| event.input.into()),
            Summed::Sum(Measure::Output) => sum(Columns::OUTPUT, &|event| event.output.into()),
            Summed::Sum(Measure::Cached) => sum(Columns::CACHED, &|event| event.cached.into()),
            // Of a trace there is no first token.
            Summed::Sum(Measure::Latency | Measure::First) => return self.durations(data),
        }
        values
    }

    /// Seconds of each. One thing after the other, so that less is in memory at once.
    fn durations(&self, data: &Data) -> Vec<f64> {
        let columns = Columns::TIME.and(Columns::LATENCY);
        let mut values = {
            let mut spans = vec![(i64::MAX, i64::MIN); data.places()];
            self.each(data, Of::Everything, columns, |event, place| {
                let span = &mut spans[place];
                *span = (span.0.min(event.time), span.1.max(end(event)));
            });
            let seconds = |(start, end)| if start > end { 0.0 } else { seconds(start, end, f32::NAN) };
            spans.into_iter().map(seconds).collect::<Vec<f64>>()
        };
        // Of several own events the first counts.
        let mut owns = vec![(i64::MAX, 0); data.places()];
        let each = |take: &mut dyn FnMut(&Event, usize)| {
            self.each(data, Of::Others, columns.and(Columns::ID), |event, place| {
                if data.form(event).kind == TRACE {
                    take(event, place);
                }
            });
        };
        each(&mut |event, place| owns[place] = owns[place].min((event.time, event.id)));
        each(&mut |event, place| {
            if owns[place] == (event.time, event.id) && !event.latency.is_nan() {
                values[place] = event.latency.into();
            }
        });
        values
    }

    fn starts(&self, data: &Data) -> Vec<i64> {
        let mut starts = vec![i64::MAX; data.places()];
        self.each(data, Of::Everything, Columns::TIME, |event, place| starts[place] = starts[place].min(event.time));
        starts
    }
}

/// What of a trace is summed up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Summed {
    Calls,
    Sum(Measure),
}

/// The traces with an event that the filter leaves, and whose own sums are as asked: how many, and those on a page.
pub(super) fn traces(data: &Data, ready: &Ready, sort: &str, slice: Slice) -> (usize, Vec<Trace>) {
    let (mut found, mut others) = (Traces::new(), Bits::default());
    ready.each_of_traces(data, |event, is_asked_for| {
        if is_asked_for {
            found.insert(data, event.trace);
        } else {
            others.insert(data.place(event.trace));
        }
    });
    if !others.is_empty() {
        found = found.only(data, |place| !others.has(place));
    }
    for (not, measure, bounds) in ready.measures.iter().filter(|(_, measure, _)| *measure != Measure::First) {
        let values = found.measure(data, Summed::Sum(*measure));
        // What no call of it has a price for is not free.
        let known = (*measure == Measure::Cost).then(|| found.priced(data));
        let is_known = |place| known.as_ref().is_none_or(|known| known.has(place));
        found = found.only(data, |place| *not != (is_known(place) && bounds.hold(*measure, values[place])));
    }
    let starts = found.starts(data);
    let values = match sort {
        "duration" => Some(Summed::Sum(Measure::Latency)),
        "calls" => Some(Summed::Calls),
        "tokens" => Some(Summed::Sum(Measure::Tokens)),
        "cost" => Some(Summed::Sum(Measure::Cost)),
        _ => None,
    };
    let values = values.map(|measure| found.measure(data, measure));
    let mut top = Top::new(slice);
    for place in found.places.iter() {
        let value = values.as_ref().map_or(starts[place] as f64, |values| values[place]);
        top.offer(Some(value), starts[place], i64::from(data.at(place)));
    }
    let total = top.total;
    (total, of(data, &top.page()))
}

/// Traces by their numbers, in that order.
pub(super) fn of(data: &Data, numbers: &[i64]) -> Vec<Trace> {
    let numbers: Vec<u32> = numbers.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    let mut wanted = Traces::new();
    for number in &numbers {
        wanted.insert(data, *number);
    }
    let mut made: Vec<Trace> = numbers.iter().map(|number| Trace::new(*number)).collect();
    let at: HashMap<u32, usize> = numbers.iter().enumerate().map(|(at, number)| (*number, at)).collect();
    let is_wanted = |trace| wanted.places.has(data.place(trace));
    let skip = |block: &Block| wanted.misses(block);
    data.some(Of::Everything, By::Trace, skip, is_wanted, |event| made[at[&event.trace]].add(data, event));
    made
}

/// A session or a person, over the calls that a filter leaves.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) number: Number,
    /// Who a session was for.
    pub(super) user: Number,
    pub(super) sums: Sums,
    pub(super) last: i64,
    pub(super) traces: u64,
}

/// Sessions or people: how many, and those on a page.
pub(super) fn members(data: &Data, ready: &Ready, by: By, sort: &str, slice: Slice) -> (usize, Vec<Member>) {
    let mut seen = Bits::default();
    let mut values = vec![0.0; data.places()];
    let key = by.column();
    let mut each = |columns: Columns, take: &mut dyn FnMut(&Event, &super::data::Form, usize)| {
        ready.calls(data, columns.and(key), |event, form| {
            if by.of(event) != 0 {
                let place = data.place(by.of(event));
                seen.insert(place);
                take(event, form, place);
            }
        });
    };
    match sort {
        "calls" => each(Columns::NONE, &mut |_, _, at| values[at] += 1.0),
        "errors" => each(Columns::NONE, &mut |_, form, at| values[at] += f64::from(u8::from(form.is_error))),
        "tokens" => each(Columns::INPUT.and(Columns::OUTPUT), &mut |event, _, at| values[at] += event.tokens()),
        "cost" => each(Columns::COST, &mut |event, _, at| values[at] += event.dollars()),
        "traces" => {
            let mut traces = Distinct::new(data.places());
            each(Columns::TRACE, &mut |event, _, at| {
                values[at] += f64::from(u8::from(traces.is_new(at, data.place(event.trace))));
            });
        }
        _ => each(Columns::TIME, &mut |event, _, at| values[at] = f64::max(values[at], event.time as f64)),
    }
    let mut top = Top::new(slice);
    for place in seen.iter() {
        top.offer(Some(values[place]), 0, i64::from(data.at(place)));
    }
    let total = top.total;
    drop(values);
    (total, members_of(data, ready, by, &top.page()))
}

/// Sessions or people by their numbers, in that order.
pub(super) fn members_of(data: &Data, ready: &Ready, by: By, numbers: &[i64]) -> Vec<Member> {
    let numbers: Vec<u32> = numbers.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    let new = |number: &u32| Member { number: *number, user: 0, sums: Sums::default(), last: i64::MIN, traces: 0 };
    let mut made: Vec<Member> = numbers.iter().map(new).collect();
    let mut at = vec![u32::MAX; data.places()];
    for (number, place) in numbers.iter().zip(0..) {
        at[data.place(*number)] = place;
    }
    let mut traces = std::collections::HashSet::new();
    let is_wanted = |number| at[data.place(number)] != u32::MAX;
    ready.calls_of(data, by, is_wanted, |event, form| {
        let member = &mut made[at[data.place(by.of(event))] as usize];
        member.sums.add(event, form);
        member.traces += u64::from(traces.insert((member.number, event.trace)));
        if event.time >= member.last {
            member.last = event.time;
            member.user = if event.user == 0 { member.user } else { event.user };
        }
    });
    made
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_are_those_of_a_sort() {
        let values: Vec<Option<f64>> = (0..20_000_u32)
            .map(|n| (n % 7 != 0).then(|| f64::from(n.wrapping_mul(2_654_435_761) % 1000) - 500.0))
            .collect();
        for falls in [true, false] {
            let mut all: Vec<usize> = (0..values.len()).collect();
            all.sort_by(|a, b| match (values[*a], values[*b]) {
                (Some(first), Some(second)) => {
                    let order = first.total_cmp(&second);
                    if falls { order.reverse() } else { order }.then(b.cmp(a))
                }
                (a_value, b_value) => a_value.is_none().cmp(&b_value.is_none()).then(b.cmp(a)),
            });
            for from in [0, 50, 9000, 19_990, 30_000] {
                let mut top = Top::new(Slice { from, len: 50, falls });
                for (at, value) in (0..).zip(&values) {
                    top.offer(*value, at, at);
                }
                assert_eq!(top.total, values.len());
                let wanted: Vec<i64> = all.iter().skip(from).take(50).map(|at| i64::try_from(*at).unwrap()).collect();
                assert_eq!(top.page(), wanted, "{falls} {from}");
            }
        }
    }
}
