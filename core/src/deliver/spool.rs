//! The spool's files. All that touches the disk for delivery is here; what to write, read and remove is decided in
//! `keeper` and `shelf`.
//!
//! `ROOT/<destination>/<owner>/<lane>-<number>.open|.seg`: one directory a process (see `claim`) below one for each
//! server and key, and in it segments (see `record`). A segment is appended to while it is `.open`, is sealed by a
//! rename and acknowledged as a whole by its removal. There is neither an index nor a list of what was delivered that
//! could be damaged. Beside the owners' directories are `quarantine`, with segments that were not what was written, and
//! `dead-letters`, with events that the server rejected.

mod claim;
#[cfg(feature = "cli")]
mod purge;
pub(crate) mod record;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::shelf::SegmentId;
use crate::doctor::Leftovers;
use crate::event::Lane;
use claim::Claim;
#[cfg(feature = "cli")]
pub(crate) use purge::purge;

/// Files that are kept in `quarantine` and in `dead-letters`, each; the oldest goes.
const MOST_KEPT: usize = 16;
/// Bytes of dead letters that one process writes.
const MOST_DEAD: u64 = 4 << 20;

/// See the module.
pub(crate) struct Spool {
    root: PathBuf,
    own: Option<Claim>,
    adopted: BTreeMap<u64, Claim>,
    files: BTreeMap<SegmentId, Place>,
    open: BTreeMap<SegmentId, Open>,
    dead: Option<(File, u64)>,
    serial: u64,
}

/// Where a segment is. `claim` is 0 for our own directory.
struct Place {
    claim: u64,
    name: String,
}

struct Open {
    file: File,
    length: u64,
}

/// A segment that another process left.
pub(crate) struct Found {
    place: Place,
    pub(crate) lane: Lane,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
}

impl Spool {
    /// The spool for a destination below a folder. Touches nothing yet.
    pub(crate) fn new(dir: &Path, destination: &str) -> Self {
        Self {
            root: root(dir, destination),
            own: None,
            adopted: BTreeMap::new(),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            dead: None,
            serial: 0,
        }
    }

    /// Begins a segment.
    pub(crate) fn create(&mut self, id: SegmentId, lane: Lane) -> io::Result<()> {
        let own = match &self.own {
            Some(own) => own,
            None => self.own.insert(Claim::make(&self.root)?),
        };
        let letter = if lane == Lane::Ai { 'a' } else { 'g' };
        let name = format!("{letter}-{:010}", id.0);
        let path = own.dir().join(&name).with_extension("open");
        let mut file = claim::private().create_new(true).open(&path)?;
        if let Err(error) = file.write_all(record::HEADER) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.files.insert(id, Place { claim: 0, name: format!("{name}.open") });
        self.open.insert(id, Open { file, length: record::HEADER.len() as u64 });
        Ok(())
    }

    /// Appends records to an open segment: all of them, or an error and none.
    pub(crate) fn append(&mut self, id: SegmentId, records: &[u8]) -> io::Result<()> {
        let open = self.open.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        // Not synced to the medium: what the system has survives the process, which is what the spool is for.
        if let Err(error) = open.file.write_all(records) {
            // What was written of them must not stand before what comes next. If that fails too, the segment is sealed
            // by the keeper, and readers stop where the damage begins.
            let _ = open.file.set_len(open.length);
            return Err(error);
        }
        open.length += records.len() as u64;
        Ok(())
    }

    /// Ends an open segment.
    pub(crate) fn seal(&mut self, id: SegmentId) {
        if self.open.remove(&id).is_none() {
            return;
        }
        let Some(path) = self.path(id) else { return };
        let sealed = path.with_extension("seg");
        // A segment that stays `.open` is read all the same.
        if fs::rename(path, &sealed).is_ok()
            && let Some(place) = self.files.get_mut(&id)
            && let Some(name) = sealed.file_name().and_then(|name| name.to_str())
        {
            name.clone_into(&mut place.name);
        }
    }

    pub(crate) fn read(&self, id: SegmentId) -> io::Result<Vec<u8>> {
        fs::read(self.path(id).ok_or(io::ErrorKind::NotFound)?)
    }

    /// Whether a segment was ended by its writer: then nothing in it may be missing.
    pub(crate) fn is_sealed(&self, id: SegmentId) -> bool {
        self.files.get(&id).is_some_and(|place| has_extension(&place.name, "seg"))
    }

    /// Removes a segment.
    pub(crate) fn remove(&mut self, id: SegmentId) {
        self.take_away(id, |path| {
            let _ = fs::remove_file(path);
        });
    }

    /// Puts a damaged segment aside, for people to look at.
    pub(crate) fn quarantine(&mut self, id: SegmentId) {
        let folder = self.root.join("quarantine");
        self.take_away(id, |path| {
            let name = format!("{}.segment", uuid::Uuid::now_v7());
            if claim::make_private(&folder).and_then(|()| fs::rename(path, folder.join(name))).is_err() {
                let _ = fs::remove_file(path);
            }
            keep_newest(&folder);
        });
    }

    fn take_away(&mut self, id: SegmentId, how: impl FnOnce(&Path)) {
        self.open.remove(&id);
        if let Some(path) = self.path(id) {
            how(&path);
        }
        let Some(place) = self.files.remove(&id) else { return };
        if place.claim > 0
            && !self.files.values().any(|other| other.claim == place.claim)
            && let Some(claim) = self.adopted.remove(&place.claim)
        {
            claim.leave();
        }
    }

    /// Whether there may be something to [`adopt`](Self::adopt).
    pub(crate) fn any(dir: &Path, destination: &str) -> bool {
        Claim::any(&root(dir, destination))
    }

    /// Takes over the directories whose owners are gone. `None`: not now, for another thread of this process is at it.
    pub(crate) fn adopt(&mut self) -> Option<Vec<Found>> {
        let mut all = Vec::new();
        for claim in Claim::adopt(&self.root)? {
            self.serial += 1;
            let found = found_in(claim.dir(), self.serial);
            if found.is_empty() {
                claim.leave();
            } else {
                self.adopted.insert(self.serial, claim);
                all.extend(found);
            }
        }
        Some(all)
    }

    /// Gives a segment that was found its number.
    pub(crate) fn enter(&mut self, id: SegmentId, found: Found) {
        self.files.insert(id, found.place);
    }

    /// Writes down an event that the server does not want, for people to look at.
    pub(crate) fn bury(&mut self, reason: &str, why: &str, json: &[u8]) {
        let Ok(event) = std::str::from_utf8(json) else { return };
        let line = format!("{{\"reason\":\"{reason}\",\"why\":{},\"event\":{event}}}\n", serde_json::Value::from(why));
        if self.dead.is_none() {
            let folder = self.root.join("dead-letters");
            let path = folder.join(format!("{}.jsonl", uuid::Uuid::now_v7()));
            let made = claim::make_private(&folder).and_then(|()| claim::private().create_new(true).open(path));
            self.dead = made.ok().map(|file| (file, 0));
            keep_newest(&folder);
        }
        if let Some((file, length)) = &mut self.dead
            && *length + line.len() as u64 <= MOST_DEAD
            && file.write_all(line.as_bytes()).is_ok()
        {
            *length += line.len() as u64;
        }
    }

    /// Gives everything back: what is left is for whoever comes next.
    pub(crate) fn leave(mut self) {
        self.open.clear();
        self.own.take().into_iter().chain(std::mem::take(&mut self.adopted).into_values()).for_each(Claim::leave);
    }

    fn path(&self, id: SegmentId) -> Option<PathBuf> {
        let place = self.files.get(&id)?;
        let claim = if place.claim == 0 { self.own.as_ref() } else { self.adopted.get(&place.claim) };
        Some(claim?.dir().join(&place.name))
    }
}

/// What is in the spool of a destination, looked at from outside: nothing is opened or changed.
pub(crate) struct Survey {
    /// The folder.
    pub(crate) path: PathBuf,
    /// Segments, of owners that live and of owners that are gone.
    pub(crate) waiting: Leftovers,
    /// Dead letters.
    pub(crate) rejected: Leftovers,
    /// What was put aside.
    pub(crate) damaged: Leftovers,
}

impl Survey {
    pub(crate) fn of(dir: &Path, destination: &str) -> Self {
        let path = root(dir, destination);
        let mut survey = Self {
            waiting: Leftovers::default(),
            rejected: Leftovers::default(),
            damaged: Leftovers::default(),
            path: path.clone(),
        };
        let inside = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        for folder in inside(path) {
            let name = folder.file_name();
            for file in inside(folder.path()) {
                let Ok(data) = file.metadata() else { continue };
                let to = match name.to_str() {
                    Some("dead-letters") => &mut survey.rejected,
                    Some("quarantine") => &mut survey.damaged,
                    _ if file.file_name() == "lock" => continue,
                    _ => &mut survey.waiting,
                };
                to.add(data.len());
            }
        }
        survey
    }
}

/// The folder of a destination. Its name tells servers and keys apart and gives neither away.
fn root(dir: &Path, destination: &str) -> PathBuf {
    let digest = Sha256::digest(destination.as_bytes());
    let name = digest[..8].iter().fold(0u64, |name, byte| name << 8 | u64::from(*byte));
    dir.join("spool").join(format!("{name:016x}"))
}

/// The segments in a directory, oldest first.
fn found_in(dir: &Path, claim: u64) -> Vec<Found> {
    let now = SystemTime::now();
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_by(|a, b| a.get(2..).cmp(&b.get(2..)));
    let mut found = Vec::new();
    for name in names {
        let lane = match name.split_once('-') {
            Some(("a", _)) => Lane::Ai,
            Some(("g", _)) => Lane::General,
            _ => continue,
        };
        if !has_extension(&name, "open") && !has_extension(&name, "seg") {
            continue;
        }
        let Ok(data) = fs::metadata(dir.join(&name)) else { continue };
        // A clock that was set back makes a file no younger than new.
        let age = data.modified().ok().and_then(|then| now.duration_since(then).ok()).unwrap_or_default();
        found.push(Found { place: Place { claim, name }, lane, bytes: data.len(), age });
    }
    found
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

/// Removes the oldest files of a folder; their names are in the order of time.
fn keep_newest(folder: &Path) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let most = paths.len().saturating_sub(MOST_KEPT);
    for path in &paths[..most] {
        let _ = fs::remove_file(path);
    }
}
