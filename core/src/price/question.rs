//! A question about a cost in words: as programs and the command line ask it, or as a stored event puts it.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::answer::{Answer, Asked};
use super::counts::{Convention, Counts, Repairs};
use super::given::{Given, decimal};
use super::{Cost, Overrides, PriceBook, Query, Source, describe, price, region_of};
use crate::config::Language;
use crate::error::{Error, ErrorKind, Result};
use crate::event::usage::Usage;

/// What would this call cost? Owns what a [`Query`] borrows.
#[derive(Debug, Clone, Default)]
pub struct Question {
    provider: String,
    model: String,
    service_tier: Option<String>,
    region: Option<String>,
    local: bool,
    at_unix_ms: i64,
    usage: Usage,
    repairs: Repairs,
    given: Given,
    overrides: Option<Overrides>,
    another_model: bool,
    book: Option<PriceBook>,
}

/// Where a count is kept.
type Slot = fn(&mut Counts) -> &mut Option<i64>;

/// The words that count something.
const COUNTS: [(&str, Slot); 13] = [
    ("input_tokens", |c| &mut c.input),
    ("output_tokens", |c| &mut c.output),
    ("cache_read_tokens", |c| &mut c.cache_read),
    ("cache_write_tokens", |c| &mut c.cache_write),
    ("cache_write_1h_tokens", |c| &mut c.cache_write_1h),
    ("reasoning_tokens", |c| &mut c.reasoning),
    ("audio_input_tokens", |c| &mut c.audio_in),
    ("audio_output_tokens", |c| &mut c.audio_out),
    ("audio_cache_read_tokens", |c| &mut c.audio_cached),
    ("image_input_tokens", |c| &mut c.image_in),
    ("image_output_tokens", |c| &mut c.image_out),
    ("requests", |c| &mut c.requests),
    ("web_searches", |c| &mut c.web_searches),
];

/// The other words.
const WORDS: [&str; 10] = [
    "model",
    "provider",
    "service_tier",
    "region",
    "at",
    "cache_exclusive",
    "reasoning_exclusive",
    "reported_cost",
    "properties",
    "prices",
];

/// A word of a question.
#[derive(Clone, Copy)]
enum Word {
    Count(Slot),
    Other(&'static str),
}

/// The words in a language's own spelling, by name.
fn words_of(language: Language) -> &'static HashMap<String, Word> {
    fn spelled(language: Language) -> HashMap<String, Word> {
        let counts = COUNTS.iter().map(|(word, slot)| (language.name_of(word), Word::Count(*slot)));
        counts.chain(WORDS.iter().map(|word| (language.name_of(word), Word::Other(word)))).collect()
    }
    static SNAKE: LazyLock<HashMap<String, Word>> = LazyLock::new(|| spelled(Language::Python));
    static CAMEL: LazyLock<HashMap<String, Word>> = LazyLock::new(|| spelled(Language::Node));
    match language {
        Language::Rust | Language::Python => &SNAKE,
        Language::Node => &CAMEL,
    }
}

impl Question {
    /// A question as a JSON object in a language's own names and units:
    ///
    /// - `model`, `provider`, `service_tier` (that served), `region`: what was called. `at`: when, as RFC 3339 text or
    ///   seconds (milliseconds in Node) since 1970; now when absent.
    /// - `input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_write_tokens` (of any lifetime),
    ///   `cache_write_1h_tokens` (those of them that live an hour), `reasoning_tokens`, `audio_input_tokens`,
    ///   `audio_output_tokens`, `audio_cache_read_tokens`, `image_input_tokens`, `image_output_tokens`, `requests`,
    ///   `web_searches`: what it used, counted as the provider counts. `cache_exclusive` says whether cached tokens are
    ///   beside `input_tokens`, `reasoning_exclusive` whether reasoning is beside `output_tokens`; without them it is as
    ///   is usual for the provider and model.
    /// - `reported_cost`: what the provider said it cost, in dollars.
    /// - `properties`: an event's properties (`$ai_model`, `$ai_input_tokens`, ...) in place of, or under, all that.
    /// - `prices`: prices for this question alone; see [`PriceBook::from_json`].
    ///
    /// # Errors
    /// A usage error that names the word and says what it may be; a config error for prices that cannot be used.
    pub fn from_json(language: Language, json: &str) -> Result<Self> {
        let Ok(Value::Object(words)) = serde_json::from_str(json) else {
            return Err(wrong("cost: expected an object of words and values"));
        };
        let none = Map::new();
        let properties = match words.get(&language.name_of("properties")) {
            Some(Value::Object(properties)) => properties,
            None | Some(Value::Null) => &none,
            Some(other) => return Err(expected("properties", "an object of properties", other)),
        };
        let mut question = Self { at_unix_ms: now(), ..Self::default() };
        if let Some(at) = timestamp(properties) {
            question.at_unix_ms = at;
        }
        question.read_call(properties);
        question.given = Given::of(properties.iter().map(|(name, value)| (name.as_str(), value)));
        let mut counts = Counts::from_properties(properties);
        let mut exclusive = properties.get("$ai_cache_reporting_exclusive").and_then(Value::as_bool);
        let mut reasoning_exclusive = None;
        let mut asked = false;
        let known = words_of(language);
        for (name, value) in words.iter().filter(|(_, value)| !value.is_null()) {
            let word = known.get(name);
            if let Some(Word::Count(slot)) = word {
                let whole = value.as_u64().and_then(|count| i64::try_from(count).ok());
                let whole = whole.or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).and_then(to_i64));
                *slot(&mut counts) = Some(whole.ok_or_else(|| expected(name, "a whole number of at least 0", value))?);
                asked = true;
                continue;
            }
            let text = || {
                let text = value.as_str().filter(|text| !text.trim().is_empty());
                text.map(str::to_owned).ok_or_else(|| expected(name, "a string that is not empty", value))
            };
            let switch = || value.as_bool().ok_or_else(|| expected(name, "true or false", value));
            let word = word.and_then(|word| if let Word::Other(word) = word { Some(*word) } else { None });
            match word {
                Some("model") => question.model = text()?,
                Some("provider") => question.provider = text()?,
                Some("service_tier") => question.service_tier = Some(text()?),
                Some("region") => question.region = Some(text()?),
                Some("at") => {
                    let what = "a time (2026-10-01T12:00:00Z) or a number since 1970";
                    question.at_unix_ms = moment(value, language).ok_or_else(|| expected(name, what, value))?;
                }
                Some("cache_exclusive") => exclusive = Some(switch()?),
                Some("reasoning_exclusive") => reasoning_exclusive = Some(switch()?),
                Some("reported_cost") => {
                    let cost = decimal(value).filter(|text| super::Amount::parse(text).is_some_and(|a| a.atto() >= 0));
                    let what = "an amount of dollars of at least 0";
                    question.given.total = Some(cost.ok_or_else(|| expected(name, what, value))?);
                }
                Some("prices") => {
                    let book = PriceBook::from_json(value).map_err(|why| Error::config(format!("{name}: {why}")))?;
                    question.book = Some(book);
                }
                Some(_) => {}
                None => {
                    let known: Vec<_> = WORDS.iter().chain(COUNTS.iter().map(|(word, _)| word)).collect();
                    let known: Vec<_> = known.into_iter().map(|word| language.name_of(word)).collect();
                    return Err(wrong(format!("cost: unknown word {name}; known are {}", known.join(", "))));
                }
            }
        }
        if let Some(long) = counts.cache_write_1h.filter(|_| asked && counts.cache_write_5m.is_none()) {
            let all = counts.cache_write.unwrap_or(long);
            counts.cache_write = Some(all.max(long));
            counts.cache_write_5m = Some(all.saturating_sub(long).max(0));
        }
        let vercel = properties.get("$ai_framework").and_then(Value::as_str) == Some("vercel");
        question.read_usage(&counts, exclusive, vercel, reasoning_exclusive);
        Ok(question)
    }

    /// The question that a stored event puts again. What an earlier answer of ours left on it is no part of the
    /// question; what the provider or the application said is.
    pub fn of_event(properties: &Map<String, Value>, at_unix_ms: i64) -> Self {
        let mut question = Self { at_unix_ms, ..Self::default() };
        question.read_call(properties);
        let source = properties.get("$ai_cost_model_source").and_then(Value::as_str);
        let details = properties.get("$ai_cost_details");
        if !brought_prices(properties) {
            question.overrides = None;
        }
        question.local = source == Some(Source::Local.as_str());
        question.given = match details {
            None => Given::of(properties.iter().map(|(name, value)| (name.as_str(), value))),
            Some(details) => Given::of_details(details),
        };
        let exclusive = properties.get("$ai_cache_reporting_exclusive").and_then(Value::as_bool);
        let vercel = properties.get("$ai_framework").and_then(Value::as_str) == Some("vercel");
        question.read_usage(&Counts::from_properties(properties), exclusive, vercel, None);
        question
    }

    /// The same usage at another model, as its own maker sells it: for what-if.
    #[must_use]
    pub fn at_model(&self, provider: &str, model: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            at_unix_ms: now(),
            usage: self.usage,
            repairs: self.repairs,
            ..Self::default()
        }
    }

    fn read_call(&mut self, properties: &Map<String, Value>) {
        let text = |name: &str| properties.get(name).and_then(Value::as_str);
        text("$ai_provider").unwrap_or_default().clone_into(&mut self.provider);
        text("$ai_model").unwrap_or_default().clone_into(&mut self.model);
        let asked = || properties.get("$ai_model_parameters")?.get("service_tier")?.as_str();
        // Events of ours say which tier served; elsewhere the one that was asked for is all there is.
        let asked = asked().filter(|_| text("$ai_lib") != Some("llmtrail"));
        self.service_tier = text("$ai_service_tier").or(asked).map(str::to_owned);
        let kept_in = || properties.get("$ai_usage").and_then(crate::decode::kept_in);
        self.region = text("$ai_base_url").and_then(region_of).or_else(kept_in).map(str::to_owned);
        self.overrides = Overrides::from_properties(properties);
        self.another_model = properties.get("$ai_usage").is_some_and(crate::decode::used_another_model);
    }

    fn read_usage(&mut self, counts: &Counts, exclusive: Option<bool>, vercel: bool, reasoning: Option<bool>) {
        let mut convention = Convention::usual(&self.provider, &self.model);
        if let Some(outside) = exclusive {
            (convention.cache_outside, convention.stated) = (outside, true);
        } else if vercel {
            convention.cache_outside = false;
        }
        convention.reasoning_outside = reasoning.unwrap_or(convention.reasoning_outside);
        (self.usage, self.repairs) = counts.usage(convention);
    }

    /// What it used, as disjoint buckets.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// When the call was made, in milliseconds since 1970.
    pub fn at_unix_ms(&self) -> i64 {
        self.at_unix_ms
    }

    /// The answer, by the question's own prices or else by these.
    pub fn cost(&self, book: &PriceBook) -> Cost {
        self.ask(book, price)
    }

    fn ask<T>(&self, book: &PriceBook, ask: impl Fn(&PriceBook, &Query<'_>) -> T) -> T {
        let (given, parts) = (&self.given, self.given.parts());
        let query = Query {
            service_tier: self.service_tier.as_deref(),
            region: self.region.as_deref(),
            local: self.local,
            reported_usd: given.total.as_deref(),
            reported_parts: Some(&parts),
            overrides: self.overrides.as_ref(),
            another_model: self.another_model,
            ..Query::new(&self.provider, &self.model, &self.usage, self.at_unix_ms)
        };
        ask(self.book.as_ref().unwrap_or(book), &query)
    }

    /// The answer as JSON: that of [`Cost::to_value`], and with it `prices` and `over` (the prices that the call goes
    /// by, and those above a number of input tokens: USD per million tokens, per request, per search), `at`, and
    /// `repaired`: what had to be mended in the counts. A question without counts has no cost, but says what there is
    /// to say of the model.
    pub fn answer(&self, book: &PriceBook) -> Value {
        self.answer_with(book, Language::Rust, |answer| serde_json::to_value(answer).unwrap_or_default())
    }

    /// The same as text, with the names as a language spells them.
    pub fn answer_in(&self, book: &PriceBook, language: Language) -> String {
        self.answer_with(book, language, |answer| serde_json::to_string(answer).unwrap_or_default())
    }

    fn answer_with<T>(&self, book: &PriceBook, language: Language, write: impl FnOnce(&Answer<'_>) -> T) -> T {
        let described = self.ask(book, describe);
        let asked = Asked { described, at_unix_ms: self.at_unix_ms, repairs: self.repairs };
        write(&Answer { language, cost: &self.cost(book), asked: Some(asked) })
    }
}

/// The call brought its unit prices.
pub(crate) fn brought_prices(properties: &Map<String, Value>) -> bool {
    let Some(details) = properties.get("$ai_cost_details") else { return true };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    text(properties.get("$ai_cost_model_source")).as_deref() == Some(Source::Custom.as_str())
        && text(details.get("match")).as_deref() == Some("given")
}

/// The time on an event.
fn timestamp(properties: &Map<String, Value>) -> Option<i64> {
    let text = properties.get("timestamp").and_then(Value::as_str)?;
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// A moment: a day and time with its zone, a day (in UTC), or a number since 1970 in the language's unit.
fn moment(value: &Value, language: Language) -> Option<i64> {
    if let Some(number) = value.as_f64() {
        return to_i64((if language == Language::Python { number * 1e3 } else { number }).round());
    }
    let text = value.as_str()?.trim();
    let whole = text.parse::<jiff::Timestamp>().ok();
    // Without a zone it is UTC.
    let whole = whole.or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    });
    whole.map(jiff::Timestamp::as_millisecond)
}

fn to_i64(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be far inside the range")]
    (number.abs() < 1e15).then_some(number as i64)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn expected(name: &str, what: &str, got: &Value) -> Error {
    wrong(format!("{name}: expected {what}, got {got}"))
}
