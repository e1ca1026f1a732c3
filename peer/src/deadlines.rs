//! When to look at which peer.
//!
//! A deadline is a field of the peer that it concerns; here stands only when each peer is to be
//! looked at next, coalesced in slots, so that ten thousand pings cost a few wake-ups a second.
//! A peer that is looked at too early is simply scheduled again; a peer that left is not found.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::ConnId;
use crate::time::Instant;

/// Width of a slot. A deadline is served at most this much late: small beside the shortest
/// deadline (seconds), large beside a turn.
pub(crate) const SLOT: Duration = Duration::from_millis(100);

/// A slot of time, counted from the start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SlotTime(u64);

impl SlotTime {
    /// The first slot that begins at or after `at`.
    pub(crate) const fn not_before(at: Instant) -> Self {
        Self(at.micros().div_ceil(SLOT.as_micros() as u64))
    }

    const fn begins(self) -> Instant {
        Instant::from_micros(self.0.saturating_mul(SLOT.as_micros() as u64))
    }
}

/// The peers to look at, by slot. At most one live entry per peer, and stale ones only when a
/// deadline moved forward: bounded by the deadlines a peer has.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    slots: BTreeMap<SlotTime, Vec<ConnId>>,
}

impl Deadlines {
    /// Looks at `conn` in this slot.
    pub(crate) fn schedule(&mut self, conn: ConnId, slot: SlotTime) {
        self.slots.entry(slot).or_default().push(conn);
    }

    /// The beginning of the first slot that holds somebody.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.slots.first_key_value().map(|(slot, _)| slot.begins())
    }

    /// Takes out one slot that has begun.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(SlotTime, Vec<ConnId>)> {
        let entry = self.slots.first_entry()?;
        if entry.key().begins() > now { None } else { Some(entry.remove_entry()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_one_slot_come_together_and_never_early() {
        let mut deadlines = Deadlines::default();
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        for (index, ms) in [(0, 101), (1, 199), (2, 201)] {
            deadlines.schedule(ConnId::new(index, 1), SlotTime::not_before(at(ms)));
        }
        assert_eq!(deadlines.next(), Some(at(200)));
        assert!(deadlines.take_due(at(199)).is_none());
        let (_, first) = deadlines.take_due(at(200)).unwrap();
        assert_eq!(first, [ConnId::new(0, 1), ConnId::new(1, 1)]);
        assert!(deadlines.take_due(at(200)).is_none());
        assert_eq!(deadlines.next(), Some(at(300)));
    }
}
