//! The protocol as a deterministic machine: no socket, clock or thread; a driver brings them.
//!
//! # The doors
//!
//! An [`Endpoint`] is our side of the network, all peers together. Its driver knows these calls:
//!
//! | call | |
//! |---|---|
//! | [`Endpoint::handle`] | takes one [`Input`]: bytes, a connection, a command of the chain |
//! | [`Endpoint::poll_output`] | gives the next [`Output`]: send, close, dial, tell the chain |
//! | [`Endpoint::poll_timeout`] | when to call with [`Input::Timeout`] |
//! | [`Endpoint::peers`], [`Endpoint::counts`] | what an operator may want to see |
//! | [`Endpoint::bans`], [`Endpoint::addresses`] | what an operator may want to know of others |
//! | [`Endpoint::members`] | who is in the cluster, and presumed alive, suspected or dead |
//! | [`Endpoint::take_changes`] | what is to be kept for the next process |
//! | [`Endpoint::take_recording`] | all that was said so far, to be said again by [`replay`] |
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
//! - [`Output::Dial`] ends in [`Input::Dialed`], [`Input::DialFailed`] or [`Input::NotDialed`] with
//!   the same address, [`Output::Resolve`] in [`Input::Resolved`] with the same name. Neither in
//!   the same call.
//! - [`Output::Close`] may follow [`Input::Accepted`] at once: who is banned, or here already, is
//!   refused unanswered. What was to be sent before a close is sent, a BanReason above all.
//! - What an earlier process kept comes as [`Input::Restored`], before any connection; what this
//!   one keeps is taken with [`Endpoint::take_changes`], a bounded number at a time.
//!
//! # A driver
//!
//! Two endpoints that talk over buffers; the real one has sockets in their place, and nothing more.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use codec::{Kind, Network, Payload};
//! use peer::{Config, ConnId, Credit, Endpoint, FromChain, Input, Instant, Output, ToChain};
//!
//! /// An endpoint with one connection, what is on its way to the remote, whom it wants to dial,
//! /// and what its chain heard.
//! struct Node { endpoint: Endpoint, wire: Vec<u8>, dials: Vec<SocketAddr>, chain: Vec<ToChain> }
//!
//! impl Node {
//!     fn feed(&mut self, now: Instant, input: Input<'_>) -> usize {
//!         let consumed = self.endpoint.handle(now, input);
//!         while let Some(output) = self.endpoint.poll_output() {
//!             match output {
//!                 Output::Send { payload, .. } => self.wire.extend_from_slice(payload.frame()),
//!                 Output::ToChain(event) => self.chain.push(event),
//!                 Output::Dial { addr } => self.dials.push(addr),
//!                 Output::Opens { .. } => {} // for those who pack
//!                 Output::Told { .. } => {} // for those who subscribed
//!                 Output::Datagram { .. } => {} // for those who gossip on datagrams
//!                 Output::Resolve { name } => panic!("there are no seeds: {name}"),
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
//!     dials: Vec::new(),
//!     chain: Vec::new(),
//! });
//! let (conn, addr, mut now) = (ConnId::new(0, 1), ([192, 0, 2, 1], 3414).into(), Instant::START);
//! let credit = Credit { frames: 256, items: 64, bytes: 1 << 20 };
//! let block = Payload::seal(&Network::DEV, Kind::Block, b"a block").unwrap();
//!
//! nodes[0].feed(now, Input::Hold { addr });
//! assert_eq!(nodes[0].dials, [addr], "and a socket connects");
//! nodes[0].feed(now, Input::Dialed { conn, addr });
//! nodes[1].feed(now, Input::Accepted { conn, addr });
//! for turn in 0..8 {
//!     for from in [0, 1] {
//!         let bytes = std::mem::take(&mut nodes[from].wire);
//!         let received = Input::Received { conn, bytes: &bytes, credit };
//!         let consumed = nodes[1 - from].feed(now, received);
//!         nodes[from].wire.splice(..0, bytes[consumed..].iter().copied());
//!     }
//!     if turn == 1 {
//!         nodes[0].feed(now, Input::FromChain(FromChain::Publish(block.clone())));
//!     }
//!     if let [ToChain::Announced { kind, id, .. }] = nodes[1].chain[..] {
//!         nodes[1].chain.clear(); // the chain of the second wants what is announced to it
//!         nodes[1].feed(now, Input::FromChain(FromChain::Fetch { kind, id }));
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
//! - How connections come to stand and end, one for each host: `sessions.rs`. Who makes room in a
//!   full house: [`pick_victim`].
//! - Bytes to messages, with credit: `intake.rs`. What a message leads to: `endpoint.rs`.
//! - Requests and answers, and what they cost: `serving.rs`, `requests.rs`. Archives:
//!   `archives.rs`. The memory of half-received frames: `assembly.rs`. Token buckets: [`Rate`].
//! - Bodies that come packed: `envelopes.rs`. Comparing pools: `pool.rs`; beside the peers that ask
//!   and are asked: `pooling.rs`.
//! - What was seen: [`SeenFilter`]. Who has what: [`Inventory`]. Both together: `relay.rs`.
//! - How payloads spread: [`RelayRules`], `relaying.rs`. Announcements, and how what is wanted of
//!   them is fetched: `fetching.rs`, `offers.rs`. What is asked of us of late: `recent.rs`. Large
//!   bodies that begin: `bodies.rs`, `coming.rs`.
//! - Whom we know: `address_book`. Whom to dial: `dialer.rs`. Both beside the peers that tell and
//!   ask: `addresses.rs`. Whose an address is: [`Locality`]. Our own: `external.rs`.
//! - Who is connected to whom, in a network that nobody knows whole: [`overlay`], machines that are
//!   driven for themselves, by the same three calls.
//! - Messages of topics: [`gossip`], machines too. Along a tree, beside the peers: `gossiping.rs`.
//!   On the datagrams of a cluster, and who is in it: [`Cluster`], `clustering.rs`.
//! - Catching up: `sync`. Beside the peers that are asked: `syncing.rs`.
//! - What a remote can do wrong: [`Fault`], and the [`CloseReason`] that follows. Who is refused,
//!   and why: [`Ban`], `bans.rs`; what leads there: `banning.rs`.
//! - When to look at whom: `deadlines.rs`.
//! - All that is said, written down and said again: `recording.rs`.
//! - What is said to the chain, and by it: [`ToChain`], [`FromChain`]. What outlives the process:
//!   [`Change`], [`Restored`].
//!
//! Invariants: the same inputs and the same seed give the same outputs, byte for byte. Cutting the
//! bytes elsewhere, or other credits, changes when something comes out and never what. Bad bytes
//! end their own connection, once, and touch no other. A peer that left is in no table. Stem
//! transactions leave no trace in what others can observe.
#![forbid(unsafe_code)]

mod address;
mod address_book;
mod addresses;
mod archives;
mod assembly;
mod banning;
mod bans;
mod batches;
mod bodies;
mod chain;
mod clustering;
mod coming;
mod config;
mod counts;
mod dandelion;
mod deadlines;
mod departed;
mod dialer;
mod dropping;
mod endpoint;
mod envelopes;
mod event;
mod external;
mod fault;
mod fetching;
pub mod gossip;
mod gossiping;
mod handshake;
mod intake;
mod inventory;
mod lines;
mod offers;
pub mod overlay;
mod overlaying;
mod peer;
mod pool;
mod pooling;
mod rates;
mod recent;
mod record;
mod recording;
mod relay;
mod relaying;
mod requests;
mod rng;
mod seen;
mod serving;
mod sessions;
mod slots;
mod speed;
mod stems;
mod sync;
mod syncing;
mod table;
mod time;

pub use address::{Group, HostKey, Locality, canonical};
pub use address_book::BookLimits;
pub use bans::{
    BANS_MAX, Ban, BanCause, BanTarget, Decider, Evidence, NOTE_BYTES_MAX, TargetError,
};
pub use chain::{
    Archive, ChainTip, Freshness, FromChain, Request, SegmentId, Source, ToChain, Verdict,
};
pub use clustering::Cluster;
pub use config::{
    AGGREGATE_MAX, ARCHIVE_BYTES_MAX, ARCHIVE_PIECE_BYTES_MAX, ARCHIVE_PIECES_WANTED_MAX,
    ARCHIVE_STALL, ARCHIVES_RECEIVED_MAX, ARCHIVES_SENT_MAX, BEHIND_PERIOD, BLOCKS_WANTED_MAX,
    Config, ConfigError, DIALED_MAX, EVENTS_RESERVED, FRAME_RATE_MIN, Gossip, HELD_MAX, LISTED_MAX,
    Overlay, POOL_IDS_MAX, REQUEST_MEMORY, REQUESTS_PER_PEER_MAX, REQUESTS_WAITING_MAX, Rates,
    SETTLED_MAX, Seed, SeedError, Slots,
};
pub use counts::{Counts, KindBytes, RELAY_KINDS};
pub use dandelion::{DandelionRules, Embargo, Scheme};
pub use endpoint::Endpoint;
pub use event::{CloseReason, ConnId, Credit, Direction, Input, Output, Recipients};
pub use fault::Fault;
pub use inventory::{Inventory, InventoryLimits, PeerSlot};
pub use peer::PeerInfo;
pub use rates::{Rate, TokenBucket};
pub use record::{AddressRecord, Change, Restored};
pub use recording::{Difference, RECORDING_MAGIC, RecordingError, Replay, replay};
pub use relaying::{Knowledge, Policy, RelayRules};
pub use rng::Rng;
pub use seen::{
    Fingerprint, OLDER_BITS_MAX, RECENT_IDS_MAX, Remembered, SEEN_SECRET_BYTES, SeenFilter,
    SeenLimits, Sequence,
};
pub use slots::{Candidate, pick_victim};
pub use sync::{GIVERS_MAX, SyncRules};
pub use table::Table;
pub use time::{Instant, UnixTime};
