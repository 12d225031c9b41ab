//! A program that captures what it is told: the one that has to survive the faults.
//!
//! It is configured by the environment, as any program is, and reads commands from its standard input, one a line:
//! `capture N [TEXT]` (N events that hold the text), `flush MS`, `shutdown MS`, `stats`, `repr`, `drop`, `exit`. Each of
//! them but `exit`, which ends it on the spot, is answered by a line of JSON. With `cli` as its first argument it is the
//! command line instead.

use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant};

use llmtrail::manual::CaptureOptions;
use llmtrail::{Client, Report};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "cli") {
        std::process::exit(llmtrail::cli::run(args).into());
    }
    let mut client = Some(Client::from_env()?);
    let mut captured = 0u64;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let command = words.next().unwrap_or_default();
        let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let begun = Instant::now();
        let mut answer = match (command, &client) {
            ("capture", Some(client)) => {
                let text = words.next().unwrap_or("hello");
                let mut took = Vec::new();
                for _ in 0..number {
                    let begun = Instant::now();
                    let properties = Map::from_iter([
                        ("$ai_model".to_owned(), json!("gpt-5-mini")),
                        ("n".to_owned(), json!(captured)),
                        ("text".to_owned(), json!(text)),
                    ]);
                    let options = CaptureOptions {
                        distinct_id: Some("user".to_owned()),
                        properties,
                        ..CaptureOptions::default()
                    };
                    client.capture("$ai_generation", options)?;
                    took.push(begun.elapsed());
                    captured += 1;
                }
                took.sort_unstable();
                // What the median capture took of the caller.
                json!({"median_us": took.get(took.len() / 2).map(|took| took.as_secs_f64() * 1e6)})
            }
            ("flush", Some(client)) => report(&client.flush(Duration::from_millis(number))),
            ("shutdown", Some(client)) => report(&client.shutdown(Duration::from_millis(number))),
            ("stats", Some(client)) => {
                let stats = client.stats();
                let mut answer = report(&stats.report);
                answer["last_error"] = json!(stats.last_error);
                answer["queued_bytes"] = json!(stats.queued_bytes);
                answer["spooled"] = json!(stats.spooled);
                answer["recovered"] = json!(stats.recovered);
                answer
            }
            ("repr", Some(client)) => json!({"repr": format!("{client:?} {:?} {:?}", client.config(), client.stats())}),
            ("drop", _) => {
                client = None;
                json!({})
            }
            ("exit", _) => std::process::exit(0),
            _ => return Err(format!("unknown command: {line}").into()),
        };
        answer["took_ms"] = json!(u64::try_from(begun.elapsed().as_millis())?);
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn report(report: &Report) -> Value {
    json!({
        "captured": report.captured,
        "delivered": report.delivered,
        "pending": report.pending,
        "dropped": report.dropped,
    })
}
