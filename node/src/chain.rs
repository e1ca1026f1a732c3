//! The tree of headers, the best chain in it, and the blocks that stand behind it.
//!
//! A header is *bare* until its block is here; a block is taken only when its parent's is. So all
//! blocks reach back to genesis, and the best chain is the branch of blocks with the most work,
//! the one that came first if two have the same. Branches may leave it at most [`FINAL_DEPTH`]
//! blocks below its tip: what is deeper is final.
//!
//! All headers are in memory, some 300 bytes for each block; bodies are in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::{Block, BlockHash, Work};
use molva::{ChainTip, Network, PayloadId};

use crate::headers;
use crate::rules::{ChainName, block_id, total_difficulty};
use crate::store::{Loaded, Store, StoreError};
use crate::validate::{Fault, check_block, check_header};

/// How many blocks of the best chain may be given up for another branch: two days of Bitcoin, and
/// as many as its nodes that prune keep at least.
pub(crate) const FINAL_DEPTH: u32 = 288;

/// Most headers without their blocks: some answers ahead of the blocks.
pub(crate) const BARE_MAX: usize = 4 * headers::HEADERS_MAX;

/// Most blocks beside the best chain. Guess: some branches of all the depth that a branch may have.
pub(crate) const SIDE_BLOCKS_MAX: usize = 1_024;

/// Condemned headers that are remembered. Guess: each has cost its maker the work of a block.
const CONDEMNED_MAX: usize = 1_024;

/// Ids of a locator, as many as the wire has room for.
const LOCATOR_MAX: usize = 20;

/// Those at the front of a locator that stand next to each other; then each step is twice the last.
const LOCATOR_DENSE: usize = 8;

/// One header of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) header: Header,
    pub(crate) height: u32,
    pub(crate) id: PayloadId,
    /// Of the chain up to here.
    pub(crate) work: Work,
    has_block: bool,
}

/// What became of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    New,
    Known,
    /// Its parent is unknown.
    Unlinked,
    /// Its branch leaves the best chain below what is final.
    Final,
    /// There are [`BARE_MAX`] already.
    Full,
}

/// What became of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// The best chain ends with it now.
    Best(Change),
    /// It is kept beside the best chain.
    Side,
    Known,
    /// Its parent's block is missing.
    Waits,
    /// As [`Added::Unlinked`].
    Unlinked,
    /// As [`Added::Final`].
    Final,
    /// No room for it beside the best chain.
    Full,
}

/// How the best chain changed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Change {
    /// Its blocks that are no longer part of it, from the top.
    pub(crate) disconnected: Vec<BlockHash>,
    /// Its new blocks, upwards.
    pub(crate) connected: Vec<BlockHash>,
}

/// Headers whose blocks are not valid, and never can be: at most [`CONDEMNED_MAX`], and the eldest
/// goes. In memory alone: after a restart they are found again.
#[derive(Default)]
struct Condemned {
    hashes: BTreeSet<BlockHash>,
    ids: BTreeSet<PayloadId>,
    by_age: VecDeque<(BlockHash, PayloadId)>,
}

/// See the head of this file.
pub(crate) struct Chain {
    name: ChainName,
    network: Network,
    store: Store,
    nodes: BTreeMap<BlockHash, Node>,
    hashes: BTreeMap<PayloadId, BlockHash>,
    /// The best chain, by height.
    best: Vec<BlockHash>,
    /// All other nodes, by height.
    others: BTreeSet<(u32, BlockHash)>,
    bare: usize,
    /// The header with the most work, its block here or not.
    best_header: BlockHash,
    condemned: Condemned,
    /// Headers without blocks that were forgotten so far.
    forgotten: u64,
}

impl Condemned {
    fn insert(&mut self, hash: BlockHash, id: PayloadId) {
        if !self.hashes.insert(hash) {
            return;
        }
        self.ids.insert(id);
        self.by_age.push_back((hash, id));
        if self.by_age.len() > CONDEMNED_MAX
            && let Some((hash, id)) = self.by_age.pop_front()
        {
            self.hashes.remove(&hash);
            self.ids.remove(&id);
        }
    }
}

impl Chain {
    /// Opens the store of a directory and reads its headers.
    pub(crate) fn open(dir: &Path, wanted: Option<ChainName>) -> Result<Self, StoreError> {
        let (store, name) = Store::open(dir, wanted)?;
        let (network, genesis) = (name.network(), name.genesis().header);
        let hash = genesis.block_hash();
        let id = block_id(&network, &headers::bytes(&genesis));
        let root = Node { header: genesis, height: 0, id, work: genesis.work(), has_block: true };
        let Loaded { best, side } = store.load()?;
        let mut chain = Self {
            name,
            network,
            store,
            nodes: BTreeMap::from([(hash, root)]),
            hashes: BTreeMap::from([(id, hash)]),
            best: vec![hash],
            others: BTreeSet::new(),
            bare: 0,
            best_header: hash,
            condemned: Condemned::default(),
            forgotten: 0,
        };
        for header in best {
            let parent = chain.tip();
            if header.prev_blockhash != parent.header.block_hash() {
                return Err(StoreError::Damaged("a block does not continue the one before it"));
            }
            let hash = chain.insert(header, &parent, true);
            chain.others.remove(&(parent.height + 1, hash));
            chain.best.push(hash);
        }
        for (height, header) in side {
            // By height, so that a parent comes before its child.
            match chain.nodes.get(&header.prev_blockhash).copied() {
                Some(parent) => drop(chain.insert(header, &parent, true)),
                None => {
                    let id = block_id(&chain.network, &headers::bytes(&header));
                    chain.store.drop_side(height, id);
                }
            }
        }
        chain.best_header = chain.tip_hash();
        Ok(chain)
    }

    pub(crate) const fn name(&self) -> ChainName {
        self.name
    }

    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn tip_hash(&self) -> BlockHash {
        *self.best.last().expect("genesis is there")
    }

    /// The last block of the best chain.
    pub(crate) fn tip(&self) -> Node {
        self.nodes[&self.tip_hash()]
    }

    /// The tip as the engine tells it.
    pub(crate) fn chain_tip(&self) -> ChainTip {
        let tip = self.tip();
        ChainTip { height: u64::from(tip.height), total_difficulty: total_difficulty(tip.work) }
    }

    pub(crate) fn node(&self, hash: &BlockHash) -> Option<&Node> {
        self.nodes.get(hash)
    }

    /// Bitcoin's hash of the block with this id.
    pub(crate) fn hash_of(&self, id: &PayloadId) -> Option<BlockHash> {
        self.hashes.get(id).copied()
    }

    pub(crate) fn has_block(&self, hash: &BlockHash) -> bool {
        self.nodes.get(hash).is_some_and(|node| node.has_block)
    }

    /// Headers without their blocks.
    pub(crate) const fn bare(&self) -> usize {
        self.bare
    }

    /// Headers without blocks that were forgotten so far: whoever wants their blocks looks again
    /// when it changes.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Whether the block with this id was found not valid, and no other can stand in its place.
    pub(crate) fn is_condemned(&self, id: &PayloadId) -> bool {
        self.condemned.ids.contains(id)
    }

    /// Takes a header if it is valid and belongs to a branch that may still win.
    pub(crate) fn add_header(&mut self, header: &Header, now: u64) -> Result<Added, Fault> {
        let hash = header.block_hash();
        if self.nodes.contains_key(&hash) {
            return Ok(Added::Known);
        }
        let condemned = &self.condemned.hashes;
        if condemned.contains(&hash) || condemned.contains(&header.prev_blockhash) {
            return Err(Fault::Condemned);
        }
        let Some(parent) = self.nodes.get(&header.prev_blockhash).copied() else {
            return Ok(Added::Unlinked);
        };
        if self.leaves_final(&header.prev_blockhash) {
            return Ok(Added::Final);
        }
        let ancestor = |back| self.ancestor(header.prev_blockhash, back);
        check_header(header, parent.height + 1, ancestor, now, self.name.params())?;
        if self.bare >= BARE_MAX {
            return Ok(Added::Full);
        }
        let hash = self.insert(*header, &parent, false);
        self.bare += 1;
        if self.nodes[&hash].work > self.nodes[&self.best_header].work {
            self.best_header = hash;
        }
        Ok(Added::New)
    }

    /// Takes a block if it is valid and its parent's block is here. `bytes` are its own.
    pub(crate) fn add_block(
        &mut self,
        block: &Block,
        bytes: &[u8],
        now: u64,
    ) -> Result<Taken, Fault> {
        let hash = block.block_hash();
        if self.has_block(&hash) {
            return Ok(Taken::Known);
        }
        match self.add_header(&block.header, now)? {
            Added::New | Added::Known => {}
            Added::Unlinked => return Ok(Taken::Unlinked),
            Added::Final => return Ok(Taken::Final),
            Added::Full => return Ok(Taken::Full),
        }
        if let Err(fault) = check_block(block) {
            if fault.condemns() {
                self.condemn(hash);
            }
            return Err(fault);
        }
        if !self.has_block(&block.header.prev_blockhash) {
            return Ok(Taken::Waits);
        }
        let node = self.nodes[&hash];
        let is_best = node.work > self.tip().work;
        if !is_best && self.others.len() - self.bare >= SIDE_BLOCKS_MAX {
            return Ok(Taken::Full);
        }
        self.store.put_side(node.height, node.id, &node.header, bytes);
        self.nodes.entry(hash).and_modify(|node| node.has_block = true);
        self.bare -= 1;
        Ok(if is_best { Taken::Best(self.switch_to(hash)) } else { Taken::Side })
    }

    /// Makes this block the tip.
    fn switch_to(&mut self, hash: BlockHash) -> Change {
        let mut change = Change::default();
        let mut at = hash;
        while !self.is_best(&at) {
            change.connected.push(at);
            at = self.nodes[&at].header.prev_blockhash;
        }
        change.connected.reverse();
        let fork = self.nodes[&at].height as usize;
        while self.best.len() > fork + 1 {
            let Some(hash) = self.best.pop() else { break };
            let node = self.nodes[&hash];
            self.store.disconnect(node.height, node.id, &node.header);
            self.others.insert((node.height, hash));
            change.disconnected.push(hash);
        }
        for hash in &change.connected {
            let node = self.nodes[hash];
            self.store.connect(node.height, node.id, &node.header);
            self.others.remove(&(node.height, *hash));
            self.best.push(*hash);
        }
        if self.nodes[&hash].work > self.nodes[&self.best_header].work {
            self.best_header = hash;
        }
        self.prune();
        change
    }

    /// Forgets what is beside the best chain and so deep that it cannot win any more.
    fn prune(&mut self) {
        let depth = self.tip().height.saturating_sub(FINAL_DEPTH);
        while let Some(&(height, hash)) = self.others.first() {
            if height > depth {
                break;
            }
            self.forget_branch(height, hash);
        }
    }

    /// Forgets a header whose block is not valid, with all that continues it, and for good. None
    /// of them has a block, for a block is taken only behind its parent's.
    fn condemn(&mut self, hash: BlockHash) {
        let node = self.nodes[&hash];
        self.condemned.insert(hash, node.id);
        self.forget_branch(node.height, hash);
        let tip = self.tip_hash();
        let others = self.others.iter().map(|(_, hash)| *hash);
        // The tip stays if another has the same work.
        let most = others.fold(tip, |most, hash| {
            if self.nodes[&hash].work > self.nodes[&most].work { hash } else { most }
        });
        self.best_header = most;
    }

    /// Forgets a header beside the best chain, and all that continues it.
    fn forget_branch(&mut self, height: u32, hash: BlockHash) {
        self.forget(height, hash);
        // By height, so that a child comes behind its parent.
        let rest: Vec<_> = self.others.iter().copied().collect();
        for (height, hash) in rest {
            if !self.nodes.contains_key(&self.nodes[&hash].header.prev_blockhash) {
                self.forget(height, hash);
            }
        }
    }

    /// Forgets all headers without blocks: whoever told them does not show them.
    pub(crate) fn forget_bare(&mut self) {
        let bare: Vec<_> =
            self.others.iter().filter(|(_, hash)| !self.has_block(hash)).copied().collect();
        bare.into_iter().for_each(|(height, hash)| self.forget(height, hash));
        self.best_header = self.tip_hash();
    }

    fn forget(&mut self, height: u32, hash: BlockHash) {
        self.others.remove(&(height, hash));
        let Some(node) = self.nodes.remove(&hash) else { return };
        self.hashes.remove(&node.id);
        if node.has_block {
            self.store.drop_side(height, node.id);
        } else {
            self.bare -= 1;
            self.forgotten += 1;
        }
        if self.best_header == hash {
            self.best_header = self.tip_hash();
        }
    }

    fn insert(&mut self, header: Header, parent: &Node, has_block: bool) -> BlockHash {
        let (hash, id) = (header.block_hash(), block_id(&self.network, &headers::bytes(&header)));
        let (height, work) = (parent.height + 1, parent.work + header.work());
        self.nodes.insert(hash, Node { header, height, id, work, has_block });
        self.hashes.insert(id, hash);
        self.others.insert((height, hash));
        hash
    }

    fn is_best(&self, hash: &BlockHash) -> bool {
        let height = self.nodes.get(hash).map(|node| node.height as usize);
        height.is_some_and(|height| self.best.get(height) == Some(hash))
    }

    /// Whether a child of this node would leave the best chain too deep. Only a node of the best
    /// chain can be so deep: the others have a branch that leaves it higher, or are forgotten.
    fn leaves_final(&self, hash: &BlockHash) -> bool {
        let depth = self.tip().height.saturating_sub(FINAL_DEPTH);
        self.is_best(hash) && self.nodes[hash].height < depth
    }

    /// The header so many places before a child of `parent`.
    fn ancestor(&self, parent: BlockHash, back: u32) -> Option<Header> {
        let mut at = parent;
        let mut node = self.nodes.get(&at)?;
        let height = (node.height + 1).checked_sub(back)?;
        while node.height > height {
            // Down the branch, and then, on the best chain, at once.
            let is_best = self.best.get(node.height as usize) == Some(&at);
            at = if is_best { self.best[height as usize] } else { node.header.prev_blockhash };
            node = self.nodes.get(&at)?;
        }
        Some(node.header)
    }

    /// Makes all that was taken durable.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        self.store.commit()
    }

    /// Bytes of blocks that were taken and are not durable yet.
    pub(crate) const fn uncommitted_bytes(&self) -> usize {
        self.store.uncommitted_bytes()
    }

    /// The bytes of a block.
    pub(crate) fn block(&self, hash: &BlockHash) -> Result<Option<Box<[u8]>>, StoreError> {
        match self.nodes.get(hash) {
            Some(node) if node.height == 0 => Ok(Some(serialize(&self.name.genesis()).into())),
            Some(node) if node.has_block => {
                let block = self.store.block(node.height, node.id)?;
                block.map(Some).ok_or(StoreError::Damaged("a block is missing"))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The blocks of the best chain from this one on; none if it is not part of it.
    pub(crate) fn best_from(&self, hash: &BlockHash) -> &[BlockHash] {
        match self.nodes.get(hash) {
            Some(node) if self.is_best(hash) => &self.best[node.height as usize..],
            Some(_) | None => &[],
        }
    }

    /// Headers of the best chain behind the first of these ids that is part of it, or behind
    /// genesis.
    pub(crate) fn headers_behind(&self, locator: &[PayloadId]) -> impl Iterator<Item = &Header> {
        let known = locator.iter().filter_map(|id| self.hashes.get(id));
        let height =
            known.filter(|hash| self.is_best(hash)).map(|hash| self.nodes[hash].height).next();
        let behind = &self.best[height.unwrap_or(0) as usize + 1..];
        behind.iter().map(|hash| &self.nodes[hash].header)
    }

    /// Ids of the branch with the most work, from its last header back to genesis, thinning out.
    pub(crate) fn locator(&self) -> Vec<PayloadId> {
        let mut locator = Vec::with_capacity(LOCATOR_MAX);
        let (mut at, mut step) = (self.best_header, 1);
        while self.nodes[&at].height > 0 && locator.len() < LOCATOR_MAX - 1 {
            locator.push(self.nodes[&at].id);
            if locator.len() >= LOCATOR_DENSE {
                step *= 2;
            }
            let height = self.nodes[&at].height.saturating_sub(step);
            while self.nodes[&at].height > height {
                let is_best = self.is_best(&at);
                at = if is_best {
                    self.best[height as usize]
                } else {
                    self.nodes[&at].header.prev_blockhash
                };
            }
        }
        locator.push(self.nodes[&self.best[0]].id);
        locator
    }

    /// The blocks that are missing on the branch with the most work, upwards; none if ours has it.
    pub(crate) fn missing(&self) -> Vec<BlockHash> {
        let mut missing = Vec::new();
        if self.nodes[&self.best_header].work > self.tip().work {
            let mut at = self.best_header;
            while !self.has_block(&at) {
                missing.push(at);
                at = self.nodes[&at].header.prev_blockhash;
            }
        }
        missing.reverse();
        missing
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
