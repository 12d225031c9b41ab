//! The local store among processes: many that write while the viewer reads, and one that sends it on.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use llmtrail::event::{Event, WireEvent, timestamp};
use llmtrail::store::{Reader, Writer};
use llmtrail::viewer::Viewer;
use llmtrail_tests::folder::Folder;
use llmtrail_tests::loopback::Server;
use serde_json::{Value, json};

/// The program that captures, or is the command line; with the folder and no key.
fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capturer"));
    command.env("LLMTRAIL_DIR", dir).env_remove("POSTHOG_API_KEY").env_remove("POSTHOG_HOST");
    command.env_remove("http_proxy").env_remove("HTTP_PROXY");
    command
}

/// The viewer's pages, as a browser that has the address asks for them.
struct Pages {
    port: u16,
    token: String,
}

impl Pages {
    fn open(file: PathBuf) -> Self {
        let viewer = Viewer::bind(file, Some(0)).unwrap();
        let address = viewer.address();
        let (port, token) = address.strip_prefix("http://127.0.0.1:").unwrap().split_once("/?token=").unwrap();
        let pages = Self { port: port.parse().unwrap(), token: token.to_owned() };
        std::thread::spawn(|| viewer.serve());
        pages
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (port, token) = (self.port, &self.token);
        let cookie = format!("Cookie: llmtrail-{port}={token}\r\n");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{cookie}Connection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Captures in pieces, each of which is on the disk before the next; what the process said.
fn capture(mut process: Child, pieces: usize, each: usize) -> (Vec<Value>, String) {
    let mut to = process.stdin.take().unwrap();
    let mut from = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut answers = Vec::new();
    let mut ask = |command: &str| {
        writeln!(to, "{command}").unwrap();
        answers.push(serde_json::from_str(&from.next().unwrap().unwrap()).unwrap());
    };
    for _ in 0..pieces {
        ask(&format!("capture {each}"));
        ask("flush 30000");
    }
    ask("shutdown 30000");
    drop(to);
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(process.wait().unwrap().success(), "{said}");
    (answers, said)
}

#[test]
fn eight_processes_write_while_the_viewer_reads() {
    const WRITERS: usize = 8;
    const PIECES: usize = 12;
    const EACH: usize = 15;
    let folder = Folder::new().unwrap();
    let pages = Pages::open(folder.0.join("llmtrail.db"));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let mut command = program(&folder.0);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let process = command.spawn().unwrap();
            std::thread::spawn(move || capture(process, PIECES, EACH))
        })
        .collect();
    let mut looks = 0;
    while looks < 10 || writers.iter().any(|writer| !writer.is_finished()) {
        for path in ["/?range=all", "/traces?range=all", "/generations?range=all", "/models?range=all", "/health"] {
            let answer = pages.get(path);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            assert!(!answer.contains("locked"), "{path}");
        }
        looks += 1;
    }
    for writer in writers {
        let (answers, said) = writer.join().unwrap();
        assert!(!said.contains("locked") && !said.contains("cannot be written"), "{said}");
        let last = answers.last().unwrap();
        let all = json!({"delivered": PIECES * EACH, "pending": 0, "dropped": {}});
        for (name, count) in all.as_object().unwrap() {
            assert_eq!(last[name], *count, "{last}");
        }
    }
    let events = Reader::open(&folder.0).unwrap().unwrap().events_after(0, i64::MIN, 100_000).unwrap();
    assert_eq!(
        uuids(events.iter().map(|(_, json)| serde_json::from_str(json).unwrap())).len(),
        WRITERS * PIECES * EACH
    );
}

fn uuids(events: impl Iterator<Item = Value>) -> HashSet<String> {
    events.map(|event| event["uuid"].as_str().unwrap().to_owned()).collect()
}

/// Writes made-up events into a store.
fn fill(dir: &Path, count: usize) -> HashSet<String> {
    write(dir, count, "ada")
}

fn write(dir: &Path, count: usize, user: &str) -> HashSet<String> {
    let events: Vec<WireEvent> = (0..count)
        .map(|number| {
            let uuid = uuid::Uuid::now_v7();
            let properties = json!({"$ai_model": "gpt-5-mini", "$ai_input": [{"role": "user", "content": format!("question {number}")}]});
            // A few are of a kind that goes another way.
            let event = if number % 10 == 0 { "signed up" } else { "$ai_generation" };
            let properties = properties.as_object().unwrap().clone();
            let timestamp = timestamp(SystemTime::now());
            Event { event: event.to_owned(), uuid, distinct_id: user.to_owned(), timestamp, properties }.encode()
        })
        .collect();
    Writer::open(dir).unwrap().write(&events).unwrap();
    events.iter().map(|event| event.uuid.to_string()).collect()
}

fn delete(dir: &Path) {
    for file in ["llmtrail.db", "llmtrail.db-wal", "llmtrail.db-shm"] {
        let _ = std::fs::remove_file(dir.join(file));
    }
}

#[test]
fn who_follows_calls_sees_those_of_a_store_that_is_made_anew() {
    let folder = Folder::new().unwrap();
    // The first of them is no call.
    write(&folder.0, 2, "ada");
    let mut command = program(&folder.0);
    let mut follower = command.args(["cli", "tail", "-f", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["distinct_id"].clone();
    assert_eq!(next(), "ada");
    delete(&folder.0);
    write(&folder.0, 2, "grace");
    assert_eq!(next(), "grace");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

fn push(server: &Server, dir: &Path) -> Command {
    let mut command = program(dir);
    command.args(["cli", "push", "--json"]).env("POSTHOG_API_KEY", "phc_push").env("POSTHOG_HOST", server.url());
    command
}

fn pushed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_store_is_pushed_and_goes_on_where_it_stopped() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let written = fill(&folder.0, 450);
    server.fault(&json!({"delay_ms": 150})).unwrap();
    let first = push(&server, &folder.0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while server.events().len() < 100 {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    server.fault(&json!({"status": 401})).unwrap();
    let first = first.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.contains("the rest is sent by the next push") && !said.contains("phc_push"), "{said}");
    let sent = server.events().len();
    assert!((100..450).contains(&sent), "{sent}");

    server.heal();
    let second = pushed(&push(&server, &folder.0).output().unwrap());
    assert_eq!(uuids(server.events().into_iter()), written);
    // A batch goes two ways, for it has two kinds of event: what one way took before it stopped may come once more.
    let twice = server.events().len() - written.len();
    assert!(twice < 100 && second["refused"] == 0, "{twice} {second}");

    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 0, "refused": 0}));
    let before = server.events().len();
    let more = fill(&folder.0, 5);
    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 5, "refused": 0}));
    assert_eq!(uuids(server.events().into_iter().skip(before)), more);
}

#[test]
fn what_takes_the_place_of_events_that_were_pushed_is_pushed_too() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    fill(&folder.0, 20);
    let last = write(&folder.0, 5, "grace");
    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 25, "refused": 0}));

    // What was removed from the end gives its place to what comes next.
    let purged = program(&folder.0).args(["cli", "purge", "--user", "grace"]).output().unwrap();
    assert!(purged.status.success());
    let next = write(&folder.0, 3, "ada");
    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 3, "refused": 0}));
    let came = uuids(server.events().into_iter());
    assert!(next.is_subset(&came) && last.is_subset(&came));

    // So it is in a store that is made anew.
    delete(&folder.0);
    let other = fill(&folder.0, 40);
    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 40, "refused": 0}));
    assert!(other.is_subset(&uuids(server.events().into_iter())));
    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 0, "refused": 0}));
}

#[test]
fn a_whole_push_sends_nothing_twice_and_says_what_was_refused() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let written = fill(&folder.0, 230);
    server.fault(&json!({"poison": "question 117"})).unwrap();
    server.fault(&json!({"max_events": 60})).unwrap();
    server.fault(&json!({"status": 503, "times": 1})).unwrap();
    assert_eq!(pushed(&push(&server, &folder.0).output().unwrap()), json!({"sent": 229, "refused": 1}));
    assert_eq!((server.events().len(), uuids(server.events().into_iter()).len()), (229, 229));
    assert!(uuids(server.events().into_iter()).is_subset(&written));

    let mut without = push(&server, &folder.0);
    let without = without.env_remove("POSTHOG_API_KEY").output().unwrap();
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("POSTHOG_API_KEY"));
}
