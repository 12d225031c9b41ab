//! A price table made at run time, in the form that OpenRouter's data is kept in: `{model, cost: {row: {...}}}`.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::amount::Amount;
use super::catalogue::{CATALOGUE, Entry, Found, Mode, Origin, Table};
use super::cost::Name;
use super::name::{ModelName, Space, fold, undated_forms};
use super::rates::{Rate, Rates};

/// Rows that hold for every provider.
pub(crate) const ANY: u16 = u16::MAX;

/// A price table of its own.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    /// Providers that the built-in table does not know; numbered after its own.
    providers: Vec<String>,
    rows: Vec<Row>,
    /// By folded name: a place in `entries`.
    lists: HashMap<Vec<u8>, usize>,
    entries: Vec<Vec<Listed>>,
}

#[derive(Debug)]
struct Row {
    model: Arc<str>,
    shown_as: Arc<str>,
    origin: Origin,
    rates: Rates,
    tiers: Vec<(u64, Rates)>,
}

#[derive(Debug, Clone)]
struct Listed {
    provider: u16,
    region: String,
    mode: Mode,
    row: usize,
}

const FIRST_OWN: u16 = 1 << 12;
/// The prices above 200,000 input tokens may be listed as a model of their own.
const LARGE: &str = ":large";
const RATES: [(&str, Rate); 13] = [
    ("prompt_token", Rate::Input),
    ("completion_token", Rate::Output),
    ("cache_read_token", Rate::CacheRead),
    ("cache_write_token", Rate::CacheWrite),
    ("cache_write_1h_token", Rate::CacheWrite1h),
    ("audio", Rate::AudioIn),
    ("input_audio_cache", Rate::AudioCached),
    ("image", Rate::ImageIn),
    ("internal_reasoning", Rate::Reasoning),
    ("audio_output", Rate::AudioOut),
    ("image_output", Rate::ImageOut),
    ("request", Rate::Request),
    ("web_search", Rate::WebSearch),
];

impl Sheet {
    /// Reads `{openrouter: {name: row}, manual: {name: row}}`, or one row.
    pub fn read(document: &Value) -> Self {
        let mut sheet = Self::default();
        if document.get("cost").is_some() {
            sheet.add(document, Origin::OpenRouter);
        }
        for (source, origin) in [("openrouter", Origin::OpenRouter), ("manual", Origin::Manual)] {
            let Some(Value::Object(rows)) = document.get(source) else {
                continue;
            };
            // Prices above a threshold after those that they go with.
            let is_large = |row: &&Value| row.get("model").and_then(Value::as_str).is_some_and(|m| m.ends_with(LARGE));
            rows.values().filter(|row| !is_large(row)).for_each(|row| sheet.add(row, origin));
            rows.values().filter(is_large).for_each(|row| sheet.add(row, origin));
        }
        sheet.add_short_names();
        sheet
    }

    /// `gemini-2.0-flash` for `gemini-2.0-flash-001`, where nothing else has that name.
    fn add_short_names(&mut self) {
        let names: Vec<Vec<u8>> = self.lists.keys().cloned().collect();
        for name in &names {
            for short in undated_forms(name) {
                let list = self.lists[name];
                self.lists.entry(short.to_owned()).or_insert(list);
            }
        }
    }

    fn add(&mut self, row: &Value, origin: Origin) {
        let (Some(id), Some(Value::Object(cost))) = (row.get("model").and_then(Value::as_str), row.get("cost")) else {
            return;
        };
        let (base, over) = id.strip_suffix(LARGE).map_or((id, None), |base| (base, Some(200_000)));
        let mut space = Space::new();
        let Some(name) = ModelName::read(base, &mut space) else {
            return;
        };
        let mode_of_name = name.mode;
        for (shown_as, cells) in cost {
            let Value::Object(cells) = cells else {
                continue;
            };
            let (provider, region, mode) = self.place(shown_as, origin);
            let rates = read_rates(cells);
            let list = *self.lists.entry(name.as_bytes().to_owned()).or_insert_with(|| {
                self.entries.push(Vec::new());
                self.entries.len() - 1
            });
            if let Some(over) = over {
                for listed in self.entries[list].iter().filter(|l| l.provider == provider) {
                    self.rows[listed.row].tiers.push((over, rates));
                }
                continue;
            }
            let mut tiers: Vec<_> = cells
                .get("context_tiers")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|t| Some((t.get("min_input_tokens")?.as_u64()?, read_rates(t.as_object()?))))
                .collect();
            tiers.sort_by_key(|(threshold, _)| *threshold);
            self.entries[list].push(Listed {
                provider,
                region,
                mode: mode_of_name.unwrap_or(mode),
                row: self.rows.len(),
            });
            self.rows.push(Row { model: id.into(), shown_as: shown_as.as_str().into(), origin, rates, tiers });
        }
    }

    fn place(&mut self, shown_as: &str, origin: Origin) -> (u16, String, Mode) {
        match (shown_as, origin) {
            ("default", Origin::OpenRouter) => return (CATALOGUE.openrouter(), String::new(), Mode::Standard),
            ("default", _) => return (ANY, String::new(), Mode::Standard),
            _ => {}
        }
        if let Some(known) = super::choose::Provider::read(&*CATALOGUE, shown_as) {
            let region = known.region.unwrap_or_default().to_owned();
            return (known.number, region, known.mode.unwrap_or(Mode::Standard));
        }
        let at = self.providers.iter().position(|p| p == shown_as).unwrap_or_else(|| {
            self.providers.push(shown_as.to_owned());
            self.providers.len() - 1
        });
        (FIRST_OWN + u16::try_from(at).unwrap_or_default(), String::new(), Mode::Standard)
    }
}

impl Sheet {
    fn listed(&self, list: usize) -> &[Listed] {
        self.entries.get(list).map_or(&[], Vec::as_slice)
    }
}

impl Table for Sheet {
    fn provider(&self, folded: &str) -> Option<u16> {
        CATALOGUE.provider(folded).or_else(|| {
            let same = |p: &String| fold(p, &mut Space::new()) == Some(folded);
            let at = self.providers.iter().position(same)?;
            Some(FIRST_OWN + u16::try_from(at).ok()?)
        })
    }

    fn list(&self, name: &[u8]) -> Option<usize> {
        self.lists.get(name).copied()
    }

    fn providers(&self, list: usize) -> impl Iterator<Item = u16> + Clone {
        self.listed(list).iter().map(|l| l.provider)
    }

    fn rows(&self, list: usize, provider: u16) -> impl Iterator<Item = Entry<'_>> + Clone {
        let fits = move |l: &&Listed| l.provider == provider || l.provider == ANY;
        self.listed(list).iter().filter(fits).map(|listed| Entry {
            region: listed.region.as_bytes(),
            mode: listed.mode,
            cheapest_variant: false,
            row: listed.row,
        })
    }

    fn prices_into(&self, row: usize, _at_unix_ms: i64, input_tokens: u64, found: &mut Found) {
        let Some(row) = self.rows.get(row) else { return };
        (found.rates, found.origin) = (row.rates, row.origin);
        (found.model, found.row) = (Name::Shared(Arc::clone(&row.model)), Name::Shared(Arc::clone(&row.shown_as)));
        for (threshold, rates) in row.tiers.iter().filter(|(threshold, _)| input_tokens > *threshold) {
            found.tier = Some(*threshold);
            rates.iter().for_each(|(rate, price)| found.rates.set(rate, price));
        }
    }
}

fn read_rates(cells: &Map<String, Value>) -> Rates {
    let mut rates = Rates::default();
    for (key, rate) in RATES {
        let price = match cells.get(key) {
            Some(Value::String(text)) => Amount::parse(text),
            Some(Value::Number(number)) => Amount::parse(&number.to_string()),
            _ => None,
        };
        if let Some(price) = price {
            rates.set(rate, price);
        }
    }
    rates
}

/// The rate of a key of OpenRouter's form.
pub(crate) fn rate_of(key: &str) -> Option<Rate> {
    RATES.iter().find(|(name, _)| *name == key).map(|(_, rate)| *rate)
}
