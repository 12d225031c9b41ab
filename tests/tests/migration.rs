//! What is said with PostHog's words is told as it was there: the rows that all three languages read.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use llmtrail::{Chunk, Client, Exchange, ScopeKind, ScopeOptions};
use llmtrail::{Fields, Language};
use llmtrail_tests::folder::Folder;
use llmtrail_tests::loopback::Server;
use llmtrail_tests::sinks::options;
use serde_json::Value;

#[test]
fn every_row_is_honoured() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/migration.json");
    let migration: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let client = Client::new(options(&server, &folder)).unwrap();
    for row in migration["rows"].as_array().unwrap() {
        server.clear();
        let mut given = Fields::new(Language::Rust, row["options"].as_object().unwrap().clone());
        let scope = client.open(ScopeKind::Options, None, ScopeOptions::read(&mut given));
        client.observe(Exchange {
            method: "POST".to_owned(),
            url: migration["url"].as_str().unwrap().to_owned(),
            request_body: migration["request"].to_string().into(),
            status: Some(200),
            response_headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            chunks: vec![Chunk { bytes: migration["response"].to_string().into(), at: Duration::from_millis(4) }],
            ended_at: Duration::from_millis(4),
            decoded: true,
            started_at: Some(SystemTime::now()),
            scope: Some(scope),
            ..Exchange::default()
        });
        client.flush(Duration::from_secs(20));
        let events = server.events();
        let [event] = events.as_slice() else { panic!("{row}: {events:?}") };
        let properties = &event["properties"];
        for (name, expected) in row["event"].as_object().unwrap() {
            assert_eq!(&properties[name], expected, "{row}");
        }
        let person = row.get("distinct_id").unwrap_or(&properties["$ai_trace_id"]);
        assert_eq!(&event["distinct_id"], person, "{row}");
    }
    client.shutdown(Duration::from_secs(20));
}
