//! What leaves, and what is told of it: `redact`, `on_generation`, and what of an event's content goes to which sink.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use llmtrail::manual::CaptureOptions;
use llmtrail::{CallRecord, Client, FinishedCall, Language, Options, RecordedError};
use llmtrail_tests::folder::Folder;
use llmtrail_tests::loopback::Server;
use llmtrail_tests::sinks::{options, stored, text};
use serde_json::{Value, json};

const SECRET: &str = "canary-7f3a";
const TIMEOUT: Duration = Duration::from_secs(20);

fn said(content: &str) -> Value {
    json!([{"role": "user", "content": content}])
}

fn call(input: &str) -> CallRecord {
    CallRecord { model: Some("m".to_owned()), input: Some(said(input)), ..CallRecord::default() }
}

#[test]
fn redact_sees_every_text_and_what_it_says_is_sent() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let seen: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let seeing = Arc::clone(&seen);
    let trail = Client::new(options(&server, &folder).redact(move |text, path| {
        seeing.lock().unwrap().insert(path.to_owned(), text.to_owned());
        assert_ne!(text, "panic");
        text.replace(SECRET, "[mine]")
    }))
    .unwrap();
    trail.trace(SECRET).input(json!({"question": SECRET})).property("note", SECRET).run(|| {
        let error = Some(RecordedError { kind: None, message: SECRET.to_owned() });
        trail.capture_generation(CallRecord { error, ..call(SECRET) });
        trail.capture_generation(call("panic"));
    });
    let properties = json!({"nested": {"deep": [SECRET]}}).as_object().unwrap().clone();
    trail.capture("ordered", CaptureOptions { properties, ..CaptureOptions::default() }).unwrap();
    let report = trail.shutdown(TIMEOUT);
    assert_eq!((report.delivered, report.dropped), (4, BTreeMap::new()));
    let events = server.events();
    assert!(!text(&events).contains(SECRET), "{events:?}");
    let seen = seen.lock().unwrap();
    for path in ["$ai_error", "note", "nested.deep[0]", "$ai_span_name", "$ai_input_state.question"] {
        assert_eq!(seen[path], SECRET, "{path}");
    }
    let inputs: Vec<&Value> = events.iter().map(|event| &event["properties"]["$ai_input"]).collect();
    assert!(inputs.contains(&&said("[mine]")) && inputs.contains(&&said("[withheld]")), "{inputs:?}");
    assert_eq!(trail.stats().notes["redact_failed"], 1);
}

#[test]
fn on_generation_is_told_of_every_call_and_what_it_panics_with_is_counted() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let told: Arc<Mutex<Vec<FinishedCall>>> = Arc::default();
    let hearing = Arc::clone(&told);
    let options = options(&server, &folder).set("sample_rate", 0.0).on_generation(move |call| {
        hearing.lock().unwrap().push(call.clone());
        assert_eq!(call.event, "$ai_generation");
    });
    let trail = Client::new(options).unwrap();
    let usage = Some(json!({"input_tokens": 1000, "output_tokens": 10}));
    let scope = trail.trace("t").distinct_id("user-1").session_id("s").start();
    scope.run(|| {
        let model = Some("gpt-5-mini".to_owned());
        let latency = Some(Duration::from_millis(250));
        trail.capture_generation(CallRecord { model, usage: usage.clone(), latency, ..call("hi") });
        trail.capture_embedding(CallRecord { usage: usage.clone(), ..call("hi") });
    });
    trail.flush(TIMEOUT);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2);
    let first = &told[0];
    assert_eq!((first.distinct_id.as_str(), first.session_id.as_deref()), ("user-1", Some("s")));
    assert_eq!((first.model.as_deref(), first.latency), (Some("gpt-5-mini"), Some(Duration::from_millis(250))));
    assert_eq!(first.usage, BTreeMap::from([("input_text", 1000), ("output_text", 10)]));
    // $0.25 and $2.00 a million tokens.
    assert!((first.cost_usd.unwrap() - 0.000_27).abs() < 1e-12, "{first:?}");
    assert_eq!(told[1].event, "$ai_embedding");
    assert_eq!(trail.stats().notes["on_generation_failed"], 1);
    assert!(server.events().is_empty());
}

#[test]
fn the_store_and_the_server_get_what_each_may() {
    for stricter in ["remote", "store"] {
        let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
        let hidden = stricter == "remote";
        let options = options(&server, &folder)
            .set("local", true)
            .set("privacy", hidden)
            .set("store", json!({"privacy": !hidden}))
            .redact(|text, _| text.replace("name", "[mine]"));
        let trail = Client::new(options).unwrap();
        trail.trace("name").input(SECRET).run(|| {
            trail.capture_generation(call(SECRET));
            trail.options().privacy(true).run(|| trail.capture_generation(call("hidden from all")));
        });
        assert_eq!(trail.shutdown(TIMEOUT).delivered, 3);
        let sent = server.events();
        let kept = stored(&folder, &sent);
        let (full, less) = if hidden { (&kept, &sent) } else { (&sent, &kept) };
        assert_eq!((text(full).matches(SECRET).count(), text(less).matches(SECRET).count()), (2, 0), "{stricter}");
        for events in [&sent, &kept] {
            assert_eq!(events.len(), 3);
            assert!(!text(events).contains("hidden from all") && text(events).contains("[mine]"));
        }
        assert_eq!(trail.stats().queued_bytes, 0);
    }
}

#[test]
fn a_wrong_policy_is_an_error_at_the_door() {
    let wrong = |store: Value| Options::new(Language::Rust).set("store", store).resolve().unwrap_err().to_string();
    assert!(wrong(json!(true)).contains("store: expected an object with some of privacy, full_capture"));
    assert!(wrong(json!({"privacy": 1})).contains("store: privacy: expected true or false"));
}
