//! Budgets and totals, as JavaScript sees them.

use std::sync::{Arc, Mutex, PoisonError};

use llmtrail::budget::BudgetId;
use llmtrail::{Budget, BudgetExceeded, Language, TotalsOf};
use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;

use crate::client::NativeClient;
use crate::convert::{Result, coded, millis};
use crate::delivery::{Settle, Whose};
use crate::scope::Scope;

/// A call under way, which counts for its budgets. It is handed over with the call, or let go of.
#[napi(js_name = "NativeReservation")]
pub struct Reservation(Mutex<Option<Arc<llmtrail::Reservation>>>);

impl Reservation {
    pub(crate) fn take(&self) -> Option<Arc<llmtrail::Reservation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[napi]
impl Reservation {
    /// The call is not made.
    #[napi]
    pub fn release(&self) {
        drop(self.take());
    }
}

/// What a budget says to a call.
#[napi(object)]
pub struct Refusal {
    /// The sentence.
    pub message: String,
    /// Who shares the budget.
    pub per: String,
    /// Which of them.
    pub id: Option<String>,
    /// The limit in US dollars.
    pub limit_usd: f64,
    /// What was spent.
    pub spent_usd: f64,
    /// What calls under way are taken to cost.
    pub under_way_usd: f64,
}

impl From<BudgetExceeded> for Refusal {
    fn from(exceeded: BudgetExceeded) -> Self {
        Self {
            message: exceeded.to_string(),
            per: exceeded.per.as_str().to_owned(),
            limit_usd: exceeded.limit_usd,
            spent_usd: exceeded.spent_usd,
            under_way_usd: exceeded.under_way_usd,
            id: exceeded.id,
        }
    }
}

/// Whether a call may begin: what it reserves, if anything, or why not.
#[napi(object, object_from_js = false)]
pub struct Admission {
    /// To be handed over with the call.
    pub reservation: Option<Reservation>,
    /// Why it may not.
    pub refusal: Option<Refusal>,
}

#[napi]
impl NativeClient {
    /// Sets a budget; gives its number.
    #[napi]
    pub fn budget(&self, options: String) -> Result<u32> {
        let budget = Budget::from_json(Language::Node, &options).map_err(|error| coded(&error))?;
        Ok(u32::try_from(self.0.budget(budget).number()).unwrap_or(u32::MAX))
    }

    /// Takes a budget back.
    #[napi]
    pub fn remove_budget(&self, number: u32) {
        self.0.remove_budget(BudgetId::from_number(number.into()));
    }

    /// Whether calls have to ask before they begin.
    #[napi]
    pub fn has_budgets(&self) -> bool {
        self.0.has_budgets()
    }

    /// Asks whether a call may begin.
    #[napi]
    pub fn admit(
        &self,
        url: String,
        provider: Option<String>,
        scope: Option<&Scope>,
        text: Option<String>,
        bytes: Option<&[u8]>,
    ) -> Admission {
        let body = text.as_deref().map(str::as_bytes).or(bytes).unwrap_or_default();
        match self.0.admit(&url, provider.as_deref(), scope.map(|scope| &scope.0), body) {
            Ok(reservation) => Admission {
                reservation: reservation.map(|reservation| Reservation(Mutex::new(Some(reservation)))),
                refusal: None,
            },
            Err(exceeded) => Admission { reservation: None, refusal: Some(exceeded.into()) },
        }
    }

    /// What the calls of a `trace`, `session` or `user` (by its id) or of the `process` used and cost.
    #[napi]
    pub fn totals_of(&self, per: String, id: String, timeout: f64) -> Result<AsyncTask<Settle>> {
        let whose = TotalsOf::named(&per, id).map_err(|error| coded(&error))?;
        Ok(AsyncTask::new(Settle { client: self.0.clone(), whose: Whose::Of(whose), timeout: millis(timeout) }))
    }
}
