//! Keeps a sink's events on disk: the decisions of `shelf` and `lane`, carried out by `spool`. Worker thread only.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use uuid::Uuid;

use super::lane::{Item, Lane};
use super::shelf::{Bounds, Evicted, Kept, SegmentId, Shelf};
use super::spool::Spool;
use super::spool::record::{self, Rest};
use super::tally::Ticket;
use crate::config::{Config, SpoolMode};
use crate::event::{self, WireEvent};

/// Bytes of one segment, unless one event has more: about a batch.
const SEGMENT: u64 = 900_000;
/// How long the disk is left alone after it failed.
const AGAIN: Duration = Duration::from_secs(60);
/// How often one looks for directories whose owners are gone.
const LOOK: Duration = Duration::from_secs(300);
/// The same when another thread of the process was looking.
const LOOK_SOON: Duration = Duration::from_millis(200);
/// How often and after how long a segment is tried that cannot be read, before it is put aside.
const READS: u32 = 5;
const READ_AGAIN: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Keeper {
    mode: SpoolMode,
    shelf: Shelf,
    spool: Spool,
    segment: u64,
    /// Events of one segment: a batch.
    events: usize,
    /// The disk failed, and is tried again then.
    broken_until: Option<Duration>,
    look_at: Duration,
    /// Reading failed so often, and is tried again then.
    unreadable: Option<(u32, Duration)>,
    /// What happened since the worker asked last.
    news: News,
}

/// What the worker has to write into the books, and to tell.
#[derive(Default)]
pub(crate) struct News {
    /// Events that are lost with their segments.
    pub(crate) lost: Vec<(&'static str, Ticket)>,
    /// Events that other processes left, in memory now.
    pub(crate) recovered: usize,
    /// Segments of theirs of which nobody knows how many events were lost with them.
    pub(crate) unknown: Vec<&'static str>,
    /// Why the disk cannot be written.
    pub(crate) trouble: Option<String>,
}

/// The id of an event, from its JSON; `None` when that is no event.
fn id_of(json: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        uuid: &'a str,
    }
    serde_json::from_slice::<Envelope<'_>>(json).ok()?.uuid.parse().ok()
}

impl Keeper {
    /// The keeper for a destination, if events are to be kept on disk at all.
    pub(crate) fn new(config: &Config, destination: &str, bounds: Bounds) -> Option<Self> {
        (config.spool != SpoolMode::Off).then(|| Self {
            mode: config.spool,
            shelf: Shelf::new(bounds),
            spool: Spool::new(&config.dir, destination),
            // Small enough that one can be read back whenever there is room for anything.
            segment: SEGMENT.min(config.max_memory as u64 / 8),
            events: config.flush_at,
            broken_until: None,
            look_at: Duration::ZERO,
            unreadable: None,
            news: News::default(),
        })
    }

    /// Whether the disk can be written, as far as one knows.
    pub(crate) fn works(&self, now: Duration) -> bool {
        self.broken_until.is_none_or(|until| now >= until)
    }

    /// Whether a lane's events are to be on disk: before they are sent, or because the sink does not take them now.
    pub(crate) fn wants(&self, lane: &Lane, now: Duration) -> bool {
        (self.mode == SpoolMode::Always || lane.rests()) && self.works(now)
    }

    /// Puts everything of a lane on disk that is not there yet and not under way.
    pub(crate) fn keep(&mut self, number: usize, lane: &mut Lane, now: Duration) {
        let kept = self.write(number, lane.unkept(), now);
        lane.kept(kept);
        self.bound(now);
    }

    /// The end: everything of a lane that can be put on disk is there now.
    pub(crate) fn keep_all(&mut self, number: usize, lane: &mut Lane, now: Duration) {
        self.recheck(lane);
        // Whoever ends has no other minute to try again in.
        self.broken_until = None;
        self.keep(number, lane, now);
    }

    /// What of a lane is no longer on disk says so: its segment was given up for want of room.
    pub(crate) fn recheck(&self, lane: &mut Lane) {
        lane.recheck(|kept| self.shelf.holds(kept));
    }

    /// Makes room: the oldest events of a lane, so many bytes, are on disk alone from now on. Says what memory that
    /// freed.
    pub(crate) fn spill(&mut self, number: usize, lane: &mut Lane, bytes: usize, now: Duration) -> usize {
        if !self.works(now) {
            return 0;
        }
        let kept = self.write(number, lane.oldest_unkept(bytes), now);
        lane.kept(kept);
        let mut freed = 0;
        for item in lane.part_with(bytes) {
            let cost = item.cost();
            let Some(kept) = item.kept else { continue };
            match self.shelf.parted(kept, item.ticket) {
                Ok(()) => freed += cost,
                Err(ticket) => {
                    // Its segment was given up meanwhile, so it is in memory alone.
                    lane.push(Item::new(item.event, 0, now, None, ticket));
                }
            }
        }
        // What is read back is sealed; and nothing more belongs to what is there now.
        self.seal(number);
        self.bound(now);
        freed
    }

    /// Appends events to segments. Says how many are on disk now: all, or those before the disk failed.
    fn write(&mut self, number: usize, items: Vec<&mut Item>, now: Duration) -> usize {
        let mut count = 0;
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let mut records = Vec::new();
            let mut batch = Vec::new();
            let (bytes, events) = self.shelf.open(number).map_or((0, 0), |id| self.shelf.size(id));
            let room = self.segment.saturating_sub(bytes).max(1);
            let places = self.events.saturating_sub(events).max(1);
            while (records.len() as u64) < room
                && batch.len() < places
                && let Some(item) = items.next()
            {
                if record::write(&mut records, item.event.lane, &item.event.json) {
                    batch.push(item);
                }
            }
            match self.append(number, &records, batch.len(), now) {
                Ok((segment, first)) => {
                    count += batch.len();
                    for (index, item) in batch.into_iter().enumerate() {
                        item.kept = Some(Kept { segment, index: first + index });
                    }
                    let (bytes, events) = self.shelf.size(segment);
                    if bytes >= self.segment || events >= self.events {
                        self.seal(number);
                    }
                }
                Err(error) => {
                    self.failed(number, &error, now);
                    break;
                }
            }
        }
        count
    }

    fn append(
        &mut self,
        number: usize,
        records: &[u8],
        events: usize,
        now: Duration,
    ) -> io::Result<(SegmentId, usize)> {
        let id = if let Some(id) = self.shelf.open(number) {
            id
        } else {
            let id = self.shelf.number();
            self.spool.create(id, LANES[number])?;
            self.shelf.begun(id, number, now);
            self.shelf.written(id, 0, record::HEADER.len() as u64);
            id
        };
        self.spool.append(id, records)?;
        Ok((id, self.shelf.written(id, events, records.len() as u64)))
    }

    fn failed(&mut self, number: usize, error: &io::Error, now: Duration) {
        self.seal(number);
        self.broken_until = Some(now + AGAIN);
        self.news.trouble = Some(error.to_string());
    }

    /// Nothing more is appended to a lane's segment: the next batch begins another one, so that what is acknowledged
    /// together is removed together.
    pub(crate) fn seal(&mut self, number: usize) {
        if let Some(id) = self.shelf.seal(number) {
            self.spool.seal(id);
            if self.shelf.remove_if_done(id) {
                self.spool.remove(id);
            }
        }
    }

    /// An event is delivered or given up.
    pub(crate) fn settled(&mut self, kept: Kept) {
        if self.shelf.settled(kept) {
            self.spool.remove(kept.segment);
        }
    }

    /// Whether anything of a lane is on disk alone.
    pub(crate) fn waits(&self, number: usize) -> bool {
        self.shelf.waits(number)
    }

    /// Brings the next segment of a lane back into memory. Says what memory that takes; `None`: nothing can be read now.
    pub(crate) fn load(&mut self, number: usize, lane: &mut Lane, now: Duration) -> Option<usize> {
        if self.unreadable.is_some_and(|(_, again)| now < again) {
            return None;
        }
        self.seal(number);
        let id = self.shelf.next(number)?;
        let bytes = match self.spool.read(id) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return self.cannot_read(number, id, &error, now),
        };
        self.unreadable = None;
        let prefix = record::read(&bytes);
        // A writer that was killed leaves the beginning of a record at most, of an event that nobody was told is safe.
        let damaged = match prefix.rest {
            Rest::None => false,
            Rest::Torn => self.spool.is_sealed(id),
            Rest::Damaged => true,
        };
        let mut recovered = 0;
        let places = self.shelf.read(id, prefix.records.len(), || {
            recovered += 1;
            Ticket::default()
        });
        self.news.recovered += recovered;
        // A part of what was written is not there, though nothing looks torn.
        let damaged = damaged || self.shelf.lacks(id);
        let mut taken = 0;
        for (kept, ticket) in places {
            let (event_lane, range) = prefix.records[kept.index].clone();
            let json = bytes.slice(range);
            let Some(uuid) = id_of(&json) else {
                self.news.lost.push(("corrupt", ticket));
                self.settled(kept);
                continue;
            };
            // A copy of its own: a slice would keep the whole segment in memory for as long as one event of it.
            let json = Bytes::copy_from_slice(&json);
            let event = WireEvent { uuid, lane: event_lane, json, stored: None };
            // If the rest of the segment is damaged the file goes, and the event is in memory alone.
            let item = Item::new(event, 0, now, (!damaged).then_some(kept), ticket);
            taken += item.cost();
            lane.push(item);
        }
        if damaged {
            let given_up = self.shelf.give_up(id, "corrupt");
            if let Some(Evicted { lost, .. }) = given_up {
                if lost.is_empty() {
                    self.news.unknown.push("corrupt");
                }
                self.news.lost.extend(lost.into_iter().map(|ticket| ("corrupt", ticket)));
            }
            self.spool.quarantine(id);
        } else if self.shelf.remove_if_done(id) {
            self.spool.remove(id);
        }
        Some(taken)
    }

    /// A segment that is gone is lost. Any other trouble may pass (no more file handles, a disk that is away), so it is
    /// tried again; what stays unreadable is put aside and not removed.
    fn cannot_read(&mut self, number: usize, id: SegmentId, error: &io::Error, now: Duration) -> Option<usize> {
        let reads = 1 + self.unreadable.map_or(0, |(reads, _)| reads);
        if error.kind() != io::ErrorKind::NotFound && reads < READS {
            self.unreadable = Some((reads, now + READ_AGAIN));
            self.shelf.put_back(number, id);
            return None;
        }
        self.unreadable = None;
        let given_up = self.shelf.give_up(id, "corrupt");
        self.spool.quarantine(id);
        self.lose(given_up);
        Some(0)
    }

    /// Keeps what is on disk within its bounds, and looks for what other processes left.
    pub(crate) fn tend(&mut self, now: Duration) {
        if now >= self.look_at {
            match self.spool.adopt() {
                Some(found) => {
                    self.look_at = now + LOOK;
                    for found in found {
                        let id = self.shelf.number();
                        let number = usize::from(found.lane == event::Lane::General);
                        self.shelf.found(id, number, found.bytes, found.age, now);
                        self.spool.enter(id, found);
                    }
                }
                None => self.look_at = now + LOOK_SOON,
            }
        }
        self.bound(now);
    }

    fn bound(&mut self, now: Duration) {
        while let Some(evicted) = self.shelf.over(now) {
            self.spool.remove(evicted.id);
            self.lose(Some(evicted));
        }
    }

    fn lose(&mut self, evicted: Option<Evicted>) {
        let Some(Evicted { id, reason, lost, unread }) = evicted else { return };
        self.spool.remove(id);
        if unread {
            self.news.unknown.push(reason);
        }
        self.news.lost.extend(lost.into_iter().map(|ticket| (reason, ticket)));
    }

    /// When there is something to [`tend`](Self::tend).
    pub(crate) fn wakes_at(&self, now: Duration) -> Duration {
        // When that is over and nothing was read, something else stands in the way, and its end wakes the worker.
        let again = self.unreadable.map(|(_, again)| again).filter(|again| *again > now);
        [self.shelf.expires_at(), again].into_iter().flatten().fold(self.look_at, Duration::min)
    }

    /// What happened since this was asked last.
    pub(crate) fn news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Writes down an event that the sink does not want.
    pub(crate) fn bury(&mut self, reason: &str, why: &str, event: &WireEvent) {
        self.spool.bury(reason, why, &event.json);
    }

    /// Bytes on disk, and events there that are not settled.
    pub(crate) fn holds(&self) -> (u64, usize) {
        (self.shelf.bytes(), self.shelf.owed())
    }

    /// Lets go: what is on disk is for whoever comes next.
    pub(crate) fn leave(mut self) {
        for number in 0..LANES.len() {
            self.seal(number);
        }
        self.spool.leave();
    }
}

/// Whether other processes may have left something for this destination.
pub(crate) fn may_find(config: &Config, destination: &str) -> bool {
    config.spool != SpoolMode::Off && Spool::any(&config.dir, destination)
}

const LANES: [event::Lane; 2] = [event::Lane::Ai, event::Lane::General];
