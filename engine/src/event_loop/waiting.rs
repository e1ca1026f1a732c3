//! How the loop waits: for the first completion, after a busy turn for a batch of them, and while
//! nothing but pings is heard, and many of them, for the end of a nap.
//!
//! To fall asleep and be woken costs more than to handle a ping. Ten thousand idle peers wake the
//! loop a thousand times a second; with naps, a hundred times. The price is that a ping is answered
//! up to a nap later, and the first word after a silence heard as much later. The chain is heard at
//! once: its wake ends a nap.

use std::time::Duration;

use codec::limits::FRAME_HEADER_BYTES;
use peer::{Counts, Instant};

use crate::io::{Batch, Until};

/// Turns that completed at least this many operations make the next wait a batching one.
pub(super) const BUSY_COMPLETIONS: u64 = 16;

/// How long a batching wait of a busy loop may take.
const BATCH_PATIENCE: Duration = Duration::from_micros(500);

/// What a batching wait aims at: as much as stays in the second-level cache from the kernel's copy
/// until it is parsed.
const BATCH_BYTES: u64 = 256 << 10;

/// Completions that a batching wait may wait for, whatever their size.
const BATCH_WANT: std::ops::RangeInclusive<u64> = 16..=512;

/// How long a nap is. Well below what a round trip between two hosts takes; half of it would save
/// half as much (docs/performance.md).
pub(super) const NAP: Duration = Duration::from_millis(10);

/// How long nothing but pings must have been heard and said, before the loop naps.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// Pings and pongs in a [`WINDOW`] that are worth a nap: five in each. Below these the loop costs
/// less than a hundredth of a processor as it is.
const PINGS_MIN: u64 = 50;

/// A Ping or Pong on the wire: the head of its frame, a difficulty, a height. What else comes
/// counts by bytes, since a long frame is heard long before it is whole.
const PING_BYTES: u64 = FRAME_HEADER_BYTES as u64 + 16;

const WINDOW: Duration = Duration::from_millis(100);

/// What was heard lately.
#[derive(Debug)]
pub(super) struct Pace {
    /// Operations reaped by the last wait, and the bytes consumed by then.
    reaped: u64,
    bytes: u64,
    /// Bytes that were no pings, by the last turn; and when something other than a ping was last
    /// heard or said.
    others: u64,
    spoken_at: Instant,
    /// When the window began, and the pings by then.
    window: (Instant, u64),
    /// The window before had [`PINGS_MIN`].
    many_pings: bool,
}

impl Pace {
    pub(super) const fn new() -> Self {
        let window = (Instant::START, 0);
        let spoken_at = Instant::START;
        Self { reaped: 0, bytes: 0, others: 0, spoken_at, window, many_pings: false }
    }

    /// A wait is over.
    pub(super) const fn reaped(&mut self, completions: usize) {
        self.reaped = completions as u64;
    }

    /// Something other than a ping happened.
    pub(super) const fn spoken(&mut self, now: Instant) {
        self.spoken_at = now;
    }

    /// A turn's work is done.
    pub(super) fn worked(&mut self, now: Instant, counts: &Counts) {
        let others = counts.bytes_received.wrapping_sub(PING_BYTES * counts.pings_received);
        if std::mem::replace(&mut self.others, others) != others {
            self.spoken(now);
        }
        let (begun, pings) = self.window;
        let time = now.since(begun);
        if time >= WINDOW {
            let windows = (time.as_micros() / WINDOW.as_micros()) as u64;
            self.many_pings = counts.pings_received - pings >= PINGS_MIN.saturating_mul(windows);
            self.window = (now, counts.pings_received);
        }
    }

    /// Whether the next wait is to be a nap of [`NAP`]. Not after a busy turn: more may be due than
    /// the kernel hands out at once.
    pub(super) fn naps(&self, now: Instant) -> bool {
        self.many_pings && now.since(self.spoken_at) >= SILENCE && self.reaped < BUSY_COMPLETIONS
    }

    /// What ends the next wait, if it is no nap: after a busy turn, about as many receives as the
    /// cache holds.
    pub(super) fn until(&mut self, counts: &Counts) -> Until {
        let bytes = counts.bytes_received;
        let received = bytes - std::mem::replace(&mut self.bytes, bytes);
        if self.reaped < BUSY_COMPLETIONS {
            return Until::First;
        }
        let want = BATCH_BYTES * self.reaped / received.max(1);
        let want = want.clamp(*BATCH_WANT.start(), *BATCH_WANT.end()) as u32;
        Until::Batch(Batch { want, patience: BATCH_PATIENCE })
    }
}
