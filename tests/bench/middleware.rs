//! What the reqwest middleware adds to a call in Rust: `middleware HOST ROUNDS`. The network is a middleware of its own that
//! answers at once. The bare client and the observed one take turns.

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::time::Instant;

use hyper::http;
use llmtrail::middleware::Observer;
use llmtrail::{Client, Language, Options};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Next};
use serde_json::json;

const URL: &str = "https://api.openai.com/v1/chat/completions";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, host, rounds] = arguments.as_slice() else { return Err("middleware HOST ROUNDS".into()) };
    let rounds: usize = rounds.parse()?;
    let dir = std::env::temp_dir().join(format!("llmtrail-bench-{}", std::process::id()));
    let options = json!({"api_key": "phc_bench", "host": host, "dir": dir});
    let trail = Client::new(Options::from_json(Language::Rust, &options.to_string())?)?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let clients = [
        ClientBuilder::new(http.clone()).with(at_once).build(),
        ClientBuilder::new(http).with(Observer::new(trail, None)).with(at_once).build(),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for size in [1, 100] {
        let content = "lorem ip".repeat(128 * size);
        let body = json!({"model": "gpt-5-mini", "messages": [{"role": "user", "content": content}]}).to_string();
        let took = runtime.block_on(measured(&clients, &body, rounds))?;
        let [mut bare, mut extra]: [Vec<f64>; 2] =
            [took.iter().map(|pair| pair[0]).collect(), took.iter().map(|pair| pair[1] - pair[0]).collect()];
        bare.sort_unstable_by(f64::total_cmp);
        extra.sort_unstable_by(f64::total_cmp);
        let out = json!({
            "case": format!("{size} KB"),
            "bare_us": bare[rounds / 2],
            "extra_us": extra[rounds / 2],
            "extra_p99_us": extra[rounds * 99 / 100],
        });
        writeln!(std::io::stdout(), "{out}")?;
    }
    std::fs::remove_dir_all(dir).or(Ok(()))
}

/// For each round the microseconds of a call with each client.
async fn measured(
    clients: &[ClientWithMiddleware; 2],
    body: &str,
    rounds: usize,
) -> Result<Vec<[f64; 2]>, Box<dyn std::error::Error>> {
    const WARM_UP: usize = 100;
    let mut out = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let mut took = [0.0; 2];
        for who in [round % 2, 1 - round % 2] {
            let body = body.to_owned();
            let begun = Instant::now();
            clients[who].post(URL).body(body).send().await?.bytes().await?;
            took[who] = begun.elapsed().as_secs_f64() * 1e6;
        }
        if round >= WARM_UP {
            out.push(took);
        }
        if round % 100 == 0 {
            // The worker gets a turn, as between the calls of a program.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    Ok(out)
}

type Answer<'a> = Pin<Box<dyn Future<Output = reqwest_middleware::Result<Response>> + Send + 'a>>;

fn at_once<'a>(_request: Request, _extensions: &'a mut http::Extensions, _next: Next<'a>) -> Answer<'a> {
    const BODY: &str = concat!(
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-5-mini-2025-08-07","#,
        r#""choices":[{"index":0,"message":{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],"#,
        r#""usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}"#
    );
    let response = http::Response::builder().header("content-type", "application/json").body(BODY);
    Box::pin(async move { response.map(Response::from).map_err(reqwest_middleware::Error::middleware) })
}
