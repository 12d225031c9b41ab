//! Response bodies that are written in exact pieces, with waits between them, and that can break off.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// No connection is held open without a word for longer than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What comes after the last piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    /// The body ends as HTTP wants it.
    #[default]
    Complete,
    /// The connection breaks off.
    Cut,
    /// Nothing, until the client leaves.
    Hang,
}

/// How a body fared; told once, when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Cut,
    ClientLeft,
}

type Tell = Box<dyn FnOnce(Fate, usize) + Send>;

/// A body in pieces. Between two pieces the connection is flushed, so that each is a write of its own.
pub(crate) struct Paced {
    pieces: VecDeque<Bytes>,
    written: usize,
    delay: Option<Duration>,
    /// One write for head and body, with a length: an ordinary answer.
    at_once: bool,
    exact: Option<u64>,
    ending: Ending,
    flushed: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    tell: Option<Tell>,
}

impl Paced {
    /// `exact`: the length is told to the client beforehand.
    pub(crate) fn new(pieces: Vec<Bytes>, exact: bool, delay: Option<Duration>, ending: Ending) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            at_once: exact && pieces.len() <= 1 && delay.is_none(),
            exact: (exact && ending == Ending::Complete).then_some(length),
            pieces: pieces.into(),
            written: 0,
            delay,
            ending,
            flushed: false,
            sleep: None,
            tell: None,
        }
    }

    /// Whom to tell how it ended, and how many pieces were taken.
    pub(crate) fn telling(mut self, tell: impl FnOnce(Fate, usize) + Send + 'static) -> Self {
        self.tell = Some(Box::new(tell));
        self
    }

    fn over(&mut self, fate: Fate) {
        if let Some(tell) = self.tell.take() {
            tell(fate, self.written);
        }
    }

    /// Pending once before each piece: hyper flushes whenever a body has nothing to give.
    fn pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at_once || (self.flushed && self.sleep.is_none()) {
            return Poll::Ready(());
        }
        if !self.flushed {
            self.flushed = true;
            let wait = if self.pieces.is_empty() {
                (self.ending == Ending::Hang).then_some(PATIENCE)
            } else {
                self.delay.filter(|delay| !delay.is_zero())
            };
            let Some(wait) = wait else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.sleep = Some(Box::pin(tokio::time::sleep(wait)));
        }
        if let Some(sleep) = &mut self.sleep {
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.sleep = None,
            }
        }
        Poll::Ready(())
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.pause(cx).is_pending() {
            return Poll::Pending;
        }
        if let Some(piece) = self.pieces.pop_front() {
            self.flushed = false;
            self.written += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if self.ending == Ending::Complete {
            self.over(Fate::Sent);
            Poll::Ready(None)
        } else {
            self.over(Fate::Cut);
            Poll::Ready(Some(Err(std::io::Error::other("cut, as asked"))))
        }
    }

    fn is_end_stream(&self) -> bool {
        // Said once the last piece is out of an exact body: hyper does not ask for its end then.
        self.exact.is_some() && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        let sent = self.exact.is_some() && self.pieces.is_empty();
        self.over(if sent { Fate::Sent } else { Fate::ClientLeft });
    }
}

/// Cuts bytes into pieces of a size.
pub(crate) fn split(bytes: &Bytes, size: usize) -> Vec<Bytes> {
    (0..bytes.len()).step_by(size.max(1)).map(|at| bytes.slice(at..bytes.len().min(at + size))).collect()
}

/// Compresses pieces one by one, with a flush after each, so that each can be read as soon as it is there. A body
/// that is cut has no trailer.
pub fn gzip(pieces: &[Bytes], whole: bool) -> Vec<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut out = Vec::new();
    for piece in pieces {
        // Writing into memory does not fail.
        let _ = encoder.write_all(piece).and_then(|()| encoder.flush());
        out.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    if whole && let Ok(tail) = encoder.finish() {
        match out.pop() {
            Some(last) => out.push([last.as_ref(), &tail].concat().into()),
            None => out.push(tail.into()),
        }
    }
    out
}
