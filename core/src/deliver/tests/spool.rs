//! What is on disk: spilled, kept while the sink is away, left at the end, found again.

use std::path::{Path, PathBuf};

use super::*;
use crate::testing::Folder;

impl Folder {
    pub(super) fn config(&self, mode: SpoolMode) -> Arc<Config> {
        config(|config| {
            config.spool = mode;
            config.dir = self.0.clone();
            config.flush_interval = LONG;
        })
    }

    /// Every file below, but for locks.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = below(&self.0);
        files.retain(|path| path.file_name().is_some_and(|name| name != "lock"));
        files
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() { files.extend(below(&entry.path())) } else { files.push(entry.path()) }
    }
    files.sort();
    files
}

fn start(config: Arc<Config>, script: Vec<Option<Outcome>>) -> (Delivery<Echo>, Memory) {
    let memory = Memory::scripted(script);
    (Delivery::with_sink(config, Echo::default(), memory.clone()), memory)
}

fn distinct(memory: &Memory) -> usize {
    memory.look(|inner| inner.events.iter().map(|event| event.uuid).collect::<std::collections::HashSet<_>>().len())
}

#[test]
fn what_is_left_at_the_end_is_sent_by_the_next_one() {
    let folder = Folder::new();
    let (first, _) = start(folder.config(SpoolMode::Overflow), vec![Some(later()); 9]);
    first.offer(Do::Emit(vec![event(Lane::General, 10)]), 100);
    first.offer(emit(50), 100);
    assert_report(&first.shutdown(LONG), 0, 51, &[]);
    assert_eq!(first.stats().spooled, 51);
    assert_eq!(folder.files().len(), 2);

    let (second, memory) = start(folder.config(SpoolMode::Overflow), vec![]);
    second.offer(emit(1), 100);
    assert_report(&second.flush(LONG), 52, 0, &[]);
    assert_eq!((distinct(&memory), memory.look(|inner| inner.events.len())), (52, 52));
    let stats = second.stats();
    assert_eq!((stats.recovered, stats.spooled, stats.spooled_bytes), (51, 0, 0));
    assert_report(&second.shutdown(LONG), 52, 0, &[]);
    assert_eq!(below(&folder.0), Vec::<PathBuf>::new());
}

#[test]
fn a_well_sink_needs_no_disk() {
    let folder = Folder::new();
    let (delivery, _) = start(folder.config(SpoolMode::Overflow), vec![]);
    delivery.offer(emit(250), 100);
    assert_report(&delivery.flush(LONG), 250, 0, &[]);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn with_always_an_event_is_on_disk_before_it_is_sent() {
    let folder = Folder::new();
    // The sink never answers, so whatever is on disk was there first.
    let (delivery, memory) = start(folder.config(SpoolMode::Always), vec![None]);
    delivery.offer(emit(20), 100);
    wait_until(|| {
        delivery.flush(Duration::from_millis(100));
        memory.look(|inner| !inner.sent.is_empty())
    });
    assert_eq!(memory.look(|inner| inner.sent[0].1.len()), 20);
    let files = folder.files();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(&files[0]).unwrap();
    assert_eq!(crate::deliver::spool::record::read(&bytes).records.len(), 20);
    assert_eq!(delivery.stats().spooled, 20);
}

#[test]
fn a_segment_goes_with_its_last_event() {
    let folder = Folder::new();
    let (delivery, _) = start(folder.config(SpoolMode::Always), vec![]);
    for _ in 0..5 {
        delivery.offer(emit(30), 100);
        delivery.flush(LONG);
    }
    assert_eq!(folder.files(), Vec::<PathBuf>::new());
    assert_report(&delivery.flush(LONG), 150, 0, &[]);
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let (delivery, _) = start(folder.config(SpoolMode::Always), vec![None]);
    delivery.offer(emit(1), 100);
    wait_until(|| {
        delivery.flush(Duration::from_millis(100));
        !folder.files().is_empty()
    });
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = &folder.files()[0];
    assert_eq!(mode(file), 0o600);
    assert_eq!(mode(&file.with_file_name("lock")), 0o600);
    for dir in file.ancestors().skip(1).take_while(|dir| *dir != folder.0) {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    let name = file.strip_prefix(&folder.0).unwrap().display().to_string();
    assert!(!name.contains("phc_"), "{name}");
}

#[test]
fn over_the_bound_the_oldest_are_spilled_and_delivered_in_the_end() {
    let folder = Folder::new();
    let mut config = Config::clone(&folder.config(SpoolMode::Overflow));
    config.max_memory = 256 << 10;
    let (delivery, memory) = start(Arc::new(config), vec![Some(later()); 4]);
    for _ in 0..20 {
        for _ in 0..100 {
            assert!(delivery.offer(Do::Emit(vec![event(Lane::Ai, 1000)]), 100));
        }
        assert!(delivery.settle(LONG));
        assert!(delivery.stats().queued_bytes <= 256 << 10);
    }
    let stats = delivery.stats();
    balanced(&stats.report);
    assert!(stats.spooled > 1500, "{stats:?}");
    assert_eq!(stats.report.pending, 2000);
    while delivery.flush(LONG).pending > 0 {}
    assert_report(&delivery.flush(LONG), 2000, 0, &[]);
    assert_eq!(distinct(&memory), 2000);
    assert_eq!(folder.files(), Vec::<PathBuf>::new());
}

#[test]
fn while_the_sink_is_away_events_are_on_disk() {
    let folder = Folder::new();
    let (delivery, memory) = start(folder.config(SpoolMode::Overflow), vec![Some(Outcome::Denied("401".to_owned()))]);
    delivery.offer(emit(30), 100);
    assert_report(&delivery.flush(LONG), 0, 30, &[]);
    delivery.offer(emit(5), 100);
    assert_report(&delivery.flush(LONG), 0, 35, &[]);
    assert_eq!(delivery.stats().spooled, 35);
    assert_eq!(memory.look(|inner| inner.sent.len()), 1);
}

#[test]
fn two_at_once_in_one_folder_do_not_take_each_others_events() {
    let folder = Folder::new();
    let (first, first_has) = start(folder.config(SpoolMode::Always), vec![]);
    let (second, second_has) = start(folder.config(SpoolMode::Always), vec![]);
    for _ in 0..20 {
        first.offer(emit(10), 100);
        second.offer(emit(10), 100);
        second.flush(LONG);
        first.flush(LONG);
    }
    assert_report(&first.shutdown(LONG), 200, 0, &[]);
    assert_report(&second.shutdown(LONG), 200, 0, &[]);
    assert_eq!((distinct(&first_has), distinct(&second_has)), (200, 200));
}

#[test]
fn a_folder_that_cannot_be_written_means_memory_and_one_sentence() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("spool"), "not a folder").unwrap();
    let (delivery, memory) = start(folder.config(SpoolMode::Always), vec![]);
    for _ in 0..3 {
        delivery.offer(emit(10), 100);
        delivery.flush(LONG);
    }
    assert_report(&delivery.flush(LONG), 30, 0, &[]);
    assert_eq!(distinct(&memory), 30);
    assert!(delivery.stats().last_error.unwrap().contains("cannot be written"));
}

#[test]
fn a_damaged_segment_gives_what_came_before_the_damage_and_is_put_aside() {
    for at in [0, 9, 30, 400, 1500, 4000] {
        let folder = Folder::new();
        let (first, _) = start(folder.config(SpoolMode::Overflow), vec![Some(later()); 9]);
        first.offer(emit(20), 100);
        first.shutdown(LONG);
        let file = folder.files().remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 0x55;
        std::fs::write(&file, bytes).unwrap();

        let (second, memory) = start(folder.config(SpoolMode::Overflow), vec![]);
        second.offer(emit(1), 100);
        let report = second.flush(LONG);
        balanced(&report);
        assert_eq!((report.pending, report.dropped.get("corrupt")), (0, Some(&1)), "{report:?}");
        assert_eq!(report.delivered, distinct(&memory) as u64);
        assert!(folder.files().iter().any(|path| path.parent().unwrap().ends_with("quarantine")), "{at}");
        let valid = memory.look(|inner| {
            inner
                .events
                .iter()
                .all(|event| serde_json::from_slice::<Value>(&event.json).unwrap()["event"] == "$ai_generation")
        });
        assert!(valid);
    }
}

#[test]
fn what_the_sink_rejects_is_written_down() {
    let folder = Folder::new();
    // Both, the first alone, the second alone, and the first again now that the sink is known to be well.
    let no = || Some(Outcome::Rejected("bad".to_owned()));
    let script = vec![no(), no(), Some(Outcome::Accepted), no()];
    let (delivery, _) = start(folder.config(SpoolMode::Overflow), script);
    delivery.offer(emit(2), 100);
    assert_report(&delivery.flush(LONG), 1, 0, &[("rejected", 1)]);
    let files = folder.files();
    let letters: Vec<&PathBuf> = files.iter().filter(|path| path.parent().unwrap().ends_with("dead-letters")).collect();
    let text = std::fs::read_to_string(letters[0]).unwrap();
    let letter: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!((&letter["reason"], &letter["event"]["event"]), (&json!("rejected"), &json!("$ai_generation")));
}
