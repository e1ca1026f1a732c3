//! The clock that this process and its children share: the system's monotonic one.

use std::time::Duration;

/// Nanoseconds of the monotonic clock; the same instant has the same number in every process.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps until an instant of [`now_ns`]; returns at once if it has passed.
pub(crate) fn sleep_until(instant_ns: u64) {
    let now = now_ns();
    if instant_ns > now {
        std::thread::sleep(Duration::from_nanos(instant_ns - now));
    }
}
