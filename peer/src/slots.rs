//! Who makes room when the house is full.
//!
//! A pure function over a snapshot; the endpoint calls it when somebody has greeted and all inbound
//! places are taken. The idea is Bitcoin Core's (`src/node/eviction.cpp`): protect a few peers by
//! each of several merits that an attacker cannot have all at once, or not without work for us, and
//! of the others take one from the network group that has the most. Where ours differs:
//!
//! - Group sizes count all inbound peers, protected ones included, and the victim's group must be
//!   strictly larger than the newcomer's. So no exchange makes the largest group larger, and a
//!   party that has one group, however many addresses, displaces only peers of larger groups; once
//!   its own is the largest, nobody. Else a newcomer of that group would, each time that its own
//!   members are protected, push out somebody who stands alone.
//! - The original protects the peers of four groups that a secret key draws. By the rule above the
//!   members of small groups are the last to go, without a secret, and none of the many members of
//!   one group is protected by luck.
//! - A discouraged peer goes before any other, whoever comes, whatever its merits.
//! - In a small house the protections shrink, so that a house of eight can still change.
//!
//! Invariant: what is kept, and the only peer that ever brought us a block or a transaction, never
//! goes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::address::Group;
use crate::event::ConnId;

/// What is known of an inbound peer, when somebody has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its connection.
    pub conn: ConnId,
    /// Its network group.
    pub group: Group,
    /// Smallest round trip of its pings, if there were some.
    pub ping: Option<Duration>,
    /// How long it has been connected.
    pub age: Duration,
    /// How long ago it last brought us, before anybody else, a block, header or compact block.
    pub last_block: Option<Duration>,
    /// The same for transactions.
    pub last_transaction: Option<Duration>,
    /// It misbehaved lately.
    pub discouraged: bool,
    /// The operator wants it, or an archive is on its way: never evicted.
    pub kept: bool,
}

/// Peers with the smallest ping that are protected: eight in Bitcoin Core. An attacker would have
/// to move nearer to us.
const BY_PING: usize = 8;

/// Peers that last brought us a new transaction: four in Bitcoin Core. An attacker would have to
/// serve us.
const BY_TRANSACTION: usize = 4;

/// Peers that last brought us a new block: four in Bitcoin Core, for the same reason.
const BY_BLOCK: usize = 4;

/// Each of these merits protects at most one of so many candidates, and always one; so in a house
/// of eight or more they leave at least five of eight. Guess: the original, made for about 115,
/// protects 20 outright, which would be all of a small house.
const MERIT_SHARE: usize = 8;

/// A candidate and how many of its group there are, itself and protected ones included.
type InGroup = (usize, Candidate);

/// Which inbound peer makes room for a newcomer of this group; `None` refuses the newcomer. The
/// order of the candidates does not matter. Takes O(n log n).
#[must_use]
pub fn pick_victim(mut candidates: Vec<Candidate>, newcomer: Group) -> Option<ConnId> {
    let last_useful = [
        only(&candidates, |candidate| candidate.last_block.is_some()),
        only(&candidates, |candidate| candidate.last_transaction.is_some()),
    ];
    candidates.sort_unstable_by_key(|candidate| candidate.group);
    let groups = || candidates.chunk_by(|one, other| one.group == other.group);
    let newcomers = groups().find(|group| group[0].group == newcomer).map_or(0, <[_]>::len);
    let sized = groups().flat_map(|group| group.iter().map(|it| (group.len(), *it)));
    let mut open: Vec<InGroup> =
        sized.filter(|(_, it)| !it.kept && !last_useful.contains(&Some(it.conn))).collect();
    if open.iter().any(|(_, it)| it.discouraged) {
        open.retain(|(_, it)| it.discouraged);
        return first_to_go(&open).map(|(_, victim)| victim.conn);
    }

    let share = (open.len() / MERIT_SHARE).max(1);
    protect(&mut open, BY_PING.min(share), |(_, it)| it.ping);
    protect(&mut open, BY_TRANSACTION.min(share), |(_, it)| it.last_transaction);
    protect(&mut open, BY_BLOCK.min(share), |(_, it)| it.last_block);
    // The eldest half of the rest: an attack that begins now finds them there.
    let half = open.len() / 2;
    protect(&mut open, half, |_| Some(()));

    let (size, victim) = first_to_go(&open)?;
    (size > newcomers).then_some(victim.conn)
}

/// The candidate that is alone in this.
fn only(candidates: &[Candidate], is: impl Fn(&Candidate) -> bool) -> Option<ConnId> {
    let mut found = candidates.iter().filter(|candidate| is(candidate));
    let first = found.next()?;
    if found.next().is_none() { Some(first.conn) } else { None }
}

/// Takes out the `most` candidates of the smallest rank, of equals the eldest. Those without a
/// rank have no such merit.
fn protect<R: Ord>(open: &mut Vec<InGroup>, most: usize, rank: impl Fn(&InGroup) -> Option<R>) {
    let most = most.min(open.iter().filter(|it| rank(it).is_some()).count());
    let Some(last) = most.checked_sub(1) else { return };
    open.select_nth_unstable_by_key(last, |it| {
        let (rank, (_, candidate)) = (rank(it), it);
        (rank.is_none(), rank, Reverse(candidate.age), candidate.conn)
    });
    open.drain(..most);
}

/// The youngest of the largest group; of equally large ones, the youngest of all their members.
fn first_to_go(open: &[InGroup]) -> Option<InGroup> {
    open.iter().max_by_key(|(size, it)| (*size, Reverse(it.age), it.conn)).copied()
}

/// Connections by network group, and which group has the most. A change costs O(log n) and a pass
/// over the members of one group.
#[derive(Default, Debug)]
pub(crate) struct Crowd {
    /// The members of each group as they came, with when: arrivals are counted.
    groups: BTreeMap<Group, VecDeque<(u64, ConnId)>>,
    /// Groups by size; of equally large ones the one with the eldest member is last.
    by_size: BTreeSet<(usize, Reverse<u64>, Group)>,
    arrivals: u64,
    len: usize,
}

impl Crowd {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn add(&mut self, group: Group, conn: ConnId) {
        self.arrivals += 1;
        let arrival = (self.arrivals, conn);
        self.change(group, |members| members.push_back(arrival));
    }

    /// Somebody who is not here may go, too.
    pub(crate) fn remove(&mut self, group: Group, conn: ConnId) {
        self.change(group, |members| members.retain(|(_, member)| *member != conn));
    }

    /// Whether no group has more members than this one.
    pub(crate) fn is_largest(&self, group: Group) -> bool {
        let size = self.groups.get(&group).map_or(0, VecDeque::len);
        self.by_size.last().is_none_or(|(largest, ..)| size >= *largest)
    }

    /// The eldest of the largest group; of equally large ones, the eldest of all their members.
    pub(crate) fn first_to_go(&self) -> Option<ConnId> {
        let (_, _, group) = self.by_size.last()?;
        self.groups[group].front().map(|(_, conn)| *conn)
    }

    fn change(&mut self, group: Group, change: impl FnOnce(&mut VecDeque<(u64, ConnId)>)) {
        let members = self.groups.entry(group).or_default();
        let rank = |members: &VecDeque<(u64, ConnId)>| {
            members.front().map(|(eldest, _)| (members.len(), Reverse(*eldest), group))
        };
        if let Some(before) = rank(members) {
            self.by_size.remove(&before);
            self.len -= before.0;
        }
        change(members);
        match rank(members) {
            Some(after) => {
                self.len += after.0;
                self.by_size.insert(after);
            }
            None => {
                self.groups.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::address::Locality;

    fn group(n: u16) -> Group {
        let [a, b] = n.to_be_bytes();
        Locality::Internet.group((Ipv4Addr::new(a, b, 0, 1), 1).into())
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Nothing is known of it but its age.
    fn plain(index: u32, in_group: u16, age: u64) -> Candidate {
        Candidate {
            conn: ConnId::new(index, 1),
            group: group(in_group),
            ping: None,
            age: secs(age),
            last_block: None,
            last_transaction: None,
            discouraged: false,
            kept: false,
        }
    }

    fn group_sizes(candidates: &[Candidate]) -> BTreeMap<Group, usize> {
        let mut sizes = BTreeMap::new();
        for candidate in candidates {
            *sizes.entry(candidate.group).or_default() += 1;
        }
        sizes
    }

    fn victim(candidates: &[Candidate], newcomer: u16) -> Option<u32> {
        pick_victim(candidates.to_vec(), group(newcomer)).map(ConnId::index)
    }

    #[test]
    fn the_youngest_of_the_largest_group_goes() {
        let mut house: Vec<_> = (0..20).map(|n| plain(n, n as u16, 100 + u64::from(n))).collect();
        house.extend((20..30).map(|n| plain(n, 99, 50 + u64::from(n))));
        house.push(plain(30, 7, 1));
        assert_eq!(victim(&house, 200), Some(20), "30 is younger, and its group is smaller");
    }

    #[test]
    fn the_eldest_half_stays_even_in_the_largest_group() {
        let mut house: Vec<_> = (0..10).map(|n| plain(n, 99, 1_000)).collect();
        house.extend((10..20).map(|n| plain(n, n as u16, u64::from(n))));
        assert_eq!(victim(&house, 99), None, "the others' groups are not larger");
        assert_eq!(victim(&house, 200), Some(10), "the youngest");
        house.push(plain(20, 99, 900));
        assert_eq!(victim(&house, 200), Some(20), "eleven are more than half of all");
    }

    #[test]
    fn a_newcomer_of_the_largest_group_is_refused() {
        let house: Vec<_> = (0..40).map(|n| plain(n, (n / 4) as u16, 100)).collect();
        assert_eq!(victim(&house, 3), None, "four are as many as anybody has");
        assert!(victim(&house, 99).is_some());
        assert_eq!(victim(&[], 3), None);
    }

    #[test]
    fn the_discouraged_go_first_whoever_comes() {
        let mut house: Vec<_> = (0..40).map(|n| plain(n, 1, 100 + u64::from(n))).collect();
        house[39].discouraged = true;
        house[39].ping = Some(secs(0));
        assert_eq!(victim(&house, 1), Some(39), "the eldest, with the best ping");
        house[39].kept = true;
        assert_eq!(victim(&house, 1), None);
        assert_eq!(victim(&house, 2), Some(0));
    }

    #[test]
    fn the_last_useful_one_stays_even_if_it_is_discouraged() {
        let mut house: Vec<_> = (0..40).map(|n| plain(n, 1, 100)).collect();
        house[5].discouraged = true;
        house[5].last_block = Some(secs(9_999));
        assert_ne!(victim(&house, 2), Some(5));
        house[6].last_block = Some(secs(1));
        assert_eq!(victim(&house, 2), Some(5), "there is another one");
    }

    #[test]
    fn each_merit_protects_as_many_as_it_says() {
        // The youngest 8, 4 and 4 have a merit each, and so none of them goes.
        let mut house: Vec<_> = (0..200).map(|n| plain(n, 1, u64::from(n))).collect();
        for n in 0..8 {
            house[n].ping = Some(secs(1));
            house[n + 8].last_transaction = Some(secs(n as u64));
            house[n + 16].last_block = Some(secs(n as u64));
        }
        house[150].ping = Some(secs(2));
        assert_eq!(victim(&house, 2), Some(12), "the fifth that brought a transaction");
        house[150].ping = Some(Duration::ZERO);
        assert_eq!(victim(&house, 2), Some(0), "the youngest of eight equals");
    }

    #[test]
    fn a_small_house_can_still_change() {
        let mut house: Vec<_> = (0..8).map(|n| plain(n, 1, u64::from(n))).collect();
        for (n, candidate) in house.iter_mut().enumerate() {
            candidate.ping = Some(secs(n as u64));
            candidate.last_block = Some(secs(n as u64));
        }
        assert!(victim(&house, 2).is_some());
        assert_eq!(victim(&house[..1], 2), None, "the last one is useful");
    }

    #[test]
    fn the_eldest_of_the_largest_group_leaves_a_crowd_first() {
        let mut crowd = Crowd::default();
        let conn = |index| ConnId::new(index, 1);
        assert!(crowd.first_to_go().is_none() && crowd.is_largest(group(1)));
        for (index, of) in [(0, 1), (1, 2), (2, 3), (3, 2), (4, 3)] {
            crowd.add(group(of), conn(index));
        }
        assert_eq!((crowd.len(), crowd.first_to_go()), (5, Some(conn(1))), "1 is older than 2");
        assert!(crowd.is_largest(group(2)) && crowd.is_largest(group(3)));
        assert!(!crowd.is_largest(group(1)) && !crowd.is_largest(group(9)));
        crowd.remove(group(2), conn(1));
        assert_eq!(crowd.first_to_go(), Some(conn(2)));
        crowd.remove(group(3), conn(2));
        crowd.remove(group(3), conn(2));
        assert_eq!((crowd.len(), crowd.first_to_go()), (3, Some(conn(0))));
        for (index, of) in [(0, 1), (3, 2), (4, 3)] {
            crowd.remove(group(of), conn(index));
        }
        assert_eq!((crowd.len(), crowd.groups.len(), crowd.by_size.len()), (0, 0, 0));
    }

    fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let time = || prop::option::of((0..20_u64).prop_map(secs));
        let flags = (prop::bool::weighted(0.02), prop::bool::weighted(0.1));
        let one = (0..12_u16, time(), 0..30_u64, time(), time(), flags);
        prop::collection::vec(one, 0..120).prop_map(|all| {
            let one = |(n, (of, ping, age, last_block, last_transaction, flags))| {
                let ((discouraged, kept), plain) = (flags, plain(n, of, age));
                Candidate { ping, last_block, last_transaction, discouraged, kept, ..plain }
            };
            (0..).zip(all).map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn who_is_protected_never_goes(house in any_candidates(), newcomer in 0..14_u16) {
            let Some(gone) = victim(&house, newcomer) else { return Ok(()) };
            let gone = house[gone as usize];
            let spared = [
                only(&house, |it| it.last_block.is_some()),
                only(&house, |it| it.last_transaction.is_some()),
            ];
            let mut open = house.clone();
            open.retain(|it| !it.kept && !spared.contains(&Some(it.conn)));
            prop_assert!(open.contains(&gone));
            if open.iter().any(|it| it.discouraged) {
                prop_assert!(gone.discouraged);
                return Ok(());
            }
            open.retain(|it| it.conn != gone.conn);
            let is_beaten = |merit: fn(&Candidate) -> Option<Duration>| {
                let as_good = |it| merit(it).is_some() && merit(it) <= merit(&gone);
                merit(&gone).is_none() || open.iter().any(as_good)
            };
            prop_assert!(is_beaten(|it| it.ping));
            prop_assert!(is_beaten(|it| it.last_transaction));
            prop_assert!(is_beaten(|it| it.last_block));
            // Of five candidates the merits leave two, and age protects one of them.
            prop_assert!(open.len() < 4 || open.iter().any(|it| it.age >= gone.age));
            let sizes = group_sizes(&house);
            let own = sizes.get(&group(newcomer)).copied().unwrap_or(0);
            prop_assert!(sizes[&gone.group] > own);
        }

        #[test]
        fn the_order_of_the_candidates_does_not_matter(
            (house, shuffled) in any_candidates()
                .prop_flat_map(|house| (Just(house.clone()), Just(house).prop_shuffle())),
            newcomer in 0..14_u16,
        ) {
            prop_assert_eq!(victim(&house, newcomer), victim(&shuffled, newcomer));
        }

        /// A party with one group, any number of addresses, the best pings and all the news, comes
        /// again and again: it gets no more places than the largest group of others had, and takes
        /// none from a group that is not larger than its own.
        #[test]
        fn one_group_cannot_take_the_house(
            honest in prop::collection::vec(0..12_u16, 20..60),
            free in 0..40_usize,
        ) {
            const ATTACKER: u16 = 99;
            let old = |(n, of): (u32, &u16)| plain(n, *of, 1_000);
            let mut house: Vec<_> = (0..).zip(&honest).map(old).collect();
            let largest = group_sizes(&house).into_values().max().unwrap_or(0);
            let places = house.len() + free;
            for n in 0..200 {
                if house.len() == places {
                    let Some(gone) = victim(&house, ATTACKER) else { continue };
                    let sizes = group_sizes(&house);
                    let own = sizes.get(&group(ATTACKER)).copied().unwrap_or(0);
                    let at = house.iter().position(|it| it.conn.index() == gone).unwrap();
                    prop_assert!(sizes[&house[at].group] > own);
                    house.swap_remove(at);
                }
                house.push(Candidate {
                    ping: Some(Duration::ZERO),
                    last_block: Some(Duration::ZERO),
                    last_transaction: Some(Duration::ZERO),
                    ..plain(1_000 + n, ATTACKER, 0)
                });
            }
            let taken = house.iter().filter(|it| it.group == group(ATTACKER)).count();
            prop_assert!(taken <= free.max(largest), "{taken} of {places}");
            if free >= largest {
                let stayed = house.iter().filter(|it| it.age == secs(1_000)).count();
                prop_assert_eq!(stayed, honest.len(), "who was there is still there");
            }
        }
    }
}
