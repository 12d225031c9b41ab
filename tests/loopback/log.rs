//! What the server remembers: requests, provider calls, events, and the faults it is to show. All of it bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::auto::Going;
use super::faults::Fault;

const MOST_REQUESTS: usize = 20_000;
const MOST_EVENTS: usize = 200_000;
const MOST_EVENT_BYTES: usize = 512 << 20;
const MOST_KEYS: usize = 100_000;
const MOST_GOING: usize = 1_000;

/// The memory of a server, shared by its connections.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    started: Instant,
    /// Requests so far, those that were forgotten too: an answer still on its way must not be noted at another's place.
    serial: u64,
    /// Requests that were forgotten by [`clear`](Self::clear).
    forgotten: u64,
    requests: VecDeque<Record>,
    providers: VecDeque<Record>,
    /// Events as JSON texts: a burst of tens of thousands must fit.
    events: VecDeque<String>,
    event_bytes: usize,
    events_seen: u64,
    pub(crate) faults: Vec<Fault>,
    failures: HashMap<String, u32>,
    prefixes: HashSet<String>,
    going: HashMap<String, Going>,
}

struct Record {
    serial: u64,
    shown: Value,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner::new(0))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new(serial: u64) -> Self {
        Self {
            started: Instant::now(),
            serial,
            forgotten: serial,
            requests: VecDeque::new(),
            providers: VecDeque::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            events_seen: 0,
            faults: Vec::new(),
            failures: HashMap::new(),
            prefixes: HashSet::new(),
            going: HashMap::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.serial);
    }

    /// Notes a request and gives what it goes by.
    pub(crate) fn request(&mut self, mut shown: Value) -> u64 {
        self.serial += 1;
        shown["number"] = self.number(self.serial).into();
        shown["at_ms"] = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).into();
        push(&mut self.requests, Record { serial: self.serial, shown });
        self.serial
    }

    /// The number that a request is shown under.
    pub(crate) fn number(&self, serial: u64) -> u64 {
        serial.saturating_sub(self.forgotten)
    }

    /// Notes a call to a provider.
    pub(crate) fn provider(&mut self, serial: u64, mut shown: Value) {
        shown["number"] = self.number(serial).into();
        push(&mut self.providers, Record { serial, shown });
    }

    /// Adds what became known later to a request and, if it was one, to its provider call.
    pub(crate) fn amend(&mut self, serial: u64, members: &Value) {
        for list in [&mut self.requests, &mut self.providers] {
            // Provider calls that arrive together may be a little out of order.
            let at = list.partition_point(|record| record.serial + 64 < serial);
            if let Some(record) = list.range_mut(at..).find(|record| record.serial == serial) {
                for (key, value) in members.as_object().into_iter().flatten() {
                    record.shown[key] = value.clone();
                }
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

    /// Keeps a response that goes on in the background.
    pub(crate) fn keep_going(&mut self, id: String, going: Going) {
        if self.going.len() >= MOST_GOING {
            self.going.clear();
        }
        self.going.insert(id, going);
    }

    /// That response, which was asked for once more.
    pub(crate) fn go_on(&mut self, id: &str) -> Option<Going> {
        self.going.get_mut(id).map(Going::polled)
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
        self.requests.iter().map(|record| record.shown.clone()).collect::<Value>().to_string()
    }

    pub(crate) fn providers_json(&self) -> String {
        self.providers.iter().map(|record| record.shown.clone()).collect::<Value>().to_string()
    }

    pub(crate) fn summary(&self) -> Value {
        json!({
            "requests": self.number(self.serial),
            "providers": self.providers.len(),
            "events": self.events_seen,
            "events_kept": self.events.len(),
            "faults": self.faults.iter().map(Fault::describe).collect::<Vec<_>>(),
        })
    }
}

fn push(list: &mut VecDeque<Record>, record: Record) {
    if list.len() >= MOST_REQUESTS {
        list.pop_front();
    }
    list.push_back(record);
}
