//! Who gets an answer, and what is in it. What a browser makes of it is tried in `tests/viewer`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod answers;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::Viewer;
use crate::event::Event;
use crate::sink::store::Store;
use crate::testing::Folder;

struct Running {
    port: u16,
    token: String,
    folder: Folder,
}

/// A viewer of a store with these events. Its thread ends with the process.
fn run(events: &[Value]) -> Running {
    let folder = Folder::new();
    if !events.is_empty() {
        Store::open(&folder.0).unwrap().write(&events.iter().map(event).collect::<Vec<_>>()).unwrap();
    }
    let viewer = Viewer::bind(folder.0.join("llmtrail.db"), Some(0)).unwrap();
    let address = viewer.address();
    let (port, token) = address.strip_prefix("http://127.0.0.1:").unwrap().split_once("/?token=").unwrap();
    let running = Running { port: port.parse().unwrap(), token: token.to_owned(), folder };
    std::thread::spawn(|| viewer.serve());
    running
}

fn event(properties: &Value) -> crate::event::WireEvent {
    Event {
        event: properties.get("event").and_then(Value::as_str).unwrap_or("$ai_generation").to_owned(),
        uuid: uuid::Uuid::now_v7(),
        distinct_id: "ada".to_owned(),
        timestamp: crate::event::timestamp(std::time::SystemTime::now()),
        properties: properties.as_object().unwrap().clone(),
    }
    .encode()
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Running {
    fn ask(&self, first: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        write!(stream, "{first} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn own(&self) -> String {
        format!("Host: 127.0.0.1:{}\r\nCookie: a=b; llmtrail-{}={}\r\n", self.port, self.port, self.token)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &self.own())
    }
}

#[test]
fn only_who_has_the_address_gets_an_answer() {
    let viewer = run(&[json!({"$ai_model": "secret-model"})]);
    let (port, token, own) = (viewer.port, viewer.token.clone(), viewer.own());
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let cookie = format!("Cookie: llmtrail-{port}={token}\r\n");
    for (first, headers, status) in [
        ("GET /", own.clone(), 200),
        ("HEAD /", own.clone(), 200),
        ("GET /", format!("Host: localhost:{port}\r\n{cookie}"), 200),
        // No token, a wrong one, one for another port.
        ("GET /", host.clone(), 403),
        ("GET /assets/app.js", host.clone(), 403),
        ("GET /version", host.clone(), 403),
        ("GET /?token=0123456789abcdef0123456789abcdef", host.clone(), 403),
        ("GET /?token=", host.clone(), 403),
        ("GET /", format!("{host}Cookie: llmtrail-{port}=\r\n"), 403),
        ("GET /", format!("{host}Cookie: llmtrail-1={token}\r\n"), 403),
        ("GET /", format!("{host}Cookie: xllmtrail-{port}={token}\r\n"), 403),
        // A name that somebody else made lead here (DNS rebinding), and hosts that only look right.
        ("GET /", format!("Host: evil.example:{port}\r\n{cookie}"), 421),
        ("GET /", format!("Host: 127.0.0.1:{port}.evil.example\r\n{cookie}"), 421),
        ("GET /", format!("Host: 127.0.0.1\r\n{cookie}"), 421),
        // Other origins, with the cookie all the same.
        ("GET /", format!("{own}Origin: https://evil.example\r\n"), 403),
        ("GET /", format!("{own}Origin: null\r\n"), 403),
        ("GET /", format!("{own}Sec-Fetch-Site: cross-site\r\n"), 403),
        ("GET /", format!("{own}Sec-Fetch-Site: same-site\r\n"), 403),
        ("GET /", format!("{own}Origin: http://127.0.0.1:{port}\r\nSec-Fetch-Site: same-origin\r\n"), 200),
        // It only shows.
        ("POST /", own.clone(), 405),
        ("DELETE /event/x", own.clone(), 405),
        ("OPTIONS /", own.clone(), 405),
    ] {
        let answer = viewer.ask(first, &headers);
        assert_eq!(answer.status, status, "{first} {headers}");
        assert_eq!(answer.body.contains("secret-model"), first == "GET /" && status == 200, "{first} {headers}");
        assert!(!answer.head.contains("access-control"), "{first}");
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.head.contains(header), "{first}: {header}");
        }
        assert!(!answer.head.contains("unsafe-inline") && !answer.head.contains("http:"), "{}", answer.head);
    }
}

#[test]
fn the_token_becomes_a_cookie_and_leaves_the_address() {
    let viewer = run(&[]);
    let host = format!("Host: 127.0.0.1:{}\r\n", viewer.port);
    for (path, location) in [
        ("/?token=T", "/"),
        ("/traces?q=a+b&token=T", "/traces?q=a%20b"),
        // Not to another host.
        ("//evil.example/?token=T", "/evil.example/"),
        ("/%0d%0aX:y?token=T", "/%0d%0ax:y"),
    ] {
        let answer = viewer.ask(&format!("GET {}", path.replace('T', &viewer.token)), &host);
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.head.contains(&format!("\r\nlocation: {location}\r\n")), "{path}: {}", answer.head);
        let cookie =
            format!("set-cookie: llmtrail-{}={}; httponly; samesite=strict; path=/\r\n", viewer.port, viewer.token);
        assert!(answer.head.contains(&cookie), "{}", answer.head);
    }
}

#[test]
fn no_path_leads_out() {
    let viewer = run(&[json!({"$ai_model": "m"})]);
    for path in [
        "/../../etc/passwd",
        "/assets/../../../etc/passwd",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/trace/..%2f..%2fetc%2fpasswd",
        "/event/..%2f..%2fetc%2fpasswd/copy?as=raw",
        "/assets/app.css/..%00",
        "//etc/passwd",
        "/nothing",
        "/event/x",
        "/trace/x",
        "/event/x/copy?as=%2e%2e",
    ] {
        let answer = viewer.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("root:"), "{path}");
    }
}

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>";

/// A call, a tool's span and a trace whose every text is an attack.
fn hostile() -> Vec<Value> {
    let message = |role: &str| json!({"role": role, "name": SCRIPT, "content": SCRIPT});
    vec![
        json!({"$ai_trace_id": "t<script>", "$ai_span_id": "s1", "$ai_model": SCRIPT, "$ai_provider": SCRIPT, "$ai_span_name": SCRIPT,
            "$ai_session_id": SCRIPT, "$ai_error": SCRIPT, "$ai_error_type": SCRIPT, "$ai_is_error": true, "$ai_stop_reason": SCRIPT,
            "$ai_request_url": "javascript:alert(1)", "$ai_stream_status": SCRIPT, "$ai_model_parameters": {SCRIPT: SCRIPT}, SCRIPT: SCRIPT,
            "$ai_input": [message("system"), message("user"), message(SCRIPT), {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                "function": {"name": SCRIPT, "arguments": SCRIPT}}]}, {"role": "tool", "tool_call_id": "c1", "content": SCRIPT},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zz4="}}, {"type": "image_url", "image_url": {"url": "https://evil.example/x.png"}}]}],
            "$ai_output_choices": [{"role": "assistant", "content": [{"type": "thinking", "thinking": SCRIPT}, {"type": "text", "text": format!("[a](javascript:alert(1)) ![b](https://evil.example/y.png) {SCRIPT}")},
                {"type": "function", "id": "c2", "function": {"name": format!("look{SCRIPT}"), "arguments": SCRIPT}}]}],
            "$ai_tools": [{"type": "function", "function": {"name": SCRIPT}}], "$ai_cost_details": {"source": SCRIPT, "model": SCRIPT, "provider": SCRIPT, "reason": SCRIPT, "assumptions": [SCRIPT]}}),
        json!({"event": "$ai_span", "$ai_trace_id": "t<script>", "$ai_span_id": "s2", "$ai_parent_id": "s1", "$ai_span_name": SCRIPT, "$ai_span_type": "tool", "$ai_input_state": SCRIPT, "$ai_output_state": {SCRIPT: SCRIPT}}),
        json!({"event": "$ai_trace", "$ai_trace_id": "t<script>", "$ai_span_name": SCRIPT, "$ai_trace_name": SCRIPT}),
        json!({"event": "$ai_feedback", "$ai_trace_id": "t<script>", "$ai_feedback_text": SCRIPT}),
    ]
}

#[test]
fn what_models_say_is_only_shown() {
    let viewer = run(&hostile());
    let uuids: Vec<String> = {
        let reader = crate::store::Reader::open(&viewer.folder.0).unwrap().unwrap();
        let trace = reader.trace("t<script>").unwrap().unwrap();
        trace.own.iter().chain(trace.nodes.iter().map(|node| &node.row)).map(|row| row.uuid.clone()).collect()
    };
    let mut paths: Vec<String> =
        ["/", "/traces", "/generations", "/sessions", "/users", "/models", "/errors", "/tools", "/health"]
            .map(str::to_owned)
            .into();
    paths.push(format!("/traces?q={}", super::page::encode(SCRIPT)));
    paths.push(format!(
        "/traces?q={}&range=%22%3E%3Cscript%3E&sort=%22%3E%3Cscript%3E&page=%3Cscript%3E",
        super::page::encode(&format!("model:\"{}\"", SCRIPT.replace('"', "")))
    ));
    for uuid in &uuids {
        paths.push(format!("/trace/t%3Cscript%3E?span={uuid}"));
        paths.push(format!("/trace/t%3Cscript%3E?span={uuid}&look=plain"));
        paths.push(format!("/event/{uuid}"));
    }
    for path in paths {
        let answer = viewer.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        // Of the page's own there is one, with a source; a picture comes only from the message itself.
        assert_eq!(answer.body.matches("<script").count(), 1, "{path}");
        assert!(answer.body.contains("<script src=\"/assets/app.js\">"), "{path}");
        for bad in [
            "<img",
            "onerror=alert(2)>\"",
            "<svg onload",
            "href=\"javascript:",
            "src=\"http",
            "src=\"data:image/svg",
            " style=",
            "<iframe",
            "<form action=\"http",
        ] {
            assert!(!answer.body.contains(bad), "{path}: {bad}");
        }
    }
    let copied = viewer.get(&format!("/event/{}/copy?as=raw", uuids[1]));
    assert!(copied.head.contains("content-type: text/plain"), "{}", copied.head);
}

#[test]
fn huge_values_are_cut() {
    let long = "x".repeat(3_000_000);
    let names: Vec<Value> = (0..50).map(|n| json!({"role": "user", "content": format!("{n}")})).collect();
    let viewer = run(&[
        json!({"$ai_trace_id": "t", "$ai_model": "m".repeat(10_000), "$ai_session_id": "s".repeat(100_000),
        "$ai_input": [{"role": "user", "content": long}, names], "$ai_output_choices": [{"role": "assistant", "content": format!("**{}", "*".repeat(100_000))}],
        "$ai_input_tokens": u64::MAX, "$ai_latency": 1e300, "$ai_total_cost_usd": 1e14}),
    ]);
    for (path, most) in [
        ("/", 600_000),
        ("/traces", 1_000_000),
        ("/generations", 600_000),
        ("/trace/t", 4_000_000),
        ("/users", 100_000),
    ] {
        let answer = viewer.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.len() < most, "{path}: {}", answer.body.len());
    }
}

#[test]
fn a_store_that_is_not_there_yet_is_waited_for() {
    let viewer = run(&[]);
    for path in ["/", "/traces", "/models", "/health"] {
        let answer = viewer.get(path);
        assert_eq!(answer.status, 200, "{path}");
    }
    assert!(viewer.get("/").body.contains("Nothing was captured yet"));
    Store::open(&viewer.folder.0).unwrap().write(&[event(&json!({"$ai_model": "the-first"}))]).unwrap();
    let begin = std::time::Instant::now();
    while !viewer.get("/generations").body.contains("the-first") {
        assert!(begin.elapsed().as_secs() < 30, "it is not noticed");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_filter_that_is_not_understood_is_said() {
    let viewer = run(&[json!({"$ai_model": "m"})]);
    let answer = viewer.get("/traces?q=colour%3Ared");
    assert!(answer.body.contains("colour: is no name of a filter"), "{}", answer.body);
}

#[test]
fn conversations_show_what_is_new() {
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let asks = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]});
    let first = json!({"$ai_trace_id": "t", "$ai_span_id": "a", "$ai_input": [said("system", "be kind"), said("user", "first question")], "$ai_output_choices": [asks]});
    let second = json!({"$ai_trace_id": "t", "$ai_span_id": "b", "$ai_input": [said("system", "be kind"), said("user", "first question"), asks,
        {"role": "tool", "tool_call_id": "c1", "content": "the result"}], "$ai_output_choices": [said("assistant", "the answer")]});
    let viewer = run(&[first, second]);
    let body = viewer.get("/trace/t?span=b").body;
    let (_, conversation) = body.split_once("class=\"conversation\"").unwrap();
    assert!(conversation.contains("2 earlier messages, as in the call before"), "{conversation}");
    // The result is in the box of the call, once.
    let (before, after) = conversation.split_once("the result").unwrap();
    assert!(before.rfind("<div class=\"result\">").unwrap() > before.rfind("<code>look</code>").unwrap(), "{before}");
    assert!(!after.split_once("the answer").unwrap().0.contains("the result"));
    let body = viewer.get("/trace/t?span=a").body;
    assert!(!body.contains("earlier message"));
}

#[test]
fn answers_of_tools_are_at_their_calls_where_ids_come_again() {
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let asks = |name: &str| {
        let call = json!({"id": "call_0", "type": "function", "function": {"name": name, "arguments": "{}"}});
        json!({"role": "assistant", "content": null, "tool_calls": [call]})
    };
    let answers = |text: &str| json!({"role": "tool", "tool_call_id": "call_0", "content": text});
    let viewer = run(&[json!({"$ai_trace_id": "t", "$ai_input": [
        said("user", "?"), asks("first"), answers("one"), asks("second"), answers("two"), answers("nobody asked")]})]);
    let body = viewer.get("/trace/t").body;
    let (_, conversation) = body.split_once("class=\"conversation\"").unwrap();
    let (conversation, _) = conversation.split_once("<details class=\"panel\"").unwrap();
    let places: Vec<Option<usize>> = ["<code>first</code>", ">one<", "<code>second</code>", ">two<", ">nobody asked<"]
        .map(|text| conversation.find(text))
        .into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {conversation}");
    for text in [">one<", ">two<", ">nobody asked<"] {
        assert_eq!(conversation.matches(text).count(), 1, "{text}");
    }
}

#[test]
fn a_link_to_a_value_replaces_what_was_asked_of_the_same_name() {
    let address = |q: &str| super::page::Address::of(&format!("/traces?q={}", super::page::encode(q)).parse().unwrap());
    for (q, user, wanted) in [
        ("user:u12", "u1", "user:u1"),
        ("text:\"two words\" user:u12", "u1", "text:\"two words\" user:u1"),
        ("-user:u1 model:m", "u2", "-user:u1 model:m user:u2"),
        ("model:m", "Ada Lovelace", "model:m user:\"Ada Lovelace\""),
        ("", "\"quoted", "user:\"*quoted\""),
    ] {
        assert_eq!(address(q).only("/traces", "user", user), format!("/traces?q={}", super::page::encode(wanted)));
        assert!(super::filter::Filter::parse(wanted).is_ok(), "{wanted}");
    }
}

#[test]
fn what_failed_leads_to_where_it_is_listed() {
    let failed = |event: &str, kind: &str| json!({"event": event, "$ai_trace_id": kind, "$ai_is_error": true, "$ai_error_type": kind});
    let tool =
        json!({"event": "$ai_span", "$ai_trace_id": "t", "$ai_span_type": "tool", "$ai_span_name": "only-a-span"});
    let viewer = run(&[failed("$ai_span", "of-a-span"), failed("$ai_generation", "of-a-call"), tool]);
    for (page, value, list) in [
        ("/errors", "error:of-a-span", "/traces"),
        ("/errors", "error:of-a-call", "/generations"),
        ("/tools", "tool:only-a-span", "/traces"),
    ] {
        let link = format!("{list}?q={}", super::page::encode(value));
        assert!(viewer.get(page).body.contains(&format!("href=\"{link}")), "{page} {link}");
        assert!(viewer.get(&link).body.contains("<tr data-key="), "{link}");
    }
}

#[test]
fn another_store_in_the_place_of_one_is_noticed() {
    let viewer = run(&[json!({"$ai_model": "of-the-first"})]);
    let shows = |model: &str| {
        let begin = std::time::Instant::now();
        while !viewer.get("/generations").body.contains(model) {
            assert!(begin.elapsed().as_secs() < 30, "{model} is not shown");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    shows("of-the-first");
    let other = Folder::new();
    Store::open(&other.0).unwrap().write(&[event(&json!({"$ai_model": "of-the-second"}))]).unwrap();
    let file = viewer.folder.0.join("llmtrail.db");
    std::fs::rename(other.0.join("llmtrail.db"), &file).unwrap();
    shows("of-the-second");
    std::fs::remove_file(&file).unwrap();
    shows("Nothing was captured yet");
}

#[test]
fn words_that_are_nearly_everywhere_are_said_to_be() {
    let said = json!({"$ai_input": [{"role": "user", "content": "the same"}], "$ai_model": "m"});
    let viewer = run(&vec![said; 5000]);
    let begin = std::time::Instant::now();
    let mut body = viewer.get("/generations?q=the").body;
    while body.contains("data-busy") {
        assert!(begin.elapsed().as_secs() < 30, "{body}");
        body = viewer.get("/generations?q=the").body;
    }
    assert!(body.contains("“the”: only the 5,000 events with it that were written last are looked at."), "{body}");
    assert!(!viewer.get("/generations?q=nothing").body.contains("are looked at"));
}
