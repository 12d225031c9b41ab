//! LLM analytics at the transport: every provider call becomes a priced PostHog event.
//!
//! The flow, top to bottom (one module each): an [`Exchange`] is the HTTP request and response of one provider
//! call; [`decode`] turns it into what was asked, answered and used; [`event`] gives that the shape of PostHog's LLM
//! analytics; [`price`] adds what it cost; `deliver` queues, batches and retries; `sink` is where events end up.
//! [`Client`] is the only file that knows the whole flow, and [`Scope`] says which session, trace and span a call is in.

#[cfg(feature = "allocator")]
pub mod allocator;
mod attempts;
mod background;
pub mod budget;
pub mod client;
pub mod config;
pub mod context;
mod day;
pub mod decode;
mod deliver;
pub mod doctor;
pub mod error;
mod estimate;
pub mod event;
pub mod exchange;
mod fields;
mod finished;
mod ledger;
pub mod manual;
mod notes;
pub mod observation;
mod open;
mod patient;
mod pipeline;
pub mod price;
mod process;
pub mod propagate;
pub mod record;
mod sample;
pub mod scoped;
mod sink;
#[cfg(feature = "stages")]
#[doc(hidden)]
pub mod stages;
pub mod stream_usage;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod testing;
mod tools;
mod written;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "middleware")]
pub mod middleware;
#[cfg(feature = "viewer")]
pub mod viewer;

pub use budget::{Budget, BudgetExceeded};
pub use client::{Client, TotalsOf};
pub use config::{Config, Language, Options};
pub use context::{Scope, ScopeKind, ScopeOptions};
pub use deliver::hook::{HookDesk, HookSet, HookWork, Hooks, Notice, Verdict};
pub use deliver::{Report, SinkStats, Stats};
pub use error::{Error, ErrorKind, Result};
pub use exchange::{Chunk, End, Exchange};
pub use fields::Fields;
pub use finished::FinishedCall;
pub use ledger::Reservation;
pub use manual::Timer;
pub use observation::Observation;
pub use record::{CallRecord, RecordedError, StepRecord};
pub use scoped::{Guard, carry};
#[cfg(feature = "store")]
pub use sink::store::read as store;
pub use sink::{MadeSink, Outcome, Sink};
pub use written::{WrittenCall, quote};

/// The README's Rust example is compiled.
#[cfg(all(doctest, feature = "middleware"))]
#[doc = include_str!("../../README.md")]
struct Readme;
