//! Packing with gzip, one text after another in the same memory: that of a compressor is a quarter of a megabyte, and to
//! have it made for each batch is a part of what a batch takes.

use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// What packs. It holds its memory until it is dropped.
#[derive(Default)]
pub(crate) struct Packer(Option<Compress>);

impl Packer {
    /// Packs what is written, which is about `size` bytes then.
    pub(crate) fn pack(
        &mut self,
        size: usize,
        write: impl FnOnce(&mut Packing<'_>) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        /// Deflate, no name, no time, packed quickly, on any system.
        const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
        // Level 1: the worker shares the host's cores, and level 6 costs four times as much for a tenth less.
        let compress = self.0.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        compress.reset();
        let mut out = Vec::with_capacity(size.max(HEADER.len()));
        out.extend_from_slice(&HEADER);
        let mut packing = Packing { compress, crc: Crc::new(), out };
        write(&mut packing)?;
        while packing.step(&[], FlushCompress::Finish)?.1 != Status::StreamEnd {}
        let Packing { crc, mut out, .. } = packing;
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        Ok(out)
    }
}

/// Takes what is to be packed.
pub(crate) struct Packing<'a> {
    compress: &'a mut Compress,
    crc: Crc,
    out: Vec<u8>,
}

impl Packing<'_> {
    /// Packs some of what is given, and says how much of it and how it went.
    fn step(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<(usize, Status)> {
        /// So much room there is at least.
        const ROOM: usize = 16 << 10;
        if self.out.capacity() - self.out.len() < ROOM {
            self.out.reserve(self.out.len().max(2 * ROOM));
        }
        let before = self.compress.total_in();
        let status = self.compress.compress_vec(input, &mut self.out, flush).map_err(io::Error::other)?;
        let taken = self.compress.total_in() - before;
        Ok((usize::try_from(taken).unwrap_or(usize::MAX), status))
    }
}

impl Write for Packing<'_> {
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut left = input;
        while !left.is_empty() {
            let (taken, _) = self.step(left, FlushCompress::None)?;
            left = left.get(taken..).unwrap_or_default();
        }
        self.crc.update(input);
        Ok(input.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::Read as _;

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
