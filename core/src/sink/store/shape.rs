//! Bodies as values. Bodies of the same form differ in their values alone: the form is kept once (its *template*), and of
//! each body its values in order, in a few bytes each. What the event's row or a text that comes again says already is a
//! reference. What is put together again is, to the byte, what was taken apart.
//!
//! The values, each after a byte that says what it is:
//!
//! | byte | value |
//! |---|---|
//! | 0 to 127 | that whole number |
//! | 128 | a whole number |
//! | 129, 130 | bytes as they stand, and the same in quotes: their count, then they |
//! | 131 | a text in quotes, by its number in `texts` |
//! | 132 | a uuid in quotes: 16 bytes |
//! | 133 to 141 | from the row, in quotes: uuid, distinct id, trace, session, span, parent, timestamp, error; without: its own properties |
//! | 144 to 191 | the texts of number 1 to 48, in quotes |
//! | 192 to 207 | a decimal number of so many digits after the point: its digits as a whole number |
//! | 208 to 223 | the same in quotes |
//!
//! Whole numbers are in groups of seven bits, the lowest first, the highest bit set in all but the last.

use std::collections::HashSet;
use std::ops::Range;

use uuid::Uuid;

use super::json;

/// Stands for a value in a template. JSON has no such byte.
const VALUE: u8 = 0;

/// A form longer than this is one of its own.
const LONGEST: usize = 8192;

const NUMBER: u8 = 128;
const RAW: u8 = 129;
const STRING: u8 = 130;
const TEXT: u8 = 131;
const UUID: u8 = 132;
const ROW: u8 = 133;
const OWN: u8 = ROW + 8;
const FIRST_TEXT: u8 = 144;
const DECIMAL: u8 = 192;
const QUOTED: u8 = 208;
const DIGITS: usize = 16;

/// What a row says in strings, in the order of the references to it; and the application's own properties as JSON.
pub(super) struct Said<T> {
    pub strings: [Option<T>; 8],
    pub own: Option<T>,
}

impl Said<String> {
    pub(super) fn as_str(&self) -> Said<&str> {
        Said { strings: self.strings.each_ref().map(Option::as_deref), own: self.own.as_deref() }
    }
}

/// A body's form and values; `None` when it is not worth it. `own` is where its own properties are, one after the other,
/// as the row has them. `common` gives the number of a text that comes again.
pub(super) fn encode<E>(
    body: &str,
    said: &Said<&str>,
    own: Option<&Range<usize>>,
    mut common: impl FnMut(&str) -> Result<Option<i64>, E>,
) -> Result<Option<(String, Vec<u8>)>, E> {
    let bytes = body.as_bytes();
    let mut form = Vec::with_capacity(bytes.len());
    let mut values = Vec::with_capacity(bytes.len() / 4);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let Some(own) = own.filter(|own| own.start == at) {
            form.push(VALUE);
            values.push(OWN);
            at = own.end;
            continue;
        }
        match byte {
            VALUE => return Ok(None),
            b'"' => {
                let Some(end) = string_end(bytes, at) else { return Ok(None) };
                if bytes.get(end) == Some(&b':') {
                    form.extend_from_slice(&bytes[at..end]);
                } else {
                    form.push(VALUE);
                    string(&body[at + 1..end - 1], said, &mut common, &mut values)?;
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &bytes[at..];
                let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = at + rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                form.push(VALUE);
                if !number(&body[at..end], DECIMAL, &mut values) {
                    raw(RAW, &bytes[at..end], &mut values);
                }
                at = end;
            }
            other => {
                form.push(other);
                at += 1;
            }
        }
    }
    let form = String::from_utf8(form).ok().filter(|form| form.len() <= LONGEST);
    Ok(form.map(|form| (form, values)))
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        let stop = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[stop] == b'"' {
            return Some(stop + 1);
        }
        at = stop + 2;
    }
}

fn string<E>(
    text: &str,
    said: &Said<&str>,
    common: &mut impl FnMut(&str) -> Result<Option<i64>, E>,
    values: &mut Vec<u8>,
) -> Result<(), E> {
    let plain = !text.contains('\\');
    if plain && let Some(at) = said.strings.iter().position(|known| *known == Some(text)) {
        values.push(ROW + u8::try_from(at).unwrap_or(0));
        return Ok(());
    }
    if number(text, QUOTED, values) {
        return Ok(());
    }
    if let Some(uuid) = plain_uuid(text) {
        values.push(UUID);
        values.extend_from_slice(uuid.as_bytes());
        return Ok(());
    }
    match common(text)? {
        Some(id @ 1..=48) => values.push(FIRST_TEXT + u8::try_from(id - 1).unwrap_or(0)),
        Some(id) => {
            values.push(TEXT);
            varint(id.unsigned_abs(), values);
        }
        None => raw(STRING, text.as_bytes(), values),
    }
    Ok(())
}

/// A uuid that is written as all are.
pub(super) fn plain_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 36 || text.as_bytes()[8] != b'-' {
        return None;
    }
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(uuid)
}

fn raw(how: u8, bytes: &[u8], values: &mut Vec<u8>) {
    values.push(how);
    varint(bytes.len() as u64, values);
    values.extend_from_slice(bytes);
}

pub(super) fn varint(mut number: u64, values: &mut Vec<u8>) {
    while number > 127 {
        values.push(128 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    values.push(number.to_le_bytes()[0]);
}

/// A number as it is always written: no sign, no blanks, no zeros before it, no exponent.
fn number(text: &str, decimal: u8, values: &mut Vec<u8>) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let has_point = whole.len() < text.len();
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > 18
        || !is_digits(whole)
        || (whole.len() > 1 && whole.starts_with('0'))
        || (has_point && !is_digits(fraction))
        || fraction.len() >= DIGITS
    {
        return false;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).fold(0, |all, byte| all * 10 + u64::from(byte - b'0'));
    if has_point || decimal == QUOTED {
        values.push(decimal + u8::try_from(fraction.len()).unwrap_or(0));
    } else if digits < 128 {
        values.push(digits.to_le_bytes()[0]);
        return true;
    } else {
        values.push(NUMBER);
    }
    varint(digits, values);
    true
}

/// Puts a body together again; `None` when something is missing.
pub(super) fn decode(
    form: &str,
    values: &[u8],
    said: &Said<String>,
    mut text: impl FnMut(i64) -> Option<String>,
) -> Option<String> {
    let mut rest = values;
    let mut pieces = form.split('\0');
    let mut out = String::with_capacity(form.len() * 2);
    out.push_str(pieces.next()?);
    for piece in pieces {
        value(&mut rest, said, &mut text, &mut out)?;
        out.push_str(piece);
    }
    rest.is_empty().then_some(out)
}

fn value(
    rest: &mut &[u8],
    said: &Said<String>,
    text: &mut impl FnMut(i64) -> Option<String>,
    out: &mut String,
) -> Option<()> {
    let quoted = |text: &str, out: &mut String| {
        out.push('"');
        out.push_str(text);
        out.push('"');
    };
    match take(rest, 1)?[0] {
        small @ 0..=127 => out.push_str(&small.to_string()),
        NUMBER => out.push_str(&whole(rest)?.to_string()),
        how @ (RAW | STRING) => {
            let count = usize::try_from(whole(rest)?).ok()?;
            let found = std::str::from_utf8(take(rest, count)?).ok()?;
            if how == RAW { out.push_str(found) } else { quoted(found, out) }
        }
        TEXT => quoted(&text(i64::try_from(whole(rest)?).ok()?)?, out),
        UUID => quoted(&Uuid::from_slice(take(rest, 16)?).ok()?.to_string(), out),
        OWN => {
            let own = said.own.as_deref()?;
            let mine = json::members(own)?.into_iter().filter(|member| !member.name.starts_with('$'));
            let mine: Vec<String> = mine.map(|member| format!("\"{}\":{}", member.name, &own[member.value])).collect();
            out.push_str(&mine.join(","));
        }
        row @ ROW..OWN => quoted(said.strings[usize::from(row - ROW)].as_deref()?, out),
        first @ FIRST_TEXT..DECIMAL => quoted(&text(i64::from(first - FIRST_TEXT) + 1)?, out),
        plain @ DECIMAL..QUOTED => out.push_str(&decimal(whole(rest)?, plain - DECIMAL)),
        in_quotes @ QUOTED..224 => quoted(&decimal(whole(rest)?, in_quotes - QUOTED), out),
        _ => return None,
    }
    Some(())
}

/// Adds the numbers of the texts that values refer to.
pub(super) fn texts(mut values: &[u8], found: &mut HashSet<i64>) {
    let said =
        Said { strings: [const { None }; 8].map(|_: Option<()>| Some(String::new())), own: Some("{}".to_owned()) };
    let mut out = String::new();
    let mut note = |id| {
        found.insert(id);
        Some(String::new())
    };
    while !values.is_empty() && value(&mut values, &said, &mut note, &mut out).is_some() {
        out.clear();
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (some, more) = rest.split_at_checked(count)?;
    *rest = more;
    Some(some)
}

pub(super) fn whole(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
    }
    None
}

fn decimal(digits: u64, after: u8) -> String {
    let after = usize::from(after);
    if after == 0 {
        return digits.to_string();
    }
    let text = format!("{digits:0>width$}", width = after + 1);
    let (whole, fraction) = text.split_at(text.len() - after);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together() {
        let strings =
            ["3f2a0000-0000-7000-8000-00000000abcd", "ada", "t", "", "s", "t", "2026-07-04T12:00:00.250Z", "no"];
        let own = r#"{"$groups":{"a":1},"plan":"pro","zone":[5]}"#;
        let said = Said { strings: strings.map(Some), own: Some(own) };
        let kept = Said { strings: strings.map(|text| Some(text.to_owned())), own: Some(own.to_owned()) };
        let numbers =
            "0 127 128 18446744073709551615 -1 007 1.50 0.000044 1e-7 12. .5 0.12345678901234567 999999999999999999";
        let mut bodies = vec![
            r#"{"a":"ada","b" : "t","c":["x\"y",true,null,{"é":"\u00e9"}],"n":-1.5e3}"#.to_owned(),
            r#"{"u":"0f2a0000-0000-7000-8000-00000000abcd","U":"0F2A0000-0000-7000-8000-00000000abcd","m":"gpt"}"#
                .to_owned(),
            "not JSON at all".to_owned(),
            "[]".to_owned(),
            String::new(),
        ];
        for number in numbers.split(' ') {
            bodies.push(format!(r#"{{"n":{number},"s":"{number}"}}"#));
        }
        for body in bodies {
            for (id, known) in [(7, true), (4000, true), (0, false)] {
                let found = encode(&body, &said, None, |text| Ok::<_, ()>((known && text == "gpt").then_some(id)));
                let (form, values) = found.unwrap().unwrap();
                let again = decode(&form, &values, &kept, |asked| (asked == id).then(|| "gpt".to_owned()));
                assert_eq!(again.as_deref(), Some(body.as_str()));
                assert!(values.is_empty() || decode(&form, &values[1..], &kept, |_| None).as_ref() != Some(&body));
            }
        }
    }

    #[test]
    fn what_the_row_says_is_not_said_again() {
        let own = r#"{"$groups":{"a":1},"plan":"pro","zone":[5]}"#;
        let body = r#"{"event":"e","properties":{"$ai_trace_id":"t1","$groups":{"a":1},"plan":"pro","zone":[5]}}"#;
        let mut said = Said { strings: [None; 8], own: Some(own) };
        said.strings[2] = Some("t1");
        let start = body.find("\"plan\"").unwrap();
        let (form, values) =
            encode(body, &said, Some(&(start..body.len() - 2)), |_| Ok::<_, ()>(Some(1))).unwrap().unwrap();
        assert_eq!(form, "{\"event\":\0,\"properties\":{\"$ai_trace_id\":\0,\"$groups\":{\"a\":\0},\0}}");
        assert_eq!(values, [FIRST_TEXT, ROW + 2, 1, OWN]);
        let mut kept = Said { strings: [const { None }; 8], own: Some(own.to_owned()) };
        assert_eq!(decode(&form, &values, &kept, |_| Some("e".to_owned())), None);
        kept.strings[2] = Some("t1".to_owned());
        assert_eq!(decode(&form, &values, &kept, |_| Some("e".to_owned())).as_deref(), Some(body));
    }

    #[test]
    fn a_body_with_the_byte_of_templates_is_left_alone() {
        let said = Said { strings: [None; 8], own: None };
        assert_eq!(encode("{\"a\":\0}", &said, None, |_| Ok::<_, ()>(None)), Ok(None));
        assert_eq!(encode("{\"a", &said, None, |_| Ok::<_, ()>(None)), Ok(None));
    }
}
