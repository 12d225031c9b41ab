//! `price`, `prices`, `reprice` and `cost --what-if`.

use serde_json::{Value, json};

use super::{Ran, expect, filled, run_in};
use crate::event::{Lane, WireEvent};
use crate::sink::store::Store;
use crate::store::{By, Reader};
use crate::testing::Folder;

fn run(folder: &Folder, args: &[&str]) -> Ran {
    run_in(&folder.0, Some(100), false, args)
}

fn json_of(folder: &Folder, args: &[&str]) -> Value {
    let ran = run(folder, args);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// A stored call of 1000 and 100 tokens, with these properties besides.
fn call(more: &Value) -> WireEvent {
    let uuid = uuid::Uuid::now_v7();
    let mut properties = json!({
        "$ai_lib": "llmtrail", "$ai_trace_id": "t", "$ai_latency": 0.123_456_789_012_345_67,
        "$ai_input": [{"role": "user", "content": "a message that is long enough to be kept apart from the body"}],
        "$ai_input_tokens": 1000, "$ai_output_tokens": 100, "$ai_cache_reporting_exclusive": false,
        "$ai_tokens_source": "provider",
    });
    for (name, value) in more.as_object().unwrap() {
        properties[name] = value.clone();
    }
    let event = json!({"event": "$ai_generation", "distinct_id": "d", "uuid": uuid.to_string(),
        "timestamp": "2026-07-04T10:00:00.000Z", "properties": properties});
    WireEvent { uuid, lane: Lane::Ai, json: event.to_string().into(), stored: None }
}

/// What an earlier answer left on an event.
fn priced(source: &str, matched: &str, total: &str) -> Value {
    json!({"$ai_cost_model_source": source, "$ai_total_cost_usd": total.parse::<f64>().unwrap(),
        "$ai_input_cost_usd": 0.5, "$ai_output_cost_usd": 0.5, "$ai_model_cost_used": "old", "$ai_cost_model_provider": "old",
        "$ai_cost_details": {"source": source, "match": matched, "model": "old", "provider": "old", "total": total}})
}

fn with(mut properties: Value, provider: &str, model: &str) -> Value {
    properties["$ai_provider"] = provider.into();
    properties["$ai_model"] = model.into();
    properties
}

fn stored(events: &[WireEvent]) -> Folder {
    let folder = Folder::new();
    Store::open(&folder.0).unwrap().write(events).unwrap();
    folder
}

fn event(folder: &Folder, event: &WireEvent) -> String {
    Reader::open(&folder.0).unwrap().unwrap().event_json(&event.uuid.to_string()).unwrap().unwrap()
}

#[test]
fn prices_are_as_reviewed() {
    let folder = Folder::new();
    let at = ["--at", "2026-07-01T00:00:00Z"];
    for (name, args) in [
        ("price.txt", &["price", "gpt-5-mini", "--provider", "openai"][..]),
        (
            "price_claude.txt",
            &[
                "price",
                "claude-sonnet-4-5",
                "--provider",
                "anthropic",
                "--input",
                "1000",
                "--output",
                "500",
                "--cache-read",
                "20000",
                "--cache-write",
                "5000",
                "--cache-write-1h",
                "2000",
            ],
        ),
        (
            "price_long.txt",
            &[
                "price",
                "gemini-2.5-pro",
                "--provider",
                "gemini",
                "--input",
                "250000",
                "--output",
                "1000",
                "--reasoning",
                "2000",
            ],
        ),
        ("price_assumed.txt", &["price", "gpt-5", "--tier", "flex", "--input", "1000", "--cache-write", "10"]),
    ] {
        let ran = run(&folder, &[args, &at].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{name}");
        expect(name, &ran.out);
    }
}

#[test]
fn a_model_without_a_price_is_said_to_have_none() {
    let folder = Folder::new();
    for (args, says) in [
        (&["price", "o1-mini-foo"][..], "no price for o1-mini-foo: no price list has a model of this name"),
        (
            &["price", "gpt-5-mini", "--provider", "anthropic", "--input", "1"],
            "no price for gpt-5-mini at anthropic: no price is known for this model at this provider",
        ),
    ] {
        let ran = run(&folder, args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (1, "", format!("llmtrail: {says}\n")));
    }
    let answer = json_of(&folder, &["price", "o1-mini-foo", "--input", "1", "--json"]);
    assert_eq!((&answer["total"], &answer["source"]), (&Value::Null, &json!("unknown")));
    assert_eq!(run(&folder, &["price", "gpt-5", "--input", "-1"]).code, 2);
    assert_eq!(run(&folder, &["price", "gpt-5", "--at", "soon"]).code, 2);
}

#[test]
fn the_answer_is_complete_in_json() {
    let folder = Folder::new();
    let args =
        ["price", "gpt-5-mini", "--provider", "oai", "--input", "1000", "--at", "2026-07-01T00:00:00Z", "--json"];
    let answer = json_of(&folder, &args);
    assert_eq!(answer["total"], "0.00025");
    assert_eq!(
        answer["buckets"]["input_text"],
        json!({"units": 1000, "unit_price": "0.00000025", "amount": "0.00025"})
    );
    assert_eq!(answer["prices"]["output"], "2");
    assert_eq!(answer["at"], "2026-07-01T00:00:00Z");
    let names: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "assumptions",
        "at",
        "buckets",
        "catalogue",
        "catalogue_source",
        "catalogue_total",
        "difference",
        "input",
        "input_over",
        "match",
        "mode",
        "model",
        "output",
        "over",
        "prices",
        "provider",
        "reason",
        "repaired",
        "request",
        "source",
        "total",
        "total_usd",
        "web_search",
    ];
    assert_eq!(names, expected);
    // Without counts: the prices, and no cost.
    let answer = json_of(&folder, &["price", "gpt-5-mini", "--provider", "openai", "--json"]);
    assert_eq!((&answer["total"], &answer["model"]), (&Value::Null, &json!("openai/gpt-5-mini")));
    assert_eq!((&answer["source"], &answer["prices"]["input"]), (&json!("openrouter"), &json!("0.25")));
}

#[test]
fn a_price_file_counts_and_a_wrong_one_is_told_with_its_place() {
    let folder = Folder::new();
    let file = folder.0.join("prices.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "[[price]]\nmodel = \"in-house\"\ninput = 7\noutput = 8\n").unwrap();
    let answer = json_of(&folder, &["price", "in-house", "--input", "1000", "--prices", path, "--json"]);
    assert_eq!((&answer["total"], &answer["source"]), (&json!("0.007"), &json!("custom")));
    std::fs::write(&file, "[[price]]\nmodel = \"in-house\"\ninput = \"dear\"\n").unwrap();
    let ran = run(&folder, &["price", "in-house", "--prices", path]);
    assert_eq!(ran.code, 1);
    let says = "line 3, column 9: `input` must be a decimal number of at least 0, not `dear`\n";
    assert_eq!(ran.err, format!("llmtrail: {path}: {says}"));
}

#[test]
fn the_list_can_be_searched() {
    let folder = Folder::new();
    let answer = json_of(&folder, &["prices", "list", "gpt-5-mini", "--provider", "openai", "--json"]);
    let models = answer["models"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{answer}");
    assert_eq!((&models[0]["model"], &models[0]["prices"]["input"]), (&json!("openai/gpt-5-mini"), &json!("0.25")));
    let all = json_of(&folder, &["prices", "list", "--json"])["models"].as_array().unwrap().len();
    assert!(all > 2000, "{all}");
    assert_eq!(run(&folder, &["prices", "list", "no-such-model"]).out, "No model with a price.\n");
    assert_eq!(run(&folder, &["prices", "diff"]).code, 1);
}

#[test]
fn a_new_price_is_written_and_everything_else_stays() {
    let changed = call(&with(priced("openrouter", "exact", "1"), "openai", "gpt-5-mini"));
    let unknown = call(&with(
        json!({"$ai_cost_model_source": "unknown", "$ai_cost_details": {"source": "unknown"}}),
        "openai",
        "gpt-5",
    ));
    let reported = {
        let mut properties = with(priced("reported", "exact", "0.0004"), "openrouter", "openai/gpt-5-mini");
        properties["$ai_cost_details"]["reported"] = json!({"total": "0.0004"});
        call(&properties)
    };
    let in_code = call(&with(priced("custom", "pattern", "3"), "openai", "gpt-5-mini"));
    let own_prices = {
        let mut properties = with(priced("custom", "given", "0.3"), "openai", "gpt-5-mini");
        properties["$ai_input_token_price"] = json!(0.0002);
        properties["$ai_output_token_price"] = json!(0.001);
        call(&properties)
    };
    let folder = stored(&[changed.clone(), unknown.clone(), reported.clone(), in_code.clone(), own_prices.clone()]);
    let sum = || Reader::open(&folder.0).unwrap().unwrap().totals(i64::MIN, By::Provider).unwrap();

    let dry = json_of(&folder, &["reprice", "--dry-run", "--json"]);
    assert_eq!((&dry["calls"], &dry["changed"], &dry["kept"]), (&json!(5), &json!(4), &json!(1)));
    assert_eq!(event(&folder, &changed).as_bytes(), &changed.json[..]);

    let done = json_of(&folder, &["reprice", "--json"]);
    assert_eq!((&done["before"], &done["after"]), (&json!("1.3004"), &json!("0.3031")));
    let text = event(&folder, &changed);
    let now: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(now["properties"]["$ai_cost_details"]["total"], "0.00045");
    assert_eq!(now["properties"]["$ai_model_cost_used"], "openai/gpt-5-mini");
    // To the byte: what is no cost, and the digits of every number.
    let before = String::from_utf8(changed.json.to_vec()).unwrap();
    let latency = |text: &str| text.split("\"$ai_latency\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert_eq!(latency(&text), latency(&before));
    assert!(text.contains("kept apart from the body"));
    let properties: Value = serde_json::from_str(&event(&folder, &reported)).unwrap();
    assert_eq!(properties["properties"]["$ai_cost_details"]["total"], "0.0004");
    assert_eq!(properties["properties"]["$ai_cost_model_source"], "reported");
    assert_eq!(event(&folder, &in_code).as_bytes(), &in_code.json[..]);
    let properties: Value = serde_json::from_str(&event(&folder, &own_prices)).unwrap();
    assert_eq!(properties["properties"]["$ai_input_token_price"], 0.0002);
    let total: crate::price::Amount = sum().iter().map(|(_, totals)| totals.cost).sum();
    assert_eq!(total.to_string(), "3.3031");

    let again = json_of(&folder, &["reprice", "--json"]);
    assert_eq!((&again["changed"], &again["kept"]), (&json!(0), &json!(1)));
}

#[test]
fn stored_calls_are_reckoned_at_other_models() {
    let folder = stored(&[
        call(&with(priced("openrouter", "exact", "0.001"), "openai", "gpt-5")),
        call(&with(priced("openrouter", "exact", "0.002"), "openai", "gpt-5")),
    ]);
    let answer = json_of(&folder, &["cost", "--what-if", "gpt-5-mini,claude-haiku-4.5", "--json"]);
    assert_eq!((&answer["calls"], &answer["total_cost_usd_exact"]), (&json!(2), &json!("0.003")));
    let others = answer["what_if"].as_array().unwrap();
    // 2 x (1000 x 0.25 + 100 x 2), and 2 x (1000 x 1 + 100 x 5) a million.
    assert_eq!((&others[0]["model"], &others[0]["total_cost_usd_exact"]), (&json!("gpt-5-mini"), &json!("0.0009")));
    assert_eq!(
        (&others[1]["model"], &others[1]["total_cost_usd_exact"]),
        (&json!("claude-haiku-4.5"), &json!("0.003"))
    );
    assert_eq!(others[0]["difference_usd_exact"], "-0.0021");
    let ran = run(&folder, &["cost", "--what-if", "gpt-5-mini,claude-haiku-4.5"]);
    expect("what_if.txt", &ran.out);
    let ran = run(&folder, &["cost", "--what-if", "gpt-5-mini,o1-mini-foo"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert_eq!(ran.err, "llmtrail: --what-if o1-mini-foo: no price list has a model of this name\n");
}

#[test]
fn models_without_a_price_are_named_with_the_reason() {
    let folder = filled();
    let answer = json_of(&folder, &["prices", "missing", "--json"]);
    let missing = answer["missing"].as_array().unwrap();
    assert!(!missing.is_empty());
    assert!(missing.iter().all(|one| one["calls"].as_u64().unwrap() > 0), "{answer}");
    let ran = run(&folder, &["prices", "missing"]);
    expect("prices_missing.txt", &ran.out);
    let empty = stored(&[call(&with(priced("openrouter", "exact", "1"), "openai", "gpt-5"))]);
    assert_eq!(run(&empty, &["prices", "missing"]).out, "Every call has a cost.\n");
}
