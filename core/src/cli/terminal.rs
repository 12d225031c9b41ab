//! Where output goes and how it may look; texts that cannot harm a terminal; numbers for people.

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::price::Amount;

/// Where a command prints, and what it may assume of the place.
pub(crate) struct Terminal<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    /// Columns; `None` when nobody looks at it in a window.
    pub width: Option<usize>,
    pub colour: bool,
    pub zone: TimeZone,
    pub now: Timestamp,
}

impl<'a> Terminal<'a> {
    /// The process's own.
    pub(crate) fn of_process(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let is_terminal = std::io::stdout().is_terminal();
        let asked = var("COLUMNS").and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let window = || terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
        Self {
            out,
            err,
            width: if is_terminal { window().or(asked).or(Some(80)) } else { asked },
            colour: is_terminal && var("NO_COLOR").is_none() && var("TERM").as_deref() != Some("dumb"),
            zone: TimeZone::system(),
            now: Timestamp::now(),
        }
    }

    /// Whether columns are scarce.
    pub(crate) fn is_narrow(&self) -> bool {
        const NARROW: usize = 100;
        self.width.is_some_and(|width| width < NARROW)
    }

    /// A time as a clock on the wall shows it; with its day, unless that is today.
    pub(crate) fn time(&self, timestamp_ms: i64) -> String {
        let zoned = |time: Timestamp| time.to_zoned(self.zone.clone());
        let Ok(time) = Timestamp::from_millisecond(timestamp_ms) else { return timestamp_ms.to_string() };
        let (time, now) = (zoned(time), zoned(self.now));
        let format = if time.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        time.strftime(format).to_string()
    }

    /// A time to the millisecond, with its day.
    pub(crate) fn exact_time(&self, timestamp_ms: i64) -> String {
        let Ok(time) = Timestamp::from_millisecond(timestamp_ms) else { return timestamp_ms.to_string() };
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string()
    }

    /// The day of a time in the local zone.
    pub(crate) fn day(&self, timestamp_ms: i64) -> String {
        let time = Timestamp::from_millisecond(timestamp_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(self.zone.clone()).date().to_string()
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Style::Plain => return text.to_owned(),
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Warn => "33",
            Style::Mark => "1;36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// How a piece of text looks, by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
    Mark,
}

/// Text of several lines that does nothing to a terminal but appear on it. What models and servers say is not to be
/// trusted: escape codes could rewrite the screen, and marks of direction could make one text look like another.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
                out.push('\u{fffd}');
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The same on one line.
pub(crate) fn line(text: &str) -> String {
    let text = harmless(text);
    if text.contains('\n') { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text }
}

/// How many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text in at most this many columns, with an ellipsis where it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns.checked_sub(1) {
        Some(room) => format!("{}…", beginning(text, room)),
        None => String::new(),
    }
}

/// As much of a text's beginning as there is room for in so many columns.
pub(crate) fn beginning(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    let mut found = end.map_or(text, |(end, _)| &text[..end]);
    // Some characters are wider together than each by itself, such as a heart that is made an emoji.
    while width(found) > columns
        && let Some((last, _)) = found.char_indices().next_back()
    {
        found = &found[..last];
    }
    found
}

/// Breaks a text into lines of at most this many columns, between words where it can.
pub(crate) fn wrap(text: &str, columns: Option<usize>) -> Vec<String> {
    let Some(columns) = columns.map(|columns| columns.max(20)) else {
        return text.lines().map(str::to_owned).collect();
    };
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split_inclusive(' ') {
            if used > 0 && used + width(word.trim_end()) > columns {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                used = 0;
            }
            for c in word.chars() {
                // By itself the mark that makes an emoji has no width; together with what is before it, it has.
                let wide = if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) };
                if used + wide > columns {
                    if c == ' ' {
                        continue;
                    }
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(c);
                used += wide;
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 call`, `2 calls`.
pub(crate) fn number_of(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Seconds with about three digits: `8 ms`, `310 ms`, `1.24 s`, `2 min 05 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round();
    if millis < 1000.0 {
        return format!("{millis} ms");
    }
    if seconds < 99.995 {
        return if seconds < 9.995 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") };
    }
    let whole = seconds.round();
    let (minutes, rest) = ((whole / 60.0).floor(), whole % 60.0);
    if minutes < 60.0 {
        return format!("{minutes} min {rest:02} s");
    }
    format!("{} h {:02} min", (minutes / 60.0).floor(), minutes % 60.0)
}

/// An amount with four digits that count, and cents at least: `$0.000312`, `$12.35`.
pub(crate) fn money(amount: Amount) -> String {
    let exact = amount.to_string();
    let digits = exact.trim_start_matches('-');
    if digits == "0" {
        return "$0".to_owned();
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let places = match fraction.find(|c| c != '0') {
        Some(first) if whole == "0" => first + 4,
        _ => 4_usize.saturating_sub(whole.len()),
    };
    dollars(amount, 2, places.max(2))
}

/// An amount to the last digit, with cents at least.
pub(crate) fn exact_money(amount: Amount) -> String {
    dollars(amount, 2, 18)
}

/// Rounded half up to at most `most` places, with no zeros at the end beyond `least`.
fn dollars(amount: Amount, least: usize, most: usize) -> String {
    let unit = 10_i128.pow(u32::try_from(18_usize.saturating_sub(most)).unwrap_or(0));
    let atto = amount.atto();
    let rounded = (atto.abs() + unit / 2) / unit * unit;
    let text = Amount::from_atto(rounded).to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    let sign = if atto < 0 && rounded != 0 { "-" } else { "" };
    format!("{sign}${whole}.{fraction:0<least$}")
}

/// `1536` as `1.5 KB`.
pub(crate) fn bytes(size: u64) -> String {
    let mut size = size as f64;
    for unit in ["bytes", "KB", "MB"] {
        if size < 1000.0 {
            return if unit == "bytes" { format!("{size} {unit}") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} GB")
}

/// What people type for an id: all of a short one; of a UUID its end, for many share their beginnings.
pub(crate) fn short_id(id: &str) -> &str {
    const WHOLE: usize = 16;
    let is_uuid = id.len() == 36 && id.bytes().filter(|byte| *byte == b'-').count() == 4 && id.is_ascii();
    if is_uuid {
        return &id[28..];
    }
    id.char_indices().nth(WHOLE).map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), shown);
        }
        for (number, shown) in [
            (0.0, "0 ms"),
            (0.0084, "8 ms"),
            (0.9996, "1.00 s"),
            (1.236, "1.24 s"),
            (9.996, "10.0 s"),
            (59.96, "60.0 s"),
            (99.999, "1 min 40 s"),
            (125.0, "2 min 05 s"),
            (7260.0, "2 h 01 min"),
        ] {
            assert_eq!(seconds(number), shown);
        }
        for (number, shown, exact) in [
            ("0", "$0", "$0.00"),
            ("0.000312", "$0.000312", "$0.000312"),
            ("0.00000024", "$0.00000024", "$0.00000024"),
            ("0.0123456789", "$0.01235", "$0.0123456789"),
            ("0.5", "$0.50", "$0.50"),
            ("12.3456", "$12.35", "$12.3456"),
            ("1234.5", "$1,234.50", "$1,234.50"),
            ("0.99999", "$1.00", "$0.99999"),
            ("-0.00012345", "-$0.0001235", "-$0.00012345"),
        ] {
            let amount = Amount::parse(number).unwrap_or_default();
            assert_eq!((money(amount).as_str(), exact_money(amount).as_str()), (shown, exact));
        }
        assert_eq!((bytes(69), bytes(1536), bytes(2_500_000)), ("69 bytes".into(), "1.5 KB".into(), "2.5 MB".into()));
    }

    #[test]
    fn texts_are_harmless_and_fit() {
        assert_eq!(harmless("a\x1b[2Jb\r\n\tc\u{202e}d\u{9b}"), "a\u{fffd}[2Jb\n    c\u{fffd}d\u{fffd}");
        assert_eq!(line("a\n  b\n"), "a b");
        assert_eq!(
            (cut("naïve text", 6), cut("日本語", 5), cut("abc", 3)),
            ("naïve…".into(), "日本…".into(), "abc".into())
        );
        let hearts = "\u{2764}\u{fe0f}".repeat(9);
        assert!((1..12).all(|columns| width(&cut(&hearts, columns)) <= columns));
        assert_eq!(wrap("one two three four\n\nfive", Some(20)), ["one two three four", "", "five"]);
        assert_eq!(wrap("one two three four five", Some(20)), ["one two three four", "five"]);
        assert_eq!(wrap(&"x".repeat(45), Some(20)), ["x".repeat(20), "x".repeat(20), "x".repeat(5)]);
        assert_eq!(wrap(&format!("{} y", "x".repeat(20)), Some(20)), ["x".repeat(20), "y".to_owned()]);
    }

    #[test]
    fn short_ids_are_what_differs() {
        assert_eq!(short_id("019a3f2e-7c11-7bb4-9d42-1c9be0aa57f3"), "e0aa57f3");
        assert_eq!(short_id("order-17"), "order-17");
        assert_eq!(short_id("4bf92f3577b34da6a3ce929d0e0e4736"), "4bf92f3577b34da6");
    }
}
