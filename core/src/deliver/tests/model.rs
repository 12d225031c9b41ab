//! The decisions of delivery (retry, batch, lanes, spool, several sinks) under a simulated clock and simulated servers
//! with faults at random: nothing is lost, nothing is acknowledged twice, nothing spins, and when the servers are well
//! everything gets there.
//!
//! `MODEL_SCHEDULES=10000` tries that many; each failure is made small by proptest and printed.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::deliver::lane::Settled;
use crate::deliver::outlet::Outlet;
use crate::deliver::tally::{End, Ticket};
use crate::event::WireEvent;
use crate::sink::{Carrier, Route, Sending};
use crate::testing::Folder;

/// A carrier that the model answers for itself.
struct Mute(&'static [Route], Option<&'static str>);

impl Carrier for Mute {
    fn place(&self) -> String {
        "model".to_owned()
    }

    fn destination(&self) -> Option<String> {
        self.1.map(str::to_owned)
    }

    fn routes(&self, _lane: Lane) -> &'static [Route] {
        self.0
    }

    fn send(&mut self, _: &[WireEvent], _: Route, _: Duration) -> Sending {
        unreachable!("the model sends")
    }
}

/// How a server is at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Health {
    Well,
    /// Fails, and may say when to come back.
    Failing(Option<u16>),
    /// Takes the events, and its answer is lost.
    Forgetful,
    Denying,
    /// Takes nothing, one by one.
    Rejecting,
    /// Does not have the first route.
    Old,
    Closed,
}

#[derive(Debug, Clone)]
enum Step {
    Capture {
        count: u8,
        size: u16,
        general: bool,
        poison: bool,
    },
    Wait(u32),
    Become(usize, Health),
    /// Somebody flushes.
    Flush,
    Spill(u16),
    /// The process ends: by a shutdown, or killed.
    Restart {
        kill: bool,
    },
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        3 => Just(Health::Well),
        3 => proptest::option::of(0..600u16).prop_map(Health::Failing),
        1 => Just(Health::Forgetful),
        1 => Just(Health::Denying),
        1 => Just(Health::Rejecting),
        1 => Just(Health::Old),
        1 => Just(Health::Closed),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40u8, 0..3000u16, any::<bool>(), proptest::bool::weighted(0.2))
            .prop_map(|(count, size, general, poison)| Step::Capture { count, size, general, poison }),
        5 => prop_oneof![0..2_000u32, 0..60_000u32, 0..4_000_000u32].prop_map(Step::Wait),
        4 => (0..2usize, health()).prop_map(|(sink, health)| Step::Become(sink, health)),
        2 => Just(Step::Flush),
        1 => any::<u16>().prop_map(Step::Spill),
        1 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ]
}

/// A server takes no batch with more bytes than this, and so no event.
const MOST_BYTES: usize = 2500;

struct Server {
    health: Health,
    has: HashSet<Uuid>,
    poison: HashSet<Uuid>,
}

impl Server {
    fn answer(&mut self, route: Route, events: &[WireEvent]) -> Outcome {
        let why = || "as the model wants it".to_owned();
        let mut take = |outcome| {
            self.has.extend(events.iter().map(|event| event.uuid));
            outcome
        };
        match self.health {
            Health::Failing(after) => {
                return Outcome::Later { after: after.map(|seconds| Duration::from_secs(seconds.into())), why: why() };
            }
            Health::Denying => return Outcome::Denied(why()),
            Health::Rejecting => return Outcome::Rejected(why()),
            Health::Closed => return Outcome::Closed { again: Duration::from_secs(60), why: why() },
            Health::Old if route == Route::Ai => return Outcome::NoRoute(why()),
            Health::Well | Health::Old | Health::Forgetful => {}
        }
        if events.iter().map(|event| event.json.len()).sum::<usize>() > MOST_BYTES {
            return Outcome::TooLarge(why());
        }
        if events.iter().any(|event| self.poison.contains(&event.uuid)) {
            return Outcome::Rejected(why());
        }
        if self.health == Health::Forgetful {
            return take(Outcome::Later { after: None, why: why() });
        }
        take(Outcome::Accepted)
    }
}

struct World {
    folder: Folder,
    config: Arc<Config>,
    outlets: Vec<Outlet>,
    servers: Vec<Server>,
    now: Duration,
    dice: u64,
    epoch: u64,
    /// Every event, with its size.
    captured: HashMap<Uuid, usize>,
    /// By sink: what was given up, and what went with a process whose memory alone had it.
    dropped: Vec<HashMap<Uuid, &'static str>>,
    excused: Vec<HashSet<Uuid>>,
    /// By sink, in the life of this process.
    settled: Vec<HashSet<Uuid>>,
    /// Events that are done with for every sink, in the life of this process.
    ended: HashSet<Uuid>,
    /// Good events that a server rejected while it rejected everything.
    rejected: Vec<HashSet<Uuid>>,
}

impl World {
    fn new(spool: SpoolMode, seed: u64) -> Self {
        let folder = Folder::new();
        let mut config = Config::clone(&folder.config(spool));
        config.flush_at = 20;
        config.max_memory = 64 << 10;
        let config = Arc::new(config);
        let server = || Server { health: Health::Well, has: HashSet::new(), poison: HashSet::new() };
        let mut world = Self {
            folder,
            config,
            outlets: Vec::new(),
            servers: vec![server(), server()],
            now: Duration::ZERO,
            dice: seed | 1,
            epoch: 0,
            captured: HashMap::new(),
            dropped: vec![HashMap::new(); 2],
            excused: vec![HashSet::new(); 2],
            settled: vec![HashSet::new(); 2],
            ended: HashSet::new(),
            rejected: vec![HashSet::new(); 2],
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        const ROUTES: &[Route] = &[Route::Ai, Route::Batch];
        // One that keeps what it cannot send on disk, and one that has memory alone.
        let carriers = [Mute(ROUTES, Some("memory")), Mute(&[Route::Local], None)];
        self.outlets = carriers.into_iter().map(|carrier| Outlet::new(Box::new(carrier), &self.config)).collect();
        self.settled = vec![HashSet::new(); 2];
        self.ended.clear();
    }

    fn dice(&mut self) -> f64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as f64 / f64::from(1u32 << 31)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Capture { count, size, general, poison } => {
                let lane = if general { Lane::General } else { Lane::Ai };
                for number in 0..count {
                    let event = event(lane, size.into());
                    self.captured.insert(event.uuid, event.json.len());
                    if poison && number == count / 2 {
                        for server in &mut self.servers {
                            server.poison.insert(event.uuid);
                        }
                    }
                    for (outlet, ticket) in self.outlets.iter_mut().zip(Ticket::for_each(2)) {
                        outlet.enter(event.clone(), self.epoch, self.now, ticket);
                    }
                }
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis.into())),
            Step::Become(sink, health) => self.servers[sink].health = health,
            Step::Flush => {
                for lane in self.outlets.iter_mut().flat_map(|outlet| &mut outlet.lanes) {
                    lane.hurry(self.now);
                }
                self.epoch += 1;
                self.turn(true);
            }
            Step::Spill(bytes) => {
                for outlet in &mut self.outlets {
                    outlet.spill(bytes.into(), self.now);
                }
                self.hear();
            }
            Step::Restart { kill } => self.restart(kill),
        }
        self.turn(false);
    }

    /// Time goes by as it does for the worker: from one thing that is due to the next.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0u64;
        loop {
            self.turn(false);
            let due = self.due();
            if due > until {
                break;
            }
            assert!(due > self.now, "something is due at once, and not done: a busy loop");
            turns += 1;
            // Each failure is followed by a pause of a tenth of a second or more.
            assert!(u128::from(turns) < 100 + time.as_millis() / 25, "{turns} turns in {time:?}");
            self.now = due;
        }
        self.now = until;
    }

    fn due(&self) -> Duration {
        self.outlets.iter().filter_map(|outlet| outlet.wakes_at(self.now, |_| false)).min().unwrap_or(Duration::MAX)
    }

    /// All that is due is done: what the worker's loop does, with the servers' answers at once.
    fn turn(&mut self, hurry: bool) {
        let mut sends = 0;
        loop {
            for outlet in &mut self.outlets {
                outlet.keep(self.now);
                if let Some(keeper) = &mut outlet.keeper {
                    keeper.tend(self.now);
                }
            }
            self.hear();
            let mut some = false;
            for (at, number) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let outlet = &mut self.outlets[at];
                outlet.fetch(number, self.now, 32 << 10);
                let Some((route, events)) = outlet.lanes[number].take(self.now, hurry) else { continue };
                if let Some(keeper) = &mut outlet.keeper {
                    keeper.seal(number);
                }
                assert!(outlet.lanes[number].take(self.now, true).is_none(), "one request at a time");
                (some, sends) = (true, sends + 1);
                assert!(sends < 5000, "a busy loop");
                let outcome = self.servers[at].answer(route, &events);
                let dice = self.dice();
                let settled = self.outlets[at].lanes[number].answered(self.now, outcome, dice);
                self.settle(at, settled);
            }
            self.hear();
            if !some {
                return;
            }
        }
    }

    fn settle(&mut self, at: usize, Settled { delivered, dropped, .. }: Settled) {
        let delivered = delivered.into_iter().map(|item| (End::Delivered, item));
        let dropped = dropped.into_iter().map(|(reason, item)| (End::Dropped(reason), item));
        for (end, item) in delivered.chain(dropped) {
            let uuid = item.event.uuid;
            assert!(self.settled[at].insert(uuid), "acknowledged twice");
            match end {
                End::Delivered => assert!(self.servers[at].has.contains(&uuid), "acknowledged, and not there"),
                End::Dropped(reason) => {
                    if self.servers[at].health == Health::Rejecting {
                        self.rejected[at].insert(uuid);
                    }
                    self.dropped[at].insert(uuid, reason);
                }
            }
            if let (Some(kept), Some(keeper)) = (item.kept, &mut self.outlets[at].keeper) {
                keeper.settled(kept);
            }
            if item.ticket.settle(end).is_some() {
                assert!(self.ended.insert(uuid), "ended twice");
            }
        }
    }

    fn hear(&mut self) {
        for keeper in self.outlets.iter_mut().filter_map(|outlet| outlet.keeper.as_mut()) {
            let news = keeper.news();
            assert!(news.trouble.is_none() && news.lost.is_empty() && news.unknown.is_empty(), "the disk is well");
        }
    }

    /// The process ends and another one begins. What memory alone has is gone, if the process is killed or the sink has
    /// no disk.
    fn restart(&mut self, kill: bool) {
        let now = self.now;
        for (at, mut outlet) in std::mem::take(&mut self.outlets).into_iter().enumerate() {
            for (number, lane) in outlet.lanes.iter_mut().enumerate() {
                lane.abandon();
                if let (false, Some(keeper)) = (kill, &mut outlet.keeper) {
                    keeper.keep_all(number, lane, now);
                }
                let gone = lane.drain().into_iter().filter(|(item, _)| item.kept.is_none());
                self.excused[at].extend(gone.map(|(item, _)| item.event.uuid));
            }
            if let (false, Some(keeper)) = (kill, outlet.keeper.take()) {
                keeper.leave();
            }
        }
        if kill {
            // Another process has another token, and no lock of this one's.
            for dir in std::fs::read_dir(self.folder.0.join("spool")).into_iter().flatten().flatten() {
                for (number, owner) in std::fs::read_dir(dir.path()).unwrap().flatten().enumerate() {
                    if owner.file_name().len() == 33 {
                        let name = format!("{:016x}-{:08x}{:08x}", 0, self.dice >> 32, number);
                        std::fs::rename(owner.path(), dir.path().join(name)).unwrap();
                    }
                }
            }
        }
        self.begin();
    }

    /// The servers are well again: everything gets there, and soon.
    fn end(mut self) {
        self.servers.iter_mut().for_each(|server| server.health = Health::Well);
        let healed = self.now;
        // A refused key and an absent route are asked about again after an hour; `Retry-After` was ten minutes at most;
        // and each poison event may take a probe of its own, half a minute and more after the one before.
        let patience = Duration::from_secs(2 * 3600);
        let mut next = self.now;
        while self.outlets.iter().any(|outlet| (0..2).any(|lane| outlet.owes(lane, u64::MAX))) {
            let due = self.due();
            assert!(
                due > self.now && due < healed + patience,
                "it hangs since {healed:?}: now {:?}, due {due:?}",
                self.now
            );
            self.now = due;
            self.turn(false);
            // The application goes on: of a lane that has but one event, which is rejected, nobody can say whether that
            // is the event's fault.
            if self.now >= next {
                next = self.now + Duration::from_secs(600);
                for general in [false, true] {
                    self.take(&Step::Capture { count: 2, size: 10, general, poison: false });
                }
            }
        }
        for (uuid, size) in &self.captured {
            for at in 0..2 {
                let server = &self.servers[at];
                let has = server.has.contains(uuid);
                let reason = self.dropped[at].get(uuid).copied();
                let fair = match reason {
                    None => has || self.excused[at].contains(uuid),
                    Some("rejected") => server.poison.contains(uuid) || self.rejected[at].contains(uuid),
                    Some("too_big") => *size > MOST_BYTES,
                    Some(_) => false,
                };
                assert!(fair, "sink {at}, {size} bytes: there: {has}, dropped: {reason:?}");
            }
        }
        assert!(
            self.folder.files().iter().all(|path| path.extension().is_none_or(|kind| kind != "seg" && kind != "open"))
        );
    }
}

fn schedules() -> u32 {
    std::env::var("MODEL_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: schedules(), max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_and_everything_ends(
        always in any::<bool>(), seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut world = World::new(if always { SpoolMode::Always } else { SpoolMode::Overflow }, seed);
        for step in steps {
            world.take(&step);
        }
        world.end();
    }
}
