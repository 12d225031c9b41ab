//! What lists, sums and charts are made of: of every event its numbers and names, in memory.
//!
//! A question over a million events is then one pass over them, whatever it filters by, groups by and sorts by; SQLite
//! would need an index for each. Messages stay in the file. About 100 bytes an event.

use std::collections::HashMap;

use crate::price::Amount;
use crate::sink::store::scan::Scanned;

/// A text by number; 0 is none.
pub(super) type Name = u32;

/// Texts, each once.
#[derive(Default)]
pub(super) struct Names {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, Name>,
}

impl Names {
    fn number(&mut self, text: &str) -> Name {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = Name::try_from(self.texts.len() + 1).unwrap_or(0);
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    /// The text of a number; nothing for 0.
    pub(super) fn text(&self, number: Name) -> Option<&str> {
        self.texts.get(usize::try_from(number).ok()?.checked_sub(1)?).map(|text| &**text)
    }

    /// Which numbers have a text for which this holds.
    pub(super) fn which(&self, test: impl Fn(&str) -> bool) -> Vec<bool> {
        std::iter::once(false).chain(self.texts.iter().map(|text| test(text))).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

pub(super) const GENERATION: u8 = 1;
pub(super) const EMBEDDING: u8 = 2;
pub(super) const SPAN: u8 = 3;
pub(super) const TRACE: u8 = 4;

/// An event.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) id: i64,
    pub(super) time: i64,
    cost_nano: i64,
    cost_atto: u32,
    /// A number in [`Data::traces`].
    pub(super) trace: u32,
    pub(super) model: Name,
    pub(super) provider: Name,
    pub(super) user: Name,
    pub(super) session: Name,
    pub(super) name: Name,
    pub(super) span_type: Name,
    pub(super) error_type: Name,
    pub(super) tools: Name,
    pub(super) source: Name,
    pub(super) language: Name,
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) cached: u32,
    /// Seconds; not a number when it is not known.
    pub(super) latency: f32,
    pub(super) first: f32,
    pub(super) saved: f32,
    pub(super) status: u16,
    /// A number in [`super::filter::KINDS`].
    pub(super) kind: u8,
    pub(super) is_error: bool,
    pub(super) is_priced: bool,
    /// A call whose cost should be known and is not.
    pub(super) is_unpriced: bool,
}

impl Event {
    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, GENERATION | EMBEDDING)
    }

    pub(super) fn cost(&self) -> Amount {
        Amount::from_atto(i128::from(self.cost_nano) * 1_000_000_000 + i128::from(self.cost_atto))
    }
}

/// Sums over calls.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) unpriced: u64,
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) cost: Amount,
    pub(super) saved: f64,
}

impl Sums {
    pub(super) fn add(&mut self, event: &Event) {
        self.calls += 1;
        self.errors += u64::from(event.is_error);
        self.unpriced += u64::from(event.is_unpriced);
        self.input += u64::from(event.input);
        self.cached += u64::from(event.cached);
        self.output += u64::from(event.output);
        self.saved += f64::from(event.saved);
        if event.is_priced {
            self.cost = self.cost + event.cost();
        }
    }
}

/// A trace, over all its events.
pub(super) struct Trace {
    pub(super) id: Box<str>,
    pub(super) start: i64,
    /// Milliseconds since 1970, of the last thing that ended.
    end: i64,
    own_seconds: f32,
    pub(super) name: Name,
    name_time: i64,
    pub(super) user: Name,
    pub(super) session: Name,
    /// Its own event failed.
    pub(super) failed: bool,
    pub(super) events: u32,
    /// The own event, the first and the last call: whose previews are shown.
    pub(super) own: i64,
    pub(super) first: (i64, i64),
    pub(super) last: (i64, i64),
    pub(super) sums: Sums,
}

impl Trace {
    /// Seconds from its start to its end.
    pub(super) fn seconds(&self) -> f64 {
        if self.own_seconds.is_nan() {
            return (self.end - self.start) as f64 / 1000.0;
        }
        f64::from(self.own_seconds)
    }
}

/// All events that were read so far.
#[derive(Default)]
pub(super) struct Data {
    pub(super) names: Names,
    pub(super) events: Vec<Event>,
    pub(super) traces: Vec<Trace>,
    trace_numbers: HashMap<Box<str>, u32>,
    /// The id of the event that was written last.
    pub(super) last: i64,
    /// How often events had been removed.
    pub(super) removals: i64,
    /// Times from which on every event is here; everything when it is the lowest.
    pub(super) since: i64,
}

impl Data {
    /// Nothing yet.
    pub(super) fn new(removals: i64) -> Self {
        Self { since: i64::MAX, removals, ..Self::default() }
    }

    /// Takes an event in.
    pub(super) fn push(&mut self, row: &Scanned<'_>) {
        let kind = match row.event {
            "$ai_generation" => GENERATION,
            "$ai_embedding" => EMBEDDING,
            "$ai_span" => SPAN,
            "$ai_trace" => TRACE,
            "$ai_metric" => 5,
            "$ai_feedback" => 6,
            _ => 0,
        };
        self.last = self.last.max(row.id);
        let mut name =
            |text: Option<&str>| text.filter(|text| !text.is_empty()).map_or(0, |text| self.names.number(text));
        // Of an event that is for nobody this is the trace's id.
        let user = name(Some(row.distinct_id).filter(|user| *user != row.trace_id));
        let (label, session) = (name(row.name), name(row.session_id));
        let count = |number: Option<i64>| number.map_or(0, |number| u32::try_from(number.max(0)).unwrap_or(u32::MAX));
        let real = |number: Option<f64>| number.map_or(f32::NAN, |number| number as f32);
        let atto = row.cost.map_or(0, Amount::atto);
        let is_call = matches!(kind, GENERATION | EMBEDDING);
        let event = Event {
            id: row.id,
            time: row.timestamp_ms,
            cost_nano: i64::try_from(atto.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
            cost_atto: u32::try_from(atto.rem_euclid(1_000_000_000)).unwrap_or(0),
            trace: 0,
            model: name(row.model),
            provider: name(row.provider),
            user,
            session,
            name: label,
            span_type: name(row.span_type),
            error_type: name(row.error_type),
            tools: name(row.tools_called),
            source: name(row.cost_source),
            language: name(row.lib_language),
            input: count(row.total_input_tokens),
            output: count(row.output_tokens),
            cached: count(row.cache_read_input_tokens),
            latency: real(row.latency),
            first: real(row.time_to_first_token),
            saved: row.cache_saved_usd.map_or(0.0, |saved| saved as f32),
            status: row.http_status.and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
            kind,
            is_error: row.is_error,
            is_priced: row.cost.is_some(),
            is_unpriced: is_call && row.cost.is_none() && (row.has_tokens || !row.is_error),
        };
        if kind == 0 {
            // Not about a model.
            return;
        }
        let trace = self.trace(row.trace_id, row.timestamp_ms);
        self.traces[trace as usize].add(&event, row);
        self.events.push(Event { trace, ..event });
    }

    fn trace(&mut self, id: &str, time: i64) -> u32 {
        if let Some(number) = self.trace_numbers.get(id) {
            return *number;
        }
        let number = u32::try_from(self.traces.len()).unwrap_or(u32::MAX);
        self.traces.push(Trace {
            id: id.into(),
            start: time,
            end: time,
            own_seconds: f32::NAN,
            name: 0,
            name_time: i64::MAX,
            user: 0,
            session: 0,
            failed: false,
            events: 0,
            own: 0,
            first: (i64::MAX, 0),
            last: (i64::MIN, 0),
            sums: Sums::default(),
        });
        self.trace_numbers.insert(id.into(), number);
        number
    }
}

impl Trace {
    fn add(&mut self, event: &Event, row: &Scanned<'_>) {
        self.events += 1;
        self.start = self.start.min(event.time);
        let seconds = row.latency.filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
        self.end = self.end.max(event.time.saturating_add((seconds * 1000.0) as i64));
        self.user = if self.user == 0 { event.user } else { self.user };
        self.session = if self.session == 0 { event.session } else { self.session };
        match event.kind {
            TRACE => {
                self.own = event.id;
                self.own_seconds = event.latency;
                self.failed = event.is_error;
                // Nothing is a better name.
                (self.name, self.name_time) = (event.name, i64::MIN);
            }
            SPAN if event.time < self.name_time => (self.name, self.name_time) = (event.name, event.time),
            _ => {}
        }
        if event.is_call() {
            self.sums.add(event);
        }
        if event.is_call() || event.kind == SPAN {
            let place = (event.time, event.id);
            // A call says more than a span.
            self.first = self.first.min(place);
            self.last = if event.is_call() { self.last.max(place) } else { self.last };
        }
    }
}
