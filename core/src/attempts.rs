//! Attempts of one call put together: an SDK that retries or is sent elsewhere makes several HTTP requests and one event.

use std::time::{Duration, Instant, SystemTime};

use crate::decode::Recognised;
use crate::exchange::{End, Exchange};

/// A failed attempt waits this long for its successor.
const PATIENCE: Duration = Duration::from_secs(60);

/// More failed attempts than this are not held back; the oldest goes first.
const MOST_HELD: usize = 1000;

/// An attempt, and what came before it.
pub(crate) struct Attempt {
    /// What its address says.
    pub(crate) found: Recognised,
    pub(crate) exchange: Box<Exchange>,
    /// Attempts before this one.
    pub(crate) retries: u32,
    /// Time from the start of the first attempt to the start of this one.
    pub(crate) earlier: Duration,
    /// The answer is that of a later poll; so long took the request that began the call.
    pub(crate) polled: Option<Duration>,
}

impl Attempt {
    pub(crate) fn first(found: Recognised, exchange: Box<Exchange>) -> Self {
        Self { found, exchange, retries: 0, earlier: Duration::ZERO, polled: None }
    }
}

/// Failed attempts that may be retried.
#[derive(Default)]
pub(crate) struct Attempts {
    held: Vec<Held>,
}

struct Held {
    since: Instant,
    started: SystemTime,
    attempt: Attempt,
}

impl Attempts {
    /// Takes an attempt and gives it back if it is the last of its call, joined with those before it.
    pub(crate) fn take(&mut self, found: Recognised, exchange: Box<Exchange>) -> Option<Attempt> {
        let mut attempt = Attempt::first(found, exchange);
        let started = attempt.exchange.started_at.unwrap_or_else(SystemTime::now);
        let mut first_started = started;
        if let Some(at) = self.held.iter().position(|held| precedes(&held.attempt.exchange, &attempt.exchange)) {
            let held = self.held.swap_remove(at);
            first_started = held.started;
            attempt.retries = held.attempt.retries + u32::from(!is_redirect(&held.attempt.exchange));
            attempt.earlier = started.duration_since(first_started).unwrap_or_default();
            // The event is of the whole call: it begins with the first attempt.
            attempt.exchange.started_at = Some(first_started);
        }
        if !may_be_retried(&attempt.exchange) {
            return Some(attempt);
        }
        self.held.push(Held { since: Instant::now(), started: first_started, attempt });
        (self.held.len() > MOST_HELD).then(|| self.held.remove(0).attempt)
    }

    /// Those that waited long enough.
    pub(crate) fn expired(&mut self) -> Vec<Attempt> {
        self.release(|held| held.since.elapsed() >= PATIENCE)
    }

    /// Those of one trace.
    pub(crate) fn of_trace(&mut self, trace_id: Option<&str>) -> Vec<Attempt> {
        self.release(|held| {
            let scope = held.attempt.exchange.scope.as_ref();
            scope.is_some_and(|scope| scope.trace_id().is_some() && scope.trace_id() == trace_id)
        })
    }

    /// All of them.
    pub(crate) fn all(&mut self) -> Vec<Attempt> {
        self.release(|_| true)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// How long until the first has waited enough.
    pub(crate) fn wakes_in(&self) -> Option<Duration> {
        self.held.iter().map(|held| PATIENCE.saturating_sub(held.since.elapsed())).min()
    }

    fn release(&mut self, which: impl Fn(&Held) -> bool) -> Vec<Attempt> {
        let (out, kept) = std::mem::take(&mut self.held).into_iter().partition(which);
        self.held = kept;
        let out: Vec<Held> = out;
        out.into_iter().map(|held| held.attempt).collect()
    }
}

/// Whether an SDK may try this one again: no response, or one of the statuses that SDKs retry, and no word of the
/// server against it.
fn may_be_retried(exchange: &Exchange) -> bool {
    let advice = header(&exchange.response_headers, "x-should-retry");
    match exchange.status {
        _ if advice == Some("false") => false,
        None => matches!(exchange.end, End::Failed(_) | End::TimedOut(_)),
        Some(status) => advice == Some("true") || matches!(status, 307 | 308 | 408 | 409 | 429 | 500..=599),
    }
}

/// Whether the server sent the same request elsewhere, which HTTP libraries follow by themselves.
fn is_redirect(exchange: &Exchange) -> bool {
    matches!(exchange.status, Some(307 | 308))
}

/// Whether the second request is the first one again. Bodies of attempts are the same; where the SDK counts them, the
/// count must follow on, so that identical calls side by side are not mistaken for each other. What was sent elsewhere
/// goes to another address, below the SDK that counts.
fn precedes<'a>(first: &'a Exchange, second: &'a Exchange) -> bool {
    let count = |exchange: &Exchange| {
        header(&exchange.request_headers, "x-stainless-retry-count").and_then(|count| count.parse::<u32>().ok())
    };
    let scope = |exchange: &Exchange| {
        exchange.scope.as_ref().map(|scope| (scope.trace_id().map(str::to_owned), scope.span_id().map(str::to_owned)))
    };
    // AWS's SDKs name the call that an attempt belongs to.
    let call = |exchange: &'a Exchange| header(&exchange.request_headers, "amz-sdk-invocation-id");
    if call(first) != call(second) {
        return false;
    }
    let follows = match (count(first), count(second)) {
        (first_count, second_count) if is_redirect(first) => first_count == second_count,
        (Some(first), Some(second)) => second == first + 1,
        (None, Some(second)) => second > 0,
        (Some(_), None) => false,
        (None, None) => true,
    };
    let there = first.url == second.url || is_redirect(first) || is_redirect(second);
    follows && there && first.request_body == second.request_body && scope(first) == scope(second)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(here, _)| here.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::Config;

    fn take(attempts: &mut Attempts, exchange: Box<Exchange>) -> Option<Attempt> {
        let found = crate::decode::recognise(&Config::default(), "POST", &exchange.url, None).unwrap();
        attempts.take(found, exchange)
    }

    fn attempt(status: Option<u16>, count: Option<u32>, at: u64) -> Box<Exchange> {
        Box::new(Exchange {
            method: "POST".into(),
            url: "https://api.openai.com/v1/chat/completions".into(),
            status,
            started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
            request_headers: count.map(|n| ("X-Stainless-Retry-Count".into(), n.to_string())).into_iter().collect(),
            end: if status.is_none() { End::Failed("refused".into()) } else { End::Complete },
            ..Exchange::default()
        })
    }

    #[test]
    fn attempts_become_one_call_that_begins_with_the_first() {
        let mut attempts = Attempts::default();
        assert!(take(&mut attempts, attempt(Some(429), Some(0), 10)).is_none());
        assert!(take(&mut attempts, attempt(None, Some(1), 11)).is_none());
        let last = take(&mut attempts, attempt(Some(200), Some(2), 14)).unwrap();
        assert_eq!((last.retries, last.earlier), (2, Duration::from_secs(4)));
        assert_eq!(last.exchange.started_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(10)));
        assert_eq!(attempts.len(), 0);
    }

    #[test]
    fn identical_calls_side_by_side_stay_apart() {
        let mut attempts = Attempts::default();
        assert!(take(&mut attempts, attempt(Some(503), Some(0), 1)).is_none());
        let other = take(&mut attempts, attempt(Some(200), Some(0), 2)).unwrap();
        assert_eq!(other.retries, 0);
        assert_eq!(take(&mut attempts, attempt(Some(200), Some(1), 3)).unwrap().retries, 1);
    }

    #[test]
    fn an_invocation_of_aws_tells_its_attempts_apart_from_others() {
        let named = |status, id: &str, at| {
            let mut attempt = attempt(status, None, at);
            attempt.request_headers.push(("amz-sdk-invocation-id".into(), id.into()));
            attempt
        };
        let mut attempts = Attempts::default();
        assert!(take(&mut attempts, named(Some(503), "a", 1)).is_none());
        assert_eq!(take(&mut attempts, named(Some(200), "b", 2)).unwrap().retries, 0);
        assert_eq!(take(&mut attempts, named(Some(200), "a", 3)).unwrap().retries, 1);
    }

    #[test]
    fn a_redirect_is_no_retry_and_leads_elsewhere() {
        let mut attempts = Attempts::default();
        assert!(take(&mut attempts, attempt(Some(307), Some(0), 10)).is_none());
        let mut other = attempt(Some(200), Some(0), 11);
        other.url = "https://eu.api.openai.com/v1/chat/completions".into();
        other.request_body = "another".into();
        assert_eq!(take(&mut attempts, other).unwrap().earlier, Duration::ZERO);
        let there = |status, count, at| {
            let mut attempt = attempt(status, count, at);
            attempt.url = "https://eu.api.openai.com/v1/chat/completions".into();
            attempt
        };
        assert!(take(&mut attempts, there(Some(503), Some(0), 12)).is_none());
        assert!(take(&mut attempts, attempt(Some(307), Some(1), 13)).is_none());
        let last = take(&mut attempts, there(Some(200), Some(1), 14)).unwrap();
        assert_eq!((last.retries, last.earlier), (1, Duration::from_secs(4)));
        assert_eq!(attempts.len(), 0);
    }

    #[test]
    fn what_is_not_retried_is_not_held() {
        let mut attempts = Attempts::default();
        assert!(take(&mut attempts, attempt(Some(400), None, 1)).is_some());
        let mut told = attempt(Some(529), None, 1);
        told.response_headers.push(("x-should-retry".into(), "false".into()));
        assert!(take(&mut attempts, told).is_some());
        assert!(take(&mut attempts, attempt(Some(529), None, 1)).is_none());
        assert_eq!(attempts.all().len(), 1);
    }
}
