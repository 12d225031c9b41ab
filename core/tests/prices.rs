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
