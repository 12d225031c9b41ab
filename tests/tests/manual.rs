//! Capture by hand in Rust, delivered to the loopback server.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use llmtrail::manual::{CaptureOptions, TraceRef};
use llmtrail::{CallRecord, Client, Language, Options, RecordedError, ScopeOptions, StepRecord};
use llmtrail_tests::loopback::Server;
use serde_json::{Map, Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

fn client(server: &Server) -> Client {
    let options = Options::new(Language::Rust).set("api_key", "phc_test").set("host", server.url());
    Client::new(options).unwrap()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn call(model: &str) -> CallRecord {
    CallRecord { model: Some(model.to_owned()), provider: Some("openai".to_owned()), ..CallRecord::default() }
}

#[test]
fn a_generation_is_priced_and_placed() {
    let server = Server::start().unwrap();
    let trail = client(&server);
    let (trace_id, span_id) =
        trail.trace("answer").distinct_id("u").session_id("s").property("plan", "pro").run(|| {
            let span_id = trail.capture_generation(CallRecord {
                input: Some("hi".into()),
                output: Some("hello".into()),
                usage: Some(json!({"input_tokens": 1000, "output_tokens": 100})),
                latency: Some(Duration::from_millis(1500)),
                scope: ScopeOptions {
                    started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)),
                    ..ScopeOptions::default()
                },
                ..call("gpt-4o")
            });
            let trace = llmtrail::context::current().unwrap();
            let totals = trail.totals(&trace, TIMEOUT);
            // 1,000 tokens at $2.50 and 100 at $10 a million.
            assert_eq!(totals.cost.to_string(), "0.0035");
            trail.feedback(None, Some(1.into()), Some("good"), CaptureOptions::default()).unwrap();
            (trace.trace_id().unwrap().to_owned(), span_id)
        });
    trail.metric(TraceRef::Id("other"), "grade", 0.5, CaptureOptions::default()).unwrap();
    trail.shutdown(TIMEOUT);
    let events = server.events();
    let generation = named(&events, "$ai_generation")[0];
    assert_eq!(
        (&generation["distinct_id"], &generation["timestamp"]),
        (&json!("u"), &json!("2026-01-02T03:04:05.000Z"))
    );
    let p = &generation["properties"];
    assert_eq!((&p["$ai_trace_id"], &p["$ai_parent_id"]), (&json!(trace_id), &json!(trace_id)));
    assert_eq!((&p["$ai_span_id"], &p["$ai_session_id"], &p["plan"]), (&json!(span_id), &json!("s"), &json!("pro")));
    assert_eq!(p["$ai_input"], json!([{"role": "user", "content": "hi"}]));
    assert_eq!(p["$ai_output_choices"], json!([{"role": "assistant", "content": "hello"}]));
    assert_eq!((&p["$ai_latency"], &p["$ai_total_cost_usd"]), (&json!(1.5), &json!(0.0035)));
    assert_eq!(named(&events, "$ai_feedback")[0]["properties"]["$ai_feedback_text"], "good");
    let metrics = named(&events, "$ai_metric");
    assert_eq!(
        (&metrics[0]["properties"]["$ai_metric_name"], &metrics[0]["distinct_id"]),
        (&json!("score"), &json!("u"))
    );
    assert_eq!(metrics[1]["properties"]["$ai_trace_id"], "other");
}

#[test]
fn spans_traces_and_events_are_placed_too() {
    let server = Server::start().unwrap();
    let trail = client(&server);
    let named_scope = |name: &str| ScopeOptions { name: Some(name.to_owned()), ..ScopeOptions::default() };
    let trace_id = trail.capture_trace(StepRecord {
        scope: named_scope("job"),
        output: Some("out".into()),
        latency: Some(Duration::from_secs(2)),
        ..StepRecord::default()
    });
    let span_id = trail.capture_span(StepRecord {
        scope: ScopeOptions {
            trace_id: Some(trace_id.clone()),
            parent_id: Some(trace_id.clone()),
            span_type: Some("tool".to_owned()),
            ..named_scope("step")
        },
        error: Some(RecordedError { kind: Some("Late".to_owned()), message: "too late".to_owned() }),
        ..StepRecord::default()
    });
    trail.options().distinct_id("u").property("plan", "pro").run(|| {
        let options = CaptureOptions { properties: object(&json!({"n": 1})), ..CaptureOptions::default() };
        trail.capture("ordered", options).unwrap();
    });
    trail.shutdown(TIMEOUT);
    let events = server.events();
    let (trace, span) = (&named(&events, "$ai_trace")[0]["properties"], &named(&events, "$ai_span")[0]["properties"]);
    assert_eq!((&trace["$ai_trace_id"], &trace["$ai_trace_latency"]), (&json!(trace_id), &json!(2.0)));
    assert_eq!((&span["$ai_span_id"], &span["$ai_parent_id"]), (&json!(span_id), &json!(trace_id)));
    assert_eq!((&span["$ai_error"], &span["$ai_error_type"]), (&json!("too late"), &json!("Late")));
    assert_eq!(span.get("$ai_latency"), None);
    let ordered = named(&events, "ordered")[0];
    assert_eq!((&ordered["distinct_id"], &ordered["properties"]["plan"]), (&json!("u"), &json!("pro")));
    assert_eq!(ordered["properties"]["n"], 1);
}

#[test]
fn a_timer_ends_once_and_misuse_is_an_error() {
    let server = Server::start().unwrap();
    let trail = client(&server);
    let timer = trail.start_generation();
    timer.first_token();
    timer.end(call("m"));
    timer.end(call("m"));
    assert_eq!(trail.feedback(None, None, Some(" "), CaptureOptions::default()).unwrap_err().kind().code(), "usage");
    assert!(trail.metric(None, "grade", 1, CaptureOptions::default()).is_err());
    assert!(trail.capture(" ", CaptureOptions::default()).is_err());
    let report = trail.shutdown(TIMEOUT);
    assert_eq!(report.delivered, 1);
    let events = server.events();
    assert_eq!(events[0]["properties"]["$ai_span_id"], timer.id());
    assert_eq!(events[0]["properties"]["$ai_stream"], true);
}
