//! The network that the engines form, as their sights show it: connected, doubled, of what degree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Serialize;

use super::words::Sight;

/// The whole cluster at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(super) struct Point {
    /// Seconds since the first engine was started.
    pub(super) seconds: f64,
    /// Engines that live, and those of them that were looked at in this phase.
    pub(super) living: u32,
    pub(super) seen: u32,
    /// Engines that have their outbound peers, or all others for peers and so nobody to dial.
    pub(super) met: u32,
    /// Parts of the network that no connection joins, engines not looked at among them.
    pub(super) components: u32,
    /// Peers of one engine.
    pub(super) degree_min: u32,
    pub(super) degree_max: u32,
    pub(super) degree_mean: f64,
    /// Connections beyond the first between the same two.
    pub(super) doubled: u32,
    /// Addresses in the books, on average.
    pub(super) addresses_mean: f64,
    pub(super) tried_mean: f64,
    /// Dead addresses in all books together, and books with any; `None` before somebody died, and
    /// until all know who.
    pub(super) dead: Option<u32>,
    pub(super) books_with_dead: Option<u32>,
    /// Outbound peers of the engine that was started again.
    pub(super) back_outbound: Option<u32>,
}

/// Engines that live, by number, with their addresses.
pub(super) type Living = BTreeMap<u32, SocketAddr>;

/// Looks at the cluster.
pub(super) fn point(living: &Living, sights: &BTreeMap<u32, Sight>, target: u32) -> Point {
    let seen: Vec<&Sight> = living.keys().filter_map(|engine| sights.get(engine)).collect();
    let degrees = || seen.iter().map(|sight| degree(sight));
    let mean = |sum: u32| f64::from(sum) / seen.len().max(1) as f64;
    let dead: Option<Vec<u32>> = seen.iter().map(|sight| sight.dead).collect();
    let dead = dead.filter(|_| seen.len() == living.len());
    let addrs: BTreeSet<SocketAddr> = living.values().copied().collect();
    let has_all = |sight: &Sight| {
        sight.peers.iter().filter(|peer| addrs.contains(peer)).count() + 1 >= living.len()
    };
    let is_met = |sight: &&&Sight| sight.outbound >= target || has_all(sight);
    Point {
        seconds: 0.0,
        living: living.len() as u32,
        seen: seen.len() as u32,
        met: seen.iter().filter(is_met).count() as u32,
        components: components(living, &seen),
        degree_min: degrees().min().unwrap_or(0),
        degree_max: degrees().max().unwrap_or(0),
        degree_mean: mean(degrees().sum()),
        doubled: seen.iter().map(|sight| sight.peers.len() as u32 - degree(sight)).sum(),
        addresses_mean: mean(seen.iter().map(|sight| sight.new + sight.tried).sum()),
        tried_mean: mean(seen.iter().map(|sight| sight.tried).sum()),
        books_with_dead: dead.as_ref().map(|dead| dead.iter().filter(|n| **n > 0).count() as u32),
        dead: dead.map(|dead| dead.iter().sum()),
        back_outbound: None,
    }
}

/// Different peers of one engine.
pub(super) fn degree(sight: &Sight) -> u32 {
    sight.peers.iter().collect::<BTreeSet<_>>().len() as u32
}

/// How many parts the network has.
fn components(living: &Living, seen: &[&Sight]) -> u32 {
    let places: BTreeMap<SocketAddr, usize> =
        living.values().enumerate().map(|(place, addr)| (*addr, place)).collect();
    let mut parents: Vec<usize> = (0..living.len()).collect();
    let mut parts = living.len();
    for sight in seen {
        let own = places[&living[&sight.engine]];
        for peer in sight.peers.iter().filter_map(|peer| places.get(peer)) {
            let (one, other) = (root(&mut parents, own), root(&mut parents, *peer));
            if one != other {
                parents[one] = other;
                parts -= 1;
            }
        }
    }
    parts as u32
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(engine: u32) -> SocketAddr {
        ([127, 0, 0, 1], 1_000 + engine as u16).into()
    }

    fn sight(engine: u32, peers: &[u32]) -> (u32, Sight) {
        let peers: Vec<_> = peers.iter().map(|peer| addr(*peer)).collect();
        let outbound = peers.len() as u32;
        (engine, Sight { engine, outbound, peers, new: 4, tried: 2, dead: Some(engine) })
    }

    fn look(sights: &[(u32, Sight)], engines: u32) -> Point {
        let living = (0..engines).map(|engine| (engine, addr(engine))).collect();
        point(&living, &sights.iter().cloned().collect(), 2)
    }

    #[test]
    fn one_side_of_a_connection_is_enough() {
        let line = [sight(0, &[]), sight(1, &[0, 2]), sight(2, &[]), sight(3, &[2])];
        assert_eq!(look(&line, 4).components, 1);
        assert_eq!(look(&line[..3], 4).components, 2, "who was not looked at is not joined");
        assert_eq!(look(&line, 4).met, 1);
    }

    #[test]
    fn who_has_all_others_has_nobody_to_dial() {
        let mut hub = sight(0, &[1, 2]);
        hub.1.outbound = 0;
        let star = [hub, sight(1, &[0]), sight(2, &[0])];
        assert_eq!(look(&star, 3).met, 1);
        assert_eq!(look(&star, 4).met, 0, "there is one more");
    }

    #[test]
    fn the_dead_join_nobody() {
        let star = [sight(0, &[9]), sight(1, &[9]), sight(2, &[9, 1])];
        let point = look(&star, 3);
        assert_eq!((point.components, point.seen), (2, 3));
        assert_eq!((point.dead, point.books_with_dead), (Some(3), Some(2)));
    }

    #[test]
    fn doubled_connections_are_counted() {
        let doubled = [sight(0, &[1, 1, 1, 2]), sight(1, &[0]), sight(2, &[0])];
        let point = look(&doubled, 3);
        assert_eq!((point.doubled, point.degree_max, point.degree_min), (2, 2, 1));
    }

    #[test]
    fn the_books_are_clean_only_if_all_were_looked_at() {
        let sights = [sight(0, &[1])];
        assert_eq!(look(&sights, 2).dead, None);
        assert_eq!(look(&sights, 1).dead, Some(0));
    }
}
