//! Min-wise samplers: a few addresses of all that were ever heard of, each as likely as any other.
//!
//! Called by the machines of the overlay, which offer every address that they hear of. A view keeps
//! what is near and recent, and forgets the other half of a network soon after it split; a sampler
//! keeps the address whose keyed hash is the least, however often or seldom that was told, and so
//! still knows the other half when it comes back (Bortnikov et al., Brahms, PODC 2008).
//!
//! Invariant: what is kept depends on the keys and on the *set* of addresses offered, never on
//! their order or number. Nobody who does not know the keys can aim at a sampler, and an address is
//! not given up because it does not answer, but only because it has not for days.

use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::address::{Locality, canonical};
use crate::rng::Rng;
use crate::time::Instant;

/// An address that was unreachable for so long is given up. Guess: a maintenance, a weekend, or a
/// split of the network ends sooner.
pub const UNREACHABLE_MAX: Duration = Duration::from_secs(3 * 86_400);

/// Most samplers of one node.
pub const SAMPLERS_MAX: usize = 64;

/// A fixed number of samplers, each with a secret key of its own.
#[derive(Debug)]
pub struct Samplers {
    samplers: Vec<Sampler>,
    /// Groups first: the least group, and of it the least address.
    groups: Option<Locality>,
    /// Draws the keys.
    rng: Rng,
}

#[derive(Debug)]
struct Sampler {
    key: [u64; 2],
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    rank: (u64, u64),
    addr: SocketAddr,
    /// When it did not answer first, since it last did.
    failing_since: Option<Instant>,
}

impl Samplers {
    /// Empty samplers, at most [`SAMPLERS_MAX`]: each will keep one of all addresses with the same
    /// odds. Eight to sixteen are usual.
    #[must_use]
    pub fn new(count: usize, rng: Rng) -> Self {
        let mut samplers = Self { samplers: Vec::new(), groups: None, rng };
        for _ in 0..count.min(SAMPLERS_MAX) {
            let key = samplers.key();
            samplers.samplers.push(Sampler { key, kept: None });
        }
        samplers
    }

    /// The same, but each *group* of addresses has the same odds, and then each address of it: many
    /// addresses are cheap, many groups are not.
    #[must_use]
    pub fn by_group(count: usize, locality: Locality, rng: Rng) -> Self {
        Self { groups: Some(locality), ..Self::new(count, rng) }
    }

    /// Somebody spoke of this address.
    pub fn offer(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        let group = self.groups.map(|locality| locality.group(addr).bytes());
        for sampler in &mut self.samplers {
            let rank = (group.map_or(0, |group| sampler.hash(&group)), sampler.hash(&bytes(addr)));
            if sampler.kept.as_ref().is_none_or(|kept| rank < kept.rank) {
                sampler.kept = Some(Kept { rank, addr, failing_since: None });
            }
        }
    }

    /// What is kept; an address as often as it is.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.samplers.iter().filter_map(|sampler| Some(sampler.kept.as_ref()?.addr))
    }

    /// One of what is kept, drawn from the caller's generator.
    pub fn pick(&self, rng: &mut Rng) -> Option<SocketAddr> {
        let count = self.iter().count() as u64;
        if count == 0 { None } else { self.iter().nth(rng.below(count) as usize) }
    }

    /// It answered.
    pub fn reached(&mut self, addr: SocketAddr) {
        for kept in self.kept_mut(addr) {
            kept.failing_since = None;
        }
    }

    /// It did not answer. Given up when it has not for [`UNREACHABLE_MAX`]; whether it was.
    pub fn failed(&mut self, now: Instant, addr: SocketAddr) -> bool {
        let mut overdue = false;
        for kept in self.kept_mut(addr) {
            let since = *kept.failing_since.get_or_insert(now);
            overdue |= now.since(since) >= UNREACHABLE_MAX;
        }
        if overdue {
            self.replace(addr);
        }
        overdue
    }

    /// Gives an address up at once: the samplers that keep it get new keys, and begin anew with
    /// what is offered next. [`failed`](Self::failed) says when it is time.
    pub fn replace(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        for index in 0..self.samplers.len() {
            if self.samplers[index].kept.as_ref().is_some_and(|kept| kept.addr == addr) {
                let key = self.key();
                self.samplers[index] = Sampler { key, kept: None };
            }
        }
    }

    fn kept_mut(&mut self, addr: SocketAddr) -> impl Iterator<Item = &mut Kept> {
        let addr = canonical(addr);
        let kept = self.samplers.iter_mut().filter_map(|sampler| sampler.kept.as_mut());
        kept.filter(move |kept| kept.addr == addr)
    }

    fn key(&mut self) -> [u64; 2] {
        [self.rng.u64(), self.rng.u64()]
    }
}

impl Sampler {
    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// 19 bytes that no other address has, and one more than any group.
fn bytes(addr: SocketAddr) -> [u8; 19] {
    let ip = match addr {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
        SocketAddr::V6(v6) => v6.ip().octets(),
    };
    let mut bytes = [0; 19];
    bytes[..16].copy_from_slice(&ip);
    bytes[16..18].copy_from_slice(&addr.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    fn rng(seed: u8) -> Rng {
        Rng::from_seed([seed; 32])
    }

    /// Addresses of the group `a.b`.
    fn addr(a: u8, b: u8, n: u16) -> SocketAddr {
        let [high, low] = n.to_be_bytes();
        ([a, b, high, low], 3414).into()
    }

    fn days(days: u64) -> Instant {
        Instant::START.after(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn what_was_heard_a_thousand_times_is_no_likelier_than_what_was_heard_once() {
        let mut kept_loud = 0;
        for seed in 0..100 {
            let mut samplers = Samplers::new(8, rng(seed));
            for n in 0..100 {
                samplers.offer(addr(9, 9, n));
                (0..20).for_each(|_| samplers.offer(addr(9, 9, 0)));
            }
            kept_loud += samplers.iter().filter(|kept| *kept == addr(9, 9, 0)).count();
        }
        assert!(kept_loud < 25, "8 are expected, not {kept_loud}");
    }

    #[test]
    fn a_crowd_of_one_group_counts_as_one() {
        let (mut plain, mut grouped) = (0, 0);
        for seed in 0..100 {
            let mut by_addr = Samplers::new(8, rng(seed));
            let mut by_group = Samplers::by_group(8, Locality::Internet, rng(seed));
            for n in 0..400 {
                let (crowd, other) = (addr(66, 6, n), addr((n % 20) as u8 + 1, 1, 1));
                [crowd, other].into_iter().for_each(|one| {
                    by_addr.offer(one);
                    by_group.offer(one);
                });
            }
            let of_crowd = |kept: &SocketAddr| *kept >= addr(66, 6, 0);
            plain += by_addr.iter().filter(of_crowd).count();
            grouped += by_group.iter().filter(of_crowd).count();
        }
        assert!(plain > 700 && grouped < 80, "{plain} and {grouped} of 800");
    }

    #[test]
    fn an_address_is_given_up_after_days_only() {
        let mut samplers = Samplers::new(4, rng(1));
        let (one, other) = (addr(1, 1, 1), addr(2, 2, 2));
        samplers.offer(one);
        assert!(!samplers.failed(days(0), one) && !samplers.failed(days(2), one));
        samplers.reached(one);
        assert!(!samplers.failed(days(4), one), "it answered in between");
        assert!(!samplers.failed(days(6), one) && !samplers.failed(days(99), other));
        assert_eq!(samplers.iter().collect::<Vec<_>>(), [one; 4]);
        assert!(samplers.failed(days(7), one));
        assert_eq!(samplers.iter().count(), 0);
        samplers.offer(other);
        assert_eq!(samplers.iter().collect::<Vec<_>>(), [other; 4]);
    }

    #[test]
    fn nothing_is_picked_from_nothing() {
        let mut dice = rng(2);
        assert_eq!(Samplers::new(0, rng(1)).pick(&mut dice), None);
        let mut samplers = Samplers::new(2, rng(1));
        assert_eq!(samplers.pick(&mut dice), None);
        samplers.offer(addr(1, 1, 1));
        assert_eq!(samplers.pick(&mut dice), Some(addr(1, 1, 1)));
        assert_eq!(Samplers::new(usize::MAX, rng(1)).samplers.len(), SAMPLERS_MAX);
    }

    proptest! {
        #[test]
        fn order_and_repetition_mean_nothing(offers in prop::collection::vec(0..50_u16, 1..200)) {
            let (mut one, mut other) = (Samplers::new(8, rng(3)), Samplers::new(8, rng(3)));
            let mut sorted = offers.clone();
            sorted.sort_unstable();
            sorted.dedup();
            offers.iter().for_each(|n| one.offer(addr(5, 5, *n)));
            sorted.iter().for_each(|n| other.offer(addr(5, 5, *n)));
            prop_assert!(one.iter().eq(other.iter()));
        }
    }
}
