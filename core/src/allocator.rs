//! The allocator of the Python and Node packages: their own, so that what the worker lets go of is not tidied up by the
//! caller's thread, as the C library's does it when that asks for memory the next time.

use libmimalloc_sys as sys;
pub use mimalloc::MiMalloc;

/// For how long memory that nobody uses is kept for whoever asks next, in ms. It would be a second, in which the worker
/// frees as much as the memory bound allows, and as much again is taken for what it makes of that.
const KEPT: core::ffi::c_long = 100;

/// Of `mi_option_e`; the bindings do not name it.
const PURGE_DELAY: sys::mi_option_t = 15;

/// Sets it up, once for the process; `MIMALLOC_PURGE_DELAY` wins.
#[expect(unsafe_code, reason = "a C function that writes one number and needs nothing to hold")]
pub fn set_up() {
    unsafe { sys::mi_option_set_default(PURGE_DELAY, KEPT) }
}

#[cfg(test)]
mod tests {
    /// Another release of mimalloc may count its options otherwise: the one of this number has to be the one that is
    /// a second where nobody set it.
    #[test]
    #[expect(unsafe_code, reason = "a C function that reads one number")]
    fn the_option_is_the_one_that_is_meant() {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
            return;
        }
        let kept = || unsafe { super::sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(kept(), 1000);
        super::set_up();
        assert_eq!(kept(), super::KEPT);
    }
}
