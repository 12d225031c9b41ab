//! axum: one scope for each request, whatever runs side by side: `cargo run --example axum_app`.
//!
//! `OPENAI_BASE_URL` points it at any server that speaks OpenAI's chat completions; without a PostHog key the events go to
//! the local store, where `llmtrail ls` shows them.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use reqwest_middleware::ClientWithMiddleware;
use serde_json::{Value, json};

/// What all requests share.
#[derive(Clone)]
struct App {
    trail: llmtrail::Client,
    http: ClientWithMiddleware,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This build of reqwest brings no TLS provider of its own; one with default features does, and needs no such line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trail = llmtrail::Client::from_env()?;
    let app = App { http: trail.wrap(reqwest::Client::new()), trail: trail.clone() };
    let port = std::env::var("PORT").unwrap_or_else(|_| "8000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    axum::serve(listener, Router::new().route("/ask", post(ask)).with_state(app)).await?;
    Ok(())
}

async fn ask(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<String, (StatusCode, String)> {
    let bad = |error: serde_json::Error| (StatusCode::BAD_REQUEST, error.to_string());
    let asked: Value = serde_json::from_slice(&body).map_err(bad)?;
    let (question, chat) = (asked["text"].as_str().unwrap_or_default(), asked["chat"].as_str().unwrap_or_default());
    let user = headers.get("user").and_then(|user| user.to_str().ok()).unwrap_or("nobody");
    let answer = app
        .trail
        .trace("ask")
        .distinct_id(user)
        .session_id(chat)
        .input(question)
        .try_scope(async {
            let found = app.trail.span("search").span_type("retrieval").input(question).run(|| search(question));
            call(&app, &found, question).await
        })
        .await;
    answer.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))
}

fn search(question: &str) -> String {
    format!("Nothing is known about: {question}")
}

/// A streamed answer as the provider sends it, read to its end.
async fn call(app: &App, found: &str, question: &str) -> Result<String, reqwest_middleware::Error> {
    let base = std::env::var("OPENAI_BASE_URL").unwrap_or_else(|_| "https://api.openai.com/v1".to_owned());
    let key = std::env::var("OPENAI_API_KEY").unwrap_or_default();
    let messages = json!([{"role": "system", "content": found}, {"role": "user", "content": question}]);
    let body = json!({"model": "gpt-5-mini", "stream": true, "messages": messages});
    let request = app.http.post(format!("{base}/chat/completions")).bearer_auth(key);
    let response = request.header("content-type", "application/json").body(body.to_string()).send().await?;
    Ok(response.text().await?)
}
