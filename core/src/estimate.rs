//! What a call is taken to cost before its answer is known.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use crate::decode::{self, Recognised};
use crate::event::usage::Usage;
use crate::event::{media, unix_ms};
use crate::exchange::Exchange;
use crate::price::{Amount, PriceBook, Query, price, region_of};

/// Characters of a text that make about one token.
const CHARACTERS_A_TOKEN: u64 = 4;

/// Tokens of an answer of which nothing is known.
const USUAL_OUTPUT: u64 = 1000;

/// As much as the dearest call of its model so far, or as its input alone if that is more; the first call of a model as
/// its request suggests. Nothing where no price is known.
pub(crate) fn of(
    found: &Recognised,
    url: &str,
    body: &[u8],
    book: &PriceBook,
    dearest: impl Fn(&str) -> Option<Amount>,
) -> Amount {
    let request = Exchange {
        method: "POST".to_owned(),
        url: url.to_owned(),
        request_body: Bytes::copy_from_slice(body),
        ..Exchange::default()
    };
    let mut call = decode::read(found, &request);
    let Some(model) = call.model_requested.as_deref() else { return Amount::ZERO };
    let dearest = dearest(model);
    let characters: u64 = [&mut call.input, &mut call.tools].into_iter().flatten().map(characters).sum();
    let output = match (&dearest, call.embedding) {
        (Some(_), _) | (_, true) => 0,
        (None, false) => call.max_tokens.as_ref().and_then(Value::as_u64).unwrap_or(USUAL_OUTPUT),
    };
    let usage =
        Usage { input_text: Some(characters / CHARACTERS_A_TOKEN), output_text: Some(output), ..Usage::default() };
    let query = Query {
        region: region_of(url),
        local: found.local,
        ..Query::new(&found.provider, model, &usage, unix_ms(SystemTime::now()))
    };
    let suggested = price(book, &query).total().unwrap_or_default();
    dearest.unwrap_or_default().max(suggested)
}

/// Characters of all texts. Media are no text, however long they are.
fn characters(content: &mut Value) -> u64 {
    media::redact(content, None);
    count(content)
}

fn count(content: &Value) -> u64 {
    match content {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
