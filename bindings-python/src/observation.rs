//! One observed call under way, as the Python transport talks to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use bytes::Bytes;
use pyo3::exceptions::{PyException, PyTimeoutError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use llmtrail::End;
use llmtrail::exchange::{REQUEST_HEADERS, RESPONSE_HEADERS};

/// One HTTP attempt under way. Dropped without an end, it counts as abandoned.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Observation {
    core: llmtrail::Observation,
    client: llmtrail::Client,
}

impl Observation {
    pub(crate) fn new(core: llmtrail::Observation, client: llmtrail::Client) -> Self {
        Self { core, client }
    }

    /// The request's headers, of which only the allow-list is read, and its body, when it is in memory; a stream is never
    /// consumed. Says what to send in place of the body, if anything.
    pub(crate) fn request<'py>(&self, request: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let (headers, body) = request_of(request)?;
        let outgoing = self.guarded(|core| core.request(headers, body));
        Ok(outgoing.map(|body| PyBytes::new(request.py(), &body)))
    }

    /// Keeps a panic of ours away from the call that is observed, where it would be an exception.
    fn guarded<T: Default>(&self, work: impl FnOnce(&llmtrail::Observation) -> T) -> T {
        catch_unwind(AssertUnwindSafe(|| work(&self.core))).unwrap_or_else(|_| {
            self.client.note("panic");
            T::default()
        })
    }
}

#[pymethods]
impl Observation {
    /// The head of an httpx response came. Gives its content when that is here already: from a mock or a cache.
    fn response<'py>(&self, response: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let content = content(response)?;
        let (status, headers) = head_of(response)?;
        self.guarded(|core| core.response(status, headers, content.is_some()));
        Ok(content)
    }

    /// The consumer asks for more.
    fn reading(&self) {
        self.guarded(llmtrail::Observation::reading);
    }

    /// A piece of the body came. `None`: pass the same object on; else pass this on instead, nothing when it is empty.
    fn chunk<'py>(&self, piece: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
        // What is not bytes is the transport's own affair: it goes on as it is.
        let shared = share(piece.cast::<PyBytes>().ok()?);
        let (start, len) = (shared.as_ptr(), shared.len());
        let instead = self.guarded(|core| core.chunk(shared))?;
        let same = instead.as_ptr() == start && instead.len() == len;
        (!same).then(|| PyBytes::new(piece.py(), &instead))
    }

    /// What was held back and is to be passed on before the end or an error. `None`: nothing.
    fn rest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let rest = self.guarded(llmtrail::Observation::rest);
        (!rest.is_empty()).then(|| PyBytes::new(py, &rest))
    }

    /// The body was read to its end.
    fn complete(&self) {
        self.guarded(|core| core.end(End::Complete));
    }

    /// The consumer stopped before the end.
    fn abandon(&self) {
        self.guarded(|core| core.end(End::Abandoned));
    }

    /// The attempt ended with an exception.
    fn fail(&self, error: &Bound<'_, PyAny>) {
        let end = end_of(error);
        self.guarded(|core| core.end(end));
    }

    /// Iterates over a body's pieces, recording them as they pass.
    fn iterate(slf: Py<Self>, pieces: Bound<'_, PyIterator>) -> Pieces {
        Pieces { observation: slf, source: pieces.unbind(), late: Mutex::new(None) }
    }
}

/// The pieces of a body on their way to the consumer.
#[pyclass(frozen, module = "llmtrail._core")]
pub(crate) struct Pieces {
    observation: Py<Observation>,
    source: Py<PyIterator>,
    /// An error that waits until what was held back is passed on.
    late: Mutex<Option<PyErr>>,
}

#[pymethods]
impl Pieces {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let observation = self.observation.get();
        let mut pieces = self.source.bind(py).clone();
        if let Some(error) = self.late.lock().ok().and_then(|mut late| late.take()) {
            return Err(error);
        }
        loop {
            observation.reading();
            match pieces.next() {
                Some(Ok(piece)) => match observation.chunk(&piece) {
                    None => return Ok(Some(piece)),
                    Some(instead) if instead.as_bytes().is_empty() => {}
                    Some(instead) => return Ok(Some(instead.into_any())),
                },
                Some(Err(error)) => {
                    let rest = observation.rest(py);
                    observation.fail(error.value(py).as_any());
                    let Some(rest) = rest else { return Err(error) };
                    if let Ok(mut late) = self.late.lock() {
                        *late = Some(error);
                    }
                    return Ok(Some(rest.into_any()));
                }
                None => {
                    let rest = observation.rest(py);
                    observation.complete();
                    return Ok(rest.map(Bound::into_any));
                }
            }
        }
    }

    /// Called when a generator that delegates to this is closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.observation.get().abandon();
        let pieces = self.source.bind(py);
        if pieces.hasattr("close")? {
            pieces.call_method0("close")?;
        }
        Ok(())
    }
}

/// The bytes of a Python object for the core. Large ones are shared; for small ones a copy costs less than the
/// bookkeeping of letting go of a Python object on a thread that does not hold the GIL.
pub(crate) fn share(bytes: &Bound<'_, PyBytes>) -> Bytes {
    const LARGE: usize = 16 << 10;
    let view = bytes.as_bytes();
    if view.len() < LARGE {
        Bytes::copy_from_slice(view)
    } else {
        Bytes::from_owner(PyBackedBytes::from(bytes.clone()))
    }
}

/// Names and values of headers.
pub(crate) type Headers = Vec<(String, String)>;

/// The headers of a request, of which only the allow-list is read, and its body when it is in memory; a stream is never
/// consumed.
pub(crate) fn request_of(request: &Bound<'_, PyAny>) -> PyResult<(Headers, Bytes)> {
    let py = request.py();
    let headers = pick(&request.getattr(intern!(py, "headers"))?, REQUEST_HEADERS)?;
    let body = match content(request)? {
        Some(body) => Some(body),
        None => request.getattr(intern!(py, "stream"))?.getattr(intern!(py, "_stream")).ok(),
    };
    let body = body.as_ref().and_then(|body| body.cast_exact::<PyBytes>().ok()).map(share).unwrap_or_default();
    Ok((headers, body))
}

/// The status and the headers of a response, of which only the allow-list is read.
pub(crate) fn head_of(response: &Bound<'_, PyAny>) -> PyResult<(u16, Headers)> {
    let py = response.py();
    let status = response.getattr(intern!(py, "status_code"))?.extract()?;
    Ok((status, pick(&response.getattr(intern!(py, "headers"))?, RESPONSE_HEADERS)?))
}

/// A message's `_content`, if it was read.
fn content<'py>(message: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let members = message.getattr(intern!(message.py(), "__dict__"))?;
    members.cast::<PyDict>()?.get_item(intern!(message.py(), "_content"))
}

/// An address as text, without the user information. Out of its parts where httpx keeps them as it does (and that is
/// three times as fast), else as it prints itself.
pub(crate) fn url(url: &Bound<'_, PyAny>) -> PyResult<String> {
    fn joined(parts: &Bound<'_, PyAny>) -> PyResult<String> {
        let parts = parts.cast::<PyTuple>()?;
        let text = |at: usize| -> PyResult<String> { Ok(parts.get_item(at)?.cast::<PyString>()?.to_str()?.to_owned()) };
        let (mut url, host, port, path) = (text(0)?, text(2)?, parts.get_item(3)?, text(4)?);
        url.push_str("://");
        let bare_v6 = host.contains(':');
        url.push_str(if bare_v6 { "[" } else { "" });
        url.push_str(&host);
        url.push_str(if bare_v6 { "]" } else { "" });
        if !port.is_none() {
            url.push(':');
            url.push_str(&port.extract::<u16>()?.to_string());
        }
        url.push_str(&path);
        if let Ok(query) = parts.get_item(5)?.cast::<PyString>() {
            url.push('?');
            url.push_str(query.to_str()?);
        }
        Ok(url)
    }
    let parts = url.getattr(intern!(url.py(), "_uri_reference"));
    parts.and_then(|parts| joined(&parts)).or_else(|_| Ok(url.str()?.to_str()?.to_owned()))
}

/// The headers of an allow-list: out of httpx's own list of (raw name, lower-case name, value), else out of its raw
/// pairs.
fn pick(headers: &Bound<'_, PyAny>, allowed: &[&str]) -> PyResult<Headers> {
    let py = headers.py();
    let list = headers.getattr(intern!(py, "_list")).or_else(|_| headers.getattr(intern!(py, "raw")))?;
    let mut picked = Vec::new();
    for entry in list.cast::<PyList>()?.iter() {
        let entry = entry.cast::<PyTuple>()?;
        let name = entry.get_item(0)?;
        let name = name.cast::<PyBytes>()?.as_bytes();
        let known = |allowed: &&&str| allowed.len() == name.len() && allowed.as_bytes().eq_ignore_ascii_case(name);
        if let Some(name) = allowed.iter().find(known) {
            let value = entry.get_item(entry.len() - 1)?;
            let value = String::from_utf8_lossy(value.cast::<PyBytes>()?.as_bytes()).into_owned();
            picked.push(((*name).to_owned(), value));
        }
    }
    Ok(picked)
}

/// The headers of an allow-list out of pairs of texts (or bytes), as most HTTP libraries give them.
pub(crate) fn pick_pairs(pairs: &Bound<'_, PyAny>, allowed: &[&str]) -> PyResult<Headers> {
    let mut picked = Vec::new();
    for entry in pairs.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry?.extract()?;
        let Some(name) = text(&name) else { continue };
        if let Some(name) = allowed.iter().find(|allowed| allowed.eq_ignore_ascii_case(&name))
            && let Some(value) = text(&value)
        {
            picked.push(((*name).to_owned(), value));
        }
    }
    Ok(picked)
}

fn text(value: &Bound<'_, PyAny>) -> Option<String> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Some(String::from_utf8_lossy(bytes.as_bytes()).into_owned());
    }
    value.extract().ok()
}

/// What an exception says about the end. The causes are told too: the outermost often only says that all attempts
/// failed.
pub(crate) fn end_of(error: &Bound<'_, PyAny>) -> End {
    if !error.is_instance_of::<PyException>() {
        // Cancellation, interrupt, a closed generator: the consumer's own doing.
        return End::Abandoned;
    }
    let mut text = String::new();
    let mut timed_out = false;
    let mut next = Some(error.clone());
    for _ in 0..8 {
        let Some(here) = next.take() else { break };
        timed_out |= is_timeout(&here);
        let name = here.get_type().name().map(|name| name.to_string()).unwrap_or_default();
        let says = here.str().map(|says| says.to_string()).unwrap_or_default();
        if says.is_empty() || !text.contains(&says) {
            text.push_str(if text.is_empty() { "" } else { "; " });
            text.push_str(&name);
            text.push_str(if says.is_empty() { "" } else { ": " });
            text.push_str(&says);
        }
        // Not its context, which may be a trouble that the caller was already dealing with.
        next = here
            .getattr("__cause__")
            .ok()
            .filter(|cause| !cause.is_none())
            .or_else(|| here.getattr("exceptions").ok()?.get_item(0).ok());
    }
    if timed_out { End::TimedOut(text) } else { End::Failed(text) }
}

fn is_timeout(error: &Bound<'_, PyAny>) -> bool {
    error.is_instance_of::<PyTimeoutError>()
        || error
            .get_type()
            .mro()
            .iter()
            .any(|class| class.getattr("__name__").is_ok_and(|name| name.to_string() == "TimeoutException"))
}
