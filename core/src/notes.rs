//! Counts of what could not be done as it should, by named reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared counters. Cheap to clone; every clone counts into the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Notes {
    /// Counts one.
    pub(crate) fn add(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// All counts so far.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
