//! The event stream of AWS: binary messages with headers.
//!
//! Source: the Smithy specification's "Amazon Event Stream" page. A message is its length, the length of its headers, a
//! CRC of these eight bytes, the headers, the payload, and a CRC of all before it.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Frame, Framing};

/// What the name of a message that is an error begins with; its type follows.
pub(crate) const EXCEPTION: &str = "exception:";
/// The name of a frame that says that the stream did not end between two messages, or was damaged.
pub(crate) const CUT: &str = "cut:";

/// The JSON in the `bytes` of a message's payload, which is how Bedrock sends what a model says.
pub(crate) fn chunk_of(payload: &Value) -> Option<Value> {
    let bytes = payload.get("bytes")?.as_str()?;
    super::super::parse(&base64::engine::general_purpose::STANDARD.decode(bytes).ok()?)
}

const PRELUDE: usize = 12;
/// The specification's bound of a message; what claims to be longer is damage.
const LONGEST: usize = 24 << 20;

/// Splits messages. A frame's name is the `:event-type`, or [`EXCEPTION`] and the `:exception-type` or `:error-code`; its
/// data is the payload, of an error always an object with its text as `message`. After a message that does not check nothing can be trusted, and nothing more is read.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    buffer: Vec<u8>,
    damaged: bool,
}

impl Framing for EventStream {
    fn push(&mut self, bytes: &[u8], at: Duration, out: &mut Vec<Frame>) {
        if self.damaged {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(prelude) = self.buffer.get(from..from + PRELUDE) {
            let total = usize::try_from(be32(&prelude[0..])).unwrap_or(usize::MAX);
            let headers = usize::try_from(be32(&prelude[4..])).unwrap_or(usize::MAX);
            let fits = total <= LONGEST && total.checked_sub(PRELUDE + 4).is_some_and(|rest| headers <= rest);
            if !fits || crc32fast::hash(&prelude[..8]) != be32(&prelude[8..]) {
                self.damaged = true;
                break;
            }
            let Some(message) = self.buffer.get(from..from + total) else { break };
            let (body, crc) = message.split_at(total - 4);
            if crc32fast::hash(body) != be32(crc) {
                self.damaged = true;
                break;
            }
            let (headers, payload) = body[PRELUDE..].split_at(headers);
            out.push(frame(headers, payload, at));
            from += total;
        }
        self.buffer.drain(..from);
        if self.damaged {
            self.buffer = Vec::new();
        }
    }

    fn finish(&mut self, at: Duration, out: &mut Vec<Frame>) {
        if self.damaged || !self.buffer.is_empty() {
            out.push(Frame { name: CUT.to_owned(), data: "null".to_owned(), at });
        }
    }

    fn damaged(&self) -> bool {
        self.damaged
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn frame(headers: &[u8], payload: &[u8], at: Duration) -> Frame {
    let (mut event, mut exception, mut message) = (None, None, None);
    for (name, value) in Headers(headers) {
        match name {
            b":event-type" => event = Some(value),
            b":exception-type" | b":error-code" => exception = Some(value),
            b":error-message" => message = Some(value),
            _ => {}
        }
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let Some(exception) = exception else {
        return Frame { name: event.map(text).unwrap_or_default(), data: text(payload), at };
    };
    let told = serde_json::from_slice::<Value>(payload).ok().filter(Value::is_object);
    let data = match (message, told) {
        (None, Some(told)) => told,
        (message, _) => json!({"message": text(message.unwrap_or(payload))}),
    };
    Frame { name: format!("{EXCEPTION}{}", text(exception)), data: data.to_string(), at }
}

/// Headers with a value of text or bytes; those of other types are stepped over.
struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn one(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let length = usize::from(*self.take(1)?.first()?);
        let name = self.take(length)?;
        let size = match *self.take(1)?.first()? {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | 7 => {
                let length = self.take(2)?;
                usize::from(length[0]) << 8 | usize::from(length[1])
            }
            9 => 16,
            _ => return None,
        };
        Some((name, self.take(size)?))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.one();
        if header.is_none() {
            self.0 = &[];
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
        let mut packed = Vec::new();
        for (name, value) in headers {
            packed.push(u8::try_from(name.len()).unwrap_or_default());
            packed.extend_from_slice(name.as_bytes());
            packed.push(7);
            packed.extend_from_slice(&u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
            packed.extend_from_slice(value.as_bytes());
        }
        let be = |n: usize| u32::try_from(n).unwrap_or_default().to_be_bytes();
        let mut out = be(PRELUDE + packed.len() + payload.len() + 4).to_vec();
        out.extend(be(packed.len()));
        out.extend(crc32fast::hash(&out).to_be_bytes());
        out.extend(packed);
        out.extend(payload.as_bytes());
        out.extend(crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn read(bytes: &[u8], size: usize) -> Vec<(String, String)> {
        let (mut stream, mut out) = (EventStream::default(), Vec::new());
        for piece in bytes.chunks(size) {
            stream.push(piece, Duration::ZERO, &mut out);
        }
        stream.finish(Duration::ZERO, &mut out);
        out.into_iter().map(|frame| (frame.name, frame.data)).collect()
    }

    #[test]
    fn every_cut_gives_the_same_messages_and_damage_ends_them() {
        let mut bytes =
            message(&[(":message-type", "event"), (":event-type", "messageStart")], "{\"role\":\"assistant\"}");
        let first = bytes.len();
        bytes.extend(message(&[(":exception-type", "throttlingException"), (":message-type", "exception")], "{}"));
        let pair = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        let whole = [pair("messageStart", "{\"role\":\"assistant\"}"), pair("exception:throttlingException", "{}")];
        for size in 1..=bytes.len() {
            assert_eq!(read(&bytes, size), whole);
        }
        for at in first..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert_eq!(
                read(&damaged, 7),
                [pair("messageStart", "{\"role\":\"assistant\"}"), pair(CUT, "null")],
                "byte {at}"
            );
        }
        assert_eq!(read(&bytes[..bytes.len() - 1], 7).last(), Some(&pair(CUT, "null")));
        assert_eq!(read(&[0xff; 64], 5), [pair(CUT, "null")]);
        let told = message(&[(":message-type", "error"), (":error-code", "X"), (":error-message", "Y")], "");
        assert_eq!(read(&told, 7), [pair("exception:X", "{\"message\":\"Y\"}")]);
    }
}
