//! What lists, sums and charts are made of: of every event its numbers, in memory, packed.
//!
//! A question over a million events is then one pass over some of their columns, whatever it filters by, groups by and
//! sorts by; SQLite would need an index for each. What comes again with many events (model, provider, status, names...)
//! is kept once, as their form. Texts of ids and all messages stay in the file.

use std::collections::HashMap;

use super::columns::{Block, Columns, ROWS};
use super::query::By;
use crate::price::Amount;
use crate::sink::store::scan::{Number, Scanned};

pub(super) const GENERATION: u8 = 1;
pub(super) const EMBEDDING: u8 = 2;
pub(super) const SPAN: u8 = 3;
pub(super) const TRACE: u8 = 4;

/// What events have in common. Names are numbers of texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) model: Number,
    pub(super) provider: Number,
    pub(super) name: Number,
    pub(super) span_type: Number,
    pub(super) error_type: Number,
    pub(super) tools: Number,
    pub(super) source: Number,
    pub(super) language: Number,
    pub(super) status: u16,
    /// A number in [`super::filter::KINDS`].
    pub(super) kind: u8,
    pub(super) is_error: bool,
    pub(super) is_priced: bool,
    /// A call whose cost should be known and is not.
    pub(super) is_unpriced: bool,
}

impl Form {
    /// `None` of what is not about a model.
    fn of(row: &Scanned) -> Option<Self> {
        // The texts with the first numbers are the kinds.
        let kind = u8::try_from(row.event).ok().filter(|kind| (1..=6).contains(kind))?;
        let is_call = matches!(kind, GENERATION | EMBEDDING);
        Some(Self {
            model: row.model,
            provider: row.provider,
            name: row.name,
            span_type: row.span_type,
            error_type: row.error_type,
            tools: row.tools_called,
            source: row.cost_source,
            language: row.language,
            status: row.http_status,
            kind,
            is_error: row.is_error,
            is_priced: row.cost.is_some(),
            is_unpriced: is_call && row.cost.is_none() && (row.has_tokens || !row.is_error),
        })
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, GENERATION | EMBEDDING)
    }
}

/// An event.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Event {
    pub(super) id: i64,
    pub(super) time: i64,
    pub(super) cost_nano: i64,
    pub(super) cost_atto: u32,
    /// In [`Data::forms`].
    pub(super) form: u32,
    /// An id, or what [`Data::lone`] has.
    pub(super) trace: u32,
    pub(super) user: Number,
    pub(super) session: Number,
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) cached: u32,
    /// Seconds; not a number when it is not known.
    pub(super) latency: f32,
    pub(super) first: f32,
    pub(super) saved: f32,
}

impl Event {
    pub(super) fn cost(&self) -> Amount {
        Amount::from_atto(i128::from(self.cost_nano) * 1_000_000_000 + i128::from(self.cost_atto))
    }

    /// What goes in and what comes out.
    pub(super) fn tokens(&self) -> f64 {
        f64::from(self.input) + f64::from(self.output)
    }

    /// In US dollars; to the last bit or nearly.
    pub(super) fn dollars(&self) -> f64 {
        self.cost_nano as f64 / 1e9 + f64::from(self.cost_atto) / 1e18
    }
}

/// Sums over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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
    pub(super) fn add(&mut self, event: &Event, form: &Form) {
        self.calls += 1;
        self.errors += u64::from(form.is_error);
        self.unpriced += u64::from(form.is_unpriced);
        self.input += u64::from(event.input);
        self.cached += u64::from(event.cached);
        self.output += u64::from(event.output);
        self.saved += f64::from(event.saved);
        if form.is_priced {
            self.cost = self.cost + event.cost();
        }
    }

    pub(super) fn merge(&mut self, more: &Self) {
        self.calls += more.calls;
        self.errors += more.errors;
        self.unpriced += more.unpriced;
        self.input += more.input;
        self.cached += more.cached;
        self.output += more.output;
        self.cost = self.cost + more.cost;
        self.saved += more.saved;
    }
}

/// Events of one sort.
#[derive(Default)]
struct Rows {
    blocks: Vec<Block>,
    /// Those that do not fill a block yet.
    open: Vec<Event>,
}

impl Rows {
    fn push(&mut self, event: Event) {
        self.open.push(event);
        if self.open.len() == ROWS {
            self.blocks.push(Block::new(&self.open));
            self.open.clear();
        }
    }

    /// The events by whose number in a column somebody is looked for. Few are, so that the others are not unpacked.
    fn some(
        &self,
        by: By,
        skip: impl Fn(&Block) -> bool,
        is_wanted: impl Fn(u32) -> bool,
        mut take: impl FnMut(&Event),
    ) {
        let mut numbers = Vec::new();
        for block in self.blocks.iter().filter(|block| !skip(block)) {
            block.numbers(by.column(), &mut numbers);
            for (at, _) in numbers.iter().enumerate().filter(|(_, number)| is_wanted(**number)) {
                take(&block.event(at));
            }
        }
        self.open.iter().filter(|event| is_wanted(by.of(event))).for_each(take);
    }

    fn each(&self, columns: Columns, skip: impl Fn(&Block) -> bool, mut take: impl FnMut(&[Event])) {
        let mut events = Vec::new();
        for block in self.blocks.iter().filter(|block| !skip(block)) {
            block.unpack(columns, &mut events);
            take(&events);
        }
        take(&self.open);
    }
}

/// Which events a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Generations and embeddings.
    Calls,
    /// All but calls.
    Others,
    Everything,
}

/// All events that were read so far.
#[derive(Default)]
pub(super) struct Data {
    /// Most questions are about calls alone, and other events have fewer numbers.
    calls: Rows,
    others: Rows,
    pub(super) forms: Vec<Form>,
    form_numbers: HashMap<Form, u32>,
    texts: HashMap<Number, Box<str>>,
    /// Events without a trace, by their ids: each is a trace of its own, whose number is its place here and [`LONE`].
    pub(super) lone: Vec<i64>,
    /// The highest number of an id.
    highest: Number,
    pub(super) len: u64,
    /// When the latest event began.
    pub(super) newest: Option<i64>,
    /// The id of the event that was written last.
    pub(super) last: i64,
    /// How often events had been removed or changed.
    pub(super) changes: i64,
    /// Times from which on every event is here; everything when it is the lowest.
    pub(super) since: i64,
    /// How many events may be older than that.
    pub(super) unread: i64,
}

/// Of the number of a trace that has no id.
pub(super) const LONE: u32 = 1 << 31;

impl Data {
    /// Nothing yet.
    pub(super) fn new(changes: i64) -> Self {
        Self { since: i64::MAX, changes, ..Self::default() }
    }

    /// Whether a part can be shown, and reading the rest takes longer than somebody wants to look at nothing.
    pub(super) fn is_long(&self) -> bool {
        /// Read in a quarter of a second, on a busy machine too.
        const SOON: i64 = 100_000;
        self.since != i64::MAX && self.unread > SOON
    }

    /// The numbers of names in these rows whose texts are not here yet.
    pub(super) fn unknown(&self, rows: &[Scanned]) -> Vec<Number> {
        let mut numbers: Vec<Number> = rows
            .iter()
            .flat_map(|row| {
                let Scanned {
                    name, span_type, provider, model, error_type, cost_source, language, tools_called, ..
                } = *row;
                [name, span_type, provider, model, error_type, cost_source, language, tools_called]
            })
            .filter(|number| *number != 0 && !self.texts.contains_key(number))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Takes texts of names in.
    pub(super) fn learn(&mut self, texts: Vec<(Number, String)>) {
        self.texts.extend(texts.into_iter().map(|(number, text)| (number, text.into())));
    }

    /// Takes an event in.
    pub(super) fn push(&mut self, row: &Scanned) {
        self.last = self.last.max(row.id);
        let Some(form) = Form::of(row) else { return };
        let next = u32::try_from(self.forms.len()).unwrap_or(u32::MAX);
        let number = *self.form_numbers.entry(form).or_insert(next);
        if number == next {
            self.forms.push(form);
        }
        let trace = if row.trace == 0 {
            self.lone.push(row.id);
            LONE | u32::try_from(self.lone.len() - 1).unwrap_or(0)
        } else {
            row.trace
        };
        for id in [row.trace, row.user, row.session] {
            self.highest = self.highest.max(id);
        }
        let (cost_nano, cost_atto) = row.cost.unwrap_or_default();
        self.len += 1;
        self.newest = self.newest.max(Some(row.timestamp_ms));
        let rows = if form.is_call() { &mut self.calls } else { &mut self.others };
        rows.push(Event {
            id: row.id,
            time: row.timestamp_ms,
            cost_nano,
            cost_atto,
            form: number,
            trace,
            user: row.user,
            session: row.session,
            input: row.input,
            output: row.output,
            cached: row.cached,
            latency: row.latency,
            first: row.first,
            saved: row.saved,
        });
    }

    pub(super) fn form(&self, event: &Event) -> &Form {
        &self.forms[event.form as usize]
    }

    /// The text of a name; nothing for 0 and for one that is empty.
    pub(super) fn text(&self, name: Number) -> Option<&str> {
        self.texts.get(&name).map(|text| &**text).filter(|text| !text.is_empty())
    }

    /// Goes through events, as many at a time as are together. Their form is always there.
    pub(super) fn each(&self, of: Of, columns: Columns, skip: impl Fn(&Block) -> bool, mut take: impl FnMut(&[Event])) {
        let columns = columns.and(Columns::FORM);
        if of != Of::Others {
            self.calls.each(columns, &skip, &mut take);
        }
        if of != Of::Calls {
            self.others.each(columns, &skip, &mut take);
        }
    }

    /// Goes through the events of some traces, sessions or people.
    pub(super) fn some(
        &self,
        of: Of,
        by: By,
        skip: impl Fn(&Block) -> bool,
        is_wanted: impl Fn(u32) -> bool,
        mut take: impl FnMut(&Event),
    ) {
        if of != Of::Others {
            self.calls.some(by, &skip, &is_wanted, &mut take);
        }
        if of != Of::Calls {
            self.others.some(by, &skip, &is_wanted, &mut take);
        }
    }

    /// How many places an array by trace, session or person needs.
    pub(super) fn places(&self) -> usize {
        self.highest as usize + 1 + self.lone.len()
    }

    /// The place of a trace, session or person in such an array.
    pub(super) fn place(&self, number: u32) -> usize {
        if number & LONE == 0 { number as usize } else { self.highest as usize + 1 + (number & !LONE) as usize }
    }

    /// The number that has a place.
    pub(super) fn at(&self, place: usize) -> u32 {
        match place.checked_sub(self.highest as usize + 1) {
            None => u32::try_from(place).unwrap_or(0),
            Some(lone) => LONE | u32::try_from(lone).unwrap_or(0),
        }
    }
}
