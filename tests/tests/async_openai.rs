//! The SDK that Rust programs use most, async-openai, driven through the reqwest-middleware layer: its HTTP service is one
//! function, and that function sends through an observed client.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::middleware::retry::OpenAIRetryLayer;
use async_openai::types::chat::{CreateChatCompletionRequest, CreateChatCompletionRequestArgs};
use async_openai::types::embeddings::CreateEmbeddingRequestArgs;
use async_openai::types::responses::CreateResponseArgs;
use futures_util::StreamExt as _;
use llmtrail::{Client, Language, Options};
use llmtrail_tests::corpus::{self, Case};
use llmtrail_tests::loopback::Server;
use serde_json::{Value, json};
use tower::{Layer as _, service_fn};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A client of the SDK whose calls are observed; `retries`: with the SDK's own retries around it.
fn openai(trail: &Client, base: &str, retries: bool) -> async_openai::Client<OpenAIConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = trail.wrap(reqwest::Client::new());
    let service = service_fn(move |factory: HttpRequestFactory| {
        let http = http.clone();
        async move {
            http.execute(factory.build().await?).await.map_err(|error| match error {
                reqwest_middleware::Error::Reqwest(error) => OpenAIError::Reqwest(error),
                reqwest_middleware::Error::Middleware(error) => OpenAIError::Boxed(error.into()),
            })
        }
    });
    let config = OpenAIConfig::new().with_api_base(base).with_api_key("sk-test-key");
    let client = async_openai::Client::with_config(config);
    if retries {
        client.with_http_service(OpenAIRetryLayer::default().layer(service))
    } else {
        client.with_http_service(service)
    }
}

fn trail(server: &Server) -> Client {
    let hosts = json!({server.address().to_string(): "openai"});
    let options = Options::new(Language::Rust).set("api_key", "phc_test").set("host", server.url()).set("hosts", hosts);
    Client::new(options).unwrap()
}

/// Runs a test in a runtime of its own, against a server that has another one; gives the events of its calls.
fn events_of(test: impl AsyncFnOnce(&Server, &Client)) -> Vec<Value> {
    let server = Server::start().unwrap();
    let trail = trail(&server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(&server, &trail));
    drop(runtime);
    let report = trail.shutdown(TIMEOUT);
    assert_eq!((report.captured, report.pending, report.dropped.len()), (report.delivered, 0, 0), "{report:?}");
    server.events()
}

fn case(name: &str) -> Case {
    let (format, name) = name.split_once('/').unwrap();
    Case::find(&corpus::folder(), format, name).unwrap()
}

fn base(server: &Server, case: &str) -> String {
    format!("{}/case/{case}/v1", server.url())
}

fn question(case: &Case) -> CreateChatCompletionRequest {
    serde_json::from_slice(&case.request).unwrap()
}

/// The event has what the case expects of the answer.
fn check(event: &Value, case: &Case) {
    let properties = &event["properties"];
    for name in [
        "$ai_provider",
        "$ai_model",
        "$ai_output_choices",
        "$ai_input_tokens",
        "$ai_output_tokens",
        "$ai_total_tokens",
        "$ai_stop_reason",
        "$ai_stream",
        "$ai_stream_status",
        "$ai_http_status",
        "$ai_is_error",
        "$ai_error",
        "$ai_error_type",
        "$ai_embedding_count",
        "$ai_embedding_dimensions",
    ] {
        assert_eq!(properties.get(name), case.expected["properties"].get(name), "{name} of {properties}");
    }
    assert_eq!(event["event"], case.expected["event"]);
}

#[test]
fn a_plain_call_is_recorded_in_its_scope() {
    let case = case("openai_chat/plain");
    let events = events_of(async |server, trail| {
        let client = openai(trail, &base(server, "openai_chat/plain"), false);
        let chat = client.chat();
        let call = Box::pin(chat.create(question(&case)));
        let answer = trail.trace("greet").distinct_id("user-1").try_scope(call).await.unwrap();
        let content = answer.choices[0].message.content.clone();
        assert_eq!(json!(content), case.expected["properties"]["$ai_output_choices"][0]["content"]);
    });
    let [generation, trace] = &events[..] else { panic!("{events:?}") };
    check(generation, &case);
    assert_eq!(trace["event"], "$ai_trace");
    assert_eq!(generation["properties"]["$ai_trace_id"], trace["properties"]["$ai_trace_id"]);
    assert_eq!(generation["distinct_id"], "user-1");
}

#[test]
fn a_stream_is_recorded_and_its_usage_asked_for_and_hidden() {
    let case = case("openai_chat/stream_observer_asked_usage");
    let events = events_of(async |server, trail| {
        let client = openai(trail, &base(server, "openai_chat/stream_observer_asked_usage"), false);
        let mut stream = client.chat().create_stream(question(&case)).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.unwrap();
            // What was only asked for by the observer does not reach the caller.
            assert!(chunk.usage.is_none() && !chunk.choices.is_empty());
            text.extend(chunk.choices.iter().filter_map(|choice| choice.delta.content.clone()));
        }
        assert_eq!(json!(text), case.expected["properties"]["$ai_output_choices"][0]["content"]);
    });
    let [generation] = &events[..] else { panic!("{events:?}") };
    check(generation, &case);
    assert!(generation["properties"]["$ai_time_to_first_token"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_error_is_the_sdks_and_the_events() {
    let case = case("openai_chat/error_404_not_a_key");
    let events = events_of(async |server, trail| {
        let client = openai(trail, &base(server, "openai_chat/error_404_not_a_key"), false);
        let error = client.chat().create(question(&case)).await.unwrap_err();
        assert!(matches!(error, OpenAIError::ApiError(_)), "{error:?}");
    });
    let [generation] = &events[..] else { panic!("{events:?}") };
    check(generation, &case);
}

#[test]
fn embeddings_and_responses_too() {
    let embeddings = case("openai_embeddings/list_of_strings");
    let input = serde_json::from_slice::<Value>(&embeddings.request).unwrap();
    let events = events_of(async |server, trail| {
        let client = openai(trail, &base(server, "openai_embeddings/list_of_strings"), false);
        let texts: Vec<String> = serde_json::from_value(input["input"].clone()).unwrap();
        let model = input["model"].as_str().unwrap();
        let request = CreateEmbeddingRequestArgs::default().model(model).input(texts).build().unwrap();
        let answer = client.embeddings().create(request).await.unwrap();
        assert_eq!(json!(answer.data.len()), embeddings.expected["properties"]["$ai_embedding_count"]);
        // A made-up answer: the request of the SDK's own types.
        let client = openai(trail, &format!("{}/v1", server.url()), false);
        let request = CreateResponseArgs::default().model("gpt-5-mini").input("Where is my order?").build().unwrap();
        assert!(client.responses().create(request).await.unwrap().output_text().is_some());
    });
    let [embedding, response] = &events[..] else { panic!("{events:?}") };
    check(embedding, &embeddings);
    assert_eq!(response["properties"]["$ai_input"], json!([{"role": "user", "content": "Where is my order?"}]));
    assert_eq!(response["properties"]["$ai_stop_reason"], "completed");
    assert!(response["properties"]["$ai_total_cost_usd"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_sdks_own_retries_are_one_event() {
    let events = events_of(async |server, trail| {
        let base = format!("{}/knobs/status=503,times=2,retry-after-ms=10/v1", server.url());
        let client = openai(trail, &base, true);
        let message = json!({"role": "user", "content": "Hello"});
        let request = CreateChatCompletionRequestArgs::default()
            .model("gpt-5-mini")
            .messages(vec![serde_json::from_value(message).unwrap()])
            .build()
            .unwrap();
        client.chat().create(request).await.unwrap();
    });
    let [generation] = &events[..] else { panic!("{events:?}") };
    assert_eq!(generation["properties"]["$ai_retries"], 2);
    assert_eq!(generation["properties"]["$ai_http_status"], 200);
}
