//! Closing: goodbye, then everything is asked to end, its operations come home, and only then is
//! the socket closed and the slot given up.

use std::time::Duration;

use peer::{CloseReason, ConnId};

use super::connecting::DIAL_TIMEOUT;
use super::{EventLoop, WATCH_PERIOD};
use crate::connection::{Phase, Receive};
use crate::io::{Half, Submission};

/// How long a goodbye may take, and how much is still read (and thrown away) meanwhile.
pub(super) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) const GOODBYE_BYTES_MAX: usize = 64 << 10;

impl EventLoop {
    /// The core ended it: its last words leave, if it has any.
    pub(super) fn say_goodbye(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !connection.is_open() {
            return;
        }
        tracing::debug!(addr = %connection.addr, reason = reason.name(), "closing");
        connection.queue.keep_control();
        self.see_off(conn);
    }

    /// The remote is gone, or only its sending half is: then it still reads what it had asked for,
    /// and what is queued leaves within the time of a goodbye.
    pub(super) fn on_lost(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if reason != CloseReason::RemoteClosed || !connection.is_open() {
            return self.start_closing(conn);
        }
        connection.queue.seal();
        self.see_off(conn);
    }

    /// What is queued leaves, and then the connection ends.
    fn see_off(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.queue.is_idle() && connection.sending.is_none() {
            return self.start_closing(conn);
        }
        connection.to(Phase::Goodbye { since: self.now, discarded: 0, write_shut: false });
        self.release(conn);
        self.watch(conn);
    }

    /// Everything of it is asked to end.
    pub(super) fn start_closing(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !matches!(connection.phase(), Phase::Open | Phase::Goodbye { .. }) {
            return;
        }
        connection.to(Phase::Closing);
        connection.queue.clear();
        if let (Some(socket), false) = (connection.socket, connection.is_joined()) {
            self.io.shutdown(socket, Half::Both);
        }
        self.release(conn);
        self.after_operation(conn);
    }

    /// Gives back what a connection that no longer matters holds of shared things.
    pub(super) fn release(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.waits = None;
        let parked = std::mem::take(&mut connection.parked);
        if std::mem::take(&mut connection.crowded) {
            self.crowded -= 1;
        }
        for parked in parked {
            self.let_go(parked);
        }
    }

    /// The next step of a connection, after one of its operations ended.
    pub(super) fn after_operation(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(socket) = connection.socket else { return };
        match connection.phase() {
            Phase::Goodbye { since, discarded, write_shut: false }
                if connection.queue.is_idle() && connection.sending.is_none() =>
            {
                connection.to(Phase::Goodbye { since, discarded, write_shut: true });
                self.io.shutdown(socket, Half::Write);
                if connection.ended.is_some() {
                    return self.start_closing(conn);
                }
            }
            Phase::Closing if connection.is_joined() => {
                connection.to(Phase::Closed);
                return self.submissions.push(Submission::Close { conn, socket });
            }
            _ => {}
        }
        if connection.wants_receive() {
            connection.receive = Receive::Armed;
            // While the lane is full, or the rate used up, a receive must not take more than one
            // buffer: what comes has nowhere to go, and the others need theirs.
            let once = !(self.lane_waiters.is_empty() && self.rate_waiters.is_empty());
            let group = connection.group;
            self.submissions.push(Submission::Recv { conn, socket, group, once });
        }
    }

    pub(super) fn on_closed(&mut self, conn: ConnId) {
        self.connections.remove(conn);
    }

    pub(super) fn watch(&mut self, conn: ConnId) {
        if !self.is_watching() {
            self.watch_at = self.now.after(WATCH_PERIOD);
        }
        self.watched.push(conn);
    }

    pub(super) fn look_at_watched(&mut self) {
        let watched = std::mem::take(&mut self.watched);
        for conn in watched {
            let Some(connection) = self.connections.get(conn) else { continue };
            match connection.phase() {
                Phase::Dialing { since } if self.now.since(since) >= DIAL_TIMEOUT => {
                    self.submissions.push(Submission::CancelConnect { conn });
                }
                Phase::Goodbye { since, .. } if self.now.since(since) >= GOODBYE_TIMEOUT => {
                    self.start_closing(conn);
                }
                Phase::Dialing { .. } | Phase::Goodbye { .. } => self.watched.push(conn),
                Phase::Open | Phase::Closing | Phase::Closed => {}
            }
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        !self.watched.is_empty()
            || self.sends_in_kernel > 0
            || self.buffer_waiters.iter().any(|waiters| !waiters.is_empty())
    }
}
