//! One connection: a socket, its operations in the kernel, and what waits on either side.
//!
//! Closing is a state that joins: the end is asked for, the last operation comes home, and only
//! then is the socket closed and the slot given up. A completion that comes later misses by its
//! generation.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use peer::{CloseReason, ConnId, Instant, Table};

use crate::io::{Group, Lease, Socket};
use crate::send_queue::SendQueue;

/// One socket and everything that belongs to it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Option<Socket>,
    pub(crate) addr: SocketAddr,
    phase: Phase,
    pub(crate) receive: Receive,
    /// Which buffers the receive uses, or is to use next.
    pub(crate) group: Group,
    /// Receives in a row that spoke for the other group.
    pub(crate) misfits: u8,
    /// Received and not consumed yet, oldest first. Longer than [`PARKED_MAX`] only by what was
    /// in the kernel when the receive was asked to end.
    pub(crate) parked: VecDeque<Parked>,
    /// The stream ended, or broke, behind what is parked.
    pub(crate) ended: Option<CloseReason>,
    /// The core was told that we do not read.
    pub(crate) paused: bool,
    /// It waits for a turn of its own, for room on the lane, for the rate, or for buffers.
    pub(crate) waits: Option<Waits>,
    /// A turn, and how many frames were handled in it.
    handled: (u64, u32),
    pub(crate) queue: SendQueue,
    /// The send in the kernel: never more than one.
    pub(crate) sending: Option<Sending>,
    /// Its send stands still: nobody waits for it.
    pub(crate) slow: bool,
    /// Its queue is half full, although it reads.
    pub(crate) crowded: bool,
    /// It is in the list of those that have something to send.
    pub(crate) dirty: bool,
    /// It is in the list of those that have control messages to send.
    pub(crate) urgent: bool,
}

/// Leases that one connection may hold before its receive is ended: what it has sent then waits
/// in its socket, and TCP tells it.
pub(crate) const PARKED_MAX: usize = 2;

/// Bytes that came and were not consumed.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) held: Held,
    pub(crate) consumed: usize,
}

/// Where parked bytes are.
#[derive(Debug)]
pub(crate) enum Held {
    /// In the buffer that they came in.
    Lease(Lease),
    /// Copied out of it, because half of the buffers were parked already.
    Copy(Box<[u8]>),
}

/// A send in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sending {
    pub(crate) since: Instant,
    /// How old it may grow, given its bytes.
    pub(crate) patience: Duration,
}

/// What a connection that cannot go on waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waits {
    /// Its next share of a turn.
    Turn,
    /// Room on the lane to the chain.
    Lane,
    /// The rate of all that is received.
    Rate,
    /// Free receive buffers.
    Buffers,
}

/// The receive operation of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receive {
    /// Not in the kernel.
    Idle,
    /// In the kernel.
    Armed,
    /// In the kernel, and asked to end.
    Ending,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The connect is in the kernel.
    Dialing {
        since: Instant,
    },
    Open,
    /// We ended it: what is queued for control leaves, then the write half is shut down and the
    /// remote's end of stream awaited, so that the last words are not destroyed by a reset.
    Goodbye {
        since: Instant,
        discarded: usize,
        write_shut: bool,
    },
    /// Everything was asked to end; operations come home.
    Closing,
    /// The close is in the kernel.
    Closed,
}

impl Connection {
    pub(crate) fn dialing(addr: SocketAddr, now: Instant) -> Self {
        Self::new(None, addr, Phase::Dialing { since: now })
    }

    pub(crate) fn accepted(socket: Socket, addr: SocketAddr) -> Self {
        Self::new(Some(socket), addr, Phase::Open)
    }

    fn new(socket: Option<Socket>, addr: SocketAddr, phase: Phase) -> Self {
        Self {
            socket,
            addr,
            phase,
            receive: Receive::Idle,
            group: Group::Small,
            misfits: 0,
            parked: VecDeque::new(),
            ended: None,
            paused: false,
            waits: None,
            handled: (0, 0),
            queue: SendQueue::default(),
            sending: None,
            slow: false,
            crowded: false,
            dirty: false,
            urgent: false,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// The legal transitions, all of them.
    pub(crate) fn to(&mut self, next: Phase) {
        use Phase::{Closed, Closing, Dialing, Goodbye, Open};
        let legal = matches!(
            (self.phase, next),
            (Dialing { .. }, Open | Closed)
                | (Open, Goodbye { .. })
                | (Goodbye { .. }, Goodbye { .. })
                | (Open | Goodbye { .. }, Closing)
                | (Closing, Closed)
        );
        assert!(legal, "{:?} -> {next:?}", self.phase);
        self.phase = next;
    }

    /// How many of its frames were handled in this turn, however many receives they came with.
    pub(crate) const fn handled_in(&self, turn: u64) -> u32 {
        if self.handled.0 == turn { self.handled.1 } else { 0 }
    }

    pub(crate) const fn note_handled(&mut self, turn: u64, frames: u32) {
        self.handled = (turn, self.handled_in(turn) + frames);
    }

    /// Whether nothing of it is in the kernel.
    pub(crate) fn is_joined(&self) -> bool {
        self.receive == Receive::Idle && self.sending.is_none()
    }

    /// Whether a receive should be in the kernel, and is not.
    pub(crate) fn wants_receive(&self) -> bool {
        let reading = match self.phase {
            Phase::Open => self.parked.is_empty() && self.ended.is_none(),
            Phase::Goodbye { .. } => self.ended.is_none(),
            Phase::Dialing { .. } | Phase::Closing | Phase::Closed => false,
        };
        reading && self.receive == Receive::Idle && self.waits.is_none()
    }
}

/// All connections, by slot. A freed slot goes to the end of the line, so that it is used again
/// as late as possible.
#[derive(Debug)]
pub(crate) struct Connections {
    table: Table<Connection>,
    free: VecDeque<ConnId>,
    unused: u32,
    max: u32,
}

impl Connections {
    pub(crate) fn new(max: u32) -> Self {
        Self { table: Table::default(), free: VecDeque::new(), unused: 0, max }
    }

    pub(crate) const fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A slot for a new connection; `None` when all are taken.
    pub(crate) fn insert(&mut self, connection: Connection) -> Option<ConnId> {
        let conn = if self.unused < self.max {
            self.unused += 1;
            ConnId::new(self.unused - 1, 1)
        } else {
            self.free.pop_front()?
        };
        self.table.insert(conn, connection);
        Some(conn)
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.table.get(conn)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.table.get_mut(conn)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.table.iter()
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.table.ids()
    }

    /// Frees the slot. Generations wrap after four billion uses of one slot, and skip zero, which
    /// names nobody.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.table.remove(conn)?;
        let next = conn.generation().checked_add(1).unwrap_or(1);
        self.free.push_back(ConnId::new(conn.index(), next));
        Some(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::dialing(([127, 0, 0, 1], 1).into(), Instant::START)
    }

    #[test]
    fn slots_are_bounded_and_reused_late_with_a_new_generation() {
        let mut connections = Connections::new(2);
        let first = connections.insert(connection()).unwrap();
        let second = connections.insert(connection()).unwrap();
        assert!(connections.insert(connection()).is_none());
        connections.remove(first);
        connections.remove(second);
        let third = connections.insert(connection()).unwrap();
        assert_eq!((third.index(), third.generation()), (first.index(), 2));
        assert!(connections.get(first).is_none());
        assert!(connections.remove(first).is_none());
        assert_eq!(connections.len(), 1);
    }

    #[test]
    #[should_panic(expected = "->")]
    fn a_closed_connection_does_not_open_again() {
        let mut connection = connection();
        connection.to(Phase::Closed);
        connection.to(Phase::Open);
    }
}
