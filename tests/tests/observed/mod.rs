//! A server, a client that delivers to it and takes its address for OpenAI's, and an HTTP client that is observed.

use std::time::Duration;

use llmtrail::{Client, Language, Options, Report};
use llmtrail_tests::loopback::Server;
use reqwest_middleware::ClientWithMiddleware;
use serde_json::json;

/// Runs a test on several threads, then shuts the client down within a time; gives what came of that, and the server.
pub fn with_server(
    timeout: Duration,
    test: impl AsyncFnOnce(&Server, &Client, &ClientWithMiddleware),
) -> (Report, Server) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = Options::new(Language::Rust)
        .set("api_key", "phc_test")
        .set("host", server.url())
        .set("hosts", json!({server.address().to_string(): "openai"}));
    let trail = Client::new(options).unwrap();
    let http = trail.wrap(reqwest::Client::new());
    runtime.block_on(test(&server, &trail, &http));
    (trail.shutdown(timeout), server)
}
