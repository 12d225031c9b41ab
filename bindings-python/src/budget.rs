//! Budgets and totals, as Python sees them.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use llmtrail::budget::BudgetId;
use llmtrail::{Budget, BudgetExceeded, Language, TotalsOf};

use crate::client::{Client, seconds};
use crate::error::raise;
use crate::scope::Scope;

/// A call under way, which counts for its budgets. It is handed over with the call, or let go of.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Reservation(Mutex<Option<Arc<llmtrail::Reservation>>>);

impl Reservation {
    pub(crate) fn take(&self) -> Option<Arc<llmtrail::Reservation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// `(calls, unpriced, cost_usd, usage)`.
pub(crate) type Totals<'py> = (u64, u64, Option<f64>, Bound<'py, PyDict>);

pub(crate) fn totals<'py>(py: Python<'py>, totals: &llmtrail::context::Totals) -> PyResult<Totals<'py>> {
    let usage = PyDict::new(py);
    for (bucket, units) in totals.usage.buckets() {
        usage.set_item(bucket, units)?;
    }
    Ok((totals.calls, totals.unpriced, totals.cost_usd(), usage))
}

#[pymethods]
impl Client {
    /// Sets a budget; gives its number.
    fn budget(&self, py: Python<'_>, options: &str) -> PyResult<u64> {
        let budget = Budget::from_json(Language::Python, options).map_err(|error| raise(py, &error))?;
        Ok(self.0.budget(budget).number())
    }

    fn remove_budget(&self, number: u64) {
        self.0.remove_budget(BudgetId::from_number(number));
    }

    #[getter]
    fn has_budgets(&self) -> bool {
        self.0.has_budgets()
    }

    /// Asks whether a call may begin. Raises `BudgetExceeded`.
    fn admit(
        &self,
        py: Python<'_>,
        url: &str,
        provider: Option<&str>,
        scope: Option<&Scope>,
        body: Option<&[u8]>,
    ) -> PyResult<Option<Reservation>> {
        let scope = scope.map(|scope| &scope.0);
        match py.detach(|| self.0.admit(url, provider, scope, body.unwrap_or_default())) {
            Ok(reservation) => Ok(reservation.map(|reservation| Reservation(Mutex::new(Some(reservation))))),
            Err(exceeded) => Err(refusal(py, &exceeded)),
        }
    }

    /// What the calls of a `trace`, `session` or `user` (by its id) or of the `process` used and cost.
    fn totals_of<'py>(&self, py: Python<'py>, per: &str, id: String, timeout: f64) -> PyResult<Totals<'py>> {
        let whose = TotalsOf::named(per, id).map_err(|error| raise(py, &error))?;
        totals(py, &py.detach(|| self.0.totals_of(&whose, seconds(timeout))))
    }
}

/// The exception, whose class lives in Python.
fn refusal(py: Python<'_>, exceeded: &BudgetExceeded) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("llmtrail._errors")?.getattr("budget_exceeded")?.unbind()));
    let BudgetExceeded { per, id, limit_usd, spent_usd, under_way_usd, .. } = exceeded;
    let told = (exceeded.to_string(), per.as_str(), id.as_deref(), *limit_usd, *spent_usd, *under_way_usd);
    match make.and_then(|make| make.bind(py).call1(told)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(trouble) => trouble,
    }
}
