//! Reads damaged cases of the corpus by the million: `fuzz [N] [--format NAME] [--seed TEXT] [--threads N]`.
//!
//! Of each it must hold that nothing panics, that memory stays in proportion to the bytes, and that the event has the
//! form that every event has. What fails is written to `.work/fuzz/` and printed; the same seed fails again.

#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use llmtrail::Exchange;
use llmtrail_tests::corpus::{Case, folder};
use llmtrail_tests::fuzz::{Random, Reading, damaged, read};
use llmtrail_tests::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Inputs that a thread takes at a time.
const BATCH: u64 = 1_000;

/// After so many failures it ends.
const ENOUGH: usize = 20;

/// What was seen of one wire format.
#[derive(Default, Clone, Copy)]
struct Tally {
    inputs: u64,
    bytes: u64,
    most_memory: usize,
    slowest: Duration,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::read()?;
    let cases = Case::all(&folder())?;
    let cases: Vec<&Case> =
        cases.iter().filter(|case| arguments.format.as_ref().is_none_or(|format| case.format == *format)).collect();
    if cases.is_empty() {
        return Err("there are no cases of this format".into());
    }
    let families: BTreeMap<&str, Vec<&Case>> = cases.iter().fold(BTreeMap::new(), |mut all, case| {
        all.entry(case.format.as_str()).or_insert_with(Vec::new).push(case);
        all
    });
    let (next, failed) = (AtomicU64::new(0), AtomicUsize::new(0));
    let tallies = Mutex::new(BTreeMap::<&str, Tally>::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                let mut mine = BTreeMap::<&str, Tally>::new();
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch * BATCH >= arguments.count || failed.load(Ordering::Relaxed) >= ENOUGH {
                        break;
                    }
                    for input in batch * BATCH..arguments.count.min((batch + 1) * BATCH) {
                        let mut random = Random::new(&format!("{} {input}", arguments.seed));
                        let case = cases[random.below(cases.len())];
                        let exchange = damaged(case, &families[case.format.as_str()], &mut random);
                        let started = Instant::now();
                        let tally = mine.entry(&case.format).or_default();
                        match read(exchange.clone()) {
                            Ok(Reading { bytes, peak }) => {
                                tally.inputs += 1;
                                tally.bytes += bytes as u64;
                                tally.most_memory = tally.most_memory.max(peak);
                                tally.slowest = tally.slowest.max(started.elapsed());
                            }
                            Err(why) => {
                                let kept = keep(case, input, &exchange);
                                println!("{}/{}, input {input}: {why} ({kept})", case.format, case.name);
                                failed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
                let mut all = tallies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for (format, mine) in mine {
                    let tally = all.entry(format).or_default();
                    tally.inputs += mine.inputs;
                    tally.bytes += mine.bytes;
                    tally.most_memory = tally.most_memory.max(mine.most_memory);
                    tally.slowest = tally.slowest.max(mine.slowest);
                }
            });
        }
    });
    let tallies = tallies.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{:<22} {:>10} {:>10} {:>14} {:>12}", "format", "inputs", "MB read", "most memory", "slowest");
    for (format, Tally { inputs, bytes, most_memory, slowest }) in &tallies {
        let (read, most) = (*bytes as f64 / 1e6, *most_memory as f64 / 1e6);
        println!("{format:<22} {inputs:>10} {read:>10.0} {most:>11.1} MB {:>9.1} ms", slowest.as_secs_f64() * 1e3);
    }
    let (inputs, failed) = (tallies.values().map(|tally| tally.inputs).sum::<u64>(), failed.into_inner());
    println!("{inputs} inputs from {} cases, {failed} failures, {:.0} s", cases.len(), begun.elapsed().as_secs_f64());
    if failed > 0 { Err("something does not hold".into()) } else { Ok(()) }
}

/// Writes down an exchange that failed; says where.
fn keep(case: &Case, input: u64, exchange: &Exchange) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.work/fuzz");
    let path: PathBuf = folder.join(format!("{}-{}-{input}", case.format, case.name));
    let body: Vec<u8> = exchange.chunks.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect();
    let about = format!("{:?} {:?}\n{:?}\n", exchange.status, exchange.end, exchange.response_headers);
    let written = std::fs::create_dir_all(&path)
        .and_then(|()| std::fs::write(path.join("request"), &exchange.request_body))
        .and_then(|()| std::fs::write(path.join("response"), body))
        .and_then(|()| std::fs::write(path.join("about.txt"), about));
    written.map_or_else(|error| format!("not kept: {error}"), |()| path.display().to_string())
}

struct Arguments {
    count: u64,
    format: Option<String>,
    seed: String,
    threads: usize,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut read = Self { count: 1_000_000, format: None, seed: "llmtrail".to_owned(), threads };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
            match argument.as_str() {
                "--format" => read.format = Some(value()?),
                "--seed" => read.seed = value()?,
                "--threads" => read.threads = usize::try_from(number(&value()?)?).unwrap_or(1).max(1),
                count => read.count = number(count)?,
            }
        }
        Ok(read)
    }
}
