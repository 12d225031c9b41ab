//! How many observed calls one worker decodes, prices, packs and sends a second:
//! `throughput HOST COUNT KILOBYTES [TURNS]`.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use llmtrail::{Chunk, Client, Exchange, Language, Options};
use llmtrail_tests::usage::{cpu, peak};
use serde_json::json;

/// What waits in memory at most, so that nothing is refused.
const WAITING: u64 = 64 << 20;
/// Different calls, so that one is not as the one before it.
const SEEDS: u64 = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, host, count, size, turns @ ..] = arguments.as_slice() else {
        return Err("throughput HOST COUNT KILOBYTES [TURNS]".into());
    };
    let (count, size): (usize, usize) = (count.parse()?, size.parse::<usize>()? << 10);
    let turns = turns.first().map_or(Ok(1), |turns| turns.parse())?;
    let dir = std::env::temp_dir().join(format!("llmtrail-bench-{}", std::process::id()));
    let options = json!({"api_key": "phc_bench", "host": host, "dir": dir, "max_memory": 512 << 20});
    let client = Client::new(Options::from_json(Language::Rust, &options.to_string())?)?;
    let exchanges: Vec<Exchange> = (0..SEEDS).map(|seed| exchange(size, turns, seed)).collect();
    let (begun, before) = (Instant::now(), cpu());
    for number in 0..count {
        client.observe(Exchange { started_at: Some(SystemTime::now()), ..exchanges[number % exchanges.len()].clone() });
        while number % 16 == 0 && client.stats().queued_bytes > WAITING {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let report = client.flush(Duration::from_secs(120));
    let (wall, spent) = (begun.elapsed().as_secs_f64(), cpu() - before);
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    let out = json!({
        "a_second": report.delivered as f64 / wall,
        "cpu_us": spent * 1e6 / count as f64,
        "memory_mb": peak(),
        "lost": count as u64 - report.delivered,
    });
    writeln!(std::io::stdout(), "{out}")?;
    std::fs::remove_dir_all(dir).or(Ok(()))
}

/// A chat completion whose messages and answer are so many bytes together, of words that gzip has something to do with.
fn exchange(size: usize, turns: u64, seed: u64) -> Exchange {
    const ANSWER: usize = 750;
    let each = size.saturating_sub(ANSWER + 500) / usize::try_from(turns).unwrap_or(1).max(1);
    let message = |turn| json!({"role": "user", "content": words(each, seed * 100_000 + turn)});
    let messages: Vec<_> = (0..turns).map(message).collect();
    let request = json!({"model": "gpt-5-mini", "messages": messages});
    let response = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5-mini-2025-08-07",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": words(ANSWER, seed), "refusal": null, "annotations": []},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
    });
    let (headers_at, ended_at) = (Duration::from_millis(1200), Duration::from_millis(1250));
    Exchange {
        method: "POST".to_owned(),
        url: "https://api.openai.com/v1/chat/completions".to_owned(),
        request_body: Bytes::from(request.to_string()),
        status: Some(200),
        response_headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        chunks: vec![Chunk { bytes: Bytes::from(response.to_string()), at: ended_at }],
        headers_at,
        ended_at,
        ..Exchange::default()
    }
}

/// So many bytes of made-up words, the same for the same seed.
fn words(bytes: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        // A small vocabulary, as texts have.
        let mut word = 1 + next(400) * next(6);
        for _ in 0..3 + word % 5 {
            text.push(char::from(b'a' + u8::try_from(word % 26).unwrap_or_default()));
            word = word * 31 + 7;
        }
        text.push(' ');
    }
    text
}
