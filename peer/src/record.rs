//! What outlives the process: records of addresses and bans, and how they change.
//!
//! The core notes what changed; the driver takes it once a turn
//! ([`Endpoint::take_changes`](crate::Endpoint::take_changes)) and brings it to a store. What a
//! store gives back at the next start is [`Restored`].

use std::net::{IpAddr, SocketAddr};

use codec::Capabilities;

use crate::bans::{Ban, BanTarget};
use crate::time::UnixTime;

/// All that is kept of one address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressRecord {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Who told us first: the IP of a peer, or its own.
    pub source: IpAddr,
    /// Whether a handshake with it succeeded that we had dialled.
    pub tried: bool,
    /// What it offered last, or what was told of it.
    pub capabilities: Capabilities,
    /// When it was last known to be there, by our own eyes or by others' word.
    pub last_seen: UnixTime,
    /// When we dialled it last; zero: never.
    pub last_attempt: UnixTime,
    /// When a handshake that we had dialled last succeeded; zero: never.
    pub last_success: UnixTime,
    /// Dials that failed since the last success.
    pub failures: u32,
}

/// One record to keep, or to keep no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// This is known of an address now.
    Address(AddressRecord),
    /// This address is forgotten.
    AddressGone(SocketAddr),
    /// This is banned.
    Ban(Ban),
    /// This is banned no more.
    BanGone(BanTarget),
    /// The outbound peers to dial first after a restart, the longest-lived first.
    Anchors(Vec<SocketAddr>),
    /// What decides the places in the address book; without it a restart shuffles the book.
    Secret([u8; 32]),
}

/// What an earlier process had kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Restored {
    /// See [`Change::Secret`].
    pub secret: Option<[u8; 32]>,
    /// See [`Change::Anchors`].
    pub anchors: Vec<SocketAddr>,
    /// All addresses.
    pub addresses: Vec<AddressRecord>,
    /// All bans, those that have ended meanwhile included.
    pub bans: Vec<Ban>,
}
