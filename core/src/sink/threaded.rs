//! A sink of the application's, on a thread of its own: it may block, and holds up nothing but itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Carrier, MadeSink, Outcome, Route, Sending};
use crate::event::{Lane, WireEvent};

/// See the module.
pub(crate) struct Threaded {
    made: MadeSink,
    to: Option<Sender<Batch>>,
}

struct Batch {
    events: Vec<WireEvent>,
    deadline: Duration,
    answer: oneshot::Sender<Outcome>,
}

impl Threaded {
    pub(crate) fn new(made: MadeSink) -> Self {
        Self { made, to: None }
    }

    fn start(&self) -> std::io::Result<Sender<Batch>> {
        let (to, from) = channel();
        let made = self.made.clone();
        // Never joined: it may be in the middle of something that takes long.
        std::thread::Builder::new().name("llmtrail-sink".to_owned()).spawn(move || live(&made, &from))?;
        Ok(to)
    }
}

fn live(made: &MadeSink, from: &Receiver<Batch>) {
    let mut sink = catch_unwind(AssertUnwindSafe(|| (made.make)())).ok();
    for Batch { events, deadline, answer } in from {
        // Nobody waits for it any more: the same events come again.
        if answer.is_closed() {
            continue;
        }
        let outcome = match &mut sink {
            Some(sink) => catch_unwind(AssertUnwindSafe(|| sink.send(&events, deadline))).ok(),
            None => None,
        };
        let panicked = || Outcome::Later { after: None, why: "the sink panicked".to_owned() };
        let _ = answer.send(outcome.unwrap_or_else(panicked));
    }
}

impl Carrier for Threaded {
    fn place(&self) -> String {
        self.made.name.clone()
    }

    fn routes(&self, _lane: Lane) -> &'static [Route] {
        &[Route::Local]
    }

    fn send(&mut self, events: &[WireEvent], _route: Route, deadline: Duration) -> Sending {
        let later = |why: String| Outcome::Later { after: None, why };
        let to = match self.to.take().map_or_else(|| self.start(), Ok) {
            Ok(to) => self.to.insert(to),
            Err(error) => return Sending::done(later(format!("its thread cannot be started: {error}"))),
        };
        let (answer, answered) = oneshot::channel();
        if to.send(Batch { events: events.to_vec(), deadline, answer }).is_err() {
            self.to = None;
            return Sending::done(later("its thread ended".to_owned()));
        }
        // The other lane's batch may be before this one.
        let patience = deadline.saturating_mul(2);
        let answer = Box::pin(async move {
            match tokio::time::timeout(patience, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Outcome::Later { after: None, why: "its thread ended".to_owned() },
                Err(_) => Outcome::Later { after: None, why: "no answer in time".to_owned() },
            }
        });
        Sending { answer, bytes: 0 }
    }
}
