//! Machines of the overlay alone, a hundred thousand of them, in virtual time.
//!
//! [`Network`](crate::Network) drives whole endpoints over byte streams; a [`Crowd`] drives one
//! kind of [`Machine`] by its messages, so that questions about the shape of an overlay can be
//! asked of networks of the size that they are about. It contains no protocol. Nodes live on a
//! plane, and a message takes as long as its way is, so that two messages of the same pair never
//! overtake each other. Invariant: the same seed gives the same run.

mod address;
mod crowd;
mod kinds;
mod member;
mod tree;

use std::net::SocketAddr;

use peer::Instant;

pub use address::Addresses;
pub use crowd::Crowd;
pub(crate) use crowd::latency;
pub use member::{Load, Member};
pub use tree::{Came, Tree, TreeMessage};

/// What can happen to a machine.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<M> {
    /// It begins, and these may be reached.
    Join(Vec<SocketAddr>),
    /// A message came.
    Message {
        /// From whom.
        from: SocketAddr,
        /// What it says.
        message: M,
    },
    /// Other traffic came.
    Contact(SocketAddr),
    /// A connection that it wanted stands.
    Connected(SocketAddr),
    /// A connection that it wanted could not be made.
    DialFailed(SocketAddr),
    /// A peer is gone, or was not to be reached.
    Lost(SocketAddr),
    /// Its deadline has come.
    Timeout,
}

/// What a machine wants to have done.
#[derive(Clone, PartialEq, Debug)]
pub enum Action<M> {
    /// Send a message.
    Send {
        /// To whom.
        to: SocketAddr,
        /// What it says.
        message: M,
    },
    /// Make a connection.
    Dial(SocketAddr),
    /// End a connection.
    Close(SocketAddr),
    /// Nothing: it tells about a link.
    Tell,
}

/// One node's part of an overlay.
pub trait Machine {
    /// What nodes tell each other.
    type Message;

    /// Whether messages go over connections that the machine dials and closes; else each message
    /// finds its way, or comes back as [`Event::Lost`].
    const CONNECTS: bool;

    /// Takes what happened.
    fn handle(&mut self, now: Instant, event: Event<Self::Message>);

    /// What is to be done next.
    fn poll(&mut self) -> Option<Action<Self::Message>>;

    /// When it wants a [`Event::Timeout`].
    fn deadline(&self) -> Option<Instant>;

    /// Whom it has as neighbours now.
    fn neighbours(&self, each: &mut dyn FnMut(SocketAddr));
}
