//! Fills a store with made-up calls (`store fill FOLDER GENERATIONS`), measures the viewer on it (`store view FOLDER
//! LLMTRAIL`, where the last is the program), or both (`store bench FOLDER GENERATIONS LLMTRAIL`).

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
        ["view", folder, program] => bench::view(Path::new(folder), program),
        _ => {
            Err("store fill FOLDER GENERATIONS | store bench FOLDER GENERATIONS LLMTRAIL | store view FOLDER LLMTRAIL"
                .into())
        }
    };
    if let Err(why) = done {
        eprintln!("store: {why}");
        std::process::exit(1);
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What was written.
struct Filled {
    events: u64,
    /// That the writes took.
    seconds: f64,
    /// That they had a CPU for: what others did meanwhile is not in it.
    cpu_seconds: f64,
}

impl Filled {
    fn a_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    fn a_cpu_second(&self) -> f64 {
        self.events as f64 / self.cpu_seconds
    }
}

/// How long this thread was at work. Where the system does not say, nothing.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e9)
}

/// Writes so many generations, ending now.
fn fill(folder: &Path, generations: u64) -> Result<Filled> {
    let mut writer = Writer::open(folder)?;
    let mut filled = Filled { events: 0, seconds: 0.0, cpu_seconds: 0.0 };
    let mut batch = Vec::new();
    let mut write = |batch: &mut Vec<_>| -> Result<()> {
        let (begin, cpu) = (std::time::Instant::now(), cpu_seconds());
        writer.write(batch)?;
        filled.seconds += begin.elapsed().as_secs_f64();
        filled.cpu_seconds += cpu_seconds() - cpu;
        filled.events += batch.len() as u64;
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
    println!(
        "{generations} generations, {} events, {:.0} a second, {:.0} a second of CPU time",
        filled.events,
        filled.a_second(),
        filled.a_cpu_second()
    );
    Ok(filled)
}
