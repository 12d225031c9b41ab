//! `llmtrail purge`: takes events out of the store for good.

use jiff::Timestamp;
use serde_json::json;

use super::terminal::{Terminal, number_of};
use super::{Common, Failure, cost};
use crate::sink::store::Store;
use crate::sink::store::prune::Which;

/// Remove a person's events, or those of a session, a trace or a time, for good
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail purge --user ada@example.com
  llmtrail purge --before 30d
  llmtrail purge --trace chat-42-turn-1

What was removed is gone from the file, with the messages that nothing else holds and the index for searching.

--json: {removed}")]
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
    // There has to be a store already: none is made to remove something from it.
    drop(args.common.reader()?);
    let removed = Store::open(&args.common.dir()?)?.remove(&which)?;
    if args.common.json {
        writeln!(terminal.out, "{}", json!({ "removed": removed }))?;
    } else {
        writeln!(terminal.out, "{} removed.", number_of(removed, "event"))?;
    }
    Ok(())
}
