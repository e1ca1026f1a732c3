//! What the parent process and an engine that spreads messages say to each other: JSON lines.
//!
//! The child is sent its [`Spec`], tells [`Said::Started`], then what it hears as it hears it, and
//! once a second how it sees itself and the others. It ends when it is told to, or when its
//! standard input closes, and so never outlives the parent.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The topic of all messages.
pub(super) const TOPIC: &[u8] = b"cluster";

/// How often an engine tells how it sees itself and the others.
pub(super) const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Over what messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Over {
    /// A tree over the connections of an overlay.
    Streams,
    /// Push-pull gossip.
    Datagrams,
}

/// What one engine is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) over: Over,
    /// Whom it knows; the first knows nobody.
    pub(super) contact: Option<SocketAddr>,
    /// Where others reach it; with port 0 where it listens.
    pub(super) reached_at: SocketAddr,
    /// The instant of the monotonic clock from which all times count.
    pub(super) start_ns: u64,
    /// Bytes of a message.
    pub(super) message_bytes: usize,
}

/// What the parent tells an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Say the message of this number.
    Publish(u32),
    /// Say goodbye to all, and end.
    Leave,
}

/// A message that was heard: its number, the microsecond, and the links that it came over.
pub(super) type Hearing = (u32, u64, Option<u16>);

/// How an engine sees itself and the others.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    /// The microsecond.
    pub(super) us: u64,
    /// Others that it takes to live: those it is connected with, or those of its cluster.
    pub(super) alive: Vec<SocketAddr>,
    /// Others that do not answer.
    pub(super) suspected: Vec<SocketAddr>,
    /// Others that it takes to be dead.
    pub(super) dead: Vec<SocketAddr>,
    /// Messages that came and were new, those that were known, those announced that nobody sent,
    /// and those that its ear was too slow for.
    pub(super) new: u64,
    pub(super) known: u64,
    pub(super) missed: u64,
    pub(super) lagged: u64,
    /// Connections that it gave up since the other was silent.
    pub(super) silent: u64,
}

/// What an engine tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// It listens, and others see it at the other address.
    Started { us: u64, addr: SocketAddr, seen_at: SocketAddr },
    /// It has just been asked to say this message.
    Published { us: u64, message: u32 },
    /// What it heard lately.
    Heard(Vec<Hearing>),
    /// How it sees itself and the others.
    Looked(Look),
    /// It has ended, politely; what went wrong.
    Ended { us: u64, fault: Option<String> },
}
