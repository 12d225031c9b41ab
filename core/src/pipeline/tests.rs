use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Input, Pipeline};
use crate::config::Config;
use crate::deliver::Stage;
use crate::event::WireEvent;
use crate::exchange::{Chunk, End, Exchange};
use crate::notes::Notes;
use crate::price::PriceBook;

const RESPONSES: &str = "https://api.openai.com/v1/responses";

fn pipeline(notes: &Notes) -> Pipeline {
    let prices = Arc::new(ArcSwap::from_pointee(PriceBook::new()));
    let config = Arc::new(Config { api_key: Some("phc_test".to_owned().into()), ..Config::default() });
    let ledger = Arc::new(crate::ledger::Ledger::new(&config, notes.clone()));
    Pipeline::new(config, prices, notes.clone(), ledger, Arc::default())
}

/// The time of a call: seconds since some moment.
fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_583_200 + seconds)
}

fn exchange(method: &str, url: &str, request: &Value, at: u64, kind: &str, body: String) -> Exchange {
    let took = Duration::from_millis(250);
    Exchange {
        method: method.to_owned(),
        url: url.to_owned(),
        request_body: if request.is_null() { Bytes::new() } else { request.to_string().into() },
        status: Some(200),
        response_headers: vec![("content-type".to_owned(), kind.to_owned())],
        chunks: vec![Chunk { bytes: body.into(), at: took }],
        started_at: Some(moment(at)),
        headers_at: took,
        ended_at: took,
        ..Exchange::default()
    }
}

fn json_exchange(method: &str, url: &str, request: &Value, at: u64, body: &Value) -> Exchange {
    exchange(method, url, request, at, "application/json", body.to_string())
}

/// A response in some state. Times are in whole seconds, as OpenAI's are.
fn response(id: &str, status: &str, completed_at: Option<u64>) -> Value {
    let done = matches!(status, "completed" | "incomplete");
    let part = json!({"type": "output_text", "text": "Forty-two.", "annotations": []});
    let output = json!([{"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}]);
    let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
    json!({
        "id": id, "object": "response", "background": true, "status": status, "model": "gpt-5.1-2025-11-13",
        "created_at": 1_764_583_200, "completed_at": completed_at.map(|at| 1_764_583_200 + at),
        "output": if done { output } else { json!([]) }, "usage": if done { usage } else { Value::Null },
    })
}

fn create(id: &str) -> Exchange {
    let request = json!({"model": "gpt-5.1", "background": true, "input": "The answer?"});
    json_exchange("POST", RESPONSES, &request, 0, &response(id, "queued", None))
}

fn poll(id: &str, at: u64, body: &Value) -> Exchange {
    json_exchange("GET", &format!("{RESPONSES}/{id}"), &Value::Null, at, body)
}

/// The events that come of these, one by one.
fn run(pipeline: &mut Pipeline, exchanges: Vec<Exchange>) -> Vec<Value> {
    let mut out = Vec::new();
    for exchange in exchanges {
        pipeline.process(Input::Exchange(Box::new(exchange)), &mut out);
    }
    parsed(&out)
}

fn parsed(events: &[WireEvent]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_slice(&event.json).unwrap()).collect()
}

fn drained(pipeline: &mut Pipeline, last: bool) -> Vec<Value> {
    let mut out = Vec::new();
    pipeline.drain(last, &mut out);
    parsed(&out)
}

#[test]
fn a_call_in_the_background_is_one_event_when_its_end_is_polled() {
    let mut pipeline = pipeline(&Notes::default());
    let events = run(
        &mut pipeline,
        vec![create("resp_1"), create("resp_2"), poll("resp_1", 2, &response("resp_1", "in_progress", None))],
    );
    assert_eq!((events.len(), pipeline.held()), (0, 2));
    let events = run(
        &mut pipeline,
        vec![
            poll("resp_1", 9, &response("resp_1", "completed", None)),
            poll("resp_1", 11, &response("resp_1", "completed", None)),
        ],
    );
    assert_eq!((events.len(), pipeline.held()), (1, 1));
    let properties = &events[0]["properties"];
    for (name, value) in [
        ("$ai_request_url", json!(RESPONSES)),
        ("$ai_input", json!([{"role": "user", "content": "The answer?"}])),
        ("$ai_output_choices", json!([{"role": "assistant", "content": [{"type": "text", "text": "Forty-two."}]}])),
        ("$ai_stop_reason", json!("completed")),
        ("$ai_total_tokens", json!(15)),
        ("$ai_model", json!("gpt-5.1-2025-11-13")),
        ("$ai_stream", json!(false)),
        // From the call to the end of the poll that saw the end.
        ("$ai_latency", json!(9.25)),
    ] {
        assert_eq!(properties[name], value, "{name}");
    }
    assert_eq!(events[0]["timestamp"], "2025-12-01T10:00:00.000Z");
    assert!(properties.get("$ai_retries").is_none());
}

#[test]
fn a_late_poll_takes_the_providers_own_time() {
    let ended = poll("resp_1", 600, &response("resp_1", "completed", Some(40)));
    let events = run(&mut pipeline(&Notes::default()), vec![create("resp_1"), ended]);
    assert_eq!(events[0]["properties"]["$ai_latency"], 40.0);
}

#[test]
fn each_way_to_end_ends_it() {
    for status in ["completed", "incomplete", "failed", "cancelled"] {
        let mut body = response("resp_1", status, None);
        if status == "failed" {
            body["error"] = json!({"code": "server_error", "message": "Something went wrong."});
        }
        let end = if status == "cancelled" {
            json_exchange("POST", &format!("{RESPONSES}/resp_1/cancel"), &Value::Null, 3, &body)
        } else {
            poll("resp_1", 3, &body)
        };
        let events = run(&mut pipeline(&Notes::default()), vec![create("resp_1"), end]);
        assert_eq!(events.len(), 1, "{status}");
        let properties = &events[0]["properties"];
        assert_eq!(properties["$ai_stop_reason"], status);
        assert_eq!(properties.get("$ai_is_error").is_some(), status == "failed");
    }
}

#[test]
fn a_flush_in_between_leaves_a_call_in_the_background_whole() {
    let mut pipeline = pipeline(&Notes::default());
    run(&mut pipeline, vec![create("resp_1"), poll("resp_1", 2, &response("resp_1", "in_progress", None))]);
    assert_eq!((drained(&mut pipeline, false).len(), pipeline.held()), (0, 1));
    let events = run(&mut pipeline, vec![poll("resp_1", 9, &response("resp_1", "completed", None))]);
    assert_eq!((events.len(), pipeline.held()), (1, 0));
    let properties = &events[0]["properties"];
    assert_eq!(
        (&properties["$ai_stop_reason"], &properties["$ai_tokens_source"]),
        (&json!("completed"), &json!("provider"))
    );
}

#[test]
fn what_is_not_the_end_changes_nothing() {
    let mut pipeline = pipeline(&Notes::default());
    let mut missing = poll("resp_1", 1, &json!({"error": {"message": "Not found", "type": "invalid_request_error"}}));
    missing.status = Some(404);
    let mut broken = poll("resp_1", 2, &response("resp_1", "completed", None));
    broken.chunks[0].bytes.truncate(40);
    broken.end = End::Failed("reset".to_owned());
    let lost = Exchange { status: None, chunks: Vec::new(), ..poll("resp_1", 3, &Value::Null) };
    let other = poll("resp_1", 4, &response("resp_9", "completed", None));
    let unknown = poll("resp_7", 5, &response("resp_7", "completed", None));
    let events = run(&mut pipeline, vec![create("resp_1"), missing, broken, lost, other, unknown]);
    assert_eq!((events.len(), pipeline.held()), (0, 1));
}

#[test]
fn what_never_ends_is_given_out_as_it_is_and_its_late_end_is_counted() {
    let notes = Notes::default();
    let mut pipeline = pipeline(&notes);
    run(&mut pipeline, vec![create("resp_1")]);
    assert!(pipeline.wakes_in().unwrap() > Duration::from_secs(3_500));
    let events = drained(&mut pipeline, true);
    assert_eq!((events.len(), pipeline.held()), (1, 0));
    let properties = &events[0]["properties"];
    assert_eq!((&properties["$ai_output_choices"], &properties["$ai_tokens_source"]), (&json!([]), &json!("absent")));
    assert!(properties.get("$ai_stop_reason").is_none() && properties.get("$ai_is_error").is_none());
    let late = run(&mut pipeline, vec![poll("resp_1", 60, &response("resp_1", "completed", None))]);
    assert!(late.is_empty());
    assert_eq!(notes.all().get("background_ended_late"), Some(&1));
}

#[test]
fn memory_is_bounded() {
    let mut pipeline = pipeline(&Notes::default());
    let calls = (0..1_500).map(|n| create(&format!("resp_{n}"))).collect();
    assert_eq!(run(&mut pipeline, calls).len(), 500);
    assert_eq!(pipeline.held(), 1_000);
}

/// Server-sent events in the way of OpenAI.
fn sse(events: &[Value]) -> String {
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(event).collect::<Vec<_>>().concat()
}

#[test]
fn a_stream_that_broke_is_taken_up_again() {
    let request = json!({"model": "gpt-5.1", "background": true, "stream": true, "input": "The answer?"});
    let begun = sse(&[
        json!({"type": "response.created", "sequence_number": 0, "response": response("resp_1", "queued", None)}),
        json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
            "item": {"type": "message", "id": "msg_1", "role": "assistant", "content": []}}),
        json!({"type": "response.output_text.delta", "sequence_number": 2, "output_index": 0, "content_index": 0, "delta": "Forty"}),
    ]);
    let rest = sse(&[
        json!({"type": "response.output_text.delta", "sequence_number": 3, "output_index": 0, "content_index": 0, "delta": "-two."}),
        json!({"type": "response.completed", "sequence_number": 4, "response": response("resp_1", "completed", None)}),
    ]);
    let first = || Exchange {
        end: End::Failed("peer closed connection".to_owned()),
        ..exchange("POST", RESPONSES, &request, 0, "text/event-stream", begun.clone())
    };
    let resumed = format!("{RESPONSES}/resp_1?stream=true&starting_after=2");
    let resumed = exchange("GET", &resumed, &Value::Null, 5, "text/event-stream", rest);
    let polled = poll("resp_1", 5, &response("resp_1", "completed", None));
    for end in [resumed, polled] {
        let events = run(&mut pipeline(&Notes::default()), vec![first(), end]);
        assert_eq!(events.len(), 1);
        let properties = &events[0]["properties"];
        assert_eq!((&properties["$ai_stream"], &properties["$ai_stream_status"]), (&json!(true), &json!("complete")));
        assert_eq!(properties["$ai_output_choices"][0]["content"][0]["text"], "Forty-two.");
        assert!(properties.get("$ai_time_to_first_token").is_none() && properties.get("$ai_is_error").is_none());
    }
    // Nobody took it up: what came of it, and how it ended.
    let mut pipeline = pipeline(&Notes::default());
    run(&mut pipeline, vec![first()]);
    let events = drained(&mut pipeline, true);
    let properties = &events[0]["properties"];
    assert_eq!(properties["$ai_output_choices"][0]["content"][0]["text"], "Forty");
    assert_eq!(properties["$ai_stream_status"], "error");
}
