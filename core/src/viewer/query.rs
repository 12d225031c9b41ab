//! Questions to the data: which events a filter leaves, and their sums by what many of them have in common.

use std::collections::{HashMap, HashSet};

use super::columns::Columns;
use super::data::{Data, Event, Form, GENERATION, Of, SPAN, Sums};
use super::filter::{Bounds, Field, Filter, Measure, Term, Test, fits};
use crate::sink::store::scan::Number;

/// Some of the numbers from 0 on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn insert(&mut self, number: usize) {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(at, word)| (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 64 + bit))
    }
}

/// What was found in the file for a condition, before the data are asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Ids of traces, sessions and people that a pattern fits.
    pub(super) ids: Bits,
    /// Events with certain words in them; or those without a trace whose own id a pattern fits.
    pub(super) events: HashSet<i64>,
}

/// What events are gathered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Trace,
    Session,
    User,
}

impl By {
    pub(super) fn of(self, event: &Event) -> u32 {
        match self {
            Self::Trace => event.trace,
            Self::Session => event.session,
            Self::User => event.user,
        }
    }

    pub(super) fn column(self) -> Columns {
        match self {
            Self::Trace => Columns::TRACE,
            Self::Session => Columns::SESSION,
            Self::User => Columns::USER,
        }
    }
}

/// A filter that is ready to be asked of one event after the other.
pub(super) struct Ready {
    since: i64,
    /// Of each form whether it is as every condition on what forms have says.
    forms: Vec<bool>,
    steps: Vec<(bool, Step)>,
    /// Those that look at a trace's sums when traces are listed, but for [`Measure::First`]: of that a trace has no sum.
    pub(super) measures: Vec<(bool, Measure, Bounds)>,
    columns: Columns,
    /// Of each form what it says of its trace.
    of_trace: Vec<OfTrace>,
}

/// What an event's form says of its trace: that the trace is one of those asked for, that it is none of them, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfTrace {
    For,
    Against,
    Nothing,
}

enum Step {
    Ids(By, Bits),
    Events(HashSet<i64>),
}

impl Step {
    fn holds(&self, data: &Data, event: &Event) -> bool {
        match self {
            Self::Ids(by, these) => by.of(event) != 0 && these.has(data.place(by.of(event))),
            Self::Events(these) => these.contains(&event.id),
        }
    }
}

impl Ready {
    /// Answers what can be answered at once for all events. `found` is what was found for each condition, in their order.
    pub(super) fn new(data: &Data, filter: &Filter, since: i64, found: Vec<Found>) -> Self {
        let mut ready = Self {
            since,
            forms: vec![true; data.forms.len()],
            steps: Vec::new(),
            measures: Vec::new(),
            columns: Columns::TIME,
            of_trace: vec![OfTrace::For; data.forms.len()],
        };
        for (Term { not, test }, found) in filter.terms.iter().zip(found) {
            let by = match test {
                Test::Number(measure, bounds) => {
                    ready.measures.push((*not, *measure, *bounds));
                    continue;
                }
                Test::Words(_) => {
                    ready.columns = ready.columns.and(Columns::ID);
                    ready.steps.push((*not, Step::Events(found.events)));
                    continue;
                }
                Test::Text(Field::Trace, _) => By::Trace,
                Test::Text(Field::Session, _) => By::Session,
                Test::Text(Field::User, _) => By::User,
                test => {
                    // One that is ok is one in which nothing failed.
                    let is_ok = *test == Test::Failed(false);
                    let of_forms = ready.forms.iter_mut().zip(&mut ready.of_trace).zip(&data.forms);
                    for ((holds, of_trace), form) in of_forms {
                        let has = has(data, form, test);
                        *holds &= *not != has;
                        *of_trace = match (has != is_ok, *not != is_ok) {
                            (true, true) => OfTrace::Against,
                            (false, false) if *of_trace == OfTrace::For => OfTrace::Nothing,
                            _ => *of_trace,
                        };
                    }
                    continue;
                }
            };
            let mut ids = found.ids;
            for (at, _) in data.lone.iter().enumerate().filter(|(_, id)| by == By::Trace && found.events.contains(id)) {
                ids.insert(data.place(super::data::LONE | at as u32));
            }
            ready.columns = ready.columns.and(by.column());
            ready.steps.push((*not, Step::Ids(by, ids)));
        }
        ready
    }

    /// Whether an event is in time and as every condition says that is no condition on numbers.
    fn holds(&self, data: &Data, event: &Event) -> bool {
        event.time >= self.since
            && self.forms[event.form as usize]
            && self.steps.iter().all(|(not, step)| *not != step.holds(data, event))
    }

    /// Goes through the events in time that say something of their traces: that the trace is one of those asked for, for it
    /// has an event that is as all conditions say, or that it is not, for it has one that is as a condition with a minus
    /// says. Of conditions on sums nothing is asked.
    pub(super) fn each_of_traces(&self, data: &Data, mut take: impl FnMut(&Event, bool)) {
        let columns = self.firsts().fold(self.columns.and(Columns::TRACE), |columns, _| columns.and(Columns::FIRST));
        data.each(
            Of::Everything,
            columns,
            |block| block.times.1 < self.since,
            |events| {
                for event in events.iter().filter(|event| event.time >= self.since) {
                    match self.of_trace(data, event) {
                        OfTrace::For => take(event, true),
                        OfTrace::Against => take(event, false),
                        OfTrace::Nothing => {}
                    }
                }
            },
        );
    }

    fn of_trace(&self, data: &Data, event: &Event) -> OfTrace {
        let mut found = self.of_trace[event.form as usize];
        let steps = self.steps.iter().map(|(not, step)| (*not, step.holds(data, event)));
        let first = Some(f64::from(event.first)).filter(|first| !first.is_nan());
        let firsts =
            self.firsts().map(|(not, bounds)| (not, first.is_some_and(|first| bounds.hold(Measure::First, first))));
        for (not, holds) in steps.chain(firsts) {
            match (not, holds) {
                (true, true) => return OfTrace::Against,
                (false, false) if found == OfTrace::For => found = OfTrace::Nothing,
                _ => {}
            }
        }
        found
    }

    /// Conditions on the time to the first token.
    fn firsts(&self) -> impl Iterator<Item = (bool, &Bounds)> {
        self.measures.iter().filter(|(_, measure, _)| *measure == Measure::First).map(|(not, _, bounds)| (*not, bounds))
    }

    /// Goes through the events that are left, each with its form; these columns of them are there.
    pub(super) fn each(&self, data: &Data, of: Of, columns: Columns, mut take: impl FnMut(&Event, &Form)) {
        let columns = self
            .measures
            .iter()
            .fold(columns.and(self.columns), |columns, (_, measure, _)| columns.and(needs(*measure)));
        data.each(
            of,
            columns,
            |block| block.times.1 < self.since,
            |events| {
                events.iter().filter(|event| self.fits(data, event)).for_each(|event| take(event, data.form(event)));
            },
        );
    }

    /// Goes through the calls that are left of some traces, sessions or people, whole.
    pub(super) fn calls_of(
        &self,
        data: &Data,
        by: By,
        is_wanted: impl Fn(u32) -> bool,
        mut take: impl FnMut(&Event, &Form),
    ) {
        data.some(
            Of::Calls,
            by,
            |block| block.times.1 < self.since,
            is_wanted,
            |event| {
                if self.fits(data, event) {
                    take(event, data.form(event));
                }
            },
        );
    }

    /// Whether an event is as every condition says.
    fn fits(&self, data: &Data, event: &Event) -> bool {
        self.holds(data, event)
            && self.measures.iter().all(|(not, measure, bounds)| {
                *not != measured(event, data.form(event), *measure).is_some_and(|number| bounds.hold(*measure, number))
            })
    }

    /// The calls alone.
    pub(super) fn calls(&self, data: &Data, columns: Columns, take: impl FnMut(&Event, &Form)) {
        self.each(data, Of::Calls, columns, take);
    }
}

/// Whether all events of a form are as a condition says.
fn has(data: &Data, form: &Form, test: &Test) -> bool {
    let like = |name: Number, pattern: &str| data.text(name).is_some_and(|text| fits(pattern, text));
    match test {
        Test::Text(Field::Model, pattern) => like(form.model, pattern),
        Test::Text(Field::Provider, pattern) => like(form.provider, pattern),
        Test::Text(Field::Name, pattern) => like(form.name, pattern),
        Test::Text(Field::Error, pattern) => like(form.error_type, pattern),
        Test::Text(Field::Language, pattern) => like(form.language, pattern),
        // A tool is one that an answer calls, or a span of that type.
        Test::Text(Field::Tool, pattern) => {
            let asked = data.text(form.tools).map(|tools| tools.split(',').any(|tool| fits(pattern, tool)));
            asked.unwrap_or_else(|| is_tool(data, form) && like(form.name, pattern))
        }
        Test::Failed(failed) => form.is_error == *failed,
        Test::Status(status) => form.status == *status,
        Test::Kind(kind) => form.kind == *kind,
        Test::Unpriced => form.is_unpriced,
        Test::Text(..) | Test::Words(_) | Test::Number(..) => true,
    }
}

/// Whether it is a tool's span.
pub(super) fn is_tool(data: &Data, form: &Form) -> bool {
    form.kind == SPAN && data.text(form.span_type) == Some("tool")
}

fn needs(measure: Measure) -> Columns {
    match measure {
        Measure::Cost => Columns::COST,
        Measure::Latency => Columns::LATENCY,
        Measure::First => Columns::FIRST,
        Measure::Tokens => Columns::INPUT.and(Columns::OUTPUT),
        Measure::Input => Columns::INPUT,
        Measure::Output => Columns::OUTPUT,
        Measure::Cached => Columns::CACHED,
    }
}

fn measured(event: &Event, form: &Form, measure: Measure) -> Option<f64> {
    let known = |number: f32| (!number.is_nan()).then_some(f64::from(number));
    let of_call = |number: f64| form.is_call().then_some(number);
    match measure {
        Measure::Cost => form.is_priced.then(|| event.cost().to_f64()),
        Measure::Latency => known(event.latency),
        Measure::First => known(event.first),
        Measure::Tokens => of_call(event.tokens()),
        Measure::Input => of_call(event.input.into()),
        Measure::Output => of_call(event.output.into()),
        Measure::Cached => of_call(event.cached.into()),
    }
}

/// What is counted once however often it comes, of some groups.
#[derive(Default)]
pub(super) struct Distinct {
    /// Of each thing the first group that it came in, and one.
    first: Vec<u32>,
    more: HashSet<(u32, u32)>,
}

impl Distinct {
    pub(super) fn new(places: usize) -> Self {
        Self { first: vec![0; places], more: HashSet::new() }
    }

    /// Whether a thing has not come in a group before.
    pub(super) fn is_new(&mut self, group: usize, place: usize) -> bool {
        let group = group as u32 + 1;
        let first = &mut self.first[place];
        if *first == 0 {
            *first = group;
            return true;
        }
        *first != group && self.more.insert((group, place as u32))
    }
}

/// A group of events.
pub(super) struct Group {
    pub(super) key: (Number, Number),
    pub(super) sums: Sums,
    pub(super) last: i64,
    /// How many of its events are calls.
    pub(super) calls: u64,
    pub(super) traces: u64,
    pub(super) users: u64,
    pub(super) latencies: Vec<f32>,
    pub(super) firsts: Vec<f32>,
}

/// What of the events of a group is counted besides sums.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) latencies: bool,
    pub(super) people: bool,
}

/// Groups events by names that their forms have; events of a form without a key are in none.
pub(super) fn groups(
    data: &Data,
    ready: &Ready,
    of: Of,
    wanted: Wanted,
    key: impl Fn(&Form) -> Option<(Number, Number)>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<(Number, Number), usize> = HashMap::new();
    let mut place_of = |key: (Number, Number)| {
        *places.entry(key).or_insert_with(|| {
            groups.push(Group {
                key,
                sums: Sums::default(),
                last: i64::MIN,
                calls: 0,
                traces: 0,
                users: 0,
                latencies: Vec::new(),
                firsts: Vec::new(),
            });
            groups.len() - 1
        })
    };
    let place: Vec<Option<usize>> = data.forms.iter().map(|form| key(form).map(&mut place_of)).collect();
    let mut columns = Columns::SUMS;
    let [mut traces, mut people] = [Distinct::default(), Distinct::default()];
    if wanted.latencies {
        columns = columns.and(Columns::LATENCY).and(Columns::FIRST);
    }
    if wanted.people {
        columns = columns.and(Columns::TRACE).and(Columns::USER);
        traces = Distinct::new(data.places());
        people = Distinct::new(data.places());
    }
    ready.each(data, of, columns, |event, form| {
        let Some(at) = place[event.form as usize] else { return };
        let group = &mut groups[at];
        group.sums.add(event, form);
        group.calls += u64::from(form.is_call());
        group.last = group.last.max(event.time);
        if wanted.latencies && !event.latency.is_nan() {
            group.latencies.push(event.latency);
        }
        if wanted.latencies && !event.first.is_nan() {
            group.firsts.push(event.first);
        }
        if wanted.people {
            group.traces += u64::from(traces.is_new(at, data.place(event.trace)));
            group.users += u64::from(event.user != 0 && people.is_new(at, data.place(event.user)));
        }
    });
    groups.retain(|group| group.sums.calls > 0);
    groups
}

/// The value below which a share of the numbers is: nearest rank. `None` of nothing.
pub(super) fn percentile(numbers: &mut [f32], share: f64) -> Option<f64> {
    let last = numbers.len().checked_sub(1)?;
    let rank = ((numbers.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
    let (_, value, _) = numbers.select_nth_unstable_by(rank, f32::total_cmp);
    Some(f64::from(*value))
}

/// Generations alone: what latency and the first token are told of.
pub(super) fn is_generation(form: &Form) -> bool {
    form.kind == GENERATION
}
