//! Unit prices, and the sum of bucket times unit price.

use super::amount::Amount;
use crate::event::usage::Usage;

/// What a price is for. The order is that of the catalogue's table (`core/data/build_catalogue.py` has the same list).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rate {
    /// Text input, per token.
    Input,
    /// Text output, per token.
    Output,
    /// Input read from a cache, per token.
    CacheRead,
    /// Input written to a cache for five minutes, or with no stated lifetime; per token.
    CacheWrite,
    /// Input written to a cache for an hour, per token.
    CacheWrite1h,
    /// Audio input, per token.
    AudioIn,
    /// Audio input read from a cache, per token.
    AudioCached,
    /// Image input, per token.
    ImageIn,
    /// Reasoning output where it has a price of its own, per token.
    Reasoning,
    /// Audio output, per token.
    AudioOut,
    /// Image output, per token.
    ImageOut,
    /// Per request.
    Request,
    /// Per web search.
    WebSearch,
}

impl Rate {
    /// Every rate, in the order of the table.
    pub const ALL: [Self; 13] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::AudioIn,
        Self::AudioCached,
        Self::ImageIn,
        Self::Reasoning,
        Self::AudioOut,
        Self::ImageOut,
        Self::Request,
        Self::WebSearch,
    ];

    /// The name in price files and in `llmtrail price`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioIn => "audio_input",
            Self::AudioCached => "audio_cache_read",
            Self::ImageIn => "image_input",
            Self::Reasoning => "reasoning",
            Self::AudioOut => "audio_output",
            Self::ImageOut => "image_output",
            Self::Request => "request",
            Self::WebSearch => "web_search",
        }
    }

    /// The rate of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.name() == name)
    }

    /// Price files give 10^this many units a price: tokens by the million, requests and searches one by one.
    pub const fn power(self) -> u32 {
        match self {
            Self::Request | Self::WebSearch => 0,
            _ => 6,
        }
    }
}

/// Prices of one unit each; a rate that is not there is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    known: u16,
    values: [Amount; Rate::ALL.len()],
}

impl Rates {
    /// No rate.
    pub(crate) const NONE: Self = Self { known: 0, values: [Amount::ZERO; Rate::ALL.len()] };

    /// The price of one unit.
    pub fn get(&self, rate: Rate) -> Option<Amount> {
        (self.known & (1 << rate as u8) != 0).then(|| self.values[rate as usize])
    }

    /// Sets the price of one unit.
    pub fn set(&mut self, rate: Rate, price: Amount) {
        self.known |= 1 << rate as u8;
        self.values[rate as usize] = price;
    }

    /// Whether no rate is known.
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// The rates that are known.
    pub fn iter(&self) -> impl Iterator<Item = (Rate, Amount)> + '_ {
        Rate::ALL.into_iter().filter_map(|rate| Some((rate, self.get(rate)?)))
    }
}

/// A part of what a call used, and of its cost; the order is that of [`Usage`]'s fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bucket {
    /// [`Usage::input_text`]
    InputText,
    /// [`Usage::cache_read`]
    CacheRead,
    /// [`Usage::cache_write_5m`]
    CacheWrite5m,
    /// [`Usage::cache_write_1h`]
    CacheWrite1h,
    /// [`Usage::audio_in`]
    AudioIn,
    /// [`Usage::audio_cached`]
    AudioCached,
    /// [`Usage::image_in`]
    ImageIn,
    /// [`Usage::output_text`]
    OutputText,
    /// [`Usage::reasoning`]
    Reasoning,
    /// [`Usage::audio_out`]
    AudioOut,
    /// [`Usage::image_out`]
    ImageOut,
    /// [`Usage::requests`]
    Requests,
    /// [`Usage::web_searches`]
    WebSearches,
}

impl Bucket {
    /// Every bucket, in the order of [`Usage`]'s fields.
    pub const ALL: [Self; 13] = [
        Self::InputText,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::AudioIn,
        Self::AudioCached,
        Self::ImageIn,
        Self::OutputText,
        Self::Reasoning,
        Self::AudioOut,
        Self::ImageOut,
        Self::Requests,
        Self::WebSearches,
    ];

    /// Every bucket, in the order of their names.
    pub(crate) const BY_NAME: [Self; Self::ALL.len()] = [
        Self::AudioCached,
        Self::AudioIn,
        Self::AudioOut,
        Self::CacheRead,
        Self::CacheWrite1h,
        Self::CacheWrite5m,
        Self::ImageIn,
        Self::ImageOut,
        Self::InputText,
        Self::OutputText,
        Self::Reasoning,
        Self::Requests,
        Self::WebSearches,
    ];

    /// The bucket's name: that of its field of [`Usage`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputText => "input_text",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioIn => "audio_in",
            Self::AudioCached => "audio_cached",
            Self::ImageIn => "image_in",
            Self::OutputText => "output_text",
            Self::Reasoning => "reasoning",
            Self::AudioOut => "audio_out",
            Self::ImageOut => "image_out",
            Self::Requests => "requests",
            Self::WebSearches => "web_searches",
        }
    }

    /// The rate of the bucket's own.
    const fn rate(self) -> Rate {
        match self {
            Self::InputText => Rate::Input,
            Self::CacheRead => Rate::CacheRead,
            Self::CacheWrite5m => Rate::CacheWrite,
            Self::CacheWrite1h => Rate::CacheWrite1h,
            Self::AudioIn => Rate::AudioIn,
            Self::AudioCached => Rate::AudioCached,
            Self::ImageIn => Rate::ImageIn,
            Self::OutputText => Rate::Output,
            Self::Reasoning => Rate::Reasoning,
            Self::AudioOut => Rate::AudioOut,
            Self::ImageOut => Rate::ImageOut,
            Self::Requests => Rate::Request,
            Self::WebSearches => Rate::WebSearch,
        }
    }

    /// The units of every bucket, in the order of [`Self::ALL`].
    fn units(usage: &Usage) -> [Option<u64>; Self::ALL.len()] {
        [
            usage.input_text,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.audio_in,
            usage.audio_cached,
            usage.image_in,
            usage.output_text,
            usage.reasoning,
            usage.audio_out,
            usage.image_out,
            usage.requests,
            usage.web_searches,
        ]
    }
}

/// Something that had to be assumed to arrive at a price: each is one line in the details of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Assumption {
    /// No price for cache reads: a tenth of the input price (Anthropic's scheme).
    CacheReadTenth,
    /// No price for cache reads: the input price.
    CacheReadInput,
    /// No price for cache writes: 1.25 times the input price (Anthropic's scheme).
    CacheWriteQuarterMore,
    /// No price for cache writes: the input price.
    CacheWriteInput,
    /// No price for one-hour cache writes: twice the input price (Anthropic's scheme).
    CacheWrite1hDouble,
    /// No price for one-hour cache writes: the price of a cache write.
    CacheWrite1hWrite,
    /// No price for audio input: the text price.
    AudioInText,
    /// No price for cached audio: that of cached text.
    AudioCachedText,
    /// No price for cached audio nor cached text: that of audio input.
    AudioCachedFull,
    /// No price for image input: the text price.
    ImageInText,
    /// No price for audio output: the text price.
    AudioOutText,
    /// No price for image output: the text price.
    ImageOutText,
    /// The number of requests was not reported: one.
    OneRequest,
    /// Web searches were reported and have no price: counted as nothing.
    SearchesUnpriced,
    /// The region is not known or not listed: the global price.
    RegionGlobal,
    /// The region is not known or not listed, and no price is global: the cheapest.
    RegionCheapest,
    /// The provider lists several variants (such as quantizations): the cheapest.
    VariantCheapest,
    /// The mode asked for (flex, batch, ...) has no price of its own: the standard price.
    ModeStandard,
    /// The provider has no price for the model: that of the provider it resells.
    Resold,
    /// The provider is not known, or was not given: the price of the model's maker.
    Maker,
    /// Only OpenRouter lists the model, and it was called elsewhere: its price at OpenRouter.
    ListedByRouter,
    /// The name asks for a routing (`:nitro`, `:floor`, ...): the model's default price.
    Routed,
    /// Another model's tokens came with the call (an advisor's), and are not in its cost.
    AnotherModelLeftOut,
    /// The model was kept in the US, for which Anthropic takes a tenth more.
    KeptInUs,
}

impl Assumption {
    const ALL: [(Self, &'static str); 24] = [
        (Self::CacheReadTenth, "no price for cache reads: 0.1 times the input price"),
        (Self::CacheReadInput, "no price for cache reads: the input price"),
        (Self::CacheWriteQuarterMore, "no price for cache writes: 1.25 times the input price"),
        (Self::CacheWriteInput, "no price for cache writes: the input price"),
        (Self::CacheWrite1hDouble, "no price for one-hour cache writes: 2 times the input price"),
        (Self::CacheWrite1hWrite, "no price for one-hour cache writes: the price of a cache write"),
        (Self::AudioInText, "no price for audio input: the text price"),
        (Self::AudioCachedText, "no price for cached audio: the price of cached text"),
        (Self::AudioCachedFull, "no price for cached audio: the price of audio input"),
        (Self::ImageInText, "no price for image input: the text price"),
        (Self::AudioOutText, "no price for audio output: the text price"),
        (Self::ImageOutText, "no price for image output: the text price"),
        (Self::OneRequest, "the number of requests was not reported: one"),
        (Self::SearchesUnpriced, "web searches have no known price: counted as nothing"),
        (Self::RegionGlobal, "no price for the region: the global price"),
        (Self::RegionCheapest, "no price for the region: the cheapest region's price"),
        (Self::VariantCheapest, "the provider has several variants of the model: the cheapest one's price"),
        (Self::ModeStandard, "no price for this service tier: the standard price"),
        (Self::Resold, "the provider has no price of its own for the model: the price where it is first sold"),
        (Self::Maker, "the provider has no price list: the price of the model's maker"),
        (Self::ListedByRouter, "only OpenRouter lists the model: its price there"),
        (Self::Routed, "the name asks for a routing: the model's default price"),
        (Self::AnotherModelLeftOut, "another model's tokens (an advisor's) came with the call: not in this cost"),
        (Self::KeptInUs, "the model was kept in the US: 1.1 times the listed price of tokens"),
    ];
}

/// A set of [`Assumption`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Assumptions(u32);

impl Assumptions {
    pub(crate) fn add(&mut self, assumption: Assumption) {
        self.0 |= 1 << assumption as u8;
    }

    /// Whether this was assumed.
    pub fn contains(self, assumption: Assumption) -> bool {
        self.0 & (1 << assumption as u8) != 0
    }

    /// The assumptions as sentences.
    pub fn sentences(self) -> impl Iterator<Item = &'static str> {
        Assumption::ALL.into_iter().filter(move |(a, _)| self.contains(*a)).map(|(_, text)| text)
    }
}

/// One bucket's part of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// How many tokens, requests or searches.
    pub units: u64,
    /// The price of one.
    pub unit_price: Amount,
}

impl Line {
    /// Units times price.
    pub fn amount(&self) -> Amount {
        self.unit_price.times(self.units)
    }
}

/// The lines of a bill, by bucket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bill {
    reported: u16,
    pub(crate) assumptions: Assumptions,
    units: [u64; Bucket::ALL.len()],
    unit_prices: [Amount; Bucket::ALL.len()],
}

impl Bill {
    /// No line.
    pub(crate) const NONE: Self = Self {
        reported: 0,
        assumptions: Assumptions(0),
        units: [0; Bucket::ALL.len()],
        unit_prices: [Amount::ZERO; Bucket::ALL.len()],
    };

    /// The line of a bucket; `None` when the bucket was not reported.
    pub fn line(&self, bucket: Bucket) -> Option<Line> {
        let at = bucket as usize;
        (self.reported & (1 << at) != 0).then(|| Line { units: self.units[at], unit_price: self.unit_prices[at] })
    }

    pub(crate) fn sum(&self, buckets: std::ops::RangeInclusive<Bucket>) -> Amount {
        let (from, to) = (*buckets.start() as u32, *buckets.end() as u32);
        let mut left = self.reported & (u16::MAX >> (u16::BITS - 1 - to)) & (u16::MAX << from);
        let mut sum = Amount::ZERO;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            sum = sum + self.unit_prices[at].times(self.units[at]);
        }
        sum
    }
}

/// Prices each bucket of `usage` into an empty `bill`; the bucket that has units and no price when there is one.
///
/// `anthropic`: whether the model's cache is priced by Anthropic's scheme, which is asked where a price is missing.
pub(crate) fn bill(rates: &Rates, usage: &Usage, anthropic: impl Fn() -> bool, bill: &mut Bill) -> Result<(), Bucket> {
    let mut units = Bucket::units(usage);
    let requests = &mut units[Bucket::Requests as usize];
    if requests.is_none() && rates.get(Rate::Request).is_some() {
        *requests = Some(1);
        bill.assumptions.add(Assumption::OneRequest);
    }
    for (at, units) in units.iter().enumerate() {
        let Some(units) = *units else { continue };
        let bucket = Bucket::ALL[at];
        let (price, assumption) = match rates.get(bucket.rate()) {
            Some(price) => (Some(price), None),
            None => substitute(rates, bucket, &anthropic),
        };
        let Some(unit_price) = price else {
            if units > 0 {
                return Err(bucket);
            }
            continue;
        };
        if let (Some(assumption), true) = (assumption, units > 0) {
            bill.assumptions.add(assumption);
        }
        bill.reported |= 1 << at;
        bill.units[at] = units;
        bill.unit_prices[at] = unit_price;
    }
    Ok(())
}

/// The price of a bucket that has none of its own, and what is assumed in taking it.
#[inline(never)]
fn substitute(rates: &Rates, bucket: Bucket, anthropic: &impl Fn() -> bool) -> (Option<Amount>, Option<Assumption>) {
    let input = rates.get(Rate::Input);
    let output = rates.get(Rate::Output);
    let (price, assumption) = match bucket {
        Bucket::InputText | Bucket::OutputText => return (None, None),
        Bucket::Reasoning => return (output, None),
        Bucket::Requests => return (Some(Amount::ZERO), None),
        Bucket::CacheRead if anthropic() => (input.map(|p| p.scaled(1, 10)), Assumption::CacheReadTenth),
        Bucket::CacheRead => (input, Assumption::CacheReadInput),
        Bucket::CacheWrite5m if anthropic() => (input.map(|p| p.scaled(5, 4)), Assumption::CacheWriteQuarterMore),
        Bucket::CacheWrite5m => (input, Assumption::CacheWriteInput),
        Bucket::CacheWrite1h => match (rates.get(Rate::CacheWrite), input) {
            // A write price that is not 1.25 times the input is not of Anthropic's scheme: it stands for both lifetimes.
            (Some(write), Some(input)) if !anthropic() || write != input.scaled(5, 4) => {
                (Some(write), Assumption::CacheWrite1hWrite)
            }
            _ if anthropic() => (input.map(|p| p.scaled(2, 1)), Assumption::CacheWrite1hDouble),
            (write, _) => (write.or(input), Assumption::CacheWrite1hWrite),
        },
        Bucket::AudioIn => (input, Assumption::AudioInText),
        Bucket::AudioCached => match rates.get(Rate::CacheRead) {
            Some(cached) => (Some(cached), Assumption::AudioCachedText),
            None => (rates.get(Rate::AudioIn).or(input), Assumption::AudioCachedFull),
        },
        Bucket::ImageIn => (input, Assumption::ImageInText),
        Bucket::AudioOut => (output, Assumption::AudioOutText),
        Bucket::ImageOut => (output, Assumption::ImageOutText),
        Bucket::WebSearches => (Some(Amount::ZERO), Assumption::SearchesUnpriced),
    };
    (price, Some(assumption))
}
