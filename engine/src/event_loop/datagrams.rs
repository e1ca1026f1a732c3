//! Datagrams: what comes goes to the core, what the core gives out leaves or is dropped.
//!
//! Gossip survives loss, so nothing waits for anything here: beyond what the kernel takes and a
//! queue of some length, the oldest go, and are counted. A receive that ended is begun anew.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use peer::{Input, Instant};

use super::EventLoop;
use crate::io::{Lease, Submission};

/// Datagrams in the kernel at once. A socket takes them at once unless its buffer is full, which
/// holds about so many.
pub(super) const DATAGRAMS_IN_KERNEL_MAX: usize = 64;

/// Datagrams that wait for that, at 1.4 kB: what ten thousand members have a node answer in one
/// period, and two megabytes at most.
pub(super) const DATAGRAM_QUEUE_MAX: usize = 1_024;

/// How soon receiving is tried again after an error that may come again at once.
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// The socket of datagrams, if there is one, and what is to leave by it.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    pub(super) is_bound: bool,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    in_kernel: usize,
    /// Receiving ended, and is tried again then.
    pub(super) retry_at: Option<Instant>,
}

impl Datagrams {
    /// Whether everything has left.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_kernel == 0
    }
}

impl EventLoop {
    /// Receives datagrams from now on; the answer has the port that port 0 became.
    pub(crate) fn bind_datagrams(&mut self, addr: SocketAddr) -> std::io::Result<SocketAddr> {
        let bound = self.io.bind_datagrams(addr)?;
        self.datagrams.is_bound = true;
        self.submissions.push(Submission::RecvDatagrams);
        self.endpoint.advertise_datagrams(bound.port());
        Ok(bound)
    }

    pub(super) fn on_datagram(&mut self, result: Result<(SocketAddr, Lease), i32>, more: bool) {
        if !more && self.stop_at.is_none() {
            match result {
                // The buffers come home within this turn.
                Ok(_) | Err(libc::EMSGSIZE) => self.submissions.push(Submission::RecvDatagrams),
                Err(libc::ENOBUFS) => {
                    self.metrics.buffers_starved += 1;
                    self.submissions.push(Submission::RecvDatagrams);
                }
                Err(errno) => {
                    tracing::warn!(errno, "receiving datagrams pauses");
                    self.datagrams.retry_at = Some(self.now.after(RECEIVE_RETRY));
                }
            }
        }
        match result {
            Ok((from, lease)) => {
                let bytes = self.io.bytes(&lease);
                self.endpoint.handle(self.now, Input::Datagram { from, bytes });
                self.io.give_back(lease);
                self.settle();
            }
            Err(libc::EMSGSIZE) => self.metrics.datagrams_truncated += 1,
            Err(_) => {}
        }
    }

    pub(super) fn on_datagram_sent(&mut self, result: Result<(), i32>) {
        self.datagrams.in_kernel -= 1;
        // No way to whoever it was for, or a full buffer on the way: as if it were lost later.
        self.metrics.datagrams_unsent += u64::from(result.is_err());
    }

    pub(super) fn enqueue_datagram(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.datagrams.queue.len() == DATAGRAM_QUEUE_MAX {
            self.datagrams.queue.pop_front();
            self.metrics.datagrams_dropped += 1;
        }
        self.datagrams.queue.push_back((to, bytes));
    }

    /// Starts as many sends as may be in the kernel; the end of one starts the next.
    pub(super) fn flush_datagrams(&mut self) {
        while self.datagrams.in_kernel < DATAGRAMS_IN_KERNEL_MAX {
            let Some((to, bytes)) = self.datagrams.queue.pop_front() else { return };
            self.datagrams.in_kernel += 1;
            self.submissions.push(Submission::SendDatagram { to, bytes });
        }
    }

    pub(super) fn retry_datagrams(&mut self) {
        if self.datagrams.retry_at.is_some_and(|at| at <= self.now) {
            self.datagrams.retry_at = None;
            self.submissions.push(Submission::RecvDatagrams);
        }
    }
}
