//! The client: the only file that knows the whole flow.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::Map;

use crate::budget::{Budget, BudgetExceeded, BudgetId, Budgets, Per};
use crate::config::{Config, Options};
use crate::context::{self, Scope, ScopeKind, ScopeOptions, Totals};
use crate::decode::{Recognised, recognise};
use crate::deliver::hook::HookDesk;
use crate::deliver::{Delivery, Report, Stats, has_heritage};
use crate::error::{Error, ErrorKind, Result};
use crate::estimate;
use crate::exchange::Exchange;
use crate::ledger::{self, Key, Ledger, Reservation};
use crate::notes::Notes;
use crate::open::OpenScopes;
use crate::pipeline::{Input, Pipeline};
use crate::price::{Cost, CustomPrice, PriceBook, Question};
use crate::process;

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
    budgets: Arc<Budgets>,
    core: ArcSwapOption<Core>,
}

/// What belongs to one process.
struct Core {
    pid: u32,
    delivery: Delivery<Pipeline>,
    notes: Notes,
    open: OpenScopes,
    ledger: Arc<Ledger>,
}

/// Whose totals are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TotalsOf {
    /// Those of a trace, by its id.
    Trace(String),
    /// Those of a session, by its id: of all the scopes that had it.
    Session(String),
    /// Those of a person, by the distinct id.
    User(String),
    /// Those of this process, for this client.
    Process,
}

impl TotalsOf {
    /// By a name, as other languages hand it over: `trace`, `session` or `user` and its id, or `process`.
    ///
    /// # Errors
    /// A usage error for another name.
    pub fn named(per: &str, id: String) -> Result<Self> {
        Ok(match per {
            "trace" => Self::Trace(id),
            "session" => Self::Session(id),
            "user" => Self::User(id),
            "process" => Self::Process,
            other => return Err(Error::new(ErrorKind::Usage, format!("totals: {other} has none"))),
        })
    }
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
        let budgets = Arc::default();
        Ok(Self(Arc::new(Shared { config: Arc::new(config), prices, budgets, core: ArcSwapOption::empty() })))
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

    /// What the calls of a trace, session or person used and cost in this process, for this client; waits as
    /// [`totals`](Self::totals) does. The latest 4,096 of each kind are remembered.
    pub fn totals_of(&self, whose: &TotalsOf, timeout: Duration) -> Totals {
        let Some(core) = self.core_if_started() else { return Totals::default() };
        core.delivery.settle(timeout);
        core.ledger.totals(&match whose {
            TotalsOf::Trace(id) => Key::new(Per::Trace, context::clean_id(id)),
            TotalsOf::Session(id) => Key::new(Per::Session, id.as_str()),
            TotalsOf::User(id) => Key::new(Per::User, id.as_str()),
            TotalsOf::Process => Key::process(),
        })
    }

    /// Limits what calls may cost from now on. Several budgets count side by side.
    ///
    /// A call may begin while what ended calls cost, and what those under way are taken to cost, is below the limit: so
    /// calls one after another go beyond it by less than one call, and calls side by side do too, as long as none costs
    /// more than it was taken to. A call under way is taken to cost as much as the dearest call of its model so far; the
    /// first one as its request suggests (four characters a token, and `max_tokens` or 1,000 tokens of output). Calls of
    /// an unknown price cost nothing. Where events go to the local store, all processes that use it share the budgets
    /// per trace, session, user and day, but for calls under way: each sees a moment later what others spent. Budgets hold for calls that are observed, and for this client.
    pub fn budget(&self, budget: Budget) -> BudgetId {
        self.0.budgets.add(budget)
    }

    /// Takes a budget back. What was spent stays spent.
    pub fn remove_budget(&self, id: BudgetId) {
        self.0.budgets.remove(id);
    }

    /// Whether calls have to ask by [`admit`](Self::admit) before they begin.
    pub fn has_budgets(&self) -> bool {
        self.0.budgets.any() && self.config().enabled
    }

    /// Asks whether a call may begin by its budgets. What comes back belongs into [`Exchange::reservation`]; `None`: no
    /// budget has a say. Waits a moment for calls to be decoded where the budget is almost used up. The body is decoded
    /// here, on the caller's thread, if there is a budget.
    ///
    /// # Errors
    /// When a budget is used up.
    pub fn admit(
        &self,
        url: &str,
        provider: Option<&str>,
        scope: Option<&Scope>,
        body: &[u8],
    ) -> Result<Option<Arc<Reservation>>, BudgetExceeded> {
        const PATIENCE: Duration = Duration::from_millis(500);
        if !self.has_budgets() {
            return Ok(None);
        }
        let Some(found) = self.recognise("POST", url, provider) else { return Ok(None) };
        let core = self.core();
        let keys = ledger::keys(self.config(), scope, None, SystemTime::now());
        let amount = estimate::of(&found, url, body, &self.0.prices.load(), |model| core.ledger.dearest(model));
        let ask = || core.ledger.admit(&self.0.budgets.all(), &keys, amount);
        // What ended but is not decoded yet counts as under way, and may have cost less.
        let refused = match ask() {
            Ok(reservation) => return Ok(Some(Arc::new(reservation))),
            Err(refused) => refused,
        };
        let again = if refused.under_way_usd > 0.0 && core.delivery.settle(PATIENCE) { ask() } else { Err(refused) };
        again.map(|reservation| Some(Arc::new(reservation))).inspect_err(|_| core.notes.add("budget_refused"))
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
        self.0.core.load_full().filter(|core| core.pid == process::number())
    }

    /// This process's core. In a forked child the parent's is forgotten: its thread does not exist here, and its locks
    /// may be held by threads that do not either, so it is neither joined nor dropped.
    fn core(&self) -> Arc<Core> {
        let pid = process::number();
        loop {
            let current = match self.0.core.load_full() {
                Some(core) if core.pid == pid => return core,
                other => other,
            };
            let config = Arc::clone(&self.0.config);
            let notes = Notes::default();
            let ledger = Arc::new(Ledger::new(&config, notes.clone()));
            let (prices, budgets) = (Arc::clone(&self.0.prices), Arc::clone(&self.0.budgets));
            let pipeline = Pipeline::new(Arc::clone(&config), prices, notes.clone(), Arc::clone(&ledger), budgets);
            let delivery = Delivery::new(config, pipeline);
            let fresh = Arc::new(Core { pid, delivery, notes, open: OpenScopes::default(), ledger });
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
