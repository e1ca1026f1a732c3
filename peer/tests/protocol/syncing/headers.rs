//! Who is asked for headers, and who is banned for showing none.

use codec::{Kind, Payload};
use peer::{BanCause, ChainTip, ConnId, Credit, Freshness, FromChain, Input, ToChain};

use super::crew::Crew;
use crate::solo::{NET, UNLIMITED, ping, tip};

fn headers(count: u8) -> Payload {
    Payload::seal(&NET, Kind::Headers, &[&[0, count][..], &[7; 40]].concat()).unwrap()
}

fn no_headers() -> Payload {
    Payload::seal(&NET, Kind::Headers, &[0, 0]).unwrap()
}

#[test]
fn the_chain_hears_that_it_is_behind_and_of_more() {
    let mut crew = Crew::new();
    crew.solo.handle(Input::Tip(tip(50)));
    let a = crew.join(0, 50);
    crew.wait(20_000);
    assert_eq!(crew.told(), []);
    crew.receive(a, &ping(60));
    crew.wait(100);
    assert_eq!(crew.told(), [ToChain::Behind { tip: tip(60) }]);
    crew.receive(a, &ping(61));
    crew.wait(500);
    assert_eq!(crew.told(), []);
    crew.wait(1_000);
    assert_eq!(crew.told(), [ToChain::Behind { tip: tip(61) }]);
    crew.solo.handle(Input::Tip(tip(61)));
    crew.wait(60_000);
    assert_eq!(crew.told(), []);
    crew.receive(a, &ping(62));
    crew.wait(100);
    assert_eq!(crew.told(), [ToChain::Behind { tip: tip(62) }], "one more, for long");
}

#[test]
fn without_room_one_word_of_it_waits() {
    let mut crew = Crew::new();
    let a = crew.join(0, 5);
    for height in 6..50 {
        let credit = Credit { items: 0, ..UNLIMITED };
        crew.solo.step(Input::Received { conn: a, bytes: &ping(height), credit });
        crew.solo.now = crew.solo.now.after(crate::solo::secs(2));
        crew.solo.handle(Input::Timeout);
    }
    crew.room(UNLIMITED);
    let told = crew.told();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn the_best_is_asked_then_others_each_for_ten_seconds() {
    let mut crew = Crew::new();
    let [_, best, other] = [0, 50, 40].map(|height| crew.join(height as u32, height));
    crew.find_headers();
    assert_eq!(std::mem::take(&mut crew.headers_asked), [best]);
    crew.wait(9_900);
    assert_eq!(crew.headers_asked, []);
    crew.wait(200);
    assert_eq!(std::mem::take(&mut crew.headers_asked), [other]);
    crew.told();
    crew.receive(other, no_headers().frame());
    crew.room(UNLIMITED);
    assert_eq!(crew.told(), [ToChain::NoHeaders]);
    // Late, and welcome.
    crew.receive(best, headers(1).frame());
    let told = crew.told();
    let [ToChain::Payload { freshness: Freshness::Requested, .. }] = &told[..] else {
        panic!("{told:?}")
    };
}

#[test]
fn who_shows_headers_ends_the_search_and_who_leaves_is_not_waited_for() {
    let mut crew = Crew::new();
    let [first, second] = [50, 40].map(|height| crew.join(height as u32, height));
    crew.find_headers();
    crew.leave(first);
    assert_eq!(crew.headers_asked, [first, second]);
    crew.told();
    crew.receive(second, headers(2).frame());
    crew.wait(30_000);
    let told = crew.told();
    assert!(matches!(told[0], ToChain::Payload { .. }), "{told:?}");
    assert!(!told.contains(&ToChain::NoHeaders));
    assert_eq!(crew.headers_asked.len(), 2);
}

/// A chain that looks for headers whenever it is behind, for ten minutes; one peer answers each
/// question after so many seconds with this, or never.
fn look_for_headers(patience: u64, answer: Option<&Payload>) -> Crew {
    let mut crew = Crew::new();
    let peer = crew.join(0, 50);
    let mut due = None;
    for second in 0..600 {
        if crew.told().iter().any(|event| matches!(event, ToChain::Behind { .. })) {
            crew.find_headers();
        }
        if !std::mem::take(&mut crew.headers_asked).is_empty() {
            due.get_or_insert(second + patience);
        }
        if due.take_if(|at| *at <= second).is_some()
            && let Some(answer) = answer
        {
            crew.receive(peer, answer.frame());
        }
        crew.wait(1_000);
        if !crew.closed.is_empty() {
            assert!((119..150).contains(&second), "{second}");
            break;
        }
    }
    crew
}

#[test]
fn who_claims_work_for_two_minutes_and_shows_no_header_is_banned() {
    for answer in [None, Some(&no_headers())] {
        let crew = look_for_headers(0, answer);
        let bans: Vec<BanCause> = crew.solo.endpoint.bans().map(|ban| ban.cause).collect();
        assert_eq!(bans, [BanCause::FraudHeight], "{answer:?}");
    }
}

#[test]
fn who_is_slow_and_honest_is_not_banned() {
    for patience in [1, 9, 14] {
        let crew = look_for_headers(patience, Some(&headers(3)));
        assert_eq!((crew.closed.len(), crew.solo.endpoint.bans().count()), (0, 0), "{patience}");
    }
}

#[test]
fn who_gives_the_blocks_is_not_blamed_for_showing_no_headers() {
    let mut crew = Crew::new();
    let a = crew.join(0, 5_000);
    for round in 0..40 {
        crew.fetch(1 + round..=1 + round);
        crew.find_headers();
        crew.wait(5_000);
        crew.give(a, [1 + round]);
        crew.wait(6_000);
    }
    assert_eq!((crew.closed.len(), crew.solo.endpoint.bans().count()), (0, 0));
}

#[test]
fn our_tip_reaching_its_claim_clears_a_peer() {
    let mut crew = Crew::new();
    let a = crew.join(0, 50);
    for _ in 0..5 {
        crew.find_headers();
        crew.wait(20_000);
    }
    crew.solo.handle(Input::Tip(ChainTip { height: 50, total_difficulty: 500 }));
    crew.receive(a, &ping(51));
    crew.find_headers();
    crew.wait(60_000);
    assert!(crew.closed.is_empty());
}

/// A chain that always wants to know more: it looks for headers, wants a block of what it gets, and
/// looks again. `honest` answers each question at once, the others never. Gives the seconds at
/// which headers came.
fn ask_on_and_on(crew: &mut Crew, honest: ConnId, seconds: u64) -> Vec<u64> {
    let mut shown = Vec::new();
    crew.find_headers();
    for second in 0..seconds {
        crew.wait(1_000);
        if std::mem::take(&mut crew.headers_asked).contains(&honest) {
            crew.receive(honest, headers(9).frame());
            shown.push(second);
            crew.fetch(1..=1);
            crew.command(FromChain::CancelBlocks);
            crew.find_headers();
        }
        if crew.told().contains(&ToChain::NoHeaders) {
            crew.find_headers();
        }
    }
    shown
}

#[test]
fn a_silent_claimer_is_waited_for_once_and_banned_while_blocks_are_fetched() {
    let mut crew = Crew::new();
    let liars: Vec<ConnId> = (0..8).map(|index| crew.join(index, 1_000_000)).collect();
    let honest = crew.join(8, 100);
    let shown = ask_on_and_on(&mut crew, honest, 400);
    let late = shown.iter().enumerate().filter(|(n, second)| **second > *n as u64 + 90);
    assert_eq!(late.count(), 0, "ten seconds for each: {shown:?}");
    crew.closed.sort_unstable();
    assert_eq!(crew.closed, liars);
    let causes = crew.solo.endpoint.bans().map(|ban| ban.cause);
    assert!(causes.eq(vec![BanCause::FraudHeight; liars.len()]));
}

#[test]
fn when_a_claim_came_to_nothing_those_that_we_dialled_are_asked() {
    let mut crew = Crew::new();
    let liars: Vec<ConnId> = (0..8).map(|index| crew.join(index, 1_000_000)).collect();
    let honest = crew.dial(8, 100);
    crew.find_headers();
    let first = std::mem::take(&mut crew.headers_asked);
    assert!(matches!(&first[..], [one] if liars.contains(one)), "{first:?}");
    crew.wait(10_100);
    assert_eq!(crew.headers_asked, [honest]);
}

#[test]
fn who_was_silent_once_is_asked_beside_the_others_and_cleared() {
    let mut crew = Crew::new();
    let [slow, quick] = [60, 50].map(|height| crew.join(height as u32, height));
    crew.find_headers();
    crew.wait(10_100);
    assert_eq!(std::mem::take(&mut crew.headers_asked), [slow, quick]);
    crew.receive(quick, headers(1).frame());
    crew.find_headers();
    assert_eq!(std::mem::take(&mut crew.headers_asked), [quick, slow]);
    crew.told();
    crew.receive(slow, headers(2).frame());
    crew.receive(quick, headers(3).frame());
    assert_eq!(crew.told().len(), 2, "both are the chain's");
    crew.find_headers();
    assert_eq!(crew.headers_asked, [slow], "it claims the most");
}

#[test]
fn who_says_that_it_has_no_more_headers_is_not_blamed_while_another_gives_the_blocks() {
    let mut crew = Crew::new();
    let [a, b] = [5_000, 4_000].map(|height| crew.join(height as u32, height));
    for round in 0..30 {
        crew.fetch(1 + round..=1 + round);
        crew.find_headers();
        for _ in 0..11 {
            crew.wait(1_000);
            for conn in std::mem::take(&mut crew.headers_asked) {
                crew.receive(conn, no_headers().frame());
            }
        }
        for (conn, ..) in crew.asked() {
            if conn == b {
                crew.give(b, [1 + round]);
            } else {
                crew.refuse(a, 1 + round);
            }
        }
    }
    assert_eq!((crew.closed.len(), crew.solo.endpoint.bans().count()), (0, 0));
}
