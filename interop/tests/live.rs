//! A real grin peer dials us and is dialled by us, over loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

use grin_core::core::hash::{Hash as GrinHash, Hashed};
use grin_core::core::{BlockHeader, Transaction};
use grin_core::global::{ChainTypes, set_global_chain_type};
use grin_core::pow::Difficulty;
use grin_core::ser::{DeserializationMode, ProtocolVersion, deserialize, ser_vec};
use grin_p2p::types::{Capabilities as GrinCapabilities, PeerAddr, ReasonForBan};
use grin_p2p::{PeerData, State};
use interop::grin_node::{GrinNode, Told, archive_bytes};
use molva::{
    Archive, BanTarget, Capabilities, ChainSide, ChainTip, Config, Direction, Engine, FromChain,
    Hash, Kind, Limits, Locality, Network, Payload, PayloadFormat, PeerInfo, Request, ToChain,
};

const GENESIS: [u8; 32] = [7; 32];

/// grin's automated testing: light blocks, proofs of 8 nonces.
const AUTO: Network = Network {
    name: "grin-auto",
    magic: [0x49, 0x2b],
    genesis: Hash(GENESIS),
    limits: Limits::new(250, 8),
    format: PayloadFormat::Grin,
    ..Network::GRIN_MAIN
};

const PATIENCE: Duration = Duration::from_secs(15);

/// What grin logs, which is all that it does with a ban reason but for leaving.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("grin_p2p") {
            LOG.lock().expect("nobody panics with it").push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_global_chain_type(ChainTypes::AutomatedTesting);
        log::set_logger(&Logger).expect("the first logger");
        log::set_max_level(log::LevelFilter::Debug);
    });
}

fn body_of(vector: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../codec/tests/vectors/");
    let text = std::fs::read_to_string(format!("{folder}{vector}.hex")).expect(vector);
    let digit = |byte: u8| char::from(byte).to_digit(16).expect(vector) as u8;
    let frame: Vec<u8> =
        text.trim().as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    frame[11..].to_vec()
}

fn transaction(vector: &str) -> Transaction {
    let body = body_of(vector);
    deserialize(&mut &body[..], ProtocolVersion(1000), DeserializationMode::Full).expect(vector)
}

fn header() -> BlockHeader {
    let body = body_of("auto_header_genesis");
    deserialize(&mut &body[..], ProtocolVersion(1000), DeserializationMode::Full).expect("a header")
}

fn ours(hash: GrinHash) -> Hash {
    Hash(hash.to_vec().try_into().expect("32 bytes"))
}

/// An engine with a chain that writes down what it is told.
struct Node {
    engine: Engine,
    chain: ChainSide,
    told: Vec<ToChain>,
}

impl Node {
    fn start(connect: &[SocketAddr]) -> Self {
        set_up();
        let mut config = Config::new(AUTO);
        config.listen = vec!["127.0.0.1:0".parse().expect("an address")];
        config.connections_max = 256;
        config.peer.connect = connect.to_vec();
        config.peer.capabilities = Capabilities::GRIN_NODE;
        config.peer.locality = Locality::Local;
        config.peer.ping_period = Duration::from_millis(500);
        let (engine, chain) = Engine::start(config).expect("an engine");
        engine.handle().counters().set_tip(ChainTip { height: 3, total_difficulty: 55 });
        Self { engine, chain, told: Vec::new() }
    }

    fn addr(&self) -> SocketAddr {
        self.engine.handle().local_addrs()[0]
    }

    fn wait_for<T>(&mut self, what: &str, mut found: impl FnMut(&ToChain) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = self.told.iter().find_map(&mut found) {
                return value;
            }
            assert!(Instant::now() < deadline, "{what} did not come, only {:?}", self.told);
            let wait = Duration::from_millis(50);
            if let Some(event) = self.chain.recv_timeout(wait).expect("the engine lives") {
                self.told.push(event);
            }
        }
    }

    /// The one peer, once it is as it should be.
    fn peer(&mut self, what: &str, fits: impl Fn(&PeerInfo) -> bool) -> PeerInfo {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let peers = self.engine.handle().peers().expect("the engine lives");
            if let Some(peer) = peers.into_iter().find(|peer| peer.established && fits(peer)) {
                return peer;
            }
            assert!(Instant::now() < deadline, "no peer that {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn grin() -> GrinNode {
    set_up();
    let genesis = GrinHash::from_vec(&GENESIS);
    let node = GrinNode::start(genesis, transaction("tx_plain_v1000"), header());
    std::thread::sleep(Duration::from_millis(300));
    node
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything that the two say to each other, once they are connected.
fn converse(node: &mut Node, grin: &GrinNode, other: SocketAddr) {
    let peer = node.peer("greets as grin", |peer| peer.user_agent.starts_with("MW/Grin 5.5.2"));
    assert_eq!(peer.version, 1000);
    let grins = {
        let found: OnceLock<Arc<grin_p2p::Peer>> = OnceLock::new();
        eventually("a peer at grin's side", || {
            grin.any_peer().is_some_and(|peer| found.set(peer).is_ok())
        });
        found.get().expect("it was set").clone()
    };
    assert!(grins.info.user_agent.starts_with("Molva/"), "{}", grins.info.user_agent);

    // Three pings each way. Ours are answered; grin's bring its tip, and ours goes to it.
    let before = node.engine.handle().metrics().frames_received;
    for _ in 0..3 {
        grin.server.peers.check_all(Difficulty::from_num(90), 9);
        std::thread::sleep(Duration::from_millis(600));
    }
    let tips = [(9, 90), (7, 77)]; // of its pings, of its pongs
    let peer = node.peer("was pinged", |peer| {
        let tip = (peer.tip.height, peer.tip.total_difficulty);
        peer.user_agent.starts_with("MW/Grin") && peer.ping.is_some() && tips.contains(&tip)
    });
    assert!(node.engine.handle().metrics().frames_received >= before + 6, "pings and pongs");
    eventually("our tip at grin's side", || grins.info.height() == 3);

    converse_of_payloads(node, grin, &grins, &peer);
    converse_of_addresses(node, grin, other);
}

fn converse_of_payloads(node: &mut Node, grin: &GrinNode, grins: &grin_p2p::Peer, peer: &PeerInfo) {
    // From grin: a header, a transaction by its kernel's hash, the same when we ask for it, one on
    // its stem.
    let (header, tx, locked) =
        (header(), transaction("tx_plain_v1000"), transaction("tx_locked_v1000"));
    let kernel = ours(tx.kernels()[0].hash());
    assert!(grins.send_header(&header).expect("sent"));
    let id = ours(header.hash());
    node.wait_for("the header", |told| match told {
        ToChain::Payload { payload, .. } if payload.kind() == Kind::Header => {
            (payload.id() == id).then_some(())
        }
        _ => None,
    });
    grins.send_transaction(&tx).expect("sent");
    node.wait_for("the announcement", |told| match told {
        ToChain::Announced { id, .. } if *id == kernel => Some(()),
        _ => None,
    });
    let to = peer.conn;
    let request = Request::Transaction(kernel);
    node.chain.send(FromChain::Request { to, request }).expect("room");
    let body = ser_vec(&tx, ProtocolVersion(1000)).expect("written");
    node.wait_for("the transaction", |told| match told {
        ToChain::Payload { payload, .. } if payload.kind() == Kind::Transaction => {
            (payload.id() == kernel && payload.body() == body).then_some(())
        }
        _ => None,
    });
    grins.send_stem_transaction(&locked).expect("sent");
    node.wait_for("the stem transaction", |told| match told {
        ToChain::Payload { payload, .. } if payload.kind() == Kind::StemTransaction => {
            (payload.id() == ours(locked.kernels()[0].hash())).then_some(())
        }
        _ => None,
    });

    // To grin: a header, a transaction by its kernel's hash and then whole, an announcement.
    let seal = |kind, body: &[u8]| Payload::seal(&AUTO, kind, body).expect("within its limit");
    let own = body_of("auto_header_genesis");
    node.chain.send(FromChain::Deliver { to, payload: seal(Kind::Header, &own) }).expect("room");
    grin.chain.wait_for(&Told::Header(header.hash()));
    node.chain.publish(seal(Kind::Transaction, &body_of("tx_locked_v1000"))).expect("room");
    // It is announced, and a grin node asks for what it lacks, as its own chain would here.
    let kernel = locked.kernels()[0].hash();
    grin.chain.wait_for(&Told::Kernel(kernel));
    grins.send_tx_request(kernel).expect("sent");
    grin.chain.wait_for(&Told::Transaction(kernel, false));
    let announcement = seal(Kind::TransactionKernel, &[3; 32]);
    node.chain.send(FromChain::Deliver { to, payload: announcement }).expect("room");
    grin.chain.wait_for(&Told::Kernel(GrinHash::from_vec(&[3; 32])));
    let stem = seal(Kind::StemTransaction, &body_of("stem_tx_plain_v1000"));
    node.chain.send(FromChain::Deliver { to, payload: stem }).expect("room");
    grin.chain.wait_for(&Told::Transaction(tx.kernels()[0].hash(), true));

    converse_of_history(node, to, &header);
}

/// Headers, and an archive with its attachment.
fn converse_of_history(node: &mut Node, to: molva::ConnId, header: &BlockHeader) {
    let known = ours(header.hash());
    let request = Request::Headers(Box::new([known]));
    node.chain.send(FromChain::Request { to, request }).expect("room");
    node.wait_for("three headers", |told| match told {
        ToChain::Payload { payload, .. } if payload.kind() == Kind::Headers => {
            (payload.body()[..2] == [0, 3]).then_some(())
        }
        _ => None,
    });
    // Trap: Headers with count 0, which grin sends and nobody may die of.
    let request = Request::Headers(Box::new([Hash([0; 32])]));
    node.chain.send(FromChain::Request { to, request }).expect("room");
    let request = Request::TxHashSet { block: known, height: 0 };
    node.chain.send(FromChain::Request { to, request }).expect("room");
    let wanted = archive_bytes();
    node.wait_for("the archive", |told| match told {
        ToChain::ArchiveBegins { archive: Archive { bytes, .. }, .. } => {
            (*bytes == wanted.len() as u64).then_some(())
        }
        _ => None,
    });
    node.wait_for("the archive's last piece", |told| match told {
        ToChain::ArchivePiece { offset, bytes, .. } => {
            (offset + bytes.len() as u64 == wanted.len() as u64).then_some(())
        }
        _ => None,
    });
    let mut received = Vec::new();
    for told in &node.told {
        if let ToChain::ArchivePiece { offset, bytes, .. } = told {
            assert_eq!(*offset, received.len() as u64);
            received.extend_from_slice(bytes);
        }
    }
    assert_eq!(received, wanted, "byte for byte");
}

/// Addresses go both ways: grin's Healthy ones to us, ours that we reached to grin.
fn converse_of_addresses(node: &Node, grin: &GrinNode, other: SocketAddr) {
    eventually("an address from grin in our book", || {
        let addresses = node.engine.handle().addresses().expect("the engine lives");
        addresses.iter().any(|record| record.addr == "127.0.0.1:34567".parse().expect("one"))
    });
    let grins = grin.any_peer().expect("it is connected");
    grins.send_peer_request(GrinCapabilities::UNKNOWN).expect("sent");
    eventually("an address from us in grin's store", || {
        let known = grin.server.peers.all_peer_data();
        known.iter().any(|data| data.addr.0 == other)
    });
}

/// grin has a healthy peer to tell of.
fn know_somebody(grin: &GrinNode) {
    let data = PeerData {
        addr: PeerAddr("127.0.0.1:34567".parse().expect("an address")),
        capabilities: GrinCapabilities::default(),
        user_agent: "somebody".into(),
        flags: State::Healthy,
        last_banned: 0,
        ban_reason: ReasonForBan::None,
        last_connected: chrono::Utc::now().timestamp(),
        last_attempt: 0,
    };
    grin.server.peers.save_peer(&data).expect("saved");
}

#[test]
fn grin_dials_us_and_we_ban_it() {
    let other = Node::start(&[]);
    let mut node = Node::start(&[other.addr()]);
    let grin = grin();
    know_somebody(&grin);
    let dialled = grin.dial(node.addr());
    // We ask those that we dialled for addresses; grin tells its own unasked for just as well.
    let peer = node.peer("is grin", |peer| peer.user_agent.starts_with("MW/Grin"));
    assert_eq!(peer.direction, Direction::Inbound);
    converse(&mut node, &grin, other.addr());

    let target = BanTarget::host(peer.addr, Locality::Local);
    node.engine.handle().ban(target, Duration::from_secs(60), "a test").expect("it lives");
    eventually("our ban reason at grin's side", || {
        let log = LOG.lock().expect("nobody panics with it");
        log.iter().any(|line| line.contains("BanReason") && line.contains("ManualBan"))
    });
    drop(dialled);
    eventually("the end of the connection", || {
        let peers = node.engine.handle().peers().expect("the engine lives");
        peers.iter().all(|other| other.conn != peer.conn)
    });
}

#[test]
fn we_dial_grin_and_it_bans_us() {
    let other = Node::start(&[]);
    let grin = grin();
    know_somebody(&grin);
    let mut node = Node::start(&[grin.addr(), other.addr()]);
    let peer = node.peer("is grin", |peer| peer.user_agent.starts_with("MW/Grin"));
    assert_eq!(peer.direction, Direction::Outbound);
    converse(&mut node, &grin, other.addr());

    let grins = grin.any_peer().expect("it is connected");
    // Its own `ban_peer` sets the stop flag behind the message, which is then lost as a rule.
    grins.send_ban_reason(ReasonForBan::BadBlock).expect("sent");
    let banned = |node: &Node| {
        let metrics = node.engine.handle().metrics();
        metrics.closed_by_cause().any(|closed| closed == ("banned_by_remote", 1))
    };
    eventually("its ban reason at our side", || banned(&node));
    // Trap: a close after misbehaviour may be a ban of hours: we do not come back at once.
    std::thread::sleep(Duration::from_secs(2));
    let peers = node.engine.handle().peers().expect("the engine lives");
    assert!(peers.iter().all(|peer| peer.addr != grin.addr()), "{peers:?}");
}
