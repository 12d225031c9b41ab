//! Which traces are kept when only a share of them is wanted.
//!
//! The decision comes from the trace's id alone: a trace is kept or left out whole, the same in every process and
//! language that has a part in it. Errors can be kept all the same, with the spans and the trace around them.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest, Sha256};

/// Traces left out that are remembered for an error in them.
const MOST: usize = 1000;

/// The decisions of one process.
#[derive(Debug)]
pub(crate) struct Sampler {
    share: f64,
    errors: bool,
    /// Traces left out in which something failed, the oldest first.
    failed: HashSet<String>,
    order: VecDeque<String>,
}

impl Sampler {
    pub(crate) fn new(share: f64, errors: bool) -> Self {
        Self { share, errors, failed: HashSet::new(), order: VecDeque::new() }
    }

    /// Whether an event of a trace is to be sent. Spans and traces end, and so are asked about, after what failed inside of
    /// them: what leads to an error that is kept is kept with it, or a viewer would not show it.
    pub(crate) fn keeps(&mut self, trace_id: &str, is_error: bool) -> bool {
        if is_kept(trace_id, self.share) {
            return true;
        }
        if !self.errors {
            return false;
        }
        if is_error && self.failed.insert(trace_id.to_owned()) {
            self.order.push_back(trace_id.to_owned());
            if self.order.len() > MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.failed.remove(&oldest);
            }
        }
        self.failed.contains(trace_id)
    }
}

/// Whether a trace is within the share that is kept: its id's hash, as a number from 0 to 1, against the share.
fn is_kept(trace_id: &str, share: f64) -> bool {
    if share >= 1.0 {
        return true;
    }
    let digest = Sha256::digest(trace_id.as_bytes());
    let head = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(head) / (f64::from(u32::MAX) + 1.0) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_traces_is_kept() {
        let kept = (0..10_000).filter(|n| is_kept(&format!("trace-{n}"), 0.25)).count();
        assert!((2_300..2_700).contains(&kept), "{kept}");
        assert!(is_kept("any", 1.0) && !is_kept("any", 0.0));
    }

    /// Another version, on another machine, has its part in the same trace. From `printf trace-1 | sha256sum`: the first
    /// eight digits as a number, in 2^32.
    #[test]
    fn what_is_kept_stays_what_it_is() {
        let shares = [(1, 0x17fe_6f30_u32), (2, 0xda62_c78e), (3, 0x946e_1ce9), (4, 0xb3d1_6674)];
        for (n, head) in shares {
            let (id, share) = (format!("trace-{n}"), f64::from(head) / 4_294_967_296.0);
            assert!(!is_kept(&id, share) && is_kept(&id, share + 1e-9), "{id}");
        }
    }

    #[test]
    fn an_error_is_kept_with_what_is_around_it() {
        let mut sampler = Sampler::new(0.0, true);
        assert!(!sampler.keeps("t", false), "what went well");
        assert!(sampler.keeps("t", true));
        assert!(sampler.keeps("t", false), "the span that ends after it");
        assert!(!sampler.keeps("u", false));
        assert!(!Sampler::new(0.0, false).keeps("t", true));
        for n in 0..=MOST {
            sampler.keeps(&format!("{n}"), true);
        }
        assert!(!sampler.keeps("t", false), "remembered within bounds");
    }
}
