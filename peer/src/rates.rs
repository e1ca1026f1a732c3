//! Token buckets: what may be asked of us, and how much we give.
//!
//! Each session holds some, the endpoint those for all peers together, and the engine one for what
//! it reads. Nothing is rounded: a bucket counts in units so small that both a token and a
//! microsecond's worth of refill are whole numbers of them. So over any schedule of calls what was
//! taken is at most `burst` and `amount` for each `per` that passed, and not a token less is given
//! than that.

use std::time::Duration;

use crate::time::Instant;

/// So many in so much time, and at most `burst` at once after a rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens (bytes, messages, addresses) that are refilled in `per`. Zero: nothing ever is.
    pub amount: u64,
    /// The time in which `amount` is refilled, in whole microseconds, at least one.
    pub per: Duration,
    /// What a full bucket holds.
    pub burst: u64,
}

/// A bucket is at most this many bursts in debt; what goes beyond is forgiven. So one charge can
/// neither bar a peer for ever nor be too large to count. With the default rate of answers this is
/// 512 MiB, or eight and a half minutes: longer than a peer waits for anything.
pub(crate) const DEBT_BURSTS_MAX: u64 = 64;

/// 16 bytes of state; the rate is given with each call, and is to be the same in each: after a
/// change of the amount the bucket may be taken for full or for deep in debt. Full at first.
///
/// ```
/// use std::time::Duration;
/// use peer::{Instant, Rate, TokenBucket};
/// let rate = Rate { amount: 2, per: Duration::from_secs(1), burst: 3 };
/// let (mut bucket, now) = (TokenBucket::default(), Instant::START);
/// assert!(bucket.take(3, rate, now) && !bucket.take(1, rate, now));
/// bucket.charge(4, rate, now);
/// assert_eq!(bucket.level(rate, now), -4);
/// assert_eq!(bucket.ready_at(rate, now), now.after(Duration::from_millis(2_500)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TokenBucket {
    /// When the bucket is full again, in microseconds × `rate.amount`. A token costs `rate.per`
    /// microseconds of these units, and each microsecond refills `rate.amount` of them.
    full_at: u128,
}

impl TokenBucket {
    /// Whole tokens that are there now; negative is debt.
    #[must_use]
    pub fn level(&self, rate: Rate, now: Instant) -> i64 {
        let missing = self.missing(rate, now).div_ceil(rate.token());
        let level = i128::from(rate.burst) - i128::try_from(missing).unwrap_or(i128::MAX);
        level.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Takes this much if it is there, whole or not at all.
    pub fn take(&mut self, amount: u64, rate: Rate, now: Instant) -> bool {
        let cost = u128::from(amount) * rate.token();
        let Some(missing) = self.missing(rate, now).checked_add(cost) else { return false };
        if missing > u128::from(rate.burst) * rate.token() {
            return false;
        }
        // Beyond what can be counted lie half a million years at the greatest of rates.
        let Some(full_at) = rate.refilled(now).checked_add(missing) else { return false };
        self.full_at = full_at;
        true
    }

    /// Takes as much of this as is there; answers how much.
    pub fn take_some(&mut self, amount: u64, rate: Rate, now: Instant) -> u64 {
        let full = u128::from(rate.burst) * rate.token();
        let there = full.saturating_sub(self.missing(rate, now)) / rate.token();
        let taken = u128::from(amount).min(there) as u64;
        if self.take(taken, rate, now) { taken } else { 0 }
    }

    /// Takes this much, into debt if need be, up to `DEBT_BURSTS_MAX` (64) bursts.
    pub fn charge(&mut self, amount: u64, rate: Rate, now: Instant) {
        let cost = u128::from(amount) * rate.token();
        let missing = self.missing(rate, now).saturating_add(cost).min(rate.missing_max());
        self.full_at = rate.refilled(now).saturating_add(missing);
    }

    /// Gives back what was charged and not used; the bucket is never more than full.
    pub(crate) fn give_back(&mut self, amount: u64, rate: Rate, now: Instant) {
        let missing = self.missing(rate, now);
        let missing = missing.saturating_sub(u128::from(amount) * rate.token());
        self.full_at = rate.refilled(now).saturating_add(missing);
    }

    /// When the level will be above zero; `now` if it is, and the last of all instants if it will
    /// never be.
    #[must_use]
    pub fn ready_at(&self, rate: Rate, now: Instant) -> Instant {
        let missing = self.missing(rate, now);
        let Some(spare) = rate.burst.checked_sub(1) else { return Instant::from_micros(u64::MAX) };
        rate.refilled_at(missing.saturating_sub(u128::from(spare) * rate.token()), now)
    }

    /// When it will be full; `now` if it is, and the last of all instants if it will never be.
    pub(crate) fn full_at(&self, rate: Rate, now: Instant) -> Instant {
        rate.refilled_at(self.missing(rate, now), now)
    }

    /// Units that a full bucket has more than this one.
    fn missing(&self, rate: Rate, now: Instant) -> u128 {
        self.full_at.saturating_sub(rate.refilled(now)).min(rate.missing_max())
    }
}

impl Rate {
    /// What a token costs, in the units of a bucket.
    fn token(self) -> u128 {
        u128::from(u64::try_from(self.per.as_micros()).unwrap_or(u64::MAX).max(1))
    }

    /// Units refilled from the start until now.
    fn refilled(self, now: Instant) -> u128 {
        u128::from(now.micros()) * u128::from(self.amount)
    }

    /// When so many units will have been refilled.
    fn refilled_at(self, units: u128, now: Instant) -> Instant {
        if units == 0 {
            return now;
        }
        if self.amount == 0 {
            return Instant::from_micros(u64::MAX);
        }
        let wait = u64::try_from(units.div_ceil(u128::from(self.amount))).unwrap_or(u64::MAX);
        Instant::from_micros(now.micros().saturating_add(wait))
    }

    /// The most units that a bucket may be short of.
    fn missing_max(self) -> u128 {
        let tokens = u128::from(self.burst) * (1 + u128::from(DEBT_BURSTS_MAX));
        tokens.saturating_mul(self.token())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn a_bucket_is_sixteen_bytes_and_full_at_any_time_it_is_first_asked() {
        assert_eq!(size_of::<TokenBucket>(), 16);
        let rate = Rate { amount: 500, per: SECOND, burst: 10_000 };
        for micros in [0, 1, 1 << 40, u64::MAX] {
            assert_eq!(TokenBucket::default().level(rate, at(micros)), 10_000);
            assert_eq!(TokenBucket::default().ready_at(rate, at(micros)), at(micros));
        }
    }

    #[test]
    fn what_was_taken_comes_back_to_the_microsecond_and_no_more_than_the_burst() {
        // Three in ten seconds: one each 3,333,333 and a third of a microsecond.
        let rate = Rate { amount: 3, per: 10 * SECOND, burst: 2 };
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(2, rate, at(0)) && !bucket.take(1, rate, at(3_333_333)));
        assert_eq!(bucket.ready_at(rate, at(0)), at(3_333_334));
        assert!(bucket.take(1, rate, at(3_333_334)));
        assert!(!bucket.take(1, rate, at(6_666_666)) && bucket.take(1, rate, at(6_666_667)));
        assert!(bucket.take(1, rate, at(10_000_000)), "three thirds are a whole");
        assert_eq!(bucket.level(rate, at(u64::MAX)), 2);
    }

    #[test]
    fn an_amount_larger_than_the_burst_is_never_taken_whole() {
        let rate = Rate { amount: 1, per: SECOND, burst: 8 };
        let mut bucket = TokenBucket::default();
        assert!(!bucket.take(9, rate, at(u64::MAX)));
        assert_eq!(bucket.take_some(9, rate, at(0)), 8);
        assert_eq!(bucket.take_some(9, rate, at(2_999_999)), 2);
        assert_eq!(bucket.take_some(9, rate, at(2_999_999)), 0);
        assert!(bucket.take(0, rate, at(2_999_999)), "without debt, nothing can always be had");
    }

    #[test]
    fn debt_is_paid_by_waiting_and_is_bounded() {
        let rate = Rate { amount: 1 << 20, per: SECOND, burst: 8 << 20 };
        let mut bucket = TokenBucket::default();
        bucket.charge(10 << 20, rate, at(0));
        assert_eq!(bucket.level(rate, at(0)), -(2 << 20));
        assert!(!bucket.take(1, rate, at(0)));
        let ready = bucket.ready_at(rate, at(0));
        assert_eq!(ready, at(2_000_001));
        assert!(bucket.level(rate, at(2_000_000)) == 0 && bucket.level(rate, ready) > 0);
        bucket.charge(u64::MAX, rate, at(0));
        assert_eq!(bucket.level(rate, at(0)), -(8 << 20) * DEBT_BURSTS_MAX.cast_signed());
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_not_been_charged() {
        let rate = Rate { amount: 10, per: SECOND, burst: 100 };
        let (mut bucket, mut other) = (TokenBucket::default(), TokenBucket::default());
        bucket.charge(150, rate, at(0));
        other.charge(30, rate, at(0));
        bucket.give_back(120, rate, at(0));
        assert_eq!(bucket, other);
        bucket.give_back(1_000, rate, at(5));
        assert_eq!(bucket.level(rate, at(5)), 100, "full is full");
    }

    #[test]
    fn what_never_refills_is_never_ready() {
        let never = at(u64::MAX);
        let empty = Rate { amount: 1, per: SECOND, burst: 0 };
        assert_eq!(TokenBucket::default().ready_at(empty, at(5)), never);
        let dry = Rate { amount: 0, per: SECOND, burst: 1 };
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(1, dry, at(5)) && !bucket.take(1, dry, never));
        assert_eq!(bucket.ready_at(dry, at(6)), never);
    }

    /// A number that is often small, often at an edge, and sometimes anything.
    fn wild() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, Just(u64::MAX), Just(u64::MAX - 1), 0..1_000_000_u64, any::<u64>()]
    }

    fn wild_rate() -> impl Strategy<Value = Rate> {
        (wild(), wild(), wild(), any::<bool>()).prop_map(|(amount, per, burst, micros)| {
            let per = if micros { Duration::from_micros(per) } else { Duration::from_secs(per) };
            Rate { amount, per, burst }
        })
    }

    proptest! {
        /// burst + amount × time / per bounds what was taken, for any numbers whatever.
        #[test]
        fn no_schedule_takes_more_than_the_rate_allows(
            rate in wild_rate(),
            start in wild(),
            steps in prop::collection::vec((wild(), wild(), any::<bool>()), 0..60),
        ) {
            let (mut bucket, mut now) = (TokenBucket::default(), at(start));
            let mut taken = 0_u128;
            for (wait, amount, whole) in steps {
                now = at(now.micros().saturating_add(wait));
                taken += match whole {
                    true if bucket.take(amount, rate, now) => u128::from(amount),
                    true => 0,
                    false => u128::from(bucket.take_some(amount, rate, now)),
                };
                let refilled = u128::from(now.micros() - start) * u128::from(rate.amount);
                let allowed = u128::from(rate.burst) + refilled / rate.token();
                prop_assert!(taken <= allowed, "{taken} of {allowed}");
            }
        }

        /// The same numbers as an account in fractions, kept call by call: nothing drifts.
        #[test]
        fn a_bucket_is_exact(
            rate in (1..50_u64, 1..50_u64, 0..50_u64)
                .prop_map(|(a, p, burst)| Rate { amount: a, per: Duration::from_micros(p), burst }),
            steps in prop::collection::vec((0..40_u64, 0..60_u64, 0..4_u8), 0..200),
        ) {
            let token = i128::from(rate.per.as_micros() as u64);
            let full = i128::from(rate.burst) * token;
            let floor = -full * i128::from(DEBT_BURSTS_MAX);
            let (mut bucket, mut now, mut units) = (TokenBucket::default(), 0, full);
            for (wait, amount, call) in steps {
                now += wait;
                units = (units + i128::from(wait * rate.amount)).min(full);
                let cost = i128::from(amount) * token;
                match call {
                    0 => {
                        let there = units >= cost;
                        prop_assert_eq!(bucket.take(amount, rate, at(now)), there);
                        units -= if there { cost } else { 0 };
                    }
                    1 => {
                        let there = (units.max(0) / token).min(i128::from(amount));
                        prop_assert_eq!(i128::from(bucket.take_some(amount, rate, at(now))), there);
                        units -= there * token;
                    }
                    2 => {
                        bucket.give_back(amount, rate, at(now));
                        units = (units + cost).min(full);
                    }
                    _ => {
                        bucket.charge(amount, rate, at(now));
                        units = (units - cost).max(floor);
                    }
                }
                prop_assert_eq!(i128::from(bucket.level(rate, at(now))), units.div_euclid(token));
            }
        }

        /// Whatever was charged when, the bucket is ready at the instant that it names, not before.
        #[test]
        fn ready_is_the_first_instant_above_zero(
            rate in wild_rate(),
            now in wild().prop_map(at),
            amount in wild(),
        ) {
            let mut bucket = TokenBucket::default();
            bucket.charge(amount, rate, now);
            let ready = bucket.ready_at(rate, now);
            prop_assert!(ready >= now);
            if ready < at(u64::MAX) {
                prop_assert!(bucket.level(rate, ready) > 0);
            }
            if ready > now {
                let before = at(ready.micros() - 1);
                prop_assert!(bucket.level(rate, before) <= 0);
            }
        }
    }
}
