//! Bytes without sense: they end their own connection at most, once, and touch no other.

use codec::{Kind, Message, Network};
use peer::{Config, ConnId, Credit, Input, Instant};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::solo::{
    Out, Solo, UNLIMITED, hand, message, ping, raw_frame, recipients, secs, sent_kinds, transaction,
};

/// Bytes at random, frames with random bodies, and frames that are cut short.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let bytes = vec(any::<u8>(), 0..60);
    let kind = prop_oneof![4 => 0..32u8, 1 => any::<u8>()];
    let frame = (kind.clone(), vec(any::<u8>(), 0..90)).prop_map(|(k, body)| raw_frame(k, &body));
    let short = (kind, any::<u8>(), vec(any::<u8>(), 0..20)).prop_map(|(kind, more, body)| {
        let mut frame = raw_frame(kind, &body);
        frame[10] = frame[10].wrapping_add(more);
        frame
    });
    let greeting = Just(message(&Message::Hand(hand())));
    prop_oneof![2 => bytes, 6 => frame, 2 => short, 1 => greeting]
}

fn credit() -> impl Strategy<Value = Credit> {
    (0..4u32, 0..4u32, 0..200usize).prop_map(|(frames, items, bytes)| Credit {
        frames,
        items,
        bytes,
    })
}

/// One scenario: what a hostile peer sends, in which parts and with which credits.
#[derive(Clone, Debug)]
struct Hostile {
    greets: bool,
    outbound: bool,
    stream: Vec<u8>,
    cuts: Vec<usize>,
    credits: Vec<Credit>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let stream = vec(nonsense(), 1..12).prop_map(|pieces| pieces.concat());
    let (cuts, credits) = (vec(1..80usize, 1..20), vec(credit(), 1..20));
    (any::<bool>(), any::<bool>(), stream, cuts, credits).prop_map(
        |(greets, outbound, stream, cuts, credits)| Hostile {
            greets,
            outbound,
            stream,
            cuts,
            credits,
        },
    )
}

/// Rewrites the frames that tests write for the development network.
fn on(network: &Network, mut bytes: Vec<u8>) -> Vec<u8> {
    let magic = crate::solo::NET.magic;
    for start in 0..bytes.len().saturating_sub(1) {
        if bytes[start..start + 2] == magic {
            bytes[start..start + 2].copy_from_slice(&network.magic);
        }
    }
    bytes
}

/// Plays the scenario beside an honest peer; gives all that came out.
fn play(solo: &mut Solo, network: &Network, hostile: &Hostile) -> (ConnId, Vec<Out>) {
    let conn =
        if hostile.outbound && !hostile.greets { solo.dial(1).0 } else { solo.accepted(1, 1) };
    let mut outputs = Vec::new();
    if hostile.greets {
        let genesis = network.genesis;
        let greeting = message(&Message::Hand(codec::Hand { genesis, ..hand() }));
        outputs.extend(solo.receive(conn, &on(network, greeting)));
    }
    let stream = on(network, hostile.stream.clone());
    let (mut start, mut end) = (0, 0);
    let mut cuts = hostile.cuts.iter().cycle();
    for credit in hostile.credits.iter().cycle().take(1_000) {
        end = (end + cuts.next().unwrap()).min(stream.len());
        let bytes = &stream[start..end];
        let (consumed, out) = solo.step(Input::Received { conn, bytes, credit: *credit });
        assert!(consumed <= bytes.len());
        start += consumed;
        outputs.extend(out);
        if start == stream.len() {
            break;
        }
    }
    let (_, out) = solo.step(Input::Received { conn, bytes: &stream[start..], credit: UNLIMITED });
    outputs.extend(out);
    (conn, outputs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn garbage_ends_its_own_connection_at_most(
        network in prop::sample::select(vec![Network::DEV, Network::GRIN_MAIN]),
        hostile in hostile(),
    ) {
        let mut solo = Solo::new(Config::small(network.clone()), 1);
        let honest = solo.accepted(0, 1);
        let genesis = network.genesis;
        let greeting = message(&Message::Hand(codec::Hand { genesis, ..hand() }));
        solo.receive(honest, &on(&network, greeting));

        let (conn, outputs) = play(&mut solo, &network, &hostile);
        let closes = outputs.iter().filter(|output| matches!(output, Out::Close(..)));
        prop_assert!(closes.count() <= 1, "{outputs:?}");
        if let Some(place) = outputs.iter().position(|output| matches!(output, Out::Close(..))) {
            prop_assert_eq!(place + 1, outputs.len(), "something came after the end");
            prop_assert!(!solo.is_here(conn));
        }
        let named: Vec<ConnId> = outputs.iter().flat_map(recipients).collect();
        prop_assert!(named.iter().all(|named| *named == conn), "{outputs:?}");

        prop_assert!(solo.is_here(honest));
        let kinds = sent_kinds(&solo.receive(honest, &on(&network, ping(1))));
        prop_assert_eq!(kinds[0], Kind::Pong);
        if network == Network::DEV {
            let new = transaction(0xdead_beef);
            let events = solo.receive(honest, new.frame());
            prop_assert!(matches!(&events[..], [Out::ToChain(_)]), "{events:?}");
        }
        if solo.is_here(conn) {
            solo.leave(conn);
        }
        prop_assert_eq!(solo.endpoint.counts().assembly_bytes, 0);
        prop_assert_eq!(solo.endpoint.counts().closed.iter().sum::<u64>(), 1);
    }
}

#[test]
fn time_passes_over_garbage_without_a_second_end() {
    for length in 1..40 {
        let mut solo = Solo::small();
        let conn = solo.join(0);
        let mut closed = 0;
        let bytes: Vec<u8> = raw_frame(15, &[0; 60])[..length].to_vec();
        for _ in 0..3 {
            let outputs = solo.receive(conn, &bytes);
            let later = solo.run_for(secs(120)).into_iter().map(|(_, output)| output);
            let all = outputs.into_iter().chain(later);
            closed += all.filter(|output| matches!(output, Out::Close(..))).count();
        }
        assert_eq!(closed, 1, "{length} bytes");
        assert!(solo.now > Instant::START);
    }
}
