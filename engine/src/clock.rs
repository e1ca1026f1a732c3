//! The only reader of the system's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use peer::{Instant, UnixTime};

/// Monotonic time since the engine started, and when by the wall clock that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
    started: UnixTime,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads a clock")]
    pub(crate) fn start() -> Self {
        // A clock that stands before 1970 is not set: time starts with it.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: std::time::Instant::now(), started: UnixTime::from_secs(started.as_secs()) }
    }

    /// Read once or twice a turn, never per message.
    pub(crate) fn now(&self) -> Instant {
        Instant::START.after(self.start.elapsed())
    }

    /// The wall clock at [`Instant::START`].
    pub(crate) const fn started(&self) -> UnixTime {
        self.started
    }
}
