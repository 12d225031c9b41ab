//! Keeps a client's prices fresh: looks after the price file, and fetches OpenRouter's list when that was asked for.
//!
//! Called by the worker, and cheap for it: most calls are one look at the clock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::update::{LARGEST, URL, Update};
use super::{PriceBook, PriceFileError};
use crate::config::Config;
use crate::deliver::notice;
use crate::notes::Notes;
use crate::sink::posthog;

/// How often the price file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How old a list may become before a new one is fetched.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// How long after a fetch that failed the next is tried.
const AGAIN: Duration = Duration::from_secs(3600);
/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the price file was when it was read last.
type Stamp = Option<(SystemTime, u64)>;

/// Looks after the prices of a client.
pub(crate) struct Watch {
    config: Arc<Config>,
    prices: Arc<ArcSwap<PriceBook>>,
    notes: Notes,
    next_look: Option<Instant>,
    seen: Stamp,
    next_fetch: Option<Instant>,
    fetching: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn new(config: Arc<Config>, prices: Arc<ArcSwap<PriceBook>>, notes: Notes) -> Self {
        let seen = config.prices.as_deref().and_then(stamp);
        let fetching = Arc::new(AtomicBool::new(false));
        Self { config, prices, notes, next_look: None, seen, next_fetch: None, fetching }
    }

    /// Looks if it is time. Never blocks for longer than it takes to read a small file.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        let first = self.next_look.is_none();
        if self.next_look.is_some_and(|next| now < next) {
            return;
        }
        self.next_look = Some(now + LOOK);
        if first {
            self.load_kept();
        }
        self.look_at_file();
        if self.config.prices_update {
            self.look_at_list(now);
        }
    }

    /// The list that `llmtrail prices update`, or another process, left.
    fn load_kept(&self) {
        if let Some(update) = Update::load(&self.config.dir) {
            adopt(&self.prices, &Arc::new(update));
        }
    }

    fn look_at_file(&mut self) {
        let Some(path) = &self.config.prices else { return };
        let found = stamp(path);
        if found == self.seen || found.is_none() {
            return;
        }
        self.seen = found;
        match reload(&self.prices, path) {
            Ok(()) => {
                self.notes.add("prices_reloaded");
                if self.config.debug {
                    notice::line(&format!("prices are read anew from {}", path.display()));
                }
            }
            Err(error) => {
                self.notes.add("bad_price_file");
                notice::line(&format!("{}: {error}. The prices of before still count", path.display()));
            }
        }
    }

    fn look_at_list(&mut self, now: Instant) {
        if self.next_fetch.is_some_and(|next| now < next) || self.fetching.swap(true, Ordering::AcqRel) {
            return;
        }
        self.next_fetch = Some(now + AGAIN);
        let age = self.prices.load().update().map(|update| unix_ms() - update.fetched_at_unix_ms());
        if age.is_some_and(|age| (0..i64::try_from(FRESH.as_millis()).unwrap_or(i64::MAX)).contains(&age)) {
            self.fetching.store(false, Ordering::Release);
            return;
        }
        let (config, prices, notes) = (Arc::clone(&self.config), Arc::clone(&self.prices), self.notes.clone());
        let fetching = Arc::clone(&self.fetching);
        // A thread of its own for a moment a day: the worker has events to send.
        let started = std::thread::Builder::new().name("llmtrail-prices".to_owned()).spawn(move || {
            match refresh(&config, prices.load().update()) {
                Ok(update) => {
                    notes.add("prices_updated");
                    adopt(&prices, &Arc::new(update));
                }
                Err(why) => {
                    notes.add("prices_not_updated");
                    if config.debug {
                        notice::line(&format!("prices are not updated: {why}"));
                    }
                }
            }
            fetching.store(false, Ordering::Release);
        });
        if started.is_err() {
            self.fetching.store(false, Ordering::Release);
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

fn reload(prices: &ArcSwap<PriceBook>, path: &Path) -> Result<(), PriceFileError> {
    let mut file = PriceBook::new();
    file.load(path)?;
    prices.rcu(|book| book.with_file_of(&file));
    Ok(())
}

fn adopt(prices: &ArcSwap<PriceBook>, update: &Arc<Update>) {
    prices.rcu(|book| book.with_update(Arc::clone(update)));
}

fn unix_ms() -> i64 {
    crate::event::unix_ms(SystemTime::now())
}

/// Fetches the list, checks it against the one before, and keeps it in the data folder. Blocks; meant for a thread that
/// has nothing else to do.
///
/// # Errors
/// A sentence that says why the prices stay as they are.
pub(crate) fn refresh(config: &Config, before: Option<&Arc<Update>>) -> Result<Update, String> {
    let url = config.prices_url.as_deref().unwrap_or(URL);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let body = runtime.block_on(async { tokio::time::timeout(PATIENCE, fetch(url)).await });
    runtime.shutdown_background();
    let body = body.map_err(|_| format!("{url} does not answer"))?.map_err(|why| format!("{url}: {why}"))?;
    let update = Update::parse(&body, unix_ms()).map_err(|why| format!("{url}: the list cannot be used: {why}"))?;
    update
        .is_plausible_after(before.map(|update| &**update))
        .map_err(|why| format!("{url}: the list is implausible: {why}"))?;
    update
        .keep(&config.dir)
        .map_err(|error| format!("the list cannot be kept in {}: {error}", Update::path(&config.dir).display()))?;
    Ok(update)
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let client = posthog::build_client(url.starts_with("https:"))?;
    let mut response = client.get(url).send().await.map_err(posthog::cause)?;
    if response.status().as_u16() != 200 {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(posthog::cause)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err("the list is too large".to_owned());
        }
    }
    Ok(body)
}
