//! Events that are remembered for a while, and those known to whom we compare with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codec::datagram::{Event, EventId};

use crate::time::Instant;

/// An event and what it says, shared with whoever subscribed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    /// What tells it apart from others that say the same.
    pub nonce: u64,
    /// What it is about.
    pub topic: Arc<[u8]>,
    /// What it says.
    pub data: Arc<[u8]>,
}

impl Happening {
    pub(super) fn of(event: &Event<'_>) -> Self {
        Self { nonce: event.nonce, topic: event.topic.into(), data: event.data.into() }
    }

    /// For the wire.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        Event { nonce: self.nonce, topic: &self.topic, data: &self.data }
    }
}

/// The events that are remembered, at most so many, and the ids of those that were.
#[derive(Debug)]
pub(super) struct Events {
    max: usize,
    /// How long an event is remembered.
    span: Duration,
    by_id: BTreeMap<EventId, Happening>,
    /// By age, each with the time at which it is forgotten.
    by_age: VecDeque<(Instant, EventId)>,
    /// Ids of those that were forgotten, since others who heard them later still tell of them.
    past: BTreeSet<EventId>,
    /// The same by age, each with the time at which nobody tells of it any more.
    past_by_age: VecDeque<(Instant, EventId)>,
}

/// So many times as long as an event is its id known after it. Once: whoever hears of an event
/// within that time tells of it as long. Twice: for those who hear it of them.
const PAST_SPANS: u32 = 2;

/// Ids of the past at most, for each event that may be remembered.
const PAST_PER_EVENT: usize = 4;

impl Events {
    pub(super) const fn new(max: usize, span: Duration) -> Self {
        Self {
            max,
            span,
            by_id: BTreeMap::new(),
            by_age: VecDeque::new(),
            past: BTreeSet::new(),
            past_by_age: VecDeque::new(),
        }
    }

    /// Whether it happened already.
    pub(super) fn is_known(&self, id: &EventId) -> bool {
        self.by_id.contains_key(id) || self.past.contains(id)
    }

    pub(super) fn get(&self, id: &EventId) -> Option<&Happening> {
        self.by_id.get(id)
    }

    /// Remembers it; which one had to make room.
    pub(super) fn add(&mut self, id: EventId, event: Happening, now: Instant) -> Option<EventId> {
        self.by_id.insert(id, event);
        self.by_age.push_back((now.after(self.span), id));
        if self.by_id.len() > self.max { self.forget() } else { None }
    }

    /// Forgets the oldest, if its time has come.
    pub(super) fn forget_due(&mut self, now: Instant) -> Option<EventId> {
        while let Some((_, id)) = self.past_by_age.pop_front_if(|(until, _)| *until <= now) {
            self.past.remove(&id);
        }
        if self.deadline()? <= now { self.forget() } else { None }
    }

    fn forget(&mut self) -> Option<EventId> {
        let (until, id) = self.by_age.pop_front()?;
        self.by_id.remove(&id);
        self.past.insert(id);
        self.past_by_age.push_back((until.after(self.span * PAST_SPANS), id));
        if self.past_by_age.len() > PAST_PER_EVENT * self.max
            && let Some((_, oldest)) = self.past_by_age.pop_front()
        {
            self.past.remove(&oldest);
        }
        Some(id)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_age.front().map(|(until, _)| *until)
    }

    /// The newest ones, newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = EventId> + '_ {
        self.by_age.iter().rev().map(|(_, id)| *id)
    }

    /// The newest so many of which somebody said nothing, newest first.
    pub(super) fn lacking(&self, known: &BTreeSet<EventId>, window: usize) -> Vec<EventId> {
        self.newest().take(window).filter(|id| !known.contains(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        Event { nonce: number, topic: b"", data: b"" }.id()
    }

    fn happening(number: u64) -> Happening {
        Happening::of(&Event { nonce: number, topic: b"", data: b"" })
    }

    const SPAN: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_forgotten_is_known_for_two_spans_more() {
        let mut events = Events::new(4, SPAN);
        events.add(id(1), happening(1), Instant::START);
        let at = Instant::START.after(SPAN);
        assert_eq!(events.forget_due(at), Some(id(1)));
        assert_eq!((events.get(&id(1)), events.is_known(&id(1))), (None, true));
        let at = at.after(SPAN * PAST_SPANS);
        assert_eq!((events.forget_due(at), events.is_known(&id(1))), (None, false));
    }

    #[test]
    fn the_past_is_bounded() {
        let mut events = Events::new(2, SPAN);
        for number in 0..50 {
            events.add(id(number), happening(number), Instant::START);
        }
        assert_eq!((events.by_id.len(), events.past.len()), (2, 2 * PAST_PER_EVENT));
        let known = (0..50).filter(|number| events.is_known(&id(*number)));
        assert!(known.eq(40..50));
    }
}
