//! What the parent process and a fleet child say to each other: JSON lines on the child's
//! standard input and output.
//!
//! The child is sent its [`Spec`], tells [`Event::Ready`], waits for [`Order::Go`], tells
//! [`Event::Progress`] four times a second, and after [`Order::Stop`] answers [`Event::Done`]. It
//! keeps its connections until its standard input closes, and so never outlives the parent.

use std::net::SocketAddr;

use clap::ValueEnum;
use codec::{Hash, Network};
use serde::{Deserialize, Serialize};

/// How the clients talk to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// io_uring, by tokio-uring.
    TokioUring,
    /// epoll, by plain tokio.
    Tokio,
}

/// What the clients of a fleet do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Task {
    /// Write payloads as fast as the engine reads them.
    Flood,
    /// Be quiet peers beside a flood: ping, and measure.
    Probe,
    /// Receive what the chain publishes.
    Broadcast,
    /// Be there, and ping.
    Idle,
    /// Connect, greet, leave, again and again.
    Churn,
}

/// The network that the clients greet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NetworkSpec {
    preset: String,
    magic: [u8; 2],
    genesis: [u8; 32],
}

impl NetworkSpec {
    pub(crate) fn of(network: &Network) -> Self {
        Self { preset: network.name.to_owned(), magic: network.magic, genesis: network.genesis.0 }
    }

    pub(crate) fn network(&self) -> Network {
        let base = Network::preset(&self.preset).unwrap_or(Network::DEV);
        Network { magic: self.magic, genesis: Hash(self.genesis), ..base }
    }
}

/// What one child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) task: Task,
    pub(crate) backend: Backend,
    pub(crate) network: NetworkSpec,
    pub(crate) target: SocketAddr,
    /// Whether the engine may relay payloads: one elsewhere may, the embedded one has a chain that
    /// accepts nothing.
    pub(crate) relays: bool,
    /// Connections of this child, over all its threads.
    pub(crate) connections: u32,
    /// Number of this child's first client.
    pub(crate) first_client: u32,
    /// Threads of this child, and the number of the first among those of all children.
    pub(crate) threads: u16,
    pub(crate) first_thread: u16,
    pub(crate) seed: u64,
    pub(crate) payload_bytes: usize,
    pub(crate) frames_per_write: u32,
    /// Writes between two Pings of a flooding client; at most two Pings wait for an answer.
    pub(crate) writes_per_ping: u32,
    /// Duplicates are at most this many ids of their thread old.
    pub(crate) window: u64,
    /// Most ids of a thread that are drawn while a write of one of its clients is under way.
    pub(crate) slack: u64,
    /// Old duplicates are at least this many ids of their thread old; `None` for none.
    pub(crate) old_age: Option<u64>,
}

/// What the parent tells a child after the spec.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Begin.
    Go,
    /// Write nothing new.
    Stop,
}

/// Running counts of a fleet, from its own side: sent is what the clients wrote.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) connected: u64,
    pub(crate) handshakes: u64,
    pub(crate) frames_sent: u64,
    pub(crate) bytes_sent: u64,
    /// Frames sent of payloads that another client had written already.
    pub(crate) duplicates: u64,
    /// Frames sent of payloads that the engine no longer remembers exactly.
    pub(crate) old: u64,
    pub(crate) frames_received: u64,
    pub(crate) bytes_received: u64,
    /// Payloads of a broadcast received for the first time, and again, and altered.
    pub(crate) received_once: u64,
    pub(crate) doubled: u64,
    pub(crate) corrupted: u64,
    /// Pings that the clients sent, and answers that they got; pings that they answered.
    pub(crate) pings: u64,
    pub(crate) pongs: u64,
    pub(crate) pings_answered: u64,
    pub(crate) faults: u64,
}

impl Tally {
    /// Adds the counts of another part of the fleet.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            connected,
            handshakes,
            frames_sent,
            bytes_sent,
            duplicates,
            old,
            frames_received,
            bytes_received,
            received_once,
            doubled,
            corrupted,
            pings,
            pongs,
            pings_answered,
            faults,
        } = other;
        self.connected += connected;
        self.handshakes += handshakes;
        self.frames_sent += frames_sent;
        self.bytes_sent += bytes_sent;
        self.duplicates += duplicates;
        self.old += old;
        self.frames_received += frames_received;
        self.bytes_received += bytes_received;
        self.received_once += received_once;
        self.doubled += doubled;
        self.corrupted += corrupted;
        self.pings += pings;
        self.pongs += pongs;
        self.pings_answered += pings_answered;
        self.faults += faults;
    }
}

/// The last word of one fleet thread.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct ThreadDone {
    pub(crate) thread: u16,
    /// New ids drawn: all below.
    pub(crate) next: u64,
    /// Ids that may not have been written completely.
    pub(crate) unwritten: Vec<u64>,
    /// Frames that the slowest and the fastest client of a flood wrote.
    pub(crate) client_frames: Option<(u64, u64)>,
    /// Latencies in microseconds, as (value, count).
    pub(crate) latencies: Vec<(u64, u64)>,
    /// What went wrong, in words; the first few.
    pub(crate) faults: Vec<String>,
    /// Whether every socket took the congestion control that was asked for.
    pub(crate) cubic: bool,
}

/// What a child tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// All connections stand, or have failed.
    Ready(Tally),
    /// Counts so far.
    Progress(Tally),
    /// Nothing more is written.
    Done(Tally, Vec<ThreadDone>),
}

/// Longest latency that is told apart, in microseconds: one minute.
pub(crate) const LATENCY_US_MAX: u64 = 60_000_000;

/// The congestion control of all sockets of a bench: the system's default may pace, which would
/// measure the pacing.
pub(crate) const CONGESTION_CONTROL: &str = "cubic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_survives_the_way_to_a_child() {
        for network in [Network::DEV, Network::GRIN_MAIN] {
            let text = serde_json::to_string(&NetworkSpec::of(&network)).unwrap();
            let spec: NetworkSpec = serde_json::from_str(&text).unwrap();
            assert_eq!(spec.network(), network);
        }
    }
}
