//! Plausible answers to calls that no case covers: the same request always gets the same answer.

mod background;
mod chat;
mod embeddings;
mod messages;
mod responses;
mod speech;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::body::Ending;
use super::case::mistake;
use super::knobs::Knobs;
use super::log::Log;
use super::{Answer, Reply, hash};
pub(crate) use background::Going;

/// Models that answer under the name of a snapshot.
const SNAPSHOTS: &[(&str, &str)] = &[
    ("gpt-5", "gpt-5-2025-08-07"),
    ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
    ("gpt-5-nano", "gpt-5-nano-2025-08-07"),
    ("gpt-5.1", "gpt-5.1-2025-11-13"),
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"),
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("o3", "o3-2025-04-16"),
    ("o3-mini", "o3-mini-2025-01-31"),
    ("o4-mini", "o4-mini-2025-04-16"),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-opus-4-1", "claude-opus-4-1-20250805"),
    ("claude-opus-4-5", "claude-opus-4-5-20251101"),
];

/// A time that answers bear; fixed, for they are to be the same each time.
const CREATED: u64 = 1_764_583_200;

/// Everything that an answer is made from.
pub(crate) struct Asked<'a> {
    pub(crate) log: &'a Log,
    pub(crate) knobs: &'a Knobs,
    pub(crate) body: &'a Value,
    /// The model that answers.
    pub(crate) model: String,
    /// Hex digits for ids, the same for the same request.
    pub(crate) seed: String,
}

impl Asked<'_> {
    pub(crate) fn stream(&self) -> bool {
        self.body["stream"] == true
    }

    /// An id like the provider's.
    pub(crate) fn id(&self, prefix: &str, salt: &str) -> String {
        format!("{prefix}{}", &hash(format!("{}{prefix}{salt}", self.seed).as_bytes())[..24])
    }
}

/// The error that was asked for, by a knob or by a model of a name like `error-429` or `error-529-twice`, if it is
/// this request's turn. `key` tells one call from another.
pub(crate) fn refusal(log: &Log, path: &str, knobs: &Knobs, body: &Bytes, key: impl Fn() -> String) -> Option<Reply> {
    let (mut status, mut times) = (knobs.status.or(knobs.times.map(|_| 503)), knobs.times);
    if status.is_none() {
        // Bodies are large and most models are not called so.
        if !body.windows(7).any(|window| window == b"\"error-") {
            return None;
        }
        let body: Value = serde_json::from_slice(body).ok()?;
        let mut words = body["model"].as_str()?.strip_prefix("error-")?.split('-');
        status = words.next()?.parse().ok().filter(|status| (400..=599).contains(status));
        times = words.next().and_then(|word| match word {
            "once" => Some(1),
            "twice" => Some(2),
            "thrice" => Some(3),
            number => number.parse().ok(),
        });
    }
    let status = status?;
    if times.is_some_and(|times| log.lock().turn(key(), times)) {
        return None;
    }
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if let Some(ms) = knobs.retry_after_ms {
        headers.push(("retry-after-ms", ms.to_string()));
        headers.push(("retry-after", ms.div_ceil(1000).to_string()));
    }
    let anthropic = path.trim_end_matches('/').ends_with("/messages");
    headers.push((if anthropic { "request-id" } else { "x-request-id" }, format!("req_{}", &hash(body)[..24])));
    Some(Reply::answer(status, &headers, error(anthropic, status, None).to_string()))
}

/// An error in the shape of its provider.
fn error(anthropic: bool, status: u16, message: Option<&str>) -> Value {
    let (openai_type, code, anthropic_type, text) = match status {
        401 => ("invalid_request_error", "invalid_api_key", "authentication_error", "Incorrect API key provided."),
        403 => ("invalid_request_error", "forbidden", "permission_error", "You are not allowed to do this."),
        404 => ("invalid_request_error", "model_not_found", "not_found_error", "The model does not exist."),
        413 => ("invalid_request_error", "request_too_large", "request_too_large", "The request is too large."),
        429 => ("requests", "rate_limit_exceeded", "rate_limit_error", "Rate limit reached. Please try again later."),
        503 => {
            ("server_error", "overloaded", "api_error", "The engine is currently overloaded, please try again later.")
        }
        529 => ("server_error", "overloaded", "overloaded_error", "Overloaded"),
        500.. => {
            ("server_error", "server_error", "api_error", "The server had an error while processing your request.")
        }
        _ => ("invalid_request_error", "invalid_request", "invalid_request_error", "The request is not valid."),
    };
    let message = message.unwrap_or(text);
    if anthropic {
        json!({"type": "error", "error": {"type": anthropic_type, "message": message}, "request_id": "req_loopback"})
    } else {
        json!({"error": {"message": message, "type": openai_type, "param": null, "code": code}})
    }
}

/// An answer made up from the request.
pub(crate) fn answer(log: &Log, method: &Method, path: &str, query: &str, knobs: &Knobs, raw: &Bytes) -> Reply {
    if let Some(again) = background::again(log, method, path.trim_end_matches('/'), query) {
        let id = ("x-request-id".to_owned(), format!("req_{}", &hash(path.as_bytes())[..24]));
        return match again {
            Ok(made) => reply(made, id),
            Err(why) => Reply::json(404, &error(false, 404, Some(&why))),
        };
    }
    let end = path.trim_end_matches('/');
    let anthropic = end.ends_with("/messages") || end.ends_with("/messages/count_tokens");
    let known = ["/chat/completions", "/responses", "/embeddings", "/messages", "/messages/count_tokens"];
    if !known.iter().any(|known| end.ends_with(known)) {
        return mistake(404, &format!("nothing at {method} {path}"));
    }
    if method != Method::POST {
        return mistake(405, &format!("{path} wants POST, not {method}"));
    }
    let bad = |status, message: &str| Reply::json(status, &error(anthropic, status, Some(message)));
    let Ok(body) = serde_json::from_slice::<Value>(raw) else {
        return bad(400, "We could not parse the JSON body of your request.");
    };
    // Azure names its deployment in the path.
    let deployment = path.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
    let Some(name) = body["model"].as_str().or(deployment).filter(|name| !name.is_empty()) else {
        return bad(400, "you must provide a model parameter");
    };
    if name.contains("does-not-exist") || name.contains("no-such") {
        let why = format!("The model `{name}` does not exist or you do not have access to it.");
        return bad(404, if anthropic { name } else { &why });
    }
    let model = SNAPSHOTS.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, dated)| dated);
    let seed = hash(&[path.as_bytes(), raw].concat());
    let asked = Asked { log, knobs, body: &body, model: model.to_owned(), seed };
    let made = if end.ends_with("/chat/completions") {
        chat::answer(&asked)
    } else if end.ends_with("/responses") {
        responses::answer(&asked)
    } else if end.ends_with("/embeddings") {
        embeddings::answer(&asked)
    } else if end.ends_with("/messages") {
        messages::answer(&asked)
    } else {
        Ok(Made::Whole(json!({"input_tokens": tokens(count(&body["system"]) + count(&body["messages"]))})))
    };
    let id = if anthropic { "request-id" } else { "x-request-id" };
    let id = (id.to_owned(), asked.id("req_", ""));
    match made {
        Ok(made) => reply(made, id),
        Err(why) => bad(400, &why),
    }
}

fn reply(made: Made, id: (String, String)) -> Reply {
    let (kind, pieces, stream) = match made {
        Made::Whole(body) => ("application/json", vec![body.to_string().into()], false),
        Made::Stream(pieces) => ("text/event-stream; charset=utf-8", pieces, true),
    };
    let headers = vec![("content-type".to_owned(), kind.to_owned()), id];
    Reply::Answer(Answer { status: 200, headers, pieces, stream, ending: Ending::Complete })
}

/// An answer's body.
pub(crate) enum Made {
    Whole(Value),
    Stream(Vec<Bytes>),
}

/// One server-sent event.
pub(crate) fn event(name: Option<&str>, data: &Value) -> Bytes {
    match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n").into(),
        None => format!("data: {data}\n\n").into(),
    }
}

/// Characters of the texts below a value, without those that only say what a thing is.
pub(crate) fn count(value: &Value) -> usize {
    const NO_TEXT: [&str; 8] = ["role", "type", "id", "call_id", "url", "data", "media_type", "cache_control"];
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => {
            members.iter().filter(|(key, _)| !NO_TEXT.contains(&key.as_str())).map(|(_, item)| count(item)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Four characters are a token.
pub(crate) fn tokens(characters: usize) -> usize {
    characters.div_ceil(4)
}
