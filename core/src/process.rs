//! Which process this is, and ids that no other one makes: without a system call for each capture, for one costs the
//! caller more than the rest of a hand-over.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// This process's number. The system is asked once in each process.
pub(crate) fn number() -> u32 {
    #[cfg(target_os = "linux")]
    if let Some(known) = wiped::known() {
        use std::sync::atomic::Ordering::Relaxed;
        let number = known.load(Relaxed);
        if number != 0 {
            return number;
        }
        let number = std::process::id();
        known.store(number, Relaxed);
        return number;
    }
    std::process::id()
}

/// A fresh id, of this time: a UUID v7 that holds the time to a quarter of a microsecond, so that ids sort by it.
///
/// Its randomness is what a keyed hash makes of process, time and a count; the key is the thread's own and random. The
/// process is part of it because a forked child has its parent's key and count.
pub(crate) fn fresh_id(at: SystemTime) -> Uuid {
    thread_local! {
        static KEY: RandomState = RandomState::new();
        static COUNT: Cell<u64> = const { Cell::new(0) };
    }
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.with(|count| count.replace(count.get().wrapping_add(1)));
    let random: u64 = KEY.with(|key| key.hash_one((number(), count, since.as_nanos())));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "12 bits of the part of a millisecond; 48 bits of milliseconds"
    )]
    let (part, millis) =
        ((u64::from(since.subsec_nanos() % 1_000_000) * 4096 / 1_000_000) as u16, since.as_millis() as u64);
    let mut rest = [0; 10];
    rest[..2].copy_from_slice(&part.to_be_bytes());
    rest[2..].copy_from_slice(&random.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
}

/// A number that a forked child finds to be zero.
#[cfg(target_os = "linux")]
mod wiped {
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

    /// Stands for a system that cannot do it.
    static NONE: AtomicU32 = AtomicU32::new(0);

    /// The number; `None` where the system does not wipe memory at a fork.
    pub(super) fn known() -> Option<&'static AtomicU32> {
        // Not a lock: a child that is forked while another thread holds it would wait for ever.
        static PLACE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
        let mut place = PLACE.load(Ordering::Acquire);
        if place.is_null() {
            let fresh = map().unwrap_or((&raw const NONE).cast_mut());
            place = match PLACE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                // Another thread was quicker. What this one mapped is left: a page, once in a process.
                Err(theirs) => theirs,
            };
        }
        #[expect(unsafe_code, reason = "memory that is mapped and not owned")]
        // SAFETY: the place is a static's or a page's, which is never unmapped; a page is aligned for anything, and its
        // zeros are a number.
        let known = unsafe { &*place };
        (!ptr::eq(known, &raw const NONE)).then_some(known)
    }

    fn map() -> Option<*mut AtomicU32> {
        /// What is asked for is made whole pages of.
        const LENGTH: usize = size_of::<AtomicU32>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        #[expect(unsafe_code, reason = "there is no other way to see a fork without asking at each call")]
        // SAFETY: the system picks a place where nothing is; nobody else knows of it yet when it is advised about.
        unsafe {
            let page = mmap_anonymous(ptr::null_mut(), LENGTH, protection, MapFlags::PRIVATE).ok()?;
            madvise(page, LENGTH, Advice::LinuxWipeOnFork).ok()?;
            Some(page.cast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn the_number_is_the_systems() {
        assert_eq!([number(), number()], [std::process::id(); 2]);
    }

    #[test]
    fn ids_say_their_time_and_sort_by_it() {
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_500);
        let id = fresh_id(at);
        // 1,700,000,000,123 ms, and half a millisecond of 4096 parts.
        assert_eq!(id.to_string()[..18], *"018bcfe5-687b-7800");
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let later = fresh_id(at + Duration::from_micros(1));
        assert!(id < later, "{id} {later}");
    }

    #[test]
    fn no_two_ids_are_the_same() {
        let at = SystemTime::now();
        let ids = move || (0..1000).map(|_| fresh_id(at)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let all: HashSet<Uuid> = threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
        assert_eq!(all.len(), 4000);
    }
}
