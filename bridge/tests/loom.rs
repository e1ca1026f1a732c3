//! The bridge under a model checker: every interleaving of two or three threads, within loom's
//! bounds, and every value that a relaxed load may see.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p bridge --test loom --release`; without the flag this file
//! is empty. What is modelled is our own protocol: reservations, announcements, fences, ends. The
//! storage of a lane is a mutexed `VecDeque` here, and an eventfd a counter with a condition
//! variable, because loom cannot look into crossbeam or the kernel. A lost wake shows as a
//! deadlock, which loom reports. Time does not pass: no wait ends by its timeout.
#![cfg(loom)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bridge::FromChain::Publish;
use bridge::{
    ChainSide, Config, ConnId, EngineEnd, Freshness, FromChain, Hash, Kind, LoopSide, Network,
    PackingConfig, Payload, Request, SendError, Source, ToChain, Wanted, Worker,
};
use codec::{Envelope, Message, Packing};
use loom::thread;

const BYTES: usize = 21_568_610;

/// About half of a lane's bytes: two fit, if nothing else is there.
static LARGE: LazyLock<Payload> = LazyLock::new(|| {
    let body = vec![0; 10_784_256];
    Payload::seal(&Network::DEV, Kind::KernelSegment, &body).expect("within the limit")
});

fn open(items: usize) -> (LoopSide, ChainSide) {
    let (loop_side, chain_side, _nobody) = open_with_worker(items);
    (loop_side, chain_side)
}

fn open_with_worker(items: usize) -> (LoopSide, ChainSide, Worker) {
    let config = Config {
        to_chain_items: items,
        to_chain_bytes: BYTES,
        from_chain_items: items,
        from_chain_bytes: BYTES,
        packing: PackingConfig { bytes_min: 32, ..PackingConfig::default() },
    };
    let (loop_side, chain_side, mut workers) = bridge::open_with(config, &Network::DEV).unwrap();
    (loop_side, chain_side, workers.pop().unwrap())
}

static SMALL: LazyLock<Payload> = LazyLock::new(|| {
    Payload::seal(&Network::DEV, Kind::Transaction, &[0; 66]).expect("within the limit")
});

const SOURCE: Source = Source {
    conn: ConnId::new(1, 1),
    addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3414),
};

fn event(number: u8) -> ToChain {
    ToChain::Announced { from: SOURCE, kind: Kind::Transaction, id: Hash([number; 32]) }
}

fn command(number: u32) -> FromChain {
    FromChain::Request { to: ConnId::new(number, 0), request: Request::Block(Hash([0; 32])) }
}

fn number(command: &FromChain) -> u32 {
    match command {
        FromChain::Request { to, .. } => to.index(),
        other => panic!("only requests are numbered: {other:?}"),
    }
}

/// Explores with at most this many preemptions of running threads, and prints how many executions
/// that made.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("{executions} executions with at most {preemptions} preemptions");
}

/// As the engine does it, with the ring's write made at once.
fn end_of_turn(loop_side: &mut LoopSide) {
    if loop_side.chain_waits() {
        loop_side.chain_fd().add();
    }
}

/// One wait of the loop. A ring reports an addition once, which is as good as clearing.
fn sleep(loop_side: &mut LoopSide, room: bool) {
    if loop_side.prepare_sleep(Wanted { commands: true, room }) {
        loop_side.wake_fd().wait(None);
        loop_side.wake_fd().clear();
        loop_side.awake();
    }
}

#[test]
fn the_chain_is_woken_for_every_event_and_for_the_end() {
    explore(4, || {
        let (mut loop_side, mut chain_side) = open(2);
        let chain = thread::spawn(move || {
            assert_eq!(chain_side.recv(), Ok(event(0)));
            assert_eq!(chain_side.recv(), Ok(event(1)));
            assert_eq!(chain_side.recv(), Err(EngineEnd::Stopped));
            assert_eq!(chain_side.recv(), Err(EngineEnd::Stopped));
        });
        for number in 0..2 {
            loop_side.push(event(number));
            end_of_turn(&mut loop_side);
        }
        loop_side.end(EngineEnd::Stopped);
        chain.join().unwrap();
    });
}

/// The engine may end between taking the chain's announcement and the ring's write.
#[test]
fn the_end_wakes_the_chain_although_its_wake_was_lost_in_the_ring() {
    explore(4, || {
        let (mut loop_side, mut chain_side) = open(2);
        let chain = thread::spawn(move || {
            assert_eq!(chain_side.recv(), Ok(event(0)));
            assert_eq!(chain_side.recv(), Err(EngineEnd::Panicked("at noon".to_owned())));
        });
        loop_side.push(event(0));
        let _never_written = loop_side.chain_waits();
        loop_side.end(EngineEnd::Panicked("at noon".to_owned()));
        chain.join().unwrap();
    });
}

/// A poll of one's own: `None` means that the descriptor becomes readable.
#[test]
fn a_polling_chain_is_woken() {
    explore(4, || {
        let (mut loop_side, mut chain_side) = open(2);
        let chain = thread::spawn(move || {
            let mut received = 0;
            let mut end = None;
            while end.is_none() {
                match chain_side.try_recv() {
                    Ok(Some(_)) => received += 1,
                    Ok(None) => chain_side.fd().wait(None),
                    Err(why) => end = Some(why),
                }
            }
            assert_eq!(received, 1);
        });
        loop_side.push(event(0));
        end_of_turn(&mut loop_side);
        drop(loop_side);
        chain.join().unwrap();
    });
}

#[test]
fn the_loop_is_woken_for_every_command_of_two_producers() {
    explore(3, || {
        let (mut loop_side, chain_side) = open(2);
        let publisher = chain_side.publisher();
        let other = thread::spawn(move || publisher.send(command(1)).unwrap());
        let chain = thread::spawn(move || chain_side.send(command(2)).unwrap());
        let mut seen = 0;
        while seen != 0b110 {
            while let Some(command) = loop_side.pop() {
                let bit = 1 << number(&command);
                assert_eq!(seen & bit, 0, "received twice");
                seen |= bit;
            }
            if seen != 0b110 {
                sleep(&mut loop_side, false);
            }
        }
        other.join().unwrap();
        chain.join().unwrap();
    });
}

/// The starved direction: the loop pushes three events through a lane of two.
#[test]
fn a_starved_loop_is_woken_when_half_of_the_lane_is_free() {
    explore(4, || {
        let (mut loop_side, mut chain_side) = open(2);
        let chain = thread::spawn(move || {
            let received: Vec<_> = (0..3).map(|_| chain_side.recv().unwrap()).collect();
            assert_eq!(received, [event(0), event(1), event(2)]);
            chain_side // dropped later: its own wake would hide a lost one
        });
        for number in 0..3 {
            while loop_side.room().items == 0 {
                sleep(&mut loop_side, true);
            }
            loop_side.push(event(number));
            end_of_turn(&mut loop_side);
        }
        chain.join().unwrap();
    });
}

/// The same with a chain that drains in batches, and with bytes instead of items.
#[test]
fn a_loop_starved_of_bytes_is_woken_by_a_batch() {
    explore(4, || {
        let (mut loop_side, mut chain_side) = open(4);
        let large =
            ToChain::Payload { from: SOURCE, payload: LARGE.clone(), freshness: Freshness::New };
        let chain = thread::spawn(move || {
            let mut received = vec![chain_side.recv().unwrap()];
            while received.len() < 3 {
                if chain_side.recv_batch(&mut received, 2, std::time::Duration::MAX).unwrap() == 0 {
                    panic!("a wait without end gave nothing");
                }
            }
            chain_side
        });
        for _ in 0..3 {
            while loop_side.room().bytes < large.bytes() {
                sleep(&mut loop_side, true);
            }
            loop_side.push(large.clone());
            end_of_turn(&mut loop_side);
        }
        chain.join().unwrap();
    });
}

/// Bounds are exact: of two items for the last place, and of two payloads for the last bytes, one
/// gets it, and the account is level afterwards (`pop` asserts that it never falls below zero).
#[test]
fn producers_that_race_for_the_last_room_never_exceed_it() {
    for command in [(|| command(1)) as fn() -> FromChain, || Publish(LARGE.clone())] {
        explore(4, move || {
            let by_items = command().bytes() == 0;
            let (mut loop_side, chain_side) = open(if by_items { 2 } else { 3 });
            let first = chain_side.publisher();
            // Leaves one place, or bytes for one of two large payloads.
            let small = if by_items { command() } else { Publish(SMALL.clone()) };
            first.send(small).unwrap();
            let race = |publisher: bridge::Publisher| {
                thread::spawn(move || match publisher.send(command()) {
                    Ok(()) => 1,
                    Err(SendError::Full(_)) => 0,
                    Err(SendError::Gone(_)) => panic!("the loop is here"),
                })
            };
            let racers = [race(first.clone()), race(first)];
            let queued: usize = racers.map(|racer| racer.join().unwrap()).iter().sum();
            assert_eq!(queued, 1);
            let popped = std::iter::from_fn(|| loop_side.pop()).count();
            assert_eq!(popped, 2);
            chain_side.send(command()).unwrap();
        });
    }
}

/// While the loop takes out, producers see room come back, never more than there is.
#[test]
fn room_that_comes_back_is_counted_once() {
    explore(3, || {
        let (mut loop_side, chain_side) = open(2);
        chain_side.send(command(0)).unwrap();
        chain_side.send(command(0)).unwrap();
        let publisher = chain_side.publisher();
        let other = thread::spawn(move || usize::from(publisher.send(command(0)).is_ok()));
        let chain = thread::spawn(move || usize::from(chain_side.send(command(0)).is_ok()));
        let mut popped = usize::from(loop_side.pop().is_some());
        let sent = 2 + other.join().unwrap() + chain.join().unwrap();
        popped += std::iter::from_fn(|| loop_side.pop()).count();
        assert_eq!(popped, sent);
        assert!(sent <= 3, "one place came free, and one command took it");
    });
}

#[test]
fn a_sleeping_loop_learns_that_the_chain_is_gone() {
    explore(4, || {
        let (mut loop_side, chain_side) = open(2);
        let chain = thread::spawn(move || drop(chain_side));
        loop_side.push(event(0));
        loop_side.push(event(1));
        while !loop_side.chain_gone() {
            sleep(&mut loop_side, true);
        }
        assert_eq!(loop_side.room().items, 2);
        loop_side.push(event(2));
        chain.join().unwrap();
    });
}

#[test]
fn a_call_that_comes_before_the_sleep_is_not_lost() {
    explore(4, || {
        let (mut loop_side, _chain_side) = open(2);
        let waker = loop_side.waker();
        let left = loom::sync::Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let control = thread::spawn({
            let left = loom::sync::Arc::clone(&left);
            move || {
                left.store(true, loom::sync::atomic::Ordering::Relaxed);
                waker.wake();
            }
        });
        // Looks at what was left before it prepares its sleep, and not in between.
        while !left.load(loom::sync::atomic::Ordering::Relaxed) {
            sleep(&mut loop_side, false);
        }
        control.join().unwrap();
    });
}

#[test]
fn commands_that_race_with_the_end_are_taken_or_come_back() {
    explore(4, || {
        let (loop_side, chain_side) = open(2);
        let publisher = chain_side.publisher();
        let engine = thread::spawn(move || loop_side.end(EngineEnd::Stopped));
        match publisher.send(command(0)) {
            Ok(()) | Err(SendError::Gone(_)) => {}
            Err(SendError::Full(_)) => panic!("the lane is empty"),
        }
        engine.join().unwrap();
        assert_eq!(publisher.send(command(0)), Err(SendError::Gone(command(0))));
    });
}

/// A block that packs to less than half.
static BLOCK: LazyLock<Payload> = LazyLock::new(|| {
    Payload::seal(&Network::DEV, Kind::Block, &[0; 128]).expect("within the limit")
});

/// It in an envelope that needs no packing, behind its id or another one.
fn envelope(id: Hash) -> ToChain {
    let (body, network) = (BLOCK.body(), Network::DEV);
    let inside = Envelope {
        kind: Kind::Block,
        packing: Packing::Stored,
        plain_bytes: body.len() as u32,
        id,
        data: body,
    };
    let payload = Message::Packed(inside).to_payload(&network, 3).expect("within the limit");
    ToChain::Payload { from: SOURCE, payload, freshness: Freshness::New }
}

/// A job may end at any moment: what comes behind it waits or passes, and never overtakes it. The
/// end waits for what is being opened.
#[test]
fn what_stands_behind_an_envelope_comes_after_it_and_wakes_the_chain() {
    explore(2, || {
        let (mut loop_side, mut chain_side, worker) = open_with_worker(2);
        let worker = thread::spawn(move || worker.run());
        let chain = thread::spawn(move || {
            let opened = chain_side.recv();
            assert!(matches!(opened, Ok(ToChain::Payload { payload, .. }) if payload == *BLOCK));
            assert_eq!(chain_side.recv(), Ok(event(1)));
            assert_eq!(chain_side.recv(), Err(EngineEnd::Stopped));
        });
        loop_side.push(envelope(BLOCK.id()));
        loop_side.push(event(1));
        end_of_turn(&mut loop_side);
        loop_side.end(EngineEnd::Stopped);
        chain.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn a_bad_envelope_wakes_the_loop_and_gives_its_room_back_once() {
    explore(3, || {
        let (mut loop_side, chain_side, worker) = open_with_worker(2);
        let worker = thread::spawn(move || worker.run());
        loop_side.push(envelope(Hash([7; 32])));
        assert_eq!(loop_side.room().items, 1);
        loop {
            match loop_side.pop() {
                Some(FromChain::BadEnvelope { from, .. }) => break assert_eq!(from, SOURCE),
                Some(other) => panic!("{other:?}"),
                None => sleep(&mut loop_side, false),
            }
        }
        assert_eq!((loop_side.room().items, loop_side.room().bytes), (2, BYTES));
        drop(loop_side);
        drop(chain_side);
        worker.join().unwrap();
    });
}

/// Two jobs and a plain delivery behind one of them, while the loop takes what is there.
#[test]
fn deliveries_to_one_peer_stay_in_order_whenever_a_job_ends() {
    explore(2, || {
        let (mut loop_side, chain_side, worker) = open_with_worker(3);
        let (peer, other) = (SOURCE.conn, ConnId::new(2, 1));
        loop_side.opens(peer);
        loop_side.opens(other);
        let worker = thread::spawn(move || worker.run());
        let chain = thread::spawn(move || {
            let deliver = |to, payload: &Payload| {
                let payload = payload.clone();
                chain_side.send(FromChain::Deliver { to, payload }).unwrap();
            };
            deliver(peer, &BLOCK);
            deliver(other, &BLOCK);
            deliver(peer, &SMALL);
            chain_side // dropped later: its own wake would hide a lost one
        });
        let mut came = Vec::new();
        while came.len() < 3 {
            match loop_side.pop() {
                Some(FromChain::Deliver { to, payload }) => came.push((to, payload.kind())),
                Some(other) => panic!("{other:?}"),
                None => sleep(&mut loop_side, false),
            }
        }
        came.retain(|(to, _)| *to == peer);
        assert_eq!(came, [(peer, Kind::Block), (peer, Kind::Transaction)]);
        drop(chain.join().unwrap());
        drop(loop_side);
        worker.join().unwrap();
    });
}

/// Both directions at once, and an end that gives up what is to be packed.
#[test]
fn the_end_may_come_with_jobs_under_way() {
    explore(2, || {
        let (mut loop_side, chain_side, worker) = open_with_worker(2);
        loop_side.opens(SOURCE.conn);
        let worker = thread::spawn(move || worker.run());
        let chain = thread::spawn(move || {
            let deliver = FromChain::Deliver { to: SOURCE.conn, payload: BLOCK.clone() };
            match chain_side.send(deliver) {
                Ok(()) | Err(SendError::Gone(_)) => {}
                Err(SendError::Full(_)) => panic!("the lane is empty"),
            }
        });
        loop_side.push(envelope(BLOCK.id()));
        loop_side.end(EngineEnd::Stopped);
        chain.join().unwrap();
        worker.join().unwrap();
    });
}
