//! One observed call. The clock and the pieces are kept in TypeScript, for each step across the border costs more
//! than the step itself; here the exchange is put together and handed over.

use bytes::Bytes;
use llmtrail::decode::Recognised;
use llmtrail::stream_usage::{self, Filter};
use llmtrail::{Chunk, End, Exchange};
use napi::bindgen_prelude::{Buffer, BufferSlice};
use napi_derive::napi;

use crate::convert::{Result, millis, pairs, time, usage};

/// One HTTP attempt under way. It is handed over by `end`, once.
#[napi(js_name = "NativeCall")]
pub struct Call {
    client: llmtrail::Client,
    found: Recognised,
    exchange: Option<Exchange>,
    /// Takes out what only came because usage was asked for.
    filter: Option<Filter>,
    /// What `pass` could not put where the piece had been.
    instead: Bytes,
}

/// What to put into the body, and how many of its last characters come after it.
#[napi(object)]
pub struct Insertion {
    /// The text.
    pub text: String,
    /// Characters of the body that follow it; all of them are ASCII.
    pub before_last: u32,
}

impl Call {
    pub(crate) fn begin(
        client: &llmtrail::Client,
        method: String,
        url: String,
        provider: Option<String>,
        scope: Option<llmtrail::Scope>,
        started_at: f64,
        headers: &str,
        body: Vec<u8>,
    ) -> Option<Self> {
        let found = client.recognise(&method, &url, provider.as_deref())?;
        let exchange = Exchange {
            method,
            url,
            request_headers: pairs(headers),
            request_body: Bytes::from(body),
            decoded: true,
            started_at: time(started_at),
            provider,
            scope,
            ..Exchange::default()
        };
        Some(Self { client: client.clone(), found, exchange: Some(exchange), filter: None, instead: Bytes::new() })
    }
}

#[napi]
impl Call {
    /// What to put into the body that goes out, if anything. Not called when the body cannot be replaced.
    #[napi]
    pub fn insertion(&mut self) -> Option<Insertion> {
        let exchange = self.exchange.as_mut()?;
        if !self.client.config().stream_usage {
            return None;
        }
        let body = &exchange.request_body;
        let outgoing = stream_usage::ask(&self.found, body)?;
        // It goes in before the brace that closes the body; the text is cut out again for a JavaScript string can be
        // spliced, but not be made of bytes, for next to nothing.
        let brace = outgoing.iter().rposition(|byte| *byte == b'}')?;
        let added = outgoing.len().checked_sub(body.len())?;
        let text = String::from_utf8(outgoing.get(brace.checked_sub(added)?..brace)?.to_vec()).ok()?;
        exchange.asked_usage = true;
        Some(Insertion { text, before_last: u32::try_from(outgoing.len() - brace).ok()? })
    }

    /// The response's head came in answer to a request that asked for usage. True when each piece has to go through
    /// `pass`.
    #[napi]
    pub fn filters(&mut self, status: u32, headers: String) -> bool {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.asked_usage) {
            self.filter = Some(Filter::new(u16::try_from(status).unwrap_or_default(), &pairs(&headers), true));
        }
        self.filter.is_some()
    }

    /// Records a piece and puts what the consumer is to see in its place: the length of that, or -1 when it is longer
    /// than the piece was and `instead` has it.
    #[napi]
    pub fn pass(&mut self, mut piece: BufferSlice<'_>, at: f64) -> i32 {
        let bytes = Bytes::copy_from_slice(&piece);
        let seen = self.filter.as_mut().map_or_else(|| bytes.clone(), |filter| filter.push(&bytes));
        if let Some(exchange) = &mut self.exchange {
            exchange.ended_at = millis(at);
            exchange.chunks.push(Chunk { bytes, at: millis(at) });
        }
        if let (Some(place), Ok(length)) = (piece.get_mut(..seen.len()), i32::try_from(seen.len())) {
            place.copy_from_slice(&seen);
            return length;
        }
        self.instead = seen;
        -1
    }

    /// See `pass`.
    #[napi]
    pub fn instead(&mut self) -> Buffer {
        std::mem::take(&mut self.instead).to_vec().into()
    }

    /// What is still to be passed on before the end or an error; mostly nothing.
    #[napi]
    pub fn rest(&mut self) -> Option<Buffer> {
        let rest = self.filter.take().map(|mut filter| filter.finish())?;
        (!rest.is_empty()).then(|| rest.to_vec().into())
    }

    /// Takes pieces that were collected: their bytes side by side, and for each its length and when it came.
    #[napi]
    pub fn add(&mut self, bytes: &[u8], marks: &[f64]) {
        let Some(exchange) = &mut self.exchange else { return };
        let mut rest = Bytes::copy_from_slice(bytes);
        for mark in marks.chunks_exact(2) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a length of a JavaScript array"
            )]
            let length = (mark[0] as usize).min(rest.len());
            exchange.chunks.push(Chunk { bytes: rest.split_to(length), at: millis(mark[1]) });
        }
    }

    /// The body ended, or the attempt failed: `complete`, `abandoned`, `error` or `timeout`. Only the first call counts.
    /// A status of 0: no response came. `bytes` and `marks` as in `add`.
    #[napi]
    pub fn end(
        &mut self,
        end: String,
        error: Option<String>,
        at: f64,
        paused: f64,
        status: u32,
        headers: String,
        headers_at: f64,
        bytes: Option<&[u8]>,
        marks: Option<&[f64]>,
    ) -> Result<()> {
        if let (Some(bytes), Some(marks)) = (bytes, marks) {
            self.add(bytes, marks);
        }
        let error = error.unwrap_or_default();
        let end = match end.as_str() {
            "complete" => End::Complete,
            "abandoned" => End::Abandoned,
            "error" => End::Failed(error),
            "timeout" => End::TimedOut(error),
            other => return Err(usage(format!("end: {other:?} is not complete, abandoned, error or timeout"))),
        };
        self.filter = None;
        if let Some(mut exchange) = self.exchange.take() {
            exchange.status = u16::try_from(status).ok().filter(|status| *status > 0);
            exchange.response_headers = pairs(&headers);
            exchange.headers_at = millis(headers_at);
            exchange.ended_at = millis(at);
            exchange.paused = millis(paused);
            exchange.end = end;
            self.client.observe(exchange);
        }
        Ok(())
    }
}
