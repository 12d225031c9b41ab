//! A reqwest-middleware layer that observes the calls made through it.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let trail = llmtrail::Client::from_env()?;
//! let http = trail.wrap(reqwest::Client::new());
//! let answer = http.post("https://api.openai.com/v1/chat/completions").body("{...}").send().await?;
//! # Ok(()) }
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use http::Extensions;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Request, Response, ResponseBuilderExt};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};

use crate::client::Client;
use crate::context;
use crate::exchange::{End, REQUEST_HEADERS, RESPONSE_HEADERS};
use crate::observation::Observation;
use crate::stream_usage;

/// Observes the calls that pass. Put it last (nearest to the network), so that it sees each attempt.
///
/// A call that a budget refuses ends with [`Error::Middleware`], which downcasts to
/// [`BudgetExceeded`](crate::BudgetExceeded).
#[derive(Debug, Clone)]
pub struct Observer {
    client: Client,
    provider: Option<String>,
}

impl Observer {
    /// A layer that records with this client. `provider` names what the host does not.
    pub fn new(client: Client, provider: Option<String>) -> Self {
        Self { client, provider }
    }
}

impl Client {
    /// An observed HTTP client around this one. Responses, errors and timing stay those of the client alone.
    pub fn wrap(&self, http: reqwest::Client) -> ClientWithMiddleware {
        ClientBuilder::new(http).with(Observer::new(self.clone(), None)).build()
    }
}

#[async_trait::async_trait]
impl Middleware for Observer {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let scope = context::current();
        let reservation = if self.client.has_budgets() && request.method() == Method::POST {
            let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
            let admitted = self.client.admit(request.url().as_str(), self.provider.as_deref(), scope.as_ref(), body);
            admitted.map_err(Error::middleware)?
        } else {
            None
        };
        let observation = Observation::begin(
            &self.client,
            request.method().as_str(),
            request.url().as_str(),
            self.provider.as_deref(),
            scope,
        );
        let Some(observation) = observation else { return next.run(request, extensions).await };
        observation.reserve(reservation);
        let body = whole(&mut request);
        let headers = pick(request.headers(), |name| REQUEST_HEADERS.contains(&name));
        let sealed = || request.headers().keys().any(|name| stream_usage::seals_body(name.as_str()));
        if let Some(instead) = observation.request(headers, body, sealed) {
            if request.headers().contains_key(CONTENT_LENGTH) {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(instead.len()));
            }
            *request.body_mut() = Some(Body::from(instead));
        }
        match next.run(request, extensions).await {
            Ok(response) => Ok(observed(response, observation)),
            Err(error) => {
                observation.end(end_of(&error));
                Err(error)
            }
        }
    }
}

/// The bytes of a request's body, which share their memory with it. Of a body that is a stream there are none, for it is
/// not ours to read: the event then has no input.
fn whole(request: &mut Request) -> Bytes {
    use http_body::Body as _;
    let Some(mut body) = request.body_mut().take_if(|body| body.as_bytes().is_some()) else { return Bytes::new() };
    let mut all = Bytes::new();
    // What is no stream is there at once, and in one piece.
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        if let Ok(piece) = frame.into_data() {
            all = if all.is_empty() { piece } else { [all, piece].concat().into() };
        }
    }
    *request.body_mut() = Some(Body::from(all.clone()));
    all
}

/// The same response with a body that tells of what is read from it.
fn observed(response: Response, observation: Observation) -> Response {
    let status = response.status();
    observation.response(status.as_u16(), pick(response.headers(), |name| RESPONSE_HEADERS.contains(&name)), false);
    let url = response.url().clone();
    let (parts, body) = http::Response::<Body>::from(response).into_parts();
    let inner = BodyStream(body);
    let body = Body::wrap_stream(ObservedBody { inner, observation, over: false });
    match http::Response::builder().url(url).body(body) {
        Ok(mut again) => {
            *again.status_mut() = parts.status;
            *again.version_mut() = parts.version;
            *again.headers_mut() = parts.headers;
            again.extensions_mut().extend(parts.extensions);
            Response::from(again)
        }
        // A response that has no more than an address is valid.
        Err(_) => unreachable!("a valid response stays one"),
    }
}

/// A body's data frames as a stream.
struct BodyStream(Body);

impl Stream for BodyStream {
    type Item = Result<Bytes, reqwest::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use http_body::Body as _;
        loop {
            return match Pin::new(&mut self.0).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    // Trailers: the bodies of these providers have none that anyone reads.
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

struct ObservedBody {
    inner: BodyStream,
    observation: Observation,
    over: bool,
}

impl Stream for ObservedBody {
    type Item = Result<Bytes, reqwest::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            self.observation.reading();
            return match Pin::new(&mut self.inner).poll_next(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => match self.observation.chunk(bytes.clone()) {
                    None => Poll::Ready(Some(Ok(bytes))),
                    Some(instead) if instead.is_empty() => continue,
                    Some(instead) => Poll::Ready(Some(Ok(instead))),
                },
                Poll::Ready(Some(Err(error))) => {
                    self.over = true;
                    self.observation.end(if error.is_timeout() {
                        End::TimedOut(chain(&error))
                    } else {
                        End::Failed(chain(&error))
                    });
                    Poll::Ready(Some(Err(error)))
                }
                Poll::Ready(None) => {
                    self.over = true;
                    let rest = self.observation.rest();
                    self.observation.end(End::Complete);
                    Poll::Ready((!rest.is_empty()).then_some(Ok(rest)))
                }
            };
        }
    }
}

fn pick(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let named = headers.iter().filter(|(name, _)| wanted(name.as_str()));
    named.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}

fn end_of(error: &Error) -> End {
    let text = chain(error);
    match error {
        Error::Reqwest(error) if error.is_timeout() => End::TimedOut(text),
        _ => End::Failed(text),
    }
}

/// An error with its causes: the first line of an HTTP error says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(here) = cause {
        text.push_str(": ");
        text.push_str(&here.to_string());
        cause = here.source();
    }
    text
}
