//! A real grin peer-to-peer server whose chain writes down what it is told.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use grin_chain::txhashset::BitmapChunk;
use grin_chain::{Error as ChainError, Options};
use grin_core::core::hash::{Hash, Hashed};
use grin_core::core::{
    Block, BlockHeader, CompactBlock, OutputIdentifier, Segment, SegmentIdentifier, Transaction,
    TxKernel,
};
use grin_core::pow::Difficulty;
use grin_p2p::types::{PeerAddr, PeerInfo, TxHashSetRead};
use grin_p2p::{Capabilities, ChainAdapter, DummyAdapter, P2PConfig, Peer, Server};
use grin_util::StopState;
use grin_util::secp::pedersen::RangeProof;

/// What a grin chain was told by its peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// A header, by its hash.
    Header(Hash),
    /// Headers that were asked for, by their hashes.
    Headers(Vec<Hash>),
    /// A transaction, by the hash of its first kernel, and whether on its stem.
    Transaction(Hash, bool),
    /// An announcement of a transaction.
    Kernel(Hash),
}

/// A chain that knows one transaction and one header.
pub struct Chain {
    told: Mutex<Vec<Told>>,
    transaction: Transaction,
    header: BlockHeader,
    archive: PathBuf,
}

/// A running grin server.
pub struct GrinNode {
    /// The server itself.
    pub server: Arc<Server>,
    /// Its chain.
    pub chain: Arc<Chain>,
    stop: Arc<StopState>,
    addr: SocketAddr,
    folder: PathBuf,
}

impl GrinNode {
    /// Starts a server that listens on a port of 127.0.0.1 chosen by the system.
    ///
    /// # Panics
    ///
    /// If the server does not start: this crate has nothing else to do.
    #[must_use]
    pub fn start(genesis: Hash, transaction: Transaction, header: BlockHeader) -> Self {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = TcpListener::bind((host, 0)).and_then(|one| one.local_addr()).expect("a port");
        let folder = std::env::temp_dir().join(format!("molva-interop-{}", port.port()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let archive = folder.join("archive.zip");
        std::fs::write(&archive, archive_bytes()).expect("an archive");
        let config = P2PConfig { host, port: port.port(), ..P2PConfig::default() };
        let told = Mutex::default();
        let chain = Arc::new(Chain { told, transaction, header, archive });
        let stop = Arc::new(StopState::new());
        let capabilities = Capabilities::default();
        let path = folder.to_str().expect("a path of text");
        let adapter: Arc<dyn ChainAdapter> = Arc::clone(&chain) as _;
        let server = Server::new(path, capabilities, config, adapter, genesis, Arc::clone(&stop));
        let server = Arc::new(server.expect("a server"));
        let listening = Arc::clone(&server);
        std::thread::spawn(move || drop(listening.listen()));
        Self { server, chain, stop, addr: port, folder }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Dials, with the handshake.
    ///
    /// # Panics
    ///
    /// If nobody answers.
    #[must_use]
    pub fn dial(&self, addr: SocketAddr) -> Arc<Peer> {
        self.server.connect(PeerAddr(addr)).expect("a handshake")
    }

    /// Whether it is connected to a peer of this address.
    #[must_use]
    pub fn is_connected(&self, addr: SocketAddr) -> bool {
        self.server.peers.get_connected_peer(PeerAddr(addr)).is_some_and(|peer| peer.is_connected())
    }

    /// Any one of its connected peers.
    #[must_use]
    pub fn any_peer(&self) -> Option<Arc<Peer>> {
        self.server.peers.iter().connected().choose_random()
    }
}

impl Drop for GrinNode {
    fn drop(&mut self) {
        self.stop.stop();
        self.server.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Chain {
    /// Waits until the chain was told this.
    ///
    /// # Panics
    ///
    /// If it is not within ten seconds.
    pub fn wait_for(&self, told: &Told) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.told().contains(told) {
            assert!(Instant::now() < deadline, "not told {told:?}, only {:?}", self.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that it was told.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().expect("nobody panics with it").clone()
    }

    fn write_down(&self, told: Told) {
        self.told.lock().expect("nobody panics with it").push(told);
    }
}

/// The bytes of the archive that this chain serves: 300,001 of them, each different from its
/// neighbours.
#[must_use]
pub fn archive_bytes() -> Vec<u8> {
    (0..300_001_u32).map(|i| (i * 7 + i / 256) as u8).collect()
}

impl ChainAdapter for Chain {
    fn total_difficulty(&self) -> Result<Difficulty, ChainError> {
        Ok(Difficulty::from_num(77))
    }

    fn total_height(&self) -> Result<u64, ChainError> {
        Ok(7)
    }

    fn transaction_received(&self, tx: Transaction, stem: bool) -> Result<bool, ChainError> {
        self.write_down(Told::Transaction(tx.kernels()[0].hash(), stem));
        Ok(true)
    }

    fn get_transaction(&self, kernel: Hash) -> Option<Transaction> {
        (self.transaction.kernels()[0].hash() == kernel).then(|| self.transaction.clone())
    }

    fn tx_kernel_received(&self, kernel: Hash, _: &PeerInfo) -> Result<bool, ChainError> {
        self.write_down(Told::Kernel(kernel));
        Ok(true)
    }

    fn block_received(&self, _: Block, _: &PeerInfo, _: Options) -> Result<bool, ChainError> {
        Ok(true)
    }

    fn compact_block_received(&self, _: CompactBlock, _: &PeerInfo) -> Result<bool, ChainError> {
        Ok(true)
    }

    fn header_received(&self, header: BlockHeader, _: &PeerInfo) -> Result<bool, ChainError> {
        self.write_down(Told::Header(header.hash()));
        Ok(true)
    }

    fn headers_received(&self, headers: &[BlockHeader], _: &PeerInfo) -> Result<bool, ChainError> {
        self.write_down(Told::Headers(headers.iter().map(Hashed::hash).collect()));
        Ok(true)
    }

    fn locate_headers(&self, locator: &[Hash]) -> Result<Vec<BlockHeader>, ChainError> {
        // A locator that names nothing known gets what grin gives: a count of 0.
        let known = locator.first().is_some_and(|hash| *hash != Hash::default());
        Ok(if known { vec![self.header.clone(); 3] } else { Vec::new() })
    }

    fn get_block(&self, _: Hash, _: &PeerInfo) -> Option<Block> {
        None
    }

    fn txhashset_read(&self, _: Hash) -> Option<TxHashSetRead> {
        let reader = File::open(&self.archive).ok()?;
        Some(TxHashSetRead { output_index: 0, kernel_index: 0, reader })
    }

    fn txhashset_archive_header(&self) -> Result<BlockHeader, ChainError> {
        Ok(self.header.clone())
    }

    fn txhashset_receive_ready(&self) -> bool {
        false
    }

    fn txhashset_download_update(&self, _: DateTime<Utc>, _: u64, _: u64) -> bool {
        false
    }

    fn txhashset_write(&self, _: Hash, _: File, _: &PeerInfo) -> Result<bool, ChainError> {
        Ok(false)
    }

    fn get_tmp_dir(&self) -> PathBuf {
        std::env::temp_dir()
    }

    fn get_tmpfile_pathname(&self, name: String) -> PathBuf {
        std::env::temp_dir().join(name)
    }

    fn get_kernel_segment(
        &self,
        hash: Hash,
        id: SegmentIdentifier,
    ) -> Result<Segment<TxKernel>, ChainError> {
        DummyAdapter {}.get_kernel_segment(hash, id)
    }

    fn get_bitmap_segment(
        &self,
        hash: Hash,
        id: SegmentIdentifier,
    ) -> Result<(Segment<BitmapChunk>, Hash), ChainError> {
        DummyAdapter {}.get_bitmap_segment(hash, id)
    }

    fn get_output_segment(
        &self,
        hash: Hash,
        id: SegmentIdentifier,
    ) -> Result<(Segment<OutputIdentifier>, Hash), ChainError> {
        DummyAdapter {}.get_output_segment(hash, id)
    }

    fn get_rangeproof_segment(
        &self,
        hash: Hash,
        id: SegmentIdentifier,
    ) -> Result<Segment<RangeProof>, ChainError> {
        DummyAdapter {}.get_rangeproof_segment(hash, id)
    }

    fn receive_bitmap_segment(
        &self,
        _: Hash,
        _: Hash,
        _: Segment<BitmapChunk>,
    ) -> Result<bool, ChainError> {
        Ok(true)
    }

    fn receive_output_segment(
        &self,
        _: Hash,
        _: Hash,
        _: Segment<OutputIdentifier>,
    ) -> Result<bool, ChainError> {
        Ok(true)
    }

    fn receive_rangeproof_segment(
        &self,
        _: Hash,
        _: Segment<RangeProof>,
    ) -> Result<bool, ChainError> {
        Ok(true)
    }

    fn receive_kernel_segment(&self, _: Hash, _: Segment<TxKernel>) -> Result<bool, ChainError> {
        Ok(true)
    }
}
