//! What is said about topics in a swarm, and who was told.
//!
//! The laws that are kept here:
//!
//! - Nothing is told that was not said, byte for byte, and nothing twice to one process while it
//!   remembers it.
//! - In a [listening](Talk::listen) time, in which nothing goes wrong: who hears of a message and
//!   is not told in [time](peer::gossip::PlumtreeRules::graft_within) asks for it, and who is asked
//!   for a message that it was told sends it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codec::limits::TOPIC_BYTES_MAX;
use codec::{Context, Hash, Kind, Message, Network, Payload, PlumtreeMessage};
use peer::{Instant, Rng};

use super::plan::Plan;
use crate::network::{NodeId, Told};

/// Topics that are spoken about, short and long.
const TOPICS: [&[u8]; 3] = [b"t", b"weather", &[7; TOPIC_BYTES_MAX]];

/// What is to be published.
pub(super) struct Speech {
    pub(super) topic: &'static [u8],
    pub(super) data: Box<[u8]>,
}

/// A message.
struct Said {
    topic: &'static [u8],
    data: Box<[u8]>,
    by: NodeId,
    life: u32,
}

/// All messages, and who was told.
#[derive(Default)]
pub(super) struct Talk {
    said: Vec<Said>,
    /// What each process was told last, and when.
    told: Vec<BTreeMap<usize, Instant>>,
    lives: Vec<u32>,
    /// How long a message is remembered.
    remember: Duration,
    links: Option<Links>,
}

/// What went over links while somebody listened: who told whom, by ids.
#[derive(Default)]
struct Links {
    /// Which message has this id.
    numbers: BTreeMap<Hash, usize>,
    /// When a node first heard of a message, and of whom.
    heard: BTreeMap<(NodeId, Hash), (Instant, NodeId)>,
    /// Who asked whom for a message, and when last.
    asked: BTreeMap<(NodeId, NodeId, Hash), Instant>,
    /// When a message last came from one to another.
    came: BTreeMap<(NodeId, NodeId, Hash), Instant>,
}

impl Talk {
    pub(super) fn new(plan: &Plan) -> Self {
        let nodes = plan.configs.len();
        Self {
            told: vec![BTreeMap::new(); nodes],
            lives: vec![0; nodes],
            remember: plan.configs[0].plumtree.remember,
            ..Self::default()
        }
    }

    /// How many messages there were.
    pub(super) const fn count(&self) -> usize {
        self.said.len()
    }

    /// A process begins.
    pub(super) fn on_start(&mut self, node: NodeId) {
        self.told[node].clear();
        self.lives[node] += 1;
    }

    /// A node says something, and this is it.
    pub(super) fn say(&mut self, by: NodeId, bytes: usize, rng: &mut Rng) -> Speech {
        let mut data = vec![0; bytes.max(4)];
        rng.fill(&mut data);
        data[..4].copy_from_slice(&(self.said.len() as u32).to_be_bytes());
        let topic = TOPICS[rng.below(TOPICS.len() as u64) as usize];
        let data: Box<[u8]> = data.into();
        self.said.push(Said { topic, data: data.clone(), by, life: self.lives[by] });
        Speech { topic, data }
    }

    fn number_of(&self, topic: &[u8], data: &[u8]) -> Option<usize> {
        let number = u32::from_be_bytes(*data.first_chunk()?) as usize;
        let said = self.said.get(number)?;
        (*said.data == *data && said.topic == topic).then_some(number)
    }

    /// A node is told something; the error is a law that does not hold.
    pub(super) fn on_told(
        &mut self,
        now: Instant,
        node: NodeId,
        told: &Told<'_>,
    ) -> Result<(), String> {
        let Some(number) = self.number_of(told.topic, told.data) else {
            let bytes = told.data.len();
            return Err(format!("node {node} is told {bytes} bytes that nobody said"));
        };
        let Said { by, life, .. } = self.said[number];
        let own = by == node && life == self.lives[node];
        let before = self.told[node].insert(number, now);
        let fresh = before.is_some_and(|before| now.since(before) < self.remember);
        if own || fresh {
            return Err(format!("node {node} is told message {number} of node {by} twice"));
        }
        Ok(())
    }

    /// Who of these was not told a message from this one on, and which.
    pub(super) fn untold(&self, from: usize, nodes: &[NodeId]) -> Option<(usize, NodeId)> {
        let messages = (from..self.said.len()).filter(|one| nodes.contains(&self.said[*one].by));
        let mut pairs = messages.flat_map(|number| nodes.iter().map(move |node| (number, *node)));
        pairs.find(|(number, node)| self.knows_since(*node, *number).is_none())
    }

    /// Since when a node has had a message in its hands.
    fn knows_since(&self, node: NodeId, number: usize) -> Option<Instant> {
        let Said { by, life, .. } = self.said[number];
        let own = by == node && life == self.lives[node];
        if own { Some(Instant::START) } else { self.told[node].get(&number).copied() }
    }

    /// From now on it is seen what goes over links.
    pub(super) fn listen(&mut self) {
        self.links = Some(Links::default());
    }

    /// A frame reached a node.
    pub(super) fn on_frame(&mut self, now: Instant, from: NodeId, to: NodeId, frame: &Payload) {
        if frame.kind() != Kind::Plumtree || self.links.is_none() {
            return;
        }
        let context = Context { version: 0, network: &Network::DEV };
        let message = Message::decode(Kind::Plumtree, frame.body(), &context);
        let Ok(Message::Plumtree(message)) = message else { return };
        let number = match &message {
            PlumtreeMessage::Gossip(gossip) => self.number_of(gossip.topic, gossip.data),
            _ => None,
        };
        let Some(links) = &mut self.links else { return };
        match message {
            PlumtreeMessage::Gossip(gossip) => {
                let id = gossip.id();
                links.numbers.extend(number.map(|number| (id, number)));
                links.came.insert((from, to, id), now);
            }
            PlumtreeMessage::Have(messages) => {
                for one in messages.iter() {
                    links.heard.entry((to, one.id)).or_insert((now, from));
                }
            }
            PlumtreeMessage::Graft { id: Some(id) } => {
                links.asked.insert((from, to, id), now);
            }
            PlumtreeMessage::Graft { id: None } | PlumtreeMessage::Prune => {}
        }
    }

    /// Whether those who heard of messages asked for them in time, and those who were asked
    /// answered, over these links, which stood all the while.
    ///
    /// # Errors
    ///
    /// Who did not.
    pub(super) fn asked_and_answered(
        &mut self,
        first: usize,
        stood: &BTreeSet<(NodeId, NodeId)>,
        graft_within: Duration,
    ) -> Result<(), String> {
        let links = self.links.take().unwrap_or_default();
        let stands = |a: NodeId, b: NodeId| stood.contains(&(a.min(b), a.max(b)));
        let number = |id: &Hash| links.numbers.get(id).copied().filter(|one| *one >= first);
        for ((node, id), (at, of)) in &links.heard {
            let Some(message) = number(id).filter(|_| stands(*node, *of)) else { continue };
            let due = at.after(graft_within);
            let in_time = self.knows_since(*node, message).is_some_and(|since| since <= due);
            let asked = links.asked.keys().any(|(who, _, what)| who == node && what == id);
            if !in_time && !asked {
                return Err(format!(
                    "node {node} heard of message {message} by node {of}, and never asked for it"
                ));
            }
        }
        for ((who, whom, id), at) in &links.asked {
            let Some(message) = number(id).filter(|_| stands(*who, *whom)) else { continue };
            let had = self.knows_since(*whom, message).is_some_and(|since| since < *at);
            let came = links.came.get(&(*whom, *who, *id)).is_some_and(|came| came >= at);
            if had && !came {
                return Err(format!(
                    "node {who} asked node {whom} for message {message}, and got no answer"
                ));
            }
        }
        Ok(())
    }
}
