//! Traces and spans that have not ended: a shutdown sends them, for what is inside of them would not be shown without.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::context::{Scope, WeakScope};

/// Traces and spans that have not ended.
#[derive(Default)]
pub(crate) struct OpenScopes(Mutex<HashMap<usize, WeakScope>>);

impl OpenScopes {
    /// One began.
    pub(crate) fn add(&self, scope: &Scope) {
        /// Those that were dropped without an end are looked for when there are so many.
        const MANY: usize = 4096;
        let mut all = self.all();
        if all.len() >= MANY && all.len().is_power_of_two() {
            all.retain(|_, scope| !scope.is_gone());
        }
        all.insert(scope.place(), scope.weak());
    }

    /// One ended.
    pub(crate) fn remove(&self, scope: &Scope) {
        self.all().remove(&scope.place());
    }

    /// Those that are still open, which are then forgotten.
    pub(crate) fn take_all(&self) -> Vec<Scope> {
        let all = std::mem::take(&mut *self.all());
        all.values().filter_map(WeakScope::get).filter(|scope| !scope.is_ended()).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<usize, WeakScope>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
