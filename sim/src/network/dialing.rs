//! Dials: a knock over the link, an answer back, and then the connection at both ends.

use std::net::SocketAddr;
use std::time::Duration;

use peer::Input;

use super::{Event, Network, NodeId, Script};
use crate::link::{End, Link};

/// How long a dial is waited for that nobody answers; the engine's own patience.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The first of the ports from which nodes dial, and how many there are.
const PORT_FIRST: usize = 40_000;
const PORTS: usize = 20_000;

impl<S: Script> Network<S> {
    pub(super) fn dial(&mut self, from: NodeId, addr: SocketAddr) {
        let to = self.by_addr.get(&addr).copied().unwrap_or(from);
        let latency = self.model.latency.draw([from, to], &mut self.latencies);
        let life = self.nodes[from].life;
        let knock = Event::Knock { from, life, addr, latency };
        self.schedule.push(self.now.after(latency), knock);
    }

    pub(super) fn on_knock(
        &mut self,
        from: NodeId,
        life: u32,
        addr: SocketAddr,
        latency: Duration,
    ) {
        let failed = Event::DialFailed { from, life, addr };
        let to = self.by_addr.get(&addr).copied();
        let Some(to) = to.filter(|to| !self.is_cut(from, *to) && !self.is_cut(*to, from)) else {
            let rest = DIAL_TIMEOUT.saturating_sub(latency);
            return self.schedule.push(self.now.after(rest), failed);
        };
        let answer = match self.listens(to) {
            true => Event::Dialed { from, life, to, latency },
            false => failed,
        };
        self.schedule.push(self.now.after(latency), answer);
    }

    fn listens(&self, node: NodeId) -> bool {
        let node = &self.nodes[node];
        node.endpoint.is_some() && node.refuses_until <= self.now
    }

    pub(super) fn on_dialed(&mut self, from: NodeId, life: u32, to: NodeId, latency: Duration) {
        if self.nodes[from].life != life || self.nodes[from].endpoint.is_none() {
            return;
        }
        let addr = self.nodes[to].addr;
        if !self.listens(to) {
            self.feed(from, Input::DialFailed { addr });
            return;
        }
        let link = self.links.len();
        let ends = [
            End { node: from, conn: self.nodes[from].connect(link, 0) },
            End { node: to, conn: self.nodes[to].connect(link, 1) },
        ];
        self.links.push(Link { ends, latency, pipes: Default::default() });
        // Before the first bytes, which take as long.
        self.schedule.push(self.now.after(latency), Event::Accepted { link });
        self.feed(from, Input::Dialed { conn: ends[0].conn, addr });
    }

    pub(super) fn on_accepted(&mut self, link: usize) {
        let [from, to] = self.links[link].ends;
        if self.nodes[to.node].link_of(to.conn) != Some((link, 1)) {
            return; // its process ended meanwhile
        }
        let port = (PORT_FIRST + link % PORTS) as u16;
        let addr = SocketAddr::new(self.nodes[from.node].addr.ip(), port);
        self.feed(to.node, Input::Accepted { conn: to.conn, addr });
    }
}
