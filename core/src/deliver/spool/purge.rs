//! Taking events out of the spool for good.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::claim::{self, Claim};
use super::{found_in, record};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    /// Events that were taken out.
    pub(crate) removed: u64,
    /// Directories with events whose owners live: nobody else may change them.
    pub(crate) left: u64,
}

/// Takes the events that are asked for, by their JSON, out of the spools of all destinations below a folder, and out of what
/// was put aside there. Of a damaged segment not all can be read: it goes as a whole when it has one, or the id that was named.
pub(crate) fn purge(dir: &Path, named: Option<&str>, is_asked_for: impl Fn(&[u8]) -> bool) -> io::Result<Purged> {
    let mut purged = Purged::default();
    for root in folders(&dir.join("spool"))? {
        // Nothing but this thread looks for directories here.
        let claims = Claim::adopt(&root).unwrap_or_default();
        let has_an_owner = |path: &&PathBuf| claim::is_owned(path) && !found_in(path, 0).is_empty();
        purged.left += folders(&root)?.iter().filter(has_an_owner).count() as u64;
        for claim in claims {
            let done = segments(&claim, &is_asked_for);
            claim.leave();
            purged.removed += done?;
        }
        for path in files(&root.join("dead-letters"))? {
            purged.removed += dead_letters(&path, &is_asked_for)?;
        }
        for path in files(&root.join("quarantine"))? {
            let bytes = fs::read(&path)?;
            let records = record::read(&bytes).records;
            let count = records.into_iter().filter(|(_, json)| is_asked_for(&bytes[json.clone()])).count();
            if count > 0 || named.is_some_and(|id| memchr::memmem::find(&bytes, id.as_bytes()).is_some()) {
                fs::remove_file(path)?;
                purged.removed += count as u64;
            }
        }
    }
    Ok(purged)
}

fn segments(claim: &Claim, is_asked_for: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    let mut removed = 0;
    for found in found_in(claim.dir(), 0) {
        let path = claim.dir().join(&found.place.name);
        let bytes = fs::read(&path)?;
        let prefix = record::read(&bytes);
        let mut kept = record::HEADER.to_vec();
        let mut count = 0;
        for (lane, json) in &prefix.records {
            let json = &bytes[json.clone()];
            if is_asked_for(json) {
                count += 1;
            } else {
                record::write(&mut kept, *lane, json);
            }
        }
        if count == 0 {
            continue;
        }
        removed += count;
        if kept.len() == record::HEADER.len() {
            fs::remove_file(&path)?;
        } else {
            // What comes after the damage, if there is any, is read by nobody.
            replace(&path, &kept)?;
        }
    }
    Ok(removed)
}

fn dead_letters(path: &Path, is_asked_for: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    let text = fs::read(path)?;
    let is_it = |line: &&[u8]| {
        let event = serde_json::from_slice::<serde_json::Value>(line)
            .ok()
            .and_then(|mut line| line.get_mut("event").map(serde_json::Value::take));
        event.is_some_and(|event| is_asked_for(event.to_string().as_bytes()))
    };
    let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) = text.split_inclusive(|byte| *byte == b'\n').partition(is_it);
    if !gone.is_empty() {
        replace(path, &kept.concat())?;
    }
    Ok(gone.len() as u64)
}

/// Puts something else in a file's place, as old as that: events are kept for so long.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = fs::metadata(path)?.modified()?;
    let new = path.with_extension("new");
    let mut file: File = claim::private().create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.set_modified(written)?;
    fs::rename(new, path)
}

fn entries(dir: &Path, is_dir: bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_dir() == is_dir).collect())
}

fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    entries(dir, true)
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    entries(dir, false)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::Spool;
    use super::*;
    use crate::deliver::shelf::SegmentId;
    use crate::event::Lane;
    use crate::testing::Folder;

    fn spooled(spool: &mut Spool, id: u64, events: &[&str]) {
        let mut records = Vec::new();
        for event in events {
            assert!(record::write(&mut records, Lane::Ai, event.as_bytes()));
        }
        spool.create(SegmentId(id), Lane::Ai).unwrap();
        spool.append(SegmentId(id), &records).unwrap();
        spool.seal(SegmentId(id));
    }

    fn bytes_below(dir: &Path) -> Vec<u8> {
        let mut all: Vec<u8> = files(dir).unwrap().iter().flat_map(|path| fs::read(path).unwrap()).collect();
        all.extend(folders(dir).unwrap().iter().flat_map(|path| bytes_below(path)));
        all
    }

    #[test]
    fn what_is_asked_for_goes_and_the_rest_is_still_sent() {
        let (ada, bob) = (r#"{"distinct_id":"ada"}"#, r#"{"distinct_id":"bob"}"#);
        let folder = Folder::new();
        let mut spool = Spool::new(&folder.0, "a server");
        spooled(&mut spool, 1, &[ada, bob, ada]);
        spooled(&mut spool, 2, &[ada]);
        spooled(&mut spool, 3, &[ada]);
        fs::write(spool.path(SegmentId(3)).unwrap(), b"damaged, and it says ada").unwrap();
        spool.quarantine(SegmentId(3));
        spool.bury("rejected", "why", ada.as_bytes());
        spool.bury("rejected", "why", bob.as_bytes());
        let mut living = Spool::new(&folder.0, "another server");
        spooled(&mut living, 1, &[bob]);
        spool.leave();

        let purged = purge(&folder.0, Some("ada"), |json| json == ada.as_bytes()).unwrap();
        assert_eq!(purged, Purged { removed: 4, left: 0 });
        let left = bytes_below(&folder.0);
        let count = |word: &[u8]| memchr::memmem::find_iter(&left, word).count();
        assert_eq!((count(b"ada"), count(b"bob")), (0, 3));

        let mut next = Spool::new(&folder.0, "a server");
        let found = next.adopt().unwrap();
        assert_eq!(found.len(), 1);
        let bytes = fs::read(next.adopted[&1].dir().join(&found[0].place.name)).unwrap();
        assert_eq!(
            record::read(&bytes).records.into_iter().map(|(_, json)| &bytes[json]).collect::<Vec<_>>(),
            [bob.as_bytes()]
        );
    }
}
