//! Directories with an owner: who holds the lock on a directory's `lock` file may read and change it.
//!
//! The lock is one that the system takes back when its process ends, however that ends, and (on Unix) one that a forked
//! child does not share, lest a child keep the directory of a parent that is long gone. The price is that it does not
//! keep apart two owners in one process. Names do: the directory of an owner that lives bears its process's token, and
//! one process looks for directories in one thread at a time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use uuid::Uuid;

const LOCK: &str = "lock";
/// Directories in the making, which nobody adopts.
const UNFINISHED: &str = ".new-";

/// A directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    /// Closing it gives the lock back. Nothing else in this process may open the file meanwhile: on Unix closing any
    /// handle of it would give the lock back too.
    lock: File,
}

impl Claim {
    /// Makes a directory of one's own below `root`.
    pub(crate) fn make(root: &Path) -> io::Result<Self> {
        make_private(root)?;
        let name = name();
        let (first, dir) = (root.join(format!("{UNFINISHED}{name}")), root.join(name));
        // Locked before it has the name under which others find it.
        make_private(&first)?;
        let made = open_lock(&first, true).and_then(|lock| {
            try_lock(&lock)?;
            fs::rename(&first, &dir)?;
            Ok(lock)
        });
        if made.is_err() {
            let _ = fs::remove_file(first.join(LOCK));
            let _ = fs::remove_dir(&first);
        }
        Ok(Self { dir, lock: made? })
    }

    /// Adopts the directories below `root` whose owners are gone. `None`: another thread of this process is at it.
    pub(crate) fn adopt(root: &Path) -> Option<Vec<Self>> {
        let _turn = Turn::take()?;
        let mine = format!("{:016x}-", token());
        let Ok(entries) = fs::read_dir(root) else { return Some(Vec::new()) };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Some(
            names
                .filter(|name| looks_like_one(name) && !name.starts_with(&mine))
                .filter_map(|name| Self::take_over(root, &name).ok())
                .collect(),
        )
    }

    /// Whether there is any directory that might be adopted.
    pub(crate) fn any(root: &Path) -> bool {
        let mine = format!("{:016x}-", token());
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .any(|name| looks_like_one(&name) && !name.starts_with(&mine))
    }

    fn take_over(root: &Path, name: &str) -> io::Result<Self> {
        let old = root.join(name);
        let lock = match open_lock(&old, false) {
            // Its last owner was killed while it removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::remove_dir(&old).is_err() => {
                open_lock(&old, true)?
            }
            other => other?,
        };
        try_lock(&lock)?;
        if !is_still(&lock, &old.join(LOCK)) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let dir = root.join(self::name());
        fs::rename(&old, &dir)?;
        Ok(Self { dir, lock })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the directory back: removes it when nothing is left in it, else leaves it to be adopted, by this process too.
    pub(crate) fn leave(self) {
        let left = || fs::read_dir(&self.dir).map(|entries| entries.flatten().any(|entry| entry.file_name() != LOCK));
        if matches!(left(), Ok(false)) {
            let _ = fs::remove_file(self.dir.join(LOCK));
            let _ = fs::remove_dir(&self.dir);
        } else if let Some(root) = self.dir.parent() {
            let _ = fs::rename(&self.dir, root.join(format!("{:016x}-{:016x}", 0, random())));
        }
        drop(self.lock);
    }
}

/// A name that no other directory has, with this process's token.
fn name() -> String {
    format!("{:016x}-{:016x}", token(), random())
}

/// Whether a directory has an owner that is another process, after those whose owners are gone were adopted.
#[cfg(feature = "cli")]
pub(super) fn is_owned(dir: &Path) -> bool {
    let mine = format!("{:016x}-", token());
    let name = dir.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| looks_like_one(name) && !name.starts_with(&mine))
}

fn looks_like_one(name: &str) -> bool {
    name.len() == 33
        && name.bytes().enumerate().all(|(at, byte)| if at == 16 { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn random() -> u64 {
    // From the system each time: what a parent and its forked child draw is never the same.
    let (high, low) = Uuid::new_v4().as_u64_pair();
    high ^ low
}

/// A number that tells this process from every other one, also from those that had or will have its id.
fn token() -> u64 {
    static TOKEN: AtomicU64 = AtomicU64::new(0);
    let pid = u64::from(std::process::id());
    let known = TOKEN.load(Ordering::Acquire);
    if known >> 32 == pid {
        return known;
    }
    let fresh = pid << 32 | (random() & 0xffff_ffff);
    match TOKEN.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(other) => other,
    }
}

/// Only one thread of a process looks for directories. No mutex: one that is held at a fork stays so in the child.
struct Turn;

static AT_IT: AtomicU32 = AtomicU32::new(0);

impl Turn {
    fn take() -> Option<Self> {
        let pid = std::process::id();
        let holder = AT_IT.load(Ordering::Acquire);
        let free = holder != pid && AT_IT.compare_exchange(holder, pid, Ordering::AcqRel, Ordering::Acquire).is_ok();
        free.then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        AT_IT.store(0, Ordering::Release);
    }
}

/// A folder, and those above it, for the user's eyes only; what is there already stays as it is.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.recursive(true).create(dir)
}

/// How files are opened for writing, for the user's eyes only.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn open_lock(dir: &Path, create: bool) -> io::Result<File> {
    private().create(create).truncate(false).open(dir.join(LOCK))
}

#[cfg(unix)]
fn try_lock(lock: &File) -> io::Result<()> {
    Ok(rustix::fs::fcntl_lock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)?)
}

#[cfg(not(unix))]
fn try_lock(lock: &File) -> io::Result<()> {
    Ok(lock.try_lock()?)
}

/// Whether a path still leads to an open file.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |data: fs::Metadata| (data.dev(), data.ino());
    file.metadata().map(id).ok() == fs::metadata(path).map(id).ok()
}

#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> bool {
    path.exists()
}
