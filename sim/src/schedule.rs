//! What is to happen, in the order of its instants, and of its making where these are the same.
//!
//! Called by the network alone. The invariant: what comes out follows from what was put in, never
//! from an address or a hash, so that a run can be repeated.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use peer::Instant;

/// Events that wait for their instants.
pub(crate) struct Schedule<E> {
    /// Small entries are cheap to move: the events themselves stay where they are.
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    made: u64,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), made: 0 }
    }
}

impl<E> Schedule<E> {
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        let place = self.free.pop().unwrap_or(self.events.len() as u32);
        match self.events.get_mut(place as usize) {
            Some(free) => *free = Some(event),
            None => self.events.push(Some(event)),
        }
        self.heap.push(Reverse((at, self.made, place)));
        self.made += 1;
    }

    /// The next event, unless it is after `end`.
    pub(crate) fn pop_until(&mut self, end: Instant) -> Option<(Instant, E)> {
        let Reverse((at, _, place)) = *self.heap.peek()?;
        if at > end {
            return None;
        }
        self.heap.pop();
        self.free.push(place);
        let event = self.events[place as usize].take().expect("each entry has its event");
        Some((at, event))
    }

    /// How many events were made so far.
    pub(crate) const fn made(&self) -> u64 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_instants_and_then_of_their_making() {
        let mut schedule = Schedule::default();
        for (at, name) in [(5, 'a'), (3, 'b'), (5, 'c'), (1, 'd'), (3, 'e')] {
            schedule.push(Instant::from_micros(at), name);
        }
        let mut names = String::new();
        while let Some((_, name)) = schedule.pop_until(Instant::from_micros(4)) {
            names.push(name);
        }
        assert_eq!(names, "dbe");
        schedule.push(Instant::from_micros(5), 'f');
        let rest = std::iter::from_fn(|| schedule.pop_until(Instant::from_micros(9)));
        assert_eq!(rest.map(|(_, name)| name).collect::<String>(), "acf");
        assert_eq!(schedule.made(), 6);
    }
}
