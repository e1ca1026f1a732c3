//! How a cluster probes, suspects and tells.

use std::ops::RangeInclusive;
use std::time::Duration;

/// On what news ride.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rides {
    /// On probes, which this machine sends of its own accord.
    Probes,
    /// On what the application sends anyway, and never alone: this machine sends nothing.
    ///
    /// Nothing is repaired then. There is no comparison of what is known, so that an event goes as
    /// far as its λ·⌈log10(n + 1)⌉ copies and no further: an idle node, which nobody talks to while
    /// the event is told, never learns of it, however much is said later. Nor is anybody found
    /// dead, and there is no member but those who spoke or were spoken of. For hints that may be
    /// missed.
    Application,
}

/// The rules of a [`PushPull`](super::PushPull).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushPullRules {
    /// On what news ride.
    pub rides: Rides,
    /// From one probe to the next. 1 s: memberlist's LAN profile, as are the next six.
    pub period: Duration,
    /// How long an answer is waited for before others are asked to probe. 500 ms.
    pub timeout: Duration,
    /// How many others are asked. 3.
    pub indirect: usize,
    /// News are told λ·⌈log10(n + 1)⌉ times by each who hears them, n members, and fewer than ten
    /// as ten. 4: everybody learns up to a loss of 42 %, where 2 never suffices. Why as ten: told
    /// four times by each of nine, one of two hundred had to wait for a comparison.
    pub lambda: u32,
    /// A suspect is given at least this many periods, times log10 n, to deny. 4.
    pub suspicion: u32,
    /// And at most so many times as long, unless others confirm (Lifeguard). 6.
    pub suspicion_factor: u32,
    /// Highest score of the local health: so many times as long a node that hears others badly
    /// waits (Lifeguard). 8.
    pub health_max: u32,
    /// Besides probes, news are told to so many members, so often. 3 each 200 ms in memberlist;
    /// `None`: on probes alone, which is what a probe a period costs anyway; a node that probes
    /// less often, because it hears others badly, still tells somebody a period.
    pub tells: Option<(Duration, usize)>,
    /// From one comparison of what is known to the next, with one member: what makes sure that
    /// everybody learns everything. 30 s.
    pub sync_period: Duration,
    /// From one attempt to reach a member that is thought dead to the next: what joins the halves
    /// of a cluster that was split. 65 s, foca's.
    pub recall_period: Duration,
    /// How long the dead are remembered, so that old news do not revive them. 24 h, foca's.
    pub remember_dead: Duration,
    /// How long an event is remembered and told to those who lack it: two comparisons. It is taken
    /// until it is three times as old, since those who heard it later still tell of it, and five
    /// minutes more, by which clocks may differ; its id is known as long.
    pub remember_events: Duration,
    /// Members at most, the dead included; beyond it the longest dead makes room, and if there is
    /// none a newcomer is passed over. At about 200 bytes each: 3 MB.
    pub members_max: usize,
    /// Events remembered at most, at about 1.2 kB each: 5 MB; and eight times as many ids of those
    /// that were, at some 40 bytes each.
    pub events_max: usize,
    /// How many members there are, where this node knows only some of them; `None`: as many as it
    /// knows. It decides how often news are told, and how long a suspect has.
    ///
    /// That all learn everything holds where acquaintance is mutual, as it is where everybody has
    /// places enough. Who has no place for a member is told things by it, and answers it, but asks
    /// it nothing, tells it nothing and does not miss it when it is dead.
    pub cluster_size: Option<usize>,
}

impl Default for PushPullRules {
    fn default() -> Self {
        Self {
            rides: Rides::Probes,
            period: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            indirect: 3,
            lambda: 4,
            suspicion: 4,
            suspicion_factor: 6,
            health_max: 8,
            tells: Some((Duration::from_millis(200), 3)),
            sync_period: Duration::from_secs(30),
            recall_period: Duration::from_secs(65),
            remember_dead: Duration::from_secs(86_400),
            remember_events: Duration::from_secs(60),
            members_max: 16_384,
            events_max: 4_096,
            cluster_size: None,
        }
    }
}

/// Periods and timeouts that are some. What is made of them, some hundred times as long at most, is
/// a time that can be counted.
const TIMES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3_600);

/// Why rules are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A number of nothing.
    #[error("push_pull: {name} is zero")]
    Zero {
        /// Which one.
        name: &'static str,
    },
    /// A time that no cluster lives by: a node would do nothing else, or never anything.
    #[error("push_pull: {name} of {time:?}: from a millisecond to a year is wanted")]
    Time {
        /// Which one.
        name: &'static str,
        /// What it is.
        time: Duration,
    },
    /// The answers to indirect probes would come after the period.
    #[error("push_pull: a timeout of {timeout:?} leaves others no time in a period of {period:?}")]
    LateTimeout {
        /// The timeout.
        timeout: Duration,
        /// The period.
        period: Duration,
    },
}

impl PushPullRules {
    /// Whether a node can keep them.
    ///
    /// # Errors
    ///
    /// [`RulesError`].
    pub fn check(&self) -> Result<(), RulesError> {
        for (name, time) in [
            ("timeout", self.timeout),
            ("period", self.period),
            ("sync_period", self.sync_period),
            ("recall_period", self.recall_period),
            ("tells", self.tells.map_or(self.period, |(every, _)| every)),
        ] {
            if !TIMES.contains(&time) {
                return Err(RulesError::Time { name, time });
            }
        }
        if self.timeout >= self.period {
            let Self { timeout, period, .. } = *self;
            return Err(RulesError::LateTimeout { timeout, period });
        }
        for (name, is_zero) in [
            ("members_max", self.members_max == 0),
            ("events_max", self.events_max == 0),
            ("suspicion_factor", self.suspicion_factor == 0),
        ] {
            if is_zero {
                return Err(RulesError::Zero { name });
            }
        }
        Ok(())
    }

    /// How often one node tells one piece of news, among so many members.
    #[must_use]
    pub fn times(&self, members: usize) -> u32 {
        let size = self.cluster_size.unwrap_or(members);
        // The digits of n are ⌈log10(n + 1)⌉.
        self.lambda * (size.max(10).ilog10() + 1)
    }

    /// The shortest time that a suspect is given, among so many members.
    pub(super) fn patience(&self, members: usize) -> Duration {
        let digits = (self.cluster_size.unwrap_or(members).max(1) as f64).log10().max(1.0);
        self.period.mul_f64(f64::from(self.suspicion) * digits)
    }

    /// How long a suspect is given whom so many others confirmed, of as many as are expected:
    /// Lifeguard's formula.
    pub(super) fn patience_after(&self, members: usize, confirmed: usize) -> Duration {
        let shortest = self.patience(members);
        let expected = self.confirmations(members);
        if expected == 0 {
            return shortest;
        }
        let longest = shortest * self.suspicion_factor;
        let share = ((confirmed + 1) as f64).ln() / ((expected + 1) as f64).ln();
        longest.saturating_sub((longest - shortest).mul_f64(share)).max(shortest)
    }

    /// How many others are expected to suspect whom one does not hear: two fewer than the
    /// multiplier of the suspicion, none where there are too few.
    pub(super) const fn confirmations(&self, members: usize) -> usize {
        let expected = self.suspicion.saturating_sub(2) as usize;
        // The suspect, its accuser, and at least as many others.
        if members < expected + 2 { 0 } else { expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_patience_grow_with_the_logarithm() {
        let rules = PushPullRules::default();
        let times = [1, 9, 10, 99, 100, 1_000].map(|members| rules.times(members));
        assert_eq!(times, [8, 8, 8, 8, 12, 16]);
        let secs = |members| rules.patience(members).as_secs();
        assert_eq!([1, 10, 100, 1_000].map(secs), [4, 4, 8, 12]);
        // memberlist's table of the formula for two confirmations.
        let after = |confirmed| rules.patience_after(1_000, confirmed).as_secs_f64();
        assert_eq!(after(0), 72.0);
        assert!((after(1) - 34.14).abs() < 0.01, "{}", after(1));
        assert_eq!([after(2), after(3)], [12.0, 12.0]);
        assert_eq!(rules.patience_after(3, 0), Duration::from_secs(4), "nobody could confirm");
    }

    #[test]
    fn rules_that_cannot_be_kept_say_why() {
        let rules = PushPullRules::default();
        assert_eq!(rules.check(), Ok(()));
        let late = PushPullRules { timeout: rules.period, ..rules.clone() };
        assert!(matches!(late.check(), Err(RulesError::LateTimeout { .. })));
        let zero = PushPullRules { members_max: 0, ..rules };
        assert_eq!(zero.check(), Err(RulesError::Zero { name: "members_max" }));
        for time in [Duration::from_nanos(2), Duration::MAX] {
            let wrong = PushPullRules { sync_period: time, ..PushPullRules::default() };
            assert_eq!(wrong.check(), Err(RulesError::Time { name: "sync_period", time }));
        }
    }
}
