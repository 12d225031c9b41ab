//! Traces that go on in another process: W3C `traceparent`, which others read too, and `baggage` with what it cannot say.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::context::{Scope, ScopeOptions};

/// Members of the baggage. Values of others are left to others.
const TRACE: &str = "llmtrail.trace";
const PARENT: &str = "llmtrail.parent";
const SESSION: &str = "llmtrail.session";
const USER: &str = "llmtrail.user";
const PRIVACY: &str = "llmtrail.privacy";

/// What a baggage value may hold as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Longer than this nobody's baggage is.
const LONGEST: usize = 8192;

/// The headers that carry a scope to another process: `traceparent` and `baggage`. None outside of any scope.
pub fn headers(scope: Option<&Scope>) -> Vec<(&'static str, String)> {
    let Some(scope) = scope else { return Vec::new() };
    let mut out = Vec::new();
    if let Some(trace) = scope.trace_id() {
        let parent = scope.parent_id_for_children().unwrap_or(trace);
        out.push(("traceparent", format!("00-{}-{}-01", hex_of(trace, 32), hex_of(parent, 16))));
    }
    let members = [
        (TRACE, scope.trace_id()),
        (PARENT, scope.parent_id_for_children()),
        (SESSION, scope.session_id()),
        (USER, scope.distinct_id()),
        (PRIVACY, scope.privacy().then_some("1")),
    ];
    let members = members.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let baggage: Vec<String> =
        members.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, PLAIN))).collect();
    if !baggage.is_empty() {
        out.push(("baggage", baggage.join(",")));
    }
    out
}

/// What headers from another process say of the scope that a request belongs to. Without any of ours in them the trace
/// of `traceparent` is taken over, whose span is none that is sent here. What cannot be read counts as not there.
pub fn follow<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> ScopeOptions {
    let mut options = ScopeOptions::default();
    let mut foreign = None;
    for (name, value) in headers {
        if value.len() > LONGEST {
            continue;
        }
        if name.eq_ignore_ascii_case("traceparent") {
            foreign = trace_of(value);
        } else if name.eq_ignore_ascii_case("baggage") {
            read_baggage(value, &mut options);
        }
    }
    options.continued = options.trace_id.is_some();
    options.trace_id = options.trace_id.or(foreign);
    options
}

fn read_baggage(baggage: &str, options: &mut ScopeOptions) {
    for member in baggage.split(',') {
        // A member may have properties of its own after a semicolon.
        let Some((name, value)) = member.split(';').next().and_then(|member| member.split_once('=')) else { continue };
        let Ok(value) = percent_decode_str(value.trim()).decode_utf8() else { continue };
        let value = Some(value.into_owned()).filter(|value| !value.is_empty());
        match name.trim() {
            TRACE => options.trace_id = value,
            PARENT => options.parent_id = value,
            SESSION => options.session_id = value,
            USER => options.distinct_id = value,
            PRIVACY => options.privacy = value.map(|value| value == "1"),
            _ => {}
        }
    }
}

/// The trace id of a `traceparent`, if it is one.
fn trace_of(value: &str) -> Option<String> {
    let mut parts = value.trim().split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_id = |text: &str, length: usize| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
    (is_hex(version, 2) && version != "ff" && is_id(trace, 32) && is_id(span, 16)).then(|| trace.to_owned())
}

/// An id as so many hexadecimal digits: its own last ones when it is a UUID or such digits, else those of its hash.
fn hex_of(id: &str, digits: usize) -> String {
    let own: String = id.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if own.len() >= digits && own.len() <= 32 && own.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let tail = &own[own.len() - digits..];
        if tail.bytes().any(|byte| byte != b'0') {
            return tail.to_owned();
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(id.as_bytes()) {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(digits);
    hex
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::context::ScopeKind;

    fn followed(headers: &[(&str, String)]) -> ScopeOptions {
        follow(headers.iter().map(|(name, value)| (*name, value.as_str())))
    }

    #[test]
    fn a_trace_goes_on_elsewhere_with_all_that_it_says() {
        let trace = Scope::open(
            ScopeKind::Trace,
            None,
            ScopeOptions {
                trace_id: Some("0199aa00-0000-7000-8000-00000000000a".into()),
                distinct_id: Some("Ann, née B;=1".into()),
                session_id: Some("chat 1".into()),
                privacy: Some(true),
                ..ScopeOptions::default()
            },
        );
        let span = Scope::open(ScopeKind::Span, Some(&trace), ScopeOptions::default());
        let sent = headers(Some(&span));
        assert!(sent[0].1.starts_with("00-0199aa0000007000800000000000000a-"), "{sent:?}");
        assert_eq!(sent[0].1.len(), 55);
        let there = Scope::open(ScopeKind::Options, None, followed(&sent));
        assert_eq!(there.trace_id(), trace.trace_id());
        assert_eq!(there.parent_id_for_children(), span.span_id());
        assert_eq!((there.distinct_id(), there.session_id()), (Some("Ann, née B;=1"), Some("chat 1")));
        assert!(there.privacy());
        // The trace is over there: what is called one here is a span of it.
        let handler = Scope::open(ScopeKind::Trace, Some(&there), ScopeOptions::default());
        assert_eq!((handler.kind(), handler.parent_id()), (ScopeKind::Span, span.span_id()));
        let own = ScopeOptions { trace_id: Some("own".into()), ..ScopeOptions::default() };
        assert_eq!(Scope::open(ScopeKind::Trace, Some(&there), own).kind(), ScopeKind::Trace);
    }

    #[test]
    fn a_foreign_trace_gives_its_id_and_no_parent() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let there = followed(&[("Traceparent", format!("00-{id}-00f067aa0ba902b7-01"))]);
        let there = Scope::open(ScopeKind::Options, None, there);
        assert_eq!((there.trace_id(), there.parent_id_for_children()), (Some(id), None));
        let trace = Scope::open(ScopeKind::Trace, Some(&there), ScopeOptions::default());
        assert_eq!((trace.kind(), trace.trace_id()), (ScopeKind::Trace, Some(id)));
        // The next one is another trace.
        let next = Scope::open(ScopeKind::Trace, Some(&trace), ScopeOptions::default());
        assert_ne!(next.trace_id(), Some(id));
    }

    #[test]
    fn nonsense_is_nothing() {
        for value in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            let expected = (value.len() == 52).then(|| "4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
            assert_eq!(followed(&[("traceparent", value.to_owned())]).trace_id, expected, "{value}");
        }
        let options = followed(&[("baggage", "a=b,llmtrail.user=%ff,llmtrail.session,=,llmtrail.trace=".to_owned())]);
        assert_eq!((options.distinct_id, options.session_id, options.trace_id), (None, None, None));
        assert!(headers(None).is_empty());
        let plain = Scope::open(ScopeKind::Options, None, ScopeOptions::default());
        assert!(headers(Some(&plain)).is_empty());
    }

    #[test]
    fn any_id_has_its_hexadecimal_form() {
        let named = Scope::open(
            ScopeKind::Trace,
            None,
            ScopeOptions { trace_id: Some("order-17".into()), ..ScopeOptions::default() },
        );
        let sent = headers(Some(&named));
        assert_eq!(trace_of(&sent[0].1).unwrap().len(), 32);
        assert_eq!(followed(&sent).trace_id.as_deref(), Some("order-17"));
    }
}
