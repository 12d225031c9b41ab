//! Scopes, as JavaScript sees them.

use llmtrail::{Fields, Language, ScopeKind};
use napi_derive::napi;

use crate::convert::{self, Result, usage};

/// A session, trace, span or set of options that calls are made in.
#[napi(js_name = "NativeScope")]
pub struct Scope(pub(crate) llmtrail::Scope);

#[napi]
impl Scope {
    /// The name that it was given.
    #[napi(getter)]
    pub fn name(&self) -> Option<String> {
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

    /// Gives it another name.
    #[napi]
    pub fn set_name(&self, name: String) {
        self.0.set_name(name);
    }

    /// Gives a span another type.
    #[napi]
    pub fn set_type(&self, kind: String) {
        self.0.set_type(kind);
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

/// The members of a JSON object with the names that they have in JavaScript.
pub(crate) fn fields(json: &str) -> Result<Fields> {
    Ok(Fields::new(Language::Node, convert::object(json)?))
}

/// The same, of an object that was packed into the beginning of some memory.
pub(crate) fn told(memory: &[u8], length: u32) -> Result<Fields> {
    Fields::packed(Language::Node, packed(memory, length)).ok_or_else(|| usage("what was told is not packed"))
}

/// What was packed into the beginning of some memory.
pub(crate) fn packed(memory: &[u8], length: u32) -> &[u8] {
    memory.get(..length as usize).unwrap_or_default()
}
