//! Messages of topics, beside the peers: what [`Plumtree`] decides is sent, and kept for a while.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use codec::limits::{EVENT_DATA_BYTES_MAX, GOSSIP_DATA_BYTES_MAX, TOPIC_BYTES_MAX};
use codec::{Gossip as Frame, Hash, Message, PlumtreeMessage, Records};

use crate::config::{Config, ConfigError, Gossip};
use crate::endpoint::{Endpoint, sealed};
use crate::event::{ConnId, Output, Recipients};
use crate::gossip::Plumtree;
use crate::gossip::plumtree::{Input, Output as Order};
use crate::requests::{Class, Requests};
use crate::rng::Rng;
use crate::time::Instant;

impl Gossip {
    /// Bytes that a message of a topic has at most.
    #[must_use]
    pub const fn data_bytes_max(self) -> usize {
        match self {
            Self::None => 0,
            Self::Tree => GOSSIP_DATA_BYTES_MAX,
            Self::Datagrams => EVENT_DATA_BYTES_MAX,
        }
    }
}

/// The tree, and the bodies that go along it.
#[derive(Debug)]
pub(crate) struct Gossiping {
    tree: Option<Plumtree>,
    rng: Rng,
    bodies: Bodies,
    /// What is just being taken in, until it proves to be new, and the links that it came over.
    arriving: Option<(u16, Spoken)>,
}

/// A message of a topic.
#[derive(Clone, Debug)]
struct Spoken {
    nonce: [u8; 16],
    topic: Arc<[u8]>,
    data: Arc<[u8]>,
}

/// The newest bodies, of so many bytes at most: neighbours may ask for them.
#[derive(Debug)]
struct Bodies {
    by_id: BTreeMap<Hash, Spoken>,
    by_age: VecDeque<Hash>,
    bytes: usize,
    bytes_max: usize,
}

impl Spoken {
    fn of(gossip: &Frame<'_>) -> Self {
        let Frame { nonce, topic, data, .. } = *gossip;
        Self { nonce, topic: topic.into(), data: data.into() }
    }

    /// What it weighs, with its places in both lists.
    fn bytes(&self) -> usize {
        self.topic.len() + self.data.len() + BODY_OVERHEAD
    }
}

/// What a body takes beyond its bytes, about: two ids, the nonce, two reference counts.
const BODY_OVERHEAD: usize = 256;

/// Least bytes of messages of topics that are kept: the largest.
pub(crate) const GOSSIP_BYTES_MIN: usize = GOSSIP_DATA_BYTES_MAX + TOPIC_BYTES_MAX + BODY_OVERHEAD;

impl Bodies {
    fn add(&mut self, id: Hash, spoken: Spoken) {
        self.bytes += spoken.bytes();
        if let Some(before) = self.by_id.insert(id, spoken) {
            self.bytes -= before.bytes(); // forgotten by the tree, and said again
        } else {
            self.by_age.push_back(id);
        }
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.by_age.pop_front() else { return };
            self.bytes -= self.by_id.remove(&oldest).map_or(0, |gone| gone.bytes());
        }
    }
}

impl Config {
    pub(crate) const fn check_gossip(&self) -> Result<(), ConfigError> {
        if self.gossip_bytes_max < GOSSIP_BYTES_MIN {
            return Err(ConfigError::GossipBytes(self.gossip_bytes_max));
        }
        Ok(())
    }
}

impl Gossiping {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        let bytes_max = config.gossip_bytes_max;
        Self {
            tree: (config.gossip == Gossip::Tree)
                .then(|| Plumtree::new(config.plumtree, rng.fork("tree"))),
            rng,
            bodies: Bodies { by_id: BTreeMap::new(), by_age: VecDeque::new(), bytes: 0, bytes_max },
            arriving: None,
        }
    }
}

impl Endpoint {
    /// Bytes of messages of topics that are kept for neighbours that ask.
    #[must_use]
    pub const fn gossip_bytes(&self) -> usize {
        self.gossiping.bodies.bytes
    }

    pub(crate) fn gossip_deadline(&self) -> Option<Instant> {
        self.gossiping.tree.as_ref()?.poll_timeout()
    }

    pub(crate) fn gossip_due(&mut self) {
        if self.gossip_deadline().is_some_and(|due| due <= self.now) {
            self.tell_tree(Input::Timeout);
        }
    }

    /// Somebody of us says something about a topic; what is too long was refused by the driver.
    pub(crate) fn on_publish(&mut self, topic: &[u8], data: &[u8]) {
        match self.config.gossip {
            Gossip::None => {}
            Gossip::Tree => self.publish_to_tree(topic, data),
            Gossip::Datagrams => self.publish_to_cluster(topic, data),
        }
    }

    fn publish_to_tree(&mut self, topic: &[u8], data: &[u8]) {
        let mut nonce = [0; 16];
        self.gossiping.rng.fill(&mut nonce);
        let gossip = Frame { round: 0, nonce, topic, data };
        let id = gossip.id();
        self.gossiping.bodies.add(id, Spoken::of(&gossip));
        self.tell_tree(Input::Publish { id });
    }

    pub(crate) fn on_plumtree(&mut self, conn: ConnId, message: PlumtreeMessage<'_>) {
        match message {
            PlumtreeMessage::Gossip(gossip) => self.on_gossip(conn, &gossip),
            PlumtreeMessage::Have(messages) => {
                let messages: Vec<_> = messages.iter().collect();
                self.tell_tree(Input::Have { from: conn, messages: &messages });
            }
            PlumtreeMessage::Graft { id } => {
                let id = id.filter(|id| self.may_give(conn, id));
                self.tell_tree(Input::Graft { from: conn, id });
            }
            PlumtreeMessage::Prune => self.tell_tree(Input::Prune { from: conn }),
        }
    }

    /// Whether a neighbour gets a body that it asks for, at the cost of any answer: it may ask for
    /// the same one again and again.
    fn may_give(&mut self, to: ConnId, id: &Hash) -> bool {
        let Some(bytes) = self.gossiping.bodies.by_id.get(id).map(Spoken::bytes) else {
            return false;
        };
        let (rate, now) = (self.config.rates.answers, self.now);
        let Some(account) = self.requests_mut(to).map(Requests::account_mut) else { return false };
        let may = account.is_ready(Class::Gossip, rate, now);
        if may {
            account.bucket(Class::Gossip).charge(bytes as u64, rate, now);
        } else {
            self.counts.requests_refused += 1;
        }
        may
    }

    fn on_gossip(&mut self, from: ConnId, gossip: &Frame<'_>) {
        if self.gossiping.tree.is_none() {
            return;
        }
        let id = gossip.id();
        if !self.gossiping.bodies.by_id.contains_key(&id) {
            self.gossiping.arriving = Some((gossip.round, Spoken::of(gossip)));
        }
        self.tell_tree(Input::Gossip { from, id, round: gossip.round });
        if self.gossiping.arriving.take().is_some() {
            self.counts.gossip_known += 1; // by a stranger, or known long ago
        }
    }

    pub(crate) fn tell_tree(&mut self, input: Input<'_>) {
        let now = self.now;
        let Some(tree) = &mut self.gossiping.tree else { return };
        tree.handle(now, input);
        while let Some(order) = self.gossiping.tree.as_mut().and_then(Plumtree::poll_output) {
            self.carry_out_gossip(order);
        }
    }

    fn carry_out_gossip(&mut self, order: Order) {
        let to_one = |to, message| (Recipients::One(to), message);
        let records;
        let spoken;
        let (to, message) = match order {
            Order::Deliver { id } => {
                let Some((hops, spoken)) = self.gossiping.arriving.take() else { return };
                self.counts.gossip_new += 1;
                let (topic, data) = (Arc::clone(&spoken.topic), Arc::clone(&spoken.data));
                self.gossiping.bodies.add(id, spoken);
                let hops = Some(hops);
                return self.outbox.push_back(Output::Told { topic, data, hops });
            }
            Order::Missed { .. } => return self.counts.gossip_missed += 1,
            Order::Send { to, id, round } => {
                let Some(found) = self.gossiping.bodies.by_id.get(&id) else { return };
                spoken = found.clone();
                let Spoken { nonce, topic, data } = &spoken;
                let gossip = Frame { round, nonce: *nonce, topic, data };
                (Recipients::Many(to), PlumtreeMessage::Gossip(gossip))
            }
            Order::Have { to, messages } => {
                records = messages;
                to_one(to, PlumtreeMessage::Have(Records::new(&records)))
            }
            Order::Graft { to, id } => to_one(to, PlumtreeMessage::Graft { id }),
            Order::Prune { to } => {
                self.counts.gossip_known += 1;
                to_one(to, PlumtreeMessage::Prune)
            }
        };
        let payload = sealed(&self.config.network, &Message::Plumtree(message));
        self.outbox.push_back(Output::Send { to, payload });
    }
}
