//! What the consumer of a stream sees, where usage was asked for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use llmtrail::stream_usage::{self, Glance};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::observation::head_of;

/// Takes out of a stream what only came because usage was asked for.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Filter {
    filter: Mutex<stream_usage::Filter>,
    client: llmtrail::Client,
}

impl Filter {
    /// For an httpx response; `None` when every piece of it passes as it is. `decoded`: its content encoding was undone.
    pub(crate) fn of(client: &llmtrail::Client, response: &Bound<'_, PyAny>, decoded: bool) -> PyResult<Option<Self>> {
        let (status, headers) = head_of(response)?;
        let filter = stream_usage::Filter::new(status, &headers, decoded);
        Ok((!filter.is_off()).then(|| Self { filter: Mutex::new(filter), client: client.clone() }))
    }

    /// Keeps a panic of ours away from the call that is observed, where it would be an exception.
    fn guarded<T>(&self, work: impl FnOnce(&mut stream_usage::Filter) -> T) -> Option<T> {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut filter)));
        done.inspect_err(|_| self.client.note("panic")).ok()
    }
}

#[pymethods]
impl Filter {
    /// What is to be seen of a piece, possibly nothing yet.
    fn push<'py>(&self, piece: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let (py, bytes) = (piece.py(), piece.as_bytes());
        match self.guarded(|filter| filter.glance(bytes)) {
            None | Some(Glance::Whole) => return Ok(piece.clone()),
            Some(Glance::Without(cut)) => {
                return PyBytes::new_with(py, bytes.len() - cut.len(), |kept| {
                    kept[..cut.start].copy_from_slice(&bytes[..cut.start]);
                    kept[cut.start..].copy_from_slice(&bytes[cut.end..]);
                    Ok(())
                });
            }
            Some(Glance::Unsure) => {}
        }
        match self.guarded(|filter| filter.push(&Bytes::copy_from_slice(bytes))) {
            Some(seen) if seen != bytes => Ok(PyBytes::new(py, &seen)),
            _ => Ok(piece.clone()),
        }
    }

    /// What is still to be seen before the end or an error; mostly nothing.
    fn finish<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.guarded(stream_usage::Filter::finish).unwrap_or_default())
    }
}
