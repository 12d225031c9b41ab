//! What a request asks of the server beyond the call itself: by header, by query, or in the path for SDKs that can
//! set neither.

use std::time::Duration;

use hyper::HeaderMap;

/// The knobs of one request. By header and query each is called `x-loopback-<name>`; in a path,
/// `/knobs/<name>=<value>,<name>=<value>/...`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Knobs {
    /// `chunk`: the body in pieces of so many bytes.
    pub(crate) chunk: Option<usize>,
    /// `delay-ms`: the wait before each piece.
    pub(crate) delay: Option<Duration>,
    /// `head-delay-ms`: the wait before the response's head.
    pub(crate) head_delay: Option<Duration>,
    /// `gzip`: compress, with a flush after each piece.
    pub(crate) gzip: bool,
    /// `status`: answer with this error.
    pub(crate) status: Option<u16>,
    /// `times`: fail so often, then succeed.
    pub(crate) times: Option<u32>,
    /// `retry-after-ms`: told to the client with the error.
    pub(crate) retry_after_ms: Option<u64>,
    /// `cut`: break the connection after so many pieces.
    pub(crate) cut: Option<usize>,
    /// `hang`: go silent after so many pieces.
    pub(crate) hang: Option<usize>,
    /// `chunks`: a synthesised stream of so many content pieces.
    pub(crate) chunks: Option<usize>,
    /// `reply-bytes`: a synthesised reply of so many bytes.
    pub(crate) reply_bytes: Option<usize>,
}

const PREFIX: &str = "x-loopback-";
/// No knob makes a reply larger or longer than this.
const MOST_BYTES: usize = 64 << 20;
const MOST_PIECES: usize = 1 << 20;
const LONGEST: u64 = 60_000;

impl Knobs {
    /// Reads all three places, and gives the path without its knobs. An unknown or unreadable knob is an error, for a
    /// test that misspells one would otherwise pass by luck.
    pub(crate) fn read<'p>(path: &'p str, query: &str, headers: &HeaderMap) -> Result<(Self, &'p str), String> {
        let mut knobs = Self::default();
        for (name, value) in headers {
            if let Some(name) = name.as_str().strip_prefix(PREFIX) {
                knobs.set(name, value.to_str().unwrap_or_default())?;
            }
        }
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "1"));
            if let Some(name) = name.strip_prefix(PREFIX) {
                knobs.set(name, value)?;
            }
        }
        let Some(rest) = path.strip_prefix("/knobs/") else { return Ok((knobs, path)) };
        let (list, _) = rest.split_once('/').unwrap_or((rest, ""));
        for pair in list.split(',').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "1"));
            knobs.set(name.strip_prefix(PREFIX).unwrap_or(name), value)?;
        }
        Ok((knobs, &rest[list.len()..]))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = |most: u64| match value.trim().parse::<u64>() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(format!("{name}: expected a whole number up to {most}, got {value:?}")),
        };
        let size = |most: usize| number(most as u64).map(|n| usize::try_from(n).unwrap_or(most));
        match name.replace('_', "-").as_str() {
            "chunk" => self.chunk = Some(size(MOST_BYTES)?.max(1)),
            "delay-ms" => self.delay = Some(Duration::from_millis(number(LONGEST)?)),
            "head-delay-ms" => self.head_delay = Some(Duration::from_millis(number(LONGEST)?)),
            "gzip" => self.gzip = number(1)? == 1,
            "status" => self.status = u16::try_from(number(599)?).ok().filter(|status| *status >= 400),
            "times" => self.times = u32::try_from(number(1000)?).ok(),
            "retry-after-ms" => self.retry_after_ms = Some(number(LONGEST)?),
            "cut" => self.cut = Some(size(MOST_PIECES)?),
            "hang" => self.hang = Some(size(MOST_PIECES)?),
            "chunks" => self.chunks = Some(size(MOST_PIECES)?.max(1)),
            "reply-bytes" => self.reply_bytes = Some(size(MOST_BYTES)?),
            _ => return Err(format!("unknown knob {name:?}")),
        }
        Ok(())
    }
}
