//! Scopes in Rust code: carried by the task, opened by name, closed at the end of a future or a closure.

use std::fmt::Display;
use std::future::Future;

use serde_json::Value;

use crate::client::Client;
use crate::context::{self, Scope, ScopeKind, ScopeOptions};

/// A scope that is about to be opened: [`Client::trace`] and its companions make one.
#[derive(Debug, Clone)]
#[must_use = "a scope does something only when code runs in it"]
pub struct ScopeBuilder {
    client: Client,
    kind: ScopeKind,
    options: ScopeOptions,
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
        ScopeBuilder { client: self.clone(), kind, options: ScopeOptions { name, ..ScopeOptions::default() } }
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

    /// Opens the scope inside the current one without entering it. The caller ends it with [`Client::close`].
    pub fn open(self) -> Scope {
        self.client.open(self.kind, context::current().as_ref(), self.options)
    }

    /// Runs a future in the scope. The scope ends with it, also when it is dropped before its end.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        let client = self.client.clone();
        let ending = Ending { scope: self.open(), client };
        context::CURRENT.scope(ending.scope.clone(), future).await
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

    /// Runs a closure in the scope.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let client = self.client.clone();
        let ending = Ending { scope: self.open(), client };
        context::CURRENT.sync_scope(ending.scope.clone(), work)
    }
}

/// Ends a scope whatever happens to what runs in it.
struct Ending {
    client: Client,
    scope: Scope,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.scope.set_error("panic", "panicked");
        }
        self.client.close(&self.scope);
    }
}
