//! One observed call while it is under way: what an observer in any language talks to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::client::Client;
use crate::context::Scope;
use crate::exchange::{Chunk, End, Exchange};

/// One HTTP attempt under way. It is handed over when it ends, or when it is dropped (then as abandoned), once.
///
/// The clock: time inside the request and inside reads is the provider's; time between two reads is the consumer's.
/// So an observer calls [`reading`](Self::reading) before each read and [`chunk`](Self::chunk) after it.
pub struct Observation {
    client: Client,
    state: Mutex<State>,
}

struct State {
    exchange: Option<Exchange>,
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
        client.recognise(method, url, provider)?;
        let now = Instant::now();
        let exchange = Exchange {
            method: method.to_owned(),
            url: url.to_owned(),
            started_at: Some(SystemTime::now()),
            provider: provider.map(str::to_owned),
            scope,
            ..Exchange::default()
        };
        let state =
            State { exchange: Some(exchange), waiting_since: Some(now), idle_since: now, waited: Duration::ZERO };
        Some(Self { client: client.clone(), state: Mutex::new(state) })
    }

    /// The request's headers and body. Headers outside the allow-list may be left out.
    pub fn request(&self, headers: Vec<(String, String)>, body: Bytes) {
        let mut state = self.state();
        if let Some(exchange) = &mut state.exchange {
            exchange.request_headers = headers;
            exchange.request_body = body;
        }
    }

    /// The response's head came. `decoded`: the bytes that follow are no longer content-encoded.
    pub fn response(&self, status: u16, headers: Vec<(String, String)>, decoded: bool) {
        let mut state = self.state();
        let at = state.stop_waiting();
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

    /// A piece of the body came.
    pub fn chunk(&self, bytes: Bytes) {
        let mut state = self.state();
        let at = state.stop_waiting();
        if let Some(exchange) = &mut state.exchange {
            exchange.ended_at = at;
            exchange.chunks.push(Chunk { bytes, at });
        }
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
