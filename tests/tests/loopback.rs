//! The loopback server itself, seen from a bare socket: what SDK tests rely on must not be a guess.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use llmtrail::stream_usage::Filter;
use llmtrail_tests::corpus::{Case, CaseEnd, folder, sse_events};
use llmtrail_tests::loopback::Server;
use serde_json::{Value, json};

/// How a response ended on the wire.
#[derive(Debug, PartialEq)]
enum End {
    /// As its framing wants it.
    Whole,
    /// Before that.
    Cut,
    /// Before that, with a reset.
    Reset,
    /// The reader had enough.
    Left,
}

struct Response {
    status: u16,
    headers: String,
    /// The chunks of the transfer coding, or the one body.
    chunks: Vec<Vec<u8>>,
    end: End,
}

impl Response {
    fn body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body()).unwrap_or_default()
    }
}

fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    ask(server, "POST", path, headers, body, usize::MAX)
}

fn get(server: &Server, path: &str) -> Value {
    ask(server, "GET", path, &[], b"", usize::MAX).json()
}

/// One request on a connection of its own. Leaves after `enough` bytes of the body.
fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8], enough: usize) -> Response {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: loopback\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reader = BufReader::new(stream);
    let mut out = Response { status: 0, headers: String::new(), chunks: Vec::new(), end: End::Whole };
    let result = read(&mut reader, &mut out, enough);
    match result {
        Ok(end) => out.end = end,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => out.end = End::Cut,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => out.end = End::Reset,
        Err(error) => panic!("{path}: {error}"),
    }
    out
}

fn read(reader: &mut BufReader<TcpStream>, out: &mut Response, enough: usize) -> std::io::Result<End> {
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        if out.status == 0 {
            out.status = line.split(' ').nth(1).unwrap().parse().unwrap();
        } else {
            out.headers.push_str(&line.to_ascii_lowercase());
        }
        line.clear();
    }
    if line.is_empty() {
        return Ok(End::Cut);
    }
    let length = out.headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body)?;
        out.chunks.push(body);
        return Ok(End::Whole);
    }
    assert!(out.headers.contains("transfer-encoding: chunked"), "{}", out.headers);
    let mut seen = 0;
    while seen < enough {
        let mut size = String::new();
        if reader.read_line(&mut size)? == 0 {
            return Ok(End::Cut);
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(End::Whole);
        }
        chunk.truncate(size);
        seen += size;
        out.chunks.push(chunk);
    }
    Ok(End::Left)
}

fn path_of(case: &Case) -> String {
    let path = case.url.splitn(4, '/').nth(3).unwrap();
    format!("/case/{}/{}/{path}", case.format, case.name)
}

/// The request as the observer sends it.
fn sent(case: &Case) -> Vec<u8> {
    if !case.asked_usage {
        return case.request.to_vec();
    }
    let mut request: Value = serde_json::from_slice(&case.request).unwrap();
    request["stream_options"] = json!({"include_usage": true});
    request.to_string().into_bytes()
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // A body that was cut has no trailer; what came before it counts.
    let _ = MultiGzDecoder::new(bytes).read_to_end(&mut out);
    out
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_case_is_played_to_the_byte() {
    let server = Server::start().unwrap();
    for case in Case::all(&folder()).unwrap() {
        // Silence is waited for elsewhere.
        let Some(status) = case.status else { continue };
        let name = format!("{}/{}", case.format, case.name);
        let silent = matches!(case.end, CaseEnd::Abandoned | CaseEnd::Timeout);
        let enough = if silent { case.response.len() } else { usize::MAX };
        let response = ask(&server, "POST", &path_of(&case), &[], &sent(&case), enough);
        assert_eq!(response.status, status, "{name}");
        assert_eq!(response.body(), case.response, "{name}");
        for (key, value) in &case.response_headers {
            assert!(response.headers.contains(&format!("{key}: {}", value.to_ascii_lowercase())), "{name}: {key}");
        }
        let end = match case.end {
            CaseEnd::Complete => End::Whole,
            CaseEnd::Error => End::Cut,
            CaseEnd::Abandoned | CaseEnd::Timeout => End::Left,
        };
        assert_eq!(response.end, end, "{name}");
        if case.is_stream() {
            assert_eq!(response.chunks, case.pieces(), "{name}: one event a chunk");
        }
    }
}

#[test]
fn pieces_are_cut_packed_and_flushed_as_asked() {
    let server = Server::start().unwrap();
    let case = Case::find(&folder(), "openai_chat", "n_two_stream").unwrap();
    let path = path_of(&case);
    let seven = post(&server, &path, &[("x-loopback-chunk", "7")], &sent(&case));
    assert_eq!(seven.body(), case.response);
    assert!(seven.chunks.iter().rev().skip(1).all(|chunk| chunk.len() == 7));
    let packed = post(&server, &format!("/knobs/gzip=1,chunk=100{path}"), &[], &sent(&case));
    assert!(packed.headers.contains("content-encoding: gzip"));
    assert_eq!(inflate(&packed.body()), case.response);
    let first = inflate(&packed.chunks[0]);
    assert_eq!(first, case.response[..100], "each piece can be read when it is there");
    // The server falls silent after three events: what came before was flushed.
    let three: usize = sse_events(&case.response)[..3].iter().map(Bytes::len).sum();
    let silent = ask(&server, "POST", &format!("{path}?x-loopback-hang=3"), &[], &sent(&case), three);
    assert_eq!((silent.chunks.len(), silent.end), (3, End::Left));
    let cut = post(&server, &path, &[("x-loopback-cut", "2")], &sent(&case));
    assert_eq!((cut.chunks.len(), cut.end), (2, End::Cut));
    let slow = Instant::now();
    post(&server, &format!("/knobs/cut=4,delay-ms=10{path}"), &[], &sent(&case));
    assert!(slow.elapsed() >= Duration::from_millis(40));
}

#[test]
fn the_log_says_how_a_response_fared() {
    let server = Server::start().unwrap();
    let case = Case::find(&folder(), "openai_chat", "n_two_stream").unwrap();
    let path = path_of(&case);
    post(&server, &path, &[], &case.request);
    post(&server, &path, &[("x-loopback-cut", "1")], &sent(&case));
    ask(&server, "POST", &path, &[("x-loopback-delay-ms", "200")], &sent(&case), 1);
    let plain = Case::find(&folder(), "openai_chat", "plain").unwrap();
    post(&server, &path_of(&plain), &[], &plain.request);
    let silent = Case::find(&folder(), "openai_embeddings", "timeout").unwrap();
    let mut leaver = TcpStream::connect(server.address()).unwrap();
    let head = format!("POST {} HTTP/1.1\r\nhost: loopback\r\ncontent-length: 2\r\n\r\n{{}}", path_of(&silent));
    leaver.write_all(head.as_bytes()).unwrap();
    until("the request is there", || server.providers().len() == 5);
    drop(leaver);
    let ends = || server.providers().iter().map(|one| one["ended"].clone()).collect::<Vec<_>>();
    until("all five ended", || !ends().contains(&Value::Null));
    assert_eq!(ends(), ["sent", "cut", "client_left", "sent", "client_left"]);
    let records = server.providers();
    assert_eq!(records[0]["case"], "openai_chat/n_two_stream");
    assert_eq!((&records[0]["as_recorded"], &records[1]["as_recorded"]), (&json!(true), &json!(false)));
    assert_eq!(records[3]["bytes"], plain.request.len());
}

#[test]
fn cases_without_a_response_and_mistakes_of_a_test() {
    let server = Server::start().unwrap();
    let refused = Case::find(&folder(), "openai_chat", "connection_refused").unwrap();
    let response = post(&server, &path_of(&refused), &[], &refused.request);
    assert_eq!((response.status, response.end), (0, End::Cut));

    let plain = Case::find(&folder(), "openai_chat", "plain").unwrap();
    let stream = Case::find(&folder(), "openai_chat", "n_two_stream").unwrap();
    let path = path_of(&plain);
    for (path, body, status, says) in [
        (path.clone(), &stream.request, 400, "is no stream, the request asks for a stream"),
        (path_of(&stream), &plain.request, 400, "is a stream, the request asks for no stream"),
        (path.replace("chat/completions", "embeddings"), &plain.request, 404, "is a call to"),
        ("/case/openai_chat/nonesuch/v1/chat/completions".to_owned(), &plain.request, 404, "there is no case"),
        ("/case/../openai_chat/plain".to_owned(), &plain.request, 404, "there is no case"),
        (format!("/knobs/chnk=7{path}"), &plain.request, 400, "unknown knob \"chnk\""),
        (format!("/knobs/chunk=x{path}"), &plain.request, 400, "chunk: expected a whole number"),
        ("/nowhere".to_owned(), &plain.request, 404, "nothing at POST /nowhere"),
    ] {
        let response = post(&server, &path, &[], body);
        let message = response.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(response.status == status && message.contains(says), "{path}: {} {message}", response.status);
    }
}

/// What a caller who did not ask for usage sees must be the same with and without an observer that does.
#[test]
fn a_stream_that_was_asked_for_usage_filters_to_the_one_that_was_not() {
    let server = Server::start().unwrap();
    let mut seen = 0;
    for case in Case::all(&folder()).unwrap().into_iter().filter(|case| case.asked_usage && case.is_sse()) {
        let name = &case.name;
        let silent = matches!(case.end, CaseEnd::Abandoned | CaseEnd::Timeout);
        let path = path_of(&case);
        let (path, cut) = if silent { (format!("/knobs/cut=1{path}"), 1) } else { (path, usize::MAX) };
        let bare = post(&server, &path, &[], &case.request);
        let asked = post(&server, &path, &[], &sent(&case));
        let mut filter = Filter::new(200, &case.response_headers, false);
        let mut filtered = Vec::new();
        for chunk in asked.chunks.iter().take(cut) {
            filtered.extend_from_slice(&filter.push(&Bytes::from(chunk.clone())));
        }
        filtered.extend_from_slice(&filter.finish());
        assert_eq!(String::from_utf8_lossy(&filtered), String::from_utf8_lossy(&bare.body()), "{name}");
        // Some count in the last choice's chunk whoever asks.
        for chunk in String::from_utf8_lossy(&bare.body()).lines().filter_map(|line| line.strip_prefix("data: ")) {
            let chunk: Value = serde_json::from_str(chunk).unwrap_or_default();
            assert!(chunk.get("usage").is_none() || chunk["choices"].get(0).is_some(), "{name}: {chunk}");
            assert!(chunk.get("usage").is_none_or(Value::is_object), "{name}: {chunk}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

fn event(name: &str, text: &str) -> Value {
    json!({
        "event": name,
        "distinct_id": "user-1",
        "uuid": "0199c0de-0000-7000-8000-000000000001",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "properties": {"text": text},
    })
}

fn batch(events: &[Value]) -> Vec<u8> {
    json!({"api_key": "phc_test", "sent_at": "2026-01-02T03:04:06Z", "batch": events}).to_string().into_bytes()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const AI: &str = "/i/v0/ai/batch/";
const GZIP: &[(&str, &str)] = &[("content-encoding", "gzip")];

#[test]
fn ingestion_takes_what_posthog_takes() {
    let server = Server::start().unwrap();
    let (good, other) = (event("$ai_generation", "a"), event("signed up", "b"));
    assert_eq!(post(&server, AI, GZIP, &gzipped(&batch(std::slice::from_ref(&good)))).status, 200);
    assert_eq!(post(&server, "/batch/", &[], &batch(&[other.clone(), good.clone()])).status, 200);
    let mut nameless = good.clone();
    nameless["uuid"] = json!("not-one");
    let large = event("$ai_span", &"x".repeat(8 << 20));
    let incompressible: Vec<u8> = (0..=20 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (path, headers, body, status) in [
        (AI, &[][..], batch(&[good.clone(), other.clone()]), 400),
        (AI, &[], batch(&[nameless]), 400),
        (AI, &[], batch(&[]), 400),
        (AI, &[], b"{\"api_key\":".to_vec(), 400),
        (AI, GZIP, b"not gzip".to_vec(), 400),
        (AI, &[], json!({"batch": [good]}).to_string().into_bytes(), 401),
        (AI, GZIP, gzipped(&batch(std::slice::from_ref(&large))), 413),
        (AI, GZIP, gzipped(&vec![b' '; (100 << 20) + 1]), 413),
        (AI, &[], incompressible, 413),
        ("/batch", &[], batch(&[event("big", &"x".repeat(1 << 20))]), 413),
    ] {
        assert_eq!(post(&server, path, headers, &body).status, status, "{path} {}", body.len());
    }
    let events = get(&server, "/_control/events");
    let summary: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["event"].clone(), one["route"].clone(), one["request"].clone()))
        .collect();
    assert_eq!(
        summary,
        [
            (json!("$ai_generation"), json!("ai"), json!(1)),
            (json!("signed up"), json!("batch"), json!(2)),
            (json!("$ai_generation"), json!("batch"), json!(2)),
        ]
    );
    let requests = get(&server, "/_control/requests");
    assert_eq!((&requests[0]["events"], &requests[0]["status"]), (&json!(1), &json!(200)));
    assert_eq!(requests.as_array().unwrap().len(), 12);
    ask(&server, "DELETE", "/_control", &[], b"", usize::MAX);
    assert_eq!(get(&server, "/_control")["requests"], 0);
}

#[test]
fn faults_strike_as_asked_and_end() {
    let server = Server::start().unwrap();
    let fault = |fault: Value| {
        let response = post(&server, "/_control/faults", &[], fault.to_string().as_bytes());
        assert_eq!(response.status, 200, "{}", response.json());
    };
    let send = |path: &str, events: usize| post(&server, path, &[], &batch(&vec![event("$ai_span", "x"); events]));

    fault(json!({"route": "ai", "status": 503, "times": 2, "retry_after": 1}));
    assert!(send(AI, 1).headers.contains("retry-after: 1"));
    assert_eq!(send("/batch/", 1).status, 200);
    assert_eq!((send(AI, 1).status, send(AI, 1).status), (503, 200));

    fault(json!([{"max_events": 10}, {"poison": "bad apple"}]));
    assert_eq!((send(AI, 11).status, send(AI, 10).status), (413, 200));
    assert_eq!(post(&server, AI, &[], &batch(&[event("$ai_span", "a bad apple")])).status, 400);
    ask(&server, "DELETE", "/_control/faults", &[], b"", usize::MAX);
    assert_eq!(send(AI, 11).status, 200);

    fault(json!({"route": "ai", "absent": true, "times": 1}));
    assert_eq!(send(AI, 1).status, 404);
    fault(json!({"body": "<html>sign in</html>", "times": 1}));
    let portal = send(AI, 1);
    assert!(portal.status == 200 && portal.headers.contains("content-type: text/html"));
    fault(json!({"delay_ms": 50, "times": 1}));
    let start = Instant::now();
    assert_eq!(send(AI, 1).status, 200);
    assert!(start.elapsed() >= Duration::from_millis(50));
    fault(json!({"status": 500, "for_ms": 0}));
    assert_eq!(send(AI, 1).status, 200);

    server.clear();
    fault(json!({"reset": true, "times": 1}));
    let reset = send(AI, 2);
    assert_eq!((reset.status, reset.end), (0, End::Reset));
    assert_eq!(server.events().len(), 2, "taken, and nobody told so");
    fault(json!({"status": 502, "accept": true, "times": 1}));
    assert_eq!((send(AI, 1).status, server.events().len()), (502, 3));
    fault(json!({"status": 502, "times": 1}));
    assert_eq!((send(AI, 1).status, server.events().len()), (502, 3));

    let wrong = post(&server, "/_control/faults", &[], br#"{"stauts": 503}"#);
    assert_eq!(wrong.status, 400);
}

fn data(response: &Response) -> Vec<Value> {
    let line = |chunk: &Vec<u8>| {
        let text = String::from_utf8_lossy(chunk).into_owned();
        let data = text.lines().find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
        serde_json::from_str(&data).unwrap_or(Value::String(data))
    };
    response.chunks.iter().map(line).collect()
}

#[test]
fn made_up_chats_honour_the_request() {
    let server = Server::start().unwrap();
    let path = "/any/prefix/v1/chat/completions";
    let ask = |body: &Value| post(&server, path, &[], body.to_string().as_bytes());
    let mut body =
        json!({"model": "gpt-5-mini", "n": 2, "messages": [{"role": "user", "content": "A refund for order 1042?"}]});
    let whole = ask(&body);
    assert_eq!(whole.body(), ask(&body).body(), "the same each time");
    let whole = whole.json();
    assert_eq!((&whole["model"], whole["choices"].as_array().unwrap().len()), (&json!("gpt-5-mini-2025-08-07"), 2));
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("refund for order 1042"), "{text}");
    assert_eq!(whole["usage"]["prompt_tokens"], 6);

    body["stream"] = json!(true);
    let bare = data(&ask(&body));
    assert!(bare.iter().all(|chunk| chunk.get("usage").is_none()) && bare.last().unwrap() == "[DONE]");
    body["stream_options"] = json!({"include_usage": true});
    let chunks = data(&ask(&body));
    assert_eq!(chunks.len(), bare.len() + 1);
    assert_eq!(chunks[chunks.len() - 2]["usage"], whole["usage"]);
    for index in 0..2 {
        let choices =
            chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(|choice| choice["index"] == index);
        let streamed: String = choices.filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(streamed, whole["choices"][index]["message"]["content"]);
    }
    let long = post(&server, &format!("/knobs/chunks=200{path}"), &[], body.to_string().as_bytes());
    let content = data(&long)
        .iter()
        .filter(|chunk| chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()))
        .count();
    assert_eq!(content, 400, "200 for each choice");

    let parameters =
        json!({"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]});
    let tool = json!({"type": "function", "function": {"name": "look_up", "parameters": parameters}});
    let mut body = json!({"model": "gpt-4o-mini", "tools": [tool], "messages": [{"role": "user", "content": "Where is order 77?"}]});
    let call = ask(&body).json()["choices"][0].clone();
    assert_eq!(call["finish_reason"], "tool_calls");
    assert_eq!(
        call["message"]["tool_calls"][0]["function"],
        json!({"name": "look_up", "arguments": "{\"order_id\":\"77\"}"})
    );
    body["messages"].as_array_mut().unwrap().extend([
        call["message"].clone(),
        json!({"role": "tool", "tool_call_id": call["message"]["tool_calls"][0]["id"], "content": "{\"status\":\"shipped\"}"}),
    ]);
    let answer = ask(&body).json()["choices"][0]["message"]["content"].clone();
    assert!(answer.as_str().unwrap().contains("status is shipped"), "{answer}");
}

#[test]
fn made_up_errors_have_their_providers_shape_and_end_when_asked() {
    let server = Server::start().unwrap();
    let body = |model: &str| {
        json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}).to_string()
    };
    let chat =
        |model: &str, headers: &[(&str, &str)]| post(&server, "/v1/chat/completions", headers, body(model).as_bytes());
    let limited = chat("error-429", &[]);
    assert_eq!((limited.status, &limited.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let message = post(&server, "/v1/messages", &[], body("error-529").as_bytes());
    assert_eq!((message.status, &message.json()["error"]["type"]), (529, &json!("overloaded_error")));
    let twice: Vec<u16> = (0..4).map(|_| chat("error-503-twice", &[]).status).collect();
    assert_eq!(twice, [503, 503, 200, 503], "each call anew");
    let once: Vec<u16> =
        (0..2).map(|_| chat("gpt-5-mini", &[("x-loopback-status", "500"), ("x-loopback-times", "1")]).status).collect();
    assert_eq!(once, [500, 200]);
    assert_eq!(chat("no-such-model", &[]).status, 404);
    assert_eq!(post(&server, "/v1/chat/completions", &[], b"{").status, 400);
    assert_eq!(post(&server, "/v1/messages", &[], br#"{"model":"claude-haiku-4-5","messages":[]}"#).status, 400);
    let case = Case::find(&folder(), "openai_chat", "plain").unwrap();
    let path = format!("/knobs/times=1{}", path_of(&case));
    assert_eq!(post(&server, &path, &[], &case.request).status, 503);
    assert_eq!(post(&server, &path, &[], &case.request).status, 200);
}

#[test]
fn made_up_messages_write_and_read_their_cache() {
    let server = Server::start().unwrap();
    let policy =
        json!([{"type": "text", "text": "policy ".repeat(100), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let ask = |question: &str, stream: bool| {
        let messages = json!([{"role": "user", "content": question}]);
        let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": stream, "system": policy, "messages": messages});
        post(&server, "/v1/messages", &[], body.to_string().as_bytes())
    };
    let first = ask("Delivery?", false).json();
    assert_eq!(first["model"], "claude-sonnet-4-5-20250929");
    assert_eq!(
        first["usage"]["cache_creation"],
        json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 175})
    );
    assert_eq!((&first["usage"]["input_tokens"], &first["usage"]["cache_read_input_tokens"]), (&json!(3), &json!(0)));
    let events = data(&ask("And when?", true));
    let usage = &events[0]["message"]["usage"];
    assert_eq!((&usage["cache_creation_input_tokens"], &usage["cache_read_input_tokens"]), (&json!(0), &json!(175)));
    assert_eq!(events.last().unwrap()["type"], "message_stop");
}

#[test]
fn made_up_embeddings_and_responses() {
    let server = Server::start().unwrap();
    let embed = |body: Value| post(&server, "/v1/embeddings", &[], body.to_string().as_bytes()).json();
    let plain = embed(
        json!({"model": "text-embedding-3-small", "input": ["refund an order", "order refunds"], "dimensions": 8}),
    );
    assert_eq!(plain["data"].as_array().unwrap().len(), 2);
    assert_eq!(plain["data"][1]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(plain["usage"], json!({"prompt_tokens": 8, "total_tokens": 8}));
    let packed =
        embed(json!({"model": "text-embedding-3-small", "input": "refund an order", "encoding_format": "base64"}));
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), (1536 * 4) / 3 * 4);

    let respond = |stream: bool| {
        let body = json!({"model": "gpt-5-mini", "input": "I forgot my password", "stream": stream});
        post(&server, "/v1/responses", &[], body.to_string().as_bytes())
    };
    let whole = respond(false).json();
    let events = data(&respond(true));
    let streamed: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(streamed, whole["output"][0]["content"][0]["text"]);
    assert_eq!(events.last().unwrap()["type"], "response.completed");
    assert_eq!(events.last().unwrap()["response"]["usage"], whole["usage"]);
}

#[test]
fn the_program_says_where_it_listens_and_goes_with_its_parent() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loopback"))
        .arg("--with-parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    assert!(TcpStream::connect(address).is_ok());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let wrong = Command::new(env!("CARGO_BIN_EXE_loopback")).arg("--prot").output().unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("unknown argument --prot"));
}
