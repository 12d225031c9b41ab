//! How the store keeps JSON: as text, or deflated when that is shorter.
//!
//! A packed value is a BLOB whose first byte says how: 1 is raw deflate; any other is raw deflate with the dictionary of
//! that number. A dictionary is what events' bodies have in common; `dictionaries` in the file holds each as well, for
//! other programs.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};

/// JSON up to this many bytes is kept as text: it would hardly get shorter, and other programs can read it.
const PLAIN: usize = 256;

const DEFLATE: u8 = 1;

/// The dictionary that bodies are packed with: short, for the compressor reads it anew for each event. The second is
/// that of older files: more than three times as long, to save no more.
const DEFLATE_BODY: u8 = 3;

/// Dictionaries by the byte that says that they were used. One that was released never changes.
pub(super) const DICTIONARIES: [(u8, &[u8]); 2] =
    [(2, include_bytes!("dictionary_2.txt")), (DEFLATE_BODY, include_bytes!("dictionary_3.txt"))];

/// More than this no value unpacks to: a damaged file must not take all memory.
const MOST: usize = 1 << 30;

/// In texts up to this many bytes the compressor does not look for long: more would be found in longer ones alone.
const SHORT: usize = 2048;

thread_local! {
    /// A compressor's tables are large; they are made once.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(5), false));
    /// Its window has room for a short text behind a dictionary: what is cleared for each text grows with it.
    static COMPRESS_SHORT: RefCell<Compress> =
        RefCell::new(Compress::new_with_window_bits(Compression::new(2), false, 13));
}

/// A text as the store keeps it.
pub(super) enum Packed<'a> {
    Text(&'a str),
    Deflated(Vec<u8>),
}

impl Packed<'_> {
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Self::Deflated(_))
    }
}

impl From<Packed<'_>> for Value {
    fn from(packed: Packed<'_>) -> Self {
        match packed {
            Packed::Text(text) => Self::Text(text.to_owned()),
            Packed::Deflated(bytes) => Self::Blob(bytes),
        }
    }
}

impl ToSql for Packed<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Deflated(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// Packs a content if that makes it shorter.
pub(super) fn content(text: &str) -> Packed<'_> {
    if text.len() <= PLAIN { Packed::Text(text) } else { pack(text, DEFLATE) }
}

/// Packs an event's body if that makes it shorter.
pub(super) fn body(text: &str) -> Packed<'_> {
    pack(text, DEFLATE_BODY)
}

fn pack(text: &str, how: u8) -> Packed<'_> {
    match deflate(text.as_bytes(), how) {
        Some(bytes) if bytes.len() < text.len() => Packed::Deflated(bytes),
        _ => Packed::Text(text),
    }
}

fn dictionary(how: u8) -> Option<&'static [u8]> {
    DICTIONARIES.iter().find(|(id, _)| *id == how).map(|(_, bytes)| *bytes)
}

fn deflate(bytes: &[u8], how: u8) -> Option<Vec<u8>> {
    let compressor = if bytes.len() > SHORT { &COMPRESS } else { &COMPRESS_SHORT };
    compressor.with_borrow_mut(|compress| {
        compress.reset();
        if let Some(dictionary) = dictionary(how) {
            compress.set_dictionary(dictionary).ok()?;
        }
        // Longer than this it is of no use.
        let mut out = Vec::with_capacity(bytes.len() + 64);
        out.push(how);
        let status = compress.compress_vec(bytes, &mut out, FlushCompress::Finish).ok()?;
        (status == Status::StreamEnd).then_some(out)
    })
}

/// Whether a value is this text.
pub(super) fn is(value: ValueRef<'_>, text: &str) -> bool {
    match value {
        ValueRef::Text(kept) => kept == text.as_bytes(),
        ValueRef::Blob(packed) => unpack(Value::Blob(packed.to_vec())).is_some_and(|kept| kept == text),
        _ => false,
    }
}

/// Undoes [`content`] and [`body`]; `None` when the value was not made by them.
pub(super) fn unpack(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Blob(bytes) => {
            let (how, packed) = bytes.split_first()?;
            let mut inflate = Decompress::new(false);
            match *how {
                DEFLATE => {}
                how => {
                    inflate.set_dictionary(dictionary(how)?).ok()?;
                }
            }
            let mut out = Vec::with_capacity(packed.len().saturating_mul(4).clamp(512, MOST));
            loop {
                let used = usize::try_from(inflate.total_in()).ok()?;
                let before = (inflate.total_in(), inflate.total_out());
                match inflate.decompress_vec(packed.get(used..)?, &mut out, FlushDecompress::Finish) {
                    Ok(Status::StreamEnd) => break,
                    Ok(_) if out.len() == out.capacity() && out.len() < MOST => out.reserve(out.len()),
                    Ok(_) if before != (inflate.total_in(), inflate.total_out()) => {}
                    _ => return None,
                }
            }
            String::from_utf8(out).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn stored(packed: &Packed<'_>) -> Value {
        match packed {
            Packed::Text(text) => Value::Text((*text).to_owned()),
            Packed::Deflated(bytes) => Value::Blob(bytes.clone()),
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let noise =
            (0..200_000_u32).map(|n| char::from(33 + (n.wrapping_mul(2_654_435_761) >> 26) as u8)).collect::<String>();
        for text in
            ["", "a", &"abc".repeat(400), &"é\u{0}".repeat(100_000), &noise, "{\"properties\":{\"$ai_model\":\"x\"}}"]
        {
            for packed in [content(text), body(text)] {
                assert_eq!(unpack(stored(&packed)).unwrap(), text);
            }
        }
    }

    #[test]
    fn what_was_packed_with_an_older_dictionary_is_unpacked() {
        let text = r#"{"distinct_id":"user-1","event":"$ai_span","properties":{"$ai_lib":"llmtrail"}}"#;
        for (how, _) in DICTIONARIES {
            let bytes = deflate(text.as_bytes(), how).unwrap();
            assert_eq!((bytes[0], bytes.len() < text.len() / 2), (how, true));
            assert_eq!(unpack(Value::Blob(bytes)).unwrap(), text);
        }
    }

    #[test]
    fn a_damaged_value_is_no_text() {
        let Packed::Deflated(bytes) = content(&"abc".repeat(400)) else { panic!("it is packed") };
        for bytes in [vec![], vec![9, 1, 2], bytes[..bytes.len() - 4].to_vec(), vec![1, 0xff, 0xff]] {
            assert_eq!(unpack(Value::Blob(bytes)), None);
        }
        assert_eq!(unpack(Value::Integer(1)), None);
    }
}
