//! The payloads that were relayed last, by their ids: what is asked of them is answered at once.
//!
//! Only what the chain accepted or published is here, and never a stem transaction: so an answer
//! tells nobody more than the announcement before it did.

use std::collections::{BTreeMap, VecDeque};

use codec::{Hash, Item, Kind, Payload};

use crate::chain::Source;
use crate::seen::Sequence;
use crate::time::Instant;

/// Most payloads, however small. A quarter of the default rows of the inventory: of what is older,
/// nobody knows who has it either.
pub(crate) const RECENT_MAX: usize = 8_192;

/// When something was first heard of, and from whom; nobody if it is the chain's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Learnt {
    pub(crate) from: Option<Source>,
    pub(crate) at: Instant,
}

/// One of the last.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) payload: Payload,
    /// The row of its body.
    pub(crate) sequence: Sequence,
    pub(crate) learnt: Learnt,
}

/// Recent payloads by kind and id, bounded in bytes and number: the oldest goes first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    payloads: BTreeMap<Item, Relayed>,
    order: VecDeque<Item>,
    bytes: usize,
}

impl Recent {
    /// Keeps a payload, within so many bytes; one that is here already keeps its place and takes
    /// the new bytes. A payload that alone is larger is not kept.
    pub(crate) fn insert(&mut self, id: Hash, relayed: Relayed, bytes_max: usize) {
        let item = Item { kind: relayed.payload.kind(), id };
        let bytes = relayed.payload.frame().len();
        if bytes > bytes_max {
            return;
        }
        self.bytes += bytes;
        match self.payloads.insert(item, relayed) {
            Some(before) => self.bytes -= before.payload.frame().len(),
            None => self.order.push_back(item),
        }
        while self.bytes > bytes_max || self.order.len() > RECENT_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(relayed) = self.payloads.remove(&oldest) {
                self.bytes -= relayed.payload.frame().len();
            }
        }
    }

    pub(crate) fn get(&self, kind: Kind, id: Hash) -> Option<&Relayed> {
        self.payloads.get(&Item { kind, id })
    }
}

#[cfg(test)]
mod tests {
    use codec::Network;

    use super::*;

    fn relayed(body: &[u8]) -> Relayed {
        Relayed {
            payload: Payload::seal(&Network::DEV, Kind::Block, body).unwrap(),
            sequence: Sequence::new(0),
            learnt: Learnt { from: None, at: Instant::START },
        }
    }

    fn id(number: usize) -> Hash {
        Hash::of(&number.to_be_bytes())
    }

    #[test]
    fn bytes_are_bounded_and_the_oldest_goes() {
        let mut recent = Recent::default();
        for number in 0..10 {
            recent.insert(id(number), relayed(&[1; 89]), 350);
        }
        let here: Vec<usize> =
            (0..10).filter(|number| recent.get(Kind::Block, id(*number)).is_some()).collect();
        assert_eq!(here, [7, 8, 9]);
        assert_eq!(recent.bytes, 300);
        recent.insert(id(10), relayed(&[1; 400]), 350);
        assert_eq!(recent.bytes, 300, "what is larger than all is not kept");
        recent.insert(id(8), relayed(&[1; 139]), 350);
        assert_eq!((recent.bytes, recent.order.len()), (350, 3));
        assert!(recent.get(Kind::CompactBlock, id(8)).is_none());
        recent.insert(id(11), relayed(&[1; 339]), 350);
        assert_eq!((recent.bytes, recent.order.len()), (350, 1));
    }

    #[test]
    fn numbers_are_bounded() {
        let mut recent = Recent::default();
        for number in 0..RECENT_MAX + 100 {
            recent.insert(id(number), relayed(&[]), usize::MAX);
        }
        assert_eq!((recent.payloads.len(), recent.order.len()), (RECENT_MAX, RECENT_MAX));
        assert!(recent.get(Kind::Block, id(99)).is_none());
        assert!(recent.get(Kind::Block, id(100)).is_some());
    }
}
