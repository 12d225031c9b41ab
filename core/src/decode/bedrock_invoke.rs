//! Bedrock's `InvokeModel` and `InvokeModelWithResponseStream`, where they carry Anthropic's messages.
//!
//! Source: the Bedrock user guide's pages on Anthropic's models, and the runtime's API reference, "InvokeModel". A body
//! of another maker's format is not read: see `unknown`.

use std::time::Duration;

use serde_json::Value;

use super::anthropic_messages::{self, MessagesFold};
use super::bedrock::{self, exception, name_model};
use super::call::{Call, CallError};
use super::framing::chunk_of;
use super::{Fold, Folded, Format, Source};

/// How it is read.
pub(super) const FORMAT: Format =
    Format { request, fold: |_| Box::new(ChunkFold::default()), error: bedrock::error, ..anthropic_messages::FORMAT };

fn request(source: &Source<'_>, call: &mut Call) {
    name_model(call);
    if source.request.get("anthropic_version").is_none_or(Value::is_null) {
        call.unknown = true;
        return;
    }
    anthropic_messages::request_by_path(source, call);
}

/// Takes the events of Anthropic's stream out of the chunks.
#[derive(Default)]
struct ChunkFold {
    inner: Box<MessagesFold>,
    error: Option<CallError>,
}

impl Fold for ChunkFold {
    fn event(&mut self, name: &str, data: &Value, at: Duration) {
        if let Some(error) = exception(name, data) {
            self.error = Some(error);
        } else if let Some(event) = chunk_of(data) {
            self.inner.event("", &event, at);
        }
    }

    fn done(&mut self) {}

    fn finish(self: Box<Self>) -> Folded {
        let folded = self.inner.finish();
        Folded { error: self.error.or(folded.error), ..folded }
    }
}
