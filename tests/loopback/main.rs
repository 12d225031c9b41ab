//! `loopback [--port N] [--corpus DIR] [--with-parent]`: see `llmtrail_tests::loopback`.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use llmtrail_tests::loopback::Server;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "loopback: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut port, mut corpus, mut with_parent) = (0, llmtrail_tests::corpus::folder(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let (name, given) = match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        let mut value = || given.clone().or_else(|| args.next()).ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--port" => port = value()?.parse().map_err(|_| "--port: expected 0 to 65535".to_owned())?,
            "--corpus" => corpus = PathBuf::from(value()?),
            "--with-parent" => with_parent = true,
            _ => return Err(format!("unknown argument {name}; known: --port N, --corpus DIR, --with-parent")),
        }
    }
    if !corpus.is_dir() {
        return Err(format!("{} is no folder", corpus.display()));
    }
    let server = Server::start_with(port, corpus).map_err(|error| format!("port {port}: {error}"))?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", server.url()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    if with_parent {
        // The parent's end of the pipe closes with the parent, however that ends.
        let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
        return Ok(());
    }
    server.join();
    Ok(())
}
