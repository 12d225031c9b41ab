//! Prices in the words of the lists that they come from.

use serde_json::{Map, Value};

use super::amount::Amount;
use super::book::CustomPrice;
use super::rates::Rate;

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

/// The prices of a row for whatever model: in the words of the price file, of OpenRouter or of genai-prices. `None` when
/// there are none.
pub(crate) fn price_of(cells: &Map<String, Value>) -> Result<Option<CustomPrice>, String> {
    let is_theirs = |name: &String| ["_token", "_mtok", "_kcount"].iter().any(|unit| name.ends_with(unit));
    if !cells.is_empty() && !cells.keys().any(is_theirs) {
        return CustomPrice::from_json(cells).map(Some);
    }
    let mut price = CustomPrice::new("*");
    for (key, cell) in cells {
        let found = GENAI.iter().find(|(name, ..)| name == key).map(|(_, rate, power)| (*rate, *power));
        let Some((rate, power)) = found.or_else(|| super::sheet::rate_of(key).map(|rate| (rate, 0))) else {
            continue;
        };
        let amount = |value: &Value| match value {
            Value::String(text) => Amount::parse_per(text, power),
            Value::Number(number) => Amount::parse_per(&number.to_string(), power),
            _ => None,
        };
        if let Some(amount) = amount(cell).or_else(|| amount(cell.get("base")?)) {
            price = price.rate(rate, amount);
        }
        for tier in cell.get("tiers").and_then(Value::as_array).into_iter().flatten() {
            // {start, price} or [start, price]
            let start = tier.get("start").or_else(|| tier.get(0)).and_then(Value::as_u64);
            let above = tier.get("price").or_else(|| tier.get(1)).and_then(amount);
            if let (Some(start), Some(above)) = (start, above) {
                price = price.rate_over(start, rate, above);
            }
        }
    }
    Ok((!price.says_nothing()).then_some(price))
}
