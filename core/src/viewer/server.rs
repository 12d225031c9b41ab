//! Who may see the pages: the one who has the address that the terminal shows, in a browser on this machine.
//!
//! Any page of the web can send requests to 127.0.0.1. So a request has to know the secret (once in the address, then in
//! a cookie that other sites cannot use), has to be meant for this host by name (a name of somebody else's that leads
//! here is refused), and must not come from another origin. What a page shows cannot run or load anything: the policy
//! allows this server's own script and style alone.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::load::Store;
use super::page::Address;
use super::pages;

/// What is known of a viewer.
#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    port: u16,
    token: String,
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer says.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// An answer before it is one.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn html(body: String) -> Self {
        Self { status: StatusCode::OK, kind: "text/html; charset=utf-8", body }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }

    pub(super) fn json(body: String) -> Self {
        Self { status: StatusCode::OK, kind: "application/json", body }
    }
}

impl Server {
    pub(super) fn new(store: Arc<Store>, port: u16) -> Self {
        Self(Arc::new(Inner { store, port, token: uuid::Uuid::new_v4().simple().to_string() }))
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.0.store
    }

    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.0.port, self.0.token)
    }

    pub(super) fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    fn cookie_name(&self) -> String {
        // Cookies know no ports.
        format!("llmtrail-{}", self.0.port)
    }

    fn is_token(&self, given: &str) -> bool {
        // Hashes, so that how long the comparison takes says nothing.
        Sha256::digest(given) == Sha256::digest(&self.0.token)
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(key, value)| key == name && self.is_token(value))
    }

    /// Why a request is refused, if it is.
    fn refusal(&self, method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        // A browser leaves out the port that goes without saying.
        let port = if self.0.port == 80 { String::new() } else { format!(":{}", self.0.port) };
        let own = ["127.0.0.1", "localhost"].map(|host| format!("{host}{port}"));
        if !text("host").is_some_and(|host| own.iter().any(|own| own == host)) {
            return Some((StatusCode::MISDIRECTED_REQUEST, "This is not the host that you are looking for."));
        }
        if text("origin").is_some_and(|origin| !own.iter().any(|own| origin == format!("http://{own}"))) {
            return Some((StatusCode::FORBIDDEN, "Other sites may not ask."));
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some((StatusCode::METHOD_NOT_ALLOWED, "The viewer only shows."));
        }
        None
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (method, uri, headers) = (request.method(), request.uri().clone(), request.headers());
    if let Some((status, why)) = server.refusal(method, headers) {
        return respond(Answer::text(status, why));
    }
    let address = Address::of(&uri);
    if let Some(token) = address.get("token") {
        if server.is_token(token) {
            return welcome(&server, &address);
        }
    } else if server.has_cookie(headers) {
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return respond(Answer::text(StatusCode::FORBIDDEN, "Other sites may not ask."));
        }
        let part = headers.get("x-part").and_then(|part| part.to_str().ok()).map(str::to_owned);
        return show(server, uri, address, part).await;
    }
    let why = "Open the address that llmtrail view has printed in the terminal: it holds the key to this page.";
    respond(Answer::text(StatusCode::FORBIDDEN, why))
}

/// Gives the browser the cookie and takes the secret out of its address bar and history.
fn welcome(server: &Server, address: &Address) -> Response {
    let mut response = respond(Answer::text(StatusCode::SEE_OTHER, ""));
    let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path=/", server.cookie_name(), server.0.token);
    for (name, value) in [(header::SET_COOKIE, cookie), (header::LOCATION, address.without("token"))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn show(server: Server, uri: Uri, address: Address, part: Option<String>) -> Response {
    // Files are read and millions of rows gone through: not on the thread that answers everybody.
    let done = tokio::task::spawn_blocking(move || {
        let begin = std::time::Instant::now();
        let answer = pages::answer(server.store(), uri.path(), address, part.as_deref());
        (answer, begin.elapsed())
    });
    let Ok((answer, took)) = done.await else {
        return respond(Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong in the viewer."));
    };
    let mut response = respond(answer);
    let timing = format!("page;dur={:.1}", took.as_secs_f64() * 1000.0);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        response.headers_mut().insert("server-timing", value);
    }
    response
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
