//! Damaged cases of the corpus, and what must hold of the event whatever the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use llmtrail::decode::{Wire, recognise};
use llmtrail::event::Event;
use llmtrail::{Config, End, Exchange};
use serde_json::Value;

use crate::corpus::Case;
use crate::loopback::gzip;
use crate::memory;

/// What reading one exchange came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Bytes of the exchange's bodies.
    pub bytes: usize,
    /// Bytes held at most while it was read.
    pub peak: usize,
}

/// Reads an exchange whose bytes may be anything.
///
/// # Errors
/// A text that says what does not hold: it panicked, took memory out of proportion, or its event has not the form that
/// every event has.
pub fn read(exchange: Exchange) -> Result<Reading, String> {
    /// A number in a JSON text is two bytes, in memory 32, and a body is held more than once while it is read.
    const TIMES: usize = 200;
    const SPARE: usize = 1 << 20;
    let bytes = exchange.size();
    let config = Config::default();
    let found = recognise(&config, &exchange.method, &exchange.url, exchange.provider.as_deref());
    let unread = found.is_none_or(|found| found.wire == Wire::Unknown);
    let work = || catch_unwind(AssertUnwindSafe(|| llmtrail::decode::event_of(&config, exchange)));
    let (event, peak) = memory::peak(work);
    let event = event.map_err(|_| "it panics")?;
    if peak > bytes * TIMES + SPARE {
        return Err(format!("{bytes} bytes take {peak} bytes of memory"));
    }
    // Of what is not read, JSON alone is a call: damage may make it none.
    match event {
        Some(event) => check(&event)?,
        None if unread => {}
        None => return Err("its address is not recognised".to_owned()),
    }
    Ok(Reading { bytes, peak })
}

fn check(event: &Event) -> Result<(), String> {
    let properties = &event.properties;
    if let Some((name, _)) = properties.iter().find(|(_, value)| value.is_null()) {
        return Err(format!("{name} is null"));
    }
    for name in ["$ai_provider", "$ai_request_url", "$ai_tokens_source", "$ai_trace_id"] {
        let counts = name != "$ai_tokens_source" || event.event != "$ai_span";
        if counts && !properties.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    serde_json::from_slice::<Value>(&event.encode().json).map(drop).map_err(|error| error.to_string())
}

/// A case with damage: to its bytes, their encoding, how they are cut, the status or the end.
pub fn damaged(case: &Case, others: &[&Case], random: &mut Random) -> Exchange {
    let mut request = case.request.to_vec();
    let mut response = case.response.to_vec();
    for _ in 0..=random.below(3) {
        if random.below(4) == 0 {
            random.damage(&mut request);
        } else if random.below(8) == 0 && !others.is_empty() {
            let other = others[random.below(others.len())];
            random.graft(&mut response, &other.response);
        } else {
            random.damage(&mut response);
        }
    }
    let mut coding = None;
    match random.below(12) {
        // Packed, and the packed bytes damaged.
        0 => {
            response = gzip(&[Bytes::from(response)], random.below(2) == 0).concat();
            if random.below(2) == 0 {
                random.damage(&mut response);
            }
            coding = Some("gzip");
        }
        1 => coding = Some(["gzip", "br", "deflate", "zstd", "nonsense"][random.below(5)]),
        _ => {}
    }
    let mut pieces = Vec::new();
    let mut rest = Bytes::from(response);
    while !rest.is_empty() {
        let size = rest.len().min(1 + random.below(400));
        pieces.push(rest.split_to(size));
    }
    let mut exchange = case.exchange(pieces);
    exchange.request_body = request.into();
    if let Some(coding) = coding {
        exchange.response_headers.push(("content-encoding".to_owned(), coding.to_owned()));
    }
    if random.below(8) == 0 {
        exchange.status = [None, Some(200), Some(204), Some(500)][random.below(4)];
    }
    if random.below(16) == 0 {
        exchange.end = [End::Complete, End::Abandoned, End::Failed("reset".to_owned()), End::TimedOut(String::new())]
            [random.below(4)]
        .clone();
    }
    if random.below(16) == 0 {
        let kinds = ["application/json", "text/event-stream", "application/x-ndjson", AWS, "text/html", ""];
        let kind = kinds[random.below(kinds.len())];
        exchange.response_headers.retain(|(name, _)| name != "content-type");
        exchange.response_headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    exchange
}

const AWS: &str = "application/vnd.amazon.eventstream";

/// A small generator with a seed, so that a failure comes again.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from a text.
    pub fn new(seed: &str) -> Self {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(seed.bytes().fold(0x9e37_79b9_7f4a_7c15, hash) | 1)
    }

    /// A number below this; 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }

    /// A piece of other bytes put in, or put in place of some.
    fn graft(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let from = self.below(other.len());
        let to = other.len().min(from + 1 + self.below(600));
        let at = self.below(bytes.len() + 1);
        let end = bytes.len().min(at + self.below(2) * (to - from));
        drop(bytes.splice(at..end, other[from..to].iter().copied()));
    }

    /// One change: bytes lost, doubled, flipped or put in, the end cut off, or a number or a type replaced.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        const TOKENS: [&[u8]; 18] = [
            b"null",
            b"-1",
            b"1e999",
            b"18446744073709551616",
            b"18446744073709551615",
            b"4294967295",
            b"9999",
            b"0.5",
            b"[]",
            b"{}",
            b"\"\"",
            b"\"\\ud800\"",
            b"true",
            b"[[[[[[[[[[[[[[[[",
            b"\n\n",
            b"data: ",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
        ];
        if bytes.is_empty() {
            bytes.push(b'{');
            return;
        }
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + 1 + self.below(40));
        match self.below(9) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            2 => bytes[at] ^= 1 << self.below(8),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
            5 => {
                // A long piece many times over.
                let end = bytes.len().min(at + 1 + self.below(800));
                let copy = bytes[at..end].repeat(1 + self.below(8));
                drop(bytes.splice(at..at, copy));
            }
            _ => {
                // The value of some member becomes another one.
                let colons: Vec<usize> =
                    bytes.windows(2).enumerate().filter(|(_, two)| *two == b"\":").map(|(at, _)| at + 2).collect();
                if let Some(from) = colons.get(self.below(colons.len())) {
                    let ends = |byte: &u8| b",}]\n".contains(byte);
                    let to = bytes[*from..].iter().position(ends).map_or(bytes.len(), |n| from + n);
                    drop(bytes.splice(*from..to, TOKENS[self.below(TOKENS.len())].iter().copied()));
                }
            }
        }
    }
}
