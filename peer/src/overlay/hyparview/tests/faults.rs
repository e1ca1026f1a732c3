//! A test for each fault that other implementations had.

use super::*;

/// A Disconnect without an epoch, on its way when the two linked anew, ended the newer link.
#[test]
fn a_late_disconnect_ends_no_newer_link() {
    let mut alone = Alone::linked(5);
    alone.hear(3, Neighbor { priority: Priority::High, epoch: 300 });
    assert_eq!(alone.hear(3, Disconnect { alive: true, epoch: 3 }), []);
    assert!(alone.node.is_active(addr(3)));
    assert!(alone.hear(3, Disconnect { alive: true, epoch: 300 }).contains(&down(3)));
}

/// A peer was added again while it was being dropped: one end had a link, the other had not.
#[test]
fn an_acceptance_that_nobody_waits_for_is_taken_back() {
    let mut alone = Alone::linked(5);
    let outputs = alone.hear(9, NeighborReply { accepted: true, epoch: 90 });
    assert_eq!(outputs, [send(9, Disconnect { alive: true, epoch: 90 }), close(9)]);
}

/// Nodes with few links stayed so for good.
#[test]
fn with_fewer_than_half_of_its_links_a_node_goes_back_to_its_contacts() {
    let mut alone = Alone::linked(5);
    alone.join([5, 100, 101, 102]);
    for n in 1..=2 {
        assert_eq!(alone.lost(n), [down(n)], "three are enough to wait");
    }
    let outputs = alone.lost(3);
    assert_eq!(outputs[0], down(3));
    let contact = dialed(&outputs)[0];
    let asked = alone.feed(HyParViewInput::Connected { peer: contact });
    let epoch = epoch_of(&asked);
    let polite = Neighbor { priority: Priority::Low, epoch };
    assert_eq!(asked, [HyParViewOutput::Send { to: contact, message: polite }]);
}

/// All joined through one contact, which was never asked again: contacts must rotate.
#[test]
fn contacts_take_turns_and_pauses_grow() {
    let mut alone = Alone::new();
    let mut asked = dialed(&alone.join(100..110));
    for _ in 1..10 {
        let peer = *asked.last().unwrap();
        asked.extend(dialed(&alone.feed(HyParViewInput::DialFailed { peer })));
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 10, "each once, without a pause");
    let peer = asked[0];
    assert_eq!(alone.feed(HyParViewInput::DialFailed { peer }), []);
    let mut dials = 0;
    let end = alone.now.after(secs(3_600));
    while alone.now < end {
        for peer in dialed(&alone.wait(secs(1))) {
            let mut next = vec![peer];
            while let Some(peer) = next.pop() {
                dials += 1;
                next.extend(dialed(&alone.feed(HyParViewInput::DialFailed { peer })));
            }
        }
    }
    assert!((100..300).contains(&dials), "{dials} dials in an hour");
}

/// Views were keyed by different forms of one identity, and the dead never left.
#[test]
fn an_address_in_another_form_is_the_same_peer() {
    let mut alone = Alone::linked(1);
    let mapped: SocketAddr = "[::ffff:20.1.0.1]:3414".parse().unwrap();
    let message = Neighbor { priority: Priority::High, epoch: 7 };
    alone.feed(HyParViewInput::Message { from: mapped, message });
    assert_eq!(alone.active(), [addr(1)]);
    assert!(alone.feed(HyParViewInput::Lost { peer: mapped }).contains(&down(1)));
    assert_eq!(alone.active(), []);
}

/// An ended link was not replaced: nodes without any neighbour.
#[test]
fn a_disconnect_is_followed_by_a_replacement() {
    let mut alone = Alone::linked(5);
    alone.reserve([20]);
    let outputs = alone.hear(2, Disconnect { alive: true, epoch: 2 });
    assert_eq!(outputs, [down(2), close(2), dial(20)]);
    assert!(alone.is_reserve(2), "it was parted from on purpose, and lives");
}

/// A newcomer that others told of was a neighbour before anybody had reached it.
#[test]
fn nobody_is_a_neighbour_before_it_has_answered() {
    let mut alone = Alone::linked(5);
    assert_eq!(alone.hear(1, ForwardJoin { peer: addr(9), ttl: 0 }), [dial(9)]);
    assert!(!alone.node.is_active(addr(9)));
    alone.feed(HyParViewInput::DialFailed { peer: addr(9) });
    assert_eq!(alone.active().len(), 5, "nobody was evicted for it");
    assert!(!alone.is_reserve(9));
}

/// A Join of a neighbour, which had come back faster than its loss was noticed, got no answer.
#[test]
fn a_neighbour_that_joins_again_is_answered_and_carried_nowhere() {
    let mut alone = Alone::linked(5);
    let outputs = alone.hear(3, Join { epoch: 33 });
    let answer = send(3, NeighborReply { accepted: true, epoch: 33 });
    assert_eq!(outputs, [down(3), up(3), answer.clone()], "a new link in place of the old one");
    assert_eq!(alone.hear(3, Join { epoch: 33 }), [answer], "heard twice, the same link");
}

/// Nodes below their number of links came back with high priority, each pushing out another.
#[test]
fn who_has_a_link_left_comes_back_with_low_priority() {
    let mut alone = Alone::linked(1);
    let contact = dialed(&alone.join([1, 100]));
    assert_eq!(contact, [addr(100)]);
    let asked = alone.connected(100);
    let epoch = epoch_of(&asked);
    assert_eq!(asked, [send(100, Neighbor { priority: Priority::Low, epoch })]);
    let refused = alone.hear(100, NeighborReply { accepted: false, epoch });
    assert_eq!(refused, [close(100)], "and it is left alone for a while");
}

/// Who was joined at before its own contact had answered had links enough, and never came in: it
/// and those who had joined at it stayed an island.
#[test]
fn who_is_not_in_yet_joins_however_many_joined_at_it() {
    let mut alone = Alone::new();
    assert_eq!(alone.join([100]), [dial(100)]);
    for n in 1..=5 {
        alone.hear(n, Join { epoch: n.into() });
    }
    assert_eq!(alone.active().len(), 5);
    let epoch = epoch_of(&alone.connected(100));
    let outputs = alone.hear(100, NeighborReply { accepted: true, epoch });
    assert!(outputs.contains(&up(100)), "one of the five makes room: {outputs:?}");
    assert_eq!(alone.active().len(), 5);
    // A contact that is not there is asked again; who is in asks nobody.
    assert_eq!(dialed(&alone.wait(secs(3_600))), []);
    assert_eq!(dialed(&alone.join([101])), [addr(101)]);
    alone.feed(HyParViewInput::DialFailed { peer: addr(101) });
    assert_eq!(dialed(&alone.wait(secs(2))), [addr(101)]);
}

/// The only address that an island knew of the others was asked once and forgotten.
#[test]
fn a_contact_that_refuses_is_remembered() {
    let mut alone = Alone::linked(1);
    alone.join([1, 100]);
    assert!(alone.node.samplers().iter().any(|kept| kept == addr(100)));
    let epoch = epoch_of(&alone.connected(100));
    alone.hear(100, NeighborReply { accepted: false, epoch });
    assert!(alone.is_reserve(100));
}

/// A late reply added a peer that had been lost meanwhile.
#[test]
fn a_late_reply_adds_nobody() {
    let mut alone = Alone::linked(4);
    alone.reserve([20]);
    alone.feed(HyParViewInput::Timeout);
    let epoch = epoch_of(&alone.connected(20));
    assert_eq!(alone.lost(20), [], "and it is not asked again before the next shuffle");
    let outputs = alone.hear(20, NeighborReply { accepted: true, epoch });
    assert_eq!(outputs, [send(20, Disconnect { alive: true, epoch }), close(20)]);
    assert!(!alone.node.is_active(addr(20)) && alone.is_reserve(20));
}

/// The answer to a request came when the last place had gone to another.
#[test]
fn an_acceptance_without_room_is_declined() {
    let mut alone = Alone::linked(4);
    alone.reserve([20]);
    alone.feed(HyParViewInput::Timeout);
    let epoch = epoch_of(&alone.connected(20));
    alone.hear(9, Neighbor { priority: Priority::Low, epoch: 90 });
    let outputs = alone.hear(20, NeighborReply { accepted: true, epoch });
    assert_eq!(outputs, [send(20, Disconnect { alive: true, epoch }), close(20)]);
}

/// Two who asked each other had two links, or one that only one of them knew of.
#[test]
fn when_both_ask_the_larger_epoch_stands() {
    for larger in [false, true] {
        let mut alone = Alone::linked(4);
        alone.reserve([20]);
        alone.feed(HyParViewInput::Timeout);
        let ours = epoch_of(&alone.connected(20));
        let epoch = if larger { u64::MAX } else { 0 };
        let outputs = alone.hear(20, Neighbor { priority: Priority::Low, epoch });
        if larger {
            let answer = send(20, NeighborReply { accepted: true, epoch });
            assert_eq!(outputs, [answer, up(20)]);
        } else {
            assert_eq!(outputs, [], "it answers ours");
            let outputs = alone.hear(20, NeighborReply { accepted: true, epoch: ours });
            assert_eq!(outputs, [up(20)]);
        }
    }
}
