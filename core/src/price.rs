//! What a call costs: usage buckets times unit prices, exact, with where each price is from.
//!
//! Where a price is from, in this order:
//!
//! 1. **reported**: the provider (or a gateway) returned a cost. It is kept, and the catalogue's figure is put beside
//!    it in the details.
//! 2. **custom**: prices given with the call ([`Overrides`]), set in code or read from a price file ([`PriceBook`]).
//! 3. **local**: the model ran on the caller's own machines: nothing to pay, and said to be so.
//! 4. **correction**: known errors in the sources, put right when the table is built.
//! 5. **openrouter**: the row of the provider that served the call; OpenRouter's own `default` row only for a call that
//!    went through OpenRouter.
//! 6. **manual**: the maintained fallback for what OpenRouter does not list.
//! 7. **unknown**: no cost, and the reason.
//!
//! Prices and amounts are whole numbers of 1e-18 USD ([`Amount`]); the table is static data that is searched in place.

mod amount;
mod answer;
mod book;
pub mod case;
mod catalogue;
mod choose;
mod cost;
mod counts;
mod field;
mod file;
pub(crate) mod given;
mod name;
mod question;
mod rates;
mod recent;
mod region;
#[cfg(feature = "cli")]
pub(crate) mod reprice;
mod rows;
mod sheet;
mod update;
pub(crate) mod watch;

use std::borrow::Cow;

pub use amount::Amount;
pub use book::{CustomPrice, PriceBook, PriceFileError};
pub use catalogue::Mode;
pub use cost::{Cost, Match, Reason, Source};
pub use counts::{Convention, Counts, Repairs};
pub use question::Question;
pub use rates::{Assumption, Assumptions, Bill, Bucket, Line, Rate, Rates};
pub use region::region_of;
pub use update::{Change, URL as UPDATE_URL, Update};

use crate::event::usage::Usage;
use answer::{Prices, Tiers};
use book::Answer;
use catalogue::{CATALOGUE, Found, Origin, Table};
use choose::{Choice, Provider, choose};
use cost::{Name, Priced, ReportedAmounts};
use name::{ModelName, Space, fold};
use recent::Known;

/// A call whose cost is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The provider that served the call: a canonical name, an alias, or the name of one of its regional rows
    /// (`amazon-bedrock-us-east-1`). Empty when it is not known.
    pub provider: &'a str,
    /// The model as the call or the response names it.
    pub model: &'a str,
    /// The service tier that was served (`default`, `flex`, `priority`, `batch`).
    pub service_tier: Option<&'a str>,
    /// The region that served the call.
    pub region: Option<&'a str>,
    /// The call went to a loopback or private host that is no known provider's: free unless a price is set.
    pub local: bool,
    /// When the call began, in milliseconds since 1970: the price of that day counts.
    pub at_unix_ms: i64,
    /// What the call used.
    pub usage: &'a Usage,
    /// The cost of the whole call as the provider returned it, in dollars.
    pub reported_usd: Option<&'a str>,
    /// Parts of the cost that came with the call.
    pub reported_parts: Option<&'a ReportedParts<'a>>,
    /// Unit prices that came with the call.
    pub overrides: Option<&'a Overrides>,
    /// Another model's tokens came with the call and are not in `usage`: its cost leaves them out, and says so.
    pub another_model: bool,
}

impl<'a> Query<'a> {
    /// A call to a model at a provider, now unknown in every other respect.
    pub fn new(provider: &'a str, model: &'a str, usage: &'a Usage, at_unix_ms: i64) -> Self {
        Self {
            provider,
            model,
            service_tier: None,
            region: None,
            local: false,
            at_unix_ms,
            usage,
            reported_usd: None,
            reported_parts: None,
            overrides: None,
            another_model: false,
        }
    }
}

/// Parts of a cost that came with the call, in dollars: `$ai_input_cost_usd` and its companions.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportedParts<'a> {
    /// `$ai_input_cost_usd`
    pub input_usd: Option<&'a str>,
    /// `$ai_output_cost_usd`
    pub output_usd: Option<&'a str>,
    /// `$ai_request_cost_usd`
    pub request_usd: Option<&'a str>,
    /// `$ai_web_search_cost_usd`
    pub web_search_usd: Option<&'a str>,
    /// `$ai_cost_passthrough`: what was given is all there is to say; nothing is filled in beside it.
    pub nothing_else: bool,
}

/// Unit prices that came with a call: PostHog's `$ai_input_token_price` and its companions, in dollars per unit.
///
/// They count only when both input and output are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    rates: Rates,
}

impl Overrides {
    /// The property of each rate.
    pub const PROPERTIES: [(&'static str, Rate); 7] = [
        ("$ai_input_token_price", Rate::Input),
        ("$ai_output_token_price", Rate::Output),
        ("$ai_cache_read_token_price", Rate::CacheRead),
        ("$ai_cache_write_token_price", Rate::CacheWrite),
        ("$ai_cache_write_1h_token_price", Rate::CacheWrite1h),
        ("$ai_request_price", Rate::Request),
        ("$ai_web_search_price", Rate::WebSearch),
    ];

    /// The prices among an event's properties (numbers or decimal strings); anything else is no price.
    pub fn from_properties(properties: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        Self::of(|name| properties.get(name))
    }

    /// The same from wherever an event's properties are.
    pub(crate) fn of<'a>(property: impl Fn(&str) -> Option<&'a serde_json::Value>) -> Option<Self> {
        // Without it they do not count, and mostly there is none of them.
        property("$ai_input_token_price")?;
        let mut overrides = Self::default();
        for (name, rate) in Self::PROPERTIES {
            let price = match property(name) {
                Some(serde_json::Value::String(text)) => Amount::parse(text),
                Some(serde_json::Value::Number(number)) => Amount::parse(&number.to_string()),
                _ => None,
            };
            if let Some(price) = price.filter(|p| *p >= Amount::ZERO) {
                overrides.rates.set(rate, price);
            }
        }
        overrides.complete().then_some(overrides)
    }

    /// Sets the price of one unit.
    pub fn set(&mut self, rate: Rate, price: Amount) {
        self.rates.set(rate, price);
    }

    fn complete(&self) -> bool {
        self.rates.get(Rate::Input).is_some() && self.rates.get(Rate::Output).is_some()
    }
}

/// The cost of a call, or none and the reason. Pure, never panics, does not allocate for listed models.
#[inline]
pub fn price(book: &PriceBook, query: &Query<'_>) -> Cost {
    let mut cost = Cost::NONE;
    cost.fill(book, query, recent::known);
    cost
}

/// The same for names that are looked for as if for the first time: for benches.
#[doc(hidden)]
pub fn price_anew(book: &PriceBook, query: &Query<'_>) -> Cost {
    let mut cost = Cost::NONE;
    cost.fill(book, query, recent::find);
    cost
}

/// The canonical name of a provider (`gemini` and `google` are `google-ai-studio`); an unknown one is lower-cased.
pub fn canonical_provider(name: &str) -> Cow<'_, str> {
    let mut space = Space::new();
    if let Some(provider) = fold(name, &mut space).and_then(|folded| Provider::read(&*CATALOGUE, folded)) {
        return Cow::Borrowed(CATALOGUE.provider_name(provider.number));
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) || name.trim() != name {
        return Cow::Owned(name.trim().to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// The prices that a call would go by, for people to read: row, source, rates, tiers, assumptions.
#[derive(Debug, Clone)]
pub struct Description {
    /// The model as the price list names it.
    pub model: String,
    /// The provider row as the price list names it.
    pub provider: String,
    /// Where the prices are from.
    pub source: Source,
    /// How the model was found.
    pub matched: Match,
    /// How the call is charged.
    pub mode: Mode,
    /// The price of one unit each.
    pub rates: Rates,
    /// Other prices in requests of more than so many input tokens, the largest first.
    pub tiers: Vec<(u64, Rates)>,
    /// What had to be assumed.
    pub assumptions: Vec<&'static str>,
    /// The price lists and their dates; `None` for prices that are on none.
    pub catalogue: Option<String>,
}

impl Description {
    /// The same as JSON: prices in USD per million tokens, or per request and search, as decimal strings.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::json!({
            "model": self.model,
            "provider": self.provider,
            "source": self.source.as_str(),
            "match": self.matched.as_str(),
            "mode": self.mode.name(),
            "prices": Prices(&self.rates),
            "over": Tiers(&self.tiers),
            "assumptions": self.assumptions,
            "catalogue": self.catalogue,
        })
    }
}

/// The prices that a call would go by; its usage counts only for tiers.
pub fn describe(book: &PriceBook, query: &Query<'_>) -> Result<Description, Reason> {
    let (mut terms, mut found) = (Priced::NONE, Found::NONE);
    find_rates(book, query, &recent::known(query), &mut terms, &mut found)?;
    let rates = found.rates;
    let mut tiers = Vec::new();
    if let Some(row) = terms.row_number {
        let mut input = u64::MAX;
        let prices = |input| match book.sheet() {
            Some(sheet) => sheet.prices(row, query.at_unix_ms, input),
            None => CATALOGUE.prices(row, query.at_unix_ms, input),
        };
        loop {
            let found = prices(input);
            let Some(threshold) = found.tier else { break };
            tiers.push((threshold, found.rates));
            input = threshold;
        }
    }
    Ok(Description {
        model: terms.model.as_str().to_owned(),
        provider: terms.row.as_str().to_owned(),
        source: terms.source,
        matched: terms.matched,
        mode: terms.mode,
        rates,
        tiers,
        assumptions: terms.bill.assumptions.sentences().collect(),
        catalogue: terms.catalogue().map(Cow::into_owned),
    })
}

/// Every model name of the built-in table (folded: lower case, dashes) with its providers, for listings.
pub fn catalogue_names() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    CATALOGUE.names().map(|(name, rows)| {
        let mut providers: Vec<_> = rows.map(|provider| CATALOGUE.provider_name(provider)).collect();
        providers.dedup();
        (name, providers)
    })
}

/// The sources of the table and their dates.
pub fn catalogue_sources() -> &'static str {
    CATALOGUE.about()
}

impl Cost {
    /// Fills in place: it is large, and would be copied at each return.
    #[inline(never)]
    fn fill(&mut self, book: &PriceBook, query: &Query<'_>, names: fn(&Query<'_>) -> Known) {
        if query.reported_usd.is_some() || query.reported_parts.is_some() {
            let parse = |text: Option<&str>| text.and_then(Amount::parse).filter(|a| *a >= Amount::ZERO);
            let parts = query.reported_parts.copied().unwrap_or_default();
            self.reported = ReportedAmounts {
                input: parse(parts.input_usd),
                output: parse(parts.output_usd),
                request: parse(parts.request_usd),
                web_search: parse(parts.web_search_usd),
                total: parse(query.reported_usd),
                nothing_else: parts.nothing_else,
            };
        }
        self.reason = fill(book, query, names, &mut self.priced).err();
    }
}

fn fill(
    book: &PriceBook,
    query: &Query<'_>,
    names: fn(&Query<'_>) -> Known,
    priced: &mut Priced,
) -> Result<(), Reason> {
    let usage = query.usage;
    let nothing = usage.input_total().is_none()
        && usage.output_total().is_none()
        && usage.requests.is_none()
        && usage.web_searches.is_none();
    if nothing {
        return Err(Reason::NoUsage);
    }
    let mut found = Found::NONE;
    find_rates(book, query, &names(query), priced, &mut found)?;
    let rates = &found.rates;
    let by_anthropic = priced.by_anthropic;
    let anthropic = || by_anthropic || is_claude(query.model);
    rates::bill(rates, usage, anthropic, &mut priced.bill).map_err(Reason::Unpriced)?;
    if query.another_model {
        priced.bill.assumptions.add(Assumption::AnotherModelLeftOut);
    }
    let zero = Some(Amount::ZERO);
    priced.zero_price = rates.get(Rate::Input) == zero && rates.get(Rate::Output) == zero;
    Ok(())
}

/// The rates for a call, and everything else about them. `found` is filled in place as well.
fn find_rates(
    book: &PriceBook,
    query: &Query<'_>,
    known: &Known,
    priced: &mut Priced,
    found: &mut Found,
) -> Result<(), Reason> {
    let input = query.usage.input_total().unwrap_or_default();
    let catalogue = &*CATALOGUE;
    let provider = known.provider;
    priced.by_anthropic = provider == Some(catalogue.anthropic());

    if let Some(overrides) = query.overrides.filter(|o| o.complete()) {
        (priced.source, priced.model, priced.row) = (Source::Custom, Name::Static("custom"), Name::Static("custom"));
        found.rates = overrides.rates;
        return Ok(());
    }
    let mut factor = None;
    if !book.is_empty() {
        let name = provider.map_or_else(|| query.provider.trim(), |p| catalogue.provider_name(p));
        match book.find(name, query.model, query.at_unix_ms, input) {
            Some(Answer::Rates { rates, tier, model, row, matched }) => {
                (priced.source, priced.model, priced.row) = (Source::Custom, model, row);
                (priced.tier, priced.matched) = (tier, matched);
                found.rates = rates;
                return Ok(());
            }
            Some(Answer::Multiplied { factor: by, row }) => factor = Some((by, row)),
            None => {}
        }
    }
    if query.local || provider.is_some_and(|p| catalogue.is_local(p)) {
        let row = provider.map_or("local", |p| catalogue.provider_name(p));
        (priced.source, priced.model, priced.row) = (Source::Local, Name::Static("local"), Name::Static(row));
        Rate::ALL.into_iter().filter(|r| *r != Rate::Request).for_each(|r| found.rates.set(r, Amount::ZERO));
        return Ok(());
    }
    if book.sheet().is_none() && book.update().is_none() {
        take(catalogue, known.choice?, query, input, priced, found)?;
    } else {
        look_up(book, query, known, input, priced, found)?;
    }
    if priced.by_anthropic && query.region == Some("us") {
        // What Anthropic adds for a model that is kept in the US; other clouds have rows for their regions.
        for (rate, price) in found.rates.iter().collect::<Vec<_>>() {
            if rate.power() > 0 {
                found.rates.set(rate, price.scaled(11, 10));
            }
        }
        priced.bill.assumptions.add(Assumption::KeptInUs);
    }
    if let Some((factor, row)) = factor {
        found.rates = book::multiplied(&found.rates, factor);
        (priced.source, priced.row, priced.row_number) = (Source::Custom, row, None);
    }
    Ok(())
}

/// Goes by a table in place of the built-in one, or by a list that was fetched over it.
#[inline(never)]
fn look_up(
    book: &PriceBook,
    query: &Query<'_>,
    known: &Known,
    input: u64,
    priced: &mut Priced,
    found: &mut Found,
) -> Result<(), Reason> {
    let (mut for_provider, mut for_model) = (Space::new(), Space::new());
    let folded = fold(query.provider, &mut for_provider).unwrap_or_default();
    let model = ModelName::read(query.model, &mut for_model).ok_or_else(|| recent::nameless(query))?;
    if let Some(sheet) = book.sheet() {
        let choice = choose(sheet, query, Provider::read(sheet, folded), &model)?;
        return take(sheet, choice, query, input, priced, found);
    }
    let Some(update) = book.update() else { return Err(Reason::UnknownModel) };
    let provider = Provider::read(&*CATALOGUE, folded);
    let choice = match update.for_router(query, provider, &model) {
        Some(choice) => choice,
        None => match known.choice.and_then(|choice| take(&*CATALOGUE, choice, query, input, priced, found)) {
            Ok(()) => return Ok(()),
            Err(reason) => update.for_unlisted(query, provider, &model, reason).ok_or(reason)?,
        },
    };
    take(update.sheet(), choice, query, input, priced, found)?;
    (priced.fetched_at_unix_ms, priced.row_number) = (Some(update.fetched_at_unix_ms()), None);
    Ok(())
}

/// Goes by a row of a table.
fn take(
    table: &impl Table,
    choice: Choice,
    query: &Query<'_>,
    input: u64,
    priced: &mut Priced,
    found: &mut Found,
) -> Result<(), Reason> {
    table.prices_into(choice.row, query.at_unix_ms, input, found);
    if found.other_unit {
        return Err(Reason::OtherUnit);
    }
    priced.source = match found.origin {
        Origin::OpenRouter => Source::OpenRouter,
        Origin::Manual => Source::Manual,
        Origin::Correction => Source::Correction,
    };
    (priced.model, priced.row) = (std::mem::take(&mut found.model), std::mem::take(&mut found.row));
    (priced.mode, priced.matched, priced.tier) = (choice.mode, choice.matched, found.tier);
    priced.bill.assumptions = choice.assumptions;
    priced.row_number = Some(choice.row);
    Ok(())
}

fn is_claude(model: &str) -> bool {
    let mut rest = model.as_bytes();
    while let Some(at) = rest.iter().position(|b| b.eq_ignore_ascii_case(&b'c')) {
        rest = &rest[at + 1..];
        if rest.len() >= 5 && rest[..5].eq_ignore_ascii_case(b"laude") {
            return true;
        }
    }
    false
}
