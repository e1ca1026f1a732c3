//! Bodies that are on their way: who is receiving what, and whom that keeps us from telling.
//!
//! A peer that says that something is coming to it needs neither the body nor our announcement: we
//! hold them back until a deadline. After that it is announced all the same: a word that nobody can
//! check may delay, and nothing else. The first word counts, so that none is delayed twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codec::{Hash, Item, Kind, Offer};

use crate::event::ConnId;
use crate::time::Instant;

/// How long something is held back: this, and as long as its bytes take at a slow rate; at most
/// twice as long as the first. Guess: most bodies are through by then.
const HOLD: Duration = Duration::from_secs(1);
const HOLD_BYTES_PER_MILLI: u32 = 1_000;

/// Items that one peer receives at once. Guess: a few blocks and some large transactions.
pub(crate) const COMING_PER_PEER_MAX: usize = 64;

/// Words that are kept of all peers, 60 bytes each.
pub(crate) const COMING_MAX: usize = 16_384;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Word {
    item: Item,
    until: Instant,
}

/// Who is receiving what, and what is held back from whom.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    words: BTreeMap<ConnId, Vec<Word>>,
    count: usize,
    /// When each of these is over, and how long the item is.
    held: BTreeMap<(ConnId, Item), (Instant, u32)>,
    due: BTreeSet<(Instant, ConnId, Item)>,
}

impl Coming {
    /// A peer says that it is receiving this.
    pub(crate) fn heard(&mut self, conn: ConnId, offer: Offer, now: Instant) {
        let words = self.words.entry(conn).or_default();
        let before = words.len();
        words.retain(|word| word.until > now);
        let known = words.iter().any(|word| word.item == offer.item);
        let full = self.count >= COMING_MAX && before == words.len();
        if !known && words.len() < COMING_PER_PEER_MAX && !full {
            let more = Duration::from_millis(u64::from(offer.bytes / HOLD_BYTES_PER_MILLI));
            let until = now.after(HOLD + more.min(HOLD));
            words.push(Word { item: offer.item, until });
        }
        let after = words.len();
        if after == 0 {
            self.words.remove(&conn);
        }
        self.count = self.count + after - before;
    }

    /// Whether this is to be held back from this peer. It then is, until [`Coming::take_due`].
    pub(crate) fn holds(&mut self, conn: ConnId, offer: Offer, now: Instant) -> bool {
        let words = self.words.get(&conn).map_or(&[][..], Vec::as_slice);
        let found = words.iter().find(|word| word.item == offer.item && word.until > now);
        let Some(word) = found else { return false };
        let held = self.held.entry((conn, offer.item));
        let (until, _) = *held.or_insert((word.until, offer.bytes));
        self.due.insert((until, conn, offer.item));
        true
    }

    /// Something whose time has come: to be announced to this peer if it still lacks it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(ConnId, Offer)> {
        let (at, conn, item) = self.due.first().copied().filter(|(at, ..)| *at <= now)?;
        self.due.remove(&(at, conn, item));
        let (_, bytes) = self.held.remove(&(conn, item))?;
        Some((conn, Offer { item, bytes }))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// The peer is gone.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.count -= self.words.remove(&conn).map_or(0, |words| words.len());
        let first = Item { kind: Kind::Error, id: Hash([0; 32]) };
        let held = self.held.range((conn, first)..).map(|(key, held)| (*key, held.0));
        let held: Vec<_> = held.take_while(|((other, _), _)| *other == conn).collect();
        for ((conn, item), until) in held {
            self.held.remove(&(conn, item));
            self.due.remove(&(until, conn, item));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(number: u32) -> Offer {
        let item = Item { kind: Kind::Block, id: Hash::of(&number.to_be_bytes()) };
        Offer { item, bytes: 300_000 }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn what_is_coming_is_held_back_once_and_not_for_ever() {
        let [a, b] = [0, 1].map(|index| ConnId::new(index, 1));
        let mut coming = Coming::default();
        coming.heard(a, offer(1), at(0));
        coming.heard(a, offer(1), at(900));
        assert!(!coming.holds(b, offer(1), at(10)) && !coming.holds(a, offer(2), at(10)));
        assert!(coming.holds(a, offer(1), at(10)) && coming.holds(a, offer(1), at(11)));
        assert_eq!(coming.deadline(), Some(at(1_300)));
        assert_eq!(coming.take_due(at(1_299)), None);
        assert_eq!(coming.take_due(at(1_300)), Some((a, offer(1))));
        assert_eq!(coming.take_due(at(9_000)), None);
        assert!(!coming.holds(a, offer(1), at(1_300)), "its time is over");
    }

    #[test]
    fn words_are_bounded_and_go_with_their_peer() {
        let mut coming = Coming::default();
        for index in 0..1_000 {
            for number in 0..COMING_PER_PEER_MAX as u32 + 1 {
                coming.heard(ConnId::new(index, 1), offer(number), at(0));
            }
        }
        assert_eq!(coming.count, COMING_MAX);
        let first = ConnId::new(0, 1);
        assert!(!coming.holds(first, offer(COMING_PER_PEER_MAX as u32), at(1)));
        assert!(coming.holds(first, offer(0), at(1)));
        for index in 0..1_000 {
            coming.leave(ConnId::new(index, 1));
        }
        assert_eq!((coming.count, coming.words.len(), coming.held.len()), (0, 0, 0));
        assert!(coming.due.is_empty());
    }
}
