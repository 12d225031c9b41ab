//! One observed call, as Python's HTTP libraries have it.

use bytes::Bytes;
use pyo3::exceptions::{PyException, PyTimeoutError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use llmtrail::End;
use llmtrail::exchange::{REQUEST_HEADERS, RESPONSE_HEADERS};

/// From this size on bytes of Python's are shared; for less a copy costs less than the bookkeeping of letting go of a
/// Python object on a thread that does not hold the GIL.
pub(crate) const LARGE: usize = 16 << 10;

/// The bytes of a Python object for the core.
pub(crate) fn share(bytes: &Bound<'_, PyBytes>) -> Bytes {
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
/// consumed. `content` is what the request holds as its content.
pub(crate) fn request_of(request: &Bound<'_, PyAny>, content: &Bound<'_, PyAny>) -> PyResult<(Headers, Bytes)> {
    let py = request.py();
    let headers = pick(&request.getattr(intern!(py, "headers"))?, REQUEST_HEADERS)?;
    let body = if content.is_none() {
        let stream = request.getattr(intern!(py, "stream"))?;
        stream.getattr(intern!(py, "_stream")).ok().as_ref().and_then(bytes_of)
    } else {
        bytes_of(content)
    };
    Ok((headers, body.unwrap_or_default()))
}

fn bytes_of(body: &Bound<'_, PyAny>) -> Option<Bytes> {
    body.cast_exact::<PyBytes>().ok().map(share)
}

/// The status and the headers of a response, of which only the allow-list is read.
pub(crate) fn head_of(response: &Bound<'_, PyAny>) -> PyResult<(u16, Headers)> {
    let py = response.py();
    let status = response.getattr(intern!(py, "status_code"))?.extract()?;
    Ok((status, pick(&response.getattr(intern!(py, "headers"))?, RESPONSE_HEADERS)?))
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

/// Whether there is a header with such a name.
pub(crate) fn any_name(headers: &Bound<'_, PyAny>, is: impl Fn(&str) -> bool) -> PyResult<bool> {
    for entry in headers.getattr(intern!(headers.py(), "raw"))?.try_iter()? {
        let name = entry?.get_item(0)?;
        if is(&String::from_utf8_lossy(name.cast::<PyBytes>()?.as_bytes())) {
            return Ok(true);
        }
    }
    Ok(false)
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
