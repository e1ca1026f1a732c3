//! Datagrams: each on its own, late as it happens, lost or twice as the model says, in no order.
//!
//! They need no link and have no queue, and nobody hears what became of one.

use std::net::SocketAddr;

use peer::Input;

use super::{Event, Network, NodeId, Script};
use crate::model::DatagramFaults;

impl<S: Script> Network<S> {
    /// What becomes of datagrams from now on.
    pub const fn set_datagrams(&mut self, faults: DatagramFaults) {
        self.model.datagrams = faults;
    }

    /// A node sends a datagram. Where nobody is, nothing happens.
    pub(super) fn send_datagram(&mut self, from: NodeId, to: SocketAddr, bytes: Vec<u8>) {
        let Some(to) = self.by_addr.get(&to).copied() else { return };
        let faults = self.model.datagrams;
        let rng = &mut self.datagrams;
        let lost = rng.below(100) < faults.lost_percent;
        let copies = if lost { 0 } else { 1 + usize::from(rng.below(100) < faults.twice_percent) };
        for _ in 0..copies {
            let latency = self.model.latency.draw([from, to], &mut self.datagrams);
            let arrives = self.now.after(latency);
            self.schedule.push(arrives, Event::Datagram { from, to, bytes: bytes.clone() });
        }
    }

    /// It is there, unless a fault keeps it from coming: nothing holds it for later.
    pub(super) fn on_datagram(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) {
        if self.nodes[to].stalled_until <= self.now && !self.is_cut(from, to) {
            let from = self.nodes[from].addr;
            self.feed(to, Input::Datagram { from, bytes });
        }
    }
}
