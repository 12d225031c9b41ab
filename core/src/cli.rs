//! The command line, reached from all three languages: one module per command.

mod cost;
mod doctor;
mod export;
mod import;
mod json;
mod ls;
mod messages;
mod parquet;
mod price;
mod prices;
mod purge;
mod push;
mod reprice;
mod show;
mod sql;
mod stats;
mod table;
mod tail;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
#[cfg(feature = "viewer")]
mod view;
mod what_if;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Options;
use crate::error::{Error, ErrorKind};
use crate::price::{PriceBook, Update};
use crate::store::Reader;
pub use doctor::Caller;
use terminal::Terminal;

#[derive(Parser)]
#[command(name = "llmtrail", version, about = "See what your LLM calls said, took and cost", after_help = EXAMPLES, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  llmtrail ls                      the last 20 traces
  llmtrail show 9f3a2b1c           a trace or a call, by the id that ls shows
  llmtrail cost --since 7d         what a week cost, by model
  llmtrail price gpt-5-mini        what a model costs, and where the price is from
  llmtrail ls --json | jq '.traces[].total_cost_usd'

Reads the local store, where events go when no POSTHOG_API_KEY is set: --dir, LLMTRAIL_DIR, or the user's data folder.
Times are in the local zone. Exit codes: 0 done, 1 it did not work, 2 the command makes no sense.";

#[derive(Subcommand)]
enum Command {
    Ls(ls::Args),
    Show(show::Args),
    Cost(cost::Args),
    Price(Box<price::Args>),
    Prices(prices::Args),
    Reprice(reprice::Args),
    Stats(stats::Args),
    Tail(tail::Args),
    Sql(sql::Args),
    Export(export::Args),
    Import(import::Args),
    Push(push::Args),
    Purge(purge::Args),
    Doctor(doctor::Args),
    #[cfg(feature = "viewer")]
    View(view::Args),
}

/// What every command takes.
#[derive(clap::Args)]
struct Common {
    /// Folder of the store [default: LLMTRAIL_DIR, or the user's data folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Common {
    /// The store's folder.
    fn dir(&self) -> Result<PathBuf, Failure> {
        Ok(match &self.dir {
            Some(dir) => dir.clone(),
            None => Options::default().resolve()?.dir,
        })
    }

    /// The prices that count here: a price file's (`LLMTRAIL_PRICES` when none is given), the list that was fetched, and
    /// the built-in table.
    fn book(&self, file: Option<&Path>) -> Result<PriceBook, Failure> {
        let config = Options::default().resolve()?;
        let mut book = PriceBook::new();
        if let Some(path) = file.or(config.prices.as_deref()) {
            book.load(path)
                .map_err(|error| Error::config(format!("{}: {error}", path.display())).with_source(error))?;
        }
        Ok(match Update::load(&self.dir()?) {
            Some(update) => book.with_update(update.into()),
            None => book,
        })
    }

    /// The store, or an error that says how to make one.
    fn reader(&self) -> Result<Reader, Failure> {
        let dir = self.dir()?;
        Reader::open(&dir)?.ok_or_else(|| {
            let message = format!(
                "there is no store in {} yet. It is made by the first call that a wrapped client captures while \
                 POSTHOG_API_KEY is not set. Another place: --dir or LLMTRAIL_DIR.",
                dir.display()
            );
            Error::new(ErrorKind::Store, message).into()
        })
    }
}

/// Why a command ended early.
enum Failure {
    /// Whoever read the output has enough.
    Closed,
    /// It worked, and found something that is wrong.
    Found,
    /// It did not work.
    Trouble(Error),
    /// It makes no sense.
    Usage(String),
    /// It says too little: what could be said.
    Help(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Trouble(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Error::new(ErrorKind::Input, format!("cannot write the output: {error}")).into(),
        }
    }
}

/// Runs the command line with these arguments (the program's name not among them) and says the exit code.
///
/// Prints to the process's standard output and error, and never ends the process.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    run_from(Caller::default(), args)
}

/// The same, for a caller that knows something of its own process.
pub fn run_from(caller: Caller, args: impl IntoIterator<Item = OsString>) -> u8 {
    let (mut out, mut err) = (io::BufWriter::new(io::stdout().lock()), io::stderr().lock());
    run_on(caller, args, &mut Terminal::of_process(&mut out, &mut err))
}

fn run_on(caller: Caller, args: impl IntoIterator<Item = OsString>, terminal: &mut Terminal<'_>) -> u8 {
    let done = dispatch(caller, args, terminal);
    let done = terminal.out.flush().map_err(Failure::from).and(done);
    let (code, message) = match done {
        Ok(()) | Err(Failure::Closed) => return 0,
        Err(Failure::Found) => return 1,
        Err(Failure::Trouble(error)) => (1, format!("llmtrail: {}", terminal::line(&error.to_string()))),
        // What is possible stands in lines of its own.
        Err(Failure::Usage(message)) => (2, format!("llmtrail: {}", terminal::harmless(&message))),
        Err(Failure::Help(text)) => (2, text),
    };
    let _ = writeln!(terminal.err, "{message}");
    code
}

fn dispatch(
    caller: Caller,
    args: impl IntoIterator<Item = OsString>,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let args = std::iter::once(OsString::from("llmtrail")).chain(args);
    let matches = Args::command().try_get_matches_from(args);
    let args = match matches.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => {
            write!(terminal.out, "{}", error.render())?;
            return Ok(());
        }
        Err(error) => {
            let text = error.render().to_string();
            if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                return Err(Failure::Help(text.trim_end().to_owned()));
            }
            return Err(Failure::Usage(text.trim_end().trim_start_matches("error: ").to_owned()));
        }
    };
    match args.command {
        Command::Ls(args) => ls::run(&args, terminal),
        Command::Show(args) => show::run(&args, terminal),
        Command::Cost(args) => cost::run(&args, terminal),
        Command::Price(args) => price::run(&args, terminal),
        Command::Prices(args) => prices::run(&args, terminal),
        Command::Reprice(args) => reprice::run(&args, terminal),
        Command::Stats(args) => stats::run(&args, terminal),
        Command::Tail(args) => tail::run(&args, terminal),
        Command::Sql(args) => sql::run(&args, terminal),
        Command::Export(args) => export::run(&args, terminal),
        Command::Import(args) => import::run(&args, terminal),
        Command::Push(args) => push::run(&args, terminal),
        Command::Purge(args) => purge::run(&args, terminal),
        Command::Doctor(args) => doctor::run(&args, caller, terminal),
        #[cfg(feature = "viewer")]
        Command::View(args) => view::run(&args, terminal),
    }
}
