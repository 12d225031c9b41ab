//! The answer to a question about a cost, written as JSON in the caller's language.
//!
//! It is written straight from the numbers: a program may ask for each of its calls.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::amount::Amount;
use super::catalogue::Mode;
use super::cost::Cost;
use super::counts::Repairs;
use super::rates::{Bill, Bucket, Line, Rates};
use super::{Description, Reason};
use crate::config::Language;

/// What Node spells otherwise.
const CAMEL: [(&str, &str); 6] = [
    ("total_usd", "totalUsd"),
    ("web_search", "webSearch"),
    ("input_over", "inputOver"),
    ("catalogue_source", "catalogueSource"),
    ("catalogue_total", "catalogueTotal"),
    ("unit_price", "unitPrice"),
];

fn spelled(name: &'static str, language: Language) -> &'static str {
    match language {
        Language::Rust | Language::Python => name,
        Language::Node => CAMEL.iter().find(|(snake, _)| *snake == name).map_or(name, |(_, camel)| camel),
    }
}

/// A cost, and what was asked.
pub(crate) struct Answer<'a> {
    pub language: Language,
    pub cost: &'a Cost,
    pub asked: Option<Asked>,
}

/// What there is to say of the question itself.
pub(crate) struct Asked {
    pub described: Result<Description, Reason>,
    pub at_unix_ms: i64,
    pub repairs: Repairs,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (cost, name) = (self.cost, |name| spelled(name, self.language));
        let described = self.asked.as_ref().map(|asked| &asked.described);
        // A question without counts has no cost, but a price.
        let (only, reason) = match described {
            Some(described) if cost.reason() == Some(Reason::NoUsage) => match described {
                Ok(description) => (Some(description), cost.reason()),
                Err(reason) => (None, Some(*reason)),
            },
            _ => (None, cost.reason()),
        };
        let priced = cost.priced();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("total", &cost.total().map(Exact))?;
        map.serialize_entry(name("total_usd"), &cost.total().map(Amount::to_f64))?;
        map.serialize_entry("input", &cost.input().map(Exact))?;
        map.serialize_entry("output", &cost.output().map(Exact))?;
        map.serialize_entry("request", &cost.request().map(Exact))?;
        map.serialize_entry(name("web_search"), &cost.web_search().map(Exact))?;
        map.serialize_entry("source", only.map_or(cost.source(), |it| it.source).as_str())?;
        map.serialize_entry("model", &only.map_or(cost.model(), |it| Some(&it.model)))?;
        map.serialize_entry("provider", &only.map_or(cost.provider(), |it| Some(&it.provider)))?;
        map.serialize_entry("match", &only.map_or(cost.matched(), |it| Some(it.matched)).map(super::Match::as_str))?;
        map.serialize_entry("mode", &only.map_or(priced.map(|p| p.mode), |it| Some(it.mode)).map(Mode::name))?;
        map.serialize_entry(name("input_over"), &priced.and_then(|p| p.tier))?;
        map.serialize_entry(
            "catalogue",
            &only.map_or_else(|| priced?.catalogue(), |it| it.catalogue.clone().map(Into::into)),
        )?;
        if let Some(Asked { at_unix_ms, .. }) = self.asked {
            let at = jiff::Timestamp::from_millisecond(at_unix_ms).ok().map(|at| at.to_string());
            map.serialize_entry("at", &at)?;
        }
        if let Some(described) = described {
            let none = (Rates::NONE, &[][..]);
            let (rates, tiers) = described.as_ref().map_or(none, |it| (it.rates, &it.tiers[..]));
            map.serialize_entry("prices", &Prices(&rates))?;
            map.serialize_entry("over", &Tiers(tiers))?;
        }
        map.serialize_entry("buckets", &Buckets(priced.map(|p| &p.bill), self.language))?;
        match only {
            Some(description) => map.serialize_entry("assumptions", &description.assumptions)?,
            None => map.serialize_entry("assumptions", &Sentences(|| cost.assumptions().sentences()))?,
        }
        if let Some(Asked { repairs, .. }) = self.asked {
            map.serialize_entry("repaired", &Sentences(|| repairs.sentences()))?;
        }
        map.serialize_entry("reason", &reason.map(Reason::sentence))?;
        let beside = priced.filter(|_| cost.is_reported());
        let listed = cost.catalogue_total().filter(|_| beside.is_some());
        map.serialize_entry(name("catalogue_source"), &beside.map(|p| p.source.as_str()))?;
        map.serialize_entry(name("catalogue_total"), &listed.map(Exact))?;
        let difference = cost.total().and_then(|total| Some(Exact(total - listed?)));
        map.serialize_entry("difference", &difference)?;
        map.end()
    }
}

/// An amount as an exact decimal string.
struct Exact(Amount);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_decimal(|text| serializer.serialize_str(text))
    }
}

/// By bucket its units, unit price and amount.
struct Buckets<'a>(Option<&'a Bill>, Language);

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lines = Bucket::ALL.into_iter().filter_map(|bucket| Some((bucket.name(), self.0?.line(bucket)?)));
        serializer.collect_map(lines.map(|(name, line)| (name, OneLine(line, self.1))))
    }
}

struct OneLine(Line, Language);

impl Serialize for OneLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("units", &self.0.units)?;
        map.serialize_entry(spelled("unit_price", self.1), &Exact(self.0.unit_price))?;
        map.serialize_entry("amount", &Exact(self.0.amount()))?;
        map.end()
    }
}

/// Prices in USD per million tokens, or per request and search.
pub(crate) struct Prices<'a>(pub &'a Rates);

impl Serialize for Prices<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(rate, price)| (rate.name(), Exact(price.per(rate.power())))))
    }
}

/// Prices by the number of input tokens above which they hold.
pub(crate) struct Tiers<'a>(pub &'a [(u64, Rates)]);

impl Serialize for Tiers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(over, rates)| (over, Prices(rates))))
    }
}

struct Sentences<F>(F);

impl<I: Iterator<Item = &'static str>, F: Fn() -> I> Serialize for Sentences<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}
