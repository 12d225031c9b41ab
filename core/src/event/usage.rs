//! What a call used, as disjoint buckets.

/// Units that one call used. Buckets never overlap, so that cost is a plain sum of bucket times price.
///
/// `None` means that the provider did not report the bucket; zero means that it reported zero.
/// Counts are tokens except for [`requests`](Self::requests) and [`web_searches`](Self::web_searches).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Text input that was neither read from nor written to a cache.
    pub input_text: Option<u64>,
    /// Input read from the provider's prompt cache.
    pub cache_read: Option<u64>,
    /// Input written to the cache for five minutes (or with no stated lifetime).
    pub cache_write_5m: Option<u64>,
    /// Input written to the cache for one hour.
    pub cache_write_1h: Option<u64>,
    /// Audio input, not cached.
    pub audio_in: Option<u64>,
    /// Audio input read from the cache.
    pub audio_cached: Option<u64>,
    /// Image input.
    pub image_in: Option<u64>,
    /// Text output that is not reasoning.
    pub output_text: Option<u64>,
    /// Reasoning (thinking) output.
    pub reasoning: Option<u64>,
    /// Audio output.
    pub audio_out: Option<u64>,
    /// Image output.
    pub image_out: Option<u64>,
    /// Requests, where a provider charges per request.
    pub requests: Option<u64>,
    /// Web searches that the provider ran.
    pub web_searches: Option<u64>,
}

impl Usage {
    /// All input tokens, cached ones included; `None` when nothing about input was reported.
    pub fn input_total(&self) -> Option<u64> {
        sum(&[
            self.input_text,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.audio_in,
            self.audio_cached,
            self.image_in,
        ])
    }

    /// All output tokens; `None` when nothing about output was reported.
    pub fn output_total(&self) -> Option<u64> {
        sum(&[self.output_text, self.reasoning, self.audio_out, self.image_out])
    }
}

impl Usage {
    /// The buckets that were reported, by name.
    pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("input_text", self.input_text),
            ("cache_read", self.cache_read),
            ("cache_write_5m", self.cache_write_5m),
            ("cache_write_1h", self.cache_write_1h),
            ("audio_in", self.audio_in),
            ("audio_cached", self.audio_cached),
            ("image_in", self.image_in),
            ("output_text", self.output_text),
            ("reasoning", self.reasoning),
            ("audio_out", self.audio_out),
            ("image_out", self.image_out),
            ("requests", self.requests),
            ("web_searches", self.web_searches),
        ]
        .into_iter()
        .filter_map(|(name, units)| Some((name, units?)))
    }
}

fn sum(parts: &[Option<u64>]) -> Option<u64> {
    parts.iter().flatten().copied().reduce(u64::saturating_add)
}

impl Usage {
    /// Adds another call's buckets to these; a bucket that neither reported stays absent.
    pub(crate) fn add(&mut self, other: &Self) {
        fn plus(into: &mut Option<u64>, more: Option<u64>) {
            if let Some(more) = more {
                *into = Some(into.unwrap_or(0).saturating_add(more));
            }
        }
        plus(&mut self.input_text, other.input_text);
        plus(&mut self.cache_read, other.cache_read);
        plus(&mut self.cache_write_5m, other.cache_write_5m);
        plus(&mut self.cache_write_1h, other.cache_write_1h);
        plus(&mut self.audio_in, other.audio_in);
        plus(&mut self.audio_cached, other.audio_cached);
        plus(&mut self.image_in, other.image_in);
        plus(&mut self.output_text, other.output_text);
        plus(&mut self.reasoning, other.reasoning);
        plus(&mut self.audio_out, other.audio_out);
        plus(&mut self.image_out, other.image_out);
        plus(&mut self.requests, other.requests);
        plus(&mut self.web_searches, other.web_searches);
    }
}
