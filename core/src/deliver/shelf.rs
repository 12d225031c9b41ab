//! What is on disk, as far as delivery has to know: which segments there are, and which of their events are still owed.
//!
//! Pure: the keeper does what is decided here. An event of a segment is in memory, waits on disk alone, or is settled; a
//! segment whose events are all settled is removed as a whole.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::tally::Ticket;

/// A segment's number: the order in which they were begun or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId(pub(crate) u64);

/// Where an event is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) segment: SegmentId,
    pub(crate) index: usize,
}

/// How much may be on disk, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 256 << 20, age: Duration::from_secs(7 * 24 * 3600) }
    }
}

#[derive(Debug)]
enum Slot {
    /// In memory too.
    Here,
    /// On disk alone.
    Waiting(Ticket),
    Settled,
}

#[derive(Debug)]
struct Segment {
    lane: usize,
    bytes: u64,
    expires: Duration,
    open: bool,
    /// `None`: left by another process and not read yet.
    slots: Option<Vec<Slot>>,
    /// Events that are not settled, and those of them that wait.
    owed: usize,
    waiting: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shelf {
    bounds: Bounds,
    segments: BTreeMap<SegmentId, Segment>,
    /// The segment that is appended to, by lane.
    open: [Option<SegmentId>; 2],
    /// Segments of which something waits or that nobody read yet, by lane; oldest first. May name some that are gone.
    due: [VecDeque<SegmentId>; 2],
    bytes: u64,
    owed: usize,
    /// Events that wait, by lane, and segments that are not read.
    waiting: [usize; 2],
    unread: [usize; 2],
    serial: u64,
}

/// Why a segment goes before its events are settled.
pub(crate) struct Evicted {
    pub(crate) id: SegmentId,
    pub(crate) reason: &'static str,
    /// The tickets of the events that are lost with it.
    pub(crate) lost: Vec<Ticket>,
    /// It was never read, so nobody knows how many there were.
    pub(crate) unread: bool,
}

impl Shelf {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            segments: BTreeMap::new(),
            open: [None; 2],
            due: [VecDeque::new(), VecDeque::new()],
            bytes: 0,
            owed: 0,
            waiting: [0; 2],
            unread: [0; 2],
            serial: 0,
        }
    }

    /// The segment that a lane's events go to, if one is open.
    pub(crate) fn open(&self, lane: usize) -> Option<SegmentId> {
        self.open[lane]
    }

    /// A number for a segment to come.
    pub(crate) fn number(&mut self) -> SegmentId {
        self.serial += 1;
        SegmentId(self.serial)
    }

    /// A segment was begun.
    pub(crate) fn begun(&mut self, id: SegmentId, lane: usize, now: Duration) {
        self.segments.insert(
            id,
            Segment {
                lane,
                bytes: 0,
                expires: now.saturating_add(self.bounds.age),
                open: true,
                slots: Some(Vec::new()),
                owed: 0,
                waiting: 0,
            },
        );
        self.open[lane] = Some(id);
    }

    /// A segment that another process left was found.
    pub(crate) fn found(&mut self, id: SegmentId, lane: usize, bytes: u64, age: Duration, now: Duration) {
        let expires = now.saturating_add(self.bounds.age.saturating_sub(age));
        self.segments.insert(id, Segment { lane, bytes, expires, open: false, slots: None, owed: 0, waiting: 0 });
        self.bytes += bytes;
        self.unread[lane] += 1;
        self.due[lane].push_back(id);
    }

    /// Bytes were appended to a segment: so many events, all in memory. Says where the first of them is.
    pub(crate) fn written(&mut self, id: SegmentId, events: usize, bytes: u64) -> usize {
        let Some(segment) = self.segments.get_mut(&id) else { return 0 };
        segment.bytes += bytes;
        segment.owed += events;
        self.bytes += bytes;
        self.owed += events;
        let slots = segment.slots.get_or_insert_default();
        let first = slots.len();
        slots.extend((0..events).map(|_| Slot::Here));
        first
    }

    /// How large a segment is, in bytes and events.
    pub(crate) fn size(&self, id: SegmentId) -> (u64, usize) {
        let size = |segment: &Segment| (segment.bytes, segment.slots.as_ref().map_or(0, Vec::len));
        self.segments.get(&id).map_or((0, 0), size)
    }

    /// Nothing more is appended to a lane's segment. Says which one that was.
    pub(crate) fn seal(&mut self, lane: usize) -> Option<SegmentId> {
        let id = self.open[lane].take()?;
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.open = false;
        }
        Some(id)
    }

    /// An event is delivered or given up. True when its segment is to be removed.
    pub(crate) fn settled(&mut self, kept: Kept) -> bool {
        let Some(segment) = self.segments.get_mut(&kept.segment) else { return false };
        let Some(slot) = segment.slots.as_mut().and_then(|slots| slots.get_mut(kept.index)) else { return false };
        if !matches!(slot, Slot::Here) {
            return false;
        }
        *slot = Slot::Settled;
        segment.owed -= 1;
        self.owed -= 1;
        self.remove_if_done(kept.segment)
    }

    /// A segment whose events are all settled, and to which nothing more is appended, is forgotten.
    pub(crate) fn remove_if_done(&mut self, id: SegmentId) -> bool {
        let done =
            self.segments.get(&id).is_some_and(|segment| segment.owed == 0 && !segment.open && segment.slots.is_some());
        if done && let Some(segment) = self.segments.remove(&id) {
            self.bytes -= segment.bytes;
        }
        done
    }

    /// Whether an event's segment is still there.
    pub(crate) fn holds(&self, kept: Kept) -> bool {
        self.segments.contains_key(&kept.segment)
    }

    /// An event is no longer in memory. Gives the ticket back when the segment is gone meanwhile.
    pub(crate) fn parted(&mut self, kept: Kept, ticket: Ticket) -> Result<(), Ticket> {
        let Some(segment) = self.segments.get_mut(&kept.segment) else { return Err(ticket) };
        let Some(slot @ Slot::Here) = segment.slots.as_mut().and_then(|slots| slots.get_mut(kept.index)) else {
            return Err(ticket);
        };
        *slot = Slot::Waiting(ticket);
        segment.waiting += 1;
        if segment.waiting == 1 {
            self.due[segment.lane].push_back(kept.segment);
        }
        self.waiting[segment.lane] += 1;
        Ok(())
    }

    /// Whether anything of a lane is on disk alone.
    pub(crate) fn waits(&self, lane: usize) -> bool {
        self.waiting[lane] + self.unread[lane] > 0
    }

    /// The next segment of a lane to be read.
    pub(crate) fn next(&mut self, lane: usize) -> Option<SegmentId> {
        loop {
            let id = self.due[lane].pop_front()?;
            let wanted = |segment: &Segment| segment.slots.is_none() || segment.waiting > 0;
            if self.segments.get(&id).is_some_and(wanted) {
                return Some(id);
            }
        }
    }

    /// A segment could not be read: its turn comes again.
    pub(crate) fn put_back(&mut self, lane: usize, id: SegmentId) {
        self.due[lane].push_front(id);
    }

    /// Whether a segment that was read does not have everything that was written to it.
    pub(crate) fn lacks(&self, id: SegmentId) -> bool {
        self.segments.get(&id).is_some_and(|segment| segment.waiting > 0)
    }

    /// A segment was read and has so many events. Those that wait (all, when it was found) are in memory now: their
    /// places and tickets. `fresh` makes tickets for those that this process did not capture.
    pub(crate) fn read(
        &mut self,
        id: SegmentId,
        events: usize,
        mut fresh: impl FnMut() -> Ticket,
    ) -> Vec<(Kept, Ticket)> {
        let Some(segment) = self.segments.get_mut(&id) else { return Vec::new() };
        if segment.slots.is_none() {
            self.unread[segment.lane] -= 1;
            self.waiting[segment.lane] += events;
            self.owed += events;
            (segment.owed, segment.waiting) = (events, events);
            segment.slots = Some((0..events).map(|_| Slot::Waiting(fresh())).collect());
        }
        let slots = segment.slots.iter_mut().flatten().enumerate().take(events);
        let mut out = Vec::new();
        for (index, slot) in slots {
            match std::mem::replace(slot, Slot::Here) {
                Slot::Waiting(ticket) => out.push((Kept { segment: id, index }, ticket)),
                other => *slot = other,
            }
        }
        segment.waiting -= out.len();
        self.waiting[segment.lane] -= out.len();
        out
    }

    /// Gives up a segment: what waits in it is lost. Events of it that are in memory stay there.
    pub(crate) fn give_up(&mut self, id: SegmentId, reason: &'static str) -> Option<Evicted> {
        let segment = self.segments.remove(&id)?;
        self.bytes -= segment.bytes;
        self.owed -= segment.owed;
        self.waiting[segment.lane] -= segment.waiting;
        if segment.slots.is_none() {
            self.unread[segment.lane] -= 1;
        }
        if self.open[segment.lane] == Some(id) {
            self.open[segment.lane] = None;
        }
        let unread = segment.slots.is_none();
        let lost = segment.slots.into_iter().flatten().filter_map(|slot| match slot {
            Slot::Waiting(ticket) => Some(ticket),
            Slot::Here | Slot::Settled => None,
        });
        Some(Evicted { id, reason, lost: lost.collect(), unread })
    }

    /// The next segment that goes because there are too many or because it is too old.
    pub(crate) fn over(&mut self, now: Duration) -> Option<Evicted> {
        let expired = self.segments.iter().find(|(_, segment)| segment.expires <= now).map(|(id, _)| *id);
        if let Some(id) = expired {
            return self.give_up(id, "expired");
        }
        let oldest = *self.segments.keys().next()?;
        if self.bytes <= self.bounds.bytes { None } else { self.give_up(oldest, "overflow") }
    }

    /// When the next segment is too old.
    pub(crate) fn expires_at(&self) -> Option<Duration> {
        self.segments.values().map(|segment| segment.expires).min()
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events on disk that are not settled, as far as they were counted.
    pub(crate) fn owed(&self) -> usize {
        self.owed
    }
}
