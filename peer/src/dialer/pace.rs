//! How many dials at once, and how many in a second.

use std::time::Duration;

use crate::config::Slots;
use crate::time::Instant;

/// Dials to fill the outbound places are counted over this time, at most `slots.dials` in it:
/// refusals that come at once must not burn through the book. An empty-handed look into the book is
/// repeated after it.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// Dials at once for each place that is missing, at most; as many as one success took lately.
/// Of the addresses in books of Bitcoin nodes, 17 to 30 in a hundred answer.
pub(super) const DIALS_PER_PLACE_MAX: u32 = 4;

/// Outcomes that count as lately.
pub(super) const OUTCOMES: u32 = 64;

/// How many dials one success took lately.
#[derive(Debug)]
pub(super) struct Odds {
    dials: u32,
    successes: u32,
}

/// The dials of the current [`ROUND`].
#[derive(Debug)]
pub(super) struct Round {
    ends: Instant,
    left: u32,
}

impl Odds {
    pub(super) const fn new() -> Self {
        Self { dials: OUTCOMES / 2, successes: OUTCOMES / 2 / DIALS_PER_PLACE_MAX }
    }

    pub(super) const fn count(&mut self, success: bool) {
        self.dials += 1;
        self.successes += success as u32;
        if self.dials >= OUTCOMES {
            self.dials /= 2;
            self.successes /= 2;
        }
    }

    /// Rounded up, and one more than surely needed rather than one dial into nowhere alone.
    pub(super) fn dials_per_success(&self) -> u32 {
        self.dials.div_ceil(self.successes.max(1)).clamp(2, DIALS_PER_PLACE_MAX)
    }
}

impl Round {
    pub(super) const fn new() -> Self {
        Self { ends: Instant::START, left: 0 }
    }

    pub(super) fn has_room(&mut self, slots: &Slots, now: Instant) -> bool {
        if self.ends <= now {
            *self = Self { ends: now.after(ROUND), left: slots.dials };
        }
        self.left > 0
    }

    pub(super) const fn use_up(&mut self) {
        self.left -= 1;
    }

    pub(super) const fn ready_at(&self) -> Instant {
        if self.left > 0 { Instant::START } else { self.ends }
    }
}
