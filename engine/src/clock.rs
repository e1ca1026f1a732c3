//! The only reader of the system's clock.

use peer::Instant;

/// Monotonic time since the engine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads a clock")]
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Read once or twice a turn, never per message.
    pub(crate) fn now(&self) -> Instant {
        Instant::START.after(self.start.elapsed())
    }
}
