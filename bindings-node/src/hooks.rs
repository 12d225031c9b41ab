//! Hooks of the application's, run on the event loop: this is where it gets its work.

use bytes::Bytes;
use llmtrail::{HookDesk, HookWork, Verdict};
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;

use crate::client::NativeClient;
use crate::convert::{Result, millis, usage};

/// How the event loop is told that there is work: from any thread, once at a time, and without keeping the process alive.
pub(crate) fn bell(ring: &Function<'_, (), ()>) -> Result<impl Fn() + Send + Sync + 'static + use<>> {
    let built = ring.build_threadsafe_function::<()>().weak::<true>().callee_handled::<false>().max_queue_size::<1>();
    let ring = built.build().map_err(|error| usage(error.reason.clone()))?;
    Ok(move || {
        // A bell that rings already is full, and one whose environment is gone is closed: neither is trouble.
        let _ = ring.call((), ThreadsafeFunctionCallMode::NonBlocking);
    })
}

fn number(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number that was handed out")]
    let number = number as u64;
    number
}

#[napi]
impl NativeClient {
    fn desk(&self) -> Option<HookDesk> {
        self.0.hooks()
    }

    /// Events by number, and trouble as code and sentence, as JSON; after waiting so many milliseconds for it with
    /// nothing, or when there will never be any more, `null`.
    #[napi]
    pub fn hook_take(&self, wait: f64) -> Option<String> {
        let HookWork { events, notices } = self.desk()?.take(millis(wait))?;
        if events.is_empty() && notices.is_empty() {
            return None;
        }
        let texts = events.iter().filter_map(|(number, json)| Some((number, std::str::from_utf8(json).ok()?)));
        let events: Vec<String> = texts.map(|(number, json)| format!("[{number},{json}]")).collect();
        let notices: Vec<[&str; 2]> = notices.iter().map(|notice| [notice.code, notice.message.as_str()]).collect();
        let notices = serde_json::json!(notices);
        Some(format!("{{\"events\":[{}],\"notices\":{notices}}}", events.join(",")))
    }

    /// The event goes on, as this JSON.
    #[napi]
    pub fn hook_send(&self, event: f64, json: String) {
        self.give(event, Verdict::Send(Bytes::from(json)));
    }

    /// The event is not to be sent.
    #[napi]
    pub fn hook_drop(&self, event: f64) {
        self.give(event, Verdict::Drop);
    }

    /// The hook failed.
    #[napi]
    pub fn hook_fail(&self, event: f64, why: String) {
        self.give(event, Verdict::Failed(why));
    }

    fn give(&self, event: f64, verdict: Verdict) {
        if let Some(desk) = self.desk() {
            desk.give([(number(event), verdict)]);
        }
    }
}
