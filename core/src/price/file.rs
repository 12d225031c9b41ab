//! The price file: TOML with errors that say where.

use super::amount::Amount;
use super::book::{CustomPrice, PriceFileError};
use super::rates::Rate;
use toml::de::{DeTable, DeValue};

type Spanned<T> = toml::Spanned<T>;

/// The prices of a file, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<CustomPrice>, PriceFileError> {
    let reader = Reader { text };
    let document = DeTable::parse(text).map_err(|error| {
        reader.error(error.span().map_or(0, |s| s.start), format!("this is not TOML: {}", error.message()))
    })?;
    let mut prices = Vec::new();
    for (key, value) in document.get_ref() {
        if key.get_ref() != "price" {
            let message = format!("unknown table `{}`; prices are in [[price]] tables", key.get_ref());
            return Err(reader.error(key.span().start, message));
        }
        let DeValue::Array(tables) = value.get_ref() else {
            return Err(reader.error(key.span().start, "prices are in [[price]] tables, with two brackets".into()));
        };
        for table in tables {
            prices.push(reader.price(table)?);
        }
    }
    Ok(prices)
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn price(&self, table: &Spanned<DeValue<'_>>) -> Result<CustomPrice, PriceFileError> {
        let DeValue::Table(cells) = table.get_ref() else {
            return Err(self.error(table.span().start, "a price is a table: [[price]]".into()));
        };
        let Some(model) = cells.get("model") else {
            return Err(self.error(table.span().start, "this price has no `model`".into()));
        };
        let mut price = CustomPrice::new(self.string(model, "model")?);
        let mut says_something = false;
        for (key, value) in cells {
            match key.get_ref().as_ref() {
                "model" => {}
                "provider" => price = price.provider(self.string(value, "provider")?),
                "valid_from" => price = price.valid_from(self.day(value)?),
                "multiplier" => {
                    price = price.multiplier(self.number(value, "multiplier", 0)?);
                    says_something = true;
                }
                "over" => price = self.tiers(price, value)?,
                name => {
                    let rate = self.rate(name, key.span().start)?;
                    price = price.rate(rate, self.number(value, name, rate.power())?);
                    says_something = true;
                }
            }
        }
        if !says_something {
            let message = "this price has neither a price nor a `multiplier`".into();
            return Err(self.error(table.span().start, message));
        }
        Ok(price)
    }

    fn tiers(&self, mut price: CustomPrice, value: &Spanned<DeValue<'_>>) -> Result<CustomPrice, PriceFileError> {
        let wrong = "`over` has prices by a number of input tokens: over.200000.input = \"0.40\"";
        let DeValue::Table(tiers) = value.get_ref() else {
            return Err(self.error(value.span().start, wrong.into()));
        };
        for (threshold, rates) in tiers {
            let (Ok(tokens), DeValue::Table(rates)) = (threshold.get_ref().parse(), rates.get_ref()) else {
                return Err(self.error(threshold.span().start, wrong.into()));
            };
            for (key, value) in rates {
                let name = key.get_ref().as_ref();
                let rate = self.rate(name, key.span().start)?;
                price = price.rate_over(tokens, rate, self.number(value, name, rate.power())?);
            }
        }
        Ok(price)
    }

    fn rate(&self, name: &str, at: usize) -> Result<Rate, PriceFileError> {
        Rate::from_name(name).ok_or_else(|| {
            let known: Vec<_> = Rate::ALL.into_iter().map(Rate::name).collect();
            let message = format!(
                "unknown key `{name}`; a price has model, provider, valid_from, multiplier, over, {}",
                known.join(", ")
            );
            self.error(at, message)
        })
    }

    fn string<'v>(&self, value: &'v Spanned<DeValue<'_>>, name: &str) -> Result<&'v str, PriceFileError> {
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.error(value.span().start, format!("`{name}` must be a string that is not empty"))),
        }
    }

    /// Quoted or bare: both are read from their digits, never through a double.
    fn number(&self, value: &Spanned<DeValue<'_>>, name: &str, power: u32) -> Result<Amount, PriceFileError> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(_) | DeValue::Float(_) => &self.text[value.span()],
            _ => "",
        };
        Amount::parse_per(&text.replace('_', ""), power.cast_signed()).filter(|a| *a >= Amount::ZERO).ok_or_else(|| {
            self.error(value.span().start, format!("`{name}` must be a decimal number of at least 0, not `{text}`"))
        })
    }

    fn day(&self, value: &Spanned<DeValue<'_>>) -> Result<i64, PriceFileError> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Datetime(_) => &self.text[value.span()],
            _ => "",
        };
        unix_ms_of_day(text.trim()).ok_or_else(|| {
            self.error(value.span().start, format!("`valid_from` must be a day (2026-10-01), not `{text}`"))
        })
    }

    fn error(&self, at: usize, message: String) -> PriceFileError {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        PriceFileError {
            message,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Midnight UTC of a day written as YYYY-MM-DD.
fn unix_ms_of_day(text: &str) -> Option<i64> {
    let day: jiff::civil::Date = text.parse().ok()?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_millisecond())
}
