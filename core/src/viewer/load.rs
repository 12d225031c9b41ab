//! The store as the viewer sees it: the file, and what of it is in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Reader;

/// How often is looked for what is new.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a page waits for data. Even millions of events are there sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// The store.
pub(super) struct Store {
    path: PathBuf,
    data: RwLock<Data>,
    /// Connections that nobody uses now.
    readers: Mutex<Vec<Reader>>,
    /// What stands in the way of reading, for people.
    trouble: Mutex<Option<String>>,
    more: (Mutex<()>, Condvar),
    waiting: AtomicUsize,
    is_live: AtomicBool,
}

/// How far a store is; it changes when the store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) last: i64,
    pub(super) removals: i64,
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            data: RwLock::new(Data::new(0)),
            readers: Mutex::default(),
            trouble: Mutex::default(),
            more: (Mutex::new(()), Condvar::new()),
            waiting: AtomicUsize::new(0),
            is_live: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing can be read, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file from now on, in a thread of its own: the latest events first, and then what comes.
    pub(super) fn load(self: &Arc<Self>) {
        if self.is_live.swap(true, Ordering::Relaxed) {
            return;
        }
        let store = Arc::clone(self);
        let named = std::thread::Builder::new().name("llmtrail-view".to_owned());
        let _ = named.spawn(move || {
            loop {
                let done = store.follow();
                let trouble = done.err().map(|error| error.to_string());
                *store.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
                store.more.1.notify_all();
                std::thread::sleep(PAUSE);
            }
        });
    }

    /// Everything in the file, and then what is new, until something is wrong or the file has changed too much.
    fn follow(&self) -> Result<()> {
        let Some(reader) = Reader::open_file(&self.path)? else {
            // Nothing was captured yet. Whoever waits for data has all there is.
            self.write(|data| data.since = i64::MIN);
            return Ok(());
        };
        let (_, removals) = reader.position()?;
        self.write(|data| *data = Data::new(removals));
        self.back(&reader)?;
        loop {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let (last, now) = reader.position()?;
            if now != removals || !self.path.exists() {
                self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Ok(());
            }
            if last > self.data().last {
                let after = self.data().last;
                self.write(|data| {
                    reader.scan_after(after, |row| {
                        data.push(row);
                        true
                    })
                })?;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn back(&self, reader: &Reader) -> Result<()> {
        /// Rows that are taken in before somebody else gets a turn. The first few are enough for the first page.
        const STEP: usize = 4000;
        let mut guard = None;
        let mut count = 0_usize;
        reader.scan_back(|row| {
            let data = guard.get_or_insert_with(|| self.data.write().unwrap_or_else(PoisonError::into_inner));
            data.push(row);
            count += 1;
            if count.is_multiple_of(STEP) {
                // Others may have begun in the same millisecond.
                data.since = row.timestamp_ms.saturating_add(1);
                guard = None;
                self.more.1.notify_all();
                if self.waiting.load(Ordering::Relaxed) > 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            true
        })?;
        drop(guard);
        self.write(|data| data.since = i64::MIN);
        Ok(())
    }

    fn write<T>(&self, change: impl FnOnce(&mut Data) -> T) -> T {
        let done = change(&mut self.data.write().unwrap_or_else(PoisonError::into_inner));
        self.more.1.notify_all();
        done
    }

    fn data(&self) -> RwLockReadGuard<'_, Data> {
        self.data.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data, once every event from this time on is in it.
    pub(super) fn since(&self, time: i64) -> RwLockReadGuard<'_, Data> {
        let begin = Instant::now();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let found = loop {
            let data = self.data();
            if data.since <= time || begin.elapsed() > PATIENCE || self.trouble().is_some() {
                break data;
            }
            drop(data);
            let lock = self.more.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.more.1.wait_timeout(lock, Duration::from_millis(5)));
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        found
    }

    /// When the latest event began. Known as soon as anything is.
    pub(super) fn newest(&self) -> Option<i64> {
        // The latest are read first; a list that is empty and complete is the end of waiting.
        let data = self.since(i64::MAX - 1);
        let (first, last) = (data.events.first().map(|event| event.time), data.events.last().map(|event| event.time));
        first.max(last)
    }

    /// Where the store is.
    pub(super) fn version(&self) -> Version {
        let data = self.data();
        Version { last: data.last, removals: data.removals }
    }

    /// Uses a connection of its own.
    pub(super) fn read<T>(&self, using: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let gone = || Error::new(ErrorKind::Store, format!("{} is not there any more", self.path.display()));
        self.read_if_there(using)?.ok_or_else(gone)
    }

    /// The same; `None` as long as there is no store, or another process is about to make it.
    pub(super) fn read_if_there<T>(&self, using: impl FnOnce(&Reader) -> Result<T>) -> Result<Option<T>> {
        let known = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(reader) = known.map_or_else(|| Reader::open_file(&self.path), |reader| Ok(Some(reader)))? else {
            return Ok(None);
        };
        let done = using(&reader)?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Ok(Some(done))
    }
}
