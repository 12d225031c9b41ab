//! Tool calls and their results become spans: the scenarios that all three languages read.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use llmtrail::{Chunk, Client, Exchange, Language, Options, Scope};
use llmtrail_tests::loopback::Server;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

fn turn(client: &Client, scope: &Scope, url: &Value, turn: &Value) {
    client.observe(Exchange {
        method: "POST".to_owned(),
        url: url.as_str().unwrap().to_owned(),
        request_body: turn["request"].to_string().into(),
        status: Some(200),
        response_headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        chunks: vec![Chunk { bytes: turn["response"].to_string().into(), at: Duration::from_millis(4) }],
        ended_at: Duration::from_millis(4),
        decoded: true,
        started_at: Some(SystemTime::now()),
        scope: Some(scope.clone()),
        ..Exchange::default()
    });
}

#[test]
fn every_tool_call_and_its_result_are_one_span() {
    let server = Server::start().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/tool_spans.json");
    let scenarios: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(scenarios.len() >= 12);
    for scenario in &scenarios {
        server.clear();
        let options = Options::new(Language::Rust)
            .set("api_key", "phc_test")
            .set("host", server.url())
            .set("tool_spans", scenario["off"] != true);
        let client = Client::new(options).unwrap();
        let trace = || client.trace("agent").privacy(scenario["privacy"] == true).open();
        let agent = trace();
        for each in scenario["turns"].as_array().unwrap() {
            let scope = if scenario["apart"] == true { trace() } else { agent.clone() };
            turn(&client, &scope, &scenario["url"], each);
            std::thread::sleep(Duration::from_millis(10));
            if each == &scenario["turns"][0] {
                client.totals(&scope, TIMEOUT);
                for name in scenario["by_hand"].as_array().into_iter().flatten() {
                    client.span(name.as_str().unwrap()).span_type("tool").inside(&scope).start().end();
                }
            }
        }
        client.shutdown(TIMEOUT);
        let by_hand = scenario["by_hand"].as_array().map_or(0, Vec::len);
        let spans: Vec<Value> = server
            .events()
            .into_iter()
            .filter(|event| event["event"] == "$ai_span")
            .map(|event| event["properties"].clone())
            .skip(by_hand)
            .collect();
        let shown = spans.iter().map(|p| {
            let mut seen =
                json!({"name": p["$ai_span_name"], "input": p["$ai_input_state"], "output": p["$ai_output_state"]});
            for (name, property) in [("id", "$ai_tool_call_id"), ("error", "$ai_is_error")] {
                if let Some(value) = p.get(property) {
                    seen[name] = value.clone();
                }
            }
            seen
        });
        let shows = &scenario["shows"];
        assert_eq!(shown.collect::<Value>(), scenario["spans"], "{shows}");
        for p in &spans {
            assert_eq!(p["$ai_span_type"], "tool", "{shows}");
            assert_eq!((p["$ai_trace_id"].as_str(), p["$ai_parent_id"].as_str()), (agent.trace_id(), agent.trace_id()));
            let took = p["$ai_latency"].as_f64().unwrap();
            assert!((0.005..5.0).contains(&took), "{shows}: {took}");
        }
    }
}
