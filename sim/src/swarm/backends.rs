//! The chains of a swarm: toy blocks of a real tree, and transactions.
//!
//! A body is a number and filler; all that is to be known of it stands in one table, and every byte
//! of what comes is compared with it. What a chain has outlives its process; what it was waiting
//! for does not.
//!
//! The law that is kept here: no chain is given the same twice in one life of its process. Not
//! meant are what it put off, which may come again; a block that it asked for both by its
//! announcement and in a row; an answer that crossed a body that came unasked (see `ledger.rs`);
//! and stems, which leave no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use codec::limits::RANGE_BYTES_MAX;
use codec::{Hash, Kind, Network, Payload};
use peer::{
    ChainTip, CloseReason, ConnId, Freshness, FromChain, Instant, Request, Rng, Source, ToChain,
    Verdict,
};

use super::plan::{Act, Plan};
use super::talk::Talk;
use crate::dice;
use crate::network::{Answers, NodeId, Script, Told};

/// Headers in one answer: few, so that catching up takes several.
const HEADERS_MAX: usize = 16;

/// Ids in a locator, as the protocol allows.
const LOCATOR_MAX: usize = 20;

/// How long what was put off is left alone before it is asked for.
const LATER_WAIT: Duration = Duration::from_millis(700);

/// How long a chain takes for a question.
const ANSWER_WAIT: Duration = Duration::from_millis(1);

/// Errors that are kept as words; one is enough to fail a run.
const ERRORS_MAX: usize = 8;

/// Lines of the story of one entry.
const STORY_MAX: usize = 2_000;

/// Something that was made.
pub(super) struct Entry {
    payload: Payload,
    pub(super) kind: Kind,
    pub(super) origin: NodeId,
    /// Which life of its maker made it.
    pub(super) life: u32,
    pub(super) is_stem: bool,
    is_lie: bool,
    /// Of a block: the one before it, its place, and the work up to it, which no other block has.
    parent: Option<usize>,
    tip: ChainTip,
}

/// The chain of one node.
#[derive(Default)]
struct Backend {
    has: BTreeSet<usize>,
    best: Option<usize>,
    /// What it was given in this life, and what of it unasked.
    given: BTreeSet<usize>,
    unasked: BTreeSet<usize>,
    /// What it put off once; and what it put off, or asked for in two ways, in this life.
    put_off: BTreeSet<usize>,
    asked_twice: BTreeSet<usize>,
    /// Blocks that it wants in a row, and the last header of a full answer.
    row: BTreeSet<usize>,
    header_end: Option<usize>,
    pace: Duration,
    life: u32,
}

/// The chains of all nodes.
pub(super) struct Backends {
    network: Network,
    bodies: Rng,
    luck: Rng,
    pub(super) entries: Vec<Entry>,
    by_id: BTreeMap<Hash, usize>,
    backends: Vec<Backend>,
    /// One payload in so many is put off.
    pub(super) later_one_in: Option<u64>,
    pub(super) liar: Option<NodeId>,
    pub(super) errors: Vec<String>,
    /// Connections that ended, what was put off, and what was wanted in vain.
    pub(super) closes: u64,
    pub(super) put_off: u64,
    pub(super) missing: u64,
    /// What is said about topics.
    pub(super) talk: Talk,
    /// Whose story is told, and the story.
    pub(super) watched: Option<usize>,
    pub(super) story: Vec<String>,
}

impl Backends {
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        let root = dice::rng(seed).fork("backends");
        let backend = |pace: &Duration| Backend { pace: *pace, ..Backend::default() };
        Self {
            network: Network::DEV,
            bodies: root.fork("bodies"),
            luck: root.fork("luck"),
            entries: Vec::new(),
            by_id: BTreeMap::new(),
            backends: plan.paces.iter().map(backend).collect(),
            later_one_in: plan.later_one_in,
            liar: plan.liar,
            errors: Vec::new(),
            closes: 0,
            put_off: 0,
            missing: 0,
            talk: Talk::new(plan),
            watched: None,
            story: Vec::new(),
        }
    }

    /// Something is wrong with the run.
    pub(super) fn error(&mut self, now: Instant, error: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(format!("{:.3} s: {error}", now.micros() as f64 / 1e6));
        }
    }

    fn tell(&mut self, now: Instant, entry: usize, words: impl FnOnce() -> String) {
        if self.watched == Some(entry) && self.story.len() < STORY_MAX {
            self.story.push(format!("{:.6} s: {}", now.micros() as f64 / 1e6, words()));
        }
    }

    /// Whether a chain has this.
    pub(super) fn has(&self, node: NodeId, entry: usize) -> bool {
        self.backends[node].has.contains(&entry)
    }

    /// The work of a chain's best block.
    pub(super) fn tip_of(&self, node: NodeId) -> ChainTip {
        self.tip(self.backends[node].best)
    }

    /// The most work of all blocks.
    pub(super) fn best_work(&self) -> u64 {
        self.entries.iter().map(|entry| entry.tip.total_difficulty).max().unwrap_or(0)
    }

    fn tip(&self, block: Option<usize>) -> ChainTip {
        block.map_or_else(ChainTip::default, |block| self.entries[block].tip)
    }

    /// A node makes something. Its engine is told behind all that was judged before, so that no
    /// block goes out before the one that it stands on, and no tip is told after a better one.
    pub(super) fn make(&mut self, node: NodeId, act: Act, answers: &mut Answers) {
        let (kind, bytes) = match act {
            Act::Block { bytes } => (Kind::Block, bytes),
            Act::Transaction { bytes } | Act::Stem { bytes } | Act::Lie { bytes } => {
                (Kind::Transaction, bytes)
            }
            Act::Say { .. } => return, // no chain has to do with it
        };
        let number = self.entries.len();
        let mut body = vec![0; bytes.max(4)];
        self.bodies.fill(&mut body);
        body[..4].copy_from_slice(&(number as u32).to_be_bytes());
        let payload = Payload::seal(&self.network, kind, &body);
        let payload = payload.expect("the plan keeps to the limits").with_id();
        self.by_id.insert(payload.id(), number);
        let parent = self.backends[node].best.filter(|_| kind == Kind::Block);
        let tip = if kind == Kind::Block { self.next_tip(parent) } else { ChainTip::default() };
        self.entries.push(Entry {
            payload: payload.clone(),
            kind,
            origin: node,
            life: self.backends[node].life,
            is_stem: matches!(act, Act::Stem { .. }),
            is_lie: matches!(act, Act::Lie { .. }),
            parent,
            tip,
        });
        if let Act::Stem { .. } = act {
            return answers.push((self.backends[node].pace, FromChain::Stem(payload)));
        }
        let backend = &mut self.backends[node];
        backend.has.insert(number);
        answers.push((backend.pace, FromChain::Publish(payload)));
        if kind == Kind::Block {
            backend.best = Some(number);
            answers.tip(backend.pace, tip);
        }
    }

    /// The tip of a block behind this one. No two have the same work: which chain is best is never
    /// a matter of who came first.
    fn next_tip(&mut self, parent: Option<usize>) -> ChainTip {
        let before = self.tip(parent);
        let work = before.total_difficulty + 1_000_000 + self.luck.below(100_000);
        let taken: BTreeSet<u64> =
            self.entries.iter().map(|entry| entry.tip.total_difficulty).collect();
        let free = (work..).find(|work| !taken.contains(work));
        ChainTip { height: before.height + 1, total_difficulty: free.unwrap_or(work) }
    }

    /// The entry with this body.
    fn entry_of(&self, payload: &Payload) -> Option<usize> {
        let number = u32::from_be_bytes(*payload.body().first_chunk()?) as usize;
        let entry = self.entries.get(number)?;
        (entry.payload.body() == payload.body()).then_some(number)
    }

    /// Whether a chain is given something again that it should not be.
    fn note_given(&mut self, now: Instant, node: NodeId, entry: usize, freshness: Freshness) {
        let backend = &mut self.backends[node];
        let crossed = freshness == Freshness::Requested && backend.unasked.contains(&entry);
        let excused = crossed || backend.asked_twice.contains(&entry);
        let again = !backend.given.insert(entry);
        let doubled = again && !excused && freshness != Freshness::Next;
        if matches!(freshness, Freshness::New | Freshness::PerhapsLongAgo) {
            backend.unasked.insert(entry);
        }
        if doubled {
            let kind = self.entries[entry].kind;
            self.error(now, format!("node {node} is given {kind:?} {entry} twice, {freshness:?}"));
        }
    }

    /// What a chain thinks of a whole body, and what follows for it.
    fn judge(
        &mut self,
        now: Instant,
        node: NodeId,
        entry: usize,
        freshness: Freshness,
        answers: &mut Answers,
    ) -> Verdict {
        self.note_given(now, node, entry, freshness);
        let knows = self.has(node, entry);
        self.tell(now, entry, || {
            format!("node {node} is given it, {freshness:?}, has it: {knows}")
        });
        let Entry { kind, is_lie, parent, tip, .. } = self.entries[entry];
        if is_lie {
            return Verdict::Invalid;
        }
        if self.backends[node].has.contains(&entry) {
            return Verdict::Keep;
        }
        let unlucky = freshness != Freshness::Next
            && self.later_one_in.is_some_and(|odds| self.luck.chance(1, odds))
            && self.backends[node].put_off.insert(entry);
        let orphan = parent.is_some_and(|parent| !self.has(node, parent));
        let backend = &mut self.backends[node];
        if unlucky || orphan {
            self.put_off += u64::from(unlucky);
            backend.given.remove(&entry);
            backend.unasked.remove(&entry);
            backend.asked_twice.insert(entry);
            self.tell(now, entry, || format!("node {node} puts it off, orphan: {orphan}"));
            if unlucky {
                let backend = &self.backends[node];
                let id = self.entries[entry].payload.id();
                answers.push((backend.pace + LATER_WAIT, FromChain::Fetch { kind, id }));
            }
            return Verdict::Later;
        }
        backend.has.insert(entry);
        if kind == Kind::Block {
            let better = tip.total_difficulty > self.tip_of(node).total_difficulty;
            let backend = &mut self.backends[node];
            if better {
                backend.best = Some(entry);
                answers.tip(backend.pace, tip);
            }
        }
        if freshness == Freshness::Next { Verdict::Keep } else { Verdict::Accept }
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
        let kind = payload.kind();
        if kind == Kind::Headers {
            return self.on_headers(now, node, payload.body(), answers);
        }
        let Some(entry) = self.entry_of(&payload) else {
            return self.error(now, format!("node {node} is given what nobody made: {payload:?}"));
        };
        let verdict = if kind == Kind::StemTransaction {
            if self.has(node, entry) { Verdict::Keep } else { Verdict::Accept }
        } else if kind == self.entries[entry].kind {
            self.judge(now, node, entry, freshness, answers)
        } else {
            return self.error(now, format!("node {node} is given entry {entry} as {kind:?}"));
        };
        // Its id was computed once, as the chain's thread does with that of a large one.
        let made = &self.entries[entry].payload;
        let payload = if made.kind() == kind { made.clone() } else { payload };
        let pace = self.backends[node].pace;
        answers.push((pace, FromChain::Verdict { from, payload, verdict }));
        if freshness == Freshness::Next {
            self.row_moves(node, entry, answers);
        }
    }

    /// One of the blocks in a row is here, or not to be had.
    fn row_moves(&mut self, node: NodeId, entry: usize, answers: &mut Answers) {
        let backend = &mut self.backends[node];
        if backend.row.remove(&entry)
            && backend.row.is_empty()
            && let Some(end) = backend.header_end.take()
        {
            let locator = self.locator(Some(end));
            let pace = self.backends[node].pace;
            answers.push((pace, FromChain::FindHeaders { locator }));
        }
    }

    /// Ids from this block back to the genesis, wider and wider apart.
    fn locator(&self, from: Option<usize>) -> Arc<[Hash]> {
        let mut ids = Vec::new();
        let (mut at, mut step) = (from, 1);
        while let Some(block) = at.filter(|_| ids.len() + 1 < LOCATOR_MAX) {
            ids.push(self.entries[block].payload.id());
            step = if ids.len() > 4 { 2 * step } else { 1 };
            for _ in 0..step {
                at = at.and_then(|block| self.entries[block].parent);
            }
        }
        ids.push(self.network.genesis);
        ids.into()
    }

    /// The best chain of a node, the first block first.
    fn chain(&self, node: NodeId) -> Vec<usize> {
        let next = |block: &usize| self.entries[*block].parent;
        let mut chain: Vec<usize> = std::iter::successors(self.backends[node].best, next).collect();
        chain.reverse();
        chain
    }

    fn on_headers(&mut self, now: Instant, node: NodeId, body: &[u8], answers: &mut Answers) {
        let Some((_, numbers)) = body.split_first() else {
            return self.error(now, format!("node {node} is given an empty list of headers"));
        };
        let (numbers, _) = numbers.as_chunks::<4>();
        let blocks: Vec<usize> =
            numbers.iter().map(|number| u32::from_be_bytes(*number) as usize).collect();
        let Some(last) = blocks.last().copied() else { return };
        let lacking: Vec<usize> =
            blocks.iter().copied().filter(|block| !self.has(node, *block)).collect();
        let more = (blocks.len() == HEADERS_MAX).then_some(last);
        if !self.backends[node].row.is_empty() {
            return; // it is at it
        }
        let Some(first) = lacking.first().copied() else {
            if more.is_some() {
                let locator = self.locator(more);
                answers.push((ANSWER_WAIT, FromChain::FindHeaders { locator }));
            }
            return;
        };
        let ids = lacking.iter().map(|block| self.entries[*block].payload.id()).collect();
        let height = self.entries[first].tip.height;
        answers.push((ANSWER_WAIT, FromChain::FetchBlocks { height, ids }));
        let backend = &mut self.backends[node];
        backend.asked_twice.extend(&lacking);
        backend.row.extend(lacking);
        backend.header_end = more;
    }

    fn on_announced(
        &mut self,
        now: Instant,
        node: NodeId,
        kind: Kind,
        id: Hash,
        answers: &mut Answers,
    ) {
        let Some(entry) = self.by_id.get(&id).copied() else {
            return self
                .error(now, format!("node {node} hears of what nobody made: {kind:?} {id}"));
        };
        self.tell(now, entry, || format!("node {node} hears of it as {kind:?}"));
        if !self.has(node, entry) {
            answers.push((Duration::ZERO, FromChain::Fetch { kind, id }));
        }
    }

    fn on_requested(&self, node: NodeId, to: ConnId, request: &Request, answers: &mut Answers) {
        let (kind, id) = match request {
            Request::Headers(locator) => {
                let payload = self.headers(node, locator);
                return answers.push((ANSWER_WAIT, FromChain::Deliver { to, payload }));
            }
            Request::Blocks { first, count } => {
                return self.on_range(node, to, *first, *count, answers);
            }
            Request::Transaction(id) => (Kind::Transaction, *id),
            Request::Block(id) => (Kind::Block, *id),
            Request::CompactBlock(id) => (Kind::CompactBlock, *id),
            _ => return,
        };
        let found = self.by_id.get(&id).filter(|entry| self.has(node, **entry));
        let found = found.map(|entry| &self.entries[*entry]).filter(|entry| entry.kind == kind);
        let answer = match found {
            Some(entry) => FromChain::Deliver { to, payload: entry.payload.clone() },
            None => FromChain::NotFound { to, kind, id },
        };
        answers.push((ANSWER_WAIT, answer));
    }

    /// What follows the first known id of a locator: a count, and the number of each block.
    fn headers(&self, node: NodeId, locator: &[Hash]) -> Payload {
        let chain = self.chain(node);
        let place = |id: &Hash| {
            let is_it = |block: &usize| self.entries[*block].payload.id() == *id;
            chain.iter().position(is_it).map(|place| place + 1)
        };
        let from = locator.iter().find_map(place).unwrap_or(0);
        let told = &chain[from..chain.len().min(from + HEADERS_MAX)];
        let mut body = vec![told.len() as u8];
        told.iter().for_each(|block| body.extend((*block as u32).to_be_bytes()));
        Payload::seal(&self.network, Kind::Headers, &body).expect("within the limits")
    }

    fn on_range(&self, node: NodeId, to: ConnId, first: Hash, count: u16, answers: &mut Answers) {
        let chain = self.chain(node);
        let start = chain.iter().position(|block| self.entries[*block].payload.id() == first);
        let Some(start) = start else {
            let missing = FromChain::NotFound { to, kind: Kind::Block, id: first };
            return answers.push((ANSWER_WAIT, missing));
        };
        let mut bytes = 0;
        for block in chain[start..].iter().take(usize::from(count)) {
            let payload = self.entries[*block].payload.clone();
            bytes += payload.body().len();
            if *block != chain[start] && bytes as u64 > RANGE_BYTES_MAX as u64 {
                return;
            }
            answers.push((ANSWER_WAIT, FromChain::Deliver { to, payload }));
        }
    }

    fn pool(&self, node: NodeId) -> Arc<[Hash]> {
        let of_pool = |entry: &&usize| self.entries[**entry].kind == Kind::Transaction;
        let ids = self.backends[node].has.iter().filter(of_pool);
        let mut ids: Vec<Hash> = ids.map(|entry| self.entries[*entry].payload.id()).collect();
        ids.sort_unstable();
        ids.into()
    }

    /// Whether this reason can only be somebody's fault, and nobody here makes one.
    const fn is_fault(reason: CloseReason) -> bool {
        matches!(
            reason,
            CloseReason::WrongMagic
                | CloseReason::WrongGenesis
                | CloseReason::OversizeFrame
                | CloseReason::UnexpectedKind
                | CloseReason::Unsolicited
                | CloseReason::TrailingBytes
                | CloseReason::ListTooLong
                | CloseReason::Malformed
                | CloseReason::BannedByRemote
                | CloseReason::Banned
                | CloseReason::Flooding
                | CloseReason::ArchiveStalled
                | CloseReason::ArchiveGivenUp
                | CloseReason::Fork
                | CloseReason::BadEnvelope
                | CloseReason::InvalidPayload
                | CloseReason::AssemblyFull
                | CloseReason::Operator
        )
    }
}

impl Script for Backends {
    fn on_event(&mut self, now: Instant, node: NodeId, event: ToChain, answers: &mut Answers) {
        match event {
            ToChain::Payload { from, payload, freshness } => {
                self.on_payload(now, node, from, payload, freshness, answers);
            }
            ToChain::Announced { kind, id, .. } => {
                self.on_announced(now, node, kind, id, answers);
            }
            ToChain::Requested { from, request } => {
                self.on_requested(node, from.conn, &request, answers);
            }
            ToChain::Fluffed { payload } => match self.entry_of(&payload) {
                Some(entry) => {
                    self.tell(now, entry, || format!("node {node} fluffs it"));
                    self.backends[node].has.insert(entry);
                }
                None => self.error(now, format!("node {node} is to fluff {payload:?}")),
            },
            // They go on as they are.
            ToChain::Aggregate { batch, .. } => {
                answers.push((ANSWER_WAIT, FromChain::Aggregated { batch, payload: None }));
            }
            ToChain::Missing { id, .. } => {
                self.missing += 1;
                if let Some(entry) = self.by_id.get(&id).copied() {
                    self.tell(now, entry, || format!("node {node} hears that it is missing"));
                    self.row_moves(node, entry, answers);
                }
            }
            ToChain::PoolWanted => {
                answers.push((ANSWER_WAIT, FromChain::Pool { ids: self.pool(node) }));
            }
            ToChain::Behind { .. } => {
                if self.backends[node].row.is_empty() {
                    let locator = self.locator(self.backends[node].best);
                    answers.push((ANSWER_WAIT, FromChain::FindHeaders { locator }));
                }
            }
            ToChain::NoHeaders => {}
            ToChain::ArchiveBegins { .. }
            | ToChain::ArchivePiece { .. }
            | ToChain::ArchiveBroken { .. }
            | ToChain::PieceWanted { .. } => {
                self.error(now, format!("node {node} hears of an archive: {event:?}"));
            }
        }
    }

    fn on_frame(&mut self, now: Instant, from: NodeId, to: NodeId, frame: &Payload) {
        self.talk.on_frame(now, from, to, frame);
        let Some(watched) = self.watched.filter(|entry| *entry < self.entries.len()) else {
            return;
        };
        let id = self.entries[watched].payload.id();
        let names = |body: &[u8]| body.windows(id.0.len()).any(|window| window == id.0);
        if self.entry_of(frame) == Some(watched) || names(frame.body()) {
            let kind = frame.kind();
            self.tell(now, watched, || format!("{kind:?} came from node {from} to {to}"));
        }
    }

    fn on_told(&mut self, now: Instant, node: NodeId, told: &Told<'_>) {
        if let Err(error) = self.talk.on_told(now, node, told) {
            self.error(now, error);
        }
    }

    fn on_start(&mut self, _now: Instant, node: NodeId, answers: &mut Answers) {
        self.talk.on_start(node);
        let tip = self.tip_of(node);
        let backend = &mut self.backends[node];
        backend.life += 1;
        backend.given.clear();
        backend.unasked.clear();
        backend.asked_twice.clear();
        backend.row.clear();
        backend.header_end = None;
        answers.tip(ANSWER_WAIT, tip);
    }

    fn on_closed(&mut self, now: Instant, node: NodeId, remote: NodeId, reason: CloseReason) {
        self.closes += 1;
        let honest = ![node, remote].iter().any(|end| Some(*end) == self.liar);
        if honest && Self::is_fault(reason) {
            let reason = reason.name();
            self.error(now, format!("node {node} ends its connection with {remote}: {reason}"));
        }
    }
}
