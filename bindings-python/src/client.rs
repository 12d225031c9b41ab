//! The client, as Python sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;

use bytes::Bytes;
use llmtrail::exchange::{REQUEST_HEADERS, RESPONSE_HEADERS};
use llmtrail::{Chunk, End, Exchange, HookSet, Language, Options, ScopeOptions, stream_usage};

use crate::budget::{self, Reservation, Totals};
use crate::delivery::{Report, Stats};
use crate::error::{raise, usage};
use crate::hooks::Hooks;
use crate::observation::{self, Headers};
use crate::reading::{Read, Reading};
use crate::scope::{self, Scope};

/// Captures calls and delivers their events.
#[pyclass(frozen, weakref, module = "llmtrail._core")]
pub(crate) struct Client(pub(crate) llmtrail::Client);

/// How long a client that is let go of may take to send what is left.
const PARTING: Duration = Duration::from_secs(2);

/// Clients of this process that are let go of and still send what is left: the process's number above, their number below.
static PARTINGS: AtomicU64 = AtomicU64::new(0);

impl Drop for Client {
    /// It is let go of wherever the collector happens to run, with the GIL held: sending is for another thread to wait for.
    fn drop(&mut self) {
        if self.0.stats().report.captured == 0 {
            return;
        }
        let (client, here) = (self.0.clone(), u64::from(std::process::id()) << 32);
        let in_process = |all: u64| if all & !u64::from(u32::MAX) == here { all } else { here };
        let _ = PARTINGS.fetch_update(Ordering::AcqRel, Ordering::Acquire, |all| Some(in_process(all) + 1));
        let part = move || {
            client.shutdown(PARTING);
            PARTINGS.fetch_sub(1, Ordering::AcqRel);
        };
        if std::thread::Builder::new().name("llmtrail-parting".to_owned()).spawn(part).is_err() {
            PARTINGS.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Waits for clients that were let go of, at most so many seconds. True when all have sent what they could.
#[pyfunction]
pub(crate) fn part(py: Python<'_>, timeout: f64) -> bool {
    const STEP: Duration = Duration::from_millis(2);
    let here = u64::from(std::process::id());
    let parted = || {
        let all = PARTINGS.load(Ordering::Acquire);
        all >> 32 != here || all & u64::from(u32::MAX) == 0
    };
    py.detach(|| {
        let until = Instant::now() + seconds(timeout);
        while !parted() && Instant::now() < until {
            std::thread::sleep(STEP);
        }
        parted()
    })
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (options, hooks = Vec::new()))]
    #[expect(clippy::needless_pass_by_value, reason = "what PyO3 hands over")]
    fn new(py: Python<'_>, options: &str, hooks: Vec<PyBackedStr>) -> PyResult<Self> {
        let there = |name: &str| hooks.iter().any(|hook| **hook == *name);
        let hooks = HookSet {
            before_send: there("before_send"),
            on_error: there("on_error"),
            on_generation: there("on_generation"),
            redact: there("redact"),
        };
        Options::from_json(Language::Python, options)
            // The thread that runs hooks waits for its work and need not be told.
            .map(|options| options.hooks_elsewhere(hooks, || {}))
            .and_then(llmtrail::Client::new)
            .map(Self)
            .map_err(|error| raise(py, &error))
    }

    #[getter]
    fn enabled(&self) -> bool {
        self.0.config().enabled
    }

    /// What a request to this address is: 0 none of ours, 1 a call, 2 a call in whose stream usage may be asked for.
    /// `certain`: only what the address alone shows to be a call, for whoever observes a whole process.
    fn recognise(&self, method: &str, url: &str, provider: Option<&str>, certain: bool) -> u8 {
        match self.0.recognise(method, url, provider) {
            None => 0,
            Some(found) if certain && !found.certain => 0,
            Some(found) if found.reports_stream_usage && self.0.config().stream_usage => 2,
            Some(_) => 1,
        }
    }

    /// The body to send in place of this one, so that the stream reports its usage; `None`: send it as it is, as one that
    /// is not in memory, or that a header of the request's speaks for.
    fn ask<'py>(
        &self,
        url: &str,
        provider: Option<&str>,
        body: &[u8],
        headers: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let asking = stream_usage::ask(|| self.0.recognise("POST", url, provider), body);
        let Some(asking) = asking else { return Ok(None) };
        let sealed = observation::any_name(headers, stream_usage::seals_body)?;
        Ok((!sealed).then(|| PyBytes::new(headers.py(), &asking)))
    }

    /// Begins to read a body: see [`Reading::begin`].
    fn reading(
        client: &Bound<'_, Self>,
        waited: u64,
        response: Option<&Bound<'_, PyAny>>,
        decoded: bool,
    ) -> PyResult<Reading> {
        Reading::begin(client, waited, response, decoded)
    }

    /// Hands over what was noted of one attempt: an httpx request with its body when that is in memory, its response if one
    /// came, and what is [`Noted`] of any.
    fn record(
        &self,
        request: &Bound<'_, PyAny>,
        content: &Bound<'_, PyAny>,
        url: String,
        response: Option<&Bound<'_, PyAny>>,
        asked_usage: bool,
        noted: Noted<'_>,
    ) -> PyResult<()> {
        let method = request.getattr(intern!(request.py(), "method"))?.extract()?;
        let request = observation::request_of(request, content)?;
        let response = response.map(observation::head_of).transpose()?;
        if let Some(exchange) = noted.exchange(method, url, request, response) {
            self.0.observe(Exchange { asked_usage, ..exchange });
        }
        Ok(())
    }

    /// As [`Self::record`], of an HTTP library that has its requests and responses otherwise. Headers are pairs of texts,
    /// of which only the allow-list is read.
    #[expect(clippy::too_many_arguments, reason = "one step into the core for the whole call")]
    fn record_parts(
        &self,
        method: String,
        url: String,
        request_headers: &Bound<'_, PyAny>,
        request_body: &Bound<'_, PyAny>,
        status: Option<u16>,
        response_headers: Option<&Bound<'_, PyAny>>,
        noted: Noted<'_>,
    ) -> PyResult<()> {
        let headers = observation::pick_pairs(request_headers, REQUEST_HEADERS)?;
        let body = request_body.cast_exact::<PyBytes>().map(observation::share).unwrap_or_default();
        let response = match (status, response_headers) {
            (Some(status), Some(headers)) => Some((status, observation::pick_pairs(headers, RESPONSE_HEADERS)?)),
            (Some(status), None) => Some((status, Vec::new())),
            (None, _) => None,
        };
        if let Some(exchange) = noted.exchange(method, url, (headers, body), response) {
            self.0.observe(exchange);
        }
        Ok(())
    }

    fn open(&self, py: Python<'_>, kind: &str, parent: Option<&Bound<'_, Scope>>, options: &str) -> PyResult<Scope> {
        let kind = scope::kind(kind).ok_or_else(|| usage(py, format!("{kind}: unknown kind of scope")))?;
        let options = ScopeOptions::read(&mut scope::fields(options)?);
        Ok(Scope(self.0.open(kind, parent.map(|scope| &scope.get().0), options)))
    }

    fn close(&self, scope: &Scope) {
        self.0.close(&scope.0);
    }

    /// What the calls in a scope used and cost: `(calls, unpriced, cost_usd, usage)`.
    fn totals<'py>(&self, py: Python<'py>, scope: &Scope, timeout: f64) -> PyResult<Totals<'py>> {
        budget::totals(py, &py.detach(|| self.0.totals(&scope.0, seconds(timeout))))
    }

    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<Report> {
        let (client, timeout) = (self.0.clone(), seconds(timeout));
        heeding_signals(py, move || client.flush(timeout)).map(Report::from)
    }

    /// `heed_signals`: one that raises ends the waiting, as Ctrl-C does.
    fn shutdown(&self, py: Python<'_>, timeout: f64, heed_signals: bool) -> PyResult<Report> {
        let (client, timeout) = (self.0.clone(), seconds(timeout));
        let work = move || client.shutdown(timeout);
        if heed_signals { heeding_signals(py, work).map(Report::from) } else { Ok(py.detach(work).into()) }
    }

    /// Where the thread that runs hooks gets its work in this process; `None` when there are no hooks.
    fn hooks(&self) -> Option<Hooks> {
        self.0.hooks().map(Hooks)
    }

    fn stats(&self, py: Python<'_>) -> Stats {
        py.detach(|| self.0.stats()).into()
    }

    /// What `doctor` found, as text and as JSON; `host` is JSON too.
    fn doctor(&self, py: Python<'_>, host: &str, timeout: f64) -> PyResult<(String, String)> {
        let host = serde_json::from_str(host).map_err(|error| usage(py, format!("host: {error}")))?;
        let found = py.detach(|| self.0.doctor(host, seconds(timeout)));
        Ok((found.to_string(), found.to_json().to_string()))
    }

    /// Counts something of ours that went wrong while a call was observed.
    fn note(&self) {
        self.0.note("observer");
    }

    /// Hands over a whole exchange. `end`: `complete`, `abandoned`, `error` or `timeout`.
    #[pyo3(signature = (url, *, method = "POST", request_headers = None, request_body = None,
        status = None, response_headers = None, chunks = None, decoded = false, end = "complete", error = None, provider = None,
        scope = None, asked_usage = false))]
    #[expect(clippy::too_many_arguments, reason = "one for each member of an exchange, by keyword")]
    fn observe(
        &self,
        py: Python<'_>,
        url: String,
        method: &str,
        request_headers: Option<Vec<(String, String)>>,
        request_body: Option<&Bound<'_, PyBytes>>,
        status: Option<u16>,
        response_headers: Option<Vec<(String, String)>>,
        chunks: Option<Vec<(Bound<'_, PyBytes>, f64)>>,
        decoded: bool,
        end: &str,
        error: Option<String>,
        provider: Option<String>,
        scope: Option<&Bound<'_, Scope>>,
        asked_usage: bool,
    ) -> PyResult<()> {
        let error = error.unwrap_or_default();
        let end = match end {
            "complete" => End::Complete,
            "abandoned" => End::Abandoned,
            "error" => End::Failed(error),
            "timeout" => End::TimedOut(error),
            other => return Err(usage(py, format!("end: {other:?} is not complete, abandoned, error or timeout"))),
        };
        let chunks: Vec<Chunk> = chunks
            .unwrap_or_default()
            .into_iter()
            .map(|(bytes, at)| Chunk { bytes: crate::observation::share(&bytes), at: seconds(at) })
            .collect();
        let last = chunks.last().map(|chunk| chunk.at).unwrap_or_default();
        self.0.observe(Exchange {
            method: method.to_owned(),
            url,
            request_headers: request_headers.unwrap_or_default(),
            request_body: request_body.map(crate::observation::share).unwrap_or_default(),
            status,
            response_headers: response_headers.unwrap_or_default(),
            headers_at: chunks.first().map(|chunk| chunk.at).unwrap_or_default(),
            ended_at: last,
            chunks,
            decoded,
            started_at: Some(SystemTime::now()),
            paused: Duration::ZERO,
            end,
            provider,
            scope: scope.map(|scope| scope.get().0.clone()),
            asked_usage,
            reservation: None,
        });
        Ok(())
    }
}

/// What Python noted of one attempt, whatever its HTTP library: a tuple.
#[derive(FromPyObject)]
struct Noted<'py>(
    /// The provider's name, when the application gave it.
    Option<String>,
    Option<Bound<'py, Scope>>,
    /// When it began, in nanoseconds since 1970.
    u64,
    /// What was read of the body, where a head came.
    Option<Bound<'py, Reading>>,
    /// The provider's clock at the head or the error, in nanoseconds.
    u64,
    /// How it ended: `complete`, `abandoned` or `error`.
    PyBackedStr,
    /// The exception that ended it.
    Option<Bound<'py, PyAny>>,
    /// The body's content encoding was undone below.
    bool,
    Option<Bound<'py, Reservation>>,
);

impl Noted<'_> {
    /// `None`: its body was let go of, and counted.
    fn exchange(
        self,
        method: String,
        url: String,
        (request_headers, request_body): (Headers, Bytes),
        response: Option<(u16, Headers)>,
    ) -> Option<Exchange> {
        let Self(provider, scope, wall, reading, head, how, error, decoded, reservation) = self;
        let (status, response_headers) =
            response.map_or_else(Default::default, |(status, headers)| (Some(status), headers));
        let head = Duration::from_nanos(head);
        // What it was taken to cost counts no longer, whatever becomes of it.
        let reservation = reservation.and_then(|reservation| reservation.get().take());
        let Read { chunks, waited, paused } = match reading {
            Some(reading) => reading.get().take()?,
            None => Read { chunks: Vec::new(), waited: head, paused: Duration::ZERO },
        };
        let end = match (&*how, error) {
            ("error", Some(error)) => observation::end_of(&error),
            ("complete", _) => End::Complete,
            _ => End::Abandoned,
        };
        // A consumer that leaves says nothing about the provider: then the clock stands at the last piece.
        let last = chunks.last().map_or(waited, |chunk| chunk.at);
        let ended = if end == End::Abandoned && status.is_some() { last } else { waited };
        Some(Exchange {
            method,
            url,
            request_headers,
            request_body,
            status,
            response_headers,
            headers_at: Duration::ZERO,
            ended_at: ended,
            paused,
            chunks,
            decoded,
            started_at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(wall)),
            end,
            provider,
            scope: scope.map(|scope| scope.get().0.clone()),
            asked_usage: false,
            reservation,
        })
    }
}

/// Waits for work that takes its time, on a thread of its own: meanwhile this one runs the handlers of signals. Where one
/// raises, the work goes on without us.
fn heeding_signals<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Clone + Send + 'static,
) -> PyResult<T> {
    const STEP: Duration = Duration::from_millis(50);
    let (done, mut waiting) = mpsc::channel();
    let there = work.clone();
    let thread = std::thread::Builder::new().name("llmtrail-waiting".to_owned());
    if thread.spawn(move || done.send(there())).is_err() {
        return Ok(py.detach(work));
    }
    loop {
        let found;
        (waiting, found) = py.detach(move || {
            let found = waiting.recv_timeout(STEP);
            (waiting, found)
        });
        match found {
            Ok(found) => return Ok(found),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(py.detach(work)),
        }
    }
}

/// A time limit from Python: what is negative or no number is no time at all, what is endless is a very long time.
pub(crate) fn seconds(seconds: f64) -> Duration {
    const LONG: f64 = 1e9;
    Duration::try_from_secs_f64(seconds.clamp(0.0, LONG)).unwrap_or_default()
}
