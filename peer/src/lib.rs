//! The protocol.
#![forbid(unsafe_code)]

mod chain;
mod config;
mod deadlines;
mod dialer;
mod endpoint;
mod event;
mod fault;
mod handshake;
mod intake;
mod inventory;
mod lines;
mod peer;
mod relay;
mod rng;
mod seen;
mod table;
mod time;

pub use chain::{ChainTip, Freshness, FromChain, Request, Source, ToChain, Verdict};
pub use config::{Config, ConfigError, FRAME_RATE_MIN, HELD_MAX, REQUEST_MEMORY, REQUESTS_PER_PEER_MAX};
pub use endpoint::{Counts, Endpoint};
pub use event::{CloseReason, ConnId, Credit, Direction, Input, Output, Recipients};
pub use fault::Fault;
pub use inventory::{Inventory, InventoryLimits, PeerSlot};
pub use peer::PeerInfo;
pub use rng::Rng;
pub use seen::{
    Fingerprint, RECENT_IDS_MAX, Remembered, SEEN_SECRET_BYTES, SeenFilter, SeenLimits, Sequence,
};
pub use table::Table;
pub use time::Instant;
