//! A segment's bytes: a header, then records of `len | crc32c | flags | json`, the numbers little-endian. Pure.
//!
//! `len` counts the flags and the JSON, and so does the checksum. What is appended is never changed, so that whatever
//! befalls a file, its valid prefix is what was written.

use std::ops::Range;

use crate::event::Lane;

/// What a segment begins with; the last byte is the version of the format.
pub(crate) const HEADER: &[u8; 8] = b"llmspl\n\x01";
/// Before a record's flags: its length and checksum.
const PREFIX: usize = 8;
/// No record is longer; a length beyond it is damage, not a length.
const MOST: usize = 64 << 20;
/// The event is not one that the AI route takes.
const GENERAL: u8 = 1;
/// Flags of a later version are damage to this one.
const KNOWN: u8 = GENERAL;

/// Appends a record; false, and nothing, when the event is longer than a record can be.
pub(crate) fn write(to: &mut Vec<u8>, lane: Lane, json: &[u8]) -> bool {
    let flags = if lane == Lane::General { GENERAL } else { 0 };
    let Some(length) = u32::try_from(json.len() + 1).ok().filter(|length| *length as usize <= MOST) else {
        return false;
    };
    let sum = crc32c::crc32c_append(crc32c::crc32c(&[flags]), json);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&sum.to_le_bytes());
    to.push(flags);
    to.extend_from_slice(json);
    true
}

/// The valid prefix of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Where the JSON of each record is, and its lane.
    pub(crate) records: Vec<(Lane, Range<usize>)>,
    /// Where the prefix ends.
    pub(crate) end: usize,
    /// What comes after it.
    pub(crate) rest: Rest,
}

/// What comes after the valid prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Rest {
    /// Nothing.
    #[default]
    None,
    /// The beginning of a record: its writer was killed while it wrote.
    Torn,
    /// Something that nobody wrote.
    Damaged,
}

/// Reads as far as the bytes are what was written.
pub(crate) fn read(bytes: &[u8]) -> Prefix {
    let mut prefix = Prefix::default();
    if !bytes.starts_with(HEADER) {
        prefix.rest = match bytes {
            [] => Rest::None,
            _ if HEADER.starts_with(bytes) => Rest::Torn,
            _ => Rest::Damaged,
        };
        return prefix;
    }
    prefix.end = HEADER.len();
    while let Some(rest) = bytes.get(prefix.end..).filter(|rest| !rest.is_empty()) {
        let Some((length, rest)) = rest.split_first_chunk() else {
            prefix.rest = Rest::Torn;
            break;
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > MOST {
            prefix.rest = Rest::Damaged;
            break;
        }
        let Some((sum, rest)) = rest.split_first_chunk().filter(|(_, rest)| rest.len() >= length) else {
            prefix.rest = Rest::Torn;
            break;
        };
        let (flags, start) = (rest[0], prefix.end + PREFIX + 1);
        if crc32c::crc32c(&rest[..length]) != u32::from_le_bytes(*sum) || flags & !KNOWN != 0 {
            prefix.rest = Rest::Damaged;
            break;
        }
        prefix.end += PREFIX + length;
        let lane = if flags & GENERAL == 0 { Lane::Ai } else { Lane::General };
        prefix.records.push((lane, start..prefix.end));
    }
    prefix
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(records: &[(Lane, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (lane, json) in records {
            assert!(write(&mut bytes, *lane, json));
        }
        bytes
    }

    fn found(bytes: &[u8], prefix: &Prefix) -> Vec<(Lane, Vec<u8>)> {
        prefix.records.iter().map(|(lane, range)| (*lane, bytes[range.clone()].to_vec())).collect()
    }

    /// The bytes on disk are a promise to the versions to come.
    #[test]
    fn the_format_stays_as_it_is() {
        let bytes = segment(&[(Lane::Ai, b"{}".to_vec())]);
        let sum = crc32c::crc32c(&[0, b'{', b'}']).to_le_bytes();
        let expected = [&b"llmspl\n\x01"[..], &[3, 0, 0, 0], &sum, &[0], b"{}"].concat();
        assert_eq!(bytes, expected);
        // The check value of CRC-32C (Castagnoli) in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    fn records() -> impl Strategy<Value = Vec<(Lane, Vec<u8>)>> {
        let one = (prop_oneof![Just(Lane::Ai), Just(Lane::General)], proptest::collection::vec(any::<u8>(), 0..200));
        proptest::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(records in records()) {
            let bytes = segment(&records);
            let prefix = read(&bytes);
            prop_assert_eq!(found(&bytes, &prefix), records);
            prop_assert_eq!((prefix.end, prefix.rest), (bytes.len(), Rest::None));
        }

        #[test]
        fn a_file_that_is_cut_off_anywhere_gives_its_whole_records(records in records(), cut in any::<prop::sample::Index>()) {
            let whole = segment(&records);
            let bytes = &whole[..cut.index(whole.len() + 1)];
            let prefix = read(bytes);
            let found = found(bytes, &prefix);
            prop_assert_eq!(&found[..], &records[..found.len()]);
            prop_assert_eq!(prefix.rest == Rest::None, prefix.end == bytes.len());
            prop_assert!(prefix.rest != Rest::Damaged);
        }

        #[test]
        fn a_changed_byte_never_changes_a_record(
            records in records(), at in any::<prop::sample::Index>(), to in any::<u8>()
        ) {
            let mut bytes = segment(&records);
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            let prefix = read(&bytes);
            let found = found(&bytes, &prefix);
            prop_assert_eq!(&found[..], &records[..found.len()], "a prefix of what was written");
            prop_assert!(prefix.end <= at, "nothing behind the damage is believed");
            prop_assert!(prefix.rest != Rest::None);
        }
    }
}
