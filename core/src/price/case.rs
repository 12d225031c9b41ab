//! Runs a case of `tests/prices`: usage and prices in, exact decimals out.
//!
//! One runner for the tests of all three languages and for `make prices-check`.

use serde_json::{Map, Value};

use super::{Amount, Convention, Cost, Counts, CustomPrice, Overrides, PriceBook, Query, Rate, ReportedParts, price};

/// The price keys of genai-prices: the rate, and the power of ten of the units that the price is for.
const GENAI: [(&str, Rate, i32); 13] = [
    ("input_mtok", Rate::Input, 6),
    ("output_mtok", Rate::Output, 6),
    ("cache_read_mtok", Rate::CacheRead, 6),
    ("cache_write_mtok", Rate::CacheWrite, 6),
    ("cache_write_1h_mtok", Rate::CacheWrite1h, 6),
    ("input_audio_mtok", Rate::AudioIn, 6),
    ("cache_audio_read_mtok", Rate::AudioCached, 6),
    ("input_image_mtok", Rate::ImageIn, 6),
    ("output_reasoning_mtok", Rate::Reasoning, 6),
    ("output_audio_mtok", Rate::AudioOut, 6),
    ("output_image_mtok", Rate::ImageOut, 6),
    ("requests_kcount", Rate::Request, 3),
    ("web_searches_kcount", Rate::WebSearch, 3),
];

/// When a case with no timestamp happens: after every price change, at noon (2100-01-01).
const UNDATED: i64 = 4_102_488_000_000;

/// The cost of a case. `catalogues` are the tables that a case may name; `reading` picks the prices of a case that
/// gives them per reading (`posthog` or `genai_prices`).
pub fn run(case: &Value, catalogues: &Value, reading: &str) -> Cost {
    let empty = Map::new();
    let properties = case.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let text = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default();
    let (provider, model) = (text("$ai_provider"), text("$ai_model"));
    let prices = case.get("prices").unwrap_or(&Value::Null);
    let prices = prices.get(reading).unwrap_or(prices);
    // genai-prices is fed counts in which everything lies inside its total, which its own extractors see to.
    let inside = case.get("semantics").and_then(Value::as_str) == Some("genai-prices");

    let mut convention = Convention::usual(provider, model);
    if let Some(Value::Bool(outside)) = properties.get("$ai_cache_reporting_exclusive") {
        convention.cache_outside = *outside;
        convention.stated = true;
    } else if text("$ai_framework") == "vercel" {
        convention.cache_outside = false;
    }
    convention.reasoning_outside &= !inside;
    let (usage, _) = Counts::from_properties(properties).usage(convention);

    let decimal = |name: &str| match properties.get(name) {
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let given = ["$ai_input_cost_usd", "$ai_output_cost_usd", "$ai_request_cost_usd", "$ai_web_search_cost_usd"];
    let given = given.map(decimal);
    let parts = ReportedParts {
        input_usd: given[0].as_deref(),
        output_usd: given[1].as_deref(),
        request_usd: given[2].as_deref(),
        web_search_usd: given[3].as_deref(),
    };
    let total = decimal("$ai_total_cost_usd");
    let overrides = Overrides::from_properties(properties);
    let tier = properties.get("$ai_model_parameters").and_then(|p| p.get("service_tier")).and_then(Value::as_str);
    let at = properties
        .get("timestamp")
        .and_then(Value::as_str)
        .and_then(|t| t.parse::<jiff::Timestamp>().ok())
        .map_or(UNDATED, jiff::Timestamp::as_millisecond);
    let mut query = Query::new(provider, model, &usage, at);
    query.service_tier = tier;
    query.reported_usd = total.as_deref();
    query.reported_parts = Some(&parts);
    query.overrides = overrides.as_ref();
    price(&book(prices, catalogues), &query)
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

fn book(prices: &Value, catalogues: &Value) -> PriceBook {
    if prices == "built-in" {
        return PriceBook::new();
    }
    if let Some(name) = prices.get("catalogue").and_then(Value::as_str) {
        return PriceBook::with_table(catalogues.get(name).unwrap_or(&Value::Null));
    }
    if prices.get("cost").is_some() {
        return PriceBook::with_table(prices);
    }
    let mut book = PriceBook::with_table(&Value::Null);
    let Some(cells) = prices.get("set").unwrap_or(prices).as_object() else {
        return book;
    };
    let mut custom = CustomPrice::new("*");
    for (key, cell) in cells {
        let found = GENAI.iter().find(|(name, ..)| name == key).map(|(_, rate, power)| (*rate, *power));
        let Some((rate, power)) = found.or_else(|| super::sheet::rate_of(key).map(|rate| (rate, 0))) else {
            continue;
        };
        let amount = |value: &Value| Amount::parse_per(value.as_str()?, power);
        if let Some(price) = amount(cell).or_else(|| amount(cell.get("base")?)) {
            custom = custom.rate(rate, price);
        }
        for tier in cell.get("tiers").and_then(Value::as_array).into_iter().flatten() {
            // {start, price} or [start, price]
            let start = tier.get("start").or_else(|| tier.get(0)).and_then(Value::as_u64);
            let price = tier.get("price").or_else(|| tier.get(1)).and_then(amount);
            if let (Some(start), Some(price)) = (start, price) {
                custom = custom.rate_over(start, rate, price);
            }
        }
    }
    book.set_price(custom);
    book
}
