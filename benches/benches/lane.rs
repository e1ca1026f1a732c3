//! Lanes: what handing one item to another thread costs, in batches, by the queue beneath.
//!
//! Two patterns. `turn`: one thread pushes 64 and drains 64, so that only instructions count.
//! `stream`: producers and one consumer on threads of their own, each as fast as it can. It needs a
//! core for each: beside other work it is noise, and `turn` is what compares. Every queue holds
//! 8,192 items; where one is unbounded of its own, a count beside it bounds it. The bridge's lanes
//! do more than the others: they bound bytes, and look whether the other side sleeps.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bridge::{ConnId, FromChain, Kind, Network, Payload, Source, ToChain, Verdict};
use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::{ArrayQueue, SegQueue};

const CAPACITY: usize = 8_192;
const BATCH: usize = 64;

/// As large as an event.
type Item = [u64; size_of::<ToChain>() / 8];

/// Items that travel in one round, so that the threads' start does not count.
const ROUND_MIN: u64 = 100_000;

/// Pushes and drains on one thread; nanoseconds for one item.
fn turn<T: Clone>(
    b: &mut Bencher<'_>,
    item: T,
    mut push: impl FnMut(T) -> bool,
    mut drain: impl FnMut(&mut Vec<T>),
) {
    let mut taken = Vec::with_capacity(CAPACITY);
    b.iter_custom(|iters| {
        let rounds = iters.div_ceil(BATCH as u64);
        let start = Instant::now();
        for _ in 0..rounds {
            for _ in 0..BATCH {
                assert!(push(item.clone()));
            }
            drain(&mut taken);
            assert_eq!(taken.len(), BATCH);
            black_box(&mut taken).clear();
        }
        start.elapsed().div_f64(rounds as f64 * BATCH as f64 / iters as f64)
    });
}

/// Pushes from some threads and drains on another; nanoseconds for one item.
fn stream<T: Clone + Send>(
    b: &mut Bencher<'_>,
    item: T,
    mut pushes: Vec<impl FnMut(T) -> bool + Send>,
    mut drain: impl FnMut(&mut Vec<T>),
) {
    b.iter_custom(|iters| {
        let each = iters.max(ROUND_MIN).div_ceil(pushes.len() as u64);
        let total = each * pushes.len() as u64;
        let start = Instant::now();
        thread::scope(|scope| {
            for push in &mut pushes {
                let item = item.clone();
                scope.spawn(move || {
                    for _ in 0..each {
                        while !push(item.clone()) {
                            thread::yield_now();
                        }
                    }
                });
            }
            let mut taken = Vec::with_capacity(CAPACITY);
            let mut received = 0;
            while received < total {
                drain(&mut taken);
                if taken.is_empty() {
                    thread::yield_now();
                }
                received += taken.len() as u64;
                black_box(&mut taken).clear();
            }
        });
        start.elapsed().div_f64(total as f64 / iters as f64)
    });
}

/// A queue with ends that can be used in any pattern.
macro_rules! patterns {
    ($c:expr, $name:literal, $queue:expr, $push:expr, $drain:expr) => {{
        let mut group = $c.benchmark_group("lane");
        group.throughput(Throughput::Elements(1));
        let item = [7; size_of::<Item>() / 8];
        group.bench_function(BenchmarkId::new("turn", concat!("queue=", $name)), |b| {
            let queue = &$queue;
            turn(b, item, |item: Item| $push(queue, item), |into| $drain(queue, into));
        });
        for producers in [1, 2] {
            let id = BenchmarkId::new("stream", format!("queue={},producers={producers}", $name));
            group.bench_function(id, |b| {
                let queue = &$queue;
                let pushes = (0..producers).map(|_| |item: Item| $push(queue, item)).collect();
                stream(b, item, pushes, |into| $drain(queue, into));
            });
        }
        group.finish();
    }};
}

fn shared_queues(c: &mut Criterion) {
    patterns!(
        c,
        "array",
        ArrayQueue::new(CAPACITY),
        |queue: &ArrayQueue<Item>, item| queue.push(item).is_ok(),
        |queue: &ArrayQueue<Item>, into: &mut Vec<Item>| {
            into.extend(std::iter::from_fn(|| queue.pop()).take(CAPACITY));
        }
    );
    patterns!(
        c,
        "seg_counted",
        (SegQueue::new(), AtomicUsize::new(0)),
        |(queue, count): &(SegQueue<Item>, AtomicUsize), item| {
            let room = |n| (n < CAPACITY).then_some(n + 1);
            let reserved = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
            if reserved {
                queue.push(item);
            }
            reserved
        },
        |(queue, count): &(SegQueue<Item>, AtomicUsize), into: &mut Vec<Item>| {
            into.extend(std::iter::from_fn(|| queue.pop()).take(CAPACITY));
            if !into.is_empty() {
                count.fetch_sub(into.len(), Ordering::Relaxed);
            }
        }
    );
    patterns!(
        c,
        "crossbeam_channel",
        crossbeam_channel::bounded(CAPACITY),
        |(sender, _): &Channel, item| sender.try_send(item).is_ok(),
        |(_, receiver): &Channel, into: &mut Vec<Item>| {
            into.extend(receiver.try_iter().take(CAPACITY));
        }
    );
    patterns!(
        c,
        "mutex_deque",
        Mutex::new(VecDeque::with_capacity(CAPACITY)),
        |queue: &Mutex<VecDeque<Item>>, item| {
            let mut queue = queue.lock().unwrap();
            let room = queue.len() < CAPACITY;
            if room {
                queue.push_back(item);
            }
            room
        },
        |queue: &Mutex<VecDeque<Item>>, into: &mut Vec<Item>| into
            .extend(queue.lock().unwrap().drain(..))
    );
}

type Channel = (crossbeam_channel::Sender<Item>, crossbeam_channel::Receiver<Item>);

/// Queues whose ends are apart: one producer, or producers that are cloned.
fn ended_queues(c: &mut Criterion) {
    let mut group = c.benchmark_group("lane");
    group.throughput(Throughput::Elements(1));
    let item: Item = [7; size_of::<Item>() / 8];

    let drain_ring = |receiver: &mut rtrb::Consumer<Item>, into: &mut Vec<Item>| {
        into.extend(std::iter::from_fn(|| receiver.pop().ok()).take(CAPACITY));
    };
    group.bench_function(BenchmarkId::new("turn", "queue=rtrb"), |b| {
        let (mut sender, mut receiver) = rtrb::RingBuffer::new(CAPACITY);
        turn(b, item, |item| sender.push(item).is_ok(), |into| drain_ring(&mut receiver, into));
    });
    group.bench_function(BenchmarkId::new("stream", "queue=rtrb,producers=1"), |b| {
        let (mut sender, mut receiver) = rtrb::RingBuffer::new(CAPACITY);
        let pushes = vec![|item| sender.push(item).is_ok()];
        stream(b, item, pushes, |into| drain_ring(&mut receiver, into));
    });

    group.bench_function(BenchmarkId::new("turn", "queue=std_mpsc"), |b| {
        let (sender, receiver) = mpsc::sync_channel(CAPACITY);
        let drain = |into: &mut Vec<Item>| into.extend(receiver.try_iter().take(CAPACITY));
        turn(b, item, |item| sender.try_send(item).is_ok(), drain);
    });
    for producers in [1, 2] {
        let id = BenchmarkId::new("stream", format!("queue=std_mpsc,producers={producers}"));
        group.bench_function(id, |b| {
            let (sender, receiver) = mpsc::sync_channel(CAPACITY);
            let push = || {
                let sender = sender.clone();
                move |item| sender.try_send(item).is_ok()
            };
            let pushes = (0..producers).map(|_| push()).collect();
            stream(b, item, pushes, |into| into.extend(receiver.try_iter().take(CAPACITY)));
        });
    }
    group.finish();
}

fn source() -> Source {
    Source { conn: ConnId::new(1, 1), addr: SocketAddr::from(([127, 0, 0, 1], 3414)) }
}

/// The lanes themselves, with what they do beside.
fn bridge_lanes(c: &mut Criterion) {
    let mut group = c.benchmark_group("lane");
    group.throughput(Throughput::Elements(1));
    let config = bridge::Config {
        to_chain_items: CAPACITY,
        from_chain_items: CAPACITY,
        ..bridge::Config::default()
    };
    let payload = Payload::seal(&Network::DEV, Kind::Transaction, &[7; 500]).unwrap();
    let event = ToChain::Announced { from: source(), kind: payload.kind(), id: payload.id() };
    let command = FromChain::Verdict { from: source(), payload, verdict: Verdict::Accept };

    group.bench_function(BenchmarkId::new("turn", "to_chain"), |b| {
        let (mut loop_side, mut chain_side) = bridge::open(config, &Network::DEV).unwrap();
        let push = |event| {
            loop_side.push(event);
            true
        };
        turn(b, event.clone(), push, |into| {
            chain_side.recv_batch(into, CAPACITY, Duration::ZERO).unwrap();
        });
    });
    group.bench_function(BenchmarkId::new("turn", "to_chain_one_by_one"), |b| {
        let (mut loop_side, mut chain_side) = bridge::open(config, &Network::DEV).unwrap();
        let push = |event| {
            loop_side.push(event);
            true
        };
        turn(b, event.clone(), push, |into| {
            into.extend((0..BATCH).map(|_| chain_side.recv().unwrap()));
        });
    });
    group.bench_function(BenchmarkId::new("stream", "to_chain"), |b| {
        let (mut loop_side, mut chain_side) = bridge::open(config, &Network::DEV).unwrap();
        let push = |event| {
            let room = loop_side.room().items > 0;
            if room {
                loop_side.push(event);
            }
            room
        };
        // No wait: nobody submits the loop's writes here.
        stream(b, event.clone(), vec![push], |into| {
            chain_side.recv_batch(into, CAPACITY, Duration::ZERO).unwrap();
        });
    });
    group.bench_function(BenchmarkId::new("turn", "from_chain"), |b| {
        let (mut loop_side, chain_side) = bridge::open(config, &Network::DEV).unwrap();
        let push = |command| chain_side.send(command).is_ok();
        turn(b, command.clone(), push, |into| into.extend(std::iter::from_fn(|| loop_side.pop())));
    });
    for producers in [1, 2] {
        let id = BenchmarkId::new("stream", format!("from_chain,producers={producers}"));
        group.bench_function(id, |b| {
            let (mut loop_side, chain_side) = bridge::open(config, &Network::DEV).unwrap();
            let push = || {
                let publisher = chain_side.publisher();
                move |command| publisher.send(command).is_ok()
            };
            let pushes = (0..producers).map(|_| push()).collect();
            stream(b, command.clone(), pushes, |into| {
                into.extend(std::iter::from_fn(|| loop_side.pop()).take(CAPACITY));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = lane;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(3));
    targets = shared_queues, ended_queues, bridge_lanes
}
criterion_main!(lane);
