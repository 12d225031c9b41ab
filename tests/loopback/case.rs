//! Plays a case of the corpus.

use bytes::Bytes;
use serde_json::{Value, json};

use super::body::Ending;
use super::{Answer, Reply};
use crate::corpus::{Case, CaseEnd, asks_stream};

/// What the case answers to this request. `rest` is the path after the case's name.
pub(crate) fn play(case: &Case, rest: &str, request: &Bytes) -> Reply {
    let endpoint = case.url.split('?').next().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
    let name = format!("{}/{}", case.format, case.name);
    if !rest.trim_end_matches('/').ends_with(endpoint) {
        return mistake(404, &format!("the case {name} is a call to .../{endpoint}, not to {rest:?}"));
    }
    let (asked, is) = (asks_stream(&format!("/{rest}"), request), case.asks_stream());
    if asked != is {
        let of = |stream| if stream { "a stream" } else { "no stream" };
        return mistake(400, &format!("the case {name} is {}, the request asks for {}", of(is), of(asked)));
    }
    let Some(status) = case.status else {
        return if case.end == CaseEnd::Timeout { Reply::Silence } else { Reply::Close };
    };
    let mut pieces = case.pieces();
    if case.asked_usage && case.is_sse() && !asks_usage(request) {
        pieces = without_usage(&pieces);
    }
    Reply::Answer(Answer {
        status,
        headers: case.response_headers.clone(),
        pieces,
        stream: case.is_stream(),
        ending: match case.end {
            CaseEnd::Complete => Ending::Complete,
            CaseEnd::Error => Ending::Cut,
            // The caller is the one who leaves.
            CaseEnd::Abandoned | CaseEnd::Timeout => Ending::Hang,
        },
    })
}

/// A test's own mistake, told so that it cannot be taken for the provider's.
pub(crate) fn mistake(status: u16, message: &str) -> Reply {
    let error = json!({"message": format!("loopback: {message}"), "type": "loopback_mistake", "code": null});
    Reply::json(status, &json!({"type": "error", "error": error}))
}

fn asks_usage(request: &[u8]) -> bool {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    request["stream_options"]["include_usage"] == true
}

/// The stream as it is for those who did not ask for usage: no usage-only chunk, and no `"usage":null` on the others.
fn without_usage(events: &[Bytes]) -> Vec<Bytes> {
    let is_usage_only = |event: &Bytes| {
        let text = String::from_utf8_lossy(event);
        let data = text.trim().strip_prefix("data:").unwrap_or_default();
        let chunk: Value = serde_json::from_str(data).unwrap_or_default();
        chunk["usage"].is_object() && chunk["choices"].as_array().is_some_and(Vec::is_empty)
    };
    let keep = events.iter().filter(|event| !is_usage_only(event));
    keep.map(|event| {
        // A quote inside a text is escaped on the wire, so this can only be a member.
        [r#","usage":null"#, r#", "usage": null"#, r#""usage":null,"#, r#""usage": null, "#]
            .iter()
            .fold(event.clone(), |event, member| remove(&event, member.as_bytes()))
    })
    .collect()
}

fn remove(bytes: &Bytes, part: &[u8]) -> Bytes {
    match bytes.windows(part.len()).position(|window| window == part) {
        Some(at) => [&bytes[..at], &bytes[at + part.len()..]].concat().into(),
        None => bytes.clone(),
    }
}
