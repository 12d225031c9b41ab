//! What the worker does with what callers hand over: decode, build the event, price it, hide what must be hidden.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;
use uuid::Uuid;

use crate::attempts::{Attempt, Attempts};
use crate::background::{Background, Polled};
use crate::budget::Budgets;
use crate::config::Config;
use crate::context::{Scope, ScopeKind};
use crate::decode::call::Call;
use crate::decode::{self, Recognised, Wire};
use crate::deliver::Stage;
use crate::event::policy::Policy;
use crate::event::usage::Usage;
use crate::event::{AI_EVENTS, Draft, Event, WireEvent, build, recorded, unix_ms};
use crate::exchange::Exchange;
use crate::finished::FinishedCall;
use crate::ledger::{self, Ledger};
use crate::manual::CaptureOptions;
use crate::notes::Notes;
use crate::price::given::Given;
use crate::price::watch::Watch;
use crate::price::{Amount, Overrides, PriceBook, Query, price, region_of};
use crate::record::CallRecord;
use crate::sample::Sampler;
use crate::tools::Tools;
use crate::written::WrittenInput;

/// What callers hand over.
pub(crate) enum Input {
    /// An HTTP attempt.
    Exchange(Box<Exchange>),
    /// A trace or span that ended, after this long where that is known.
    Ended(Scope, Option<Duration>),
    /// A call that the application told of.
    Recorded(Box<Recorded>),
    /// The same, as the application's language wrote it.
    Written(Box<WrittenInput>),
    /// An event that the application made.
    Event(Box<Captured>),
}

/// A call that the application told of, and the scope that it was told in.
pub(crate) struct Recorded {
    pub(crate) record: CallRecord,
    pub(crate) embedding: bool,
    pub(crate) scope: Option<Scope>,
    pub(crate) id: String,
}

/// An event that the application made, and where.
pub(crate) struct Captured {
    pub(crate) event: String,
    pub(crate) uuid: Uuid,
    pub(crate) at: SystemTime,
    pub(crate) options: CaptureOptions,
    pub(crate) scope: Option<Scope>,
}

/// The stage between capture and delivery.
pub(crate) struct Pipeline {
    config: Arc<Config>,
    prices: Arc<ArcSwap<PriceBook>>,
    notes: Notes,
    attempts: Attempts,
    background: Background,
    watch: Watch,
    sampler: RefCell<Sampler>,
    /// Events that the sampler left out since the worker asked.
    left_out: Cell<u64>,
    ledger: Arc<Ledger>,
    budgets: Arc<Budgets>,
    tools: Tools,
    /// What of an event's content goes to every sink, and what to the local store beside others where that is different.
    policies: (Policy, Option<Policy>),
    /// Calls that are over, for whoever wants to hear of them.
    finished: Vec<FinishedCall>,
}

impl Pipeline {
    pub(crate) fn new(
        config: Arc<Config>,
        prices: Arc<ArcSwap<PriceBook>>,
        notes: Notes,
        ledger: Arc<Ledger>,
        budgets: Arc<Budgets>,
    ) -> Self {
        let watch = Watch::new(Arc::clone(&config), Arc::clone(&prices), notes.clone());
        let policies = config.policies();
        let sampler = RefCell::new(Sampler::new(config.sample_rate, config.keep_errors));
        Self {
            config,
            prices,
            notes,
            attempts: Attempts::default(),
            background: Background::default(),
            watch,
            sampler,
            left_out: Cell::new(0),
            ledger,
            budgets,
            tools: Tools::default(),
            policies,
            finished: Vec::new(),
        }
    }

    /// Reads an attempt that is the last of its call. Where the call goes on in the background it waits for its end.
    fn take(&mut self, attempt: Attempt, out: &mut Vec<WireEvent>) {
        let call = decode::read(&attempt.found, &attempt.exchange);
        let Some(id) = call.response_id.as_ref().filter(|_| call.pending).cloned() else {
            return self.emit_call(call, &attempt, out);
        };
        if let Some(oldest) = self.background.hold(id, attempt) {
            self.emit(&oldest, out);
        }
    }

    /// A response was asked for again: nothing of its own, but maybe the end of a call.
    fn poll(&mut self, found: &Recognised, exchange: Exchange, out: &mut Vec<WireEvent>) {
        let Some(id) = found.response.as_deref().filter(|id| self.background.knows(id)) else { return };
        let call = decode::read(found, &exchange);
        if call.stop_reasons.is_empty() || call.response_id.as_deref() != Some(id) {
            return self.background.asked(id);
        }
        match self.background.ended(id, exchange) {
            Polled::Ended(attempt) => self.emit(&attempt, out),
            Polled::TooLate => self.notes.add("background_ended_late"),
            Polled::Unknown => {}
        }
    }

    fn emit(&mut self, attempt: &Attempt, out: &mut Vec<WireEvent>) {
        self.emit_call(decode::read(&attempt.found, &attempt.exchange), attempt, out);
    }

    fn emit_call(&mut self, call: Call, attempt: &Attempt, out: &mut Vec<WireEvent>) {
        if call.unreadable {
            self.notes.add("unreadable_answer");
        }
        let charged = event_of_call(&self.config, &self.prices.load(), call, attempt);
        self.charged(attempt.exchange.scope.as_ref(), charged, out);
    }

    fn recorded(&mut self, recorded: Recorded, out: &mut Vec<WireEvent>) {
        let (scope, charged) = recorded_event(&self.config, &self.prices.load(), recorded);
        self.charged(Some(&scope), charged, out);
    }

    /// What there is to do with the event of a call: it is counted, looked through for tools, redacted and sent.
    fn charged(&mut self, scope: Option<&Scope>, mut charged: Charged, out: &mut Vec<WireEvent>) {
        self.count(scope, &charged);
        let Charged { event, started, took, usage, amount, .. } = &mut charged;
        if self.config.tool_spans && event.event == "$ai_generation" {
            let ended = started.checked_add(*took).unwrap_or(*started);
            for (mut span, private) in self.tools.see(&self.config, &event.properties, scope, *started, ended) {
                // The result is in this call, the arguments were in another one.
                self.send(&mut span, private || is_private(scope), out);
            }
        }
        if self.config.hooks.hear_generations() && (event.event == "$ai_generation" || event.event == "$ai_embedding") {
            self.finished.push(FinishedCall::of(event, usage, amount.map(Amount::to_f64)));
        }
        self.send(event, is_private(scope), out);
    }

    /// Adds what a call cost to all that it counts for.
    fn count(&self, scope: Option<&Scope>, charged: &Charged) {
        let Charged { event, model, usage, amount, started, .. } = charged;
        if let Some(scope) = scope {
            scope.add(usage, *amount);
        }
        let trace_id = event.properties.text("$ai_trace_id");
        let keys = ledger::keys(&self.config, scope, trace_id, *started);
        self.ledger.add(&keys, model.as_deref(), usage, *amount, &self.budgets.shared());
    }

    /// Redacts and encodes what is sampled in. A trace is kept or dropped whole, the same in every process that has a part in
    /// it.
    fn send(&self, event: &mut Draft, private: bool, out: &mut Vec<WireEvent>) {
        let trace_id = event.properties.text("$ai_trace_id");
        // Other events only say which trace they were made in.
        let trace_id = trace_id.filter(|_| AI_EVENTS.contains(&event.event.as_ref()));
        let is_error = event.properties.get("$ai_is_error") == Some(&Value::Bool(true));
        if trace_id.is_some_and(|id| !self.sampler.borrow_mut().keeps(id, is_error)) {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        let (policy, stored) = &self.policies;
        let stored = stored.as_ref().map(|policy| {
            let mut event = event.clone();
            build::redact(policy, private, &mut event.properties);
            event.encode().json
        });
        build::redact(policy, private, &mut event.properties);
        out.push(WireEvent { stored, ..event.encode() });
    }
}

impl Stage for Pipeline {
    type Input = Input;

    fn process(&mut self, input: Input, out: &mut Vec<WireEvent>) {
        self.watch.look();
        match input {
            Input::Exchange(mut exchange) => {
                // What it was taken to cost counts until what it did cost is added, and not while it waits for a retry.
                let _until_here = exchange.reservation.take();
                let found = recognise(&self.config, &exchange);
                let Some(found) = found.filter(|found| decode::is_call(found, &exchange)) else { return };
                if found.wire == Wire::OpenAiResponsesPoll {
                    self.poll(&found, *exchange, out);
                } else if let Some(attempt) = self.attempts.take(found, exchange) {
                    self.take(attempt, out);
                }
            }
            Input::Ended(scope, took) => {
                // Nothing retries once the scope it was made in has ended.
                if scope.kind() == ScopeKind::Trace || scope.parent_id().is_none() {
                    for attempt in self.attempts.of_trace(scope.trace_id()) {
                        self.emit(&attempt, out);
                    }
                }
                self.tools.ended(&scope);
                let mut event = build::scope_event(&self.config, &scope, took);
                self.send(&mut event, scope.privacy(), out);
            }
            Input::Recorded(recorded) => self.recorded(*recorded, out),
            Input::Written(written) => {
                let WrittenInput { call, embedding, scope, at, id } = *written;
                let Some(record) = call.read(at) else { return self.notes.add("unreadable_record") };
                drop(call);
                self.recorded(Recorded { record, embedding, scope, id }, out);
            }
            Input::Event(captured) => {
                let scope = captured.scope.clone();
                let mut event = build::captured_event(&self.config, *captured);
                self.send(&mut event, is_private(scope.as_ref()), out);
            }
        }
    }

    fn tick(&mut self, out: &mut Vec<WireEvent>) {
        for attempt in self.attempts.expired().into_iter().chain(self.background.expired()) {
            self.emit(&attempt, out);
        }
    }

    fn wakes_in(&self) -> Option<Duration> {
        [self.attempts.wakes_in(), self.background.wakes_in()].into_iter().flatten().min()
    }

    fn drain(&mut self, last: bool, out: &mut Vec<WireEvent>) {
        // An event cannot be taken back: a call that goes on in the background would lose its answer to a flush.
        let running = if last { self.background.all() } else { Vec::new() };
        for attempt in self.attempts.all().into_iter().chain(running) {
            self.emit(&attempt, out);
        }
    }

    fn left_out(&mut self) -> u64 {
        self.left_out.take()
    }

    fn finished(&mut self) -> Vec<FinishedCall> {
        std::mem::take(&mut self.finished)
    }

    fn held(&self) -> usize {
        self.attempts.len() + self.background.len()
    }
}

fn is_private(scope: Option<&Scope>) -> bool {
    scope.is_some_and(Scope::privacy)
}

fn recognise(config: &Config, exchange: &Exchange) -> Option<Recognised> {
    decode::recognise(config, &exchange.method, &exchange.url, exchange.provider.as_deref())
}

/// The event of one exchange; `None` when its address is not that of a call. A pure function but for fresh ids.
pub(crate) fn event_of(config: &Config, exchange: Exchange) -> Option<Event> {
    let found = recognise(config, &exchange).filter(|found| found.wire != Wire::OpenAiResponsesPoll)?;
    if !decode::is_call(&found, &exchange) {
        return None;
    }
    let call = decode::read(&found, &exchange);
    let scope = exchange.scope.clone();
    let attempt = Attempt::first(found, Box::new(exchange));
    let mut charged = event_of_call(config, &PriceBook::new(), call, &attempt);
    build::redact(&config.policies().0, is_private(scope.as_ref()), &mut charged.event.properties);
    Some(charged.event.into())
}

/// The event of a call, not redacted yet, and what it used and cost.
struct Charged {
    event: Draft,
    /// The model that was asked for.
    model: Option<String>,
    usage: Usage,
    amount: Option<Amount>,
    started: SystemTime,
    /// From its start to its end, the caller's pauses included.
    took: Duration,
}

/// The event of a call.
fn event_of_call(config: &Config, book: &PriceBook, mut call: Call, attempt: &Attempt) -> Charged {
    let (found, exchange) = (&attempt.found, &*attempt.exchange);
    let mut waited = exchange.ended_at + attempt.earlier;
    if let Some(own) = attempt.polled {
        // A poll may come long after the end, and its first piece is not the answer's first.
        waited = call.ran.map_or(waited, |ran| waited.min(ran.max(own)));
        call.first_content_at = None;
    }
    let usage = call.usage;
    let model = call.model_requested.clone().or_else(|| call.model.clone());
    let reported = call.reported_usd.clone();
    // A call that failed before it used anything has no cost, and no reason to explain one.
    let nothing_used = call.error.is_some() && call.raw_usage.is_none();
    let mut event = build::call_event(config, call, attempt, waited);
    let started = exchange.started_at.unwrap_or_else(SystemTime::now);
    let amount =
        if nothing_used { None } else { charge(&mut event, book, found.local, &usage, reported.as_deref(), started) };
    Charged { event, model, usage, amount, started, took: waited + exchange.paused }
}

/// The event of a call that the application told of.
fn recorded_event(config: &Config, book: &PriceBook, recorded: Recorded) -> (Scope, Charged) {
    let Recorded { mut record, embedding, scope: around, id } = recorded;
    let model = record.model.clone();
    let took = record.latency.unwrap_or_default();
    let started = record.scope.started_at.unwrap_or_else(SystemTime::now);
    let scope = Scope::open(ScopeKind::Options, around.as_ref(), std::mem::take(&mut record.scope));
    // Neither counts nor a cost: there is nothing to price, and no reason to explain it.
    let nothing_used = record.usage.is_none() && record.cost_usd.is_none();
    let (mut event, usage, reported) = recorded::event(config, record, embedding, &scope, id, started);
    let amount =
        if nothing_used { None } else { charge(&mut event, book, false, &usage, reported.as_deref(), started) };
    (scope, Charged { event, model, usage, amount, started, took })
}

/// Puts the cost of a call on its event. The application's own properties (model, provider, unit prices) are on the
/// event already and are what counts.
pub(crate) fn charge(
    event: &mut Draft,
    book: &PriceBook,
    local: bool,
    usage: &Usage,
    reported_usd: Option<&str>,
    started: SystemTime,
) -> Option<Amount> {
    let text = |name: &str| event.properties.text(name).unwrap_or_default();
    let overrides = Overrides::of(|name| event.properties.get(name));
    let given = Given::of(event.properties.values());
    let parts = given.parts();
    let query = Query {
        service_tier: event.properties.text("$ai_service_tier"),
        region: region_of(text("$ai_base_url")).or_else(|| event.properties.get("$ai_usage").and_then(decode::kept_in)),
        reported_usd: given.total.as_deref().or(reported_usd),
        reported_parts: Some(&parts),
        local,
        overrides: overrides.as_ref(),
        another_model: event.properties.get("$ai_usage").is_some_and(decode::used_another_model),
        ..Query::new(text("$ai_provider"), text("$ai_model"), usage, unix_ms(started))
    };
    let cost = price(book, &query);
    let total = cost.total();
    cost.each_property(|name, property| event.properties.add_new(name, property));
    total
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
