//! A peer-to-peer network engine for node backends: one thread, one io_uring.
//!
//! [`Engine::start`] takes a [`Config`] and gives the engine and the chain's end of the bridge. The
//! chain exchanges immutable [`Payload`]s with it and sees nothing of sockets; the [`Handle`] shows
//! peers, counts and closes by cause. The README has an example, which is compiled with these docs.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]

mod clock;
mod config;
mod connection;
mod event_loop;
mod handle;
mod io;
mod send_queue;
mod start;

pub use bridge::{
    ChainSide, Config as LaneConfig, Counters, EngineEnd, Metrics, Publisher, SendError,
};
pub use codec::{
    Capabilities, Hash, Kind, Limits, Network, Payload, PayloadFormat, PayloadId, SealError,
};
pub use config::Config;
pub use handle::{Engine, Handle};
pub use io::{BufferConfig, RingError};
pub use peer::{
    ChainTip, CloseReason, Config as PeerConfig, ConnId, Direction, Freshness, FromChain,
    InventoryLimits, PeerInfo, Request, SeenLimits, Source, ToChain, Verdict,
};
pub use start::StartError;
