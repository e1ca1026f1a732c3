//! An eventfd: a counter in the kernel that a thread, or a ring, can wait for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, retry_on_intr, write};

use crate::sync::Fd;

/// Non-blocking, and closed on exec.
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn fd(&self) -> Fd<'_> {
        self.0.as_fd()
    }

    /// Adds one: the descriptor is readable from now on.
    pub(crate) fn add(&self) {
        // It fails only when the counter is full, after 2^64 wakes unread; and readable it is then.
        let _ = retry_on_intr(|| write(&self.0, &1u64.to_ne_bytes()));
    }

    /// Sets the counter to zero: the descriptor is not readable any more.
    pub(crate) fn clear(&self) {
        // It fails only when the counter is zero already.
        let _ = retry_on_intr(|| read(&self.0, &mut [0; 8]));
    }

    /// Waits until the counter is not zero, or for this long; `None` is for ever. May return early.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        // What does not fit a timespec is longer than anybody waits.
        let timeout = timeout.and_then(|wait| Timespec::try_from(wait).ok());
        // Interrupted is early, and the caller looks at its lane and its deadline again anyway.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref());
    }
}
