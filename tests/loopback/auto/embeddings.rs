//! OpenAI embeddings: bags of hashed words, so that texts with words in common are near each other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Asked, Made, tokens};

const MOST_DIMENSIONS: u64 = 4096;

pub(crate) fn answer(asked: &Asked<'_>) -> Result<Made, String> {
    let body = asked.body;
    let natural = if asked.model.contains("3-large") { 3072 } else { 1536 };
    let dimensions =
        usize::try_from(body["dimensions"].as_u64().unwrap_or(natural).clamp(1, MOST_DIMENSIONS)).unwrap_or(1);
    let inputs: Vec<&Value> = match &body["input"] {
        Value::String(_) => vec![&body["input"]],
        // A list of numbers is one text that is already tokens.
        Value::Array(items) if items.first().is_some_and(Value::is_number) => vec![&body["input"]],
        Value::Array(items) if !items.is_empty() => items.iter().collect(),
        _ => return Err("'$.input' is invalid. Please check the API reference.".to_owned()),
    };
    let base64 = body["encoding_format"] == "base64";
    let mut used = 0;
    let mut data = Vec::new();
    for (index, input) in inputs.into_iter().enumerate() {
        let (words, cost): (Vec<String>, usize) = match input {
            Value::String(text) if !text.is_empty() => (words(text), tokens(text.chars().count())),
            Value::Array(ids) => (ids.iter().map(Value::to_string).collect(), ids.len()),
            _ => return Err("'$.input' is invalid. Please check the API reference.".to_owned()),
        };
        used += cost;
        let vector = vector(&words, dimensions);
        let embedding = if base64 {
            json!(STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()))
        } else {
            json!(vector)
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    let usage = json!({"prompt_tokens": used, "total_tokens": used});
    Ok(Made::Whole(json!({"object": "list", "data": data, "model": asked.model, "usage": usage})))
}

/// Words without their case and a plural's end; the little ones say nothing.
fn words(text: &str) -> Vec<String> {
    const LITTLE: [&str; 12] =
        ["the", "and", "for", "you", "your", "are", "can", "how", "what", "with", "that", "this"];
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2 && !LITTLE.contains(word));
    words.map(|word| word.strip_suffix('s').unwrap_or(word).to_owned()).collect()
}

fn vector(words: &[String], dimensions: usize) -> Vec<f32> {
    const PLACES: u64 = 8;
    let mut vector = vec![1e-3_f32; dimensions];
    for word in words {
        for place in 0..PLACES {
            let hash = fnv(word, place);
            let at = usize::try_from(hash >> 1).unwrap_or_default() % dimensions;
            vector[at] += if hash & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-6);
    vector.iter().map(|number| number / length).collect()
}

/// FNV-1a, with a final mix: its low bits alone are weak.
fn fnv(word: &str, salt: u64) -> u64 {
    let hash = word
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}
