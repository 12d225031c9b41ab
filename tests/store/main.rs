//! Fills a store with made-up calls (`store fill FOLDER GENERATIONS`), or measures the store and its viewer
//! (`store bench FOLDER GENERATIONS LLMTRAIL`, where the last is the program).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own, that prints figures")]

mod bench;
mod generate;

use std::path::Path;
use std::time::SystemTime;

use llmtrail::store::Writer;

use generate::Generator;

/// Events in one write.
const BATCH: usize = 500;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["fill", folder, count] => fill(Path::new(folder), count.parse().unwrap_or(0)).map(|_| ()),
        ["bench", folder, count, program] => bench::run(Path::new(folder), count.parse().unwrap_or(0), program),
        _ => Err("store fill FOLDER GENERATIONS | store bench FOLDER GENERATIONS LLMTRAIL".into()),
    };
    if let Err(why) = done {
        eprintln!("store: {why}");
        std::process::exit(1);
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Writes so many generations, ending now, and says how many events that were and how long the writes took.
fn fill(folder: &Path, generations: u64) -> Result<(u64, f64)> {
    let mut writer = Writer::open(folder)?;
    let (mut events, mut seconds) = (0, 0.0);
    let mut batch = Vec::new();
    let mut write = |batch: &mut Vec<_>| -> Result<()> {
        let begin = std::time::Instant::now();
        writer.write(batch)?;
        seconds += begin.elapsed().as_secs_f64();
        events += batch.len() as u64;
        batch.clear();
        Ok(())
    };
    for session in Generator::new(generations, SystemTime::now()) {
        batch.extend(session);
        if batch.len() >= BATCH {
            write(&mut batch)?;
        }
    }
    batch.extend(generate::wide(5000, SystemTime::now()));
    write(&mut batch)?;
    println!("{generations} generations, {events} events, {:.0} a second", events as f64 / seconds);
    Ok((events, seconds))
}
