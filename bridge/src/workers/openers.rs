//! Who opens envelopes, as the chain's threads see it: a hint, which may be a moment old. Wrong, a
//! payload travels plain that could have been packed, or is packed for nobody.

use peer::ConnId;

use crate::sync::{Hint, Ordering};

/// Slots that are noted, 128 KiB: as many as there may be peers. In a slot beyond, a peer gets its
/// deliveries plain.
const SLOTS: usize = 16_384;

/// Set in each note, so that generation 0 is none of nothing.
const NOTED: u64 = 1 << 32;

pub(super) struct Openers {
    /// The generation of the slot's use that opens envelopes.
    slots: Box<[Hint]>,
    /// How many peers do, now.
    count: Hint,
}

impl Openers {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Hint::new(0)).collect(), count: Hint::new(0) }
    }

    /// This connection opens envelopes. Nothing is to be said when it ends: the next use of its
    /// slot has another generation.
    pub(super) fn note(&self, conn: ConnId) {
        if let Some(slot) = self.slots.get(conn.index() as usize) {
            slot.store(NOTED | u64::from(conn.generation()), Ordering::Relaxed);
        }
    }

    pub(super) fn set_count(&self, count: u64) {
        self.count.store(count, Ordering::Relaxed);
    }

    pub(super) fn contains(&self, conn: ConnId) -> bool {
        let noted = NOTED | u64::from(conn.generation());
        let slot = self.slots.get(conn.index() as usize);
        slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == noted)
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_use_of_a_slot_is_another_peer() {
        let openers = Openers::new();
        assert!(!openers.contains(ConnId::new(7, 0)));
        openers.note(ConnId::new(7, 0));
        assert!(openers.contains(ConnId::new(7, 0)));
        assert!(!openers.contains(ConnId::new(7, 1)));
        openers.note(ConnId::new(7, u32::MAX));
        assert!(openers.contains(ConnId::new(7, u32::MAX)));
        assert!(!openers.contains(ConnId::new(7, 0)));
        assert!(!openers.contains(ConnId::new(8, u32::MAX)));
    }

    #[test]
    fn slots_beyond_the_table_open_nothing() {
        let openers = Openers::new();
        let beyond = ConnId::new(SLOTS as u32, 1);
        openers.note(beyond);
        assert!(!openers.contains(beyond));
        openers.note(ConnId::new(SLOTS as u32 - 1, 1));
        assert!(openers.contains(ConnId::new(SLOTS as u32 - 1, 1)));
    }
}
