//! PostHog's ingestion: both routes, their limits and their all-or-nothing checks.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use hyper::HeaderMap;
use llmtrail::event::AI_EVENTS;
use serde_json::{Value, json};

use super::Reply;
use super::faults::{Outcome, Route, judge};
use super::log::Log;

const MOST_ON_THE_WIRE: usize = 20 << 20;
const MOST_INFLATED: u64 = 100 << 20;
const MOST_AI_EVENT: usize = 8 << 20;
const MOST_EVENT: usize = 1 << 20;

/// The route of a path, if it is one.
pub(crate) fn route(path: &str) -> Option<Route> {
    let path = path.trim_end_matches('/');
    if path.ends_with("/i/v0/ai/batch") {
        Some(Route::Ai)
    } else if path.ends_with("/batch") {
        Some(Route::Batch)
    } else {
        None
    }
}

/// Answers whoever asks for feature flags: none, or that the key is not known (it has `no-such` in it).
pub(crate) fn flags(body: &Bytes) -> Reply {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    match asked["api_key"].as_str() {
        Some(key) if !key.contains("no-such") => {
            Reply::json(200, &json!({"flags": {}, "errorsWhileComputingFlags": false}))
        }
        _ => Reply::json(
            401,
            &json!({
                "type": "authentication_error",
                "code": "invalid_api_key",
                "detail": "Project API key invalid. You can find your project API key in your PostHog project settings.",
                "attr": null,
            }),
        ),
    }
}

/// Takes one batch.
pub(crate) async fn take(log: &Log, number: u64, route: Route, headers: &HeaderMap, body: &Bytes) -> Reply {
    let read = read(headers, body);
    let (text, batch) = match &read {
        Ok((text, batch)) => (text.as_str(), batch["batch"].as_array()),
        Err(_) => ("", None),
    };
    let count = batch.map_or(0, Vec::len);
    let verdict = {
        let mut log = log.lock();
        log.amend(number, &json!({"events": count, "inflated": text.len()}));
        judge(&mut log.faults, route, count, text)
    };
    if !verdict.delay.is_zero() {
        tokio::time::sleep(verdict.delay).await;
    }
    if let Some(outcome) = &verdict.outcome {
        if verdict.accept {
            record(log, number, route, batch);
        }
        return match outcome {
            Outcome::Reset => Reply::Reset,
            Outcome::Answer { status, headers, body } => Reply::answer(*status, headers, body.clone()),
        };
    }
    let checked = match &read {
        Ok((_, batch)) => check(route, batch),
        Err(refusal) => Err(refusal.clone()),
    };
    match checked {
        Ok(()) => {
            record(log, number, route, batch);
            Reply::json(200, &json!({"status": 1}))
        }
        Err((status, why)) => {
            Reply::json(status, &json!({"type": "validation_error", "code": status.to_string(), "detail": why}))
        }
    }
}

type Refusal = (u16, String);

fn read(headers: &HeaderMap, body: &Bytes) -> Result<(String, Value), Refusal> {
    if body.len() > MOST_ON_THE_WIRE {
        return Err((413, format!("{} bytes on the wire, at most {MOST_ON_THE_WIRE}", body.len())));
    }
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = match encoding {
        "" | "identity" => String::from_utf8(body.to_vec()),
        "gzip" => {
            let mut inflated = Vec::new();
            MultiGzDecoder::new(&**body)
                .take(MOST_INFLATED + 1)
                .read_to_end(&mut inflated)
                .map_err(|error| (400, format!("not gzip: {error}")))?;
            if inflated.len() as u64 > MOST_INFLATED {
                return Err((413, format!("more than {MOST_INFLATED} bytes inflated")));
            }
            String::from_utf8(inflated)
        }
        other => return Err((400, format!("content-encoding {other:?} is not taken"))),
    };
    let text = text.map_err(|_| (400, "not UTF-8".to_owned()))?;
    let batch = serde_json::from_str(&text).map_err(|error| (400, format!("not JSON: {error}")))?;
    Ok((text, batch))
}

/// All or nothing: one bad event fails its batch.
fn check(route: Route, batch: &Value) -> Result<(), Refusal> {
    if batch["api_key"].as_str().is_none_or(|key| key.trim().is_empty()) {
        return Err((401, "no api_key".to_owned()));
    }
    let Some(events) = batch["batch"].as_array().filter(|events| !events.is_empty()) else {
        return Err((400, "batch: expected a list of events".to_owned()));
    };
    for (at, event) in events.iter().enumerate() {
        let bad = |why: &str| Err((400, format!("event {at}: {why}")));
        let text = |key: &str| event[key].as_str().filter(|text| !text.is_empty());
        let Some(name) = text("event") else { return bad("no event") };
        if text("distinct_id").or_else(|| event["properties"]["distinct_id"].as_str()).is_none() {
            return bad("no distinct_id");
        }
        if route == Route::Ai {
            if !AI_EVENTS.contains(&name) {
                return bad(&format!("{name} is not an AI event"));
            }
            if !text("uuid").is_some_and(is_uuid) {
                return bad("uuid is not one");
            }
            if text("timestamp").is_none() || !event["properties"].is_object() {
                return bad("no timestamp or properties");
            }
        }
        let most = if route == Route::Ai { MOST_AI_EVENT } else { MOST_EVENT };
        let size = event.to_string().len();
        if size > most {
            return Err((413, format!("event {at}: {size} bytes, at most {most}")));
        }
    }
    Ok(())
}

fn record(log: &Log, number: u64, route: Route, events: Option<&Vec<Value>>) {
    let mut log = log.lock();
    let number = log.number(number);
    for event in events.into_iter().flatten() {
        let mut event = event.clone();
        if event.is_object() {
            event["route"] = route.name().into();
            event["request"] = number.into();
        }
        log.event(&event);
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
