//! The thread that the engine calls the chain: it judges what peers send, and answers them.
//!
//! Events are taken in batches. What a batch changed is made durable first, and only then are the
//! verdicts given, the commands sent and the lines said that follow from it: who hears of a block
//! from us hears of one that a power loss leaves us.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Block, BlockHash, Transaction};
use crossbeam_channel::Receiver;
use molva::{
    ChainSide, EngineEnd, Freshness, FromChain, Hash, Kind, Payload, PayloadId, RANGE_BYTES_MAX,
    Request, SendError, Source, ToChain, Verdict,
};

use crate::catch_up::{CatchUp, Parked};
use crate::chain::{Added, Chain, Change, Taken};
use crate::control::{Asked, Command};
use crate::generate;
use crate::headers;
use crate::pool::{Pool, PoolLimits, Pooled};
use crate::rules::ChainName;
use crate::say::{Said, Tip, say};
use crate::store::StoreError;
use crate::validate::{Fault, TRANSACTION_WEIGHT_MAX, check_transaction};

/// Events of a batch. A commit costs milliseconds, and a peer waits for its answer meanwhile.
const BATCH: usize = 64;

/// A batch ends when so many bytes of blocks, or of answers, are in it.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How long to wait for events before looking whether an operator wants something.
const PATIENCE: Duration = Duration::from_millis(20);

/// Pause before a full lane is tried again: the loop takes thousands of commands in this time.
const LANE_PAUSE: Duration = Duration::from_millis(1);

/// Blocks that one operator's command makes at most.
pub(crate) const MINE_MAX: u32 = 1_000;

/// How the thread ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendEnd {
    #[error(transparent)]
    Engine(#[from] EngineEnd),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the head of this file.
pub(crate) struct Backend {
    side: ChainSide,
    chain: Chain,
    catch_up: CatchUp,
    mempool: Pool,
    stems: Pool,
    commands: Receiver<Asked>,
    /// What is sent when the batch is durable.
    out: Vec<FromChain>,
    out_bytes: usize,
    said: Vec<Said>,
    answers: Vec<(Asked, Said)>,
    /// The tip that was said last.
    told: BlockHash,
}

/// The wall clock.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Backend {
    pub(crate) fn new(
        side: ChainSide,
        chain: Chain,
        mempool: PoolLimits,
        commands: Receiver<Asked>,
    ) -> Self {
        side.counters().set_tip(chain.chain_tip());
        Self {
            told: chain.tip_hash(),
            side,
            chain,
            catch_up: CatchUp::default(),
            mempool: Pool::new(mempool),
            stems: Pool::new(PoolLimits::STEMS),
            commands,
            out: Vec::new(),
            out_bytes: 0,
            said: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Until the engine ends, which is how this thread is told to.
    pub(crate) fn run(mut self) -> BackendEnd {
        let mut events = Vec::new();
        loop {
            let end = self.side.recv_batch(&mut events, BATCH, PATIENCE).err();
            for event in events.drain(..) {
                if let Err(error) = self.on_event(event).and_then(|()| self.settle_if_full()) {
                    return error;
                }
            }
            while let Ok(asked) = self.commands.try_recv() {
                let answer = self.on_command(&asked.command);
                self.answers.push((asked, answer));
            }
            self.catch_up.go_on(&self.chain, Instant::now(), &mut self.out);
            if let Err(error) = self.settle() {
                return error;
            }
            if let Some(end) = end {
                return end.into();
            }
        }
    }

    fn settle_if_full(&mut self) -> Result<(), BackendEnd> {
        let bytes = self.chain.uncommitted_bytes() + self.out_bytes;
        if bytes < BATCH_BYTES_MAX { Ok(()) } else { self.settle() }
    }

    /// Ends the batch: durable first, then told.
    fn settle(&mut self) -> Result<(), BackendEnd> {
        self.chain.commit()?;
        let tip = self.chain.tip();
        if self.told != self.chain.tip_hash() {
            self.told = self.chain.tip_hash();
            self.side.counters().set_tip(self.chain.chain_tip());
            say(&Said::Tip(Tip::from(&tip)));
        }
        if self.catch_up.ends(&self.chain) {
            let header = headers::bytes(&tip.header);
            if let Ok(header) = Payload::seal(self.chain.network(), Kind::Header, &header) {
                self.out.push(FromChain::Publish(header));
            }
        }
        self.said.drain(..).for_each(|said| say(&said));
        for (asked, answer) in self.answers.drain(..) {
            asked.answer(&answer);
        }
        self.out_bytes = 0;
        for command in self.out.drain(..) {
            let mut command = command;
            while let Err(error) = self.side.send(command) {
                match error {
                    SendError::Full(again) => command = again,
                    // The next receive says how it ended.
                    SendError::Gone(_) => return Ok(()),
                }
                std::thread::sleep(LANE_PAUSE);
            }
        }
        Ok(())
    }

    fn send(&mut self, command: FromChain) {
        self.out_bytes += command.bytes();
        self.out.push(command);
    }

    fn verdict(&mut self, from: Source, payload: Payload, verdict: Verdict) {
        self.send(FromChain::Verdict { from, payload, verdict });
    }

    fn on_event(&mut self, event: ToChain) -> Result<(), BackendEnd> {
        match event {
            ToChain::Payload { from, payload, freshness } => {
                self.on_payload(from, payload, freshness);
            }
            ToChain::Announced { kind, id, .. } => self.on_announced(kind, id),
            ToChain::Requested { from, request } => self.on_request(from, &request)?,
            ToChain::Behind { tip } => self.catch_up.on_behind(tip.total_difficulty),
            ToChain::NoHeaders => self.catch_up.on_no_headers(Instant::now()),
            ToChain::Missing { kind: Kind::Block, id } => {
                self.catch_up.on_missing(&mut self.chain, &id, Instant::now(), &mut self.out);
            }
            ToChain::Fluffed { payload } => {
                self.stems.remove(&payload.id());
                self.add_to_mempool(&payload);
            }
            ToChain::Aggregate { batch, .. } => {
                // Transactions of Bitcoin do not aggregate.
                self.send(FromChain::Aggregated { batch, payload: None });
            }
            ToChain::PoolWanted => {
                self.send(FromChain::Pool { ids: self.mempool.ids().collect() });
            }
            // A transaction that nobody gives is missed by nobody; archives are grin's.
            ToChain::Missing { .. }
            | ToChain::ArchiveBegins { .. }
            | ToChain::ArchivePiece { .. }
            | ToChain::ArchiveBroken { .. }
            | ToChain::PieceWanted { .. } => {}
        }
        Ok(())
    }

    fn on_payload(&mut self, from: Source, payload: Payload, freshness: Freshness) {
        match payload.kind() {
            Kind::Header => self.on_header(from, payload),
            Kind::Headers => self.on_headers(from, payload),
            Kind::Block => self.on_block(from, payload, freshness),
            Kind::Transaction => {
                let verdict = self.add_to_mempool(&payload);
                self.verdict(from, payload, verdict);
            }
            Kind::StemTransaction => {
                let verdict = self.add_to_stems(&payload);
                self.verdict(from, payload, verdict);
            }
            // Nothing else is asked for, and what nobody asked for is passed over.
            _ => {}
        }
    }

    /// A new block's header, ahead of the block.
    fn on_header(&mut self, from: Source, payload: Payload) {
        let Ok(header) = deserialize::<Header>(payload.body()) else {
            return self.verdict(from, payload, Verdict::Invalid);
        };
        let hash = header.block_hash();
        let verdict = match self.chain.add_header(&header, now()) {
            Ok(Added::New | Added::Known) => {
                if !self.chain.has_block(&hash) {
                    self.fetch(hash);
                }
                // The block is relayed, and with it its header.
                Verdict::Keep
            }
            Ok(Added::Unlinked) => {
                self.catch_up.on_unlinked(&self.chain, Instant::now(), &mut self.out);
                Verdict::Later
            }
            Ok(Added::Final) => return self.refuse_fork(from, payload),
            Ok(Added::Full) => Verdict::Later,
            Err(fault) => verdict_of(fault),
        };
        self.verdict(from, payload, verdict);
    }

    fn refuse_fork(&mut self, from: Source, payload: Payload) {
        self.said.push(Said::Fork { peer: from.addr });
        // No proof against it: only our tip makes it one that comes too late.
        self.verdict(from, payload, Verdict::Later);
        self.send(FromChain::Fork { conn: from.conn });
    }

    fn on_headers(&mut self, from: Source, payload: Payload) {
        let Some(headers) = headers::read(payload.body()).filter(|headers| are_in_row(headers))
        else {
            self.catch_up.on_headers(0);
            return self.verdict(from, payload, Verdict::Invalid);
        };
        let seconds = now();
        let mut new = 0;
        for header in &headers {
            match self.chain.add_header(header, seconds) {
                Ok(Added::New) => new += 1,
                Ok(Added::Known) => {}
                Ok(Added::Final) => {
                    self.catch_up.on_headers(0);
                    return self.refuse_fork(from, payload);
                }
                // Not behind what we asked for, or no longer: asked again at once, it would say
                // the same.
                Ok(Added::Unlinked) => {
                    self.catch_up.on_no_headers(Instant::now());
                    return self.verdict(from, payload, Verdict::Later);
                }
                Ok(Added::Full) => {
                    let (chain, out) = (&mut self.chain, &mut self.out);
                    self.catch_up.start_again(chain, Instant::now(), out);
                    return self.verdict(from, payload, Verdict::Later);
                }
                Err(fault) => {
                    self.catch_up.on_headers(0);
                    return self.verdict(from, payload, verdict_of(fault));
                }
            }
        }
        if new == 0 && !headers.is_empty() {
            // Asked again at once, it would say the same.
            self.catch_up.on_no_headers(Instant::now());
        } else {
            self.catch_up.on_headers(headers.len());
        }
        self.verdict(from, payload, Verdict::Keep);
    }

    fn on_block(&mut self, from: Source, payload: Payload, freshness: Freshness) {
        let Ok(block) = deserialize::<Block>(payload.body()) else {
            self.verdict(from, payload.clone(), Verdict::Invalid);
            if let Some(hash) = self.chain.hash_of(&payload.id()) {
                self.ask_again(hash);
            }
            return;
        };
        let hash = block.block_hash();
        self.catch_up.on_block(&hash);
        self.take_block(Parked { from, payload, block }, freshness);
        // All that waited for it, and for those: as many as were parked.
        let mut parents = vec![hash];
        while let Some(parent) = parents.pop() {
            while self.chain.has_block(&parent)
                && let Some(parked) = self.catch_up.unpark(&parent)
            {
                parents.push(parked.block.block_hash());
                self.take_block(parked, Freshness::Next);
            }
        }
    }

    fn take_block(&mut self, parked: Parked, freshness: Freshness) {
        let Parked { from, payload, block } = &parked;
        let hash = block.block_hash();
        let taken = self.chain.add_block(block, payload.body(), now());
        let verdict = match taken {
            Ok(Taken::Best(change)) => {
                self.on_change(&change);
                // While we catch up, what is new to us is old to others.
                let is_old = freshness == Freshness::Next || self.catch_up.is_active;
                if is_old { Verdict::Keep } else { Verdict::Accept }
            }
            Ok(Taken::Side | Taken::Known) => Verdict::Keep,
            Ok(Taken::Waits) => {
                let Some(back) = self.catch_up.park(parked) else { return };
                return self.verdict(back.from, back.payload, Verdict::Later);
            }
            Ok(Taken::Unlinked) => {
                if freshness != Freshness::Next {
                    self.catch_up.on_unlinked(&self.chain, Instant::now(), &mut self.out);
                }
                Verdict::Later
            }
            Ok(Taken::Final) => return self.refuse_fork(*from, payload.clone()),
            Ok(Taken::Full) => Verdict::Later,
            Err(fault) => {
                tracing::debug!(%hash, %fault, "a block is not valid");
                self.ask_again(hash);
                verdict_of(fault)
            }
        };
        let Parked { from, payload, .. } = parked;
        self.verdict(from, payload, verdict);
    }

    /// A block came broken: whoever sent it is to blame, and another may have it whole, unless its
    /// header is condemned: then the chain does not know it any more.
    fn ask_again(&mut self, hash: BlockHash) {
        self.catch_up.on_block(&hash);
        if !self.chain.has_block(&hash) {
            self.fetch(hash);
        }
    }

    fn fetch(&mut self, hash: BlockHash) {
        self.catch_up.fetch(&self.chain, hash, Instant::now(), &mut self.out);
    }

    /// The pools follow the best chain.
    fn on_change(&mut self, change: &Change) {
        for hash in &change.disconnected {
            for transaction in self.transactions(hash) {
                let body = serialize(&transaction);
                self.pool_transaction(&transaction, &body);
            }
        }
        let mut settled = Vec::new();
        let are_empty = self.mempool.len() + self.stems.len() == 0;
        for hash in change.connected.iter().filter(|_| !are_empty) {
            for transaction in self.transactions(hash) {
                self.mempool.settle(&transaction);
                settled.extend(self.stems.settle(&transaction));
            }
        }
        if !settled.is_empty() {
            self.send(FromChain::Settled { ids: settled.into() });
        }
    }

    /// Those of a block, but for its coinbase.
    fn transactions(&self, hash: &BlockHash) -> Vec<Transaction> {
        let bytes = self.chain.block(hash).ok().flatten();
        let block = bytes.and_then(|bytes| deserialize::<Block>(&bytes).ok());
        block.map_or_else(Vec::new, |mut block| block.txdata.split_off(1))
    }

    fn on_announced(&mut self, kind: Kind, id: PayloadId) {
        match kind {
            Kind::Header | Kind::Block | Kind::CompactBlock => match self.chain.hash_of(&id) {
                Some(hash) if self.chain.has_block(&hash) => {}
                Some(hash) => self.fetch(hash),
                None if self.chain.is_condemned(&id) => {}
                None => self.send(FromChain::Fetch { kind: Kind::Block, id }),
            },
            // Whether it is on a stem of ours changes nothing that a peer could see.
            _ if !self.mempool.contains(&id) => {
                self.send(FromChain::Fetch { kind: Kind::Transaction, id });
            }
            _ => {}
        }
    }

    fn on_request(&mut self, from: Source, request: &Request) -> Result<(), BackendEnd> {
        let to = from.conn;
        match request {
            Request::Headers(locator) => {
                let payload =
                    headers::seal(self.chain.network(), self.chain.headers_behind(locator));
                if let Ok(payload) = payload {
                    self.send(FromChain::Deliver { to, payload });
                }
            }
            Request::Block(id) => self.deliver_blocks(from, *id, 1)?,
            Request::Blocks { first, count } => self.deliver_blocks(from, *first, *count)?,
            Request::CompactBlock(id) => {
                self.send(FromChain::NotFound { to, kind: Kind::CompactBlock, id: *id });
            }
            Request::Transaction(id) => match self.mempool.get(id).cloned() {
                Some(payload) => self.send(FromChain::Deliver { to, payload }),
                None => {
                    self.send(FromChain::NotFound { to, kind: Kind::Transaction, id: *id });
                }
            },
            // There is no archive of Bitcoin's state to be had.
            Request::TxHashSet { .. }
            | Request::OutputBitmapSegment(_)
            | Request::OutputSegment(_)
            | Request::RangeProofSegment(_)
            | Request::KernelSegment(_) => {}
        }
        Ok(())
    }

    /// Blocks of the best chain from this one on; alone if it stands beside it.
    fn deliver_blocks(&mut self, from: Source, first: Hash, count: u16) -> Result<(), BackendEnd> {
        let to = from.conn;
        let hash = self.chain.hash_of(&first).filter(|hash| self.chain.has_block(hash));
        let Some(hash) = hash else {
            self.send(FromChain::NotFound { to, kind: Kind::Block, id: first });
            return Ok(());
        };
        let mut row: Vec<_> =
            self.chain.best_from(&hash).iter().take(usize::from(count)).copied().collect();
        if row.is_empty() {
            row.push(hash);
        }
        let mut bytes = 0;
        for (place, hash) in row.iter().enumerate() {
            let Some(block) = self.chain.block(hash)? else { break };
            bytes += block.len();
            if place > 0 && bytes > RANGE_BYTES_MAX {
                break;
            }
            if let Ok(payload) = Payload::seal(self.chain.network(), Kind::Block, &block) {
                self.send(FromChain::Deliver { to, payload });
            }
        }
        Ok(())
    }

    fn add_to_mempool(&mut self, payload: &Payload) -> Verdict {
        let transaction = match read_transaction(payload.body()) {
            Ok(transaction) => transaction,
            Err(verdict) => return verdict,
        };
        if self.pool_transaction(&transaction, payload.body()) {
            Verdict::Accept
        } else {
            Verdict::Keep
        }
    }

    /// Whether it is new in the mempool.
    fn pool_transaction(&mut self, transaction: &Transaction, body: &[u8]) -> bool {
        let pooled = self.mempool.add(self.chain.network(), transaction, body);
        let Pooled::New { evicted } = pooled else { return false };
        if !evicted.is_empty() {
            tracing::debug!(count = evicted.len(), "the mempool is full: the eldest went");
        }
        let id = self.chain.network().id(Kind::Transaction, body);
        self.said.push(Said::transaction(id, transaction.compute_txid()));
        true
    }

    fn add_to_stems(&mut self, payload: &Payload) -> Verdict {
        let transaction = match read_transaction(payload.body()) {
            Ok(transaction) => transaction,
            Err(verdict) => return verdict,
        };
        let network = self.chain.network();
        if self.mempool.contains(&network.id(Kind::Transaction, payload.body())) {
            return Verdict::Keep;
        }
        match self.stems.add(network, &transaction, payload.body()) {
            Pooled::New { .. } => Verdict::Accept,
            Pooled::Known | Pooled::Conflicts | Pooled::TooLarge => Verdict::Keep,
        }
    }

    fn on_command(&mut self, command: &Command) -> Said {
        let refused = |why: &str| Said::Refused { why: why.to_owned() };
        match command {
            Command::Status => {
                let metrics = self.side.counters().metrics();
                Said::Status {
                    tip: Tip::from(&self.chain.tip()),
                    mempool: self.mempool.len(),
                    mempool_bytes: self.mempool.bytes(),
                    peers: metrics.peers_inbound + metrics.peers_outbound,
                    extended: metrics.peers_extended,
                    neighbours: metrics.neighbours,
                    members: metrics.members,
                }
            }
            Command::Submit(body) => {
                let network = self.chain.network();
                let Ok(payload) = Payload::seal(network, Kind::StemTransaction, body) else {
                    return refused("the transaction is too large");
                };
                match self.add_to_stems(&payload) {
                    Verdict::Accept => {
                        let id = payload.id().to_string();
                        self.send(FromChain::Stem(payload));
                        Said::Submitted { id }
                    }
                    Verdict::Keep => refused("it is here already, conflicts, or is too large"),
                    Verdict::Invalid | Verdict::Later => refused("it is not valid"),
                }
            }
            Command::Mine(blocks) if self.chain.name() == ChainName::Regtest => {
                for made in 0..*blocks {
                    if let Err(why) = self.mine() {
                        return refused(&format!("{made} of {blocks} blocks were made: {why}"));
                    }
                }
                Said::Chain { chain: self.chain.name().name(), tip: Tip::from(&self.chain.tip()) }
            }
            Command::Mine(_) => refused("work costs nothing on regtest alone"),
        }
    }

    /// A block of our own, with what the mempool has; why there is none.
    fn mine(&mut self) -> Result<(), String> {
        let tip = self.chain.tip();
        let mut bytes = generate::BLOCK_BYTES_MIN;
        let transactions: Vec<Transaction> = self
            .mempool
            .by_age()
            .take_while(|payload| {
                bytes += payload.body().len();
                bytes <= generate::BLOCK_BYTES_MAX
            })
            .filter_map(|payload| deserialize(payload.body()).ok())
            .collect();
        let block = generate::block_behind(&tip.header, tip.height + 1, transactions, Vec::new());
        let body = serialize(&block);
        match self.chain.add_block(&block, &body, now()) {
            Ok(Taken::Best(change)) => {
                self.on_change(&change);
                if let Ok(payload) = Payload::seal(self.chain.network(), Kind::Block, &body) {
                    self.send(FromChain::Publish(payload));
                }
                Ok(())
            }
            Ok(Taken::Full) => {
                Err("the chain follows as many headers as it can; wait for their blocks".to_owned())
            }
            Ok(other) => Err(format!("the next one does not become the tip ({other:?})")),
            Err(fault) => Err(format!("the next one would not be valid: {fault}")),
        }
    }
}

/// Whether each of these headers continues the one before it, as those of a chain do.
fn are_in_row(headers: &[Header]) -> bool {
    headers.windows(2).all(|pair| pair[1].prev_blockhash == pair[0].block_hash())
}

fn verdict_of(fault: Fault) -> Verdict {
    if fault.is_proof() { Verdict::Invalid } else { Verdict::Later }
}

/// A transaction that may stand in a pool, or what its sender gets for it.
fn read_transaction(body: &[u8]) -> Result<Transaction, Verdict> {
    let transaction: Transaction = deserialize(body).map_err(|_| Verdict::Invalid)?;
    check_transaction(&transaction).map_err(verdict_of)?;
    // Ours to refuse, and no fault of the sender.
    if transaction.weight() > TRANSACTION_WEIGHT_MAX { Err(Verdict::Keep) } else { Ok(transaction) }
}

#[cfg(test)]
#[path = "backend_tests.rs"]
mod tests;
