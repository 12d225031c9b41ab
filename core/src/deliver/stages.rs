//! The queue and the spool as stages that can be measured: what their threads do, without the threads.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::Keeper;
use super::lane::{Item, Lane, Policy};
use super::queue::Life;
use super::shelf::Bounds;
use super::tally::Ticket;
use super::{Delivery, Stage, worker};
use crate::config::Config;
use crate::event::{self, WireEvent};
use crate::sink::{Carrier, Outcome, Route, Sending};

/// A stage that has its events already.
struct Passing;

impl Stage for Passing {
    type Input = WireEvent;

    fn process(&mut self, input: WireEvent, out: &mut Vec<WireEvent>) {
        out.push(input);
    }

    fn tick(&mut self, _out: &mut Vec<WireEvent>) {}

    fn wakes_in(&self) -> Option<Duration> {
        None
    }

    fn drain(&mut self, _last: bool, _out: &mut Vec<WireEvent>) {}

    fn held(&self) -> usize {
        0
    }
}

/// A sink that has everything at once.
struct Swallowing;

impl Carrier for Swallowing {
    fn place(&self) -> String {
        String::new()
    }

    fn routes(&self, _lane: event::Lane) -> &'static [Route] {
        &[Route::Ai]
    }

    fn send(&mut self, _events: &[WireEvent], _route: Route, _deadline: Duration) -> Sending {
        Sending::done(Outcome::Accepted)
    }
}

/// From the caller's hand-over to the sink's answer. Gives how many were delivered.
pub(crate) fn queue(config: Arc<Config>, events: Vec<WireEvent>) -> usize {
    let delivery = Delivery::build(config, Passing, vec![Box::new(Swallowing)]);
    // Else the first one would start the thread.
    delivery.shared.state().life = Life::Running;
    for event in events {
        let size = event.json.len();
        delivery.offer(event, size);
    }
    worker::at_once(&delivery.shared);
    usize::try_from(delivery.stats().report.delivered).unwrap_or(usize::MAX)
}

/// To the disk, and back from there. Gives how many came back.
pub(crate) fn spool(config: &Config, events: Vec<WireEvent>) -> usize {
    const NOW: Duration = Duration::ZERO;
    const NUMBER: usize = 0;
    let Some(mut keeper) = Keeper::new(config, "measured", Bounds::default()) else { return 0 };
    let policy = Policy { flush_at: config.flush_at, flush_interval: config.flush_interval, max_retries: 0 };
    let mut lane = Lane::new(policy, &[Route::Ai]);
    for event in events {
        lane.push(Item::new(event, 0, NOW, None, Ticket::default()));
    }
    keeper.spill(NUMBER, &mut lane, usize::MAX, NOW);
    while keeper.waits(NUMBER) && keeper.load(NUMBER, &mut lane, NOW).is_some() {}
    let back = lane.drain();
    back.iter().filter_map(|(item, _)| item.kept).for_each(|kept| keeper.settled(kept));
    let count = back.len();
    drop(back);
    keeper.leave();
    count
}
