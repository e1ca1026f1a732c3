//! Accepting and dialling.
//!
//! An accept that fails, for want of descriptors above all, pauses accepting and nothing else; a
//! house that is full turns the newcomer away at once.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use peer::{ConnId, Input};

use super::{Deferred, EventLoop};
use crate::connection::{Connection, Phase};
use crate::io::{ListenerId, Socket, Submission};

/// How soon accepting is tried again when it failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long a dial may take; grin's own.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

impl EventLoop {
    pub(super) fn on_accepted(
        &mut self,
        listener: ListenerId,
        result: Result<(Socket, SocketAddr), i32>,
        more: bool,
    ) {
        // Whoever gave up while it waited for us is off the queue. Any other error may come again
        // at once, and for as long as descriptors or memory are lacking.
        let failed = result.err().filter(|errno| *errno != libc::ECONNABORTED);
        if !more && self.stop_at.is_none() {
            match (self.listeners.iter_mut().find(|known| known.id == listener), failed) {
                (Some(known), Some(errno)) => {
                    let error = io::Error::from_raw_os_error(errno);
                    tracing::warn!(%error, "accepting pauses");
                    known.retry_at = Some(self.now.after(ACCEPT_RETRY));
                }
                (Some(_), None) => self.submissions.push(Submission::Accept { listener }),
                (None, _) => {}
            }
        }
        let Ok((socket, addr)) = result else { return };
        let connection = Connection::accepted(socket, addr);
        let conn = match self.stop_at {
            None => self.connections.insert(connection),
            Some(_) => None,
        };
        match conn {
            Some(conn) => {
                self.metrics.accepted += 1;
                self.feed(Input::Accepted { conn, addr });
                self.after_operation(conn);
            }
            None => {
                self.submissions.push(Submission::Close { conn: NOBODY, socket });
                self.feed(Input::TurnedAway);
            }
        }
    }

    pub(super) fn on_connected(&mut self, conn: ConnId, result: Result<Socket, i32>) {
        let Some(connection) = self.connections.get_mut(conn) else {
            self.metrics.completions_stale += 1;
            return;
        };
        let addr = connection.addr;
        match result {
            Ok(socket) => {
                connection.socket = Some(socket);
                connection.to(Phase::Open);
                self.feed(Input::Dialed { conn, addr });
                self.after_operation(conn);
            }
            Err(errno) => {
                tracing::debug!(%addr, errno, "dial failed");
                self.connections.remove(conn);
                self.feed(match errno {
                    // Descriptors, memory or local ports ran out: nothing of this left the machine.
                    libc::EMFILE
                    | libc::ENFILE
                    | libc::ENOMEM
                    | libc::ENOBUFS
                    | libc::EADDRNOTAVAIL => Input::NotDialed { addr },
                    _ => Input::DialFailed { addr },
                });
            }
        }
    }

    pub(super) fn dial(&mut self, addr: SocketAddr) {
        match self.connections.insert(Connection::dialing(addr, self.now)) {
            Some(conn) => {
                self.metrics.dialed += 1;
                self.watch(conn);
                self.submissions.push(Submission::Connect { conn, addr });
            }
            None => self.deferred.push(Deferred::NotDialed(addr)),
        }
    }
}

/// Names no connection: a close whose completion concerns nobody.
const NOBODY: ConnId = ConnId::new((1 << 24) - 1, 0);
