//! The numbers of HyParView.

use std::time::Duration;

use codec::limits::SHUFFLE_ADDRS_MAX;

use crate::address::Locality;
use crate::overlay::{RulesError, SAMPLERS_MAX};

/// Most hops of any walk: what comes with more is cut to our own rules anyway.
pub const WALK_HOPS_MAX: u8 = 16;

/// Largest active view: beyond it the views are searched for too long.
const ACTIVE_MAX: usize = 256;

/// Largest passive view, six times that and some.
const PASSIVE_MAX: usize = 2_048;

/// How a node behaves in the overlay. Nodes of different rules get on with each other: larger views
/// make a node that many know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HyParViewRules {
    /// Links that carry data. Default 5: log10 N + 1 with N = 10,000, as in the paper (section
    /// 5.1).
    pub active_max: usize,
    /// Addresses in reserve. Default 30: six times as many, as in the paper.
    pub passive_max: usize,
    /// Hops that a newcomer is carried on before it is taken in. Default 6, as in the paper (ARWL).
    pub join_walk: u8,
    /// Hops left at which a newcomer is put in reserve on the way. Default 3, as in the paper
    /// (PRWL).
    pub passive_walk: u8,
    /// Hops of a shuffle. Default 6, as in the paper.
    pub shuffle_walk: u8,
    /// Addresses of the active view in a shuffle. Default 3, as in the paper (ka).
    pub shuffle_active: usize,
    /// Addresses of the passive view in a shuffle. Default 4, as in the paper (kp).
    pub shuffle_passive: usize,
    /// Time between two shuffles, drawn anew from a quarter less to a quarter more. Default 60 s,
    /// as iroh-gossip, where it is a guess: the paper counts cycles and tells no seconds. What is
    /// lost is replaced at once and waits for no shuffle.
    pub shuffle_period: Duration,
    /// How long a connection may take to come. Default 5 s: three attempts of TCP (at 0, 1 and 3 s)
    /// and a round trip.
    pub dial_timeout: Duration,
    /// How long an answer may take. Default 3 s: a round trip of half a second, and one
    /// retransmission each way of the first second that RFC 6298 waits. iroh-gossip's 500 ms, a
    /// guess, is over before a single lost segment is repeated; and who gives up early tears down a
    /// link that the other has just made.
    pub reply_timeout: Duration,
    /// Min-wise samplers. Default 8: with as many, simulated networks grew together again after
    /// each split of up to 200 cycles, and without after none of 20.
    pub samplers: usize,
    /// One shuffle in so many contacts a sampler, at random. Default 20, as in that simulation: a
    /// node exchanges one link in 20 minutes for it.
    pub sampler_every: u32,
    /// Least time between two sweeps through the contacts while fewer than half of the links stand;
    /// it doubles each time. Default 1 s. Guess.
    pub rejoin_min: Duration,
    /// Most of it. Default 300 s. Guess: one dial a node in five minutes, when a network of
    /// thousands waits for its contacts, is borne by them.
    pub rejoin_max: Duration,
    /// Refusals between two shuffles after which a node with half of its links or more asks nobody
    /// else. Default 6. Guess: where nearly all are full, the search for a last link would ask the
    /// whole passive view again and again.
    pub refusals_max: usize,
    /// Passive entries of one group (IPv4 /16) from which on they make room for each other first.
    /// Default 3: a tenth. It binds only where others compete: a network of one group fills its
    /// views all the same. Guess.
    pub group_max: usize,
    /// What is reachable, and which addresses are of one group.
    pub locality: Locality,
}

impl Default for HyParViewRules {
    fn default() -> Self {
        Self {
            active_max: 5,
            passive_max: 30,
            join_walk: 6,
            passive_walk: 3,
            shuffle_walk: 6,
            shuffle_active: 3,
            shuffle_passive: 4,
            shuffle_period: Duration::from_secs(60),
            dial_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(3),
            samplers: 8,
            sampler_every: 20,
            rejoin_min: Duration::from_secs(1),
            rejoin_max: Duration::from_secs(300),
            refusals_max: 6,
            group_max: 3,
            locality: Locality::Internet,
        }
    }
}

impl HyParViewRules {
    /// The defaults with an active view of `active_max`, and all that the paper ties to it: six
    /// times as many passive entries, of which a tenth may be of one group.
    #[must_use]
    pub fn sized(active_max: usize) -> Self {
        let passive_max = active_max.saturating_mul(6).min(PASSIVE_MAX);
        let group_max = (passive_max / 10).max(1);
        Self { active_max, passive_max, group_max, ..Self::default() }
    }

    /// Whether a node can live by these rules.
    ///
    /// # Errors
    ///
    /// [`RulesError`] names the first that it cannot.
    pub fn check(&self) -> Result<(), RulesError> {
        let milli = Duration::from_millis(1);
        let walks = 1..=WALK_HOPS_MAX;
        let shuffled = self.shuffle_active.saturating_add(self.shuffle_passive);
        let rules = [
            ("active_max", (2..=ACTIVE_MAX).contains(&self.active_max), "2 to 256"),
            ("passive_max", (1..=PASSIVE_MAX).contains(&self.passive_max), "1 to 2,048"),
            ("join_walk", walks.contains(&self.join_walk), "1 to 16"),
            ("passive_walk", self.passive_walk <= self.join_walk, "at most join_walk"),
            ("shuffle_walk", walks.contains(&self.shuffle_walk), "1 to 16"),
            ("shuffle_active + shuffle_passive", shuffled <= SHUFFLE_ADDRS_MAX, "at most 32"),
            ("shuffle_period", self.shuffle_period >= milli, "at least a millisecond"),
            ("dial_timeout", self.dial_timeout >= milli, "at least a millisecond"),
            ("reply_timeout", self.reply_timeout >= milli, "at least a millisecond"),
            ("samplers", self.samplers <= SAMPLERS_MAX, "at most 64"),
            ("sampler_every", self.sampler_every > 0, "at least 1"),
            ("rejoin_min", self.rejoin_min >= milli, "at least a millisecond"),
            ("rejoin_max", self.rejoin_max >= self.rejoin_min, "at least rejoin_min"),
            ("group_max", self.group_max > 0, "at least 1"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, must)) => Err(RulesError { name, must }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_lived_by_and_nonsense_is_named() {
        assert_eq!(HyParViewRules::default().check(), Ok(()));
        for active in [2, 5, 150, 256] {
            assert_eq!(HyParViewRules::sized(active).check(), Ok(()), "{active}");
        }
        let name = |rules: HyParViewRules| rules.check().unwrap_err().name;
        assert_eq!(name(HyParViewRules::sized(1)), "active_max");
        assert_eq!(name(HyParViewRules::sized(usize::MAX)), "active_max");
        let rules = HyParViewRules { shuffle_active: 30, ..HyParViewRules::default() };
        assert_eq!(name(rules), "shuffle_active + shuffle_passive");
        let rules = HyParViewRules { shuffle_period: Duration::ZERO, ..HyParViewRules::default() };
        assert_eq!(rules.check().unwrap_err().to_string(), {
            "shuffle_period must be at least a millisecond"
        });
        let rules = HyParViewRules { sampler_every: 0, ..HyParViewRules::default() };
        assert_eq!(name(rules), "sampler_every");
    }
}
