//! Goodbyes, the join before a close, shutdown, and the loop's own end.

use bridge::EngineEnd;

use super::*;
use crate::clock::Clock;
use crate::io::{Group, Half};
use crate::start::run_to_end;

/// A second Hand: the peer is ended with our Shake still waiting to leave.
fn ended_with_last_words(stage: &mut Stage) -> Socket {
    let socket = stage.accept();
    stage.script.receive(socket, &hand().repeat(2));
    stage.turns(2);
    assert_eq!(stage.closed(CloseReason::UnexpectedKind), 1);
    assert!(stage.script.sending(socket).is_some(), "the last words are in the kernel");
    assert_eq!(stage.script.shut(socket), None);
    socket
}

#[test]
fn last_words_leave_before_the_write_half_ends_and_the_remote_ends_the_rest() {
    let mut stage = Stage::new(Setup::default());
    let socket = ended_with_last_words(&mut stage);
    stage.script.sent_all(socket);
    stage.turn();
    assert_eq!(kinds(&stage.script.take_wire(socket)), [Kind::Shake]);
    assert_eq!(stage.script.shut(socket), Some(Half::Write));
    stage.turns(3);
    assert!(stage.script.is_open(socket), "its end of stream is awaited");
    stage.script.receive(socket, &ping());
    stage.script.end(socket);
    stage.settle();
    assert!(!stage.script.is_open(socket));
    assert_eq!((stage.metrics().connections, stage.closed_in_all()), (0, 1));
    stage.script.check_home();
}

#[test]
fn last_words_leave_also_when_the_remote_has_ended_its_half() {
    let mut stage = Stage::new(Setup::default());
    let socket = ended_with_last_words(&mut stage);
    stage.script.end(socket);
    stage.turns(2);
    assert!(stage.script.is_open(socket));
    stage.script.sent_all(socket);
    stage.settle();
    assert!(!stage.script.is_open(socket));
    assert_eq!(stage.metrics().bytes_sent as usize, stage_shake_bytes());
    stage.script.check_home();
}

/// Bytes of the Shake that a stage answers with.
fn stage_shake_bytes() -> usize {
    let mut stage = Stage::new(Setup::default());
    stage.establish(1);
    stage.metrics().bytes_sent as usize
}

#[test]
fn a_goodbye_takes_two_seconds_at_most() {
    let mut stage = Stage::new(Setup::default());
    let socket = ended_with_last_words(&mut stage);
    for _ in 0..7 {
        stage.pass(Duration::from_millis(250));
        assert!(stage.script.is_open(socket));
    }
    for _ in 0..2 {
        stage.pass(Duration::from_millis(250));
    }
    assert_eq!(stage.script.shut(socket), Some(Half::Both));
    stage.settle();
    assert!(!stage.script.is_open(socket));
    stage.script.check_home();
}

#[test]
fn a_goodbye_reads_64_kib_at_most_and_obeys_nothing_of_it() {
    let mut stage = Stage::new(Setup::default());
    let socket = ended_with_last_words(&mut stage);
    stage.script.sent_all(socket);
    stage.turns(2);
    for _ in 0..16 {
        stage.script.receive(socket, &transaction(1, 4_096 - 11).frame()[..4_096]);
        stage.turn();
        assert!(stage.script.is_open(socket));
    }
    stage.script.receive(socket, b"x");
    stage.settle();
    assert!(!stage.script.is_open(socket));
    assert_eq!(stage.received(), []);
    stage.script.check_home();
}

#[test]
fn an_invalid_payload_ends_its_sender_and_what_it_holds_comes_home() {
    let lanes = bridge::Config { to_chain_items: 2, ..bridge::Config::default() };
    let mut stage = Stage::new(Setup { lanes, ..Setup::default() });
    let peers = stage.establish(2);
    let payloads: Vec<_> = (0..9).map(|n| transaction(n, 3_000)).collect();
    stage.script.receive(peers[0], &frames(&payloads));
    stage.settle();
    assert!(stage.script.lent(Group::Small) > 0);
    let Some(ToChain::Payload { from, payload, .. }) = stage.chain.try_recv().unwrap() else {
        panic!("a payload")
    };
    stage.chain.send(FromChain::Verdict { from, payload, verdict: Verdict::Invalid }).unwrap();
    stage.settle();
    stage.deliver(&peers[..1]);
    assert_eq!(kinds(&stage.script.take_wire(peers[0])), [Kind::BanReason]);
    stage.script.end(peers[0]);
    stage.settle();
    assert!(!stage.script.is_open(peers[0]));
    assert_eq!(stage.closed_by_cause(), [("banned", 1)]);
    stage.script.check_home();
    assert!(stage.answers_ping(peers[1]));
}

#[test]
fn nothing_is_closed_while_the_kernel_receives_or_sends() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(2);
    stage.publish(&transaction(1, 100));
    stage.turns(2);
    stage.deliver(&peers[1..]);
    for (n, peer) in peers.iter().enumerate() {
        stage.script.receive(*peer, &hand());
        stage.turn();
        assert_eq!(stage.closed(CloseReason::UnexpectedKind), n as u64 + 1);
        // Both have a receive in the kernel, and the first one a send.
        assert!(stage.script.receiving(*peer).is_some());
        assert_eq!(stage.script.sending(*peer).is_some(), n == 0);
        let closes = |one: &Submission| matches!(one, Submission::Close { .. });
        assert!(!stage.event_loop.submissions.iter().any(closes));
        stage.deliver(&[*peer]);
        if stage.script.is_open(*peer) {
            stage.script.end(*peer); // it had last words
        }
        stage.settle();
        assert!(!stage.script.is_open(*peer));
    }
    stage.script.check_home();
}

#[test]
fn out_of_descriptors_accepting_pauses_and_nothing_else_does() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::EINVAL] {
        stage.script.accept_error(0, errno, false);
        stage.turn();
        stage.script.take_recorded();
        stage.script.take_waits();
        assert!(stage.answers_ping(peer));
        stage.script.take_waits();
        stage.turn();
        let wait = stage.last_wait().expect("a deadline");
        assert!(!wait.is_zero() && wait <= Duration::from_millis(100), "{wait:?}");
        stage.pass(Duration::from_millis(99));
        stage.turn();
        let accepts = |stage: &Stage| {
            let is_accept = |one: &Recorded| matches!(one, Recorded::Accept { .. });
            stage.script.take_recorded().into_iter().filter(is_accept).count()
        };
        assert_eq!(accepts(&stage), 0, "paused");
        stage.pass(Duration::from_millis(1));
        stage.turns(2);
        assert_eq!(accepts(&stage), 1, "tried again, once");
        stage.establish(1);
    }
    assert_eq!(stage.closed_in_all(), 0);
}

#[test]
fn an_accept_whose_newcomer_gave_up_is_armed_again_at_once() {
    let mut stage = Stage::new(Setup::default());
    stage.script.accept_error(0, libc::ECONNABORTED, false);
    stage.turn();
    stage.establish(1);
}

#[test]
fn a_full_house_turns_newcomers_away() {
    let mut stage = Stage::new(Setup { connections_max: 2, ..Setup::default() });
    let peers = stage.establish(2);
    let turned_away = stage.script.accept(0, addr(500));
    stage.turns(2);
    assert!(!stage.script.is_open(turned_away));
    let closes: Vec<_> = stage.script.take_recorded();
    assert!(matches!(closes[..], [Recorded::Close { socket, .. }] if socket == turned_away));
    assert_eq!((stage.closed(CloseReason::NoRoom), stage.closed_in_all()), (1, 1));
    assert_eq!(stage.metrics().connections, 2);
    stage.script.end(peers[0]);
    stage.settle();
    stage.establish(1); // a place was free again
    assert!(stage.answers_ping(peers[1]));
}

fn shut_down(stage: &Stage, within: Duration) {
    stage.control.send(Control::Shutdown { within }).unwrap();
    stage.script.wake();
}

#[test]
fn a_shutdown_says_goodbye_and_waits_for_the_ends() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(3);
    let greeting = stage.accept();
    shut_down(&stage, Duration::from_secs(10));
    stage.turns(2);
    stage.deliver(&peers);
    for peer in &peers {
        assert_eq!(kinds(&stage.script.take_wire(*peer)), [Kind::BanReason]);
        assert_eq!(stage.script.shut(*peer), Some(Half::Write));
        stage.script.end(*peer);
    }
    assert!(!stage.script.is_open(greeting), "nothing to say to who did not greet");
    let late = stage.script.accept(0, addr(600));
    assert!(!stage.event_loop.is_over());
    stage.turns(4);
    assert!(!stage.script.is_open(late));
    assert!(stage.event_loop.is_over());
    assert_eq!(stage.closed(CloseReason::Shutdown), 4);
    stage.script.check_home();
}

#[test]
fn a_shutdown_ends_dials_in_flight() {
    let mut setup = Setup::default();
    setup.peer.connect = vec![addr(1), addr(2), addr(3)];
    let mut stage = Stage::new(setup);
    stage.turns(2);
    assert_eq!(stage.script.dials().len(), 3);
    stage.script.connect(addr(1));
    stage.turns(3);
    shut_down(&stage, Duration::from_secs(10));
    stage.turn();
    // One of the two dials succeeds before it hears of it.
    let crossed = stage.script.connect(addr(2));
    stage.settle();
    assert_eq!(stage.script.dials(), []);
    stage.deliver(&[crossed]);
    assert_eq!(kinds(&stage.script.take_wire(crossed)), [Kind::Hand]);
    stage.script.end(crossed);
    stage.settle();
    assert!(!stage.script.is_open(crossed));
    stage.pass(Duration::from_secs(3));
    stage.settle();
    assert!(stage.event_loop.is_over());
    assert_eq!(stage.metrics().connections, 0);
    stage.pass(Duration::from_secs(3_000));
    assert_eq!(stage.script.dials(), [], "and nobody is dialled any more");
    stage.script.check_home();
}

#[test]
fn a_shutdown_ends_at_its_deadline_whoever_hangs() {
    let mut stage = Stage::new(Setup::default());
    stage.establish(2);
    stage.publish(&transaction(1, 1_000));
    stage.turns(2);
    shut_down(&stage, Duration::from_millis(500));
    stage.turns(2);
    stage.script.take_waits();
    stage.turn();
    assert!(stage.last_wait().expect("a deadline") <= Duration::from_millis(500));
    // The last quarter is the store's.
    stage.pass(Duration::from_millis(374));
    assert!(!stage.event_loop.is_over());
    // A later, longer request does not prolong it.
    shut_down(&stage, Duration::from_secs(60));
    stage.pass(Duration::from_millis(1));
    assert!(stage.event_loop.is_over());
}

#[test]
fn a_chain_that_is_gone_ends_the_engine_with_a_goodbye() {
    let Stage { mut event_loop, script, chain, mut now, control, .. } = {
        let mut stage = Stage::new(Setup::default());
        stage.establish(1);
        stage
    };
    let publisher = chain.publisher();
    drop(chain);
    script.wake();
    script.sends_complete_at_once(true);
    for _ in 0..20 {
        event_loop.enter().unwrap();
        now = now.after(Duration::from_millis(150));
        event_loop.work(now);
    }
    assert!(event_loop.is_over());
    event_loop.end(&Clock::start(), EngineEnd::Stopped);
    assert!(matches!(
        publisher.publish(transaction(1, 10)),
        Err(bridge::SendError::Gone(FromChain::Publish(_)))
    ));
    drop(control);
}

#[test]
fn handles_that_are_gone_change_nothing() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    stage.control = bounded(0).0;
    assert!(stage.answers_ping(peer));
    stage.script.take_waits();
    stage.settle();
    assert!(!stage.event_loop.is_over());
}

#[test]
fn a_question_whose_asker_is_gone_is_harmless() {
    let mut stage = Stage::new(Setup::default());
    stage.establish(2);
    let (answer, peers) = bounded(1);
    stage.control.send(Control::Peers(answer)).unwrap();
    stage.turn();
    assert_eq!(peers.recv().unwrap().len(), 2);
    stage.control.send(Control::Peers(bounded(1).0)).unwrap();
    stage.turn();
    assert!(!stage.event_loop.is_over());
}

#[test]
fn a_dial_without_an_answer_is_given_up() {
    let mut setup = Setup::default();
    setup.peer.connect = vec![addr(1)];
    let mut stage = Stage::new(setup);
    stage.turns(2);
    for _ in 0..39 {
        stage.pass(Duration::from_millis(250));
    }
    assert_eq!((stage.script.dials().len(), stage.closed_in_all()), (1, 0));
    for _ in 0..3 {
        stage.pass(Duration::from_millis(250));
    }
    assert_eq!(stage.script.dials(), []);
    assert_eq!(stage.closed(CloseReason::DialFailed), 1);
    assert_eq!(stage.metrics().connections, 0);
}

#[test]
fn a_dialled_peer_is_greeted_and_dialled_again_when_lost() {
    let mut setup = Setup::default();
    setup.peer.connect = vec![addr(1)];
    let mut stage = Stage::new(setup);
    stage.turns(2);
    stage.script.refuse(addr(1), libc::ECONNREFUSED);
    stage.turn();
    assert_eq!(stage.closed(CloseReason::DialFailed), 1);
    stage.pass(Duration::from_secs(2));
    stage.turn();
    let socket = stage.script.connect(addr(1));
    stage.script.sends_complete_at_once(true);
    stage.settle();
    let wire = stage.script.take_wire(socket);
    assert_eq!(kinds(&wire), [Kind::Hand]);
    let shake = Message::Shake(codec::Shake {
        version: 1000,
        capabilities: Capabilities::default(),
        total_difficulty: 0,
        user_agent: "test",
        genesis: Network::DEV.genesis,
    });
    stage.script.receive(socket, &frame(&shake));
    stage.settle();
    assert_eq!(stage.metrics().peers_outbound, 1);
    stage.script.reset(socket, libc::ECONNRESET);
    stage.settle();
    assert_eq!(stage.closed(CloseReason::ConnectionLost), 1);
    stage.pass(Duration::from_secs(2));
    stage.turn();
    assert_eq!(stage.script.dials().len(), 1);
}

#[test]
fn a_panic_of_the_loop_reaches_the_chain_as_its_end() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    let payload = transaction(1, 100);
    stage.script.receive(peer, payload.frame());
    stage.turn();
    stage.script.end(peer);
    stage.settle();
    // A kernel out of its mind: it accepts a socket that was closed.
    stage.script.complete(Completion::Accepted {
        listener: stage.event_loop.listeners[0].id,
        result: Ok((peer, addr(1))),
        more: true,
    });
    let Stage { event_loop, mut chain, .. } = stage;
    let end = run_to_end(event_loop, &Clock::start());
    let EngineEnd::Panicked(message) = &end else { panic!("{end:?}") };
    assert!(message.contains("an open socket"), "{message}");
    assert!(matches!(chain.recv(), Ok(ToChain::Payload { .. })), "first what was on the lane");
    assert_eq!(chain.recv().unwrap_err(), end);
}

#[test]
fn whoever_ends_its_half_after_a_request_still_gets_what_is_queued() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    let payloads: Vec<_> = (0..3).map(|n| transaction(n, 1_000)).collect();
    payloads.iter().for_each(|payload| stage.publish(payload));
    stage.turns(2);
    stage.publish(&transaction(3, 1_000)); // queued behind the send in the kernel
    stage.turns(2);
    stage.script.end(peer);
    stage.turns(2);
    assert_eq!(stage.closed(CloseReason::RemoteClosed), 1);
    stage.publish(&transaction(4, 1_000)); // too late: nobody is there any more
    stage.turns(2);
    stage.deliver(&[peer]);
    assert!(!stage.script.is_open(peer));
    assert_eq!(stage.metrics().frames_sent, 1 + 4, "and a Shake");
    stage.script.check_home();
}

#[test]
fn whoever_ends_its_half_and_reads_nothing_is_waited_for_two_seconds() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    stage.publish(&transaction(1, 1_000));
    stage.turns(2);
    stage.script.end(peer);
    stage.turns(2);
    for _ in 0..7 {
        stage.pass(Duration::from_millis(250));
        assert_eq!(stage.script.shut(peer), None);
    }
    stage.pass(Duration::from_millis(250));
    stage.pass(Duration::from_millis(250));
    stage.settle();
    assert!(!stage.script.is_open(peer));
    stage.script.check_home();
}

#[test]
fn what_the_core_has_noted_is_in_the_store_at_the_end() {
    let dir = std::env::temp_dir().join(format!("molva-loop-store-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir(&dir).unwrap();
    let path = Some(dir.join("peers.sqlite"));
    let setup = || Setup {
        store: StoreConfig { path: path.clone(), ..StoreConfig::default() },
        ..Setup::default()
    };
    let target: peer::BanTarget = "192.0.2.0/24".parse().unwrap();
    let bans = |stage: &mut Stage| {
        let (answer, bans) = bounded(1);
        stage.control.send(Control::Bans(answer)).unwrap();
        stage.turn();
        bans.recv().unwrap()
    };
    let mut stage = Stage::new(setup());
    let (lasts, note) = (Duration::from_secs(100), "for a test".into());
    stage.control.send(Control::Ban { target, lasts, note }).unwrap();
    let before = bans(&mut stage);
    assert_eq!(before.len(), 1);
    let Stage { event_loop, chain, .. } = stage;
    event_loop.end(&Clock::start(), EngineEnd::Stopped);
    let metrics = chain.counters().metrics();
    assert!(metrics.store_on_disk == 1 && metrics.store_lag == 0 && metrics.store_committed > 0);

    let mut stage = Stage::new(setup());
    assert_eq!(bans(&mut stage), before);
    let (asker, was_banned) = bounded(2);
    for _ in 0..2 {
        stage.control.send(Control::Unban { target, asker: asker.clone() }).unwrap();
    }
    assert_eq!(bans(&mut stage), []);
    assert_eq!(was_banned.try_iter().collect::<Vec<_>>(), [true, false]);
    drop(stage);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn more_changes_than_the_lane_takes_are_in_the_store_at_the_end() {
    const BANS: u32 = 20_000;
    let dir = std::env::temp_dir().join(format!("molva-loop-many-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir(&dir).unwrap();
    let path = Some(dir.join("peers.sqlite"));
    let setup = || Setup {
        store: StoreConfig { path: path.clone(), ..StoreConfig::default() },
        ..Setup::default()
    };
    let mut stage = Stage::new(setup());
    for n in 0..BANS {
        let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into();
        stage.event_loop.feed(Input::Ban(peer::Ban {
            target: peer::BanTarget::subnet(ip, 32).unwrap(),
            cause: peer::BanCause::Operator,
            evidence: peer::Evidence::default(),
            by: peer::Decider::Operator,
            start: UnixTime::from_secs(0),
            end: UnixTime::from_secs(1_000_000),
        }));
    }
    stage.turn();
    let Stage { mut event_loop, chain, .. } = stage;
    // As a shutdown that leaves the store its time, whatever else this machine does.
    event_loop.ends_at = Some(Instant::START.after(NEVER));
    event_loop.end(&Clock::start(), EngineEnd::Stopped);
    let metrics = chain.counters().metrics();
    assert_eq!((metrics.store_lag, metrics.store_lost), (0, 0));

    let stage = Stage::new(setup());
    assert_eq!(stage.event_loop.endpoint.bans().count(), BANS as usize);
    drop(stage);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Trap 8 of the protocol: grin bans whoever hangs up on it before a Hand.
#[test]
fn trap_8_a_dial_that_succeeds_while_stopping_still_gets_its_hand() {
    let mut stage = Stage::new(Setup::default());
    stage.script.sends_complete_at_once(true);
    stage.control.send(Control::Hold(addr(1))).unwrap();
    stage.turns(2);
    shut_down(&stage, Duration::from_secs(10));
    stage.turn();
    // It succeeds before it hears that it is to end.
    let socket = stage.script.connect(addr(1));
    stage.turns(3);
    assert_eq!(kinds(&stage.script.take_wire(socket)), [Kind::Hand]);
    assert_eq!(stage.script.shut(socket), Some(Half::Write), "and a goodbye");
    assert_eq!(stage.closed(CloseReason::Shutdown), 1);
    stage.script.end(socket);
    stage.settle();
    assert!(stage.event_loop.is_over());
    stage.script.check_home();
}

#[test]
fn a_shutdown_does_not_wait_for_a_name() {
    let mut stage = Stage::new(Setup::default());
    shut_down(&stage, Duration::from_secs(10));
    stage.turn();
    // Under way until its answer is taken, however soon that comes.
    assert_eq!(stage.event_loop.resolver.ask("192.0.2.7".into()), None);
    assert!(stage.event_loop.is_over());
}
