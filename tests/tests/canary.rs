//! A marked secret in every field of every path: in privacy mode none of it leaves, of media only placeholders, and with
//! `redact` only what it said.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use llmtrail::{CallRecord, Chunk, Client, End, Exchange, Options, RecordedError, StepRecord};
use llmtrail_tests::folder::Folder;
use llmtrail_tests::loopback::Server;
use llmtrail_tests::sinks::{options, stored, text};
use serde_json::{Map, Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

struct Canary {
    secret: String,
    payload: String,
    paths: Map<String, Value>,
}

impl Canary {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/canary.json");
        let all: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let text = |name: &str| all[name].as_str().unwrap().to_owned();
        Self { secret: text("secret"), payload: text("payload"), paths: all["paths"].as_object().unwrap().clone() }
    }

    fn play(&self, client: &Client, path: &Value) {
        let secret = &self.secret;
        let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), secret.clone())).collect::<Vec<_>>();
        let status = path["status"].as_u64().and_then(|status| u16::try_from(status).ok()).filter(|status| *status > 0);
        let (kind, answer) = match &path["response"] {
            Value::String(text) if text.starts_with("data:") => ("text/event-stream", text.clone()),
            Value::String(text) => ("text/html", text.clone()),
            other => ("application/json", other.to_string()),
        };
        let mut response_headers = named(&["x-canary", "set-cookie"]);
        response_headers.push(("content-type".to_owned(), kind.to_owned()));
        let at = Duration::from_millis(4);
        let address = path["url"].as_str().unwrap().replace("https://", &format!("https://{secret}:{secret}@"));
        client.observe(Exchange {
            method: "POST".to_owned(),
            url: format!("{address}?key={secret}&x={secret}"),
            request_headers: named(&["authorization", "x-api-key", "cookie", "x-note"]),
            request_body: path["request"].to_string().into(),
            status,
            response_headers,
            chunks: status.map(|_| Chunk { bytes: answer.into(), at }).into_iter().collect(),
            end: match status {
                Some(_) => End::Complete,
                None => End::Failed(format!("{secret} refused {address}?key={secret}")),
            },
            ended_at: at,
            decoded: true,
            started_at: Some(SystemTime::now()),
            scope: llmtrail::context::current(),
            ..Exchange::default()
        });
    }

    fn by_hand(&self, client: &Client) {
        let (secret, image) = (&self.secret, format!("data:image/png;base64,{}", self.payload));
        let error = || Some(RecordedError { kind: None, message: format!("{secret} {image}") });
        let parameters = json!({"stop": secret}).as_object().unwrap().clone();
        let call = || CallRecord {
            model: Some("m".to_owned()),
            input: Some(json!([secret, image])),
            output: Some(json!([secret, image])),
            tools: Some(json!([{"name": secret, "description": secret}])),
            parameters: parameters.clone(),
            base_url: Some(format!("https://{secret}@host/v1?key={secret}")),
            error: error(),
            ..CallRecord::default()
        };
        client.capture_generation(call());
        client.capture_embedding(call());
        let mut step = StepRecord { output: Some(json!({secret: image})), error: error(), ..StepRecord::default() };
        step.scope.input = Some(json!({secret: [secret, image]}));
        client.capture_span(step.clone());
        client.capture_trace(step);
        let span = client.span("s").input(json!([secret, image])).start();
        span.set_output(json!({"nested": [secret, image]}));
        span.fail(&secret);
    }

    /// Plays every path, each with a client of its own; what was sent and what is in the files, by path.
    fn all(&self, change: impl Fn(Options) -> Options, look: impl Fn(&str, &[Value], &[Value], &str)) {
        for name in self.paths.keys().map(String::as_str).chain(["by hand"]) {
            let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
            let client = Client::new(change(options(&server, &folder))).unwrap();
            client.trace("t").input(self.secret.as_str()).run(|| match self.paths.get(name) {
                Some(path) => self.play(&client, path),
                None => self.by_hand(&client),
            });
            let report = client.shutdown(TIMEOUT);
            assert_eq!((report.pending, report.dropped), (0, BTreeMap::new()), "{name}");
            let sent = server.events();
            assert!(sent.len() >= 2, "{name}: {sent:?}");
            look(name, &sent, &stored(&folder, &sent), &files(&folder.0));
        }
    }
}

/// Every byte of every file.
fn files(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            all += &files(&entry.path());
        } else {
            all.extend(fs::read(entry.path()).unwrap().into_iter().map(char::from));
        }
    }
    all
}

/// The value without the names of members, about which `redact` is not asked.
fn without_names(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_names).collect(),
        Value::Object(members) => members.values().map(without_names).collect(),
        other => other.clone(),
    }
}

#[test]
fn nothing_leaves_in_privacy_mode() {
    let canary = Canary::read();
    canary.all(
        |options| options.set("privacy", true),
        |name, sent, _, files| {
            let all = text(sent) + files;
            assert!(!all.contains(&canary.secret) && !all.contains(&canary.payload[..32]), "{name}");
        },
    );
}

#[test]
fn of_media_only_placeholders_leave() {
    let canary = Canary::read();
    canary.all(
        |options| options,
        |name, sent, _, files| {
            let (sent, secret) = (text(sent), &canary.secret);
            assert!(!(sent.clone() + files).contains(&canary.payload[..32]), "{name}");
            assert!(name == "embeddings" || sent.contains("[redacted "), "{name}");
            for leak in
                [format!("Bearer {secret}"), format!("key={secret}"), format!("{secret}@"), format!("sk-{secret}")]
            {
                assert!(!sent.contains(&leak), "{name}: {leak}");
            }
        },
    );
}

#[test]
fn with_redact_only_what_it_said_leaves() {
    let canary = Canary::read();
    let secret = canary.secret.clone();
    canary.all(
        |options| {
            let secret = secret.clone();
            options.set("local", true).redact(move |text, _| text.replace(&secret, "[mine]"))
        },
        |name, sent, kept, _| {
            for events in [sent, kept] {
                let texts = without_names(&Value::from(events.to_vec())).to_string();
                assert!(!texts.contains(&canary.secret) && texts.contains("[mine]"), "{name}: {texts}");
            }
        },
    );
}

#[test]
fn each_sink_gets_what_it_may() {
    let canary = Canary::read();
    for remote in [true, false] {
        canary.all(
            |options| options.set("local", true).set("privacy", remote).set("store", json!({"privacy": !remote})),
            |name, sent, kept, files| {
                let (less, full) = if remote { (sent, kept) } else { (kept, sent) };
                assert!(!text(less).contains(&canary.secret) && text(full).contains(&canary.secret), "{name}");
                assert!(remote || !files.contains(&canary.secret), "{name}");
            },
        );
    }
}
