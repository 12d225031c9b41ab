//! Detectors of personal data in content: each value found becomes a placeholder that stays the same in a process.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

use regex_lite::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::expected;
use crate::patient;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detector {
    /// Bank accounts, whose check digits are right.
    Iban,
    /// Payment cards, by Luhn's checksum.
    Card,
    /// Mail addresses.
    Email,
    /// IPv4 and IPv6 addresses.
    Ip,
    /// Telephone numbers: with a country's code (`+49 ...`, `0049 ...`), or as North America writes them.
    Phone,
}

impl Detector {
    /// All of them, in the order in which they look: what one took the next does not see.
    pub(crate) const ALL: [Self; 5] = [Self::Iban, Self::Card, Self::Email, Self::Ip, Self::Phone];

    /// Its name, which is that in its placeholders.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Phone => "phone",
        }
    }

    /// A detector by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detector| detector.as_str() == name)
    }

    /// Those that an option names.
    pub(crate) fn read(value: &Value) -> Result<Vec<Self>, String> {
        let names = Self::ALL.map(Self::as_str).join(", ");
        let wrong = || expected(&format!("a list with some of {names}, or true for all"), value);
        match value {
            Value::Bool(false) => Ok(Vec::new()),
            Value::Bool(true) => Ok(Self::ALL.to_vec()),
            Value::Array(given) => {
                given.iter().map(|name| Self::named(name.as_str().unwrap_or_default()).ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// What may be one.
    fn pattern(self) -> &'static Regex {
        #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles each")]
        fn compiled(pattern: &str) -> Regex {
            Regex::new(pattern).expect("a valid pattern")
        }
        static IBAN: LazyLock<Regex> =
            LazyLock::new(|| compiled(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"));
        static CARD: LazyLock<Regex> = LazyLock::new(|| compiled(r"\b[0-9](?:[ -]?[0-9]){12,}\b"));
        static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
            compiled(r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b")
        });
        static IP: LazyLock<Regex> = LazyLock::new(|| {
            compiled(
                r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b|(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4})",
            )
        });
        static PHONE: LazyLock<Regex> = LazyLock::new(|| {
            compiled(
                r"(?:\+|\b00)[1-9](?:[ ()./-]{0,2}[0-9]){6,14}\b|(?:\b|\()[2-9][0-9]{2}\)?[ .-][0-9]{3}[ .-][0-9]{4}\b",
            )
        });
        match self {
            Self::Iban => &IBAN,
            Self::Card => &CARD,
            Self::Email => &EMAIL,
            Self::Ip => &IP,
            Self::Phone => &PHONE,
        }
    }

    /// Whether there may be one in a text with these signs: its pattern is far dearer to look for.
    fn may_be(self, signs: &Signs) -> bool {
        match self {
            Self::Iban => signs.digits >= 2 && signs.capitals >= 2,
            Self::Card => signs.digits >= 13,
            Self::Email => signs.ats >= 1,
            Self::Ip => signs.digits >= 4 && signs.dots >= 3 || signs.colons >= 2,
            Self::Phone => signs.digits >= 7,
        }
    }

    /// Where they are in what may hold one, and what each is without how it is written.
    fn within(self, found: &str) -> Vec<(Range<usize>, String)> {
        if self == Self::Card {
            return cards(found);
        }
        self.value(found).map(|value| (0..found.len(), value)).into_iter().collect()
    }

    /// The value without what it may be written with or without, when it is one.
    fn value(self, found: &str) -> Option<String> {
        let bare = || found.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        match self {
            Self::Iban => Some(bare()).filter(|iban| checks_out(iban)),
            Self::Card => Some(bare()).filter(|card| {
                (13..=19).contains(&card.len()) && (b'2'..=b'6').contains(&card.as_bytes()[0]) && luhn(card)
            }),
            Self::Email => Some(found.to_lowercase()),
            Self::Ip => {
                let known = |ip: &IpAddr| match ip {
                    // What is everybody's says nothing about anybody.
                    IpAddr::V4(ip) => *ip != Ipv4Addr::UNSPECIFIED && !ip.is_loopback(),
                    IpAddr::V6(ip) => *ip != Ipv6Addr::UNSPECIFIED && !ip.is_loopback(),
                };
                // `a::b` is an address too, but is mostly a name in a program.
                let bare = found.contains(':') && (found.len() < 6 || !found.contains(|c: char| c.is_ascii_digit()));
                found.parse::<IpAddr>().ok().filter(known).filter(|_| !bare).map(|ip| ip.to_string())
            }
            Self::Phone => Some(bare()),
        }
    }
}

/// How many there are in a text of the characters that the patterns ask for.
struct Signs {
    digits: usize,
    capitals: usize,
    ats: usize,
    dots: usize,
    colons: usize,
}

impl Signs {
    fn of(text: &str) -> Self {
        Self {
            digits: count(text, |byte| byte.is_ascii_digit()),
            capitals: count(text, |byte| byte.is_ascii_uppercase()),
            ats: count(text, |byte| byte == b'@'),
            dots: count(text, |byte| byte == b'.'),
            colons: count(text, |byte| byte == b':'),
        }
    }
}

fn count(text: &str, is: impl Fn(u8) -> bool) -> usize {
    // In numbers of a byte, of which the compiler adds many in one step.
    let part = |part: &[u8]| usize::from(part.iter().map(|byte| u8::from(is(*byte))).sum::<u8>());
    text.as_bytes().chunks(u8::MAX.into()).map(part).sum()
}

/// ISO 7064's check of an IBAN.
fn checks_out(iban: &str) -> bool {
    if !(15..=34).contains(&iban.len()) {
        return false;
    }
    let turned = iban[4..].chars().chain(iban[..4].chars());
    let rest = turned.filter_map(|c| c.to_digit(36)).fold(0, |rest, digit| {
        let shift = if digit > 9 { 100 } else { 10 };
        (rest * shift + digit) % 97
    });
    rest == 1
}

/// The cards in a run of digits. Other numbers may stand before and after one (an order, a date, a code), so each part of
/// the run is looked at that is grouped as cards are: by chance one in ten of any digits passes the checksum.
fn cards(run: &str) -> Vec<(Range<usize>, String)> {
    const GROUPED: [&[usize]; 9] = [
        &[4, 4, 4, 4, 3],
        &[4, 4, 4, 4, 2],
        &[4, 4, 4, 4, 1],
        &[4, 4, 4, 4],
        &[4, 6, 5],
        &[4, 6, 4],
        &[4, 4, 5],
        &[6, 13],
        &[4, 4, 4, 1],
    ];
    if let Some(card) = Detector::Card.value(run) {
        return vec![(0..run.len(), card)];
    }
    let mut groups = Vec::new();
    let mut begin = 0;
    for (at, _) in run.match_indices([' ', '-']).chain([(run.len(), "")]) {
        groups.push(begin..at);
        begin = at + 1;
    }
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        let is = |count: usize| {
            let whole = groups[first].start..groups.get(first + count - 1)?.end;
            Some((Detector::Card.value(&run[whole.clone()])?, whole, count))
        };
        let lengths = || groups[first..].iter().map(Range::len);
        let like = |shape: &&[usize]| lengths().take(shape.len()).eq(shape.iter().copied());
        let card = GROUPED.iter().filter(|shape| like(shape)).find_map(|shape| is(shape.len())).or_else(|| is(1));
        first += card.as_ref().map_or(1, |(.., count)| *count);
        found.extend(card.map(|(card, whole, _)| (whole, card)));
    }
    found
}

/// The checksum of payment cards.
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') * (1 + u32::from(at % 2 == 1));
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Puts placeholders into every text below a value.
pub(crate) fn redact(detectors: &[Detector], value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(redacted) = redact_text(detectors, text) {
                *text = redacted;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(detectors, item)),
        Value::Object(members) => members.values_mut().for_each(|member| redact(detectors, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with placeholders; `None`: nothing was found.
fn redact_text(detectors: &[Detector], text: &str) -> Option<String> {
    let mut current: Option<String> = None;
    let mut signs = Signs::of(text);
    for detector in Detector::ALL.into_iter().filter(|detector| detectors.contains(detector)) {
        if !detector.may_be(&signs) {
            continue;
        }
        let seen = current.as_deref().unwrap_or(text);
        let mut out = String::new();
        let mut done = 0;
        for found in detector.pattern().find_iter(seen) {
            for (place, value) in detector.within(found.as_str()) {
                out.push_str(&seen[done..found.start() + place.start]);
                out.push_str(&placeholder(detector, &value));
                done = found.start() + place.end;
            }
        }
        if done > 0 {
            out.push_str(&seen[done..]);
            signs = Signs::of(&out);
            current = Some(out);
        }
    }
    current
}

/// The numbers of values, which are kept as hashes only.
#[derive(Default)]
struct Known {
    numbers: HashMap<(Detector, [u8; 16]), usize>,
    counts: HashMap<Detector, usize>,
}

/// The same for the same value, in this process: `[email-1]`. Beyond so many values what is new has no number.
fn placeholder(detector: Detector, value: &str) -> String {
    const REMEMBERED: usize = 65_536;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let digest = Sha256::digest(value.as_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    let number = patient::lock(&KNOWN).and_then(|mut known| {
        if let Some(number) = known.numbers.get(&(detector, hash)) {
            return Some(*number);
        }
        if known.numbers.len() >= REMEMBERED {
            return None;
        }
        let count = known.counts.entry(detector).or_default();
        *count += 1;
        let number = *count;
        known.numbers.insert((detector, hash), number);
        Some(number)
    });
    let name = detector.as_str();
    number.map_or_else(|| format!("[{name}]"), |number| format!("[{name}-{number}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let mut value = Value::from(text);
        redact(&Detector::ALL, &mut value);
        // Numbers depend on what else this process saw.
        let Value::String(text) = value else { unreachable!() };
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('[') {
            let end = rest[at..].find(']').map_or(rest.len(), |end| at + end + 1);
            out.push_str(&rest[..at]);
            out.push_str(rest[at..end].trim_end_matches(|c: char| c.is_ascii_digit() || c == ']' || c == '-'));
            out.push(']');
            rest = &rest[end..];
        }
        out + rest
    }

    #[test]
    fn what_is_not_looked_for_is_not_there() {
        let text = "4242 4242 4242 4242 DE89 3704 0044 0532 0130 00 a@b.de 203.0.113.7 2001:db8::8a2e:370:7334 \
            ::1.2.3.4 a::b +1234567 0012345678 202-555-0143 GB82WEST12345678 (202) 555-0143 ::";
        for from in 0..text.len() {
            for to in from..text.len().min(from + 40) {
                let part = &text[from..to];
                let signs = Signs::of(part);
                for detector in Detector::ALL.into_iter().filter(|detector| !detector.may_be(&signs)) {
                    assert!(!detector.pattern().is_match(part), "{detector:?} in {part}");
                }
            }
        }
    }

    #[test]
    fn finds_what_it_is_to_find() {
        for (text, expected) in [
            ("Write to Ann.Lee+x@mail.example.co.uk, please.", "Write to [email], please."),
            ("{\"to\":\"a@b.de\"}", "{\"to\":\"[email]\"}"),
            ("card 4242 4242 4242 4242!", "card [card]!"),
            ("3782-822463-10005 and 5555555555554444", "[card] and [card]"),
            ("order 12 4111 1111 1111 1111", "order 12 [card]"),
            ("order 25 4111-1111-1111-1111 paid", "order 25 [card] paid"),
            ("4111 1111 1111 1111 123", "[card] 123"),
            ("4111111111111111 12/27 and 77 4111111111111111 123", "[card] 12/27 and 77 [card] 123"),
            ("2 5555 5555 5555 4444 4242 4242 4242 4242 9", "2 [card] [card] 9"),
            ("7 3782 822463 10005 7", "7 [card] 7"),
            ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [iban]."),
            ("GB82WEST12345698765432", "[iban]"),
            ("from 203.0.113.7:8080", "from [ip]:8080"),
            ("2001:db8::8a2e:370:7334", "[ip]"),
            ("call +49 (0)30 901820, or +1-202-555-0143", "call [phone], or [phone]"),
            ("(202) 555-0143 / 202-555-0143", "[phone] / [phone]"),
            ("0049 30 901820", "[phone]"),
        ] {
            assert_eq!(redacted(text), expected, "{text}");
        }
    }

    #[test]
    fn leaves_what_only_looks_like_it() {
        for text in [
            "4242 4242 4242 4241",
            "14242424242424242",
            "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
            "12 24 24 24 24 24 24 24 20 40",
            "GB82 WEST 1234 5698 7654 33",
            "version 1.2.3, at 12:30:45 on 2026-11-24",
            "999.1.1.1 and 127.0.0.1 and ::1 and ::",
            "@handle, user@localhost, a @ b.de",
            "order 1234567890, total 1,299.00, 2026-11-24T10:20:30Z",
            "sha256:ebf3de2aceee3759a68ab18a5257871dea40d34c10e8c6d21a1280fda64000f3",
            "call_Xk2mQv9LrT4wYb7sNc1pZd8e 019a8f2c-7d31-7c44-9a55-0123456789ab",
            "std::net::Ipv4Addr and a::b",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn the_same_value_has_the_same_placeholder_however_it_is_written() {
        let [first, second, other] = ["4242424242424242", "4242-4242-4242-4242", "5555555555554444"]
            .map(|card| redact_text(&[Detector::Card], card).unwrap_or_default());
        assert_eq!(first, second);
        assert_ne!(first, other);
        assert!(first.starts_with("[card-"), "{first}");
    }

    #[test]
    fn only_what_is_asked_for_is_looked_for() {
        let mut value = serde_json::json!([{"text": "a@b.de 203.0.113.7"}, 7, null]);
        redact(&[Detector::Ip], &mut value);
        let text = value[0]["text"].as_str().unwrap_or_default();
        assert!(text.starts_with("a@b.de [ip-"), "{text}");
    }
}
