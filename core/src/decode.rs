//! From bytes to meaning: which provider and wire format, and what the exchange says.

mod anthropic_messages;
pub(crate) mod call;
mod framing;
pub(crate) mod json;
mod openai_chat;
mod openai_embeddings;
mod openai_responses;

use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::exchange::{End, Exchange};
use call::{Call, CallError, StreamStatus, Tokens};

/// A wire format: how a provider's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wire {
    /// OpenAI chat completions and everything compatible.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
    /// OpenAI embeddings and everything compatible.
    OpenAiEmbeddings,
    /// Anthropic messages.
    AnthropicMessages,
}

/// What the address of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The wire format.
    pub wire: Wire,
    /// The provider's canonical name.
    pub provider: String,
    /// The host is loopback or private and nobody said who it is: calls cost nothing unless a price is set.
    pub local: bool,
    /// The provider is one that reports usage in streams when asked.
    pub reports_stream_usage: bool,
    /// Length of the endpoint's suffix in the path.
    pub(crate) suffix: usize,
}

/// Endpoints by the end of their path.
const ENDPOINTS: &[(&str, Wire)] = &[
    ("/chat/completions", Wire::OpenAiChat),
    ("/responses", Wire::OpenAiResponses),
    ("/embeddings", Wire::OpenAiEmbeddings),
    ("/v1/messages", Wire::AnthropicMessages),
];

/// Hosts by suffix: provider, and whether it knows `stream_options.include_usage`.
const HOSTS: &[(&str, &str, bool)] = &[
    ("api.openai.com", "openai", true),
    ("openai.azure.com", "azure", true),
    ("cognitiveservices.azure.com", "azure", true),
    ("services.ai.azure.com", "azure", true),
    ("api.anthropic.com", "anthropic", false),
    ("generativelanguage.googleapis.com", "google-ai-studio", true),
    ("aiplatform.googleapis.com", "google-vertex", true),
    ("openrouter.ai", "openrouter", true),
    ("api.groq.com", "groq", true),
    ("api.mistral.ai", "mistral", false),
    ("api.deepseek.com", "deepseek", true),
    ("api.together.xyz", "together", true),
    ("api.together.ai", "together", true),
    ("api.fireworks.ai", "fireworks", true),
    ("api.x.ai", "xai", true),
    ("api.perplexity.ai", "perplexity", false),
    ("api.cohere.ai", "cohere", false),
    ("api.cohere.com", "cohere", false),
    ("api.cerebras.ai", "cerebras", true),
    ("api.moonshot.ai", "moonshotai", true),
    ("api.moonshot.cn", "moonshotai", true),
    ("api.z.ai", "zai", false),
    ("api.minimax.io", "minimax", false),
];

/// Reads a request's address. `None`: not a call that is recorded, which is then left wholly alone.
///
/// `named` is the provider that the application gave; it wins over the host.
pub fn recognise(config: &Config, method: &str, url: &str, named: Option<&str>) -> Option<Recognised> {
    if !method.eq_ignore_ascii_case("POST") {
        return None;
    }
    let parts = Address::of(url)?;
    let (suffix, wire) = ENDPOINTS.iter().find(|(suffix, _)| parts.path.ends_with(suffix))?;
    let known = HOSTS.iter().find(|(host, ..)| {
        parts.host.strip_suffix(host).is_some_and(|front| front.is_empty() || front.ends_with(['.', '-']))
    });
    let configured = config.hosts.iter().find(|(host, _)| host == &parts.host_port || host == &parts.host);
    let chosen = named.or(configured.map(|(_, provider)| provider.as_str()));
    let local = chosen.is_none() && known.is_none() && parts.is_private();
    let provider = match (chosen, known) {
        (Some(name), _) => crate::price::canonical_provider(name).into_owned(),
        (None, Some((_, provider, _))) => (*provider).to_owned(),
        (None, None) if local => "local".to_owned(),
        (None, None) => parts.host.clone(),
    };
    let reports_stream_usage = HOSTS.iter().any(|(_, name, asks)| *name == provider && *asks);
    Some(Recognised { wire: *wire, provider, local, reports_stream_usage, suffix: suffix.len() })
}

/// The parts of a URL that matter, without query, fragment and user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) host_port: String,
    pub(crate) path: String,
}

impl Address {
    /// Splits a URL by hand: this runs on the caller's thread for every request that a client makes.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
        let host = match host_port.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
            _ => host_port.clone(),
        };
        let path = tail.split(['?', '#']).next().unwrap_or_default();
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        Some(Self { scheme: scheme.to_ascii_lowercase(), host, host_port, path: path.to_owned() })
    }

    fn is_private(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = host.parse::<std::net::IpAddr>() {
            return match ip {
                std::net::IpAddr::V4(ip) => {
                    ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
                }
                std::net::IpAddr::V6(ip) => {
                    ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
                }
            };
        }
        host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local") || !host.contains('.')
    }
}

/// The event of one exchange; `None` when its address is not that of a call. Pure but for fresh ids: what the worker
/// does with an exchange, without the waiting for retries.
pub fn event_of(config: &Config, exchange: Exchange) -> Option<crate::event::Event> {
    crate::pipeline::event_of(config, exchange)
}

/// Reads a whole exchange. Never fails: what cannot be read is absent, and said to be unreadable.
pub(crate) fn read(wire: Wire, exchange: &Exchange) -> Call {
    let mut call = Call { embedding: wire == Wire::OpenAiEmbeddings, ..Call::default() };
    let request = parse(&exchange.request_body).unwrap_or_default();
    if request.is_object() {
        match wire {
            Wire::OpenAiChat => openai_chat::request(&request, &mut call),
            Wire::OpenAiResponses => openai_responses::request(&request, &mut call),
            Wire::OpenAiEmbeddings => openai_embeddings::request(&request, &mut call),
            Wire::AnthropicMessages => anthropic_messages::request(&request, &mut call),
        }
    }
    if let Some(id) = header(exchange, "x-request-id").or_else(|| header(exchange, "request-id")) {
        call.metadata.insert("request_id".to_owned(), id.into());
    }
    let Some(status) = exchange.status else {
        call.error = Some(match &exchange.end {
            End::Failed(text) => CallError::connection(text, false),
            End::TimedOut(_) => CallError::timeout(),
            End::Complete | End::Abandoned => CallError::cancelled(),
        });
        if call.stream {
            call.stream_status = Some(broken(&exchange.end));
        }
        return call;
    };
    let encoding = if exchange.decoded { "" } else { header(exchange, "content-encoding").unwrap_or_default() };
    let Some(chunks) = framing::inflate(&exchange.chunks, encoding) else {
        call.unreadable = true;
        if status >= 400 {
            call.error = Some(CallError { kind: None, message: format!("HTTP {status}") });
        }
        if call.stream {
            let seen = if status >= 400 { StreamStatus::Error } else { ended(&exchange.end) };
            call.stream_status = Some(seen);
        }
        return call;
    };
    if status >= 400 {
        call.error = Some(http_error(status, &framing::join(&chunks)));
        if call.stream {
            call.stream_status = Some(StreamStatus::Error);
        }
    } else if let Some(framing) = framing::of_content_type(header(exchange, "content-type").unwrap_or_default()) {
        read_stream(wire, &request, exchange, &chunks, framing, &mut call);
    } else {
        read_plain(wire, exchange, &framing::join(&chunks), &mut call);
    }
    call
}

fn read_response(wire: Wire, body: &Value, call: &mut Call) {
    match wire {
        Wire::OpenAiChat => openai_chat::response(body, call),
        Wire::OpenAiResponses => openai_responses::response(body, call),
        Wire::OpenAiEmbeddings => openai_embeddings::response(body, call),
        Wire::AnthropicMessages => anthropic_messages::response(body, call),
    }
}

fn read_plain(wire: Wire, exchange: &Exchange, body: &[u8], call: &mut Call) {
    let parsed = parse(body).filter(Value::is_object);
    if let Some(body) = &parsed {
        // Gateways answer 200 with an error in place of an answer.
        match body.get("error").filter(|error| is_error(error)) {
            Some(error) if wire != Wire::OpenAiResponses => call.error = Some(provider_error(error)),
            _ => read_response(wire, body, call),
        }
    } else {
        call.unreadable = true;
        call.error = match &exchange.end {
            End::Failed(text) => Some(CallError::connection(text, true)),
            End::TimedOut(_) => Some(CallError::timeout()),
            End::Abandoned => Some(CallError::cancelled()),
            // It came whole and is of another form: unknown, which is not an error.
            End::Complete => None,
        };
    }
    if call.stream {
        call.stream_status = Some(match &call.error {
            None => StreamStatus::Complete,
            Some(_) if exchange.end == End::Complete => StreamStatus::Error,
            Some(_) => broken(&exchange.end),
        });
    }
}

fn read_stream(
    wire: Wire,
    request: &Value,
    exchange: &Exchange,
    chunks: &[crate::Chunk],
    mut framing: Box<dyn framing::Framing>,
    call: &mut Call,
) {
    let mut fold: Box<dyn Fold> = match wire {
        Wire::OpenAiChat | Wire::OpenAiEmbeddings => Box::new(openai_chat::ChatFold::new(request)),
        Wire::OpenAiResponses => Box::new(openai_responses::ResponsesFold::default()),
        Wire::AnthropicMessages => Box::new(anthropic_messages::MessagesFold::default()),
    };
    let mut events = Vec::new();
    for chunk in chunks {
        framing.push(&chunk.bytes, chunk.at, &mut events);
        feed(&mut *fold, &mut events);
    }
    framing.finish(exchange.ended_at, &mut events);
    feed(&mut *fold, &mut events);
    let folded = fold.finish();
    read_response(wire, &folded.body, call);
    call.first_content_at = folded.first_content_at;
    let status = if let Some(error) = folded.error {
        call.error = Some(error);
        StreamStatus::Error
    } else if folded.complete {
        StreamStatus::Complete
    } else {
        match &exchange.end {
            End::Abandoned => {}
            End::TimedOut(_) => call.error = Some(CallError::timeout()),
            End::Failed(text) => call.error = Some(CallError::connection(text, true)),
            // The connection ended well and the answer did not.
            End::Complete => call.error = Some(CallError::cut()),
        }
        match call.error.as_ref().and_then(|error| error.kind.as_deref()) {
            Some("timeout") => StreamStatus::Timeout,
            Some("cancelled") => {
                call.error = None;
                StreamStatus::Abandoned
            }
            Some(_) => StreamStatus::Error,
            None => StreamStatus::Abandoned,
        }
    };
    call.stream_status = call.stream.then_some(status);
}

fn feed(fold: &mut dyn Fold, events: &mut Vec<framing::Frame>) {
    for event in events.drain(..) {
        if event.data.trim() == "[DONE]" {
            fold.done();
        } else if let Some(data) = parse(event.data.as_bytes()) {
            fold.event(&event.name, &data, event.at);
        }
    }
}

/// Folds the events of a stream into the body that the plain call would have had.
pub(crate) trait Fold {
    /// One event: its name (may be empty), its data and when it came.
    fn event(&mut self, name: &str, data: &Value, at: Duration);
    /// The `[DONE]` mark.
    fn done(&mut self);
    /// The end of the bytes.
    fn finish(self: Box<Self>) -> Folded;
}

/// What a stream came to.
pub(crate) struct Folded {
    /// The body that the plain call would have had.
    pub(crate) body: Value,
    /// The protocol's own end was seen.
    pub(crate) complete: bool,
    /// An error that came as an event.
    pub(crate) error: Option<CallError>,
    /// When the first content came.
    pub(crate) first_content_at: Option<Duration>,
}

/// JSON, if the bytes are any; bytes that are not UTF-8 are replaced, for one bad byte in a text must not hide the rest.
fn parse(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok().or_else(|| match String::from_utf8_lossy(bytes) {
        std::borrow::Cow::Owned(mended) => serde_json::from_str(&mended).ok(),
        std::borrow::Cow::Borrowed(_) => None,
    })
}

fn header<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    let found = exchange.response_headers.iter().find(|(here, _)| here.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn ended(end: &End) -> StreamStatus {
    match end {
        End::Complete => StreamStatus::Complete,
        End::Abandoned => StreamStatus::Abandoned,
        End::Failed(_) => StreamStatus::Error,
        End::TimedOut(_) => StreamStatus::Timeout,
    }
}

/// As [`ended`], where something is known to be missing.
fn broken(end: &End) -> StreamStatus {
    match ended(end) {
        StreamStatus::Complete => StreamStatus::Error,
        other => other,
    }
}

fn is_error(error: &Value) -> bool {
    match error {
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => false,
    }
}

/// An error object (or text) of a provider.
pub(crate) fn provider_error(error: &Value) -> CallError {
    let name = |value: Option<&Value>| match value {
        Some(Value::String(name)) if !name.is_empty() => Some(name.clone()),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let message = match error {
        Value::String(text) => text.clone(),
        other => json::text(other.get("message")).unwrap_or_else(|| other.to_string()),
    };
    // An event of the Responses stream carries its own type beside the code.
    let kind = name(error.get("type").filter(|kind| *kind != "error"));
    CallError { kind: kind.or_else(|| name(error.get("code"))), message }
}

fn http_error(status: u16, body: &[u8]) -> CallError {
    let Some(parsed) = parse(body).filter(|body| body.is_object() || body.is_array()) else {
        return CallError { kind: None, message: excerpt(status, body) };
    };
    // Some gateways send a list with one object.
    let object = parsed.get(0).unwrap_or(&parsed);
    let flat = object.get("message").is_some_and(Value::is_string);
    match object.get("error").filter(|error| is_error(error)) {
        // `{"error": "text", "message": ...}` and `{"error": "text"}` are both in use.
        Some(error) if !(flat && error.is_string()) => provider_error(error),
        _ if flat => provider_error(object),
        _ => match json::text(object.get("detail")) {
            Some(detail) => CallError { message: detail, ..provider_error(object) },
            None => CallError { kind: None, message: excerpt(status, body) },
        },
    }
}

/// The beginning of a body that says what went wrong in no known form.
fn excerpt(status: u16, body: &[u8]) -> String {
    const MOST: usize = 1000;
    let text = String::from_utf8_lossy(&body[..body.len().min(MOST * 4)]).trim().chars().take(MOST).collect::<String>();
    if text.is_empty() { format!("HTTP {status}") } else { text }
}

/// Makes the buckets of a format that counts cached, audio and image tokens inside the input, and reasoning inside the
/// output.
pub(crate) fn settle_inclusive(call: &mut Call) {
    let Tokens {
        input,
        output,
        total,
        cache_read,
        cache_write,
        reasoning,
        audio_in,
        audio_out,
        image_in,
        image_out,
        ..
    } = call.tokens;
    let zero = |count: Option<u64>| count.unwrap_or(0);
    let cached = zero(cache_read).saturating_add(zero(cache_write));
    // More cached than there was input cannot be inside of it.
    let exclusive = input.is_some_and(|input| cached > input);
    let inside =
        [audio_in, image_in].iter().copied().map(zero).fold(if exclusive { 0 } else { cached }, u64::saturating_add);
    let spoken = zero(audio_out).saturating_add(zero(image_out));
    // xAI counts reasoning beside the output; its total shows it.
    let beside = match (input, output, total, reasoning) {
        (Some(input), Some(output), Some(total), Some(reasoning)) => {
            let plain = input.saturating_add(output);
            reasoning > 0 && total != plain && total == plain.saturating_add(reasoning)
        }
        _ => false,
    };
    let within = if beside { spoken } else { spoken.saturating_add(zero(reasoning)) };
    let usage = &mut call.usage;
    usage.input_text = input.map(|input| input.saturating_sub(inside));
    usage.cache_read = cache_read;
    usage.cache_write_5m = cache_write;
    usage.audio_in = audio_in;
    usage.image_in = image_in;
    usage.output_text = output.map(|output| output.saturating_sub(within));
    usage.reasoning = reasoning;
    usage.audio_out = audio_out;
    usage.image_out = image_out;
    let wrong_total = match (input, output, total) {
        (Some(input), Some(output), Some(total)) => !beside && input.saturating_add(output) != total,
        _ => false,
    };
    call.cache_exclusive = exclusive;
    call.usage_inconsistent = exclusive
        || wrong_total
        || input.is_some_and(|input| inside > input)
        || output.is_some_and(|output| within > output);
}

/// Makes the buckets of a format that counts cached tokens beside the input.
pub(crate) fn settle_exclusive(call: &mut Call) {
    let Tokens {
        input, output, cache_read, cache_write, cache_write_5m, cache_write_1h, reasoning, web_searches, ..
    } = call.tokens;
    let within = reasoning.unwrap_or(0);
    let split = cache_write_5m.zip(cache_write_1h);
    let usage = &mut call.usage;
    usage.input_text = input;
    usage.cache_read = cache_read;
    (usage.cache_write_5m, usage.cache_write_1h) = match split {
        Some((short, long)) => (Some(short), Some(long)),
        None => (cache_write, None),
    };
    usage.output_text = output.map(|output| output.saturating_sub(within));
    usage.reasoning = reasoning;
    usage.web_searches = web_searches;
    call.cache_exclusive = true;
    let wrong_split = split.zip(cache_write).is_some_and(|((short, long), all)| short.saturating_add(long) != all);
    call.usage_inconsistent = wrong_split || output.is_some_and(|output| within > output);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn provider(url: &str) -> Option<(Wire, String, bool)> {
        let config = Config { hosts: vec![("llm.corp.example:8080".into(), "oai".into())], ..Config::default() };
        recognise(&config, "POST", url, None).map(|found| (found.wire, found.provider, found.local))
    }

    #[test]
    fn providers_come_from_the_host() {
        for (url, wire, name, local) in [
            ("https://api.openai.com/v1/chat/completions", Wire::OpenAiChat, "openai", false),
            ("https://eu.api.openai.com/v1/responses", Wire::OpenAiResponses, "openai", false),
            (
                "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
                Wire::OpenAiChat,
                "azure",
                false,
            ),
            ("https://api.anthropic.com/v1/messages?beta=true", Wire::AnthropicMessages, "anthropic", false),
            ("http://user:pw@localhost:11434/v1/embeddings", Wire::OpenAiEmbeddings, "local", true),
            ("http://[::1]:8000/v1/chat/completions/", Wire::OpenAiChat, "local", true),
            ("http://llm.corp.example:8080/v1/chat/completions", Wire::OpenAiChat, "openai", false),
            ("https://llm.corp.example/v1/chat/completions", Wire::OpenAiChat, "llm.corp.example", false),
            (
                "https://notapi.openai.com.evil.example/v1/responses",
                Wire::OpenAiResponses,
                "notapi.openai.com.evil.example",
                false,
            ),
        ] {
            assert_eq!(provider(url), Some((wire, name.to_owned(), local)), "{url}");
        }
    }

    #[test]
    fn what_is_not_a_generation_is_left_alone() {
        for url in [
            "https://api.openai.com/v1/models",
            "https://api.openai.com/v1/responses/resp_1/cancel",
            "https://api.anthropic.com/v1/messages/count_tokens",
            "https://api.anthropic.com/v1/messages/batches",
            "not a url",
        ] {
            assert_eq!(provider(url), None, "{url}");
        }
        assert!(recognise(&Config::default(), "GET", "https://api.openai.com/v1/responses", None).is_none());
    }

    #[test]
    fn a_name_given_by_the_application_wins() {
        let found = recognise(&Config::default(), "POST", "http://127.0.0.1:9/v1/messages", Some("anthropic")).unwrap();
        assert_eq!((found.provider.as_str(), found.local), ("anthropic", false));
    }
}
