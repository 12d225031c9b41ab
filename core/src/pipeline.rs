//! What the worker does with what callers hand over: decode, build the event, price it, hide what must be hidden.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::context::Scope;
use crate::deliver::Stage;
use crate::event::{Event, WireEvent};
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
    _config: Arc<Config>,
}

impl Pipeline {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { _config: config }
    }
}

impl Stage for Pipeline {
    type Input = Input;

    fn process(&mut self, input: Input, out: &mut Vec<WireEvent>) {
        match input {
            Input::Exchange(_) | Input::Ended(..) => {}
            Input::Event(event) => out.push(event.encode()),
        }
    }

    fn tick(&mut self, _out: &mut Vec<WireEvent>) {}

    fn wakes_in(&self) -> Option<Duration> {
        None
    }

    fn drain(&mut self, _out: &mut Vec<WireEvent>) {}

    fn held(&self) -> usize {
        0
    }
}
