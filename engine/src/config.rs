//! How an engine is set up, and what is checked before it starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use codec::Network;
use peer::Gossip;

use crate::event_loop::PARKED_COPIES_BYTES_MAX;
use crate::io::{self, BufferConfig};

/// Descriptors that the engine needs beside its connections (ring, lanes, listeners), and some for
/// the rest of the process (a database, logs).
pub(crate) const DESCRIPTORS_RESERVED: u64 = 256;

/// Most connections that one ring can tell apart: its completions carry 24 bits of slot.
pub(crate) const CONNECTIONS_LIMIT: u32 = (1 << 24) - 1;

/// Least bytes of a recording: the settings, which come first, have a few thousand.
pub(crate) const RECORDING_BYTES_MIN: u64 = 64 << 10;

/// Connections kept for newcomers of a full house: each may show that it is worth more than
/// somebody who is there.
const NEWCOMERS: u32 = 8;

/// Everything that can be chosen about an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The protocol's side: network, identity, timeouts, pools of memory.
    pub peer: peer::Config,
    /// Addresses to listen on, none twice, each exactly itself: an IPv6 one takes no IPv4
    /// connections. Port 0 is chosen by the system. Default: the network's port on all IPv4 and all
    /// IPv6 addresses.
    pub listen: Vec<SocketAddr>,
    /// Where datagrams are received with [`Gossip::Datagrams`](peer::Gossip::Datagrams): one
    /// address of either family. Port 0 is chosen by the system. Default: `peer.advertised`, with
    /// the port of the first listener if it has none.
    pub gossip_listen: Option<SocketAddr>,
    /// Most connections, inbound and outbound together. Default 10,000. Places are kept for the
    /// outbound peers and the dials of `peer.slots` (these at most a quarter) and for a few
    /// newcomers: the inbound peers are at most what is left, and at least one.
    pub connections_max: u32,
    /// The file that keeps addresses and bans for the next start, in a directory that exists.
    /// Default: none, and a restart begins with the seeds. A file that cannot be used keeps no
    /// engine from starting: see [`Handle::store_notices`](crate::Handle::store_notices).
    pub store: Option<PathBuf>,
    /// A file to which all is written that goes into the core and comes out of it, with its
    /// configuration and its secrets, readable for its owner alone: [`peer::replay`] does the same
    /// again. For the search of a bug; it costs a copy of all that is received and sent, and waits
    /// for the disk. The recording of the run before is kept under the name with `.before` behind
    /// it; a file that is none is refused. Default: none.
    pub recording: Option<PathBuf>,
    /// Most bytes of that file, at least 64 KiB; the recording ends there. Default 256 MiB.
    pub recording_bytes_max: u64,
    /// Receive buffers, shared by all connections.
    pub buffers: BufferConfig,
    /// Bounds of the lanes between engine and chain.
    pub lanes: bridge::Config,
    /// Congestion control of all connections, by the system's name for it; `None` is its default.
    pub congestion_control: Option<String>,
    /// Most bytes of all fixed pools together: the lanes, the ring and its buffers, 32 MiB copied
    /// out of them, and those of `peer` (seen filter, inventory, address book, half-received
    /// frames). Starting fails when they sum up to more. Default 1 GiB. Pools are touched, and so
    /// occupied, only with use.
    pub memory_bytes_max: usize,
}

impl Config {
    /// The defaults for a network.
    #[must_use]
    pub fn new(network: Network) -> Self {
        let port = network.port;
        Self {
            peer: peer::Config::new(network),
            listen: vec![
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            ],
            gossip_listen: None,
            connections_max: 10_000,
            store: None,
            recording: None,
            recording_bytes_max: 256 << 20,
            buffers: BufferConfig::default(),
            lanes: bridge::Config::default(),
            congestion_control: None,
            memory_bytes_max: 1 << 30,
        }
    }

    /// Bytes of all fixed pools together. Cannot overflow.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pools = [
            self.lanes.memory_bytes(),
            io::pool_bytes(self.connections_max, &self.buffers),
            self.peer.memory_bytes(),
            PARKED_COPIES_BYTES_MAX,
            if self.peer.gossip == Gossip::Datagrams { io::DATAGRAM_POOL_BYTES } else { 0 },
        ];
        pools.into_iter().fold(0, usize::saturating_add)
    }

    /// Dials under way at once: at most a quarter of the connections, so that a small house has
    /// room for peers.
    pub(crate) fn dials_max(&self) -> u32 {
        self.peer.slots.dials.min((self.connections_max / 4).max(1))
    }

    /// Inbound peers that there is room for: what the outbound ones, the dials and some newcomers
    /// leave of the connections.
    pub(crate) fn inbound_max(&self) -> u32 {
        let slots = &self.peer.slots;
        let kept = slots.outbound.saturating_add(self.dials_max()).saturating_add(NEWCOMERS);
        slots.inbound.min(self.connections_max.saturating_sub(kept).max(1))
    }

    /// Connections beside these that may be greeting: some places are left for those whose end is
    /// under way.
    pub(crate) fn greeting_max(&self) -> u32 {
        let slots = &self.peer.slots;
        let ours = slots.outbound.saturating_add(self.dials_max());
        let kept = ours.saturating_add(self.inbound_max());
        let free = self.connections_max.saturating_sub(kept);
        slots.greeting.min(free.saturating_sub(NEWCOMERS / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbound_peers_get_what_the_others_leave_and_never_nothing() {
        let mut config = Config::new(Network::DEV);
        assert_eq!(config.inbound_max(), config.peer.slots.inbound, "no need to cut the defaults");
        assert_eq!(config.greeting_max(), config.peer.slots.greeting);
        for (connections_max, inbound, greeting) in
            [(1_000, 920, 4), (64, 32, 4), (22, 1, 4), (21, 1, 3), (1, 1, 0)]
        {
            config.connections_max = connections_max;
            assert_eq!(config.inbound_max(), inbound, "{connections_max} connections");
            assert_eq!(config.greeting_max(), greeting, "{connections_max} connections");
        }
        assert_eq!(config.dials_max(), 1);
        config.connections_max = 10_000;
        config.peer.slots.dials = u32::MAX;
        assert_eq!(config.inbound_max(), 7_484);
    }
}
