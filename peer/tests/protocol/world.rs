//! A few endpoints that talk to each other, over pipes of bytes and in virtual time.
//!
//! The pipes lose nothing and cut anywhere; each receive comes with a credit of its own, which may
//! be none. Everything follows from one seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use peer::{CloseReason, Config, ConnId, Credit, Input, Instant, Recipients, Rng, ToChain};

use crate::solo::{NET, Out, Solo, UNASKED, UNLIMITED};

/// Endpoints, and the links between them.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    links: Vec<Link>,
    dice: Rng,
    /// Whether credits are unlimited and whole writes arrive at once.
    smooth: bool,
    /// What the name service knows.
    pub(crate) names: BTreeMap<Box<str>, Vec<SocketAddr>>,
}

/// A node with its part of the links.
pub(crate) struct Node {
    pub(crate) solo: Solo,
    pub(crate) addr: SocketAddr,
    pub(crate) events: Vec<ToChain>,
    pub(crate) closes: Vec<CloseReason>,
    pub(crate) dials: u32,
    /// The link of each connection, and our side of it.
    ends: BTreeMap<ConnId, (usize, usize)>,
    next_index: u32,
    /// No process is there.
    dead: bool,
}

/// Two pipes: the one at a side's place leads to that side.
struct Link {
    ends: [(usize, ConnId); 2],
    pipes: [Pipe; 2],
}

#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    /// The writer has closed: nothing comes behind these bytes.
    finished: bool,
    /// The reader is gone: nobody wants these bytes.
    abandoned: bool,
}

impl World {
    /// Nodes that listen at 11.0.2.1, 12.0.2.1 and so on, each in a group of its own, with cuts and
    /// credits that the seed decides.
    pub(crate) fn new(configs: Vec<Config>, seed: u8) -> Self {
        let node = |(index, config): (usize, Config)| {
            let addr = Self::addr(index);
            Node {
                solo: Solo::new(config, seed ^ (index as u8 + 1)),
                addr,
                events: Vec::new(),
                closes: Vec::new(),
                dials: 0,
                ends: BTreeMap::new(),
                next_index: 0,
                dead: false,
            }
        };
        let nodes = configs.into_iter().enumerate().map(node).collect();
        let dice = Rng::from_seed([seed; 32]).fork("world");
        Self { nodes, links: Vec::new(), dice, smooth: false, names: BTreeMap::new() }
    }

    /// Small pools, and the port told on which [`World::addr`] listens.
    pub(crate) fn config() -> Config {
        let mut config = Config::small(NET);
        config.relay.unasked_bytes_max = UNASKED;
        config.advertised.set_port(Self::addr(0).port());
        config
    }

    /// The node is gone, without a goodbye: its connections are cut, nobody can dial it.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].dead = true;
        for (link, side) in std::mem::take(&mut self.nodes[node].ends).into_values() {
            self.links[link].pipes[1 - side].finished = true;
            self.links[link].pipes[side].abandoned = true;
        }
    }

    /// A new process in the place of a killed one.
    pub(crate) fn revive(&mut self, node: usize, config: Config, seed: u8) {
        let now = self.now();
        let revived = &mut self.nodes[node];
        revived.dead = false;
        revived.solo = Solo::new(config, seed);
        revived.solo.now = now;
    }

    /// Whom this node has for peers: theirs is the listening address where it is known.
    pub(crate) fn peers_of(&self, node: usize) -> Vec<peer::PeerInfo> {
        self.nodes[node].solo.endpoint.peers().collect()
    }

    /// Nothing is cut and nothing waits for credit.
    pub(crate) fn smooth(mut self) -> Self {
        self.smooth = true;
        self
    }

    pub(crate) fn addr(index: usize) -> SocketAddr {
        SocketAddr::from(([index as u8 + 11, 0, 2, 1], 3414))
    }

    pub(crate) fn now(&self) -> Instant {
        self.nodes[0].solo.now
    }

    /// Gives one input to one node, and carries out what comes of it.
    pub(crate) fn feed(&mut self, node: usize, input: Input<'_>) -> usize {
        let (consumed, outputs) = self.nodes[node].solo.step(input);
        for output in outputs {
            self.perform(node, output);
        }
        consumed
    }

    /// Lets time pass, and carries all bytes as they come.
    pub(crate) fn run_for(&mut self, wait: Duration) {
        let end = self.now().after(wait);
        for _ in 0..100_000 {
            self.carry();
            let living = self.nodes.iter().filter(|node| !node.dead);
            let deadlines = living.filter_map(|node| node.solo.endpoint.poll_timeout());
            let Some(due) = deadlines.min().filter(|due| *due <= end) else {
                return self.set_now(end);
            };
            self.set_now(due.max(self.now()));
            for node in 0..self.nodes.len() {
                if !self.nodes[node].dead {
                    self.feed(node, Input::Timeout);
                }
            }
        }
        panic!("a deadline that does not pass");
    }

    /// Carries bytes until none is on its way.
    pub(crate) fn carry(&mut self) {
        for _ in 0..1_000_000 {
            let ends = (0..self.links.len()).flat_map(|link| [(link, 0), (link, 1)]);
            let busy: Vec<_> = ends.filter(|(link, side)| self.is_busy(*link, *side)).collect();
            if busy.is_empty() {
                return;
            }
            for (link, side) in busy {
                self.carry_some(link, side);
            }
        }
        panic!("bytes that nobody takes");
    }

    fn is_busy(&self, link: usize, side: usize) -> bool {
        let pipe = &self.links[link].pipes[side];
        !pipe.abandoned && (pipe.finished || !pipe.bytes.is_empty())
    }

    fn carry_some(&mut self, link: usize, side: usize) {
        let (node, conn) = self.links[link].ends[side];
        let pipe = &mut self.links[link].pipes[side];
        if pipe.abandoned {
            return;
        }
        if pipe.bytes.is_empty() {
            pipe.abandoned = true;
            self.nodes[node].ends.remove(&conn);
            let reason = CloseReason::RemoteClosed;
            self.feed(node, Input::Closed { conn, reason });
            return;
        }
        let bytes = std::mem::take(&mut pipe.bytes);
        let (most, credit) = if self.smooth {
            (bytes.len(), UNLIMITED)
        } else {
            let most = 1 + self.dice.below(bytes.len() as u64) as usize;
            (most, self.some_credit())
        };
        let consumed = self.feed(node, Input::Received { conn, bytes: &bytes[..most], credit });
        assert!(consumed <= most, "more was consumed than was given");
        let rest = bytes[consumed..].to_vec();
        let newer = std::mem::replace(&mut self.links[link].pipes[side].bytes, rest);
        self.links[link].pipes[side].bytes.extend(newer);
    }

    fn some_credit(&mut self) -> Credit {
        Credit {
            frames: self.dice.below(4) as u32,
            items: self.dice.below(4) as u32,
            bytes: self.dice.below(2_000) as usize,
        }
    }

    /// Carries out what a node wants.
    pub(crate) fn perform(&mut self, node: usize, output: Out) {
        match output {
            Out::Dial(addr) => self.dial(node, addr),
            Out::Send(to, payload) => {
                let to = match to {
                    Recipients::One(conn) => vec![conn],
                    Recipients::Many(conns) => conns,
                };
                for conn in to {
                    let (link, side) = self.nodes[node].ends[&conn];
                    let pipe = &mut self.links[link].pipes[1 - side];
                    pipe.bytes.extend_from_slice(payload.frame());
                }
            }
            Out::Close(conn, reason) => {
                let (link, side) = self.nodes[node].ends.remove(&conn).expect("closed once");
                self.links[link].pipes[1 - side].finished = true;
                self.links[link].pipes[side].abandoned = true;
                self.nodes[node].closes.push(reason);
            }
            Out::ToChain(event) => self.nodes[node].events.push(event),
            Out::Opens(_) | Out::Told(..) | Out::Datagram(..) => {}
            Out::Resolve(name) => {
                let addrs = self.names.get(&name).cloned().unwrap_or_default();
                self.feed(node, Input::Resolved { name, addrs });
            }
        }
    }

    fn dial(&mut self, from: usize, addr: SocketAddr) {
        self.nodes[from].dials += 1;
        let there = |node: &Node| node.addr == addr && !node.dead;
        let Some(to) = self.nodes.iter().position(there) else {
            self.feed(from, Input::DialFailed { addr });
            return;
        };
        let link = self.links.len();
        let ends = [(from, self.next_conn(from, link, 0)), (to, self.next_conn(to, link, 1))];
        self.links.push(Link { ends, pipes: Default::default() });
        let remote = self.nodes[from].addr;
        self.feed(to, Input::Accepted { conn: ends[1].1, addr: remote });
        self.feed(from, Input::Dialed { conn: ends[0].1, addr });
    }

    fn next_conn(&mut self, node: usize, link: usize, side: usize) -> ConnId {
        let node = &mut self.nodes[node];
        let conn = ConnId::new(node.next_index, 1);
        node.next_index += 1;
        node.ends.insert(conn, (link, side));
        conn
    }

    fn set_now(&mut self, now: Instant) {
        for node in &mut self.nodes {
            node.solo.now = now;
        }
    }
}
