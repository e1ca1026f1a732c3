//! Every setting of the core, with where its default comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use codec::limits::USER_AGENT_BYTES_MAX;
use codec::{Capabilities, Network};

use crate::inventory::{InventoryLimits, ROWS_MAX, SLOTS_MAX};
use crate::seen::{RECENT_IDS_MAX, SeenLimits};

/// How an [`Endpoint`](crate::Endpoint) is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// What we and our peers must agree on.
    pub network: Network,
    /// Our name for people, in the handshake; at most
    /// [`USER_AGENT_BYTES_MAX`](codec::limits::USER_AGENT_BYTES_MAX) bytes, the rest is cut off.
    pub user_agent: String,
    /// What we offer in the handshake. Default: nothing beyond the base protocol, so that peers
    /// send whole transactions.
    pub capabilities: Capabilities,
    /// The address we tell peers we listen on; they use its port. Default: unspecified, with the
    /// network's port; while it is unspecified, the engine puts in the port of its first listener.
    pub advertised: SocketAddr,
    /// Peers to hold: dialled at start, and again with a back-off when lost: after a second at
    /// first, after half a minute if they said goodbye. At most [`HELD_MAX`].
    pub connect: Vec<SocketAddr>,
    /// How many payloads are remembered, and how exactly.
    pub seen: SeenLimits,
    /// How much is known of who has what.
    pub inventory: InventoryLimits,
    /// Most bytes of all half-received frames together. Default 256 MiB: 48 of the largest blocks.
    pub assembly_bytes_max: usize,
    /// How long a greeting may take. Default 10 s, as grin.
    pub handshake_timeout: Duration,
    /// How long a frame may take from its first byte, beyond what [`FRAME_RATE_MIN`] allows for its
    /// length. Default 10 s.
    pub frame_timeout: Duration,
    /// How often a peer is pinged. Default 10 s, as grin.
    pub ping_period: Duration,
    /// How long a peer may be silent, pings notwithstanding. Default 60 s: six pings, since grin
    /// spaces its answers and drops some when it is busy.
    pub silence_timeout: Duration,
}

/// Most peers that are held by configuration and by operators. A node has tens of these.
pub const HELD_MAX: usize = 1_024;

/// Slowest rate at which a frame may come, in bytes a second. Guess: a peer slower than this could
/// not keep up with a block of 1.3 MB a minute.
pub const FRAME_RATE_MIN: u64 = 32 * 1024;

/// Most requests of the chain to one peer that wait for an answer; further ones are not sent.
/// Guess: four times the parallel requests of grin's segment sync.
pub const REQUESTS_PER_PEER_MAX: usize = 64;

/// An answer that comes within this time of its request is late, not unsolicited.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(300);

/// A setting that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The exact memory of payloads.
    #[error("seen.recent_ids is {0}, and must be 1 to {RECENT_IDS_MAX}")]
    RecentIds(u32),
    /// The payloads whose holders are known.
    #[error("inventory.rows is {0}, and must be a power of two up to {ROWS_MAX}")]
    InventoryRows(u32),
    /// The places for peers.
    #[error("inventory.slots is {0}, and must be 1 to {SLOTS_MAX}")]
    InventorySlots(u32),
    /// The peers to hold.
    #[error("connect has {0} addresses, and may have {HELD_MAX}")]
    Connect(usize),
    /// The pings.
    #[error("ping_period is {0:?}, and must be at least a microsecond")]
    PingPeriod(Duration),
}

impl Config {
    /// The defaults for a network.
    #[must_use]
    pub fn new(network: Network) -> Self {
        let advertised = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), network.port);
        Self {
            network,
            user_agent: concat!("Molva/", env!("CARGO_PKG_VERSION")).to_owned(),
            capabilities: Capabilities::from_bits(0),
            advertised,
            connect: Vec::new(),
            seen: SeenLimits::default(),
            inventory: InventoryLimits::default(),
            assembly_bytes_max: 256 << 20,
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(10),
            ping_period: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(60),
        }
    }

    /// Whether an endpoint can be made of this.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the setting.
    pub const fn check(&self) -> Result<(), ConfigError> {
        let (seen, inventory) = (&self.seen, &self.inventory);
        if seen.recent_ids == 0 || seen.recent_ids > RECENT_IDS_MAX {
            return Err(ConfigError::RecentIds(seen.recent_ids));
        }
        if !inventory.rows.is_power_of_two() || inventory.rows > ROWS_MAX {
            return Err(ConfigError::InventoryRows(inventory.rows));
        }
        if inventory.slots == 0 || inventory.slots > SLOTS_MAX {
            return Err(ConfigError::InventorySlots(inventory.slots));
        }
        if self.connect.len() > HELD_MAX {
            return Err(ConfigError::Connect(self.connect.len()));
        }
        if self.ping_period.as_micros() == 0 {
            return Err(ConfigError::PingPeriod(self.ping_period));
        }
        Ok(())
    }

    /// The user agent, cut to what a greeting has room for.
    pub(crate) fn user_agent(&self) -> &str {
        let end = self.user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
        &self.user_agent[..end]
    }

    /// Small pools, for simulations of thousands of endpoints: at most 400 kB each.
    #[must_use]
    pub fn small(network: Network) -> Self {
        Self {
            seen: SeenLimits { recent_ids: 2_048, older_ids: 8_192, older_bits_per_id: 12 },
            inventory: InventoryLimits { rows: 512, slots: 256 },
            assembly_bytes_max: 16 << 20,
            ..Self::new(network)
        }
    }
}
