//! Calls that go on in the background: the answer that begins one and the poll that sees its end are one call.
//!
//! Which client, thread or scope polls makes no difference: the response's id says which call it is of.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use crate::attempts::Attempt;
use crate::exchange::Exchange;

/// A call that nobody asked about for so long is given out as it is.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// More calls than this do not wait; the oldest goes first.
const MOST_HELD: usize = 1000;

/// So many of those that were given out without their end are remembered.
const MOST_REMEMBERED: usize = 1000;

/// What a poll was of.
pub(crate) enum Polled {
    /// A call that waited: its first exchange, with the answer of the poll.
    Ended(Box<Attempt>),
    /// A call that was given out before its end was seen.
    TooLate,
    /// No call that is known here.
    Unknown,
}

/// Calls whose end is still to come.
#[derive(Default)]
pub(crate) struct Background {
    held: Vec<Held>,
    given_out: VecDeque<String>,
}

struct Held {
    id: String,
    /// Since when nobody asked.
    since: Instant,
    attempt: Attempt,
}

impl Background {
    /// Keeps a call until its end is seen. Gives back the one that has to make room, if any.
    pub(crate) fn hold(&mut self, id: String, attempt: Attempt) -> Option<Attempt> {
        self.held.push(Held { id, since: Instant::now(), attempt });
        (self.held.len() > MOST_HELD).then(|| self.release(|_, at| at == 0).remove(0))
    }

    /// Whether this is a call that waits, or one that did.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.held.iter().any(|held| held.id == id) || self.given_out.iter().any(|given| given == id)
    }

    /// Somebody asked, and it goes on.
    pub(crate) fn asked(&mut self, id: &str) {
        if let Some(held) = self.held.iter_mut().find(|held| held.id == id) {
            held.since = Instant::now();
        }
    }

    /// A poll saw the end.
    pub(crate) fn ended(&mut self, id: &str, poll: Exchange) -> Polled {
        if let Some(at) = self.held.iter().position(|held| held.id == id) {
            return Polled::Ended(Box::new(joined(self.held.remove(at).attempt, poll)));
        }
        match self.given_out.iter().position(|given| given == id) {
            Some(at) => {
                self.given_out.remove(at);
                Polled::TooLate
            }
            None => Polled::Unknown,
        }
    }

    /// Those that waited long enough.
    pub(crate) fn expired(&mut self) -> Vec<Attempt> {
        self.release(|held, _| held.since.elapsed() >= PATIENCE)
    }

    /// All of them.
    pub(crate) fn all(&mut self) -> Vec<Attempt> {
        self.release(|_, _| true)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// How long until the first has waited enough.
    pub(crate) fn wakes_in(&self) -> Option<Duration> {
        self.held.iter().map(|held| PATIENCE.saturating_sub(held.since.elapsed())).min()
    }

    fn release(&mut self, which: impl Fn(&Held, usize) -> bool) -> Vec<Attempt> {
        let mut out = Vec::new();
        let mut kept = Vec::new();
        for (at, held) in std::mem::take(&mut self.held).into_iter().enumerate() {
            if which(&held, at) {
                self.given_out.push_back(held.id);
                out.push(held.attempt);
            } else {
                kept.push(held);
            }
        }
        self.held = kept;
        let too_many = self.given_out.len().saturating_sub(MOST_REMEMBERED);
        self.given_out.drain(..too_many);
        out
    }
}

/// The call as if its answer had come at once: what was asked first, what came last, and the time between.
fn joined(mut first: Attempt, poll: Exchange) -> Attempt {
    let begun = first.exchange.started_at;
    let asked = poll.started_at.unwrap_or_else(SystemTime::now);
    let Exchange { status, response_headers, chunks, decoded, ended_at, end, .. } = poll;
    let own = first.earlier + first.exchange.ended_at;
    *first.exchange = Exchange {
        status,
        response_headers,
        chunks,
        decoded,
        ended_at,
        end,
        paused: Duration::ZERO,
        ..*first.exchange
    };
    // From the first attempt to the poll, as between attempts.
    first.earlier = begun.and_then(|begun| asked.duration_since(begun).ok()).unwrap_or_default();
    first.polled = Some(own);
    first
}
