//! The price file: TOML with errors that say where.

use super::book::{CustomPrice, PriceFileError};
use super::field::{Given, NOTHING, OVER, Wrong, set, set_over};
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
        let name = self.given(model);
        let mut price = CustomPrice::new(name.text("model").map_err(|wrong| self.wrong(wrong, 0, model))?);
        for (key, value) in cells {
            let at = key.span().start;
            price = match key.get_ref().as_ref() {
                "model" => price,
                "over" => self.tiers(price, value)?,
                name => set(price, name, &self.given(value)).map_err(|wrong| self.wrong(wrong, at, value))?,
            };
        }
        if price.says_nothing() {
            return Err(self.error(table.span().start, NOTHING.into()));
        }
        Ok(price)
    }

    fn tiers(&self, mut price: CustomPrice, value: &Spanned<DeValue<'_>>) -> Result<CustomPrice, PriceFileError> {
        let DeValue::Table(tiers) = value.get_ref() else {
            return Err(self.error(value.span().start, OVER.into()));
        };
        for (threshold, rates) in tiers {
            let (Ok(tokens), DeValue::Table(rates)) = (threshold.get_ref().parse(), rates.get_ref()) else {
                return Err(self.error(threshold.span().start, OVER.into()));
            };
            for (key, value) in rates {
                price = set_over(price, tokens, key.get_ref(), &self.given(value))
                    .map_err(|wrong| self.wrong(wrong, key.span().start, value))?;
            }
        }
        Ok(price)
    }

    fn given<'v>(&'v self, value: &'v Spanned<DeValue<'_>>) -> Given<'v> {
        let written = &self.text[value.span()];
        match value.get_ref() {
            DeValue::String(text) => Given::Text(text),
            DeValue::Integer(_) | DeValue::Float(_) => Given::Number(written),
            _ => Given::Other(written),
        }
    }

    fn wrong(&self, wrong: Wrong, name_at: usize, value: &Spanned<DeValue<'_>>) -> PriceFileError {
        match wrong {
            Wrong::Name(message) => self.error(name_at, message),
            Wrong::Value(message) => self.error(value.span().start, message),
        }
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
