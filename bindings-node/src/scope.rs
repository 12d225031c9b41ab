//! Scopes, as JavaScript sees them.

use llmtrail::{ScopeKind, ScopeOptions};
use napi_derive::napi;
use serde_json::Value;

use crate::convert::{self, Result};

/// A session, trace, span or set of options that calls are made in.
#[napi(js_name = "NativeScope")]
pub struct Scope(pub(crate) llmtrail::Scope);

#[napi]
impl Scope {
    /// The name that it was given.
    #[napi(getter)]
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// The trace that calls in here belong to.
    #[napi(getter)]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id()
    }

    /// The span's own id.
    #[napi(getter)]
    pub fn span_id(&self) -> Option<&str> {
        self.0.span_id()
    }

    /// The session that calls in here belong to.
    #[napi(getter)]
    pub fn session_id(&self) -> Option<&str> {
        self.0.session_id()
    }

    /// Who calls in here are for.
    #[napi(getter)]
    pub fn distinct_id(&self) -> Option<&str> {
        self.0.distinct_id()
    }

    /// Sets what went in.
    #[napi]
    pub fn set_input(&self, json: String) -> Result<()> {
        self.0.set_input(convert::json(&json)?);
        Ok(())
    }

    /// Sets what came out.
    #[napi]
    pub fn set_output(&self, json: String) -> Result<()> {
        self.0.set_output(convert::json(&json)?);
        Ok(())
    }

    /// Marks it as failed.
    #[napi]
    pub fn set_error(&self, kind: String, message: String) {
        self.0.set_error(kind, message);
    }

    /// Adds properties to its own event.
    #[napi]
    pub fn set_properties(&self, json: String) -> Result<()> {
        self.0.set_properties(convert::object(&json)?);
        Ok(())
    }
}

/// A scope's kind by its name.
pub(crate) fn kind(name: &str) -> Option<ScopeKind> {
    Some(match name {
        "session" => ScopeKind::Session,
        "trace" => ScopeKind::Trace,
        "span" => ScopeKind::Span,
        "options" => ScopeKind::Options,
        _ => return None,
    })
}

/// A scope's options from a JSON object with the names that they have in JavaScript.
pub(crate) fn options(json: &str) -> Result<ScopeOptions> {
    let mut given = convert::object(json)?;
    let mut text = |name: &str| match given.remove(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        // An id that is a number is an id all the same.
        Some(other) => Some(other.to_string()),
    };
    let mut options = ScopeOptions {
        name: text("name"),
        distinct_id: text("distinctId"),
        session_id: text("sessionId"),
        trace_id: text("traceId"),
        span_type: text("type"),
        ..ScopeOptions::default()
    };
    options.privacy = given.get("privacy").and_then(Value::as_bool);
    options.input = given.remove("input");
    for (name, into) in [("properties", &mut options.properties), ("groups", &mut options.groups)] {
        if let Some(Value::Object(members)) = given.remove(name) {
            *into = members;
        }
    }
    Ok(options)
}
