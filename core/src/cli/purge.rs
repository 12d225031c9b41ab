//! `llmtrail purge`: takes events out of the store for good.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::terminal::{Terminal, count, number_of};
use super::{Common, Failure, cost};
use crate::deliver::spool::purge;
use crate::error::{Error, ErrorKind};
use crate::sink::store::prune::Which;
use crate::sink::store::{FILE, Store};

/// Remove a person's events, or those of a session, a trace or a time, for good
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail purge --user ada@example.com
  llmtrail purge --before 30d
  llmtrail purge --trace chat-42-turn-1

What was removed is gone from the file, with the messages that nothing else holds and the index for searching; and from the
spool, where events wait for PostHog, but for what a program that runs has there. What PostHog has is for PostHog to delete.

--json: {removed, removed_from_spool}")]
#[group(id = "which", required = true, multiple = false)]
pub(super) struct Args {
    /// Events for a person, by distinct id
    #[arg(long, value_name = "ID", group = "which")]
    user: Option<String>,
    /// Events of a session
    #[arg(long, value_name = "ID", group = "which")]
    session: Option<String>,
    /// Events of a trace
    #[arg(long, value_name = "ID", group = "which")]
    trace: Option<String>,
    /// Events before a date (2026-07-01), a time, or older than so long (24h, 30d)
    #[arg(long, value_name = "WHEN", group = "which")]
    before: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let before = args.before.as_deref().map(|text| cost::since("--before", text, terminal)).transpose()?;
    let which = [
        args.user.clone().map(Which::User),
        args.session.clone().map(Which::Session),
        args.trace.clone().map(Which::Trace),
        before.map(Timestamp::as_millisecond).map(Which::Before),
    ];
    let Some(which) = which.into_iter().flatten().next() else { return Ok(()) };
    let dir = args.common.dir()?;
    let named = match &which {
        Which::User(id) | Which::Session(id) | Which::Trace(id) => Some(id.as_str()),
        Which::Before(_) | Which::Oldest => None,
    };
    let spooled = purge(&dir, named, |json| is_asked_for(&which, json)).map_err(|error| {
        let message = format!("the spool in {} cannot be purged: {error}", dir.display());
        Error::new(ErrorKind::Store, message).with_source(error)
    })?;
    if spooled.left > 0 {
        let programs = number_of(spooled.left, "running program");
        let message =
            "may have such events in the spool, which nobody else can take out: purge again when that has ended";
        writeln!(terminal.err, "llmtrail: {programs} {message}")?;
    }
    // There has to be a store already: none is made to remove something from it.
    let removed = match args.common.reader() {
        Err(_) if spooled.removed > 0 && !dir.join(FILE).exists() => 0,
        reader => {
            drop(reader?);
            Store::open(&dir)?.remove(&which)?
        }
    };
    if args.common.json {
        writeln!(terminal.out, "{}", json!({ "removed": removed, "removed_from_spool": spooled.removed }))?;
        return Ok(());
    }
    let and =
        if spooled.removed > 0 { format!(", and {} from the spool", count(spooled.removed)) } else { String::new() };
    writeln!(terminal.out, "{} removed{and}.", number_of(removed, "event"))?;
    Ok(())
}

/// Whether an event is one of those, as its JSON says.
fn is_asked_for(which: &Which, json: &[u8]) -> bool {
    let event: Value = serde_json::from_slice(json).unwrap_or_default();
    let property = |name: &str| event.get("properties")?.get(name)?.as_str();
    match which {
        Which::User(id) => event.get("distinct_id").and_then(Value::as_str) == Some(id),
        Which::Session(id) => property("$ai_session_id") == Some(id),
        Which::Trace(id) => property("$ai_trace_id") == Some(id),
        Which::Before(time) => {
            let began = event.get("timestamp").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
            began.is_some_and(|began| began.as_millisecond() < *time)
        }
        Which::Oldest => false,
    }
}
