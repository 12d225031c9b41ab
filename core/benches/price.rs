//! What a price costs: `cargo bench -p llmtrail --bench price`.

use divan::{Bencher, black_box};
use llmtrail::Language;
use llmtrail::event::usage::Usage;
use llmtrail::price::{Amount, Cost, PriceBook, Query, Question, price, price_anew};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

/// 2026-11-17
const AT: i64 = 1_794_900_000_000;

fn main() {
    // The first look reads the table's head.
    assert!(cost("openai", "gpt-5-mini").total().is_some());
    divan::main();
}

fn usage() -> Usage {
    let mut usage = Usage::default();
    usage.input_text = Some(1200);
    usage.cache_read = Some(800);
    usage.output_text = Some(350);
    usage
}

fn cost(provider: &str, model: &str) -> Cost {
    price(&PriceBook::new(), &Query::new(provider, model, &usage(), AT))
}

type Ask = fn(&PriceBook, &Query<'_>) -> Cost;

fn bench(bencher: Bencher<'_, '_>, (provider, model): (&str, &str), ask: Ask, known: bool) {
    let (book, usage) = (PriceBook::new(), usage());
    let total = || -> Option<Amount> {
        ask(&book, &Query::new(black_box(provider), black_box(model), black_box(&usage), black_box(AT))).total()
    };
    assert_eq!(total().is_some(), known, "{provider} {model}");
    bencher.bench(total);
}

const KNOWN: [(&str, &str); 9] = [
    ("openai", "gpt-5-mini"),
    ("openai", "gpt-5-mini-2025-08-07"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("gemini", "models/gemini-2.5-pro"),
    ("google-vertex", "claude-sonnet-4-5@20250929"),
    ("amazon-bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("openrouter", "openai/gpt-4o"),
    ("azure", "gpt-4o-2024-11-20"),
    ("", "gpt-5-mini"),
];

const UNKNOWN: [(&str, &str); 5] = [
    ("openai", "test"),
    ("openai", "o1-mini-foo"),
    ("anthropic", "claude-nothing-2025-01-01-preview"),
    ("", "my-o1-router"),
    ("amazon-bedrock", "us.anthropic.claude-of-tomorrow-20991231-v1:0"),
];

/// From the words of a question to the whole answer as text: what `cost(...)` of Node and Python asks.
#[divan::bench]
fn question(bencher: Bencher<'_, '_>) {
    let book = PriceBook::new();
    bencher.bench(|| {
        let words =
            r#"{"model":"gpt-5-mini","provider":"openai","inputTokens":2000,"cacheReadTokens":800,"outputTokens":350}"#;
        let question = Question::from_json(Language::Node, black_box(words)).expect("a question");
        question.answer_in(&book, Language::Node)
    });
}

/// As programs ask: the same few models over and over.
#[divan::bench(args = KNOWN)]
fn known(bencher: Bencher<'_, '_>, call: (&str, &str)) {
    bench(bencher, call, price, true);
}

/// The first time that a name is seen.
#[divan::bench(args = KNOWN)]
fn known_first_time(bencher: Bencher<'_, '_>, call: (&str, &str)) {
    bench(bencher, call, price_anew, true);
}

#[divan::bench(args = UNKNOWN)]
fn unknown(bencher: Bencher<'_, '_>, call: (&str, &str)) {
    bench(bencher, call, price, false);
}

#[divan::bench(args = UNKNOWN)]
fn unknown_first_time(bencher: Bencher<'_, '_>, call: (&str, &str)) {
    bench(bencher, call, price_anew, false);
}
