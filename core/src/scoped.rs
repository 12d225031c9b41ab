//! Scopes in Rust code: carried by the task, opened by name, closed at the end of a future or a closure.

use std::fmt::Display;
use std::future::Future;
use std::ops::Deref;

use serde_json::Value;

use crate::client::Client;
use crate::context::{self, Scope, ScopeKind, ScopeOptions};
use crate::propagate;

/// A scope that is about to be opened: [`Client::trace`] and its companions make one.
#[derive(Debug, Clone)]
#[must_use = "a scope does something only when code runs in it"]
pub struct ScopeBuilder {
    client: Client,
    kind: ScopeKind,
    options: ScopeOptions,
    parent: Option<Scope>,
}

impl Client {
    /// Everything done for one request.
    pub fn trace(&self, name: impl Into<String>) -> ScopeBuilder {
        self.builder(ScopeKind::Trace, Some(name.into()))
    }

    /// One operation inside a trace.
    pub fn span(&self, name: impl Into<String>) -> ScopeBuilder {
        self.builder(ScopeKind::Span, Some(name.into()))
    }

    /// A conversation: groups the traces inside.
    pub fn session(&self, id: impl Into<String>) -> ScopeBuilder {
        self.builder(ScopeKind::Session, None).session_id(id)
    }

    /// Options for the calls inside, without an event of its own.
    pub fn options(&self) -> ScopeBuilder {
        self.builder(ScopeKind::Options, None)
    }

    fn builder(&self, kind: ScopeKind, name: Option<String>) -> ScopeBuilder {
        let options = ScopeOptions { name, ..ScopeOptions::default() };
        ScopeBuilder { client: self.clone(), kind, options, parent: None }
    }

    /// The headers that carry the current scope to another process: `traceparent` and `baggage`.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        propagate::headers(context::current().as_ref())
    }

    /// The scope that headers from another process speak of. Only from those whose word counts: they name the person.
    pub fn continue_from<'a>(&self, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> ScopeBuilder {
        ScopeBuilder {
            client: self.clone(),
            kind: ScopeKind::Options,
            options: propagate::follow(headers),
            parent: None,
        }
    }
}

impl ScopeBuilder {
    /// The person or machine that the calls inside are for.
    pub fn distinct_id(mut self, id: impl Into<String>) -> Self {
        self.options.distinct_id = Some(id.into());
        self
    }

    /// The session's id.
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.options.session_id = Some(id.into());
        self
    }

    /// The trace's id, when it is known from elsewhere.
    pub fn trace_id(mut self, id: impl Into<String>) -> Self {
        self.options.trace_id = Some(id.into());
        self
    }

    /// A property for every event inside.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.properties.insert(name.into(), value.into());
        self
    }

    /// A PostHog group for every event inside.
    pub fn group(mut self, kind: impl Into<String>, key: impl Into<Value>) -> Self {
        self.options.groups.insert(kind.into(), key.into());
        self
    }

    /// Hides content inside. False changes nothing: privacy only tightens.
    pub fn privacy(mut self, hide: bool) -> Self {
        self.options.privacy = Some(hide);
        self
    }

    /// A span's type: `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free text.
    pub fn span_type(mut self, kind: impl Into<String>) -> Self {
        self.options.span_type = Some(kind.into());
        self
    }

    /// What goes in.
    pub fn input(mut self, input: impl Into<Value>) -> Self {
        self.options.input = Some(input.into());
        self
    }

    /// The scope that it is to be in, when that is not the current one.
    pub fn inside(mut self, scope: &Scope) -> Self {
        self.parent = Some(scope.clone());
        self
    }

    /// The span that it belongs below, when it is known from elsewhere.
    pub fn parent_id(mut self, id: impl Into<String>) -> Self {
        self.options.parent_id = Some(id.into());
        self
    }

    /// The OpenTelemetry trace that is active: its id is taken over where a trace begins here.
    pub fn otel_trace_id(mut self, id: impl Into<String>) -> Self {
        self.options.otel_trace_id = Some(id.into());
        self
    }

    /// Opens the scope without entering it. The caller ends it with [`Client::close`].
    pub fn open(self) -> Scope {
        let parent = self.parent.or_else(context::current);
        self.client.open(self.kind, parent.as_ref(), self.options)
    }

    /// Opens the scope without entering it. It ends when the guard is dropped; what is to be inside of it goes through
    /// the guard.
    pub fn start(self) -> Guard {
        Guard(self.ending())
    }

    /// Runs a future in the scope. The scope ends with it, also when it is dropped before its end: that is an error of the
    /// type `cancelled`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        let mut ending = self.ending();
        ending.under_way = true;
        let output = context::CURRENT.scope(ending.scope.clone(), future).await;
        ending.under_way = false;
        output
    }

    fn ending(self) -> Ending {
        let client = self.client.clone();
        Ending { scope: self.open(), client, under_way: false }
    }

    /// As [`scope`](Self::scope), for a future that may fail: an error is put on the scope's event and goes on unchanged.
    ///
    /// # Errors
    /// The future's own.
    pub async fn try_scope<F, T, E>(self, future: F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: Display,
    {
        self.scope(async {
            let result = future.await;
            if let (Err(error), Some(scope)) = (&result, context::current()) {
                scope.set_error(std::any::type_name::<E>(), error.to_string());
            }
            result
        })
        .await
    }

    /// Runs a closure in the scope. A panic ends it too, as an error of the type `panic`.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let ending = self.ending();
        context::CURRENT.sync_scope(ending.scope.clone(), work)
    }
}

/// An open scope that ends when this is dropped.
#[derive(Debug)]
#[must_use = "the scope ends when its guard is dropped"]
pub struct Guard(Ending);

impl Guard {
    /// Runs a future in the scope, which goes on after it.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        context::CURRENT.scope(self.0.scope.clone(), future).await
    }

    /// Runs a closure in the scope, which goes on after it.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        context::CURRENT.sync_scope(self.0.scope.clone(), work)
    }

    /// A span inside of it.
    pub fn span(&self, name: impl Into<String>) -> ScopeBuilder {
        self.0.client.span(name).inside(&self.0.scope)
    }

    /// Marks it as failed.
    pub fn fail<E: Display>(&self, error: &E) {
        self.0.scope.set_error(std::any::type_name::<E>(), error.to_string());
    }

    /// Ends it now.
    pub fn end(self) {}
}

impl Deref for Guard {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.0.scope
    }
}

/// Binds a future to the current scope: for `tokio::spawn`, whose tasks know nothing of it.
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let scope = context::current();
    async move {
        match scope {
            Some(scope) => context::CURRENT.scope(scope, future).await,
            None => future.await,
        }
    }
}

/// Ends a scope whatever happens to what runs in it.
#[derive(Debug)]
struct Ending {
    client: Client,
    scope: Scope,
    /// A future that has not come to its end.
    under_way: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.scope.set_error("panic", "panicked");
        } else if self.under_way {
            self.scope.set_error("cancelled", "dropped before its end");
        }
        self.client.close(&self.scope);
    }
}
