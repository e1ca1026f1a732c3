//! Members from whom some are drawn at random.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::rng::Rng;

/// A set of addresses. Whatever is done costs no more than a look into a tree; what is drawn
/// follows from what was done before, in its order, and from the dice.
#[derive(Clone, Debug, Default)]
pub(super) struct Lot {
    /// In no particular order.
    addrs: Vec<SocketAddr>,
    /// Where each is in it.
    places: BTreeMap<SocketAddr, usize>,
}

impl Lot {
    pub(super) fn add(&mut self, addr: SocketAddr) {
        if !self.places.contains_key(&addr) {
            self.places.insert(addr, self.addrs.len());
            self.addrs.push(addr);
        }
    }

    /// The last one takes its place.
    pub(super) fn remove(&mut self, addr: &SocketAddr) {
        let Some(place) = self.places.remove(addr) else { return };
        self.addrs.swap_remove(place);
        if let Some(moved) = self.addrs.get(place) {
            self.places.insert(*moved, place);
        }
    }

    /// One of them, which stays.
    pub(super) fn pick(&self, rng: &mut Rng) -> Option<SocketAddr> {
        rng.pick(&self.addrs).copied()
    }

    /// One of them, which is gone from here.
    pub(super) fn take(&mut self, rng: &mut Rng) -> Option<SocketAddr> {
        let addr = self.pick(rng)?;
        self.remove(&addr);
        Some(addr)
    }

    pub(super) const fn len(&self) -> usize {
        self.addrs.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.addrs.is_empty()
    }

    #[cfg(test)]
    pub(super) fn sorted(&self) -> Vec<SocketAddr> {
        let mut addrs = self.addrs.clone();
        addrs.sort_unstable();
        assert!(self.places.keys().eq(&addrs), "each once");
        assert!(self.addrs.iter().enumerate().all(|(place, addr)| self.places[addr] == place));
        addrs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    proptest! {
        /// It holds what a plain set holds, and all of it can be drawn.
        #[test]
        fn it_is_a_set(said in prop::collection::vec((any::<bool>(), 0u8..12), 0..80)) {
            let (mut lot, mut set) = (Lot::default(), BTreeSet::new());
            for (comes, number) in said {
                let addr = SocketAddr::from(([10, 0, 0, number], 1));
                if comes {
                    lot.add(addr);
                    set.insert(addr);
                } else {
                    lot.remove(&addr);
                    set.remove(&addr);
                }
                prop_assert!(lot.sorted().iter().eq(&set));
            }
            let mut rng = Rng::from_seed([1; 32]);
            prop_assert!(lot.pick(&mut rng).is_none_or(|addr| set.contains(&addr)));
            let mut drawn = BTreeSet::new();
            while let Some(addr) = lot.take(&mut rng) {
                prop_assert!(drawn.insert(addr));
            }
            prop_assert_eq!(drawn, set);
        }
    }
}
