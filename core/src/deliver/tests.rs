//! The queue, the worker and the books, with a scripted sink and with a server on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::config::{Secret, SpoolMode};
use crate::event::Lane;
use crate::sink::Outcome;
use crate::sink::memory::Memory;

/// Inputs that say what the stage is to do.
enum Do {
    Emit(Vec<WireEvent>),
    Hold(WireEvent),
    Merge,
    Panic,
}

#[derive(Default)]
struct Echo {
    held: Vec<WireEvent>,
    due: Option<Instant>,
}

impl Stage for Echo {
    type Input = Do;

    fn process(&mut self, input: Do, out: &mut Vec<WireEvent>) {
        match input {
            Do::Emit(events) => out.extend(events),
            Do::Hold(event) => {
                self.held.push(event);
                self.due = Some(Instant::now() + Duration::from_millis(50));
            }
            Do::Merge => out.extend(self.held.pop()),
            Do::Panic => panic!("a bug"),
        }
    }

    fn tick(&mut self, out: &mut Vec<WireEvent>) {
        self.drain(false, out);
    }

    fn wakes_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn drain(&mut self, _last: bool, out: &mut Vec<WireEvent>) {
        self.due = None;
        out.append(&mut self.held);
    }

    fn held(&self) -> usize {
        self.held.len()
    }
}

const LONG: Duration = Duration::from_secs(20);

fn event(lane: Lane, size: usize) -> WireEvent {
    let uuid = Uuid::now_v7();
    let name = if lane == Lane::Ai { "$ai_generation" } else { "clicked" };
    let json = json!({"event": name, "distinct_id": "d", "uuid": uuid.to_string(), "timestamp": "2026-01-01T00:00:00.000Z",
        "properties": {"text": "x".repeat(size)}});
    WireEvent { uuid, lane, json: Bytes::from(json.to_string()), stored: None }
}

fn emit(count: usize) -> Do {
    Do::Emit((0..count).map(|_| event(Lane::Ai, 10)).collect())
}

fn config(change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config {
        api_key: Some(Secret::from("phc_secret".to_owned())),
        // What these tests are about is memory; the spool has its own.
        spool: SpoolMode::Off,
        ..Config::default()
    };
    change(&mut config);
    Arc::new(config)
}

fn scripted(script: Vec<Option<Outcome>>) -> (Delivery<Echo>, Memory) {
    let memory = Memory::scripted(script);
    (Delivery::with_sink(config(|_| {}), Echo::default(), memory.clone()), memory)
}

#[track_caller]
fn balanced(report: &Report) {
    assert_eq!(report.captured, report.delivered + report.pending + report.dropped.values().sum::<u64>(), "{report:?}");
}

#[track_caller]
fn assert_report(report: &Report, delivered: u64, pending: u64, dropped: &[(&'static str, u64)]) {
    balanced(report);
    let expected: BTreeMap<_, _> = dropped.iter().copied().collect();
    assert_eq!((report.delivered, report.pending, &report.dropped), (delivered, pending, &expected));
}

/// Waits for what comes soon, however busy the machine is.
#[track_caller]
fn wait_until(holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn later() -> Outcome {
    Outcome::Later { after: None, why: "status 503".to_owned() }
}

#[test]
fn what_is_offered_is_delivered_by_a_flush() {
    let (delivery, memory) = scripted(vec![]);
    for _ in 0..250 {
        assert!(delivery.offer(emit(1), 100));
    }
    assert_report(&delivery.flush(LONG), 250, 0, &[]);
    assert_eq!(memory.look(|inner| inner.events.len()), 250);
    assert_eq!(delivery.stats().queued_bytes, 0);
}

#[test]
fn an_empty_flush_sends_nothing_and_starts_nothing() {
    let (delivery, memory) = scripted(vec![]);
    assert_eq!(delivery.flush(LONG), Report::default());
    delivery.offer(emit(0), 100);
    assert_report(&delivery.flush(LONG), 0, 0, &[]);
    assert_eq!(memory.look(|inner| inner.sent.len()), 0);
}

#[test]
fn a_full_batch_goes_without_a_flush_and_the_rest_after_the_interval() {
    let memory = Memory::default();
    let config = config(|config| {
        config.flush_at = 10;
        config.flush_interval = Duration::from_millis(200);
    });
    let delivery = Delivery::with_sink(config, Echo::default(), memory.clone());
    delivery.offer(emit(25), 100);
    wait_until(|| memory.look(|inner| inner.events.len()) == 25);
    assert_eq!(memory.look(|inner| inner.sent.iter().map(|(_, events)| events.len()).collect::<Vec<_>>()), [10, 10, 5]);
}

#[test]
fn the_lanes_do_not_wait_for_each_other() {
    // The first batch, of the AI lane, never gets an answer.
    let (delivery, memory) = scripted(vec![None]);
    delivery.offer(emit(1), 100);
    delivery.offer(Do::Emit(vec![event(Lane::General, 10)]), 100);
    wait_until(|| delivery.flush(Duration::from_millis(100)).delivered == 1);
    assert_report(&delivery.stats().report, 1, 1, &[]);
    assert_eq!(memory.look(|inner| inner.events[0].lane), Lane::General);
    let begun = Instant::now();
    assert_report(&delivery.shutdown(Duration::from_millis(300)), 1, 0, &[("shutdown", 1)]);
    assert!(begun.elapsed() < LONG / 2);
}

#[test]
fn a_failure_is_tried_again_until_the_lane_is_parked_and_a_flush_probes_once() {
    let (delivery, memory) = scripted(vec![Some(later()); 5]);
    delivery.offer(emit(3), 100);
    let report = delivery.flush(LONG);
    assert_report(&report, 0, 3, &[]);
    assert_eq!(memory.look(|inner| inner.sent.len()), 4);
    assert_report(&delivery.flush(LONG), 0, 3, &[]);
    assert_eq!(memory.look(|inner| inner.sent.len()), 5);
    assert!(delivery.stats().last_error.is_some_and(|error| error.contains("503")));
    assert_report(&delivery.flush(LONG), 3, 0, &[]);
}

#[test]
fn a_refused_key_stops_the_lane_at_once_and_flushes_do_not_ask_again() {
    let (delivery, memory) = scripted(vec![Some(Outcome::Denied("status 401".to_owned())); 9]);
    delivery.offer(emit(3), 100);
    let begun = Instant::now();
    assert_report(&delivery.flush(LONG), 0, 3, &[]);
    assert_report(&delivery.flush(LONG), 0, 3, &[]);
    assert!(begun.elapsed() < LONG);
    assert_eq!(memory.look(|inner| inner.sent.len()), 1);
}

#[test]
fn over_the_bound_the_newest_is_refused() {
    let memory = Memory::scripted(vec![None]);
    let config = config(|config| config.max_memory = 64 << 10);
    let delivery = Delivery::with_sink(config, Echo::default(), memory);
    let taken = (0..1000).filter(|_| delivery.offer(emit(1), 1000)).count();
    assert!(taken >= 60, "{taken}");
    let stats = delivery.stats();
    balanced(&stats.report);
    assert!(stats.queued_bytes <= 64 << 10);
    assert!(stats.report.dropped["overflow"] >= 500, "{stats:?}");
    assert!(!delivery.offer(emit(1), usize::MAX));
}

#[test]
fn inputs_may_become_no_event_or_many_and_the_sum_stays_exact() {
    let (delivery, _) = scripted(vec![]);
    delivery.offer(Do::Hold(event(Lane::Ai, 10)), 1000);
    delivery.offer(Do::Merge, 1000);
    delivery.offer(emit(5), 100);
    delivery.offer(emit(0), 100);
    delivery.offer(Do::Hold(event(Lane::Ai, 10)), 1000);
    assert!(delivery.settle(LONG));
    balanced(&delivery.stats().report);
    assert_report(&delivery.flush(LONG), 7, 0, &[]);
    assert_eq!(delivery.stats().queued_bytes, 0);
}

#[test]
fn what_is_held_back_comes_out_when_it_is_due() {
    let (delivery, _) = scripted(vec![]);
    delivery.offer(Do::Hold(event(Lane::Ai, 10)), 1000);
    assert!(delivery.settle(LONG));
    assert_eq!(delivery.stats().report.pending, 1);
    std::thread::sleep(Duration::from_millis(200));
    balanced(&delivery.stats().report);
    assert_report(&delivery.flush(LONG), 1, 0, &[]);
}

#[test]
fn a_panic_in_the_stage_costs_its_input_and_nothing_else() {
    let (delivery, _) = scripted(vec![]);
    delivery.offer(emit(1), 100);
    delivery.offer(Do::Panic, 100);
    delivery.offer(Do::Panic, 100);
    delivery.offer(emit(1), 100);
    assert_report(&delivery.flush(LONG), 2, 0, &[("panic", 2)]);
}

#[test]
fn after_a_shutdown_offers_are_refused_and_counted() {
    let (delivery, _) = scripted(vec![]);
    delivery.offer(emit(2), 100);
    assert_report(&delivery.shutdown(LONG), 2, 0, &[]);
    assert!(!delivery.offer(emit(1), 100));
    assert_report(&delivery.shutdown(LONG), 2, 0, &[("shutdown", 1)]);
    assert_report(&delivery.flush(LONG), 2, 0, &[("shutdown", 1)]);
    assert!(delivery.settle(LONG));
}

#[test]
fn a_drop_does_not_wait_beyond_its_deadline() {
    let (delivery, _) = scripted(vec![None]);
    delivery.offer(emit(2), 100);
    let begun = Instant::now();
    drop(delivery);
    assert!(begun.elapsed() < DROP_DEADLINE + LONG / 2);
}

/// In a process of its own: what is measured is every thread with the worker's name.
#[test]
fn an_idle_worker_sleeps() {
    let alone = ["--exact", "deliver::tests::an_idle_worker_alone", "--ignored", "--nocapture"];
    let done = std::process::Command::new(std::env::current_exe().unwrap()).args(alone).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by `an_idle_worker_sleeps`"]
fn an_idle_worker_alone() {
    let (delivery, _) = scripted(vec![]);
    delivery.offer(emit(1), 100);
    delivery.flush(LONG);
    let before = thread_ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(thread_ticks() - before <= 2, "the worker spins");
}

/// Processor time of this process's other threads that are named as the worker is, in hundredths of a second.
fn thread_ticks() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let own = stats.filter(|stat| stat.contains("(llmtrail)"));
    own.map(|stat| stat.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()).sum()
}

/// What a request to the server below held.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    headers: String,
    body: Value,
    wire: usize,
}

/// How the server answers: from the request (and how many came before) to the raw response; empty: it hangs up.
type Answer = dyn Fn(&Request, usize) -> String + Send + Sync;

struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(answer: impl Fn(&Request, usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer): (_, Arc<Answer>) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(&stream, &seen, &*answer));
            }
        });
        Self { address, requests }
    }

    fn delivery(&self, change: impl FnOnce(&mut Config)) -> Delivery<Echo> {
        let host = format!("http://{}", self.address);
        let config = config(|config| {
            config.host = host;
            change(config);
        });
        Delivery::new(config, Echo::default())
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answer) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let wire = body.len();
        if header("content-encoding").as_deref() == Some("gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            body = plain;
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let request = Request { path, headers: head, body: serde_json::from_slice(&body).unwrap(), wire };
        let mut all = seen.lock().unwrap();
        let response = answer(&request, all.len());
        all.push(request);
        drop(all);
        if response.is_empty() {
            return;
        }
        if (&mut &*stream).write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

fn status(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn ok() -> String {
    status(200, "content-type: application/json\r\n", r#"{"status":1}"#)
}

#[test]
fn batches_are_gzipped_json_with_the_key_in_the_body_only() {
    let server = Server::start(|_, _| ok());
    let delivery = server.delivery(|_| {});
    delivery.offer(Do::Emit(vec![event(Lane::Ai, 5000), event(Lane::General, 10)]), 100);
    assert_report(&delivery.flush(LONG), 2, 0, &[]);
    let mut requests = server.requests();
    requests.sort_by_key(|request| std::cmp::Reverse(request.path.clone()));
    assert_eq!(
        requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(),
        ["/i/v0/ai/batch/", "/batch/"]
    );
    let ai = &requests[0];
    assert!(ai.wire < 1000, "{}", ai.wire);
    assert_eq!(ai.body["api_key"], "phc_secret");
    assert_eq!(ai.body["batch"][0]["event"], "$ai_generation");
    assert!(ai.body["sent_at"].as_str().unwrap().ends_with('Z'));
    assert!(!ai.headers.contains("phc_"), "{}", ai.headers);
    assert!(ai.headers.contains(concat!("llmtrail/", env!("CARGO_PKG_VERSION"))), "{}", ai.headers);
}

#[test]
fn a_server_without_the_ai_route_gets_the_events_by_the_other_one() {
    let server =
        Server::start(|request, _| if request.path == "/batch/" { ok() } else { status(404, "", "not found") });
    let delivery = server.delivery(|config| config.gzip = false);
    delivery.offer(emit(3), 100);
    assert_report(&delivery.flush(LONG), 3, 0, &[]);
    delivery.offer(emit(3), 100);
    assert_report(&delivery.flush(LONG), 6, 0, &[]);
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/i/v0/ai/batch/", "/batch/", "/batch/"]);
}

#[test]
fn retry_after_is_kept_to_even_in_a_flush() {
    let server = Server::start(|_, before| if before == 0 { status(429, "retry-after: 1\r\n", "") } else { ok() });
    let delivery = server.delivery(|_| {});
    delivery.offer(emit(3), 100);
    let begun = Instant::now();
    delivery.flush(Duration::from_millis(200));
    assert_report(&delivery.flush(LONG), 3, 0, &[]);
    assert!(begun.elapsed() >= Duration::from_millis(990));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_hang_up_a_web_page_and_a_redirect_are_tried_again_with_the_same_events() {
    let server = Server::start(|_, before| match before {
        0 => String::new(),
        1 => status(200, "content-type: text/html\r\n", "<html>Log in</html>"),
        2 => status(307, "location: http://127.0.0.1:1/steal\r\n", ""),
        _ => ok(),
    });
    let delivery = server.delivery(|_| {});
    delivery.offer(emit(3), 100);
    assert_report(&delivery.flush(LONG), 3, 0, &[]);
    let batches: Vec<Value> = server.requests().iter().map(|request| request.body["batch"].clone()).collect();
    assert_eq!(batches.len(), 4);
    assert!(batches.iter().all(|batch| *batch == batches[0]));
}

#[test]
fn the_one_poisonous_event_of_250_is_found_and_given_up() {
    let server = Server::start(|request, _| {
        if request.body["batch"].to_string().contains("poison") { status(400, "", "bad event") } else { ok() }
    });
    let delivery = server.delivery(|_| {});
    for number in 0..250 {
        let mut one = event(Lane::Ai, 10);
        if number == 137 {
            one.json = Bytes::from(String::from_utf8_lossy(&one.json).replace("xxx", "poison"));
        }
        delivery.offer(Do::Emit(vec![one]), 100);
    }
    assert_report(&delivery.flush(LONG), 249, 0, &[("rejected", 1)]);
    assert!(server.requests().len() < 30);
}

#[test]
fn a_server_that_takes_ten_events_at_most_gets_them_all() {
    let server =
        Server::start(
            |request, _| {
                if request.body["batch"].as_array().unwrap().len() > 10 { status(413, "", "") } else { ok() }
            },
        );
    let delivery = server.delivery(|_| {});
    delivery.offer(emit(250), 100);
    assert_report(&delivery.flush(LONG), 250, 0, &[]);
    assert!(server.requests().len() < 100, "{}", server.requests().len());
}

#[test]
fn nobody_there_is_no_reason_to_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let delivery = Delivery::new(config(|config| config.host = host), Echo::default());
    delivery.offer(emit(3), 100);
    let begun = Instant::now();
    let report = delivery.shutdown(Duration::from_millis(500));
    assert!(begun.elapsed() < LONG / 2);
    assert_report(&report, 0, 0, &[("shutdown", 3)]);
    assert!(delivery.stats().last_error.is_some_and(|error| error.contains("cannot connect")));
}

mod hook;
mod model;
mod spool;

#[test]
fn each_of_several_sinks_gives_back_the_memory_that_it_held() {
    let sinks: [Memory; 3] = [Memory::default(), Memory::scripted(vec![Some(later())]), Memory::default()];
    let boxed = sinks.iter().map(|sink| Box::new(sink.clone()) as Box<dyn Carrier>).collect();
    let delivery = Delivery::build(config(|_| {}), Echo::default(), boxed);
    for _ in 0..3 {
        delivery.offer(emit(5), 10);
        delivery.settle(LONG);
    }
    assert_report(&delivery.flush(LONG), 15, 0, &[]);
    assert_eq!(delivery.stats().queued_bytes, 0);
    assert!(sinks.iter().all(|sink| sink.look(|inner| inner.events.len()) == 15));
}
