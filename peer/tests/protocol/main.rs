//! The core seen through its doors: what goes in by `handle` and comes out by `poll_output`.
//!
//! No test reads a clock, opens a socket or starts a thread: time is a number that tests advance.

mod addresses;
mod archives;
mod banning;
mod credit;
mod dandelion;
mod dropping;
mod envelopes;
mod eviction;
mod forget;
mod garbage;
mod gossiping;
mod handshake;
mod ping;
mod pools;
mod relay;
mod relaying;
mod replay;
mod serving;
mod sessions;
mod solo;
mod syncing;
mod world;
