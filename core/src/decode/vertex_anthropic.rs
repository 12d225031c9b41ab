//! Anthropic's messages on Vertex: `rawPredict` and `streamRawPredict`.
//!
//! Source: Google Cloud's "Claude on Vertex AI" pages. Path and errors are Google's, everything else is Anthropic's.

use serde_json::Value;

use super::call::CallError;
use super::json::text;
use super::{Format, Source, anthropic_messages};

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request: anthropic_messages::request_by_path, error, ..anthropic_messages::FORMAT };

/// Google's own errors have a `status` in place of a type, and may come in a list.
fn error(_: &Source<'_>, body: &Value) -> Option<CallError> {
    let error = body.get(0).unwrap_or(body).get("error").filter(|error| error.is_object())?;
    let read = super::provider_error(error);
    match text(error.get("status")) {
        Some(status) if error.get("type").is_none_or(Value::is_null) => Some(CallError { kind: Some(status), ..read }),
        _ => Some(read),
    }
}
