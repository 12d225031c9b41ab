//! Custom prices: set in code, or read from a price file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::amount::Amount;
use super::cost::{Match, Name};
use super::rates::{Rate, Rates};
use super::sheet::Sheet;
use super::update::Update;

/// Prices that the user set; empty by default.
///
/// Prices that were set in code come before those of a file; of either the last one that fits a call wins.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    /// Of the price file, which may be read anew.
    file: Vec<CustomPrice>,
    /// Set in code.
    code: Vec<CustomPrice>,
    /// In place of the built-in table.
    sheet: Option<Arc<Sheet>>,
    /// Over the built-in table.
    update: Option<Arc<Update>>,
}

/// A price of the user's: for calls whose provider and model fit the patterns.
#[derive(Debug, Clone)]
pub struct CustomPrice {
    provider: Pattern,
    model: Pattern,
    shown_as: Arc<str>,
    row: Arc<str>,
    valid_from_unix_ms: i64,
    rates: Rates,
    tiers: Vec<(u64, Rates)>,
    multiplier: Option<Amount>,
}

impl CustomPrice {
    /// A price for calls to `model`; `*` stands for any run of characters, letter case does not matter.
    pub fn new(model: &str) -> Self {
        Self {
            provider: Pattern::new("*"),
            model: Pattern::new(model),
            shown_as: model.into(),
            row: "custom".into(),
            valid_from_unix_ms: i64::MIN,
            rates: Rates::default(),
            tiers: Vec::new(),
            multiplier: None,
        }
    }

    /// The same price for calls to another model, or to those that fit a pattern.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        self.model = Pattern::new(model);
        self.shown_as = model.into();
        self
    }

    /// Only calls to this provider: its canonical name, an alias of it, or a pattern.
    #[must_use]
    pub fn provider(mut self, provider: &str) -> Self {
        self.provider = Pattern::new(&super::canonical_provider(provider));
        self.row = provider.into();
        self
    }

    /// Only calls from this time on, in milliseconds since 1970.
    #[must_use]
    pub fn valid_from(mut self, unix_ms: i64) -> Self {
        self.valid_from_unix_ms = unix_ms;
        self
    }

    /// The price of one unit (one token, request or search).
    #[must_use]
    pub fn rate(mut self, rate: Rate, price: Amount) -> Self {
        self.rates.set(rate, price);
        self
    }

    /// The price of one unit in requests of strictly more than `input_tokens` input tokens.
    #[must_use]
    pub fn rate_over(mut self, input_tokens: u64, rate: Rate, price: Amount) -> Self {
        let at = self.tiers.partition_point(|(threshold, _)| *threshold < input_tokens);
        if self.tiers.get(at).is_none_or(|(threshold, _)| *threshold != input_tokens) {
            self.tiers.insert(at, (input_tokens, Rates::default()));
        }
        self.tiers[at].1.set(rate, price);
        self
    }

    /// A negotiated rate: every price times this. With no prices of its own, the catalogue's price times this.
    #[must_use]
    pub fn multiplier(mut self, factor: Amount) -> Self {
        self.multiplier = Some(factor);
        self
    }

    /// A price of an object with the words of the price file: `{"model", "provider", "valid_from", "input", "output",
    /// ..., "over": {"200000": {"input": ...}}, "multiplier"}`. Prices are USD per million tokens, as numbers or decimal
    /// strings; `request` and `web_search` USD each.
    ///
    /// # Errors
    /// A sentence that names the field and says what it may be.
    pub fn from_json(fields: &serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        super::field::from_json(fields)
    }

    /// The same from JSON text, as the languages hand it over.
    ///
    /// # Errors
    /// A config error with that sentence.
    pub fn parse(json: &str) -> crate::Result<Self> {
        let fields = serde_json::from_str(json).map_err(|error| format!("not a JSON object: {error}"));
        let price = fields.and_then(|fields: serde_json::Map<_, _>| match fields.get("model") {
            Some(model) if !model.is_null() => Self::from_json(&fields),
            _ => Err("this price has no `model`".to_owned()),
        });
        price.map_err(|why| crate::Error::config(format!("price: {why}")))
    }

    /// Neither a price nor a factor.
    pub(crate) fn says_nothing(&self) -> bool {
        self.rates.is_empty() && self.multiplier.is_none()
    }
}

/// What the book says about a call.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for a moment; a box would be an allocation")]
pub(crate) enum Answer {
    /// These rates.
    Rates { rates: Rates, tier: Option<u64>, model: Name, row: Name, matched: Match },
    /// The catalogue's rates times this.
    Multiplied { factor: Amount, row: Name },
}

impl PriceBook {
    /// A book with no prices.
    pub fn new() -> Self {
        Self::default()
    }

    /// A book over a price table of its own, instead of the built-in one: a JSON object with `openrouter` and `manual`
    /// tables, or one row, in the form of `tests/prices/catalogues.json`.
    pub fn with_table(table: &serde_json::Value) -> Self {
        Self { sheet: Some(Arc::new(Sheet::read(table))), ..Self::default() }
    }

    /// The prices of a JSON value:
    ///
    /// - a text: the path of a price file;
    /// - a list of prices with the words of the price file, see [`CustomPrice::from_json`], over the built-in table;
    /// - an object with `openrouter` and `manual` tables, or one row with `model` and `cost`: in place of the built-in
    ///   table, see [`Self::with_table`];
    /// - any other object: the prices of every model, and no table. Words of the price file, of OpenRouter's rows
    ///   (`prompt_token`, `completion_token`, ...: USD each) or of genai-prices (`input_mtok`, ... with
    ///   `{"base", "tiers": [{"start", "price"}]}`).
    ///
    /// # Errors
    /// A sentence that says what is wrong, and in which price.
    pub fn from_json(prices: &serde_json::Value) -> Result<Self, String> {
        use serde_json::Value;
        let mut book = Self::new();
        match prices {
            Value::String(path) => book.load(Path::new(path)).map_err(|error| error.to_string())?,
            Value::Array(list) => {
                for (number, price) in list.iter().enumerate() {
                    let price = price.as_object().ok_or("a price is an object".to_owned());
                    let price = price.and_then(|price| match price.get("model") {
                        Some(_) => CustomPrice::from_json(price),
                        None => Err("this price has no `model`".to_owned()),
                    });
                    book.set_price(price.map_err(|why| format!("price {}: {why}", number + 1))?);
                }
            }
            Value::Object(cells) if ["cost", "openrouter", "manual"].iter().any(|name| cells.contains_key(*name)) => {
                book = Self::with_table(prices);
            }
            Value::Object(cells) => {
                book = Self::with_table(&Value::Null);
                if let Some(price) = super::rows::price_of(cells)? {
                    book.set_price(price);
                }
            }
            _ => return Err("expected a path, a list of prices, or an object".to_owned()),
        }
        Ok(book)
    }

    /// The same book over a list that was fetched, see [`Update`].
    #[must_use]
    pub fn with_update(&self, update: Arc<Update>) -> Self {
        Self { update: Some(update), ..self.clone() }
    }

    /// The list that was fetched, if any.
    pub fn update(&self) -> Option<&Arc<Update>> {
        self.update.as_ref()
    }

    /// The same book with another one's price file.
    pub(crate) fn with_file_of(&self, other: &Self) -> Self {
        Self { file: other.file.clone(), ..self.clone() }
    }

    pub(crate) fn sheet(&self) -> Option<&Sheet> {
        self.sheet.as_deref()
    }

    /// Whether no price was set.
    pub fn is_empty(&self) -> bool {
        self.file.is_empty() && self.code.is_empty()
    }

    /// Adds a price, before all earlier ones.
    pub fn set_price(&mut self, price: CustomPrice) {
        self.code.push(price);
    }

    /// Reads a price file, in place of the one that was read before. Nothing changes when any of it is wrong.
    pub fn load(&mut self, path: &Path) -> Result<(), PriceFileError> {
        let text = std::fs::read_to_string(path).map_err(|error| PriceFileError {
            message: format!("cannot read {}: {error}", path.display()),
            line: 0,
            column: 0,
        })?;
        self.load_str(&text)
    }

    /// Reads a TOML text, in place of the file that was read before:
    ///
    /// ```toml
    /// [[price]]
    /// provider = "openai"          # optional; a pattern
    /// model = "gpt-5-mini*"
    /// valid_from = "2026-10-01"    # optional; a day in UTC
    /// input = "0.20"               # USD per million tokens; request and web_search: USD each
    /// output = "1.60"
    /// over.200000.input = "0.40"   # in requests of more than this many input tokens
    /// multiplier = "0.85"          # optional; alone: the catalogue's price times this
    /// ```
    pub fn load_str(&mut self, text: &str) -> Result<(), PriceFileError> {
        self.file = super::file::parse(text)?;
        Ok(())
    }

    pub(crate) fn find(&self, provider: &str, model: &str, at_unix_ms: i64, input_tokens: u64) -> Option<Answer> {
        let mut best: Option<&CustomPrice> = None;
        for price in self.file.iter().chain(&self.code).rev() {
            if price.valid_from_unix_ms > at_unix_ms || !price.provider.fits(provider) || !price.model.fits(model) {
                continue;
            }
            // Of prices for the same thing, the newest that is valid; of different things, the last one set.
            match best {
                None => best = Some(price),
                Some(other)
                    if other.model == price.model
                        && other.provider == price.provider
                        && price.valid_from_unix_ms > other.valid_from_unix_ms =>
                {
                    best = Some(price);
                }
                Some(_) => {}
            }
        }
        let price = best?;
        let row = Name::Shared(Arc::clone(&price.row));
        if price.rates.is_empty() {
            return price.multiplier.map(|factor| Answer::Multiplied { factor, row });
        }
        let mut rates = price.rates;
        let mut tier = None;
        for (threshold, over) in price.tiers.iter().filter(|(threshold, _)| input_tokens > *threshold) {
            tier = Some(*threshold);
            over.iter().for_each(|(rate, value)| rates.set(rate, value));
        }
        if let Some(factor) = price.multiplier {
            rates = multiplied(&rates, factor);
        }
        let matched = if price.model.exact { Match::Exact } else { Match::Pattern };
        let model = Name::Shared(Arc::clone(&price.shown_as));
        Some(Answer::Rates { rates, tier, model, row, matched })
    }
}

/// Every rate times a factor.
pub(crate) fn multiplied(rates: &Rates, factor: Amount) -> Rates {
    let mut out = Rates::default();
    for (rate, price) in rates.iter() {
        out.set(rate, price.scaled(factor.atto(), 1_000_000_000_000_000_000));
    }
    out
}

/// `*` stands for any run of characters; letter case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    parts: Box<[Box<str>]>,
    exact: bool,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let parts: Box<[Box<str>]> = text.trim().to_lowercase().split('*').map(Into::into).collect();
        let exact = parts.len() == 1;
        Self { parts, exact }
    }

    fn fits(&self, text: &str) -> bool {
        let text = text.trim().as_bytes();
        let (Some(first), Some(last)) = (self.parts.first(), self.parts.last()) else {
            return false;
        };
        if self.exact {
            return text.eq_ignore_ascii_case(first.as_bytes());
        }
        if text.len() < first.len() + last.len()
            || !text[..first.len()].eq_ignore_ascii_case(first.as_bytes())
            || !text[text.len() - last.len()..].eq_ignore_ascii_case(last.as_bytes())
        {
            return false;
        }
        let mut rest = &text[first.len()..text.len() - last.len()];
        for part in &self.parts[1..self.parts.len() - 1] {
            if part.is_empty() {
                continue;
            }
            let Some(at) = rest.windows(part.len()).position(|w| w.eq_ignore_ascii_case(part.as_bytes())) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

/// What is wrong with a price file, and where; line and column count from 1 (0: the file could not be read).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFileError {
    /// What is wrong, and what to do.
    pub message: String,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for PriceFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.message);
        }
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for PriceFileError {}
