//! The way back in: whom to ask when the passive view is of no use.
//!
//! The operator names contacts. While fewer than half of the links stand, they are swept through in
//! random order, with the samplers' addresses among them, so that no single one carries a whole
//! network. A sweep goes to the next as soon as one fails; the pause between two doubles.

use std::net::SocketAddr;
use std::time::Duration;

use crate::rng::Rng;
use crate::time::Instant;

use super::rules::HyParViewRules;

/// Most contacts of one node; those after it are left out.
pub const CONTACTS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Contacts {
    addrs: Vec<SocketAddr>,
    /// Those of this sweep that were not asked yet.
    sweep: Vec<SocketAddr>,
    wait: Duration,
    /// When the next may be asked; `None`: all is well.
    due: Option<Instant>,
}

impl Contacts {
    pub(super) const fn new(rules: &HyParViewRules) -> Self {
        Self { addrs: Vec::new(), sweep: Vec::new(), wait: rules.rejoin_min, due: None }
    }

    /// Takes these in place of those before.
    pub(super) fn set(&mut self, addrs: Vec<SocketAddr>) {
        self.addrs = addrs;
        self.addrs.truncate(CONTACTS_MAX);
        self.sweep.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addrs.iter().copied()
    }

    /// Links enough stand.
    pub(super) const fn rest(&mut self, rules: &HyParViewRules) {
        self.due = None;
        self.wait = rules.rejoin_min;
    }

    /// When the next is to be asked.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Links are missing: whom to ask now, of those who are not `known` already.
    pub(super) fn next(
        &mut self,
        now: Instant,
        samplers: impl Iterator<Item = SocketAddr>,
        known: impl Fn(SocketAddr) -> bool,
        rules: &HyParViewRules,
        rng: &mut Rng,
    ) -> Option<SocketAddr> {
        if *self.due.get_or_insert(now) > now {
            return None;
        }
        if self.sweep.is_empty() {
            self.sweep.extend(self.addrs.iter().copied().chain(samplers));
            self.sweep.sort_unstable();
            self.sweep.dedup();
            rng.shuffle(&mut self.sweep);
        }
        while let Some(addr) = self.sweep.pop() {
            if !known(addr) {
                if self.sweep.is_empty() {
                    self.pause(now, rules, rng);
                }
                return Some(addr);
            }
        }
        self.pause(now, rules, rng);
        None
    }

    /// Nobody is to be asked for a while, which is longer each time.
    pub(super) fn pause(&mut self, now: Instant, rules: &HyParViewRules, rng: &mut Rng) {
        self.due = Some(now.after(jitter(self.wait, rng)));
        self.wait = self.wait.saturating_mul(2).min(rules.rejoin_max);
    }
}

/// From a quarter less to a quarter more, so that what happened to many at once is not repeated by
/// all of them at once.
pub(super) fn jitter(wait: Duration, rng: &mut Rng) -> Duration {
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros((micros - micros / 4).saturating_add(rng.below(micros / 2 + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        ([20, 0, 0, n], 3414).into()
    }

    #[test]
    fn a_sweep_asks_each_once_and_the_pause_doubles() {
        let (rules, mut rng) = (HyParViewRules::default(), Rng::from_seed([1; 32]));
        let mut contacts = Contacts::new(&rules);
        contacts.set((0..4).chain(0..4).map(addr).collect());
        let mut now = Instant::START;
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let samplers = || [addr(9), addr(1)].into_iter();
            let mut asked: Vec<_> = std::iter::from_fn(|| {
                contacts.next(now, samplers(), |one| one == addr(3), &rules, &mut rng)
            })
            .collect();
            asked.sort_unstable();
            assert_eq!(asked, [0, 1, 2, 9].map(addr));
            let due = contacts.due().unwrap();
            let waited = due.since(now).as_secs_f64() / f64::from(pause);
            assert!((0.75..=1.25).contains(&waited), "{waited} of {pause} s");
            now = due;
        }
        contacts.rest(&rules);
        assert_eq!(contacts.due(), None);
    }

    #[test]
    fn without_contacts_nobody_is_asked_and_the_next_look_is_later() {
        let (rules, mut rng) = (HyParViewRules::default(), Rng::from_seed([1; 32]));
        let mut contacts = Contacts::new(&rules);
        let none = || std::iter::empty();
        assert_eq!(contacts.next(Instant::START, none(), |_| false, &rules, &mut rng), None);
        assert!(contacts.due().unwrap() > Instant::START);
    }
}
