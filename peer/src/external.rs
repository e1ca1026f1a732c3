//! Our own address, as others see it.
//!
//! Every Hand says where its sender believes to have reached us. One of them proves nothing, so the
//! endpoint lets them vote: one vote for each network group. To make us believe a wrong address a
//! party needs most of the groups that told us lately; and then it has made us tell a wrong
//! address, no more. At most [`EXTERNAL_VOTES_MAX`] votes are kept.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::address::Group;

/// Groups whose vote is remembered; the vote that was cast longest ago goes, so that after a change
/// of our address the new one wins after some thirty newcomers.
pub(crate) const EXTERNAL_VOTES_MAX: usize = 64;

/// Fewest groups that must agree. Guess: more than a single party has by accident.
pub(crate) const EXTERNAL_AGREED_MIN: usize = 3;

/// Votes for our address, at most one for each group that tells, the latest counting.
#[derive(Debug, Default)]
pub(crate) struct ExternalAddress {
    /// The latest vote is last.
    votes: VecDeque<(Group, IpAddr)>,
}

impl ExternalAddress {
    /// A peer of this group says that it reached us here. The caller has seen to it that this is an
    /// address at which somebody can be reached.
    pub(crate) fn hear(&mut self, ip: IpAddr, teller: Group) {
        self.votes.retain(|(group, _)| *group != teller);
        if self.votes.len() == EXTERNAL_VOTES_MAX {
            self.votes.pop_front();
        }
        self.votes.push_back((teller, ip));
    }

    /// What at least [`EXTERNAL_AGREED_MIN`] groups, and more than half of those that told, agree
    /// on.
    pub(crate) fn agreed(&self) -> Option<IpAddr> {
        // Boyer and Moore 1981: whoever has a majority survives when unequal votes cancel out.
        let mut survivor = (None, 0_usize);
        for &(_, ip) in &self.votes {
            survivor = match survivor {
                (_, 0) => (Some(ip), 1),
                (Some(held), lead) if held == ip => (Some(held), lead + 1),
                (held, lead) => (held, lead - 1),
            };
        }
        let agreed = survivor.0?;
        let count = self.votes.iter().filter(|(_, ip)| *ip == agreed).count();
        let wins = count >= EXTERNAL_AGREED_MIN && 2 * count > self.votes.len();
        wins.then_some(agreed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::address::Locality;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn teller(n: u16) -> Group {
        let [a, b] = n.to_be_bytes();
        Locality::Internet.group((Ipv4Addr::new(a, b, 0, 1), 1).into())
    }

    fn heard(votes: &[(&str, u16)]) -> Option<IpAddr> {
        let mut external = ExternalAddress::default();
        for &(text, from) in votes {
            external.hear(ip(text), teller(from));
        }
        external.agreed()
    }

    #[test]
    fn three_groups_and_more_than_half_decide() {
        let (ours, wrong) = ("8.8.8.8", "9.9.9.9");
        assert_eq!(heard(&[(ours, 1), (ours, 2)]), None);
        assert_eq!(heard(&[(ours, 1), (ours, 2), (ours, 3)]), Some(ip(ours)));
        let split = [(ours, 1), (ours, 2), (ours, 3), (wrong, 4), (wrong, 5), (wrong, 6)];
        assert_eq!(heard(&split), None, "half is not more than half");
        assert_eq!(heard(&split[..5]), Some(ip(ours)));
    }

    #[test]
    fn a_group_has_one_vote_and_may_change_its_mind() {
        let (ours, wrong) = ("8.8.8.8", "9.9.9.9");
        assert_eq!(heard(&[(wrong, 1), (wrong, 1), (wrong, 1), (wrong, 1)]), None);
        let changed = [(wrong, 1), (wrong, 2), (ours, 3), (ours, 2), (ours, 1)];
        assert_eq!(heard(&changed), Some(ip(ours)));
    }

    #[test]
    fn old_votes_give_way() {
        let mut external = ExternalAddress::default();
        for from in 0..200 {
            external.hear(ip("8.8.8.8"), teller(from));
        }
        assert_eq!(external.votes.len(), EXTERNAL_VOTES_MAX);
        for from in 200..232 {
            external.hear(ip("9.9.9.9"), teller(from));
        }
        assert_eq!(external.agreed(), None, "32 to 32");
        external.hear(ip("9.9.9.9"), teller(232));
        assert_eq!(external.agreed(), Some(ip("9.9.9.9")));
    }

    proptest! {
        /// The same as counting the latest votes one by one.
        #[test]
        fn a_majority_is_found_if_there_is_one(
            told in prop::collection::vec((1..4_u8, 0..20_u16), 0..100),
        ) {
            let mut external = ExternalAddress::default();
            let mut latest = std::collections::BTreeMap::new();
            for (last, from) in told {
                let ip = IpAddr::from([8, 8, 8, last]);
                external.hear(ip, teller(from));
                latest.insert(from, ip);
            }
            let count = |ip: &IpAddr| latest.values().filter(|it| *it == ip).count();
            let wins = |ip: &&IpAddr| count(ip) >= 3 && 2 * count(ip) > latest.len();
            prop_assert_eq!(external.agreed(), latest.values().find(wins).copied());
        }
    }
}
