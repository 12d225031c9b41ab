//! Capture by hand: for what has no HTTP exchange to observe, and for what people say of a trace.
//!
//! The methods belong to the scope that the current task is in; those that end in `_in` are told the scope, for
//! languages that carry it themselves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::client::Client;
use crate::context::{self, Scope, ScopeKind, ScopeOptions, new_id};
use crate::error::{Error, ErrorKind, Result};
use crate::fields::Fields;
use crate::pipeline::{Captured, Input, Recorded};
use crate::process::{self, fresh_id};
use crate::record::{CallRecord, StepRecord};
use crate::written::{WrittenCall, WrittenInput};

/// The name of the metric that a feedback's score becomes.
pub const SCORE: &str = "score";

/// What can be given to [`Client::capture`]. What is absent is that of the surrounding scope, else of the client.
#[derive(Debug, Clone, Default)]
pub struct CaptureOptions {
    /// Who it is about.
    pub distinct_id: Option<String>,
    /// Free-form properties; they win over the scope's.
    pub properties: Map<String, Value>,
    /// PostHog groups, `{"company": "id"}`.
    pub groups: Map<String, Value>,
    /// When it happened; now when absent.
    pub timestamp: Option<SystemTime>,
    /// The event's id; a fresh one when absent.
    pub uuid: Option<Uuid>,
}

impl CaptureOptions {
    /// Options from an object with the names that they have in a language.
    ///
    /// # Errors
    /// A usage error for a time or an id that is none: the event would otherwise be another one than was meant.
    pub fn read(mut fields: Fields) -> Result<Self> {
        let wrong =
            |what: &str, given: &Value, not: &str| Err(Error::new(ErrorKind::Usage, format!("{what}: {given} {not}")));
        let mut options = Self::default();
        if let Some(given) = fields.take("timestamp") {
            let mut again = fields.with("timestamp", given.clone());
            options.timestamp = again.time("timestamp");
            if options.timestamp.is_none() {
                return wrong("timestamp", &given, "is no time since 1970");
            }
        }
        if let Some(given) = fields.take("uuid") {
            options.uuid = given.as_str().and_then(|text| text.parse().ok());
            if options.uuid.is_none() {
                return wrong("uuid", &given, "is not a UUID");
            }
        }
        options.distinct_id = fields.text("distinct_id");
        options.properties = fields.object("properties").unwrap_or_default();
        options.groups = fields.object("groups").unwrap_or_default();
        Ok(options)
    }
}

/// A trace that somebody judges: one that is open here, or the id of any.
#[derive(Debug, Clone, Copy)]
pub enum TraceRef<'a> {
    /// A scope in this process.
    Scope(&'a Scope),
    /// An id.
    Id(&'a str),
}

impl<'a> From<&'a Scope> for TraceRef<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self::Scope(scope)
    }
}

impl<'a> From<&'a str> for TraceRef<'a> {
    fn from(id: &'a str) -> Self {
        Self::Id(id)
    }
}

impl Client {
    /// Sends any event as it is, with the surrounding scope's distinct id, groups and properties where it has none of
    /// its own. Returns its id.
    ///
    /// # Errors
    /// A usage error when the event has no name.
    pub fn capture(&self, event: &str, options: CaptureOptions) -> Result<Uuid> {
        self.capture_in(context::current().as_ref(), event, options)
    }

    /// As [`capture`](Self::capture), in a scope.
    ///
    /// # Errors
    /// As [`capture`](Self::capture).
    pub fn capture_in(&self, scope: Option<&Scope>, event: &str, options: CaptureOptions) -> Result<Uuid> {
        if event.trim().is_empty() {
            return Err(Error::new(ErrorKind::Usage, "capture: the event needs a name"));
        }
        let now = SystemTime::now();
        let uuid = options.uuid.unwrap_or_else(|| fresh_id(now));
        let size = size_of_members(&options.properties) + 256;
        let at = options.timestamp.unwrap_or(now);
        self.offer(
            Input::Event(Box::new(Captured { event: event.to_owned(), uuid, at, options, scope: scope.cloned() })),
            size,
        );
        Ok(uuid)
    }

    /// Records a generation that no transport saw: priced, redacted and placed like an observed one. Returns its span
    /// id, by which others can name it as their parent.
    pub fn capture_generation(&self, record: CallRecord) -> String {
        self.capture_call_in(context::current().as_ref(), false, record)
    }

    /// The same for an embedding.
    pub fn capture_embedding(&self, record: CallRecord) -> String {
        self.capture_call_in(context::current().as_ref(), true, record)
    }

    /// As [`capture_generation`](Self::capture_generation) or [`capture_embedding`](Self::capture_embedding), in a scope.
    pub fn capture_call_in(&self, scope: Option<&Scope>, embedding: bool, mut record: CallRecord) -> String {
        let at = SystemTime::now();
        record.fill_start(at);
        let id = record.id.take().unwrap_or_else(|| fresh_id(at).to_string());
        let content = [&record.input, &record.output, &record.tools, &record.usage];
        let size = content.into_iter().flatten().map(value_size).sum::<usize>()
            + size_of_members(&record.parameters)
            + size_of_members(&record.scope.properties)
            + 512;
        let recorded = Recorded { record, embedding, scope: scope.cloned(), id: id.clone() };
        self.offer(Input::Recorded(Box::new(recorded)), size);
        id
    }

    /// As [`capture_call_in`](Self::capture_call_in), of what a language wrote: for bindings. The worker reads it.
    pub fn capture_written_in(&self, scope: Option<&Scope>, embedding: bool, mut call: WrittenCall) -> String {
        let at = SystemTime::now();
        let size = call.size() + size_of::<WrittenInput>();
        let id = call.take_id().unwrap_or_else(|| fresh_id(at).to_string());
        let input = WrittenInput { call, embedding, scope: scope.cloned(), at, id: id.clone() };
        self.offer(Input::Written(Box::new(input)), size);
        id
    }

    /// Records a span that is over. Returns its id.
    pub fn capture_span(&self, record: StepRecord) -> String {
        self.capture_step_in(context::current().as_ref(), ScopeKind::Span, record)
    }

    /// Records a trace that is over, of which calls and spans may have been recorded by its id. Returns its id.
    pub fn capture_trace(&self, record: StepRecord) -> String {
        self.capture_step_in(context::current().as_ref(), ScopeKind::Trace, record)
    }

    /// As [`capture_span`](Self::capture_span) or [`capture_trace`](Self::capture_trace), in a scope.
    pub fn capture_step_in(&self, scope: Option<&Scope>, kind: ScopeKind, mut record: StepRecord) -> String {
        record.fill_start();
        let size = record.scope.input.iter().chain(&record.output).map(value_size).sum::<usize>() + 1024;
        let step = self.open(kind, scope, record.scope);
        if let Some(output) = record.output {
            step.set_output(output);
        }
        if let Some(error) = record.error {
            step.set_error(error.kind.unwrap_or_default(), error.message);
        }
        let id = if kind == ScopeKind::Trace { step.trace_id() } else { step.span_id() };
        let id = id.unwrap_or_default().to_owned();
        if step.end_once() {
            self.offer(Input::Ended(step, record.latency), size);
        }
        id
    }

    /// What somebody thinks of a trace (the current one when none is named): a score becomes a metric of the name
    /// [`SCORE`], a comment a feedback text.
    ///
    /// # Errors
    /// A usage error when there is neither score nor comment, or no trace.
    pub fn feedback<'a>(
        &self,
        trace: impl Into<Option<TraceRef<'a>>>,
        score: Option<Value>,
        comment: Option<&str>,
        options: CaptureOptions,
    ) -> Result<()> {
        self.feedback_in(context::current().as_ref(), trace.into(), score, comment, options)
    }

    /// As [`feedback`](Self::feedback), in a scope.
    ///
    /// # Errors
    /// As [`feedback`](Self::feedback).
    pub fn feedback_in(
        &self,
        scope: Option<&Scope>,
        trace: Option<TraceRef<'_>>,
        score: Option<Value>,
        comment: Option<&str>,
        options: CaptureOptions,
    ) -> Result<()> {
        let comment = comment.filter(|comment| !comment.trim().is_empty());
        if score.is_none() && comment.is_none() {
            return Err(Error::new(ErrorKind::Usage, "feedback: give a score, a comment, or both"));
        }
        if let Some(score) = score {
            self.judge("feedback", scope, trace, "$ai_metric", metric(SCORE, score), options.clone())?;
        }
        if let Some(comment) = comment {
            let text = Map::from_iter([("$ai_feedback_text".to_owned(), comment.into())]);
            self.judge("feedback", scope, trace, "$ai_feedback", text, options)?;
        }
        Ok(())
    }

    /// A measurement of a trace (the current one when none is named), such as the grade of an evaluation.
    ///
    /// # Errors
    /// A usage error when the metric has no name, or there is no trace.
    pub fn metric<'a>(
        &self,
        trace: impl Into<Option<TraceRef<'a>>>,
        name: &str,
        value: impl Into<Value>,
        options: CaptureOptions,
    ) -> Result<()> {
        self.metric_in(context::current().as_ref(), trace.into(), name, value.into(), options)
    }

    /// As [`metric`](Self::metric), in a scope.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn metric_in(
        &self,
        scope: Option<&Scope>,
        trace: Option<TraceRef<'_>>,
        name: &str,
        value: Value,
        options: CaptureOptions,
    ) -> Result<()> {
        if name.trim().is_empty() {
            return Err(Error::new(ErrorKind::Usage, "metric: it needs a name"));
        }
        self.judge("metric", scope, trace, "$ai_metric", metric(name, value), options)
    }

    /// An event about a trace.
    fn judge(
        &self,
        what: &str,
        scope: Option<&Scope>,
        trace: Option<TraceRef<'_>>,
        event: &str,
        properties: Map<String, Value>,
        mut options: CaptureOptions,
    ) -> Result<()> {
        let (scope, id) = match trace {
            Some(TraceRef::Scope(trace)) => (Some(trace), trace.trace_id()),
            Some(TraceRef::Id(id)) => (scope, Some(id)),
            None => (scope, scope.and_then(Scope::trace_id)),
        };
        let Some(id) = id.filter(|id| !id.trim().is_empty()) else {
            let why = format!("{what}: of which trace? Give its id, or call it inside of the trace");
            return Err(Error::new(ErrorKind::Usage, why));
        };
        options.properties.extend(properties);
        options.properties.insert("$ai_trace_id".to_owned(), context::clean_id(id).into());
        self.capture_in(scope, event, options).map(|_| ())
    }

    /// Starts the clock of a generation that no transport will see. It belongs to the current scope.
    pub fn start_generation(&self) -> Timer {
        self.timer_in(context::current(), false)
    }

    /// The same for an embedding.
    pub fn start_embedding(&self) -> Timer {
        self.timer_in(context::current(), true)
    }

    /// As [`start_generation`](Self::start_generation) or [`start_embedding`](Self::start_embedding), in a scope.
    pub fn timer_in(&self, scope: Option<Scope>, embedding: bool) -> Timer {
        Timer {
            client: self.clone(),
            scope,
            embedding,
            id: new_id(),
            started_at: SystemTime::now(),
            started: Instant::now(),
            first: OnceLock::new(),
            process: process::number(),
            ended: AtomicBool::new(false),
        }
    }
}

/// A call that the application makes by itself, while it lasts.
#[derive(Debug)]
pub struct Timer {
    client: Client,
    scope: Option<Scope>,
    embedding: bool,
    id: String,
    started_at: SystemTime,
    started: Instant,
    first: OnceLock<Duration>,
    process: u32,
    ended: AtomicBool,
}

impl Timer {
    /// The span id that the call will have.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first piece of the answer came. Only the first call counts.
    pub fn first_token(&self) {
        let _ = self.first.set(self.started.elapsed());
    }

    /// The call is over: what is to be told of it. Times that the record does not give are the clock's. Only the first
    /// call counts.
    pub fn end(&self, mut record: CallRecord) {
        // In a forked child it is the parent's to end.
        if self.process != process::number() || self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        record.id.get_or_insert_with(|| self.id.clone());
        record.scope.started_at = Some(self.started_at);
        record.latency.get_or_insert_with(|| self.started.elapsed());
        record.time_to_first_token = record.time_to_first_token.or(self.first.get().copied());
        self.client.capture_call_in(self.scope.as_ref(), self.embedding, record);
    }
}

fn metric(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([("$ai_metric_name".to_owned(), name.into()), ("$ai_metric_value".to_owned(), value)])
}

/// The memory that members take, about: a map of three short ones takes ten times the bytes of their text.
fn size_of_members(members: &Map<String, Value>) -> usize {
    /// A node of the standard library's map has room for eleven members and is half full at least.
    const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;
    let texts: usize = members.iter().map(|(key, value)| key.len() + 16 + value_size(value)).sum();
    texts + members.len().div_ceil(6) * NODE
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| value_size(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => size_of_members(members) + 2,
    }
}

/// Options of a scope for calls by hand, where only those matter.
impl From<ScopeOptions> for StepRecord {
    fn from(scope: ScopeOptions) -> Self {
        Self { scope, ..Self::default() }
    }
}
