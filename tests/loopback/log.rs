//! What the server remembers: requests, provider calls, events, and the faults it is to show. All of it bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::faults::Fault;

const MOST_REQUESTS: usize = 20_000;
const MOST_EVENTS: usize = 200_000;
const MOST_EVENT_BYTES: usize = 512 << 20;
const MOST_KEYS: usize = 100_000;

/// The memory of a server, shared by its connections.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    started: Instant,
    next: u64,
    requests: VecDeque<Value>,
    providers: VecDeque<Value>,
    /// Events as JSON texts: a burst of tens of thousands must fit.
    events: VecDeque<String>,
    event_bytes: usize,
    events_seen: u64,
    pub(crate) faults: Vec<Fault>,
    failures: HashMap<String, u32>,
    prefixes: HashSet<String>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner::new())))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            next: 1,
            requests: VecDeque::new(),
            providers: VecDeque::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            events_seen: 0,
            faults: Vec::new(),
            failures: HashMap::new(),
            prefixes: HashSet::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Notes a request and gives its number.
    pub(crate) fn request(&mut self, mut record: Value) -> u64 {
        let number = self.next;
        self.next += 1;
        record["number"] = number.into();
        record["at_ms"] = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).into();
        push(&mut self.requests, record);
        number
    }

    /// Notes a call to a provider; `number` is its request's.
    pub(crate) fn provider(&mut self, number: u64, mut record: Value) {
        record["number"] = number.into();
        push(&mut self.providers, record);
    }

    /// Adds what became known later to a request and, if it was one, to its provider call.
    pub(crate) fn amend(&mut self, number: u64, members: &Value) {
        let lists = [&mut self.requests, &mut self.providers];
        for record in lists.into_iter().filter_map(|list| list.iter_mut().rev().find(|one| one["number"] == number)) {
            for (key, value) in members.as_object().into_iter().flatten() {
                record[key] = value.clone();
            }
        }
    }

    pub(crate) fn event(&mut self, event: &Value) {
        let text = event.to_string();
        self.events_seen += 1;
        self.event_bytes += text.len();
        self.events.push_back(text);
        while self.events.len() > MOST_EVENTS || self.event_bytes > MOST_EVENT_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.event_bytes -= oldest.len();
        }
    }

    /// Whether the call of this key has failed as often as it should. Its count then begins anew.
    pub(crate) fn turn(&mut self, key: String, times: u32) -> bool {
        if self.failures.len() >= MOST_KEYS {
            self.failures.clear();
        }
        let failed = self.failures.entry(key).or_default();
        let enough = *failed >= times;
        *failed = if enough { 0 } else { *failed + 1 };
        enough
    }

    /// Whether a prompt's prefix was seen before.
    pub(crate) fn knows_prefix(&self, prefix: &str) -> bool {
        self.prefixes.contains(prefix)
    }

    pub(crate) fn learn_prefix(&mut self, prefix: String) {
        if self.prefixes.len() >= MOST_KEYS {
            self.prefixes.clear();
        }
        self.prefixes.insert(prefix);
    }

    pub(crate) fn events_json(&self) -> String {
        let mut out = String::with_capacity(self.event_bytes + self.events.len() + 2);
        out.push('[');
        for (at, event) in self.events.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(event);
        }
        out.push(']');
        out
    }

    pub(crate) fn requests_json(&self) -> String {
        self.requests.iter().cloned().collect::<Value>().to_string()
    }

    pub(crate) fn providers_json(&self) -> String {
        self.providers.iter().cloned().collect::<Value>().to_string()
    }

    pub(crate) fn summary(&self) -> Value {
        json!({
            "requests": self.next - 1,
            "providers": self.providers.len(),
            "events": self.events_seen,
            "events_kept": self.events.len(),
            "faults": self.faults.iter().map(Fault::describe).collect::<Vec<_>>(),
        })
    }
}

fn push(list: &mut VecDeque<Value>, record: Value) {
    if list.len() >= MOST_REQUESTS {
        list.pop_front();
    }
    list.push_back(record);
}
