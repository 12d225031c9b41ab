//! Prices, from the outside.

use llmtrail::event::usage::Usage;
use llmtrail::price::{Cost, PriceBook, Query, price};

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
