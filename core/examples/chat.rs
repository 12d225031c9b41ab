//! One observed call from Rust: `OPENAI_API_KEY=... cargo run --example chat`.
//!
//! `OPENAI_BASE_URL` points it elsewhere (any server that speaks OpenAI's chat completions); without a PostHog key the
//! event goes to the local store, where `llmtrail ls` shows it.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::var("OPENAI_BASE_URL").unwrap_or_else(|_| "https://api.openai.com/v1".to_owned());
    let key = std::env::var("OPENAI_API_KEY").unwrap_or_default();

    // This build of reqwest brings no TLS provider of its own; one with default features does, and needs no such line.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let trail = llmtrail::Client::from_env()?;
    let http = trail.wrap(reqwest::Client::new());

    let body = json!({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}]});
    let call = async {
        let request = http.post(format!("{base}/chat/completions")).bearer_auth(key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let text = request.send().await?.text().await?;
        Ok::<Value, Box<dyn std::error::Error>>(serde_json::from_str(&text)?)
    };
    let reply = trail.trace("greet").distinct_id("user-1").try_scope(call).await?;
    println!("{}", reply["choices"][0]["message"]["content"]);

    let report = trail.shutdown(Duration::from_secs(5));
    println!("captured {}, delivered {}", report.captured, report.delivered);
    Ok(())
}
