//! One sink with its lanes, what is under way to it, and what of it is on disk. Each outlet makes its own progress.

use std::time::Duration;

use super::keeper::Keeper;
use super::lane::{Item, Lane, Policy};
use super::shelf::Bounds;
use super::tally::Ticket;
use crate::config::{Config, SpoolMode};
use crate::event::{self, WireEvent};
use crate::sink::{Carrier, Sending};

/// The local store is written sooner than a server is asked: it costs little, and people look at it at once.
const LOCAL_INTERVAL: Duration = Duration::from_millis(500);
/// The same where every event is to be on disk at once: the store is the disk.
const LOCAL_AT_ONCE: Duration = Duration::from_millis(10);
/// Below so many bytes in line, what waits on disk is brought back.
const LOW: usize = 1 << 20;

/// See the module.
pub(crate) struct Outlet {
    pub(crate) carrier: Box<dyn Carrier>,
    /// Where the events go, for people.
    pub(crate) place: String,
    pub(crate) lanes: [Lane; 2],
    /// What is under way, by lane.
    pub(crate) sends: [Option<Sending>; 2],
    pub(crate) keeper: Option<Keeper>,
}

/// The lane of an event.
pub(crate) fn index(lane: event::Lane) -> usize {
    match lane {
        event::Lane::Ai => 0,
        event::Lane::General => 1,
    }
}

impl Outlet {
    pub(crate) fn new(carrier: Box<dyn Carrier>, config: &Config) -> Self {
        let flush_interval = match (carrier.is_local(), config.spool) {
            (true, SpoolMode::Always) => config.flush_interval.min(LOCAL_AT_ONCE),
            (true, _) => config.flush_interval.min(LOCAL_INTERVAL),
            (false, _) => config.flush_interval,
        };
        let policy = Policy { flush_at: config.flush_at, flush_interval, max_retries: config.max_retries };
        let lanes = [event::Lane::Ai, event::Lane::General].map(|lane| Lane::new(policy, carrier.routes(lane)));
        let keeper = carrier.destination().and_then(|destination| Keeper::new(config, &destination, Bounds::default()));
        Self { place: carrier.place(), carrier, lanes, sends: [None, None], keeper }
    }

    /// Puts an event in its lane.
    pub(crate) fn enter(&mut self, event: WireEvent, epoch: u64, now: Duration, ticket: Ticket) {
        self.lanes[index(event.lane)].push(Item::new(event, epoch, now, None, ticket));
    }

    /// Whether anything of this epoch or an older one is not settled; what waits on disk is older than any.
    pub(crate) fn owes(&self, lane: usize, epoch: u64) -> bool {
        self.lanes[lane].owes(epoch) || self.keeper.as_ref().is_some_and(|keeper| keeper.waits(lane))
    }

    /// Whether it can make room in memory.
    pub(crate) fn can_spill(&self, now: Duration) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.works(now))
    }

    /// Makes room in memory: about so many bytes. Says how many it were.
    pub(crate) fn spill(&mut self, bytes: usize, now: Duration) -> usize {
        let Some(keeper) = &mut self.keeper else { return 0 };
        let mut freed = 0;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let share = bytes.saturating_sub(freed).min(lane.queue_bytes());
            if share > 0 {
                freed += keeper.spill(number, lane, share, now);
            }
        }
        freed
    }

    /// Puts on disk what of its lanes is to be there. Says whether it has a disk at all.
    pub(crate) fn keep(&mut self, now: Duration) -> bool {
        let Some(keeper) = &mut self.keeper else { return false };
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if keeper.wants(lane, now) {
                keeper.keep(number, lane, now);
            }
        }
        true
    }

    /// Brings a lane's events back from the disk while there is `room` in memory. Says how many bytes of it that took.
    pub(crate) fn fetch(&mut self, number: usize, now: Duration, room: usize) -> usize {
        let Some(keeper) = &mut self.keeper else { return 0 };
        let lane = &mut self.lanes[number];
        let mut taken = 0;
        while keeper.waits(number) && (lane.is_empty() || (lane.queue_bytes() < LOW && !lane.rests() && taken < room)) {
            let Some(bytes) = keeper.load(number, lane, now) else { break };
            taken += bytes;
        }
        taken
    }

    /// When something of it is due, if nobody calls before.
    pub(crate) fn wakes_at(&self, now: Duration, hurried: impl Fn(usize) -> bool) -> Option<Duration> {
        let lanes = self.lanes.iter().enumerate().filter_map(|(number, lane)| lane.wakes_at(hurried(number)));
        lanes.chain(self.keeper.as_ref().map(|keeper| keeper.wakes_at(now))).min()
    }
}
