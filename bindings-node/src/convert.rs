//! Values between the two worlds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use napi::Error;
use serde_json::{Map, Value};

/// A result whose error carries a code to JavaScript.
pub(crate) type Result<T> = std::result::Result<T, Error<&'static str>>;

/// The core's error with its code.
pub(crate) fn coded(error: &llmtrail::Error) -> Error<&'static str> {
    Error::new(error.kind().code(), error.to_string())
}

/// An error for an argument that is not what it should be.
pub(crate) fn usage(message: impl Into<String>) -> Error<&'static str> {
    coded(&llmtrail::Error::new(llmtrail::ErrorKind::Usage, message))
}

/// Milliseconds; what is negative or no number is no time at all, what is endless is a very long time.
pub(crate) fn millis(ms: f64) -> Duration {
    const LONG: f64 = 1e12;
    Duration::try_from_secs_f64(ms.clamp(0.0, LONG) / 1e3).unwrap_or_default()
}

/// A time in milliseconds since 1970, to the microsecond: a double holds no more, and cutting it off loses a millisecond.
pub(crate) fn time(ms: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(ms / 1e3).ok()?;
    let micros = u64::try_from((since.as_nanos() + 500) / 1000).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}

/// A count as a JavaScript number.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Names and values that take turns, a line each: no header's value has a line break in it.
pub(crate) fn pairs(lines: &str) -> Vec<(String, String)> {
    let mut lines = lines.split('\n').map(str::to_owned);
    std::iter::from_fn(|| Some((lines.next()?, lines.next()?))).collect()
}

/// JSON from TypeScript's encoder, which only makes valid texts.
pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| usage(format!("not valid JSON: {error}")))
}

/// The same, for an object; anything else counts as an empty one.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>> {
    Ok(match json(text)? {
        Value::Object(members) => members,
        _ => Map::new(),
    })
}
