//! One address that we hold, dial or are connected to.

use std::net::SocketAddr;
use std::time::Duration;

use super::jittered;
use crate::address::{Group, HostKey};
use crate::event::ConnId;
use crate::rng::Rng;
use crate::time::Instant;

/// First wait after a failed dial of a held peer. Guess: longer than a restart of a process takes.
pub(super) const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Longest wait between two dials of a held peer. Guess: it is back within a minute.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long a seed is given to answer. Guess: some round trips around the world.
pub(super) const FETCH: Duration = Duration::from_secs(3);

/// Why an address is dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// It is held.
    Held,
    /// It was an outbound peer of the last run.
    Anchor,
    /// An outbound place is free.
    Slot,
    /// To know whether it is there; then the connection is closed again.
    Feeler,
    /// To be told addresses; then the connection is closed again.
    Seed,
    /// The overlay wants it.
    Called,
}

/// An address that is held, dialled or connected.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) addr: SocketAddr,
    pub(super) host: HostKey,
    pub(super) group: Group,
    pub(super) aim: Aim,
    pub(super) stage: Stage,
    /// Dials that failed since the last connection; of held ones.
    pub(super) failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Held, and not now.
    Waiting {
        until: Instant,
    },
    Dialing,
    Greeting(ConnId),
    Established {
        conn: ConnId,
        since: Instant,
    },
}

impl Target {
    pub(super) const fn conn(&self) -> Option<ConnId> {
        match self.stage {
            Stage::Waiting { .. } | Stage::Dialing => None,
            Stage::Greeting(conn) | Stage::Established { conn, .. } => Some(conn),
        }
    }

    pub(super) const fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established { .. })
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.aim, Aim::Anchor | Aim::Slot)
            && matches!(self.stage, Stage::Dialing | Stage::Greeting(_))
    }

    /// Whether no other of its group may be dialled to stay.
    pub(super) fn takes_group(&self) -> bool {
        self.is_to_stay() && !matches!(self.stage, Stage::Waiting { .. })
    }

    pub(super) const fn is_to_stay(&self) -> bool {
        matches!(self.aim, Aim::Held | Aim::Anchor | Aim::Slot | Aim::Called)
    }

    /// When a seed has had its time.
    pub(super) fn release_due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Established { since, .. } if self.aim == Aim::Seed => Some(since.after(FETCH)),
            _ => None,
        }
    }

    /// Waits: doubling from [`BACKOFF_MIN`] to [`BACKOFF_MAX`], a quarter more or less, at least
    /// `least`.
    pub(super) fn back_off(&mut self, least: Duration, now: Instant, rng: &mut Rng) {
        let doubled = BACKOFF_MIN * 2u32.saturating_pow(self.failures.min(16));
        let wait = jittered(doubled.min(BACKOFF_MAX), rng).max(least);
        self.failures += 1;
        self.stage = Stage::Waiting { until: now.after(wait) };
    }
}
