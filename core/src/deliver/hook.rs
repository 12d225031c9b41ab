//! The application's own word on each text (`redact`) and event (`before_send`), and what it is told: of calls that are over
//! (`on_generation`) and of trouble (`on_error`).
//!
//! Hooks run outside of the worker, for they may be slow, block, or belong to a language whose threads the worker must
//! not wait for. Between the two is a desk: the worker puts events on it and takes verdicts from it; whoever runs the
//! hooks takes the events and gives the verdicts. That is a thread here for functions in Rust, a thread of Python's, and
//! Node's event loop.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::event::texts::{self, Text};
use crate::event::{Event, WireEvent};
use crate::finished::FinishedCall;

/// Events that are handed out at once.
const MOST_AT_ONCE: usize = 100;
/// Notices that wait to be taken; more of them nobody reads.
const MOST_NOTICES: usize = 64;
/// Calls that wait to be told of; what somebody is this far behind with nobody can wait for.
const MOST_FINISHED: usize = 4096;
/// Notices of one code come no closer together than this.
const PAUSE: Duration = Duration::from_secs(1);

/// Trouble that is worth a warning, as `on_error` gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about: `unreachable`, `denied`, `rejecting`, `rejected`, `too_big`, `overflow`, `spool`, `expired`,
    /// `corrupt`, `hook`, `redact`, `panic` or `shutdown`.
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
    /// Texts to stand in the place of those that were asked about, in their order. `None`: `redact` failed on it, and
    /// `[withheld]` stands there. The other text says why, of one of them.
    Texts(Vec<Option<String>>, Option<String>),
}

/// What there is to be done for whoever runs hooks.
#[derive(Debug, Default)]
pub struct HookWork {
    /// Texts of events, by the number that the verdict is to bear.
    pub texts: Vec<(u64, Vec<Text>)>,
    /// Events by the number that their verdict is to bear, as JSON.
    pub events: Vec<(u64, Bytes)>,
    /// Calls that are over. How many were told of is for [`HookDesk::told`].
    pub generations: Vec<FinishedCall>,
    /// Trouble.
    pub notices: Vec<Notice>,
}

type BeforeSend = dyn Fn(Event) -> Option<Event> + Send + Sync;
type OnError = dyn Fn(&Notice) + Send + Sync;
type OnGeneration = dyn Fn(&FinishedCall) + Send + Sync;
type Redact = dyn Fn(&Text) -> String + Send + Sync;

/// The hooks of a configuration.
#[derive(Clone, Default)]
pub struct Hooks {
    pub(crate) before_send: Option<Arc<BeforeSend>>,
    pub(crate) on_error: Option<Arc<OnError>>,
    pub(crate) on_generation: Option<Arc<OnGeneration>>,
    pub(crate) redact: Option<Arc<Redact>>,
    /// Hooks that somebody else runs: which there are, and how that one is told that there is work.
    pub(crate) elsewhere: Option<Elsewhere>,
}

/// Which hooks there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not")]
pub struct HookSet {
    /// See [`Options::before_send`](crate::Options::before_send).
    pub before_send: bool,
    /// See [`Options::on_error`](crate::Options::on_error).
    pub on_error: bool,
    /// See [`Options::on_generation`](crate::Options::on_generation).
    pub on_generation: bool,
    /// See [`Options::redact`](crate::Options::redact).
    pub redact: bool,
}

#[derive(Clone)]
pub(crate) struct Elsewhere {
    pub(crate) which: HookSet,
    pub(crate) ring: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hooks").field(&self.which()).finish()
    }
}

impl Hooks {
    pub(crate) fn which(&self) -> HookSet {
        self.elsewhere.as_ref().map_or_else(
            || HookSet {
                before_send: self.before_send.is_some(),
                on_error: self.on_error.is_some(),
                on_generation: self.on_generation.is_some(),
                redact: self.redact.is_some(),
            },
            |elsewhere| elsewhere.which,
        )
    }

    pub(crate) fn hear_generations(&self) -> bool {
        self.which().on_generation
    }
}

/// What somebody is asked about an event.
pub(crate) enum Question {
    /// What to make of its texts.
    Texts(Bytes),
    /// What to make of it.
    Event(Bytes),
}

/// Where events wait for their verdicts. One for a delivery; cheap to clone.
#[derive(Clone)]
pub struct HookDesk(Arc<Inner>);

struct Inner {
    hooks: Hooks,
    which: HookSet,
    state: Mutex<State>,
    /// Told when there is work, and at the end.
    changed: Condvar,
    /// Wakes the worker.
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    serial: u64,
    waiting: VecDeque<(u64, Question)>,
    verdicts: Vec<(u64, Verdict)>,
    notices: VecDeque<Notice>,
    /// Calls to tell of, how many ever were, and how many of those were told of.
    generations: VecDeque<FinishedCall>,
    heard: u64,
    told: u64,
    notes: BTreeMap<&'static str, u64>,
    said: HashMap<&'static str, Instant>,
    /// The thread that runs functions in Rust is there.
    served: bool,
    over: bool,
}

impl HookDesk {
    /// The desk of a delivery, if it has hooks.
    pub(crate) fn new(hooks: &Hooks, wake: &Arc<Notify>) -> Option<Self> {
        let which = hooks.which();
        let inner = || Inner {
            hooks: hooks.clone(),
            which,
            state: Mutex::default(),
            changed: Condvar::new(),
            wake: Arc::clone(wake),
        };
        (which != HookSet::default()).then(|| Self(Arc::new(inner())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which hooks there are.
    pub(crate) fn which(&self) -> HookSet {
        self.0.which
    }

    /// A number for an event. Later ones are greater.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.state();
        state.serial += 1;
        state.serial
    }

    /// Puts a question about an event on the desk.
    pub(crate) fn ask(&self, number: u64, question: Question) {
        self.state().waiting.push_back((number, question));
    }

    /// Has calls told of that are over.
    pub(crate) fn finished(&self, calls: Vec<FinishedCall>) {
        if calls.is_empty() || !self.0.which.on_generation {
            return;
        }
        let mut state = self.state();
        for call in calls {
            if state.generations.len() >= MOST_FINISHED {
                *state.notes.entry("on_generation_missed").or_default() += 1;
            } else {
                state.heard += 1;
                state.generations.push_back(call);
            }
        }
        drop(state);
        self.ring();
    }

    /// So many of the calls that were handed out were told of; of these `failed`.
    pub fn told(&self, count: u64, failed: u64) {
        let mut state = self.state();
        state.told += count;
        if failed > 0 {
            *state.notes.entry("on_generation_failed").or_default() += failed;
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// How many calls there were to tell of so far, and how many of them were told of.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = self.state();
        (state.heard, state.told)
    }

    /// `redact` failed on so many texts.
    pub(crate) fn withheld(&self, count: u64) {
        *self.state().notes.entry("redact_failed").or_default() += count;
    }

    /// What there is to note of hooks.
    pub(crate) fn notes(&self) -> BTreeMap<&'static str, u64> {
        self.state().notes.clone()
    }

    /// Tells of trouble, unless the same was told a moment ago.
    pub(crate) fn notice(&self, code: &'static str, message: &str) {
        if !self.0.which.on_error {
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
        while let Some(HookWork { texts, events, generations, notices }) = self.take(LONG) {
            for notice in notices {
                if let Some(on_error) = &self.0.hooks.on_error {
                    let _ = catch_unwind(AssertUnwindSafe(|| on_error(&notice)));
                }
            }
            for (number, texts) in texts {
                self.give([(number, self.redacted(&texts))]);
            }
            for (number, json) in events {
                self.give([(number, self.judge(json))]);
            }
            for call in generations {
                let tell = || self.0.hooks.on_generation.as_ref().map(|hear| hear(&call));
                let failed = catch_unwind(AssertUnwindSafe(tell)).is_err();
                self.told(1, u64::from(failed));
            }
        }
    }

    fn redacted(&self, texts: &[Text]) -> Verdict {
        let Some(redact) = &self.0.hooks.redact else { return Verdict::Texts(Vec::new(), None) };
        let made: Vec<_> = texts.iter().map(|text| catch_unwind(AssertUnwindSafe(|| redact(text))).ok()).collect();
        let failed = made.iter().any(Option::is_none);
        Verdict::Texts(made, failed.then(|| "it panicked".to_owned()))
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
            if count > 0 || !state.notices.is_empty() || !state.generations.is_empty() {
                let calls = state.generations.len().min(MOST_AT_ONCE);
                let generations = state.generations.drain(..calls).collect();
                let questions: Vec<_> = state.waiting.drain(..count).collect();
                let mut work =
                    HookWork { notices: state.notices.drain(..).collect(), generations, ..HookWork::default() };
                drop(state);
                for (number, question) in questions {
                    match question {
                        Question::Texts(json) => work.texts.push((number, texts_of(&json))),
                        Question::Event(json) => work.events.push((number, json)),
                    }
                }
                return Some(work);
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

/// The texts of an event that `redact` is to be asked about.
fn texts_of(json: &[u8]) -> Vec<Text> {
    Event::decode(json).map(|event| texts::of(event.properties)).unwrap_or_default()
}

/// The event with other texts in their place; `None`: it is none.
pub(crate) fn with_texts(json: &[u8], texts: Vec<Option<String>>) -> Option<WireEvent> {
    let mut event = Event::decode(json)?;
    texts::replace(&mut event.properties, texts);
    Some(event.encode())
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
