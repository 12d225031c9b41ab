//! What one call asked, answered and used, in no provider's shape.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::event::usage::Usage;

/// The meaning of one exchange. What the provider did not say is absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) embedding: bool,
    /// It is no generation but a step of something.
    pub(crate) step: Option<Step>,
    /// The application told of it: what is known of it is its word, not the provider's.
    pub(crate) passed_on: bool,
    /// It is of a format that is not read.
    pub(crate) unknown: bool,
    /// Bytes of the answer, its encoding undone, where nothing else can be said of it.
    pub(crate) response_bytes: Option<u64>,
    pub(crate) model_requested: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) output: Vec<Value>,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) max_tokens: Option<Value>,
    pub(crate) tools: Option<Value>,
    /// The request asked for a stream.
    pub(crate) stream: bool,
    pub(crate) stream_status: Option<StreamStatus>,
    pub(crate) stop_reasons: Vec<String>,
    pub(crate) tokens: Tokens,
    pub(crate) usage: Usage,
    pub(crate) raw_usage: Option<Value>,
    /// Cached tokens are counted outside the input tokens.
    pub(crate) cache_exclusive: bool,
    pub(crate) usage_inconsistent: bool,
    /// What the provider says the call cost, in USD, as its own digits.
    pub(crate) reported_usd: Option<String>,
    pub(crate) response_id: Option<String>,
    pub(crate) completion_id: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) error: Option<CallError>,
    /// When the first content came, on the provider's clock.
    pub(crate) first_content_at: Option<Duration>,
    pub(crate) embedding_count: Option<u64>,
    pub(crate) embedding_dimensions: Option<u64>,
    /// The answer was not in the expected form.
    pub(crate) unreadable: bool,
    /// It goes on in the background: the answer is that there is none yet.
    pub(crate) pending: bool,
    /// How long the provider says that it took.
    pub(crate) ran: Option<Duration>,
}

/// A call that becomes a span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) input: Option<Value>,
    pub(crate) output: Option<Value>,
}

/// Token counts as the provider reported them, before they are made disjoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_write: Option<u64>,
    pub(crate) cache_write_5m: Option<u64>,
    pub(crate) cache_write_1h: Option<u64>,
    pub(crate) reasoning: Option<u64>,
    pub(crate) audio_in: Option<u64>,
    pub(crate) audio_out: Option<u64>,
    pub(crate) image_in: Option<u64>,
    pub(crate) image_out: Option<u64>,
    pub(crate) text_out: Option<u64>,
    pub(crate) cache_read_audio: Option<u64>,
    pub(crate) web_searches: Option<u64>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamStatus {
    Complete,
    Abandoned,
    Error,
    Timeout,
}

impl StreamStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Abandoned => "abandoned",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

/// What went wrong, in the provider's words where there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) kind: Option<String>,
    pub(crate) message: String,
}

impl CallError {
    pub(crate) fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: Some(kind.into()), message: message.into() }
    }

    /// A connection that failed: the kind of trouble, from the text of whatever HTTP stack saw it. Texts differ between
    /// stacks and languages, so the message is ours.
    pub(crate) fn connection(text: &str, answered: bool) -> Self {
        let text = without_addresses(&text.to_ascii_lowercase());
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let (kind, message) = if has(&["refused"]) {
            ("connection_refused", "Connection refused")
        } else if has(&[
            "enotfound",
            "eai_again",
            "name or service",
            "getaddrinfo",
            "name resolution",
            "nodename",
            "dns",
        ]) {
            ("dns", "Host name not found")
        } else if has(&["certificate", "ssl", "tls", "cert_"]) {
            ("tls", "TLS failure")
        } else if has(&["timed out", "timeout"]) {
            ("timeout", "Timed out")
        } else if has(&["cancel", "abort"]) && !has(&["connection abort", "econnaborted"]) {
            ("cancelled", "Cancelled by the caller")
        } else if answered
            || has(&[
                "reset",
                "peer closed",
                "other side closed",
                "terminated",
                "disconnect",
                "eof",
                "broken pipe",
                "econnreset",
                "hang up",
                "closed",
            ])
        {
            ("connection_cut", "Connection closed before the response was complete")
        } else {
            ("connection_error", "Connection failed")
        };
        Self::new(kind, message)
    }

    pub(crate) fn cut() -> Self {
        Self::connection("", true)
    }

    pub(crate) fn timeout() -> Self {
        Self::connection("timeout", true)
    }

    pub(crate) fn cancelled() -> Self {
        Self::connection("cancel", true)
    }
}

/// A text without the addresses in it, whose words say nothing: URLs, paths, and aiohttp's `ssl:default` of every host.
fn without_addresses(text: &str) -> String {
    let says = |word: &&str| {
        let bare = word.trim_start_matches(['"', '\'', '(', '[']);
        !(word.contains("://") || bare.starts_with('/') || bare.starts_with("ssl:"))
    };
    text.split_whitespace().filter(says).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_an_error_says_nothing_of_its_kind() {
        for (text, kind) in [
            ("ConnectionClosedError: closed: \"http://refused.example/tls/converse\".", "connection_cut"),
            ("Max retries exceeded with url: /refused (Caused by ReadError: reset)", "connection_cut"),
            ("Cannot connect to host x:1 ssl:default [Network is unreachable]", "connection_error"),
            (
                "Cannot connect to host x:1 ssl:default [Connect call failed]; ConnectionRefusedError: x",
                "connection_refused",
            ),
            ("SSL: CERTIFICATE_VERIFY_FAILED", "tls"),
        ] {
            assert_eq!(CallError::connection(text, false).kind.as_deref(), Some(kind), "{text}");
        }
    }
}
