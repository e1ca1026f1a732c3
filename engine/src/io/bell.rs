//! A wait outside of the ring, which only a wake ends.
//!
//! A wait in the ring ends with its first completion, or with so many; no number of them would let
//! a wake through and nothing else. While the loop's thread waits here, what completes stays with
//! the kernel, which runs it when the ring is entered next and wakes nobody for it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// The loop's eventfd, watched for writes: edges, since it is never read.
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new(wake: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, wake, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
        Ok(Self(epoll))
    }

    /// Until somebody writes, or has since the last wait here. A signal ends it, too.
    pub(super) fn wait(&self, most: Option<Duration>) -> io::Result<()> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
        let most =
            most.map(Timespec::try_from).transpose().map_err(|_| io::ErrorKind::InvalidInput)?;
        match epoll::wait(&self.0, &mut events, most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
