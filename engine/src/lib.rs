//! A peer-to-peer network engine for node backends: one thread, one io_uring.
//!
//! [`Engine::start`] takes a [`Config`] and gives the engine and the chain's end of the bridge. The
//! chain exchanges immutable [`Payload`]s with it and sees nothing of sockets:
//!
//! ```no_run
//! use molva::{Config, Engine, FromChain, Network, ToChain, Verdict};
//!
//! let mut config = Config::new(Network::DEV);
//! config.peer.connect = vec!["192.0.2.7:23414".parse()?];
//! let (engine, mut chain) = Engine::start(config)?;
//! while let Ok(event) = chain.recv() {
//!     if let ToChain::Payload { from, payload, .. } = event {
//!         println!("{} of {} bytes from {}", payload.id(), payload.body().len(), from.addr);
//!         let verdict = FromChain::Verdict { from, payload, verdict: Verdict::Accept };
//!         chain.send(verdict)?; // relayed to all peers that lack it
//!     }
//! }
//! # engine.shutdown(std::time::Duration::from_secs(2))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
