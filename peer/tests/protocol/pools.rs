//! The exchange of pools: that two become alike, what it costs, and what a liar can do with it.

use std::collections::BTreeMap;

use codec::limits::RECORDS_MAX;
use codec::{
    Capabilities, Context, GetPool, Hash, Kind, Message, Network, Payload, PoolId, PoolPart,
    Records, Shake,
};
use peer::{
    CloseReason, ConnId, FromChain, Input, Instant, POOL_IDS_MAX, Request, ToChain, Verdict,
};

use crate::envelopes::join_extended;
use crate::solo::{
    NET, Out, Solo, UNLIMITED, hash, message, millis, raw_frame, secs, shake, source, transaction,
};
use crate::world::World;

/// Ids that are evenly spread, as hashes are, in their order.
fn ids(numbers: std::ops::Range<u32>) -> Vec<Hash> {
    let mut ids: Vec<Hash> = numbers.map(|n| Hash::of(&n.to_be_bytes())).collect();
    ids.sort_unstable();
    ids
}

fn lead(id: &Hash) -> u64 {
    u64::from_be_bytes(id.0[..8].try_into().unwrap())
}

fn pool(ids: &[Hash]) -> Input<'static> {
    Input::FromChain(FromChain::Pool { ids: ids.into() })
}

/// A peer that we dialled and that speaks the extension.
fn dial_extended(solo: &mut Solo, index: u32) -> ConnId {
    let (conn, _) = solo.dial(index);
    let capabilities = Capabilities::EXTENSION;
    let outputs = solo.receive(conn, &message(&Message::Shake(Shake { capabilities, ..shake() })));
    assert!(outputs.contains(&Out::Opens(conn)), "{outputs:?}");
    conn
}

/// Lets happen what is due now.
fn settle(solo: &mut Solo) -> Vec<Out> {
    let mut outputs: Vec<Out> =
        solo.run_for(millis(0)).into_iter().map(|(_, output)| output).collect();
    if solo.endpoint.wants_room() {
        outputs.extend(solo.handle(Input::Room { credit: UNLIMITED }));
    }
    outputs.retain(|output| !matches!(output, Out::ToChain(ToChain::Behind { .. })));
    outputs
}

/// What the chain was told, of the exchange and what comes of it.
fn told(outputs: &[Out]) -> Vec<ToChain> {
    let event = |output: &Out| match output {
        Out::ToChain(ToChain::Behind { .. }) => None,
        Out::ToChain(event) => Some(event.clone()),
        _ => None,
    };
    outputs.iter().filter_map(event).collect()
}

/// A part of a pool, or a question for one, that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Sent {
    Get(GetPool),
    Ids(GetPool, u64, Vec<PoolId>),
    Want(GetPool, u64, Vec<PoolId>),
}

/// What was sent of the exchange, and to whom.
fn sent(outputs: &[Out]) -> Vec<(ConnId, Sent)> {
    let context = Context { version: 1000, network: &NET };
    let read = |output: &Out| {
        let Out::Send(peer::Recipients::One(conn), payload) = output else { return None };
        let message = Message::decode(payload.kind(), payload.body(), &context).ok()?;
        let sent = match message {
            Message::GetPool(wanted) => Sent::Get(wanted),
            Message::PoolIds(part) => Sent::Ids(part.asked, part.to, part.ids.iter().collect()),
            Message::WantPool(part) => Sent::Want(part.asked, part.to, part.ids.iter().collect()),
            _ => return None,
        };
        Some((*conn, sent))
    };
    outputs.iter().filter_map(read).collect()
}

/// The one question for a part among the outputs.
fn asked(outputs: &[Out]) -> (ConnId, GetPool) {
    let sent = sent(outputs);
    let [(conn, Sent::Get(part))] = sent[..] else { panic!("{sent:?}") };
    (conn, part)
}

fn part_of(ids: &[Hash], asked: GetPool, to: u64) -> Vec<u8> {
    let within = |id: &&Hash| (asked.from..=to).contains(&lead(id));
    let short: Vec<PoolId> =
        ids.iter().filter(within).map(|id| PoolId::of(id, asked.salt)).collect();
    message(&Message::PoolIds(PoolPart { asked, to, ids: Records::new(&short) }))
}

fn want(asked: GetPool, to: u64, ids: &[PoolId]) -> Vec<u8> {
    message(&Message::WantPool(PoolPart { asked, to, ids: Records::new(ids) }))
}

/// A node whose pool is known, and who asks this peer.
fn asker(ours: &[Hash]) -> (Solo, ConnId, GetPool) {
    let mut solo = Solo::small();
    let conn = dial_extended(&mut solo, 0);
    assert_eq!(told(&settle(&mut solo)), [ToChain::PoolWanted]);
    let (to, part) = asked(&solo.handle(pool(ours)));
    assert_eq!((to, part.from), (conn, 0));
    (solo, conn, part)
}

/// A node whose pool is known, and a peer that asks it.
fn teller(ours: &[Hash]) -> (Solo, ConnId) {
    let mut solo = Solo::small();
    let conn = join_extended(&mut solo, 0, 1);
    assert_eq!(settle(&mut solo), [], "who dialled us is not asked");
    solo.handle(pool(ours));
    (solo, conn)
}

fn get(salt: u64, from: u64) -> Vec<u8> {
    message(&Message::GetPool(GetPool { salt, from }))
}

// ---- Two whole nodes.

/// A chain that is nothing but a pool.
type Pool = BTreeMap<Hash, Payload>;

fn fill(numbers: impl Iterator<Item = u32>) -> Pool {
    let body = |n: u32| [&n.to_be_bytes()[..], &[7; 196]].concat();
    let payload = |n| Payload::seal(&NET, Kind::Transaction, &body(n)).unwrap();
    numbers.map(payload).map(|payload| (payload.id(), payload)).collect()
}

/// Answers for the chains until the time is over.
fn live(world: &mut World, pools: &mut [Pool], seconds: u32) {
    for _ in 0..10 * seconds {
        world.run_for(millis(100));
        for _ in 0..1_000 {
            let mut idle = true;
            for (node, pool) in pools.iter_mut().enumerate() {
                if world.nodes[node].solo.endpoint.wants_room() {
                    world.feed(node, Input::Room { credit: UNLIMITED });
                }
                for event in std::mem::take(&mut world.nodes[node].events) {
                    idle = false;
                    if let Some(command) = answer(pool, event) {
                        world.feed(node, Input::FromChain(command));
                    }
                }
            }
            world.carry();
            if idle {
                break;
            }
        }
    }
}

fn answer(pool: &mut Pool, event: ToChain) -> Option<FromChain> {
    match event {
        ToChain::PoolWanted => Some(FromChain::Pool { ids: pool.keys().copied().collect() }),
        ToChain::Requested { from, request: Request::Transaction(id) } => {
            let payload = pool.get(&id)?.clone();
            Some(FromChain::Deliver { to: from.conn, payload })
        }
        ToChain::Payload { from, payload, .. } => {
            pool.insert(payload.id(), payload.clone());
            Some(FromChain::Verdict { from, payload, verdict: Verdict::Accept })
        }
        _ => None,
    }
}

fn bytes_received(world: &World) -> u64 {
    world.nodes.iter().map(|node| node.solo.endpoint.counts().bytes_received).sum()
}

/// Bytes that nodes with these pools exchange in two minutes, transactions left out.
fn exchange(mut pools: Vec<Pool>, smooth: bool) -> (Vec<Pool>, u64) {
    let configs = pools.iter().map(|_| {
        let mut config = World::config();
        config.slots.outbound = 0;
        config
    });
    let mut world = World::new(configs.collect(), 3);
    if smooth {
        world = world.smooth();
    }
    for other in 1..pools.len() {
        world.feed(0, Input::Hold { addr: World::addr(other) });
    }
    let before: usize = pools.iter().map(Pool::len).sum();
    live(&mut world, &mut pools, 120);
    let came = pools.iter().map(Pool::len).sum::<usize>() - before;
    for node in &world.nodes {
        assert_eq!(node.closes, []);
        assert_eq!(node.solo.endpoint.counts().requests_refused, 0);
    }
    let bytes = bytes_received(&world) - came as u64 * (11 + 200);
    (pools, bytes)
}

#[test]
fn two_pools_become_one_for_a_few_bytes_a_difference() {
    let ours = || fill(0..5_000);
    let theirs = || fill(100..5_100);
    let (pools, bytes) = exchange(vec![ours(), theirs()], true);
    assert_eq!(pools[0].len(), 5_100);
    assert_eq!(pools[0], pools[1]);
    let (_, idle) = exchange(vec![Pool::new(), Pool::new()], true);
    let exchanged = bytes - idle;
    let naive = 2 * 5_000 * 32;
    println!(
        "200 differences of two pools of 5,000: {exchanged} bytes, {} each; all ids both ways: \
         {naive} bytes, {} each",
        exchanged / 200,
        naive / 200
    );
    assert!(exchanged < naive / 4, "{exchanged}");
}

#[test]
fn pools_become_one_however_bytes_and_credits_come() {
    // Credits are below 2,000 bytes, and a part is to be shorter.
    let pools = vec![fill(0..250), fill(20..270)];
    let (pools, _) = exchange(pools, false);
    assert_eq!(pools[0].len(), 270);
    assert_eq!(pools[0], pools[1]);
}

#[test]
fn a_node_with_nothing_gets_all_from_the_one_and_the_rest_from_the_other() {
    let (pools, _) = exchange(vec![Pool::new(), fill(0..3_000), fill(2_900..3_100)], true);
    assert_eq!(pools[0].len(), 3_100);
    // Both are asked in turn, and ask back what they lack.
    assert!(pools.iter().all(|pool| pool.len() == 3_100));
}

// ---- We ask.

#[test]
fn only_what_is_missing_is_wanted_and_each_once() {
    let (mut solo, conn, part) = asker(&ids(0..500));
    let theirs = ids(50..550);
    let short: Vec<PoolId> = theirs.iter().map(|id| PoolId::of(id, part.salt)).collect();
    let twice = [&short[..], &short[..]].concat();
    let answer = PoolPart { asked: part, to: u64::MAX, ids: Records::new(&twice) };
    let outputs = solo.receive(conn, &message(&Message::PoolIds(answer)));
    let mut missing: Vec<PoolId> =
        ids(500..550).iter().map(|id| PoolId::of(id, part.salt)).collect();
    missing.sort_unstable();
    assert_eq!(sent(&outputs), [(conn, Sent::Want(part, u64::MAX, missing))]);
    let counts = solo.endpoint.counts();
    assert_eq!((counts.pool_parts_heard, counts.pool_wanted), (1, 50));
    // What was wanted comes as any transaction does.
    let outputs = solo.receive(conn, transaction(9).frame());
    assert!(matches!(told(&outputs)[..], [ToChain::Payload { .. }]));
}

#[test]
fn salts_are_used_once() {
    let (_, _, first) = asker(&[]);
    let (mut solo, conn, again) = asker(&[]);
    assert_eq!(first, again, "they follow from the seed");
    let other = dial_extended(&mut solo, 1);
    let outputs = solo.receive(conn, &part_of(&[], again, u64::MAX));
    assert_eq!(sent(&outputs), []);
    solo.run_for(secs(29));
    assert_eq!(sent(&settle(&mut solo)), [], "what was wanted is to arrive first");
    solo.run_for(secs(1));
    assert_eq!(told(&settle(&mut solo)), [ToChain::PoolWanted]);
    let (to, part) = asked(&solo.handle(pool(&[])));
    assert_eq!((to, part.from), (other, 0));
    assert_ne!(part.salt, first.salt);
}

#[test]
fn what_was_cut_short_goes_on_with_another() {
    let theirs = ids(0..3_000);
    let (mut solo, first, part) = asker(&theirs[..1_500]);
    let second = dial_extended(&mut solo, 1);
    // The first part holds nothing new.
    let to = lead(&theirs[999]);
    let (conn, next) = asked(&solo.receive(first, &part_of(&theirs, part, to)));
    assert_eq!((conn, next), (first, GetPool { from: to + 1, ..part }));
    // Of the second some is wanted: it was not got before the third is here.
    let to = lead(&theirs[1_999]);
    let outputs = sent(&solo.receive(first, &part_of(&theirs, next, to)));
    assert!(matches!(outputs[..], [(_, Sent::Want(..)), (_, Sent::Get(_))]), "{outputs:?}");
    solo.run_for(secs(11));
    solo.leave(first);
    assert_eq!(told(&settle(&mut solo)), [ToChain::PoolWanted], "some of it may have come");
    let (conn, again) = asked(&solo.handle(pool(&theirs[..1_600])));
    assert_eq!((conn, again.from), (second, next.from));
    assert_ne!(again.salt, part.salt);
    let outputs = solo.receive(second, &part_of(&theirs, again, lead(&theirs[1_999])));
    let outputs = sent(&outputs);
    let [(_, Sent::Want(_, _, wanted)), ..] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(wanted.len(), 400);
}

#[test]
fn what_was_cut_short_long_ago_begins_anew() {
    let theirs = ids(0..3_000);
    let (mut solo, conn, part) = asker(&theirs);
    solo.receive(conn, &part_of(&theirs, part, lead(&theirs[999])));
    solo.leave(conn);
    solo.run_for(secs(700));
    dial_extended(&mut solo, 2);
    assert_eq!(told(&settle(&mut solo)), [ToChain::PoolWanted]);
    assert_eq!(asked(&solo.handle(pool(&theirs))).1.from, 0);
}

/// Whoever does not do its part is left for the other, who is asked from there.
fn left_for_another(solo: &mut Solo, liar: ConnId, other: ConnId, from: u64) {
    let outputs = settle(solo);
    let outputs = if sent(&outputs).is_empty() { solo.handle(pool(&[])) } else { outputs };
    let (conn, part) = asked(&outputs);
    assert_eq!((conn, part.from), (other, from));
    assert!(solo.is_here(liar), "it costs the liar nothing but our questions");
    solo.receive(other, &part_of(&[], part, u64::MAX));
    let later = solo.run_for(secs(300)).into_iter().map(|(_, output)| output).collect::<Vec<_>>();
    assert_eq!(sent(&later), [], "both rest");
}

#[test]
fn parts_that_lead_nowhere_end_the_exchange() {
    for to in [7, 1 << 40, u64::MAX - 1] {
        let (mut solo, liar, part) = asker(&[]);
        let outputs = solo.receive(liar, &part_of(&[hash(0)], part, 6));
        let (_, part) = asked(&sent_after_want(outputs));
        assert_eq!(part.from, 7);
        let other = dial_extended(&mut solo, 1);
        solo.run_for(secs(11));
        let answer = PoolPart { asked: part, to, ids: Records::new(&[]) };
        let outputs = solo.receive(liar, &message(&Message::PoolIds(answer)));
        assert_eq!(sent(&outputs), [], "nothing is wanted of such a part");
        left_for_another(&mut solo, liar, other, 0);
    }
}

#[test]
fn a_part_that_ends_before_it_begins_is_malformed() {
    let (mut solo, liar, part) = asker(&[]);
    let (_, part) = asked(&sent_after_want(solo.receive(liar, &part_of(&[hash(0)], part, 6))));
    let answer = PoolPart { asked: part, to: 6, ids: Records::new(&[]) };
    let outputs = solo.receive(liar, &message(&Message::PoolIds(answer)));
    assert_eq!(outputs, [Out::Close(liar, CloseReason::Malformed)]);
}

/// The outputs without what was wanted.
fn sent_after_want(outputs: Vec<Out>) -> Vec<Out> {
    let is_want =
        |output: &Out| matches!(&sent(std::slice::from_ref(output))[..], [(_, Sent::Want(..))]);
    outputs.into_iter().filter(|output| !is_want(output)).collect()
}

#[test]
fn endless_parts_end() {
    let (mut solo, liar, mut part) = asker(&[]);
    let mut parts = 0;
    for _ in 0..1_000 {
        parts += 1;
        let answer = PoolPart { asked: part, to: part.from, ids: Records::new(&[PoolId([3; 6])]) };
        let outputs = solo.receive(liar, &message(&Message::PoolIds(answer)));
        let Some((_, Sent::Get(next))) = sent(&outputs).last().cloned() else { break };
        assert_eq!(next, GetPool { from: part.from + 1, ..part });
        part = next;
    }
    assert_eq!(parts, 2 * POOL_IDS_MAX / RECORDS_MAX);
    assert!(solo.is_here(liar));
    let rest = dial_extended(&mut solo, 1);
    solo.run_for(secs(30));
    left_for_another(&mut solo, liar, rest, 0);
}

#[test]
fn what_was_not_asked_for_is_passed_over() {
    let (mut solo, conn, part) = asker(&[]);
    let stranger = join_extended(&mut solo, 7, 1);
    for (from, asked) in [
        (stranger, part),
        (conn, GetPool { salt: part.salt ^ 1, ..part }),
        (conn, GetPool { from: 1, ..part }),
    ] {
        assert_eq!(sent(&solo.receive(from, &part_of(&[hash(9)], asked, u64::MAX))), []);
    }
    assert_eq!(solo.endpoint.counts().pool_parts_heard, 0);
    let outputs = solo.receive(conn, &part_of(&[hash(9)], part, u64::MAX));
    assert_eq!(sent(&outputs).len(), 1);
    let outputs = solo.receive(conn, &part_of(&[hash(9)], part, u64::MAX));
    assert_eq!(sent(&outputs), [], "answered once");
}

#[test]
fn who_says_nothing_is_left_for_another() {
    let (mut solo, silent, _) = asker(&[]);
    let other = dial_extended(&mut solo, 1);
    let early = solo.run_for(secs(29));
    assert_eq!(sent(&early.into_iter().map(|(_, output)| output).collect::<Vec<_>>()), []);
    solo.run_for(secs(1));
    left_for_another(&mut solo, silent, other, 0);
}

#[test]
fn a_chain_that_does_not_answer_any_more_holds_up_no_exchange() {
    let ours = ids(0..10);
    let (mut solo, conn, first) = asker(&ours);
    let other = dial_extended(&mut solo, 1);
    solo.run_for(secs(11));
    let outputs = solo.receive(conn, &part_of(&ours, first, lead(&ours[5])));
    assert_eq!((sent(&outputs), told(&outputs)), (vec![], vec![ToChain::PoolWanted]));
    let early = solo.run_for(millis(9_900));
    assert_eq!(sent(&early.into_iter().map(|(_, output)| output).collect::<Vec<_>>()), []);
    let late = solo.run_for(millis(100));
    let (to, next) = asked(&late.into_iter().map(|(_, output)| output).collect::<Vec<_>>());
    assert_eq!((to, next), (conn, GetPool { from: lead(&ours[5]) + 1, ..first }));
    // What was known of our own pool is what the next part is compared with.
    let outputs = solo.receive(conn, &part_of(&ids(0..20), next, u64::MAX));
    let sent = sent(&outputs);
    let [(_, Sent::Want(part, u64::MAX, missing))] = &sent[..] else { panic!("{sent:?}") };
    let beyond = |id: &&Hash| lead(id) >= next.from && !ours.contains(id);
    assert_eq!((*part, missing.len()), (next, ids(0..20).iter().filter(beyond).count()));
    assert!(solo.is_here(other));
}

#[test]
fn who_brings_transactions_has_longer_but_not_for_ever() {
    let (mut solo, slow, _) = asker(&[]);
    dial_extended(&mut solo, 1);
    let mut outputs = Vec::new();
    for second in (20..400).step_by(20) {
        outputs.extend(solo.run_for(secs(20)).into_iter().map(|(at, output)| (at, vec![output])));
        if solo.endpoint.wants_room() {
            outputs.push((solo.now, solo.handle(Input::Room { credit: UNLIMITED })));
        }
        for conn in [slow, ConnId::new(1, 1)] {
            let pong = codec::Pong { total_difficulty: 1, height: 1 };
            solo.receive(conn, &message(&Message::Pong(pong)));
        }
        let brought = transaction(second);
        solo.receive(slow, brought.frame());
        solo.judge(slow, &brought, Verdict::Accept);
    }
    let wanted = |(at, outputs): &(Instant, Vec<Out>)| {
        told(outputs).contains(&ToChain::PoolWanted).then_some(at.micros() / 1_000_000)
    };
    let at = outputs.iter().find_map(wanted).expect("another is to be asked");
    assert!((300..=320).contains(&at), "{at}");
}

#[test]
fn the_chain_is_asked_now_and_then_and_only_for_an_exchange() {
    let mut solo = Solo::small();
    dial_extended(&mut solo, 0);
    assert_eq!(told(&settle(&mut solo)), [ToChain::PoolWanted]);
    for index in 1..6 {
        dial_extended(&mut solo, index);
        assert_eq!(settle(&mut solo), [], "it has not answered yet");
    }
    let (mut solo, conn) = teller(&ids(0..10));
    for second in 0..35 {
        let outputs = solo.receive(conn, &get(second, 0));
        let asked = told(&outputs) == [ToChain::PoolWanted];
        assert_eq!(asked, second % 10 == 0 && second > 0, "{second}: {outputs:?}");
        if asked {
            assert_eq!(sent(&solo.handle(pool(&ids(0..10)))).len(), 1);
        }
        solo.run_for(secs(1));
    }
}

#[test]
fn others_are_never_asked() {
    let mut solo = Solo::small();
    let (conn, _) = solo.dial(0);
    solo.receive(conn, &message(&Message::Shake(shake())));
    assert_eq!(settle(&mut solo), []);
    assert_eq!(sent(&solo.handle(pool(&ids(0..10)))), []);
    assert_eq!(solo.receive(conn, &get(1, 0)), [], "nor told anything");
    assert_eq!(solo.endpoint.counts().unknown_frames, 1);
}

// ---- We are asked.

#[test]
fn a_pool_is_told_part_by_part() {
    let ours = ids(0..3_000);
    let (mut solo, conn) = teller(&ours);
    let (mut from, mut all) = (0, Vec::new());
    for part in 0..3 {
        let outputs = sent(&solo.receive(conn, &get(5, from)));
        let [(_, Sent::Ids(asked, to, ids))] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(*asked, GetPool { salt: 5, from });
        assert_eq!(ids.len(), [RECORDS_MAX, RECORDS_MAX, 3_000 - 2 * RECORDS_MAX][part]);
        all.extend(ids.clone());
        assert_eq!(*to == u64::MAX, part == 2);
        from = to.wrapping_add(1);
    }
    let short: Vec<PoolId> = ours.iter().map(|id| PoolId::of(id, 5)).collect();
    assert_eq!(all, short);
    // Who was told all is asked in return, when that is due.
    let (to, part) = asked(&settle(&mut solo));
    assert_eq!((to, part.from), (conn, 0));
    assert_ne!(part.salt, 5);
}

#[test]
fn what_is_wanted_is_asked_of_the_chain_at_its_rate_and_before_the_next_part() {
    let ours = ids(0..2_000);
    let mut solo = Solo::with(|config| config.rates.answers.burst = 1 << 20);
    let conn = join_extended(&mut solo, 0, 1);
    solo.handle(pool(&ours));
    let outputs = sent(&solo.receive(conn, &get(5, 0)));
    let [(_, Sent::Ids(part, to, ids))] = &outputs[..] else { panic!("{outputs:?}") };
    let outputs = solo.receive(conn, &want(*part, *to, ids));
    // 32 of 32 KiB each are pledged at once; then 32 a second, while none is answered.
    let requests = |outputs: &[Out]| {
        let of_it = |event: &ToChain| {
            let ToChain::Requested { request: Request::Transaction(id), .. } = event else {
                panic!("{event:?}")
            };
            *id
        };
        told(outputs).iter().map(of_it).collect::<Vec<Hash>>()
    };
    let mut wanted = requests(&outputs);
    assert_eq!(wanted.len(), 32);
    // Others of its requests find room beside these, and the next part waits.
    let block = message(&Message::GetBlock(hash(1)));
    let asked_block = ToChain::Requested { from: source(conn), request: Request::Block(hash(1)) };
    assert_eq!(told(&solo.receive(conn, &block)), [asked_block]);
    solo.receive(conn, &message(&Message::GetTransaction(hash(1))));
    assert_eq!(solo.endpoint.counts().requests_refused, 0);
    assert_eq!(sent(&solo.receive(conn, &get(5, to + 1))), []);
    let (mut next, mut seconds) = (Vec::new(), 0);
    for second in 0..60 {
        let outputs: Vec<Out> = solo.run_for(secs(1)).into_iter().map(|(_, it)| it).collect();
        if solo.endpoint.wants_room() {
            let outputs = solo.handle(Input::Room { credit: UNLIMITED });
            if told(&outputs) == [ToChain::PoolWanted] {
                next.extend(sent(&solo.handle(pool(&ours)))); // what was known of it is old
            }
        }
        wanted.extend(requests(&outputs));
        next.extend(sent(&outputs));
        if next.is_empty() {
            seconds = second;
        }
        solo.receive(
            conn,
            &message(&Message::Pong(codec::Pong { total_difficulty: 1, height: 1 })),
        );
    }
    wanted.retain(|id| *id != hash(1));
    assert_eq!(wanted, ours[..ids.len()], "each once, in their order");
    assert!((28..33).contains(&seconds), "{seconds}");
    assert!(matches!(&next[..], [(_, Sent::Ids(..)), ..]), "{next:?}");
    assert_eq!(solo.endpoint.counts().requests_waiting, 0);
}

#[test]
fn only_what_was_told_last_is_given_and_once() {
    let ours = ids(0..2_000);
    let (mut solo, conn) = teller(&ours);
    let other = join_extended(&mut solo, 1, 1);
    let outputs = sent(&solo.receive(conn, &get(5, 0)));
    let [(_, Sent::Ids(part, to, ids))] = &outputs[..] else { panic!("{outputs:?}") };
    let few = &[ids[0], ids[0], ids[1], PoolId([0; 6])][..];
    for (from, part, to) in [
        (conn, GetPool { salt: 6, ..*part }, *to),
        (conn, GetPool { from: 1, ..*part }, *to),
        (conn, *part, u64::MAX),
        (other, *part, *to),
    ] {
        assert_eq!(solo.receive(from, &want(part, to, few)), []);
    }
    assert_eq!(solo.endpoint.counts().requests_refused, 16);
    let asked =
        |id: &Hash| ToChain::Requested { from: source(conn), request: Request::Transaction(*id) };
    let outputs = solo.receive(conn, &want(*part, *to, few));
    assert_eq!(told(&outputs), [asked(&ours[0]), asked(&ours[1])]);
    assert_eq!(solo.receive(conn, &want(*part, *to, few)), [], "once");
}

#[test]
fn a_flood_of_questions_is_answered_at_a_rate() {
    let (mut solo, conn) = teller(&ids(0..2_000));
    let flood: Vec<u8> = (0..500).flat_map(|salt| get(salt, 0)).collect();
    assert_eq!(sent(&solo.receive(conn, &flood)).len(), 80);
    assert_eq!(solo.endpoint.counts().requests_refused, 420);
    // Who comes again is no newcomer.
    solo.leave(conn);
    let again = join_extended(&mut solo, 0, 2);
    assert_eq!(sent(&solo.receive(again, &flood)).len(), 0);
    solo.run_for(secs(5));
    solo.handle(pool(&ids(0..2_000)));
    assert_eq!(sent(&solo.receive(again, &flood)).len(), 5);
    let other = join_extended(&mut solo, 1, 1);
    assert_eq!(sent(&solo.receive(other, &flood)).len(), 80, "it cost nobody else");
}

#[test]
fn questions_without_a_pool_leave_nothing_behind() {
    let mut solo = Solo::small();
    for index in 0..20 {
        let conn = join_extended(&mut solo, index, 1);
        for salt in 0..20 {
            solo.receive(conn, &get(salt, 0));
        }
    }
    for index in 0..10 {
        solo.leave(ConnId::new(index, 1));
    }
    let outputs = sent(&solo.handle(pool(&ids(0..10))));
    let told = outputs.iter().filter(|(_, it)| matches!(it, Sent::Ids(..)));
    assert_eq!(told.clone().count(), 10, "the last question of each that stays");
    let mut told = told.map(|(_, it)| it);
    assert!(told.all(|it| matches!(it, Sent::Ids(GetPool { salt: 19, .. }, ..))));
}

#[test]
fn what_all_want_together_is_bounded() {
    let ours = ids(0..1_000);
    let mut solo = Solo::with(|config| config.rates.answers.burst = 1);
    solo.handle(pool(&ours));
    let mut waiting = 0;
    for index in 0..80 {
        let conn = join_extended(&mut solo, index, 1);
        let outputs = sent(&solo.receive(conn, &get(5, 0)));
        let [(_, Sent::Ids(part, to, ids))] = &outputs[..] else { panic!("{outputs:?}") };
        let refused = solo.endpoint.counts().requests_refused;
        solo.receive(conn, &want(*part, *to, ids));
        waiting += 1_000 - (solo.endpoint.counts().requests_refused - refused);
    }
    let most = POOL_IDS_MAX as u64;
    // Some of each wait among its other requests, or are with the chain.
    assert!((most - 1_000..most + 80 * 17).contains(&waiting), "{waiting}");
    for index in 0..80 {
        let reason = CloseReason::RemoteClosed;
        solo.handle(Input::Closed { conn: ConnId::new(index, 1), reason });
    }
    assert_eq!(solo.endpoint.counts().requests_waiting, 0);
    let conn = join_extended(&mut solo, 100, 1);
    let outputs = sent(&solo.receive(conn, &get(5, 0)));
    let [(_, Sent::Ids(part, to, ids))] = &outputs[..] else { panic!("{outputs:?}") };
    let refused = solo.endpoint.counts().requests_refused;
    solo.receive(conn, &want(*part, *to, ids));
    assert_eq!(solo.endpoint.counts().requests_refused, refused, "and all was given back");
}

#[test]
fn a_pool_out_of_order_is_refused_and_one_too_long_is_cut() {
    let mut ours = ids(0..100);
    ours.swap(3, 4);
    let (mut solo, conn) = teller(&ours);
    assert_eq!(solo.endpoint.counts().commands_refused, 1);
    assert_eq!(sent(&solo.receive(conn, &get(1, 0))), []);
    let many = ids(0..POOL_IDS_MAX as u32 + 10);
    assert_eq!(sent(&solo.handle(pool(&many))).len(), 1);
    let last = lead(&many[POOL_IDS_MAX - 1]);
    let outputs = sent(&solo.receive(conn, &get(1, last)));
    let [(_, Sent::Ids(_, u64::MAX, ids))] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(ids.len(), 1);
}

#[test]
fn malformed_messages_end_the_connection() {
    for (bytes, reason) in [
        (raw_frame(Kind::GetPool as u8, &[0; 15]), CloseReason::Malformed),
        (raw_frame(Kind::PoolIds as u8, &[0; 25]), CloseReason::Malformed),
        (raw_frame(Kind::WantPool as u8, &[255; 26]), CloseReason::ListTooLong),
    ] {
        let (mut solo, conn) = teller(&ids(0..10));
        assert_eq!(solo.receive(conn, &bytes), [Out::Close(conn, reason)]);
    }
    assert_eq!(Network::DEV.limits.body_bytes_max(Kind::PoolIds), 26 + 6 * RECORDS_MAX as u64);
}
