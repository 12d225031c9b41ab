//! The process's connections, all behind one lock, so that a fork finds none of them at work.
//!
//! SQLite must not be carried across a fork: its locks on the file stay with the parent while the child believes that it
//! has them, and a mutex that another thread held at that moment is locked for ever in the child. So before a fork the
//! connections are closed, with the lock held until it is over, and the next write opens them again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

static OPEN: Mutex<BTreeMap<u64, Connection>> = Mutex::new(BTreeMap::new());

/// Set in a child that was forked while a connection was at work all the same: it must not touch SQLite.
static UNUSABLE: AtomicBool = AtomicBool::new(false);

/// A place for a connection, which may be closed at any time between two uses.
pub(super) struct Slot(u64);

impl Slot {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        #[cfg(unix)]
        fork::watch();
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Uses the connection, which is opened when it is not there. One user at a time in the whole process; so the use
    /// must not wait long.
    pub(super) fn with<T>(
        &self,
        open: impl FnOnce() -> rusqlite::Result<Connection>,
        using: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if UNUSABLE.load(Ordering::Acquire) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE);
            let why = "this process was forked in the middle of a write to it".to_owned();
            return Err(rusqlite::Error::SqliteFailure(code, Some(why)));
        }
        let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match all.remove(&self.0) {
            Some(connection) => connection,
            None => open()?,
        };
        let done = using(&mut connection);
        all.insert(self.0, connection);
        done
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !UNUSABLE.load(Ordering::Acquire) {
            OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        }
    }
}

#[cfg(unix)]
mod fork {
    use std::cell::RefCell;
    use std::sync::{MutexGuard, Once, TryLockError};
    use std::time::{Duration, Instant};

    use super::{BTreeMap, Connection, OPEN, Ordering, UNUSABLE};

    /// A fork waits for a write, but not for ever: its caller has other things to do.
    const PATIENCE: Duration = Duration::from_secs(2);

    thread_local! {
        /// The lock, from before the fork until after it, in the thread that forks.
        static HELD: RefCell<Option<MutexGuard<'static, BTreeMap<u64, Connection>>>> = const { RefCell::new(None) };
    }

    /// Has the handlers called at every fork from now on.
    pub(super) fn watch() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            #[expect(unsafe_code, reason = "there is no other way to hear of a fork in time")]
            // SAFETY: the handlers are functions of this library, which is never unloaded while it has threads; they do
            // not unwind. Without them (no memory for the registration) all is as before.
            unsafe {
                libc::pthread_atfork(Some(before), Some(after), Some(in_child));
            }
        });
    }

    extern "C" fn before() {
        let begin = Instant::now();
        let guard = loop {
            match OPEN.try_lock() {
                Ok(guard) => break Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => break Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => break None,
            }
        };
        let Some(mut guard) = guard else { return };
        guard.clear();
        // While a thread ends it has no such place any more, and is not the one that forks.
        let _ = HELD.try_with(|held| *held.borrow_mut() = Some(guard));
    }

    extern "C" fn after() {
        let _ = HELD.try_with(|held| held.borrow_mut().take());
    }

    extern "C" fn in_child() {
        let held = HELD.try_with(|held| held.borrow_mut().take().is_some());
        if !held.unwrap_or(false) {
            UNUSABLE.store(true, Ordering::Release);
        }
    }
}
