//! Whom to dial, and when: the peers that are held by configuration and by operators.
//!
//! - A held address is dialled at once, and again whenever its connection is lost.
//! - A failed dial waits twice as long each time, with a jitter. Why: a restarting network must not
//!   be dialled by everybody in the same instant.
//! - An address that closed us waits longer. Why: grin notices a lost connection only after one or
//!   two ping rounds and refuses a second one of the same address until then.
//! - An address that turned out to be ourselves is forgotten.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::HELD_MAX;
use crate::event::{CloseReason, ConnId};
use crate::rng::Rng;
use crate::time::Instant;

/// First wait after a failed dial. Guess: longer than a restart of a process takes.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Longest wait between two dials of one address. Guess: a held peer is back within a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Wait after the remote closed an established connection: longer than grin's two ping rounds.
const CLOSED_US_WAIT: Duration = Duration::from_secs(30);

/// The peers we hold. At most [`HELD_MAX`].
#[derive(Debug)]
pub(crate) struct Dialer {
    held: Vec<Held>,
    rng: Rng,
}

#[derive(Debug)]
struct Held {
    addr: SocketAddr,
    state: State,
    /// Dials that failed since the last connection.
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting { until: Instant },
    Dialing,
    Connected(ConnId),
}

impl Dialer {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { held: Vec::new(), rng }
    }

    /// Holds one more address, from now on; a known one and one too many change nothing.
    pub(crate) fn hold(&mut self, addr: SocketAddr, now: Instant) {
        let known = self.held.iter().any(|held| held.addr == addr);
        if !known && self.held.len() < HELD_MAX {
            self.held.push(Held { addr, state: State::Waiting { until: now }, failures: 0 });
        }
    }

    /// Forgets all addresses: we dial nobody any more.
    pub(crate) fn stop(&mut self) {
        self.held.clear();
    }

    /// When the next dial is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.held
            .iter()
            .filter_map(|held| match held.state {
                State::Waiting { until } => Some(until),
                State::Dialing | State::Connected(_) => None,
            })
            .min()
    }

    /// Takes one address whose dial is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<SocketAddr> {
        let due = |held: &&mut Held| matches!(held.state, State::Waiting { until } if until <= now);
        let held = self.held.iter_mut().find(due)?;
        held.state = State::Dialing;
        Some(held.addr)
    }

    pub(crate) fn on_dialed(&mut self, addr: SocketAddr, conn: ConnId) {
        if let Some(held) = self.held.iter_mut().find(|held| held.addr == addr) {
            held.state = State::Connected(conn);
        }
    }

    pub(crate) fn on_dial_failed(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(held) = self.held.iter_mut().find(|held| held.addr == addr) {
            held.back_off(Duration::ZERO, now, &mut self.rng);
        }
    }

    /// The handshake is done: earlier failures no longer count.
    pub(crate) fn on_established(&mut self, conn: ConnId) {
        if let Some(held) = self.held.iter_mut().find(|held| held.state == State::Connected(conn)) {
            held.failures = 0;
        }
    }

    /// The address is our own: the dial came in at our own door.
    pub(crate) fn on_myself(&mut self, addr: SocketAddr) {
        self.held.retain(|held| held.addr != addr);
    }

    pub(crate) fn on_closed(&mut self, conn: ConnId, reason: CloseReason, now: Instant) {
        if let Some(held) = self.held.iter_mut().find(|held| held.state == State::Connected(conn)) {
            let least = match reason {
                CloseReason::RemoteClosed | CloseReason::BannedByRemote => CLOSED_US_WAIT,
                _ => Duration::ZERO,
            };
            held.back_off(least, now, &mut self.rng);
        }
    }
}

impl Held {
    /// Waits: doubling from [`BACKOFF_MIN`] to [`BACKOFF_MAX`], a quarter more or less, at least
    /// `least`.
    fn back_off(&mut self, least: Duration, now: Instant, rng: &mut Rng) {
        let doubled = BACKOFF_MIN * 2u32.saturating_pow(self.failures.min(16));
        let base = doubled.min(BACKOFF_MAX);
        let jitter = Duration::from_micros(rng.below(base.as_micros() as u64 / 2 + 1));
        let wait = (base - base / 4 + jitter).max(least);
        self.failures += 1;
        self.state = State::Waiting { until: now.after(wait) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: &str = "192.0.2.1:3414";

    fn dialer() -> Dialer {
        let mut dialer = Dialer::new(Rng::from_seed([7; 32]));
        dialer.hold(ADDR.parse().unwrap(), Instant::START);
        dialer
    }

    fn wait_after_failure(dialer: &mut Dialer, now: &mut Instant) -> Duration {
        let addr = dialer.take_due(*now).unwrap();
        dialer.on_dial_failed(addr, *now);
        let until = dialer.deadline().unwrap();
        let wait = until.since(*now);
        *now = until;
        wait
    }

    #[test]
    fn failed_dials_wait_longer_up_to_a_bound() {
        let (mut dialer, mut now) = (dialer(), Instant::START);
        let waits: Vec<_> = (0..12).map(|_| wait_after_failure(&mut dialer, &mut now)).collect();
        for (n, wait) in waits.iter().enumerate() {
            let base = (BACKOFF_MIN * 2u32.pow(n as u32)).min(BACKOFF_MAX);
            assert!((base - base / 4..=base + base / 4).contains(wait), "wait {n}: {wait:?}");
        }
    }

    #[test]
    fn an_address_that_closed_us_waits_half_a_minute() {
        let mut dialer = dialer();
        let conn = ConnId::new(0, 1);
        let addr = dialer.take_due(Instant::START).unwrap();
        assert_eq!(dialer.take_due(Instant::START), None, "one dial at a time");
        dialer.on_dialed(addr, conn);
        assert_eq!(dialer.deadline(), None, "a connected peer is not dialled");
        dialer.on_established(conn);
        dialer.on_closed(conn, CloseReason::RemoteClosed, Instant::START);
        assert_eq!(dialer.deadline(), Some(Instant::START.after(CLOSED_US_WAIT)));
    }

    #[test]
    fn ourselves_are_forgotten_and_the_table_is_bounded() {
        let mut dialer = dialer();
        let addr = dialer.take_due(Instant::START).unwrap();
        dialer.on_dialed(addr, ConnId::new(0, 1));
        dialer.on_myself(addr);
        dialer.on_closed(ConnId::new(0, 1), CloseReason::HandshakeAborted, Instant::START);
        assert_eq!(dialer.deadline(), None);
        for port in 0..2 * HELD_MAX as u16 {
            dialer.hold(([127, 0, 0, 1], port + 1).into(), Instant::START);
        }
        assert_eq!(dialer.held.len(), HELD_MAX);
    }
}
