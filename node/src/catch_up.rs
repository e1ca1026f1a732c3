//! What this node asks for when its chain is behind: headers, then the blocks of the best branch.
//!
//! The chain says what is valid, the engine asks peers; between them stands what is under way.
//! Whatever goes wrong ends in [`CatchUp::start_again`], which forgets what was told and not shown.
//! Bounds: blocks under way by what the engine takes, those that wait for an earlier one in bytes,
//! and what the engine owes us in time. Invariant: a block that waited here has its verdict when it
//! goes.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash as _;
use bitcoin::{Block, BlockHash};
use molva::{FromChain, Kind, Payload, PayloadId, Source, Verdict};

use crate::chain::Chain;
use crate::headers::HEADERS_MAX;

/// Blocks under way at once, as many as the engine takes.
const WANTED_MAX: usize = molva::BLOCKS_WANTED_MAX;

/// With fewer under way than these, more are asked for.
const WANTED_LOW: usize = WANTED_MAX / 2;

/// Blocks that were announced and are asked for one by one. Guess: there are seldom two.
const FETCHING_MAX: usize = 64;

/// Bytes of blocks that wait for one before them which came broken.
const PARKED_BYTES_MAX: usize = 64 << 20;

/// How long after a failure we ask again, if a peer still claims more work.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// An answer that the engine owes us for longer than this will not come: it asks eight peers, ten
/// seconds each.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(120);

/// A block that was asked for alone and has neither come nor been told missing for so long is asked
/// for no more. Guess: longer than the engine goes from peer to peer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// A block whose parent's is not here yet.
pub(crate) struct Parked {
    pub(crate) from: Source,
    pub(crate) payload: Payload,
    pub(crate) block: Block,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct CatchUp {
    /// Blocks wanted in a row, upwards.
    wanted: VecDeque<BlockHash>,
    /// Blocks wanted one by one, and since when.
    fetching: BTreeMap<BlockHash, Instant>,
    /// By parent and own hash: a parent may have many children.
    parked: BTreeMap<(BlockHash, BlockHash), Parked>,
    parked_bytes: usize,
    /// Since when headers are asked for.
    asked: Option<Instant>,
    /// The last answer was full: there are more headers.
    has_more: bool,
    /// The most work that a peer claims.
    claimed: u64,
    not_before: Option<Instant>,
    /// What [`Chain::forgotten`] was when we looked.
    forgotten: u64,
    /// Blocks in a row were asked for, and the end of them was not told to our peers.
    pub(crate) is_active: bool,
}

impl Parked {
    /// Its place among those that wait.
    fn key(&self) -> (BlockHash, BlockHash) {
        (self.block.header.prev_blockhash, self.block.block_hash())
    }

    fn bytes(&self) -> usize {
        self.payload.frame().len()
    }

    /// What is said of it when it is not waited for any more: it may come again.
    fn later(self) -> FromChain {
        let Self { from, payload, .. } = self;
        FromChain::Verdict { from, payload, verdict: Verdict::Later }
    }
}

impl CatchUp {
    /// A peer claims this much.
    pub(crate) fn on_behind(&mut self, total_difficulty: u64) {
        self.claimed = self.claimed.max(total_difficulty);
    }

    /// Something came that continues a chain we do not know.
    pub(crate) fn on_unlinked(&mut self, chain: &Chain, now: Instant, out: &mut Vec<FromChain>) {
        if self.is_idle() {
            self.find_headers(chain, now, out);
        }
    }

    /// Nobody has more headers.
    pub(crate) fn on_no_headers(&mut self, now: Instant) {
        (self.asked, self.has_more, self.claimed) = (None, false, 0);
        self.not_before = Some(now + RETRY_PERIOD);
    }

    /// An answer with so many headers was taken into the tree.
    pub(crate) fn on_headers(&mut self, count: usize) {
        (self.asked, self.has_more) = (None, count == HEADERS_MAX);
    }

    /// This block is announced, and its header valid.
    pub(crate) fn fetch(
        &mut self,
        chain: &Chain,
        hash: BlockHash,
        now: Instant,
        out: &mut Vec<FromChain>,
    ) {
        let Some(node) = chain.node(&hash) else { return };
        let is_under_way = self.wanted.contains(&hash)
            || self.fetching.contains_key(&hash)
            || self.parked.contains_key(&(node.header.prev_blockhash, hash));
        if !is_under_way && self.fetching.len() < FETCHING_MAX {
            self.fetching.insert(hash, now);
            out.push(FromChain::Fetch { kind: Kind::Block, id: node.id });
        }
    }

    /// This block is here, whatever it is worth.
    pub(crate) fn on_block(&mut self, hash: &BlockHash) {
        self.fetching.remove(hash);
        if self.wanted.front() == Some(hash) {
            self.wanted.pop_front();
        } else {
            self.wanted.retain(|wanted| wanted != hash);
        }
    }

    /// A block whose parent's is not here. Gives it back if there is no room.
    pub(crate) fn park(&mut self, parked: Parked) -> Option<Parked> {
        if self.parked_bytes + parked.bytes() > PARKED_BYTES_MAX {
            return Some(parked);
        }
        self.parked_bytes += parked.bytes();
        let before = self.parked.insert(parked.key(), parked);
        self.parked_bytes -= before.as_ref().map_or(0, Parked::bytes);
        before
    }

    /// A block that waited for this one.
    pub(crate) fn unpark(&mut self, parent: &BlockHash) -> Option<Parked> {
        let first = (*parent, BlockHash::all_zeros());
        let key = *self.parked.range(first..).next().filter(|(key, _)| key.0 == *parent)?.0;
        self.take_parked(&key)
    }

    fn take_parked(&mut self, key: &(BlockHash, BlockHash)) -> Option<Parked> {
        let parked = self.parked.remove(key)?;
        self.parked_bytes -= parked.bytes();
        Some(parked)
    }

    /// Nobody gives this block.
    pub(crate) fn on_missing(
        &mut self,
        chain: &mut Chain,
        id: &PayloadId,
        now: Instant,
        out: &mut Vec<FromChain>,
    ) {
        let Some(hash) = chain.hash_of(id).filter(|hash| !chain.has_block(hash)) else { return };
        if self.fetching.contains_key(&hash) || self.wanted.contains(&hash) {
            self.start_again(chain, now, out);
        }
    }

    /// Forgets what was told and not shown, and begins anew in a while.
    pub(crate) fn start_again(
        &mut self,
        chain: &mut Chain,
        now: Instant,
        out: &mut Vec<FromChain>,
    ) {
        tracing::debug!(wanted = self.wanted.len(), "what was told was not shown");
        chain.forget_bare();
        if !self.wanted.is_empty() {
            out.push(FromChain::CancelBlocks);
        }
        out.extend(std::mem::take(&mut self.parked).into_values().map(Parked::later));
        let (claimed, is_active, forgotten) = (self.claimed, self.is_active, chain.forgotten());
        *self = Self { claimed, is_active, forgotten, ..Self::default() };
        self.not_before = Some(now + RETRY_PERIOD);
    }

    /// Asks for what is needed next. Called behind every batch of events, and now and then.
    pub(crate) fn go_on(&mut self, chain: &Chain, now: Instant, out: &mut Vec<FromChain>) {
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) > HEADERS_TIMEOUT) {
            self.on_no_headers(now);
        }
        self.fetching.retain(|_, since| now.saturating_duration_since(*since) <= FETCH_TIMEOUT);
        if self.forgotten != chain.forgotten() {
            self.forgotten = chain.forgotten();
            self.let_go(chain, out);
        }
        if self.wanted.len() < WANTED_LOW && chain.bare() > self.wanted.len() {
            self.fetch_blocks(chain, out);
        }
        let may_ask = self.not_before.is_none_or(|not_before| now >= not_before);
        let is_behind = self.claimed > chain.chain_tip().total_difficulty;
        let wants =
            self.has_more && chain.bare() <= HEADERS_MAX || is_behind && may_ask && self.is_idle();
        if wants && self.asked.is_none() {
            self.find_headers(chain, now, out);
        }
    }

    /// Lets go of what the chain does not follow any more.
    fn let_go(&mut self, chain: &Chain, out: &mut Vec<FromChain>) {
        let is_gone = |hash: &BlockHash| chain.node(hash).is_none();
        self.fetching.retain(|hash, _| !is_gone(hash));
        let parked: Vec<_> = self.parked.keys().filter(|key| is_gone(&key.1)).copied().collect();
        for key in parked {
            out.extend(self.take_parked(&key).map(Parked::later));
        }
        if self.wanted.iter().any(is_gone) {
            self.wanted.clear();
            out.push(FromChain::CancelBlocks);
        }
    }

    /// Whether all that was told is here: said once.
    pub(crate) fn ends(&mut self, chain: &Chain) -> bool {
        let ends = self.is_active && self.is_idle() && !self.has_more && chain.missing().is_empty();
        self.is_active &= !ends;
        ends
    }

    fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.fetching.is_empty() && self.asked.is_none()
    }

    fn find_headers(&mut self, chain: &Chain, now: Instant, out: &mut Vec<FromChain>) {
        (self.asked, self.not_before) = (Some(now), Some(now + RETRY_PERIOD));
        out.push(FromChain::FindHeaders { locator: chain.locator().into() });
    }

    fn fetch_blocks(&mut self, chain: &Chain, out: &mut Vec<FromChain>) {
        let mut missing = chain.missing();
        let waits = |hash: &BlockHash| {
            let parent = chain.node(hash).map(|node| node.header.prev_blockhash);
            parent.is_some_and(|parent| self.parked.contains_key(&(parent, *hash)))
        };
        missing.retain(|hash| !self.fetching.contains_key(hash) && !waits(hash));
        let goes_on = missing.iter().take(self.wanted.len()).eq(&self.wanted);
        if !goes_on {
            self.wanted.clear();
            out.push(FromChain::CancelBlocks);
        }
        let next = missing.iter().skip(self.wanted.len()).take(WANTED_MAX - self.wanted.len());
        let next: Vec<_> = next.copied().collect();
        let Some(first) = next.first().and_then(|hash| chain.node(hash)) else { return };
        let height = u64::from(first.height);
        let ids = next.iter().filter_map(|hash| chain.node(hash)).map(|node| node.id).collect();
        out.push(FromChain::FetchBlocks { height, ids });
        self.wanted.extend(next);
        self.is_active = true;
    }
}

#[cfg(test)]
#[path = "catch_up_tests.rs"]
mod tests;
