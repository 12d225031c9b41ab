//! Packing with gzip, one text after another in the same memory: that of a compressor is a quarter of a megabyte, and to
//! have it made for each batch is a part of what a batch takes.

use std::io;

use flate2::write::DeflateEncoder;
use flate2::{Compression, CrcWriter};

/// What packs. It holds its memory until it is dropped.
#[derive(Default)]
pub(crate) struct Packer(Option<DeflateEncoder<Vec<u8>>>);

/// Takes what is to be packed.
pub(crate) type Packing = CrcWriter<DeflateEncoder<Vec<u8>>>;

impl Packer {
    /// Packs what is written, which is about `size` bytes then.
    pub(crate) fn pack(
        &mut self,
        size: usize,
        write: impl FnOnce(&mut Packing) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        /// Deflate, no name, no time, packed quickly, on any system.
        const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
        // Level 1: the worker shares the host's cores, and level 6 costs four times as much for a tenth less.
        let fresh = || DeflateEncoder::new(Vec::new(), Compression::fast());
        // One that failed is not put back.
        let mut encoder = self.0.take().unwrap_or_else(fresh);
        let out = encoder.get_mut();
        out.reserve(size.max(HEADER.len()));
        out.extend_from_slice(&HEADER);
        let mut packing = CrcWriter::new(encoder);
        write(&mut packing)?;
        let (sum, amount) = (packing.crc().sum(), packing.crc().amount());
        let mut encoder = packing.into_inner();
        let mut out = encoder.reset(Vec::new())?;
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&amount.to_le_bytes());
        self.0 = Some(encoder);
        Ok(out)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn what_is_packed_is_unpacked_as_it_was_one_after_the_other() {
        let mut packer = Packer::default();
        let noise = |length: u32| (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let texts: [Vec<u8>; 6] =
            [b"".into(), b"a".into(), b"lorem ipsum ".repeat(100_000), noise(300_000), b"z".into(), noise(5)];
        for text in texts.iter().chain(&texts) {
            let packed = packer.pack(text.len() / 4, |to| text.chunks(7000).try_for_each(|piece| to.write_all(piece)));
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed.unwrap()[..]).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == *text, "{} bytes", text.len());
        }
    }

    #[test]
    fn a_writer_that_fails_leaves_nothing_behind() {
        let mut packer = Packer::default();
        let failed = packer.pack(0, |to| to.write_all(b"half of it").and(Err(io::Error::other("no"))));
        assert!(failed.is_err());
        let packed = packer.pack(0, |to| to.write_all(b"whole")).unwrap();
        assert_eq!(io::read_to_string(flate2::read::GzDecoder::new(&packed[..])).unwrap(), "whole");
    }
}
