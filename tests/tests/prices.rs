//! Prices that change while a client runs: a price file that is written anew, and OpenRouter's list.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use llmtrail::event::usage::Usage;
use llmtrail::price::{Amount, Query, Update, price};
use llmtrail::{Chunk, Client, End, Exchange, Language, Options};
use llmtrail_tests::folder::Folder;
use llmtrail_tests::loopback::Server;
use serde_json::Value;

fn client(server: &Server, dir: &Path, options: impl FnOnce(Options) -> Options) -> Client {
    let base = Options::new(Language::Rust)
        .set("api_key", "phc_prices")
        .set("host", server.url())
        .set("dir", dir.to_str().unwrap());
    Client::new(options(base)).unwrap()
}

/// A call that used 1000 tokens of input and 100 of output.
fn call(client: &Client, url: &str, model: &str) {
    let request = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    let response = format!(
        r#"{{"id":"1","object":"chat.completion","model":"{model}","choices":[{{"index":0,"finish_reason":"stop",
        "message":{{"role":"assistant","content":"ho"}}}}],
        "usage":{{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}}}"#
    );
    client.observe(Exchange {
        method: "POST".to_owned(),
        url: url.to_owned(),
        request_body: request.into(),
        status: Some(200),
        response_headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        ended_at: Duration::from_millis(5),
        chunks: vec![Chunk { bytes: response.into(), at: Duration::from_millis(4) }],
        decoded: true,
        started_at: Some(SystemTime::now()),
        end: End::Complete,
        ..Exchange::default()
    });
}

/// The last event's properties.
fn last(client: &Client, server: &Server) -> Value {
    client.flush(Duration::from_secs(10));
    server.events().pop().unwrap()["properties"].clone()
}

/// Waits for a note of the client's; each look is a call, for the worker looks after prices when it has work.
fn await_note(client: &Client, note: &str) {
    let begin = Instant::now();
    while client.stats().notes.get(note).is_none_or(|count| *count == 0) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{note}: {:?}", client.stats().notes);
        call(client, OPENAI, "gpt-5-mini");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const OPENAI: &str = "https://api.openai.com/v1/chat/completions";
const OPENROUTER: &str = "https://openrouter.ai/api/v1/chat/completions";

#[test]
fn a_price_file_counts_as_soon_as_it_is_written_and_a_wrong_one_never() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let file = folder.0.join("prices.toml");
    std::fs::write(&file, "[[price]]\nmodel = \"in-house\"\ninput = 1\noutput = 2\n").unwrap();
    let client = client(&server, &folder.0, |options| options.set("prices", file.to_str().unwrap()));
    call(&client, OPENAI, "in-house");
    assert_eq!(last(&client, &server)["$ai_cost_details"]["total"], "0.0012");

    std::fs::write(&file, "[[price]]\nmodel = \"in-house\"\ninput = 10\noutput = 20\n").unwrap();
    await_note(&client, "prices_reloaded");
    call(&client, OPENAI, "in-house");
    assert_eq!(last(&client, &server)["$ai_cost_details"]["total"], "0.012");

    std::fs::write(&file, "[[price]]\nmodel = \"in-house\"\ninput = \"dear\"\n").unwrap();
    await_note(&client, "bad_price_file");
    call(&client, OPENAI, "in-house");
    assert_eq!(last(&client, &server)["$ai_cost_details"]["total"], "0.012");
    // What was set in code stays before the file, whenever that is read.
    client.set_price(&llmtrail::price::CustomPrice::parse(r#"{"model":"in-house","input":100,"output":0}"#).unwrap());
    call(&client, OPENAI, "in-house");
    assert_eq!(last(&client, &server)["$ai_cost_details"]["total"], "0.1");
}

#[test]
fn a_list_is_fetched_when_that_was_asked_for() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let url = format!("{}/prices/newer/api/v1/models", server.url());
    let asked = client(&server, &folder.0, |options| options.set("prices_update", true).set("prices_url", url.clone()));
    await_note(&asked, "prices_updated");

    call(&asked, OPENROUTER, "openai/gpt-5-mini");
    let event = last(&asked, &server);
    let day = server.events().pop().unwrap()["timestamp"].as_str().unwrap()[..10].to_owned();
    assert_eq!(event["$ai_cost_details"]["total"], "0.00036");
    assert_eq!(event["$ai_cost_model_source"], "openrouter");
    assert_eq!(event["$ai_cost_details"]["catalogue"], format!("openrouter {day}"));
    // Elsewhere than at OpenRouter its list says nothing of a model that is known there.
    call(&asked, OPENAI, "gpt-5-mini");
    assert_eq!(last(&asked, &server)["$ai_cost_details"]["total"], "0.00045");
    // A model that is new is taken to cost the same at its maker, and that is said.
    call(&asked, OPENAI, "gpt-77");
    let event = last(&asked, &server);
    assert_eq!(event["$ai_cost_details"]["total"], "0.006");
    let assumed = event["$ai_cost_details"]["assumptions"].to_string();
    assert!(assumed.contains("only OpenRouter lists the model"), "{assumed}");
    call(&asked, "https://api.groq.com/openai/v1/chat/completions", "gpt-77");
    assert_eq!(last(&asked, &server)["$ai_cost_model_source"], "unknown");

    // The list is kept for others; and one fetch is enough for a day.
    let lists = |server: &Server| {
        let requests = server.requests();
        requests.iter().filter(|request| request["path"].as_str().unwrap().starts_with("/prices/")).count()
    };
    assert_eq!(lists(&server), 1);
    let update = Update::load(&folder.0).unwrap();
    assert!(update.ids().any(|id| id == "openai/gpt-77"));
    let other = client(&server, &folder.0, |options| options.set("prices_url", url));
    call(&other, OPENROUTER, "openai/gpt-77");
    assert_eq!(last(&other, &server)["$ai_cost_details"]["total"], "0.006");
    assert_eq!(lists(&server), 1);
}

#[test]
fn a_list_that_cannot_be_right_changes_nothing() {
    for variant in ["broken", "few", "wild", "page", "none", "status=503"] {
        let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
        let url = match variant {
            "status=503" => format!("{}/knobs/status=503/prices/newer/api/v1/models", server.url()),
            _ => format!("{}/prices/{variant}/api/v1/models", server.url()),
        };
        let client = client(&server, &folder.0, |options| options.set("prices_update", true).set("prices_url", url));
        await_note(&client, "prices_not_updated");
        call(&client, OPENROUTER, "openai/gpt-5-mini");
        assert_eq!(last(&client, &server)["$ai_cost_details"]["total"], "0.00045", "{variant}");
        assert!(!Update::path(&folder.0).exists(), "{variant}");
    }
}

#[test]
fn nothing_is_fetched_unasked() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let url = format!("{}/prices/newer/api/v1/models", server.url());
    let client = client(&server, &folder.0, |options| options.set("prices_url", url));
    call(&client, OPENROUTER, "openai/gpt-5-mini");
    assert_eq!(last(&client, &server)["$ai_cost_details"]["total"], "0.00045");
    client.shutdown(Duration::from_secs(5));
    assert!(server.requests().iter().all(|request| request["route"] != "provider"), "{:?}", server.requests());
}

#[test]
fn a_list_is_the_next_one_only_when_it_resembles_the_last() {
    let list = |prompt: &str| {
        let models: Vec<_> = (0..10)
            .map(|n| format!(r#"{{"id":"acme/m{n}","pricing":{{"prompt":"{prompt}","completion":"0.00001"}}}}"#))
            .collect();
        Update::parse(format!(r#"{{"data":[{}]}}"#, models.join(",")).as_bytes(), 1_795_000_000_000).unwrap()
    };
    let before = list("0.000001");
    assert!(list("0.000002").is_plausible_after(Some(&before)).is_ok());
    let error = list("0.00001").is_plausible_after(Some(&before)).unwrap_err();
    assert_eq!(error, "of 10 known models 10 cost a multiple or a fraction (acme/m0)");
    for (body, error) in [
        ("[]", "it has no list `data`"),
        (r#"{"data":[{"pricing":{}}]}"#, "a model has no `id`"),
        (r#"{"data":[{"id":"a/b"}]}"#, "a/b: it has no `pricing`"),
        (r#"{"data":[{"id":"a/b","pricing":{"prompt":"1"}}]}"#, "a/b: it has no `completion` price"),
        (r#"{"data":[{"id":"a/b","pricing":{"prompt":"x","completion":"1"}}]}"#, "a/b: `prompt` is no price: x"),
        (r#"{"data":[{"id":"r/auto","pricing":{"prompt":"-1","completion":"-1"}}]}"#, "it lists no model with a price"),
    ] {
        assert_eq!(Update::parse(body.as_bytes(), 0).unwrap_err(), error, "{body}");
    }
}

#[test]
fn zero_in_a_list_is_no_price_but_for_a_model_that_is_free() {
    let list = br#"{"data":[
        {"id":"acme/thinks","pricing":{"prompt":"0.000001","completion":"0.000002","internal_reasoning":"0","web_search":"0",
            "image":"0.005","overrides":[{"min_prompt_tokens":1000,"prompt":"0.000003"}]}},
        {"id":"acme/gift:free","pricing":{"prompt":"0","completion":"0"}}]}"#;
    let update = Update::parse(list, 0).unwrap();
    let book = llmtrail::price::PriceBook::new().with_update(update.into());
    let total = |model: &str, input: u64| {
        let mut usage = Usage::default();
        (usage.input_text, usage.reasoning) = (Some(input), Some(1000));
        price(&book, &Query::new("openrouter", model, &usage, 1_795_000_000_000)).total()
    };
    assert_eq!(total("acme/thinks", 1000), Amount::parse("0.003"));
    assert_eq!(total("acme/thinks", 1001), Amount::parse("0.005003"));
    assert_eq!(total("acme/gift:free", 1000), Some(Amount::ZERO));
}

#[test]
fn the_command_line_fetches_a_list_or_says_why_not() {
    let (server, folder) = (Server::start().unwrap(), Folder::new().unwrap());
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_capturer"));
        command.arg("cli").args(args).env("LLMTRAIL_DIR", &folder.0).env_remove("http_proxy").env_remove("HTTP_PROXY");
        let ran = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let price = |model: &str| {
        let (code, out, err) = run(&["price", model, "--provider", "openrouter", "--input", "1000", "--json"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        json(&out)["total"].clone()
    };
    let from = |variant: &str| format!("{}/prices/{variant}/api/v1/models", server.url());
    assert_eq!(price("openai/gpt-5-mini"), "0.00025");

    for (variant, why) in
        [("broken", "no price"), ("few", "models"), ("wild", "multiple"), ("page", "JSON"), ("none", "404")]
    {
        let (code, out, err) = run(&["prices", "update", "--from", &from(variant)]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{variant} {err}");
        assert!(err.contains(why), "{variant}: {err}");
        assert_eq!(price("openai/gpt-5-mini"), "0.00025", "{variant}");
    }

    let (code, out, err) = run(&["prices", "update", "--from", &from("newer"), "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let answer = json(&out);
    assert_eq!(answer["from"], from("newer"));
    assert_eq!(answer["path"], Update::path(&folder.0).to_str().unwrap());
    assert!(Update::path(&folder.0).exists());
    let changed = |answer: &Value, model: &str, rate: &str| {
        let changes = answer["changes"].as_array().unwrap();
        let found = changes.iter().find(|change| change["model"] == model && change["rate"] == rate);
        found.map(|change| (change["before"].clone(), change["now"].clone()))
    };
    let dearer = changed(&answer, "openai/gpt-5-mini", "input");
    assert!(dearer.is_some(), "{answer}");
    assert_eq!(price("openai/gpt-5-mini"), "0.0002");
    // The same again from the list that was kept.
    let (code, out, _) = run(&["prices", "diff", "gpt-5-mini", "--json"]);
    assert_eq!((code, changed(&json(&out), "openai/gpt-5-mini", "input")), (Some(0), dearer));
}
