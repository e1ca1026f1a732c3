//! Addresses that are left alone for a while, since a dial of them failed or they closed us.
//!
//! The dialer asks before each dial. The address book knows failures too, in whole seconds and
//! across restarts; this table is exact, short-lived and also counts what the book must not: dials
//! that failed while perhaps we were the one without a network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::jittered;
use crate::rng::Rng;
use crate::time::Instant;

/// Addresses at rest that are remembered; beyond it the one whose rest ends first is forgotten.
/// Guess: sixteen rounds of the dials that are under way at once.
pub(super) const RESTS_MAX: usize = 1_024;

/// Rest after a first failure; twice as long with each further one. Guess: longer than a restart of
/// a process takes.
const REST_MIN: Duration = Duration::from_secs(1);

/// Longest rest. As Bitcoin Core leaves an address alone after an attempt.
const REST_MAX: Duration = Duration::from_secs(600);

/// So many failures in a row, the last at most [`REST_MAX`] ago: others' word that it is there does
/// not count.
const GIVEN_UP: u32 = 2;

#[derive(Default, Debug)]
pub(super) struct Rests {
    by_addr: BTreeMap<SocketAddr, Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    /// Failures since the last success.
    failures: u32,
    failed: Option<Instant>,
    /// When a failure was last noted in the book.
    noted: Option<Instant>,
}

impl Rests {
    pub(super) fn is_over(&self, addr: SocketAddr, now: Instant) -> bool {
        self.by_addr.get(&addr).is_none_or(|rest| rest.until <= now)
    }

    /// Whether it failed so often and so lately that hearsay of it is old.
    pub(super) fn is_given_up(&self, addr: SocketAddr, now: Instant) -> bool {
        self.by_addr.get(&addr).is_some_and(|rest| {
            let lately = rest.failed.is_some_and(|at| now.since(at) <= REST_MAX);
            lately && rest.failures >= GIVEN_UP
        })
    }

    /// One more failure: a longer rest, at least `least`.
    pub(super) fn fail(&mut self, addr: SocketAddr, least: Duration, now: Instant, rng: &mut Rng) {
        let rest = self.entry(addr, now);
        let base = (REST_MIN * 2u32.saturating_pow(rest.failures.min(16))).min(REST_MAX);
        rest.until = now.after(jittered(base, rng).max(least));
        rest.failures = rest.failures.saturating_add(1);
        rest.failed = Some(now);
    }

    /// A rest without a failure: at least [`REST_MIN`] and `least`.
    pub(super) fn pause(&mut self, addr: SocketAddr, least: Duration, now: Instant, rng: &mut Rng) {
        let until = now.after(jittered(REST_MIN, rng).max(least));
        self.entry(addr, now).until = until;
    }

    /// Whether a failure now would be noted in the book: the last one noted is `spacing` ago.
    pub(super) fn may_note(&self, addr: SocketAddr, spacing: Duration, now: Instant) -> bool {
        let noted = self.by_addr.get(&addr).and_then(|rest| rest.noted);
        noted.is_none_or(|at| now.since(at) >= spacing)
    }

    /// A failure is noted in the book.
    pub(super) fn note(&mut self, addr: SocketAddr, now: Instant) {
        self.entry(addr, now).noted = Some(now);
    }

    /// It was reached: nothing of the past counts.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.by_addr.remove(&addr);
    }

    fn entry(&mut self, addr: SocketAddr, now: Instant) -> &mut Rest {
        if self.by_addr.len() >= RESTS_MAX && !self.by_addr.contains_key(&addr) {
            let first = self.by_addr.iter().min_by_key(|(_, rest)| rest.until);
            if let Some(first) = first.map(|(addr, _)| *addr) {
                self.by_addr.remove(&first);
            }
        }
        let fresh = Rest { until: now, failures: 0, failed: None, noted: None };
        self.by_addr.entry(addr).or_insert(fresh)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_addr.len()
    }
}
