//! How long to wait. Pure: the clock and the dice are the caller's.

use std::time::Duration;

/// How long a lane that failed too often rests before one batch is tried, at least.
pub(crate) const PARK: Duration = Duration::from_secs(30);
/// How long a lane whose key was refused rests.
pub(crate) const DENIED: Duration = Duration::from_secs(3600);
/// How long a route that does not exist is left alone.
pub(crate) const NO_ROUTE: Duration = Duration::from_secs(3600);

const BASE: f64 = 0.5;
const CAP: f64 = 30.0;
/// Full jitter may say zero; a server in trouble deserves a breath.
const LEAST: f64 = 0.1;
const PARK_CAP: Duration = Duration::from_secs(300);
/// A `Retry-After` beyond this is a mistake, not a wish.
const MOST: Duration = Duration::from_secs(24 * 3600);

/// The wait before another try, after this many failures in a row (1 is the first). `dice` is from 0 to 1.
pub(crate) fn backoff(failures: u32, dice: f64) -> Duration {
    let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(30);
    let most = (BASE * 2f64.powi(doublings)).min(CAP);
    Duration::from_secs_f64((most * dice.clamp(0.0, 1.0)).max(LEAST))
}

/// The rest of a lane that was parked this many times in a row before. Jittered upwards, so that many processes that
/// were parked together do not come back together.
pub(crate) fn park(before: u32, dice: f64) -> Duration {
    let rest = PARK.saturating_mul(1 << before.min(8)).min(PARK_CAP);
    rest.mul_f64(1.0 + 0.1 * dice.clamp(0.0, 1.0))
}

/// What of a server's `Retry-After` is honoured.
pub(crate) fn honoured(after: Option<Duration>) -> Duration {
    after.unwrap_or_default().min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_half_a_second_to_thirty_with_full_jitter() {
        let most: Vec<f64> = (1..=8).map(|failures| backoff(failures, 1.0).as_secs_f64()).collect();
        assert_eq!(most, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(backoff(7, 0.5), Duration::from_secs(15));
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_secs(30));
    }

    #[test]
    fn no_wait_is_shorter_than_a_tenth_of_a_second() {
        assert_eq!(backoff(1, 0.0), Duration::from_millis(100));
    }

    #[test]
    fn a_parked_lane_rests_thirty_seconds_or_more_and_five_minutes_at_most() {
        assert_eq!(park(0, 0.0), Duration::from_secs(30));
        assert_eq!(park(1, 0.0), Duration::from_secs(60));
        assert_eq!(park(100, 1.0), Duration::from_secs(330));
    }
}
