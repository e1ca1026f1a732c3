//! Events that are remembered for a while, and those known to whom we compare with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codec::datagram::{Event, EventId};

use super::clock::{CLOCKS_APART, millis};
use crate::time::Instant;

/// An event and what it says, shared with whoever subscribed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    /// When it was published, by the clock of who did: milliseconds since 1970 began.
    pub time: u64,
    /// What tells it apart from others that say the same.
    pub nonce: u64,
    /// What it is about.
    pub topic: Arc<[u8]>,
    /// What it says.
    pub data: Arc<[u8]>,
}

impl Happening {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let Event { time, nonce, topic, data } = *event;
        Self { time, nonce, topic: topic.into(), data: data.into() }
    }

    /// For the wire.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        Event { time: self.time, nonce: self.nonce, topic: &self.topic, data: &self.data }
    }
}

/// The events that are remembered, at most so many, and the ids of those that were. What is told
/// once is not told again: its id is known for as long as it could be taken.
#[derive(Debug)]
pub(super) struct Events {
    max: usize,
    /// How long an event is remembered.
    span: Duration,
    by_id: BTreeMap<EventId, Happening>,
    /// By age, each with the time at which it is forgotten.
    by_age: VecDeque<(Instant, EventId)>,
    /// Ids of those that were forgotten, each behind the time of its event.
    past: BTreeSet<(u64, EventId)>,
}

/// An event is told for so many times as long as one remembers it: whoever hears of it within that
/// time tells of it as long, and whoever hears it of these.
const TOLD_SPANS: u32 = 3;

/// Ids of the past at most, for each event that may be remembered: as many as are forgotten while
/// one could still be taken, when there are as many events as can be remembered.
const PAST_PER_EVENT: usize = 8;

impl Events {
    pub(super) const fn new(max: usize, span: Duration) -> Self {
        Self { max, span, by_id: BTreeMap::new(), by_age: VecDeque::new(), past: BTreeSet::new() }
    }

    /// Whether an event of this time may be taken when our clock says so; all in milliseconds.
    /// Older ones nobody tells of any more who is honest, and later ones are yet to come.
    pub(super) fn is_timely(&self, time: u64, clock: u64) -> bool {
        time >= self.oldest(clock) && time <= clock.saturating_add(millis(CLOCKS_APART))
    }

    /// The time of the oldest event that may be taken.
    fn oldest(&self, clock: u64) -> u64 {
        let age = self.span.saturating_mul(TOLD_SPANS).saturating_add(CLOCKS_APART);
        clock.saturating_sub(millis(age))
    }

    /// Whether it happened already.
    pub(super) fn is_known(&self, time: u64, id: EventId) -> bool {
        self.by_id.contains_key(&id) || self.past.contains(&(time, id))
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

    /// Forgets the oldest, if its time has come, and what could not be taken again anyway.
    pub(super) fn forget_due(&mut self, now: Instant, clock: u64) -> Option<EventId> {
        let oldest = self.oldest(clock);
        while self.past.first().is_some_and(|(time, _)| *time < oldest) {
            self.past.pop_first();
        }
        if self.deadline()? <= now { self.forget() } else { None }
    }

    fn forget(&mut self) -> Option<EventId> {
        let (_, id) = self.by_age.pop_front()?;
        let event = self.by_id.remove(&id)?;
        self.past.insert((event.time, id));
        if self.past.len() > PAST_PER_EVENT * self.max {
            self.past.pop_first();
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

    const fn event(number: u64, time: u64) -> Event<'static> {
        Event { time, nonce: number, topic: b"", data: b"" }
    }

    fn add(events: &mut Events, event: Event<'_>, now: Instant) {
        events.add(event.id(), Happening::of(&event), now);
    }

    const SPAN: Duration = Duration::from_secs(60);

    /// Our clock began with this.
    const START: u64 = 1_700_000_000_000;

    const fn clock(now: Instant) -> u64 {
        START + now.micros() / 1_000
    }

    #[test]
    fn what_was_forgotten_is_known_as_long_as_it_could_be_taken() {
        let mut events = Events::new(4, SPAN);
        let one = event(1, START);
        add(&mut events, one, Instant::START);
        let at = Instant::START.after(SPAN);
        assert_eq!(events.forget_due(at, clock(at)), Some(one.id()));
        assert_eq!((events.get(&one.id()), events.is_known(START, one.id())), (None, true));
        let last = Instant::START.after(SPAN * TOLD_SPANS + CLOCKS_APART);
        assert_eq!(events.forget_due(last, clock(last)), None);
        assert!(events.is_timely(START, clock(last)) && events.is_known(START, one.id()));
        let later = last.after(Duration::from_millis(1));
        assert_eq!(events.forget_due(later, clock(later)), None);
        assert!(!events.is_timely(START, clock(later)) && !events.is_known(START, one.id()));
    }

    #[test]
    fn what_is_yet_to_come_is_taken_as_far_as_clocks_may_differ() {
        let events = Events::new(4, SPAN);
        let ahead = START + millis(CLOCKS_APART);
        assert!(events.is_timely(ahead, START) && !events.is_timely(ahead + 1, START));
        let eternal = Events::new(4, Duration::MAX);
        assert!(eternal.is_timely(0, START) && !eternal.is_timely(u64::MAX, START));
    }

    #[test]
    fn the_past_is_bounded() {
        let mut events = Events::new(2, SPAN);
        for number in 0..50 {
            add(&mut events, event(number, START + number), Instant::START);
        }
        assert_eq!((events.by_id.len(), events.past.len()), (2, 2 * PAST_PER_EVENT));
        let known = (0..50).filter(|number| {
            let one = event(*number, START + number);
            events.is_known(one.time, one.id())
        });
        assert!(known.eq(32..50));
    }
}
