//! The scripted chains of all nodes: they take what is whole, answer what they are asked, and
//! aggregate by putting bodies together.
//!
//! A body is the number of its entry in the ledger and filler. The chains know each entry by it,
//! compare every byte, and decide nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use codec::{Context, Hash, Kind, Message, Network, Payload};
use peer::{
    ChainTip, ConnId, Freshness, FromChain, Instant, Request, Rng, Source, ToChain, Verdict,
};

use crate::dice;
use crate::ledger::{Ledger, Way};
use crate::network::{Answers, NodeId, Script};
use crate::spies::Spies;

/// How long a chain looks at what it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// At a transaction. Default 2 ms: a range proof or two.
    pub transaction: Duration,
    /// At a block. Default 20 ms: most of its transactions were verified before.
    pub block: Duration,
    /// At a question. Default 1 ms.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { transaction: ms(2), block: ms(20), answer: ms(1) }
    }
}

/// The chains of all nodes, what they hold, and the spies among the nodes.
pub struct Chains {
    network: Network,
    pace: Pace,
    bodies: Rng,
    /// Transactions that a chain looks at still, in the order in which it will be done.
    judging: VecDeque<(Instant, NodeId, usize)>,
    /// Who has what.
    pub ledger: Ledger,
    /// Who looks on.
    pub spies: Spies,
    /// What was announced, fetched, and not to be had.
    pub missing: u64,
}

/// Bytes of the number in front of a body.
const NUMBER_BYTES: usize = 4;

impl Chains {
    /// The chains of so many nodes.
    #[must_use]
    pub fn new(nodes: usize, spies: Spies, pace: Pace, seed: u64) -> Self {
        Self {
            network: Network::DEV,
            pace,
            bodies: dice::rng(seed).fork("bodies"),
            judging: VecDeque::new(),
            ledger: Ledger::new(nodes),
            spies,
            missing: 0,
        }
    }

    /// A node makes something and wants it spread.
    pub fn publish(&mut self, now: Instant, node: NodeId, kind: Kind, bytes: usize) -> FromChain {
        let entry = self.make(now, node, kind, bytes);
        self.ledger.note_public(now, node, entry, Way::Made);
        FromChain::Publish(self.ledger.entry(entry).payload.clone())
    }

    /// A node makes a transaction and wants its origin hidden.
    pub fn stem(&mut self, now: Instant, node: NodeId, bytes: usize) -> FromChain {
        let entry = self.make(now, node, Kind::Transaction, bytes);
        self.ledger.entry_mut(entry).stems.add(node);
        FromChain::Stem(self.ledger.entry(entry).payload.clone())
    }

    fn make(&mut self, now: Instant, node: NodeId, kind: Kind, bytes: usize) -> usize {
        let mut body = vec![0; bytes.max(NUMBER_BYTES)];
        self.bodies.fill(&mut body);
        let payload = self.seal(kind, body);
        self.ledger.add_item(now, node, payload)
    }

    /// Numbers a body and frames it.
    fn seal(&self, kind: Kind, mut body: Vec<u8>) -> Payload {
        let number = self.ledger.next_entry() as u32;
        body[..NUMBER_BYTES].copy_from_slice(&number.to_be_bytes());
        let sealed = Payload::seal(&self.network, kind, &body);
        sealed.expect("the experiments keep to the network's limits").with_id()
    }

    fn on_payload(
        &mut self,
        now: Instant,
        node: NodeId,
        from: Source,
        payload: Payload,
        freshness: Freshness,
        answers: &mut Answers,
    ) {
        let wait = match payload.kind() {
            Kind::StemTransaction | Kind::Transaction => self.pace.transaction,
            Kind::Block | Kind::CompactBlock => self.pace.block,
            _ => return,
        };
        let Some(entry) = self.ledger.entry_of(&payload) else {
            return self.ledger.error(format!("node {node} got what nobody made: {payload:?}"));
        };
        let fresh = if payload.kind() == Kind::StemTransaction {
            let fresh = !self.ledger.has_all(node, entry);
            self.ledger.note_stem(node, entry);
            fresh
        } else {
            let fresh = self.ledger.note_public(now, node, entry, Way::Came(freshness));
            if payload.kind() == Kind::Transaction {
                self.forget_judged(now);
                self.judging.push_back((now.after(wait), node, entry));
            }
            self.settle(node, entry, answers);
            fresh
        };
        let verdict = if fresh { Verdict::Accept } else { Verdict::Keep };
        // Its id was computed once, as the chain's thread does with that of a large one.
        let made = &self.ledger.entry(entry).payload;
        let payload = if made.kind() == payload.kind() { made.clone() } else { payload };
        answers.push((wait, FromChain::Verdict { from, payload, verdict }));
    }

    /// A stem is over. Until the chain has judged a public copy its engine takes no notice of it,
    /// and may say of a stem what the chain knows already.
    fn on_fluffed(&mut self, now: Instant, node: NodeId, entry: usize, answers: &mut Answers) {
        self.forget_judged(now);
        if self.judging.iter().any(|(_, at, what)| (*at, *what) == (node, entry)) {
            return;
        }
        self.ledger.note_public(now, node, entry, Way::Fluffed);
        self.settle(node, entry, answers);
    }

    fn forget_judged(&mut self, now: Instant) {
        while self.judging.front().is_some_and(|(until, ..)| *until < now) {
            self.judging.pop_front();
        }
    }

    /// Stems of other bodies that hold the same are over.
    fn settle(&mut self, node: NodeId, entry: usize, answers: &mut Answers) {
        let mut over: Vec<usize> = Vec::new();
        for item in &self.ledger.entry(entry).members {
            over.extend(self.ledger.items()[*item].entries.iter().filter(|other| **other != entry));
        }
        over.sort_unstable();
        over.dedup();
        over.retain(|other| self.ledger.has_all(node, *other));
        over.retain(|other| self.ledger.entry_mut(*other).stems.remove(node));
        if !over.is_empty() {
            let ids: Arc<[Hash]> = over.iter().map(|other| self.ledger.entry(*other).id).collect();
            answers.push((self.pace.answer, FromChain::Settled { ids }));
        }
    }

    fn on_announced(&mut self, node: NodeId, kind: Kind, id: Hash, answers: &mut Answers) {
        let kind = match kind {
            Kind::TransactionKernel => Kind::Transaction,
            Kind::Header => Kind::Block,
            kind => kind,
        };
        let Some(entry) = self.ledger.entry_with(&id) else {
            return self.ledger.error(format!("node {node} heard of what nobody made: {id}"));
        };
        if !self.ledger.entry(entry).holders.has(node) {
            answers.push((Duration::ZERO, FromChain::Fetch { kind, id }));
        }
    }

    fn on_requested(&self, node: NodeId, to: ConnId, request: &Request, answers: &mut Answers) {
        let (kind, id) = match request {
            Request::Transaction(id) => (Kind::Transaction, *id),
            Request::Block(id) => (Kind::Block, *id),
            Request::CompactBlock(id) => (Kind::CompactBlock, *id),
            _ => return,
        };
        let found = self.ledger.entry_with(&id).map(|entry| self.ledger.entry(entry));
        let found = found.filter(|entry| entry.holders.has(node) && entry.payload.kind() == kind);
        let answer = match found {
            Some(entry) => FromChain::Deliver { to, payload: entry.payload.clone() },
            None => FromChain::NotFound { to, kind, id },
        };
        answers.push((self.pace.answer, answer));
    }

    fn aggregate(&mut self, node: NodeId, batch: u64, stems: &[Payload], answers: &mut Answers) {
        let mut body = vec![0; NUMBER_BYTES];
        let mut members = Vec::new();
        for stem in stems {
            let Some(entry) = self.ledger.entry_of(stem) else {
                return self.ledger.error(format!("node {node} is to aggregate {stem:?}"));
            };
            body.extend_from_slice(&stem.body()[NUMBER_BYTES..]);
            members.extend_from_slice(&self.ledger.entry(entry).members);
        }
        members.sort_unstable();
        members.dedup();
        let payload = self.seal(Kind::Transaction, body);
        let entry = self.ledger.add_entry(payload.clone(), members);
        self.ledger.entry_mut(entry).stems.add(node);
        let stem = Payload::seal(&self.network, Kind::StemTransaction, payload.body());
        let payload = Some(stem.expect("no longer than as a transaction"));
        answers.push((self.pace.transaction, FromChain::Aggregated { batch, payload }));
    }
}

impl Script for Chains {
    fn on_event(&mut self, now: Instant, node: NodeId, event: ToChain, answers: &mut Answers) {
        match event {
            ToChain::Payload { from, payload, freshness } => {
                self.on_payload(now, node, from, payload, freshness, answers);
            }
            ToChain::Announced { kind, id, .. } => self.on_announced(node, kind, id, answers),
            ToChain::Requested { from, request } => {
                self.on_requested(node, from.conn, &request, answers);
            }
            ToChain::Fluffed { payload } => match self.ledger.entry_of(&payload) {
                Some(entry) => self.on_fluffed(now, node, entry, answers),
                None => self.ledger.error(format!("node {node} is to fluff {payload:?}")),
            },
            ToChain::Aggregate { batch, stems } => self.aggregate(node, batch, &stems, answers),
            ToChain::Missing { .. } => self.missing += 1,
            ToChain::PoolWanted => {
                let ids: Arc<[Hash]> = Arc::new([]);
                answers.push((self.pace.answer, FromChain::Pool { ids }));
            }
            ToChain::ArchiveBegins { .. }
            | ToChain::ArchivePiece { .. }
            | ToChain::ArchiveBroken { .. }
            | ToChain::PieceWanted { .. }
            | ToChain::Behind { tip: ChainTip { .. } }
            | ToChain::NoHeaders => {} // nobody has a chain of blocks here
        }
    }

    fn on_frame(&mut self, _now: Instant, from: NodeId, to: NodeId, frame: &Payload) {
        if !self.spies.hear(from, to) {
            return;
        }
        let Self { ledger, spies, network, .. } = self;
        let mut note = |entry: Option<usize>| {
            let members = entry.map(|entry| &ledger.entry(entry).members);
            members.into_iter().flatten().for_each(|item| spies.note(from, *item));
        };
        match frame.kind() {
            Kind::StemTransaction | Kind::Transaction => note(ledger.entry_of(frame)),
            kind @ (Kind::Have | Kind::Coming | Kind::TransactionKernel) => {
                let context = Context { version: ANY_VERSION, network };
                match Message::decode(kind, frame.body(), &context) {
                    Ok(Message::Have(offers) | Message::Coming(offers)) => {
                        offers.iter().for_each(|offer| note(ledger.entry_with(&offer.item.id)));
                    }
                    Ok(Message::TransactionKernel(id)) => note(ledger.entry_with(&id)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The layout of announcements is the same in all versions.
const ANY_VERSION: u32 = 1_000;
