//! The application's own word on each event (`before_send`) and on trouble (`on_error`).
//!
//! Hooks run outside of the worker, for they may be slow, block, or belong to a language whose threads the worker must
//! not wait for. Between the two is a desk: the worker puts events on it and takes verdicts from it; whoever runs the
//! hooks takes the events and gives the verdicts. That is a thread here for functions in Rust, a thread of Python's, and
//! Node's event loop.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::event::{Event, WireEvent};

/// Events that are handed out at once.
const MOST_AT_ONCE: usize = 100;
/// Notices that wait to be taken; more of them nobody reads.
const MOST_NOTICES: usize = 64;
/// Notices of one code come no closer together than this.
const PAUSE: Duration = Duration::from_secs(1);

/// Trouble that is worth a warning, as `on_error` gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about: `unreachable`, `denied`, `rejecting`, `rejected`, `too_big`, `overflow`, `spool`, `expired`,
    /// `corrupt`, `hook`, `panic` or `shutdown`.
    pub code: &'static str,
    /// A sentence. It names no key.
    pub message: String,
}

/// What a hook made of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, as this JSON object. Its `uuid` and `timestamp` stay what they were.
    Send(Bytes),
    /// It is not to be sent.
    Drop,
    /// The hook failed, for this reason. The event is not sent either: perhaps the hook was to take something out.
    Failed(String),
}

/// What there is to be done for whoever runs hooks.
#[derive(Debug, Default)]
pub struct HookWork {
    /// Events by the number that their verdict is to bear, as JSON.
    pub events: Vec<(u64, Bytes)>,
    /// Trouble.
    pub notices: Vec<Notice>,
}

type BeforeSend = dyn Fn(Event) -> Option<Event> + Send + Sync;
type OnError = dyn Fn(&Notice) + Send + Sync;

/// The hooks of a configuration.
#[derive(Clone, Default)]
pub struct Hooks {
    pub(crate) before_send: Option<Arc<BeforeSend>>,
    pub(crate) on_error: Option<Arc<OnError>>,
    /// Hooks that somebody else runs: which there are, and how that one is told that there is work.
    pub(crate) elsewhere: Option<Elsewhere>,
}

#[derive(Clone)]
pub(crate) struct Elsewhere {
    pub(crate) before_send: bool,
    pub(crate) on_error: bool,
    pub(crate) ring: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (events, notices) = (self.see_events(), self.hear_notices());
        f.debug_struct("Hooks").field("before_send", &events).field("on_error", &notices).finish()
    }
}

impl Hooks {
    fn see_events(&self) -> bool {
        self.before_send.is_some() || self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.before_send)
    }

    fn hear_notices(&self) -> bool {
        self.on_error.is_some() || self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.on_error)
    }
}

/// Where events wait for their verdicts. One for a delivery; cheap to clone.
#[derive(Clone)]
pub struct HookDesk(Arc<Inner>);

struct Inner {
    hooks: Hooks,
    state: Mutex<State>,
    /// Told when there is work, and at the end.
    changed: Condvar,
    /// Wakes the worker.
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    serial: u64,
    waiting: VecDeque<(u64, Bytes)>,
    verdicts: Vec<(u64, Verdict)>,
    notices: VecDeque<Notice>,
    said: HashMap<&'static str, Instant>,
    /// The thread that runs functions in Rust is there.
    served: bool,
    over: bool,
}

impl HookDesk {
    /// The desk of a delivery, if it has hooks.
    pub(crate) fn new(hooks: &Hooks, wake: &Arc<Notify>) -> Option<Self> {
        let inner =
            || Inner { hooks: hooks.clone(), state: Mutex::default(), changed: Condvar::new(), wake: Arc::clone(wake) };
        (hooks.see_events() || hooks.hear_notices()).then(|| Self(Arc::new(inner())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether events need a verdict.
    pub(crate) fn sees_events(&self) -> bool {
        self.0.hooks.see_events()
    }

    /// Puts an event on the desk; says its number.
    pub(crate) fn put(&self, event: &WireEvent) -> u64 {
        let mut state = self.state();
        state.serial += 1;
        let number = state.serial;
        state.waiting.push_back((number, event.json.clone()));
        number
    }

    /// Tells of trouble, unless the same was told a moment ago.
    pub(crate) fn notice(&self, code: &'static str, message: &str) {
        if !self.0.hooks.hear_notices() {
            return;
        }
        let now = Instant::now();
        let mut state = self.state();
        if state.said.get(code).is_some_and(|said| now.duration_since(*said) < PAUSE)
            || state.notices.len() >= MOST_NOTICES
        {
            return;
        }
        state.said.insert(code, now);
        state.notices.push_back(Notice { code, message: message.to_owned() });
        drop(state);
        self.ring();
    }

    /// Has the hooks run on what is on the desk.
    pub(crate) fn ring(&self) {
        self.0.changed.notify_all();
        match &self.0.hooks.elsewhere {
            Some(elsewhere) => {
                let _ = catch_unwind(AssertUnwindSafe(|| (elsewhere.ring)()));
            }
            None => self.serve(),
        }
    }

    /// Starts the thread that runs functions in Rust, unless it is there.
    fn serve(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut state.served, true) {
            return;
        }
        drop(state);
        let desk = self.clone();
        // Never joined: a hook may be in the middle of something that takes long.
        let started = std::thread::Builder::new().name("llmtrail-hook".to_owned()).spawn(move || desk.live());
        // Tried again with the next event.
        self.state().served = started.is_ok();
    }

    fn live(&self) {
        const LONG: Duration = Duration::from_secs(3600);
        while let Some(HookWork { events, notices }) = self.take(LONG) {
            for notice in notices {
                if let Some(on_error) = &self.0.hooks.on_error {
                    let _ = catch_unwind(AssertUnwindSafe(|| on_error(&notice)));
                }
            }
            for (number, json) in events {
                self.give([(number, self.judge(json))]);
            }
        }
    }

    fn judge(&self, json: Bytes) -> Verdict {
        let Some(before_send) = &self.0.hooks.before_send else { return Verdict::Send(json) };
        let Some(event) = Event::decode(&json) else {
            return Verdict::Failed("the event cannot be read: a bug of llmtrail's".to_owned());
        };
        match catch_unwind(AssertUnwindSafe(|| before_send(event))) {
            Ok(Some(event)) => Verdict::Send(event.encode().json),
            Ok(None) => Verdict::Drop,
            Err(_) => Verdict::Failed("it panicked".to_owned()),
        }
    }

    /// What there is to be done, after waiting for it for so long at most: perhaps nothing. `None`: there will never be
    /// any more.
    pub fn take(&self, timeout: Duration) -> Option<HookWork> {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.state();
        loop {
            let count = state.waiting.len().min(MOST_AT_ONCE);
            if count > 0 || !state.notices.is_empty() {
                let events = state.waiting.drain(..count).collect();
                return Some(HookWork { events, notices: state.notices.drain(..).collect() });
            }
            if state.over {
                return None;
            }
            let left = until.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Some(HookWork::default());
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives verdicts.
    pub fn give(&self, verdicts: impl IntoIterator<Item = (u64, Verdict)>) {
        self.state().verdicts.extend(verdicts);
        self.0.wake.notify_one();
    }

    /// The verdicts that were given since this was asked last.
    pub(crate) fn verdicts(&self) -> Vec<(u64, Verdict)> {
        std::mem::take(&mut self.state().verdicts)
    }

    /// Nothing more comes. What still waits for a verdict is gone; what is to be told still is.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.over = true;
        drop(state);
        self.ring();
    }
}

/// The event that a hook gave back in place of another one.
pub(crate) fn revised(original: &WireEvent, json: &[u8]) -> Result<WireEvent, String> {
    if json == &original.json[..] {
        return Ok(original.clone());
    }
    let wrong = |what: &str| format!("it gave back an event {what}");
    let Ok(Value::Object(mut given)) = serde_json::from_slice::<Value>(json) else {
        return Err("it gave back something that is no event".to_owned());
    };
    let mut text = |name: &str| match given.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let event = text("event").ok_or_else(|| wrong("without a name"))?;
    let distinct_id = text("distinct_id").ok_or_else(|| wrong("without a distinct_id"))?;
    let properties = match given.remove("properties") {
        Some(Value::Object(properties)) => properties,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(wrong("whose properties are no object")),
    };
    // Fixed at the capture: the server knows an event that is sent again by them.
    let before = Event::decode(&original.json).ok_or_else(|| wrong("in place of one that cannot be read"))?;
    Ok(Event { event, distinct_id, properties, ..before }.encode())
}
