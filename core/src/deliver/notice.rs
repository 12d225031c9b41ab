//! What people are told: on stderr, sparingly, and to `tracing` for Rust programs.

use std::collections::HashSet;
use std::hash::Hash;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Writes a line to stderr. A closed or broken stderr is nobody's trouble.
pub(crate) fn line(text: &str) {
    let text = format!("llmtrail: {text}\n");
    // Not through the standard library's lock: it may be held by a thread that a fork left behind.
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        if let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() {
            let _ = std::fs::File::from(stderr).write_all(text.as_bytes());
        }
    }
    #[cfg(not(unix))]
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Says each kind of trouble once.
pub(crate) struct Notices<K> {
    debug: bool,
    said: HashSet<K>,
}

impl<K: Eq + Hash> Notices<K> {
    pub(crate) fn new(debug: bool) -> Self {
        Self { debug, said: HashSet::new() }
    }

    /// A warning, printed the first time that its kind occurs (always in debug mode).
    pub(crate) fn warn(&mut self, kind: K, text: &str) {
        if self.said.insert(kind) || self.debug {
            line(text);
        }
        // A subscriber is the application's code: its panic must not end the worker.
        let _ = catch_unwind(AssertUnwindSafe(|| tracing::warn!(target: "llmtrail", "{text}")));
    }

    /// A line for debug mode.
    pub(crate) fn debug(&self, text: impl FnOnce() -> String) {
        if self.debug {
            line(&text());
        }
    }
}
