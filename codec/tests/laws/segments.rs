//! Segments, headers and archives: written by the text of the protocol, and each rule broken.

use codec::{
    BlockHeader, Context, DecodeError, EncodeError, Hash, Headers, Kind, Message, Network, check,
};
use proptest::prelude::*;

use super::body::{Draft, DraftKernel, header_bytes, item};

const LIST_MAX: u64 = 1_000_000;

/// A segment of anything: places, and items that are bytes already.
#[derive(Clone, Debug)]
pub(crate) struct DraftSegment {
    pub(crate) height: u8,
    pub(crate) hash_positions: Vec<u64>,
    pub(crate) leaf_positions: Vec<u64>,
    pub(crate) leaves: Vec<Vec<u8>>,
    pub(crate) proof: u8,
}

impl DraftSegment {
    /// With as many leaves as there are, at every second place.
    pub(crate) fn of(leaves: Vec<Vec<u8>>) -> Self {
        let leaf_positions = (0..leaves.len() as u64).map(|leaf| 2 * leaf + 1).collect();
        Self { height: 11, hash_positions: vec![3, 7], leaf_positions, leaves, proof: 2 }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&[0xb1; 32][..], &[self.height], &[0, 0, 0, 0, 0, 0, 1, 2]].concat();
        list(&mut bytes, &self.hash_positions);
        bytes.extend(self.hash_positions.iter().flat_map(|position| [*position as u8; 32]));
        list(&mut bytes, &self.leaf_positions);
        bytes.extend(self.leaves.concat());
        bytes.extend(u64::from(self.proof).to_be_bytes());
        bytes.extend((0..self.proof).flat_map(|hash| [hash; 32]));
        bytes
    }
}

fn list(bytes: &mut Vec<u8>, positions: &[u64]) {
    bytes.extend((positions.len() as u64).to_be_bytes());
    bytes.extend(positions.iter().flat_map(|position| position.to_be_bytes()));
}

/// A segment of the bitmap: blocks are chunks, mode and the bytes behind.
pub(crate) fn bitmap(height: u8, blocks: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [&[0xb1; 32][..], &[height], &[0; 8]].concat();
    bytes.extend((blocks.len() as u16).to_be_bytes());
    for (chunks, mode, bits) in blocks {
        bytes.extend([*chunks, *mode]);
        bytes.extend(bits);
    }
    bytes.extend(1_u64.to_be_bytes());
    bytes.extend([[0x33; 32], [0x44; 32]].concat());
    bytes
}

/// The bits of a block that tells indices.
pub(crate) fn indices(indices: &[u16]) -> Vec<u8> {
    let count = indices.len() as u16;
    [&[count], indices].concat().iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The items of a draft as segments of every kind.
pub(crate) fn segments(draft: &Draft, version: u32) -> Vec<(Kind, Vec<u8>)> {
    let kernels = draft.kernels.iter().map(|kernel| kernel.bytes(version)).collect();
    let outputs = draft.outputs.iter().map(|output| output.to_vec()).collect();
    let proof = |output: &[u8; 34]| [&675_u64.to_be_bytes()[..], &[output[5]; 675]].concat();
    let proofs = draft.outputs.iter().map(proof).collect();
    let bits: Vec<_> = draft.inputs.iter().map(|input| u16::from(input[5]) % 1_024).collect();
    let blocks = [
        (64, 0, vec![0xaa; 8_192]),
        (64, 2, indices(&bits)),
        (1 + (bits.len() % 64) as u8, 1, indices(&bits)),
    ];
    vec![
        (Kind::KernelSegment, DraftSegment::of(kernels).bytes()),
        (Kind::OutputSegment, [DraftSegment::of(outputs).bytes(), vec![0x55; 32]].concat()),
        (Kind::RangeProofSegment, DraftSegment::of(proofs).bytes()),
        (Kind::OutputBitmapSegment, bitmap(9, &blocks)),
    ]
}

/// Headers of a few sizes.
pub(crate) fn headers(count: u16) -> Vec<u8> {
    let mut bytes = count.to_be_bytes().to_vec();
    for at in 0..count {
        bytes.extend(header_bytes([29, 31, 32, 63][usize::from(at) % 4], 42));
    }
    bytes
}

fn judged(kind: Kind, body: &[u8]) -> Result<(), DecodeError> {
    check(kind, body, 1000, &Network::GRIN_MAIN)
}

#[test]
fn segments_by_the_text_are_accepted_and_nothing_of_them_is_lost() {
    for version in [1, 2, 1000] {
        for (kind, mut bytes) in segments(&Draft::of(5, 4, 3), version) {
            let network = &Network::GRIN_MAIN;
            assert_eq!(check(kind, &bytes, version, network), Ok(()), "{kind:?}");
            let whole = bytes.clone();
            bytes.extend([1, 2, 3]);
            assert_eq!(check(kind, &bytes, version, network), Ok(()), "longer {kind:?}");
            assert_eq!(check(kind, &[], version, &Network::DEV), Ok(()), "opaque {kind:?}");
            for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
                let judgement = check(kind, &whole[..cut], version, network);
                assert!(matches!(judgement, Err(DecodeError::EndOfBody { .. })), "{judgement:?}");
            }
        }
    }
}

#[test]
fn kernels_of_another_form_than_negotiated_are_refused() {
    let kernels = [DraftKernel::new(0, 1), DraftKernel::new(1, 2)];
    let draft = |version| {
        let leaves = kernels.iter().map(|kernel| kernel.bytes(version)).collect();
        DraftSegment::of(leaves).bytes()
    };
    let judged = |form, version| {
        check(Kind::KernelSegment, &draft(form), version, &Network::GRIN_MAIN).is_ok()
    };
    assert!(judged(1, 0) && judged(1, 1) && judged(2, 2) && judged(2, 1000));
    assert!(!judged(1, 2) && !judged(2, 1));
    let rare = DraftSegment::of(vec![DraftKernel::new(3, 1).bytes(1000)]).bytes();
    assert_eq!(judged_as(&rare), Err(DecodeError::NrdKernelDisabled));
}

fn judged_as(bytes: &[u8]) -> Result<(), DecodeError> {
    judged(Kind::KernelSegment, bytes)
}

#[test]
fn positions_are_counted_from_one_and_strictly_increase() {
    let good = DraftSegment::of(vec![DraftKernel::new(0, 1).bytes(1000); 3]);
    assert_eq!(judged_as(&good.bytes()), Ok(()));
    for positions in [[0, 1, 2], [1, 1, 2], [1, 5, 4], [7, 7, 7]] {
        let mut last = 0;
        let index = positions.iter().position(|position| {
            let falls = *position <= last;
            last = *position;
            falls
        });
        let index = index.expect("one is wrong");
        let error = Err(DecodeError::PositionOrder { position: positions[index], index });
        let leaves = DraftSegment { leaf_positions: positions.to_vec(), ..good.clone() };
        assert_eq!(judged_as(&leaves.bytes()), error, "{positions:?}");
        let hashes = DraftSegment { hash_positions: positions.to_vec(), ..good.clone() };
        assert_eq!(judged_as(&hashes.bytes()), error, "{positions:?}");
    }
}

#[test]
fn lists_are_measured_before_they_are_read() {
    let start = [0; 41];
    for count in [LIST_MAX + 1, u64::MAX] {
        let error = Err(DecodeError::ListTooLong { count, limit: LIST_MAX });
        let zero = 0_u64.to_be_bytes();
        for lists in 0..3 {
            let bytes = [&start[..], &zero.repeat(lists), &count.to_be_bytes()].concat();
            for kind in [Kind::KernelSegment, Kind::OutputSegment, Kind::RangeProofSegment] {
                assert_eq!(judged(kind, &bytes), error, "{kind:?}");
            }
        }
        let mut proof = bitmap(0, &[(1, 1, indices(&[]))]);
        proof.truncate(41 + 2 + 4);
        proof.extend(count.to_be_bytes());
        assert_eq!(judged(Kind::OutputBitmapSegment, &proof), error);
    }
    let most = [&start[..], &LIST_MAX.to_be_bytes()].concat();
    let error = DecodeError::EndOfBody { needed: 8 * LIST_MAX, left: 0 };
    assert_eq!(judged_as(&most), Err(error));
}

#[test]
fn leaves_are_looked_at_each() {
    let output = DraftSegment::of(vec![item(0, 1).to_vec(), item(2, 2).to_vec()]);
    let bytes = [output.bytes(), vec![0; 32]].concat();
    let error = Err(DecodeError::BadOutputFeatures { features: 2 });
    assert_eq!(judged(Kind::OutputSegment, &bytes), error);
    for length in [674_u64, 676, 0] {
        let proof = [&length.to_be_bytes()[..], &[7; 675]].concat();
        let error = Err(DecodeError::BadRangeProofLength { length });
        assert_eq!(judged(Kind::RangeProofSegment, &DraftSegment::of(vec![proof]).bytes()), error);
    }
}

#[test]
fn blocks_of_the_bitmap() {
    let judged = |height, blocks: &[_]| judged(Kind::OutputBitmapSegment, &bitmap(height, blocks));
    let full = (64, 1, indices(&[0, u16::MAX]));
    let part = (1, 2, indices(&[1_023]));
    assert_eq!(judged(13, &vec![full.clone(); 128]), Ok(()));
    assert_eq!(judged(7, &[full.clone(), part.clone()]), Ok(()));
    assert_eq!(judged(0, std::slice::from_ref(&part)), Ok(()));

    let high = DecodeError::SegmentTooHigh { height: 14, limit: 13 };
    assert_eq!(judged(14, std::slice::from_ref(&full)), Err(high));
    assert_eq!(judged(9, &[]), Err(DecodeError::EmptyBitmap));
    let many = DecodeError::ListTooLong { count: 2, limit: 1 };
    assert_eq!(judged(6, &[full.clone(), part.clone()]), Err(many));

    let chunks = |chunks| Err(DecodeError::BadBitmapBlock { chunks });
    assert_eq!(judged(9, &[part.clone(), full.clone()]), chunks(1), "only the last may be short");
    let nearly = (63, 1, indices(&[]));
    assert_eq!(judged(9, &[nearly, full.clone()]), chunks(63));
    assert_eq!(judged(9, &[(65, 1, indices(&[]))]), chunks(65));
    assert_eq!(judged(9, &[(0, 1, indices(&[]))]), chunks(0));
    assert_eq!(judged(0, &[(2, 1, indices(&[]))]), chunks(2), "a segment of one chunk");
    let mode = DecodeError::BadBitmapMode { mode: 3 };
    assert_eq!(judged(9, &[(1, 3, indices(&[]))]), Err(mode));
    for mode in [1, 2] {
        let index = DecodeError::BitmapIndex { index: 1_024, bits: 1_024 };
        assert_eq!(judged(9, &[(1, mode, indices(&[3, 1_024]))]), Err(index));
    }
}

#[test]
fn the_three_ways_to_tell_bits_agree() {
    let set = [0_u16, 7, 8, 1_025, 2_047];
    let mut raw = vec![0_u8; 256];
    set.iter().for_each(|bit| raw[usize::from(bit / 8)] |= 0x80 >> (bit % 8));
    let clear: Vec<u16> = (0..2_048).filter(|bit| !set.contains(bit)).collect();
    for (mode, bits) in [(0, raw.clone()), (1, indices(&set)), (2, indices(&clear))] {
        let body = bitmap(1, &[(2, mode, bits)]);
        let context = Context { version: 1000, network: &Network::GRIN_MAIN };
        let message = Message::decode(Kind::OutputBitmapSegment, &body, &context);
        let Ok(Message::OutputBitmapSegment(segment)) = message else { panic!("{message:?}") };
        assert_eq!(segment.blocks.len(), 1);
        let block = segment.blocks.iter().next().expect("it has one");
        assert_eq!((block.chunks(), &block.raw()[..256]), (2, &raw[..]));
        assert!(block.raw()[256..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn headers_are_measured_exactly_and_never_sent_empty() {
    for count in [0, 1, 3, 512] {
        let mut bytes = headers(count);
        assert_eq!(judged(Kind::Headers, &bytes), Ok(()), "{count}");
        bytes.push(0);
        let trailing = Err(DecodeError::TrailingBytes { count: 1 });
        assert_eq!(judged(Kind::Headers, &bytes), trailing);
        if count > 0 {
            bytes.truncate(bytes.len() - 2);
            assert!(matches!(judged(Kind::Headers, &bytes), Err(DecodeError::EndOfBody { .. })));
        }
    }
    let error = DecodeError::ListTooLong { count: 513, limit: 512 };
    assert_eq!(judged(Kind::Headers, &headers(513)), Err(error));

    let mut out = vec![7];
    let empty = Message::Headers(Headers::new(&[]));
    let refused = empty.encode_frame(&Network::GRIN_MAIN, 1000, &mut out);
    assert_eq!((refused, out), (Err(EncodeError::NoHeaders), vec![7]));
}

#[test]
fn headers_are_made_of_values_and_cut_to_the_limit() {
    let context = Context { version: 1000, network: &Network::GRIN_MAIN };
    let bytes = header_bytes(31, 42);
    let Ok(Message::Header(header)) = Message::decode(Kind::Header, &bytes, &context) else {
        panic!("a header")
    };
    let values: Vec<BlockHeader<'_>> = vec![header; 513];
    let headers = Headers::new(&values);
    assert_eq!(headers.len(), 512);
    let mut written = Vec::new();
    Message::Headers(headers).encode_body(1000, &mut written).expect("it has headers");
    let read = Message::decode(Kind::Headers, &written, &context);
    assert_eq!(read, Ok(Message::Headers(headers)));
    assert_eq!(header.hash(), Hash::of(&bytes[247..]));
}

proptest! {
    #[test]
    fn nearly_canonical_segments_are_read_or_refused(
        draft in super::body::draft(0..6),
        version in proptest::sample::select(&super::law::VERSIONS[..]),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![0..4_u8, any::<u8>()],
        flaw in 0..3_u8,
    ) {
        let mut bodies = segments(&draft, version);
        bodies.push((Kind::Headers, headers(draft.inputs.len() as u16)));
        for (kind, mut body) in bodies {
            let at = at.index(body.len());
            match flaw {
                0 => body[at] = byte,
                1 => body.truncate(at),
                _ => {}
            }
            super::law::any_body_is_read_or_refused(kind, &body);
        }
    }
}
