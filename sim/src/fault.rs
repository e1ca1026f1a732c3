//! What goes wrong in a simulated network, and when.

use std::time::Duration;

use crate::network::NodeId;

/// Something that goes wrong. [`Network::schedule`](crate::Network::schedule) says when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing arrives at this node for a while; then all of it does, in its order.
    Stall {
        /// Which one.
        node: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// The node's process stands still for a while, as after SIGSTOP: it gets nothing and none of
    /// its timers run; then it gets all of it. Its system goes on: it takes connections and bytes,
    /// and sends what was queued.
    Pause {
        /// Which one.
        node: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// One connection of this node breaks, any of them; what was on its way is lost.
    Reset {
        /// Which node.
        node: NodeId,
    },
    /// Nobody can dial this node for a while.
    RefuseDials {
        /// Which one.
        node: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// Nothing gets from these nodes to the others for a while, and nothing back. At most one
    /// partition is there at a time: the next one takes its place.
    Partition {
        /// These nodes.
        members: Vec<NodeId>,
        /// What the others send gets through.
        one_way: bool,
        /// For how long.
        lasts: Duration,
    },
    /// The node's process ends, without a goodbye.
    Crash {
        /// Which one.
        node: NodeId,
    },
    /// A new process in the place of one that ended; its chain has what it had.
    Restart {
        /// Which one.
        node: NodeId,
        /// It gets what the earlier ones kept: addresses, bans, anchors.
        with_store: bool,
    },
    /// The node says goodbye to everybody, and its process ends.
    Leave {
        /// Which one.
        node: NodeId,
    },
}
