//! Where blocks are kept: an embedded store, fjall (docs/decisions says why).
//!
//! Changes are gathered and become durable together, in [`Store::commit`]: nothing that a batch
//! holds is told to anybody before that has returned, so a process that is killed has acknowledged
//! nothing that is lost. One process at a time has a directory.
//!
//! Keyspaces: `blocks` holds bodies under height and id; `best` the headers of the best chain
//! under their heights; `side` those of other branches under height and id; `meta` which chain it
//! is.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode,
};
use molva::PayloadId;

use crate::headers;
use crate::rules::{ChainName, HEADER_BYTES};

/// Bytes of blocks that fjall keeps in memory for reading. Those that peers want are the last,
/// which the system's own cache has.
const CACHE_BYTES: u64 = 32 << 20;

/// Threads of fjall that write what came to its place: one is enough for what a network brings.
const STORE_THREADS: usize = 1;

/// The form of what is kept; a store of another is refused.
const FORM: u32 = 1;

const CHAIN: &str = "chain";
const FORM_KEY: &str = "form";

/// Height and id: those of one height stand together, and the newest at the end.
type Key = [u8; 36];

/// Why there is no store, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0} is the directory of another process: end it, or choose another with --data")]
    Locked(PathBuf),
    #[error("{dir} holds the {found} chain, and {wanted} is wanted: choose another with --data")]
    OtherChain { dir: PathBuf, found: &'static str, wanted: &'static str },
    #[error("{0} was written by another version of this program")]
    Form(PathBuf),
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    #[error("the store failed: {0}")]
    Store(#[from] fjall::Error),
    #[error("the directory of the store: {0}")]
    System(#[from] io::Error),
    #[error("cannot write to {dir}: {source}: choose another directory with --data")]
    Directory { dir: PathBuf, source: io::Error },
}

/// What the store knows of the chain when it is opened.
pub(crate) struct Loaded {
    /// The best chain, from the block after genesis on.
    pub(crate) best: Vec<Header>,
    /// Blocks beside it.
    pub(crate) side: Vec<(u32, Header)>,
}

/// See the head of this file.
pub(crate) struct Store {
    db: Database,
    blocks: Keyspace,
    best: Keyspace,
    side: Keyspace,
    batch: OwnedWriteBatch,
    /// Bodies of the batch, which the store does not show yet.
    uncommitted: BTreeMap<Key, Box<[u8]>>,
    uncommitted_bytes: usize,
    is_dirty: bool,
    /// Held while we live: the system gives it back however we end.
    _lock: File,
}

fn key(height: u32, id: PayloadId) -> Key {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&height.to_be_bytes());
    key[4..].copy_from_slice(&id.0);
    key
}

fn open_database(place: &Path) -> Result<Database, StoreError> {
    let builder = Database::builder(place).cache_size(CACHE_BYTES);
    Ok(builder.worker_threads(STORE_THREADS).open()?)
}

/// Blocks, the best chain, and what is beside it.
fn keyspaces(db: &Database) -> Result<[Keyspace; 3], StoreError> {
    let plain = KeyspaceCreateOptions::default;
    let separated = || plain().with_kv_separation(Some(KvSeparationOptions::default()));
    Ok([
        db.keyspace("blocks", separated)?,
        db.keyspace("best", plain)?,
        db.keyspace("side", plain)?,
    ])
}

/// Makes an empty database. It comes to its place when it is whole: one whose making was killed is
/// one that fjall neither opens nor makes anew.
fn make(dir: &Path, place: &Path, chain: ChainName) -> Result<(), StoreError> {
    let making = dir.join("chain.new");
    match std::fs::remove_dir_all(&making) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let db = open_database(&making)?;
    let meta = db.keyspace("meta", KeyspaceCreateOptions::default)?;
    keyspaces(&db)?;
    let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(&meta, FORM_KEY, FORM.to_be_bytes());
    batch.insert(&meta, CHAIN, chain.name());
    batch.commit()?;
    drop((db, meta));
    std::fs::rename(&making, place)?;
    Ok(File::open(dir)?.sync_all()?)
}

impl Store {
    /// Opens a directory, or makes it for this chain. Without a wanted chain, it is whichever the
    /// directory has, and bitcoin if it has none.
    pub(crate) fn open(
        dir: &Path,
        wanted: Option<ChainName>,
    ) -> Result<(Self, ChainName), StoreError> {
        let unwritable = |source| StoreError::Directory { dir: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unwritable)?;
        let lock = File::create(dir.join("lock")).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let place = dir.join("chain");
        if !place.try_exists()? {
            make(dir, &place, wanted.unwrap_or_default())?;
        }
        let db = open_database(&place)?;
        let meta = db.keyspace("meta", KeyspaceCreateOptions::default)?;
        let name = meta.get(CHAIN)?;
        let name = name.and_then(|name| ChainName::of_name(std::str::from_utf8(&name).ok()?));
        let chain = name.ok_or(StoreError::Damaged("it names no chain"))?;
        if meta.get(FORM_KEY)?.as_deref() != Some(&FORM.to_be_bytes()[..]) {
            return Err(StoreError::Form(dir.to_owned()));
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != chain) {
            let (found, wanted) = (chain.name(), wanted.name());
            return Err(StoreError::OtherChain { dir: dir.to_owned(), found, wanted });
        }
        let [blocks, best, side] = keyspaces(&db)?;
        let store = Self {
            blocks,
            best,
            side,
            batch: db.batch(),
            db,
            uncommitted: BTreeMap::new(),
            uncommitted_bytes: 0,
            is_dirty: false,
            _lock: lock,
        };
        Ok((store, chain))
    }

    /// All headers.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let header = |bytes: &[u8]| {
            let exact: Option<&[u8; HEADER_BYTES]> = bytes.try_into().ok();
            exact
                .and_then(|bytes| deserialize(bytes).ok())
                .ok_or(StoreError::Damaged("a header cannot be read"))
        };
        let height = |key: &[u8]| {
            let height = key.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
            height.ok_or(StoreError::Damaged("a height cannot be read"))
        };
        let (mut best, mut side) = (Vec::new(), Vec::new());
        for entry in self.best.iter() {
            let (key, value) = entry.into_inner()?;
            if height(&key)? as usize != best.len() + 1 {
                return Err(StoreError::Damaged("a height is missing"));
            }
            best.push(header(&value)?);
        }
        for entry in self.side.iter() {
            let (key, value) = entry.into_inner()?;
            side.push((height(&key)?, header(&value)?));
        }
        Ok(Loaded { best, side })
    }

    /// The whole block of this height and id, committed or not.
    pub(crate) fn block(
        &self,
        height: u32,
        id: PayloadId,
    ) -> Result<Option<Box<[u8]>>, StoreError> {
        let key = key(height, id);
        match self.uncommitted.get(&key) {
            Some(block) => Ok(Some(block.clone())),
            None => Ok(self.blocks.get(key)?.map(|block| (*block).into())),
        }
    }

    /// Keeps a block beside the best chain.
    pub(crate) fn put_side(&mut self, height: u32, id: PayloadId, header: &Header, block: &[u8]) {
        let key = key(height, id);
        self.batch.insert(&self.blocks, key, block);
        self.batch.insert(&self.side, key, headers::bytes(header));
        self.uncommitted.insert(key, block.into());
        self.uncommitted_bytes += block.len();
        self.is_dirty = true;
    }

    /// A block beside the best chain becomes its part.
    pub(crate) fn connect(&mut self, height: u32, id: PayloadId, header: &Header) {
        self.batch.insert(&self.best, height.to_be_bytes(), headers::bytes(header));
        self.batch.remove(&self.side, key(height, id));
        self.is_dirty = true;
    }

    /// A block of the best chain becomes one beside it.
    pub(crate) fn disconnect(&mut self, height: u32, id: PayloadId, header: &Header) {
        self.batch.remove(&self.best, height.to_be_bytes());
        self.batch.insert(&self.side, key(height, id), headers::bytes(header));
        self.is_dirty = true;
    }

    /// Keeps a block no longer that is beside the best chain.
    pub(crate) fn drop_side(&mut self, height: u32, id: PayloadId) {
        let key = key(height, id);
        self.batch.remove(&self.side, key);
        self.batch.remove(&self.blocks, key);
        self.is_dirty = true;
    }

    /// Bytes of blocks that wait to be durable.
    pub(crate) const fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// Makes all changes since the last time durable, together or not at all.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        if !self.is_dirty {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, self.db.batch());
        batch.durability(Some(PersistMode::SyncData)).commit()?;
        self.uncommitted.clear();
        (self.uncommitted_bytes, self.is_dirty) = (0, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::chain_of;
    use crate::scratch::Scratch;

    #[test]
    fn a_directory_belongs_to_one_process_and_to_one_chain() {
        let scratch = Scratch::new("store-owner");
        let (store, chain) = Store::open(scratch.path(), Some(ChainName::Regtest)).unwrap();
        assert_eq!(chain, ChainName::Regtest);
        let again = Store::open(scratch.path(), None).map(|(_, chain)| chain);
        assert!(matches!(again, Err(StoreError::Locked(_))));
        drop(store);
        let other = Store::open(scratch.path(), Some(ChainName::Bitcoin)).map(|(_, chain)| chain);
        assert!(matches!(other, Err(StoreError::OtherChain { .. })));
        let (_store, chain) = Store::open(scratch.path(), None).unwrap();
        assert_eq!(chain, ChainName::Regtest);
    }

    #[test]
    fn a_store_whose_making_was_killed_is_made_anew() {
        let scratch = Scratch::new("store-making");
        let making = scratch.path().join("chain.new");
        std::fs::create_dir_all(making.join("keyspaces")).unwrap();
        std::fs::write(making.join("0.jnl"), b"half").unwrap();
        let (_store, chain) = Store::open(scratch.path(), Some(ChainName::Regtest)).unwrap();
        assert_eq!(chain, ChainName::Regtest);
        assert!(!making.exists());
    }

    #[test]
    fn what_was_committed_is_there_and_nothing_else() {
        let scratch = Scratch::new("store-commit");
        let blocks = chain_of(ChainName::Regtest, 3, 400);
        let network = ChainName::Regtest.network();
        let id = |n: usize| crate::rules::block_id(&network, &headers::bytes(&blocks[n].header));
        let body = |n: usize| bitcoin::consensus::serialize(&blocks[n]);
        let (mut store, _) = Store::open(scratch.path(), Some(ChainName::Regtest)).unwrap();
        for (n, block) in blocks.iter().enumerate() {
            store.put_side(n as u32 + 1, id(n), &block.header, &body(n));
        }
        store.connect(1, id(0), &blocks[0].header);
        store.connect(2, id(1), &blocks[1].header);
        assert_eq!(store.block(1, id(0)).unwrap(), Some(body(0).into()), "before the commit");
        assert_eq!(store.uncommitted_bytes(), (0..3).map(|n| body(n).len()).sum::<usize>());
        store.commit().unwrap();
        assert_eq!(store.uncommitted_bytes(), 0);
        store.disconnect(2, id(1), &blocks[1].header);
        store.drop_side(3, id(2));
        drop(store);
        let (mut store, _) = Store::open(scratch.path(), None).unwrap();
        let Loaded { best, side } = store.load().unwrap();
        assert_eq!(best, [blocks[0].header, blocks[1].header]);
        assert_eq!(side, [(3, blocks[2].header)]);
        store.drop_side(3, id(2));
        store.disconnect(2, id(1), &blocks[1].header);
        store.commit().unwrap();
        assert_eq!(store.block(3, id(2)).unwrap(), None);
        let Loaded { best, side } = store.load().unwrap();
        assert_eq!((best, side), (vec![blocks[0].header], vec![(2, blocks[1].header)]));
        assert_eq!(store.block(2, id(1)).unwrap(), Some(body(1).into()));
    }
}
