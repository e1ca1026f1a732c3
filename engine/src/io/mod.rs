//! What the loop may ask of the kernel.
//!
//! Two implementors: the ring, and in tests a scripted one that injects faults. The loop hands over
//! a batch of [`Submission`]s once a turn and gets back [`Completion`]s, copied out before any is
//! handled.
//!
//! Memory that the kernel holds is owned here: the frames of a send travel into
//! [`Submission::Send`] and come back with [`Completion::Sent`]; received bytes stay in the buffer
//! pool, and a [`Lease`] is the right to read them until it is given back.

mod bell;
#[allow(unsafe_code, reason = "memory that the kernel fills")]
mod buffers;
#[allow(unsafe_code, reason = "a zeroed message header")]
mod datagrams;
mod error;
mod op;
#[allow(unsafe_code, reason = "entries point to memory that is kept until they complete")]
mod operations;
#[allow(unsafe_code, reason = "the system call, and the order in which memory is freed")]
mod ring;
#[cfg(test)]
mod ring_tests;
#[cfg(test)]
pub(crate) mod scripted;
#[allow(unsafe_code, reason = "a zeroed message header")]
mod sends;
#[allow(unsafe_code, reason = "descriptors that come from the kernel as numbers")]
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use codec::Payload;
use peer::ConnId;

pub use buffers::BufferConfig;
pub use error::RingError;
pub(crate) use ring::{DATAGRAM_POOL_BYTES, Ring, RingConfig, pool_bytes};

/// An open socket; a plain handle, closed only by [`Submission::Close`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Socket(pub(super) i32);

/// A listening socket, by the order of [`Io::listen`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListenerId(pub(super) u16);

/// Which pool of receive buffers a connection reads into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    /// Small buffers, for gossip.
    Small,
    /// Large buffers, for a connection that is assembling a large frame.
    Large,
    /// Buffers of one datagram each, for the socket of those alone.
    Datagrams,
}

/// The right to read one received buffer. Not cloneable: it goes home by [`Io::give_back`], once.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Lease {
    pub(super) group: Group,
    pub(super) buffer: u16,
    /// Where in the buffer the bytes begin.
    pub(super) start: u32,
    pub(super) bytes: u32,
}

impl Lease {
    /// The pool that it is of.
    pub(crate) const fn group(&self) -> Group {
        self.group
    }
}

/// Most frames of one send.
pub(crate) const SEND_FRAMES_MAX: usize = 64;

/// The frames of one vectored send: all of them, without the first `skip` bytes (which a short
/// send has delivered already).
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// At most [`SEND_FRAMES_MAX`], none empty.
    pub(crate) frames: Vec<Payload>,
    /// Less than the bytes of the first frame.
    pub(crate) skip: usize,
}

/// One operation for the kernel.
#[derive(Debug)]
pub(crate) enum Submission {
    /// Accept connections until told otherwise (multishot).
    Accept { listener: ListenerId },
    /// Make a socket and connect it.
    Connect { conn: ConnId, addr: SocketAddr },
    /// Receive into buffers of a group until told otherwise (multishot), or `once`.
    Recv { conn: ConnId, socket: Socket, group: Group, once: bool },
    /// Ask the receive of this connection to end; its last completion still comes.
    CancelRecv { conn: ConnId },
    /// Ask the connect of this connection to end; its completion still comes.
    CancelConnect { conn: ConnId },
    /// Send all frames, in one vectored operation.
    Send { conn: ConnId, socket: Socket, gathered: Gathered },
    /// Close the socket. Only when no operation of it is in the kernel.
    Close { conn: ConnId, socket: Socket },
    /// Receive datagrams until told otherwise (multishot).
    RecvDatagrams,
    /// Send one datagram.
    SendDatagram { to: SocketAddr, bytes: Vec<u8> },
    /// Wake the chain: add one to the eventfd given at start. No completion.
    NotifyChain,
}

/// What came of an operation. `Err` holds the errno.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A connection was accepted; its remote address is canonical (never IPv4-mapped).
    /// `more`: the multishot goes on.
    Accepted { listener: ListenerId, result: Result<(Socket, SocketAddr), i32>, more: bool },
    /// A connect ended. On failure the socket is closed already.
    Connected { conn: ConnId, result: Result<Socket, i32> },
    /// Bytes came, or (`None`) the stream ended, or an errno. `more`: the multishot goes on;
    /// without it nothing more comes for this receive.
    Received { conn: ConnId, result: Result<Option<Lease>, i32>, more: bool },
    /// A send ended; the frames come home.
    Sent { conn: ConnId, gathered: Gathered, result: Result<usize, i32> },
    /// The socket is closed.
    Closed { conn: ConnId },
    /// A datagram came from this canonical address, or an errno: EMSGSIZE for one that was longer
    /// than any may be. `more`: the multishot goes on.
    Datagram { result: Result<(SocketAddr, Lease), i32>, more: bool },
    /// A datagram left, or did not.
    DatagramSent { result: Result<(), i32> },
    /// Another thread woke the loop.
    Woken,
}

/// How long a turn may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait {
    /// At most this long; `None` is for ever; zero does not wait.
    pub(crate) timeout: Option<Duration>,
    /// What ends it before.
    pub(crate) until: Until,
}

/// What ends a wait before its time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The first completion.
    First,
    /// For a busy loop, so many of them; after its patience, the first one.
    Batch(Batch),
    /// For a loop that naps, a wake by another thread. What completes meanwhile is reaped then. No
    /// wait at all if there is something to submit, or to reap.
    Woken,
}

/// A batching wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    pub(crate) want: u32,
    pub(crate) patience: Duration,
}

/// Which half of a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Half {
    /// We send no more.
    Write,
    /// Neither side does; operations in the kernel end.
    Both,
}

/// The kernel, as the loop sees it.
pub(crate) trait Io {
    /// Binds and listens; the answer has the port that port 0 became.
    fn listen(&mut self, addr: SocketAddr) -> io::Result<(ListenerId, SocketAddr)>;

    /// Binds the socket of datagrams, which there is once; the answer has the port that port 0
    /// became.
    fn bind_datagrams(&mut self, addr: SocketAddr) -> io::Result<SocketAddr>;

    /// Submits the whole batch, waits, and appends what completed. One system call, or none when
    /// there is nothing to submit or wait for; more only when the batch is larger than the ring.
    fn turn(
        &mut self,
        submissions: &mut Vec<Submission>,
        wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()>;

    /// The bytes of a lease.
    fn bytes(&self, lease: &Lease) -> &[u8];

    /// Returns a buffer to its pool; the kernel sees it with the next turn.
    fn give_back(&mut self, lease: Lease);

    /// Buffers of a group that are not lent out.
    fn buffers_free(&self, group: Group) -> u32;

    /// Buffers of a group that the kernel will have in the next turn: of those that are not lent
    /// out, as many as are useful.
    fn buffers_shown(&self, group: Group) -> u32;

    /// Buffers of a group in all.
    fn buffers(&self, group: Group) -> u32;

    /// Shuts down a half or both of a connection, at once.
    fn shutdown(&mut self, socket: Socket, half: Half);

    /// Times the kernel was entered, for the counters.
    fn entries(&self) -> u64;

    /// Bytes of the fixed pools here: rings, buffers.
    fn pool_bytes(&self) -> usize;
}
