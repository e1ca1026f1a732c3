//! Each rule of a canonical body, broken for itself: the error names the rule.

use codec::{
    Context, DecodeError, Hash, Kind, Limits, List, Message, Network, NotConvertible, Payload,
    check, convert,
};

use super::body::{Draft, DraftKernel, body, compact_block, header_bytes, item};

const VERSIONS: [u32; 3] = [1, 2, 1000];

fn judged(kind: Kind, version: u32, body: &[u8]) -> Result<(), DecodeError> {
    check(kind, body, version, &Network::GRIN_MAIN)
}

fn transaction(body: Vec<u8>) -> Vec<u8> {
    [vec![0x0f; 32], body].concat()
}

fn block(body: Vec<u8>) -> Vec<u8> {
    [header_bytes(29, 42), body].concat()
}

#[test]
fn bodies_by_the_text_are_accepted_small_and_large() {
    for version in VERSIONS {
        for (inputs, outputs) in [(0, 1), (1, 1), (2, 2), (64, 3), (65, 3), (500, 40)] {
            let draft = Draft::of(inputs, outputs, 3);
            let judgement = judged(Kind::Transaction, version, &draft.transaction(version));
            assert_eq!(judgement, Ok(()), "{inputs} inputs at {version}");
            assert_eq!(judged(Kind::Block, version, &block(draft.bytes(version))), Ok(()));
        }
    }
}

#[test]
fn lists_are_in_order_and_hold_nothing_twice() {
    for version in VERSIONS {
        let draft = Draft::of(4, 4, 4);
        let lists = [draft.input_bytes(version), draft.output_bytes(), draft.kernel_bytes(version)];
        for (at, list) in [List::Inputs, List::Outputs, List::Kernels].into_iter().enumerate() {
            let broken = |change: fn(&mut Vec<Vec<u8>>)| {
                let mut lists = lists.clone();
                change(&mut lists[at]);
                let bytes = body(&lists[0], &lists[1], &lists[2]);
                let judgements = [
                    judged(Kind::Transaction, version, &transaction(bytes.clone())),
                    judged(Kind::Block, version, &block(bytes)),
                ];
                assert_eq!(judgements[0], judgements[1]);
                judgements[0]
            };
            let swapped = broken(|list| list.swap(1, 2));
            assert_eq!(swapped, Err(DecodeError::Unsorted { list, index: 2 }), "{version}");
            let doubled = broken(|list| list[3] = list[2].clone());
            assert_eq!(doubled, Err(DecodeError::Duplicate { list, index: 3 }), "{version}");
        }
    }
}

#[test]
fn an_output_is_not_spent_where_it_is_made() {
    for version in VERSIONS {
        for (inputs, spent) in [(3, 1), (300, 17), (300, 18)] {
            let mut draft = Draft::of(inputs, 3, 1);
            let mut output = draft.inputs[spent];
            output[0] = 0;
            draft.outputs.push(output);
            let place = draft.output_bytes().iter().position(|bytes| bytes[..34] == output);
            let error = DecodeError::NotCutThrough { output: place.expect("it is listed") };
            let judgement = judged(Kind::Transaction, version, &draft.transaction(version));
            assert_eq!(judgement, Err(error), "{inputs} inputs at {version}");
        }
    }
}

#[test]
fn weight_is_judged_by_the_counts_alone() {
    let counted = |counts: [u64; 3]| counts.map(u64::to_be_bytes).concat();
    for (counts, weight) in [([39_974, 0, 1], 39_977), ([0, 0, u64::MAX], u64::MAX)] {
        let error = DecodeError::TooHeavy { weight, limit: 39_976 };
        let judgement = judged(Kind::Transaction, 1000, &transaction(counted(counts)));
        assert_eq!(judgement, Err(error));
    }
    let heaviest = judged(Kind::Transaction, 1000, &transaction(counted([39_973, 0, 1])));
    assert!(matches!(heaviest, Err(DecodeError::EndOfBody { needed: 1_319_109, left: 0 })));

    let error = DecodeError::TooHeavy { weight: 40_001, limit: 40_000 };
    assert_eq!(judged(Kind::Block, 1000, &block(counted([40_001, 0, 0]))), Err(error));
    let compact = [header_bytes(29, 42), vec![0; 8], counted([0, 1, 13_333])].concat();
    let error = DecodeError::TooHeavy { weight: 40_002, limit: 40_000 };
    assert_eq!(judged(Kind::CompactBlock, 1000, &compact), Err(error));
}

#[test]
fn a_transaction_has_a_kernel_and_no_coinbase() {
    for version in VERSIONS {
        let judged = |draft: Draft| judged(Kind::Transaction, version, &draft.transaction(version));
        assert_eq!(judged(Draft::of(1, 1, 0)), Err(DecodeError::NoKernel));

        let mut coinbase = Draft::of(1, 0, 1);
        coinbase.outputs.push(item(1, 77));
        let error = DecodeError::MisplacedFeatures { list: List::Outputs, index: 0 };
        assert_eq!(judged(coinbase), Err(error));

        let mut coinbase = Draft::of(1, 1, 0);
        coinbase.kernels.push(DraftKernel::new(1, 9));
        let error = DecodeError::MisplacedFeatures { list: List::Kernels, index: 0 };
        assert_eq!(judged(coinbase), Err(error));
    }
}

#[test]
fn a_compact_block_spells_out_the_coinbase_only() {
    let header = header_bytes(29, 42);
    for version in VERSIONS {
        let good = compact_block(&header, 3, &Draft::of(3, 1, 1), version);
        assert_eq!(judged(Kind::CompactBlock, version, &good), Ok(()));

        let features_at = header.len() + 8 + 24;
        let mut plain = good.clone();
        plain[features_at] = 0;
        let error = DecodeError::MisplacedFeatures { list: List::Outputs, index: 0 };
        assert_eq!(judged(Kind::CompactBlock, version, &plain), Err(error));

        let mut swapped = good.clone();
        let ids = swapped.len() - 18;
        swapped[ids..ids + 12].rotate_left(6);
        let error = DecodeError::Unsorted { list: List::ShortIds, index: 1 };
        assert_eq!(judged(Kind::CompactBlock, version, &swapped), Err(error));
    }
    let mut locked = [&header[..], &[0; 8]].concat();
    locked.extend([0_u64, 1, 0].map(u64::to_be_bytes).concat());
    locked.extend(DraftKernel::new(2, 5).bytes(1000));
    let error = DecodeError::MisplacedFeatures { list: List::Kernels, index: 0 };
    assert_eq!(judged(Kind::CompactBlock, 1000, &locked), Err(error));
}

#[test]
fn features_and_lengths_of_items() {
    let draft = Draft::of(1, 1, 1);
    let flawed = |version: u32, at: usize, byte: u8| {
        let mut bytes = draft.transaction(version);
        bytes[at] = byte;
        judged(Kind::Transaction, version, &bytes)
    };
    let first = 32 + 24;
    assert_eq!(flawed(2, first, 2), Err(DecodeError::BadInputFeatures { features: 2 }));
    assert_eq!(flawed(3, first, 1), Err(DecodeError::AmbiguousInput { first: 1 }));
    let output = first + 33;
    assert_eq!(flawed(3, output, 9), Err(DecodeError::BadOutputFeatures { features: 9 }));
    let length = output + 34 + 7;
    assert_eq!(flawed(3, length, 0xa4), Err(DecodeError::BadRangeProofLength { length: 676 }));
    assert_eq!(flawed(3, length, 0xa2), Err(DecodeError::BadRangeProofLength { length: 674 }));
    let kernel = output + 717;
    assert_eq!(flawed(3, kernel, 4), Err(DecodeError::BadKernelFeatures { features: 4 }));
}

#[test]
fn inputs_that_only_features_tell_apart_stay_with_old_versions() {
    let mut twice = Draft::of(0, 1, 1);
    twice.inputs = vec![item(0, 4), item(1, 4)];
    let mut ambiguous = Draft::of(0, 1, 1);
    ambiguous.inputs = vec![[1; 34]];
    let network = &Network::GRIN_MAIN;
    let errors = [
        DecodeError::Duplicate { list: List::Inputs, index: 1 },
        DecodeError::AmbiguousInput { first: 1 },
    ];
    for (draft, error) in [twice, ambiguous].into_iter().zip(errors) {
        for from in [1, 2] {
            let body = draft.transaction(from);
            assert_eq!(judged(Kind::Transaction, from, &body), Ok(()));
            let expected = NotConvertible::NotCanonical { version: 1000, error };
            assert_eq!(convert(Kind::Transaction, &body, from, 1000, network), Err(expected));
            let payload = Payload::seal(network, Kind::Transaction, &body).expect("short");
            assert_eq!(payload.convert(network, 1000), Err(expected));
        }
    }
    let noise = Payload::seal(network, Kind::Transaction, b"no transaction").expect("short");
    assert_eq!(noise.convert(network, 1000), Err(NotConvertible::Unreadable));
    assert!(noise.forms().iter().next().is_none());
}

#[test]
fn no_recent_duplicates_need_a_network_that_has_them() {
    let mut draft = Draft::of(1, 1, 0);
    draft.kernels.push(DraftKernel::new(3, 5));
    let enabled = Network { nrd_kernels: true, ..Network::GRIN_MAIN };
    for version in VERSIONS {
        let bytes = draft.transaction(version);
        let judgement = judged(Kind::Transaction, version, &bytes);
        assert_eq!(judgement, Err(DecodeError::NrdKernelDisabled));
        assert_eq!(check(Kind::Transaction, &bytes, version, &enabled), Ok(()));
    }
}

#[test]
fn proofs_have_a_size_and_no_spare_bits() {
    for (edge_bits, nonces) in [(1, 42), (29, 42), (31, 42), (63, 42), (10, 8), (13, 5)] {
        let network = Network { limits: Limits::new(250, nonces), ..Network::GRIN_MAIN };
        let judged = |bytes: &[u8]| check(Kind::Header, bytes, 1000, &network);
        let good = header_bytes(edge_bits, nonces.into());
        assert_eq!(judged(&good), Ok(()));
        let spare = good.len() * 8 - 247 * 8 - usize::from(edge_bits) * usize::from(nonces);
        for bit in 0..spare {
            let mut bad = good.clone();
            *bad.last_mut().unwrap() |= 0x80 >> bit;
            let error = DecodeError::SpareProofBits { bits: 0x80 >> bit };
            assert_eq!(judged(&bad), Err(error));
        }
    }
    for edge_bits in [0, 64, 255] {
        let mut header = header_bytes(29, 42);
        header[246] = edge_bits;
        let error = Err(DecodeError::BadEdgeBits { edge_bits });
        assert_eq!(judged(Kind::Header, 1000, &header), error);
    }
}

#[test]
fn payloads_end_with_their_last_field_and_other_messages_may_go_on() {
    let header = header_bytes(31, 42);
    let draft = Draft::of(2, 2, 2);
    let payloads = [
        (Kind::Header, header.clone()),
        (Kind::Block, [&header[..], &draft.bytes(1000)].concat()),
        (Kind::CompactBlock, compact_block(&header, 1, &draft, 1000)),
        (Kind::Transaction, draft.transaction(1000)),
        (Kind::StemTransaction, draft.transaction(1000)),
    ];
    for (kind, mut bytes) in payloads {
        assert_eq!(judged(kind, 1000, &bytes), Ok(()));
        bytes.extend([0; 3]);
        let trailing = Err(DecodeError::TrailingBytes { count: 3 });
        assert_eq!(judged(kind, 1000, &bytes), trailing, "{kind:?}");
        assert_eq!(check(kind, &bytes, 1000, &Network::DEV), Ok(()), "opaque {kind:?}");
    }
    assert_eq!(judged(Kind::Ping, 1000, &[0; 17]), Ok(()));
    assert_eq!(judged(Kind::GetBlock, 1000, &[0; 40]), Ok(()));
}

#[test]
fn lists_of_small_messages_are_refused_by_their_counts() {
    let error = |count, limit| Err(DecodeError::ListTooLong { count, limit });
    assert_eq!(judged(Kind::GetHeaders, 1000, &[21]), error(21, 20));
    assert_eq!(judged(Kind::PeerAddrs, 1000, &[0xff; 4]), error(u64::from(u32::MAX), 256));
}

#[test]
fn ban_reasons_without_a_code_are_none() {
    let context = Context { version: 1000, network: &Network::GRIN_MAIN };
    for body in [&[][..], &[0, 0]] {
        let message = Message::decode(Kind::BanReason, body, &context);
        assert_eq!(message, Ok(Message::BanReason(codec::BanReason::None)));
    }
    let error = Err(DecodeError::BadBanReason { code: -1 });
    assert_eq!(judged(Kind::BanReason, 1000, &[0xff; 4]), error);
    assert_eq!(
        judged(Kind::BanReason, 1000, &8_u32.to_be_bytes()),
        Err(DecodeError::BadBanReason { code: 8 })
    );
}

#[test]
fn ids_of_chains_with_other_proofs() {
    let network = Network { limits: Limits::new(250, 8), ..Network::GRIN_MAIN };
    let header = header_bytes(10, 8);
    let id = Hash::of(&header[247..]);
    assert_eq!(network.id(Kind::Header, &header), id);
    let block = [&header[..], &Draft::of(1, 1, 1).bytes(3)].concat();
    assert_eq!(network.id(Kind::Block, &block), id);
    assert_eq!(Network::GRIN_MAIN.id(Kind::Header, &header), Hash::of(&header));
}
