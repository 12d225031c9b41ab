//! From the pieces that were read to whole frames: content encodings, and the ways in which streams are cut up.

mod aws;
mod encoding;
mod json_array;
mod ndjson;
mod sse;

use std::time::Duration;

pub(crate) use aws::{CUT, EXCEPTION, chunk_of};
pub(crate) use encoding::{inflate, join};

/// One unit of a stream: a server-sent event, a line, an element of a list, a message of an AWS event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The event's name; empty where the framing has none.
    pub(crate) name: String,
    /// Its data, mostly JSON. Bytes that are not UTF-8 are replaced.
    pub(crate) data: String,
    /// When its last byte came, on the provider's clock.
    pub(crate) at: Duration,
}

/// Cuts a stream into frames, however its bytes are cut into pieces.
pub(crate) trait Framing {
    /// Reads one piece; frames that it completes are appended.
    fn push(&mut self, bytes: &[u8], at: Duration, out: &mut Vec<Frame>);
    /// The stream ended. What is left may count as a frame: a reader finds out whether it is whole.
    fn finish(&mut self, at: Duration, out: &mut Vec<Frame>);
    /// Whether what was read cannot be right, so that whoever stopped reading did so because of it.
    fn damaged(&self) -> bool {
        false
    }
}

/// The framing of a body by its content type; `None`: the body is one document.
pub(crate) fn of_content_type(content_type: &str) -> Option<Box<dyn Framing>> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(match kind.as_str() {
        "text/event-stream" => Box::new(sse::Sse::default()),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Box::new(ndjson::Ndjson::default()),
        "application/vnd.amazon.eventstream" => Box::new(aws::EventStream::default()),
        _ => return None,
    })
}

/// The framing of a body that begins so, for SDKs read a stream that they asked for whatever its content type says.
pub(crate) fn of_beginning(first: &[u8]) -> Option<Box<dyn Framing>> {
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let events = [&b":"[..], b"data:", b"event:", b"id:", b"retry:"].iter().any(|field| first.starts_with(field));
    if events { Some(Box::new(sse::Sse::default())) } else { None }
}

/// One JSON list whose elements come one by one.
pub(crate) fn json_array() -> Box<dyn Framing> {
    Box::new(json_array::JsonArray::default())
}

/// Server-sent events, with JSON objects as bare lines among them.
pub(crate) fn sse_with_bare_json() -> Box<dyn Framing> {
    Box::new(sse::Sse::with_bare_json())
}

/// The first bytes that are no white space: enough to tell what a body is.
pub(crate) fn beginning(chunks: &[crate::Chunk]) -> Vec<u8> {
    const ENOUGH: usize = 64;
    let mut first = Vec::with_capacity(ENOUGH);
    for chunk in chunks {
        let bytes = if first.is_empty() { chunk.bytes.trim_ascii_start() } else { &chunk.bytes };
        first.extend_from_slice(&bytes[..bytes.len().min(ENOUGH - first.len())]);
        if first.len() == ENOUGH {
            break;
        }
    }
    first
}
