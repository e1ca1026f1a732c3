//! Stems, roles and embargoes, without an endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use codec::Kind;
use proptest::prelude::*;

use super::*;
use crate::address::Locality;
use crate::rng::Rng;

const NET: Network = Network::DEV;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn host(index: u32) -> HostKey {
    let [_, b, c, d] = index.to_be_bytes();
    Locality::Internet.host(SocketAddr::from(([10, b, c, d], 1)))
}

fn edge(index: u32) -> Edge {
    Edge::Host(host(index))
}

fn tx(number: u32) -> Payload {
    Payload::seal(&NET, Kind::StemTransaction, &number.to_be_bytes()).unwrap()
}

/// A machine, and its time.
struct Bench {
    dandelion: Dandelion,
    now: Instant,
}

/// What was ordered, with the successor that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Done {
    Sent(HostKey, Payload),
    Fluffed(Payload),
    Asked(u64, Vec<Payload>),
}

impl Bench {
    /// Outbound peers are the hosts from 0 on.
    fn new(rules: DandelionRules, outbound: u32, seed: u64) -> Self {
        rules.check(&NET).unwrap();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut dandelion = Dandelion::new(rules, &NET, Rng::from_seed(bytes));
        for index in 0..outbound {
            dandelion.join(host(index), ConnId::new(index, 1));
        }
        Self { dandelion, now: Instant::START }
    }

    fn of(scheme: Scheme) -> Self {
        Self::with(scheme, |_| {})
    }

    fn with(scheme: Scheme, change: impl FnOnce(&mut DandelionRules)) -> Self {
        let mut rules = DandelionRules::of(scheme);
        rules.fluff_percent = 0;
        change(&mut rules);
        Self::new(rules, 8, 1)
    }

    /// Carries out all orders; nobody refuses.
    fn done(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        while let Some(order) = self.dandelion.take_order() {
            match order {
                Order::Fluff(payload) => done.push(Done::Fluffed(payload)),
                Order::Ask { batch, stems } => done.push(Done::Asked(batch, stems.to_vec())),
                Order::Send(leaving) => match self.dandelion.successor(&leaving, self.now) {
                    Some((to, _)) => {
                        self.dandelion.sent(&leaving, to, self.now);
                        done.push(Done::Sent(to, leaving.payload));
                    }
                    None => self.dandelion.stranded(leaving),
                },
            }
        }
        self.dandelion.held.check();
        done
    }

    fn take(&mut self, edge: Edge, payload: &Payload) -> Vec<Done> {
        self.take_locked(edge, payload, 0)
    }

    fn take_locked(&mut self, edge: Edge, payload: &Payload, lock_height: u64) -> Vec<Done> {
        let reading = Reading { lock_height, ..read(payload, &NET) };
        self.dandelion.take(edge, payload.clone(), reading, 100, self.now);
        self.done()
    }

    fn successor_of(&mut self, edge: Edge, number: u32) -> HostKey {
        match &self.take(edge, &tx(number))[..] {
            [Done::Sent(to, _)] => *to,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, wait: Duration) -> Vec<(Instant, Done)> {
        let end = self.now.after(wait);
        let mut all = Vec::new();
        while let Some(at) = self.dandelion.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.dandelion.on_time(self.now);
            let now = self.now;
            all.extend(self.done().into_iter().map(|done| (now, done)));
        }
        self.now = end;
        all
    }

    fn arrives(&mut self, payload: &Payload) -> (Arrival, Vec<Done>) {
        let arrival = self.dandelion.on_arrival(&payload.id(), payload);
        (arrival, self.done())
    }
}

fn fluff(payload: &Payload) -> Vec<Done> {
    vec![Done::Fluffed(payload.clone())]
}

/// The orders that a fluff of these is.
fn fluffs(payloads: &[Payload]) -> Vec<Done> {
    payloads.iter().cloned().map(Done::Fluffed).collect()
}

#[test]
fn an_edge_keeps_its_successor_for_an_epoch() {
    let mut bench = Bench::of(Scheme::PlusPlus);
    let mut number = 0;
    let mut mapping = |bench: &mut Bench| {
        let mut of = |edge| {
            number += 1;
            bench.successor_of(edge, number)
        };
        let mut all: Vec<HostKey> = (100..140).map(|index| of(edge(index))).collect();
        all.push(of(Edge::Own));
        all
    };
    let first = mapping(&mut bench);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2, "two successors");
    assert_eq!(mapping(&mut bench), first);
    let ends = bench.dandelion.epoch.ends.unwrap();
    assert!(ends <= Instant::START.after(secs(600)));
    bench.now = Instant::from_micros(ends.micros() - 1);
    assert_eq!(mapping(&mut bench), first);
    bench.now = ends;
    let second = mapping(&mut bench);
    assert_ne!(second, first);
    assert_eq!(bench.dandelion.epoch.ends, Some(ends.after(secs(600))));
    bench.now = ends.after(secs(6_000));
    assert_ne!(mapping(&mut bench), second);
    assert_eq!(bench.dandelion.epoch.ends, Some(ends.after(secs(6_600))), "on their grid");
}

#[test]
fn about_half_of_the_edges_go_to_each_successor() {
    let (mut of_first, mut own) = (0, 0);
    for seed in 0..200 {
        let mut bench =
            Bench::new(DandelionRules { fluff_percent: 0, ..Default::default() }, 8, seed);
        let all: Vec<HostKey> =
            (0..10).map(|index| bench.successor_of(edge(100 + index), index)).collect();
        let first = bench.dandelion.epoch.successors[0].unwrap();
        of_first += all.iter().filter(|host| **host == first).count();
        own += usize::from(bench.successor_of(Edge::Own, 99) == first);
    }
    assert!((900..1_100).contains(&of_first), "{of_first} of 2000");
    assert!((75..125).contains(&own), "{own} of 200");
}

#[test]
fn the_other_schemes_have_one_successor_an_epoch() {
    let mut bench = Bench::of(Scheme::Grin);
    let to = bench.successor_of(Edge::Own, 1);
    assert!((2..40).all(|number| bench.successor_of(edge(100 + number), number) == to));
    let mut successors = BTreeSet::new();
    for number in 40..60 {
        bench.now = bench.now.after(secs(600));
        successors.insert(bench.successor_of(Edge::Own, number));
    }
    assert!(successors.len() > 4, "{successors:?}");
}

#[test]
fn a_tenth_of_the_epochs_fluff_what_others_bring_and_never_ours() {
    for scheme in [Scheme::PlusPlus, Scheme::Grin] {
        let fluffing = |seed| {
            let mut bench = Bench::new(DandelionRules::of(scheme), 8, seed);
            assert!(matches!(bench.take(Edge::Own, &tx(0))[..], [Done::Sent(..)]));
            !matches!(bench.take(edge(100), &tx(1))[..], [Done::Sent(..)])
        };
        let count = (0..2_000).filter(|seed| fluffing(*seed)).count();
        assert!((160..240).contains(&count), "{count} of 2000 for {scheme:?}");
        assert!((0..50).all(|seed| fluffing(seed) == fluffing(seed)), "a seed means a role");
    }
}

#[test]
fn a_tenth_of_the_batches_are_fluffed_and_none_with_one_of_ours() {
    let mut bench = Bench::with(Scheme::AggregateOnStem, |rules| rules.fluff_percent = 10);
    let mut fluffed = 0;
    for number in 0..2_000 {
        bench.take(edge(100), &tx(number));
        let done = bench.wait(secs(30));
        fluffed += done.iter().filter(|(_, it)| *it == Done::Fluffed(tx(number))).count();
        bench.dandelion.settle(&[tx(number).id()]);
    }
    assert!((150..250).contains(&fluffed), "{fluffed} of 2000");
    let mut bench = Bench::with(Scheme::AggregateOnStem, |rules| rules.fluff_percent = 100);
    bench.take(Edge::Own, &tx(1));
    bench.take(edge(100), &tx(2));
    let batch = bench.wait(secs(30));
    assert!(matches!(&batch[..], [(_, Done::Asked(..))]), "{batch:?}");
    let done = bench.wait(AGGREGATE_ANSWER);
    assert!(matches!(done[..], [(_, Done::Sent(..)), (_, Done::Sent(..))]), "{done:?}");
}

#[test]
fn each_stem_has_an_embargo_of_its_own_and_ends_with_it() {
    let mut bench = Bench::of(Scheme::PlusPlus);
    let all: Vec<Payload> = (0..400).map(tx).collect();
    for (index, payload) in all.iter().enumerate() {
        bench.take(edge(100 + index as u32 % 40), payload);
    }
    let done = bench.wait(secs(100_000));
    let times: BTreeSet<Instant> = done.iter().map(|(at, _)| *at).collect();
    assert!(times.len() > 390, "hardly two at once");
    let mean = done.iter().map(|(at, _)| at.micros()).sum::<u64>() / 400_000_000;
    assert!((64..86).contains(&mean), "{mean} s");
    let fluffed: BTreeSet<_> = done.into_iter().map(|(_, done)| format!("{done:?}")).collect();
    assert_eq!(fluffed.len(), 1, "all are fluffs of 15 bytes");
    assert!(bench.dandelion.is_idle());
}

#[test]
fn what_is_seen_public_has_no_embargo() {
    let mut bench = Bench::of(Scheme::Grin);
    bench.take(edge(100), &tx(1));
    bench.take(Edge::Own, &tx(2));
    bench.dandelion.settle(&[tx(1).id(), tx(3).id()]);
    let done = bench.wait(secs(1_000));
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].1, Done::Fluffed(tx(2)));
    let waited = done[0].0.micros() / 1_000_000;
    assert!((180..=210).contains(&waited), "{waited}");
}

#[test]
fn what_comes_back_is_fluffed_and_what_has_not_left_is_not() {
    let mut bench = Bench::of(Scheme::PlusPlus);
    bench.take(edge(100), &tx(1));
    assert_eq!(bench.arrives(&tx(2)), (Arrival::New, vec![]));
    assert_eq!(bench.arrives(&tx(1)), (Arrival::Held, fluffs(&[tx(1)])));
    assert_eq!(bench.arrives(&tx(1)), (Arrival::New, vec![]));
    // Two copies passed the chain at once.
    bench.take(Edge::Own, &tx(3));
    assert_eq!(bench.take(edge(101), &tx(3)), fluffs(&[tx(3)]));
    assert!(bench.dandelion.is_idle());
    // Our chain says it twice.
    bench.take(Edge::Own, &tx(4));
    assert_eq!(bench.take(Edge::Own, &tx(4)), []);
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    bench.take(edge(100), &tx(1));
    assert_eq!(bench.arrives(&tx(1)), (Arrival::Held, vec![]));
    assert_eq!(bench.take(edge(101), &tx(1)), []);
    assert_eq!(bench.wait(secs(30)).len(), 1, "it goes on when it would have");
}

#[test]
fn a_stem_goes_nowhere_that_it_came_from() {
    for seed in 0..50 {
        let rules = DandelionRules { fluff_percent: 0, ..Default::default() };
        let mut bench = Bench::new(rules, 2, seed);
        assert_eq!(bench.successor_of(edge(0), 1), host(1));
        assert_eq!(bench.successor_of(edge(1), 2), host(0));
        bench.dandelion.leave(ConnId::new(1, 1));
        assert_eq!(bench.take(edge(0), &tx(3)), fluffs(&[tx(3)]), "there is nobody else");
        assert_eq!(bench.successor_of(edge(1), 4), host(0));
        bench.dandelion.leave(ConnId::new(0, 1));
        assert_eq!(bench.take(Edge::Own, &tx(5)), fluffs(&[tx(5)]), "there is nobody");
    }
}

#[test]
fn a_successor_that_left_is_replaced_alone() {
    let mut bench = Bench::of(Scheme::PlusPlus);
    let (a, b) = (
        bench.successor_of(edge(100), 1),
        (101..140).find_map(|index| {
            let to = bench.successor_of(edge(index), index);
            (Some(to) != bench.dandelion.epoch.successors[0]).then_some((index, to))
        }),
    );
    let (index, b) = b.expect("half of them go there");
    let first = bench.dandelion.epoch.successors[0].unwrap();
    let conn = bench.dandelion.outbound.iter().find(|(host, _)| *host == first).unwrap().1;
    bench.dandelion.leave(conn);
    let other = bench.successor_of(edge(100), 2);
    assert_ne!(other, first);
    assert!(a == first || other == a);
    assert_eq!(bench.successor_of(edge(index), 3), b, "the other edge keeps its own");
}

#[test]
fn what_never_left_goes_to_another_under_its_old_embargo() {
    let mut bench = Bench::of(Scheme::Grin);
    let to = bench.successor_of(edge(100), 1);
    let embargo = bench.dandelion.deadline();
    bench.now = bench.now.after(secs(1));
    bench.dandelion.dropped(host(77), &tx(1).id());
    assert_eq!(bench.done(), [], "it was not sent there");
    bench.dandelion.dropped(to, &tx(1).id());
    let done = bench.done();
    assert!(matches!(&done[..], [Done::Sent(other, _)] if *other != to), "{done:?}");
    assert_eq!(bench.dandelion.deadline(), embargo);
}

#[test]
fn eight_that_have_no_room_are_enough_whoever_comes_meanwhile() {
    let mut bench = Bench::new(DandelionRules::of(Scheme::Grin), 1, 1);
    let mut tried = vec![bench.successor_of(Edge::Own, 1)];
    for index in 1..100 {
        bench.dandelion.join(host(index), ConnId::new(index, 1));
        bench.dandelion.dropped(tried[tried.len() - 1], &tx(1).id());
        match &bench.done()[..] {
            [Done::Sent(to, _)] => tried.push(*to),
            other => {
                assert_eq!(other, fluff(&tx(1)));
                break;
            }
        }
    }
    let each: BTreeSet<HostKey> = tried.iter().copied().collect();
    assert_eq!((tried.len(), each.len()), (8, 8), "each once");
    assert!(bench.dandelion.is_idle());
}

/// A batch of these, asked for.
fn batch(bench: &mut Bench, numbers: &[u32]) -> u64 {
    for number in numbers {
        assert_eq!(bench.take(edge(100 + number), &tx(*number)), []);
    }
    match &bench.wait(secs(30))[..] {
        [(_, Done::Asked(batch, stems))] => {
            assert_eq!(*stems, numbers.iter().map(|number| tx(*number)).collect::<Vec<_>>());
            *batch
        }
        other => panic!("{other:?}"),
    }
}

fn joined(numbers: &[u32]) -> Payload {
    let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    Payload::seal(&NET, Kind::StemTransaction, &body).unwrap()
}

#[test]
fn what_is_gathered_goes_on_as_one() {
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    let number = batch(&mut bench, &[1, 2, 3]);
    let whole = joined(&[1, 2, 3]);
    bench.dandelion.on_aggregated(number, Some(whole.clone()));
    let done = bench.done();
    assert!(matches!(&done[..], [Done::Sent(_, sent)] if *sent == whole), "{done:?}");
    bench.dandelion.on_aggregated(number, Some(whole.clone()));
    assert_eq!(bench.done(), [], "one answer to a batch");
    assert_eq!(bench.arrives(&whole), (Arrival::Held, fluff(&whole)));
    assert!(bench.dandelion.is_idle());
    // Its embargo brings the aggregate to light, or what is left of it.
    let number = batch(&mut bench, &[1, 2, 3]);
    bench.dandelion.on_aggregated(number, Some(whole.clone()));
    bench.done();
    let done: Vec<_> = bench.wait(secs(2_000)).into_iter().map(|(_, done)| done).collect();
    assert_eq!(done, fluff(&whole));
    let number = batch(&mut bench, &[1, 2, 3]);
    bench.dandelion.on_aggregated(number, Some(whole.clone()));
    bench.done();
    bench.dandelion.settle(&[tx(2).id()]);
    let done: Vec<_> = bench.wait(secs(2_000)).into_iter().map(|(_, done)| done).collect();
    assert_eq!(done, fluffs(&[tx(1), tx(3)]));
    let number = batch(&mut bench, &[4, 5]);
    let whole = joined(&[4, 5]);
    bench.dandelion.on_aggregated(number, Some(whole.clone()));
    bench.done();
    bench.dandelion.settle(&[whole.id()]);
    assert!(bench.dandelion.is_idle(), "public as one");
}

#[test]
fn what_is_not_made_one_goes_on_as_it_is() {
    let sent = |done: Vec<Done>| -> Vec<Payload> {
        let sent = |done| match done {
            Done::Sent(_, payload) => payload,
            other => panic!("{other:?}"),
        };
        done.into_iter().map(sent).collect()
    };
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    let number = batch(&mut bench, &[1, 2]);
    bench.dandelion.on_aggregated(number, None);
    assert_eq!(sent(bench.done()), [tx(1), tx(2)], "refused");
    batch(&mut bench, &[3, 4]);
    let done = bench.wait(AGGREGATE_ANSWER).into_iter().map(|(_, done)| done).collect();
    assert_eq!(sent(done), [tx(3), tx(4)], "no answer");
    let number = batch(&mut bench, &[5, 6]);
    bench.dandelion.settle(&[tx(6).id()]);
    bench.dandelion.on_aggregated(number, Some(joined(&[5, 6])));
    assert_eq!(sent(bench.done()), [tx(5)], "one of them is public");
    let number = batch(&mut bench, &[7, 8]);
    let large = Payload::seal(&NET, Kind::StemTransaction, &[0; 100]).unwrap();
    bench.dandelion.on_aggregated(number, Some(large));
    assert_eq!(sent(bench.done()), [tx(7), tx(8)], "more than they had together");
    let number = batch(&mut bench, &[9, 10]);
    bench.dandelion.on_aggregated(number, Some(tx(1)));
    assert_eq!(sent(bench.done()), [tx(9), tx(10)], "that is another one");
}

#[test]
fn a_chain_that_does_not_answer_is_not_asked_for_ever() {
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    let mut asked = 0;
    for number in 0..40 {
        bench.take(edge(100), &tx(2 * number));
        bench.take(edge(101), &tx(2 * number + 1));
        let done = bench.wait(secs(40));
        asked += done.iter().filter(|(_, done)| matches!(done, Done::Asked(..))).count();
        let sent = done.iter().filter(|(_, done)| matches!(done, Done::Sent(..))).count();
        assert_eq!(sent, 2);
    }
    assert_eq!(asked, BATCHES_ASKED_MAX);
}

#[test]
fn a_full_batch_does_not_wait() {
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    for number in 0..AGGREGATE_MAX as u32 {
        assert_eq!(bench.take(edge(100 + number), &tx(number)), []);
    }
    let done = bench.take(edge(99), &tx(1_000));
    assert!(matches!(&done[..], [Done::Asked(_, stems)] if stems.len() == AGGREGATE_MAX));
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    let bytes = NET.limits.body_bytes_max(Kind::StemTransaction) as usize;
    let large =
        |byte| Payload::seal(&NET, Kind::StemTransaction, &vec![byte; bytes / 2 - 6]).unwrap();
    assert_eq!(bench.take(edge(1), &large(1)), []);
    assert_eq!(bench.take(edge(2), &large(2)), []);
    let done = bench.take(edge(3), &large(3));
    assert!(matches!(&done[..], [Done::Asked(_, stems)] if stems.len() == 2), "{done:?}");
}

#[test]
fn a_fluffing_node_of_grin_fluffs_what_it_gathered_as_one() {
    let mut bench = Bench::with(Scheme::Grin, |rules| rules.fluff_percent = 100);
    assert_eq!(bench.take(edge(100), &tx(1)), []);
    assert_eq!(bench.take(edge(101), &tx(2)), []);
    assert!(matches!(bench.take(Edge::Own, &tx(3))[..], [Done::Sent(..)]));
    let ends = bench.dandelion.epoch.ends.unwrap();
    let (at, done) = bench.wait(secs(30)).remove(0);
    assert_eq!(at, Instant::START.after(secs(30)).min(ends));
    let Done::Asked(number, stems) = done else { panic!("{done:?}") };
    assert_eq!(stems, [tx(1), tx(2)]);
    bench.dandelion.on_aggregated(number, Some(joined(&[1, 2])));
    assert_eq!(bench.done(), fluffs(&[joined(&[1, 2])]));
    assert_eq!(bench.take(edge(100), &tx(4)), []);
    let done: Vec<_> = bench.wait(secs(30)).into_iter().map(|(_, done)| done).collect();
    assert_eq!(done, fluffs(&[tx(4)]), "alone it needs no chain");
}

#[test]
fn lock_heights_are_waited_for_within_a_limit() {
    let mut bench = Bench::of(Scheme::AggregateAndHold);
    for (number, lock_height) in [(1, 99), (2, 100), (3, 101), (4, 160), (5, 161)] {
        assert_eq!(bench.take_locked(edge(number), &tx(number), lock_height), []);
    }
    let (_, done) = bench.wait(secs(30)).remove(0);
    let Done::Asked(number, stems) = done else { panic!("{done:?}") };
    assert_eq!(stems, [tx(1), tx(2), tx(5)], "reached, reached, too far");
    bench.dandelion.on_aggregated(number, None);
    bench.done();
    bench.dandelion.settle(&[1, 2, 5].map(|number| tx(number).id()));
    assert_eq!(bench.wait(secs(100_000)), []);
    bench.dandelion.on_tip(101, bench.now);
    let done = bench.wait(secs(30));
    assert!(matches!(&done[..], [(_, Done::Sent(_, sent))] if *sent == tx(3)), "{done:?}");
    bench.dandelion.on_tip(159, bench.now);
    assert_eq!(bench.wait(secs(30)), []);
    bench.dandelion.rules.fluff_percent = 100;
    bench.dandelion.on_tip(160, bench.now);
    let (_, done) = bench.wait(secs(30)).remove(0);
    assert_eq!(done, Done::Fluffed(tx(4)), "the coin says fluff");
    // The first scheme does not look.
    let mut bench = Bench::of(Scheme::AggregateOnStem);
    bench.take_locked(edge(1), &tx(1), 101);
    assert_eq!(bench.wait(secs(30)).len(), 1);
}

#[test]
fn a_peer_that_floods_loses_its_own_stems_and_nobody_sees_it() {
    let mut bench = Bench::with(Scheme::PlusPlus, |rules| rules.stems_max = 64);
    bench.take(edge(200), &tx(1_000));
    bench.take(Edge::Own, &tx(1_001));
    for number in 0..500 {
        let done = bench.take(edge(100), &tx(number));
        assert!(matches!(&done[..], [Done::Sent(_, sent)] if *sent == tx(number)), "{done:?}");
        assert!(bench.dandelion.held.share(edge(100)).stems <= 8);
    }
    assert_eq!(bench.arrives(&tx(499)).0, Arrival::Held, "the latest are held");
    assert_eq!(bench.arrives(&tx(400)).0, Arrival::New, "and the eldest forgotten");
    for payload in [tx(1_000), tx(1_001)] {
        assert_eq!(bench.arrives(&payload), (Arrival::Held, fluff(&payload)));
    }
}

#[test]
fn many_peers_that_flood_lose_theirs_first() {
    let mut bench = Bench::with(Scheme::PlusPlus, |rules| rules.stems_max = 64);
    bench.take(edge(200), &tx(10_000));
    bench.take(edge(200), &tx(10_001));
    for number in 0..1_000 {
        bench.take(edge(100 + number % 20), &tx(number));
        assert!(bench.dandelion.held.share(edge(100)).stems <= 8);
    }
    let count: usize = (100..120).map(|index| bench.dandelion.held.share(edge(index)).stems).sum();
    assert_eq!(count, 62);
    assert_eq!(bench.dandelion.held.share(edge(200)).stems, 2);
}

#[test]
fn bytes_are_bounded_too_and_one_stem_always_fits() {
    let bytes = rules::frame_bytes_max(&NET);
    let mut bench = Bench::with(Scheme::PlusPlus, |rules| rules.stem_bytes_max = bytes);
    let large =
        |byte, bytes| Payload::seal(&NET, Kind::StemTransaction, &vec![byte; bytes]).unwrap();
    let whole = large(0, bytes - 11);
    bench.take(edge(100), &whole);
    assert_eq!(bench.dandelion.held.share(edge(100)).bytes, bytes);
    bench.take(edge(100), &large(1, bytes / 16));
    assert_eq!(bench.dandelion.held.share(edge(100)).stems, 1);
    assert_eq!(bench.arrives(&whole).0, Arrival::New);
    for index in 0..40 {
        bench.take(edge(100 + index), &large(2 + index as u8, bytes / 16));
    }
    let held = (100..140).map(|index| bench.dandelion.held.share(edge(index)).bytes).sum::<usize>();
    assert!(held <= bytes && held > bytes / 2, "{held}");
}

#[test]
fn what_waits_is_not_forgotten_and_more_goes_on_without_being_held() {
    let mut bench = Bench::with(Scheme::AggregateOnStem, |rules| rules.stems_max = 64);
    for number in 0..8 {
        assert_eq!(bench.take(edge(100), &tx(number)), []);
    }
    let done = bench.take(edge(100), &tx(8));
    assert!(matches!(&done[..], [Done::Sent(_, sent)] if *sent == tx(8)), "{done:?}");
    assert_eq!(bench.arrives(&tx(8)).0, Arrival::New);
    assert_eq!(bench.take(edge(101), &tx(9)), [], "others have their share");
    let done = bench.wait(secs(30));
    assert!(matches!(&done[..], [(_, Done::Asked(_, stems))] if stems.len() == 9), "{done:?}");
    // Locked ones of a flooder make room for the latest.
    let mut bench = Bench::with(Scheme::AggregateAndHold, |rules| rules.stems_max = 64);
    for number in 0..100 {
        assert_eq!(bench.take_locked(edge(100), &tx(number), 130), []);
    }
    assert_eq!(bench.dandelion.held.share(edge(100)).stems, 8);
}

#[test]
fn of_too_many_of_ours_the_eldest_is_fluffed() {
    let mut bench = Bench::with(Scheme::PlusPlus, |rules| rules.stems_max = 64);
    for number in 0..8 {
        assert!(matches!(bench.take(Edge::Own, &tx(number))[..], [Done::Sent(..)]));
    }
    let done = bench.take(Edge::Own, &tx(8));
    assert!(matches!(&done[..], [Done::Fluffed(old), Done::Sent(..)] if *old == tx(0)), "{done:?}");
    assert_eq!(bench.dandelion.held.share(Edge::Own).stems, 8);
}

/// A transaction of grin with so many kernels.
fn with_kernels(count: u16) -> Payload {
    let kernel = |number: u16| {
        let [high, low] = number.to_be_bytes();
        [&[0; 17][..], &[8], &[3; 30], &[high, low], &[4; 64]].concat()
    };
    let mut kernels: Vec<Vec<u8>> = (0..count).map(kernel).collect();
    kernels.sort_by_key(|kernel| Hash::of(kernel));
    let mut body = vec![1; 32];
    for count in [0, 0, u64::from(count)] {
        body.extend(count.to_be_bytes());
    }
    body.extend(kernels.concat());
    Payload::seal(&Network::GRIN_MAIN, Kind::StemTransaction, &body).unwrap()
}

#[test]
fn a_transaction_is_known_by_so_many_kernels() {
    for (kernels, keys) in [(1, 1), (256, 256), (300, 256)] {
        assert_eq!(read(&with_kernels(kernels), &Network::GRIN_MAIN).keys.len(), keys);
    }
}

/// What a random run does.
#[derive(Clone, Debug)]
enum Step {
    Take(u32, u32, u64),
    Arrive(u32),
    Settle(u32),
    Leave(u32),
    Join(u32),
    Drop(u32),
    Answer(bool),
    Tip(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5u32, 0..60u32, 95..110u64).prop_map(|(from, tx, at)| Step::Take(from, tx, at)),
        2 => (0..60u32).prop_map(Step::Arrive),
        2 => (0..60u32).prop_map(Step::Settle),
        1 => (0..4u32).prop_map(Step::Leave),
        1 => (0..4u32).prop_map(Step::Join),
        1 => (0..60u32).prop_map(Step::Drop),
        2 => any::<bool>().prop_map(Step::Answer),
        1 => (95..115u64).prop_map(Step::Tip),
        3 => (0..60u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens, the tables agree, and in the end all of ours are public.
    #[test]
    fn nothing_of_ours_is_lost(
        scheme in 0..4usize,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let schemes =
            [Scheme::PlusPlus, Scheme::Grin, Scheme::AggregateOnStem, Scheme::AggregateAndHold];
        let rules = DandelionRules { stems_max: 16, ..DandelionRules::of(schemes[scheme]) };
        let mut bench = Bench::new(rules, 4, 5);
        let mut generations = BTreeMap::from([(0, 1), (1, 1), (2, 1), (3, 1)]);
        let mut gone = BTreeSet::new();
        let (mut ours, mut public) = (BTreeSet::new(), BTreeSet::new());
        let mut asked: VecDeque<(u64, Vec<u32>)> = VecDeque::new();
        for step in steps {
            let mut done = match step {
                Step::Take(0, number, lock) => {
                    ours.insert(number);
                    bench.take_locked(Edge::Own, &tx(number), lock)
                }
                Step::Take(from, number, lock) => {
                    bench.take_locked(edge(from - 1), &tx(number), lock)
                }
                Step::Arrive(number) => bench.arrives(&tx(number)).1,
                Step::Settle(number) => {
                    public.insert(number);
                    bench.dandelion.settle(&[tx(number).id()]);
                    bench.done()
                }
                Step::Leave(index) if gone.insert(index) => {
                    bench.dandelion.leave(ConnId::new(index, generations[&index]));
                    bench.done()
                }
                Step::Join(index) if gone.remove(&index) => {
                    let generation = generations.entry(index).or_default();
                    *generation += 1;
                    bench.dandelion.join(host(index), ConnId::new(index, *generation));
                    bench.done()
                }
                Step::Leave(_) | Step::Join(_) => Vec::new(),
                Step::Drop(number) => {
                    (0..4).for_each(|index| bench.dandelion.dropped(host(index), &tx(number).id()));
                    bench.done()
                }
                Step::Answer(aggregates) => {
                    if let Some((batch, numbers)) = asked.pop_front() {
                        let payload = aggregates.then(|| joined(&numbers));
                        bench.dandelion.on_aggregated(batch, payload);
                    }
                    bench.done()
                }
                Step::Tip(height) => {
                    bench.dandelion.on_tip(height, bench.now);
                    bench.done()
                }
                Step::Wait(seconds) => {
                    bench.wait(secs(seconds)).into_iter().map(|(_, done)| done).collect()
                }
            };
            note(&mut done, &mut public, &mut asked);
            let held = |edge| bench.dandelion.held.share(edge).stems;
            prop_assert!((0..4).map(|index| held(edge(index))).sum::<usize>() <= 16);
            prop_assert!(held(Edge::Own) <= 2);
        }
        bench.dandelion.on_tip(1_000, bench.now);
        let mut done = bench.wait(secs(1_000_000)).into_iter().map(|(_, done)| done).collect();
        note(&mut done, &mut public, &mut asked);
        prop_assert!(bench.dandelion.is_idle());
        prop_assert!(ours.is_subset(&public), "{ours:?} {public:?}");
    }
}

/// What was asked, and what is public.
fn note(done: &mut Vec<Done>, public: &mut BTreeSet<u32>, asked: &mut VecDeque<(u64, Vec<u32>)>) {
    let numbers = |payload: &Payload| -> Vec<u32> {
        payload.body().chunks(4).map(|body| u32::from_be_bytes(body.try_into().unwrap())).collect()
    };
    for done in done.drain(..) {
        match done {
            Done::Sent(..) => {}
            Done::Fluffed(payload) => public.extend(numbers(&payload)),
            Done::Asked(batch, stems) => {
                asked.push_back((batch, stems.iter().flat_map(numbers).collect()));
            }
        }
    }
}
