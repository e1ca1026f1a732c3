//! A process that stands still: what happens to it waits, in its order, until it goes on.

use std::time::Duration;

use super::{Event, Network, NodeId, Script};

impl<S: Script> Network<S> {
    pub(super) fn pause(&mut self, node: NodeId, lasts: Duration) {
        if self.nodes[node].endpoint.is_none() {
            return;
        }
        let until = self.now.after(lasts);
        let until = self.nodes[node].paused_until.map_or(until, |before| before.max(until));
        self.nodes[node].paused_until = Some(until);
        self.schedule.push(until, Event::Resume { node });
    }

    /// Whether the process of this node stands still.
    pub(crate) fn is_paused(&self, node: NodeId) -> bool {
        self.nodes[node].paused_until.is_some()
    }

    /// Gives the event back, unless it is for a process that stands still.
    pub(super) fn put_off(&mut self, event: Event) -> Option<Event> {
        let Some(node) = self.process_of(&event).filter(|node| self.is_paused(*node)) else {
            return Some(event);
        };
        self.nodes[node].backlog.push_back(event);
        None
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        if self.nodes[node].paused_until.is_none_or(|until| until > self.now) {
            return; // it is gone, or stands still for longer
        }
        self.nodes[node].paused_until = None;
        // Its wakes are among these, and too late to count: it is watched anew.
        for event in std::mem::take(&mut self.nodes[node].backlog) {
            self.carry_out(event);
        }
        self.nodes[node].wake_at = None;
        self.watch(node);
    }

    /// Whose process this event needs. What the system of a node does needs none.
    fn process_of(&self, event: &Event) -> Option<NodeId> {
        match event {
            Event::Wake { node }
            | Event::Command { node, .. }
            | Event::Unresolved { node, .. }
            | Event::Datagram { to: node, .. }
            | Event::Dialed { from: node, .. }
            | Event::DialFailed { from: node, .. } => Some(*node),
            Event::Deliver { link, side, .. } | Event::Retry { link, side } => {
                Some(self.links[*link].ends[*side].node)
            }
            Event::Accepted { link } => Some(self.links[*link].ends[1].node),
            Event::Arrive { .. }
            | Event::LineFree { .. }
            | Event::Knock { .. }
            | Event::Resume { .. }
            | Event::Fault(_)
            | Event::Release => None,
        }
    }
}
