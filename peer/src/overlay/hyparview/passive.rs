//! The passive view: addresses in reserve, from which a lost neighbour is replaced.
//!
//! Owned by the machine, which says what may enter: never the node itself nor a neighbour.
//! Invariants: no address twice, no more than the rules say. Who floods a full view pushes out its
//! own: a group with its share or more makes room for itself first.

use std::net::SocketAddr;

use crate::address::Locality;
use crate::rng::Rng;

/// Looks for an entry of a group that has too many. A group that floods has most of the view, and
/// is found by the first or second.
const VICTIM_DRAWS: usize = 4;

#[derive(Debug)]
pub(super) struct PassiveView {
    entries: Vec<Entry>,
    entries_max: usize,
    group_max: usize,
    locality: Locality,
}

#[derive(Debug)]
struct Entry {
    addr: SocketAddr,
    /// Asked since the last shuffle, or parted from: not to be asked before the next.
    rests: bool,
}

impl PassiveView {
    pub(super) const fn new(entries_max: usize, group_max: usize, locality: Locality) -> Self {
        Self { entries: Vec::new(), entries_max, group_max, locality }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.entries.iter().map(|entry| entry.addr)
    }

    pub(super) fn remove(&mut self, addr: SocketAddr) {
        self.entries.retain(|entry| entry.addr != addr);
    }

    /// Enters an address, if need be in place of another: first of one of `given`, which somebody
    /// else has just been told.
    pub(super) fn insert(&mut self, addr: SocketAddr, given: &mut Vec<SocketAddr>, rng: &mut Rng) {
        if self.iter().any(|known| known == addr) {
            return;
        }
        if self.entries.len() >= self.entries_max {
            let victim = self.victim(addr, given, rng);
            self.entries.swap_remove(victim);
        }
        self.entries.push(Entry { addr, rests: false });
    }

    /// It is not to be asked before the next shuffle.
    pub(super) fn rest(&mut self, addr: SocketAddr) {
        for entry in self.entries.iter_mut().filter(|entry| entry.addr == addr) {
            entry.rests = true;
        }
    }

    /// All may be asked again.
    pub(super) fn wake(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.rests = false);
    }

    /// One that may be asked and is not `busy`.
    pub(super) fn pick(
        &self,
        rng: &mut Rng,
        busy: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let free = || self.entries.iter().filter(|entry| !entry.rests && !busy(entry.addr));
        match free().count() as u64 {
            0 => None,
            count => free().nth(rng.below(count) as usize).map(|entry| entry.addr),
        }
    }

    /// Up to `count` entries, each as likely as any other.
    pub(super) fn sample(&self, count: usize, rng: &mut Rng) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = self.iter().collect();
        rng.shuffle(&mut all);
        all.truncate(count);
        all
    }

    /// Whose place a newcomer takes. There is at least one entry.
    fn victim(&self, newcomer: SocketAddr, given: &mut Vec<SocketAddr>, rng: &mut Rng) -> usize {
        let crowded = self.of_group(newcomer).count() >= self.group_max;
        let akin = |addr| self.locality.group(addr) == self.locality.group(newcomer);
        while let Some(index) = given.iter().position(|addr| !crowded || akin(*addr)) {
            let addr = given.swap_remove(index);
            if let Some(index) = self.iter().position(|known| known == addr) {
                return index;
            }
        }
        if crowded {
            let nth = rng.below(self.of_group(newcomer).count() as u64) as usize;
            return self.of_group(newcomer).nth(nth).expect("it was counted");
        }
        let mut victim = 0;
        for _ in 0..VICTIM_DRAWS {
            victim = rng.below(self.entries.len() as u64) as usize;
            if self.of_group(self.entries[victim].addr).count() > self.group_max {
                break;
            }
        }
        victim
    }

    fn of_group(&self, addr: SocketAddr) -> impl Iterator<Item = usize> + '_ {
        let group = self.locality.group(addr);
        let akin = move |addr| self.locality.group(addr) == group;
        self.iter().enumerate().filter(move |(_, addr)| akin(*addr)).map(|(index, _)| index)
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.entries.len() <= self.entries_max);
        let mut addrs: Vec<_> = self.iter().collect();
        addrs.sort_unstable();
        assert!(addrs.windows(2).all(|pair| pair[0] != pair[1]), "an address twice: {addrs:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(a: u8, b: u8, n: u8) -> SocketAddr {
        ([a, b, 0, n], 3414).into()
    }

    /// A view of ten, of which three may be of one group; full, each of another group.
    fn full() -> (PassiveView, Rng) {
        let mut rng = Rng::from_seed([1; 32]);
        let mut view = PassiveView::new(10, 3, Locality::Internet);
        (0..10).for_each(|n| view.insert(addr(20 + n, 0, 0), &mut Vec::new(), &mut rng));
        (view, rng)
    }

    fn of_flood(view: &PassiveView) -> usize {
        view.iter().filter(|one| *one >= addr(66, 0, 0)).count()
    }

    #[test]
    fn what_was_given_away_makes_room_first() {
        let (mut view, mut rng) = full();
        let mut given = vec![addr(23, 0, 0), addr(99, 9, 9), addr(27, 0, 0)];
        (0..2).for_each(|n| view.insert(addr(50 + n, 0, 0), &mut given, &mut rng));
        assert!(!view.iter().any(|one| one == addr(23, 0, 0) || one == addr(27, 0, 0)));
        view.insert(addr(52, 0, 0), &mut given, &mut rng);
        assert!(given.is_empty() && view.iter().count() == 10);
        view.check();
    }

    /// A forged list of one network's addresses would push everybody else out of the view.
    #[test]
    fn a_flood_of_one_group_gets_its_share_and_no_more() {
        let (mut view, mut rng) = full();
        (0..=255).for_each(|n| view.insert(addr(66, 6, n), &mut Vec::new(), &mut rng));
        assert_eq!(of_flood(&view), 3);
        view.check();
    }

    #[test]
    fn a_crowd_that_came_first_makes_room_first() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut view = PassiveView::new(10, 3, Locality::Internet);
        (0..10).for_each(|n| view.insert(addr(66, 6, n), &mut Vec::new(), &mut rng));
        assert_eq!(of_flood(&view), 10, "nobody competes");
        (0..7).for_each(|n| view.insert(addr(20 + n, 0, 0), &mut Vec::new(), &mut rng));
        assert!((3..=4).contains(&of_flood(&view)), "{}", of_flood(&view));
    }

    #[test]
    fn who_rests_is_not_picked_until_all_wake() {
        let (mut view, mut rng) = full();
        (0..9).for_each(|n| view.rest(addr(20 + n, 0, 0)));
        assert_eq!(view.pick(&mut rng, |_| false), Some(addr(29, 0, 0)));
        assert_eq!(view.pick(&mut rng, |one| one == addr(29, 0, 0)), None);
        view.wake();
        assert!(view.pick(&mut rng, |one| one == addr(29, 0, 0)).is_some());
        assert_eq!(view.sample(4, &mut rng).len(), 4);
        assert_eq!(view.sample(40, &mut rng).len(), 10);
    }
}
