//! What is read of a response's body: the pieces, when they came, and what the consumer is to see of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use llmtrail::stream_usage::{self, Glance};
use llmtrail::{Chunk, Exchange};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::Client;
use crate::observation::{LARGE, head_of, share};

/// Pieces lie side by side in allocations of at most this size, each as large as all before it: the memory bound counts
/// bytes and not the room around them, and most bodies have but one piece.
const ROOM: usize = 16 << 10;

/// A body that is read, with the provider's clock: time inside the request and inside reads of the body. Until it is
/// asked for more, what passes is the consumer's pause. One step in here for each step of a stream: in Python the same
/// takes several times as long.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Reading {
    state: Mutex<State>,
    client: Py<Client>,
}

struct State {
    chunks: Vec<Chunk>,
    room: BytesMut,
    /// Bytes of the pieces in rooms.
    kept: usize,
    /// Bytes of all pieces.
    size: usize,
    waited: Duration,
    paused: Duration,
    /// The clock stands since then.
    idle: Instant,
    /// More was asked for then.
    asked: Option<Instant>,
    /// It was given out: what comes now is nobody's, but passes as before.
    over: bool,
    /// It was let go of, and counted.
    let_go: bool,
    /// Takes out of the body what only came because usage was asked for.
    filter: Option<stream_usage::Filter>,
}

/// What was read: the pieces, how long was waited for the provider, and how long the consumer paused between reads.
pub(crate) struct Read {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) waited: Duration,
    pub(crate) paused: Duration,
}

impl Reading {
    /// A body whose head came after so many nanoseconds. `response`: an httpx response to a request in which usage was
    /// asked for; `decoded`: its content encoding was undone.
    pub(crate) fn begin(
        client: &Bound<'_, Client>,
        waited: u64,
        response: Option<&Bound<'_, PyAny>>,
        decoded: bool,
    ) -> PyResult<Self> {
        let head = response.map(head_of).transpose()?;
        let filter = head.map(|(status, headers)| stream_usage::Filter::new(status, &headers, decoded));
        let state = State {
            chunks: Vec::new(),
            room: BytesMut::new(),
            kept: 0,
            size: 0,
            waited: Duration::from_nanos(waited),
            paused: Duration::ZERO,
            idle: Instant::now(),
            asked: None,
            over: false,
            let_go: false,
            filter: filter.filter(|filter| !filter.is_off()),
        };
        Ok(Self { state: Mutex::new(state), client: client.clone().unbind() })
    }

    /// Gives out what was read; `None`: it was let go of.
    pub(crate) fn take(&self) -> Option<Read> {
        let mut state = self.state();
        let chunks = state.take();
        (!state.let_go).then_some(Read { chunks, waited: state.waited, paused: state.paused })
    }

    /// Keeps a piece. What is larger than all events may be would be refused at its end, and counted, so that is done as
    /// soon as it is: an answer may go on for ever.
    fn note(&self, state: &mut State, piece: &Bound<'_, PyBytes>) {
        state.keep(piece);
        let client = &self.client.get().0;
        if state.size > client.config().max_memory && !state.over {
            state.let_go = true;
            client.observe(Exchange { chunks: state.take(), ..Exchange::default() });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a panic of ours away from the call that is observed, where it would be an exception.
    fn guarded<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(work)).inspect_err(|_| self.client.get().0.note("panic")).ok()
    }
}

impl State {
    fn take(&mut self) -> Vec<Chunk> {
        self.over = true;
        self.room = BytesMut::new();
        std::mem::take(&mut self.chunks)
    }

    fn stop(&mut self) {
        if let Some(asked) = self.asked.take() {
            let now = Instant::now();
            self.waited += now.saturating_duration_since(asked);
            self.paused += asked.saturating_duration_since(self.idle);
            self.idle = now;
        }
    }

    fn keep(&mut self, piece: &Bound<'_, PyBytes>) {
        let bytes = piece.as_bytes();
        if bytes.is_empty() || self.over {
            return;
        }
        self.size += bytes.len();
        let bytes = if bytes.len() >= LARGE {
            share(piece)
        } else {
            if self.room.capacity() < bytes.len() {
                self.room = BytesMut::with_capacity(self.kept.min(ROOM).max(bytes.len()));
            }
            self.kept += bytes.len();
            self.room.extend_from_slice(bytes);
            self.room.split().freeze()
        };
        self.chunks.push(Chunk { bytes, at: self.waited });
    }
}

#[pymethods]
impl Reading {
    /// The consumer asks for more.
    fn asks(&self) {
        self.state().asked = Some(Instant::now());
    }

    /// What was asked for came, and it is an end; or it is told by `keep`.
    fn stop(&self) {
        self.state().stop();
    }

    /// A piece that came.
    fn keep(&self, piece: &Bound<'_, PyBytes>) {
        self.note(&mut self.state(), piece);
    }

    /// A piece came that was asked for; says what is to be seen of it, possibly nothing yet.
    fn came<'py>(&self, piece: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let (py, bytes) = (piece.py(), piece.as_bytes());
        let mut state = self.state();
        state.stop();
        self.note(&mut state, piece);
        let Some(filter) = &mut state.filter else { return Ok(piece.clone()) };
        match self.guarded(|| filter.glance(bytes)) {
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
        match self.guarded(|| filter.push(&Bytes::copy_from_slice(bytes))) {
            Some(seen) if seen != bytes => Ok(PyBytes::new(py, &seen)),
            _ => Ok(piece.clone()),
        }
    }

    /// What is still to be seen before the end or an error; mostly nothing.
    fn rest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut state = self.state();
        let rest = state.filter.as_mut().and_then(|filter| self.guarded(|| filter.finish()));
        PyBytes::new(py, &rest.unwrap_or_default())
    }
}
