//! The generated table: static data, searched in place.
//!
//! `core/data/build_catalogue.py` writes `catalogue.bin` and describes its sources. The layout, all little-endian: a
//! header with the offset of each section, then the sections in the order of [`Section`]. Names and provider aliases
//! are found by open addressing; everything else is reached by place.

use std::sync::LazyLock;

use super::amount::Amount;
use super::cost::Name;
use super::rates::{Rate, Rates};

static BYTES: &[u8] = include_bytes!("catalogue.bin");

/// How a call is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// The list price.
    #[default]
    Standard,
    /// Asynchronous batches.
    Batch,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
    /// A faster variant of the same model.
    Fast,
    /// The fastest variant of the same model.
    Ultrafast,
    /// A faster variant at some hosts.
    Turbo,
    /// A faster variant at some hosts.
    Highspeed,
    /// `:free` models.
    Free,
}

impl Mode {
    /// Every mode, in the order of the table.
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::Standard, "standard"),
        (Self::Batch, "batch"),
        (Self::Flex, "flex"),
        (Self::Priority, "priority"),
        (Self::Fast, "fast"),
        (Self::Ultrafast, "ultrafast"),
        (Self::Turbo, "turbo"),
        (Self::Highspeed, "highspeed"),
        (Self::Free, "free"),
    ];

    /// The mode of that name (a service tier as a provider reports it, or the tail of a provider row's name).
    pub fn from_name(name: &str) -> Option<Self> {
        // Vertex AI's tiers of what is paid by use: `ON_DEMAND_FLEX`, `ON_DEMAND_PRIORITY`.
        const PAID_BY_USE: &str = "on_demand_";
        let tier = name.split_at_checked(PAID_BY_USE.len());
        let name = tier.filter(|(head, _)| head.eq_ignore_ascii_case(PAID_BY_USE)).map_or(name, |(_, tier)| tier);
        Self::ALL.into_iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(mode, _)| mode)
    }

    /// The mode's name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Where a catalogue's price is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// OpenRouter's price list.
    #[default]
    OpenRouter,
    /// genai-prices, and our own few rows.
    Manual,
    /// A known error in a source, put right.
    Correction,
}

/// A model's price at one provider, region and mode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'t> {
    pub region: &'t [u8],
    pub mode: Mode,
    /// The provider lists several variants, and this is the cheapest.
    pub cheapest_variant: bool,
    pub row: usize,
}

/// A price table: the built-in one, or one that was made at run time.
pub(crate) trait Table {
    /// The provider of a folded name or alias.
    fn provider(&self, folded: &str) -> Option<u16>;
    /// The list of rows of a folded model name.
    fn list(&self, name: &[u8]) -> Option<usize>;
    /// The providers of a list's rows.
    fn providers(&self, list: usize) -> impl Iterator<Item = u16> + Clone;
    /// The rows of a provider in a list.
    fn rows(&self, list: usize, provider: u16) -> impl Iterator<Item = Entry<'_>> + Clone;
    /// The prices of a row at a time, for a number of input tokens, into an empty `found`.
    fn prices_into(&self, row: usize, at_unix_ms: i64, input_tokens: u64, found: &mut Found);
    /// The same; a copy of what is large.
    fn prices(&self, row: usize, at_unix_ms: i64, input_tokens: u64) -> Found {
        let mut found = Found::default();
        self.prices_into(row, at_unix_ms, input_tokens, &mut found);
        found
    }
}

impl Found {
    /// None: in a constant, for it is copied in one piece.
    pub const NONE: Self = Self {
        rates: Rates::NONE,
        origin: Origin::OpenRouter,
        model: Name::Static(""),
        row: Name::Static(""),
        tier: None,
        other_unit: false,
    };
}

/// The prices of a row on a day, for a number of input tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub rates: Rates,
    pub origin: Origin,
    /// The source's name of the model.
    pub model: Name,
    /// The source's name of the provider row.
    pub row: Name,
    /// The threshold in input tokens above which these rates apply, when it was passed.
    pub tier: Option<u64>,
    /// The model is priced in a unit that is not counted (hours, characters, pages).
    pub other_unit: bool,
}

/// 2020-01-01 in days since 1970: the first day of the table's calendar.
const EPOCH_DAY: i64 = 18_262;
/// The bytes of a list's cell.
const CELL: usize = 6;
const OTHER_UNIT: u16 = 1 << 15;
/// The step holds only at some hours of the day, which follow it.
const AT_HOURS: u8 = 1 << 7;

/// The sections, in order. A pair is offsets and bytes.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Section {
    Numbers,
    StringOffsets,
    Strings,
    Sets,
    Rows,
    Lists,
    NameOffsets,
    Names,
    NameLists,
    NameIndex,
    ProviderOffsets,
    Providers,
    ProviderLocal,
    FallbackOffsets,
    Fallbacks,
    AliasOffsets,
    Aliases,
    AliasProviders,
    AliasIndex,
    MakerOffsets,
    Makers,
    MakerProviders,
    RegionOffsets,
    Regions,
    About,
}

const SECTIONS: usize = Section::About as usize + 1;

/// The table with the places of its sections read once.
pub(crate) struct Catalogue {
    sections: [&'static [u8]; SECTIONS],
    about: &'static str,
    openrouter: u16,
    anthropic: u16,
}

/// The one table of this build.
pub(crate) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::open);

impl Catalogue {
    fn open() -> Self {
        let word = |at: usize| {
            let bytes = BYTES.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
            u32::from_le_bytes(bytes) as usize
        };
        let mut sections: [&'static [u8]; SECTIONS] = [&[]; SECTIONS];
        for (number, section) in sections.iter_mut().enumerate() {
            let end = if number + 1 < SECTIONS { word(16 + 4 * number) } else { BYTES.len() };
            *section = BYTES.get(word(12 + 4 * number)..end).unwrap_or_default();
        }
        let mut catalogue = Self { sections, about: "", openrouter: u16::MAX, anthropic: u16::MAX };
        catalogue.about = str::from_utf8(catalogue.section(Section::About)).unwrap_or_default();
        catalogue.anthropic = catalogue.provider("anthropic").unwrap_or(u16::MAX);
        catalogue.openrouter = catalogue.provider("openrouter").unwrap_or(u16::MAX);
        catalogue
    }

    /// The sources and their dates.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// One of the sources' names: of a model, or of a provider's row.
    pub fn name(&self, number: u16) -> &'static str {
        self.text(Section::StringOffsets, Section::Strings, usize::from(number))
    }

    /// The provider whose rows are OpenRouter's own choice of a provider.
    pub fn openrouter(&self) -> u16 {
        self.openrouter
    }

    /// The provider whose scheme of cache prices stands in where one is missing.
    pub fn anthropic(&self) -> u16 {
        self.anthropic
    }

    /// The canonical name of a provider.
    pub fn provider_name(&self, provider: u16) -> &'static str {
        self.text(Section::ProviderOffsets, Section::Providers, usize::from(provider))
    }

    /// Whether the provider runs on the caller's own machines.
    pub fn is_local(&self, provider: u16) -> bool {
        self.byte(Section::ProviderLocal, usize::from(provider)) != 0
    }

    /// The providers whose models this one resells.
    pub fn fallbacks(&self, provider: u16) -> impl Iterator<Item = u16> {
        self.slice(Section::FallbackOffsets, Section::Fallbacks, usize::from(provider)).iter().map(|&b| u16::from(b))
    }

    /// The provider at which the models of a vendor (of a vendor path) are first sold.
    pub fn maker(&self, vendor: &str) -> Option<u16> {
        self.makers().find(|(name, _)| name.eq_ignore_ascii_case(vendor)).map(|(_, provider)| provider)
    }

    /// Whether the provider sells models of its own making.
    pub fn is_maker(&self, provider: u16) -> bool {
        self.makers().any(|(_, p)| p == provider)
    }

    fn makers(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let count = self.section(Section::MakerProviders).len();
        (0..count).map(|n| {
            let name = self.text(Section::MakerOffsets, Section::Makers, n);
            (name, u16::from(self.byte(Section::MakerProviders, n)))
        })
    }

    /// Whether some row has this region.
    pub fn is_region(&self, region: &str) -> bool {
        let count = (self.section(Section::RegionOffsets).len() / 2).saturating_sub(1);
        (0..count).any(|n| self.text(Section::RegionOffsets, Section::Regions, n) == region)
    }

    /// The cells of a list: provider, region, mode, variant, place of the row.
    fn cells(&self, list: usize) -> &'static [[u8; CELL]] {
        let count = usize::from(self.byte(Section::Lists, list));
        self.section(Section::Lists).get(list + 1..list + 1 + count * CELL).unwrap_or_default().as_chunks().0
    }

    /// Adds the rates at a place of the sets; the place after them.
    fn read_rates(&self, place: usize, rates: &mut Rates) -> usize {
        let sets = self.section(Section::Sets);
        let mut left = half(sets, place) & !OTHER_UNIT;
        let end = place + 2 + 2 * left.count_ones() as usize;
        for number in sets.get(place + 2..end).unwrap_or_default().as_chunks().0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(&rate) = Rate::ALL.get(bit) {
                rates.set(rate, self.number(usize::from(u16::from_le_bytes(*number))));
            }
        }
        end
    }

    fn number(&self, number: usize) -> Amount {
        let bytes = self.section(Section::Numbers).get(8 * number..8 * number + 8);
        let value = u64::from_le_bytes(bytes.and_then(|b| b.try_into().ok()).unwrap_or_default());
        Amount::from_atto(i128::from(value))
    }

    /// Every listed name that is not a shorter form's twin, with its providers.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, impl Iterator<Item = u16>)> {
        let count = self.section(Section::NameLists).len() / 2;
        (0..count).map(|number| {
            let name = self.text(Section::NameOffsets, Section::Names, number);
            (name, self.providers(usize::from(self.half(Section::NameLists, 2 * number))))
        })
    }

    fn find(&self, index: Section, offsets: Section, texts: Section, wanted: &[u8]) -> Option<usize> {
        let slots = self.section(index).len() / 2;
        let mut slot = hash(wanted) & slots.checked_sub(1)?;
        for _ in 0..slots {
            let number = usize::from(self.half(index, 2 * slot)).checked_sub(1)?;
            if self.slice(offsets, texts, number) == wanted {
                return Some(number);
            }
            slot = (slot + 1) & (slots - 1);
        }
        None
    }

    fn section(&self, section: Section) -> &'static [u8] {
        self.sections[section as usize]
    }

    fn byte(&self, section: Section, at: usize) -> u8 {
        self.section(section).get(at).copied().unwrap_or_default()
    }

    fn half(&self, section: Section, at: usize) -> u16 {
        half(self.section(section), at)
    }

    fn slice(&self, offsets: Section, texts: Section, number: usize) -> &'static [u8] {
        slice_of(self.section(offsets), self.section(texts), number)
    }

    fn text(&self, offsets: Section, texts: Section, number: usize) -> &'static str {
        text_of(self.section(offsets), self.section(texts), number)
    }
}

impl Table for Catalogue {
    fn provider(&self, folded: &str) -> Option<u16> {
        let at = self.find(Section::AliasIndex, Section::AliasOffsets, Section::Aliases, folded.as_bytes())?;
        Some(self.half(Section::AliasProviders, 2 * at))
    }

    fn list(&self, name: &[u8]) -> Option<usize> {
        let number = self.find(Section::NameIndex, Section::NameOffsets, Section::Names, name)?;
        Some(usize::from(self.half(Section::NameLists, 2 * number)))
    }

    fn providers(&self, list: usize) -> impl Iterator<Item = u16> + Clone {
        self.cells(list).iter().map(|cell| u16::from(cell[0]))
    }

    fn rows(&self, list: usize, provider: u16) -> impl Iterator<Item = Entry<'_>> + Clone {
        let regions = (self.section(Section::RegionOffsets), self.section(Section::Regions));
        // They are in the order of their providers, and are gone through more than once.
        let cells = self.cells(list);
        let is_its = move |cell: &[u8; CELL]| u16::from(cell[0]) == provider;
        let cells = &cells[cells.iter().position(is_its).unwrap_or(cells.len())..];
        cells.iter().take_while(move |cell| is_its(cell)).map(move |cell| Entry {
            region: slice_of(regions.0, regions.1, usize::from(cell[1])),
            mode: Mode::ALL.get(usize::from(cell[2])).map_or(Mode::Standard, |m| m.0),
            cheapest_variant: cell[3] != 0,
            row: usize::from(u16::from_le_bytes([cell[4], cell[5]])),
        })
    }

    fn prices_into(&self, row: usize, at_unix_ms: i64, input_tokens: u64, found: &mut Found) {
        const HEAD: usize = 5;
        const STEP: usize = 5;
        let rows = self.section(Section::Rows);
        let day = at_unix_ms.div_euclid(86_400_000) - EPOCH_DAY;
        let steps = self.byte(Section::Rows, row + 4);
        let mut step = row + HEAD;
        let mut next = step;
        for _ in 0..steps {
            let mut holds = i64::from(half(rows, next)) <= day;
            let at = next;
            next += STEP;
            if self.byte(Section::Rows, at + 4) & AT_HOURS != 0 {
                let minute = at_unix_ms.div_euclid(60_000).rem_euclid(24 * 60);
                let (from, until) = (i64::from(half(rows, next)), i64::from(half(rows, next + 2)));
                holds &= if from <= until { (from..until).contains(&minute) } else { minute >= from || minute < until };
                next += 4;
            }
            if holds {
                step = at;
            }
        }
        let set = usize::from(half(rows, step + 2));
        found.origin = match self.byte(Section::Rows, step + 4) & !AT_HOURS {
            0 => Origin::OpenRouter,
            1 => Origin::Manual,
            _ => Origin::Correction,
        };
        (found.model, found.row) = (Name::Table(half(rows, row)), Name::Table(half(rows, row + 2)));
        found.other_unit = half(self.section(Section::Sets), set) & OTHER_UNIT != 0;
        let mut at = self.read_rates(set, &mut found.rates);
        let tiers = self.byte(Section::Sets, at);
        at += 1;
        for _ in 0..tiers {
            let sets = self.section(Section::Sets);
            let threshold = u64::from(half(sets, at)) | u64::from(half(sets, at + 2)) << 16;
            // Strictly above the threshold, the whole request; the highest passed tier wins.
            if input_tokens <= threshold {
                break;
            }
            found.tier = Some(threshold);
            at = self.read_rates(at + 4, &mut found.rates);
        }
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn slice_of(offsets: &'static [u8], texts: &'static [u8], number: usize) -> &'static [u8] {
    let (from, to) = (half(offsets, 2 * number), half(offsets, 2 * number + 2));
    texts.get(usize::from(from)..usize::from(to)).unwrap_or_default()
}

fn text_of(offsets: &'static [u8], texts: &'static [u8], number: usize) -> &'static str {
    str::from_utf8(slice_of(offsets, texts, number)).unwrap_or_default()
}

/// Eight bytes at a time; the catalogue program does the same.
fn hash(bytes: &[u8]) -> usize {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(PRIME);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let tail = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let hash = if rest.is_empty() { hash } else { mix(hash, tail) };
    (hash & 0xffff_ffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(BYTES.len() <= 200 * 1024, "{} bytes", BYTES.len());
        let mut rows = 0;
        for (name, _) in CATALOGUE.names() {
            let list = CATALOGUE.list(name.as_bytes()).expect(name);
            for provider in CATALOGUE.providers(list) {
                assert!(!CATALOGUE.provider_name(provider).is_empty(), "{name}");
                for entry in CATALOGUE.rows(list, provider) {
                    let found = CATALOGUE.prices(entry.row, i64::MAX, 0);
                    assert!(!found.rates.is_empty() || found.other_unit, "{name} {provider}");
                    assert!(!found.model.as_str().is_empty() && !found.row.as_str().is_empty(), "{name}");
                    rows += 1;
                }
            }
        }
        assert!(rows > 3000, "{rows} rows");
        assert!(CATALOGUE.about().starts_with("openrouter 20"), "{}", CATALOGUE.about());
    }

    #[test]
    fn aliases_lead_to_the_provider() {
        for (alias, name) in [("gemini", "google-ai-studio"), ("vertex", "google-vertex"), ("oai", "openai")] {
            assert_eq!(CATALOGUE.provider(alias).map(|p| CATALOGUE.provider_name(p)), Some(name));
        }
        assert_eq!(CATALOGUE.provider("nobody"), None);
    }
}
