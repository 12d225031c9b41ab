//! Hooks of the application's, run on the event loop: this is where it gets its work.

use bytes::Bytes;
use llmtrail::{HookDesk, HookSet, HookWork, Language, Verdict};
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use serde_json::json;

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

/// The hooks that there are, by their names.
pub(crate) fn which(names: &[String]) -> HookSet {
    let there = |name: &str| names.iter().any(|known| known == name);
    HookSet {
        before_send: there("beforeSend"),
        on_error: there("onError"),
        on_generation: there("onGeneration"),
        redact: there("redact"),
    }
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

    /// Texts with their paths and events, by number, calls, and trouble as code and sentence, as JSON; after waiting so many milliseconds for it with
    /// nothing, or when there will never be any more, `null`.
    #[napi]
    pub fn hook_take(&self, wait: f64) -> Option<String> {
        let HookWork { texts, events, generations, notices } = self.desk()?.take(millis(wait))?;
        if texts.is_empty() && events.is_empty() && generations.is_empty() && notices.is_empty() {
            return None;
        }
        let encoded = events.iter().filter_map(|(number, json)| Some((number, std::str::from_utf8(json).ok()?)));
        let events: Vec<String> = encoded.map(|(number, json)| format!("[{number},{json}]")).collect();
        let notices: Vec<[&str; 2]> = notices.iter().map(|notice| [notice.code, notice.message.as_str()]).collect();
        let pairs = |texts: &[llmtrail::event::Text]| -> Vec<[String; 2]> {
            texts.iter().map(|text| [text.text.clone(), text.path.clone()]).collect()
        };
        let texts: Vec<_> = texts.iter().map(|(number, texts)| json!([number, pairs(texts)])).collect();
        let calls: Vec<_> = generations.iter().map(|call| call.to_json(Language::Node)).collect();
        let rest = json!({"texts": texts, "generations": calls, "notices": notices}).to_string();
        Some(format!("{{\"events\":[{}],{}", events.join(","), &rest[1..]))
    }

    /// These texts (a JSON array) stand in the place of those that were asked about; null: `redact` failed on it.
    #[napi]
    pub fn hook_redacted(&self, event: f64, texts: String, why: Option<String>) {
        // A list that cannot be read withholds all of them.
        let texts = serde_json::from_str(&texts).unwrap_or_default();
        self.give(event, Verdict::Texts(texts, why));
    }

    /// So many calls were told of; on `failed` of them the hook failed.
    #[napi]
    pub fn hook_told(&self, count: f64, failed: f64) {
        if let Some(desk) = self.desk() {
            desk.told(number(count), number(failed));
        }
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
