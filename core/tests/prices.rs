//! Prices, from the outside.

use std::collections::{BTreeMap, BTreeSet};

use llmtrail::event::usage::Usage;
use llmtrail::price::{Amount, Cost, PriceBook, Query, Reason, case, price};
use serde_json::{Map, Value};

fn cost(provider: &str, model: &str) -> Cost {
    let mut usage = Usage::default();
    usage.input_text = Some(1000);
    usage.output_text = Some(100);
    price(&PriceBook::new(), &Query::new(provider, model, &usage, 1_795_000_000_000))
}

#[test]
fn known_models_have_their_price() {
    for (provider, model, total) in [
        ("openai", "gpt-5-mini", "0.00045"),
        ("anthropic", "claude-sonnet-4-5-20250929", "0.0045"),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "0.00165"),
        ("gemini", "models/gemini-2.5-pro", "0.00225"),
        ("azure", "gpt-4o-2024-11-20", "0.0035"),
        ("ollama", "llama3.2", "0"),
    ] {
        let total_found = cost(provider, model).total().map(|a| a.to_string());
        assert_eq!(total_found.as_deref(), Some(total), "{provider} {model}");
    }
}

#[test]
fn unknown_models_have_none() {
    for model in ["test", "gpt", "o1-mini-foo", "mini", ""] {
        assert!(cost("openai", model).total().is_none(), "{model}");
    }
}

#[test]
fn a_dated_name_goes_by_the_row_of_the_model() {
    for (provider, model, listed) in [
        ("openai", "gpt-5-mini-2025-08-07", "openai/gpt-5-mini"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5"),
        ("bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic/claude-haiku-4.5"),
    ] {
        let cost = cost(provider, model);
        assert_eq!((cost.source().as_str(), cost.model()), ("openrouter", Some(listed)), "{provider} {model}");
    }
    // What only genai-prices knows stays its own: other prices under a dated name.
    assert_eq!(cost("openai", "gpt-3.5-turbo-0613").source().as_str(), "manual");
}

fn shared(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../tests/prices/{name}", env!("CARGO_MANIFEST_DIR"))).expect(name)
}

/// Where a case differs from what it expects, as `differences.json` lists it.
fn ours(case: &Value, catalogues: &Value, reading: &str) -> Value {
    case::differences(case, catalogues, reading).into_iter().map(|(name, ours, _)| (name, ours)).collect()
}

#[test]
fn the_shared_cases_give_what_they_expect_or_are_listed() {
    let catalogues: Value = serde_json::from_str(&shared("catalogues.json")).expect("JSON");
    let reviewed: Value = serde_json::from_str(&shared("differences.json")).expect("JSON");
    let listed: BTreeMap<&str, &Value> = reviewed["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .flat_map(|rule| rule["rows"].as_object().expect("rows"))
        .map(|(id, ours)| (id.as_str(), ours))
        .collect();
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    for line in shared("cost.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let id = case["id"].as_str().expect("an id");
        let reading = reviewed["conflicts"][id].as_str().unwrap_or_default();
        assert!(case["semantics"] != "conflict" || !reading.is_empty(), "{id}: which reading is ours?");
        let ours = ours(&case, &catalogues, reading);
        let expected = listed.get(id).copied().cloned().unwrap_or_else(|| Value::Object(Map::new()));
        if ours != expected {
            wrong.push(format!("{id}: {ours} where the list has {expected}"));
        }
        met.insert(id.to_owned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(listed.keys().all(|id| met.contains(*id)), "a listed row is not among the cases");
}

#[test]
fn every_first_party_model_has_the_maintained_list_s_price() {
    let reviewed: Value = serde_json::from_str(&shared("first_party_differences.json")).expect("JSON");
    let (mut priced, mut all, mut wrong) = (0, 0, Vec::new());
    let mut listed: BTreeSet<String> = reviewed.as_object().expect("an object").keys().cloned().collect();
    let mut usage = Usage::default();
    usage.input_text = Some(1000);
    usage.output_text = Some(0);
    for line in shared("first_party.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let (provider, model) = (case["provider"].as_str().expect("a name"), case["model"].as_str().expect("a name"));
        let price_of = |usage: &Usage, side: &str| {
            let found = price(&PriceBook::new(), &Query::new(provider, model, usage, 1_793_491_200_000));
            let (bucket, power) = if side == "input" { ("input_text", 6) } else { ("output_text", 6) };
            let unit = found.details()["buckets"][bucket]["unit_price"].as_str().and_then(Amount::parse);
            (unit.map(|a| a.times(10_u64.pow(power)).to_string()), found.reason())
        };
        usage.output_text = None;
        let (input, reason) = price_of(&usage, "input");
        usage.output_text = Some(1000);
        let (output, _) = price_of(&usage, "output");
        if case["tokens"] == false {
            assert_eq!(reason, Some(Reason::OtherUnit), "{provider} {model}");
            continue;
        }
        all += 1;
        priced += usize::from(input.is_some());
        let found = serde_json::json!({"input": input, "output": output});
        let expected = serde_json::json!({"input": case["input"], "output": case["output"]});
        // A model with no price for output (an embedding) is not asked for it: the whole call would have none.
        let same = input.as_deref() == case["input"].as_str() && (output.as_deref() == case["output"].as_str());
        let name = format!("{provider} {model}");
        if let Some(review) = reviewed.get(&name) {
            assert_eq!(review["ours"], found, "{name}");
            listed.remove(&name);
        } else if !same {
            wrong.push(format!("{name}: {found} and not {expected} ({reason:?})"));
        }
    }
    assert!(wrong.is_empty(), "{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(listed.is_empty(), "listed, but not so any more: {listed:?}");
    assert!(priced * 100 >= all * 98, "{priced} of {all} have a price");
}

#[test]
fn nonsense_and_near_misses_have_no_price() {
    let providers = [
        "",
        "openai",
        "anthropic",
        "gemini",
        "openrouter",
        "azure",
        "bedrock",
        "vertex",
        "mistral",
        "xai",
        "groq",
        "gateway",
    ];
    let mut wrong = Vec::new();
    for name in shared("nonsense.txt").lines() {
        for provider in providers {
            let found = cost(provider, name);
            if let Some(total) = found.total() {
                wrong.push(format!("{provider} {name}: {total} as {:?}", found.model()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rows_worked_by_hand_come_out_exactly() {
    let mut wrong = Vec::new();
    for line in shared("worked.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let cost = case::run(&case, &Value::Null, "");
        for (name, ours, expected) in case::differences(&case, &Value::Null, "") {
            wrong.push(format!("{}: {name} {ours} and not {expected} {}", case["id"], cost.details()));
        }
        let source = case["expected"]["source"].as_str();
        if source.is_some_and(|s| s != cost.source().as_str()) {
            wrong.push(format!("{}: from {}", case["id"], cost.source().as_str()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn book_error(text: &str) -> String {
    PriceBook::new().load_str(text).expect_err(text).to_string()
}

#[test]
fn a_price_file_is_read_or_says_where_it_is_wrong() {
    let mut book = PriceBook::new();
    book.load_str(
        r#"
[[price]]
provider = "oai"
model = "gpt-5-mini*"
input = "0.20"
output = 1.60
over.200000.input = "0.40"

[[price]]
model = "in-house"
valid_from = "2026-01-01"
input = 1
output = 2

[[price]]
model = "in-house"
valid_from = 2026-11-01
input = 3
output = 4

[[price]]
provider = "anthropic"
model = "*"
multiplier = "0.85"
"#,
    )
    .expect("a price file");
    let total = |provider: &str, model: &str, input: u64, at: i64| {
        let mut usage = Usage::default();
        usage.input_text = Some(input);
        let cost = price(&book, &Query::new(provider, model, &usage, at));
        (cost.total().map(|a| a.to_string()), cost.source().as_str())
    };
    let (october, november) = (1_791_000_000_000, 1_795_000_000_000);
    let custom = |total: &str| (Some(total.to_owned()), "custom");
    assert_eq!(total("openai", "gpt-5-mini-2025-08-07", 1_000_000, november), custom("0.4"));
    assert_eq!(total("openai", "GPT-5-mini", 200_000, november), custom("0.04"));
    assert_eq!(total("azure", "gpt-5-mini", 1_000_000, november), (Some("0.25".to_owned()), "openrouter"));
    assert_eq!(total("local", "in-house", 1_000_000, october), custom("1"));
    assert_eq!(total("local", "in-house", 1_000_000, november), custom("3"));
    assert_eq!(total("anthropic", "claude-sonnet-4-5", 1000, november), custom("0.00255"));

    for (text, error) in [
        ("price = 1", "line 1, column 1: prices are in [[price]] tables, with two brackets"),
        ("[[price]]\ninput = 1", "line 1, column 1: this price has no `model`"),
        ("[[price]]\nmodel = \"m\"", "line 1, column 1: this price has neither a price nor a `multiplier`"),
        (
            "[[price]]\nmodel = \"m\"\ninput = \"cheap\"",
            "line 3, column 9: `input` must be a decimal number of at least 0, not `cheap`",
        ),
        (
            "[[price]]\nmodel = \"m\"\ninput = -1",
            "line 3, column 9: `input` must be a decimal number of at least 0, not `-1`",
        ),
        ("[[price]]\nmodel = 7", "line 2, column 9: `model` must be a string that is not empty"),
        (
            "[[price]]\nmodel = \"m\"\nvalid_from = \"soon\"",
            "line 3, column 14: `valid_from` must be a day (2026-10-01), not `soon`",
        ),
        ("[[prices]]\nmodel = \"m\"", "line 1, column 3: unknown table `prices`; prices are in [[price]] tables"),
    ] {
        assert_eq!(book_error(text), error);
    }
    assert!(
        book_error("[[price]]\nmodel = \"m\"\ninpt = 1")
            .starts_with("line 3, column 1: unknown key `inpt`; a price has")
    );
    assert!(book_error("[[price]\nmodel").starts_with("line 1, column "));
}

#[test]
fn a_reported_cost_is_kept_beside_the_catalogue_s() {
    let mut usage = Usage::default();
    usage.input_text = Some(1000);
    usage.output_text = Some(100);
    let mut query = Query::new("openrouter", "openai/gpt-4o", &usage, 1_795_000_000_000);
    query.reported_usd = Some("0.0034");
    let cost = price(&PriceBook::new(), &query);
    assert_eq!(cost.source().as_str(), "reported");
    assert_eq!(cost.total(), Amount::parse("0.0034"));
    let details = cost.details();
    assert_eq!(details["catalogue_total"], "0.0035");
    assert_eq!(details["difference"], "-0.0001");
}

#[test]
fn a_free_call_carries_zero_prices() {
    let mut properties = Map::new();
    cost("ollama", "llama3.2").properties(&mut properties);
    assert_eq!(properties["$ai_input_token_price"], 0);
    assert_eq!(properties["$ai_output_token_price"], 0);
    assert_eq!(properties["$ai_total_cost_usd"], 0.0);
    assert_eq!(properties["$ai_cost_model_source"], "local");
}
