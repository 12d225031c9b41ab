//! The lane under a simulated clock and server.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::event;

const AI: &[Route] = &[Route::Ai, Route::Batch];
const POLICY: Policy = Policy { flush_at: 20, flush_interval: Duration::from_secs(5), max_retries: 3 };

fn sized(number: u128, size: usize) -> WireEvent {
    let json = format!(r#"{{"event":"e","properties":{{"text":"{}"}}}}"#, "x".repeat(size));
    WireEvent { uuid: Uuid::from_u128(number), lane: event::Lane::Ai, json: Bytes::from(json), stored: None }
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn later(why: &str) -> Outcome {
    Outcome::Later { after: None, why: why.to_owned() }
}

fn push(lane: &mut Lane, event: WireEvent, epoch: u64, now: Duration) {
    lane.push(Item::new(event, epoch, now, None, Ticket::default()));
}

fn lane(events: u128) -> Lane {
    let mut lane = Lane::new(POLICY, AI);
    for number in 0..events {
        push(&mut lane, sized(number, 10), 0, Duration::ZERO);
    }
    lane
}

/// Answers every request that goes out now; says how many events each had.
fn pump(lane: &mut Lane, now: Duration, mut answer: impl FnMut(Route, &[WireEvent]) -> Outcome) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let Some((route, events)) = lane.take(now, true) {
        sizes.push(events.len());
        assert!(sizes.len() < 10_000, "a busy loop");
        lane.answered(now, answer(route, &events), 1.0);
    }
    sizes
}

#[test]
fn a_batch_is_due_when_it_is_full_or_old_or_somebody_waits() {
    let mut lane = lane(3);
    assert_eq!(lane.wakes_at(false), Some(secs(5.0)));
    assert!(lane.take(secs(4.9), false).is_none());
    assert_eq!(lane.take(secs(5.0), false).map(|(_, events)| events.len()), Some(3));
    lane.abandon();
    assert_eq!(lane.take(secs(0.0), true).map(|(_, events)| events.len()), Some(3));
    for number in 10..40 {
        push(&mut lane, sized(number, 10), 0, secs(1.0));
    }
    assert!(lane.take(secs(1.0), false).is_none(), "one request at a time");
    lane.answered(secs(1.0), Outcome::Accepted, 0.0);
    assert_eq!(lane.take(secs(1.0), false).map(|(_, events)| events.len()), Some(20));
}

#[test]
fn four_requests_and_then_a_rest_of_thirty_seconds() {
    let mut lane = lane(3);
    let mut at = Vec::new();
    let mut now = secs(0.0);
    while at.len() < 6 {
        now = now.max(lane.wakes_at(true).unwrap());
        assert_eq!(lane.take(now, true).map(|(_, events)| events.len()), Some(3));
        at.push(now);
        lane.answered(now, later("status 503"), 1.0);
    }
    assert_eq!(at[..4], [secs(0.0), secs(0.5), secs(1.5), secs(3.5)]);
    assert!(at[4] >= at[3] + secs(30.0));
    assert!(at[5] >= at[4] + secs(60.0), "a probe is one request");
}

#[test]
fn nothing_goes_sooner_than_the_server_said() {
    let mut lane = lane(1);
    lane.take(secs(0.0), true);
    lane.answered(secs(0.0), Outcome::Later { after: Some(secs(60.0)), why: String::new() }, 0.0);
    lane.hurry(secs(1.0));
    assert!(lane.take(secs(59.9), true).is_none());
    assert!(lane.stuck(secs(1.0), secs(30.0)));
    assert!(!lane.stuck(secs(1.0), secs(61.0)));
    assert!(lane.take(secs(60.0), true).is_some());
}

#[test]
fn an_absent_route_is_left_alone_for_an_hour() {
    let mut lane = lane(1);
    let mut routes = Vec::new();
    for minute in [0u32, 1, 59, 61] {
        push(&mut lane, sized(u128::from(minute) + 50, 10), 0, secs(0.0));
        pump(&mut lane, secs(60.0) * minute, |route, _| {
            routes.push(route);
            if route == Route::Ai { Outcome::NoRoute(String::new()) } else { Outcome::Accepted }
        });
    }
    assert_eq!(routes, [Route::Ai, Route::Batch, Route::Batch, Route::Batch, Route::Ai, Route::Batch]);
    assert_eq!(lane.len(), 0);
}

#[test]
fn with_no_route_left_the_lane_rests() {
    let mut lane = lane(1);
    assert_eq!(pump(&mut lane, secs(0.0), |_, _| Outcome::NoRoute(String::new())), [1, 1]);
    assert!(lane.wakes_at(true) >= Some(secs(30.0)));
    assert_eq!(pump(&mut lane, secs(40.0), |_, _| Outcome::Accepted), [1]);
}

#[test]
fn a_refused_key_stops_the_lane_for_an_hour_and_a_hurry_does_not_help() {
    let mut lane = lane(1);
    pump(&mut lane, secs(0.0), |_, _| Outcome::Denied(String::new()));
    lane.hurry(secs(1.0));
    assert!(lane.stuck(secs(1.0), secs(9000.0)));
    assert_eq!(lane.wakes_at(true), Some(secs(3600.0)));
    assert_eq!(pump(&mut lane, secs(3600.0), |_, _| Outcome::Accepted), [1]);
}

#[test]
fn a_sink_that_rejects_everything_is_found_out_in_a_few_requests_and_loses_nothing() {
    let mut lane = lane(100);
    let sizes = pump(&mut lane, secs(0.0), |_, _| Outcome::Rejected(String::new()));
    assert!(sizes.len() <= 16, "{sizes:?}");
    assert_eq!(lane.len(), 100);
    // A probe is a single event, each time another one.
    let mut probed = HashSet::new();
    let mut now = secs(0.0);
    for _ in 0..5 {
        now = lane.wakes_at(true).unwrap();
        let sizes = pump(&mut lane, now, |_, events| {
            probed.insert(events[0].uuid);
            Outcome::Rejected(String::new())
        });
        assert_eq!(sizes, [1]);
    }
    assert_eq!(probed.len(), 5);
    pump(&mut lane, now + secs(600.0), |_, _| Outcome::Accepted);
    assert_eq!(lane.len(), 0);
}

#[test]
fn a_single_rejected_event_is_asked_about_once_and_blocks_no_flush() {
    let mut lane = lane(1);
    assert_eq!(pump(&mut lane, secs(0.0), |_, _| Outcome::Rejected(String::new())), [1]);
    assert!(lane.stuck(secs(0.0), secs(10.0)));
}

#[test]
fn a_poisonous_event_that_came_alone_is_told_from_those_that_come_later() {
    let mut lane = lane(1);
    let mut accepted = 0;
    let mut answer = |events: &[WireEvent]| {
        if events.iter().any(|event| event.uuid.as_u128() == 0) {
            return Outcome::Rejected(String::new());
        }
        accepted += events.len();
        Outcome::Accepted
    };
    assert_eq!(pump(&mut lane, secs(0.0), |_, events| answer(events)), [1]);
    for number in 1..4 {
        push(&mut lane, sized(number, 10), 0, secs(1.0));
    }
    let now = lane.wakes_at(true).unwrap();
    assert!(now <= secs(33.0), "{now:?}");
    // Not that one again, but another; then the rest; then what is to blame is known.
    pump(&mut lane, now, |_, events| answer(events));
    assert_eq!((accepted, lane.len()), (3, 0));
}

#[test]
fn two_poisonous_events_side_by_side_or_far_apart_are_given_up_and_the_others_delivered() {
    for poison in [[0, 1], [0, 99], [49, 50], [98, 99], [0, 50]] {
        let mut lane = lane(100);
        let mut now = secs(0.0);
        let mut accepted = HashSet::new();
        while !lane.is_empty() {
            pump(&mut lane, now, |_, events| {
                if events.iter().any(|event| poison.contains(&event.uuid.as_u128())) {
                    return Outcome::Rejected(String::new());
                }
                accepted.extend(events.iter().map(|event| event.uuid));
                Outcome::Accepted
            });
            now += secs(30.0);
            assert!(now < secs(3600.0), "{poison:?}");
        }
        assert_eq!(accepted.len(), 98, "{poison:?}");
    }
}

#[test]
fn too_large_alone_is_shortened_once_and_then_given_up() {
    let mut lane = Lane::new(POLICY, AI);
    push(&mut lane, sized(1, 500_000), 0, secs(0.0));
    let mut sizes = Vec::new();
    let (route, events) = lane.take(secs(0.0), true).unwrap();
    assert_eq!(route, Route::Ai);
    sizes.push(events[0].json.len());
    assert!(lane.answered(secs(0.0), Outcome::TooLarge(String::new()), 0.0).dropped.is_empty());
    let (_, events) = lane.take(secs(0.0), true).unwrap();
    sizes.push(events[0].json.len());
    assert!(sizes[1] <= sizes[0] / 2, "{sizes:?}");
    let settled = lane.answered(secs(0.0), Outcome::TooLarge(String::new()), 0.0);
    assert_eq!(settled.dropped.len(), 1);
    assert_eq!(settled.dropped[0].0, "too_big");
    assert_eq!(lane.len(), 0);
}

#[test]
fn a_small_event_that_is_too_large_alone_is_not_sent_twice() {
    let mut lane = lane(1);
    assert_eq!(pump(&mut lane, secs(0.0), |_, _| Outcome::TooLarge(String::new())), [1]);
    assert_eq!(lane.len(), 0);
}

#[test]
fn what_is_over_a_routes_limit_is_shortened_before_it_goes() {
    let mut lane = Lane::new(POLICY, AI);
    push(&mut lane, sized(1, 10 << 20), 0, secs(0.0));
    let before = cost(&sized(1, 10 << 20));
    let (_, events) = lane.take(secs(0.0), true).unwrap();
    assert!(events[0].json.len() <= 8 << 20);
    assert_eq!(lane.answered(secs(0.0), Outcome::Accepted, 0.0).freed, before);
}

#[test]
fn batches_shrink_to_what_the_server_takes_and_grow_back_slowly() {
    let mut lane = Lane::new(Policy { flush_at: 100, ..POLICY }, AI);
    let mut number = 0;
    let mut run = |limit: usize| {
        for _ in 0..2000 {
            push(&mut lane, sized(number, 500), 0, secs(0.0));
            number += 1;
        }
        let mut refused = 0;
        let sizes = pump(&mut lane, secs(0.0), |_, events| {
            if events.iter().map(|event| event.json.len()).sum::<usize>() > limit {
                refused += 1;
                return Outcome::TooLarge(String::new());
            }
            Outcome::Accepted
        });
        (sizes, refused)
    };
    let (sizes, refused) = run(20_000);
    assert!(refused * 4 < sizes.len(), "{refused} of {}", sizes.len());
    let most: Vec<usize> = (0..8).map(|_| run(usize::MAX).0.into_iter().max().unwrap()).collect();
    assert!(most[0] < 200 && most[7] > 900, "{most:?}");
}

/// What befalls a request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Unavailable,
    /// Seconds.
    Throttled(u32),
    /// The server has the events, but the answer is lost.
    LostAnswer,
    NoAiRoute,
    Denied,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        4 => Just(Fault::Unavailable),
        2 => (1u32..90).prop_map(Fault::Throttled),
        2 => Just(Fault::LostAnswer),
        2 => Just(Fault::NoAiRoute),
        1 => Just(Fault::Denied),
    ]
}

/// One life of a lane.
#[derive(Debug, Clone)]
struct Schedule {
    /// When events come: the pause before each, in milliseconds; its size; whether it is poison.
    events: Vec<(u32, usize, bool)>,
    faults: Vec<Fault>,
    /// Bytes and events that the server takes at once.
    most_bytes: usize,
    most_events: usize,
    /// Rejects everything between these seconds.
    rejecting: (u32, u32),
    /// When somebody flushes, in milliseconds.
    flushes: Vec<u32>,
    dice: Vec<f64>,
}

fn schedule(poison: f64, rejecting: bool) -> impl Strategy<Value = Schedule> {
    let one = (0u32..400, prop_oneof![9 => 10usize..2000, 1 => 2000usize..200_000], prop::bool::weighted(poison));
    let phase = if rejecting { (0u32..20, 0u32..100).boxed() } else { Just((0, 0)).boxed() };
    (
        prop::collection::vec(one, 1..80),
        prop::collection::vec(fault(), 0..40),
        prop_oneof![Just(usize::MAX), 100_000usize..1_000_000],
        prop_oneof![Just(usize::MAX), 1usize..30],
        phase,
        prop::collection::vec(0u32..100_000, 0..6),
        prop::collection::vec(0.0f64..=1.0, 1..8),
    )
        .prop_map(|(events, faults, most_bytes, most_events, (from, length), flushes, dice)| Schedule {
            events,
            faults,
            most_bytes,
            most_events,
            rejecting: (from, from + length),
            flushes,
            dice,
        })
}

#[derive(Default)]
struct Fate {
    /// What the server has, by event.
    has: HashSet<u128>,
    acknowledged: HashMap<u128, usize>,
    dropped: HashMap<u128, &'static str>,
    requests: usize,
    ended: Duration,
}

/// Lives a schedule to the end: until the lane is empty, or has had two days.
fn live(schedule: &Schedule) -> Fate {
    const REQUEST: Duration = Duration::from_millis(20);
    const END: Duration = Duration::from_secs(2 * 24 * 3600);
    let mut lane = Lane::new(POLICY, AI);
    let mut fate = Fate::default();
    let poison: HashSet<u128> =
        (0..).zip(&schedule.events).filter(|(_, one)| one.2).map(|(number, _)| number).collect();
    let mut arrivals = Vec::new();
    let mut at = Duration::ZERO;
    for (number, (pause, size, _)) in (0u128..).zip(&schedule.events) {
        at += Duration::from_millis(u64::from(*pause));
        arrivals.push((at, sized(number, *size)));
    }
    arrivals.reverse();
    let mut flushes: Vec<Duration> = schedule.flushes.iter().map(|at| Duration::from_millis(u64::from(*at))).collect();
    flushes.sort_unstable_by(|a, b| b.cmp(a));
    let mut faults = schedule.faults.iter().copied();
    let mut dice = schedule.dice.iter().copied().cycle();
    let (mut now, mut hurry, mut pushed) = (Duration::ZERO, false, 0);
    let mut not_before = Duration::ZERO;
    let (mut epoch, mut flushing) = (0, None);
    loop {
        while arrivals.last().is_some_and(|(at, _)| *at <= now) {
            let (_, event) = arrivals.pop().unwrap();
            push(&mut lane, event, epoch, now);
            pushed += 1;
        }
        if flushes.last().is_some_and(|at| *at <= now) {
            flushes.pop();
            lane.hurry(now);
            flushing = Some(epoch);
            epoch += 1;
            hurry = true;
        }
        if flushing.is_some_and(|epoch| !lane.owes(epoch) || lane.stuck(now, now + secs(2.0))) {
            hurry = false;
        }
        if let Some((route, events)) = lane.take(now, hurry) {
            fate.requests += 1;
            assert!(now >= not_before, "sooner than the server said");
            let ids: Vec<u128> = events.iter().map(|event| event.uuid.as_u128()).collect();
            let bytes: usize = events.iter().map(|event| event.json.len()).sum();
            now += REQUEST;
            let fault = faults.next().unwrap_or(Fault::None);
            let rejecting = now >= secs(schedule.rejecting.0.into()) && now < secs(schedule.rejecting.1.into());
            let outcome = match fault {
                Fault::Unavailable => later("503"),
                Fault::Throttled(after) => {
                    not_before = now + secs(after.into());
                    Outcome::Later { after: Some(secs(after.into())), why: "429".to_owned() }
                }
                Fault::NoAiRoute if route == Route::Ai => Outcome::NoRoute("404".to_owned()),
                Fault::Denied => Outcome::Denied("401".to_owned()),
                _ if bytes > schedule.most_bytes || ids.len() > schedule.most_events => {
                    Outcome::TooLarge("413".to_owned())
                }
                _ if rejecting || ids.iter().any(|id| poison.contains(id)) => Outcome::Rejected("400".to_owned()),
                Fault::LostAnswer => {
                    fate.has.extend(&ids);
                    later("reset")
                }
                Fault::None | Fault::NoAiRoute => {
                    fate.has.extend(&ids);
                    Outcome::Accepted
                }
            };
            let settled = lane.answered(now, outcome.clone(), dice.next().unwrap());
            if outcome == Outcome::Accepted {
                assert_eq!(settled.delivered.len(), ids.len());
                for id in &ids {
                    *fate.acknowledged.entry(*id).or_default() += 1;
                }
            } else {
                assert!(settled.delivered.is_empty());
            }
            for (reason, item) in settled.dropped {
                assert_eq!(fate.dropped.insert(item.event.uuid.as_u128(), reason), None);
            }
            assert_eq!(pushed, fate.acknowledged.len() + fate.dropped.len() + lane.len(), "the sum");
        } else {
            let due = lane.wakes_at(hurry);
            assert!(due.is_none_or(|due| due > now), "due, but nothing was taken: a busy loop");
            let next = [due, arrivals.last().map(|(at, _)| *at), flushes.last().copied()].into_iter().flatten().min();
            match next {
                Some(next) if next < END => now = next,
                _ => break,
            }
        }
        assert!(fate.requests < 5000, "a busy loop");
    }
    fate.ended = now;
    fate
}

/// Enough for every build; `PROPTEST_CASES=10000` for a long look.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn once_the_server_is_well_every_event_is_there_and_acknowledged_once(schedule in schedule(0.0, true)) {
        let fate = live(&schedule);
        for id in 0..schedule.events.len() as u128 {
            let dropped = fate.dropped.get(&id);
            prop_assert!(fate.has.contains(&id) || dropped.is_some(), "event {} is lost", id);
            // Alone larger than what the server takes, as it is: the one good reason.
            prop_assert!(dropped.is_none() || dropped == Some(&"too_big"), "{:?}", dropped);
            prop_assert_eq!(fate.acknowledged.get(&id).copied().unwrap_or(0), usize::from(dropped.is_none()));
        }
    }

    #[test]
    fn poison_is_given_up_and_nothing_else(schedule in schedule(0.05, false)) {
        let fate = live(&schedule);
        let good = |id: u128| !schedule.events[usize::try_from(id).unwrap()].2;
        for id in 0..schedule.events.len() as u128 {
            if good(id) {
                prop_assert_eq!(fate.acknowledged.get(&id), Some(&1), "event {}: {:?}", id, fate.dropped.get(&id));
            } else {
                // Alone in the lane a poisonous event looks like a sink that rejects everything, and is kept.
                prop_assert!(!fate.has.contains(&id));
                prop_assert!(fate.dropped.get(&id).is_none_or(|reason| *reason == "rejected"));
            }
        }
    }
}
