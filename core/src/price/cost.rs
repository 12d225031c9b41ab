//! What a call cost, and how that is known.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::amount::Amount;
use super::answer::Answer;
use super::catalogue::{CATALOGUE, Mode};
use super::rates::{Assumptions, Bill, Bucket};
use crate::config::Language;
use crate::event::properties::Property;
use crate::event::write;

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
    /// In the order of their names.
    fn amounts(&self) -> impl Iterator<Item = (&'static str, Amount)> {
        [
            ("input", self.input),
            ("output", self.output),
            ("request", self.request),
            ("total", self.total),
            ("web_search", self.web_search),
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
        serde_json::from_slice(&self.written_details()).unwrap_or_default()
    }

    /// The same as text, for an event is all that most of them become a part of.
    fn written_details(&self) -> Vec<u8> {
        /// What most take.
        const USUAL: usize = 768;
        let mut json = Vec::with_capacity(USUAL);
        // In the order of their names.
        let mut details = write::Members::begin(&mut json);
        let total = self.total();
        if let Some(priced) = self.priced() {
            let assumptions = priced.bill.assumptions;
            if assumptions != Assumptions::default() {
                write::list(assumptions.sentences(), details.ours("assumptions"));
            }
            let mut buckets = write::Members::begin(details.ours("buckets"));
            for bucket in Bucket::BY_NAME {
                let Some(line) = priced.bill.line(bucket) else { continue };
                let mut members = write::Members::begin(buckets.ours(bucket.name()));
                line.amount().write(members.ours("amount"));
                line.unit_price.write(members.ours("unit_price"));
                write::count(line.units, members.ours("units"));
                members.end();
            }
            buckets.end();
            if let Some(catalogue) = priced.catalogue() {
                write::text(&catalogue, details.ours("catalogue"));
            }
            if self.reported.any() {
                write::text(priced.source.as_str(), details.ours("catalogue_source"));
                priced.total().write(details.ours("catalogue_total"));
                if let Some(total) = total {
                    (total - priced.total()).write(details.ours("difference"));
                }
            }
            if let Some(tier) = priced.tier {
                write::count(tier, details.ours("input_over"));
            }
            write::text(priced.matched.as_str(), details.ours("match"));
            if priced.mode != Mode::Standard {
                write::text(priced.mode.name(), details.ours("mode"));
            }
            write::text(priced.model.as_str(), details.ours("model"));
            write::text(priced.row.as_str(), details.ours("provider"));
        } else {
            write::text(&self.reason.map_or_else(Cow::default, Reason::sentence), details.ours("reason"));
        }
        if !self.reported.says_nothing() {
            let mut reported = write::Members::begin(details.ours("reported"));
            for (name, part) in self.reported.amounts() {
                part.write(reported.ours(name));
            }
            reported.end();
        }
        write::text(self.source().as_str(), details.ours("source"));
        if let Some(total) = total {
            total.write(details.ours("total"));
        }
        details.end();
        json
    }

    /// Writes the cost properties of an event: amounts (absent when the price is unknown), source, row and details.
    ///
    /// PostHog estimates anew when a cost it is sent is zero; so a call that is free also carries zero prices, which
    /// it takes for custom ones.
    pub fn properties(&self, into: &mut Map<String, Value>) {
        self.each_property(|key, property| {
            into.insert(key.to_owned(), property.into_value());
        });
    }

    /// Gives each of the properties that [`properties`](Self::properties) writes.
    pub(crate) fn each_property(&self, mut put: impl FnMut(&'static str, Property)) {
        for (key, amount) in [
            ("$ai_input_cost_usd", self.input()),
            ("$ai_output_cost_usd", self.output()),
            ("$ai_request_cost_usd", self.request()),
            ("$ai_web_search_cost_usd", self.web_search()),
            ("$ai_total_cost_usd", self.total()),
        ] {
            if let Some(amount) = amount {
                put(key, Property::Value(amount.to_f64().into()));
            }
        }
        put("$ai_cost_model_source", Property::Word(self.source().as_str()));
        if let Some(priced) = self.priced() {
            put("$ai_model_cost_used", Property::Value(priced.model.as_str().into()));
            put("$ai_cost_model_provider", Property::Value(priced.row.as_str().into()));
            if priced.zero_price && self.total() == Some(Amount::ZERO) {
                put("$ai_input_token_price", Property::Value(0.into()));
                put("$ai_output_token_price", Property::Value(0.into()));
            }
        }
        put("$ai_cost_details", Property::Written(self.written_details()));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::event::usage::Usage;
    use crate::price::{PriceBook, Query, ReportedParts, price};

    #[test]
    fn every_bucket_is_in_the_order_of_names() {
        let mut all = Bucket::ALL;
        all.sort_by_key(|bucket| bucket.name());
        assert_eq!(all, Bucket::BY_NAME);
    }

    #[test]
    fn details_are_written_in_the_order_of_their_names() {
        let usage = Usage {
            input_text: Some(300_000),
            cache_read: Some(20),
            cache_write_5m: Some(7),
            output_text: Some(5),
            web_searches: Some(1),
            ..Usage::default()
        };
        let parts = ReportedParts { input_usd: Some("0.5"), web_search_usd: Some("0.01"), ..ReportedParts::default() };
        let mut seen = Vec::new();
        for model in ["gpt-5-mini", "gemini-2.5-pro", "claude-sonnet-4-5", "nobody-knows-it"] {
            for (reported_usd, reported_parts) in [(None, None), (Some("1.25"), None), (Some("1.25"), Some(&parts))] {
                for service_tier in [None, Some("flex")] {
                    let query = Query::new("openrouter", model, &usage, 1_764_583_200_000);
                    let query = Query { service_tier, reported_usd, reported_parts, ..query };
                    let written = price(&PriceBook::new(), &query).written_details();
                    let read: Map<String, Value> = serde_json::from_slice(&written).unwrap();
                    seen.extend(read.keys().cloned());
                    assert_eq!(String::from_utf8_lossy(&written), Value::Object(read).to_string());
                }
            }
        }
        for name in ["assumptions", "buckets", "catalogue_total", "difference", "input_over", "reason", "reported"] {
            assert!(seen.iter().any(|seen| seen == name), "{name}");
        }
    }
}
