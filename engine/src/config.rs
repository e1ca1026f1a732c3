//! How an engine is set up, and what is checked before it starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use codec::Network;

use crate::io::BufferConfig;

/// Descriptors that the engine needs beside its connections (ring, lanes, listeners), and some for
/// the rest of the process (a database, logs).
pub(crate) const DESCRIPTORS_RESERVED: u64 = 256;

/// Most connections that one ring can tell apart: its completions carry 24 bits of slot.
pub(crate) const CONNECTIONS_LIMIT: u32 = (1 << 24) - 1;

/// Everything that can be chosen about an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The protocol's side: network, identity, timeouts, pools of memory.
    pub peer: peer::Config,
    /// Addresses to listen on, each exactly itself: an IPv6 one takes no IPv4 connections. Port 0
    /// is chosen by the system. Default: the network's port on all IPv4 and all IPv6 addresses.
    pub listen: Vec<SocketAddr>,
    /// Most connections, inbound and outbound together. Default 10,000.
    pub connections_max: u32,
    /// Receive buffers, shared by all connections.
    pub buffers: BufferConfig,
    /// Bounds of the lanes between engine and chain.
    pub lanes: bridge::Config,
    /// Congestion control of all connections, by the system's name for it; `None` is its default.
    pub congestion_control: Option<String>,
    /// Most bytes of all fixed pools together; starting fails when the others sum up to more.
    /// Default 1 GiB. Pools are touched, and so occupied, only with use.
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
            connections_max: 10_000,
            buffers: BufferConfig::default(),
            lanes: bridge::Config::default(),
            congestion_control: None,
            memory_bytes_max: 1 << 30,
        }
    }
}
