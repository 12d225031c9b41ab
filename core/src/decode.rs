//! From bytes to meaning: which provider and wire format, and what the exchange says.

mod address;
mod anthropic_messages;
mod bedrock;
mod bedrock_converse;
mod bedrock_invoke;
pub(crate) mod call;
mod cohere_chat;
mod cohere_embed;
mod cohere_rerank;
mod error;
mod framing;
mod gemini;
mod gemini_embed;
mod gemini_generate;
pub(crate) mod json;
mod ollama_chat;
mod ollama_embed;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_images;
mod openai_responses;
mod openai_speech;
mod openai_transcriptions;
mod settle;
mod unknown;
mod vertex_anthropic;

use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::exchange::{End, Exchange};
pub(crate) use address::Address;
pub use address::{Recognised, Wire, recognise};
pub(crate) use anthropic_messages::{kept_in, used_another_model};
use call::{Call, CallError, StreamStatus};
pub(crate) use error::provider_error;
pub(crate) use settle::{settle_exclusive, settle_inclusive};

/// The event of one exchange; `None` when its address is not that of a call. Pure but for fresh ids: what the worker
/// does with an exchange, without the waiting for retries.
pub fn event_of(config: &Config, exchange: Exchange) -> Option<crate::event::Event> {
    crate::pipeline::event_of(config, exchange)
}

/// Whether an exchange is a call at all, where its address alone does not say: of what is not read, only JSON is.
pub(crate) fn is_call(found: &Recognised, exchange: &Exchange) -> bool {
    found.wire != Wire::Unknown || parse(&exchange.request_body).is_some_and(|body| body.is_object())
}

/// What a decoder may look at.
pub(crate) struct Source<'a> {
    /// The exchange with its headers and times.
    pub(crate) exchange: &'a Exchange,
    /// What the address said.
    pub(crate) found: &'a Recognised,
    /// The request's body; null when it is no JSON object.
    pub(crate) request: &'a Value,
}

impl Source<'_> {
    /// A response header that is not empty.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.exchange, name)
    }
}

/// A framing, where there is one.
type Framed = Option<Box<dyn framing::Framing>>;

/// How one wire format is read: plain functions from bytes to a [`Call`], one set a file.
pub(crate) struct Format {
    /// It is of embeddings: no messages come back, and no stream.
    pub(crate) embedding: bool,
    /// Reads the request (the body is JSON, or null where there is no JSON to see).
    pub(crate) request: fn(&Source<'_>, &mut Call),
    /// Moves out of the request what is most of it, and what nothing else reads: its messages and tools.
    pub(crate) content: fn(&mut Value, &mut Call),
    /// Reads the body of an answer, or what a stream was folded into.
    pub(crate) response: fn(&Source<'_>, &Value, &mut Call),
    /// Makes the fold of a stream.
    pub(crate) fold: fn(&Source<'_>) -> Box<dyn Fold>,
    /// The framing of an answer, where the format knows more than its content type says; gets the first bytes of the
    /// body that are no white space.
    pub(crate) framing: fn(&Source<'_>, &[u8]) -> Framed,
    /// Reads an answer that is no JSON object (sound, plain text); false when it cannot.
    pub(crate) other: fn(&Source<'_>, &[u8], &mut Call) -> bool,
    /// Finds the error in an error body, where it is told in this format's own way.
    pub(crate) error: fn(&Source<'_>, &Value) -> Option<CallError>,
    /// An `error` member of an answer with status 200 is an error in place of the answer.
    pub(crate) error_in_answer: bool,
}

/// What most formats have.
pub(crate) const PLAIN: Format = Format {
    embedding: false,
    request: |_, _| {},
    content: |_, _| {},
    response: |_, _, _| {},
    fold: |_| Box::new(NoStream),
    framing: |_, _| None,
    other: |_, _, _| false,
    error: |_, _| None,
    error_in_answer: true,
};

fn format(wire: Wire) -> &'static Format {
    match wire {
        Wire::OpenAiChat => &openai_chat::FORMAT,
        Wire::OpenAiResponses | Wire::OpenAiResponsesPoll => &openai_responses::FORMAT,
        Wire::OpenAiEmbeddings => &openai_embeddings::FORMAT,
        Wire::OpenAiCompletions => &openai_completions::FORMAT,
        Wire::OpenAiTranscriptions => &openai_transcriptions::FORMAT,
        Wire::OpenAiSpeech => &openai_speech::FORMAT,
        Wire::OpenAiImages => &openai_images::FORMAT,
        Wire::OllamaChat => &ollama_chat::FORMAT,
        Wire::OllamaEmbed => &ollama_embed::FORMAT,
        Wire::AnthropicMessages => &anthropic_messages::FORMAT,
        Wire::GeminiGenerate => &gemini_generate::FORMAT,
        Wire::GeminiEmbed => &gemini_embed::FORMAT,
        Wire::VertexAnthropic => &vertex_anthropic::FORMAT,
        Wire::BedrockInvoke => &bedrock_invoke::FORMAT,
        Wire::BedrockConverse => &bedrock_converse::FORMAT,
        Wire::CohereChat => &cohere_chat::FORMAT,
        Wire::CohereEmbed => &cohere_embed::FORMAT,
        Wire::CohereRerank => &cohere_rerank::FORMAT,
        Wire::Unknown => &unknown::ANY,
    }
}

/// The fold of a format that has no streams.
struct NoStream;

impl Fold for NoStream {
    fn event(&mut self, _name: &str, _data: &Value, _at: Duration) {}
    fn done(&mut self) {}
    fn finish(self: Box<Self>) -> Folded {
        Folded { body: Value::Null, complete: true, error: None, first_content_at: None }
    }
}

/// Reads a usage object that the caller passes on as a provider's SDK gave it, when its members are of one wire format
/// and no other.
pub(crate) fn passed_usage(raw: &Value, call: &mut Call) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| raw.get(name).is_some_and(|value| !value.is_null()));
    let format: fn(&Value, &mut Call) = if has(&["prompt_tokens", "completion_tokens"]) {
        openai_chat::usage
    } else if has(&["promptTokenCount", "prompt_token_count", "candidatesTokenCount", "candidates_token_count"]) {
        |raw, call| gemini::usage(&serde_json::json!({"usageMetadata": raw}), call)
    } else if has(&["input_tokens_details", "output_tokens_details"]) && !has(&["cache_read_input_tokens"]) {
        openai_responses::usage
    } else if has(&["cache_creation", "server_tool_use"]) {
        anthropic_messages::usage
    } else {
        return false;
    };
    format(raw, call);
    true
}

/// Reads a whole exchange. Never fails: what cannot be read is absent, and said to be unreadable.
pub(crate) fn read(found: &Recognised, exchange: &Exchange) -> Call {
    let mut request = parse(&exchange.request_body).filter(Value::is_object).unwrap_or_default();
    let mut format = format(found.wire);
    let mut call = Call {
        embedding: format.embedding,
        model_requested: found.model.clone(),
        stream: found.streams == Some(true),
        ..Call::default()
    };
    (format.request)(&Source { exchange, found, request: &request }, &mut call);
    if call.unknown && found.wire != Wire::Unknown {
        format = &unknown::FORMAT;
    }
    (format.content)(&mut request, &mut call);
    let source = &Source { exchange, found, request: &request };
    call.service_tier = source.header("x-amzn-bedrock-service-tier").map(str::to_owned);
    let ids = ["x-request-id", "request-id", "x-amzn-requestid", "x-debug-trace-id", "x-litellm-call-id"];
    if let Some(id) = ids.iter().find_map(|name| source.header(name)) {
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
    if call.unknown {
        call.response_bytes = Some(chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum());
    }
    let first = framing::beginning(&chunks);
    if status >= 400 {
        let body = framing::join(&chunks);
        let own = parse(&body).and_then(|body| (format.error)(source, &body));
        let mut error = own.unwrap_or_else(|| error::http_error(status, &body));
        // AWS says the type in a header, and after a colon where it is described.
        let kind = source.header("x-amzn-errortype").and_then(|kind| kind.split(':').next()).map(str::trim);
        if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
            error.kind = Some(kind.to_owned());
        }
        call.error = Some(error);
        if call.stream {
            call.stream_status = Some(StreamStatus::Error);
        }
    } else if let Some(framing) = (format.framing)(source, &first)
        .or_else(|| framing::of_content_type(header(exchange, "content-type").unwrap_or_default()))
        .or_else(|| if call.stream { framing::of_beginning(&first) } else { None })
    {
        read_stream(format, source, &chunks, framing, &mut call);
    } else {
        read_plain(format, source, &framing::join(&chunks), &mut call);
    }
    call
}

fn read_plain(format: &Format, source: &Source<'_>, body: &[u8], call: &mut Call) {
    let end = &source.exchange.end;
    if let Some(parsed) = parse(body).filter(Value::is_object) {
        // Gateways answer 200 with an error in place of an answer.
        match parsed.get("error").filter(|error| error::is_error(error)) {
            Some(found) if format.error_in_answer => call.error = Some(error::provider_error(found)),
            _ => (format.response)(source, &parsed, call),
        }
    } else if *end != End::Complete || !(format.other)(source, body, call) {
        call.unreadable = true;
        call.error = match end {
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
            Some(_) if *end == End::Complete => StreamStatus::Error,
            Some(_) => broken(end),
        });
    }
}

fn read_stream(
    format: &Format,
    source: &Source<'_>,
    chunks: &[crate::Chunk],
    mut framing: Box<dyn framing::Framing>,
    call: &mut Call,
) {
    let mut fold = (format.fold)(source);
    let mut events = Vec::new();
    for chunk in chunks {
        framing.push(&chunk.bytes, chunk.at, &mut events);
        feed(&mut *fold, &mut events);
    }
    framing.finish(source.exchange.ended_at, &mut events);
    feed(&mut *fold, &mut events);
    let folded = fold.finish();
    (format.response)(source, &folded.body, call);
    call.first_content_at = folded.first_content_at;
    let status = if let Some(error) = folded.error {
        call.error = Some(error);
        StreamStatus::Error
    } else if folded.complete {
        StreamStatus::Complete
    } else {
        match &source.exchange.end {
            End::Abandoned if !framing.damaged() => {}
            End::TimedOut(_) => call.error = Some(CallError::timeout()),
            End::Failed(text) => call.error = Some(CallError::connection(text, true)),
            // The connection ended well and the answer did not, or the SDK left an answer that is none.
            End::Complete | End::Abandoned => call.error = Some(CallError::cut()),
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
        } else if let Some(data) = json::parse(&event.data) {
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
    match std::str::from_utf8(bytes) {
        Ok(text) => json::parse(text),
        Err(_) => json::parse(&String::from_utf8_lossy(bytes)),
    }
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
