//! Money as whole numbers of 1e-18 USD.

use std::fmt;
use std::ops::{Add, Sub};

/// Digits after the point: some prices need 17 of them per token.
const SCALE: u32 = 18;
const ONE: i128 = 10_i128.pow(SCALE);

/// An exact amount of US dollars, or a price in US dollars per unit: a count of 1e-18 USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of `atto` times 1e-18 USD.
    pub const fn from_atto(atto: i128) -> Self {
        Self(atto)
    }

    /// The amount as a count of 1e-18 USD.
    pub const fn atto(self) -> i128 {
        self.0
    }

    /// Reads a decimal number of dollars: `0.0025`, `2.5e-6`, ` 3 `. Digits after the eighteenth are rounded half up.
    /// `None` for anything else (signs but a leading `+` or `-`, currency signs, hexadecimal, NaN) and beyond 1e15 USD.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_per(text, 0)
    }

    /// The same, for a price given per 10^`power` units (6: per million tokens).
    pub fn parse_per(text: &str, power: i32) -> Option<Self> {
        let text = text.trim();
        let (digits, negative) = match text.as_bytes().first()? {
            b'-' => (&text[1..], true),
            b'+' => (&text[1..], false),
            _ => (text, false),
        };
        let (mantissa, exponent) = match digits.find(['e', 'E']) {
            Some(at) => (&digits[..at], digits[at + 1..].parse::<i32>().ok()?),
            None => (digits, 0),
        };
        if !(-60..=60).contains(&exponent) {
            return None;
        }
        let mut value: i128 = 0;
        let mut scale = 0;
        let mut seen = false;
        let mut after_point = false;
        for byte in mantissa.bytes() {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    // More digits than an i128 holds say nothing at this scale.
                    if value < 10_i128.pow(33) {
                        value = value * 10 + i128::from(byte - b'0');
                        scale += i32::from(after_point);
                    } else if !after_point {
                        return None;
                    }
                }
                b'.' if !after_point => after_point = true,
                _ => return None,
            }
        }
        if !seen {
            return None;
        }
        let shift = SCALE.cast_signed() + exponent - power - scale;
        let atto = if shift >= 0 {
            value.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?
        } else {
            let Some(divisor) = 10_i128.checked_pow(shift.unsigned_abs()) else {
                return Some(Self::ZERO);
            };
            (value + divisor / 2) / divisor
        };
        if atto > ONE * 1_000_000_000_000_000 {
            return None;
        }
        Some(Self(if negative { -atto } else { atto }))
    }

    /// The nearest double, as `$ai_*_cost_usd` properties carry it.
    pub fn to_f64(self) -> f64 {
        /// Whole numbers up to this are doubles.
        const EXACT: u64 = 1 << 53;
        const MILLION: u64 = 1_000_000;
        // The quotient of two doubles is the nearest to that of what they stand for; both have to be what is meant.
        if let Ok(atto) = u64::try_from(self.0) {
            if atto < EXACT {
                return atto as f64 / 1e18;
            }
            if atto % MILLION == 0 && atto / MILLION < EXACT {
                return (atto / MILLION) as f64 / 1e12;
            }
        }
        Decimal::of(self.0).as_str().parse().unwrap_or(f64::NAN)
    }

    /// Writes the exact decimal text with quotes, as JSON.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let decimal = Decimal::of(self.0);
        out.push(b'"');
        out.extend_from_slice(&decimal.bytes[decimal.start..]);
        out.push(b'"');
    }

    /// Hands over the exact decimal text, which is on the stack.
    pub(crate) fn as_decimal<T>(self, take: impl FnOnce(&str) -> T) -> T {
        take(Decimal::of(self.0).as_str())
    }

    /// The sum, held at the ends of the range.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `count` units at this price each; stops at the largest amount there is.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        // Prices of tokens are far below this, and one multiplication that cannot overflow is ten times faster than
        // one that is checked.
        const SAFE: i128 = 1 << 63;
        if (0..SAFE).contains(&self.0) {
            return Self(self.0 * i128::from(count));
        }
        Self(self.0.saturating_mul(i128::from(count)))
    }

    /// This price times `numerator / denominator`, rounded half up.
    #[must_use]
    pub(crate) fn scaled(self, numerator: i128, denominator: i128) -> Self {
        Self((self.0.saturating_mul(numerator) + denominator / 2) / denominator)
    }

    /// The price in dollars per 10^`power` units, for people to read.
    #[must_use]
    pub(crate) fn per(self, power: u32) -> Self {
        Self(self.0.saturating_mul(10_i128.pow(power)))
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Amount {
    /// Exact, with no exponent and no trailing zeros: `0.0000025`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Decimal::of(self.0).as_str())
    }
}

/// A decimal number on the stack: sign, 21 digits, point, 18 digits fit.
struct Decimal {
    bytes: [u8; 48],
    start: usize,
}

impl Decimal {
    fn of(atto: i128) -> Self {
        const WHOLE: u64 = 10_u64.pow(SCALE);
        let mut bytes = [0; 48];
        let mut at = bytes.len();
        // Dividing 128 bits is many times slower, and what calls cost has fewer.
        let (whole, fraction) = if let Ok(small) = u64::try_from(atto.unsigned_abs()) {
            (u128::from(small / WHOLE), small % WHOLE)
        } else {
            let rest = atto.unsigned_abs() % ONE.unsigned_abs();
            // Of 18 digits, so it fits.
            (atto.unsigned_abs() / ONE.unsigned_abs(), u64::try_from(rest).unwrap_or_default())
        };
        let mut put = |byte: u8| {
            at -= 1;
            bytes[at] = byte;
        };
        if fraction != 0 {
            let mut rest = fraction;
            let mut significant = false;
            for _ in 0..SCALE {
                let digit = b'0' + (rest % 10) as u8;
                rest /= 10;
                significant |= digit != b'0';
                if significant {
                    put(digit);
                }
            }
            put(b'.');
        }
        let mut large = whole;
        let mut rest = loop {
            match u64::try_from(large) {
                Ok(rest) => break rest,
                Err(_) => put(b'0' + (large % 10) as u8),
            }
            large /= 10;
        };
        loop {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if atto < 0 {
            put(b'-');
        }
        Self { bytes, start: at }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_exact_decimals() {
        for (text, shown) in [
            ("0.0000025", "0.0000025"),
            ("2.5e-6", "0.0000025"),
            ("3", "3"),
            (" 0.10 ", "0.1"),
            ("0", "0"),
            ("-0.5", "-0.5"),
            ("8.333333333E-8", "0.00000008333333333"),
            ("0.0000000000000000005", "0.000000000000000001"),
            ("1e-40", "0"),
            (".5", "0.5"),
        ] {
            assert_eq!(Amount::parse(text).map(|a| a.to_string()).as_deref(), Some(shown), "{text}");
        }
        for text in ["", " ", "abc", "$0.10", "0x10", "1.2.3", "NaN", "inf", "1e99", "--1", "1e16", "e5", "."] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }

    #[test]
    fn prices_per_million_are_exact() {
        assert_eq!(Amount::parse_per("3.75", 6), Amount::parse("0.00000375"));
        assert_eq!(Amount::parse_per("10", 3), Amount::parse("0.01"));
    }

    #[test]
    fn the_double_is_the_nearest_one() {
        assert!((Amount::parse("0.1").expect("a number").to_f64() - 0.1).abs() < f64::EPSILON / 4.0);
        assert!((Amount::parse("0.33457875").expect("a number").to_f64() - 0.334_578_75).abs() < 1e-17);
    }

    #[test]
    fn every_way_to_a_double_is_that_of_the_decimal_form() {
        let mut atto = 1_i128;
        while atto < 1 << 70 {
            for near in [-1, 0, 1, 123_456_789, 1_000_000, 7_000_000_000] {
                for amount in [atto + near, (atto + near) * 1_000_000, -atto] {
                    let amount = Amount::from_atto(amount);
                    let read: f64 = amount.to_string().parse().expect("a number");
                    assert_eq!(amount.to_f64().to_bits(), read.to_bits(), "{amount}");
                }
            }
            atto = atto * 7 / 5 + 1;
        }
    }

    #[test]
    fn nothing_overflows() {
        let huge = Amount::from_atto(i128::MAX);
        assert_eq!(huge.times(u64::MAX) + huge, huge);
        assert_eq!(huge.to_string().len(), 40);
        assert!(Amount::from_atto(i128::MIN).to_string().starts_with("-170141183460469231731"));
        let dollars = |dollars: u128| Amount::from_atto(dollars.cast_signed() * ONE).to_string();
        for whole in [u128::from(u64::MAX), u128::from(u64::MAX) + 1, 10_u128.pow(19), 10_u128.pow(20)] {
            assert_eq!(dollars(whole), whole.to_string());
        }
    }
}
