//! Which session, trace and span a call belongs to.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};

use crate::config::Language;
use crate::event::usage::Usage;
use crate::fields::Fields;
use crate::patient;
use crate::price::Amount;
use crate::process;
use crate::propagate;

tokio::task_local! {
    /// The scope that this task is in.
    pub(crate) static CURRENT: Scope;
}

/// The scope that the current task (or closure) runs in. Rust only: other languages carry theirs themselves.
pub fn current() -> Option<Scope> {
    CURRENT.try_with(Scope::clone).ok()
}

/// What a [`Scope`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// Groups traces: a conversation.
    Session,
    /// Everything done for one request; sends `$ai_trace` at its end.
    Trace,
    /// One operation; sends `$ai_span` at its end.
    Span,
    /// Only carries options for the calls inside.
    Options,
}

/// What can be given to a scope. Everything is optional; what is absent is inherited from the scope around it.
#[derive(Debug, Clone, Default)]
pub struct ScopeOptions {
    /// The scope's name.
    pub name: Option<String>,
    /// The person or machine the calls are for.
    pub distinct_id: Option<String>,
    /// The session's id.
    pub session_id: Option<String>,
    /// The trace's id. Characters that PostHog does not take are replaced by `_`.
    pub trace_id: Option<String>,
    /// The id of a span that is known from elsewhere: the parent of this span, or of what is inside of other scopes.
    pub parent_id: Option<String>,
    /// The span's own id, when it is known from elsewhere (spans only).
    pub span_id: Option<String>,
    /// When it began, when that is not now.
    pub started_at: Option<SystemTime>,
    /// The trace is another process's: a trace that is opened inside becomes a span of it.
    pub continued: bool,
    /// The id of the OpenTelemetry trace that is active. It is taken over where a trace begins; a second trace that
    /// begins in it gets an id of its own.
    pub otel_trace_id: Option<String>,
    /// Free-form properties for every event inside; the inner scope wins.
    pub properties: Map<String, Value>,
    /// PostHog groups, `{"company": "id"}`; the inner scope wins by key.
    pub groups: Map<String, Value>,
    /// True hides content. A scope can tighten privacy, never loosen it.
    pub privacy: Option<bool>,
    /// `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free text (spans only).
    pub span_type: Option<String>,
    /// What went in.
    pub input: Option<Value>,
}

/// A session, trace, span or set of options that calls are made in. Cheap to clone; safe to share between threads.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    kind: ScopeKind,
    parent: Option<Scope>,
    name: Option<String>,
    span_type: Option<String>,
    trace_id: Option<String>,
    span_id: Option<String>,
    continued: bool,
    /// The trace's id is known from elsewhere, and no trace here has begun with it yet.
    unbegun: AtomicBool,
    /// The parent that was named: this span's own, or that of what is inside of another scope.
    under: Option<String>,
    session_id: Option<String>,
    distinct_id: Option<String>,
    properties: Map<String, Value>,
    groups: Map<String, Value>,
    privacy: bool,
    started_at: SystemTime,
    started: Instant,
    process: u32,
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    input: Option<Value>,
    output: Option<Value>,
    error: Option<(String, String)>,
    name: Option<String>,
    span_type: Option<String>,
    properties: Map<String, Value>,
    totals: Totals,
}

/// A scope that may be gone.
#[derive(Clone)]
pub(crate) struct WeakScope(Weak<Inner>);

impl WeakScope {
    pub(crate) fn get(&self) -> Option<Scope> {
        self.0.upgrade().map(Scope)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// What the calls inside a scope used and cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Number of generations and embeddings.
    pub calls: u64,
    /// Sum of the buckets that were reported.
    pub usage: Usage,
    /// Sum of the costs that are known.
    pub cost: Amount,
    /// Calls whose cost is not known.
    pub unpriced: u64,
}

/// Names and values of headers: a list of pairs. Values that are no text are left out.
fn header_lines(headers: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)))
}

/// Ids of OpenTelemetry traces in which a trace of ours began, the latest ones.
static ADOPTED: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Takes an OpenTelemetry trace's id for a trace that begins, if it is the first one there.
fn adopt(id: String) -> Option<String> {
    const REMEMBERED: usize = 1024;
    let mut adopted = ADOPTED.try_lock().ok()?;
    if adopted.contains(&id) {
        return None;
    }
    if adopted.len() >= REMEMBERED {
        adopted.pop_front();
    }
    adopted.push_back(id.clone());
    Some(id)
}

impl ScopeOptions {
    /// Options from an object with the names that they have in a language. A number is an id all the same; what is of
    /// another type than it should be counts as not given.
    pub fn read(fields: &mut Fields) -> Self {
        let followed = fields.take("headers").map(|headers| propagate::follow(header_lines(&headers)));
        let base = followed.unwrap_or_default();
        let given = Self::given(fields);
        Self {
            trace_id: given.trace_id.or(base.trace_id),
            parent_id: given.parent_id.or(base.parent_id),
            session_id: given.session_id.or(base.session_id),
            distinct_id: given.distinct_id.or(base.distinct_id),
            privacy: if base.privacy == Some(true) { base.privacy } else { given.privacy },
            continued: base.continued,
            ..given
        }
    }

    fn given(fields: &mut Fields) -> Self {
        Self {
            name: fields.text("name"),
            distinct_id: fields.text("distinct_id"),
            session_id: fields.text("session_id"),
            trace_id: fields.text("trace_id"),
            parent_id: fields.text("parent_id"),
            span_id: fields.text("span_id"),
            started_at: fields.time("timestamp"),
            properties: fields.object("properties").unwrap_or_default(),
            groups: fields.object("groups").unwrap_or_default(),
            privacy: fields.switch("privacy"),
            continued: false,
            otel_trace_id: fields.text("otel_trace_id"),
            span_type: fields.text("type"),
            input: fields.take("input"),
        }
    }

    /// Properties with PostHog's names for what has an option here are taken for that option.
    fn lift_properties(&mut self) {
        if self.properties.is_empty() {
            return;
        }
        let mut fields = Fields::new(Language::Rust, std::mem::take(&mut self.properties));
        for (property, option) in [
            ("$ai_trace_id", &mut self.trace_id),
            ("$ai_session_id", &mut self.session_id),
            ("$ai_parent_id", &mut self.parent_id),
            ("$ai_span_id", &mut self.span_id),
        ] {
            let given = fields.text(property);
            *option = option.take().or(given);
        }
        if let Some(groups) = fields.object("$groups") {
            for (kind, key) in groups {
                self.groups.entry(kind).or_insert(key);
            }
        }
        self.properties = fields.rest();
    }
}

impl Scope {
    /// Opens a scope inside another one, or at the top.
    pub fn open(mut kind: ScopeKind, parent: Option<&Self>, mut options: ScopeOptions) -> Self {
        options.lift_properties();
        let inherited = parent.map(|scope| &*scope.0);
        let mut given = options.trace_id.map(|id| clean_id(&id));
        let outer = || inherited.and_then(|up| up.trace_id.clone());
        if kind == ScopeKind::Trace && given.is_none() {
            match parent.and_then(Self::elsewhere) {
                Some(around) if around.continued => kind = ScopeKind::Span,
                Some(around) if around.unbegun.swap(false, Ordering::AcqRel) => given = around.trace_id.clone(),
                _ => {}
            }
        }
        let otel =
            options.otel_trace_id.filter(|_| given.is_none() && inherited.is_none_or(|up| up.trace_id.is_none()));
        let trace_id = match kind {
            ScopeKind::Trace => Some(given.or_else(|| otel.and_then(adopt)).unwrap_or_else(new_id)),
            ScopeKind::Span => Some(given.or_else(outer).or(otel).unwrap_or_else(new_id)),
            ScopeKind::Session | ScopeKind::Options => given.or_else(outer).or(otel),
        };
        let is_new = inherited.is_none_or(|up| up.trace_id != trace_id);
        let merged = |own: Map<String, Value>, up: Option<&Map<String, Value>>| match up {
            Some(up) if !up.is_empty() => {
                let mut all = up.clone();
                all.extend(own);
                all
            }
            _ => own,
        };
        Self(Arc::new(Inner {
            kind,
            parent: parent.cloned(),
            name: options.name,
            span_type: options.span_type,
            span_id: (kind == ScopeKind::Span).then(|| options.span_id.unwrap_or_else(new_id)),
            under: options.parent_id,
            continued: options.continued,
            unbegun: AtomicBool::new(
                is_new && trace_id.is_some() && matches!(kind, ScopeKind::Session | ScopeKind::Options),
            ),
            trace_id,
            session_id: match (kind, options.session_id) {
                (_, Some(id)) => Some(id),
                (ScopeKind::Session, None) => Some(new_id()),
                (_, None) => inherited.and_then(|up| up.session_id.clone()),
            },
            distinct_id: options.distinct_id.or_else(|| inherited.and_then(|up| up.distinct_id.clone())),
            properties: merged(options.properties, inherited.map(|up| &up.properties)),
            groups: merged(options.groups, inherited.map(|up| &up.groups)),
            privacy: options.privacy.unwrap_or(false) || inherited.is_some_and(|up| up.privacy),
            started_at: options.started_at.unwrap_or_else(SystemTime::now),
            started: Instant::now(),
            process: process::number(),
            ended: AtomicBool::new(false),
            state: Mutex::new(State { input: options.input, ..State::default() }),
        }))
    }

    /// The scope around whatever is opened in here that took a trace over from elsewhere, when no span or trace of ours
    /// lies between.
    fn elsewhere(&self) -> Option<&Inner> {
        let mut scope = self;
        while matches!(scope.0.kind, ScopeKind::Session | ScopeKind::Options) {
            if scope.0.continued || scope.0.unbegun.load(Ordering::Acquire) {
                return Some(&scope.0);
            }
            scope = scope.0.parent.as_ref()?;
        }
        None
    }

    /// Whether it was opened inside of that one, however deep.
    pub fn is_inside(&self, around: &Self) -> bool {
        std::iter::successors(self.0.parent.as_ref(), |scope| scope.0.parent.as_ref())
            .any(|scope| Arc::ptr_eq(&scope.0, &around.0))
    }

    /// What this scope stands for.
    pub fn kind(&self) -> ScopeKind {
        self.0.kind
    }

    /// The name that it was given last.
    pub fn name(&self) -> Option<String> {
        self.with(|state| state.name.clone()).flatten().or_else(|| self.0.name.clone())
    }

    /// The span's type.
    pub fn span_type(&self) -> Option<String> {
        self.with(|state| state.span_type.clone()).flatten().or_else(|| self.0.span_type.clone())
    }

    /// The trace that calls in here belong to; `None` when each call is a trace of its own.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// The session that calls in here belong to.
    pub fn session_id(&self) -> Option<&str> {
        self.0.session_id.as_deref()
    }

    /// The person or machine that calls in here are for.
    pub fn distinct_id(&self) -> Option<&str> {
        self.0.distinct_id.as_deref()
    }

    /// The span's own id; `None` for other kinds.
    pub fn span_id(&self) -> Option<&str> {
        self.0.span_id.as_deref()
    }

    /// The parent id of a call or span made inside this scope: the nearest span, else the trace when one is open
    /// here, for a parent that is never sent would hide its children.
    pub fn parent_id_for_children(&self) -> Option<&str> {
        let mut scope = self;
        loop {
            match scope.0.kind {
                ScopeKind::Span => return scope.span_id(),
                ScopeKind::Trace => return scope.trace_id(),
                ScopeKind::Session | ScopeKind::Options => {
                    if scope.0.under.is_some() {
                        return scope.0.under.as_deref();
                    }
                    scope = scope.around_in_trace()?;
                }
            }
        }
    }

    /// The parent id of this scope's own event; `None` at the top and for a trace.
    pub fn parent_id(&self) -> Option<&str> {
        match self.0.kind {
            ScopeKind::Trace => None,
            _ if self.0.under.is_some() => self.0.under.as_deref(),
            _ => self.around_in_trace()?.parent_id_for_children(),
        }
    }

    /// The scope around this one, when both are of the same trace: a parent in another trace is none.
    fn around_in_trace(&self) -> Option<&Self> {
        self.0.parent.as_ref().filter(|around| around.trace_id() == self.trace_id())
    }

    /// Properties for every event inside, outer scopes' included.
    pub fn properties(&self) -> &Map<String, Value> {
        &self.0.properties
    }

    /// Groups for every event inside, outer scopes' included.
    pub fn groups(&self) -> &Map<String, Value> {
        &self.0.groups
    }

    /// Whether content is hidden in here.
    pub fn privacy(&self) -> bool {
        self.0.privacy
    }

    /// When it began, by the wall clock.
    pub fn started_at(&self) -> SystemTime {
        self.0.started_at
    }

    /// How long it has been open, by a clock that never jumps.
    pub fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Gives it another name.
    pub fn set_name(&self, name: impl Into<String>) {
        self.with(|state| state.name = Some(name.into()));
    }

    /// Gives a span another type.
    pub fn set_type(&self, kind: impl Into<String>) {
        self.with(|state| state.span_type = Some(kind.into()));
    }

    /// Sets what went in.
    pub fn set_input(&self, input: Value) {
        self.with(|state| state.input = Some(input));
    }

    /// Sets what came out.
    pub fn set_output(&self, output: Value) {
        self.with(|state| state.output = Some(output));
    }

    /// Marks it as failed: a type and a message.
    pub fn set_error(&self, kind: impl Into<String>, message: impl Into<String>) {
        self.with(|state| state.error = Some((kind.into(), message.into())));
    }

    /// Adds properties to this scope's own event.
    pub fn set_properties(&self, properties: Map<String, Value>) {
        self.with(|state| state.properties.extend(properties));
    }

    /// What calls inside used and cost, as far as they have been decoded.
    pub fn totals(&self) -> Totals {
        self.with(|state| state.totals).unwrap_or_default()
    }

    /// Adds one call to this scope and to every scope around it.
    pub(crate) fn add(&self, usage: &Usage, cost: Option<Amount>) {
        let mut scope = Some(self);
        while let Some(here) = scope {
            here.with(|state| state.totals.add(usage, cost));
            scope = here.0.parent.as_ref();
        }
    }

    pub(crate) fn weak(&self) -> WeakScope {
        WeakScope(Arc::downgrade(&self.0))
    }

    /// What tells it from all other scopes while it lives.
    pub(crate) fn place(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// The first caller gets true: an event for this scope is due. In a forked child it never is: the scope is the
    /// parent's to end.
    pub(crate) fn end_once(&self) -> bool {
        self.0.process == process::number() && !self.0.ended.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn input(&self) -> Option<Value> {
        self.with(|state| state.input.clone()).flatten()
    }

    pub(crate) fn output(&self) -> Option<Value> {
        self.with(|state| state.output.clone()).flatten()
    }

    pub(crate) fn error(&self) -> Option<(String, String)> {
        self.with(|state| state.error.clone()).flatten()
    }

    pub(crate) fn own_properties(&self) -> Map<String, Value> {
        self.with(|state| state.properties.clone()).unwrap_or_default()
    }

    /// The scope's changing part, unless it cannot be had. It is never held for long.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> Option<R> {
        patient::lock(&self.0.state).map(|mut state| work(&mut state))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("kind", &self.0.kind)
            .field("name", &self.0.name)
            .field("session_id", &self.0.session_id)
            .field("trace_id", &self.0.trace_id)
            .field("span_id", &self.0.span_id)
            .finish_non_exhaustive()
    }
}

impl Totals {
    /// What the calls cost in US dollars: the sum of the known costs; `None` when there were calls and none is known.
    pub fn cost_usd(&self) -> Option<f64> {
        (self.calls == 0 || self.unpriced < self.calls).then(|| self.cost.to_f64())
    }

    pub(crate) fn add(&mut self, usage: &Usage, cost: Option<Amount>) {
        self.calls += 1;
        self.usage.add(usage);
        match cost {
            Some(cost) => self.cost = self.cost.saturating_add(cost),
            None => self.unpriced += 1,
        }
    }
}

/// A fresh id: a UUID v7, so that ids sort by time.
pub(crate) fn new_id() -> String {
    process::fresh_id(SystemTime::now()).to_string()
}

/// An id with only the characters that PostHog takes in a trace id.
pub(crate) fn clean_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_~.@()!':|".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_only_what_will_be_sent() {
        let session = Scope::open(ScopeKind::Session, None, ScopeOptions::default());
        assert_eq!(session.trace_id(), None);
        assert_eq!(session.parent_id_for_children(), None);
        let trace = Scope::open(ScopeKind::Trace, Some(&session), ScopeOptions::default());
        assert_eq!(trace.session_id(), session.session_id());
        assert_eq!(trace.parent_id(), None);
        let options = Scope::open(ScopeKind::Options, Some(&trace), ScopeOptions::default());
        assert_eq!(options.parent_id_for_children(), trace.trace_id());
        let span = Scope::open(ScopeKind::Span, Some(&options), ScopeOptions::default());
        assert_eq!(span.parent_id(), trace.trace_id());
        assert_eq!(span.parent_id_for_children(), span.span_id());
        assert_eq!(span.trace_id(), trace.trace_id());
    }

    #[test]
    fn a_span_outside_a_trace_starts_one_without_a_parent() {
        let span = Scope::open(ScopeKind::Span, None, ScopeOptions::default());
        assert!(span.trace_id().is_some());
        assert_eq!(span.parent_id(), None);
    }

    #[test]
    fn a_parent_is_of_the_same_trace() {
        let trace = Scope::open(ScopeKind::Trace, None, ScopeOptions::default());
        let other = ScopeOptions { trace_id: Some("other".into()), ..ScopeOptions::default() };
        let options = Scope::open(ScopeKind::Options, Some(&trace), other.clone());
        assert_eq!((options.trace_id(), options.parent_id_for_children()), (Some("other"), None));
        let span = Scope::open(ScopeKind::Span, Some(&trace), other);
        assert_eq!((span.trace_id(), span.parent_id()), (Some("other"), None));
        let named = ScopeOptions { parent_id: Some("p".into()), ..ScopeOptions::default() };
        let span = Scope::open(ScopeKind::Span, Some(&trace), named.clone());
        assert_eq!((span.trace_id(), span.parent_id()), (trace.trace_id(), Some("p")));
        let options = Scope::open(ScopeKind::Options, Some(&trace), named);
        assert_eq!(options.parent_id_for_children(), Some("p"));
    }

    #[test]
    fn properties_with_posthogs_names_are_options() {
        let Value::Object(properties) = serde_json::json!({
            "$ai_trace_id": "t 1", "$ai_session_id": 7, "$ai_parent_id": "p", "$groups": {"company": "a"}, "plan": "pro"
        }) else {
            return;
        };
        let scope = Scope::open(ScopeKind::Options, None, ScopeOptions { properties, ..ScopeOptions::default() });
        assert_eq!((scope.trace_id(), scope.session_id()), (Some("t_1"), Some("7")));
        assert_eq!(scope.parent_id_for_children(), Some("p"));
        assert_eq!(scope.groups()["company"], "a");
        assert_eq!(scope.properties().keys().collect::<Vec<_>>(), ["plan"]);
    }

    #[test]
    fn privacy_tightens_and_never_loosens() {
        let options = |privacy| ScopeOptions { privacy, ..ScopeOptions::default() };
        let outer = Scope::open(ScopeKind::Options, None, options(Some(true)));
        let inner = Scope::open(ScopeKind::Options, Some(&outer), options(Some(false)));
        assert!(inner.privacy());
    }

    #[test]
    fn ids_keep_only_what_posthog_takes() {
        assert_eq!(clean_id("a b/c#é-1.x"), "a_b_c__-1.x");
    }
}
