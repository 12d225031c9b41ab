//! The input of everything: one HTTP request and response, as an observer saw it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::context::Scope;
use crate::ledger::Reservation;

/// Request headers that are read. Observers pass these and no other, so that credentials never leave the caller's stack.
pub const REQUEST_HEADERS: &[&str] = &[
    "amz-sdk-invocation-id",
    "content-encoding",
    "content-type",
    "idempotency-key",
    "x-stainless-retry-count",
    "anthropic-version",
    "anthropic-beta",
    "openai-organization",
    "openai-project",
];

/// Response headers that are read.
pub const RESPONSE_HEADERS: &[&str] = &[
    "content-encoding",
    "content-type",
    "request-id",
    "retry-after",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-service-tier",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-debug-trace-id",
    "x-litellm-call-id",
    "x-litellm-response-cost",
    "x-request-id",
    "x-should-retry",
];

/// One HTTP attempt at a provider: the bytes that went out and came back, and when.
///
/// All durations are on the *provider's clock*: time spent waiting for the provider since the request was sent,
/// without the consumer's own pauses between two reads (those are [`paused`](Self::paused)).
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// HTTP method in capitals.
    pub method: String,
    /// The full URL. Query and user information never leave the core.
    pub url: String,
    /// Request headers. Only an allow-list is ever read; credentials need not be passed.
    pub request_headers: Vec<(String, String)>,
    /// The request's body as the caller wrote it (before `include_usage` was added).
    pub request_body: Bytes,
    /// The response's status; `None` when no response came.
    pub status: Option<u16>,
    /// Response headers, lower-case names. Only an allow-list is ever read.
    pub response_headers: Vec<(String, String)>,
    /// The response's body in the pieces that were read.
    pub chunks: Vec<Chunk>,
    /// True when `content-encoding` was already undone below the observer.
    pub decoded: bool,
    /// Wall clock at the start of the request.
    pub started_at: Option<SystemTime>,
    /// When the response's head arrived.
    pub headers_at: Duration,
    /// When the last byte arrived, or the attempt failed.
    pub ended_at: Duration,
    /// Time between reads, spent by the consumer.
    pub paused: Duration,
    /// How the body ended.
    pub end: End,
    /// The provider's name when the application gave it; wins over the host.
    pub provider: Option<String>,
    /// The scope that the call was made in.
    pub scope: Option<Scope>,
    /// The observer added `include_usage` to what was sent.
    pub asked_usage: bool,
    /// What the call is taken to cost by its budgets until it is decoded: see [`Client::admit`](crate::Client::admit).
    pub reservation: Option<Arc<Reservation>>,
}

/// A piece of a response's body and when it arrived, on the provider's clock.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// The bytes, as they came.
    pub bytes: Bytes,
    /// Time waited for the provider, from the start of the request to this piece.
    pub at: Duration,
}

/// How a response's body ended for the observer. The protocol's own end, where there is one, outranks it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum End {
    /// The body was read to its end.
    #[default]
    Complete,
    /// The consumer stopped before the end: closed, cancelled or dropped.
    Abandoned,
    /// The connection failed, before or within the response. The text is the HTTP stack's own.
    Failed(String),
    /// A time limit of the caller's HTTP stack was hit. The text is the HTTP stack's own.
    TimedOut(String),
}

impl Exchange {
    /// About how many bytes this holds, for the memory bound.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 512;
        OVERHEAD
            + self.url.len()
            + self.request_body.len()
            + self.chunks.iter().map(|chunk| chunk.bytes.len() + size_of::<Chunk>()).sum::<usize>()
    }
}
