//! Nanoseconds that a price takes: llmtrail's core and the `genai-prices` crate. Prints JSON lines.

use std::hint::black_box;
use std::time::{Duration, Instant, UNIX_EPOCH};

use genai_prices::{PriceRequest, Usage as TheirUsage, UsageKey};
use llmtrail::event::usage::Usage;
use llmtrail::price::{PriceBook, Query, price, price_anew};

/// 2026-11-17
const AT: i64 = 1_794_900_000_000;

/// The median of the means of rounds of so many calls.
fn nanoseconds(mut ask: impl FnMut()) -> f64 {
    const CALLS: u32 = 2_000;
    let mut rounds: Vec<f64> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            (0..CALLS).for_each(|_| ask());
            begin.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn main() {
    let cases: serde_json::Value = serde_json::from_str(include_str!("../cases.json")).expect("JSON");
    let mut usage = Usage::default();
    (usage.input_text, usage.cache_read, usage.output_text) = (Some(1200), Some(800), Some(350));
    let theirs = TheirUsage::from([
        (UsageKey::INPUT_TOKENS, 2000.0),
        (UsageKey::CACHE_READ_TOKENS, 800.0),
        (UsageKey::OUTPUT_TOKENS, 350.0),
    ]);
    let at = UNIX_EPOCH + Duration::from_millis(AT.unsigned_abs());
    let book = PriceBook::new();
    for case in cases.as_array().expect("a list") {
        let text = |name: &str| case[name].as_str().expect("a text");
        let (provider, model) = (text("provider"), text("model"));
        let query = || Query::new(black_box(provider), black_box(model), black_box(&usage), AT);
        let ours = || price(&book, &query()).total();
        let first_time = || price_anew(&book, &query()).total();
        let crates = || {
            let request = PriceRequest::new(black_box(model), black_box(&theirs)).with_provider_id(text("genai"));
            genai_prices::calculate(&request.with_timestamp(at)).ok().map(|found| found.total_price)
        };
        // Both must have an answer, or both none: an error is quickly given.
        let known = case["known"] == true;
        assert_eq!((ours().is_some(), crates().is_some()), (known, known), "{provider} {model}");
        for (subject, took) in [
            ("llmtrail (Rust)", nanoseconds(|| _ = black_box(ours()))),
            ("llmtrail, a name's first time (Rust)", nanoseconds(|| _ = black_box(first_time()))),
            ("genai-prices (Rust)", nanoseconds(|| _ = black_box(crates()))),
        ] {
            println!("{}", serde_json::json!({"price": format!("{provider} {model}"), "subject": subject, "ns": took}));
        }
    }
}
