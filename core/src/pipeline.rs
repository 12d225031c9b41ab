//! What the worker does with what callers hand over: decode, build the event, price it, hide what must be hidden.

use std::sync::Arc;
use std::time::Duration;

use crate::attempts::{Attempt, Attempts};
use crate::config::Config;
use crate::context::{Scope, ScopeKind};
use crate::decode::{self, Recognised};
use crate::deliver::Stage;
use crate::event::{Event, WireEvent, build};
use crate::exchange::Exchange;

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
    attempts: Attempts,
}

impl Pipeline {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { config, attempts: Attempts::default() }
    }

    fn emit(&self, attempt: &Attempt, out: &mut Vec<WireEvent>) {
        if let Some(found) = recognise(&self.config, &attempt.exchange) {
            let event = event_of_attempt(&self.config, &found, attempt);
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
    Some(event_of_attempt(config, &found, &Attempt::first(Box::new(exchange))))
}

fn event_of_attempt(config: &Config, found: &Recognised, attempt: &Attempt) -> Event {
    let exchange = &*attempt.exchange;
    let call = decode::read(found.wire, exchange);
    let usage = call.usage;
    let mut event = build::call_event(config, exchange, found, call, attempt.retries, attempt.earlier);
    if let Some(scope) = &exchange.scope {
        scope.add(&usage, None);
    }
    build::redact(config, exchange.scope.as_ref(), &mut event.properties);
    event
}
