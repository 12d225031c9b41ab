//! 200 interleaved requests with nested spans and streams: every event in its own trace, and the traces are trees.

#![expect(clippy::unwrap_used, reason = "tests")]

mod observed;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use llmtrail::{Client, carry};
use reqwest_middleware::ClientWithMiddleware;
use serde_json::{Value, json};

use observed::with_server;

const REQUESTS: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(60);

async fn call(http: &ClientWithMiddleware, url: &str, content: String, stream: bool) -> reqwest::Response {
    let messages = json!([{"role": "user", "content": content}]);
    let body = json!({"model": "gpt-5-mini", "stream": stream, "messages": messages}).to_string();
    http.post(url).header("content-type", "application/json").body(body).send().await.unwrap()
}

async fn request(trail: Client, http: ClientWithMiddleware, url: String, n: usize) {
    let left = trail
        .trace(format!("request {n}"))
        .distinct_id(format!("user-{n}"))
        .property("n", n)
        .scope(async {
            let outer = trail.span(format!("outer {n}"));
            outer
                .scope(async {
                    let stream = call(&http, &url, format!("stream {n}"), true).await;
                    // A task of its own, which knows of the scope by `carry` alone.
                    let (trail, http, url) = (trail.clone(), http.clone(), url.clone());
                    let inner = carry(async move {
                        let plain = async {
                            call(&http, &url, format!("plain {n}"), false).await.text().await.unwrap();
                        };
                        trail.span(format!("inner {n}")).scope(plain).await;
                    });
                    tokio::spawn(inner).await.unwrap();
                    stream
                })
                .await
        })
        .await;
    // Read when its scopes are over: it belongs to where it was made.
    left.text().await.unwrap();
}

fn begin(event: &Value) -> f64 {
    let at: jiff::Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
    SystemTime::from(at).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn end(event: &Value) -> f64 {
    let p = &event["properties"];
    begin(event) + p["$ai_latency"].as_f64().or(p["$ai_trace_latency"].as_f64()).unwrap()
}

/// In seconds.
const STILL: f64 = 0.03;

#[test]
fn every_event_is_in_its_own_trace_and_the_traces_are_trees() {
    let (report, server) = with_server(TIMEOUT, async |server, trail, http| {
        let url = format!("{}/v1/chat/completions", server.url());
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..REQUESTS {
            tasks.spawn(request(trail.clone(), http.clone(), url.clone(), n));
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    });
    assert_eq!((report.captured, report.delivered), (5 * REQUESTS as u64, 5 * REQUESTS as u64), "{report:?}");

    let mut traces: HashMap<String, Vec<Value>> = HashMap::new();
    for event in server.events() {
        traces.entry(event["properties"]["$ai_trace_id"].as_str().unwrap().to_owned()).or_default().push(event);
    }
    assert_eq!(traces.len(), REQUESTS);
    for (id, events) in &traces {
        let n = events[0]["properties"]["n"].as_u64().unwrap();
        let user = format!("user-{n}");
        assert!(events.iter().all(|event| event["distinct_id"] == user.as_str() && event["properties"]["n"] == n));
        let named = |name: &str| {
            let name = format!("{name} {n}");
            let is = |event: &&Value| {
                let p = &event["properties"];
                p["$ai_span_name"] == name.as_str() || p["$ai_input"][0]["content"] == name.as_str()
            };
            events.iter().find(is).unwrap()
        };
        let [request, outer, inner] = ["request", "outer", "inner"].map(named);
        let parent = |name: &str| named(name)["properties"]["$ai_parent_id"].as_str().unwrap();
        let span = |event: &Value| event["properties"]["$ai_span_id"].as_str().unwrap().to_owned();
        assert_eq!(parent("outer"), id);
        assert_eq!((parent("inner"), parent("stream")), (span(outer).as_str(), span(outer).as_str()));
        assert_eq!(parent("plain"), span(inner));
        assert_eq!(named("stream")["properties"]["$ai_stream_status"], "complete");
        for (around, inside) in [(request, outer), (outer, inner)] {
            // A scope begins by two clocks that are read one after the other, and a thread may stand still between them.
            assert!(begin(around) <= begin(inside) && end(inside) <= end(around) + STILL, "{around} {inside}");
        }
    }
}
