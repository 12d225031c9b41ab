#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::event::Event;

/// A folder that goes away with the test.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("llmtrail-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event(properties: &Value) -> WireEvent {
    Event {
        event: "$ai_generation".to_owned(),
        uuid: uuid::Uuid::now_v7(),
        distinct_id: "u1".to_owned(),
        timestamp: "2026-07-04T12:00:00.250Z".to_owned(),
        properties: properties.as_object().unwrap().clone(),
    }
    .encode()
}

/// A row as read back from a store.
pub(super) fn row(event: &str, id: &str, parent: Option<&str>) -> read::Row {
    read::Row {
        event: event.to_owned(),
        uuid: format!("uuid of {id}"),
        span_id: (event != "$ai_trace").then(|| id.to_owned()),
        parent_id: parent.map(str::to_owned),
        ..read::Row::default()
    }
}

fn wire(uuid: uuid::Uuid, json: &str) -> WireEvent {
    WireEvent { uuid, lane: crate::event::Lane::Ai, json: bytes::Bytes::copy_from_slice(json.as_bytes()) }
}

fn message(number: usize) -> Value {
    json!({"role": "user", "content": format!("message {number}: {}", "all work and no play ".repeat(30))})
}

/// Everything in the store, as it was written.
fn all(dir: &Path) -> Vec<String> {
    let store = Store::open(dir).unwrap();
    let mut ids = store.db.prepare("SELECT id FROM events ORDER BY id").unwrap();
    let ids: Vec<i64> = ids.query_map([], |row| row.get(0)).unwrap().map(|id| id.unwrap()).collect();
    ids.into_iter().map(|id| read_json(&store.db, id).unwrap().unwrap()).collect()
}

fn count(store: &Store, sql: &str) -> i64 {
    store.db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_is_read_is_what_was_written() {
    let folder = Folder::new();
    let long = "x".repeat(5000);
    let mut texts = Vec::new();
    for properties in [
        json!({}),
        json!({"$ai_input": null, "$ai_output_choices": []}),
        json!({"$ai_input": [message(1), message(2)], "$ai_output_choices": [message(3)], "$ai_tools": [message(4)]}),
        json!({"$ai_input": [message(1), long], "$ai_input_state": long, "$ai_output_state": {"a": [1, 2.5e-8, long]}}),
        json!({"$ai_input": "a short text", "mine": long, "$ai_error": long, "é\"\n": {"$ai_input": [message(1)]}}),
        json!({"$ai_input": [1, 2, 3], "$ai_total_cost_usd": 0.1_f64 + 0.2, "n": u64::MAX}),
    ] {
        texts.push(String::from_utf8(event(&properties).json.to_vec()).unwrap());
    }
    // Nor does it matter who wrote the JSON, and how.
    let odd =
        format!(r#"{{ "a":"\u0000\ud83d", "properties" : {{"$ai_input": [ {{}}, {{"a":"{long}"}} ], "n":1e999}} }}"#);
    texts.push(odd);
    texts.push(format!(r#"{{"properties":{{"$ai_input":[{{"a":"{long}"}}],"$ai_input":"{long}"}}}}"#));
    texts.push(format!(r#"{{"properties":{{"$ai_input":"{long}"}},"properties":{{}}}}"#));
    texts.push("[]".to_owned());
    texts.push("not JSON".to_owned());
    let events: Vec<_> = texts.iter().map(|text| wire(uuid::Uuid::now_v7(), text)).collect();
    Store::open(&folder.0).unwrap().write(&events).unwrap();
    assert_eq!(all(&folder.0), texts);
}

#[test]
fn every_event_of_the_corpus_comes_back() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut texts = Vec::new();
    for format in std::fs::read_dir(corpus).unwrap().filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok()) {
        for case in format {
            // With its line ends and blanks, as a person wrote it.
            texts.extend(std::fs::read_to_string(case.unwrap().path().join("expected.json")));
        }
    }
    assert!(texts.len() > 40, "{}", texts.len());
    let folder = Folder::new();
    let tight = |text: &String| serde_json::from_str::<Value>(text).unwrap().to_string();
    texts.extend(texts.iter().map(tight).collect::<Vec<_>>());
    let events: Vec<_> = texts.iter().map(|text| wire(uuid::Uuid::now_v7(), text)).collect();
    Store::open(&folder.0).unwrap().write(&events).unwrap();
    assert_eq!(all(&folder.0), texts);
}

#[test]
fn an_event_is_there_once() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    let one = event(&json!({"$ai_input": [message(1)]}));
    store.write(&[one.clone(), one.clone()]).unwrap();
    store.write(std::slice::from_ref(&one)).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM events"), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM event_contents"), 1);
}

#[test]
fn a_growing_conversation_keeps_each_message_once() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    for turns in 1..=50 {
        let history: Vec<_> = (0..turns).map(message).collect();
        store.write(&[event(&json!({"$ai_input": history}))]).unwrap();
    }
    assert_eq!(count(&store, "SELECT count(*) FROM contents"), 50);
    assert_eq!(count(&store, "SELECT count(*) FROM event_contents"), 50 * 51 / 2);
    assert!(count(&store, "SELECT sum(length(json)) FROM contents") < 50 * 200);
}

#[test]
fn columns_say_what_lists_need() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    let long = "é".repeat(3000);
    store
        .write(&[event(&json!({
            "$ai_trace_id": "t", "$ai_span_name": "n", "$ai_is_error": true, "$ai_error": long, "$ai_latency": 1.5,
            "$ai_input_tokens": 10, "$ai_cache_read_input_tokens": 5, "$ai_cache_creation_input_tokens": 3,
            "$ai_cache_reporting_exclusive": true, "$ai_total_cost_usd": 12.345_678_901_234_567,
            "$ai_cost_details": {"total": "12.345678901234567891"}, "plan": "pro", "long": long,
        }))])
        .unwrap();
    let row = |column: &str| -> rusqlite::types::Value {
        store.db.query_row(&format!("SELECT {column} FROM events"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(row("timestamp_ms"), 1_783_166_400_250_i64.into());
    assert_eq!(row("trace_id || name || distinct_id"), "tnu1".to_owned().into());
    assert_eq!(row("length(error)"), 300_i64.into());
    assert_eq!(row("total_input_tokens"), 18_i64.into());
    assert_eq!(row("properties"), r#"{"plan":"pro"}"#.to_owned().into());
    let Ok((nano, atto)) =
        store.db.query_row("SELECT cost_nano, cost_atto FROM events", [], |row| Ok((row.get(0)?, row.get(1)?)))
    else {
        panic!("no cost")
    };
    assert_eq!(row::amount(nano, atto).to_string(), "12.345678901234567891");
}

#[test]
fn many_write_at_once() {
    const WRITERS: usize = 8;
    const BATCHES: usize = 12;
    let folder = Folder::new();
    let start = std::sync::Barrier::new(WRITERS);
    std::thread::scope(|threads| {
        for _ in 0..WRITERS {
            threads.spawn(|| {
                start.wait();
                // A new connection for every other batch: opening, and being the last to close, race as well.
                for _ in 0..BATCHES / 2 {
                    let mut store = Store::open(&folder.0).unwrap();
                    for _ in 0..2 {
                        let batch: Vec<_> = (0..10).map(|n| event(&json!({"$ai_input": [message(n)]}))).collect();
                        store.write(&batch).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(all(&folder.0).len(), WRITERS * BATCHES * 10);
}

#[cfg(unix)]
#[test]
fn only_the_user_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let dir = folder.0.join("a/b");
    let mut store = Store::open(&dir).unwrap();
    store.write(&[event(&json!({}))]).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn migrations_run_once_and_from_anywhere() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    store.write(&[event(&json!({"$ai_input": [message(1)]}))]).unwrap();
    let next = [schema::STEPS, &["ALTER TABLE events ADD COLUMN more TEXT", "UPDATE events SET more = 'x'"]].concat();
    // Two at once, then once more.
    let mut second = Store::open(&folder.0).unwrap();
    let other = std::thread::spawn({
        let next = next.clone();
        move || schema::migrate(&mut second.db, &next)
    });
    schema::migrate(&mut store.db, &next).unwrap();
    other.join().unwrap().unwrap();
    schema::migrate(&mut store.db, &next).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM events WHERE more = 'x'"), 1);
    assert_eq!(schema::version(&store.db).unwrap(), schema::newest() + 2);
    // A step that fails leaves nothing behind.
    let broken = [&next[..], &["CREATE TABLE half (a)", "nonsense"]].concat();
    assert!(schema::migrate(&mut store.db, &broken).is_err());
    assert_eq!(count(&store, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    // And this version says that it is too old.
    let error = Store::open(&folder.0).err().unwrap();
    assert!(error.to_string().contains("made by a newer llmtrail"), "{error}");
}

#[test]
fn trouble_is_a_sentence() {
    let folder = Folder::new();
    std::fs::write(folder.0.join(FILE), "this is not a database, it is a letter to somebody".repeat(30)).unwrap();
    let error = Store::open(&folder.0).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("is not a SQLite database"), "{error}");

    let error = Store::open(&folder.0.join(FILE).join("below")).err().unwrap();
    assert!(error.to_string().contains("cannot be made"), "{error}");
}
