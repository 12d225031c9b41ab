//! Costs and prices: JSON text in, JSON text out.

use llmtrail::Language;
use llmtrail::price::{CustomPrice, Question};
use pyo3::prelude::*;

use crate::client::Client;
use crate::error::raise;

/// The answer to a question about a cost, by a client's prices.
#[pyfunction]
pub(crate) fn cost(py: Python<'_>, client: &Client, question: &str) -> PyResult<String> {
    let question = Question::from_json(Language::Python, question).map_err(|error| raise(py, &error))?;
    Ok(question.answer_in(&client.0.prices(), Language::Python))
}

/// Sets a price of the user's own.
#[pyfunction]
pub(crate) fn set_price(py: Python<'_>, client: &Client, price: &str) -> PyResult<()> {
    client.0.set_price(&CustomPrice::parse(price).map_err(|error| raise(py, &error))?);
    Ok(())
}
