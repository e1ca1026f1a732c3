//! What is recorded is said again, and damage of any kind is noticed.

use codec::{Kind, Payload};
use proptest::prelude::*;

use super::*;
use crate::chain::{ChainTip, FromChain};
use crate::event::{ConnId, Credit};
use crate::record::Restored;

const CREDIT: Credit = Credit { frames: 256, items: 64, bytes: 1 << 20 };

fn feed(endpoint: &mut Endpoint, now: Instant, input: Input<'_>) -> Vec<Output> {
    endpoint.handle(now, input);
    std::iter::from_fn(|| endpoint.poll_output()).collect()
}

/// A conversation with an endpoint that is not recorded: a handshake, blocks, pings.
fn recording(bytes_max: u64) -> (Vec<u8>, bool) {
    let config = Config::small(Network::DEV);
    let mut ends = [
        Endpoint::recorded(config.clone(), [1; 32], bytes_max),
        Endpoint::new(config.clone(), [2; 32]),
    ];
    let (conn, addr) = (ConnId::new(0, 1), ([192, 0, 2, 1], 3414).into());
    let mut now = Instant::START;
    ends[0].advertise(7);
    feed(&mut ends[0], now, Input::Restored(Restored::default()));
    feed(&mut ends[0], now, Input::Hold { addr });
    let greeting = feed(&mut ends[0], now, Input::Dialed { conn, addr });
    feed(&mut ends[1], now, Input::Accepted { conn, addr });
    let mut wires = [frames(&greeting), Vec::new()];
    for turn in 0..40_u8 {
        for from in [0, 1] {
            let bytes = std::mem::take(&mut wires[from]);
            let received = Input::Received { conn, bytes: &bytes, credit: CREDIT };
            let outputs = feed(&mut ends[1 - from], now, received);
            wires[1 - from].extend(frames(&outputs));
        }
        let block = Payload::seal(&Network::DEV, Kind::Block, &[turn; 900]).expect("it is short");
        let tip = ChainTip { height: turn.into(), total_difficulty: turn.into() };
        let outputs = match turn % 4 {
            0 => feed(&mut ends[0], now, Input::FromChain(FromChain::Publish(block))),
            1 => feed(&mut ends[0], now, Input::Tip(tip)),
            _ => feed(&mut ends[0], now, Input::Timeout),
        };
        wires[0].extend(frames(&outputs));
        now = now.after(Duration::from_secs(1));
    }
    let mut bytes = Vec::new();
    let mut changes = Vec::new();
    ends[0].take_changes(16, &mut changes);
    assert!(!changes.is_empty());
    let goes_on = ends[0].take_recording(&mut bytes);
    (bytes, goes_on)
}

fn frames(outputs: &[Output]) -> Vec<u8> {
    let payloads = outputs.iter().filter_map(|output| match output {
        Output::Send { payload, .. } => Some(payload.frame()),
        _ => None,
    });
    payloads.flatten().copied().collect()
}

/// The same with some parts changed, and with checksums that are right.
fn forged(recording: &[u8], mut change: impl FnMut(u64, &mut Vec<u8>)) -> Vec<u8> {
    let mut forger = Recorder::new(&Config::small(Network::DEV), [0; 32], u64::MAX);
    (forger.bytes, forger.sum) = (MAGIC.to_vec(), 0);
    let mut parts = Parts { bytes: &recording[MAGIC.len()..], sum: 0, count: 0 };
    while let Ok(Some(part)) = parts.next() {
        forger.call = part.to_vec();
        change(parts.count - 1, &mut forger.call);
        forger.close();
    }
    forger.bytes
}

#[test]
fn what_was_recorded_is_said_again() {
    let (bytes, goes_on) = recording(u64::MAX);
    let same = replay(&bytes).expect("an endpoint does the same each time");
    assert!(goes_on && !same.is_cut);
    assert!(same.calls > 80 && same.outputs > 20, "{same:?}");
    assert_eq!(same.lasted, Duration::from_secs(39));
    assert_eq!(forged(&bytes, |_, _| {}), bytes);
}

#[test]
fn other_outputs_are_told_with_what_led_to_them() {
    let (bytes, _) = recording(u64::MAX);
    let seed_is_last = |part: &mut Vec<u8>| *part.last_mut().expect("a head") ^= 1;
    let other_seed = forged(&bytes, |n, part| {
        if n == 0 {
            seed_is_last(part)
        }
    });
    let Err(RecordingError::Differs(difference)) = replay(&other_seed) else {
        panic!("another seed greets with another nonce");
    };
    let words = difference.to_string();
    assert!(difference.calls.last().is_some_and(|call| call.contains("Dialed")), "{words}");
    assert!(words.contains("recorded:") && words.contains("replayed:"), "{words}");
    // A bit of the last block that was published.
    let blocks = |n: u64, part: &mut Vec<u8>| {
        if n > 60 && part.windows(9).any(|window| window == [36; 9]) {
            let last = part.iter().rposition(|byte| *byte == 36).expect("a block");
            part[last] ^= 1;
        }
    };
    assert!(matches!(replay(&forged(&bytes, blocks)), Err(RecordingError::Differs(_))));
}

#[test]
fn a_call_that_was_not_survived_is_made_again() {
    let (bytes, _) = recording(u64::MAX);
    // Time, which call, and which input: without what came of it.
    let timeout = [calls::INPUT, 21];
    let mut broken_off = 0;
    let forged = forged(&bytes, |_, part| {
        if part[8..].starts_with(&timeout) {
            part.truncate(10);
            broken_off += 1;
        }
    });
    assert!(broken_off >= 20);
    let (whole, forged) = (replay(&bytes), replay(&forged));
    assert_eq!(forged.expect("the rest is the same"), whole.expect("it is whole"));
}

#[test]
fn other_things_are_no_recordings() {
    assert!(matches!(replay(b""), Err(RecordingError::Foreign)));
    assert!(matches!(replay(b"molvarc\x02"), Err(RecordingError::Foreign)));
    assert!(matches!(replay(&MAGIC), Err(RecordingError::Damaged { call: 0 })));
    let (bytes, _) = recording(u64::MAX);
    let older = forged(&bytes, |n, part| {
        if n == 0 {
            part[8] = b'x'
        }
    });
    let Err(error) = replay(&older) else { panic!("another version") };
    assert!(error.to_string().starts_with("recorded by version x"), "{error}");
}

#[test]
fn a_recording_ends_when_there_is_no_more_room() {
    let (whole, _) = recording(u64::MAX);
    for bytes_max in [0, 100, 4_000, whole.len() as u64 - 1] {
        let (bytes, goes_on) = recording(bytes_max);
        assert!(!goes_on && bytes.len() as u64 <= bytes_max.max(MAGIC.len() as u64));
        assert!(whole.starts_with(&bytes));
        assert!(replay(&bytes).is_ok() || bytes.len() <= 100);
    }
    assert!(recording(whole.len() as u64).1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_is_noticed(place in any::<prop::sample::Index>(), bit in 0..8) {
        let (mut bytes, _) = recording(u64::MAX);
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        // A length that is too great ends beyond the end.
        prop_assert!(replay(&bytes).map_or(true, |replay| replay.is_cut), "at {place}");
    }

    #[test]
    fn what_is_cut_off_is_said_again_as_far_as_it_goes(place in any::<prop::sample::Index>()) {
        let (bytes, _) = recording(u64::MAX);
        let whole = replay(&bytes).expect("it is whole");
        match replay(&bytes[..place.index(bytes.len())]) {
            Ok(replay) => prop_assert!(replay.calls < whole.calls),
            Err(RecordingError::Foreign | RecordingError::Damaged { call: 0 }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fail(
        part in 0..120_u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (bytes, _) = recording(u64::MAX);
        forged(&bytes, |n, bytes| {
            if n == part {
                let count = bytes.len();
                changes.iter().for_each(|(at, byte)| bytes[at.index(count)] = *byte);
                let lent = OnceCell::new();
                let reader = || Reader { bytes, network: &Network::DEV, lent: &lent };
                let _ = Config::read(&mut reader());
                let _ = call_of(&mut reader());
                let _ = Output::read(&mut reader());
                let _ = Change::read(&mut reader());
            }
        });
    }
}
