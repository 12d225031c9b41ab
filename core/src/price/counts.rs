//! From counts as providers and PostHog's properties give them, where some lie inside others, to disjoint buckets.

use serde_json::{Map, Value};

use crate::event::usage::Usage;

/// Token counts as reported: cached, audio and image counts may lie inside the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Input tokens; see [`Convention::cache_outside`].
    pub input: Option<i64>,
    /// Output tokens; see [`Convention::reasoning_outside`].
    pub output: Option<i64>,
    /// Input read from a cache.
    pub cache_read: Option<i64>,
    /// Input written to a cache, of any lifetime.
    pub cache_write: Option<i64>,
    /// The part of `cache_write` with five minutes to live; counts only together with the next one.
    pub cache_write_5m: Option<i64>,
    /// The part of `cache_write` with one hour to live; counts only together with the one before.
    pub cache_write_1h: Option<i64>,
    /// Audio input, cached audio included.
    pub audio_in: Option<i64>,
    /// Audio input read from a cache; inside both `audio_in` and `cache_read`.
    pub audio_cached: Option<i64>,
    /// Image input.
    pub image_in: Option<i64>,
    /// Text output without reasoning, where it is told apart.
    pub text_out: Option<i64>,
    /// Reasoning output.
    pub reasoning: Option<i64>,
    /// Audio output.
    pub audio_out: Option<i64>,
    /// Image output.
    pub image_out: Option<i64>,
    /// Requests.
    pub requests: Option<i64>,
    /// Web searches.
    pub web_searches: Option<i64>,
    /// A count had a fraction, and was rounded.
    pub had_fraction: bool,
}

/// Which counts lie inside which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Convention {
    /// Cache reads and writes are not part of the input count (Anthropic's way).
    pub cache_outside: bool,
    /// The convention was stated, not inferred from provider and model: counts that contradict it are clamped.
    pub stated: bool,
    /// Reasoning is not part of the output count (Gemini's way).
    pub reasoning_outside: bool,
}

impl Convention {
    /// What is usual for a provider and model.
    ///
    /// Claude's counts exclude the cache wherever it is served; Gemini's output excludes thoughts since 2.5, the first
    /// that thinks.
    pub fn usual(provider: &str, model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let name = model.rsplit('/').next().unwrap_or_default();
        Self {
            cache_outside: super::canonical_provider(provider) == "anthropic"
                || name.contains("claude")
                || model.starts_with("anthropic/"),
            stated: false,
            reasoning_outside: thinks_beside_output(name),
        }
    }
}

/// `gemini-2.5-*`, `gemini-3-*` and later.
fn thinks_beside_output(name: &str) -> bool {
    let Some((_, version)) = name.split_once("gemini-") else {
        return false;
    };
    let number: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    number.parse::<f64>().is_ok_and(|v| v >= 2.5)
}

/// What had to be mended to make counts consistent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repairs {
    /// A count was negative: taken as zero.
    pub negative: bool,
    /// More was cached than there was input: the cache is counted beside the input.
    pub cache_outside_after_all: bool,
    /// Parts were larger than their whole: the remainder is taken as zero.
    pub parts_exceed_whole: bool,
    /// A count had a fraction: rounded.
    pub fraction: bool,
}

impl Repairs {
    /// Whether anything was mended.
    pub fn any(self) -> bool {
        self.negative || self.cache_outside_after_all || self.parts_exceed_whole || self.fraction
    }

    /// What was mended, as sentences.
    pub fn sentences(self) -> impl Iterator<Item = &'static str> {
        [
            (self.negative, "a count was negative: taken as zero"),
            (
                self.cache_outside_after_all,
                "more was cached than there was input: the cache is counted beside the input",
            ),
            (self.parts_exceed_whole, "parts were larger than their whole: the rest of it is taken as zero"),
            (self.fraction, "a count had a fraction: rounded"),
        ]
        .into_iter()
        .filter_map(|(mended, sentence)| mended.then_some(sentence))
    }
}

impl Counts {
    /// The counts among an event's properties: whole numbers, or strings of one; anything else is not reported.
    pub fn from_properties(properties: &Map<String, Value>) -> Self {
        Self::of(|name| properties.get(name))
    }

    /// The same from wherever an event's properties are.
    pub(crate) fn of<'a>(property: impl Fn(&str) -> Option<&'a Value>) -> Self {
        let mut had_fraction = false;
        let mut count = |name: &str| match property(name)? {
            Value::Number(number) => number.as_i64().or_else(|| {
                let number = number.as_f64()?;
                had_fraction |= number.fract() != 0.0;
                rounded(number)
            }),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        Self {
            input: count("$ai_input_tokens"),
            output: count("$ai_output_tokens"),
            cache_read: count("$ai_cache_read_input_tokens"),
            cache_write: count("$ai_cache_creation_input_tokens"),
            cache_write_5m: count("$ai_cache_creation_5m_input_tokens"),
            cache_write_1h: count("$ai_cache_creation_1h_input_tokens"),
            audio_in: count("$ai_audio_input_tokens"),
            audio_cached: count("$ai_cache_read_audio_tokens"),
            image_in: count("$ai_image_input_tokens"),
            text_out: count("$ai_text_output_tokens"),
            reasoning: count("$ai_reasoning_tokens"),
            audio_out: count("$ai_audio_output_tokens"),
            image_out: count("$ai_image_output_tokens"),
            requests: count("$ai_request_count"),
            web_searches: count("$ai_web_search_count"),
            had_fraction,
        }
    }

    /// The disjoint buckets, and what had to be mended.
    pub fn usage(&self, convention: Convention) -> (Usage, Repairs) {
        let mut repairs = Repairs { fraction: self.had_fraction, ..Repairs::default() };
        let mut usage = Usage::default();
        let mut count = |value: Option<i64>| {
            repairs.negative |= value.is_some_and(i64::is_negative);
            value.map(|v| u64::try_from(v).unwrap_or(0))
        };
        let input = count(self.input);
        let cache_read = count(self.cache_read);
        let (write_5m, write_1h) = match (count(self.cache_write_5m), count(self.cache_write_1h)) {
            // Half a breakdown says nothing about the other half.
            (Some(short), Some(long)) => {
                let rest = count(self.cache_write).unwrap_or(0).saturating_sub(short.saturating_add(long));
                (Some(short.saturating_add(rest)), Some(long))
            }
            _ => (count(self.cache_write), None),
        };
        let (audio_in, image_in) = (count(self.audio_in), count(self.image_in));
        let audio_cached = count(self.audio_cached);
        let output = count(self.output);
        let text_out = count(self.text_out);
        let (reasoning, audio_out, image_out) = (count(self.reasoning), count(self.audio_out), count(self.image_out));
        usage.requests = count(self.requests);
        usage.web_searches = count(self.web_searches);

        let audio_cached = audio_cached.map(|cached| {
            let most = audio_in.unwrap_or(0).min(cache_read.unwrap_or(0));
            repairs.parts_exceed_whole |= cached > most;
            cached.min(most)
        });
        usage.cache_read = less(cache_read, audio_cached);
        usage.cache_write_5m = write_5m;
        usage.cache_write_1h = write_1h;
        usage.audio_in = less(audio_in, audio_cached);
        usage.audio_cached = audio_cached;
        usage.image_in = image_in;
        let cached = sum([cache_read, write_5m, write_1h, None]);
        let mut outside = convention.cache_outside;
        if !outside && !convention.stated && input.is_some_and(|all| cached > all) {
            outside = true;
            repairs.cache_outside_after_all = true;
        }
        let parts = sum([usage.audio_in, image_in, (!outside).then_some(cached), None]);
        usage.input_text = remainder(input, parts, &mut repairs);

        usage.audio_out = audio_out;
        usage.image_out = image_out;
        usage.reasoning = reasoning;
        if let Some(text) = text_out {
            usage.output_text = Some(text);
        } else if convention.reasoning_outside {
            usage.output_text = remainder(output, sum([audio_out, image_out, None, None]), &mut repairs);
        } else {
            // Reasoning is told apart from text only as far as there is output for it.
            let room = output.map(|all| all.saturating_sub(sum([audio_out, image_out, None, None])));
            if let (Some(room), Some(thought)) = (room, reasoning) {
                repairs.parts_exceed_whole |= thought > room;
                usage.reasoning = Some(thought.min(room));
            }
            usage.output_text = remainder(output, sum([audio_out, image_out, usage.reasoning, None]), &mut repairs);
        }
        (usage, repairs)
    }
}

fn rounded(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be far inside the range")]
    (number.abs() < 1e15).then(|| number.round() as i64)
}

fn sum(parts: [Option<u64>; 4]) -> u64 {
    parts.into_iter().flatten().fold(0, u64::saturating_add)
}

fn less(whole: Option<u64>, part: Option<u64>) -> Option<u64> {
    whole.map(|all| all.saturating_sub(part.unwrap_or(0)))
}

fn remainder(whole: Option<u64>, parts: u64, repairs: &mut Repairs) -> Option<u64> {
    let whole = whole?;
    repairs.parts_exceed_whole |= parts > whole;
    Some(whole.saturating_sub(parts))
}
