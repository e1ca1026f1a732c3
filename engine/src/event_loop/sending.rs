//! Sending: handlers mark a connection, and at the end of the turn all that waits for it leaves
//! in one send.
//!
//! One send per connection is in the kernel at most. A reader that lags loses what it can do
//! without when its queue is full, and the core is told; one whose send stands still loses its
//! connection; nobody waits for either.

use std::collections::VecDeque;
use std::time::Duration;

use codec::Payload;
use peer::{CloseReason, ConnId, Input};

use super::{Deferred, EventLoop};
use crate::connection::{Connection, Phase, Sending};
use crate::io::{Gathered, Socket, Submission};
use crate::send_queue::{Pushed, advance};

/// Sends of either list submitted in one turn, at some microseconds each; the rest follow in the
/// next. Whoever asks something in the midst of a broadcast waits for so many, half a millisecond;
/// a turn's own cost is a hundredth of theirs.
pub(super) const SENDS_PER_TURN: usize = 64;

/// A send older than this marks a slow reader, for which nobody else waits.
const SEND_STALL: Duration = Duration::from_secs(1);

/// A send older than this, and than its bytes excuse at [`SEND_RATE_MIN`], ends the connection.
const STUCK_WRITE: Duration = Duration::from_secs(20);

/// Slowest reader that is endured, in bytes a second.
const SEND_RATE_MIN: u64 = 32 * 1024;

/// Emptied send vectors that are kept for the next sends.
const SPARE_VECTORS_MAX: usize = 1_024;

impl EventLoop {
    /// Starts what is to be sent: first where control messages wait, which people and deadlines
    /// wait for, then where only payloads do.
    pub(super) fn flush_dirty(&mut self) {
        for _ in 0..self.urgent.len().min(SENDS_PER_TURN) {
            let Some(conn) = self.urgent.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.urgent = false;
            self.start_send(conn);
        }
        for _ in 0..self.dirty.len().min(SENDS_PER_TURN) {
            let Some(conn) = self.dirty.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.dirty = false;
            self.start_send(conn);
        }
    }

    pub(super) fn start_send(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.sending.is_some() || connection.queue.is_idle() {
            return;
        }
        let Some(socket) = connection.socket else { return };
        let frames = self.spare.pop().unwrap_or_default();
        let mut gathered = Gathered { frames, skip: 0 };
        connection.queue.gather(&mut gathered);
        if connection.crowded && !connection.queue.is_crowded() {
            connection.crowded = false;
            self.crowded -= 1;
        }
        self.metrics.sends += 1;
        self.metrics.payloads_sent += gathered.frames.len() as u64;
        self.submit_send(conn, socket, gathered);
    }

    pub(super) fn submit_send(&mut self, conn: ConnId, socket: Socket, gathered: Gathered) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let bytes: usize = gathered.frames.iter().map(|payload| payload.frame().len()).sum();
        let excuse = Duration::from_millis(bytes as u64 * 1000 / SEND_RATE_MIN);
        connection.sending = Some(Sending { since: self.now, patience: STUCK_WRITE + excuse });
        self.sends_in_kernel += 1;
        self.submissions.push(Submission::Send { conn, socket, gathered });
    }

    pub(super) fn on_sent(
        &mut self,
        conn: ConnId,
        mut gathered: Gathered,
        result: Result<usize, i32>,
    ) {
        self.sends_in_kernel -= 1;
        let Some(connection) = self.connections.get_mut(conn) else {
            self.metrics.completions_stale += 1;
            return;
        };
        connection.sending = None;
        connection.slow = false;
        let ends = matches!(connection.phase(), Phase::Closing | Phase::Closed);
        let raw = gathered.frames.first().is_some_and(Payload::is_piece);
        let mut pieces = 0;
        match (result, connection.socket) {
            (Ok(bytes @ 1..), Some(socket)) if !ends => {
                self.metrics.bytes_sent += bytes as u64;
                let before = gathered.frames.len();
                let done = advance(&mut gathered, bytes);
                let whole = before - gathered.frames.len();
                if raw {
                    pieces = whole;
                } else {
                    self.metrics.frames_sent += whole as u64;
                }
                if !done {
                    self.submit_send(conn, socket, gathered);
                    return self.tell_sent(conn, pieces);
                }
                if self.spare.len() < SPARE_VECTORS_MAX {
                    self.spare.push(gathered.frames);
                }
                if !connection.queue.is_idle() {
                    mark(conn, connection, &mut self.urgent, &mut self.dirty);
                }
            }
            _ if connection.is_open() => self.lose(conn, CloseReason::ConnectionLost),
            _ if matches!(connection.phase(), Phase::Goodbye { .. }) => self.start_closing(conn),
            _ => {}
        }
        self.tell_sent(conn, pieces);
        self.after_operation(conn);
    }

    /// The core wants the next pieces of an archive as these have left.
    fn tell_sent(&mut self, conn: ConnId, pieces: usize) {
        for _ in 0..pieces {
            if self.connections.get(conn).is_some_and(Connection::is_open) {
                self.feed(Input::PieceSent { conn });
            }
        }
    }

    /// Puts a payload into a connection's queue. The core is told of what is dropped.
    pub(super) fn enqueue(&mut self, conn: ConnId, payload: Payload) {
        let Some(connection) = self.connections.get_mut(conn).filter(|one| one.is_open()) else {
            return;
        };
        match connection.queue.push(payload) {
            Pushed::Queued => {
                if !connection.crowded && !connection.slow && connection.queue.is_crowded() {
                    connection.crowded = true;
                    self.crowded += 1;
                }
                mark(conn, connection, &mut self.urgent, &mut self.dirty);
            }
            Pushed::Dropped(payload) => {
                self.metrics.relay_dropped += 1;
                self.deferred.push(Deferred::Dropped(conn, payload));
            }
            Pushed::Full => self.deferred.push(Deferred::Lost(conn, CloseReason::SlowReader)),
        }
    }

    pub(super) fn look_at_sends(&mut self) {
        let mut stuck = Vec::new();
        for conn in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            let Some(Sending { since, patience }) = connection.sending else { continue };
            let age = self.now.since(since);
            if age >= SEND_STALL {
                connection.slow = true;
                if std::mem::take(&mut connection.crowded) {
                    self.crowded -= 1;
                }
            }
            if age >= patience && connection.is_open() {
                stuck.push(conn);
            }
        }
        for conn in stuck {
            self.lose(conn, CloseReason::SlowReader);
        }
    }
}

/// Puts a connection into the list that its most urgent message belongs to.
fn mark(
    conn: ConnId,
    connection: &mut Connection,
    urgent: &mut VecDeque<ConnId>,
    dirty: &mut VecDeque<ConnId>,
) {
    let (marked, list) = match connection.queue.has_control() {
        true => (&mut connection.urgent, urgent),
        false => (&mut connection.dirty, dirty),
    };
    if !std::mem::replace(marked, true) {
        list.push_back(conn);
    }
}
