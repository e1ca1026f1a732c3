//! The list itself: who is in it, since when, and who goes when there are too many.
//!
//! Called by the machine alone. The invariant: after [`View::truncate`] there are at most as many
//! entries as places, none twice and none of our own address.

use std::net::SocketAddr;
use std::time::Duration;

use codec::Sighting;

use super::rules::{Keep, SamplingRules};
use crate::rng::Rng;
use crate::time::Instant;

/// One place of the view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) addr: SocketAddr,
    /// Last contact, in microseconds of our clock. It may lie before the clock's start.
    pub(super) contact: i64,
    pub(super) state: State,
    /// A heartbeat went there and has no answer yet.
    pub(super) awaits: bool,
}

/// How far a place is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Known. Where links are two-way: about to be asked.
    Heard,
    /// Asked to list us too; no answer yet.
    Asked { link: u32, at: Instant },
    /// Both list each other.
    Linked { link: u32 },
}

impl Entry {
    pub(super) const fn heard(addr: SocketAddr, contact: i64) -> Self {
        Self { addr, contact, state: State::Heard, awaits: false }
    }

    pub(super) const fn is_linked(&self) -> bool {
        matches!(self.state, State::Linked { .. })
    }

    /// What others are told of it.
    pub(super) fn sighting(&self, now: Instant) -> Sighting {
        let age_ms = micros(now).saturating_sub(self.contact).max(0) / 1_000;
        Sighting { addr: self.addr, age_ms: u32::try_from(age_ms).unwrap_or(u32::MAX) }
    }
}

pub(super) const fn micros(now: Instant) -> i64 {
    now.micros() as i64
}

/// So long ago, on our clock.
pub(super) const fn before(now: Instant, age_ms: u32) -> i64 {
    micros(now) - age_ms as i64 * 1_000
}

/// The members, in no order that means anything.
#[derive(Debug)]
pub(super) struct View {
    pub(super) entries: Vec<Entry>,
    /// Those that had to go, until the machine has told them.
    pub(super) dropped: Vec<Entry>,
}

impl View {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), dropped: Vec::new() }
    }

    pub(super) fn find(&mut self, addr: SocketAddr) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.addr == addr)
    }

    pub(super) fn has(&self, addr: SocketAddr) -> bool {
        self.entries.iter().any(|entry| entry.addr == addr)
    }

    pub(super) fn remove(&mut self, addr: SocketAddr) -> Option<Entry> {
        let place = self.entries.iter().position(|entry| entry.addr == addr)?;
        Some(self.entries.swap_remove(place))
    }

    /// Puts `entry` in the place of one that was sent, or in a free one. Cyclon's way.
    pub(super) fn swap_in(&mut self, entry: Entry, places: usize, sent: &mut Vec<SocketAddr>) {
        if self.entries.len() < places {
            self.entries.push(entry);
            return;
        }
        while let Some(gone) = sent.pop() {
            if let Some(place) = self.find(gone) {
                *place = entry;
                return;
            }
        }
    }

    /// Lets go whoever has no place, by the rule; they are in `dropped` then.
    pub(super) fn truncate(
        &mut self,
        now: Instant,
        rules: &SamplingRules,
        sent: &[SocketAddr],
        rng: &mut Rng,
    ) {
        if self.entries.len() <= rules.view {
            return;
        }
        // Whoever is equal by the rule goes by chance.
        rng.shuffle(&mut self.entries);
        let age = |entry: &Entry| age_for_rank(entry, now, rules);
        match rules.keep {
            Keep::Freshest => self.entries.sort_by_key(age),
            Keep::Stalest => self.entries.sort_by_key(|entry| std::cmp::Reverse(age(entry))),
            Keep::Select { healer, swapper } => {
                self.entries.sort_by_key(age);
                let surplus = self.entries.len() - rules.view;
                self.drop_last(healer.min(surplus));
                let surplus = self.entries.len() - rules.view;
                self.drop_sent(swapper.min(surplus), sent);
                rng.shuffle(&mut self.entries);
            }
            Keep::Swap => {}
        }
        self.drop_last(self.entries.len() - rules.view);
    }

    fn drop_last(&mut self, count: usize) {
        let kept = self.entries.len() - count;
        self.dropped.extend(self.entries.drain(kept..));
    }

    fn drop_sent(&mut self, mut count: usize, sent: &[SocketAddr]) {
        for addr in sent {
            if count == 0 {
                return;
            }
            if let Some(entry) = self.remove(*addr) {
                self.dropped.push(entry);
                count -= 1;
            }
        }
    }
}

/// How old an entry is when places are short. Where hardened, whoever had contact within two
/// periods of heartbeats is as good as any other: to look fresh gains nobody anything.
fn age_for_rank(entry: &Entry, now: Instant, rules: &SamplingRules) -> i64 {
    let age = micros(now).saturating_sub(entry.contact);
    let Some(_) = rules.hardening else { return age };
    age / span(2 * rules.heartbeat_period)
}

fn span(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).max(1)
}
