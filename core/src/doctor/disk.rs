//! The store and the spool on this machine, looked at without changing them.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Place;
use crate::config::{Config, SpoolMode};
use crate::deliver::spool::Survey;
use crate::sink;

/// What is kept on disk for a server.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Spool {
    /// `off`, `overflow` or `always`.
    pub mode: &'static str,
    /// Its folder, for this server and key.
    pub path: String,
    /// Why nothing can be written there.
    pub trouble: Option<String>,
    /// Events on disk, of processes that ended and of those that live.
    pub waiting: Leftovers,
    /// Events that the server rejected.
    pub rejected: Leftovers,
    /// What was damaged.
    pub damaged: Leftovers,
}

/// Files and their bytes in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leftovers {
    /// How many files.
    pub files: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Leftovers {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// The spool of a configuration, where it has one.
pub(super) fn spool(config: &Config) -> Option<Spool> {
    let destination = sink::destination(config)?;
    let Survey { path, waiting, rejected, damaged } = Survey::of(&config.dir, &destination);
    let mode = match config.spool {
        SpoolMode::Off => "off",
        SpoolMode::Overflow => "overflow",
        SpoolMode::Always => "always",
    };
    let trouble = trouble_with(&path);
    Some(Spool { mode, path: path.display().to_string(), trouble, waiting, rejected, damaged })
}

#[cfg(feature = "store")]
pub(super) fn store(config: &Config) -> Place {
    let path = config.dir.join(crate::sink::store::FILE);
    let damage = || {
        let opened = crate::store::Reader::open_file(&path);
        opened.err().map(|error| error.to_string().trim_end_matches('.').to_owned())
    };
    let trouble = trouble_with(&config.dir).or_else(damage).or_else(|| read_only(&path));
    let bytes = std::fs::metadata(&path).ok().map(|data| data.len());
    Place::Store { path: path.display().to_string(), writable: trouble.is_none(), bytes, trouble }
}

#[cfg(not(feature = "store"))]
pub(super) fn store(config: &Config) -> Place {
    let trouble = Some("this build has no local store: set POSTHOG_API_KEY".to_owned());
    Place::Store { path: config.dir.display().to_string(), writable: false, bytes: None, trouble }
}

/// Why a folder cannot be written, or made where it is not there: a file is made in it, or in the folder above that is
/// there, and taken away again.
fn trouble_with(dir: &Path) -> Option<String> {
    let mut there: PathBuf = dir.to_owned();
    loop {
        match std::fs::metadata(&there) {
            Ok(data) if data.is_dir() => break,
            Ok(_) => return Some(format!("{} is not a folder", there.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && there.pop() => {
                if there.as_os_str().is_empty() {
                    there.push(".");
                }
            }
            Err(error) => return Some(format!("{}: {error}", there.display())),
        }
    }
    let probe = there.join(format!(".llmtrail-doctor-{}", uuid::Uuid::new_v4()));
    let made = std::fs::File::create_new(&probe).err().map(|error| format!("{}: {error}", there.display()));
    let _ = std::fs::remove_file(&probe);
    made
}

/// Whether a file is there and may not be written. It is not opened: closing it again would take SQLite's locks from this
/// process.
#[cfg(all(feature = "store", unix))]
fn read_only(file: &Path) -> Option<String> {
    let access = rustix::fs::access(file, rustix::fs::Access::WRITE_OK);
    access.err().filter(|error| *error != rustix::io::Errno::NOENT).map(|error| io::Error::from(error).to_string())
}

#[cfg(all(feature = "store", not(unix)))]
fn read_only(file: &Path) -> Option<String> {
    let data = std::fs::metadata(file).ok()?;
    data.permissions().readonly().then(|| "it is read-only".to_owned())
}
