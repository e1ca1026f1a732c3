//! What is told to many in one turn leaves together: announcements, questions, negative answers.
//!
//! The endpoint is due at once while something waits here, so that it leaves in the same turn.

use std::collections::BTreeMap;

use codec::limits::RECORDS_MAX;
use codec::{Item, Offer};

use crate::event::ConnId;

/// What leaves: the same records for all of these peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Batch {
    Have(Vec<ConnId>, Vec<Offer>),
    Want(ConnId, Vec<Item>),
    NotFound(ConnId, Vec<Item>),
}

/// Records that wait, at most [`RECORDS_MAX`] of a kind for each peer.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// Each offer with those who are to hear of it.
    offers: Vec<(Offer, Vec<ConnId>)>,
    wants: BTreeMap<ConnId, Vec<Item>>,
    refusals: BTreeMap<ConnId, Vec<Item>>,
}

impl Batches {
    /// These peers are to hear of this. Whether a batch is full.
    pub(crate) fn have(&mut self, offer: Offer, to: Vec<ConnId>) -> bool {
        if !to.is_empty() {
            self.offers.push((offer, to));
        }
        self.offers.len() >= RECORDS_MAX
    }

    /// This peer is to be asked for this. Whether a batch is full.
    pub(crate) fn want(&mut self, conn: ConnId, item: Item) -> bool {
        push(&mut self.wants, conn, item)
    }

    /// This peer is to hear that it does not get this. Whether a batch is full.
    pub(crate) fn not_found(&mut self, conn: ConnId, item: Item) -> bool {
        push(&mut self.refusals, conn, item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.wants.is_empty() && self.refusals.is_empty()
    }

    /// The peer is gone.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.wants.remove(&conn);
        self.refusals.remove(&conn);
        for (_, to) in &mut self.offers {
            to.retain(|other| *other != conn);
        }
    }

    /// All that waits. Peers that are to hear the same share a batch.
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        let mut batches: Vec<Batch> = self.take_offers();
        let wants = std::mem::take(&mut self.wants).into_iter();
        batches.extend(wants.map(|(conn, items)| Batch::Want(conn, items)));
        let refusals = std::mem::take(&mut self.refusals).into_iter();
        batches.extend(refusals.map(|(conn, items)| Batch::NotFound(conn, items)));
        batches
    }

    fn take_offers(&mut self) -> Vec<Batch> {
        let mut offers = std::mem::take(&mut self.offers);
        offers.retain(|(_, to)| !to.is_empty());
        if let [(offer, to)] = &mut offers[..] {
            return vec![Batch::Have(std::mem::take(to), vec![*offer])];
        }
        let mut heard: BTreeMap<ConnId, Vec<u16>> = BTreeMap::new();
        for (index, (_, to)) in offers.iter().enumerate() {
            for conn in to {
                heard.entry(*conn).or_default().push(index as u16);
            }
        }
        let mut alike: BTreeMap<Vec<u16>, Vec<ConnId>> = BTreeMap::new();
        for (conn, indices) in heard {
            alike.entry(indices).or_default().push(conn);
        }
        let batch = |(indices, to): (Vec<u16>, Vec<ConnId>)| {
            Batch::Have(to, indices.iter().map(|index| offers[usize::from(*index)].0).collect())
        };
        alike.into_iter().map(batch).collect()
    }
}

const _: () = assert!(RECORDS_MAX <= u16::MAX as usize, "an offer's place has 16 bits");

fn push(waiting: &mut BTreeMap<ConnId, Vec<Item>>, conn: ConnId, item: Item) -> bool {
    let items = waiting.entry(conn).or_default();
    items.push(item);
    items.len() >= RECORDS_MAX
}

#[cfg(test)]
mod tests {
    use codec::{Hash, Kind};

    use super::*;

    fn item(number: u8) -> Item {
        Item { kind: Kind::Block, id: Hash([number; 32]) }
    }

    fn offer(number: u8) -> Offer {
        Offer { item: item(number), bytes: 9 }
    }

    #[test]
    fn peers_that_hear_the_same_share_a_batch() {
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| ConnId::new(index, 1));
        let mut batches = Batches::default();
        assert!(!batches.have(offer(1), vec![a, b, c]));
        assert!(!batches.have(offer(2), vec![a, b, d]));
        batches.have(offer(3), Vec::new());
        batches.want(c, item(4));
        batches.want(c, item(5));
        batches.not_found(a, item(6));
        batches.leave(d);
        assert!(!batches.is_empty());
        assert_eq!(
            batches.take(),
            [
                Batch::Have(vec![c], vec![offer(1)]),
                Batch::Have(vec![a, b], vec![offer(1), offer(2)]),
                Batch::Want(c, vec![item(4), item(5)]),
                Batch::NotFound(a, vec![item(6)]),
            ]
        );
        assert!(batches.is_empty());
        batches.have(offer(1), vec![d, a]);
        assert_eq!(batches.take(), [Batch::Have(vec![d, a], vec![offer(1)])]);
    }

    #[test]
    fn a_batch_is_full_in_time() {
        let conn = ConnId::new(0, 1);
        let mut batches = Batches::default();
        for number in 1..=RECORDS_MAX {
            let full = number == RECORDS_MAX;
            assert_eq!(batches.have(offer(0), vec![conn]), full);
            assert_eq!(batches.want(conn, item(0)), full);
            assert_eq!(batches.not_found(conn, item(0)), full);
        }
        let [Batch::Have(_, offers), Batch::Want(_, items), Batch::NotFound(..)] =
            &batches.take()[..]
        else {
            panic!("three batches")
        };
        assert_eq!((offers.len(), items.len()), (RECORDS_MAX, RECORDS_MAX));
    }
}
