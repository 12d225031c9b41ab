//! What pages say of a store, beside what is counted event by event in the file: for stores made by chance, from which
//! something was removed, in which something was priced anew, and into which something was written while they were read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::columns::Columns;
use super::super::data::{Data, Of, Sums};
use super::super::filter::Filter;
use super::super::gather::{self, Slice};
use super::super::load;
use super::super::query::{By, Found, Ready, Wanted, groups};
use crate::event::{Event, WireEvent};
use crate::price::Amount;
use crate::sink::store::prune::Which;
use crate::sink::store::reprice::Rewrite;
use crate::sink::store::{FILE, Store};
use crate::store::Reader;
use crate::testing::Folder;

/// Milliseconds since 1970.
const NOW: i64 = 1_780_000_000_000;

/// An event as the file has it.
#[derive(Debug, Clone)]
struct Plain {
    kind: String,
    time: i64,
    user: Option<String>,
    trace: String,
    session: Option<String>,
    model: Option<String>,
    is_error: bool,
    latency: Option<f64>,
    input: u64,
    output: u64,
    cost: Option<Amount>,
}

impl Plain {
    fn is_call(&self) -> bool {
        matches!(self.kind.as_str(), "$ai_generation" | "$ai_embedding")
    }

    fn tokens(&self) -> u64 {
        self.input + self.output
    }

    fn is_for(&self, user: &str) -> bool {
        self.user.as_deref() == Some(user)
    }

    fn is_of(&self, model: &str) -> bool {
        self.model.as_deref() == Some(model)
    }
}

fn plain(file: &Path) -> Vec<Plain> {
    let db = rusqlite::Connection::open(file).unwrap();
    let sql = "SELECT event, timestamp_ms, nullif(distinct_id, coalesce(trace_id, uuid)), coalesce(trace_id, uuid), session_id,
        model, is_error, latency, coalesce(total_input_tokens, 0), coalesce(output_tokens, 0), cost_nano, cost_atto FROM events ORDER BY id";
    let mut find = db.prepare(sql).unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let (nano, atto): (Option<i64>, Option<i64>) = (row.get(10)?, row.get(11)?);
        Ok(Plain {
            kind: row.get(0)?,
            time: row.get(1)?,
            user: row.get(2)?,
            trace: row.get(3)?,
            session: row.get(4)?,
            model: row.get(5)?,
            is_error: row.get(6)?,
            latency: row.get(7)?,
            input: row.get::<_, u32>(8)?.into(),
            output: row.get::<_, u32>(9)?.into(),
            cost: nano
                .zip(atto)
                .map(|(nano, atto)| Amount::from_atto(i128::from(nano) * 1_000_000_000 + i128::from(atto))),
        })
    };
    find.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// Conditions, what they ask of an event, and what of a trace's events. Of traces none of these asks for sums.
type Asked = (&'static str, fn(&Plain) -> bool, fn(&[&Plain]) -> bool);

/// A trace is there for one of its events, or for none of them where a condition is turned round.
const CONDITIONS: [Asked; 11] = [
    ("", |_| true, |_| true),
    ("status:error", |event| event.is_error, |all| all.iter().any(|event| event.is_error)),
    ("status:ok", |event| !event.is_error, |all| all.iter().all(|event| !event.is_error)),
    ("user:u1", |event| event.is_for("u1"), |all| all.iter().any(|event| event.is_for("u1"))),
    ("-user:U*", |event| event.user.is_none(), |all| all.iter().all(|event| event.user.is_none())),
    ("session:s*", |event| event.session.is_some(), |all| all.iter().any(|event| event.session.is_some())),
    ("model:M1*", |event| event.is_of("m1"), |all| all.iter().any(|event| event.is_of("m1"))),
    ("-model:m1", |event| !event.is_of("m1"), |all| all.iter().all(|event| !event.is_of("m1"))),
    (
        "user:u1 -status:error -model:m1",
        |event| event.is_for("u1") && !event.is_error && !event.is_of("m1"),
        |all| {
            let some = all.iter().any(|event| event.is_for("u1"));
            some && all.iter().all(|event| !event.is_error && !event.is_of("m1"))
        },
    ),
    ("-trace:t1", |event| event.trace != "t1", |all| all.iter().all(|event| event.trace != "t1")),
    (
        "kind:generation",
        |event| event.kind == "$ai_generation",
        |all| all.iter().any(|event| event.kind == "$ai_generation"),
    ),
];

/// Conditions on numbers, of a call and of a trace's sums.
type Measured = (&'static str, fn(&Plain) -> bool, fn(&[&Plain]) -> bool);

const MEASURES: [Measured; 5] = [
    ("", |_| true, |_| true),
    (
        "cost:<0.5",
        |event| event.cost.is_some_and(|cost| cost.to_f64() < 0.5),
        |all| all.iter().any(|event| event.is_call() && event.cost.is_some()) && spent(all).to_f64() < 0.5,
    ),
    ("cost:>0.5", |event| event.cost.is_some_and(|cost| cost.to_f64() > 0.5), |all| spent(all).to_f64() > 0.5),
    (
        "tokens:100..900",
        |event| event.is_call() && (100..=900).contains(&event.tokens()),
        |all| {
            (100..=900).contains(&all.iter().filter(|event| event.is_call()).map(|event| event.tokens()).sum::<u64>())
        },
    ),
    ("-latency:<2s", |event| event.latency.is_none_or(|latency| latency >= 2.0), |all| took(all) >= 2.0),
];

fn spent(events: &[&Plain]) -> Amount {
    events.iter().filter(|event| event.is_call()).filter_map(|event| event.cost).sum()
}

/// Seconds of a trace.
fn took(events: &[&Plain]) -> f64 {
    // The events are in the order of their ids.
    let own = events.iter().filter(|event| event.kind == "$ai_trace").min_by_key(|own| own.time);
    let own = own.and_then(|own| own.latency);
    let start = events.iter().map(|event| event.time).min().unwrap();
    let end = events.iter().map(|event| event.time + (event.latency.unwrap_or(0.0) * 1000.0) as i64).max().unwrap();
    own.unwrap_or((end - start) as f64 / 1000.0)
}

fn sums(events: &[&Plain]) -> Sums {
    let calls: Vec<&&Plain> = events.iter().filter(|event| event.is_call()).collect();
    let count = |holds: fn(&Plain) -> bool| calls.iter().filter(|event| holds(event)).count() as u64;
    Sums {
        calls: calls.len() as u64,
        errors: count(|event| event.is_error),
        unpriced: count(|event| event.cost.is_none() && (!event.is_error || event.tokens() > 0)),
        input: calls.iter().map(|event| event.input).sum(),
        cached: 0,
        output: calls.iter().map(|event| event.output).sum(),
        cost: spent(events),
        saved: 0.0,
    }
}

/// Compares every list with the plain count, for a filter.
fn compare(store: &load::Store, events: &[Plain], condition: &Asked, measure: &Measured, since: i64) {
    let filter = Filter::parse(&format!("{} {}", condition.0, measure.0)).unwrap();
    let find = |term: &super::super::filter::Term| {
        use super::super::filter::{Field, Test};
        let Test::Text(Field::Trace | Field::Session | Field::User, pattern) = &term.test else {
            return Found::default();
        };
        Found { ids: store.ids_like(pattern).unwrap(), events: store.lone_like(pattern).unwrap() }
    };
    let found = filter.terms.iter().map(find).collect();
    let data = store.since(i64::MIN);
    let ready = Ready::new(&data, &filter, since, found);
    let left: Vec<&Plain> =
        events.iter().filter(|event| event.time >= since && condition.1(event) && measure.1(event)).collect();
    let calls: Vec<&Plain> = left.iter().copied().filter(|event| event.is_call()).collect();
    let asked = format!("{condition:?} {measure:?} since {since}", condition = condition.0, measure = measure.0);

    let mut all = Sums::default();
    ready.calls(&data, Columns::SUMS, |event, form| all.add(event, form));
    assert_eq!(all, sums(&calls), "{asked}");

    let by_model = by(&calls, |event| Some(event.model.clone()));
    let wanted = Wanted { latencies: true, people: true };
    let mut found: Vec<_> = groups(&data, &ready, Of::Calls, wanted, |form| Some((form.model, 0)))
        .into_iter()
        .map(|group| {
            (data.text(group.key.0).map(str::to_owned), group.sums, group.traces, group.users, group.latencies.len())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let counted = by_model.into_iter().map(|(model, events)| {
        let traces = events.iter().map(|event| &event.trace).collect::<BTreeSet<_>>().len() as u64;
        let users = events.iter().filter_map(|event| event.user.as_ref()).collect::<BTreeSet<_>>().len() as u64;
        (model, sums(&events), traces, users, events.iter().filter(|event| event.latency.is_some()).count())
    });
    assert_eq!(found, counted.collect::<Vec<_>>(), "{asked}");

    members(store, &data, &ready, &calls, &asked);
    // A trace is there for its events in time, and is shown with all of them.
    let in_time: Vec<&Plain> = events.iter().filter(|event| event.time >= since).collect();
    let here: BTreeSet<String> = by(&in_time, |event| Some(event.trace.clone()))
        .into_iter()
        .filter_map(|(id, all)| condition.2(&all).then_some(id))
        .collect();
    let whole = by(&events.iter().collect::<Vec<_>>(), |event| Some(event.trace.clone()));
    let traces = whole.into_iter().filter(|(id, all)| here.contains(id) && measure.2(all)).collect();
    self::traces(store, &data, &ready, &traces, &asked);
}

fn by<'a, K: Ord>(events: &[&'a Plain], key: impl Fn(&Plain) -> Option<K>) -> BTreeMap<K, Vec<&'a Plain>> {
    let mut groups: BTreeMap<K, Vec<&Plain>> = BTreeMap::new();
    for event in events {
        if let Some(key) = key(event) {
            groups.entry(key).or_default().push(event);
        }
    }
    groups
}

fn ids(store: &load::Store, numbers: impl Iterator<Item = u32>) -> BTreeMap<u32, String> {
    let numbers: Vec<u32> = numbers.collect();
    store.read(|reader| reader.ids(&numbers)).unwrap().into_iter().collect()
}

fn members(store: &load::Store, data: &Data, ready: &Ready, calls: &[&Plain], asked: &str) {
    for of in [By::Session, By::User] {
        let groups = by(calls, |event| if of == By::User { event.user.clone() } else { event.session.clone() });
        for (sort, value) in [
            ("calls", (|all: &[&Plain]| all.len() as f64) as fn(&[&Plain]) -> f64),
            ("errors", |all| all.iter().filter(|event| event.is_error).count() as f64),
            ("tokens", |all| all.iter().map(|event| event.tokens()).sum::<u64>() as f64),
            ("cost", |all| spent(all).to_f64()),
            ("traces", |all| all.iter().map(|event| &event.trace).collect::<BTreeSet<_>>().len() as f64),
            ("last", |all| all.iter().map(|event| event.time).max().unwrap() as f64),
        ] {
            let slice = Slice { from: 0, len: 1000, falls: true };
            let (total, found) = gather::members(data, ready, of, sort, slice);
            assert_eq!(total, groups.len(), "{asked} {sort}");
            let texts = ids(store, found.iter().map(|member| member.number));
            let mut before = f64::INFINITY;
            for member in &found {
                let all = &groups[&texts[&member.number]];
                assert_eq!(member.sums, sums(all), "{asked} {sort}");
                assert_eq!(member.last, all.iter().map(|event| event.time).max().unwrap());
                assert_eq!(member.traces as usize, all.iter().map(|event| &event.trace).collect::<BTreeSet<_>>().len());
                assert!(value(all) <= before + 1e-9, "{asked} {sort}");
                before = value(all);
            }
            let (_, part) = gather::members(data, ready, of, sort, Slice { from: 2, len: 3, falls: true });
            let numbers = |members: &[gather::Member]| members.iter().map(|member| member.number).collect::<Vec<_>>();
            assert_eq!(numbers(&part), numbers(&found.iter().skip(2).take(3).cloned().collect::<Vec<_>>()));
        }
    }
}

fn traces(store: &load::Store, data: &Data, ready: &Ready, groups: &BTreeMap<String, Vec<&Plain>>, asked: &str) {
    for (sort, value) in [
        ("time", (|all: &[&Plain]| all.iter().map(|event| event.time).min().unwrap() as f64) as fn(&[&Plain]) -> f64),
        ("duration", took),
        ("calls", |all| sums(all).calls as f64),
        ("tokens", |all| (sums(all).input + sums(all).output) as f64),
        ("cost", |all| spent(all).to_f64()),
    ] {
        for falls in [true, false] {
            let (total, found) = gather::traces(data, ready, sort, Slice { from: 0, len: 1000, falls });
            assert_eq!(total, groups.len(), "{asked} {sort}");
            let texts = ids(store, found.iter().map(|trace| trace.number));
            let mut before = if falls { f64::INFINITY } else { f64::NEG_INFINITY };
            for trace in &found {
                let uuid = || store.read(|reader| reader.uuid(trace.any)).unwrap();
                let id = texts.get(&trace.number).cloned().or_else(uuid).unwrap();
                let all = &groups[&id];
                assert_eq!(trace.sums, sums(all), "{asked} {sort} {id}");
                assert_eq!(trace.events as usize, all.len());
                assert_eq!(trace.start, all.iter().map(|event| event.time).min().unwrap());
                assert!((trace.seconds() - took(all)).abs() < 0.002, "{asked} {id}: {} {}", trace.seconds(), took(all));
                let value = value(all);
                assert!(if falls { value <= before + 1e-6 } else { value >= before - 1e-6 }, "{asked} {sort}");
                before = value;
            }
        }
    }
}

prop_compose! {
    fn event()(
        kind in prop::sample::select(vec!["$ai_generation", "$ai_generation", "$ai_embedding", "$ai_span", "$ai_trace", "$ai_metric"]),
        back in 0_i64..10_000_000,
        user in prop::option::of(0..4_u8),
        // Some are no part of a trace.
        trace in prop::option::weighted(0.9, 0..6_u8),
        session in prop::option::of(0..3_u8),
        model in prop::option::of(0..3_u8),
        is_error in any::<bool>(),
        // Whole milliseconds, so that a number of half the precision has them too.
        latency in prop::option::of(0..8000_u32),
        tokens in prop::option::of((0..900_u32, 0..900_u32)),
        cost in prop::option::of(0..3_000_000_u32),
    ) -> WireEvent {
        let uuid = uuid::Uuid::new_v4();
        let trace = trace.map(|trace| format!("t{trace}"));
        let mut properties = Map::new();
        let mut put = |name: &str, value: Option<Value>| properties.extend(value.map(|value| (name.to_owned(), value)));
        put("$ai_trace_id", trace.clone().map(Value::from));
        put("$ai_session_id", session.map(|session| format!("s{session}").into()));
        put("$ai_model", model.map(|model| format!("m{model}").into()));
        put("$ai_is_error", Some(is_error.into()));
        put("$ai_latency", latency.map(|latency| (f64::from(latency) / 1000.0).into()));
        put("$ai_input_tokens", tokens.map(|(input, _)| input.into()));
        put("$ai_output_tokens", tokens.map(|(_, output)| output.into()));
        put("$ai_total_cost_usd", cost.map(|cost| (f64::from(cost) / 1e6).into()));
        Event {
            event: kind.to_owned(),
            uuid,
            distinct_id: user.map_or_else(|| trace.unwrap_or_else(|| uuid.to_string()), |user| format!("u{user}")),
            timestamp: crate::event::timestamp(std::time::UNIX_EPOCH + std::time::Duration::from_millis((NOW - back * 1000) as u64)),
            properties,
        }
        .encode()
    }
}

/// Something that changes what is there.
#[derive(Debug, Clone)]
enum Change {
    Remove(u8),
    Reprice(u32),
    Write(Vec<WireEvent>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..4_u8).prop_map(Change::Remove),
        (0..3_000_000_u32).prop_map(Change::Reprice),
        prop::collection::vec(event(), 1..20).prop_map(Change::Write),
    ]
}

fn apply(folder: &Path, change: &Change) {
    let mut store = Store::open(folder).unwrap();
    match change {
        Change::Remove(which) => {
            let which = match which {
                0 => Which::User("u1".to_owned()),
                1 => Which::Session("s1".to_owned()),
                2 => Which::Trace("t1".to_owned()),
                _ => Which::Before(NOW - 5_000_000_000),
            };
            store.remove(&which).unwrap();
        }
        Change::Reprice(cost) => {
            let reader = Reader::open(folder).unwrap().unwrap();
            let with = Map::from_iter([("$ai_total_cost_usd".to_owned(), json!(f64::from(*cost) / 1e6))]);
            let calls = reader.priced(0, 0).unwrap();
            let every_other = calls.iter().step_by(2);
            let rewrites: Vec<Rewrite> =
                every_other.map(|event| Rewrite { id: event.id, without: Vec::new(), with: with.clone() }).collect();
            store.reprice(&rewrites).unwrap();
        }
        Change::Write(events) => store.write(events).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_say_what_is_in_the_file(
        batches in prop::collection::vec(prop::collection::vec(event(), 1..40), 1..4),
        changes in prop::collection::vec(change(), 0..3),
        since in prop_oneof![Just(i64::MIN), (0_i64..10_000_000).prop_map(|back| NOW - back * 1000)],
    ) {
        let folder = Folder::new();
        for batch in &batches {
            Store::open(&folder.0).unwrap().write(batch).unwrap();
        }
        let file = folder.0.join(FILE);
        let store = Arc::new(load::Store::new(file.clone()));
        let reader = Reader::open(&folder.0).unwrap().unwrap();
        let mut seen = store.fill(&reader).unwrap();
        for change in std::iter::once(None).chain(changes.iter().map(Some)) {
            if let Some(change) = change {
                apply(&folder.0, change);
                if !store.take_new(&reader, seen).unwrap() {
                    seen = store.fill(&reader).unwrap();
                }
            }
            let events = plain(&file);
            for condition in &CONDITIONS {
                compare(&store, &events, condition, &MEASURES[0], since);
            }
            for measure in &MEASURES {
                compare(&store, &events, &CONDITIONS[1], measure, i64::MIN);
            }
        }
    }
}
