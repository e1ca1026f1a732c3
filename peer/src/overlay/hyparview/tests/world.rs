//! A network in memory: nodes, connections that take time and break, messages in their order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::*;

/// Delays of the links, one way.
const DELAY_MS: [u64; 2] = [10, 150];

pub(super) struct World {
    pub(super) nodes: Vec<Option<HyParView>>,
    pub(super) now: Instant,
    /// Connections as their ends know them: (node, peer) to the number of the connection.
    ends: BTreeMap<(usize, usize), u64>,
    /// Those that dials fail to reach, and whose connections are cut.
    pub(super) unreachable: BTreeSet<(usize, usize)>,
    /// Whether drivers keep connections that the overlay needs no more.
    pub(super) keeps: bool,
    /// Percentage of messages that arrive twice.
    pub(super) twice: u64,
    queue: BinaryHeap<Reverse<(Instant, u64, Box<Event>)>>,
    /// When the last message from one to the other arrives.
    arrivals: BTreeMap<(usize, usize), Instant>,
    wakes: Vec<Option<Instant>>,
    serial: u64,
    rules: HyParViewRules,
    rng: Rng,
    pub(super) sent: u64,
    pub(super) dials: u64,
    pub(super) ups: u64,
}

#[derive(PartialEq, Eq)]
enum Event {
    Message { from: usize, to: usize, conn: u64, message: HyParViewMessage },
    Dialed { node: usize, peer: usize },
    Ended { node: usize, peer: usize, conn: u64 },
    Wake { node: usize },
}

/// The queue orders by time and serial number, which no two have together.
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl World {
    pub(super) fn new(count: usize, rules: HyParViewRules, seed: u64) -> Self {
        assert_eq!(rules.check(), Ok(()));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut world = Self {
            nodes: Vec::new(),
            now: Instant::START,
            ends: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            keeps: false,
            twice: 0,
            queue: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            wakes: vec![None; count],
            serial: 0,
            rules,
            rng: Rng::from_seed(bytes),
            sent: 0,
            dials: 0,
            ups: 0,
        };
        for n in 0..count {
            let node = world.fresh(n);
            world.nodes.push(Some(node));
        }
        world
    }

    pub(super) fn join(&mut self, node: usize, contacts: &[usize]) {
        let contacts = contacts.iter().map(|n| addr(*n as u16)).collect();
        self.feed(node, HyParViewInput::Join { contacts });
    }

    /// Stops without a word; the others notice when a connection breaks.
    pub(super) fn kill(&mut self, node: usize) {
        if self.nodes[node].take().is_some() {
            for peer in self.peers_of(node) {
                self.cut(node, peer);
            }
        }
    }

    /// Starts again, with the address and without the memory.
    pub(super) fn revive(&mut self, node: usize) {
        if self.nodes[node].is_none() {
            self.nodes[node] = Some(self.fresh(node));
            self.wakes[node] = None;
        }
    }

    /// Breaks a connection; both ends notice, each in its time.
    pub(super) fn cut(&mut self, one: usize, other: usize) {
        for (node, peer) in [(one, other), (other, one)] {
            if let Some(&conn) = self.ends.get(&(node, peer)) {
                self.later(Event::Ended { node, peer, conn });
            }
        }
    }

    /// Splits the network in those that `is_left` names and the others.
    pub(super) fn split(&mut self, is_left: impl Fn(usize) -> bool) {
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if is_left(one) != is_left(other) {
                    self.unreachable.insert((one, other));
                    self.cut(one, other);
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.unreachable.clear();
    }

    pub(super) fn run(&mut self, wait: Duration) {
        let end = self.now.after(wait);
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= end) {
            let Some(Reverse((at, _, event))) = self.queue.pop() else { return };
            self.now = self.now.max(at);
            self.happen(*event);
        }
        self.now = end;
    }

    /// Lets everything arrive that is on its way, and nobody begin anything.
    pub(super) fn quiet(&mut self) {
        let mut wakes = Vec::new();
        while let Some(Reverse((at, serial, event))) = self.queue.pop() {
            if matches!(*event, Event::Wake { .. }) {
                wakes.push(Reverse((at, serial, event)));
            } else {
                self.now = self.now.max(at);
                self.happen(*event);
            }
        }
        self.queue.extend(wakes);
    }

    /// The pairs of which one is a neighbour of the other and not the other of the one.
    pub(super) fn one_sided(&self) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for one in 0..self.nodes.len() {
            for other in self.neighbors(one) {
                if !self.neighbors(other).contains(&one) {
                    pairs.push((one, other));
                }
            }
        }
        pairs
    }

    /// The sizes of the parts that the living nodes form, largest first.
    pub(super) fn parts(&self) -> Vec<usize> {
        let mut left: BTreeSet<usize> = self.living().collect();
        let mut sizes = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut size, mut stack) = (1, vec![first]);
            while let Some(node) = stack.pop() {
                for peer in self.neighbors(node) {
                    if left.remove(&peer) {
                        size += 1;
                        stack.push(peer);
                    }
                }
            }
            sizes.push(size);
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    pub(super) fn living(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_some())
    }

    pub(super) fn neighbors(&self, node: usize) -> Vec<usize> {
        let active = self.nodes[node].iter().flat_map(HyParView::active);
        active.map(number).collect()
    }

    /// Mean size of the active views of the living.
    pub(super) fn degree(&self) -> f64 {
        let all: usize = self.living().map(|n| self.neighbors(n).len()).sum();
        all as f64 / self.living().count() as f64
    }

    fn fresh(&mut self, n: usize) -> HyParView {
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        HyParView::new(self.rules, addr(n as u16), Rng::from_seed(seed))
    }

    pub(super) fn feed(&mut self, n: usize, input: HyParViewInput) {
        let Some(node) = self.nodes[n].as_mut() else { return };
        node.handle(self.now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| node.poll_output()).collect();
        node.check();
        let due = node.poll_timeout();
        for output in outputs {
            self.perform(n, output);
        }
        if let Some(due) = due
            && self.wakes[n].is_none_or(|wake| due < wake)
        {
            self.wakes[n] = Some(due);
            self.push(due, Event::Wake { node: n });
        }
    }

    fn perform(&mut self, n: usize, output: HyParViewOutput) {
        match output {
            HyParViewOutput::Dial { peer } => {
                self.dials += 1;
                self.later(Event::Dialed { node: n, peer: number(peer) });
            }
            HyParViewOutput::Send { to, message } => {
                self.sent += 1;
                let to = number(to);
                let conn = *self.ends.get(&(n, to)).expect("only to whom a connection is");
                self.in_order(n, to, Event::Message { from: n, to, conn, message });
            }
            HyParViewOutput::Close { peer } => {
                let peer = number(peer);
                if !self.keeps
                    && let Some(conn) = self.ends.remove(&(n, peer))
                {
                    self.in_order(n, peer, Event::Ended { node: peer, peer: n, conn });
                }
            }
            HyParViewOutput::Up { .. } => self.ups += 1,
            HyParViewOutput::Down { .. } => {}
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message { from, to, conn, message } => {
                if self.ends.get(&(to, from)) == Some(&conn) {
                    let input = HyParViewInput::Message { from: addr(from as u16), message };
                    if self.rng.chance(self.twice, 100) {
                        self.feed(to, input.clone());
                    }
                    if self.ends.get(&(to, from)) == Some(&conn) {
                        self.feed(to, input);
                    }
                }
            }
            Event::Dialed { node, peer } => self.dialed(node, peer),
            Event::Ended { node, peer, conn } => {
                if self.ends.get(&(node, peer)) == Some(&conn) {
                    self.ends.remove(&(node, peer));
                    self.feed(node, HyParViewInput::Lost { peer: addr(peer as u16) });
                }
            }
            Event::Wake { node } => {
                if self.wakes[node].is_some_and(|wake| wake <= self.now) {
                    self.wakes[node] = None;
                    self.feed(node, HyParViewInput::Timeout);
                }
            }
        }
    }

    fn dialed(&mut self, node: usize, peer: usize) {
        let there = addr(peer as u16);
        let dead = self.nodes[peer].is_none() || self.unreachable.contains(&(node, peer));
        if self.ends.contains_key(&(node, peer)) {
            self.feed(node, HyParViewInput::Connected { peer: there });
        } else if dead {
            self.feed(node, HyParViewInput::DialFailed { peer: there });
        } else if self.nodes[node].is_some() {
            // The other end may still hold an older one, which ends now.
            if self.ends.remove(&(peer, node)).is_some() {
                self.feed(peer, HyParViewInput::Lost { peer: addr(node as u16) });
            }
            self.serial += 1;
            self.ends.insert((node, peer), self.serial);
            self.ends.insert((peer, node), self.serial);
            self.feed(node, HyParViewInput::Connected { peer: there });
        }
    }

    fn peers_of(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|peer| self.ends.contains_key(&(*peer, node))).collect()
    }

    fn delay(&mut self) -> Duration {
        let [least, most] = DELAY_MS;
        Duration::from_millis(least + self.rng.below(most - least + 1))
    }

    fn later(&mut self, event: Event) {
        let at = self.now.after(self.delay());
        self.push(at, event);
    }

    fn in_order(&mut self, from: usize, to: usize, event: Event) {
        let at = self.now.after(self.delay());
        let last = self.arrivals.get(&(from, to)).copied().unwrap_or(Instant::START);
        let at = at.max(last);
        self.arrivals.insert((from, to), at);
        self.push(at, event);
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, Box::new(event))));
    }
}

/// Which node has this address.
fn number(addr: SocketAddr) -> usize {
    let std::net::IpAddr::V4(ip) = addr.ip() else { panic!("{addr} is no node") };
    let [high, low, ..] = ip.octets();
    usize::from(u16::from_be_bytes([high - 20, low]))
}
