//! Raw deflate (RFC 1951) of short texts. A library's compressor is made for megabytes: what it clears for each text alone
//! takes as long as packing a message does here. Any inflate reads what this writes.

/// Longer texts are not for this: places are two bytes.
pub(super) const MOST: usize = 2048;

/// Bits of the hash of four bytes.
const HASH: u32 = 10;

/// The shortest match. Three bytes are seldom shorter as a match than as letters.
const SHORTEST: usize = 4;

const LONGEST: usize = 258;

/// Earlier places that are looked at.
const LOOKS: usize = 4;

/// A match as long as this is good enough.
const ENOUGH: usize = 32;

/// What ends a block: the first after the letters.
const END: usize = 256;

const LETTERS: usize = 286;
const DISTANCES: usize = 30;
const LENGTHS: usize = 19;

/// In which order the lengths of the codes of lengths are written.
const ORDER: [usize; LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// What is kept from text to text, so that it need not be made anew.
pub(super) struct Deflate {
    /// By hash the last place of four bytes, counted from one.
    last: [u16; 1 << HASH],
    /// By place the one before it with the same hash.
    before: [u16; MOST],
    tokens: Vec<Token>,
    letters: [u16; LETTERS],
    distances: [u16; DISTANCES],
    tree: Tree,
}

/// A letter, whose distance is zero, or a match.
#[derive(Clone, Copy)]
struct Token {
    length: u16,
    distance: u16,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            last: [0; 1 << HASH],
            before: [0; MOST],
            tokens: Vec::with_capacity(MOST),
            letters: [0; LETTERS],
            distances: [0; DISTANCES],
            tree: Tree::default(),
        }
    }

    /// Adds a text of at most [`MOST`] bytes, packed, to `out`.
    pub(super) fn pack(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.find(text);
        let letters: Codes<LETTERS> = self.tree.codes(&mut self.letters, 15);
        let distances: Codes<DISTANCES> = self.tree.codes(&mut self.distances, 15);
        let mut bits = Bits { out, waiting: 0, count: 0 };
        head(&letters, &distances, &mut self.tree, &mut bits);
        for token in &self.tokens {
            if token.distance == 0 {
                bits.add(letters.0[usize::from(token.length)]);
                continue;
            }
            let (code, extra) = of_length(token.length);
            bits.add(letters.0[code]);
            bits.add(extra);
            let (code, extra) = of_distance(token.distance);
            bits.add(distances.0[code]);
            bits.add(extra);
        }
        bits.add(letters.0[END]);
        bits.end();
    }

    /// Letters and matches, and how often each comes.
    fn find(&mut self, text: &[u8]) {
        self.last.fill(0);
        self.tokens.clear();
        self.letters.fill(0);
        self.distances.fill(0);
        self.letters[END] = 1;
        let mut at = 0;
        while let Some(hash) = hash(text, at) {
            let (length, distance) = self.longest(text, at, hash);
            self.put(at, hash);
            if length < SHORTEST {
                self.letter(text[at]);
                at += 1;
                continue;
            }
            self.tokens.push(Token { length: small(length), distance: small(distance) });
            self.letters[of_length(small(length)).0] += 1;
            self.distances[of_distance(small(distance)).0] += 1;
            let end = at + length;
            // What a long match repeats is found by the places that it repeats.
            for inside in at + 1..end.min(at + ENOUGH) {
                if let Some(hash) = self::hash(text, inside) {
                    self.put(inside, hash);
                }
            }
            at = end;
        }
        for letter in text.get(at..).unwrap_or_default() {
            self.letter(*letter);
        }
    }

    fn letter(&mut self, letter: u8) {
        self.tokens.push(Token { length: letter.into(), distance: 0 });
        self.letters[usize::from(letter)] += 1;
    }

    fn put(&mut self, at: usize, hash: usize) {
        self.before[at] = self.last[hash];
        self.last[hash] = small(at + 1);
    }

    /// The longest match of what is here: its length and distance.
    fn longest(&self, text: &[u8], at: usize, hash: usize) -> (usize, usize) {
        let (mut best, mut distance) = (0, 0);
        let here = &text[at..text.len().min(at + LONGEST)];
        let mut next = self.last[hash];
        for _ in 0..LOOKS {
            let Some(place) = usize::from(next).checked_sub(1) else { break };
            next = self.before[place];
            // Only what goes on differently at the end of the best is not longer.
            if text.get(place + best) != here.get(best) {
                continue;
            }
            let length = same(&text[place..], here);
            if length > best {
                (best, distance) = (length, at - place);
                if best >= ENOUGH || best == here.len() {
                    break;
                }
            }
        }
        (best, distance)
    }
}

/// A number of at most [`MOST`].
fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn hash(text: &[u8], at: usize) -> Option<usize> {
    let four = text.get(at..)?.first_chunk()?;
    Some((u32::from_le_bytes(*four).wrapping_mul(0x9e37_79b1) >> (32 - HASH)) as usize)
}

/// How many bytes are the same at the beginning of both.
fn same(one: &[u8], other: &[u8]) -> usize {
    let mut length = 0;
    while let (Some(ones), Some(others)) = (one[length..].first_chunk(), other[length..].first_chunk()) {
        let differ = u64::from_le_bytes(*ones) ^ u64::from_le_bytes(*others);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + one[length..].iter().zip(&other[length..]).take_while(|(one, other)| one == other).count()
}

/// A value in so many bits.
#[derive(Clone, Copy, Default)]
struct Code {
    value: u16,
    bits: u16,
}

/// The code of a length, and what comes after it.
fn of_length(length: u16) -> (usize, Code) {
    let over = length - 3;
    match over {
        0..8 => (257 + usize::from(over), Code::default()),
        255 => (285, Code::default()),
        _ => {
            let bits = small(over.ilog2() as usize) - 2;
            let code = 257 + 4 * (bits + 1) + (over >> bits & 3);
            (code.into(), Code { value: over & ((1 << bits) - 1), bits })
        }
    }
}

/// Likewise of a distance.
fn of_distance(distance: u16) -> (usize, Code) {
    let over = distance - 1;
    if over < 4 {
        return (over.into(), Code::default());
    }
    let bits = small(over.ilog2() as usize) - 1;
    let code = 2 * (bits + 1) + (over >> bits & 1);
    (code.into(), Code { value: over & ((1 << bits) - 1), bits })
}

/// A code for each of so many things; of no bits for what does not come.
struct Codes<const N: usize>([Code; N]);

impl<const N: usize> Codes<N> {
    /// How many there are up to the last that comes, but at least so many.
    fn used(&self, least: usize) -> usize {
        self.0.iter().rposition(|code| code.bits > 0).map_or(least, |last| least.max(last + 1))
    }
}

/// Room for making codes: leaves, then what joins two nodes.
struct Tree {
    /// How often, and what.
    leaves: Vec<u32>,
    weights: [u32; 2 * LETTERS],
    parents: [u16; 2 * LETTERS],
}

impl Default for Tree {
    fn default() -> Self {
        Self { leaves: Vec::with_capacity(LETTERS), weights: [0; 2 * LETTERS], parents: [0; 2 * LETTERS] }
    }
}

impl Tree {
    /// Codes by how often each comes, of at most so many bits.
    fn codes<const N: usize>(&mut self, counts: &mut [u16; N], most: u16) -> Codes<N> {
        let mut codes = Codes([Code::default(); N]);
        // How many have a code of so many bits.
        let mut many = [0_u16; 16];
        while !self.depths(counts, most, &mut codes, &mut many) {
            // Flatter: when all are alike no code is too long.
            for count in counts.iter_mut() {
                *count = count.div_ceil(2);
            }
        }
        // In the order of their lengths, and then of what they stand for.
        let mut next = [0_u16; 16];
        for bits in 1..16 {
            next[bits] = (next[bits - 1] + many[bits - 1]) << 1;
        }
        for code in codes.0.iter_mut().filter(|code| code.bits > 0) {
            let next = &mut next[usize::from(code.bits)];
            // The highest bit is written first.
            code.value = next.reverse_bits() >> (16 - code.bits);
            *next += 1;
        }
        codes
    }

    /// How many bits each has in the best codes: the two that come least often are joined until one is left. Says whether
    /// none has too many.
    fn depths<const N: usize>(
        &mut self,
        counts: &[u16; N],
        most: u16,
        codes: &mut Codes<N>,
        many: &mut [u16; 16],
    ) -> bool {
        let Self { leaves, weights, parents } = self;
        leaves.clear();
        leaves.extend(
            counts.iter().zip(0_u32..).filter(|(count, _)| **count > 0).map(|(c, what)| u32::from(*c) << 16 | what),
        );
        // Readers do not like fewer than two.
        for (count, what) in counts.iter().zip(0..2) {
            if leaves.len() < 2 && *count == 0 {
                leaves.push(1 << 16 | what);
            }
        }
        leaves.sort_unstable();
        for (weight, leaf) in weights.iter_mut().zip(leaves.iter()) {
            *weight = leaf >> 16;
        }
        let (mut leaf, mut joined, top) = (0, leaves.len(), 2 * leaves.len() - 2);
        for new in leaves.len()..=top {
            let mut sum = 0;
            for _ in 0..2 {
                let is_leaf = leaf < leaves.len() && (joined == new || weights[leaf] <= weights[joined]);
                let least = if is_leaf { &mut leaf } else { &mut joined };
                sum += weights[*least];
                parents[*least] = small(new);
                *least += 1;
            }
            weights[new] = sum;
        }
        // From the top down a node's depth takes the place of its parent.
        parents[top] = 0;
        for node in (0..top).rev() {
            parents[node] = parents[usize::from(parents[node])] + 1;
        }
        many.fill(0);
        for (leaf, depth) in leaves.iter().zip(parents.iter()) {
            if *depth > most {
                return false;
            }
            codes.0[(leaf & 0xffff) as usize].bits = *depth;
            many[usize::from(*depth)] += 1;
        }
        true
    }
}

/// The head of the one block: the lengths of all codes, those that come again in a row as their number.
fn head(letters: &Codes<LETTERS>, distances: &Codes<DISTANCES>, tree: &mut Tree, bits: &mut Bits<'_>) {
    let (of_letters, of_distances) = (letters.used(END + 1), distances.used(1));
    let mut lengths = [0; LETTERS + DISTANCES];
    let all = letters.0[..of_letters].iter().chain(&distances.0[..of_distances]);
    for (length, code) in lengths.iter_mut().zip(all) {
        *length = code.bits;
    }
    let mut rest = &lengths[..of_letters + of_distances];
    // What is written, and what after it.
    let mut runs = [(0_usize, Code::default()); LETTERS + DISTANCES];
    let mut many = 0;
    let mut counts = [0; LENGTHS];
    let mut before = None;
    while let Some(&length) = rest.first() {
        let run = rest.iter().take(138).take_while(|other| **other == length).count();
        let (code, took, least, bits) = match (length, run) {
            (0, 11..) => (18, run, 11, 7),
            (0, 3..) => (17, run, 3, 3),
            (_, 3..) if before == Some(length) => (16, run.min(6), 3, 2),
            _ => (length.into(), 1, 1, 0),
        };
        runs[many] = (code, Code { value: small(took - least), bits });
        many += 1;
        counts[code] += 1;
        before = Some(length);
        rest = &rest[took..];
    }
    let codes: Codes<LENGTHS> = tree.codes(&mut counts, 7);
    let written = ORDER.iter().rposition(|code| codes.0[*code].bits > 0).map_or(4, |last| (last + 1).max(4));
    // The last block, with codes of its own.
    bits.add(Code { value: 0b101, bits: 3 });
    bits.add(Code { value: small(of_letters - END - 1), bits: 5 });
    bits.add(Code { value: small(of_distances - 1), bits: 5 });
    bits.add(Code { value: small(written - 4), bits: 4 });
    for code in &ORDER[..written] {
        bits.add(Code { value: codes.0[*code].bits, bits: 3 });
    }
    for (code, extra) in &runs[..many] {
        bits.add(codes.0[*code]);
        bits.add(*extra);
    }
}

/// Bits to bytes, the lowest first.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    waiting: u64,
    count: u32,
}

impl Bits<'_> {
    fn add(&mut self, code: Code) {
        self.waiting |= u64::from(code.value) << self.count;
        self.count += u32::from(code.bits);
        if let ([ready @ .., _, _, _, _], 32..) = (&self.waiting.to_le_bytes(), self.count) {
            self.out.extend_from_slice(ready);
            self.waiting >>= 32;
            self.count -= 32;
        }
    }

    fn end(self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.waiting.to_le_bytes()[..bytes]);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use flate2::{Decompress, FlushDecompress, Status};

    use super::*;

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut inflate = Decompress::new(false);
        let mut out = Vec::with_capacity(MOST + 1);
        assert_eq!(inflate.decompress_vec(packed, &mut out, FlushDecompress::Finish).unwrap(), Status::StreamEnd);
        assert_eq!(inflate.total_in(), packed.len() as u64);
        out
    }

    /// Numbers that look like chance and are not.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, most: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % most.max(1) as u64).unwrap()
        }
    }

    #[test]
    fn what_is_packed_is_what_any_inflate_reads() {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut deflate = Deflate::new();
        for round in 0..3000 {
            let (wanted, letters) = (dice.below(MOST + 1), 1 + dice.below(256));
            let mut text: Vec<u8> = Vec::new();
            while text.len() < wanted {
                match round % 5 {
                    // One letter; each letter half as often as the one before.
                    1 => text.push(b'a'),
                    2 => text.push(dice.below(1 << 40).trailing_zeros().to_le_bytes()[0]),
                    // Again what was there, over itself as well; the same letter often.
                    3 if text.len() > 8 && dice.below(4) == 0 => {
                        let from = dice.below(text.len());
                        (0..dice.below(300)).for_each(|at| text.push(text[from + at]));
                    }
                    4 => text.extend(vec![dice.below(256).to_le_bytes()[0]; dice.below(300)]),
                    // All letters alike.
                    _ => text.push(dice.below(letters).to_le_bytes()[0]),
                }
            }
            text.truncate(wanted);
            let mut packed = Vec::new();
            deflate.pack(&text, &mut packed);
            assert!(unpacked(&packed) == text, "{round}");
        }
    }

    #[test]
    fn a_message_gets_as_short_as_with_a_library() {
        let text = include_str!("deflate.rs");
        let (mut own, mut theirs) = (0, 0);
        let mut deflate = Deflate::new();
        for text in text.as_bytes().chunks(700) {
            let mut packed = Vec::new();
            deflate.pack(text, &mut packed);
            own += packed.len();
            let mut compress = flate2::Compress::new(flate2::Compression::new(2), false);
            let mut packed = Vec::with_capacity(MOST);
            compress.compress_vec(text, &mut packed, flate2::FlushCompress::Finish).unwrap();
            theirs += packed.len();
        }
        assert!(own <= theirs + theirs / 50, "{own} {theirs}");
    }
}
