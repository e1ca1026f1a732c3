//! Catching up: whether we are behind, who shows the headers, and which blocks to ask of whom.
//!
//! Called by `syncing.rs`, which knows the peers; nothing here does. The chain decides what is
//! valid and what it wants; here is decided from whom it comes, and when another is asked.
//!
//! Invariants: blocks go to the chain in the order in which it wants them, each once, or are told
//! missing once. A block is asked of at most two peers at a time. What waits for those before it
//! never takes more than the window.

mod behind;
mod blocks;
mod giver;
mod headers;

pub(crate) use behind::Behind;
pub(crate) use blocks::{Blocks, Order, Taken};
pub(crate) use giver::Facts;
pub(crate) use headers::HeaderSearch;

use crate::config::{BLOCKS_WANTED_MAX, ConfigError};
use crate::rng::Rng;

/// How blocks are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncRules {
    /// Blocks from the next one on that may be asked for or held. Default 1,024: two seconds and a
    /// half of blocks of 20 kB at 8 MB/s, longer than a peer that is asked takes to be known as
    /// slow. At most [`BLOCKS_WANTED_MAX`].
    pub window_blocks: u32,
    /// Bytes of blocks that are held until those before them are here, besides one; what is on its
    /// way counts as the blocks before it were. Default 64 MiB: 48 of the largest blocks of grin.
    pub window_bytes: usize,
    /// Peers that blocks are asked of at once. Default 32: four times the peers that we dial, and
    /// few enough to be looked through with each block. At most [`GIVERS_MAX`].
    pub peers: u32,
}

/// Most that [`SyncRules::peers`] may be: all of them are looked through with each block.
pub const GIVERS_MAX: u32 = 256;

impl Default for SyncRules {
    fn default() -> Self {
        Self { window_blocks: 1_024, window_bytes: 64 << 20, peers: 32 }
    }
}

impl SyncRules {
    pub(crate) const fn check(&self) -> Result<(), ConfigError> {
        let settings = [
            ("window_blocks", self.window_blocks as usize, BLOCKS_WANTED_MAX),
            ("window_bytes", self.window_bytes, usize::MAX),
            ("peers", self.peers as usize, GIVERS_MAX as usize),
        ];
        let mut i = 0;
        while i < settings.len() {
            let (name, value, most) = settings[i];
            if value == 0 || value > most {
                return Err(ConfigError::Sync { name, value, most });
            }
            i += 1;
        }
        Ok(())
    }
}

/// Everything about catching up.
pub(crate) struct Sync {
    pub(crate) behind: Behind,
    pub(crate) headers: HeaderSearch,
    pub(crate) blocks: Blocks,
    pub(crate) rng: Rng,
}

impl Sync {
    pub(crate) fn new(rules: SyncRules, rng: Rng) -> Self {
        let (behind, headers) = (Behind::default(), HeaderSearch::default());
        Self { behind, headers, blocks: Blocks::new(rules), rng }
    }
}
