//! Where addresses come from when none are known, and when to ask there again.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::jittered;
use crate::config::Seed;
use crate::rng::Rng;
use crate::time::Instant;

/// Seeds that are asked; further ones are passed over. Networks have under ten.
const SEEDS_MAX: usize = 64;

/// Wait after a first round of asking; twice as long with each further one.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Longest wait between two rounds. Guess: seeds are few, and must bear a whole network.
const WAIT_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Seeds {
    list: Vec<Seed>,
    /// Of the round under way: how many were asked.
    asked: usize,
    /// The next round begins no earlier.
    pub(super) next: Instant,
    wait: Duration,
}

impl Seeds {
    pub(super) fn new(seeds: &[Seed]) -> Self {
        let list: Vec<_> = seeds.iter().take(SEEDS_MAX).cloned().collect();
        Self { asked: list.len(), list, next: Instant::START, wait: WAIT_MIN }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a round is under way.
    pub(super) const fn is_asking(&self) -> bool {
        self.asked < self.list.len()
    }

    /// Begins a round, and sets the time of the next.
    pub(super) fn begin(&mut self, now: Instant, rng: &mut Rng) {
        self.asked = 0;
        self.next = now.after(jittered(self.wait, rng));
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }

    /// A seed was left: the next round begins no sooner than it could after one that begins now.
    pub(super) fn left(&mut self, now: Instant, rng: &mut Rng) {
        self.next = self.next.max(now.after(jittered(self.wait, rng)));
    }

    /// The next seed of the round under way.
    pub(super) fn take(&mut self) -> Option<Seed> {
        let seed = self.list.get(self.asked)?.clone();
        self.asked += 1;
        Some(seed)
    }

    /// There are peers enough: the next round need not wait for the last.
    pub(super) fn rest(&mut self) {
        self.asked = self.list.len();
        self.wait = WAIT_MIN;
    }

    /// A seed that is ourselves is none.
    pub(super) fn forget(&mut self, is_this: impl Fn(&Seed) -> bool) {
        self.list.retain(|seed| !is_this(seed));
        self.asked = self.list.len();
    }
}

/// Who told the addresses behind a name: an IP of 0.0.0.0/8, which nobody has, so that all answers
/// of one name count as one source in the book.
pub(super) fn source_of(name: &str) -> IpAddr {
    let [a, b, c, ..] = xxh3_64(name.as_bytes()).to_le_bytes();
    IpAddr::V4(Ipv4Addr::new(0, a, b, c))
}
