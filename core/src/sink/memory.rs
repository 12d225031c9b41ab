//! A sink that keeps what it gets and answers as told: for tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Carrier, Outcome, Route, Sending};
use crate::event::{Lane, WireEvent};

/// Answers with what was scripted, then accepts.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(crate) struct Inner {
    /// Every batch that was sent, with its route.
    pub(crate) sent: Vec<(Route, Vec<WireEvent>)>,
    /// What was accepted.
    pub(crate) events: Vec<WireEvent>,
    /// The answers to come. `None`: no answer until the deadline.
    pub(crate) script: VecDeque<Option<Outcome>>,
}

impl Memory {
    pub(crate) fn scripted(script: impl IntoIterator<Item = Option<Outcome>>) -> Self {
        let inner = Inner { script: script.into_iter().collect(), ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&mut Inner) -> T) -> T {
        at(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Carrier for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn destination(&self) -> Option<String> {
        Some("memory".to_owned())
    }

    fn routes(&self, lane: Lane) -> &'static [Route] {
        match lane {
            Lane::Ai => &[Route::Ai, Route::Batch],
            Lane::General => &[Route::Batch],
        }
    }

    fn send(&mut self, events: &[WireEvent], route: Route, deadline: Duration) -> Sending {
        self.look(|inner| {
            inner.sent.push((route, events.to_vec()));
            let Some(outcome) = inner.script.pop_front().unwrap_or(Some(Outcome::Accepted)) else {
                let late = Outcome::Later { after: None, why: "timed out".to_owned() };
                let answer = Box::pin(async move {
                    tokio::time::sleep(deadline).await;
                    late
                });
                return Sending { answer, bytes: 0 };
            };
            if outcome == Outcome::Accepted {
                inner.events.extend_from_slice(events);
            }
            Sending::done(outcome)
        })
    }
}
