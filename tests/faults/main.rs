//! Faults between a real process and the server: what is captured arrives, or is accounted for; nothing hangs.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use llmtrail_tests::folder::Folder;
use llmtrail_tests::loopback::Server;
use serde_json::{Value, json};

const KEY: &str = "phc_a_key_that_nobody_may_see";

/// The segments in the spool of a folder.
fn segments(folder: &Folder) -> usize {
    fn below(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_one = |path: &Path| path.extension().is_some_and(|kind| kind == "seg" || kind == "open");
        entries.map(|path| if path.is_dir() { below(&path) } else { usize::from(is_one(&path)) }).sum()
    }
    below(&folder.0)
}

/// A process that captures, and our side of the talk with it.
struct Capturer {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Its data directory, unless the test has one.
    _folder: Folder,
}

impl Capturer {
    fn start(host: &str) -> Self {
        Self::start_with(host, |_| {})
    }

    fn start_with(host: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = Folder::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_capturer"));
        command.env("LLMTRAIL_DIR", &folder.0);
        command.env_remove("http_proxy").env_remove("HTTP_PROXY").env("POSTHOG_API_KEY", KEY).env("POSTHOG_HOST", host);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut process = command.spawn().unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        Self { process, to, from, _folder: folder }
    }

    /// One that keeps its data where others do.
    fn start_in(host: &str, folder: &Folder, spool: &str) -> Self {
        Self::start_with(host, |command| {
            command.env("LLMTRAIL_DIR", &folder.0).env("LLMTRAIL_SPOOL", spool);
        })
    }

    /// Ends it as the system's killer does.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.to, "{command}").unwrap();
    }

    /// The answer to a command. Whatever it is, the books are balanced.
    fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command}: {line:?}: {error}"));
        if let Some(captured) = answer.get("captured") {
            let dropped: u64 = answer["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
            let sum = answer["delivered"].as_u64().unwrap() + answer["pending"].as_u64().unwrap() + dropped;
            assert_eq!(captured.as_u64(), Some(sum), "{answer}");
        }
        answer
    }

    /// Waits for the end of the process; gives what it wrote to stderr.
    fn end(mut self) -> String {
        drop(self.to);
        let mut errors = String::new();
        if let Some(mut stderr) = self.process.stderr.take() {
            stderr.read_to_string(&mut errors).unwrap();
        }
        assert!(self.process.wait().unwrap().success(), "{errors}");
        assert!(!errors.contains(KEY), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }
}

#[track_caller]
fn assert_report(answer: &Value, delivered: u64, pending: u64, dropped: &Value) {
    let got = (&answer["delivered"], &answer["pending"], &answer["dropped"]);
    assert_eq!(got, (&json!(delivered), &json!(pending), dropped), "{answer}");
}

/// How many different events the server has.
fn arrived(server: &Server) -> usize {
    server.events().iter().map(|event| event["uuid"].to_string()).collect::<HashSet<_>>().len()
}

/// The paths of what was asked of the ingestion.
fn paths(server: &Server) -> Vec<String> {
    server.requests().iter().map(|request| request["path"].as_str().unwrap().to_owned()).collect()
}

fn server_with(fault: &Value) -> Server {
    let server = Server::start().unwrap();
    server.fault(fault).unwrap();
    server
}

#[test]
fn a_while_of_503() {
    let server = server_with(&json!({"status": 503, "times": 3}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 250");
    assert_report(&process.ask("flush 20000"), 250, 0, &json!({}));
    assert_eq!(arrived(&server), 250);
    assert_eq!(process.end().lines().count(), 1, "a failure that passes is not worth a warning");
}

#[test]
fn a_503_that_outlives_every_try_and_the_next_flush_gets_through() {
    let server = server_with(&json!({"status": 503}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 50");
    assert_report(&process.ask("flush 20000"), 0, 50, &json!({}));
    assert_eq!(server.requests().len(), 4);
    server.heal();
    assert_report(&process.ask("flush 20000"), 50, 0, &json!({}));
    assert_eq!((arrived(&server), server.events().len()), (50, 50));
    let errors = process.end();
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

#[test]
fn a_413_for_every_batch_over_ten_events() {
    let server = server_with(&json!({"max_events": 10}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 250");
    assert_report(&process.ask("shutdown 20000"), 250, 0, &json!({}));
    assert_eq!((arrived(&server), server.events().len()), (250, 250));
    process.end();
}

#[test]
fn one_poisonous_event_in_250() {
    let server = server_with(&json!({"poison": "poison"}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 137");
    process.ask("capture 1 poison");
    process.ask("capture 112");
    assert_report(&process.ask("flush 20000"), 249, 0, &json!({"rejected": 1}));
    assert_eq!((arrived(&server), server.events().len()), (249, 249));
    let errors = process.end();
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

#[test]
fn a_400_for_everything() {
    let server = server_with(&json!({"status": 400}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 250");
    let answer = process.ask("flush 20000");
    assert_report(&answer, 0, 250, &json!({}));
    assert!(answer["took_ms"].as_u64() < Some(5000), "{answer}");
    server.heal();
    assert_report(&process.ask("flush 20000"), 250, 0, &json!({}));
    process.end();
}

#[test]
fn a_429_with_retry_after() {
    let server = server_with(&json!({"status": 429, "retry_after": 1, "for_ms": 1500}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 50");
    assert_report(&process.ask("flush 20000"), 50, 0, &json!({}));
    let at: Vec<u64> = server.requests().iter().map(|request| request["at_ms"].as_u64().unwrap()).collect();
    assert!((2..=4).contains(&at.len()), "{at:?}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 990), "{at:?}");
    process.end();
}

#[test]
fn a_server_without_the_ai_route() {
    let server = server_with(&json!({"route": "ai", "absent": true}));
    let mut process = Capturer::start(&server.url());
    for _ in 0..3 {
        process.ask("capture 50");
        process.ask("flush 20000");
    }
    assert_report(&process.ask("stats"), 150, 0, &json!({}));
    assert_eq!(arrived(&server), 150);
    assert_eq!(paths(&server), ["/i/v0/ai/batch/", "/batch/", "/batch/", "/batch/"]);
    process.end();
}

#[test]
fn a_refused_key() {
    let server = server_with(&json!({"status": 401}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 50");
    let answer = process.ask("flush 20000");
    assert_report(&answer, 0, 50, &json!({}));
    assert!(answer["took_ms"].as_u64() < Some(5000), "{answer}");
    process.ask("flush 20000");
    assert_eq!(server.requests().len(), 1);
    assert_report(&process.ask("shutdown 2000"), 0, 50, &json!({}));
    let errors = process.end();
    assert!(errors.contains(&format!("{} refuses events with the key phc_a_...", server.url())), "{errors}");
}

#[test]
fn a_captive_portal() {
    for fault in
        [json!({"body": "<html>Log in</html>", "times": 2}), json!({"status": 302, "location": "/x", "times": 2})]
    {
        let server = server_with(&fault);
        let mut process = Capturer::start(&server.url());
        process.ask("capture 50");
        assert_report(&process.ask("flush 20000"), 50, 0, &json!({}));
        assert_eq!(paths(&server), ["/i/v0/ai/batch/"; 3]);
        process.end();
    }
}

#[test]
fn accepted_and_then_reset_before_the_answer() {
    let server = server_with(&json!({"reset": true, "times": 1}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 50");
    assert_report(&process.ask("flush 20000"), 50, 0, &json!({}));
    let same = ["uuid", "timestamp", "event", "distinct_id"];
    let events = server.events();
    let distinct: HashSet<String> =
        events.iter().map(|event| same.map(|name| event[name].to_string()).join(" ")).collect();
    assert_eq!((events.len(), distinct.len()), (100, 50), "sent twice, the same");
    process.end();
}

#[test]
fn an_exit_with_a_slow_server() {
    let server = server_with(&json!({"delay_ms": 500}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 1000");
    let before = server.requests().len();
    assert_report(&process.ask("shutdown 20000"), 1000, 0, &json!({}));
    assert_eq!(arrived(&server), 1000);
    // Somebody waits, so what is left goes in one request, after those that were under way already.
    let requests = server.requests().len();
    assert!(requests <= before + 3, "{before} requests before the shutdown, {requests} in all");
    process.end();
}

#[test]
fn a_server_that_never_answers_holds_nobody_up() {
    let server = server_with(&json!({"delay_ms": 60_000}));
    let mut process = Capturer::start(&server.url());
    process.ask("capture 250");
    let answer = process.ask("flush 300");
    assert_report(&answer, 0, 250, &json!({}));
    assert!(answer["took_ms"].as_u64() < Some(2000), "{answer}");
    let answer = process.ask("drop");
    assert!(answer["took_ms"].as_u64() < Some(4000), "{answer}");
    process.end();

    let mut process = Capturer::start(&server.url());
    process.ask("capture 250");
    let begun = Instant::now();
    process.tell("exit");
    process.end();
    assert!(begun.elapsed() < Duration::from_secs(5), "the worker keeps the process alive");
}

#[test]
fn nobody_there_and_then_somebody() {
    let port = Server::start().unwrap().address().port();
    let (host, folder) = (format!("http://127.0.0.1:{port}"), Folder::new().unwrap());
    let mut process = Capturer::start_in(&host, &folder, "overflow");
    process.ask("capture 50");
    let answer = process.ask("shutdown 1000");
    assert_report(&answer, 0, 50, &json!({}));
    assert!(answer["took_ms"].as_u64() < Some(3000), "{answer}");
    process.end();
    assert_eq!(segments(&folder), 1);

    let server = Server::start_with(port, llmtrail_tests::corpus::folder()).unwrap();
    let mut process = Capturer::start_in(&host, &folder, "overflow");
    // Nothing has to be captured for that.
    assert_report(&process.ask("flush 20000"), 50, 0, &json!({}));
    assert_eq!((arrived(&server), server.events().len(), segments(&folder)), (50, 50, 0));
    process.end();
}

#[test]
fn nobody_there_and_no_spool() {
    let port = Server::start().unwrap().address().port();
    let (host, folder) = (format!("http://127.0.0.1:{port}"), Folder::new().unwrap());
    let mut process = Capturer::start_in(&host, &folder, "off");
    process.ask("capture 50");
    assert_report(&process.ask("shutdown 1000"), 0, 0, &json!({"shutdown": 50}));
    let errors = process.end();
    assert!(errors.contains("50 events were not delivered before the end"), "{errors}");
}

#[test]
fn killed_before_the_first_flush() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    for round in 1..=5 {
        let mut process = Capturer::start_in(&server.url(), &folder, "always");
        process.ask("capture 50");
        // What is promised: what was captured fifty milliseconds ago is on disk.
        std::thread::sleep(Duration::from_millis(50));
        process.kill();
        let mut next = Capturer::start_in(&server.url(), &folder, "always");
        assert_report(&next.ask("flush 20000"), 50, 0, &json!({}));
        assert_eq!((arrived(&server), server.events().len(), segments(&folder)), (50 * round, 50 * round, 0));
        next.end();
    }
}

#[test]
fn an_exit_on_the_spot() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let mut process = Capturer::start_in(&server.url(), &folder, "always");
    process.ask("capture 250");
    std::thread::sleep(Duration::from_millis(50));
    process.tell("exit");
    process.end();
    let mut next = Capturer::start_in(&server.url(), &folder, "always");
    // What the first one had sent already is not sent again.
    let answer = next.ask("flush 20000");
    assert_eq!((&answer["pending"], &answer["dropped"]), (&json!(0), &json!({})), "{answer}");
    assert_eq!((arrived(&server), server.events().len()), (250, 250));
    next.end();
}

#[test]
fn two_processes_in_one_folder() {
    // As many as a lane takes in a row before it rests for half a minute: all of them may meet the same process.
    let (server, folder) = (server_with(&json!({"status": 503, "times": 3})), Folder::new().unwrap());
    let mut both = [0, 1].map(|_| Capturer::start_in(&server.url(), &folder, "always"));
    for _ in 0..10 {
        for process in &mut both {
            process.ask("capture 20");
        }
    }
    let [mut first, mut second] = both;
    assert_report(&first.ask("shutdown 20000"), 200, 0, &json!({}));
    // Whatever the first one could not send the second one may have taken over.
    let answer = second.ask("flush 20000");
    assert_eq!(answer["pending"], 0, "{answer}");
    assert_eq!((arrived(&server), server.events().len()), (400, 400));
    second.end();
    first.end();
}

#[test]
fn more_than_fits_in_memory() {
    let server = server_with(&json!({"delay_ms": 60_000}));
    let mut process = Capturer::start_with(&server.url(), |command| {
        command.env("LLMTRAIL_SPOOL", "off");
    });
    let text = "x".repeat(50_000);
    process.ask(&format!("capture 3000 {text}"));
    let answer = process.ask("stats");
    assert!(answer["queued_bytes"].as_u64() <= Some(64 << 20), "{answer}");
    assert!(answer["dropped"]["overflow"].as_u64() > Some(1000), "{answer}");
    let errors = process.end();
    assert_eq!(errors.matches("max_memory").count(), 1, "{errors}");
}

#[test]
fn more_than_fits_in_memory_with_a_spool() {
    let server = server_with(&json!({"delay_ms": 60_000}));
    let mut process = Capturer::start(&server.url());
    let text = "x".repeat(50_000);
    for _ in 0..30 {
        process.ask(&format!("capture 100 {text}"));
        // A caller that is faster than the worker for long is refused: this one waits for it.
        while process.ask("stats")["queued_bytes"].as_u64() > Some(50 << 20) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let answer = process.ask("stats");
    assert!(answer["spooled"].as_u64() > Some(1000), "{answer}");
    server.heal();
    assert_report(&process.ask("flush 60000"), 3000, 0, &json!({}));
    assert_eq!(arrived(&server), 3000);
    process.end();
}

#[test]
fn a_proxy_from_the_environment_is_used() {
    let server = Server::start().unwrap();
    let proxy = server.url();
    let mut process = Capturer::start_with("http://posthog.invalid", |command| {
        command.env("http_proxy", proxy).env_remove("no_proxy").env_remove("NO_PROXY");
    });
    process.ask("capture 5");
    assert_report(&process.ask("flush 20000"), 5, 0, &json!({}));
    assert_eq!(arrived(&server), 5);
    process.end();
}

#[cfg(unix)]
#[test]
fn a_closed_stderr_is_nobodys_trouble() {
    let server = Server::start().unwrap();
    let script = format!("exec '{}' 2>&-", env!("CARGO_BIN_EXE_capturer"));
    let folder = Folder::new().unwrap();
    let mut command = Command::new("sh");
    command.env("LLMTRAIL_DIR", &folder.0);
    command.args(["-c", &script]).env("POSTHOG_API_KEY", KEY).env("POSTHOG_HOST", server.url());
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"capture 5\nshutdown 20000\n").unwrap();
    assert!(process.wait().unwrap().success());
    assert_eq!(arrived(&server), 5);
}

#[test]
fn the_local_store_that_cannot_be_written_is_one_warning() {
    let file = std::env::temp_dir().join(format!("llmtrail-faults-{}", std::process::id()));
    std::fs::write(&file, "not a folder").unwrap();
    let mut process = Capturer::start_with("", |command| {
        command.env_remove("POSTHOG_API_KEY").env_remove("POSTHOG_HOST").env("LLMTRAIL_DIR", file.join("store"));
    });
    process.ask("capture 50");
    assert_report(&process.ask("flush 20000"), 0, 50, &json!({}));
    process.ask("capture 50");
    assert_report(&process.ask("flush 20000"), 0, 100, &json!({}));
    let errors = process.end();
    assert_eq!(errors.matches("cannot be delivered").count(), 1, "{errors}");
    std::fs::remove_file(file).unwrap();
}
