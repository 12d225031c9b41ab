//! Plausible answers to calls that no case covers.

use bytes::Bytes;
use hyper::Method;

use super::Reply;
use super::case::mistake;
use super::knobs::Knobs;
use super::log::Log;

/// The error that was asked for, if it is this request's turn.
pub(crate) fn refusal(_: &Log, _: &str, _: &Knobs, _: &Bytes, _: impl Fn() -> String) -> Option<Reply> {
    None
}

/// An answer made up from the request.
pub(crate) fn answer(_: &Log, method: &Method, path: &str, _: &Knobs, _: &Bytes) -> Reply {
    mistake(404, &format!("nothing at {method} {path}"))
}
