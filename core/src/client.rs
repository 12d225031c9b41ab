//! The client: the only file that knows the whole flow.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::Map;

use crate::config::{Config, Options};
use crate::context::{Scope, ScopeKind, ScopeOptions, Totals};
use crate::decode::{Recognised, recognise};
use crate::deliver::hook::HookDesk;
use crate::deliver::{Delivery, Report, Stats, has_heritage};
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::notes::Notes;
use crate::open::OpenScopes;
use crate::pipeline::{Input, Pipeline};
use crate::price::{Cost, CustomPrice, PriceBook, Question};

/// Captures calls and delivers their events. Cheap to clone; clones share one queue and one worker.
///
/// Nothing starts until the first capture. In a forked child a client begins anew: what the parent had queued is the
/// parent's to send. No method panics or blocks, but for [`flush`](Self::flush) and [`shutdown`](Self::shutdown),
/// which wait for as long as they are told.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    config: Arc<Config>,
    prices: Arc<ArcSwap<PriceBook>>,
    core: ArcSwapOption<Core>,
}

/// What belongs to one process.
struct Core {
    pid: u32,
    delivery: Delivery<Pipeline>,
    notes: Notes,
    open: OpenScopes,
}

impl Client {
    /// A client with these options; environment and defaults fill in the rest.
    ///
    /// # Errors
    /// A config error that names the option and says what is allowed.
    pub fn new(options: Options) -> Result<Self> {
        Self::with_config(options.resolve()?)
    }

    /// A client that is configured by the environment alone.
    ///
    /// # Errors
    /// As [`Client::new`]; variables that cannot be used are warnings, not errors.
    pub fn from_env() -> Result<Self> {
        Self::new(Options::default())
    }

    /// A client with a configuration that is already resolved.
    ///
    /// # Errors
    /// A config error when the price file cannot be used: it names the line and column. A file that only the environment
    /// names is a warning instead.
    pub fn with_config(mut config: Config) -> Result<Self> {
        let mut book = PriceBook::new();
        if let Some(path) = &config.prices
            && let Err(error) = book.load(path)
        {
            let text = format!("prices: {error}");
            if !config.prices_from_env {
                return Err(Error::config(text).with_source(error));
            }
            // An environment variable must not stop a program that somebody else wrote.
            config.warnings.push(format!("LLMTRAIL_PRICES is ignored: {text}"));
        }
        let prices = Arc::new(ArcSwap::from_pointee(book));
        Ok(Self(Arc::new(Shared { config: Arc::new(config), prices, core: ArcSwapOption::empty() })))
    }

    /// Sets a price of one's own. It counts for calls that are decoded from now on, before the catalogue's.
    pub fn set_price(&self, price: &CustomPrice) {
        self.0.prices.rcu(|book| {
            let mut book = PriceBook::clone(book);
            book.set_price(price.clone());
            book
        });
    }

    /// The prices that calls go by now: those set in code, the price file's, and the table.
    pub fn prices(&self) -> Arc<PriceBook> {
        self.0.prices.load_full()
    }

    /// What a call would cost, by this client's prices. Nothing is captured or sent.
    pub fn cost(&self, question: &Question) -> Cost {
        question.cost(&self.0.prices.load())
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether and how a request to this address is recorded; `None`: it is left wholly alone. `provider` is the name
    /// that the application gave, if any. Cheap: meant to be asked for every request that an observed client makes.
    pub fn recognise(&self, method: &str, url: &str, provider: Option<&str>) -> Option<Recognised> {
        if !self.config().enabled {
            return None;
        }
        recognise(self.config(), method, url, provider)
    }

    /// Hands over one HTTP attempt. Never fails, never blocks; what cannot be taken is counted.
    pub fn observe(&self, exchange: Exchange) {
        let size = exchange.size();
        self.offer(Input::Exchange(Box::new(exchange)), size);
    }

    /// Opens a scope inside another one, or at the top. Calls belong to the scope that they carry in
    /// [`Exchange::scope`].
    pub fn open(&self, kind: ScopeKind, parent: Option<&Scope>, options: ScopeOptions) -> Scope {
        let scope = Scope::open(kind, parent, options);
        if self.config().enabled && matches!(scope.kind(), ScopeKind::Trace | ScopeKind::Span) {
            self.core().open.add(&scope);
        }
        scope
    }

    /// Ends a scope: a trace or span sends its event. Ending twice does nothing.
    pub fn close(&self, scope: &Scope) {
        if matches!(scope.kind(), ScopeKind::Trace | ScopeKind::Span) && scope.end_once() {
            const ABOUT: usize = 1024;
            if let Some(core) = self.core_if_started() {
                core.open.remove(scope);
            }
            self.offer(Input::Ended(scope.clone(), Some(scope.elapsed())), ABOUT);
        }
    }

    /// What the calls inside a scope used and cost, after waiting (at most `timeout`) until every call that was
    /// handed over so far is decoded.
    pub fn totals(&self, scope: &Scope, timeout: Duration) -> Totals {
        if let Some(core) = self.core_if_started() {
            core.delivery.settle(timeout);
        }
        scope.totals()
    }

    /// Sends what there is and waits for it, at most `timeout`; also what processes that ended left in the spool.
    pub fn flush(&self, timeout: Duration) -> Report {
        let started = self.core_if_started();
        let core = started.or_else(|| (self.config().enabled && has_heritage(self.config())).then(|| self.core()));
        core.map(|core| core.delivery.flush(timeout)).unwrap_or_default()
    }

    /// Flushes, at most `timeout`, and ends the worker. Traces and spans that are still open are sent as they are, for
    /// what is inside of them would not be shown without. Later captures are refused and counted.
    pub fn shutdown(&self, timeout: Duration) -> Report {
        if let Some(core) = self.core_if_started() {
            for scope in core.open.take_all() {
                scope.set_properties(Map::from_iter([("$ai_unfinished".to_owned(), true.into())]));
                self.close(&scope);
            }
        }
        self.core_if_started().map(|core| core.delivery.shutdown(timeout)).unwrap_or_default()
    }

    /// Where events wait for hooks in the application's own language: for bindings. `None` when there are none.
    pub fn hooks(&self) -> Option<HookDesk> {
        self.config().hooks.elsewhere.as_ref()?;
        self.core().delivery.desk()
    }

    /// How things stand.
    pub fn stats(&self) -> Stats {
        let Some(core) = self.core_if_started() else { return Stats::default() };
        let mut stats = core.delivery.stats();
        for (what, count) in core.notes.all() {
            *stats.notes.entry(what).or_default() += count;
        }
        stats
    }

    /// Counts something that an observer had to give up on, for [`Stats::notes`].
    pub fn note(&self, what: &'static str) {
        self.core().notes.add(what);
    }

    pub(crate) fn offer(&self, input: Input, size: usize) {
        if self.config().enabled {
            self.core().delivery.offer(input, size);
        }
    }

    fn core_if_started(&self) -> Option<Arc<Core>> {
        self.0.core.load_full().filter(|core| core.pid == std::process::id())
    }

    /// This process's core. In a forked child the parent's is forgotten: its thread does not exist here, and its locks
    /// may be held by threads that do not either, so it is neither joined nor dropped.
    fn core(&self) -> Arc<Core> {
        let pid = std::process::id();
        loop {
            let current = self.0.core.load_full();
            if let Some(core) = &current
                && core.pid == pid
            {
                return Arc::clone(core);
            }
            let config = Arc::clone(&self.0.config);
            let notes = Notes::default();
            let pipeline = Pipeline::new(Arc::clone(&config), Arc::clone(&self.0.prices), notes.clone());
            let fresh =
                Arc::new(Core { pid, delivery: Delivery::new(config, pipeline), notes, open: OpenScopes::default() });
            self.0.core.compare_and_swap(&current, Some(fresh));
            std::mem::forget(current);
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("host", &self.config().host).finish_non_exhaustive()
    }
}
