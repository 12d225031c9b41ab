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
    pub(super) const ALL: Self = Self(u16::MAX);
    /// What [`super::data::Sums`] adds up.
    pub(super) const SUMS: Self =
        Self::FORM.and(Self::INPUT).and(Self::OUTPUT).and(Self::CACHED).and(Self::COST).and(Self::SAVED);

    pub(super) const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
}

/// A number of an event, read and written as a whole one.
type Field = (fn(&Event) -> i64, fn(&mut Event, i64));

/// A real number as its bits.
macro_rules! real {
    ($name:ident) => {
        (|event| i64::from(event.$name.to_bits()), |event, bits| event.$name = f32::from_bits(bits as u32))
    };
}

macro_rules! whole {
    ($name:ident) => {
        (|event| i64::from(event.$name), |event, number| event.$name = number as _)
    };
}

/// All columns, each at the place of its bit in [`Columns`].
const FIELDS: [Field; 14] = [
    whole!(id),
    whole!(time),
    whole!(form),
    whole!(trace),
    whole!(user),
    whole!(session),
    whole!(input),
    whole!(output),
    whole!(cached),
    whole!(cost_nano),
    whole!(cost_atto),
    real!(latency),
    real!(first),
    real!(saved),
];

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
    fn new(events: &[Event], get: fn(&Event) -> i64) -> Self {
        let numbers = || events.iter().map(get);
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

    fn unpack(&self, events: &mut [Event], set: fn(&mut Event, i64)) {
        fn each<T: Copy>(rest: &[T], events: &mut [Event], mut set: impl FnMut(&mut Event, T)) {
            for (event, number) in events.iter_mut().zip(rest) {
                set(event, *number);
            }
        }
        let low = self.low;
        match &self.packed {
            Packed::Same => events.iter_mut().for_each(|event| set(event, low)),
            Packed::One(rest) => each(rest, events, |event, number| set(event, low.wrapping_add(i64::from(number)))),
            Packed::Two(rest) => each(rest, events, |event, number| set(event, low.wrapping_add(i64::from(number)))),
            Packed::Four(rest) => each(rest, events, |event, number| set(event, low.wrapping_add(i64::from(number)))),
            Packed::Eight(rest) => {
                each(rest, events, |event, number| set(event, low.wrapping_add(number.cast_signed())));
            }
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
    columns: [Column; 14],
}

impl Block {
    pub(super) fn new(events: &[Event]) -> Self {
        let ends = |get: fn(&Event) -> i64| {
            let numbers = || events.iter().map(get);
            (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0))
        };
        let traces = ends(|event| event.trace.into());
        Self {
            len: events.len(),
            times: ends(|event| event.time),
            traces: (traces.0 as u32, traces.1 as u32),
            columns: FIELDS.map(|(get, _)| Column::new(events, get)),
        }
    }

    /// Puts these columns of the events in place of what was in `into`.
    pub(super) fn unpack(&self, columns: Columns, into: &mut Vec<Event>) {
        into.resize(self.len, Event::default());
        for (at, (column, (_, set))) in self.columns.iter().zip(FIELDS).enumerate() {
            if columns.0 & (1 << at) != 0 {
                column.unpack(into, set);
            }
        }
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
            assert_eq!(block.times, (i64::MIN, i64::MIN + most));
        }
    }

    #[test]
    fn only_what_is_wanted_is_unpacked() {
        let block = Block::new(&[Event { id: 3, time: 4, ..Event::default() }]);
        let mut back = vec![Event { time: 9, ..Event::default() }];
        block.unpack(Columns::ID, &mut back);
        assert_eq!((back[0].id, back[0].time), (3, 9));
    }
}
