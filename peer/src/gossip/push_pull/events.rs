//! Events that are remembered for a while, and those known to whom we compare with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

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

/// The events that are remembered, at most so many.
#[derive(Debug)]
pub(super) struct Events {
    max: usize,
    by_id: BTreeMap<EventId, Happening>,
    /// By age, each with the time at which it is forgotten.
    by_age: VecDeque<(Instant, EventId)>,
}

impl Events {
    pub(super) const fn new(max: usize) -> Self {
        Self { max, by_id: BTreeMap::new(), by_age: VecDeque::new() }
    }

    pub(super) fn get(&self, id: &EventId) -> Option<&Happening> {
        self.by_id.get(id)
    }

    /// Remembers it until then; which one had to make room.
    pub(super) fn add(&mut self, id: EventId, event: Happening, until: Instant) -> Option<EventId> {
        self.by_id.insert(id, event);
        self.by_age.push_back((until, id));
        if self.by_id.len() > self.max { self.forget() } else { None }
    }

    /// Forgets the oldest, if its time has come.
    pub(super) fn forget_due(&mut self, now: Instant) -> Option<EventId> {
        if self.deadline()? <= now { self.forget() } else { None }
    }

    fn forget(&mut self) -> Option<EventId> {
        let (_, id) = self.by_age.pop_front()?;
        self.by_id.remove(&id);
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
