//! Runs each stage of the flow over the corpus: `counts CORPUS`. `tests/bench/counts.py` lets valgrind count the
//! instructions.

#[path = "../../../src/corpus.rs"]
#[expect(dead_code, reason = "the tests' reader of the corpus, of which this needs little")]
mod corpus;

use std::io::Write as _;
use std::path::Path;

use corpus::Case;
use llmtrail::stages::{NAMES, Stages, Work};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = std::env::args_os().nth(1).ok_or("counts CORPUS")?;
    let cases = Case::all(Path::new(&corpus))?;
    let dir = std::env::temp_dir().join(format!("llmtrail-counts-{}", std::process::id()));
    let stages = Stages::new(cases.iter().map(|case| case.exchange(case.pieces())).collect(), dir.clone());
    let ready = |stage| stages.ready(stage).ok_or("a stage of that name");
    for stage in NAMES {
        // What is made once for a process is not the stage's.
        ready(stage)?();
        let count = counted(ready(stage)?);
        written(stage, count)?;
    }
    std::fs::remove_dir_all(dir).or(Ok(()))
}

/// Here valgrind writes down what it counted since the last time.
#[inline(never)]
fn written(stage: &str, count: usize) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{stage} {count}")
}

/// Valgrind counts what happens in here.
#[inline(never)]
fn counted(work: Work<'_>) -> usize {
    std::hint::black_box(work())
}
