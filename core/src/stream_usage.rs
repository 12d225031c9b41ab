//! Asking for usage in streams, and hiding the answer from a caller who did not ask.
//!
//! A chat stream carries no token counts unless the request says `stream_options: {include_usage: true}`. Where the
//! caller said nothing about it and the provider is known to understand it, [`ask`] puts it into the bytes that go out;
//! then [`Filter`] takes out of the bytes that come back what only came because of it: the last chunk with the counts,
//! and `"usage":null` in all others. The caller sees the stream that it asked for, to the byte.

use std::borrow::{Borrow, Cow};
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::{self, Finder};

use crate::decode::{Recognised, Wire};

/// What is put in.
const OPTION: &[u8] = br#""stream_options":{"include_usage":true}"#;

/// The request's body with usage asked for; `None`: send it as it is.
///
/// Runs on the caller's thread: it looks at the keys of the outermost object and parses nothing else. What the call is is
/// only looked up for a body that speaks of a stream, which most do not.
pub fn ask<R: Borrow<Recognised>>(recognised: impl FnOnce() -> Option<R>, body: &[u8]) -> Option<Vec<u8>> {
    if !mentions_stream(body) || !may_ask(recognised()?.borrow()) {
        return None;
    }
    let mut stream = false;
    let mut end = None;
    for member in Members::of(body) {
        match member {
            Member::Of { key: b"stream", value, .. } => stream = value == b"true",
            Member::Of { key: b"stream_options", .. } => return None,
            Member::Of { .. } => {}
            Member::End(at) => end = Some(at),
        }
    }
    let end = end.filter(|_| stream)?;
    let mut out = Vec::with_capacity(body.len() + OPTION.len() + 1);
    out.extend_from_slice(&body[..end]);
    out.push(b',');
    out.extend_from_slice(OPTION);
    out.extend_from_slice(&body[end..]);
    Some(out)
}

/// Whether a body speaks of a stream at all: a hint that costs next to nothing.
fn mentions_stream(body: &[u8]) -> bool {
    static STREAM: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"stream\""));
    STREAM.find(body).is_some()
}

/// Whether a piece speaks of usage at all.
fn mentions_usage(piece: &[u8]) -> bool {
    static USAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    USAGE.find(piece).is_some()
}

/// What a request's header has in its name when it says that the body was signed or its digest taken: not a byte of such a
/// body is ours to change.
pub const SEALS: &[&str] = &["signature", "digest", "hmac", "content-md5", "content-sha256", "x-amz-date"];

/// Whether a header's name is one of those that speak for the body: see [`SEALS`].
pub fn seals_body(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SEALS.iter().any(|seal| name.contains(seal))
}

/// Whether [`ask`] may have something to put in. Where not, no body has to be looked at.
pub fn may_ask(found: &Recognised) -> bool {
    found.wire == Wire::OpenAiChat && found.reports_stream_usage
}

/// Takes out of a stream of server-sent events what only came because usage was asked for.
///
/// Bytes are passed on as soon as the event that they belong to is whole: a reader of events could not have used them
/// earlier. What is not an event, or is cut off, comes out unchanged in the end.
#[derive(Debug, Default)]
pub struct Filter {
    /// The beginning of an event that is not whole yet.
    partial: Vec<u8>,
    coding: Option<Coding>,
    begun: bool,
    off: bool,
}

/// What of a piece is to be passed on, as far as that can be said at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glance {
    /// All of it.
    Whole,
    /// All but this range of it.
    Without(Range<usize>),
    /// That takes more than a glance: [`Filter::push`] it.
    Unsure,
}

/// What gzip begins with.
const GZIP_MARK: [u8; 2] = [0x1f, 0x8b];

/// The body is gzip on the wire: it is opened, filtered and packed again as stored blocks, for the response's headers
/// say gzip and are not ours to change.
#[derive(Debug)]
struct Coding {
    open: flate2::write::MultiGzDecoder<Vec<u8>>,
    pack: flate2::write::GzEncoder<Vec<u8>>,
}

impl Filter {
    /// A filter for a response with these headers; `decoded` says that its content encoding was undone already.
    ///
    /// A response that is no event stream, or is packed in a way that cannot be opened here, passes unchanged.
    pub fn new(status: u16, headers: &[(String, String)], decoded: bool) -> Self {
        let header = |name: &str| {
            let found = headers.iter().find(|(here, _)| here.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.trim())
        };
        let off = status >= 400 || !header("content-type").starts_with("text/event-stream");
        let mut filter = Self { off, ..Self::default() };
        match header("content-encoding").to_ascii_lowercase().as_str() {
            _ if decoded => {}
            "" | "identity" => {}
            "gzip" => {
                filter.coding = Some(Coding {
                    open: flate2::write::MultiGzDecoder::new(Vec::new()),
                    pack: flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none()),
                });
            }
            _ => filter.off = true,
        }
        filter
    }

    /// Whether every piece passes unchanged.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Looks at a piece without taking it in. The usual one is one event, or nothing in it is to be hidden: then what to
    /// pass on is a part of it, and no copy has to be made here.
    pub fn glance(&self, piece: &[u8]) -> Glance {
        if self.off {
            return Glance::Whole;
        }
        if self.coding.is_some() || !self.partial.is_empty() || !piece.ends_with(b"\n\n") {
            return Glance::Unsure;
        }
        // The usual piece is told by its end; only what is not so is searched.
        match last_member(piece) {
            Some(cut) => Glance::Without(cut),
            None if mentions_usage(piece) => Glance::Unsure,
            None => Glance::Whole,
        }
    }

    /// One piece of the body; says what of it to pass on (possibly nothing yet).
    pub fn push(&mut self, piece: &Bytes) -> Bytes {
        use std::io::Write;
        if self.off {
            return piece.clone();
        }
        let Some(mut coding) = self.coding.take() else { return self.push_plain(piece) };
        if !std::mem::replace(&mut self.begun, !piece.is_empty()) && !GZIP_MARK.iter().zip(piece).all(|(a, b)| a == b) {
            self.off = true;
            return piece.clone();
        }
        if coding.open.write_all(piece).and_then(|()| coding.open.flush()).is_err() {
            // Damaged: what follows is passed on as it is, for the reader to fail on as it would have.
            self.off = true;
            return piece.clone();
        }
        let plain = Bytes::from(std::mem::take(coding.open.get_mut()));
        let out = self.push_plain(&plain);
        // Writing into memory cannot fail.
        let _ = coding.pack.write_all(&out).and_then(|()| coding.pack.flush());
        let packed = std::mem::take(coding.pack.get_mut());
        self.coding = Some(coding);
        Bytes::from(packed)
    }

    /// The end of the body; says what is still to be passed on.
    pub fn finish(&mut self) -> Bytes {
        use std::io::Write;
        let rest = std::mem::take(&mut self.partial);
        match self.coding.take() {
            None => Bytes::from(rest),
            Some(mut coding) => {
                let _ = coding.pack.write_all(&rest);
                Bytes::from(coding.pack.finish().unwrap_or_default())
            }
        }
    }

    fn push_plain(&mut self, piece: &Bytes) -> Bytes {
        match self.glance(piece) {
            Glance::Whole => return piece.clone(),
            Glance::Without(cut) => return Bytes::from([&piece[..cut.start], &piece[cut.end..]].concat()),
            Glance::Unsure => {}
        }
        if self.partial.is_empty() && events_end(piece) == piece.len() && !mentions_usage(piece) {
            return piece.clone();
        }
        self.partial.extend_from_slice(piece);
        let whole = events_end(&self.partial);
        let rest = self.partial.split_off(whole);
        let events = std::mem::replace(&mut self.partial, rest);
        let mut out = Vec::with_capacity(events.len());
        let mut from = 0;
        while from < events.len() {
            let to = from + first_event_end(&events[from..]).unwrap_or(events.len() - from);
            if let Some(kept) = without_usage(&events[from..to]) {
                out.extend_from_slice(&kept);
            }
            from = to;
        }
        Bytes::from(out)
    }
}

/// Where the last whole event ends.
fn events_end(bytes: &[u8]) -> usize {
    let lf = memmem::rfind(bytes, b"\n\n").map_or(0, |at| at + 2);
    let crlf = memmem::rfind(bytes, b"\r\n\r\n").map_or(0, |at| at + 4);
    lf.max(crlf)
}

fn first_event_end(bytes: &[u8]) -> Option<usize> {
    let lf = memmem::find(bytes, b"\n\n").map(|at| at + 2);
    let crlf = memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    lf.into_iter().chain(crlf).min()
}

/// Where `,"usage":null` is in an event of one line of JSON that ends with that member, or with it and one that pads the
/// event to hide its length, as OpenAI writes them. The rest of the event need not be read for that: in JSON a quote
/// right after a comma begins a text or ends one, and no name can follow the end of a text, so what is found here is no
/// part of a text; and what comes before the last brace is a member of the outermost object.
fn last_member(event: &[u8]) -> Option<Range<usize>> {
    const MEMBER: &[u8] = b",\"usage\":null";
    const PADDING: &[u8] = b",\"obfuscation\":\"";
    let line = event.strip_prefix(b"data: {")?.strip_suffix(b"}\n\n")?;
    let before = match line.strip_suffix(b"\"") {
        None => line,
        Some(padded) => {
            let text = memchr::memrchr2(b'"', b'\\', padded)? + 1;
            padded[..text].strip_suffix(PADDING)?
        }
    };
    let from = before.strip_suffix(MEMBER)?.len() + b"data: {".len();
    memchr::memchr(b'\n', line).is_none().then(|| from..from + MEMBER.len())
}

/// Whether choices are none, or the empty one that LiteLLM's proxy sends along with the counts.
fn says_nothing(choices: &[u8]) -> bool {
    let written = || choices.iter().filter(|byte| !byte.is_ascii_whitespace());
    written().eq(b"[]") || written().eq(br#"[{"index":0,"delta":{}}]"#)
}

/// An event without what was not asked for; `None`: the whole event was not.
fn without_usage(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !mentions_usage(event) {
        return Some(Cow::Borrowed(event));
    }
    // The JSON of the one data line that such events have.
    let Some(start) = memchr::memchr(b'{', event) else { return Some(Cow::Borrowed(event)) };
    let json = &event[start..];
    let (mut usage, mut no_choices) = (None, false);
    let mut before = None;
    for member in Members::of(json) {
        if let Member::Of { key, value, from, to } = member {
            match key {
                b"choices" => no_choices = says_nothing(value),
                b"usage" => usage = Some((value, from, to, before)),
                _ => {}
            }
            before = Some(to);
        }
    }
    match usage {
        Some((value, ..)) if value.starts_with(b"{") && no_choices => None,
        Some((b"null", from, to, before)) => {
            // The comma before the member goes with it, or the one after it when it is the first.
            let (cut_from, cut_to) = match before {
                Some(end) => (end, to),
                None => (
                    from,
                    json[to..]
                        .iter()
                        .position(|b| !b.is_ascii_whitespace())
                        .map_or(to, |gap| to + gap + usize::from(json[to + gap] == b',')),
                ),
            };
            let mut kept = Vec::with_capacity(event.len());
            kept.extend_from_slice(&event[..start + cut_from]);
            kept.extend_from_slice(&event[start + cut_to..]);
            Some(Cow::Owned(kept))
        }
        _ => Some(Cow::Borrowed(event)),
    }
}

/// The members of the outermost object of a JSON text, found without parsing what is inside of them.
pub(crate) struct Members<'a> {
    text: &'a [u8],
    at: usize,
    over: bool,
}

pub(crate) enum Member<'a> {
    /// A key without its quotes, the raw value, and where the member begins and ends.
    Of { key: &'a [u8], value: &'a [u8], from: usize, to: usize },
    /// Where the object's closing brace is.
    End(usize),
}

impl<'a> Members<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        let at = text.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(text.len());
        Self { text, at: at + 1, over: text.get(at) != Some(&b'{') }
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Moves behind the string that begins here.
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.text.get(self.at..)?)?;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Some(());
            }
            self.at += 2;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.text.get(self.at)? {
                b'"' => {
                    self.skip_string()?;
                    if depth == 0 {
                        return Some(());
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => match depth {
                    // The end of the object around a bare value.
                    0 => return Some(()),
                    1 => {
                        self.at += 1;
                        return Some(());
                    }
                    _ => depth -= 1,
                },
                b',' if depth == 0 => return Some(()),
                _ => {}
            }
            self.at += 1;
        }
    }

    fn member(&mut self) -> Option<Member<'a>> {
        self.skip_space();
        match *self.text.get(self.at)? {
            b'}' => {
                self.over = true;
                Some(Member::End(self.at))
            }
            b'"' => {
                let from = self.at;
                self.skip_string()?;
                let key = &self.text[from + 1..self.at - 1];
                self.skip_space();
                if self.text.get(self.at) != Some(&b':') {
                    return None;
                }
                self.at += 1;
                self.skip_space();
                let start = self.at;
                self.skip_value()?;
                let value = self.text[start..self.at].trim_ascii_end();
                let to = start + value.len();
                self.skip_space();
                if self.text.get(self.at) == Some(&b',') {
                    self.at += 1;
                }
                Some(Member::Of { key, value, from, to })
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if self.over {
            return None;
        }
        let member = self.member();
        self.over |= member.is_none();
        member
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::config::Config;
    use crate::decode::recognise;

    #[test]
    fn what_seals_a_body_is_told_by_its_name() {
        for name in ["X-Signature", "content-digest", "Content-MD5", "x-amz-content-sha256", "X-Hub-HMAC"] {
            assert!(seals_body(name), "{name}");
        }
        for name in ["authorization", "content-type", "x-stainless-lang", "idempotency-key", "openai-project"] {
            assert!(!seals_body(name), "{name}");
        }
    }

    fn asked(url: &str, body: &str) -> Option<String> {
        let found = recognise(&Config::default(), "POST", url, None).unwrap();
        ask(|| Some(&found), body.as_bytes()).map(|body| String::from_utf8(body).unwrap())
    }

    const OPENAI: &str = "https://api.openai.com/v1/chat/completions";

    #[test]
    fn usage_is_asked_for_only_where_nobody_spoke() {
        assert_eq!(
            asked(OPENAI, r#"{"model":"m","stream":true, "messages":[{"content":"}\"]"}] }"#).unwrap(),
            r#"{"model":"m","stream":true, "messages":[{"content":"}\"]"}] ,"stream_options":{"include_usage":true}}"#,
        );
        for body in [
            r#"{"model":"m"}"#,
            r#"{"stream":false}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"stream":true,"stream_options":null}"#,
            r#"{"messages":[{"stream":true}]}"#,
            r#"{"messages":"\"stream\":true"}"#,
            r#"{"stream":true"#,
            r#"[{"stream":true}]"#,
            "",
            r#"{"stream":true,"x":"\"#,
        ] {
            assert_eq!(asked(OPENAI, body), None, "{body}");
        }
        let body = r#"{"stream":true}"#;
        assert_eq!(asked("http://127.0.0.1:8000/v1/chat/completions", body), None);
        assert_eq!(asked("https://api.openai.com/v1/responses", body), None);
    }

    const WITH: &str = concat!(
        ": hello\n\n",
        "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}],\"usage\":null,\"obfuscation\":\"x\"}\n\n",
        "data: {\"usage\": null, \"choices\":[{\"delta\":{}}]}\n\n",
        "data: {\"id\":\"1\",\"choices\":[{\"usage\":null}],\"usage\":null}\r\n\r\n",
        "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[{\"index\":0, \"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: [DONE]\n\n",
        "data: {\"cut\":\"off\",\"usage\":nu",
    );
    const WITHOUT: &str = concat!(
        ": hello\n\n",
        "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}],\"obfuscation\":\"x\"}\n\n",
        "data: { \"choices\":[{\"delta\":{}}]}\n\n",
        "data: {\"id\":\"1\",\"choices\":[{\"usage\":null}]}\r\n\r\n",
        "data: [DONE]\n\n",
        "data: {\"cut\":\"off\",\"usage\":nu",
    );

    fn headers(encoding: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![pair("Content-Type", "text/event-stream; charset=utf-8"), pair("content-encoding", encoding)]
    }

    fn filtered(pieces: &[&[u8]], encoding: &str) -> Vec<u8> {
        let mut filter = Filter::new(200, &headers(encoding), false);
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&filter.push(&Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&filter.finish());
        out
    }

    #[test]
    fn what_was_not_asked_for_is_taken_out_at_every_cut() {
        for size in 1..=WITH.len() {
            let pieces: Vec<&[u8]> = WITH.as_bytes().chunks(size).collect();
            assert_eq!(String::from_utf8(filtered(&pieces, "")).unwrap(), WITHOUT, "pieces of {size}");
        }
    }

    #[test]
    fn a_glance_says_what_a_closer_look_does() {
        let event = |tail: &str| format!("data: {{\"id\":\"1\",\"choices\":[{{\"delta\":{{}}}}]{tail}}}\n\n");
        let filter = Filter::new(200, &headers(""), false);
        let at = event("").len() - 3;
        for (tail, expected) in [
            (r#","usage":null"#, Glance::Without(at..at + 13)),
            (r#","usage":null,"obfuscation":"x}y""#, Glance::Without(at..at + 13)),
            (r#","n":{"usage":1},"usage":null"#, Glance::Without(at + 16..at + 29)),
            (r#","use":null"#, Glance::Whole),
            (r#","usage":null,"obfuscation":"x\"y""#, Glance::Unsure),
            (r#","usage":null,"other":"x""#, Glance::Unsure),
            (r#","usage": null"#, Glance::Unsure),
            (r#","usage":{"prompt_tokens":1}"#, Glance::Unsure),
            (r#","text":"\",\"usage\":null""#, Glance::Whole),
            (r#","inner":{"a":1,"usage":null}"#, Glance::Unsure),
        ] {
            let event = event(tail);
            assert_eq!(filter.glance(event.as_bytes()), expected, "{event}");
            if let Glance::Without(cut) = &expected {
                let kept = [&event.as_bytes()[..cut.start], &event.as_bytes()[cut.end..]].concat();
                assert_eq!(without_usage(event.as_bytes()).unwrap(), kept, "{event}");
            }
            assert_eq!(filter.glance((event.clone() + &event).as_bytes()) == Glance::Whole, expected == Glance::Whole);
            assert_eq!(filter.glance(&event.as_bytes()[..event.len() - 1]), Glance::Unsure);
        }
    }

    #[test]
    fn a_packed_stream_stays_packed() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(WITH.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let pieces: Vec<&[u8]> = packed.chunks(50).collect();
        let out = filtered(&pieces, "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&out[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, WITHOUT);
    }

    #[test]
    fn what_cannot_be_read_passes_unchanged() {
        assert_eq!(filtered(&[WITH.as_bytes()], "br"), WITH.as_bytes());
        assert_eq!(filtered(&[b"not gzip"], "gzip"), b"not gzip");
        let json = [("content-type".to_owned(), "application/json".to_owned())];
        let body = Bytes::from_static(b"{\"choices\":[],\"usage\":{}}\n\n");
        assert_eq!(Filter::new(200, &json, false).push(&body), body);
    }
}
