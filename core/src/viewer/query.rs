//! Questions to the data: which events a filter leaves, what they sum up to, by what.

use std::collections::{HashMap, HashSet};

use super::data::{Data, Event, GENERATION, Name, Sums, Trace};
use super::filter::{Field, Filter, Measure, Term, Test, fits};

/// A filter that is ready to be asked of one event after the other.
pub(super) struct Ready {
    since: i64,
    terms: Vec<(bool, Step)>,
    /// Those that look at a trace's sums when traces are listed.
    measures: Vec<(bool, Measure, super::filter::Bounds)>,
}

enum Step {
    Names(Field, Vec<bool>),
    Traces(Vec<bool>),
    Failed(bool),
    Status(u16),
    Kind(u8),
    Ids(HashSet<i64>),
    Unpriced,
    Number(Measure, super::filter::Bounds),
}

impl Ready {
    /// Looks every pattern up in the names once. `words` finds the events with these words.
    pub(super) fn new(data: &Data, filter: &Filter, since: i64, mut words: impl FnMut(&str) -> HashSet<i64>) -> Self {
        let mut ready = Self { since, terms: Vec::new(), measures: Vec::new() };
        for Term { not, test } in &filter.terms {
            let step = match test {
                Test::Text(Field::Trace, pattern) => {
                    Step::Traces(data.traces.iter().map(|trace| fits(pattern, &trace.id)).collect())
                }
                Test::Text(Field::Tool, pattern) => {
                    Step::Names(Field::Tool, data.names.which(|tools| tools.split(',').any(|tool| fits(pattern, tool))))
                }
                Test::Text(field, pattern) => Step::Names(*field, data.names.which(|text| fits(pattern, text))),
                Test::Failed(failed) => Step::Failed(*failed),
                Test::Status(status) => Step::Status(*status),
                Test::Kind(kind) => Step::Kind(*kind),
                Test::Words(text) => Step::Ids(words(text)),
                Test::Unpriced => Step::Unpriced,
                Test::Number(measure, bounds) => {
                    ready.measures.push((*not, *measure, *bounds));
                    Step::Number(*measure, *bounds)
                }
            };
            ready.terms.push((*not, step));
        }
        ready
    }

    /// Whether an event is in time and as every condition says. Of conditions on numbers, only where it is an event that
    /// is listed, and not its trace.
    fn holds(&self, data: &Data, event: &Event, with_numbers: bool) -> bool {
        if event.time < self.since {
            return false;
        }
        self.terms.iter().all(|(not, step)| {
            *not != match step {
                Step::Names(field, these) => these[named(event, *field, data) as usize],
                Step::Traces(these) => these[event.trace as usize],
                Step::Failed(failed) => event.is_error == *failed,
                Step::Status(status) => event.status == *status,
                Step::Kind(kind) => event.kind == *kind,
                Step::Ids(ids) => ids.contains(&event.id),
                Step::Unpriced => event.is_unpriced,
                Step::Number(measure, bounds) if with_numbers => {
                    measured(event, *measure).is_some_and(|number| bounds.hold(number))
                }
                Step::Number(..) => return true,
            }
        })
    }

    /// The events that are left.
    pub(super) fn events<'a>(&'a self, data: &'a Data) -> impl Iterator<Item = &'a Event> + 'a {
        data.events.iter().filter(move |event| self.holds(data, event, true))
    }

    /// The calls that are left.
    pub(super) fn calls<'a>(&'a self, data: &'a Data) -> impl Iterator<Item = &'a Event> + 'a {
        self.events(data).filter(|event| event.is_call())
    }

    /// The traces with an event that is left, and whose own sums are as asked.
    pub(super) fn traces(&self, data: &Data) -> Vec<u32> {
        let mut here = vec![false; data.traces.len()];
        let mut found = Vec::new();
        for event in &data.events {
            if !here[event.trace as usize] && self.holds(data, event, false) {
                here[event.trace as usize] = true;
                found.push(event.trace);
            }
        }
        found.retain(|number| {
            let trace = &data.traces[*number as usize];
            self.measures.iter().all(|(not, measure, bounds)| *not != bounds.hold(measured_trace(trace, *measure)))
        });
        found
    }
}

/// The name that a condition is about. A tool is one that an answer calls, or a span of that type.
fn named(event: &Event, field: Field, data: &Data) -> Name {
    match field {
        Field::Model => event.model,
        Field::Provider => event.provider,
        Field::User => event.user,
        Field::Session => event.session,
        Field::Name | Field::Trace => event.name,
        Field::Error => event.error_type,
        Field::Language => event.language,
        Field::Tool if event.tools != 0 => event.tools,
        Field::Tool if data.names.text(event.span_type) == Some("tool") => event.name,
        Field::Tool => 0,
    }
}

fn measured(event: &Event, measure: Measure) -> Option<f64> {
    let known = |number: f32| (!number.is_nan()).then_some(f64::from(number));
    match measure {
        Measure::Cost => event.is_priced.then(|| event.cost().to_f64()),
        Measure::Latency => known(event.latency),
        Measure::First => known(event.first),
        Measure::Tokens => event.is_call().then(|| f64::from(event.input) + f64::from(event.output)),
        Measure::Input => event.is_call().then(|| f64::from(event.input)),
        Measure::Output => event.is_call().then(|| f64::from(event.output)),
        Measure::Cached => event.is_call().then(|| f64::from(event.cached)),
    }
}

fn measured_trace(trace: &Trace, measure: Measure) -> f64 {
    let sums = &trace.sums;
    match measure {
        Measure::Cost => sums.cost.to_f64(),
        // Of a trace there is no first token.
        Measure::Latency | Measure::First => trace.seconds(),
        Measure::Tokens => (sums.input + sums.output) as f64,
        Measure::Input => sums.input as f64,
        Measure::Output => sums.output as f64,
        Measure::Cached => sums.cached as f64,
    }
}

/// A group of calls.
pub(super) struct Group {
    pub(super) key: Name,
    pub(super) second: Name,
    pub(super) sums: Sums,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) traces: u64,
    pub(super) users: u64,
    pub(super) latencies: Vec<f32>,
    pub(super) firsts: Vec<f32>,
}

/// What of the events of a group is counted.
#[derive(Default, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) latencies: bool,
    pub(super) traces: bool,
    pub(super) users: bool,
}

/// Groups events by one name, or two.
pub(super) fn groups<'a>(
    events: impl Iterator<Item = &'a Event>,
    wanted: Wanted,
    key: impl Fn(&Event) -> (Name, Name),
) -> Vec<Group> {
    let mut places: HashMap<(Name, Name), usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut pairs: HashSet<(usize, u32)> = HashSet::new();
    let mut people: HashSet<(usize, Name)> = HashSet::new();
    for event in events {
        let key = key(event);
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Group {
                key: key.0,
                second: key.1,
                sums: Sums::default(),
                first: i64::MAX,
                last: i64::MIN,
                traces: 0,
                users: 0,
                latencies: Vec::new(),
                firsts: Vec::new(),
            });
            groups.len() - 1
        });
        let group = &mut groups[place];
        group.sums.add(event);
        group.first = group.first.min(event.time);
        group.last = group.last.max(event.time);
        if wanted.latencies && !event.latency.is_nan() {
            group.latencies.push(event.latency);
        }
        if wanted.latencies && !event.first.is_nan() {
            group.firsts.push(event.first);
        }
        if wanted.traces && pairs.insert((place, event.trace)) {
            group.traces += 1;
        }
        if wanted.users && event.user != 0 && people.insert((place, event.user)) {
            group.users += 1;
        }
    }
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
pub(super) fn is_generation(event: &Event) -> bool {
    event.kind == GENERATION
}
