//! What outlives the process: the core notes what changed, and once a turn as much of it goes to
//! the store as both take.

use std::time::Duration;

use bridge::EngineEnd;
use crossbeam_channel::after;
use peer::{Input, Restored};

use super::metrics::note_store;
use super::{EventLoop, WATCH_PERIOD};
use crate::clock::Clock;

/// Changes in one turn, at some tens of nanoseconds each.
const CHANGES_PER_TURN: usize = 256;

/// How long the store may take at the end to write what it has, beside what a shutdown leaves it.
pub(super) const STORE_PATIENCE: Duration = Duration::from_millis(500);

/// How often the end looks whether the store has room.
const ROOM_PERIOD: Duration = Duration::from_millis(5);

impl EventLoop {
    /// Gives the core what an earlier process had kept. Before the first turn.
    pub(crate) fn restore(&mut self, restored: Restored) {
        self.feed(Input::Restored(restored));
    }

    pub(super) fn hand_changes(&mut self) {
        let max = self.store.room().min(CHANGES_PER_TURN);
        self.endpoint.take_changes(max, &mut self.changes);
        // There may be more: for the next turn, or for a store that has room again.
        let wait = if max == CHANGES_PER_TURN { Duration::ZERO } else { WATCH_PERIOD };
        self.changes_at = (self.changes.len() == max).then(|| self.now.after(wait));
        self.store.push(&mut self.changes);
    }

    /// The last turn is over: what is to be kept is written, and the chain learns how it ended.
    pub(crate) fn end(mut self, clock: &Clock, end: EngineEnd) {
        let deadline = self.ends_at.unwrap_or_else(|| clock.now().after(STORE_PATIENCE));
        // What a core has noted that a panic broke off is not to be trusted.
        let keeps = !matches!(end, EngineEnd::Panicked(_));
        while keeps && self.changes_at.is_some() {
            if self.store.room() == 0 {
                if clock.now() >= deadline {
                    tracing::warn!("the store did not take all changes in time");
                    break;
                }
                // Nothing ends this wait: the store's thread is writing, and the last turn is over.
                let _ = after(ROOM_PERIOD).recv();
            }
            self.hand_changes();
        }
        self.write_recording();
        let status = self.store.close(deadline.since(clock.now()));
        if status.lag > 0 {
            tracing::warn!(lag = status.lag, "the store did not write everything in time");
        }
        note_store(&mut self.metrics, status);
        self.bridge.counters().set_metrics(&self.metrics);
        self.bridge.end(end);
    }
}
