//! What this node asks for when its chain is behind: headers, then the blocks of the best branch.
//!
//! The chain says what is valid, the engine asks peers; between them stands what is under way.
//! Whatever goes wrong ends in [`CatchUp::start_again`], which forgets what was told and not shown.
//! Bounds: blocks under way by what the engine takes, those that wait for an earlier one in bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bitcoin::{Block, BlockHash};
use molva::{FromChain, Kind, Payload, PayloadId, Source};

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
    /// Blocks wanted one by one.
    fetching: BTreeSet<BlockHash>,
    parked: BTreeMap<BlockHash, Parked>,
    parked_bytes: usize,
    /// Since when headers are asked for.
    asked: Option<Instant>,
    /// The last answer was full: there are more headers.
    has_more: bool,
    /// The most work that a peer claims.
    claimed: u64,
    not_before: Option<Instant>,
    /// Blocks in a row were asked for, and the end of them was not told to our peers.
    pub(crate) is_active: bool,
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
    pub(crate) fn fetch(&mut self, chain: &Chain, hash: BlockHash, out: &mut Vec<FromChain>) {
        let is_under_way = self.wanted.contains(&hash) || self.parked.contains_key(&hash);
        let Some(node) = chain.node(&hash) else { return };
        if !is_under_way && self.fetching.len() < FETCHING_MAX && self.fetching.insert(hash) {
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
        let bytes = parked.payload.frame().len();
        if self.parked_bytes + bytes > PARKED_BYTES_MAX {
            return Some(parked);
        }
        self.parked_bytes += bytes;
        let before = self.parked.insert(parked.block.block_hash(), parked);
        if let Some(before) = &before {
            self.parked_bytes -= before.payload.frame().len();
        }
        before
    }

    /// A block that waited for this one.
    pub(crate) fn unpark(&mut self, parent: &BlockHash) -> Option<Parked> {
        let is_child = |one: &Parked| one.block.header.prev_blockhash == *parent;
        let hash = self.parked.iter().find(|(_, one)| is_child(one)).map(|(hash, _)| *hash)?;
        let parked = self.parked.remove(&hash)?;
        self.parked_bytes -= parked.payload.frame().len();
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
        if self.fetching.contains(&hash) || self.wanted.contains(&hash) {
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
        let (claimed, is_active) = (self.claimed, self.is_active);
        *self = Self { claimed, is_active, ..Self::default() };
        self.not_before = Some(now + RETRY_PERIOD);
    }

    /// Asks for what is needed next. Called behind every batch of events, and now and then.
    pub(crate) fn go_on(&mut self, chain: &Chain, now: Instant, out: &mut Vec<FromChain>) {
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) > HEADERS_TIMEOUT) {
            self.on_no_headers(now);
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
        missing.retain(|hash| !self.fetching.contains(hash) && !self.parked.contains_key(hash));
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
