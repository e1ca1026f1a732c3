//! Broadcasts that pace themselves, and how long the loop waits.

use super::*;
use crate::event_loop::sending::SENDS_PER_TURN;
use crate::event_loop::waiting::{BUSY_COMPLETIONS, SILENCE};

/// More connections than may wait for their send before the chain's commands wait.
const CROWD: usize = SEND_BACKLOG_MAX + 100;

#[test]
fn a_broadcast_to_a_crowd_paces_itself_and_everybody_gets_everything() {
    let mut setup = Setup { connections_max: 5_000, small: (256, 8_192), ..Setup::default() };
    setup.peer.inventory = InventoryLimits { rows: 64, slots: 8_192 };
    let mut stage = Stage::new(setup);
    let peers = stage.establish(CROWD);
    let payloads: Vec<_> = (0..4).map(|n| transaction(n, 100)).collect();
    payloads.iter().for_each(|payload| stage.publish(payload));
    let taken = || payloads.iter().filter(|payload| payload.reference_count() != 2).count();

    stage.script.sends_complete_at_once(true);
    stage.turn();
    assert_eq!(taken(), 1, "the others wait on their lane");
    assert_eq!(stage.event_loop.dirty.len(), CROWD - SENDS_PER_TURN);
    let mut turns = 1;
    while stage.event_loop.wait().timeout == Some(Duration::ZERO) {
        let before = taken();
        let behind = stage.event_loop.dirty.len() > SEND_BACKLOG_MAX;
        stage.turn();
        assert!(!behind || taken() == before, "drained while sends wait");
        turns += 1;
        assert!(turns < 400, "the loop spins");
    }
    stage.settle();
    assert!(turns >= payloads.len() * CROWD / SENDS_PER_TURN / 4);
    for peer in &peers {
        assert!(stage.script.take_wire(*peer) == frames(&payloads));
    }
    assert_eq!(stage.metrics().relay_dropped, 0);
    assert!(payloads.iter().all(|payload| payload.reference_count() == 1));
}

#[test]
fn an_idle_loop_waits_for_its_next_deadline_and_no_less() {
    let mut setup = Setup::default();
    setup.peer.ping_period = Duration::from_secs(10);
    setup.peer.silence_timeout = Duration::from_secs(60);
    let mut stage = Stage::new(setup);
    stage.settle();
    stage.turn();
    let idle = stage.last_wait();
    assert!(idle.is_none_or(|wait| wait > Duration::from_secs(20)), "{idle:?}, and nothing to do");

    let peer = stage.establish(1)[0];
    stage.script.sends_complete_at_once(true);
    let mut pings = 0;
    for _ in 0..40 {
        stage.settle();
        stage.script.take_waits();
        stage.turn();
        let wait = stage.last_wait().expect("a ping is due some time");
        assert!(!wait.is_zero() && wait <= Duration::from_millis(10_100), "{wait:?}");
        let before = stage.metrics().turns;
        stage.pass(wait);
        stage.settle();
        assert!(stage.metrics().turns - before <= 6, "some turns for a deadline");
        let ours = kinds(&stage.script.take_wire(peer));
        pings += ours.iter().filter(|kind| **kind == Kind::Ping).count();
        if pings == 3 {
            break;
        }
    }
    assert_eq!(pings, 3);
    assert!((20_000_000..=31_000_000).contains(&stage.now.micros()), "{:?}", stage.now);
}

#[test]
fn a_send_in_the_kernel_is_looked_at_four_times_a_second() {
    let mut stage = Stage::new(Setup::default());
    stage.establish(1);
    stage.publish(&transaction(1, 100));
    stage.turns(2);
    for _ in 0..8 {
        stage.script.take_waits();
        stage.turn();
        let wait = stage.last_wait().expect("a deadline");
        assert!(!wait.is_zero() && wait <= WATCH_PERIOD, "{wait:?}");
        stage.pass(wait);
    }
    assert_eq!(stage.now.micros(), 8 * WATCH_PERIOD.as_micros() as u64);
}

#[test]
fn a_busy_turn_makes_the_next_wait_a_batching_one() {
    let mut stage = Stage::new(Setup::default());
    let many = BUSY_COMPLETIONS as usize;
    let peers = stage.establish(many);
    stage.settle();
    let busy = |stage: &mut Stage, count: usize| {
        for peer in &peers[..count] {
            stage.script.receive(*peer, &unknown());
        }
        stage.turn();
        matches!(stage.event_loop.wait().until, Until::Batch(_))
    };
    assert!(busy(&mut stage, many));
    assert!(!busy(&mut stage, many - 1));
}

#[test]
fn a_command_of_the_chain_is_never_slept_over() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(1);
    stage.settle();
    // It comes after the loop's last look in its turn, and before its sleep.
    stage.publish(&transaction(1, 100));
    stage.script.take_waits();
    stage.turn();
    assert_eq!(stage.last_wait(), Some(Duration::ZERO));
    stage.deliver(&peers);
    assert_eq!(kinds(&stage.script.take_wire(peers[0])), [Kind::Transaction]);
}

#[test]
fn all_senders_together_are_held_to_the_downloads_rate_and_lose_nothing() {
    const RATE: u64 = 10_000;
    const BURST: u64 = 20_000;
    let mut setup = Setup::default();
    setup.peer.silence_timeout = Duration::from_secs(60);
    let second = Duration::from_secs(1);
    setup.peer.rates.download = Some(Rate { amount: RATE, per: second, burst: BURST });
    let mut stage = Stage::new(setup);
    let peers = stage.establish(3);
    let mut held = 0;
    for (n, peer) in (0..).zip(&peers) {
        let payloads: Vec<_> = (0..30).map(|m| transaction(100 * n + m, 1_000)).collect();
        stage.script.receive(*peer, &frames(&payloads));
    }
    let mut received = Vec::new();
    while received.len() < 90 {
        stage.settle();
        received.extend(stage.received());
        // A buffer too much at most; and no less than allowed, while there is something to take.
        let most = BURST + RATE * stage.now.micros() / 1_000_000;
        let taken = stage.metrics().bytes_received;
        assert!(taken <= most + 4_096, "{taken} bytes and {most} allowed");
        assert!(received.len() == 90 || taken >= most, "{taken} bytes and {most} allowed");
        if received.len() < 90 {
            stage.script.take_waits();
            stage.turn();
            let wait = stage.last_wait().expect("until more is allowed");
            assert!(!wait.is_zero() && wait <= Duration::from_millis(500), "{wait:?}");
            stage.pass(wait);
            held += 1;
        }
    }
    assert!(held > 10 && stage.metrics().rate_stalls > 0);
    assert_eq!(stage.closed_in_all(), 0);
    let mut shares = [0; 3];
    let from = |payload: &Payload| payload.body()[..4].try_into().map(u32::from_be_bytes).unwrap();
    received[..60].iter().for_each(|payload| shares[from(payload) as usize / 100] += 1);
    // The burst went to who came first.
    assert!(shares.iter().all(|share| *share >= 10), "each gets its share: {shares:?}");
    stage.script.check_home();
}

fn is_readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
}

#[test]
fn room_on_the_lane_is_noticed_while_the_chains_commands_are_held_back() {
    let lanes = bridge::Config { to_chain_items: 2, ..bridge::Config::default() };
    let mut stage = Stage::new(Setup { lanes, ..Setup::default() });
    let peers = stage.establish(4);
    // Nobody reads: the chain's commands wait.
    (0..20).for_each(|n| stage.publish(&transaction(n, 200_000)));
    stage.turns(20);
    assert!(stage.event_loop.held_back);
    // And the chain does not: a peer waits for room.
    let payloads: Vec<_> = (100..105).map(|n| transaction(n, 100)).collect();
    stage.script.receive(peers[0], &frames(&payloads));
    stage.turns(2);
    let wait = stage.event_loop.wait();
    assert!(wait.timeout.is_none_or(|timeout| !timeout.is_zero()), "commands keep nobody awake");
    assert!(!is_readable(stage.event_loop.bridge.wake_fd()));
    assert_eq!(stage.received(), payloads[..2]);
    assert!(is_readable(stage.event_loop.bridge.wake_fd()), "the sleeping loop is woken");
}

#[test]
fn a_seed_with_a_name_is_resolved_beside_the_loop_and_dialled() {
    let mut setup = Setup::default();
    setup.peer.slots.outbound = 1;
    setup.peer.seeds = vec![peer::Seed::Name("127.0.0.1:5".to_owned())];
    let mut stage = Stage::new(setup);
    for _ in 0..100_000 {
        if stage.script.dials().iter().any(|(_, to)| *to == addr(5)) {
            return;
        }
        stage.pass(Duration::from_millis(1));
        std::thread::yield_now();
    }
    panic!("not dialled");
}

#[test]
fn a_pong_does_not_wait_behind_a_broadcast() {
    let mut setup = Setup { connections_max: 5_000, small: (256, 8_192), ..Setup::default() };
    setup.peer.inventory = InventoryLimits { rows: 64, slots: 8_192 };
    let mut stage = Stage::new(setup);
    let peers = stage.establish(1_000);
    let last = *peers.last().unwrap();
    let payload = transaction(1, 100);
    stage.publish(&payload);
    stage.script.sends_complete_at_once(true);
    stage.turn();
    assert_eq!(stage.event_loop.dirty.len(), 1_000 - SENDS_PER_TURN, "it is under way");
    assert_eq!(stage.script.take_wire(last), [], "and has not come to the last one");
    stage.script.receive(last, &ping());
    stage.turn(); // it is read and answered
    stage.turn(); // the answer leaves
    let pong = frame(&Message::Pong(codec::Pong { total_difficulty: 0, height: 0 }));
    let wire = stage.script.take_wire(last);
    assert!(wire.starts_with(&pong), "{wire:?}");
}

/// Lets time pass in which each of these peers pings ten times a second.
fn pings(stage: &mut Stage, peers: &[Socket], time: Duration) {
    for _ in 0..time.as_millis() / 100 {
        for peer in peers {
            stage.script.receive(*peer, &ping());
        }
        stage.pass(Duration::from_millis(100));
        stage.settle();
    }
}

#[test]
fn while_many_peers_only_ping_the_loop_naps() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(60);
    stage.script.sends_complete_at_once(true);
    let naps = |stage: &mut Stage| {
        let wait = stage.event_loop.wait();
        let naps = wait.until == Until::Woken;
        assert!(!naps || wait.timeout.is_some_and(|timeout| timeout <= NAP), "{wait:?}");
        naps
    };
    pings(&mut stage, &peers, SILENCE / 2);
    assert!(!naps(&mut stage), "their handshakes were only just");
    pings(&mut stage, &peers, SILENCE);
    assert!(naps(&mut stage));

    type Interrupt = fn(&mut Stage, Socket);
    let interruptions: [(&str, Interrupt); 4] = [
        ("a payload", |stage, peer| stage.script.receive(peer, transaction(1, 100).frame())),
        ("a part of one", |stage, peer| {
            stage.script.receive(peer, &transaction(3, 100).frame()[..50]);
            stage.turn();
            stage.script.receive(peer, &transaction(3, 100).frame()[50..]);
        }),
        ("a command", |stage, _| stage.publish(&transaction(2, 100))),
        ("a newcomer", |stage, _| {
            stage.accept();
        }),
    ];
    for (what, interrupt) in interruptions {
        interrupt(&mut stage, peers[0]);
        stage.settle();
        assert!(!naps(&mut stage), "{what}");
        pings(&mut stage, &peers, SILENCE / 2);
        assert!(!naps(&mut stage), "{what} was only just");
        pings(&mut stage, &peers, SILENCE);
        assert!(naps(&mut stage), "{what} was long ago");
    }

    stage.event_loop.datagrams.is_bound = true;
    assert!(!naps(&mut stage), "their socket is small, and would be full");
    stage.event_loop.datagrams.is_bound = false;

    pings(&mut stage, &peers[..40], Duration::from_millis(200));
    assert!(!naps(&mut stage), "too few to be worth it");
}

#[test]
fn after_a_busy_turn_the_loop_looks_again_before_it_naps() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(60);
    stage.script.sends_complete_at_once(true);
    pings(&mut stage, &peers, SILENCE * 2);
    assert_eq!(stage.event_loop.wait().until, Until::Woken);
    for peer in &peers[..BUSY_COMPLETIONS as usize] {
        stage.script.receive(*peer, &ping());
    }
    stage.turn();
    assert_ne!(stage.event_loop.wait().until, Until::Woken);
}
