//! The names that a thread asked for lately, and what they come to in the built-in table.
//!
//! A program calls few models, over and over. The table never changes, nor what a name in it leads to: neither dates,
//! counts nor custom prices have a part in that, so nothing here grows old.

use std::cell::RefCell;

use super::Query;
use super::catalogue::CATALOGUE;
use super::choose::{Choice, Provider, choose};
use super::cost::Reason;
use super::name::{ModelName, Space, fold};

/// What a call's names come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The provider, when there is one of that name.
    pub provider: Option<u16>,
    /// The row of the model at that provider.
    pub choice: Result<Choice, Reason>,
}

/// A power of two. Names have one place, and take it from the names before.
const SLOTS: usize = 64;
/// Longer names are found anew each time.
const LONGEST: usize = 120;

struct Slot {
    lengths: u64,
    text: [u8; LONGEST],
    known: Known,
}

/// The parts of a call's names, and their lengths in one number: so one comparison tells most names apart.
#[derive(Clone, Copy)]
struct Names<'a> {
    lengths: u64,
    model: &'a [u8],
    provider: &'a [u8],
    tier: &'a [u8],
    region: &'a [u8],
}

thread_local! {
    static RECENT: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// What the names of a call come to: remembered, or else found.
pub(crate) fn known(query: &Query<'_>) -> Known {
    let Some(names) = Names::of(query) else { return find(query) };
    let remembered = RECENT.try_with(|recent| {
        let mut recent = recent.try_borrow_mut().ok()?;
        if recent.is_empty() {
            recent.resize_with(SLOTS, Slot::empty);
        }
        let slot = recent.get_mut(names.place())?;
        if !slot.is_of(names) {
            slot.put(names, find(query));
        }
        Some(slot.known)
    });
    // A thread that is ending has no memory any more.
    remembered.ok().flatten().unwrap_or_else(|| find(query))
}

/// What the names of a call come to.
#[inline(never)]
pub(crate) fn find(query: &Query<'_>) -> Known {
    let catalogue = &*CATALOGUE;
    let (mut for_provider, mut for_model) = (Space::new(), Space::new());
    let folded = fold(query.provider, &mut for_provider).unwrap_or_default();
    let provider = Provider::read(catalogue, folded);
    let choice = match ModelName::read(query.model, &mut for_model) {
        Some(model) => choose(catalogue, query, provider, &model),
        None => Err(nameless(query)),
    };
    Known { provider: provider.map(|provider| provider.number), choice }
}

/// Why there is no price for what cannot be the name of a listed model.
pub(crate) fn nameless(query: &Query<'_>) -> Reason {
    if query.model.trim().is_empty() { Reason::NoModel } else { Reason::UnknownModel }
}

impl<'a> Names<'a> {
    /// `None` when they are too long.
    fn of(query: &Query<'a>) -> Option<Self> {
        let (tier, region) = (query.service_tier.map(str::as_bytes), query.region.map(str::as_bytes));
        let (model, provider) = (query.model.as_bytes(), query.provider.as_bytes());
        let optional = |part: Option<&[u8]>| part.map_or(0, |text| text.len() + 1);
        let lengths = [model.len(), provider.len(), optional(tier), optional(region)];
        if lengths.iter().any(|length| *length > LONGEST) || lengths.iter().sum::<usize>() > LONGEST {
            return None;
        }
        let lengths = lengths.iter().fold(0, |all, length| all << 8 | *length as u64);
        Some(Self { lengths, model, provider, tier: tier.unwrap_or_default(), region: region.unwrap_or_default() })
    }

    /// Where they are kept. What tells names apart is mostly at their end.
    fn place(self) -> usize {
        const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
        let end = |text: &[u8]| match text.last_chunk::<8>() {
            Some(end) => u64::from_le_bytes(*end),
            None => text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let middle = self.model.get(self.model.len() / 2).copied().unwrap_or_default();
        let mixed = (end(self.model) ^ end(self.provider).rotate_left(7) ^ u64::from(middle) ^ self.lengths)
            .wrapping_mul(PRIME);
        usize::try_from(mixed >> (u64::BITS - SLOTS.trailing_zeros())).unwrap_or_default()
    }

    fn parts(self) -> [&'a [u8]; 4] {
        [self.model, self.provider, self.tier, self.region]
    }
}

impl Slot {
    /// Nobody's: no names have such lengths.
    fn empty() -> Self {
        let known = Known { provider: None, choice: Err(Reason::NoModel) };
        Self { lengths: u64::MAX, text: [0; LONGEST], known }
    }

    fn is_of(&self, names: Names<'_>) -> bool {
        let mut from = 0;
        self.lengths == names.lengths
            && names.parts().into_iter().all(|part| {
                let to = from + part.len();
                // An empty text has no address, and comparing there is slow.
                let same = part.is_empty() || self.text.get(from..to) == Some(part);
                from = to;
                same
            })
    }

    fn put(&mut self, names: Names<'_>, known: Known) {
        let mut from = 0;
        for part in names.parts() {
            self.text[from..from + part.len()].copy_from_slice(part);
            from += part.len();
        }
        (self.lengths, self.known) = (names.lengths, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::usage::Usage;

    #[test]
    fn every_name_has_the_answer_that_finding_it_gives() {
        let usage = Usage::default();
        let models = ["gpt-5-mini", "gpt-5", "claude-sonnet-4-5", "", "test", "us.anthropic.claude-haiku-4-5-v1:0"];
        let long = format!("{}/gpt-5", "x".repeat(LONGEST));
        let providers = ["openai", "azure", "amazon-bedrock", "", "nobody", "anthropic"];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            for model in models.into_iter().chain([long.as_str()]) {
                for provider in providers {
                    for tier in [None, Some(""), Some("flex"), Some("batch")] {
                        for region in [None, Some(""), Some("us-east-1"), Some("eu")] {
                            let mut query = Query::new(provider, model, &usage, 0);
                            (query.service_tier, query.region) = (tier, region);
                            let found = format!("{:?}", find(&query));
                            assert_eq!(format!("{:?}", known(&query)), found, "{query:?}");
                            seen.insert(found);
                        }
                    }
                }
            }
        }
        assert!(seen.len() > 20, "{} different answers", seen.len());
    }

    #[test]
    fn parts_of_names_are_not_taken_for_one_another() {
        let usage = Usage::default();
        let query = |model, provider, tier, region| Query {
            service_tier: tier,
            region,
            ..Query::new(provider, model, &usage, 0)
        };
        let queries = [
            query("gpt-5", "openai", None, None),
            query("gpt-5o", "penai", None, None),
            query("gpt-5", "openai", Some(""), None),
            query("gpt-5", "openai", None, Some("")),
            query("gpt-5", "openai", Some("eu"), None),
            query("gpt-5", "openai", None, Some("eu")),
            query("gpt-5", "openai", Some("e"), Some("u")),
            query("gpt-6", "openai", None, None),
            query("my-o1-router", "", None, None),
        ];
        for (kept, query) in queries.iter().enumerate() {
            let mut slot = Slot::empty();
            slot.put(Names::of(query).expect("short"), find(query));
            for (asked, query) in queries.iter().enumerate() {
                assert_eq!(slot.is_of(Names::of(query).expect("short")), kept == asked, "{kept} {asked}");
            }
        }
    }
}
