//! OpenAI Responses in the background: an answer that is asked for again.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::super::log::Log;
use super::Made;

/// A response that goes on.
#[derive(Clone)]
pub(crate) struct Going {
    done: Value,
    events: Vec<Bytes>,
    polls: u32,
}

/// Keeps the response that will have been made, and gives what the call answers now.
pub(crate) fn begin(log: &Log, done: &Value, events: Vec<Bytes>) -> Value {
    let id = done["id"].as_str().unwrap_or_default().to_owned();
    log.lock().keep_going(id, Going { done: done.clone(), events, polls: 0 });
    with_status(done, "queued")
}

/// What `GET .../responses/{id}` and `POST .../responses/{id}/cancel` answer; `None`: this is neither. Of the polls the
/// first finds it in progress, and every later one ended. `stream=true` has the events behind `starting_after`.
pub(crate) fn again(log: &Log, method: &Method, path: &str, query: &str) -> Option<Result<Made, String>> {
    let (_, rest) = path.rsplit_once("/responses/")?;
    let cancel = rest.strip_suffix("/cancel").filter(|_| *method == Method::POST);
    let id = cancel.or(Some(rest).filter(|_| *method == Method::GET)).filter(|id| !id.contains('/'))?;
    let asked = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let Some(going) = log.lock().go_on(id) else {
        return Some(Err(format!("Response with id '{id}' not found.")));
    };
    Some(Ok(if cancel.is_some() {
        Made::Whole(with_status(&going.done, "cancelled"))
    } else if asked("stream") == Some("true") {
        let seen = asked("starting_after").and_then(|number| number.parse::<usize>().ok()).map_or(0, |seen| seen + 1);
        Made::Stream(going.events.into_iter().skip(seen).collect())
    } else if going.polls == 1 {
        Made::Whole(with_status(&going.done, "in_progress"))
    } else {
        Made::Whole(going.done)
    }))
}

impl Going {
    pub(crate) fn polled(&mut self) -> Self {
        self.polls += 1;
        self.clone()
    }
}

fn with_status(done: &Value, status: &str) -> Value {
    let mut response = done.clone();
    response["status"] = status.into();
    response["output"] = json!([]);
    response["usage"] = Value::Null;
    response["incomplete_details"] = Value::Null;
    response
}
