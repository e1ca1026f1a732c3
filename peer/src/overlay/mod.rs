//! Who is connected to whom: machines that keep a network in one piece without anybody knowing it
//! whole.
//!
//! Each node knows a few others; what follows from that is here, one machine a file. A driver feeds
//! them and carries out what they say, as it does with [`Endpoint`](crate::Endpoint): the engine
//! one, the simulator a hundred thousand.
//!
//! - Links that carry data, two-way and few: [`HyParView`].
//! - A short list of others that changes all the time: [`Sampling`].
//! - A memory of all addresses ever heard of: [`Samplers`].
//!
//! A node is named by the address at which it can be reached. Invariant: no machine holds itself,
//! and no list that comes from outside makes one larger than its rules say.

mod hyparview;
mod samplers;
mod sampling;

pub use hyparview::{
    CONTACTS_MAX, HyParView, HyParViewInput, HyParViewOutput, HyParViewRules, WALK_HOPS_MAX,
};
pub use samplers::{SAMPLERS_MAX, Samplers, UNREACHABLE_MAX};
pub use sampling::{
    Direction, Hardening, Heartbeat, Keep, Links, Partner, Sampling, SamplingInput, SamplingOutput,
    SamplingRules, VIEW_MAX,
};

/// Why the rules of a machine make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} must be {must}")]
pub struct RulesError {
    /// Which one.
    pub name: &'static str,
    /// What it must be.
    pub must: &'static str,
}
