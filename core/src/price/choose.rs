//! Which row of a price table a call goes by.

use super::Query;
use super::catalogue::{CATALOGUE, Entry, Mode, Table};
use super::cost::{Match, Reason};
use super::name::{ModelName, shorter_forms};
use super::rates::{Assumption, Assumptions, Rate};
use super::sheet::ANY;

/// A provider as a call names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provider<'a> {
    pub number: u16,
    pub region: Option<&'a str>,
    pub mode: Option<Mode>,
}

impl<'a> Provider<'a> {
    /// Words that SDKs put after a provider's name, as in `openai.responses`.
    const KINDS: [&'static str; 9] =
        ["chat", "responses", "messages", "completion", "embedding", "image", "speech", "transcription", "converse"];

    /// Reads a folded name: a provider or an alias, then perhaps a region, a mode, or what the SDK was used for.
    pub fn read(table: &impl Table, folded: &'a str) -> Option<Self> {
        if folded.is_empty() {
            return None;
        }
        if let Some(number) = table.provider(folded) {
            return Some(Self { number, region: None, mode: None });
        }
        let mut head = folded;
        while let Some((shorter, _)) = head.rsplit_once('-') {
            head = shorter;
            let Some(number) = table.provider(head) else {
                continue;
            };
            let mut tail = &folded[head.len() + 1..];
            let mut mode = None;
            if let Some(m) = Mode::from_name(tail.rsplit('-').next().unwrap_or_default()) {
                mode = Some(m);
                tail = tail.rsplit_once('-').map_or("", |(before, _)| before);
            }
            if Self::KINDS.contains(&tail) {
                tail = "";
            }
            let known = tail.is_empty() || CATALOGUE.is_region(tail) || looks_like_region(tail);
            return known.then_some(Self { number, region: (!tail.is_empty()).then_some(tail), mode });
        }
        None
    }
}

/// us-east-1, europe-west4
fn looks_like_region(text: &str) -> bool {
    let area = text.split('-').next().unwrap_or_default();
    matches!(area, "us" | "eu" | "ap" | "ca" | "sa" | "me" | "af" | "asia" | "europe" | "il" | "mx")
        && text.ends_with(|c: char| c.is_ascii_digit())
        && text.len() <= 24
}

/// The row to go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub row: usize,
    pub mode: Mode,
    pub matched: Match,
    pub assumptions: Assumptions,
}

/// The row for a call: of the provider that served it; else of the one that it resells; for a provider with no price
/// list, of the model's maker.
pub(crate) fn choose(
    table: &impl Table,
    query: &Query<'_>,
    provider: Option<Provider<'_>>,
    model: &ModelName<'_>,
) -> Result<Choice, Reason> {
    let wanted = Wanted {
        mode: model
            .mode
            .or_else(|| provider.and_then(|p| p.mode))
            .or_else(|| query.service_tier.and_then(Mode::from_name))
            .unwrap_or(Mode::Standard),
        region: provider.and_then(|p| p.region).or(model.region).or(query.region),
    };
    let unknown = if model.fine_tune { Reason::FineTune } else { Reason::UnknownModel };
    let choice = match provider {
        Some(own) => wanted.choose(table, model, |_| Some(own.number)).or_else(|reason| {
            CATALOGUE
                .fallbacks(own.number)
                .find_map(|other| wanted.choose(table, model, |_| Some(other)).ok())
                .map(|choice| choice.assuming(Assumption::Resold))
                .ok_or(reason)
        }),
        None => wanted
            .choose(table, model, |name| {
                model.vendor.and_then(|v| CATALOGUE.maker(v)).or_else(|| sole_maker(table, table.list(name)?))
            })
            .map(|choice| choice.assuming(Assumption::Maker)),
    };
    let choice = choice.map_err(|reason| reason.unwrap_or(unknown))?;
    Ok(if model.routed { choice.assuming(Assumption::Routed) } else { choice })
}

impl Choice {
    fn assuming(mut self, assumption: Assumption) -> Self {
        self.assumptions.add(assumption);
        self
    }
}

/// The one maker that sells the model; of several the one whose name the model has before it, else none.
fn sole_maker(table: &impl Table, list: usize) -> Option<u16> {
    let providers = table.providers(list);
    let makers = providers.clone().filter(|p| CATALOGUE.is_maker(*p));
    let Some(first) = makers.clone().next() else {
        return providers.into_iter().find(|p| *p == ANY);
    };
    if makers.clone().all(|other| other == first) {
        return Some(first);
    }
    let is_its_own = |maker: &u16| {
        table.rows(list, *maker).any(|entry| {
            let row = table.prices(entry.row, i64::MAX, 0);
            row.model.as_str().split_once('/').is_some_and(|(vendor, _)| CATALOGUE.maker(vendor) == Some(*maker))
        })
    };
    let mut own = makers.filter(is_its_own);
    let first = own.next()?;
    own.all(|other| other == first).then_some(first)
}

/// What a call asks of a price beside its name and provider.
struct Wanted<'a> {
    mode: Mode,
    region: Option<&'a str>,
}

impl Wanted<'_> {
    /// The row at the provider that `provider_of` gives for each form of the name; `None` when no form is listed.
    fn choose(
        &self,
        table: &impl Table,
        model: &ModelName<'_>,
        provider_of: impl Fn(&[u8]) -> Option<u16>,
    ) -> Result<Choice, Option<Reason>> {
        let mut reason = None;
        let mut look = |name: &[u8], matched: Match| {
            let list = table.list(name)?;
            let found =
                provider_of(name).ok_or(Reason::NotAtProvider).and_then(|provider| self.among(table, list, provider));
            match found {
                Ok((entry, assumptions)) => Some(Choice { row: entry.row, mode: entry.mode, matched, assumptions }),
                Err(why) => {
                    reason = reason.or(Some(why));
                    None
                }
            }
        };
        // A few models are listed with their vendor; then the name itself, then shorter forms of it.
        let name = model.as_bytes();
        let whole = model.vendor.and_then(|_| look(model.with_vendor(), Match::Exact));
        let choice = whole.or_else(|| look(name, Match::Exact));
        let choice = choice.or_else(|| shorter_forms(name).skip(1).find_map(|short| look(short, Match::Shortened)));
        choice.ok_or(reason)
    }

    /// The row of a provider, in the mode and region wanted or the nearest documented one.
    fn among<'t>(&self, table: &'t impl Table, list: usize, provider: u16) -> Result<(Entry<'t>, Assumptions), Reason> {
        let rows = table.rows(list, provider);
        let first = rows.clone().next().ok_or(Reason::NotAtProvider)?;
        // Mostly the plain row, which comes first.
        if self.region.is_none() && first.mode == self.mode && first.region.is_empty() {
            return Ok((first, assumed_of(&first)));
        }
        let in_mode = |mode: Mode| self.in_region(table, &rows.clone().filter(move |e| e.mode == mode));
        // Two names for one thing: OpenAI reports `priority` where its own tools also say `fast`.
        let also = match self.mode {
            Mode::Fast => Some(Mode::Priority),
            Mode::Priority => Some(Mode::Fast),
            _ => None,
        };
        if let Some(found) = in_mode(self.mode).or_else(|| also.and_then(in_mode)) {
            return Ok(found);
        }
        if matches!(self.mode, Mode::Standard | Mode::Free) {
            return Err(Reason::NotInMode);
        }
        let (entry, mut assumptions) = in_mode(Mode::Standard).ok_or(Reason::NotInMode)?;
        assumptions.add(Assumption::ModeStandard);
        Ok((entry, assumptions))
    }

    fn in_region<'t>(
        &self,
        table: &impl Table,
        rows: &(impl Iterator<Item = Entry<'t>> + Clone),
    ) -> Option<(Entry<'t>, Assumptions)> {
        let area = self.region.map_or("", area);
        // The region itself, then the part of the world, then any region, then no region: the lowest.
        let rank = |of: &[u8]| match self.region {
            Some(region) if of.eq_ignore_ascii_case(region.as_bytes()) => Some(0),
            _ if of.is_empty() => Some(3),
            None | Some("global") => None,
            Some(_) if of.eq_ignore_ascii_case(area.as_bytes()) => Some(1),
            Some(_) => (of == b"regional").then_some(2),
        };
        let ranked = rows.clone().filter_map(|entry| Some((rank(entry.region)?, entry)));
        let entry = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
        let exact = |name: &str| rows.clone().find(|e| e.region.eq_ignore_ascii_case(name.as_bytes()));
        let global = || {
            let entry = exact("global")?;
            Some((entry, Assumption::RegionGlobal))
        };
        let cheapest = || {
            let total = |e: &Entry<'_>| {
                let rates = table.prices(e.row, i64::MAX, 0).rates;
                rates.get(Rate::Input).unwrap_or_default() + rates.get(Rate::Output).unwrap_or_default()
            };
            let entry = rows.clone().reduce(|best, next| if total(&next) < total(&best) { next } else { best })?;
            Some((entry, Assumption::RegionCheapest))
        };
        if let Some(entry) = entry {
            return Some((entry, assumed_of(&entry)));
        }
        let (entry, assumption) = global().or_else(cheapest)?;
        let mut assumptions = assumed_of(&entry);
        assumptions.add(assumption);
        Some((entry, assumptions))
    }
}

/// What is assumed by whoever goes by a row.
fn assumed_of(entry: &Entry<'_>) -> Assumptions {
    let mut assumptions = Assumptions::default();
    if entry.cheapest_variant {
        assumptions.add(Assumption::VariantCheapest);
    }
    assumptions
}

/// The part of the world of a region: `us` of `us-east-1`.
fn area(region: &str) -> &str {
    match region.bytes().position(|byte| byte == b'-').map_or(region, |at| &region[..at]) {
        "ap" | "asia" => "apac",
        "europe" => "eu",
        other => other,
    }
}
