//! Time, as drivers tell it. No clock is read in this crate.

use std::time::Duration;

/// Microseconds since the driver started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(u64);

impl Instant {
    /// When the driver started.
    pub const START: Self = Self(0);

    /// The instant this many microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// This instant and `wait` more; the last instant there is, if that lies before.
    #[must_use]
    pub const fn after(self, wait: Duration) -> Self {
        let micros = wait.as_micros();
        let micros = if micros > u64::MAX as u128 { u64::MAX } else { micros as u64 };
        Self(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; zero if it is yet to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds since 1970, for what outlives the process: when an address was last seen, when a ban
/// ends. The driver tells the wall clock at its start; from then on it runs with [`Instant`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time this many seconds after 1970 began.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since 1970 began.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0
    }

    /// This time and `wait` more, whole seconds.
    #[must_use]
    pub const fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait.as_secs()))
    }

    /// How long ago `earlier` was; zero if it is yet to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_beyond_all_instants_ends_at_the_last_one() {
        // 2^64 microseconds and some.
        let wait = Duration::from_secs(18_446_744_073_710);
        assert_eq!(Instant::START.after(wait), Instant::from_micros(u64::MAX));
    }
}
