//! The core seen through its doors: what goes in by `handle` and comes out by `poll_output`.
//!
//! No test reads a clock, opens a socket or starts a thread: time is a number that tests advance.

mod credit;
mod forget;
mod garbage;
mod handshake;
mod ping;
mod relay;
mod replay;
mod solo;
mod world;
