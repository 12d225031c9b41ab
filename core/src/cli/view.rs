//! `llmtrail view`: the store in a browser.

use std::path::PathBuf;

use super::terminal::{Style, Terminal};
use super::{Common, Failure};
use crate::sink::store::FILE;
use crate::viewer::Viewer;

/// Show the store in a browser, on this machine only
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail view                    prints an address to open
  llmtrail view --open             opens it
  llmtrail view --port 8000 copy/llmtrail.db

The address holds a key that is made anew each time: who has it can read the store, nobody else can. The viewer listens
on 127.0.0.1, writes nothing into the store, and loads nothing from anywhere.")]
pub(super) struct Args {
    /// Port to listen on [default: 4983, or a free one]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
    /// A store's file, or its folder [default: the store]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let file = match &args.file {
        Some(file) if file.is_dir() => file.join(FILE),
        Some(file) if !file.exists() => return Err(Failure::Usage(format!("there is no file {}", file.display()))),
        Some(file) => file.clone(),
        None => args.common.dir()?.join(FILE),
    };
    let viewer = Viewer::bind(file.clone(), args.port)?;
    let address = viewer.address();
    if args.common.json {
        writeln!(terminal.out, "{}", serde_json::json!({ "address": address, "file": file.display().to_string() }))?;
    } else {
        let shown = terminal.paint(Style::Mark, &address);
        writeln!(terminal.out, "llmtrail view: {shown}")?;
        let about = format!("Shows {}. Ctrl-C ends it.", file.display());
        let about = terminal.paint(Style::Dim, &about);
        writeln!(terminal.out, "{about}")?;
    }
    terminal.out.flush()?;
    if args.open {
        open(&address, terminal)?;
    }
    Ok(viewer.serve()?)
}

/// Asks the system to open an address. Where that does not work, the address is on the terminal.
fn open(address: &str, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let null = std::process::Stdio::null;
    let started = std::process::Command::new(program).arg(address).stdin(null()).stdout(null()).stderr(null()).spawn();
    if started.is_err() {
        writeln!(terminal.err, "llmtrail: no browser could be opened ({program}): open the address yourself")?;
    }
    Ok(())
}
