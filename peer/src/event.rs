//! The whole conversation between the core and its driver, as data: to be recorded and replayed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use codec::Payload;

use crate::bans::{Ban, BanTarget};
use crate::chain::{ChainTip, FromChain, ToChain};
use crate::record::Restored;

/// A connection: a slot of the driver's table and the generation of its use. Given out by the
/// driver; a completion or an answer that comes after the slot was used again misses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// The id of this use of this slot.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The slot.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Which use of the slot.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Who dialled, seen from us.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// They dialled us.
    Inbound,
    /// We dialled them.
    Outbound,
}

/// What one call of `handle(Received)` may use up. The one mechanism for back-pressure and for
/// fairness: what was not consumed stays with the driver, and comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// Frames of this connection in this turn.
    pub frames: u32,
    /// Events that the lane to the chain has room for.
    pub items: u32,
    /// Payload bytes that the lane to the chain has room for.
    pub bytes: usize,
}

impl Credit {
    /// Whether an event with this many payload bytes may go to the chain.
    #[must_use]
    pub const fn allows(&self, bytes: usize) -> bool {
        self.items > 0 && self.bytes >= bytes
    }

    /// One such event goes.
    pub(crate) const fn use_up(&mut self, bytes: usize) {
        self.items -= 1;
        self.bytes -= bytes;
    }
}

/// What a driver tells the core.
#[derive(Debug)]
pub enum Input<'a> {
    /// They dialled us.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Their address, IPv4-mapped ones made IPv4.
        addr: SocketAddr,
    },
    /// A connection that we asked for stands.
    Dialed {
        /// The new connection.
        conn: ConnId,
        /// The address dialled.
        addr: SocketAddr,
    },
    /// A connection that we asked for came to nothing.
    DialFailed {
        /// The address dialled.
        addr: SocketAddr,
    },
    /// A connection that we asked for was not even tried, or failed for want of something of our
    /// own: a place, a descriptor, a port. It says nothing of the address.
    NotDialed {
        /// The address that was to be dialled.
        addr: SocketAddr,
    },
    /// Bytes came. `handle` answers how many it consumed; the driver keeps the rest, and gives it
    /// again before anything newer of that connection.
    Received {
        /// From whom.
        conn: ConnId,
        /// The bytes, borrowed for this call.
        bytes: &'a [u8],
        /// What the call may use up.
        credit: Credit,
    },
    /// The lane to the chain has room, for events that no receive has to do with. To be given while
    /// [`Endpoint::wants_room`](crate::Endpoint::wants_room) says so.
    Room {
        /// What there is room for; its frames mean nothing.
        credit: Credit,
    },
    /// The driver stopped reading this connection: its liveness deadlines stand still.
    Paused {
        /// Which one.
        conn: ConnId,
    },
    /// The driver reads this connection again.
    Resumed {
        /// Which one.
        conn: ConnId,
    },
    /// The send queue had no room for this, which the peer can do without: a relayed payload, word
    /// of one, or a stem transaction. The peer does not have it after all.
    Dropped {
        /// To whom it was to go.
        conn: ConnId,
        /// What was dropped.
        payload: &'a Payload,
    },
    /// The connection is gone by the remote's or the system's doing, or the driver must end it.
    Closed {
        /// Which one.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// A piece of an archive has left for this peer.
    PieceSent {
        /// To whom.
        conn: ConnId,
    },
    /// What an earlier process had kept. At most once, before any connection.
    Restored(Restored),
    /// The addresses behind a name of [`Output::Resolve`]; none if it could not be resolved.
    Resolved {
        /// The name that was asked for.
        name: Box<str>,
        /// Its addresses.
        addrs: Vec<SocketAddr>,
    },
    /// An operator bans somebody.
    Ban(Ban),
    /// An operator lifts a ban.
    Unban(BanTarget),
    /// Somebody dialled us while all places were taken, and was closed at once.
    TurnedAway,
    /// A command of the chain.
    FromChain(FromChain),
    /// The chain's tip changed.
    Tip(ChainTip),
    /// An operator wants this peer held, and dialled again when it is lost.
    Hold {
        /// Whom to dial.
        addr: SocketAddr,
    },
    /// A datagram came to the socket of [`Gossip::Datagrams`](crate::Gossip::Datagrams).
    Datagram {
        /// From where, as it says.
        from: SocketAddr,
        /// All of it.
        bytes: &'a [u8],
    },
    /// Somebody of ours says something to all who care about a topic. Passed over without
    /// [`gossip`](crate::Config::gossip), and not to be longer than
    /// [`TOPIC_BYTES_MAX`](codec::limits::TOPIC_BYTES_MAX) and
    /// [`Gossip::data_bytes_max`](crate::Gossip::data_bytes_max).
    Publish {
        /// What it is about.
        topic: &'a [u8],
        /// What it says.
        data: &'a [u8],
    },
    /// Say goodbye to everybody and dial nobody any more.
    Shutdown,
    /// The instant of `poll_timeout` has come, or any other instant.
    Timeout,
}

/// What the core tells its driver.
#[derive(Debug)]
pub enum Output {
    /// Make a connection.
    Dial {
        /// To whom.
        addr: SocketAddr,
    },
    /// Send one payload to one or to many: 10,000 sockets are one output.
    Send {
        /// To whom.
        to: Recipients,
        /// What.
        payload: Payload,
    },
    /// Send this from the socket of [`Gossip::Datagrams`](crate::Gossip::Datagrams), or drop it:
    /// what is lost is said again.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// All of it, at most
        /// [`DATAGRAM_BYTES_MAX`](codec::limits::DATAGRAM_BYTES_MAX).
        bytes: Vec<u8>,
    },
    /// Send what is queued for control (a ban reason), then end the connection. The core has
    /// forgotten the peer already.
    Close {
        /// Which one.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// Hand this to the chain. There is room: the credit said so, or it is one of the few events
    /// ([`EVENTS_RESERVED`](crate::EVENTS_RESERVED)) for which the driver always keeps some.
    ToChain(ToChain),
    /// This peer opens envelopes: bulky payloads for it are worth packing. Once, when its handshake
    /// is done.
    Opens {
        /// The peer.
        conn: ConnId,
    },
    /// Somebody said something about a topic: for whoever subscribed.
    Told {
        /// What it is about.
        topic: Arc<[u8]>,
        /// What it says.
        data: Arc<[u8]>,
        /// Links that it came over, as who sent it says; `None`: it came by datagrams, which do
        /// not tell.
        hops: Option<u16>,
    },
    /// Find the addresses behind this name, `host` or `host:port`.
    Resolve {
        /// The name.
        name: Box<str>,
    },
}

/// To whom a payload goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recipients {
    /// One connection.
    One(ConnId),
    /// Many, in slot order.
    Many(Vec<ConnId>),
}

macro_rules! close_reasons {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// Why a connection ended. Each has a name for people and for counters.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum CloseReason { $($(#[$doc])+ $name,)+ }

        impl CloseReason {
            /// Every reason, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in counters and logs: lower case, words joined by underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

close_reasons! {
    /// The remote closed between two frames.
    RemoteClosed = "remote_closed",
    /// The remote closed, or the connection broke, before the handshake was done.
    HandshakeAborted = "handshake_aborted",
    /// The remote closed in the middle of a frame.
    TruncatedFrame = "truncated_frame",
    /// The connection broke: reset, unreachable.
    ConnectionLost = "connection_lost",
    /// No greeting within the handshake's time.
    HandshakeTimeout = "handshake_timeout",
    /// A frame was begun and not finished in its time.
    FrameTimeout = "frame_timeout",
    /// Bytes of another network, or garbage.
    WrongMagic = "wrong_magic",
    /// A chain with another genesis.
    WrongGenesis = "wrong_genesis",
    /// We dialled ourselves.
    Myself = "myself",
    /// A frame header with a length over its kind's limit.
    OversizeFrame = "oversize_frame",
    /// A message that must not come now: a second Hand, an Error, anything before the greeting.
    UnexpectedKind = "unexpected_kind",
    /// An answer that nobody asked for.
    Unsolicited = "unsolicited",
    /// A body with bytes after its last field, where only canonical bytes are relayed.
    TrailingBytes = "trailing_bytes",
    /// A list longer than its limit.
    ListTooLong = "list_too_long",
    /// A body that does not decode.
    Malformed = "malformed",
    /// The remote told us that it bans us.
    BannedByRemote = "banned_by_remote",
    /// It is banned, by a rule or by the operator.
    Banned = "banned",
    /// Another connection with the same host stands.
    Duplicate = "duplicate_connection",
    /// It made room for another.
    Evicted = "evicted",
    /// We only wanted to know whether it is there, or had enough peers when the handshake ended.
    Probed = "probed",
    /// It asked for more than its rate allows, again and again.
    Flooding = "flooding",
    /// The archive that it was to get stood still for too long, or it read it too slowly.
    ArchiveStalled = "archive_stalled",
    /// The chain gave up the archive that was on its way, and so the connection behind it.
    ArchiveGivenUp = "archive_given_up",
    /// The chain says that this peer's chain can never be ours.
    Fork = "fork",
    /// An envelope of this peer did not hold what it said.
    BadEnvelope = "bad_envelope",
    /// The chain called a payload of this peer invalid.
    InvalidPayload = "invalid_payload",
    /// It reads too slowly: its send stood still for too long, or its queue was full of what may
    /// not be dropped.
    SlowReader = "slow_reader",
    /// Nothing came from it for too long, our pings notwithstanding.
    Silent = "silent",
    /// A dial that we asked for came to nothing.
    DialFailed = "dial_failed",
    /// The assembly memory of all peers was used up, and the frame of this one got on slowest.
    AssemblyFull = "assembly_full",
    /// All places are taken.
    NoRoom = "no_room",
    /// The operator wanted it so.
    Operator = "operator",
    /// We are shutting down.
    Shutdown = "shutdown",
}
