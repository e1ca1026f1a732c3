//! What is announced is told once, and fetched from one after the other.

use codec::{Item, Kind, Message, Payload};
use peer::{ConnId, Freshness, Input, Instant, REQUESTS_PER_PEER_MAX, ToChain, Verdict};

use super::*;
use crate::solo::{hash, millis};

/// All of these announce it, and the chain wants it.
fn wanted<const N: usize>(solo: &mut Solo, conns: [ConnId; N], block: &Payload) -> ConnId {
    for (index, conn) in conns.into_iter().enumerate() {
        let outputs = solo.receive(conn, &have(&[offer(block)]));
        let first = [announced(conn, item(block))];
        assert_eq!(outputs, if index == 0 { &first[..] } else { &[] });
    }
    let outputs = fetch(solo, item(block));
    let [first] = asked(&outputs)[..] else { panic!("{outputs:?}") };
    first
}

#[test]
fn of_many_who_announce_one_is_asked() {
    let mut solo = solo();
    let conns: [ConnId; 20] = extended(&mut solo);
    let block = block(1);
    let first = wanted(&mut solo, conns, &block);
    assert_eq!(fetch(&mut solo, item(&block)), [], "it is under way");
    assert_eq!(solo.receive(first, block.frame()), [requested(first, &block)]);
    assert_eq!(asked(&run(&mut solo, secs(5))), []);
    solo.judge(first, &block, Verdict::Accept);
    assert_eq!(turn(&mut solo), [], "all have it");
    let counts = solo.endpoint.counts();
    assert_eq!((counts.by_kind[1].twice, counts.duplicates), (0, 0));
}

#[test]
fn who_is_late_is_hedged_and_its_late_answer_is_a_duplicate() {
    let mut solo = solo();
    let conns: [ConnId; 5] = extended(&mut solo);
    let block = block(1);
    let first = wanted(&mut solo, conns, &block);
    let second = asked(&run(&mut solo, millis(2_500)));
    let [second] = second[..] else { panic!("{second:?}") };
    assert_ne!(first, second);
    let third = asked(&run(&mut solo, millis(2_500)));
    assert_eq!(third.len(), 1);
    assert_eq!(solo.receive(second, block.frame()), [requested(second, &block)]);
    for late in [first, third[0]] {
        assert_eq!(solo.receive(late, block.frame()), [], "it is here");
    }
    assert_eq!(asked(&run(&mut solo, secs(9))), []);
    assert_eq!(solo.endpoint.counts().by_kind[1].twice, 2 * block.frame().len() as u64);
}

/// When each of these outputs asked somebody, and whom.
fn asked_at(solo: &mut Solo, wait: Duration) -> Vec<(Instant, ConnId)> {
    let outputs = solo.run_for(wait).into_iter();
    outputs.flat_map(|(at, output)| asked(&[output]).into_iter().map(move |it| (at, it))).collect()
}

#[test]
fn who_is_silent_keeps_nobody_from_being_asked_and_then_it_is_missing() {
    let mut solo = solo();
    let conns: [ConnId; 8] = extended(&mut solo);
    let block = block(1);
    let first = wanted(&mut solo, conns, &block);
    let more = asked_at(&mut solo, secs(30));
    let seconds: Vec<u64> = more.iter().map(|(at, _)| at.micros() / 1_000_000).collect();
    // Three may be slow because we are: the others have longer.
    assert_eq!(seconds, [2, 4, 6, 11, 16, 21, 26]);
    let mut all: Vec<ConnId> = more.iter().map(|(_, conn)| *conn).chain([first]).collect();
    all.sort();
    assert_eq!(all, conns, "each once");
    assert_eq!(room(&mut solo), []);
    run(&mut solo, secs(12));
    assert_eq!(room(&mut solo), [missing(item(&block))]);
    let again = solo.receive(conns[7], &have(&[offer(&block)]));
    assert_eq!(again, [announced(conns[7], item(&block))], "it may come up again");
}

#[test]
fn who_had_its_time_may_still_answer_and_the_others_need_not_any_more() {
    let mut solo = solo();
    let conns: [ConnId; 6] = extended(&mut solo);
    let block = block(1);
    let first = wanted(&mut solo, conns, &block);
    let more = asked(&run(&mut solo, secs(12)));
    assert_eq!(more.len(), 4);
    assert_eq!(solo.receive(first, block.frame()), [requested(first, &block)]);
    for late in more {
        assert_eq!(solo.receive(late, block.frame()), [], "it is here");
    }
    assert_eq!(asked(&run(&mut solo, secs(40))), []);
    assert_eq!(room(&mut solo), []);
}

#[test]
fn who_announces_it_in_the_last_wait_is_asked() {
    let mut solo = solo();
    let conns: [ConnId; 3] = extended(&mut solo);
    let block = block(1);
    wanted(&mut solo, conns, &block);
    assert_eq!(asked(&run(&mut solo, secs(8))).len(), 2);
    for conn in conns {
        assert_eq!(solo.receive(conn, &have(&[offer(&block)])), [], "they said so already");
    }
    let busy = join_extended(&mut solo, 3, 1);
    for number in 0..REQUESTS_PER_PEER_MAX {
        let request = Request::Block(super::block(100 + number as u32).id());
        solo.handle(Input::FromChain(FromChain::Request { to: busy, request }));
        turn(&mut solo);
    }
    assert_eq!(solo.receive(busy, &have(&[offer(&block)])), [], "the wait goes on");
    let late = join_extended(&mut solo, 4, 1);
    assert_eq!(solo.receive(late, &have(&[offer(&block)])), []);
    assert_eq!(asked(&turn(&mut solo)), [late]);
    assert_eq!(solo.receive(late, block.frame()), [requested(late, &block)]);
    assert_eq!(room(&mut solo), []);
}

#[test]
fn a_false_length_changes_neither_who_is_asked_nor_when() {
    let times = |word: u32| {
        let mut solo = solo();
        let conns: [ConnId; 4] = extended(&mut solo);
        let block = block(1);
        let [liar, honest @ ..] = conns;
        solo.receive(liar, &have(&[Offer { item: item(&block), bytes: word }]));
        for conn in honest {
            solo.receive(conn, &have(&[Offer { item: item(&block), bytes: 400_000 }]));
        }
        let first = asked(&fetch(&mut solo, item(&block)));
        (first, asked_at(&mut solo, secs(40)))
    };
    let told = times(400_000);
    assert_eq!(told.1.len(), 3);
    let most = NET.limits.body_bytes_max(Kind::Block) as u32;
    for word in [0, 1, most] {
        assert_eq!(times(word), told, "{word}");
    }
}

#[test]
fn who_is_gone_or_has_it_not_is_followed_at_once() {
    let mut solo = solo();
    let conns: [ConnId; 4] = extended(&mut solo);
    let block = block(1);
    let mut now = wanted(&mut solo, conns, &block);
    let mut seen = vec![now];
    for gone in [true, false] {
        let outputs = if gone {
            let reason = peer::CloseReason::RemoteClosed;
            solo.handle(Input::Closed { conn: now, reason })
        } else {
            solo.receive(now, &not_found(&[item(&block)]))
        };
        assert_eq!(outputs, []);
        let next = asked(&turn(&mut solo));
        let [next] = next[..] else { panic!("{next:?}") };
        assert!(!seen.contains(&next));
        now = next;
        seen.push(now);
    }
    solo.receive(now, &not_found(&[item(&block)]));
    let [last] = asked(&turn(&mut solo))[..] else { panic!("one is left") };
    let outputs = solo.receive(last, &not_found(&[item(&block)]));
    assert_eq!(outputs, [missing(item(&block))]);
    assert_eq!(fetch(&mut solo, item(&block)), []);
    assert_eq!(room(&mut solo), [missing(item(&block))], "nobody has said that it has it");
}

#[test]
fn a_refusal_that_nobody_asked_for_changes_nothing() {
    let mut solo = solo();
    let conns: [ConnId; 3] = extended(&mut solo);
    let block = block(1);
    let first = wanted(&mut solo, conns, &block);
    let other = conns.into_iter().find(|conn| *conn != first).unwrap();
    solo.receive(other, &not_found(&[item(&block), item(&super::block(7))]));
    assert_eq!(turn(&mut solo), []);
    assert_eq!(solo.receive(first, block.frame()), [requested(first, &block)]);
}

#[test]
fn an_announcement_to_a_hungry_fetch_is_followed_at_once() {
    let mut solo = solo();
    let [a, b] = extended(&mut solo);
    let block = block(1);
    assert_eq!(wanted(&mut solo, [a], &block), a);
    run(&mut solo, secs(3));
    solo.receive(b, &have(&[offer(&block)]));
    assert_eq!(asked(&turn(&mut solo)), [b]);
}

#[test]
fn a_body_that_comes_unasked_ends_the_search() {
    let mut solo = solo();
    let [a, b, c] = extended(&mut solo);
    let small = transaction(1);
    assert_eq!(wanted(&mut solo, [a, b], &small), a);
    let from = source(c);
    let event = ToChain::Payload { from, payload: small.clone(), freshness: Freshness::New };
    assert_eq!(solo.receive(c, small.frame()), [Out::ToChain(event)]);
    assert_eq!(asked(&run(&mut solo, secs(30))), []);
    assert_eq!(solo.receive(a, small.frame()), [], "nobody waits for it");
    assert_eq!(room(&mut solo), []);
}

#[test]
fn what_is_at_the_chain_is_no_news_and_what_it_refuses_may_come_from_others() {
    let mut solo = solo();
    let [a, b, c] = extended(&mut solo);
    let small = transaction(1);
    solo.receive(a, small.frame());
    assert_eq!(solo.receive(b, &have(&[offer(&small)])), []);
    solo.judge(a, &small, Verdict::Invalid);
    assert_eq!(asked(&fetch(&mut solo, item(&small))), [b], "if the chain wants it all the same");
    solo.receive(b, &not_found(&[item(&small)]));
    assert_eq!(room(&mut solo), []);
    assert_eq!(solo.receive(c, &have(&[offer(&small)])), [announced(c, item(&small))]);
}

#[test]
fn the_faster_one_is_asked_and_one_that_we_dialled_before_all_others() {
    let mut solo = solo();
    let conns: [ConnId; 3] = extended(&mut solo);
    let slow = conns[0];
    let first = block(1);
    assert_eq!(wanted(&mut solo, [slow], &first), slow);
    run(&mut solo, millis(1_900));
    solo.receive(slow, first.frame());
    let second = block(2);
    assert_eq!(wanted(&mut solo, [slow, conns[1]], &second), conns[1]);
    let (dialed, _) = solo.dial(5);
    let shake = crate::solo::shake();
    solo.receive(dialed, &message(&Message::Shake(shake)));
    // It speaks no extension, and so announces by the block's header or the hash of a kernel.
    let third = transaction(3);
    let kernel = message(&Message::TransactionKernel(third.id()));
    solo.receive(conns[1], &have(&[offer(&third)]));
    solo.receive(dialed, &kernel);
    assert_eq!(asked(&fetch(&mut solo, item(&third))), [dialed]);
}

#[test]
fn who_can_be_asked_no_more_is_passed_over() {
    let mut solo = solo();
    let [busy, free] = extended(&mut solo);
    for number in 0..REQUESTS_PER_PEER_MAX {
        let request = Request::Block(block(100 + number as u32).id());
        let ask = FromChain::Request { to: busy, request };
        solo.handle(Input::FromChain(ask));
        turn(&mut solo);
    }
    let block = block(1);
    assert_eq!(wanted(&mut solo, [busy, free], &block), free);
}

#[test]
fn a_hostile_announcer_pushes_out_its_own_words_only() {
    let mut solo = solo();
    let conns: [ConnId; 70] = extended(&mut solo);
    let (honest, block) = (conns[0], block(1));
    solo.receive(honest, &have(&[offer(&block)]));
    let mut told = 0;
    for (round, conn) in conns[1..].iter().enumerate() {
        let fakes: Vec<Offer> = (0..1_024_u32)
            .map(|number| {
                let id = Hash::of(&[round as u32, number].map(u32::to_be_bytes).concat());
                Offer { item: Item { kind: Kind::Block, id }, bytes: 1 }
            })
            .collect();
        told += solo.receive(*conn, &have(&fakes)).len();
    }
    assert_eq!(told, 69 * 1_024);
    assert_eq!(asked(&fetch(&mut solo, item(&block))), [honest]);
    assert_eq!(solo.receive(honest, block.frame()), [requested(honest, &block)]);
}

#[test]
fn announcements_wait_for_the_chain_within_bounds() {
    let mut solo = solo();
    let [a] = extended(&mut solo);
    let offers: Vec<Offer> = (0..6_000_u32)
        .map(|number| {
            let id = Hash::of(&number.to_be_bytes());
            Offer { item: Item { kind: Kind::Transaction, id }, bytes: 9_000 }
        })
        .collect();
    for offers in offers.chunks(1_000) {
        let credit = peer::Credit { frames: 256, items: 0, bytes: 0 };
        let bytes = have(offers);
        assert_eq!(solo.step(Input::Received { conn: a, bytes: &bytes, credit }).0, bytes.len());
    }
    assert!(solo.endpoint.wants_room());
    assert_eq!(room(&mut solo).len(), 4_096, "the others were passed over");
    assert_eq!(room(&mut solo), []);
    let last = offers[5_999];
    assert_eq!(solo.receive(a, &have(&[last])), [announced(a, last.item)], "and may come again");
}

#[test]
fn nothing_is_asked_for_while_we_shut_down() {
    let mut solo = solo();
    let conns: [ConnId; 4] = extended(&mut solo);
    wanted(&mut solo, conns, &block(1));
    let outputs = solo.handle(Input::Shutdown);
    assert_eq!(asked(&outputs), []);
    assert_eq!(asked(&turn(&mut solo)), []);
}

#[test]
fn only_what_has_an_id_is_fetched() {
    let mut solo = solo();
    let [a] = extended(&mut solo);
    for kind in [Kind::Headers, Kind::Ping, Kind::StemTransaction] {
        assert_eq!(fetch(&mut solo, Item { kind, id: hash(1) }), [], "{kind:?}");
    }
    assert_eq!(solo.endpoint.counts().commands_refused, 3);
    assert_eq!(room(&mut solo), []);
    // An announcement's kind stands for what it announces.
    let id = hash(2);
    solo.receive(a, &message(&Message::TransactionKernel(id)));
    let wanted = want(&[Item { kind: Kind::Transaction, id }]);
    let outputs = fetch(&mut solo, Item { kind: Kind::TransactionKernel, id });
    assert_eq!(outputs, [sent_one(a, &wanted)]);
}
