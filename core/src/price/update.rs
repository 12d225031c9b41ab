//! Prices fetched after the build: OpenRouter's list of models, over the built-in table.
//!
//! The list has one price a model, the one of a call through OpenRouter; what a model costs elsewhere it does not say.
//! So it counts for calls through OpenRouter, and for a model that the built-in table does not know at its maker, where
//! OpenRouter's price is assumed to be the maker's. Nothing here is fetched without being asked for.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::amount::Amount;
use super::catalogue::{CATALOGUE, Found, Table};
use super::choose::{Choice, Provider, choose};
use super::name::{ModelName, Space};
use super::rates::{Assumption, Rate};
use super::sheet::Sheet;
use super::{Query, Reason};

/// Where the list is.
pub const URL: &str = "https://openrouter.ai/api/v1/models";

/// The most bytes that a list may have.
pub(crate) const LARGEST: usize = 16 << 20;

/// The words of the list, and of a sheet's row for the same.
const WORDS: [(&str, &str); 12] = [
    ("prompt", "prompt_token"),
    ("completion", "completion_token"),
    ("input_cache_read", "cache_read_token"),
    ("input_cache_write", "cache_write_token"),
    ("input_cache_write_1h", "cache_write_1h_token"),
    ("audio", "audio"),
    ("audio_output", "audio_output"),
    ("input_audio_cache", "input_audio_cache"),
    ("image", "image"),
    ("internal_reasoning", "internal_reasoning"),
    ("request", "request"),
    ("web_search", "web_search"),
];

/// A list of prices that was fetched.
#[derive(Debug)]
pub struct Update {
    sheet: Sheet,
    fetched_at_unix_ms: i64,
    /// What is kept on disk: ids and prices as they came.
    models: Vec<Value>,
}

/// A price that differs between two lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The model's id.
    pub model: String,
    /// What is priced; see [`Rate::name`].
    pub rate: Rate,
    /// Dollars per unit before; `None` when it had no price.
    pub before: Option<Amount>,
    /// Dollars per unit now.
    pub now: Option<Amount>,
}

impl Update {
    /// Reads a list as OpenRouter's models API gives it: all of it is valid, or none of it is taken.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and at which model.
    pub fn parse(body: &[u8], fetched_at_unix_ms: i64) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(body).map_err(|error| format!("it is not JSON: {error}"))?;
        let models = document.get("data").and_then(Value::as_array).ok_or("it has no list `data`")?;
        let mut kept = Vec::with_capacity(models.len());
        let mut rows = Map::new();
        for model in models {
            let id = model.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= 200);
            let id = id.ok_or("a model has no `id`")?;
            let pricing = model.get("pricing").and_then(Value::as_object);
            let pricing = pricing.ok_or_else(|| format!("{id}: it has no `pricing`"))?;
            let Some(row) = row(pricing).map_err(|why| format!("{id}: {why}"))? else { continue };
            rows.insert(id.to_owned(), json!({"model": id, "cost": {"default": row}}));
            kept.push(json!({"id": id, "pricing": pricing}));
        }
        if rows.is_empty() {
            return Err("it lists no model with a price".to_owned());
        }
        let sheet = Sheet::read(&json!({ "openrouter": rows }));
        Ok(Self { sheet, fetched_at_unix_ms, models: kept })
    }

    /// Whether the list can be the next one after `before` (or after the built-in table): it has not lost half of its
    /// models, and of those that both have few cost a multiple or a fraction.
    ///
    /// # Errors
    /// A sentence that says what makes it implausible.
    pub fn is_plausible_after(&self, before: Option<&Self>) -> Result<(), String> {
        let expected = match before {
            Some(before) => before.models.len(),
            None => built_ins().len(),
        };
        if self.models.len() * 2 < expected {
            return Err(format!("it lists {} models where there were {expected}", self.models.len()));
        }
        let (mut common, mut wild) = (0, Vec::new());
        for id in self.ids() {
            let old = match before {
                Some(before) => before.find(id),
                None => ModelName::read(id, &mut Space::new()).and_then(|name| built_in(name.as_bytes())),
            };
            let (Some(old), Some(new)) = (old, self.find(id)) else { continue };
            common += 1;
            let far = |rate: Rate| {
                let (old, new) = (old.rates.get(rate), new.rates.get(rate));
                let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
                old > new.times(3) || new > old.times(3)
            };
            if far(Rate::Input) || far(Rate::Output) {
                wild.push(id);
            }
        }
        if wild.len() * 5 > common {
            return Err(format!("of {common} known models {} cost a multiple or a fraction ({})", wild.len(), wild[0]));
        }
        Ok(())
    }

    /// When it was fetched, in milliseconds since 1970.
    pub fn fetched_at_unix_ms(&self) -> i64 {
        self.fetched_at_unix_ms
    }

    /// The ids of its models.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.models.iter().filter_map(|model| model.get("id")?.as_str())
    }

    /// What is dearer, cheaper, new or gone, beside an earlier list (or OpenRouter's rows of the built-in table).
    pub fn changes_since(&self, before: Option<&Self>) -> Vec<Change> {
        let mut old: HashMap<String, Found> = HashMap::new();
        match before {
            Some(before) => {
                old.extend(before.ids().filter_map(|id| Some((id.to_owned(), before.find(id)?))));
            }
            None => old = built_ins(),
        }
        let mut changes = Vec::new();
        let mut compare = |model: &str, before: Option<&Found>, now: Option<&Found>| {
            for rate in Rate::ALL {
                let price = |found: Option<&Found>| found.and_then(|found| found.rates.get(rate));
                if price(before) != price(now) {
                    changes.push(Change { model: model.to_owned(), rate, before: price(before), now: price(now) });
                }
            }
        };
        for id in self.ids() {
            let found = self.find(id);
            compare(id, old.remove(id).as_ref(), found.as_ref());
        }
        let mut gone: Vec<_> = old.into_iter().collect();
        gone.sort_by(|a, b| a.0.cmp(&b.0));
        for (model, found) in &gone {
            compare(model, Some(found), None);
        }
        changes
    }

    fn find(&self, id: &str) -> Option<Found> {
        let mut space = Space::new();
        let name = ModelName::read(id, &mut space)?;
        let list = self.sheet.list(name.as_bytes())?;
        let mode = name.mode.unwrap_or_default();
        let entry = self.sheet.rows(list, CATALOGUE.openrouter()).find(|entry| entry.mode == mode)?;
        Some(self.sheet.prices(entry.row, i64::MAX, 0))
    }

    /// The price of a call through OpenRouter: from the time of the list on, for what it cost before the built-in table
    /// knows.
    pub(crate) fn for_router(
        &self,
        query: &Query<'_>,
        provider: Option<Provider<'_>>,
        model: &ModelName<'_>,
    ) -> Option<Choice> {
        let provider = provider.filter(|own| own.number == CATALOGUE.openrouter())?;
        (query.at_unix_ms >= self.fetched_at_unix_ms).then(|| choose(&self.sheet, query, Some(provider), model).ok())?
    }

    /// The price of a model that the built-in table does not have for this call: through OpenRouter at any time, and at
    /// its maker by assumption.
    pub(crate) fn for_unlisted(
        &self,
        query: &Query<'_>,
        provider: Option<Provider<'_>>,
        model: &ModelName<'_>,
        reason: Reason,
    ) -> Option<Choice> {
        if !matches!(reason, Reason::UnknownModel | Reason::NotAtProvider) {
            return None;
        }
        let router = Provider { number: CATALOGUE.openrouter(), region: None, mode: None };
        let mut choice = choose(&self.sheet, query, Some(router), model).ok()?;
        if provider.is_none_or(|own| own.number != router.number) {
            let row = self.sheet.prices(choice.row, i64::MAX, 0);
            let maker = CATALOGUE.maker(row.model.as_str().split('/').next()?)?;
            if provider.is_some_and(|own| own.number != maker) {
                return None;
            }
            choice.assumptions.add(Assumption::ListedByRouter);
        }
        Some(choice)
    }

    pub(crate) fn sheet(&self) -> &Sheet {
        &self.sheet
    }

    /// The file in a data folder.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("prices").join("openrouter.json")
    }

    /// The list that was kept in a data folder; `None` when there is none, or none that can be used.
    pub fn load(dir: &Path) -> Option<Self> {
        let bytes = std::fs::read(Self::path(dir)).ok().filter(|bytes| bytes.len() <= LARGEST)?;
        let document: Value = serde_json::from_slice(&bytes).ok()?;
        Self::parse(&bytes, document.get("fetched_at_unix_ms")?.as_i64()?).ok()
    }

    /// Keeps the list in a data folder: the whole file or none.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&self, dir: &Path) -> std::io::Result<()> {
        let path = Self::path(dir);
        let folder = path.parent().unwrap_or(dir);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder)?;
        // A name of its own: two processes may fetch at the same time.
        let fresh = folder.join(format!("openrouter.{}.tmp", std::process::id()));
        let document = json!({"fetched_at_unix_ms": self.fetched_at_unix_ms, "from": URL, "data": self.models});
        let written = std::fs::File::create(&fresh)
            .and_then(|mut file| file.write_all(document.to_string().as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&fresh, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        written
    }
}

/// OpenRouter's own rows of the built-in table, by the model's id.
fn built_ins() -> HashMap<String, Found> {
    let rows = CATALOGUE.names().filter_map(|(name, _)| built_in(name.as_bytes()));
    rows.map(|found| (found.model.as_str().to_owned(), found)).collect()
}

/// OpenRouter's own row of the built-in table, newest prices.
fn built_in(name: &[u8]) -> Option<Found> {
    let list = CATALOGUE.list(name)?;
    let entry = CATALOGUE.rows(list, CATALOGUE.openrouter()).find(|entry| entry.mode == super::Mode::Standard)?;
    Some(CATALOGUE.prices(entry.row, i64::MAX, 0))
}

/// The list's prices as a sheet's row. `None` for a model without a price of its own: a router.
fn row(pricing: &Map<String, Value>) -> Result<Option<Map<String, Value>>, String> {
    let mut found = Map::new();
    let amount = |word: &str, value: &Value| -> Result<Option<Amount>, String> {
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => return Err(format!("`{word}` is no price: {other}")),
        };
        let amount = Amount::parse(&text).ok_or_else(|| format!("`{word}` is no price: {text}"))?;
        // No token, request or search costs that much.
        if amount > Amount::from_atto(1_000 * 1_000_000_000_000_000_000) {
            return Err(format!("`{word}` is no price: {text}"));
        }
        Ok(Some(amount))
    };
    let read = |cells: &Map<String, Value>, base: Option<Amount>| -> Result<Map<String, Value>, String> {
        let mut row = Map::new();
        let free = base == Some(Amount::ZERO);
        for (word, ours) in WORDS {
            let Some(price) = amount(word, cells.get(word).unwrap_or(&Value::Null))? else { continue };
            let own = matches!(word, "prompt" | "completion");
            // Zero in any other place says that there is no such price; and an image or a second of sound that is priced
            // by the piece is no price of a token.
            let by_piece = matches!(word, "image" | "audio") && base.is_some_and(|base| price > base.times(100));
            if own || !by_piece && (price > Amount::ZERO || free) {
                row.insert(ours.to_owned(), price.to_string().into());
            }
        }
        Ok(row)
    };
    for word in ["prompt", "completion"] {
        let price = amount(word, pricing.get(word).unwrap_or(&Value::Null))?;
        let price = price.ok_or_else(|| format!("it has no `{word}` price"))?;
        if price < Amount::ZERO {
            return Ok(None);
        }
    }
    let base = amount("prompt", &pricing["prompt"])?;
    found.extend(read(pricing, base)?);
    let mut tiers = Vec::new();
    match pricing.get("overrides") {
        None | Some(Value::Null) => {}
        Some(Value::Array(overrides)) => {
            for over in overrides {
                let cells = over.as_object().ok_or("`overrides` has something that is no object")?;
                // Overrides for anything but the length of the input are not known here.
                let Some(least) = cells.get("min_prompt_tokens").and_then(Value::as_u64) else { continue };
                let mut tier = read(cells, base)?;
                tier.insert("min_input_tokens".to_owned(), least.into());
                tiers.push(Value::Object(tier));
            }
        }
        Some(other) => return Err(format!("`overrides` is no list: {other}")),
    }
    if !tiers.is_empty() {
        found.insert("context_tiers".to_owned(), tiers.into());
    }
    Ok(Some(found))
}
