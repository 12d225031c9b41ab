//! Runs a case of `tests/prices`: usage and prices in, exact decimals out.
//!
//! One runner for the tests of all three languages and for `make prices-check`.

use serde_json::{Map, Value};

use super::{Amount, Cost, PriceBook, Question};
use crate::config::Language;

/// When a case with no timestamp happens: after every price change, at noon (2100-01-01).
const UNDATED: i64 = 4_102_488_000_000;

/// The cost of a case. `catalogues` are the tables that a case may name; `reading` picks the prices of a case that
/// gives them per reading (`posthog` or `genai_prices`).
pub fn run(case: &Value, catalogues: &Value, reading: &str) -> Cost {
    let mut question = case.as_object().cloned().unwrap_or_default();
    question.retain(|name, _| name == "properties");
    if case["properties"]["timestamp"].is_null() {
        question.insert("at".to_owned(), UNDATED.into());
    }
    // genai-prices is fed counts in which everything lies inside its total, which its own extractors see to.
    if case["semantics"] == "genai-prices" {
        question.insert("reasoning_exclusive".to_owned(), false.into());
    }
    let prices = &case["prices"];
    let prices = prices.get(reading).unwrap_or(prices);
    let prices = match prices.get("catalogue").and_then(Value::as_str) {
        Some(name) => &catalogues[name],
        None => prices.get("set").unwrap_or(prices),
    };
    if prices != "built-in" {
        // A case without prices has no table at all.
        question.insert("prices".to_owned(), if prices.is_null() { Value::Object(Map::new()) } else { prices.clone() });
    }
    let question = Question::from_json(Language::Rust, &Value::Object(question).to_string());
    question.unwrap_or_default().cost(&PriceBook::new())
}

/// The name of an amount in `expected` and in `Cost`.
type Part = (&'static str, fn(&Cost) -> Option<Amount>);

/// The amounts of a case, by the names that its `expected` object has.
const AMOUNTS: [Part; 5] = [
    ("input_cost", Cost::input),
    ("output_cost", Cost::output),
    ("request_cost", Cost::request),
    ("web_search_cost", Cost::web_search),
    ("total_cost", Cost::total),
];

/// Runs a case; the amounts that differ from the expected ones: name, ours, expected (`null`: no cost).
pub fn differences(case: &Value, catalogues: &Value, reading: &str) -> Vec<(&'static str, Value, Value)> {
    let cost = run(case, catalogues, reading);
    let expected = case.get("expected").unwrap_or(&Value::Null);
    let expected = expected.get(reading).unwrap_or(expected);
    // genai-prices refuses what it cannot price, and has no parts for requests and searches.
    let is_error = expected.get("error").is_some();
    let has_parts = case.get("semantics").and_then(Value::as_str) == Some("posthog") || reading == "posthog";
    let mut out = Vec::new();
    for (name, amount) in AMOUNTS {
        let ours: Value = amount(&cost).map(|a| a.to_string()).into();
        let theirs = match expected.get(name) {
            _ if is_error => &Value::Null,
            Some(Value::Null) if !has_parts => continue,
            Some(value) => value,
            None => continue,
        };
        if &ours != theirs {
            out.push((name, ours, theirs.clone()));
        }
    }
    out
}
