//! Receiving: lent buffers go to the core, and what it has no credit for is parked.
//!
//! A connection that cannot go on waits in exactly one list, and while it waits the core knows that
//! the pause is ours. Nothing is lost: what is not read stays in the socket.

use std::collections::VecDeque;
use std::time::Duration;

use peer::{CloseReason, ConnId, Credit, Input, Instant};

use super::closing::GOODBYE_BYTES_MAX;
use super::{Deferred, EventLoop};
use crate::connection::{Held, PARKED_MAX, Parked, Phase, Receive, Waits};
use crate::io::{Group, Lease, Submission};

/// Frames that one connection may have handled before the others have had their turn.
const FRAMES_PER_CONNECTION_PER_TURN: u32 = 256;

/// Most bytes that are copied out of parked buffers, of all connections together. Beyond it they
/// stay in their buffers, and receiving pauses for everybody when these are used up. Enough for
/// 8,000 connections that have a small buffer parked each.
pub(crate) const PARKED_COPIES_BYTES_MAX: usize = 32 << 20;

/// A chain that leaves its lane full for this long raises an alarm.
const CHAIN_STALL: Duration = Duration::from_secs(30);

/// Receives in a row that fill a small buffer before a connection changes to large ones, and that
/// would have fitted a small one before it changes back.
const MISFITS_SMALL: u8 = 4;

const MISFITS_LARGE: u8 = 64;

impl EventLoop {
    pub(super) fn on_received(
        &mut self,
        conn: ConnId,
        result: Result<Option<Lease>, i32>,
        more: bool,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else {
            self.metrics.completions_stale += 1;
            if let Ok(Some(lease)) = result {
                self.io.give_back(lease);
            }
            return;
        };
        if !more {
            connection.receive = Receive::Idle;
        }
        match result {
            Ok(Some(lease)) => self.on_lease(conn, lease),
            Ok(None) => self.on_stream_end(conn, CloseReason::RemoteClosed),
            Err(libc::ENOBUFS) => {
                self.metrics.buffers_starved += 1;
                if connection.waits.is_none() && connection.parked.is_empty() {
                    self.make_wait(conn, Waits::Buffers);
                }
            }
            Err(libc::ECANCELED) => {} // we asked for it
            Err(_) => self.on_stream_end(conn, CloseReason::ConnectionLost),
        }
        self.after_operation(conn);
    }

    pub(super) fn on_lease(&mut self, conn: ConnId, lease: Lease) {
        let bytes = self.io.bytes(&lease).len();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match connection.phase() {
            Phase::Open => {
                let parked = Parked { held: Held::Lease(lease), consumed: 0 };
                if connection.parked.is_empty() {
                    self.consume(conn, parked);
                } else {
                    let parked = self.keep(parked);
                    if let Some(connection) = self.connections.get_mut(conn) {
                        connection.parked.push_back(parked);
                    }
                }
                self.fit_group(conn, bytes);
                self.bound_parked(conn);
            }
            Phase::Goodbye { since, discarded, write_shut } => {
                let discarded = discarded + bytes;
                connection.to(Phase::Goodbye { since, discarded, write_shut });
                self.io.give_back(lease);
                if discarded > GOODBYE_BYTES_MAX {
                    self.start_closing(conn);
                }
            }
            Phase::Dialing { .. } | Phase::Closing | Phase::Closed => self.io.give_back(lease),
        }
    }

    /// Lets the core take what it has credit for; the rest is parked in front.
    pub(super) fn consume(&mut self, conn: ConnId, mut parked: Parked) {
        let turn = self.metrics.turns;
        let Some(connection) = self.connections.get_mut(conn) else { return self.let_go(parked) };
        let share = FRAMES_PER_CONNECTION_PER_TURN.saturating_sub(connection.handled_in(turn));
        if share == 0 {
            return self.park(conn, parked, Waits::Turn);
        }
        if self.refilled_at().is_some_and(|at| at > self.now) {
            return self.park(conn, parked, Waits::Rate);
        }
        let credit = self.credit(share);
        let bytes = match &parked.held {
            Held::Lease(lease) => self.io.bytes(lease),
            Held::Copy(bytes) => bytes,
        };
        let bytes = &bytes[parked.consumed..];
        let all = bytes.len();
        let frames = self.endpoint.counts().frames_received;
        let consumed = self.endpoint.handle(self.now, Input::Received { conn, bytes, credit });
        if let Some(rate) = self.config.download {
            self.download.charge(consumed as u64, rate, self.now);
        }
        let frames = (self.endpoint.counts().frames_received - frames) as u32;
        self.settle();
        let mut open = self.connections.get_mut(conn).filter(|connection| connection.is_open());
        if let Some(connection) = &mut open {
            connection.note_handled(turn, frames);
        }
        if open.is_none() || consumed == all {
            return self.let_go(parked);
        }
        parked.consumed += consumed;
        self.park(conn, parked, if frames >= share { Waits::Turn } else { Waits::Lane });
    }

    /// What the lane to the chain has room for, and so many frames.
    fn credit(&self, frames: u32) -> Credit {
        let room = self.bridge.room();
        let items = u32::try_from(room.items).unwrap_or(u32::MAX);
        Credit { frames, items, bytes: room.bytes }
    }

    /// Whether the core has events that no receive has to do with, and the lane is full.
    pub(super) fn lacks_room(&self) -> bool {
        self.endpoint.wants_room() && self.bridge.room().items == 0
    }

    /// Tells the core of room for such events.
    pub(super) fn give_room(&mut self) {
        if self.endpoint.wants_room() {
            let credit = self.credit(0);
            self.feed(Input::Room { credit });
        }
    }

    fn park(&mut self, conn: ConnId, parked: Parked, waits: Waits) {
        let parked = self.keep(parked);
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.parked.push_front(parked);
        }
        self.make_wait(conn, waits);
    }

    /// Keeps what is parked in its buffer, unless half of the buffers are parked: then it is copied
    /// out, so that those who have nothing to wait for can still be heard.
    fn keep(&mut self, parked: Parked) -> Parked {
        let Held::Lease(lease) = &parked.held else { return parked };
        let full = self.is_parked_full(lease.group());
        let rest = &self.io.bytes(lease)[parked.consumed..];
        if !full || self.copied_bytes + rest.len() > self.config.parked_copies_max {
            return parked;
        }
        let copy = Box::from(rest);
        self.copied_bytes += rest.len();
        self.let_go(parked);
        Parked { held: Held::Copy(copy), consumed: 0 }
    }

    /// What was parked matters no more.
    pub(super) fn let_go(&mut self, parked: Parked) {
        match parked.held {
            Held::Lease(lease) => self.io.give_back(lease),
            Held::Copy(bytes) => self.copied_bytes -= bytes.len(),
        }
    }

    /// A connection that fills its buffers gets larger ones, and back.
    pub(super) fn fit_group(&mut self, conn: ConnId, bytes: usize) {
        let small = self.config.small_bytes;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let (misfit, patience, other) = match connection.group {
            Group::Small => (bytes >= small, MISFITS_SMALL, Group::Large),
            Group::Large => (bytes <= small, MISFITS_LARGE, Group::Small),
            Group::Datagrams => return, // no connection's
        };
        connection.misfits = if misfit { connection.misfits + 1 } else { 0 };
        if connection.misfits >= patience && connection.is_open() {
            connection.misfits = 0;
            connection.group = other;
            self.end_receive(conn);
        }
    }

    /// Too much is parked: what else the peer sends waits in its socket.
    pub(super) fn bound_parked(&mut self, conn: ConnId) {
        let parked = self.connections.get(conn).map_or(0, |connection| connection.parked.len());
        if parked >= PARKED_MAX {
            self.end_receive(conn);
        }
    }

    pub(super) fn end_receive(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.receive == Receive::Armed {
            connection.receive = Receive::Ending;
            self.submissions.push(Submission::CancelRecv { conn });
        }
    }

    pub(super) fn on_stream_end(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match connection.phase() {
            Phase::Open => {
                connection.ended = Some(reason);
                if connection.parked.is_empty() {
                    self.lose(conn, reason);
                }
            }
            Phase::Goodbye { write_shut, .. } => {
                connection.ended = Some(reason);
                // Whoever only ended its own half still reads our last words.
                if write_shut || reason != CloseReason::RemoteClosed {
                    self.start_closing(conn);
                }
            }
            Phase::Dialing { .. } | Phase::Closing | Phase::Closed => {}
        }
    }

    /// The connection is gone by the remote's or the system's doing.
    pub(super) fn lose(&mut self, conn: ConnId, reason: CloseReason) {
        self.deferred.push(Deferred::Lost(conn, reason));
        self.settle();
    }

    pub(super) fn make_wait(&mut self, conn: ConnId, waits: Waits) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.waits = Some(waits);
        let pause = waits != Waits::Turn && !std::mem::replace(&mut connection.paused, true);
        let list = match waits {
            Waits::Turn => &mut self.runnable,
            Waits::Lane => &mut self.lane_waiters,
            Waits::Rate => &mut self.rate_waiters,
            Waits::Buffers => &mut self.buffer_waiters[connection.group as usize],
        };
        list.push_back(conn);
        if list.len() > 2 * self.connections.len() {
            let waiting = |conn| self.connections.get(conn).and_then(|one| one.waits);
            list.retain(|conn| waiting(*conn) == Some(waits));
        }
        self.metrics.lane_stalls += u64::from(waits == Waits::Lane);
        self.metrics.rate_stalls += u64::from(waits == Waits::Rate);
        if pause {
            self.endpoint.handle(self.now, Input::Paused { conn });
        }
    }

    /// Takes `conn` out of its wait, if it still is in this one.
    pub(super) fn end_wait(&mut self, conn: ConnId, waits: Waits) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        if connection.waits != Some(waits) {
            return false;
        }
        connection.waits = None;
        if std::mem::take(&mut connection.paused) {
            self.endpoint.handle(self.now, Input::Resumed { conn });
        }
        true
    }

    /// Each connection that did not finish its turn gets another share.
    pub(super) fn run_runnable(&mut self) {
        for _ in 0..self.runnable.len() {
            let Some(conn) = self.runnable.pop_front() else { return };
            if self.end_wait(conn, Waits::Turn) {
                self.consume_parked(conn);
            }
        }
    }

    fn consume_parked(&mut self, conn: ConnId) {
        let connection = self.connections.get_mut(conn);
        if let Some(parked) = connection.and_then(|connection| connection.parked.pop_front()) {
            self.consume(conn, parked);
        }
        self.after_parked(conn);
    }

    /// What was parked was consumed, or some of it.
    pub(super) fn after_parked(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !connection.is_open() || connection.waits.is_some() {
            return;
        }
        match (connection.parked.is_empty(), connection.ended) {
            (false, _) => self.make_wait(conn, Waits::Turn),
            (true, Some(reason)) => self.lose(conn, reason),
            (true, None) => {
                connection.parked = VecDeque::new();
                self.after_operation(conn);
            }
        }
    }

    pub(super) fn serve_lane_waiters(&mut self) {
        if self.lane_waiters.is_empty() {
            self.lane_stalled_since = None;
            return;
        }
        if self.bridge.is_half_free() {
            while let Some(conn) = self.lane_waiters.pop_front() {
                if self.end_wait(conn, Waits::Lane) {
                    self.make_wait(conn, Waits::Turn);
                }
            }
            return;
        }
        let since = *self.lane_stalled_since.get_or_insert(self.now);
        if self.now.since(since) >= CHAIN_STALL {
            tracing::warn!(waiting = self.lane_waiters.len(), "the chain does not drain its lane");
            self.lane_stalled_since = Some(self.now);
        }
    }

    /// When the download's rate allows more; `None` without a rate.
    pub(super) fn refilled_at(&self) -> Option<Instant> {
        self.config.download.map(|rate| self.download.ready_at(rate, self.now))
    }

    /// Lets one after the other take more while the rate allows it. Whoever has more than its
    /// share stands at the end of the line again.
    pub(super) fn serve_rate_waiters(&mut self) {
        for _ in 0..self.rate_waiters.len() {
            if self.refilled_at().is_some_and(|at| at > self.now) {
                return;
            }
            let Some(conn) = self.rate_waiters.pop_front() else { return };
            if self.end_wait(conn, Waits::Rate) {
                self.consume_parked(conn);
            }
        }
    }

    /// Receives again where buffers had run out: no more connections in a turn than half of the
    /// buffers serve, since others are receiving already.
    pub(super) fn serve_buffer_waiters(&mut self) {
        for group in [Group::Small, Group::Large] {
            let places = self.io.buffers_shown(group).div_ceil(2) as usize;
            for _ in 0..places.min(self.buffer_waiters[group as usize].len()) {
                let Some(conn) = self.buffer_waiters[group as usize].pop_front() else { break };
                if self.end_wait(conn, Waits::Buffers) {
                    self.after_operation(conn);
                }
            }
        }
    }

    /// Whether half of the buffers of a group hold what was not consumed.
    fn is_parked_full(&self, group: Group) -> bool {
        2 * self.io.buffers_free(group) < self.io.buffers(group)
    }

    /// Whether connections wait for buffers that are there, and only for their turn.
    pub(super) fn has_servable_waiters(&self) -> bool {
        [Group::Small, Group::Large].into_iter().any(|group| {
            !self.buffer_waiters[group as usize].is_empty() && self.io.buffers_shown(group) > 0
        })
    }
}
