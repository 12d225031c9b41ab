//! `llmtrail doctor`: what keeps calls from becoming events, if anything does.

use std::time::Duration;

use super::terminal::{Terminal, harmless};
use super::{Common, Failure};
use crate::config::{Language, Options};
use crate::{Client, doctor};

/// Check SDKs, the place that events go to, the key and what is on disk
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail doctor
  llmtrail doctor --json | jq -e .ok

Exit code 1 when something is wrong. With POSTHOG_API_KEY set the server is asked whether it knows that key; nothing is
sent as an event. What is observed, and what was dropped, only your program knows: call llmtrail.doctor() in it.

--json: {ok, problems, hints, version, language, runtime, enabled, sdks: [{name, version, tested, tested_versions,
  observed}], observed, places: [{kind, ...}], spool, delivery}")]
pub(super) struct Args {
    /// Wait for the server at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
    #[command(flatten)]
    common: Common,
}

/// What whoever reaches the command line knows: see [`doctor::Host`].
#[derive(Default)]
pub struct Caller {
    /// Its language.
    pub language: Language,
    /// Its runtime and SDKs.
    pub host: doctor::Host,
}

pub(super) fn run(args: &Args, caller: Caller, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut config = Options::new(caller.language).resolve()?;
    if let Some(dir) = &args.common.dir {
        config.dir.clone_from(dir);
    }
    let found = Client::with_config(config)?.doctor(caller.host, Duration::from_secs(args.timeout));
    if args.common.json {
        writeln!(terminal.out, "{}", found.to_json())?;
    } else {
        writeln!(terminal.out, "{}", harmless(&found.to_string()).trim_end())?;
    }
    if found.ok { Ok(()) } else { Err(Failure::Found) }
}
