//! What calls cost so far, by trace, session, person, day and process; what those under way will; and the budgets.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use crate::budget::{Action, Budget, BudgetExceeded, Per};
use crate::config::Config;
use crate::context::{Scope, Totals};
use crate::day;
use crate::deliver::notice;
use crate::event::usage::Usage;
use crate::notes::Notes;
use crate::patient;
use crate::price::Amount;
#[cfg(feature = "store")]
use crate::sink::store::spent::Spent;

/// Traces, sessions and people that are remembered, each; the oldest go first.
const REMEMBERED: usize = 4096;

/// Models whose dearest call is remembered.
const MODELS: usize = 1024;

/// What is summed up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Per, Option<Arc<str>>);

impl Key {
    pub(crate) fn new(per: Per, id: impl Into<Arc<str>>) -> Self {
        Self(per, Some(id.into()))
    }

    pub(crate) fn process() -> Self {
        Self(Per::Process, None)
    }

    /// As one text, for the store.
    #[cfg(feature = "store")]
    fn text(&self) -> String {
        format!("{} {}", self.0.as_str(), self.1.as_deref().unwrap_or_default())
    }
}

/// The sums that a call counts for.
pub(crate) fn keys(config: &Config, scope: Option<&Scope>, trace_id: Option<&str>, at: SystemTime) -> Vec<Key> {
    let person = scope.and_then(Scope::distinct_id).or(config.distinct_id.as_deref());
    let of = [
        (Per::Trace, trace_id.or_else(|| scope.and_then(Scope::trace_id))),
        (Per::Session, scope.and_then(Scope::session_id)),
        (Per::User, person),
    ];
    let named = of.into_iter().filter_map(|(per, id)| Some(Key::new(per, id?)));
    named.chain([Key::new(Per::Day, day::of(at)), Key(Per::Process, None)]).collect()
}

/// What one process knows of its costs.
pub(crate) struct Ledger {
    books: Mutex<Books>,
    notes: Notes,
    /// What other processes spent, where the local store is on.
    #[cfg(feature = "store")]
    others: Option<Spent>,
}

#[derive(Default)]
struct Books {
    totals: HashMap<Key, Totals>,
    order: HashMap<Per, VecDeque<Key>>,
    under_way: HashMap<Key, Amount>,
    /// The dearest call of each model so far.
    dearest: HashMap<String, Amount>,
    warned: VecDeque<(Key, Amount)>,
}

/// A call under way, which counts as much as it is taken to cost until it is decoded. Dropping it ends that.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    keys: Vec<Key>,
    amount: Amount,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    pub(crate) fn new(config: &Config, notes: Notes) -> Self {
        #[cfg(feature = "store")]
        let others = crate::sink::writes_store(config).then(|| Spent::new(&config.dir));
        #[cfg(not(feature = "store"))]
        let _ = config;
        Self {
            books: Mutex::default(),
            notes,
            #[cfg(feature = "store")]
            others,
        }
    }

    /// A call ended, and was decoded.
    pub(crate) fn add(&self, keys: &[Key], model: Option<&str>, usage: &Usage, cost: Option<Amount>, shared: &[Per]) {
        let Some(mut books) = self.books() else { return };
        for key in keys {
            books.add(key, usage, cost);
        }
        if let (Some(model), Some(cost)) = (model, cost) {
            if let Some(dearest) = books.dearest.get_mut(model) {
                *dearest = cost.max(*dearest);
            } else {
                if books.dearest.len() >= MODELS {
                    books.dearest.clear();
                }
                books.dearest.insert(model.to_owned(), cost.max(Amount::ZERO));
            }
        }
        #[cfg(feature = "store")]
        if let Some(others) = &self.others
            && !shared.is_empty()
        {
            let told = keys.iter().filter(|key| shared.contains(&key.0));
            let told: Vec<_> = told.map(|key| (key.text(), books.spent(key))).collect();
            drop(books);
            if others.tell(&told).is_err() {
                self.notes.add("budget_not_shared");
            }
        }
        #[cfg(not(feature = "store"))]
        let _ = shared;
    }

    /// What the calls of a trace, session or person used and cost in this process.
    pub(crate) fn totals(&self, key: &Key) -> Totals {
        self.books().and_then(|books| books.totals.get(key).copied()).unwrap_or_default()
    }

    /// The most that a call of a model cost so far.
    pub(crate) fn dearest(&self, model: &str) -> Option<Amount> {
        self.books()?.dearest.get(model).copied()
    }

    /// Lets a call begin that is taken to cost so much, unless a budget of its is used up. Asking and reserving are one
    /// step, so that calls that begin at once cannot all have the last cent.
    pub(crate) fn admit(
        self: &Arc<Self>,
        budgets: &[Budget],
        keys: &[Key],
        amount: Amount,
    ) -> Result<Reservation, BudgetExceeded> {
        let limited = |per: Per| keys.iter().find(|key| key.0 == per);
        let elsewhere: Vec<Amount> = budgets
            .iter()
            .map(|budget| limited(budget.per).map(|key| self.elsewhere(key)).unwrap_or_default())
            .collect();
        let Some(mut books) = self.books() else {
            return Ok(Reservation { ledger: Arc::clone(self), keys: Vec::new(), amount });
        };
        for (budget, elsewhere) in budgets.iter().zip(elsewhere) {
            let Some(key) = limited(budget.per) else { continue };
            let spent = books.spent(key) + elsewhere;
            let under_way = books.under_way.get(key).copied().unwrap_or_default();
            if budget.action == Action::Warn {
                if spent >= budget.limit && books.warns_first(key, budget.limit) {
                    self.notes.add("budget_exceeded");
                    notice::line(&exceeded(budget, key, spent, Amount::ZERO).to_string().replace(SENT, "."));
                }
            } else if spent + under_way >= budget.limit {
                return Err(exceeded(budget, key, spent, under_way));
            }
        }
        let keys: Vec<Key> = budgets.iter().filter_map(|budget| limited(budget.per).cloned()).collect();
        let mut reserved: Vec<Key> = Vec::new();
        for key in keys {
            if !reserved.contains(&key) {
                let sum = books.under_way.entry(key.clone()).or_default();
                *sum = sum.saturating_add(amount);
                reserved.push(key);
            }
        }
        Ok(Reservation { ledger: Arc::clone(self), keys: reserved, amount })
    }

    /// What other processes spent of the same budget.
    fn elsewhere(&self, key: &Key) -> Amount {
        #[cfg(feature = "store")]
        if let Some(others) = &self.others
            && key.0 != Per::Process
        {
            return others.elsewhere(&key.text()).unwrap_or_else(|_| {
                self.notes.add("budget_not_shared");
                Amount::ZERO
            });
        }
        let _ = key;
        Amount::ZERO
    }

    /// The books, unless they cannot be had.
    fn books(&self) -> Option<MutexGuard<'_, Books>> {
        patient::lock(&self.books)
    }
}

/// The end of the sentence, which does not hold for a warning.
const SENT: &str = "; the call was not sent";

fn exceeded(budget: &Budget, key: &Key, spent: Amount, under_way: Amount) -> BudgetExceeded {
    BudgetExceeded {
        per: key.0,
        id: key.1.as_deref().map(str::to_owned),
        limit_usd: budget.limit.to_f64(),
        spent_usd: spent.to_f64(),
        under_way_usd: under_way.to_f64(),
    }
}

impl Books {
    fn spent(&self, key: &Key) -> Amount {
        self.totals.get(key).map(|totals| totals.cost).unwrap_or_default()
    }

    fn add(&mut self, key: &Key, usage: &Usage, cost: Option<Amount>) {
        if let Some(totals) = self.totals.get_mut(key) {
            return totals.add(usage, cost);
        }
        let order = self.order.entry(key.0).or_default();
        if order.len() >= REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            self.totals.remove(&oldest);
        }
        order.push_back(key.clone());
        self.totals.entry(key.clone()).or_default().add(usage, cost);
    }

    /// Whether nobody was warned of this yet.
    fn warns_first(&mut self, key: &Key, limit: Amount) -> bool {
        if self.warned.iter().any(|(known, at)| known == key && *at == limit) {
            return false;
        }
        if self.warned.len() >= REMEMBERED {
            self.warned.pop_front();
        }
        self.warned.push_back((key.clone(), limit));
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(mut books) = self.ledger.books() else { return };
        for key in &self.keys {
            if let Some(sum) = books.under_way.get_mut(key) {
                *sum = sum.saturating_add(Amount::from_atto(-self.amount.atto()));
                if *sum <= Amount::ZERO {
                    books.under_way.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn usd(text: &str) -> Amount {
        Amount::parse(text).unwrap()
    }

    fn ledger() -> Arc<Ledger> {
        let config = Config { api_key: Some("phc_test".to_owned().into()), ..Config::default() };
        Arc::new(Ledger::new(&config, Notes::default()))
    }

    #[test]
    fn calls_under_way_count_until_they_are_decoded() {
        let ledger = ledger();
        let budget = [Budget::new(0.10, Per::Process)];
        let keys = [Key(Per::Process, None)];
        let first = ledger.admit(&budget, &keys, usd("0.06")).unwrap();
        let second = ledger.admit(&budget, &keys, usd("0.06")).unwrap();
        let refused = ledger.admit(&budget, &keys, usd("0.06")).unwrap_err();
        assert_eq!((refused.spent_usd, refused.under_way_usd), (0.0, 0.12));
        ledger.add(&keys, Some("m"), &Usage::default(), Some(usd("0.02")), &[]);
        drop(first);
        let third = ledger.admit(&budget, &keys, usd("0.06")).unwrap();
        drop((second, third));
        ledger.add(&keys, Some("m"), &Usage::default(), Some(usd("0.09")), &[]);
        let refused = ledger.admit(&budget, &keys, Amount::ZERO).unwrap_err();
        assert_eq!((refused.spent_usd, refused.under_way_usd), (0.11, 0.0));
        assert_eq!(ledger.dearest("m"), Some(usd("0.09")));
        assert!(ledger.books().unwrap().under_way.is_empty());
    }

    #[test]
    fn each_has_a_budget_of_its_own_and_who_has_no_name_has_none() {
        let ledger = ledger();
        let budget = [Budget::new(0.01, Per::User)];
        let ann = [Key::new(Per::User, "ann"), Key(Per::Process, None)];
        ledger.add(&ann, None, &Usage::default(), Some(usd("0.01")), &[]);
        assert!(ledger.admit(&budget, &ann, Amount::ZERO).is_err());
        assert!(ledger.admit(&budget, &[Key::new(Per::User, "bob")], Amount::ZERO).is_ok());
        assert!(ledger.admit(&budget, &[Key(Per::Process, None)], Amount::ZERO).is_ok());
    }

    #[test]
    fn a_warning_lets_the_call_go_on() {
        let ledger = ledger();
        let budget = [Budget::new(0.01, Per::Process).action(Action::Warn)];
        let keys = [Key(Per::Process, None)];
        ledger.add(&keys, None, &Usage::default(), Some(usd("0.02")), &[]);
        for _ in 0..3 {
            assert!(ledger.admit(&budget, &keys, Amount::ZERO).is_ok());
        }
        assert_eq!(ledger.notes.all().get("budget_exceeded"), Some(&1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let ledger = ledger();
        for person in 0..REMEMBERED + 10 {
            ledger.add(&[Key::new(Per::User, person.to_string())], None, &Usage::default(), None, &[]);
        }
        assert_eq!(ledger.books().unwrap().totals.len(), REMEMBERED);
        assert_eq!(ledger.totals(&Key::new(Per::User, "3")).calls, 0);
        assert_eq!(ledger.totals(&Key::new(Per::User, "4000")).calls, 1);
    }
}
