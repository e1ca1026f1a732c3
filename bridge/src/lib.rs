//! The only place where threads meet.
//!
//! [`open`] makes the two ends: the engine's thread owns the [`LoopSide`], a thread of the chain
//! the [`ChainSide`]. Between them are two bounded lanes, two wakers and the [`Counters`]; any
//! other thread of the chain takes a [`Publisher`]. A chain author needs this crate alone: it
//! re-exports the vocabulary, and compiles no kernel bindings of the loop. What outlives the
//! process is kept by a thread of its own, the [`store`].
//!
//! Invariant: what is on a lane is received exactly once and never exceeds the lane's bounds, not
//! for an instant. Full: the loop stops reading peers, the chain gets its command back.
//! Hang: none. The loop waits in its ring and the chain on its own eventfd, each announces its
//! sleep before it looks a last time, and either may end or panic at any moment: the other learns.
//!
//! A chain thread, complete:
//!
//! ```
//! use bridge::{ChainSide, EngineEnd, FromChain, Network, SendError, ToChain, Verdict};
//!
//! fn chain(mut chain: ChainSide) -> EngineEnd {
//!     loop {
//!         let event = match chain.recv() {
//!             Ok(event) => event,
//!             Err(end) => return end,
//!         };
//!         match event {
//!             ToChain::Payload { from, payload, freshness: _ } => {
//!                 let verdict = FromChain::Verdict { from, payload, verdict: Verdict::Accept };
//!                 match chain.send(verdict) {
//!                     Ok(()) => {}
//!                     Err(SendError::Full(_)) => {} // not relayed: its next sender tells us again
//!                     Err(SendError::Gone(_)) => {} // `recv` says why, when the lane is empty
//!                 }
//!             }
//!             _ => {} // announcements, requests and archives of peers
//!         }
//!     }
//! }
//!
//! let (loop_side, chain_side) = bridge::open(bridge::Config::default(), &Network::DEV).unwrap();
//! let thread = bridge::spawn("chain", move || chain(chain_side)).unwrap();
//! loop_side.end(EngineEnd::Stopped); // the engine does this
//! assert_eq!(thread.join().unwrap(), EngineEnd::Stopped);
//! ```
#![forbid(unsafe_code)]

mod chain_side;
mod counters;
#[cfg(not(loom))]
mod event;
mod lane;
mod loop_side;
mod shared;
#[cfg(not(loom))]
pub mod store;
mod sync;
mod thread;
mod waker;
mod workers;

pub use chain_side::{ChainSide, Publisher};
pub use codec::{Hash, Kind, Network, Payload, PayloadId};
pub use counters::{Counters, Metrics};
pub use lane::Room;
pub use loop_side::{LoopSide, Wanted};
pub use peer::{
    Archive, BanCause, ChainTip, CloseReason, ConnId, EVENTS_RESERVED, Freshness, FromChain,
    Request, SegmentId, Source, ToChain, Verdict,
};
#[cfg(not(loom))]
pub use shared::open;
pub use shared::{Config, EngineEnd, LaneError, SendError, open_with};
pub use sync::Fd;
pub use thread::spawn;
pub use waker::Waker;
pub use workers::{PackingConfig, PackingCounts, Worker};
