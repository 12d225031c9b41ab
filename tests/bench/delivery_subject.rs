//! Captures and delivers so many generations of 2 KB, by hand, in Rust: `bench llmtrail HOST COUNT`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use llmtrail::{CallRecord, Client, Language, Options};
use llmtrail_tests::usage::{cpu, peak};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, _, host, count] = arguments.as_slice() else { return Err("bench llmtrail HOST COUNT".into()) };
    let count: usize = count.parse()?;
    let folder = std::env::temp_dir().join(format!("llmtrail-bench-{}", std::process::id()));
    let options = json!({"api_key": "phc_bench", "host": host, "dir": folder, "max_memory": 512 << 20});
    let client = Client::new(Options::from_json(Language::Rust, &options.to_string())?)?;
    let usage = json!({"input_tokens": 200, "output_tokens": 150});
    let properties = Map::from_iter([("user".to_owned(), Value::from("user-1"))]);
    let mut took = Vec::with_capacity(count);
    let (begun, before) = (Instant::now(), cpu());
    for _ in 0..count {
        let mut record = CallRecord {
            model: Some("gpt-5-mini".to_owned()),
            provider: Some("openai".to_owned()),
            input: Some(json!([{"role": "user", "content": "lorem ip".repeat(96)}])),
            output: Some(json!([{"role": "assistant", "content": "word ".repeat(150)}])),
            usage: Some(usage.clone()),
            latency: Some(Duration::from_millis(1250)),
            ..CallRecord::default()
        };
        record.scope.properties.clone_from(&properties);
        let at = Instant::now();
        client.capture_generation(record);
        took.push(at.elapsed());
    }
    client.flush(Duration::from_secs(120));
    let (wall, spent) = (begun.elapsed(), cpu() - before);
    took.sort_unstable();
    let micros = |part: usize| took[count * part / 100].as_secs_f64() * 1e6;
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let out = json!({
        "capture_us": micros(50),
        "capture_p99_us": micros(99),
        "wall_s": wall.as_secs_f64(),
        "cpu_us": spent * 1e6 / count as f64,
        "memory_mb": peak(),
    });
    writeln!(std::io::stdout(), "{out}")?;
    std::fs::remove_dir_all(folder).or(Ok(()))
}
