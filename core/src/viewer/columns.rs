//! Numbers of many events in little memory: blocks of rows, column by column, each number as its distance from the lowest
//! of its block in as many bytes as the block's farthest needs. What is the same in a whole block takes nothing.

use super::data::Event;

/// Events of a block.
pub(super) const ROWS: usize = 2048;

/// Which numbers of events a question needs; the others are not unpacked and hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns(u16);

impl Columns {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ID: Self = Self(1);
    pub(super) const TIME: Self = Self(1 << 1);
    pub(super) const FORM: Self = Self(1 << 2);
    pub(super) const TRACE: Self = Self(1 << 3);
    pub(super) const USER: Self = Self(1 << 4);
    pub(super) const SESSION: Self = Self(1 << 5);
    pub(super) const INPUT: Self = Self(1 << 6);
    pub(super) const OUTPUT: Self = Self(1 << 7);
    pub(super) const CACHED: Self = Self(1 << 8);
    pub(super) const COST: Self = Self(3 << 9);
    pub(super) const LATENCY: Self = Self(1 << 11);
    pub(super) const FIRST: Self = Self(1 << 12);
    pub(super) const SAVED: Self = Self(1 << 13);
    #[cfg(test)]
    pub(super) const ALL: Self = Self(u16::MAX);
    /// What [`super::data::Sums`] adds up.
    pub(super) const SUMS: Self =
        Self::FORM.and(Self::INPUT).and(Self::OUTPUT).and(Self::CACHED).and(Self::COST).and(Self::SAVED);

    pub(super) const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
}

/// What is done with a column: its place, how its number is taken from an event, and how it is put into one. A macro, so
/// that each is a loop of its own without a call for every number.
macro_rules! each_column {
    ($do:ident) => {
        each_column!(@ $do 0 id, 1 time, 2 form, 3 trace, 4 user, 5 session, 6 input, 7 output, 8 cached, 9 cost_nano, 10 cost_atto;
            11 latency, 12 first, 13 saved)
    };
    (@ $do:ident $($at:literal $whole:ident),*; $($place:literal $real:ident),*) => {
        $($do!($at, |event: &Event| i64::from(event.$whole), |event: &mut Event, number: i64| event.$whole = number as _);)*
        // A real number as its bits.
        $($do!($place, |event: &Event| i64::from(event.$real.to_bits()),
            |event: &mut Event, bits: i64| event.$real = f32::from_bits(bits as u32));)*
    };
}

/// How many columns there are.
const COLUMNS: usize = 14;

/// Numbers as bytes, lowest first.
enum Packed {
    Same,
    One(Box<[u8]>),
    Two(Box<[u16]>),
    Four(Box<[u32]>),
    Eight(Box<[u64]>),
}

struct Column {
    low: i64,
    packed: Packed,
}

impl Column {
    fn new(events: &[Event], get: impl Fn(&Event) -> i64) -> Self {
        let numbers = || events.iter().map(&get);
        let low = numbers().min().unwrap_or(0);
        let far = numbers().map(|number| number.wrapping_sub(low) as u64).max().unwrap_or(0);
        let rest = || numbers().map(|number| number.wrapping_sub(low) as u64);
        let packed = match far {
            0 => Packed::Same,
            1..=0xff => Packed::One(rest().map(|number| number as u8).collect()),
            0x100..=0xffff => Packed::Two(rest().map(|number| number as u16).collect()),
            0x1_0000..=0xffff_ffff => Packed::Four(rest().map(|number| number as u32).collect()),
            _ => Packed::Eight(rest().collect()),
        };
        Self { low, packed }
    }

    /// Gives each number to one of these.
    fn unpack<T>(&self, into: &mut [T], set: impl Fn(&mut T, i64)) {
        fn each<T, N: Copy>(rest: &[N], into: &mut [T], set: impl Fn(&mut T, N)) {
            for (to, number) in into.iter_mut().zip(rest) {
                set(to, *number);
            }
        }
        let low = self.low;
        match &self.packed {
            Packed::Same => into.iter_mut().for_each(|to| set(to, low)),
            Packed::One(rest) => each(rest, into, |to, number| set(to, low.wrapping_add(number.into()))),
            Packed::Two(rest) => each(rest, into, |to, number| set(to, low.wrapping_add(number.into()))),
            Packed::Four(rest) => each(rest, into, |to, number| set(to, low.wrapping_add(number.into()))),
            Packed::Eight(rest) => each(rest, into, |to, number| set(to, low.wrapping_add(number.cast_signed()))),
        }
    }

    fn get(&self, at: usize) -> i64 {
        match &self.packed {
            Packed::Same => self.low,
            Packed::One(rest) => self.low.wrapping_add(rest[at].into()),
            Packed::Two(rest) => self.low.wrapping_add(rest[at].into()),
            Packed::Four(rest) => self.low.wrapping_add(rest[at].into()),
            Packed::Eight(rest) => self.low.wrapping_add(rest[at].cast_signed()),
        }
    }
}

/// Events, packed.
pub(super) struct Block {
    len: usize,
    /// Times of the first and the last.
    pub(super) times: (i64, i64),
    /// The lowest and the highest number of a trace.
    pub(super) traces: (u32, u32),
    columns: [Column; COLUMNS],
}

impl Block {
    pub(super) fn new(events: &[Event]) -> Self {
        let ends = |get: fn(&Event) -> i64| {
            let numbers = || events.iter().map(get);
            (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0))
        };
        let traces = ends(|event| event.trace.into());
        let mut columns = Vec::with_capacity(COLUMNS);
        macro_rules! pack {
            ($at:literal, $get:expr, $set:expr) => {
                columns.push(Column::new(events, $get))
            };
        }
        each_column!(pack);
        let columns: [Column; COLUMNS] = columns.try_into().unwrap_or_else(|_| unreachable!("one for each"));
        Self { len: events.len(), times: ends(|event| event.time), traces: (traces.0 as u32, traces.1 as u32), columns }
    }

    /// Puts these columns of the events in place of what was in `into`.
    pub(super) fn unpack(&self, columns: Columns, into: &mut Vec<Event>) {
        into.resize(self.len, Event::default());
        macro_rules! unpack {
            ($at:literal, $get:expr, $set:expr) => {
                if columns.0 & (1 << $at) != 0 {
                    self.columns[$at].unpack(into, $set);
                }
            };
        }
        each_column!(unpack);
    }

    /// The numbers of one column.
    pub(super) fn numbers(&self, column: Columns, into: &mut Vec<u32>) {
        into.resize(self.len, 0);
        self.columns[column.0.trailing_zeros() as usize].unpack(into, |to, number| *to = number as u32);
    }

    /// An event, whole.
    pub(super) fn event(&self, at: usize) -> Event {
        let mut event = Event::default();
        macro_rules! put {
            ($at:literal, $get:expr, $set:expr) => {
                ($set)(&mut event, self.columns[$at].get(at))
            };
        }
        each_column!(put);
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_whatever_their_range() {
        let far = [0, 1, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, i64::MAX];
        for most in far {
            let events: Vec<Event> = [0, most / 2, most]
                .into_iter()
                .map(|number| Event {
                    id: number,
                    time: i64::MIN + number,
                    cost_nano: -number,
                    form: number as u32,
                    latency: number as f32,
                    first: f32::NAN,
                    saved: -0.0,
                    ..Event::default()
                })
                .collect();
            let block = Block::new(&events);
            let mut back = vec![Event { input: 7, ..Event::default() }; 5];
            block.unpack(Columns::ALL, &mut back);
            assert_eq!(format!("{back:?}"), format!("{events:?}"), "{most}");
            assert_eq!(format!("{:?}", block.event(1)), format!("{:?}", events[1]), "{most}");
            assert_eq!(block.times, (i64::MIN, i64::MIN + most));
        }
    }

    #[test]
    fn only_what_is_wanted_is_unpacked() {
        let block = Block::new(&[Event { id: 3, time: 4, ..Event::default() }]);
        let mut back = vec![Event { time: 9, ..Event::default() }];
        block.unpack(Columns::ID, &mut back);
        assert_eq!((back[0].id, back[0].time), (3, 9));
        let mut numbers = vec![5; 7];
        Block::new(&[Event { user: 8, ..Event::default() }]).numbers(Columns::USER, &mut numbers);
        assert_eq!(numbers, [8]);
    }
}
