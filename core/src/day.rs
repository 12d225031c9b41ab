//! Days in UTC as text. That of today is remembered, for every call asks for it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Milliseconds of a day.
const DAY: i64 = 24 * 3600 * 1000;

/// A time's day: `2026-11-30`.
pub(crate) fn of(time: SystemTime) -> Arc<str> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(_) => of_number(unix_ms(time) / DAY),
        Err(_) => text(Timestamp::try_from(time).unwrap_or_default()),
    }
}

/// A time as an event's envelope wants it.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let millis = unix_ms(time);
    let mut text = String::with_capacity("2026-11-30T12:34:56.789Z".len());
    text.push_str(&of_number(millis / DAY));
    let of_day = millis % DAY;
    for (mark, number, digits) in [
        ('T', of_day / 3_600_000, 2),
        (':', of_day / 60_000 % 60, 2),
        (':', of_day / 1000 % 60, 2),
        ('.', of_day % 1000, 3),
    ] {
        text.push(mark);
        let mut place = 10_i64.pow(digits);
        while place > 1 {
            place /= 10;
            let digit = u8::try_from(number / place % 10).unwrap_or_default();
            text.push(char::from(b'0' + digit));
        }
    }
    text.push('Z');
    text
}

/// Milliseconds since 1970, of times that have a text; zero for others.
fn unix_ms(time: SystemTime) -> i64 {
    let millis = crate::event::unix_ms(time);
    Timestamp::from_millisecond(millis).map_or(0, |_| millis)
}

fn of_number(day: i64) -> Arc<str> {
    thread_local! {
        static LAST: RefCell<Option<(i64, Arc<str>)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((number, text)) if *number == day => Arc::clone(text),
        _ => {
            let fresh = text(Timestamp::from_millisecond(day * DAY).unwrap_or_default());
            *last = Some((day, Arc::clone(&fresh)));
            fresh
        }
    })
}

fn text(at: Timestamp) -> Arc<str> {
    at.to_zoned(TimeZone::UTC).date().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn they_are_what_jiff_makes_of_them() {
        let far = Duration::from_millis(253_402_207_199_999);
        let times = [0, 1, 59_999, 951_782_399_999, 951_782_400_000, 1_764_583_200_007, 4_102_444_799_010];
        for since in times.into_iter().map(Duration::from_millis).chain([far, far * 100]) {
            let time = UNIX_EPOCH + since;
            let at = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
            assert_eq!(timestamp(time), format!("{at:.3}"));
            assert_eq!(*of(time), at.to_zoned(TimeZone::UTC).date().to_string());
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!((&*of(before), timestamp(before).as_str()), ("1969-12-31", "1970-01-01T00:00:00.000Z"));
    }
}
