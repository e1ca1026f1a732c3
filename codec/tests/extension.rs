//! Molva's own messages as bytes that were written by hand: read to the values that they mean, and
//! written back. There is no other program to ask, so that this is what pins the layouts.

use codec::{
    BlockRange, Capabilities, Context, DecodeError, Envelope, GetPool, Hash, HaveGossip,
    HyParViewBody, HyParViewMessage, Item, Kind, Limits, Message, Network, Offer, Packing,
    PayloadFormat, PlumtreeMessage, PoolId, PoolPart, Records, SamplingBody, SamplingMessage,
    Split, check, limits, split,
};
use hex_literal::hex;

const NETWORK: Network = Network::GRIN_MAIN;

const COUNTING: Hash =
    Hash(hex!("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"));
const ONES: Hash = Hash([0x11; 32]);

const STORED: [u8; 52] = hex!(
    "613d 40 0000000000000029" // magic, kind, length of the body
    "0f" // a Transaction
    "00" // stored
    "00000003" // bytes of the plain body
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" // its id
    "aabbcc" // the plain body
);
const ZSTD: [u8; 53] = hex!(
    "613d 40 000000000000002a"
    "0b 01 00000102" // a Block of 258 bytes
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "28b52ffd" // not looked into
);
const HAVE: [u8; 87] = hex!(
    "613d 41 000000000000004c"
    "0002" // records
    "0b 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 00012345"
    "0f 1111111111111111111111111111111111111111111111111111111111111111 00000007"
);
const COMING: [u8; 50] = hex!(
    "613d 42 0000000000000027"
    "0001"
    "0d 1111111111111111111111111111111111111111111111111111111111111111 00008001"
);
const WANT: [u8; 79] = hex!(
    "613d 43 0000000000000044"
    "0002"
    "0f 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "0d 1111111111111111111111111111111111111111111111111111111111111111"
);
const NOT_FOUND: [u8; 46] = hex!(
    "613d 44 0000000000000023"
    "0001"
    "0b 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
);
const GET_BLOCKS: [u8; 45] = hex!(
    "613d 45 0000000000000022"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" // the first
    "0080" // most
);
const GET_POOL: [u8; 27] = hex!(
    "613d 46 0000000000000010"
    "0102030405060708" // salt
    "8000000000000000" // from
);
const POOL_IDS: [u8; 49] = hex!(
    "613d 47 0000000000000026"
    "0102030405060708 0000000000000000" // what was asked
    "ffffffffffffffff" // to
    "0002"
    "03ff2649d15e 0a0b0c0d0e0f"
);
const WANT_POOL: [u8; 43] = hex!(
    "613d 48 0000000000000020"
    "0102030405060708 0000000000000000"
    "00000000ffffffff"
    "0001"
    "03ff2649d15e"
);

const HYPARVIEW: [u8; 20] = hex!(
    "613d 49 0000000000000009"
    "01" // Join
    "0102030405060708" // epoch
);
const PLUMTREE: [u8; 48] = hex!(
    "613d 4a 0000000000000025"
    "01" // Have
    "0001"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" // id
    "0007" // round
);

const SAMPLING: [u8; 16] = hex!(
    "613d 4b 0000000000000005"
    "05" // Link
    "01020304" // number of the link
);

fn decode(kind: Kind, body: &[u8]) -> Result<Message<'_>, DecodeError> {
    Message::decode(kind, body, &Context { version: 1000, network: &NETWORK })
}

/// The frame means this, at every version and whatever the bodies of the chain are, and is written
/// back; a byte more or less is refused.
fn is(frame: &[u8], expected: Message<'_>) {
    let Ok(Split::Whole(kind, whole)) = split(frame, &NETWORK) else { panic!("{expected:?}") };
    assert_eq!((whole, kind), (frame, expected.kind()));
    let body = &frame[11..];
    for format in [PayloadFormat::Grin, PayloadFormat::Opaque] {
        let network = Network { format, ..NETWORK };
        for version in [0, 1, 3, 1000] {
            let read = Message::decode(kind, body, &Context { version, network: &network });
            assert_eq!(read, Ok(expected));
            let mut written = Vec::new();
            expected.encode_frame(&network, version, &mut written).expect("within the limit");
            assert_eq!(written, frame, "{expected:?}");
        }
        assert!(check(kind, &body[1..], 1000, &network).is_err(), "shorter {kind:?}");
    }
    if kind != Kind::Packed {
        assert!(matches!(
            decode(kind, &body[..body.len() - 1]),
            Err(DecodeError::EndOfBody { .. })
        ));
        let longer = [body, &[0]].concat();
        assert_eq!(decode(kind, &longer), Err(DecodeError::TrailingBytes { count: 1 }));
    }
}

#[test]
fn envelopes() {
    let stored = Envelope {
        kind: Kind::Transaction,
        packing: Packing::Stored,
        plain_bytes: 3,
        id: COUNTING,
        data: &[0xaa, 0xbb, 0xcc],
    };
    is(&STORED, Message::Packed(stored));
    let zstd = Envelope {
        kind: Kind::Block,
        packing: Packing::Zstd,
        plain_bytes: 258,
        data: &[0x28, 0xb5, 0x2f, 0xfd],
        ..stored
    };
    is(&ZSTD, Message::Packed(zstd));
}

#[test]
fn lists() {
    let block = Item { kind: Kind::Block, id: COUNTING };
    let compact = Item { kind: Kind::CompactBlock, id: ONES };
    let transaction = |id| Item { kind: Kind::Transaction, id };
    let have = [Offer { item: block, bytes: 0x12345 }, Offer { item: transaction(ONES), bytes: 7 }];
    is(&HAVE, Message::Have(Records::new(&have)));
    is(&COMING, Message::Coming(Records::new(&[Offer { item: compact, bytes: 0x8001 }])));
    is(&WANT, Message::Want(Records::new(&[transaction(COUNTING), compact])));
    is(&NOT_FOUND, Message::NotFound(Records::new(&[block])));
}

#[test]
fn ranges() {
    is(&GET_BLOCKS, Message::GetBlocks(BlockRange { first: COUNTING, count: 128 }));
}

#[test]
fn pools() {
    let asked = GetPool { salt: 0x0102_0304_0506_0708, from: 0 };
    is(&GET_POOL, Message::GetPool(GetPool { from: 1 << 63, ..asked }));
    let ids = [PoolId::of(&COUNTING, asked.salt), PoolId([10, 11, 12, 13, 14, 15])];
    let part = PoolPart { asked, to: u64::MAX, ids: Records::new(&ids) };
    is(&POOL_IDS, Message::PoolIds(part));
    let wanted = PoolPart { to: u32::MAX.into(), ids: Records::new(&ids[..1]), ..part };
    is(&WANT_POOL, Message::WantPool(wanted));
}

#[test]
fn overlays_and_gossip() {
    let mut body = Vec::new();
    let join = HyParViewMessage::Join { epoch: 0x0102_0304_0506_0708 };
    is(&HYPARVIEW, Message::HyParView(HyParViewBody::written(&join, &mut body)));
    let have = [HaveGossip { id: COUNTING, round: 7 }];
    is(&PLUMTREE, Message::Plumtree(PlumtreeMessage::Have(Records::new(&have))));
    let mut body = Vec::new();
    let link = SamplingMessage::Link { link: 0x0102_0304 };
    is(&SAMPLING, Message::Sampling(SamplingBody::written(&link, &mut body)));
}

#[test]
fn the_page_shows_these_frames() {
    let page = include_str!("../../docs/wire.md");
    let block = page.split("```").nth(1).expect("the page has them");
    let counting = COUNTING.to_string();
    let shown: Vec<_> = block
        .trim()
        .lines()
        .map(|line| {
            let (name, frame) = line.split_once(' ').expect("a name and a frame");
            let whole = frame.replace("000102…1e1f", &counting);
            (name, whole.replace("111111…1111", &ONES.to_string()).replace(' ', ""))
        })
        .collect();
    let frames = [
        ("Packed", &STORED[..]),
        ("Have", &HAVE),
        ("Coming", &COMING),
        ("Want", &WANT),
        ("NotFound", &NOT_FOUND),
        ("GetBlocks", &GET_BLOCKS),
        ("GetPool", &GET_POOL),
        ("PoolIds", &POOL_IDS),
        ("WantPool", &WANT_POOL),
        ("HyParView", &HYPARVIEW),
        ("Plumtree", &PLUMTREE),
        ("Sampling", &SAMPLING),
    ];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(shown, frames.map(|(name, frame)| (name, hex(frame))));
}

/// Computed from the definition of SipHash-2-4 by another program, which gives the hash of its
/// authors for their own example.
#[test]
fn short_ids_of_a_pool() {
    assert_eq!(PoolId::of(&COUNTING, 0x0102_0304_0506_0708), PoolId(hex!("03ff2649d15e")));
    assert_eq!(PoolId::of(&Hash([0; 32]), 0), PoolId(hex!("7d82a2df03e1")));
    assert_eq!(PoolId::of(&Hash([0xff; 32]), u64::MAX), PoolId(hex!("5eaab60bb214")));
}

#[test]
fn the_bit_and_the_bytes_of_the_kinds() {
    assert_eq!(Capabilities::EXTENSION.bits(), 0x0100_0000);
    let bytes: Vec<_> =
        Kind::ALL.into_iter().filter(|kind| kind.is_extension()).map(|kind| kind as u8).collect();
    assert_eq!(bytes, [64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75]);
}

/// The body of a frame with one byte changed.
fn changed(frame: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut body = frame[11..].to_vec();
    body[at] = byte;
    body
}

#[test]
fn envelopes_that_cannot_be() {
    let refused = |body: &[u8]| decode(Kind::Packed, body).expect_err("refused");
    for kind in 0..=u8::MAX {
        let held = [8, 9, 11, 13, 15, 22, 24, 26, 28].contains(&kind);
        let read = changed(&STORED, 0, kind);
        let read = decode(Kind::Packed, &read);
        let error = Err(DecodeError::BadInnerKind { kind });
        assert!(if held { read.is_ok() } else { read == error }, "{kind}: {read:?}");
    }
    for packing in 2..=u8::MAX {
        assert_eq!(refused(&changed(&STORED, 1, packing)), DecodeError::BadPacking { packing });
    }
    // Stored, the inside is as long as the body; packed, it is shorter.
    let length = |length, plain| DecodeError::BadPackedLength { length, plain };
    assert_eq!(refused(&changed(&STORED, 5, 2)), length(3, 2));
    assert_eq!(refused(&changed(&STORED, 5, 4)), length(3, 4));
    let mut packed = changed(&STORED, 1, 1);
    assert_eq!(refused(&packed), length(3, 3));
    packed[5] = 4;
    assert!(decode(Kind::Packed, &packed).is_ok());
    // The plain body keeps the limit of its kind, whatever the envelope has.
    let mut body = ZSTD[11..].to_vec();
    for (kind, limit) in [(11, 5_392_128_u32), (8, 1_460), (28, 10_784_256)] {
        body[0] = kind;
        body[2..6].copy_from_slice(&limit.to_be_bytes());
        assert!(decode(Kind::Packed, &body).is_ok());
        body[2..6].copy_from_slice(&(limit + 1).to_be_bytes());
        let (length, limit) = ((limit + 1).into(), limit.into());
        assert_eq!(refused(&body), DecodeError::PlainTooLong { length, limit });
    }
    for cut in 0..38 {
        assert!(matches!(refused(&STORED[11..11 + cut]), DecodeError::EndOfBody { .. }));
    }
}

#[test]
fn the_head_of_an_envelope_is_read_before_the_rest_is_here() {
    let context = Context { version: 1000, network: &NETWORK };
    let body = &ZSTD[11..];
    for here in 0..=body.len() {
        let head = Envelope::peek(&body[..here], &context).expect("nothing is wrong");
        let expected = Envelope {
            kind: Kind::Block,
            packing: Packing::Zstd,
            plain_bytes: 258,
            id: COUNTING,
            data: body.get(38..here).unwrap_or_default(),
        };
        assert_eq!(head, (here >= 38).then_some(expected), "{here}");
    }
    let stem = changed(&ZSTD, 0, Kind::StemTransaction as u8);
    let error = DecodeError::BadInnerKind { kind: 14 };
    assert_eq!(Envelope::peek(&stem[..38], &context), Err(error));
}

#[test]
fn records_that_cannot_be() {
    for (kind, frame) in [
        (Kind::Have, &HAVE[..]),
        (Kind::Coming, &COMING),
        (Kind::Want, &WANT),
        (Kind::NotFound, &NOT_FOUND),
    ] {
        for byte in 0..=u8::MAX {
            let named = [11, 13, 15].contains(&byte);
            let body = changed(frame, 2, byte);
            let read = decode(kind, &body);
            let error = Err(DecodeError::BadInnerKind { kind: byte });
            assert!(if named { read.is_ok() } else { read == error }, "{byte}: {read:?}");
        }
    }
    // The second record, too.
    let body = changed(&HAVE, 2 + 37, 14);
    assert_eq!(decode(Kind::Have, &body), Err(DecodeError::BadInnerKind { kind: 14 }));
    let body = changed(&HAVE, 2 + 37 + 33, 1);
    let error = DecodeError::PlainTooLong { length: 0x0100_0007, limit: 5_392_128 };
    assert_eq!(decode(Kind::Have, &body), Err(error));
}

#[test]
fn ranges_and_parts_that_cannot_be() {
    for (count, good) in [(0_u16, false), (1, true), (128, true), (129, false), (u16::MAX, false)] {
        let mut body = GET_BLOCKS[11..].to_vec();
        body[32..].copy_from_slice(&count.to_be_bytes());
        let read = decode(Kind::GetBlocks, &body);
        let error = Err(DecodeError::BadRange { count, limit: 128 });
        assert!(if good { read.is_ok() } else { read == error }, "{count}: {read:?}");
    }
    for (kind, frame) in [(Kind::PoolIds, &POOL_IDS[..]), (Kind::WantPool, &WANT_POOL)] {
        for (from, to) in [(5_u64, 5_u64), (5, 6), (5, 4), (u64::MAX, 0)] {
            let mut body = frame[11..].to_vec();
            body[8..16].copy_from_slice(&from.to_be_bytes());
            body[16..24].copy_from_slice(&to.to_be_bytes());
            let read = decode(kind, &body);
            let error = Err(DecodeError::BadPart { from, to });
            assert!(if from <= to { read.is_ok() } else { read == error }, "{read:?}");
        }
    }
}

/// Each list at its bound: as long as the frame may be, and no record more.
#[test]
fn lists_are_measured_before_they_are_read() {
    let records = [
        (Kind::Have, 0, 37),
        (Kind::Coming, 0, 37),
        (Kind::Want, 0, 33),
        (Kind::NotFound, 0, 33),
        (Kind::PoolIds, 24, 6),
        (Kind::WantPool, 24, 6),
    ];
    for (kind, before, size) in records {
        for count in [0_u16, 1, 1_024, 1_025, u16::MAX] {
            let mut body = vec![0; before];
            body.extend(count.to_be_bytes());
            for _ in 0..count {
                body.push(Kind::Transaction as u8);
                body.extend(vec![0; size - 1]);
            }
            let read = decode(kind, &body);
            let fits = body.len() as u64 <= NETWORK.limits.body_bytes_max(kind);
            assert_eq!(fits, count <= 1_024, "{kind:?}");
            if fits {
                assert_eq!(read.map(|message| message.kind()), Ok(kind));
            } else {
                let error = DecodeError::ListTooLong { count: count.into(), limit: 1_024 };
                assert_eq!(read, Err(error));
            }
            if count == 1_024 {
                assert_eq!(NETWORK.limits.body_bytes_max(kind), body.len() as u64);
            }
        }
    }
    for limits in [NETWORK.limits, Limits::new(250, 8)] {
        assert_eq!(limits.body_bytes_max(Kind::GetBlocks), GET_BLOCKS.len() as u64 - 11);
        assert_eq!(limits.body_bytes_max(Kind::GetPool), GET_POOL.len() as u64 - 11);
    }
}

#[test]
fn records_are_cut_to_the_limit_and_read_in_their_order() {
    let item = |i: usize| Item { kind: Kind::Block, id: Hash([i as u8; 32]) };
    let items: Vec<_> = (0..limits::RECORDS_MAX + 1).map(item).collect();
    let sent = Records::new(&items);
    assert_eq!((sent.len(), sent.is_empty()), (limits::RECORDS_MAX, false));
    let mut body = Vec::new();
    Message::Want(sent).encode_body(1000, &mut body).expect("it can be written");
    let Ok(Message::Want(read)) = decode(Kind::Want, &body) else { panic!("a Want") };
    assert_eq!((read, read.len()), (sent, sent.len()));
    assert!(read.iter().eq(items[..limits::RECORDS_MAX].iter().copied()));
    assert!(Records::<Item>::new(&[]).is_empty());
}
