//! The memory of one process in one state, in MB: `memory llmtrail idle|own|queued|dead HOST COUNT`. As in Python.

use std::io::Write as _;
use std::time::Duration;

use llmtrail::manual::CaptureOptions;
use llmtrail::{Client, Language, Options};
use llmtrail_tests::usage::{own, peak, resident};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, observer, state, host, count] = arguments.as_slice() else {
        return Err("memory bare|disabled|llmtrail idle|own|queued|dead HOST COUNT".into());
    };
    let count: usize = count.parse()?;
    let dir = std::env::temp_dir().join(format!("llmtrail-bench-{}", std::process::id()));
    let mut kept = None;
    if observer != "bare" {
        // Nobody is at the host when events wait in line.
        let spool = if state == "queued" { "off" } else { "overflow" };
        let enabled = observer != "disabled";
        let options = json!({"api_key": "phc_bench", "host": host, "dir": dir, "spool": spool, "enabled": enabled});
        let client = Client::new(Options::from_json(Language::Rust, &options.to_string())?)?;
        if state == "idle" || state == "own" {
            capture(&client)?;
            client.flush(Duration::from_secs(10));
        }
        for _ in 0..count {
            capture(&client)?;
        }
        kept = Some(client);
    }
    std::thread::sleep(Duration::from_secs(1));
    let megabytes = match state.as_str() {
        "dead" => peak(),
        "own" => own(),
        _ => resident(),
    };
    writeln!(std::io::stdout(), "{megabytes}")?;
    // Nothing of it is to be sent now.
    std::mem::forget(kept);
    std::fs::remove_dir_all(dir).or(Ok(()))
}

/// A generation of 2 KB, as any event.
fn capture(client: &Client) -> Result<(), llmtrail::Error> {
    let properties = json!({
        "$ai_model": "gpt-5-mini",
        "$ai_provider": "openai",
        "$ai_input": [{"role": "user", "content": "lorem ip".repeat(96)}],
        "$ai_output_choices": [{"role": "assistant", "content": "word ".repeat(150)}],
        "$ai_input_tokens": 200,
        "$ai_output_tokens": 150,
        "$ai_latency": 1.25,
        "$ai_trace_id": "trace-1",
    });
    let properties = if let Value::Object(members) = properties { members } else { Map::new() };
    let options = CaptureOptions { distinct_id: Some("user-1".to_owned()), properties, ..CaptureOptions::default() };
    client.capture("$ai_generation", options).map(|_| ())
}
