//! The store as the viewer sees it: the file, and what of it is in memory.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::data::Data;
use super::filter::fits;
use super::page::RANGES;
use super::query::Bits;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::store::scan::{Number, Scanned};
use crate::store::Reader;

/// How often is looked for what is new.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a page waits for data. Even millions of events are there sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a page waits for data where it has some already and the rest takes much longer than that.
const MOMENT: Duration = Duration::from_millis(40);

/// How many patterns of ids are remembered.
const PATTERNS: usize = 8;

/// The store.
pub(super) struct Store {
    path: PathBuf,
    data: RwLock<Data>,
    /// Connections that nobody uses now.
    readers: Mutex<Vec<Reader>>,
    /// What stands in the way of reading, for people.
    trouble: Mutex<Option<String>>,
    more: (Mutex<()>, Condvar),
    /// What patterns of ids were looked for in all ids lately, up to which number, and what was found.
    patterns: Mutex<Vec<(String, Number, Bits)>>,
    is_live: AtomicBool,
}

/// How far a store is; it is another one when the store has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) last: i64,
    pub(super) changes: i64,
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            data: RwLock::new(Data::new(0)),
            readers: Mutex::default(),
            trouble: Mutex::default(),
            more: (Mutex::new(()), Condvar::new()),
            patterns: Mutex::default(),
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
            // Nothing was captured yet, or it was deleted. Whoever waits for data has all there is.
            self.write(|data| {
                *data = Data::new(0);
                data.since = i64::MIN;
            });
            return Ok(());
        };
        let changes = self.fill(&reader)?;
        // Another file may be put in its place at any time.
        while reader.is_there() {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if !self.take_new(&reader, changes)? {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Takes in what was written since; or says that something was changed or removed.
    pub(super) fn take_new(&self, reader: &Reader, changes: i64) -> Result<bool> {
        let (last, now) = reader.position()?;
        if now != changes {
            return Ok(false);
        }
        let after = self.data().last;
        if last > after {
            self.take(reader, after + 1, i64::MAX)?;
        }
        Ok(true)
    }

    /// Everything that is there now. Says how often something had been changed before.
    pub(super) fn fill(&self, reader: &Reader) -> Result<i64> {
        let (last, changes) = reader.position()?;
        self.patterns().clear();
        self.write(|data| *data = Data::new(changes));
        self.back(reader, last)?;
        Ok(changes)
    }

    /// Reads what is there, the latest first: the last hour, the last day and so on before the latest event, for these
    /// are what pages show.
    fn back(&self, reader: &Reader, last: i64) -> Result<()> {
        let newest = reader.newest()?;
        let first = reader.first_id()?.unwrap_or(last);
        let (mut before, mut lowest) = (i64::MAX, last.saturating_add(1));
        for millis in RANGES.iter().filter_map(|range| range.millis) {
            let Some(since) = newest.map(|newest| newest.saturating_sub(millis)) else { break };
            // Most events are written in the order of their times, but other programs' need not be.
            let low = reader.lowest_id(since, before)?.unwrap_or(lowest).min(lowest);
            self.take_parts(reader, low, lowest)?;
            (before, lowest) = (since, low);
            self.write(|data| {
                data.since = since;
                data.unread = lowest.saturating_sub(first);
            });
        }
        self.take_parts(reader, first, lowest)?;
        self.write(|data| {
            data.last = data.last.max(last);
            data.since = i64::MIN;
        });
        Ok(())
    }

    /// Takes events in as [`Self::take`] does, many of them in some threads at once.
    fn take_parts(&self, reader: &Reader, from: i64, to: i64) -> Result<()> {
        /// Below this a thread is not worth it.
        const PART: i64 = 10_000;
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
        let most = to.saturating_sub(from) / PART;
        let threads = most.clamp(1, i64::try_from(threads).unwrap_or(1));
        let part = to.saturating_sub(from) / threads;
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map(|at| {
                    let (begin, end) = (from + at * part, if at + 1 == threads { to } else { from + (at + 1) * part });
                    scope.spawn(move || match Reader::open_file(&self.path)? {
                        Some(reader) => self.take(&reader, begin, end),
                        // It was removed, which is noticed soon.
                        None => Ok(()),
                    })
                })
                .collect();
            let mut done = self.take(reader, from, if threads == 1 { to } else { from + part });
            for other in others {
                // What a thread left out would be missing without a word.
                let stopped = || Err(Error::new(ErrorKind::Store, "reading stopped in the middle"));
                done = done.and(other.join().unwrap_or_else(|_| stopped()));
            }
            done
        })
    }

    /// Takes events in by their ids, from the first and without the last.
    fn take(&self, reader: &Reader, from: i64, to: i64) -> Result<()> {
        /// Rows that are taken in before somebody else gets a turn.
        const STEP: usize = 4096;
        let mut rows = Vec::new();
        // What went wrong in the middle of reading.
        let mut failed = None;
        let mut flush = |rows: &mut Vec<Scanned>| {
            let unknown = self.data().unknown(rows);
            match reader.names(&unknown) {
                Ok(texts) => self.write(|data| {
                    data.learn(texts);
                    rows.drain(..).for_each(|row| data.push(&row));
                }),
                Err(error) => failed = Some(error),
            }
        };
        reader.scan(from, to, |row| {
            rows.push(row);
            if rows.len() == STEP {
                flush(&mut rows);
            }
        })?;
        flush(&mut rows);
        failed.map_or(Ok(()), Err)
    }

    fn write<T>(&self, change: impl FnOnce(&mut Data) -> T) -> T {
        let done = change(&mut self.data.write().unwrap_or_else(PoisonError::into_inner));
        self.more.1.notify_all();
        done
    }

    fn data(&self) -> RwLockReadGuard<'_, Data> {
        self.data.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data, once every event from this time on is in it. Where very many are still to be read, once a moment has
    /// passed and something is there: then every event from [`Data::since`] on is in it.
    pub(super) fn since(&self, time: i64) -> RwLockReadGuard<'_, Data> {
        let begin = Instant::now();
        let is_enough = |data: &Data| data.is_long() && begin.elapsed() > MOMENT;
        self.when(|data| data.since <= time || is_enough(data))
    }

    /// The data, once it is as it has to be, or something stands in the way.
    fn when(&self, ready: impl Fn(&Data) -> bool) -> RwLockReadGuard<'_, Data> {
        let begin = Instant::now();
        loop {
            let data = self.data();
            if ready(&data) || begin.elapsed() > PATIENCE || self.trouble().is_some() {
                return data;
            }
            drop(data);
            let lock = self.more.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.more.1.wait_timeout(lock, Duration::from_millis(5)));
        }
    }

    /// When the latest event began. Known as soon as anything is.
    pub(super) fn newest(&self) -> Option<i64> {
        // The latest are read first; a list that is empty and complete is the end of waiting.
        self.when(|data| data.newest.is_some() || data.since == i64::MIN).newest
    }

    /// The numbers of the ids of traces, sessions and people that a pattern fits. Ids are taken as they stand; only when
    /// there is none like that, in any case of letters.
    pub(super) fn ids_like(&self, pattern: &str) -> Result<Bits> {
        let mut found = Bits::default();
        let Some(()) = self.read_if_there(|reader| {
            match pattern.split_once('*') {
                None => reader.id_number(pattern)?.into_iter().for_each(|number| found.insert(number as usize)),
                Some(("", _)) => {}
                Some((begin, _)) => reader.all_ids(0, Some(begin), |number, id| {
                    if fits(pattern, id) {
                        found.insert(number as usize);
                    }
                })?,
            }
            if found.is_empty() {
                // What was looked through before needs no second look: ids stay.
                let known = self.patterns().iter().find(|(known, ..)| known == pattern).cloned();
                let (_, mut upto, mut all) = known.unwrap_or_else(|| (pattern.to_owned(), 0, Bits::default()));
                reader.all_ids(upto, None, |number, id| {
                    upto = number;
                    if fits(pattern, id) {
                        all.insert(number as usize);
                    }
                })?;
                found = all.clone();
                let mut patterns = self.patterns();
                patterns.retain(|(known, ..)| known != pattern);
                patterns.push((pattern.to_owned(), upto, all));
                let surplus = patterns.len().saturating_sub(PATTERNS);
                patterns.drain(..surplus);
            }
            Ok(())
        })?
        else {
            return Ok(Bits::default());
        };
        Ok(found)
    }

    /// The events without a trace whose own id a pattern fits: each is a trace of its own.
    pub(super) fn lone_like(&self, pattern: &str) -> Result<HashSet<i64>> {
        if self.data().lone.is_empty() {
            return Ok(HashSet::new());
        }
        let found = self.read_if_there(|reader| {
            if let (false, Some(id)) = (pattern.contains('*'), reader.event_id(pattern)?) {
                return Ok(HashSet::from([id]));
            }
            let mut found = HashSet::new();
            reader.lone(|id, uuid| {
                if fits(pattern, uuid) {
                    found.insert(id);
                }
            })?;
            Ok(found)
        })?;
        Ok(found.unwrap_or_default())
    }

    fn patterns(&self) -> MutexGuard<'_, Vec<(String, Number, Bits)>> {
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the store is.
    pub(super) fn version(&self) -> Version {
        let data = self.data();
        Version { last: data.last, changes: data.changes }
    }

    /// Uses a connection of its own.
    pub(super) fn read<T>(&self, using: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let gone = || Error::new(ErrorKind::Store, format!("{} is not there any more", self.path.display()));
        self.read_if_there(using)?.ok_or_else(gone)
    }

    /// The same; `None` as long as there is no store, or another process is about to make it.
    pub(super) fn read_if_there<T>(&self, using: impl FnOnce(&Reader) -> Result<T>) -> Result<Option<T>> {
        let known = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.retain(Reader::is_there);
            readers.pop()
        };
        let Some(reader) = known.map_or_else(|| Reader::open_file(&self.path), |reader| Ok(Some(reader)))? else {
            return Ok(None);
        };
        let done = using(&reader)?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Ok(Some(done))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::super::page::Address;
    use super::super::pages;
    use super::*;
    use crate::event::Event;
    use crate::testing::Folder;

    const HOUR: i64 = 3_600_000;

    fn store(folder: &Folder, ages: &[(&str, i64)]) -> Store {
        let now = jiff::Timestamp::now();
        let events: Vec<_> = ages
            .iter()
            .map(|(name, hours)| {
                let properties = json!({"$ai_trace_id": name, "$ai_model": name, "$ai_span_name": name});
                Event {
                    event: "$ai_generation".to_owned(),
                    uuid: uuid::Uuid::now_v7(),
                    distinct_id: "ada".to_owned(),
                    timestamp: (now - jiff::SignedDuration::from_hours(*hours)).to_string(),
                    properties: properties.as_object().unwrap().clone(),
                }
                .encode()
            })
            .collect();
        crate::sink::store::Store::open(&folder.0).unwrap().write(&events).unwrap();
        let store = Store::new(folder.0.join(crate::sink::store::FILE));
        store.fill(&Reader::open(&folder.0).unwrap().unwrap()).unwrap();
        store
    }

    #[test]
    fn a_page_says_what_it_shows_of_a_large_store_that_is_still_read() {
        let folder = Folder::new();
        let store = Arc::new(store(&folder, &[("an-old-one", 3), ("a-new-one", 0)]));
        let page = |address: &str| {
            let uri: axum::http::Uri = address.parse().unwrap();
            pages::answer(&store, uri.path(), Address::of(&uri), None).body
        };
        let all = page("/traces?range=all");
        assert!(all.contains("an-old-one") && all.contains("a-new-one") && !all.contains("data-busy"), "{all}");

        // As it is when a part of what is older is there.
        let since = jiff::Timestamp::now().as_millisecond() - HOUR;
        store.write(|data| (data.since, data.unread) = (since, 1_000_000));
        for path in ["/traces?range=all", "/traces?range=24h", "/traces?range=all&sort=cost", "/", "/models?range=all"]
        {
            let part = page(path);
            assert!(
                part.contains("by now this shows what began since") && part.contains("data-busy"),
                "{path}: {part}"
            );
            assert!(part.contains("a-new-one") && !part.contains("an-old-one"), "{path}: {part}");
        }
        assert!(page("/health").contains("2 read by now"));
        // What the range asks for is there.
        store.write(|data| data.since = since - HOUR);
        let hour = page("/traces?range=1h");
        assert!(hour.contains("a-new-one") && !hour.contains("data-busy"), "{hour}");

        store.write(|data| data.since = i64::MIN);
        let all = page("/traces?range=all");
        assert!(all.contains("an-old-one") && !all.contains("data-busy"), "{all}");
    }

    #[test]
    fn the_rest_of_a_small_store_is_waited_for() {
        let folder = Folder::new();
        let store = store(&folder, &[("one", 0)]);
        store.write(|data| (data.since, data.unread) = (HOUR, 1000));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| store.since(i64::MIN).since);
            store.write(|data| data.since = i64::MIN);
            assert_eq!(waits.join().unwrap(), i64::MIN);
        });
    }
}
