//! Budgets: how much calls may cost, and what happens to the call that would start beyond that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::config::Language;
use crate::error::{Error, ErrorKind, Result};
use crate::fields::Fields;
use crate::price::Amount;

/// What shares a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// The calls of one trace. A call outside of any trace is one by itself.
    Trace,
    /// The calls of one session. Calls outside of any session are not limited.
    Session,
    /// The calls for one distinct id. Calls without one are not limited.
    User,
    /// All calls of this process.
    Process,
    /// All calls of one day, in UTC.
    Day,
}

impl Per {
    const ALL: [(&'static str, Self); 5] = [
        ("trace", Self::Trace),
        ("session", Self::Session),
        ("user", Self::User),
        ("process", Self::Process),
        ("day", Self::Day),
    ];

    /// Its name: `trace`, `session`, `user`, `process` or `day`.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, per)| *per == self).map_or("", |(name, _)| name)
    }
}

/// What happens to a call that would start beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// One line on stderr for each trace, session, person or day, and a count in `stats()`; the call goes on.
    Warn,
    /// The call fails with [`BudgetExceeded`] before it is sent.
    #[default]
    Raise,
}

/// How much may be spent, by whom, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// US dollars.
    pub limit: Amount,
    /// Who shares them.
    pub per: Per,
    /// What happens to a call beyond them.
    pub action: Action,
}

/// Tells one budget of a client from its others, to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BudgetId(pub(crate) u64);

impl BudgetId {
    /// As a number, for other languages.
    pub fn number(self) -> u64 {
        self.0
    }

    /// From that number.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl Budget {
    /// A budget of so many US dollars whose calls fail beyond it. What is no amount (NaN, below zero) counts as zero.
    pub fn new(usd: f64, per: Per) -> Self {
        let limit = Amount::parse(&usd.to_string()).filter(|limit| *limit > Amount::ZERO).unwrap_or_default();
        Self { limit, per, action: Action::Raise }
    }

    /// The same budget with another action.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// A budget from `usd`, `per` (default `process`) and `action` (default `raise`), as languages hand them over.
    ///
    /// # Errors
    /// A config error that names the option and says what is allowed.
    pub fn read(mut fields: Fields) -> Result<Self> {
        let usd = fields.take("usd");
        let text = match &usd {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        };
        let limit = Amount::parse(&text).filter(|limit| *limit >= Amount::ZERO).ok_or_else(|| {
            let got = usd.map_or_else(|| "nothing".to_owned(), |usd| usd.to_string());
            Error::config(format!("budget: usd: expected US dollars of zero or more, got {got}"))
        })?;
        let mut budget = Self { limit, per: Per::Process, action: Action::Raise };
        if let Some(given) = fields.take("per") {
            budget.per = choose("per", &given, &Per::ALL)?;
        }
        if let Some(given) = fields.take("action") {
            budget.action = choose("action", &given, &[("warn", Action::Warn), ("raise", Action::Raise)])?;
        }
        fields.finish("budget").map(|()| budget)
    }

    /// The same from a JSON object.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(language: Language, json: &str) -> Result<Self> {
        match serde_json::from_str(json) {
            Ok(Value::Object(members)) => Self::read(Fields::new(language, members)),
            _ => Err(Error::new(ErrorKind::Usage, "budget: expected an object of names and values")),
        }
    }
}

fn choose<T: Copy>(option: &str, given: &Value, choices: &[(&str, T)]) -> Result<T> {
    choices.iter().find(|(name, _)| given.as_str() == Some(name)).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Error::config(format!("budget: {option}: expected one of {}, got {given}", names.join(", ")))
    })
}

/// A call that would have started beyond a budget and was not sent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BudgetExceeded {
    /// Who shares the budget.
    pub per: Per,
    /// Which of them it was: the trace's, session's or person's id, or the day; `None` for the process.
    pub id: Option<String>,
    /// The limit in US dollars.
    pub limit_usd: f64,
    /// What the calls that ended cost, in US dollars.
    pub spent_usd: f64,
    /// What the calls under way are taken to cost, in US dollars.
    pub under_way_usd: f64,
}

impl BudgetExceeded {
    /// Its code in all languages, beside those of [`ErrorKind::code`].
    pub const CODE: &'static str = "budget_exceeded";
}

impl fmt::Display for BudgetExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per, id, limit_usd, spent_usd, under_way_usd } = self;
        let whose = id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
        write!(f, "the budget of ${limit_usd} per {}{whose} is used up: ${spent_usd} spent", per.as_str())?;
        if *under_way_usd > 0.0 {
            write!(f, ", about ${under_way_usd} under way")?;
        }
        write!(f, "; the call was not sent")
    }
}

impl std::error::Error for BudgetExceeded {}

/// The budgets of a client.
#[derive(Default)]
pub(crate) struct Budgets {
    /// Whether there are any: what each call asks.
    any: AtomicBool,
    next: AtomicU64,
    all: ArcSwap<Vec<(BudgetId, Budget)>>,
}

impl Budgets {
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, budget: Budget) -> BudgetId {
        let id = BudgetId(self.next.fetch_add(1, Ordering::Relaxed));
        self.change(|all| all.push((id, budget)));
        id
    }

    pub(crate) fn remove(&self, id: BudgetId) {
        self.change(|all| all.retain(|(known, _)| *known != id));
    }

    fn change(&self, how: impl Fn(&mut Vec<(BudgetId, Budget)>)) {
        self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            how(&mut all);
            Arc::new(all)
        });
        self.any.store(!self.all.load().is_empty(), Ordering::Release);
    }

    pub(crate) fn all(&self) -> Vec<Budget> {
        self.all.load().iter().map(|(_, budget)| *budget).collect()
    }

    /// What has a budget that other processes spend of too.
    pub(crate) fn shared(&self) -> Vec<Per> {
        if !self.any() {
            return Vec::new();
        }
        self.all.load().iter().map(|(_, budget)| budget.per).filter(|per| *per != Per::Process).collect()
    }
}
