//! One observed call while it is under way: what an observer in any language talks to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::client::Client;
use crate::context::Scope;
use crate::decode::Recognised;
use crate::exchange::{Chunk, End, Exchange};
use crate::ledger::Reservation;
use crate::stream_usage::{self, Filter};

/// One HTTP attempt under way. It is handed over when it ends, or when it is dropped (then as abandoned), once.
///
/// The clock: time inside the request and inside reads is the provider's; time between two reads is the consumer's.
/// So an observer calls [`reading`](Self::reading) before each read and [`chunk`](Self::chunk) after it.
pub struct Observation {
    client: Client,
    found: Recognised,
    state: Mutex<State>,
}

struct State {
    exchange: Option<Exchange>,
    /// Bytes of the response so far.
    size: usize,
    /// Takes out what only came because usage was asked for.
    filter: Option<Filter>,
    /// Since when the provider is waited for; `None` between reads.
    waiting_since: Option<Instant>,
    /// Since when the consumer pauses.
    idle_since: Instant,
    waited: Duration,
}

impl Observation {
    /// Begins to observe a request, or says `None` when it is none of ours and must be left alone.
    pub fn begin(
        client: &Client,
        method: &str,
        url: &str,
        provider: Option<&str>,
        scope: Option<Scope>,
    ) -> Option<Self> {
        let found = client.recognise(method, url, provider)?;
        let now = Instant::now();
        let exchange = Exchange {
            method: method.to_owned(),
            url: url.to_owned(),
            started_at: Some(SystemTime::now()),
            provider: provider.map(str::to_owned),
            scope,
            ..Exchange::default()
        };
        let state = State {
            exchange: Some(exchange),
            size: 0,
            filter: None,
            waiting_since: Some(now),
            idle_since: now,
            waited: Duration::ZERO,
        };
        Some(Self { client: client.clone(), found, state: Mutex::new(state) })
    }

    /// The request's headers and body. Headers outside the allow-list may be left out. Says what to send in place of
    /// the body when usage is to be asked for (its length differs); `None`: send it as it is, as one that is `sealed`: a
    /// header speaks for it (see [`stream_usage::seals_body`]).
    pub fn request(
        &self,
        headers: Vec<(String, String)>,
        body: Bytes,
        sealed: impl FnOnce() -> bool,
    ) -> Option<Vec<u8>> {
        let mut state = self.state();
        let asking = self.client.config().stream_usage.then(|| stream_usage::ask(|| Some(&self.found), &body));
        let outgoing = asking.flatten().filter(|_| !sealed());
        if let Some(exchange) = &mut state.exchange {
            exchange.request_headers = headers;
            exchange.request_body = body;
            exchange.asked_usage = outgoing.is_some();
        }
        outgoing
    }

    /// What the call is taken to cost until its end: see [`Client::admit`].
    pub fn reserve(&self, reservation: Option<Arc<Reservation>>) {
        if let Some(exchange) = &mut self.state().exchange {
            exchange.reservation = reservation;
        }
    }

    /// The response's head came. `decoded`: the bytes that follow are no longer content-encoded.
    pub fn response(&self, status: u16, headers: Vec<(String, String)>, decoded: bool) {
        let mut state = self.state();
        let at = state.stop_waiting();
        if state.exchange.as_ref().is_some_and(|exchange| exchange.asked_usage) {
            state.filter = Some(Filter::new(status, &headers, decoded));
        }
        if let Some(exchange) = &mut state.exchange {
            exchange.status = Some(status);
            exchange.response_headers = headers;
            exchange.decoded = decoded;
            exchange.headers_at = at;
            exchange.ended_at = at;
        }
    }

    /// The consumer asks for more: the provider's clock runs.
    pub fn reading(&self) {
        let mut state = self.state();
        if state.waiting_since.is_none() {
            let now = Instant::now();
            let pause = now - state.idle_since;
            state.waiting_since = Some(now);
            if let Some(exchange) = &mut state.exchange {
                exchange.paused += pause;
            }
        }
    }

    /// A piece of the body came. Says what to pass on to the consumer in its place (possibly nothing, and then the
    /// next piece is to be read at once); `None`: pass it on as it is.
    pub fn chunk(&self, bytes: Bytes) -> Option<Bytes> {
        let mut state = self.state();
        let at = state.stop_waiting();
        let instead = state.filter.as_mut().map(|filter| filter.push(&bytes));
        state.size += bytes.len();
        if let Some(exchange) = &mut state.exchange {
            exchange.ended_at = at;
            exchange.chunks.push(Chunk { bytes, at });
        }
        // It would be refused at its end, and counted, so that is done now: an answer may go on for ever.
        if state.size > self.client.config().max_memory
            && let Some(mut exchange) = state.exchange.take()
        {
            exchange.end = End::Abandoned;
            drop(state);
            self.client.observe(exchange);
        }
        instead
    }

    /// What is still to be passed on to the consumer after the last piece, before the end or the error; mostly nothing.
    pub fn rest(&self) -> Bytes {
        self.state().filter.take().map(|mut filter| filter.finish()).unwrap_or_default()
    }

    /// The body ended, or the attempt failed. Only the first call counts.
    pub fn end(&self, end: End) {
        let mut state = self.state();
        let at = state.stop_waiting();
        if let Some(mut exchange) = state.exchange.take() {
            if end != End::Abandoned {
                exchange.ended_at = at;
            }
            exchange.end = end;
            drop(state);
            self.client.observe(exchange);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The provider's clock stops; says where it stands.
    fn stop_waiting(&mut self) -> Duration {
        if let Some(since) = self.waiting_since.take() {
            let now = Instant::now();
            self.waited += now - since;
            self.idle_since = now;
        }
        self.waited
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.end(End::Abandoned);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use crate::{Language, Options};

    #[test]
    fn an_answer_that_takes_more_than_all_events_may_is_let_go_of_before_its_end() {
        const MOST: usize = 64 << 10;
        let folder = Folder::new();
        let options = Options::new(Language::Rust).set("dir", folder.0.to_str().unwrap()).set("max_memory", MOST);
        let client = Client::new(options).unwrap();
        let begin = || Observation::begin(&client, "POST", "https://api.openai.com/v1/chat/completions", None, None);
        let piece = Bytes::from(vec![b' '; MOST / 4]);
        let (endless, most) = (begin().unwrap(), begin().unwrap());
        for observation in [&endless, &most] {
            observation.response(200, Vec::new(), true);
        }
        for _ in 0..3 {
            assert_eq!(most.chunk(piece.clone()), None);
        }
        for n in 0..10 {
            assert_eq!(client.stats().report.dropped.contains_key("overflow"), n > 4, "{n}");
            assert_eq!(endless.chunk(piece.clone()), None);
        }
        endless.end(End::Complete);
        most.end(End::Complete);
        let report = client.flush(Duration::from_secs(20));
        assert_eq!((report.captured, report.delivered, report.dropped["overflow"]), (2, 1, 1));
    }
}
