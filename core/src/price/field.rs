//! One field of a price, however it was written: in the price file, in code, or as JSON.

use super::amount::Amount;
use super::book::CustomPrice;
use super::rates::Rate;
use serde_json::{Map, Value};

/// A value as it was given.
pub(crate) enum Given<'a> {
    /// A text, quoted.
    Text(&'a str),
    /// The digits of a number: they are never read through a double.
    Number(&'a str),
    /// Anything else, as it is shown to people.
    Other(&'a str),
}

/// What is wrong with a field.
pub(crate) enum Wrong {
    /// Its name.
    Name(String),
    /// Its value.
    Value(String),
}

pub(crate) const OVER: &str = "`over` has prices by a number of input tokens: over.200000.input = \"0.40\"";
pub(crate) const NOTHING: &str = "this price has neither a price nor a `multiplier`";

impl Given<'_> {
    fn shown(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Other(text) => text,
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(Wrong::Value(format!("`{name}` must be a string that is not empty"))),
        }
    }

    fn amount(&self, name: &str, power: u32) -> Result<Amount, Wrong> {
        let text = match self {
            Self::Text(text) | Self::Number(text) => text.replace('_', ""),
            Self::Other(_) => String::new(),
        };
        let amount = Amount::parse_per(&text, power.cast_signed()).filter(|amount| *amount >= Amount::ZERO);
        amount.ok_or_else(|| {
            Wrong::Value(format!("`{name}` must be a decimal number of at least 0, not `{}`", self.shown()))
        })
    }

    fn day(&self) -> Result<i64, Wrong> {
        let text = self.shown();
        unix_ms_of_day(text.trim())
            .ok_or_else(|| Wrong::Value(format!("`valid_from` must be a day (2026-10-01), not `{text}`")))
    }
}

/// Sets one field of a price, but for `model` and `over`.
pub(crate) fn set(price: CustomPrice, name: &str, given: &Given<'_>) -> Result<CustomPrice, Wrong> {
    Ok(match name {
        "provider" => price.provider(given.text(name)?),
        "valid_from" => price.valid_from(given.day()?),
        "multiplier" => price.multiplier(given.amount(name, 0)?),
        _ => {
            let rate = rate(name)?;
            price.rate(rate, given.amount(name, rate.power())?)
        }
    })
}

/// Sets a price above a number of input tokens.
pub(crate) fn set_over(price: CustomPrice, over: u64, name: &str, given: &Given<'_>) -> Result<CustomPrice, Wrong> {
    let rate = rate(name)?;
    Ok(price.rate_over(over, rate, given.amount(name, rate.power())?))
}

fn rate(name: &str) -> Result<Rate, Wrong> {
    Rate::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Rate::ALL.into_iter().map(Rate::name).collect();
        Wrong::Name(format!(
            "unknown key `{name}`; a price has model, provider, valid_from, multiplier, over, {}",
            known.join(", ")
        ))
    })
}

/// A price of its fields as JSON: the words of the price file, `over` as an object by number of tokens. Without `model`
/// it is for every model.
pub(crate) fn from_json(fields: &Map<String, Value>) -> Result<CustomPrice, String> {
    read_json(fields).map_err(|wrong| match wrong {
        Wrong::Name(message) | Wrong::Value(message) => message,
    })
}

fn read_json(fields: &Map<String, Value>) -> Result<CustomPrice, Wrong> {
    let mut price = CustomPrice::new("*");
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let shown = value.to_string();
        let given = given(value, &shown);
        price = match name.as_str() {
            "model" => price.model(given.text("model")?),
            "over" => {
                let wrong = || Wrong::Value(OVER.to_owned());
                for (tokens, rates) in value.as_object().ok_or_else(wrong)? {
                    let tokens = tokens.parse().map_err(|_| wrong())?;
                    for (name, value) in rates.as_object().ok_or_else(wrong)? {
                        let shown = value.to_string();
                        price = set_over(price, tokens, name, &self::given(value, &shown))?;
                    }
                }
                price
            }
            name => set(price, name, &given)?,
        };
    }
    if price.says_nothing() { Err(Wrong::Value(NOTHING.to_owned())) } else { Ok(price) }
}

fn given<'a>(value: &'a Value, shown: &'a str) -> Given<'a> {
    match value {
        Value::String(text) => Given::Text(text),
        Value::Number(_) => Given::Number(shown),
        _ => Given::Other(shown),
    }
}

/// Midnight UTC of a day written as YYYY-MM-DD.
fn unix_ms_of_day(text: &str) -> Option<i64> {
    let day: jiff::civil::Date = text.parse().ok()?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_millisecond())
}
