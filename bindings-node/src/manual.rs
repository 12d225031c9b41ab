//! Capture by hand, as JavaScript calls it. Everything that is told of an event is packed as one object into
//! the beginning of some memory, of which the core keeps nothing.

use llmtrail::manual::{CaptureOptions, TraceRef};
use llmtrail::{CallRecord, Language, StepRecord, WrittenCall};
use napi_derive::napi;

use crate::client::{NativeClient, numbered};
use crate::convert::{Result, coded, usage};
use crate::scope::{self, Scope, packed, told};

/// A call that the application makes by itself, while it lasts.
#[napi(js_name = "NativeTimer")]
pub struct Timer(llmtrail::Timer);

#[napi]
impl Timer {
    /// The span id that the call will have.
    #[napi(getter)]
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// The first piece of the answer came.
    #[napi]
    pub fn first_token(&self) {
        self.0.first_token();
    }

    /// The call is over.
    #[napi]
    pub fn end(&self, record: &[u8], length: u32) -> Result<()> {
        self.0.end(CallRecord::read(told(record, length)?).map_err(|error| coded(&error))?);
        Ok(())
    }
}

#[napi]
impl NativeClient {
    /// Sends any event as it is; returns its id.
    #[napi]
    pub fn capture(&self, scope: Option<&Scope>, event: String, options: &[u8], length: u32) -> Result<String> {
        let options = CaptureOptions::read(told(options, length)?).map_err(|error| coded(&error))?;
        self.0.capture_in(core(scope), &event, options).map(|uuid| uuid.to_string()).map_err(|error| coded(&error))
    }

    /// Records a span or a trace; returns its id.
    #[napi]
    pub fn capture_step(&self, scope: Option<&Scope>, kind: String, record: &[u8], length: u32) -> Result<String> {
        let kind = scope::kind(&kind).ok_or_else(|| usage(format!("{kind}: unknown kind of scope")))?;
        let record = StepRecord::read(told(record, length)?).map_err(|error| coded(&error))?;
        Ok(self.0.capture_step_in(core(scope), kind, record))
    }

    /// What somebody thinks of a trace: an open one, or one by its id.
    #[napi]
    pub fn feedback(
        &self,
        scope: Option<&Scope>,
        trace: Option<&Scope>,
        id: Option<String>,
        options: &[u8],
        length: u32,
    ) -> Result<()> {
        let mut given = told(options, length)?;
        let (score, comment) = (given.take("score"), given.text("comment"));
        let options = CaptureOptions::read(given).map_err(|error| coded(&error))?;
        self.0
            .feedback_in(core(scope), trace_of(trace, id.as_deref()), score, comment.as_deref(), options)
            .map_err(|error| coded(&error))
    }

    /// A measurement of a trace.
    #[napi]
    pub fn metric(
        &self,
        scope: Option<&Scope>,
        trace: Option<&Scope>,
        id: Option<String>,
        name: String,
        options: &[u8],
        length: u32,
    ) -> Result<()> {
        let mut given = told(options, length)?;
        let value = given.take("value").unwrap_or_default();
        let options = CaptureOptions::read(given).map_err(|error| coded(&error))?;
        self.0
            .metric_in(core(scope), trace_of(trace, id.as_deref()), &name, value, options)
            .map_err(|error| coded(&error))
    }

    /// The headers that carry a scope to another process, as a JSON object.
    #[napi]
    pub fn headers(&self, scope: Option<&Scope>) -> String {
        let scope = core(scope).filter(|_| self.0.config().enabled);
        let headers = llmtrail::propagate::headers(scope);
        let headers: serde_json::Map<_, _> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        serde_json::Value::from(headers).to_string()
    }

    /// Starts the clock of a call.
    #[napi]
    pub fn timer(&self, scope: Option<&Scope>, embedding: bool) -> Timer {
        Timer(self.0.timer_in(core(scope).cloned(), embedding))
    }
}

/// Records a generation or an embedding; returns its span id.
#[napi]
pub fn capture_call(client: u32, scope: Option<&Scope>, embedding: bool, record: &[u8], length: u32) -> Result<String> {
    let call = WrittenCall::packed(Language::Node, packed(record, length)).map_err(|error| coded(&error))?;
    numbered(client, |client| client.capture_written_in(core(scope), embedding, call))
}

fn trace_of<'a>(trace: Option<&'a Scope>, id: Option<&'a str>) -> Option<TraceRef<'a>> {
    trace.map(|trace| TraceRef::Scope(&trace.0)).or(id.map(TraceRef::Id))
}

fn core(scope: Option<&Scope>) -> Option<&llmtrail::Scope> {
    scope.map(|scope| &scope.0)
}
