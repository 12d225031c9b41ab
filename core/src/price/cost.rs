//! What a call cost, and how that is known.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::amount::Amount;
use super::answer::{Answer, Buckets};
use super::catalogue::{CATALOGUE, Mode};
use super::rates::{Assumptions, Bill, Bucket};
use crate::config::Language;

/// Where a cost is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The provider (or the caller) gave the cost.
    Reported,
    /// Prices that the user set: per call, in code, or in a price file.
    Custom,
    /// The model ran on the user's own machine: nothing to pay.
    Local,
    /// A known error in a source, put right.
    Correction,
    /// OpenRouter's price list.
    OpenRouter,
    /// The maintained fallback list.
    Manual,
    /// No price: there is no cost, and a reason.
    #[default]
    Unknown,
}

impl Source {
    /// The value of `$ai_cost_model_source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Custom => "custom",
            Self::Local => "local",
            Self::Correction => "correction",
            Self::OpenRouter => "openrouter",
            Self::Manual => "manual",
            Self::Unknown => "unknown",
        }
    }
}

/// How the model was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Match {
    /// Under its own name or a listed alias, at the provider that served the call.
    Exact,
    /// After dropping a date, `latest`, `preview`, a version or a build number.
    Shortened,
    /// By the pattern of a custom price.
    Pattern,
    /// No match was needed (the call brought its prices, or is local).
    #[default]
    Given,
}

impl Match {
    /// The kind in `$ai_cost_details`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Shortened => "shortened",
            Self::Pattern => "pattern",
            Self::Given => "given",
        }
    }
}

/// Why there is no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The provider reported no usage.
    NoUsage,
    /// The call names no model.
    NoModel,
    /// No source lists a model of this name.
    UnknownModel,
    /// The model is listed, but not at this provider (nor is there one maker to go by).
    NotAtProvider,
    /// The model is listed, but not in this mode (`:free`).
    NotInMode,
    /// A fine-tune has a price of its own, which is not listed.
    FineTune,
    /// The model is priced in a unit that is not counted: hours, characters, pages.
    OtherUnit,
    /// This part of the usage has no price.
    Unpriced(Bucket),
}

impl Reason {
    /// The reason as a sentence.
    pub fn sentence(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NoUsage => "the provider reported no usage",
            Self::NoModel => "the call names no model",
            Self::UnknownModel => "no price list has a model of this name",
            Self::NotAtProvider => "no price is known for this model at this provider",
            Self::NotInMode => "no price is known for this mode of the model",
            Self::FineTune => "a fine-tune has a price of its own, and none is known",
            Self::OtherUnit => "the model is priced in a unit that is not counted here (hours, characters or pages)",
            Self::Unpriced(bucket) => return format!("no price is known for {}", bucket.name()).into(),
        })
    }
}

/// A name from the table, or one that the user gave: cloning never allocates.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    /// One of our own words.
    Static(&'static str),
    /// By its number in the built-in table; looked up only when someone reads it.
    Table(u16),
    /// The user's, or from a table made at run time.
    Shared(Arc<str>),
}

impl Default for Name {
    fn default() -> Self {
        Self::Static("")
    }
}

impl Name {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(name) => name,
            Self::Table(number) => CATALOGUE.name(*number),
            Self::Shared(name) => name,
        }
    }
}

/// A price list's answer: which row, which rates, what it comes to.
#[derive(Debug, Clone)]
pub(crate) struct Priced {
    pub source: Source,
    pub model: Name,
    pub row: Name,
    pub mode: Mode,
    pub tier: Option<u64>,
    pub matched: Match,
    pub bill: Bill,
    pub zero_price: bool,
    /// The provider is Anthropic, by whose scheme caches are priced where a price is missing.
    pub by_anthropic: bool,
    /// The row of the table, where the rates are a table's.
    pub row_number: Option<usize>,
    /// When the list was fetched, where the rates are not the built-in table's.
    pub fetched_at_unix_ms: Option<i64>,
}

impl Priced {
    /// No answer yet.
    pub const NONE: Self = Self {
        source: Source::Unknown,
        model: Name::Static(""),
        row: Name::Static(""),
        mode: Mode::Standard,
        tier: None,
        matched: Match::Given,
        bill: Bill::NONE,
        zero_price: false,
        by_anthropic: false,
        row_number: None,
        fetched_at_unix_ms: None,
    };

    /// The price lists and their dates.
    pub fn catalogue(&self) -> Option<Cow<'static, str>> {
        if let Some(at) = self.fetched_at_unix_ms.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
            return Some(format!("openrouter {}", at.strftime("%F")).into());
        }
        let listed = matches!(self.source, Source::OpenRouter | Source::Manual | Source::Correction);
        listed.then(|| CATALOGUE.about().into())
    }

    fn input(&self) -> Amount {
        self.bill.sum(Bucket::InputText..=Bucket::ImageIn)
    }

    fn output(&self) -> Amount {
        self.bill.sum(Bucket::OutputText..=Bucket::ImageOut)
    }

    fn request(&self) -> Amount {
        self.bill.sum(Bucket::Requests..=Bucket::Requests)
    }

    fn web_search(&self) -> Amount {
        self.bill.sum(Bucket::WebSearches..=Bucket::WebSearches)
    }

    fn total(&self) -> Amount {
        self.bill.sum(Bucket::InputText..=Bucket::WebSearches)
    }
}

/// Amounts that came with the call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportedAmounts {
    pub input: Option<Amount>,
    pub output: Option<Amount>,
    pub request: Option<Amount>,
    pub web_search: Option<Amount>,
    pub total: Option<Amount>,
    pub nothing_else: bool,
}

impl ReportedAmounts {
    fn amounts(&self) -> impl Iterator<Item = (&'static str, Amount)> {
        [
            ("input", self.input),
            ("output", self.output),
            ("request", self.request),
            ("web_search", self.web_search),
            ("total", self.total),
        ]
        .into_iter()
        .filter_map(|(name, amount)| Some((name, amount?)))
    }

    fn says_nothing(&self) -> bool {
        [self.input, self.output, self.request, self.web_search, self.total].iter().all(Option::is_none)
    }

    fn any(&self) -> bool {
        self.total.is_some() || (self.input.is_some() && self.output.is_some())
    }
}

/// What a call cost: exact amounts, or none and the reason.
#[derive(Debug, Clone)]
pub struct Cost {
    /// Says nothing when there is a reason.
    pub(crate) priced: Priced,
    pub(crate) reason: Option<Reason>,
    pub(crate) reported: ReportedAmounts,
}

impl Cost {
    /// No answer yet: in a constant, for it is large and copied in one piece.
    pub(crate) const NONE: Self = Self {
        priced: Priced::NONE,
        reason: None,
        reported: ReportedAmounts {
            input: None,
            output: None,
            request: None,
            web_search: None,
            total: None,
            nothing_else: false,
        },
    };

    pub(super) fn priced(&self) -> Option<&Priced> {
        self.reason.is_none().then_some(&self.priced)
    }

    /// All input: text, cache reads and writes, audio, images.
    pub fn input(&self) -> Option<Amount> {
        self.reported.input.or_else(|| self.split(Priced::input))
    }

    /// All output: text, reasoning, audio, images.
    pub fn output(&self) -> Option<Amount> {
        self.reported.output.or_else(|| self.split(Priced::output))
    }

    /// The price per request.
    pub fn request(&self) -> Option<Amount> {
        self.reported.request.or_else(|| self.split(Priced::request))
    }

    /// Web searches that the provider ran.
    pub fn web_search(&self) -> Option<Amount> {
        self.reported.web_search.or_else(|| self.split(Priced::web_search))
    }

    /// The whole call.
    pub fn total(&self) -> Option<Amount> {
        if self.reported.total.is_some() {
            return self.reported.total;
        }
        if self.reported.says_nothing() {
            return self.priced().map(Priced::total);
        }
        let parts = [self.input(), self.output(), self.request(), self.web_search()];
        parts.into_iter().flatten().reduce(|sum, part| sum + part)
    }

    /// Where the total is from.
    pub fn source(&self) -> Source {
        if self.reported.any() {
            return Source::Reported;
        }
        self.priced().map_or(Source::Unknown, |p| p.source)
    }

    /// The model as the price list names it.
    pub fn model(&self) -> Option<&str> {
        self.priced().map(|p| p.model.as_str())
    }

    /// The provider row as the price list names it (`openai`, `amazon-bedrock-us-east-1`; `default` is OpenRouter's).
    pub fn provider(&self) -> Option<&str> {
        self.priced().map(|p| p.row.as_str())
    }

    /// Why no price was found.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// How the model was found.
    pub fn matched(&self) -> Option<Match> {
        self.priced().map(|p| p.matched)
    }

    /// What had to be assumed.
    pub fn assumptions(&self) -> Assumptions {
        self.priced().map_or_else(Assumptions::default, |p| p.bill.assumptions)
    }

    /// Whether the provider (or the caller) gave the cost.
    pub(super) fn is_reported(&self) -> bool {
        self.reported.any()
    }

    /// What the price list says, beside a reported cost.
    pub fn catalogue_total(&self) -> Option<Amount> {
        self.priced().map(Priced::total)
    }

    /// With input and output both given, the rest of a bill is not ours to guess.
    fn split(&self, part: fn(&Priced) -> Amount) -> Option<Amount> {
        let reported = &self.reported;
        if reported.input.is_some() && reported.output.is_some() || reported.nothing_else && reported.any() {
            return None;
        }
        self.priced().map(part)
    }

    /// The whole answer as JSON; what is not known is null.
    ///
    /// `total`, `input`, `output`, `request`, `web_search`: exact decimal strings in dollars; `total_usd` the total as a
    /// double. `source`, `model`, `provider`, `match`, `mode`, `input_over` (the number of input tokens above which these
    /// prices hold), `catalogue` (the sources and their dates), `buckets` (`{units, unit_price, amount}` each),
    /// `assumptions`, `reason` (why there is no price); beside a cost that was reported `catalogue_source`,
    /// `catalogue_total`, `difference`.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(Answer { language: Language::Rust, cost: self, asked: None }).unwrap_or_default()
    }

    /// `$ai_cost_details`: per bucket units, unit price and amount as decimal strings, and where they are from.
    pub fn details(&self) -> Value {
        let mut details = Map::new();
        let mut put = |key: &str, value: Value| {
            details.insert(key.to_owned(), value);
        };
        put("source", self.source().as_str().into());
        let reported = self.reported.amounts().map(|(name, amount)| (name, amount.to_string().into()));
        let reported: Map<String, Value> = reported.map(|(name, amount)| (name.to_owned(), amount)).collect();
        if !reported.is_empty() {
            put("reported", reported.into());
        }
        match self.priced() {
            Some(priced) => {
                put("model", priced.model.as_str().into());
                put("provider", priced.row.as_str().into());
                put("match", priced.matched.as_str().into());
                if priced.mode != Mode::Standard {
                    put("mode", priced.mode.name().into());
                }
                if let Some(tier) = priced.tier {
                    put("input_over", tier.into());
                }
                if let Some(catalogue) = priced.catalogue() {
                    put("catalogue", catalogue.into());
                }
                let buckets = Buckets(Some(&priced.bill), Language::Rust);
                put("buckets", serde_json::to_value(buckets).unwrap_or_default());
                let assumptions: Vec<Value> = priced.bill.assumptions.sentences().map(Value::from).collect();
                if !assumptions.is_empty() {
                    put("assumptions", assumptions.into());
                }
                if self.reported.any() {
                    put("catalogue_source", priced.source.as_str().into());
                    put("catalogue_total", priced.total().to_string().into());
                    if let Some(total) = self.total() {
                        put("difference", (total - priced.total()).to_string().into());
                    }
                }
            }
            None => put("reason", self.reason.map_or_else(Cow::default, Reason::sentence).into()),
        }
        if let Some(total) = self.total() {
            put("total", total.to_string().into());
        }
        Value::Object(details)
    }

    /// Writes the cost properties of an event: amounts (absent when the price is unknown), source, row and details.
    ///
    /// PostHog estimates anew when a cost it is sent is zero; so a call that is free also carries zero prices, which
    /// it takes for custom ones.
    pub fn properties(&self, into: &mut Map<String, Value>) {
        self.each_property(|key, value| {
            into.insert(key.to_owned(), value);
        });
    }

    /// Gives each of the properties that [`properties`](Self::properties) writes.
    pub(crate) fn each_property(&self, mut put: impl FnMut(&'static str, Value)) {
        for (key, amount) in [
            ("$ai_input_cost_usd", self.input()),
            ("$ai_output_cost_usd", self.output()),
            ("$ai_request_cost_usd", self.request()),
            ("$ai_web_search_cost_usd", self.web_search()),
            ("$ai_total_cost_usd", self.total()),
        ] {
            if let Some(amount) = amount {
                put(key, amount.to_f64().into());
            }
        }
        put("$ai_cost_model_source", self.source().as_str().into());
        if let Some(priced) = self.priced() {
            put("$ai_model_cost_used", priced.model.as_str().into());
            put("$ai_cost_model_provider", priced.row.as_str().into());
            if priced.zero_price && self.total() == Some(Amount::ZERO) {
                put("$ai_input_token_price", 0.into());
                put("$ai_output_token_price", 0.into());
            }
        }
        put("$ai_cost_details", self.details());
    }
}
