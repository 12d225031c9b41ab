//! What went wrong, in the provider's words where there are any.

use serde_json::Value;

use super::call::CallError;
use super::json;
use super::parse;

pub(super) fn is_error(error: &Value) -> bool {
    match error {
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => false,
    }
}

/// An error object (or text) of a provider.
pub(crate) fn provider_error(error: &Value) -> CallError {
    let name = |value: Option<&Value>| match value {
        Some(Value::String(name)) if !name.is_empty() => Some(name.clone()),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let message = match error {
        Value::String(text) => text.clone(),
        other => json::text(other.get("message")).unwrap_or_else(|| other.to_string()),
    };
    // An event of the Responses stream carries its own type beside the code.
    let kind = name(error.get("type").filter(|kind| *kind != "error"));
    let kind = kind.or_else(|| json::text(error.get("status")).filter(|status| is_google_status(status)));
    CallError { kind: kind.or_else(|| name(error.get("code"))), message }
}

/// Google names its errors like `RESOURCE_EXHAUSTED`; others call other things a status.
fn is_google_status(status: &str) -> bool {
    status.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

pub(super) fn http_error(status: u16, body: &[u8]) -> CallError {
    let Some(parsed) = parse(body).filter(|body| body.is_object() || body.is_array()) else {
        return CallError { kind: None, message: excerpt(status, body) };
    };
    // Some gateways send a list with one object.
    let object = parsed.get(0).unwrap_or(&parsed);
    let flat = object.get("message").is_some_and(Value::is_string);
    match object.get("error").filter(|error| is_error(error)) {
        // `{"error": "text", "message": ...}` and `{"error": "text"}` are both in use.
        Some(error) if !(flat && error.is_string()) => provider_error(error),
        _ if flat => provider_error(object),
        _ => match json::text(object.get("detail")) {
            Some(detail) => CallError { message: detail, ..provider_error(object) },
            None => CallError { kind: None, message: excerpt(status, body) },
        },
    }
}

/// The beginning of a body that says what went wrong in no known form.
fn excerpt(status: u16, body: &[u8]) -> String {
    const MOST: usize = 1000;
    let text = String::from_utf8_lossy(&body[..body.len().min(MOST * 4)]).trim().chars().take(MOST).collect::<String>();
    if text.is_empty() { format!("HTTP {status}") } else { text }
}
