#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::event::Event;
use crate::testing::Folder;

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
    WireEvent { uuid, lane: crate::event::Lane::Ai, json: bytes::Bytes::copy_from_slice(json.as_bytes()), stored: None }
}

fn message(number: usize) -> Value {
    json!({"role": "user", "content": format!("message {number}: {}", "all work and no play ".repeat(30))})
}

/// Everything in the store, as it was written.
fn all(dir: &Path) -> Vec<String> {
    let store = Store::open(dir).unwrap();
    let all = store.with(|db| {
        let mut ids = db.prepare("SELECT id FROM events ORDER BY id")?;
        let ids = ids.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        ids.into_iter().map(|id| read_json(db, id).map(Option::unwrap)).collect()
    });
    all.unwrap()
}

fn count(store: &Store, sql: &str) -> i64 {
    store.with(|db| db.query_row(sql, [], |row| row.get(0))).unwrap()
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
    assert_eq!(count(&store, "SELECT count(*) FROM lists"), 1);
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
    assert_eq!(count(&store, "SELECT count(*) FROM lists"), 50);
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
            "$ai_cost_details": {"total": "12.345678901234567891", "buckets": {
                "input_text": {"units": 10, "unit_price": "0.003"}, "cache_read": {"units": 5, "unit_price": "0.0003"},
                "cache_write_5m": {"units": 3, "unit_price": "0.00375"}}}, "plan": "pro", "long": long,
        }))])
        .unwrap();
    let row = |column: &str| -> rusqlite::types::Value {
        store.with(|db| db.query_row(&format!("SELECT {column} FROM events"), [], |row| row.get(0))).unwrap()
    };
    assert_eq!(row("timestamp_ms"), 1_783_166_400_250_i64.into());
    assert_eq!(row("trace_id || name || distinct_id"), "tnu1".to_owned().into());
    assert_eq!(row("length(error)"), 300_i64.into());
    assert_eq!(row("total_input_tokens"), 18_i64.into());
    // 5 × 0.0027 - 3 × 0.00075
    assert_eq!(row("cache_saved_usd"), 0.01125.into());
    assert_eq!(row("properties"), r#"{"plan":"pro"}"#.to_owned().into());
    let cost = store.with(|db| {
        db.query_row("SELECT cost_nano, cost_atto FROM events", [], |row| Ok(row::amount(row.get(0)?, row.get(1)?)))
    });
    assert_eq!(cost.unwrap().to_string(), "12.345678901234567891");
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

#[test]
fn what_is_removed_takes_with_it_what_only_it_used() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    let call = |user: &str, time: &str, properties: Value| {
        let mut event = Event {
            event: "$ai_generation".to_owned(),
            uuid: uuid::Uuid::now_v7(),
            distinct_id: user.to_owned(),
            timestamp: time.to_owned(),
            properties: properties.as_object().unwrap().clone(),
        };
        event.properties.insert("$ai_tools".to_owned(), json!([{"name": user, "description": "x".repeat(100)}]));
        event.encode()
    };
    let (old, new) = ("2026-07-01T00:00:00.000Z", "2026-07-02T00:00:00.000Z");
    let events = [
        call("ada", old, json!({"$ai_input": [message(1)], "$ai_output_choices": [message(2)]})),
        call("ada", new, json!({"$ai_input": [message(1), message(2), message(3)]})),
        call("bob", old, json!({"$ai_input": [message(1), message(4)]})),
        call("bob", new, json!({"$ai_input": [message(1), message(4), message(5)]})),
    ];
    store.write(&events).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM contents"), 7);
    assert_eq!(store.remove(&prune::Which::User("ada".to_owned())).unwrap(), 2);
    let kept = [2, 3].map(|at: usize| String::from_utf8(events[at].json.to_vec()).unwrap());
    assert_eq!(all(&folder.0), kept);
    // Of Ada's the first message stays, for Bob said the same.
    assert_eq!(count(&store, "SELECT count(*) FROM contents"), 4);
    assert_eq!(count(&store, "SELECT count(*) FROM lists"), 3);
    assert_eq!(store.remove(&prune::Which::User("ada".to_owned())).unwrap(), 0);
    // The writer notices that what it knew is gone, also when another process removed it.
    store.write(&events[..2]).unwrap();
    Store::open(&folder.0).unwrap().remove(&prune::Which::User("ada".to_owned())).unwrap();
    store.write(&events[..2]).unwrap();
    assert_eq!(all(&folder.0).len(), 4);
    // By age, then by size.
    let day = "2026-07-01T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    assert!(store.retain(Some(day), None, PATIENCE).unwrap());
    assert_eq!(count(&store, "SELECT count(*) FROM events"), 2);
    assert!(store.retain(None, Some(0), PATIENCE).unwrap());
    for table in ["event_rows", "event_bodies", "lists", "contents", "event_contents", "ids", "shapes"] {
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

#[test]
fn of_a_person_who_is_removed_no_file_has_a_word() {
    let secret = "Ada of Ockham Park";
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    let events = |user: &str, word: &str| {
        // A text that comes often is in a table of its own.
        let one = |n: u32| {
            let mut event = event(&json!({
                "$ai_input": [{"role": "user", "content": format!("{word} {n}")}], "$ai_span_name": word, "$ai_error": word,
                "note": word, "nested": {"deep": [word]}, "$ai_session_id": word,
            }));
            event.uuid = uuid::Uuid::now_v7();
            let json = String::from_utf8(event.json.to_vec()).unwrap();
            event.json = json.replace("\"u1\"", &format!("{user:?}")).into();
            event
        };
        (0..300).map(one).collect::<Vec<_>>()
    };
    store.write(&events(secret, secret)).unwrap();
    store.write(&events("bob", "somebody else")).unwrap();
    let files = || {
        let mut all = Vec::new();
        for file in std::fs::read_dir(&folder.0).unwrap() {
            all.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        all
    };
    let has = |word: &str| memchr::memmem::find(&files(), word.as_bytes()).is_some();
    assert!(has(secret) && has("somebody else"));
    assert_eq!(store.remove(&prune::Which::User(secret.to_owned())).unwrap(), 300);
    assert!(!has(secret));
    assert!(has("somebody else"));
}

#[test]
fn a_removal_says_when_somebody_still_reads_what_was_removed() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    store.write(&[event(&json!({"$ai_input": [{"role": "user", "content": "the secret"}]}))]).unwrap();
    let reading = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
    reading.execute_batch("BEGIN; SELECT count(*) FROM event_rows;").unwrap();
    let which = prune::Which::User("u1".to_owned());
    let said = store.remove(&which).unwrap_err().to_string();
    assert!(said.contains("(events: 1), but another program reads it"), "{said}");
    reading.execute_batch("COMMIT").unwrap();
    assert_eq!(store.remove(&which).unwrap(), 0);
    let files = std::fs::read_dir(&folder.0).unwrap().flat_map(|file| std::fs::read(file.unwrap().path()).unwrap());
    assert!(memchr::memmem::find(&files.collect::<Vec<u8>>(), b"the secret").is_none());
}

#[test]
fn messages_are_found_by_their_words() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    let said = |text: &str| json!({"role": "user", "content": text});
    store
        .write(&[
            event(&json!({"$ai_input": [said("May I have a réfund?")], "$ai_output_choices": [said("No.")]})),
            event(&json!({"$ai_input": [said("May I have a réfund?"), said("No."), said("Why not?")]})),
            event(&json!({"$ai_input": "a refund as text, in an embedding"})),
            event(&json!({"$ai_input": [said("Hello")]})),
        ])
        .unwrap();
    let reader = read::Reader::open(&folder.0).unwrap().unwrap();
    let found = |words: &str| reader.search(words, 10, PATIENCE).unwrap().0;
    assert_eq!(found("refund"), [3, 2, 1]);
    assert_eq!(found("REFUND may"), [2, 1]);
    assert_eq!(found("why"), [2]);
    assert_eq!(found("\"have a refund\""), [2, 1]);
    assert_eq!(found("\"refund have\""), [0_i64; 0]);
    assert_eq!(found("hel"), [4]);
    // What comes later is found later, and what is removed is not.
    store.write(&[event(&json!({"$ai_input": [said("Hello again")]}))]).unwrap();
    assert_eq!(found("hello"), [5, 4]);
    store.remove(&prune::Which::Oldest).unwrap();
    assert_eq!(found("hello"), [0_i64; 0]);
}

#[test]
fn words_are_those_of_the_store_that_is_there() {
    let folder = Folder::new();
    let said = |text: &str| event(&json!({"$ai_input": [{"role": "user", "content": text}]}));
    let found = |file: &Path, words: &str| {
        let reader = read::Reader::open_file(file).unwrap().unwrap();
        reader.search(words, 10, PATIENCE).unwrap().0
    };
    let file = folder.0.join(FILE);
    Store::open(&folder.0).unwrap().write(&[said("an apple"), said("a pear")]).unwrap();
    assert_eq!((found(&file, "apple"), found(&file, "pear")), (vec![1], vec![2]));
    // Another store in the folder has words of its own.
    let other = folder.0.join("other.db");
    Store::open_file(&other).unwrap().write(&[said("a plum"), said("a pear")]).unwrap();
    assert_eq!((found(&other, "plum"), found(&other, "apple")), (vec![1], vec![]));
    assert_eq!((found(&file, "apple"), found(&file, "plum")), (vec![1], vec![]));
    // So has one that takes its place.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.0.join(format!("{FILE}{end}")));
    }
    Store::open(&folder.0).unwrap().write(&[said("a cherry"), said("a fig")]).unwrap();
    assert_eq!((found(&file, "cherry"), found(&file, "apple")), (vec![1], vec![]));
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
    Store::open(&folder.0).unwrap().write(&[event(&json!({"$ai_input": [message(1)]}))]).unwrap();
    let sql = schema::Step::Sql;
    let steps = [sql("ALTER TABLE event_rows ADD COLUMN more TEXT"), sql("UPDATE event_rows SET more = 'x'")];
    let next = [schema::STEPS, &steps].concat();
    let open = || Connection::open(folder.0.join(FILE)).unwrap();
    // Two at once, then once more.
    std::thread::scope(|threads| {
        for mut db in [open(), open()] {
            db.busy_timeout(Duration::from_secs(10)).unwrap();
            let next = &next;
            threads.spawn(move || schema::migrate(&mut db, next).unwrap());
        }
    });
    let mut db = open();
    schema::migrate(&mut db, &next).unwrap();
    let count = |db: &Connection, sql: &str| -> i64 { db.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count(&db, "SELECT count(*) FROM event_rows WHERE more = 'x'"), 1);
    assert_eq!(schema::version(&db).unwrap(), schema::newest() + 2);
    // A step that fails leaves nothing behind.
    let broken = [&next[..], &[sql("CREATE TABLE half (a)"), sql("nonsense")]].concat();
    assert!(schema::migrate(&mut db, &broken).is_err());
    assert_eq!(count(&db, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    // And this version says that it is too old.
    let error = Store::open(&folder.0).err().unwrap();
    assert!(error.to_string().contains("made by a newer llmtrail"), "{error}");
    let error = read::Reader::open(&folder.0).err().unwrap();
    assert!(error.to_string().contains("made by a newer llmtrail"), "{error}");
}

/// A file as version 1 left it, in SQL.
#[test]
fn a_store_of_version_1_is_read_and_written() {
    let folder = Folder::new();
    let db = Connection::open(folder.0.join(FILE)).unwrap();
    db.execute_batch(include_str!("tests/version_1.sql")).unwrap();
    assert_eq!(schema::version(&db).unwrap(), 1);
    drop(db);
    // For reading alone it is brought up to date as well.
    let reader = read::Reader::open(&folder.0).unwrap().unwrap();
    let traces = reader.recent_traces(10).unwrap();
    assert_eq!(traces.iter().map(|trace| trace.id.as_str()).collect::<Vec<_>>(), ["trace-1"]);
    assert_eq!(traces[0].totals.cost.to_string(), "0.0097698");
    Store::open(&folder.0).unwrap().write(&[event(&json!({"$ai_input": [message(1)]}))]).unwrap();
    let texts = all(&folder.0);
    assert_eq!(texts.len(), 3);
    assert_eq!(texts[0], include_str!("tests/version_1_event.json").trim_end());
}

/// A file as version 2 left it, with 36 events of all kinds.
#[test]
fn a_store_of_version_2_is_read_to_the_byte_and_written() {
    let folder = Folder::new();
    let packed = &include_bytes!("tests/version_2.db.gz")[..];
    let mut file = std::fs::File::create(folder.0.join(FILE)).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut file).unwrap();
    let db = Connection::open(folder.0.join(FILE)).unwrap();
    assert_eq!(schema::version(&db).unwrap(), 2);
    let old = |sql: &str| -> Vec<String> {
        let mut rows = db.prepare(sql).unwrap();
        let columns = rows.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let cells = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
            Ok(format!("{:?}", cells.collect::<rusqlite::Result<Vec<_>>>()?))
        };
        rows.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let columns = "id, uuid, event, timestamp_ms, distinct_id, trace_id, session_id, span_id, parent_id, name, span_type,
        provider, model, http_status, is_error, error_type, error, stream, stream_status, stop_reason, retries, latency,
        round(time_to_first_token, 12), input_tokens, total_input_tokens, output_tokens, cache_read_input_tokens,
        cache_creation_input_tokens, reasoning_tokens, input_cost_usd, output_cost_usd, total_cost_usd, cost_nano, cost_atto,
        cost_source, value, lib_language, tools_called, cache_saved_usd";
    let sql = format!("SELECT {columns} FROM events ORDER BY id");
    let before = old(&sql);
    assert_eq!(before.len(), 36);
    // Two at once bring it up to date.
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| assert!(read::Reader::open(&folder.0).unwrap().is_some()));
        }
    });
    assert_eq!(schema::version(&db).unwrap(), schema::newest());
    for (now, before) in old(&sql).iter().zip(&before) {
        assert_eq!(now, before);
    }
    let texts = all(&folder.0);
    let lines = texts.join("\n") + "\n";
    // Of what the version before gave for `llmtrail export --format jsonl`.
    let sha = <sha2::Sha256 as sha2::Digest>::digest(lines.as_bytes());
    assert_eq!(sha[..8], [0x51, 0x39, 0x7d, 0x1c, 0x77, 0xbc, 0x65, 0xba]);
    Store::open(&folder.0).unwrap().write(&[event(&json!({"$ai_input": [message(1)]}))]).unwrap();
    assert_eq!(all(&folder.0).len(), 37);
}

#[test]
fn an_id_is_found_whole_or_by_its_beginning_or_end() {
    let folder = Folder::new();
    // Of 2026-07-04T12:00:00.200Z, when its event began or nearly; and of a day in 2023, as in events from elsewhere.
    let (span, moved) = ("019f2cff-f6c8-7000-8000-00000000000a", "018c0000-0000-7000-8000-0000000000bb");
    let twice = "019f2cff-f6c8-7000-8000-00000000002c";
    let of = |span: &str, trace: &str| {
        event(&json!({"$ai_span_id": span, "$ai_trace_id": trace, "$ai_session_id": "chat-x"}))
    };
    let mut events = vec![of(span, "trace-1"), of(moved, "trace-1"), of("own-span", "trace-2")];
    events.extend([of(twice, "trace-2"), of(twice, "trace-2"), of("chat-of", "trace-3")]);
    Store::open(&folder.0).unwrap().write(&events).unwrap();
    let reader = read::Reader::open(&folder.0).unwrap().unwrap();
    let found = |id: &str| match reader.find(id).unwrap() {
        read::Found::Trace(id) => format!("trace {id}"),
        read::Found::Event(row) => format!("span {}", row.node_id()),
        read::Found::Several(ids) => format!("several {}", ids.join(" ")),
        read::Found::Nothing => "nothing".to_owned(),
    };
    assert_eq!(found(span), format!("span {span}"));
    assert_eq!(found(moved), format!("span {moved}"));
    assert_eq!(found("own-span"), "span own-span");
    assert_eq!(found(&events[2].uuid.to_string()), "span own-span");
    assert_eq!(found(twice), format!("several {} {}", events[3].uuid, events[4].uuid));
    assert_eq!(found("trace-2"), "trace trace-2");
    // The beginning goes before the end, in any case of letters; a session is not looked for.
    for (part, is) in [
        ("018C0000-", format!("span {moved}")),
        ("00BB", format!("span {moved}")),
        ("OWN", "span own-span".to_owned()),
        ("e-3", "trace trace-3".to_owned()),
        ("chat-", "span chat-of".to_owned()),
        ("trace-", "several trace-1 trace-2 trace-3".to_owned()),
        ("019f2cff-f6c8", format!("several {span} {twice} {twice}")),
        ("chat-x", "nothing".to_owned()),
        ("race", "nothing".to_owned()),
        ("", "nothing".to_owned()),
    ] {
        assert_eq!(found(part), is, "{part}");
    }
    let plan = format!("EXPLAIN QUERY PLAN SELECT uuid FROM event_rows WHERE {}", read::NEAR);
    let db = Connection::open(folder.0.join(FILE)).unwrap();
    let plan: String = db.query_row(&plan, (span, 0, 1), |row| row.get(3)).unwrap();
    assert!(plan.contains("rows_by_time"), "{plan}");
}

/// Runs one of the tests below this in a process of its own.
fn spawn(test: &str, dir: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sink::store::tests::{test}"), "--ignored", "--nocapture"])
        .env("LLMTRAIL_TEST_STORE", dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn given_dir() -> PathBuf {
    std::env::var_os("LLMTRAIL_TEST_STORE").unwrap().into()
}

/// More batches than are ever written: processes that nobody stops end by themselves.
const MANY: usize = 5000;

fn batch(count: usize) -> Vec<WireEvent> {
    (0..count)
        .map(|n| event(&json!({"$ai_input": [message(n), {"fresh": uuid::Uuid::now_v7().to_string()}]})))
        .collect()
}

#[test]
#[ignore = "a process of the next tests"]
fn process_that_writes() {
    let mut store = Store::open(&given_dir()).unwrap();
    for _ in 0..20 {
        store.write(&batch(10)).unwrap();
    }
}

#[test]
#[ignore = "a process of the next tests"]
fn process_that_writes_until_it_is_killed() {
    let mut store = Store::open(&given_dir()).unwrap();
    for _ in 0..MANY {
        store.write(&batch(10)).unwrap();
    }
}

#[test]
fn processes_write_at_once_and_some_are_killed() {
    let folder = Folder::new();
    let mut victims: Vec<_> = (0..2).map(|_| spawn("process_that_writes_until_it_is_killed", &folder.0)).collect();
    let writers: Vec<_> = (0..8).map(|_| spawn("process_that_writes", &folder.0)).collect();
    let killed = std::thread::spawn(move || {
        for victim in &mut victims {
            std::thread::sleep(Duration::from_millis(300));
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
    });
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    killed.join().unwrap();
    let store = Store::open(&folder.0).unwrap();
    let whole: String = store.with(|db| db.query_row("PRAGMA integrity_check", [], |row| row.get(0))).unwrap();
    assert_eq!(whole, "ok");
    // Of the killed ones whole batches.
    let total = count(&store, "SELECT count(*) FROM events");
    assert!(total >= 8 * 200 && total % 10 == 0, "{total}");
    // One each that is its own, after one of ten that many have.
    assert_eq!(count(&store, "SELECT count(*) FROM lists"), total + 10);
    drop(store);
    assert_eq!(i64::try_from(all(&folder.0).len()).unwrap(), total);
}

#[cfg(unix)]
#[test]
#[ignore = "a process of the next test"]
fn process_that_forks_while_it_writes() {
    const FORKS: usize = 30;
    let dir = given_dir();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        let written = threads.spawn(|| {
            let mut store = Store::open(&dir).unwrap();
            let mut batches = 0;
            while !done.load(Ordering::Relaxed) && batches < MANY {
                store.write(&batch(10)).unwrap();
                batches += 1;
            }
            batches
        });
        std::thread::sleep(Duration::from_millis(50));
        for _ in 0..FORKS {
            #[expect(unsafe_code, reason = "the point of the test")]
            // SAFETY: the child only writes and ends, without going back into the test harness.
            unsafe {
                let child = libc::fork();
                if child == 0 {
                    // A child that finds a lock held by a thread that it has not would wait for ever.
                    libc::alarm(20);
                    let wrote = Store::open(&dir).and_then(|mut store| store.write(&batch(10)));
                    libc::_exit(i32::from(wrote.is_err()));
                }
                let mut status = -1;
                libc::waitpid(child, &raw mut status, 0);
                assert_eq!(status, 0);
            }
        }
        done.store(true, Ordering::Relaxed);
        let batches: usize = written.join().unwrap();
        assert_eq!(all(&dir).len(), (batches + FORKS) * 10);
    });
}

#[cfg(unix)]
#[test]
fn a_fork_in_the_middle_of_writing_harms_neither() {
    let folder = Folder::new();
    let mut child = spawn("process_that_forks_while_it_writes", &folder.0);
    assert!(child.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_place_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    // Even root cannot make a folder here.
    let error = Store::open(Path::new("/proc/llmtrail")).err().unwrap();
    assert!(error.to_string().contains("cannot be made"), "{error}");
    assert!(read::Reader::open(Path::new("/proc/llmtrail")).unwrap().is_none());

    let folder = Folder::new();
    Store::open(&folder.0).unwrap().write(&[event(&json!({"$ai_trace_id": "t", "$ai_input": [message(1)]}))]).unwrap();
    let allow = |mode: u32, file_mode: u32| {
        std::fs::set_permissions(folder.0.join(FILE), PermissionsExt::from_mode(file_mode)).unwrap();
        std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(mode)).unwrap();
    };
    allow(0o500, 0o400);
    if std::fs::write(folder.0.join("probe"), "").is_err() {
        let error = Store::open(&folder.0).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Store);
    }
    let reader = read::Reader::open(&folder.0).unwrap().unwrap();
    assert_eq!(reader.recent_traces(5).unwrap().len(), 1);
    allow(0o700, 0o600);
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let folder = Folder::new();
    Store::open(&folder.0).unwrap().write(&batch(200)).unwrap();
    let path = folder.0.join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let written = Store::open(&folder.0).and_then(|mut store| store.write(&batch(1)));
    let error = written.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    let read = read::Reader::open(&folder.0).and_then(|reader| reader.unwrap().recent_traces(5));
    assert!(read.is_err());
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
