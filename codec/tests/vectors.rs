//! Frames that the real grin crates wrote: read to the values that they were written from, and
//! written back bit for bit.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use codec::{
    Archive, ArchiveRequest, BanReason, BlockHeader, Body, Capabilities, Context, EncodeError,
    Form, Frame, Hand, Hash, KernelFeatures, Kind, Limits, Locator, Message, Network,
    NotConvertible, OutputFeatures, OutputSegment, Payload, PayloadFormat, PeerAddrs, Ping, Pong,
    SegmentId, Shake, Split, Transaction, check, convert, split,
};
use hex_literal::hex;

/// grin's automated testing: light blocks, proofs of 8 nonces.
const AUTO: Network = Network {
    name: "grin-auto",
    magic: [0x49, 0x2b],
    limits: Limits::new(250, 8),
    format: PayloadFormat::Grin,
    ..Network::GRIN_MAIN
};

/// grin's user testing: light blocks, proofs of 42 nonces.
const USER: Network = Network { name: "grin-user", limits: Limits::new(250, 42), ..AUTO };

const GENESIS: Hash = Network::GRIN_MAIN.genesis;
const GENESIS_KERNEL: Hash =
    Hash(hex!("c120171f34ba547066605ab35fcdbf14e0dc27496cccdf3540d003eda940541e"));
const PLAIN_KERNEL: Hash =
    Hash(hex!("f5befd0bc65de61c2364c574ff0a8dde173d309bfeb1a7944f031e89efbfee15"));
const LOCKED_KERNEL: Hash =
    Hash(hex!("a71c1b946c0b945034c5acb5caf294062034a3a5bfb6e5bdcd8ccf710edda2e1"));
const COUNTING: Hash =
    Hash(hex!("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"));
const USER_AGENT: &str = "MW/Grin 5.5.2";

const VERSIONS: [u32; 4] = [1, 2, 3, 1000];
const ALL_VERSIONS: [u32; 6] = [0, 1, 2, 3, 4, 1000];

/// Addresses written as IPv6 that reading turns into IPv4, so that they are written back shorter.
const NORMALISED: [&str; 2] = ["hand_unspecified_v6", "peer_addrs_quirks"];

/// What grin writes and its own reader drops the connection on: read, and never written.
const UNSENT: &str = "headers_0";

fn frame_of(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = std::fs::read_to_string(path.with_extension("hex")).expect(name);
    let digit = |byte: u8| char::from(byte).to_digit(16).expect(name) as u8;
    text.trim().as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn names() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = std::fs::read_dir(folder).expect("the vectors are beside this file");
    let paths = files.map(|file| file.expect("readable").path());
    let hex = paths.filter(|path| path.extension().is_some_and(|extension| extension == "hex"));
    hex.map(|path| path.file_stem().expect("named").to_string_lossy().into_owned()).collect()
}

fn network(name: &str) -> Network {
    match name.split('_').next() {
        Some("test") => Network::GRIN_TEST,
        Some("user") => USER,
        Some("auto") => AUTO,
        _ => Network::GRIN_MAIN,
    }
}

/// The versions whose peers write this very frame.
fn versions(name: &str) -> &'static [u32] {
    match name.rsplit_once("_v").map(|(_, version)| version) {
        Some("1") => &[0, 1],
        Some("2") => &[2],
        Some("3" | "1000") => &[3, 4, 1000, u32::MAX],
        _ => &ALL_VERSIONS,
    }
}

fn cut<'a>(name: &str, frame: &'a [u8]) -> (Kind, &'a [u8]) {
    match split(frame, &network(name)) {
        Ok(Split::Whole(kind, whole)) if whole.len() == frame.len() => (kind, &whole[11..]),
        other => panic!("{name}: {other:?}"),
    }
}

/// Reads one frame at each of its versions, and gives the message to `judge`.
fn read(name: &str, judge: impl Fn(Message<'_>)) {
    let (frame, network) = (frame_of(name), network(name));
    let (kind, body) = cut(name, &frame);
    for &version in versions(name) {
        let context = Context { version, network: &network };
        let message = Message::decode(kind, body, &context);
        judge(message.unwrap_or_else(|error| panic!("{name} at {version}: {error}")));
    }
}

fn is(name: &str, expected: Message<'_>) {
    read(name, |message| assert_eq!(message, expected, "{name}"));
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn every_frame_is_read_and_written_back() {
    let mut kinds = BTreeSet::new();
    let names = names();
    assert_eq!(names.len(), 101);
    for name in &names {
        let (frame, network) = (frame_of(name), network(name));
        let (kind, body) = cut(name, &frame);
        kinds.insert(kind);
        for &version in versions(name) {
            let context = Context { version, network: &network };
            let message = Message::decode(kind, body, &context).expect(name);
            assert_eq!(message.kind(), kind);
            assert_eq!(check(kind, body, version, &network), Ok(()));
            let mut written = Vec::new();
            let result = message.encode_frame(&network, version, &mut written);
            if name == UNSENT {
                assert_eq!(result, Err(EncodeError::NoHeaders));
                continue;
            }
            assert_eq!(result, Ok(()), "{name} at {version}");
            if NORMALISED.contains(&name.as_str()) {
                let (_, shorter) = cut(name, &written);
                assert!(shorter.len() < body.len());
                assert_eq!(Message::decode(kind, shorter, &context), Ok(message));
            } else {
                assert_eq!(written, frame, "{name} at {version}");
                let payload = message.to_payload(&network, version).expect(name);
                assert_eq!(payload, Payload::seal(&network, kind, body).expect(name));
            }
        }
    }
    let grins = Kind::ALL.into_iter().filter(|kind| !kind.is_extension());
    let without = grins.filter(|kind| !kinds.contains(kind));
    assert_eq!(without.collect::<Vec<_>>(), [Kind::Error], "every kind of grin's has a frame");
    assert!(!kinds.iter().any(|kind| kind.is_extension()), "grin writes none of ours");
}

#[test]
fn magic_of_each_network() {
    for name in ["main_ping", "test_ping", "user_ping", "auto_ping"] {
        is(name, Message::Ping(Ping { total_difficulty: 1, height: 2 }));
    }
    let main = frame_of("main_ping");
    assert!(split(&main, &Network::GRIN_TEST).is_err());
}

#[test]
fn hands() {
    let hand = Hand {
        version: 1000,
        capabilities: Capabilities::GRIN_NODE,
        nonce: 0x0102_0304_0506_0708,
        total_difficulty: 0x1122_3344_5566_7788,
        sender_addr: addr("192.0.2.1:3414"),
        receiver_addr: addr("198.51.100.7:13414"),
        user_agent: USER_AGENT,
        genesis: GENESIS,
    };
    for version in VERSIONS {
        is(&format!("hand_ipv4_version{version}"), Message::Hand(Hand { version, ..hand }));
    }
    let ipv6 = Hand {
        capabilities: Capabilities::UNKNOWN,
        sender_addr: addr("[2001:db8::1]:3414"),
        receiver_addr: addr("[2001:db8:1:2:3:4:5:6]:65535"),
        user_agent: "",
        ..hand
    };
    read("hand_ipv6", |message| {
        let Message::Hand(read) = message else { panic!("{message:?}") };
        let Hand { nonce, total_difficulty, .. } = read;
        assert_eq!(read, Hand { nonce, total_difficulty, ..ipv6 });
    });
    read("hand_unspecified_v6", |message| {
        let Message::Hand(read) = message else { panic!("{message:?}") };
        assert_eq!(read.sender_addr, addr("0.0.0.0:3414"), "written as [::]");
    });
    let captured = Hand {
        nonce: 0xd375_9638_f804_f060,
        total_difficulty: 3,
        sender_addr: addr("127.0.0.1:39923"),
        receiver_addr: addr("127.0.0.1:40401"),
        ..hand
    };
    is("captured_hand_from_server", Message::Hand(captured));
}

#[test]
fn shakes() {
    let shake = Shake {
        version: 1000,
        capabilities: Capabilities::from_bits(0x7f),
        total_difficulty: u64::MAX,
        user_agent: USER_AGENT,
        genesis: GENESIS,
    };
    for version in VERSIONS {
        is(&format!("shake_version{version}"), Message::Shake(Shake { version, ..shake }));
    }
    read("shake_utf8", |message| {
        let Message::Shake(read) = message else { panic!("{message:?}") };
        assert_eq!(read.user_agent, "größe/1 ✓");
        assert_eq!(read.genesis, GENESIS);
    });
    let capabilities = Capabilities::GRIN_NODE;
    let captured = Shake { capabilities, total_difficulty: 3, ..shake };
    is("captured_shake_from_server", Message::Shake(captured));
}

#[test]
fn pings_and_pongs() {
    is("ping", Message::Ping(Ping { total_difficulty: 1_000_000_007, height: 42 }));
    is("ping_zero", Message::Ping(Ping { total_difficulty: 0, height: 0 }));
    is("pong", Message::Pong(Pong { total_difficulty: u64::MAX, height: u64::MAX }));
    let captured = Pong { total_difficulty: 3, height: 0 };
    is("captured_pong_from_server", Message::Pong(captured));
}

#[test]
fn addresses() {
    let are = |name: &str, expected: &[&str]| {
        let addrs: Vec<_> = expected.iter().copied().map(addr).collect();
        is(name, Message::PeerAddrs(PeerAddrs::new(&addrs)));
    };
    is("get_peer_addrs", Message::GetPeerAddrs(Capabilities::PEER_LIST));
    are("peer_addrs_empty", &[]);
    let mixed =
        ["192.0.2.1:3414", "[2001:db8::ff00:42:8329]:3414", "203.0.113.255:65535", "[fe80::1]:1"];
    are("peer_addrs_mixed", &mixed);
    are("peer_addrs_quirks", &["192.0.2.33:3414", "0.0.0.1:3414", "0.0.0.0:0"]);
    let most: Vec<_> = (0..256_u32)
        .map(|i| addr(&format!("198.51.{}.{}:{}", 100 + i / 200, 1 + i % 200, 3000 + i)))
        .collect();
    is("peer_addrs_256", Message::PeerAddrs(PeerAddrs::new(&most)));
    are("captured_peer_addrs_from_server", &["127.0.0.1:20001"]);
}

#[test]
fn ban_reasons() {
    let reasons = [
        BanReason::None,
        BanReason::BadBlock,
        BanReason::BadCompactBlock,
        BanReason::BadBlockHeader,
        BanReason::BadTxHashSet,
        BanReason::ManualBan,
        BanReason::FraudHeight,
        BanReason::BadHandshake,
    ];
    for (code, reason) in reasons.into_iter().enumerate() {
        is(&format!("ban_reason_{code}"), Message::BanReason(reason));
    }
    is("captured_ban_reason_6", Message::BanReason(BanReason::FraudHeight));
}

#[test]
fn requests_by_hash() {
    is("get_headers_empty", Message::GetHeaders(Locator::new(&[])));
    is("get_headers", Message::GetHeaders(Locator::new(&[COUNTING, GENESIS])));
    let most: Vec<_> = (0..20).map(|i| Hash([i; 32])).collect();
    is("get_headers_20", Message::GetHeaders(Locator::new(&most)));
    is("get_block", Message::GetBlock(GENESIS));
    is("get_compact_block", Message::GetCompactBlock(GENESIS));
    is("get_transaction", Message::GetTransaction(COUNTING));
    is("tx_kernel", Message::TransactionKernel(GENESIS_KERNEL));
}

fn header(name: &str, judge: impl Fn(BlockHeader<'_>)) {
    read(name, |message| match message {
        Message::Header(header) => judge(header),
        other => panic!("{name}: {other:?}"),
    });
    let (frame, network) = (frame_of(name), network(name));
    let (kind, body) = cut(name, &frame);
    let id = network.id(kind, body);
    header_of(body, &network, |header| assert_eq!(header.hash(), id, "{name}"));
}

fn header_of(body: &[u8], network: &Network, judge: impl Fn(BlockHeader<'_>)) {
    let context = Context { version: 1000, network };
    match Message::decode(Kind::Header, body, &context) {
        Ok(Message::Header(header)) => judge(header),
        other => panic!("{other:?}"),
    }
}

#[test]
fn genesis_headers() {
    let main = |header: BlockHeader<'_>| {
        assert_eq!(header.hash(), GENESIS);
        assert_eq!((header.version(), header.height(), header.nonce()), (1, 0, 41));
        assert_eq!(header.timestamp(), 1_547_568_086);
        assert_eq!(header.prev_hash(), Hash([0; 32]));
        let prev_root = hex!("0000000000000000002a8bc32f43277fe9c063b9c99ea252b483941dcd06e217");
        let outputs = hex!("fa7566d275006c6c467876758f2bc87e4cebd2020ae9cf9f294c6217828d6872");
        let proofs = hex!("1b7fff259aee3edfb5867c4775e4e1717826b843cda6685e5140442ece7bfc2e");
        let kernels = hex!("e8bb096a73cbe6e099968965f5342fc1702ee2802802902286dcf0f279e326bf");
        assert_eq!(header.prev_root(), Hash(prev_root));
        assert_eq!(header.output_root(), Hash(outputs));
        assert_eq!(header.range_proof_root(), Hash(proofs));
        assert_eq!(header.kernel_root(), Hash(kernels));
        assert_eq!(header.total_kernel_offset(), &[0; 32]);
        assert_eq!((header.output_mmr_size(), header.kernel_mmr_size()), (1, 1));
        assert_eq!((header.total_difficulty(), header.secondary_scaling()), (1 << 34, 1856));
        let nonces: Vec<_> = header.proof().nonces().collect();
        assert_eq!((header.proof().edge_bits(), nonces.len()), (29, 42));
        assert_eq!((nonces[0], nonces[1], nonces[41]), (0x43_021b, 0x230_7735, 0x1f9a_fa09));
        assert!(nonces.is_sorted());
    };
    header("header_genesis", main);
    header("captured_header_broadcast", main);
    header("test_header_genesis", |header| {
        assert_eq!(header.hash(), Network::GRIN_TEST.genesis);
        assert_eq!(header.proof().edge_bits(), 29);
    });
    header("auto_header_genesis", |header| {
        let hash = hex!("e3b909d483eb06af91141d7ac8b6bcef857b41e34f35eb7c3abad9da0ca51629");
        assert_eq!(header.hash(), Hash(hash));
        assert_eq!((header.proof().edge_bits(), header.proof().packed().len()), (10, 10));
        assert_eq!(header.proof().nonces().count(), 8);
    });
}

#[test]
fn headers_of_all_edge_bits() {
    let made_up = [
        (31, 1_000_000, hex!("f11a00c1e6b13bb402bfaa7264dfa75099ba423d739b0bc66715fe5a9a766d4f")),
        (32, 2_500_000, hex!("8973c85d20b5eedd6f489b124e0bce1ad15f12860d1907dc401bae20acd064e1")),
        (63, 3, hex!("f932ecceb886256cd02a68fb07467248936a7a85f97f060b65c6338b8dec837f")),
    ];
    for (edge_bits, height, hash) in made_up {
        let below = 1_u64 << edge_bits;
        let nonce = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % below;
        let mut nonces: Vec<_> = (1..=42).map(nonce).collect();
        nonces.sort_unstable();
        header(&format!("header_edge{edge_bits}"), |header| {
            assert_eq!(header.proof().edge_bits(), edge_bits);
            assert_eq!((header.version(), header.height()), (5, height));
            assert_eq!(header.nonce(), 0x0123_4567_89ab_cdef);
            assert!(header.proof().nonces().eq(nonces.iter().copied()));
            assert_eq!(header.hash(), Hash(hash));
        });
    }
}

#[test]
fn headers_of_different_lengths() {
    let are = |name: &str, singles: &[&str]| {
        let frames: Vec<_> = singles.iter().map(|single| frame_of(single)).collect();
        read(name, |message| {
            let Message::Headers(headers) = message else { panic!("{message:?}") };
            assert_eq!(headers.len(), singles.len());
            assert_eq!(headers.is_empty(), singles.is_empty());
            for (header, frame) in headers.iter().zip(&frames) {
                header_of(&frame[11..], &Network::GRIN_MAIN, |single| assert_eq!(header, single));
            }
        });
    };
    are("headers_0", &[]);
    are("headers_1", &["header_genesis"]);
    are("headers_3", &["header_genesis", "header_edge31", "header_edge32"]);
}

#[test]
fn archives() {
    let (block, height) = (COUNTING, 720);
    is("txhashset_request", Message::TxHashSetRequest(ArchiveRequest { block, height }));
    let archive = Archive { block, height, bytes: 5_000_000_000 };
    is("txhashset_archive", Message::TxHashSetArchive(archive));

    let (frame, network) = (frame_of("txhashset_archive"), Network::GRIN_MAIN);
    let payload = Payload::from_frame(&network, Frame::Borrowed(Kind::TxHashSetArchive, &frame));
    assert_eq!(payload.attachment_bytes(), Some(5_000_000_000));
    let ping = frame_of("ping");
    let ping = Payload::from_frame(&network, Frame::Borrowed(Kind::Ping, &ping));
    assert_eq!(ping.attachment_bytes(), None);
    let piece = Payload::piece(frame.clone());
    assert_eq!((piece.kind(), piece.is_piece()), (Kind::TxHashSetArchive, true));
    assert_eq!((piece.frame(), piece.attachment_bytes()), (&frame[..], None));
    assert_ne!(piece, payload, "the same bytes with another meaning");
}

#[test]
fn requests_of_segments() {
    let id = SegmentId { block: GENESIS, height: 11, index: 258 };
    is("get_output_bitmap_segment", Message::GetOutputBitmapSegment(id));
    is("get_output_segment", Message::GetOutputSegment(id));
    is("get_rangeproof_segment", Message::GetRangeProofSegment(id));
    is("get_kernel_segment", Message::GetKernelSegment(id));
}

#[test]
fn segments() {
    let id = SegmentId { block: GENESIS, height: 11, index: 0 };
    for version in VERSIONS {
        read(&format!("kernel_segment_v{version}"), |message| {
            let Message::KernelSegment(segment) = message else { panic!("{message:?}") };
            assert_eq!(segment.id, id);
            assert!(segment.hash_positions.iter().eq([3]));
            assert_eq!(segment.hashes, [COUNTING.0]);
            assert!(segment.leaf_positions.iter().eq([1, 2]));
            let hashes: Vec<_> = segment.leaves.iter().map(|kernel| kernel.hash()).collect();
            assert_eq!(hashes, [GENESIS_KERNEL, PLAIN_KERNEL]);
            assert_eq!(segment.proof.len(), 2);
        });
    }
    read("output_segment", |message| {
        let Message::OutputSegment(OutputSegment { segment, bitmap_root }) = message else {
            panic!("{message:?}")
        };
        assert_eq!((segment.id, bitmap_root), (id, COUNTING));
        assert!(segment.hash_positions.is_empty() && segment.leaf_positions.iter().eq([1, 2]));
        assert!(segment.hashes.is_empty() && segment.proof.is_empty());
        read("tx_plain_v2", |message| {
            let Message::Transaction(transaction) = message else { panic!("{message:?}") };
            let mut commits: Vec<_> = segment.leaves.iter().map(|output| output.commit).collect();
            commits.sort_unstable();
            let mut own: Vec<_> = transaction.body.outputs.iter().map(|o| o.commit).collect();
            own.sort_unstable();
            assert_eq!(commits, own);
        });
        assert!(segment.leaves.iter().all(|output| output.features == OutputFeatures::Plain));
    });
    read("rangeproof_segment", |message| {
        let Message::RangeProofSegment(segment) = message else { panic!("{message:?}") };
        assert_eq!(segment.id, id);
        assert!(segment.leaf_positions.iter().eq([1]) && segment.proof.is_empty());
        read("block_genesis_v2", |message| {
            let Message::Block(block) = message else { panic!("{message:?}") };
            let proofs = block.body.outputs.iter().map(|output| output.proof);
            assert!(segment.leaves.iter().eq(proofs));
        });
    });
}

/// The bits that are set in each block of a segment, with the block's chunks.
fn bits_of(name: &str, expected: &[(u8, &dyn Fn(usize) -> bool)]) {
    read(name, |message| {
        let Message::OutputBitmapSegment(segment) = message else { panic!("{message:?}") };
        assert_eq!(segment.id, SegmentId { block: GENESIS, height: 9, index: 0 });
        assert_eq!((segment.output_root, segment.proof.len()), (GENESIS, 1));
        assert_eq!(segment.blocks.len(), expected.len());
        for (block, (chunks, is_set)) in segment.blocks.iter().zip(expected) {
            assert_eq!(block.chunks(), *chunks);
            let raw = block.raw();
            for bit in 0..8 * raw.len() {
                let set = raw[bit / 8] & 0x80 >> (bit % 8) != 0;
                assert_eq!(set, bit < 1_024 * usize::from(*chunks) && is_set(bit), "{bit}");
            }
        }
    });
}

#[test]
fn bitmaps() {
    bits_of("bitmap_segment_positive", &[(2, &|bit| [0, 7, 8, 1_025].contains(&bit))]);
    bits_of("bitmap_segment_negative", &[(64, &|bit| ![5, 65_535].contains(&bit))]);
    bits_of("bitmap_segment_raw", &[(64, &|bit| bit % 2 == 0), (1, &|bit| bit == 3)]);
}

/// The hashes of all kernels.
fn kernels(body: &Body<'_>) -> Vec<Hash> {
    body.kernels.iter().map(|kernel| kernel.hash()).collect()
}

#[test]
fn blocks() {
    for version in VERSIONS {
        read(&format!("block_genesis_v{version}"), |message| {
            let Message::Block(block) = message else { panic!("{message:?}") };
            assert_eq!(block.header.hash(), GENESIS);
            assert!(block.body.inputs.is_empty());
            let outputs: Vec<_> = block.body.outputs.iter().collect();
            assert_eq!(outputs.len(), 1);
            assert_eq!(outputs[0].features, OutputFeatures::Coinbase);
            assert_eq!(kernels(&block.body), [GENESIS_KERNEL]);
            let features = block.body.kernels.first().map(|kernel| kernel.features);
            assert_eq!(features, Some(KernelFeatures::Coinbase));
            assert_eq!(block.body.weight(), 21 + 3);
        });
        read(&format!("block_with_tx_v{version}"), |message| {
            let Message::Block(block) = message else { panic!("{message:?}") };
            assert_eq!(block.header.hash(), GENESIS);
            let Body { inputs, outputs, kernels: list } = block.body;
            assert_eq!((inputs.len(), outputs.len(), list.len()), (2, 3, 2));
            assert_eq!(block.body.weight(), 2 + 3 * 21 + 2 * 3);
            let mut expected = [GENESIS_KERNEL, PLAIN_KERNEL];
            expected.sort_unstable();
            assert_eq!(kernels(&block.body), expected);
        });
    }
}

#[test]
fn compact_blocks() {
    for version in VERSIONS {
        for (name, ids) in [("genesis", 0), ("with_tx", 1)] {
            read(&format!("compact_block_{name}_v{version}"), |message| {
                let Message::CompactBlock(block) = message else { panic!("{message:?}") };
                assert_eq!(block.header.hash(), GENESIS);
                assert_eq!(block.nonce, 0xaabb_ccdd_eeff_0011);
                assert_eq!((block.outputs.len(), block.kernels.len()), (1, 1));
                assert_eq!(block.kernels.first().map(|kernel| kernel.hash()), Some(GENESIS_KERNEL));
                assert_eq!(block.short_ids, &[hex!("920c226df718")][..ids]);
                let id = block.short_id_key().short_id(&PLAIN_KERNEL);
                assert_eq!(id, hex!("920c226df718"));
            });
        }
    }
}

fn transaction(name: &str, kernel: Hash, features: KernelFeatures, offset: [u8; 32]) {
    read(name, |message| {
        let (Message::Transaction(Transaction { offset: read, body })
        | Message::StemTransaction(Transaction { offset: read, body })) = message
        else {
            panic!("{name}: {message:?}")
        };
        assert_eq!(read, &offset);
        assert_eq!(kernels(&body), [kernel], "{name}");
        assert_eq!(body.kernels.first().map(|kernel| kernel.features), Some(features));
        assert_eq!((body.inputs.len(), body.outputs.len()), (2, 2));
        assert!(body.outputs.iter().all(|output| output.features == OutputFeatures::Plain));
        let mut spent: Vec<_> = body.inputs.iter().map(|input| input.features).collect();
        spent.sort_by_key(|features| features.map(|features| features as u8));
        let both = [Some(OutputFeatures::Plain), Some(OutputFeatures::Coinbase)];
        let told = if versions(name).contains(&1000) { [None, None] } else { both };
        assert_eq!(spent, told, "{name}");
    });
}

#[test]
fn transactions() {
    let fee = 12_500_000;
    let plain = KernelFeatures::Plain { fee };
    let locked = KernelFeatures::HeightLocked { fee, lock_height: 123_456 };
    let offset_plain = hex!("9f030f25ba37c06f37c0a089b6301856e2ebc1a4c6bde4808f2a1298d6a73e4c");
    let offset_locked = hex!("2393cedc8d8748124be694e6ca1fc336b9595644004a11f23dd1610d9dfaaf8b");
    for version in VERSIONS {
        for stem in ["", "stem_"] {
            let name = |kind| format!("{stem}tx_{kind}_v{version}");
            transaction(&name("plain"), PLAIN_KERNEL, plain, offset_plain);
            transaction(&name("locked"), LOCKED_KERNEL, locked, offset_locked);
        }
    }
    transaction("captured_tx_broadcast_v2", PLAIN_KERNEL, plain, offset_plain);
}

#[test]
fn captured_frames_equal_the_written_ones() {
    let pairs = [
        ("captured_header_broadcast", "header_genesis"),
        ("captured_tx_broadcast_v2", "tx_plain_v2"),
        ("captured_ban_reason_6", "ban_reason_6"),
    ];
    for (captured, written) in pairs {
        assert_eq!(frame_of(captured), frame_of(written));
    }
}

/// The versioned families, with the id that all their forms have.
const FAMILIES: [(&str, Hash); 8] = [
    ("block_genesis", GENESIS),
    ("block_with_tx", GENESIS),
    ("compact_block_genesis", GENESIS),
    ("compact_block_with_tx", GENESIS),
    ("tx_plain", PLAIN_KERNEL),
    ("tx_locked", LOCKED_KERNEL),
    ("stem_tx_plain", PLAIN_KERNEL),
    ("stem_tx_locked", LOCKED_KERNEL),
];

#[test]
fn an_id_does_not_depend_on_the_version() {
    let network = Network::GRIN_MAIN;
    for (family, id) in FAMILIES {
        for version in VERSIONS {
            let name = format!("{family}_v{version}");
            let frame = frame_of(&name);
            let (kind, body) = cut(&name, &frame);
            assert_eq!(network.id(kind, body), id, "{name}");
            assert_eq!(Payload::seal(&network, kind, body).expect(&name).id(), id);
            assert_eq!(Network::DEV.id(kind, body), Hash::of(body), "opaque {name}");

            let shorter = &body[..body.len() - 1];
            assert_eq!(network.id(kind, shorter), Hash::of(shorter), "cut {name}");
            let longer = [body, &[0]].concat();
            assert_eq!(network.id(kind, &longer), Hash::of(&longer), "longer {name}");
        }
    }
}

#[test]
fn a_block_gives_the_header_that_names_it() {
    let network = Network::GRIN_MAIN;
    let frame = frame_of("header_genesis");
    let header = Payload::from_frame(&network, Frame::Borrowed(Kind::Header, &frame));
    for family in ["block_genesis", "compact_block_genesis"] {
        let name = format!("{family}_v1000");
        let frame = frame_of(&name);
        let (kind, body) = cut(&name, &frame);
        let block = Payload::seal(&network, kind, body).expect(&name);
        assert_eq!(block.header(&network), Some(header.clone()), "{name}");
        let cut = Payload::seal(&network, kind, &body[..200]).expect(&name);
        assert_eq!(cut.header(&network), None);
    }
    assert_eq!(header.header(&network), None);
}

#[test]
fn a_body_of_one_form_is_converted_to_another() {
    let network = Network::GRIN_MAIN;
    let families = FAMILIES.map(|(family, _)| family).into_iter().chain(["kernel_segment"]);
    for family in families {
        for (from, to) in VERSIONS.iter().flat_map(|from| VERSIONS.map(|to| (*from, to))) {
            let (frame, expected) = (format!("{family}_v{from}"), format!("{family}_v{to}"));
            let (frame, expected) = (frame_of(&frame), frame_of(&expected));
            let (kind, body) = cut(family, &frame);
            let payload = Payload::seal(&network, kind, body).expect(family);
            let suits = payload.forms().contains(Form::of_version(to));
            assert_eq!(suits, frame == expected, "{family} from {from} to {to}");

            let context = Context { version: from, network: &network };
            let message = Message::decode(kind, body, &context).expect(family);
            let mut written = vec![7];
            let result = message.encode_frame(&network, to, &mut written);
            let converted = convert(kind, body, from, to, &network);
            let relayed = payload.convert(&network, to);
            let has_inputs = family.contains("tx") && !family.contains("compact");
            if from >= 3 && to <= 2 && has_inputs {
                let error = EncodeError::NoInputFeatures { version: to };
                assert_eq!((result, &written[..]), (Err(error), &[7][..]), "nothing is left");
                assert_eq!(converted, Err(NotConvertible::NotExpressible(error)));
                assert_eq!(relayed, Err(NotConvertible::NotExpressible(error)));
            } else {
                assert_eq!((result, &written[1..]), (Ok(()), &expected[..]), "{family} to {to}");
                assert_eq!(converted.as_deref(), Ok(&expected[11..]));
                assert_eq!(relayed.as_ref().map(Payload::frame), Ok(&expected[..]));
                if kind.is_payload() {
                    assert_eq!(relayed.map(|payload| payload.id()), Ok(payload.id()));
                }
            }
        }
    }
}

#[test]
fn a_body_of_another_form_than_negotiated_is_refused() {
    let network = Network::GRIN_MAIN;
    for (family, _) in FAMILIES {
        for (name, at) in VERSIONS.iter().flat_map(|name| VERSIONS.map(|at| (*name, at))) {
            let frame = frame_of(&format!("{family}_v{name}"));
            let same = frame_of(&format!("{family}_v{at}")) == frame;
            let (kind, body) = cut(family, &frame);
            assert_eq!(check(kind, body, at, &network).is_ok(), same, "{family} {name} at {at}");
        }
    }
}
