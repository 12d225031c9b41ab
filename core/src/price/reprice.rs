//! The cost of a stored event, reckoned again.

use serde_json::{Map, Value};

use super::question::brought_prices;
use super::{Amount, PriceBook, Question, Source};

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Repriced {
    /// Its cost is what it was.
    Same,
    /// It has a price of the user's that is not known here: one that was set in code. It stays.
    Kept,
    /// These are its properties now, in place of [`properties`].
    Changed { before: Option<Amount>, after: Option<Amount>, properties: Map<String, Value> },
}

/// The properties that say what a call cost, when we wrote them.
const PROPERTIES: [&str; 9] = [
    "$ai_input_cost_usd",
    "$ai_output_cost_usd",
    "$ai_request_cost_usd",
    "$ai_web_search_cost_usd",
    "$ai_total_cost_usd",
    "$ai_cost_model_source",
    "$ai_model_cost_used",
    "$ai_cost_model_provider",
    "$ai_cost_details",
];

/// With these a call that is free says so.
const ZERO_PRICES: [&str; 2] = ["$ai_input_token_price", "$ai_output_token_price"];

/// The properties that a new answer replaces.
pub(crate) fn properties(of: &Map<String, Value>) -> impl Iterator<Item = &'static str> {
    let zero_prices = if brought_prices(of) { &[][..] } else { &ZERO_PRICES[..] };
    PROPERTIES.iter().chain(zero_prices).copied()
}

/// Reckons the cost of an event again. An event that never had one to reckon stays as it is.
pub(crate) fn reprice(event: &Map<String, Value>, at_unix_ms: i64, book: &PriceBook) -> Repriced {
    let Some(source) = event.get("$ai_cost_model_source").and_then(Value::as_str) else {
        return Repriced::Same;
    };
    let cost = Question::of_event(event, at_unix_ms).cost(book);
    if source == Source::Custom.as_str() && !brought_prices(event) && cost.source() != Source::Custom {
        return Repriced::Kept;
    }
    let mut properties = Map::new();
    cost.properties(&mut properties);
    // A newer table with the same prices is no change; the doubles follow from the details.
    let essence = |of: &Map<String, Value>| {
        let mut details = of.get("$ai_cost_details").cloned().unwrap_or_default();
        if let Value::Object(details) = &mut details {
            details.remove("catalogue");
        }
        details
    };
    if essence(event) == essence(&properties) {
        return Repriced::Same;
    }
    Repriced::Changed { before: total(event), after: cost.total(), properties }
}

/// The exact total of an event.
pub(crate) fn total(event: &Map<String, Value>) -> Option<Amount> {
    let given = event.get("$ai_total_cost_usd").and_then(super::given::decimal);
    let exact = event.get("$ai_cost_details").and_then(|details| details.get("total")?.as_str());
    exact.and_then(Amount::parse).or_else(|| Amount::parse(&given?))
}
