//! Costs and prices: JSON text in, JSON text out.

use llmtrail::Language;
use llmtrail::price::{CustomPrice, Question};
use napi_derive::napi;

use crate::client::NativeClient;
use crate::convert::{Result, coded};

/// The answer to a question about a cost, by a client's prices.
#[napi]
pub fn cost(client: &NativeClient, question: String) -> Result<String> {
    let question = Question::from_json(Language::Node, &question).map_err(|error| coded(&error))?;
    Ok(question.answer_in(&client.0.prices(), Language::Node))
}

/// Sets a price of the user's own.
#[napi]
pub fn set_price(client: &NativeClient, price: String) -> Result<()> {
    client.0.set_price(&CustomPrice::parse(&price).map_err(|error| coded(&error))?);
    Ok(())
}
