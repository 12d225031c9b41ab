//! OpenRouter's list of models, made up from the price table that is built in.
//!
//! `/prices/<variant>/api/v1/models`: `same` has its prices; `newer` has `openai/gpt-5-mini` at 0.20 and 1.60 and a model
//! that is new; `broken` has a price that is none; `few` has three models; `wild` has everything ten times as dear; `page` is
//! a web page.

use bytes::Bytes;
use llmtrail::event::usage::Usage;
use llmtrail::price::{Amount, PriceBook, Query, Rate, catalogue_names, describe};
use serde_json::{Map, Value, json};

/// The body for a path, if it is one of these.
pub(crate) fn body(path: &str) -> Option<Bytes> {
    let variant = path.strip_prefix("/prices/")?.strip_suffix("/api/v1/models")?;
    let mut models = models(if variant == "wild" { 10 } else { 1 });
    match variant {
        "same" | "wild" => {}
        "newer" => {
            models.retain(|model| model["id"] != "openai/gpt-5-mini");
            models
                .push(json!({"id": "openai/gpt-5-mini", "pricing": {"prompt": "0.0000002", "completion": "0.0000016",
                "input_cache_read": "0.00000002", "image": "0", "request": "0", "internal_reasoning": "0"}}));
            models.push(json!({"id": "openai/gpt-77", "pricing": {"prompt": "0.000004", "completion": "0.00002",
                "overrides": [{"min_prompt_tokens": 200_000, "prompt": "0.000008"}]}}));
        }
        "broken" => models.push(json!({"id": "acme/one", "pricing": {"prompt": "cheap", "completion": "0"}})),
        "few" => models.truncate(3),
        "page" => return Some(Bytes::from_static(b"<html>log in</html>")),
        _ => return None,
    }
    Some(json!({ "data": models }).to_string().into())
}

/// OpenRouter's own rows, in the words of its list.
fn models(times: u64) -> Vec<Value> {
    let (book, usage) = (PriceBook::new(), Usage::default());
    let mut models = Map::new();
    for (name, providers) in catalogue_names() {
        if !providers.contains(&"openrouter") {
            continue;
        }
        // In 2100 every change of a price is over.
        let Ok(row) = describe(&book, &Query::new("openrouter", name, &usage, 4_102_488_000_000)) else { continue };
        let price = |rate| row.rates.get(rate).map(|price: Amount| price.times(times).to_string());
        let (Some(prompt), Some(completion)) = (price(Rate::Input), price(Rate::Output)) else { continue };
        let cached = price(Rate::CacheRead).unwrap_or_else(|| "0".to_owned());
        let pricing = json!({"prompt": prompt, "completion": completion, "input_cache_read": cached});
        models.insert(row.model.clone(), json!({"id": row.model, "name": row.model, "pricing": pricing}));
    }
    models.into_iter().map(|(_, model)| model).collect()
}
