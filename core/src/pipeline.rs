//! What the worker does with what callers hand over: decode, build the event, price it, hide what must be hidden.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::attempts::{Attempt, Attempts};
use crate::config::Config;
use crate::context::{Scope, ScopeKind};
use crate::decode::{self, Recognised};
use crate::deliver::Stage;
use crate::event::usage::Usage;
use crate::event::{Event, WireEvent, build, unix_ms};
use crate::exchange::Exchange;
use crate::price::{Amount, Overrides, PriceBook, Query, price};

/// What callers hand over.
pub(crate) enum Input {
    /// An HTTP attempt.
    Exchange(Box<Exchange>),
    /// A trace or span that ended after this long.
    Ended(Scope, Duration),
    /// An event that the application made.
    Event(Box<Event>),
}

/// The stage between capture and delivery.
pub(crate) struct Pipeline {
    config: Arc<Config>,
    prices: Arc<ArcSwap<PriceBook>>,
    attempts: Attempts,
}

impl Pipeline {
    pub(crate) fn new(config: Arc<Config>, prices: Arc<ArcSwap<PriceBook>>) -> Self {
        Self { config, prices, attempts: Attempts::default() }
    }

    fn emit(&self, attempt: &Attempt, out: &mut Vec<WireEvent>) {
        if let Some(found) = recognise(&self.config, &attempt.exchange) {
            let event = event_of_attempt(&self.config, &self.prices.load(), &found, attempt);
            out.push(event.encode());
        }
    }
}

impl Stage for Pipeline {
    type Input = Input;

    fn process(&mut self, input: Input, out: &mut Vec<WireEvent>) {
        match input {
            Input::Exchange(exchange) => {
                if let Some(attempt) = self.attempts.take(exchange) {
                    self.emit(&attempt, out);
                }
            }
            Input::Ended(scope, took) => {
                // Nothing retries once the scope it was made in has ended.
                if scope.kind() == ScopeKind::Trace || scope.parent_id().is_none() {
                    for attempt in self.attempts.of_trace(scope.trace_id()) {
                        self.emit(&attempt, out);
                    }
                }
                let mut event = build::scope_event(&self.config, &scope, took);
                build::redact(&self.config, Some(&scope), &mut event.properties);
                out.push(event.encode());
            }
            Input::Event(mut event) => {
                build::library(&self.config, &mut event.properties);
                build::redact(&self.config, None, &mut event.properties);
                out.push(event.encode());
            }
        }
    }

    fn tick(&mut self, out: &mut Vec<WireEvent>) {
        for attempt in self.attempts.expired() {
            self.emit(&attempt, out);
        }
    }

    fn wakes_in(&self) -> Option<Duration> {
        self.attempts.wakes_in()
    }

    fn drain(&mut self, out: &mut Vec<WireEvent>) {
        for attempt in self.attempts.all() {
            self.emit(&attempt, out);
        }
    }

    fn held(&self) -> usize {
        self.attempts.len()
    }
}

fn recognise(config: &Config, exchange: &Exchange) -> Option<Recognised> {
    decode::recognise(config, &exchange.method, &exchange.url, exchange.provider.as_deref())
}

/// The event of one exchange; `None` when its address is not that of a call. A pure function but for fresh ids.
pub(crate) fn event_of(config: &Config, exchange: Exchange) -> Option<Event> {
    let found = recognise(config, &exchange)?;
    Some(event_of_attempt(config, &PriceBook::new(), &found, &Attempt::first(Box::new(exchange))))
}

fn event_of_attempt(config: &Config, book: &PriceBook, found: &Recognised, attempt: &Attempt) -> Event {
    let exchange = &*attempt.exchange;
    let call = decode::read(found.wire, exchange);
    let usage = call.usage;
    let reported = call.reported_usd.clone();
    // A call that failed before it used anything has no cost, and no reason to explain one.
    let nothing_used = call.error.is_some() && call.raw_usage.is_none();
    let mut event = build::call_event(config, exchange, found, call, attempt.retries, attempt.earlier);
    let started = exchange.started_at.unwrap_or_else(SystemTime::now);
    let amount =
        if nothing_used { None } else { charge(&mut event, book, found, &usage, reported.as_deref(), started) };
    if let Some(scope) = &exchange.scope {
        scope.add(&usage, amount);
    }
    build::redact(config, exchange.scope.as_ref(), &mut event.properties);
    event
}

/// Puts the cost of a call on its event. The application's own properties (model, provider, unit prices) are on the
/// event already and are what counts.
fn charge(
    event: &mut Event,
    book: &PriceBook,
    found: &Recognised,
    usage: &Usage,
    reported_usd: Option<&str>,
    started: SystemTime,
) -> Option<Amount> {
    let text = |name: &str| event.properties.get(name).and_then(Value::as_str).unwrap_or_default();
    let overrides = Overrides::from_properties(&event.properties);
    let query = Query {
        service_tier: event.properties.get("$ai_service_tier").and_then(Value::as_str),
        local: found.local,
        reported_usd,
        overrides: overrides.as_ref(),
        ..Query::new(text("$ai_provider"), text("$ai_model"), usage, unix_ms(started))
    };
    let cost = price(book, &query);
    let mut properties = serde_json::Map::new();
    cost.properties(&mut properties);
    for (name, value) in properties {
        event.properties.entry(name).or_insert(value);
    }
    cost.total()
}
