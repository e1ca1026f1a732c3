//! What time it is for all members, and what of their news is of another time.

use std::time::Duration;

use crate::time::{Instant, UnixTime};

/// What the clocks of two members may differ by: as much as Kerberos grants (RFC 4120, section
/// 5.2.9), and more than any that is set by others at times.
pub(super) const CLOCKS_APART: Duration = Duration::from_secs(300);

/// So far ahead of our clock may an incarnation be: a day, in which a clock that was wrong is put
/// right. Whoever is called dead in one of these has higher ones left to deny in.
const INCARNATIONS_AHEAD: Duration = Duration::from_secs(86_400);

/// The wall clock, which runs with [`Instant`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// At [`Instant::START`].
    pub(super) started: UnixTime,
}

impl Clock {
    /// Milliseconds since 1970 began.
    pub(super) const fn millis(self, now: Instant) -> u64 {
        self.started.secs().saturating_mul(1_000).saturating_add(now.micros() / 1_000)
    }

    /// The incarnation of who is born now: 2^20ths of a second since 1970 began. Who denies takes
    /// the next one; a million denials a second are not to be expected.
    pub(super) const fn incarnation(self, now: Instant) -> u64 {
        let units = ((self.millis(now) as u128) << 20) / 1_000;
        if units > u64::MAX as u128 { u64::MAX } else { units as u64 }
    }

    /// Whether somebody may have this incarnation already.
    pub(super) const fn may_be_incarnation(self, now: Instant, incarnation: u64) -> bool {
        incarnation <= self.incarnation(now.after(INCARNATIONS_AHEAD))
    }
}

/// A time in milliseconds; the longest there is, if it is longer.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_grow_with_the_clock_and_never_beyond_what_can_be_counted() {
        let clock = Clock { started: UnixTime::from_secs(1_000) };
        let at = |secs| Instant::START.after(Duration::from_secs(secs));
        assert_eq!(clock.incarnation(Instant::START), 1_000 << 20);
        assert_eq!(clock.incarnation(at(5)), 1_005 << 20);
        let ahead = (1_000 + 86_400) << 20;
        assert!(clock.may_be_incarnation(Instant::START, ahead));
        assert!(!clock.may_be_incarnation(Instant::START, ahead + 1));
        // Who was called dead in the last one there may be denies it a millisecond later.
        let later = Instant::START.after(Duration::from_millis(1));
        assert!(clock.may_be_incarnation(later, ahead + 1));
        let last = Clock { started: UnixTime::from_secs(u64::MAX) };
        assert_eq!(last.incarnation(at(1)), u64::MAX);
    }
}
