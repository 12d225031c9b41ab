//! PostHog's ingestion, or any server that speaks it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use tokio::sync::OnceCell;

use super::gzip::Packer;
use super::{Carrier, Outcome, Route, Sending};
use crate::config::Secret;
use crate::event::{Lane, WireEvent, timestamp};

/// How much of an answer is read: enough to tell an answer from a login page, and to quote it.
const ANSWER_BYTES: usize = 16 << 10;
/// How much of an answer is quoted.
const QUOTE_CHARS: usize = 200;

/// A PostHog server and project.
pub(crate) struct PostHog {
    host: String,
    key: Secret,
    gzip: bool,
    packer: Packer,
    client: Arc<OnceCell<reqwest::Client>>,
}

impl PostHog {
    pub(crate) fn new(host: &str, key: Secret, gzip: bool) -> Self {
        Self { host: host.to_owned(), key, gzip, packer: Packer::default(), client: Arc::default() }
    }

    pub(crate) fn body(&mut self, events: &[WireEvent]) -> std::io::Result<Bytes> {
        let size = events.iter().map(|event| event.json.len() + 1).sum::<usize>() + 256;
        if self.gzip {
            /// From so many events on there are probably more to come.
            const MANY: usize = 100;
            let packed = self.packer.pack(size / 4, |to| write_body(&self.key, to, events))?;
            if events.len() < MANY {
                self.packer = Packer::default();
            }
            Ok(packed.into())
        } else {
            let mut plain = Vec::with_capacity(size);
            write_body(&self.key, &mut plain, events)?;
            Ok(Bytes::from(plain))
        }
    }
}

fn write_body(key: &Secret, to: &mut impl std::io::Write, events: &[WireEvent]) -> std::io::Result<()> {
    let key = serde_json::Value::from(key.expose());
    // The server corrects clocks by `sent_at`: it is the time of this try, not of the first one.
    write!(to, r#"{{"api_key":{key},"sent_at":"{}","batch":["#, timestamp(SystemTime::now()))?;
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            to.write_all(b",")?;
        }
        to.write_all(&event.json)?;
    }
    to.write_all(b"]}")
}
/// What tells a project on a server from every other one.
pub(crate) fn destination(host: &str, key: &Secret) -> String {
    format!("{host}\n{}", key.expose())
}

impl Carrier for PostHog {
    fn place(&self) -> String {
        self.host.clone()
    }

    fn destination(&self) -> Option<String> {
        Some(destination(&self.host, &self.key))
    }

    fn routes(&self, lane: Lane) -> &'static [Route] {
        match lane {
            Lane::Ai => &[Route::Ai, Route::Batch],
            Lane::General => &[Route::Batch],
        }
    }

    fn send(&mut self, events: &[WireEvent], route: Route, deadline: Duration) -> Sending {
        let later = |why| Sending::done(Outcome::Later { after: None, why });
        let body = match self.body(events) {
            Ok(body) => body,
            Err(error) => return later(format!("cannot encode a batch: {error}")),
        };
        let path = match route {
            Route::Ai => "/i/v0/ai/batch/",
            Route::Batch | Route::Local => "/batch/",
        };
        let bytes = body.len();
        let (url, tls, gzip) = (format!("{}{path}", self.host), self.host.starts_with("https:"), self.gzip);
        let (client, key) = (Arc::clone(&self.client), self.key.clone());
        let answer = Box::pin(async move {
            let client = match client.get_or_try_init(|| client_for(tls)).await {
                Ok(client) => client,
                Err(why) => return Outcome::Later { after: None, why },
            };
            let mut request = client.post(url).timeout(deadline).header(CONTENT_TYPE, "application/json").body(body);
            if gzip {
                request = request.header(CONTENT_ENCODING, "gzip");
            }
            exchange(request, &key).await
        });
        Sending { answer, bytes }
    }
}

/// Reading the system's roots takes long on some systems, and what is captured meanwhile is to get to the disk.
async fn client_for(tls: bool) -> Result<reqwest::Client, String> {
    if !tls {
        return build_client(false);
    }
    let built = tokio::task::spawn_blocking(|| build_client(true)).await;
    built.unwrap_or_else(|error| Err(format!("cannot set up HTTP: {error}")))
}

async fn exchange(request: reqwest::RequestBuilder, key: &Secret) -> Outcome {
    let failed = |error: reqwest::Error| Outcome::Later { after: None, why: cause(error) };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return failed(error),
    };
    let status = response.status().as_u16();
    let after = retry_after(response.headers(), SystemTime::now());
    let html = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().windows(4).any(|part| part.eq_ignore_ascii_case(b"html")));
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            // An acknowledgement that is cut off is none: the same events go again, and the server knows them by id.
            Err(error) if status < 300 => return failed(error),
            Ok(None) | Err(_) => break,
        }
    }
    judge(status, html, &body, after, key)
}

/// What an answer means.
fn judge(status: u16, html: bool, body: &[u8], after: Option<Duration>, key: &Secret) -> Outcome {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let html = html || text.starts_with('<');
    let why = || {
        let quote: String = text.replace(key.expose(), &format!("{key:?}")).chars().take(QUOTE_CHARS).collect();
        let quote = quote.split_whitespace().collect::<Vec<_>>().join(" ");
        if html || quote.is_empty() { format!("status {status}") } else { format!("status {status}: {quote}") }
    };
    match status {
        200..=299 if html => {
            Outcome::Later { after, why: format!("status {status} with a web page: something in between answers") }
        }
        200..=299 => Outcome::Accepted,
        // Never followed: the key would go to wherever it points.
        300..=399 => {
            Outcome::Later { after, why: format!("status {status}, a redirect: something in between answers") }
        }
        401 | 403 => Outcome::Denied(why()),
        404 | 405 => Outcome::NoRoute(why()),
        413 => Outcome::TooLarge(why()),
        408 | 425 | 429 => Outcome::Later { after, why: why() },
        400..=499 => Outcome::Rejected(why()),
        _ => Outcome::Later { after, why: why() },
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = SystemTime::from(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

/// An error as one line, with its innermost cause and without the address.
pub(crate) fn cause(error: reqwest::Error) -> String {
    let kind = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "cannot connect",
        () => "the connection failed",
    };
    let error = error.without_url();
    let mut inner = error.source();
    while let Some(next) = inner.and_then(std::error::Error::source) {
        inner = Some(next);
    }
    match inner {
        Some(inner) => format!("{kind}: {inner}"),
        None => kind.to_owned(),
    }
}

pub(crate) fn build_client(tls: bool) -> Result<reqwest::Client, String> {
    let broken = |what: &str| format!("cannot set up HTTP: {what}");
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config(tls).map_err(|error| broken(&error.to_string()))?)
        .user_agent(concat!("llmtrail/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // Retries are decided in one place, `deliver`.
        .retry(reqwest::retry::never())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(2)
        .build()
        .map_err(|error| broken(&cause(error)))
}

/// TLS with the system's roots, or with bundled ones where the system has none. The provider is ours alone: the
/// process-wide default belongs to the application.
fn tls_config(needed: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        // Read only when it is needed: it takes many milliseconds on some systems.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn key() -> Secret {
        Secret::from("phc_secret".to_owned())
    }

    #[test]
    fn a_status_becomes_an_outcome() {
        let judge = |status, body: &str| judge(status, false, body.as_bytes(), None, &key());
        assert_eq!(judge(200, r#"{"status":1}"#), Outcome::Accepted);
        assert_eq!(judge(204, ""), Outcome::Accepted);
        assert!(matches!(judge(200, " <html>login</html>"), Outcome::Later { .. }));
        assert!(matches!(judge(302, ""), Outcome::Later { .. }));
        assert!(matches!(judge(400, "bad"), Outcome::Rejected(_)));
        assert!(matches!(judge(401, ""), Outcome::Denied(_)));
        assert!(matches!(judge(403, ""), Outcome::Denied(_)));
        assert!(matches!(judge(404, ""), Outcome::NoRoute(_)));
        assert!(matches!(judge(405, ""), Outcome::NoRoute(_)));
        assert!(matches!(judge(413, ""), Outcome::TooLarge(_)));
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(judge(status, ""), Outcome::Later { .. }), "{status}");
        }
    }

    #[test]
    fn an_answer_that_quotes_the_key_is_quoted_without_it() {
        let outcome = judge(401, false, b"no project phc_secret here", None, &key());
        assert_eq!(outcome, Outcome::Denied("status 401: no project phc_se... here".to_owned()));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_431_696_861);
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(after("3"), Some(Duration::from_secs(3)));
        assert_eq!(after("Fri, 15 May 2015 13:34:51 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Fri, 15 May 2015 13:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn a_client_can_be_built_without_a_process_wide_provider() {
        build_client(true).unwrap();
        build_client(false).unwrap();
    }
}
