//! The protocol as a deterministic machine: no socket, clock or thread; a driver brings them.
//!
//! # The doors
//!
//! An [`Endpoint`] is our side of the network, all peers together. Its driver knows four calls:
//!
//! | call | |
//! |---|---|
//! | [`Endpoint::handle`] | takes one [`Input`]: bytes, a connection, a command of the chain |
//! | [`Endpoint::poll_output`] | gives the next [`Output`]: send, close, dial, tell the chain |
//! | [`Endpoint::poll_timeout`] | when to call with [`Input::Timeout`] |
//! | [`Endpoint::peers`], [`Endpoint::counts`] | what an operator may want to see |
//!
//! The contract of driving:
//!
//! - Drain the outputs after each input, and carry them out in their order.
//! - Time never runs backwards. A late or early timeout is harmless.
//! - Each [`ConnId`] is given out once: a slot that is used again has another generation. After
//!   [`Output::Close`] or [`Input::Closed`] the core has forgotten the connection.
//! - [`Input::Received`] comes with a [`Credit`]: what the call may use up. What was not consumed
//!   is given again, before anything newer of that connection. A driver that stops reading a peer
//!   says so ([`Input::Paused`]), and the peer's clocks stand still.
//!
//! # A driver
//!
//! Two endpoints that talk over buffers; the real one has sockets in their place, and nothing more.
//!
//! ```
//! use codec::{Kind, Network, Payload};
//! use peer::{Config, ConnId, Credit, Endpoint, FromChain, Input, Instant, Output, ToChain};
//!
//! /// An endpoint with one connection, what is on its way to the remote, and what its chain heard.
//! struct Node { endpoint: Endpoint, wire: Vec<u8>, chain: Vec<ToChain> }
//!
//! impl Node {
//!     fn feed(&mut self, now: Instant, input: Input<'_>) -> usize {
//!         let consumed = self.endpoint.handle(now, input);
//!         while let Some(output) = self.endpoint.poll_output() {
//!             match output {
//!                 Output::Send { payload, .. } => self.wire.extend_from_slice(payload.frame()),
//!                 Output::ToChain(event) => self.chain.push(event),
//!                 Output::Dial { addr } => panic!("nobody is held: {addr}"),
//!                 Output::Close { conn, reason } => panic!("{conn:?}: {}", reason.name()),
//!             }
//!         }
//!         consumed
//!     }
//! }
//!
//! let mut nodes = [1, 2].map(|seed| Node {
//!     endpoint: Endpoint::new(Config::small(Network::DEV), [seed; 32]),
//!     wire: Vec::new(),
//!     chain: Vec::new(),
//! });
//! let (conn, addr, mut now) = (ConnId::new(0, 1), ([192, 0, 2, 1], 3414).into(), Instant::START);
//! let credit = Credit { frames: 256, items: 64, bytes: 1 << 20 };
//! let block = Payload::seal(&Network::DEV, Kind::Block, b"a block").unwrap();
//!
//! nodes[0].feed(now, Input::Dialed { conn, addr });
//! nodes[1].feed(now, Input::Accepted { conn, addr });
//! for turn in 0..4 {
//!     for from in [0, 1] {
//!         let bytes = std::mem::take(&mut nodes[from].wire);
//!         let received = Input::Received { conn, bytes: &bytes, credit };
//!         let consumed = nodes[1 - from].feed(now, received);
//!         nodes[from].wire.splice(..0, bytes[consumed..].iter().copied());
//!     }
//!     if turn == 1 {
//!         nodes[0].feed(now, Input::FromChain(FromChain::Publish(block.clone())));
//!     }
//!     let deadlines = nodes.iter().filter_map(|node| node.endpoint.poll_timeout());
//!     now = deadlines.min().unwrap_or(now).max(now);
//!     nodes.each_mut().map(|node| node.feed(now, Input::Timeout));
//! }
//! let [ToChain::Payload { payload, .. }] = &nodes[1].chain[..] else { panic!("no block came") };
//! assert_eq!(payload, &block);
//! ```
//!
//! # The rooms
//!
//! - The greeting: `handshake.rs`. One remote and its phases, deadlines and requests: `peer.rs`.
//! - Bytes to messages, with credit: `intake.rs`. What a message leads to: `endpoint.rs`.
//! - What was seen: [`SeenFilter`]. Who has what: [`Inventory`]. Both together: `relay.rs`.
//! - Whom to dial: `dialer.rs`. When to look at whom: `deadlines.rs`.
//! - What a remote can do wrong: [`Fault`], and the [`CloseReason`] that follows.
//! - What is said to the chain, and by it: [`ToChain`], [`FromChain`].
//!
//! Invariants: the same inputs and the same seed give the same outputs, byte for byte. Cutting the
//! bytes elsewhere, or other credits, changes when something comes out and never what. Bad bytes
//! end their own connection, once, and touch no other. A peer that left is in no table. Stem
//! transactions leave no trace in what others can observe.
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
pub use config::{
    Config, ConfigError, FRAME_RATE_MIN, HELD_MAX, REQUEST_MEMORY, REQUESTS_PER_PEER_MAX,
};
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
