//! What becomes of an event that goes to several sinks: it is delivered when every one has it, and lost when the last
//! one has settled it and any gave it up.

use std::cell::Cell;
use std::rc::Rc;

/// One sink's part in an event's fate. For the only sink it weighs nothing.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<Rc<Fate>>);

#[derive(Debug)]
struct Fate {
    left: Cell<usize>,
    dropped: Cell<Option<&'static str>>,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    Dropped(&'static str),
}

impl Ticket {
    /// A ticket for each of so many sinks.
    pub(crate) fn for_each(sinks: usize) -> impl Iterator<Item = Self> {
        let fate = (sinks > 1).then(|| Rc::new(Fate { left: Cell::new(sinks), dropped: Cell::new(None) }));
        (0..sinks).map(move |_| Self(fate.clone()))
    }

    /// This sink is done with the event. Says how it ended when this was the last one.
    pub(crate) fn settle(self, end: End) -> Option<End> {
        let Some(fate) = self.0 else { return Some(end) };
        if let End::Dropped(reason) = end
            && fate.dropped.get().is_none()
        {
            fate.dropped.set(Some(reason));
        }
        fate.left.set(fate.left.get() - 1);
        (fate.left.get() == 0).then(|| fate.dropped.get().map_or(End::Delivered, End::Dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_sink_decides() {
        assert_eq!(Ticket::default().settle(End::Delivered), Some(End::Delivered));
        assert_eq!(
            Ticket::for_each(1).map(|one| one.settle(End::Dropped("x"))).collect::<Vec<_>>(),
            [Some(End::Dropped("x"))]
        );
    }

    #[test]
    fn of_several_the_last_one_ends_it_and_a_loss_anywhere_is_a_loss() {
        let all = |ends: [End; 3]| Ticket::for_each(3).zip(ends).map(|(one, end)| one.settle(end)).collect::<Vec<_>>();
        assert_eq!(all([End::Delivered; 3]), [None, None, Some(End::Delivered)]);
        let lost = [End::Delivered, End::Dropped("too_big"), End::Dropped("rejected")];
        assert_eq!(all(lost), [None, None, Some(End::Dropped("too_big"))]);
    }
}
