//! What each stage of the flow takes for the whole corpus: `cargo bench -p llmtrail --features stages --bench stages`.

#[path = "../../tests/src/corpus.rs"]
#[expect(dead_code, reason = "the tests' reader of the corpus, of which this needs little")]
mod corpus;

use std::path::Path;

use corpus::Case;
use divan::Bencher;
use divan::counter::ItemsCount;
use llmtrail::stages::{NAMES, Stages};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = NAMES)]
fn stage(bencher: Bencher<'_, '_>, stage: &str) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let cases = Case::all(&corpus).expect("the corpus can be read");
    let dir = std::env::temp_dir().join(format!("llmtrail-stages-{}", std::process::id()));
    let stages = Stages::new(cases.iter().map(|case| case.exchange(case.pieces())).collect(), dir.clone());
    let count = stages.ready(stage).expect("a stage of that name")();
    let ready = || stages.ready(stage).expect("a stage of that name");
    bencher.counter(ItemsCount::new(count)).with_inputs(ready).bench_local_values(|work| work());
    let _ = std::fs::remove_dir_all(dir);
}
