//! A model of a whole network: many dialers with their books, dials that succeed at once or not at
//! all, and answers to requests for addresses. It shows what the choices of one dialer do to all.

use std::collections::BTreeMap;

use super::tests::{rng, wall};
use super::*;
use crate::address_book::BookLimits;

const NODES: usize = 200;
const OUTBOUND: u32 = 8;
const TICK: Duration = Duration::from_millis(100);
const FEELER_PERIOD: Duration = Duration::from_millis(250);

struct Node {
    addr: SocketAddr,
    dialer: Dialer,
    book: AddressBook,
    alive: bool,
    peers: BTreeMap<ConnId, Link>,
    reached_target: Option<Instant>,
}

struct Link {
    node: usize,
    outbound: bool,
    /// A peer answers once a connection.
    asked: bool,
}

struct Net {
    nodes: Vec<Node>,
    now: Instant,
    conns: u32,
}

fn addr_of(node: usize) -> SocketAddr {
    ([127, 0, 0, 1], 10_000 + node as u16).into()
}

fn offers() -> Capabilities {
    Capabilities::UNKNOWN
}

fn limits() -> BookLimits {
    BookLimits {
        new_buckets: 64,
        tried_buckets: 32,
        bucket_places: 64,
        tried_failures_max: 3,
        tried_failing: Duration::ZERO,
        ..BookLimits::default()
    }
}

fn dialer(seed: u64, seeds: &[Seed], now: Instant) -> Dialer {
    let slots = Slots { outbound: OUTBOUND, feeler_period: FEELER_PERIOD, ..Slots::default() };
    let mut dialer =
        Dialer::seeking(slots, seeds, Locality::Local, rng(1).fork(&format!("dialer {seed}")));
    dialer.next_feeler = now.after(FEELER_PERIOD);
    dialer
}

impl Net {
    fn new() -> Self {
        let node = |n| Node {
            addr: addr_of(n),
            dialer: dialer(n as u64, &[Seed::Addr(addr_of(0))], Instant::START),
            book: AddressBook::new(limits(), Locality::Local, rng(2).fork(&format!("book {n}"))),
            alive: true,
            peers: BTreeMap::new(),
            reached_target: None,
        };
        Self { nodes: (0..NODES).map(node).collect(), now: Instant::START, conns: 0 }
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        (0..NODES).filter(|node| self.nodes[*node].alive)
    }

    /// Lets every node do what is due, until `done` or for so long.
    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while self.now.since(start) <= limit {
            if done(self) {
                return Some(self.now.since(start));
            }
            let mut steps = Vec::new();
            for n in 0..NODES {
                self.step(n, &mut steps);
            }
            for (n, step) in steps {
                match step {
                    Step::Dial { addr } => self.dial(n, addr),
                    Step::AskPeers => {
                        for conn in self.nodes[n].peers.keys().copied().collect::<Vec<_>>() {
                            self.ask(n, conn);
                        }
                    }
                    Step::Release { conn } => self.release(n, conn),
                    Step::Reseed | Step::Resolve { .. } => {}
                    Step::Refused { addr } => panic!("nobody calls {addr}"),
                }
            }
            self.now = self.now.after(TICK);
        }
        None
    }

    fn step(&mut self, n: usize, steps: &mut Vec<(usize, Step)>) {
        let Node { addr, dialer, book, alive, peers, .. } = &mut self.nodes[n];
        if !*alive || dialer.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        let refuses =
            |other, _| other == *addr || peers.values().any(|link| addr_of(link.node) == other);
        let mut world = World { now: self.now, wall: wall(self.now), book, refuses: &refuses };
        while let Some(step) = dialer.step(&mut world) {
            steps.push((n, step));
        }
        assert!(dialer.deadline().is_none_or(|at| at > self.now), "a busy loop");
    }

    fn dial(&mut self, from: usize, addr: SocketAddr) {
        let to = usize::from(addr.port()) - 10_000;
        if !self.nodes[to].alive || self.nodes[to].peers.values().any(|link| link.node == from) {
            return self.nodes[from].dialer.on_dial_failed(addr, self.now);
        }
        let (now, own) = (self.now, self.nodes[from].addr);
        self.conns += 1;
        let conn = ConnId::new(self.conns, 1);
        let node = &mut self.nodes[from];
        node.dialer.on_dialed(addr, conn);
        node.book.succeeded(addr, offers(), wall(now));
        let purpose = node.dialer.on_established(conn, now);
        self.hear(to, own, own);
        if purpose == Purpose::Probe {
            return self.nodes[from].dialer.on_closed(conn, CloseReason::Probed, now);
        }
        let node = &mut self.nodes[from];
        node.peers.insert(conn, Link { node: to, outbound: true, asked: false });
        if node.dialer.missing() == 0 {
            node.reached_target.get_or_insert(now);
        }
        self.nodes[to].peers.insert(conn, Link { node: from, outbound: false, asked: false });
        self.ask(from, conn);
    }

    fn release(&mut self, n: usize, conn: ConnId) {
        let link = self.nodes[n].peers.remove(&conn).unwrap();
        self.nodes[link.node].peers.remove(&conn);
        self.nodes[n].dialer.on_closed(conn, CloseReason::Probed, self.now);
    }

    fn hear(&mut self, n: usize, addr: SocketAddr, source: SocketAddr) {
        let (now, Node { dialer, book, addr: own, .. }) = (self.now, &mut self.nodes[n]);
        let old = addr != source && dialer.is_given_up(addr, now);
        if addr != *own && !old && book.hear(addr, source.ip(), offers(), wall(now), wall(now)) {
            dialer.on_addresses();
        }
    }

    fn ask(&mut self, n: usize, conn: ConnId) {
        let now = self.now;
        let link = self.nodes[n].peers.get_mut(&conn).unwrap();
        if std::mem::replace(&mut link.asked, true) {
            return;
        }
        let teller = link.node;
        let group = Locality::Local.group(self.nodes[n].addr);
        let told = self.nodes[teller].book.sample(group, offers(), wall(now));
        for addr in told {
            self.hear(n, addr, addr_of(teller));
        }
    }

    fn kill(&mut self, n: usize) {
        self.nodes[n].alive = false;
        for (conn, link) in std::mem::take(&mut self.nodes[n].peers) {
            let other = &mut self.nodes[link.node];
            other.peers.remove(&conn);
            other.dialer.on_closed(conn, CloseReason::ConnectionLost, self.now);
        }
    }

    fn degree_out(&self, n: usize) -> usize {
        self.nodes[n].peers.values().filter(|link| link.outbound).count()
    }

    fn all_at_target(&self) -> bool {
        self.alive().all(|n| self.degree_out(n) >= OUTBOUND as usize)
    }

    fn is_connected(&self) -> bool {
        let first = self.alive().next().unwrap();
        let (mut reached, mut rim) = (vec![false; NODES], vec![first]);
        reached[first] = true;
        while let Some(n) = rim.pop() {
            for link in self.nodes[n].peers.values() {
                if !std::mem::replace(&mut reached[link.node], true) {
                    rim.push(link.node);
                }
            }
        }
        self.alive().all(|n| reached[n])
    }

    /// Addresses of dead nodes in books of living ones.
    fn dead_known(&self) -> usize {
        let dead = |n: usize| {
            let records = self.nodes[n].book.records();
            records
                .filter(|record| !self.nodes[usize::from(record.addr.port()) - 10_000].alive)
                .count()
        };
        self.alive().map(dead).sum()
    }
}

#[test]
fn a_network_forms_from_one_seed_heals_and_takes_a_node_back() {
    let mut net = Net::new();
    let formed = net.run_until(Duration::from_secs(60), Net::all_at_target);
    assert!(formed.is_some() && net.is_connected());
    net.run_until(Duration::from_secs(5), |_| false);

    for n in (0..NODES).filter(|n| n % 3 == 0) {
        net.kill(n);
    }
    let known = net.dead_known();
    let clean = |net: &Net| net.now.micros().is_multiple_of(1_000_000) && net.dead_known() == 0;
    let healed = net.run_until(Duration::from_secs(120), clean);
    assert!(known > NODES && healed.is_some(), "{} of {known} dead are left", net.dead_known());
    assert!(net.all_at_target() && net.is_connected());

    let anchors = net.nodes[1].dialer.take_anchors().expect("two peers that lived long");
    net.kill(1);
    net.run_until(Duration::from_secs(5), |_| false);
    let node = &mut net.nodes[1];
    node.dialer = dialer(1_000, &[], net.now);
    node.dialer.restore(anchors);
    node.alive = true;
    let back = net.run_until(Duration::from_secs(10), |net| net.degree_out(1) == OUTBOUND as usize);
    assert!(back.is_some());
}
