//! A server that plays the LLM providers and PostHog's ingestion, so that tests, benches and the demo need no network.
//!
//! | path | what |
//! |---|---|
//! | `/case/<format>/<case>/...` | plays that case of the corpus |
//! | `.../chat/completions`, `.../responses`, `.../embeddings`, `.../messages` | a plausible answer, made up from the request |
//! | `.../responses/{id}`, `.../responses/{id}/cancel` | a response in the background, asked for again |
//! | `/i/v0/ai/batch/`, `/batch/` | PostHog's ingestion |
//! | `/flags/` | PostHog's feature flags, which say whether a key is known |
//! | `/prices/<variant>/api/v1/models` | OpenRouter's list of models |
//! | `GET /_control/events`, `requests`, `providers`; `DELETE /_control` | what came in; forget it |
//! | `POST`, `DELETE /_control/faults` | faults of the ingestion |
//!
//! Knobs change how an answer is written: see `README.md` beside this file.

mod auto;
mod body;
mod case;
mod faults;
mod ingest;
mod knobs;
mod log;
mod prices;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::corpus::Case;
pub use body::gzip;
use body::{Ending, Fate, PATIENCE, Paced};
use faults::Fault;
use knobs::Knobs;
use log::Log;

/// No request's body is read beyond this.
const MOST_BODY: usize = 64 << 20;

/// A running server. It stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    log: Log,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Starts a server on a free port, with the corpus of this repository.
    ///
    /// # Errors
    /// When no thread or port can be had.
    pub fn start() -> io::Result<Self> {
        Self::start_with(0, crate::corpus::folder())
    }

    /// Starts a server on a port of 127.0.0.1 (0: a free one), with a corpus.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(port: u16, corpus: PathBuf) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("loopback")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
        let address = listener.local_addr()?;
        let log = Log::new();
        runtime.spawn(serve(listener, log.clone(), Arc::new(corpus)));
        Ok(Self { address, log, runtime: Some(runtime) })
    }

    /// Where it listens, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The events that were taken, in order, each with its `route` and the number of its `request`.
    pub fn events(&self) -> Vec<Value> {
        list(&self.log.lock().events_json())
    }

    /// Every request but those to `/_control`.
    pub fn requests(&self) -> Vec<Value> {
        list(&self.log.lock().requests_json())
    }

    /// Every request to a provider.
    pub fn providers(&self) -> Vec<Value> {
        list(&self.log.lock().providers_json())
    }

    /// Adds a fault, as `POST /_control/faults` does.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn fault(&self, fault: &Value) -> Result<(), String> {
        let fault = Fault::parse(fault)?;
        self.log.lock().faults.push(fault);
        Ok(())
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.log.lock().faults.clear();
    }

    /// Forgets everything, faults too.
    pub fn clear(&self) {
        self.log.lock().clear();
    }

    /// Waits for ever.
    pub fn join(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(std::future::pending::<()>());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn list(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap_or_default()
}

/// What a request gets.
pub(crate) enum Reply {
    Answer(Answer),
    /// The connection is closed without a byte.
    Close,
    /// The connection is reset without a byte.
    Reset,
    /// Nothing, until the client leaves.
    Silence,
}

/// A response on its way out.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) stream: bool,
    pub(crate) ending: Ending,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::answer(status, &[("content-type", "application/json".to_owned())], body.to_string())
    }

    pub(crate) fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Bytes>) -> Self {
        Self::Answer(Answer {
            status,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            pieces: vec![body.into()],
            stream: false,
            ending: Ending::Complete,
        })
    }
}

/// The connection ends here and now; hyper only wants to hear that it does.
#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hang up")
    }
}

impl std::error::Error for HangUp {}

async fn serve(listener: TcpListener, log: Log, corpus: Arc<PathBuf>) {
    let connections = AtomicU64::new(1);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: those that are open will end.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = connections.fetch_add(1, Ordering::Relaxed);
        let reset = Arc::new(AtomicBool::new(false));
        let wire = TokioIo::new(Wire { stream, reset: Arc::clone(&reset) });
        let (log, corpus) = (log.clone(), Arc::clone(&corpus));
        let service = service_fn(move |request| {
            let (log, corpus, reset) = (log.clone(), Arc::clone(&corpus), Arc::clone(&reset));
            async move { respond(&log, &corpus, connection, &reset, request).await }
        });
        tokio::spawn(async move {
            // A connection that ends badly ends as its client or its case wanted it.
            let _ = http1::Builder::new().serve_connection(wire, service).await;
        });
    }
}

async fn respond(
    log: &Log,
    corpus: &Arc<PathBuf>,
    connection: u64,
    reset: &AtomicBool,
    request: Request<Incoming>,
) -> Result<Response<Paced>, HangUp> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MOST_BODY).collect().await.map_err(|_| HangUp)?.to_bytes();
    let path = head.uri.path().to_owned();
    if path.starts_with("/_control") {
        return finish(control(log, &head.method, &path, &body), &Knobs::default(), log, None);
    }
    let query = head.uri.query().unwrap_or_default();
    let number = log.lock().request(json!({
        "method": head.method.as_str(),
        "path": path,
        "query": query,
        "headers": shown(&head.headers),
        "bytes": body.len(),
        "connection": connection,
        "status": null,
    }));
    let (knobs, path) = match Knobs::read(&path, query, &head.headers) {
        Ok(read) => read,
        Err(why) => return finish(case::mistake(400, &why), &Knobs::default(), log, Some(number)),
    };
    let reply = if let Some(route) = ingest::route(path) {
        log.lock().amend(number, &json!({"route": route.name()}));
        ingest::take(log, number, route, &head.headers, &body).await
    } else if path.trim_end_matches('/') == "/flags" {
        log.lock().amend(number, &json!({"route": "flags"}));
        ingest::flags(&body)
    } else {
        log.lock().provider(
            number,
            json!({
                "method": head.method.as_str(),
                "path": path,
                "query": query,
                "bytes": body.len(),
                "sha256": hash(&body),
                "header_names": head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
                "connection": connection,
            }),
        );
        log.lock().amend(number, &json!({"route": "provider"}));
        provider(log, corpus, number, &head.method, path, query, &head.headers, &knobs, &body)
    };
    if let Some(delay) = knobs.head_delay {
        tokio::time::sleep(delay).await;
    }
    match reply {
        Reply::Silence => {
            // The whole of this future is dropped when the client leaves.
            let _note = Left { log, number };
            tokio::time::sleep(PATIENCE).await;
            Err(HangUp)
        }
        Reply::Reset => {
            reset.store(true, Ordering::Relaxed);
            Err(HangUp)
        }
        reply => finish(reply, &knobs, log, Some(number)),
    }
}

/// Notes that a client left before it had an answer.
struct Left<'a> {
    log: &'a Log,
    number: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.log.lock().amend(self.number, &json!({"ended": "client_left", "pieces": 0}));
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller; the parts of one request")]
fn provider(
    log: &Log,
    corpus: &Arc<PathBuf>,
    number: u64,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    knobs: &Knobs,
    body: &Bytes,
) -> Reply {
    let key = || {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        key.map_or_else(|| format!("{path} {}", hash(body)), str::to_owned)
    };
    if let Some(refusal) = auto::refusal(log, path, knobs, body, key) {
        return refusal;
    }
    if let Some(list) = prices::body(path) {
        return Reply::answer(200, &[("content-type", "application/json".to_owned())], list);
    }
    if let Some(rest) = path.strip_prefix("/case/") {
        let mut parts = rest.splitn(3, '/');
        let (format, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(case) = Case::find(corpus, format, name) else {
            return case::mistake(404, &format!("there is no case {format}/{name}"));
        };
        log.lock().amend(number, &json!({"case": format!("{format}/{name}"), "as_recorded": case.request == *body}));
        return case::play(&case, parts.next().unwrap_or_default(), body);
    }
    auto::answer(log, method, path, query, knobs, body)
}

/// Writes a reply as the knobs want it.
fn finish(reply: Reply, knobs: &Knobs, log: &Log, number: Option<u64>) -> Result<Response<Paced>, HangUp> {
    let Reply::Answer(mut answer) = reply else { return Err(HangUp) };
    if let Some(size) = knobs.chunk {
        answer.pieces = body::split(&answer.pieces.concat().into(), size);
    }
    for (stop, ending) in [(knobs.cut, Ending::Cut), (knobs.hang, Ending::Hang)] {
        if let Some(stop) = stop {
            answer.pieces.truncate(stop);
            answer.ending = ending;
        }
    }
    if knobs.gzip {
        answer.pieces = body::gzip(&answer.pieces, answer.ending == Ending::Complete);
        answer.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
    let mut body = Paced::new(answer.pieces, !answer.stream, knobs.delay, answer.ending);
    if let Some(number) = number {
        log.lock().amend(number, &json!({"status": answer.status}));
        let log = log.clone();
        body = body.telling(move |fate, pieces| {
            let fate = match fate {
                Fate::Sent => "sent",
                Fate::Cut => "cut",
                Fate::ClientLeft => "client_left",
            };
            log.lock().amend(number, &json!({"ended": fate, "pieces": pieces}));
        });
    }
    let mut response = Response::new(body);
    *response.status_mut() = answer.status.try_into().map_err(|_| HangUp)?;
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HangUp)?;
        // How long a body is and how it is framed is for the server to say.
        if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            response.headers_mut().append(name, HeaderValue::from_str(value).map_err(|_| HangUp)?);
        }
    }
    Ok(response)
}

fn control(log: &Log, method: &Method, path: &str, body: &Bytes) -> Reply {
    let what = path.trim_start_matches("/_control").trim_matches('/');
    let mut log = log.lock();
    let text = |json: String| Reply::answer(200, &[("content-type", "application/json".to_owned())], json);
    match (method.as_str(), what) {
        ("GET", "") => text(log.summary().to_string()),
        ("GET", "events") => text(log.events_json()),
        ("GET", "requests") => text(log.requests_json()),
        ("GET", "providers") => text(log.providers_json()),
        ("GET", "faults") => text(log.summary()["faults"].to_string()),
        ("DELETE", "") => {
            log.clear();
            text("{}".to_owned())
        }
        ("DELETE", "faults") => {
            log.faults.clear();
            text("{}".to_owned())
        }
        ("POST", "faults") => match serde_json::from_slice(body).map_err(|error| error.to_string()) {
            Ok(Value::Array(faults)) => match faults.iter().map(Fault::parse).collect::<Result<Vec<_>, _>>() {
                Ok(faults) => {
                    log.faults.extend(faults);
                    text("{}".to_owned())
                }
                Err(why) => case::mistake(400, &why),
            },
            Ok(fault) => match Fault::parse(&fault) {
                Ok(fault) => {
                    log.faults.push(fault);
                    text("{}".to_owned())
                }
                Err(why) => case::mistake(400, &why),
            },
            Err(why) => case::mistake(400, &why),
        },
        _ => case::mistake(404, &format!("no control {method} {path}")),
    }
}

/// Headers to show; credentials are not.
fn shown(headers: &HeaderMap) -> Value {
    let show = |(name, value): (&HeaderName, &HeaderValue)| {
        let secret = ["authorization", "x-api-key", "api-key", "cookie"].contains(&name.as_str());
        let text = if secret { "***".to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() };
        (name.as_str().to_owned(), Value::from(text))
    };
    headers.iter().map(show).collect::<serde_json::Map<_, _>>().into()
}

/// The SHA-256 of bytes, in hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
    out
}

/// A connection that can end in a reset instead of an orderly close.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
