//! Each rule, the faults that such overlays are known for, and whole small networks.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::address::Locality;
use crate::rng::Rng;

const PERIOD: Duration = Duration::from_secs(10);

fn addr(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    ([10 + high, low, 0, 1], 3414).into()
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

fn local(rules: SamplingRules) -> SamplingRules {
    SamplingRules { locality: Locality::Local, ..rules }
}

fn node(n: u16, rules: SamplingRules) -> Sampling {
    Sampling::new(local(rules), addr(n), Rng::from_seed([n as u8; 32]))
}

fn seen(n: u16, age_ms: u32) -> Sighting {
    Sighting { addr: addr(n), age_ms }
}

/// Feeds one input and gives what came of it.
fn feed(node: &mut Sampling, now: Instant, input: SamplingInput) -> Vec<SamplingOutput> {
    node.handle(now, input);
    let outputs = std::iter::from_fn(|| node.poll_output()).collect();
    node.check();
    outputs
}

fn join(node: &mut Sampling, contacts: &[u16]) -> Vec<SamplingOutput> {
    let contacts = contacts.iter().map(|n| addr(*n)).collect();
    feed(node, Instant::START, SamplingInput::Join { contacts })
}

fn tell(
    node: &mut Sampling,
    now: Instant,
    from: u16,
    message: SamplingMessage,
) -> Vec<SamplingOutput> {
    feed(node, now, SamplingInput::Message { from: addr(from), message })
}

fn request(sightings: Vec<Sighting>) -> SamplingMessage {
    SamplingMessage::Request { exchange: 1, wants: true, sightings }
}

fn messages(outputs: &[SamplingOutput]) -> Vec<(SocketAddr, SamplingMessage)> {
    let sent = outputs.iter().filter_map(|output| match output {
        SamplingOutput::Send { to, message } => Some((*to, message.clone())),
        SamplingOutput::Up { .. } | SamplingOutput::Down { .. } => None,
    });
    sent.collect()
}

fn members(node: &Sampling) -> Vec<SocketAddr> {
    let mut members: Vec<SocketAddr> = node.neighbours().collect();
    members.sort_unstable();
    members
}

fn all(numbers: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
    numbers.into_iter().map(addr).collect()
}

/// Lets time pass until the node asks for an exchange; whom, and with what.
fn next_request(node: &mut Sampling) -> (Instant, SocketAddr, u32, Vec<Sighting>) {
    for _ in 0..100 {
        let due = node.poll_timeout().expect("there is always a next exchange");
        for (to, message) in messages(&feed(node, due, SamplingInput::Timeout)) {
            if let SamplingMessage::Request { exchange, sightings, .. } = message {
                return (due, to, exchange, sightings);
            }
        }
    }
    panic!("no exchange in a hundred timeouts")
}

#[test]
fn the_freshest_stay_and_a_sender_is_the_freshest() {
    let mut node = node(1, SamplingRules::newscast().with_view(3));
    join(&mut node, &[2]);
    let told = vec![seen(9, 0), seen(3, 5_000), seen(4, 1_000), seen(5, 70_000)];
    let replies = messages(&tell(&mut node, at(60_000), 9, request(told)));
    let reply =
        SamplingMessage::Reply { exchange: 1, sightings: vec![seen(1, 0), seen(2, 60_000)] };
    assert_eq!(replies, [(addr(9), reply)], "as the view was before");
    assert_eq!(members(&node), all([3, 4, 9]));
    let ages: BTreeMap<SocketAddr, u32> =
        node.sightings().map(|one| (one.addr, one.age_ms)).collect();
    assert_eq!(ages[&addr(9)], 0);
    assert_eq!(ages[&addr(3)], 5_000);
}

#[test]
fn the_other_reading_keeps_the_stalest() {
    let rules = SamplingRules { keep: Keep::Stalest, ..SamplingRules::one_way() };
    let mut node = node(1, rules.with_view(2));
    join(&mut node, &[2]);
    let told = vec![seen(9, 0), seen(3, 5_000), seen(4, 1_000), seen(5, 70_000)];
    tell(&mut node, at(60_000), 9, request(told));
    assert_eq!(members(&node), all([2, 5]));
}

#[test]
fn what_is_known_twice_keeps_the_fresher_age() {
    let mut node = node(1, SamplingRules::newscast());
    join(&mut node, &[2]);
    tell(&mut node, at(60_000), 9, request(vec![seen(2, 100_000), seen(2, 7_000), seen(2, 9_000)]));
    assert_eq!(node.sightings().collect::<Vec<_>>(), [seen(2, 7_000)]);
}

#[test]
fn healer_and_swapper_choose_who_goes() {
    let places = |healer, swapper| {
        let rules = SamplingRules::framework(healer, swapper).with_view(4);
        let mut node = node(1, SamplingRules { shared: 3, ..rules });
        join(&mut node, &[2, 3, 4, 5]);
        let (due, partner, exchange, sent) = next_request(&mut node);
        let sent: Vec<SocketAddr> = sent.iter().map(|one| one.addr).collect();
        assert_eq!(sent[0], addr(1));
        assert_eq!(sent.len(), 3);
        let sightings = vec![seen(6, 1_000_000), seen(7, 2_000_000)];
        let from = SamplingInput::Message {
            from: partner,
            message: SamplingMessage::Reply { exchange, sightings },
        };
        feed(&mut node, due, from);
        (members(&node), sent)
    };
    assert_eq!(places(2, 0).0, all([2, 3, 4, 5]), "the two oldest went");
    let (kept, sent) = places(0, 2);
    assert!(kept.contains(&addr(6)) && kept.contains(&addr(7)));
    assert!(sent[1..].iter().all(|gone| !kept.contains(gone)), "{kept:?} after {sent:?}");
}

#[test]
fn cyclon_swaps_what_was_sent_and_gives_up_its_partner() {
    let mut node = node(1, SamplingRules { shared: 3, ..SamplingRules::cyclon().with_view(4) });
    join(&mut node, &[2, 3, 4, 5]);
    let (due, partner, exchange, sent) = next_request(&mut node);
    assert!(!node.neighbours().any(|addr| addr == partner), "its place is free now");
    let told = vec![seen(6, 0), seen(7, 0), seen(8, 0)];
    let reply = SamplingMessage::Reply { exchange, sightings: told };
    feed(&mut node, due, SamplingInput::Message { from: partner, message: reply.clone() });
    let kept = members(&node);
    assert_eq!(kept.len(), 4);
    assert_eq!(kept.iter().filter(|one| all([6, 7, 8]).contains(one)).count(), 3);
    let gone = |one: &&Sighting| !kept.contains(&one.addr);
    assert_eq!(sent[1..].iter().filter(gone).count(), 2);
    feed(&mut node, due, SamplingInput::Message { from: partner, message: reply });
    assert_eq!(members(&node), kept, "an answer counts once");
}

#[test]
fn cyclon_asks_the_oldest() {
    let mut node = node(1, SamplingRules::cyclon());
    join(&mut node, &[2]);
    let told = vec![seen(3, 900_000), seen(4, 100_000)];
    tell(&mut node, at(1_000), 9, request(told));
    assert_eq!(next_request(&mut node).1, addr(3));
}

#[test]
fn directions_say_who_gives() {
    for (direction, gives, wants) in [
        (Direction::Push, true, false),
        (Direction::Pull, false, true),
        (Direction::PushPull, true, true),
    ] {
        let mut node = node(1, SamplingRules { direction, ..SamplingRules::newscast() });
        join(&mut node, &[2]);
        let due = node.poll_timeout().unwrap();
        let sent = messages(&feed(&mut node, due, SamplingInput::Timeout));
        let [(_, SamplingMessage::Request { wants: asks, sightings, .. })] = &sent[..] else {
            panic!("{sent:?}")
        };
        assert_eq!((!sightings.is_empty(), *asks), (gives, wants), "{direction:?}");
    }
}

#[test]
fn who_does_not_answer_is_deleted_or_only_ages() {
    for forgets in [true, false] {
        let rules = SamplingRules { forgets, samplers: 1, ..SamplingRules::one_way() };
        let mut node = node(1, rules);
        join(&mut node, &[2, 3]);
        for _ in 0..8 {
            let due = node.poll_timeout().unwrap();
            for (to, message) in messages(&feed(&mut node, due, SamplingInput::Timeout)) {
                if to == addr(2) && matches!(message, SamplingMessage::Heartbeat { .. }) {
                    tell(&mut node, due, 2, SamplingMessage::Alive { link: 0 });
                }
            }
        }
        assert!(members(&node).contains(&addr(2)) || forgets, "it may have failed an exchange");
        assert_eq!(members(&node).contains(&addr(3)), !forgets);
        feed(&mut node, at(99_000), SamplingInput::Lost { peer: addr(2) });
        assert_eq!(members(&node).contains(&addr(2)), !forgets);
    }
}

#[test]
fn any_traffic_refreshes_where_it_should() {
    for (rules, fresh) in [(SamplingRules::one_way(), true), (SamplingRules::newscast(), false)] {
        let mut node = node(1, rules);
        join(&mut node, &[2]);
        feed(&mut node, at(50_000), SamplingInput::Contact { peer: addr(2) });
        let age = node.sightings().next().unwrap().age_ms;
        assert_eq!(age == 0, fresh);
    }
}

/// The number of a Link that was sent there.
fn link_to(outputs: &[SamplingOutput], n: u16) -> u32 {
    let found = messages(outputs).into_iter().find_map(|(to, message)| match message {
        SamplingMessage::Link { link } if to == addr(n) => Some(link),
        _ => None,
    });
    found.expect("a Link was sent")
}

#[test]
fn a_two_way_link_stands_when_both_agree_and_truncation_ends_it_for_both() {
    let mut node = node(1, SamplingRules::plain().with_view(2));
    let link = link_to(&join(&mut node, &[2]), 2);
    assert_eq!(members(&node), [], "not before the answer");
    let up = tell(&mut node, at(10), 2, SamplingMessage::Linked { link });
    assert_eq!(up, [SamplingOutput::Up { peer: addr(2) }]);
    for n in [3, 4] {
        let now = at(u64::from(n) * 10);
        let outputs = tell(&mut node, now, n, SamplingMessage::Link { link: 70 });
        assert!(outputs.contains(&SamplingOutput::Up { peer: addr(n) }));
        assert!(
            messages(&outputs).contains(&(addr(n), SamplingMessage::Linked { link: 70 })),
            "{outputs:?}"
        );
        let truncated = outputs.contains(&SamplingOutput::Down { peer: addr(2) });
        assert_eq!(truncated, n == 4);
        assert_eq!(
            messages(&outputs).contains(&(addr(2), SamplingMessage::Unlink { link })),
            n == 4
        );
    }
    assert_eq!(members(&node), all([3, 4]));
}

#[test]
fn a_full_view_of_the_stalest_refuses_newcomers() {
    let rules = SamplingRules { keep: Keep::Stalest, ..SamplingRules::plain().with_view(1) };
    let mut node = node(1, rules);
    tell(&mut node, at(0), 2, SamplingMessage::Link { link: 5 });
    let refused = tell(&mut node, at(10), 3, SamplingMessage::Link { link: 6 });
    let unlink = SamplingMessage::Unlink { link: 6 };
    assert_eq!(refused, [SamplingOutput::Send { to: addr(3), message: unlink }]);
    assert_eq!(members(&node), all([2]));
}

#[test]
fn when_both_ask_at_once_the_larger_number_is_the_links() {
    for other in [1, u32::MAX] {
        let mut node = node(1, SamplingRules::plain());
        let own = link_to(&join(&mut node, &[2]), 2);
        let answer = tell(&mut node, at(1), 2, SamplingMessage::Link { link: other });
        let link = own.max(other);
        assert!(messages(&answer).contains(&(addr(2), SamplingMessage::Linked { link })));
        // The answer to our own question comes too, and changes nothing.
        assert_eq!(tell(&mut node, at(2), 2, SamplingMessage::Linked { link }), []);
        let wrong = SamplingMessage::Unlink { link: link ^ 1 };
        assert_eq!(tell(&mut node, at(3), 2, wrong), []);
        let down = tell(&mut node, at(3), 2, SamplingMessage::Unlink { link });
        assert_eq!(down, [SamplingOutput::Down { peer: addr(2) }]);
    }
}

#[test]
fn a_late_unlink_does_not_tear_down_a_newer_link() {
    let mut node = node(1, SamplingRules::plain());
    tell(&mut node, at(0), 2, SamplingMessage::Link { link: 900 });
    tell(&mut node, at(1), 2, SamplingMessage::Unlink { link: 900 });
    tell(&mut node, at(2), 2, SamplingMessage::Link { link: 30 });
    assert_eq!(tell(&mut node, at(3), 2, SamplingMessage::Unlink { link: 900 }), []);
    assert_eq!(members(&node), all([2]));
}

#[test]
fn a_late_answer_does_not_bring_back_who_was_lost() {
    let mut node = node(1, SamplingRules::plain());
    let link = link_to(&join(&mut node, &[2]), 2);
    feed(&mut node, at(1), SamplingInput::Lost { peer: addr(2) });
    let answer = tell(&mut node, at(2), 2, SamplingMessage::Linked { link });
    let unlink = SamplingMessage::Unlink { link };
    assert_eq!(answer, [SamplingOutput::Send { to: addr(2), message: unlink }]);
    assert_eq!(members(&node), []);
}

#[test]
fn half_a_link_ends_with_the_next_heartbeat() {
    let mut node = node(1, SamplingRules::plain());
    let answer = tell(&mut node, at(2), 2, SamplingMessage::Heartbeat { link: 44 });
    let unlink = SamplingMessage::Unlink { link: 44 };
    assert_eq!(answer, [SamplingOutput::Send { to: addr(2), message: unlink }]);
}

#[test]
fn who_has_no_neighbour_turns_to_its_contacts() {
    let mut node = node(1, SamplingRules::plain());
    join(&mut node, &[2]);
    feed(&mut node, at(1), SamplingInput::Lost { peer: addr(2) });
    assert_eq!(next_request(&mut node).1, addr(2));
}

#[test]
fn one_way_views_refuse_links() {
    let mut node = node(1, SamplingRules::cyclon());
    join(&mut node, &[2]);
    let answer = tell(&mut node, at(2), 2, SamplingMessage::Link { link: 3 });
    let unlink = SamplingMessage::Unlink { link: 3 };
    assert_eq!(answer, [SamplingOutput::Send { to: addr(2), message: unlink }]);
}

#[test]
fn a_hardened_node_takes_little_from_one_liar() {
    let mut node = node(1, SamplingRules::newscast().hardened());
    join(&mut node, &(2..22).collect::<Vec<_>>());
    let lies: Vec<Sighting> = (100..160).map(|n| seen(n, 0)).collect();
    let calls = |node: &mut Sampling, now, from: u16| {
        let mut told = lies.clone();
        told.push(seen(from, 0));
        tell(node, now, from, request(told));
    };
    (0..50).for_each(|ms| calls(&mut node, at(ms), 100));
    let of_liars = |node: &Sampling| members(node).iter().filter(|one| **one >= addr(100)).count();
    assert!(of_liars(&node) <= 1, "a call brings the caller only");
    (0..50).for_each(|n| calls(&mut node, at(100), 100 + n));
    assert!(of_liars(&node) <= Hardening::default().callers_max);
    let (due, partner, exchange, _) = next_request(&mut node);
    let before = of_liars(&node);
    let reply = SamplingMessage::Reply { exchange, sightings: lies };
    feed(&mut node, due, SamplingInput::Message { from: partner, message: reply });
    assert!(of_liars(&node) <= before + 1, "a reply brings one name");
}

#[test]
fn a_hardened_view_takes_few_of_one_group() {
    let mut node = node(1, SamplingRules::one_way().hardened());
    for n in 0..40_u8 {
        let from: SocketAddr = ([66, 6, 6, n], 3414).into();
        let message = request(vec![Sighting { addr: from, age_ms: 0 }]);
        let now = at(u64::from(n) * 20_000);
        feed(&mut node, now, SamplingInput::Message { from, message });
    }
    assert_eq!(node.neighbours().count(), Hardening::default().group_max);
}

#[test]
fn a_hardened_node_does_not_take_traffic_for_life() {
    let mut node = node(1, SamplingRules::one_way().hardened());
    join(&mut node, &[2]);
    feed(&mut node, at(50_000), SamplingInput::Contact { peer: addr(2) });
    assert_eq!(node.sightings().next(), Some(seen(2, 50_000)));
}

/// Nodes whose messages arrive later, each after a time of its own.
struct Small {
    nodes: Vec<Sampling>,
    flying: Vec<(Instant, u64, SocketAddr, SocketAddr, SamplingMessage)>,
    now: Instant,
    made: u64,
    dice: Rng,
    dead: Vec<bool>,
}

impl Small {
    fn new(count: u16, rules: &SamplingRules, contacts: impl Fn(u16) -> Vec<u16>) -> Self {
        let mut small = Self {
            nodes: (0..count).map(|n| node(n, rules.clone())).collect(),
            flying: Vec::new(),
            now: Instant::START,
            made: 0,
            dice: Rng::from_seed([99; 32]),
            dead: vec![false; count.into()],
        };
        for n in 0..count {
            let contacts = contacts(n).into_iter().map(addr).collect();
            small.feed(n.into(), SamplingInput::Join { contacts });
        }
        small
    }

    fn feed(&mut self, n: usize, input: SamplingInput) {
        for output in feed(&mut self.nodes[n], self.now, input) {
            let SamplingOutput::Send { to, message } = output else { continue };
            let wait = Duration::from_millis(20 + self.dice.below(400));
            self.made += 1;
            self.flying.push((self.now.after(wait), self.made, addr(n as u16), to, message));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let arrival = self.flying.iter().map(|one| (one.0, one.1)).min();
            let deadlines = (0..self.nodes.len()).filter(|n| !self.dead[*n]);
            let deadlines = deadlines.filter_map(|n| Some((self.nodes[n].poll_timeout()?, n)));
            let deadline = deadlines.min();
            let next = arrival.map(|one| one.0).into_iter().chain(deadline.map(|one| one.0)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            if let Some((_, n)) = deadline.filter(|(at, _)| *at <= next) {
                self.feed(n, SamplingInput::Timeout);
            } else if let Some((_, made)) = arrival {
                let place = self.flying.iter().position(|one| one.1 == made).unwrap();
                let (_, _, from, to, message) = self.flying.swap_remove(place);
                let place = self.nodes.iter().position(|node| node.own == to).unwrap();
                if !self.dead[place] {
                    self.feed(place, SamplingInput::Message { from, message });
                }
            }
        }
        self.now = end;
    }
}

#[test]
fn two_way_links_agree_when_nothing_is_under_way() {
    for keep in [Keep::Freshest, Keep::Stalest] {
        let rules = SamplingRules { keep, ..SamplingRules::plain().with_view(6) };
        let mut small = Small::new(40, &rules, |n| vec![(n + 1) % 40, (n + 7) % 40]);
        small.run(20 * PERIOD);
        let listed = |small: &Small, one: usize, other: SocketAddr| {
            small.nodes[one].neighbours().any(|addr| addr == other)
        };
        let (mut links, mut halves) = (0, 0);
        for n in 0..40_usize {
            for other in small.nodes[n].neighbours() {
                let place = small.nodes.iter().position(|node| node.own == other).unwrap();
                links += 1;
                halves += usize::from(!listed(&small, place, small.nodes[n].own));
            }
        }
        // What differs is on its way: an Unlink or a Linked takes up to 0.4 s of a period.
        assert!(links >= 80 && halves * 10 <= links, "{keep:?}: {halves} halves of {links}");
    }
}

#[test]
fn the_dead_leave_the_views() {
    for rules in [SamplingRules::plain(), SamplingRules::cyclon()] {
        let keep = rules.keep;
        let mut small = Small::new(30, &rules.with_view(6), |n| vec![(n + 1) % 30]);
        small.run(10 * PERIOD);
        (0..10).for_each(|n| small.dead[n] = true);
        small.run(60 * PERIOD);
        for n in 10..30 {
            let dead = |one: &SocketAddr| *one < addr(10);
            let left = members(&small.nodes[n]).into_iter().filter(dead).count();
            assert_eq!(left, 0, "{keep:?}, node {n}");
            assert!(small.nodes[n].neighbours().count() > 0);
        }
    }
}

#[test]
fn the_same_seeds_give_the_same_views() {
    let views = || {
        let rules = SamplingRules::plain().hardened().with_view(5);
        let mut small = Small::new(20, &rules, |n| vec![(n + 1) % 20]);
        small.run(10 * PERIOD);
        small.nodes.iter().map(|node| node.sightings().collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(views(), views());
}

fn any_rules() -> impl Strategy<Value = SamplingRules> {
    let keep = prop_oneof![
        Just(Keep::Freshest),
        Just(Keep::Stalest),
        Just(Keep::Swap),
        (0..4_usize, 0..4_usize).prop_map(|(healer, swapper)| Keep::Select { healer, swapper }),
    ];
    let flags = any::<(bool, bool, bool, bool)>();
    (1..6_usize, 1..9_usize, keep, 0..3_usize, flags).prop_map(|(view, shared, keep, n, flags)| {
        let (two_way, forgets, oldest, hard) = flags;
        let links = if two_way && keep != Keep::Swap { Links::TwoWay } else { Links::OneWay };
        let heartbeat = [Heartbeat::Nobody, Heartbeat::One, Heartbeat::Everyone][n];
        let direction = [Direction::Push, Direction::Pull, Direction::PushPull][n];
        let partner = if oldest { Partner::Oldest } else { Partner::Random };
        let base = SamplingRules { view, shared, keep, links, ..SamplingRules::plain() };
        let rules = SamplingRules { heartbeat, direction, partner, forgets, samplers: n, ..base };
        if hard { rules.hardened() } else { rules }
    })
}

fn any_message() -> impl Strategy<Value = SamplingMessage> {
    let list = || prop::collection::vec((0..12_u16, any::<u32>()), 0..10);
    let list = move || {
        list().prop_map(|list| list.into_iter().map(|(n, age)| seen(n, age)).collect::<Vec<_>>())
    };
    prop_oneof![
        (any::<bool>(), list()).prop_map(|(wants, sightings)| {
            SamplingMessage::Request { exchange: 1, wants, sightings }
        }),
        list().prop_map(|sightings| SamplingMessage::Reply { exchange: 1, sightings }),
        (0..4_u32).prop_map(|link| SamplingMessage::Heartbeat { link }),
        (0..4_u32).prop_map(|link| SamplingMessage::Alive { link }),
        (1..4_u32).prop_map(|link| SamplingMessage::Link { link }),
        (1..4_u32).prop_map(|link| SamplingMessage::Linked { link }),
        (1..4_u32).prop_map(|link| SamplingMessage::Unlink { link }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Any inputs: the invariants hold after each, answers to our own questions included, late and
    /// double, and Up and Down alternate for every peer.
    #[test]
    fn nothing_from_outside_breaks_a_view(
        rules in any_rules(),
        steps in prop::collection::vec((0..6_u8, 0..12_u16, any_message(), 0..8_000_u64), 1..80),
    ) {
        let mut node = node(1, rules);
        let mut up = Vec::new();
        let mut question = None;
        let mut now = Instant::START;
        for (what, n, message, wait) in steps {
            now = now.after(Duration::from_millis(wait));
            let message = match (message, question) {
                (SamplingMessage::Reply { sightings, .. }, Some(exchange)) =>
                    SamplingMessage::Reply { exchange, sightings },
                (message, _) => message,
            };
            let input = match what {
                0 => SamplingInput::Join { contacts: all([n, n + 1]) },
                1 => SamplingInput::Contact { peer: addr(n) },
                2 => SamplingInput::Lost { peer: addr(n) },
                3 => SamplingInput::Timeout,
                _ => SamplingInput::Message { from: addr(n), message },
            };
            for output in feed(&mut node, now, input) {
                match output {
                    SamplingOutput::Send { to, message } => {
                        prop_assert_ne!(to, addr(1));
                        if let SamplingMessage::Request { exchange, .. } = message {
                            question = Some(exchange);
                        }
                    }
                    SamplingOutput::Up { peer } => {
                        prop_assert!(!up.contains(&peer));
                        up.push(peer);
                    }
                    SamplingOutput::Down { peer } => {
                        let place = up.iter().position(|one| *one == peer);
                        prop_assert!(place.is_some());
                        up.remove(place.unwrap());
                    }
                }
            }
            if node.is_two_way() {
                up.sort_unstable();
                prop_assert_eq!(&members(&node), &up);
            }
        }
    }
}
