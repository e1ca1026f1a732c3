//! Whole endpoints over a simulated network, in virtual time: what a network will do before it is
//! there.
//!
//! - [`Network`] drives hundreds or thousands of [`peer::Endpoint`]s through the door that the
//!   engine uses: a schedule, links with latency and bandwidth, byte streams cut into segments,
//!   [`Fault`]s. It contains no protocol.
//! - A [`Script`] plays the chains of all nodes. [`Chains`] is the one of the experiments: it takes
//!   what is valid, answers what it is asked, and keeps the [`Ledger`] of who has what.
//! - [`swarm`]: what one seed makes up, nodes, traffic and faults, and the laws that must hold.
//! - [`machines`]: the machines of the overlay alone, a hundred thousand of them; [`graph`]: what
//!   the graphs are like that they make.
//! - [`experiment`]: questions, each with its answer computed from the data against a criterion.
//! - [`cluster`]: a run on real sockets beside its simulation.
//!
//! Invariant: the same seed and the same parameters give the same bytes.
#![forbid(unsafe_code)]

mod chains;
pub mod cluster;
mod dice;
mod digest;
pub mod experiment;
mod fault;
pub mod graph;
mod ledger;
mod link;
mod list;
pub mod machines;
mod model;
mod network;
mod node;
mod plot;
mod rumour;
mod runs;
mod schedule;
mod spies;
mod squaring;
mod stats;
mod store;
pub mod swarm;
pub mod topology;
mod traffic;

pub use chains::{Chains, Pace};
pub use dice::rng;
pub use fault::Fault;
pub use ledger::{ItemId, Ledger, Spread};
pub use list::{List, whole_lists};
pub use model::{Credits, Cuts, DatagramFaults, Latency, Model, SEGMENT_BYTES, SEGMENT_OVERHEAD};
pub use network::{Answers, Network, NodeId, Plant, Script, Told};
pub use plot::{Band, Chart};
pub use runs::{Cell, Table, in_parallel};
pub use spies::{Guess, Spies};
pub use stats::Estimate;
pub use traffic::{SPREADING, Tally, Traffic};
