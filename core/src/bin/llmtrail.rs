//! The command line as a program of its own.

fn main() -> std::process::ExitCode {
    llmtrail::cli::run(std::env::args_os().skip(1)).into()
}
