//! What a price costs in memory: nothing.

use llmtrail::event::usage::Usage;
use llmtrail::price::{PriceBook, Query, price};
use llmtrail_tests::memory::{Counting, peak};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_price_allocates_nothing() {
    let book = PriceBook::new();
    let mut usage = Usage::default();
    (usage.input_text, usage.cache_read, usage.output_text) = (Some(1200), Some(800), Some(350));
    for (provider, model, known) in [
        ("openai", "gpt-5-mini", true),
        ("OpenAI", "openai/GPT-5-mini-2025-08-07", true),
        ("anthropic", "claude-sonnet-4-5-20250929", true),
        ("gemini", "models/gemini-2.5-pro", true),
        ("amazon-bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", true),
        ("openrouter", "google/gemma-3-27b-it:nitro", true),
        ("someone", "gpt-4o", true),
        ("ollama", "llama3.2", true),
        ("openai", "o1-mini-foo", false),
        ("", "", false),
    ] {
        let total = || price(&book, &Query::new(provider, model, &usage, 1_795_000_000_000)).total();
        // The first look reads the table's head.
        assert_eq!(total().is_some(), known, "{provider} {model}");
        let (_, held) = peak(total);
        assert_eq!(held, 0, "{provider} {model}");
    }
    // This test can fail.
    assert!(peak(|| std::hint::black_box(vec![0_u8; 100])).1 >= 100);
}
