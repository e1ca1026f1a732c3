//! Gossip: messages of topics to everybody, beyond what the chain relays.
//!
//! Two machines of the same shape as the rest of this crate: input and time go in, outputs come
//! out. [`Plumtree`] sends bodies along a tree over the connections of an overlay, [`PushPull`]
//! small events on datagrams, beside who lives. They can be driven alone, without an
//! [`Endpoint`](crate::Endpoint): the simulator does.

pub mod plumtree;
pub mod push_pull;

pub use plumtree::{Plumtree, PlumtreeRules};
pub use push_pull::{PushPull, PushPullRules};
