//! What goes wrong is carried out here.

use peer::{CloseReason, Input};

use super::{Event, Network, NodeId, Partition, Script};
use crate::fault::Fault;
use crate::link::{Link, Segment};

impl<S: Script> Network<S> {
    pub(super) fn on_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Stall { node, lasts } => {
                let until = self.now.after(lasts);
                self.nodes[node].stalled_until = until.max(self.nodes[node].stalled_until);
                self.schedule.push(until, Event::Release);
            }
            Fault::Pause { node, lasts } => self.pause(node, lasts),
            // A process that stands still says no goodbye, and ends nothing.
            Fault::Reset { node } | Fault::Leave { node } if self.is_paused(node) => {}
            Fault::Reset { node } => {
                let links = self.nodes[node].links();
                if let Some((link, side)) = self.faults.pick(&links).copied() {
                    self.snap(link, side);
                    self.lose(link, side, CloseReason::ConnectionLost);
                }
            }
            Fault::RefuseDials { node, lasts } => {
                self.nodes[node].refuses_until = self.now.after(lasts);
            }
            Fault::Partition { members, one_way, lasts } => {
                let until = self.now.after(lasts);
                let mut flags = vec![false; self.nodes.len()];
                members.into_iter().for_each(|member| flags[member] = true);
                self.partition = Some(Partition { members: flags, one_way, until });
                self.schedule.push(until, Event::Release);
                self.release_all(); // what an earlier one held
            }
            Fault::Crash { node } => self.crash(node),
            Fault::Restart { node, with_store } => {
                if self.nodes[node].endpoint.is_none() {
                    self.start(node, with_store);
                }
            }
            Fault::Leave { node } => {
                self.feed(node, Input::Shutdown);
                self.crash(node);
            }
        }
    }

    /// Whether nothing gets from one node to another now.
    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        let Some(partition) = &self.partition else { return false };
        if partition.until <= self.now || partition.members[from] == partition.members[to] {
            return false;
        }
        partition.members[from] || !partition.one_way
    }

    /// Whether what comes to this side of a link has to wait.
    pub(super) fn is_held(&self, link: usize, side: usize) -> bool {
        let (from, to) = (self.links[link].ends[1 - side].node, self.links[link].ends[side].node);
        self.nodes[to].stalled_until > self.now || self.is_cut(from, to)
    }

    /// The process is gone, and with it its half of each connection.
    fn crash(&mut self, node: NodeId) {
        for (link, side) in self.nodes[node].links() {
            self.snap(link, side);
            let conn = self.links[link].ends[side].conn;
            self.nodes[node].forget(conn);
        }
        self.keep_recording(node);
        let node = &mut self.nodes[node];
        node.endpoint = None;
        node.life += 1;
        node.wake_at = None;
        node.paused_until = None;
        node.backlog.clear(); // all of it was for this process
    }

    /// A connection breaks at this side; the other hears of it over the link.
    fn snap(&mut self, link: usize, side: usize) {
        let Link { pipes, latency, .. } = &mut self.links[link];
        pipes[side].abandoned = true;
        pipes[1 - side].ended = true;
        let arrive = Event::Arrive { link, side: 1 - side, segment: Segment::Broken };
        self.schedule.push(self.now.after(*latency), arrive);
    }
}
