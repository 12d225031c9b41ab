//! One observed call. It is kept in TypeScript for as long as it lasts, clock, pieces and all, for each step across
//! the border costs more than the step itself; here the exchange is put together at its end and handed over.

use bytes::Bytes;
use llmtrail::stream_usage::{self, Filter};
use llmtrail::{Chunk, Client, End, Exchange};
use napi::bindgen_prelude::{Buffer, BufferSlice};
use napi_derive::napi;

use crate::budget::Reservation;
use crate::client::numbered;
use crate::convert::{Result, millis, pairs, time, usage};
use crate::scope::Scope;

/// What to put into the body, and how many of its last characters come after it.
#[napi(object)]
pub struct Insertion {
    /// The text.
    pub text: String,
    /// Characters of the body that follow it; all of them are ASCII.
    pub before_last: u32,
}

/// What to put into the body that goes out so that the stream reports usage, if anything.
#[napi]
pub fn insertion(
    client: u32,
    method: String,
    url: String,
    provider: Option<String>,
    text: Option<String>,
    bytes: Option<&[u8]>,
) -> Option<Insertion> {
    let body = text.as_deref().map(str::as_bytes).or(bytes)?;
    let asking = |client: &Client| {
        let asks = client.config().stream_usage;
        asks.then(|| stream_usage::ask(|| client.recognise(&method, &url, provider.as_deref()), body))?
    };
    let outgoing = numbered(client, asking).ok()??;
    // It goes in before the brace that closes the body; the text is cut out again for a JavaScript string can be
    // spliced, but not be made of bytes, for next to nothing.
    let brace = outgoing.iter().rposition(|byte| *byte == b'}')?;
    let added = outgoing.len().checked_sub(body.len())?;
    let text = String::from_utf8(outgoing.get(brace.checked_sub(added)?..brace)?.to_vec()).ok()?;
    Some(Insertion { text, before_last: u32::try_from(outgoing.len() - brace).ok()? })
}

/// Takes a call that ended: `complete`, `abandoned`, `error` or `timeout`. Headers are lines: a name, its value. The
/// request's body is text or bytes, or absent when it was not in memory. A status of 0: no response came. The pieces
/// of the answer are those of `earlier`, then `pieces` and `marks` as in `Pieces::add`; `decoded`: their content
/// encoding was undone already.
#[napi]
pub fn observe(
    client: u32,
    method: String,
    url: String,
    provider: Option<String>,
    scope: Option<&Scope>,
    started_at: f64,
    request_headers: String,
    text: Option<String>,
    bytes: Option<&[u8]>,
    asked_usage: bool,
    end: String,
    error: Option<String>,
    at: f64,
    paused: f64,
    status: u32,
    headers: String,
    headers_at: f64,
    earlier: Option<&mut Pieces>,
    pieces: Option<&[u8]>,
    marks: Option<&[f64]>,
    decoded: bool,
    reservation: Option<&Reservation>,
) -> Result<()> {
    let error = error.unwrap_or_default();
    let end = match end.as_str() {
        "complete" => End::Complete,
        "abandoned" => End::Abandoned,
        "error" => End::Failed(error),
        "timeout" => End::TimedOut(error),
        other => return Err(usage(format!("end: {other:?} is not complete, abandoned, error or timeout"))),
    };
    let mut all = earlier.map(std::mem::take).unwrap_or_default();
    if let (Some(pieces), Some(marks)) = (pieces, marks) {
        all.add(pieces, marks);
    }
    let body = text.map(String::into_bytes).or_else(|| bytes.map(<[u8]>::to_vec)).unwrap_or_default();
    let exchange = Exchange {
        method,
        url,
        request_headers: pairs(&request_headers),
        request_body: Bytes::from(body),
        status: u16::try_from(status).ok().filter(|status| *status > 0),
        response_headers: pairs(&headers),
        chunks: all.0,
        decoded,
        started_at: time(started_at),
        headers_at: millis(headers_at),
        ended_at: millis(at),
        paused: millis(paused),
        end,
        provider,
        scope: scope.map(|scope| scope.0.clone()),
        asked_usage,
        reservation: reservation.and_then(Reservation::take),
    };
    numbered(client, |client| client.observe(exchange))
}

/// Pieces of an answer that were handed over before its end, for it is long.
#[napi(js_name = "NativePieces")]
#[derive(Default)]
pub struct Pieces(Vec<Chunk>);

#[napi]
impl Pieces {
    /// None yet.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes pieces that were collected: their bytes side by side, and for each its length and when it came.
    #[napi]
    pub fn add(&mut self, bytes: &[u8], marks: &[f64]) {
        let mut rest = Bytes::copy_from_slice(bytes);
        self.0.reserve(marks.len() / 2);
        for mark in marks.chunks_exact(2) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a length of a JavaScript array"
            )]
            let length = (mark[0] as usize).min(rest.len());
            self.0.push(Chunk { bytes: rest.split_to(length), at: millis(mark[1]) });
        }
    }
}

/// Takes out of a stream what only came because usage was asked for. The usual pieces are cut in TypeScript; this is for
/// the others, and decides what is right.
#[napi(js_name = "NativeFilter")]
pub struct PieceFilter {
    filter: Filter,
    /// What `push` could not put where the piece had been.
    instead: Bytes,
}

#[napi]
impl PieceFilter {
    /// For a response with this head.
    #[napi(constructor)]
    pub fn new(status: u32, headers: String) -> Self {
        let filter = Filter::new(u16::try_from(status).unwrap_or_default(), &pairs(&headers), true);
        Self { filter, instead: Bytes::new() }
    }

    /// Puts what the consumer is to see of a piece in its place: the length of that, or -1 when it is longer than the
    /// piece was and `instead` has it.
    #[napi]
    pub fn push(&mut self, mut piece: BufferSlice<'_>) -> i32 {
        let seen = self.filter.push(&Bytes::copy_from_slice(&piece));
        if let (Some(place), Ok(length)) = (piece.get_mut(..seen.len()), i32::try_from(seen.len())) {
            place.copy_from_slice(&seen);
            return length;
        }
        self.instead = seen;
        -1
    }

    /// See `push`.
    #[napi]
    pub fn instead(&mut self) -> Buffer {
        std::mem::take(&mut self.instead).to_vec().into()
    }

    /// What is still to be passed on before the end or an error; mostly nothing.
    #[napi]
    pub fn rest(&mut self) -> Option<Buffer> {
        let rest = self.filter.finish();
        (!rest.is_empty()).then(|| rest.to_vec().into())
    }
}
