//! The stages of the flow one by one, for those who measure them: `benches/stages.rs` and `tests/bench/counts`. They are
//! given what the stage before them makes of real exchanges.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::attempts::Attempt;
use crate::config::{Config, Secret, SpoolMode};
use crate::decode::{self, Recognised};
use crate::deliver::stages::{queue, spool};
use crate::event::policy::Policy;
use crate::event::usage::Usage;
use crate::event::{Draft, WireEvent, build, detect};
use crate::exchange::Exchange;
use crate::pipeline::charge;
use crate::price::PriceBook;
use crate::sink::posthog::PostHog;

/// The stages, in the order of the flow.
pub const NAMES: [&str; 9] = ["decode", "fold", "build", "price", "redact", "encode", "queue", "batch", "spool"];

/// How many events a batch has.
const BATCH: usize = 100;

/// A stage with what it works on: to be run once. Gives how many exchanges or events those were.
pub type Work<'a> = Box<dyn FnOnce() -> usize + 'a>;

/// See the module.
pub struct Stages {
    config: Arc<Config>,
    book: PriceBook,
    /// Exchanges whose answer came in one piece, and those of a stream.
    plain: Vec<(Recognised, Exchange)>,
    streamed: Vec<(Recognised, Exchange)>,
}

/// What a price is made from.
struct Unpriced {
    event: Draft,
    local: bool,
    usage: Usage,
    reported: Option<String>,
    started: SystemTime,
}

impl Stages {
    /// From exchanges; those that are no calls are left out. The spool is in a folder that may be written.
    pub fn new(exchanges: Vec<Exchange>, dir: PathBuf) -> Self {
        let key = Secret::from("phc_measured".to_owned());
        let config = Config { api_key: Some(key), dir, spool: SpoolMode::Off, ..Config::default() };
        let calls = exchanges.into_iter().filter_map(|exchange| {
            let found = decode::recognise(&config, &exchange.method, &exchange.url, exchange.provider.as_deref())?;
            decode::is_call(&found, &exchange).then_some((found, exchange))
        });
        let (streamed, plain) = calls.partition(|(_, exchange)| exchange.chunks.len() > 1);
        Self { config: Arc::new(config), book: PriceBook::new(), plain, streamed }
    }

    /// A stage, made ready to run; `None` when there is none of this name.
    pub fn ready(&self, stage: &str) -> Option<Work<'_>> {
        Some(match stage {
            "decode" => read(&self.plain),
            "fold" => read(&self.streamed),
            "build" => self.build(),
            "price" => self.price(),
            "redact" => self.redact(),
            "encode" => {
                let events = self.redacted();
                Box::new(move || all(events.iter(), Draft::encode))
            }
            "queue" => {
                let (config, events) = (Arc::clone(&self.config), self.wire());
                Box::new(move || queue(config, events))
            }
            "batch" => {
                let (events, mut sink) = (self.wire(), PostHog::new("", Secret::from("phc_measured".to_owned()), true));
                Box::new(move || {
                    all(events.chunks(BATCH), |batch| sink.body(batch));
                    events.len()
                })
            }
            "spool" => {
                let config = Config { spool: SpoolMode::Always, ..Config::clone(&self.config) };
                let events = self.wire();
                Box::new(move || spool(&config, events))
            }
            _ => return None,
        })
    }

    fn calls(&self) -> impl Iterator<Item = &(Recognised, Exchange)> {
        self.plain.iter().chain(&self.streamed)
    }

    fn build(&self) -> Work<'_> {
        let read = self.calls().map(|(found, exchange)| {
            (decode::read(found, exchange), Attempt::first(found.clone(), Box::new(exchange.clone())))
        });
        let read: Vec<_> = read.collect();
        Box::new(move || {
            all(read.into_iter(), |(call, attempt)| {
                build::call_event(&self.config, call, &attempt, attempt.exchange.ended_at)
            })
        })
    }

    fn unpriced(&self) -> Vec<Unpriced> {
        let calls = self.calls().filter_map(|(found, exchange)| {
            let call = decode::read(found, exchange);
            let (usage, reported) = (call.usage, call.reported_usd.clone());
            let attempt = Attempt::first(found.clone(), Box::new(exchange.clone()));
            let event = build::call_event(&self.config, call, &attempt, exchange.ended_at);
            Some(Unpriced { event, local: found.local, usage, reported, started: exchange.started_at? })
        });
        calls.collect()
    }

    fn charge(&self, call: &mut Unpriced) {
        let Unpriced { event, local, usage, reported, started } = call;
        charge(event, &self.book, *local, usage, reported.as_deref(), *started);
    }

    fn price(&self) -> Work<'_> {
        let mut calls = self.unpriced();
        Box::new(move || all(calls.iter_mut(), |call| self.charge(call)))
    }

    fn priced(&self) -> Vec<Draft> {
        let calls = self.unpriced().into_iter().map(|mut call| {
            self.charge(&mut call);
            call.event
        });
        calls.collect()
    }

    /// With every detector, for without them there is little to do.
    fn redact(&self) -> Work<'_> {
        let policy = Policy { detectors: detect::Detector::ALL.to_vec(), ..self.config.policies().0 };
        let mut events = self.priced();
        Box::new(move || all(events.iter_mut(), |event| build::redact(&policy, false, &mut event.properties)))
    }

    fn redacted(&self) -> Vec<Draft> {
        let policy = self.config.policies().0;
        let mut events = self.priced();
        for event in &mut events {
            build::redact(&policy, false, &mut event.properties);
        }
        events
    }

    fn wire(&self) -> Vec<WireEvent> {
        self.redacted().iter().map(Draft::encode).collect()
    }
}

fn read(calls: &[(Recognised, Exchange)]) -> Work<'_> {
    Box::new(move || all(calls.iter(), |(found, exchange)| decode::read(found, exchange)))
}

/// Does something with each, and keeps the optimiser from leaving it out.
fn all<T, U>(of: impl Iterator<Item = T>, mut work: impl FnMut(T) -> U) -> usize {
    of.map(|one| drop(black_box(work(one)))).count()
}
