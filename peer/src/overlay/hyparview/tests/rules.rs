//! A test for each rule of the paper, and for each of ours.

use super::*;
use HyParViewMessage::{Shuffle, ShuffleReply};

#[test]
fn a_newcomer_joins_at_a_contact_and_the_answer_is_its_first_link() {
    let mut alone = Alone::new();
    assert_eq!(alone.join([1, 0]), [dial(1)], "the node itself is no contact");
    let asked = alone.connected(1);
    let epoch = epoch_of(&asked);
    assert_eq!(asked, [send(1, Join { epoch })]);
    assert_eq!(alone.hear(1, NeighborReply { accepted: true, epoch }), [up(1)]);
}

#[test]
fn who_is_joined_at_takes_the_newcomer_in_and_tells_all_others() {
    let mut alone = Alone::linked(3);
    let told = alone.hear(9, Join { epoch: 90 });
    let forwarded = |n| send(n, ForwardJoin { peer: addr(9), ttl: 6 });
    let answer = send(9, NeighborReply { accepted: true, epoch: 90 });
    assert_eq!(told, [answer, up(9), forwarded(1), forwarded(2), forwarded(3)]);
}

#[test]
fn a_full_view_makes_room_for_a_newcomer_and_keeps_the_evicted_in_reserve() {
    let mut alone = Alone::linked(5);
    let outputs = alone.hear(9, Join { epoch: 90 });
    let evicted = (1..=5).find(|n| !alone.node.is_active(addr(*n))).unwrap();
    let parting = [
        send(evicted, Disconnect { alive: true, epoch: evicted.into() }),
        down(evicted),
        close(evicted),
        up(9),
    ];
    assert_eq!(outputs[1..5], parting);
    assert!(alone.is_reserve(evicted) && alone.node.is_active(addr(9)));
}

/// Addresses of one network are cheap: a flood of them would push all others out.
#[test]
fn a_newcomer_takes_the_place_of_its_own_group_first() {
    let mut alone = Alone::linked(4);
    let own_group = |n| SocketAddr::from(([77, 7, 7, n], 3414));
    for n in 0..100 {
        let message = Join { epoch: n.into() };
        alone.feed(HyParViewInput::Message { from: own_group(n), message });
    }
    assert_eq!(alone.active(), [addr(1), addr(2), addr(3), addr(4), own_group(99)]);
}

#[test]
fn a_newcomer_is_carried_on_put_in_reserve_and_taken_in_at_the_end() {
    let mut alone = Alone::linked(5);
    for (ttl, is_reserve) in [(6, false), (4, false), (3, true), (1, true)] {
        let carried = alone.hear(1, ForwardJoin { peer: addr(9), ttl });
        let [HyParViewOutput::Send { to, message }] = &carried[..] else { panic!("{carried:?}") };
        assert!(alone.node.is_active(*to) && *to != addr(1), "not back to where it came from");
        assert_eq!(*message, ForwardJoin { peer: addr(9), ttl: ttl - 1 });
        assert_eq!(alone.is_reserve(9), is_reserve, "{ttl}");
    }
    assert_eq!(alone.hear(1, ForwardJoin { peer: addr(9), ttl: 0 }), [dial(9)]);
    let asked = alone.connected(9);
    let epoch = epoch_of(&asked);
    assert_eq!(asked, [send(9, Neighbor { priority: Priority::High, epoch })]);
    let outputs = alone.hear(9, NeighborReply { accepted: true, epoch });
    assert!(outputs.contains(&up(9)) && alone.active().len() == 5, "{outputs:?}");
}

#[test]
fn a_walk_that_cannot_go_on_ends_here() {
    let mut alone = Alone::linked(1);
    assert_eq!(alone.hear(1, ForwardJoin { peer: addr(9), ttl: 6 }), [dial(9)]);
    let mut alone = Alone::linked(2);
    assert_eq!(alone.hear(1, ForwardJoin { peer: addr(2), ttl: 6 }), [], "a neighbour already");
}

#[test]
fn only_neighbours_send_us_on_walks_and_ttls_are_cut() {
    let mut alone = Alone::linked(2);
    assert_eq!(alone.hear(8, ForwardJoin { peer: addr(9), ttl: 0 }), [close(8)]);
    let shuffle = |ttl| Shuffle { origin: addr(9), nonce: 1, ttl, addrs: vec![addr(50), addr(51)] };
    assert_eq!(alone.hear(8, shuffle(1)), [close(8)]);
    let carried = alone.hear(1, ForwardJoin { peer: addr(9), ttl: 255 });
    assert_eq!(carried, [send(2, ForwardJoin { peer: addr(9), ttl: 5 })]);
    assert_eq!(alone.hear(1, shuffle(255)), [send(2, shuffle(5))]);
    for forged in [addr(0), "127.0.0.1:1".parse().unwrap(), "[::ffff:10.0.0.1]:9".parse().unwrap()]
    {
        assert_eq!(alone.hear(1, ForwardJoin { peer: forged, ttl: 0 }), []);
    }
}

#[test]
fn low_priority_is_refused_by_a_full_view_and_high_never() {
    let mut alone = Alone::linked(5);
    let refused = alone.hear(9, Neighbor { priority: Priority::Low, epoch: 90 });
    assert_eq!(refused, [send(9, NeighborReply { accepted: false, epoch: 90 }), close(9)]);
    assert!(alone.is_reserve(9), "it lives");
    let accepted = alone.hear(9, Neighbor { priority: Priority::High, epoch: 91 });
    assert_eq!(accepted[0], send(9, NeighborReply { accepted: true, epoch: 91 }));
    assert!(alone.node.is_active(addr(9)) && !alone.is_reserve(9));
}

#[test]
fn a_lost_neighbour_is_replaced_from_the_reserve_and_not_kept_there() {
    let mut alone = Alone::linked(5);
    alone.reserve([20]);
    assert_eq!(alone.lost(3), [down(3), dial(20)]);
    assert!(!alone.is_reserve(3));
    let asked = alone.connected(20);
    let epoch = epoch_of(&asked);
    assert_eq!(asked, [send(20, Neighbor { priority: Priority::Low, epoch })]);
    assert_eq!(alone.hear(20, NeighborReply { accepted: true, epoch }), [up(20)]);
}

#[test]
fn who_is_alone_asks_with_high_priority() {
    let mut alone = Alone::linked(1);
    alone.reserve([20]);
    alone.lost(1);
    let asked = alone.connected(20);
    let epoch = epoch_of(&asked);
    assert_eq!(asked, [send(20, Neighbor { priority: Priority::High, epoch })]);
}

#[test]
fn the_unreachable_leave_the_reserve_and_who_refuses_stays() {
    let mut alone = Alone::linked(5);
    alone.reserve([20, 21]);
    let first = dialed(&alone.lost(1))[0];
    let (dead, alive) = if first == addr(20) { (20, 21) } else { (21, 20) };
    assert_eq!(alone.feed(HyParViewInput::DialFailed { peer: first }), [dial(alive)]);
    assert!(!alone.is_reserve(dead));
    let epoch = epoch_of(&alone.connected(alive));
    let refused = alone.hear(alive, NeighborReply { accepted: false, epoch });
    assert_eq!(refused, [close(alive)], "and it is not asked again at once");
    assert!(alone.is_reserve(alive));
    assert!(dialed(&alone.shuffle()).contains(&addr(alive)), "but after the next shuffle");
}

#[test]
fn nobody_is_waited_for_without_end() {
    let mut alone = Alone::linked(4);
    alone.reserve([20, 21]);
    let first = dialed(&alone.feed(HyParViewInput::Timeout))[0];
    let second = if first == addr(20) { 21 } else { 20 };
    assert_eq!(alone.wait(secs(5)), [dial(second)], "the dial took too long");
    alone.connected(second);
    assert_eq!(alone.wait(secs(3)), [close(second)], "the answer took too long");
    assert_eq!(alone.node.passive().count(), 0);
    let late = alone.feed(HyParViewInput::Connected { peer: first });
    assert_eq!(late, [HyParViewOutput::Close { peer: first }], "nobody needs it any more");
}

#[test]
fn a_search_ends_after_some_refusals_and_goes_on_after_the_next_shuffle() {
    let mut alone = Alone::linked(5);
    alone.reserve(20..50);
    let mut calls = dialed(&alone.lost(1));
    let mut asked = 0;
    while let Some(peer) = calls.pop() {
        let epoch = epoch_of(&alone.feed(HyParViewInput::Connected { peer }));
        let message = NeighborReply { accepted: false, epoch };
        calls = dialed(&alone.feed(HyParViewInput::Message { from: peer, message }));
        asked += 1;
    }
    assert_eq!(asked, alone.node.rules.refusals_max);
    assert!(!dialed(&alone.shuffle()).is_empty());
}

#[test]
fn a_shuffle_walks_and_is_answered_by_its_last_hop_straight_to_its_origin() {
    let mut alone = Alone::linked(5);
    alone.reserve([20, 21, 22]);
    let shuffle = Shuffle { origin: addr(9), nonce: 5, ttl: 1, addrs: vec![addr(50), addr(51)] };
    assert_eq!(alone.hear(1, shuffle), [dial(9)]);
    assert!(alone.is_reserve(50) && alone.is_reserve(51) && alone.is_reserve(9));
    let outputs = alone.connected(9);
    let [HyParViewOutput::Send { message: ShuffleReply { nonce: 5, addrs }, .. }, end] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(*end, close(9));
    assert_eq!(addrs.len(), 2, "as many as came");
    assert!(addrs.iter().all(|one| [addr(20), addr(21), addr(22)].contains(one)));
}

#[test]
fn a_shuffle_of_ours_tells_three_neighbours_and_four_of_the_reserve() {
    let mut alone = Alone::linked(5);
    alone.reserve(20..40);
    let outputs = alone.shuffle();
    let shuffle = outputs.iter().rev().find_map(|output| match output {
        HyParViewOutput::Send { to, message: Shuffle { origin, nonce, ttl: 6, addrs } } => {
            Some((*to, *origin, *nonce, addrs.clone()))
        }
        _ => None,
    });
    let (to, origin, nonce, addrs) = shuffle.expect("a shuffle");
    assert_eq!(origin, addr(0));
    let (near, far): (Vec<_>, Vec<_>) =
        addrs.into_iter().partition(|one| alone.node.is_active(*one));
    assert!(alone.node.is_active(to) && !near.contains(&to));
    assert_eq!((near.len(), far.len()), (3, 4));

    // The answer is taken once, and no longer than what was told.
    let reply = ShuffleReply { nonce, addrs: (100..132).map(addr).collect() };
    alone.hear(60, reply.clone());
    assert!(alone.is_reserve(100) && alone.is_reserve(106) && !alone.is_reserve(107));
    assert!(alone.is_reserve(60), "who answers is worth knowing");
    alone.hear(61, ShuffleReply { nonce, addrs: vec![addr(200)] });
    assert!(!alone.is_reserve(200) && !alone.is_reserve(61));
}

/// Forged lists: longer than they should be, of ourselves, of neighbours, of nowhere.
#[test]
fn a_forged_list_does_no_more_than_an_honest_one() {
    let mut alone = Alone::linked(5);
    let nowhere = ["127.0.0.1:1", "10.1.1.1:1", "0.0.0.0:0", "[::1]:1", "20.1.0.1:0"];
    let mut addrs: Vec<SocketAddr> = nowhere.map(|text| text.parse().unwrap()).to_vec();
    addrs.extend([addr(0), addr(1)]);
    addrs.extend((300..332).map(addr));
    let shuffle = Shuffle { origin: addr(9), nonce: 5, ttl: 1, addrs };
    alone.hear(1, shuffle);
    assert_eq!(alone.node.passive().collect::<Vec<_>>(), [addr(9)]);
    // A walk that comes home, and one from nowhere.
    for origin in [addr(0), "192.168.0.1:1".parse().unwrap()] {
        let shuffle = Shuffle { origin, nonce: 5, ttl: 1, addrs: vec![addr(400)] };
        assert_eq!(alone.hear(1, shuffle), []);
    }
    assert!(!alone.is_reserve(400));
}

#[test]
fn strangers_cannot_make_us_dial_without_end() {
    let mut alone = Alone::linked(5);
    alone.reserve([20]);
    let mut dials = 0;
    for n in 0..200 {
        let addrs = vec![addr(20)];
        let shuffle = Shuffle { origin: addr(500 + n), nonce: 5, ttl: 1, addrs };
        dials += dialed(&alone.hear(1, shuffle)).len();
    }
    assert_eq!(dials, 8);
    for n in 0..200 {
        dials += dialed(&alone.hear(1, ForwardJoin { peer: addr(700 + n), ttl: 0 })).len();
    }
    assert_eq!(dials, 8 + 16);
}

#[test]
fn a_newcomer_shuffles_soon() {
    let mut alone = Alone::with(HyParViewRules::default());
    alone.join([1]);
    let epoch = epoch_of(&alone.connected(1));
    alone.hear(1, NeighborReply { accepted: true, epoch });
    let outputs = alone.wait(secs(10));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, HyParViewOutput::Send { message: Shuffle { .. }, .. }))
    );
}

#[test]
fn who_leaves_says_so_and_takes_nobody_in() {
    let mut alone = Alone::linked(2);
    let leaving =
        |n: u16| [send(n, Disconnect { alive: false, epoch: n.into() }), close(n), down(n)];
    assert_eq!(alone.feed(HyParViewInput::Leave), [leaving(1), leaving(2)].concat());
    assert_eq!(alone.node.poll_timeout(), None);
    let asked = alone.hear(3, Join { epoch: 30 });
    assert_eq!(asked, [send(3, NeighborReply { accepted: false, epoch: 30 }), close(3)]);
    assert_eq!(dialed(&alone.join([4])).len(), 1, "and may come back");
}

#[test]
fn who_leaves_is_not_kept_in_reserve() {
    let mut alone = Alone::linked(2);
    assert_eq!(alone.hear(1, Disconnect { alive: false, epoch: 1 })[..2], [down(1), close(1)]);
    assert!(!alone.is_reserve(1));
}
