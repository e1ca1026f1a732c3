//! Blocks in a row: whom they are asked of, and what comes of it.

use codec::{Envelope, Kind, Message, Packing};
use peer::{Credit, Freshness, FromChain, Input, ToChain, Verdict};

use super::crew::{Crew, block, id};
use crate::solo::{NET, Solo, UNLIMITED, hash, message, passive, source};

#[test]
fn blocks_come_in_order_whoever_is_first_and_however_small_the_credits_are() {
    let mut crew = Crew::new();
    let [a, b] = [0, 1].map(|index| crew.join(index, 100));
    crew.fetch(1..=8);
    let asked = crew.asked();
    assert_eq!(asked.iter().map(|(.., count)| count).sum::<u64>(), 8, "{asked:?}");
    let of = |conn| {
        let mine = asked.iter().filter(move |(to, ..)| *to == conn);
        mine.flat_map(|(_, first, count)| *first..first + count).collect::<Vec<u64>>()
    };
    let (late, early) = if of(a).contains(&1) { (a, b) } else { (b, a) };
    let none = Credit { items: 0, ..UNLIMITED };
    assert_eq!(crew.receive_with(early, block(of(early)[0]).frame(), none), 0, "no room");
    crew.give(early, of(early));
    let before = of(late).len() as u64;
    for height in of(late) {
        let one = Credit { items: 1, ..UNLIMITED };
        assert!(crew.receive_with(late, block(height).frame(), one) > 0);
    }
    let some = crew.rows();
    assert!(some.len() < 8 && crew.solo.endpoint.wants_room(), "{some:?} {before}");
    let mut rows = some;
    for _ in 0..8 {
        crew.room(Credit { items: 1, frames: 0, bytes: 1_100 });
        rows.extend(crew.rows());
    }
    assert_eq!(rows, (1..=8).collect::<Vec<i64>>());
    assert!(!crew.solo.endpoint.wants_room());
    let counts = crew.solo.endpoint.counts();
    assert_eq!((counts.blocks_late, counts.blocks_hedged, counts.blocks_reassigned), (0, 0, 0));
}

/// A peer that was asked for blocks 1 to 4, and another that was asked for nothing.
fn pair(crew: &mut Crew) -> [peer::ConnId; 2] {
    let a = crew.join(0, 100);
    crew.fetch(1..=4);
    assert_eq!(crew.asked(), [(a, 1, 4)]);
    let b = crew.join(1, 100);
    crew.wait(1_100);
    assert_eq!(crew.asked(), []);
    [a, b]
}

#[test]
fn what_a_peer_that_left_was_to_give_is_asked_of_another_at_once() {
    let mut crew = Crew::new();
    let [a, b] = pair(&mut crew);
    crew.leave(a);
    assert_eq!(crew.asked(), [(b, 1, 4)]);
    crew.give(b, 1..=4);
    assert_eq!(crew.rows(), [1, 2, 3, 4]);
    assert_eq!(crew.solo.endpoint.counts().blocks_reassigned, 4);
}

#[test]
fn what_one_does_not_have_is_asked_of_another_and_what_nobody_has_is_missing_once() {
    let mut crew = Crew::new();
    let [a, b] = pair(&mut crew);
    crew.give(a, [1]);
    crew.refuse(a, 2);
    assert_eq!(crew.asked(), [(b, 2, 1)]);
    crew.give(a, [3, 4]);
    crew.refuse(b, 2);
    crew.wait(100);
    assert_eq!(crew.rows(), [1, -2, 3, 4]);
    crew.wait(60_000);
    assert_eq!((crew.rows(), crew.asked()), (vec![], vec![]));
}

#[test]
fn without_anybody_a_block_is_waited_for_a_while_and_then_missing() {
    let mut crew = Crew::new();
    let low = crew.join(0, 5);
    crew.fetch(6..=7);
    crew.wait(9_000);
    assert_eq!((crew.asked(), crew.rows()), (vec![], vec![]), "its height is below");
    crew.wait(2_000);
    assert_eq!(crew.rows(), [-6]);
    crew.receive(low, &crate::solo::ping(100));
    crew.wait(1_100);
    assert_eq!(crew.asked(), [(low, 7, 1)]);
}

#[test]
fn who_is_late_has_one_block_in_flight_until_it_proves_itself() {
    let mut crew = Crew::new();
    let a = crew.join(0, 100);
    crew.fetch(1..=50);
    assert_eq!(crew.asked(), [(a, 1, 4)]);
    crew.wait(4_900);
    assert_eq!(crew.asked(), []);
    crew.wait(200);
    assert_eq!(crew.asked(), [(a, 1, 1)], "there is nobody else");
    crew.give(a, [1]);
    assert_eq!(crew.rows(), [1]);
    assert!(crew.asked().iter().map(|(.., count)| count).sum::<u64>() >= 4);
    assert!(crew.solo.is_here(a));
}

#[test]
fn who_gives_nothing_again_and_again_rests_longer_each_time_and_is_never_closed() {
    let mut crew = Crew::new();
    let a = crew.join(0, 100);
    crew.fetch(1..=1);
    let mut times = Vec::new();
    for second in 0..300 {
        if !crew.asked().is_empty() {
            times.push(second);
        }
        crew.wait(1_000);
    }
    let gaps: Vec<i32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(times.len(), 5, "{times:?}");
    assert!(gaps.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert_eq!(crew.rows(), [-1], "as often as it was let pass");
    assert!(crew.solo.is_here(a));
}

#[test]
fn an_idle_peer_is_asked_for_what_another_is_late_with_and_the_second_answer_is_dropped() {
    let mut crew = Crew::new();
    let [a, b] = pair(&mut crew);
    crew.wait(1_000);
    assert_eq!(crew.asked(), [(b, 1, 4)]);
    assert_eq!(crew.solo.endpoint.counts().blocks_hedged, 4);
    crew.give(b, [1, 2]);
    crew.give(a, 1..=4);
    crew.give(b, [3, 4]);
    assert_eq!(crew.rows(), [1, 2, 3, 4]);
    let counts = crew.solo.endpoint.counts();
    assert_eq!((counts.blocks_late, counts.duplicates), (4, 4));
    assert!(counts.duplicate_bytes >= 4_000);
}

#[test]
fn no_block_beyond_the_window_is_asked_for() {
    let mut crew = Crew::with(|config| config.sync.window_blocks = 8);
    let [a, b] = pair(&mut crew);
    crew.fetch(5..=100);
    crew.wait(3_000);
    let mut top = 0;
    for _ in 0..20 {
        for (conn, first, count) in crew.questions() {
            top = top.max(first + count - 1);
            crew.give(conn, (first..first + count).filter(|height| *height != 1));
        }
    }
    assert_eq!((top, crew.rows()), (8, vec![]), "the first lacks");
    crew.give(b, [1]);
    crew.give(a, [1]);
    assert_eq!(crew.rows(), (1..=8).collect::<Vec<i64>>());
}

#[test]
fn what_is_held_has_no_more_bytes_than_the_window() {
    let bytes = block(1).frame().len();
    let mut crew = Crew::with(|config| config.sync.window_bytes = 3 * bytes);
    let a = crew.join(0, 100);
    crew.fetch(1..=50);
    assert_eq!(crew.asked(), [(a, 1, 1)], "it may be large");
    crew.give(a, [1]);
    let mut most = 0;
    for _ in 0..200 {
        let asked = crew.questions();
        let heights: Vec<u64> = asked.iter().flat_map(|(_, h, n)| *h..h + n).collect();
        most = most.max(heights.len());
        crew.give(a, heights);
    }
    assert_eq!(crew.rows(), (1..=50).collect::<Vec<i64>>());
    assert!((2..=3).contains(&most), "{most}");
}

#[test]
fn no_more_peers_are_asked_than_may_be() {
    let mut crew = Crew::with(|config| config.sync.peers = 2);
    for index in 0..6 {
        crew.join(index, 100);
    }
    crew.fetch(1..=50);
    let asked: Vec<_> = crew.asked().into_iter().map(|(conn, ..)| conn).collect();
    assert_eq!(asked.len(), 2);
    crew.wait(3_000);
    assert!(crew.asked().iter().all(|(conn, ..)| asked.contains(conn)));
}

#[test]
fn so_many_refusals_are_enough() {
    let mut crew = Crew::new();
    for index in 0..40 {
        crew.join(index, 100);
    }
    crew.fetch(1..=1);
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..60 {
        for (conn, ..) in crew.asked() {
            assert!(asked.insert(conn), "once");
            crew.refuse(conn, 1);
        }
        crew.wait(1_100);
    }
    assert_eq!((asked.len(), crew.rows()), (32, vec![-1]));
}

#[test]
fn what_was_cancelled_is_not_asked_for_and_not_delivered() {
    let mut crew = Crew::new();
    let a = crew.join(0, 100);
    crew.fetch(1..=40);
    crew.give(a, [2]);
    crew.asked();
    crew.command(FromChain::CancelBlocks);
    crew.give(a, [1, 3]);
    assert_eq!((crew.rows(), crew.asked()), (vec![], vec![]));
    assert_eq!(crew.solo.endpoint.counts().blocks_late, 2);
    crew.fetch(61..=62);
    crew.wait(10);
    assert_eq!(crew.asked(), [(a, 61, 2)]);
    crew.give(a, [61, 62]);
    assert_eq!(crew.rows(), [61, 62]);
}

#[test]
fn lower_blocks_come_before_those_that_are_wanted() {
    let mut crew = Crew::new();
    let a = crew.join(0, 100);
    crew.fetch(11..=12);
    crew.fetch(10..=10);
    crew.fetch(11..=13);
    assert_eq!(crew.asked(), [(a, 11, 2), (a, 10, 1), (a, 13, 1)]);
    crew.give(a, [11, 12, 10]);
    assert_eq!(crew.rows(), [10, 11, 12], "the same are not wanted twice");
}

#[test]
fn who_answers_with_another_block_gains_nothing() {
    let mut crew = Crew::new();
    let [a, b] = pair(&mut crew);
    crew.receive(a, block(77).frame());
    let told = crew.told();
    assert!(
        told.iter()
            .any(|event| matches!(event, ToChain::Payload { freshness: Freshness::New, .. })),
        "the chain may judge it: {told:?}"
    );
    let command =
        FromChain::Verdict { from: source(a), payload: block(77), verdict: Verdict::Invalid };
    crew.command(command);
    assert_eq!(crew.asked(), [(b, 1, 4)]);
    assert_eq!(crew.closed, [a]);
}

#[test]
fn many_are_asked_for_at_once_where_that_is_understood_and_ten_at_most_elsewhere() {
    for plain in [false, true] {
        let mut crew = Crew::new();
        let a = if plain { crew.join_plain(0, 3_000) } else { crew.join(0, 3_000) };
        crew.fetch(1..=2_000);
        let (mut in_flight, mut most, mut longest) = (Vec::new(), 0, 0);
        for _ in 0..1_000 {
            for (_, first, count) in crew.questions() {
                in_flight.extend(first..first + count);
                longest = longest.max(count);
            }
            most = most.max(in_flight.len());
            let next = in_flight.remove(0);
            crew.solo.now = crew.solo.now.after(crate::solo::millis(1));
            crew.give(a, [next]);
        }
        let expected = if plain { (10, 1) } else { (256, 32) };
        assert_eq!((most, longest), expected);
    }
}

#[test]
fn a_range_that_was_cut_short_is_asked_for_again() {
    let mut crew = Crew::new();
    let a = crew.join(0, 3_000);
    crew.fetch(1..=2_000);
    let mut in_flight = Vec::new();
    for _ in 0..300 {
        in_flight.extend(crew.questions());
        if in_flight.is_empty() {
            crew.wait(1_000);
            continue;
        }
        let (_, first, count) = in_flight.remove(0);
        crew.solo.now = crew.solo.now.after(crate::solo::millis(1));
        // All but the last of a longer one.
        crew.give(a, first..first + if count > 2 { count - 1 } else { count });
    }
    let rows = crew.rows();
    assert!(rows.len() > 1_000 && rows.is_sorted(), "{}", rows.len());
    assert_eq!(crew.solo.endpoint.counts().blocks_late, 0);
}

#[test]
fn an_envelope_is_held_as_what_it_says_to_hold() {
    let mut crew = Crew::new();
    let a = crew.join(0, 100);
    crew.fetch(1..=2);
    let second = block(2);
    let envelope = Envelope {
        kind: Kind::Block,
        packing: Packing::Stored,
        plain_bytes: second.body().len() as u32,
        id: id(2),
        data: second.body(),
    };
    crew.receive(a, &message(&Message::Packed(envelope)));
    assert_eq!(crew.told(), []);
    crew.give(a, [1]);
    let told = crew.told();
    let [_, ToChain::Payload { payload, freshness: Freshness::Next, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(payload.envelope().map(|(kind, id, _)| (kind, id)), Some((Kind::Block, id(2))));
}

#[test]
fn who_is_not_read_is_not_late() {
    let mut crew = Crew::new();
    let a = crew.join(0, 100);
    crew.fetch(1..=4);
    crew.asked();
    crew.solo.handle(Input::Paused { conn: a });
    crew.wait(30_000);
    assert_eq!(crew.asked(), []);
    crew.solo.handle(Input::Resumed { conn: a });
    crew.give(a, 1..=4);
    assert_eq!(crew.rows(), [1, 2, 3, 4]);
    assert_eq!(crew.solo.endpoint.counts().blocks_reassigned, 0);
}

#[test]
fn a_height_beyond_all_numbers_is_no_fault_of_the_core() {
    let mut solo = Solo::new(passive(NET), 1);
    let ids = [hash(1), hash(2)].into();
    solo.handle(Input::FromChain(FromChain::FetchBlocks { height: u64::MAX, ids }));
}
