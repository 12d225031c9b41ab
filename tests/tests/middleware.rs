//! The Rust client end to end: reqwest through the middleware, the loopback server as provider and as PostHog.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use llmtrail::{Client, Language, Options};
use llmtrail_tests::corpus::{self, Case, CaseEnd};
use llmtrail_tests::loopback::Server;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The server has a runtime of its own, which must neither start nor end inside another one.
fn with_server(test: impl AsyncFnOnce(&Server)) {
    let server = Server::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(&server));
}

/// A client that delivers to the server and takes its address for OpenAI's.
fn client(server: &Server, stream_usage: bool) -> Client {
    let options = Options::new(Language::Rust)
        .set("api_key", "phc_test")
        .set("host", server.url())
        .set("stream_usage", stream_usage)
        .set("hosts", json!({server.address().to_string(): "openai"}));
    Client::new(options).unwrap()
}

fn address(server: &Server, case: &str) -> String {
    format!("{}/case/{case}/v1/chat/completions", server.url())
}

async fn post(http: &reqwest_middleware::ClientWithMiddleware, url: &str, body: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    let request = http.post(url).header("content-type", "application/json").body(body.to_vec());
    let mut response = request.send().await.map_err(|_| Vec::new())?;
    let mut read = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => read.extend_from_slice(&piece),
            Ok(None) => return Ok(read),
            Err(_) => return Err(read),
        }
    }
}

/// Whether two readings agree. Where the connection breaks, hyper may or may not give out the last piece before it.
fn same(with: &Result<Vec<u8>, Vec<u8>>, without: &Result<Vec<u8>, Vec<u8>>) -> bool {
    match (with, without) {
        (Err(with), Err(without)) => with.starts_with(without) || without.starts_with(with),
        _ => with == without,
    }
}

fn properties(event: &Value) -> &serde_json::Map<String, Value> {
    event["properties"].as_object().unwrap()
}

#[test]
fn every_chat_case_reads_the_same_with_and_without_us_and_gives_its_event() {
    with_server(every_chat_case_reads_the_same_with_and_without_us_and_gives_its_event_on);
}

async fn every_chat_case_reads_the_same_with_and_without_us_and_gives_its_event_on(server: &Server) {
    let bare = reqwest_middleware::ClientBuilder::new(http()).build();
    let mut seen = 0;
    for case in Case::all(&corpus::folder()).unwrap() {
        if case.format != "openai_chat"
            || !matches!(case.end, CaseEnd::Complete | CaseEnd::Error)
            || case.status.is_none()
        {
            continue;
        }
        // A stream whose bytes were recorded without our asking plays the same whether we ask or not: do not ask.
        let trail = client(server, case.asked_usage);
        let url = address(server, &format!("{}/{}", case.format, case.name));
        let without = post(&bare, &url, &case.request).await;
        server.clear();
        let with = post(&trail.wrap(http()), &url, &case.request).await;
        assert!(same(&with, &without), "{}: the caller reads something else", case.name);
        let report = trail.shutdown(TIMEOUT);
        assert_eq!((report.captured, report.delivered), (1, 1), "{}: {report:?}", case.name);
        let events = server.events();
        let event = properties(&events[0]);
        let expected = case.expected["properties"].as_object().unwrap();
        for name in [
            "$ai_output_choices",
            "$ai_is_error",
            "$ai_error",
            "$ai_stream_status",
            "$ai_stop_reason",
            "$ai_http_status",
        ] {
            assert_eq!(event.get(name), expected.get(name), "{}: {name}", case.name);
        }
        if case.asked_usage {
            assert_eq!(event.get("$ai_usage"), expected.get("$ai_usage"), "{}: usage was asked for", case.name);
        }
        seen += 1;
    }
    assert!(seen >= 40, "{seen}");
}

#[test]
fn scopes_follow_the_task_and_form_a_tree() {
    with_server(scopes_follow_the_task_and_form_a_tree_on);
}

async fn scopes_follow_the_task_and_form_a_tree_on(server: &Server) {
    let trail = client(server, true);
    let http = trail.wrap(http());
    let url = address(server, "openai_chat/plain");
    let request = Case::find(&corpus::folder(), "openai_chat", "plain").unwrap().request;
    let one = async |user: &str| {
        let call = async {
            trail.span("inner").span_type("agent").scope(post(&http, &url, &request)).await.unwrap();
            Err::<(), _>("no luck")
        };
        let result = trail.trace("answer").distinct_id(user).property("plan", "pro").try_scope(Box::pin(call)).await;
        assert_eq!(result, Err("no luck"));
    };
    tokio::join!(one("u1"), one("u2"));
    let report = trail.flush(TIMEOUT);
    assert_eq!(report.delivered, 6);
    let events: Vec<Value> = server.events();
    let find = |user: &str, name: &str| {
        events.iter().find(|event| event["distinct_id"] == user && event["event"] == name).unwrap().clone()
    };
    for user in ["u1", "u2"] {
        let (trace, span, call) = (find(user, "$ai_trace"), find(user, "$ai_span"), find(user, "$ai_generation"));
        let (trace, span, call) = (properties(&trace), properties(&span), properties(&call));
        assert_eq!(span["$ai_parent_id"], trace["$ai_trace_id"]);
        assert_eq!(call["$ai_parent_id"], span["$ai_span_id"]);
        assert_eq!(call["$ai_trace_id"], trace["$ai_trace_id"]);
        assert_eq!(call["plan"], "pro");
        assert_eq!((&trace["$ai_is_error"], &trace["$ai_error"]), (&json!(true), &json!("no luck")));
    }
}

#[test]
fn an_abandoned_stream_and_a_refused_connection_are_events() {
    with_server(an_abandoned_stream_and_a_refused_connection_are_events_on);
}

async fn an_abandoned_stream_and_a_refused_connection_are_events_on(server: &Server) {
    let trail = client(server, true);
    let http = trail.wrap(http());
    let request = Case::find(&corpus::folder(), "openai_chat", "stream_without_usage").unwrap().request;
    let url = format!("{}/knobs/delay-ms=50/case/openai_chat/stream_without_usage/v1/chat/completions", server.url());
    let mut response =
        http.post(url).header("content-type", "application/json").body(request.clone()).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    let refused = http.post("http://127.0.0.1:9/v1/chat/completions").body(request).send().await;
    assert!(refused.is_err());
    assert_eq!(trail.flush(TIMEOUT).delivered, 2);
    let events = server.events();
    let statuses: Vec<&Value> = events.iter().map(|event| &event["properties"]["$ai_stream_status"]).collect();
    assert!(statuses.contains(&&json!("abandoned")), "{statuses:?}");
    let error = events.iter().find(|event| event["properties"]["$ai_is_error"] == true).unwrap();
    assert_eq!(error["properties"]["$ai_error_type"], "connection_refused");
}

#[test]
fn usage_is_not_asked_for_where_a_header_speaks_for_the_body() {
    with_server(usage_is_not_asked_for_where_a_header_speaks_for_the_body_on);
}

async fn usage_is_not_asked_for_where_a_header_speaks_for_the_body_on(server: &Server) {
    let case = Case::find(&corpus::folder(), "openai_chat", "stream_observer_asked_usage").unwrap();
    let url = address(server, "openai_chat/stream_observer_asked_usage");
    for (header, asks) in [("x-request-id", true), ("X-Gateway-Signature", false)] {
        let trail = client(server, true);
        let http = trail.wrap(http());
        let request = http.post(&url).header("content-type", "application/json").header(header, "a");
        request.body(case.request.clone()).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(trail.shutdown(TIMEOUT).delivered, 1);
        let expected = if asks { case.expected["properties"].get("$ai_usage") } else { None };
        assert_eq!(properties(&server.events()[0]).get("$ai_usage"), expected, "{header}");
        server.clear();
    }
}
