//! What the core costs in a turn: taking in lent buffers, and fanning one payload out.
//!
//! An endpoint with greeted peers is fed through its door, as the engine's loop does, and what
//! comes out is dropped. Buffers hold 54 transactions of 300 bytes: one receive of 16 KiB.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use codec::{Capabilities, FRAME_HEADER_BYTES, Hand, Kind, Message, Network, Payload};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peer::{Config, ConnId, Credit, Endpoint, FromChain, Input, Instant, Output, Rng};

/// Frames of one lent buffer.
const BUFFER_FRAMES: usize = 54;

/// A relayed transaction, about.
const FRAME_BYTES: usize = 300;

/// Peers that take turns in delivering.
const PEERS: u32 = 64;

/// Payloads known before the measurement, of which duplicates are drawn.
const KNOWN: u64 = 500_000;

const NETWORK: Network = Network::DEV;

const NOW: Instant = Instant::START;

/// As the engine gives it while the chain keeps up.
const CREDIT: Credit = Credit { frames: 256, items: 65_536, bytes: 64 << 20 };

fn drain(endpoint: &mut Endpoint) -> u64 {
    let mut sent_to_chain = 0;
    while let Some(output) = endpoint.poll_output() {
        sent_to_chain += u64::from(matches!(output, Output::ToChain(_)));
        black_box(&output);
    }
    sent_to_chain
}

/// An endpoint with so many greeted peers, in slots from 0.
fn endpoint(peers: u32) -> Endpoint {
    let mut endpoint = Endpoint::new(Config::new(NETWORK), [7; 32]);
    for slot in 0..peers {
        let conn = ConnId::new(slot, 1);
        let addr = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 | slot), NETWORK.port));
        endpoint.handle(NOW, Input::Accepted { conn, addr });
        drain(&mut endpoint);
        let hand = Message::Hand(Hand {
            version: 1000,
            capabilities: Capabilities::UNKNOWN,
            nonce: u64::from(slot),
            total_difficulty: 0,
            sender_addr: addr,
            receiver_addr: addr,
            user_agent: "turn",
            genesis: NETWORK.genesis,
        });
        let mut frame = Vec::new();
        hand.encode_frame(&NETWORK, 1000, &mut frame).expect("it has a form in every version");
        let bytes = &frame[..];
        assert_eq!(
            endpoint.handle(NOW, Input::Received { conn, bytes, credit: CREDIT }),
            frame.len()
        );
        drain(&mut endpoint);
    }
    assert_eq!(endpoint.counts().inbound, u64::from(peers));
    endpoint
}

/// Lent buffers whose frames differ in the number of their payload.
struct Deliveries {
    buffer: Vec<u8>,
    next: u64,
    rng: Rng,
    turn: u32,
}

impl Deliveries {
    fn new() -> Self {
        let body = [7; FRAME_BYTES - FRAME_HEADER_BYTES];
        let payload = Payload::seal(&NETWORK, Kind::Transaction, &body).expect("small enough");
        let buffer = payload.frame().repeat(BUFFER_FRAMES);
        Self { buffer, next: 0, rng: Rng::from_seed([3; 32]), turn: 0 }
    }

    /// Numbers the frames anew: `new_in_ten` of ten are new. Cheap against taking them in.
    fn renumber(&mut self, new_in_ten: u64) {
        for frame in self.buffer.chunks_exact_mut(FRAME_BYTES) {
            let number = if new_in_ten == 10 || new_in_ten > 0 && self.rng.chance(new_in_ten, 10) {
                self.next += 1;
                self.next
            } else {
                self.next - self.rng.below(KNOWN)
            };
            frame[FRAME_HEADER_BYTES..][..8].copy_from_slice(&number.to_be_bytes());
        }
    }

    /// The next peer delivers the buffer; answers how many payloads the chain would get.
    fn deliver(&mut self, endpoint: &mut Endpoint) -> u64 {
        self.turn = (self.turn + 1) % PEERS;
        let conn = ConnId::new(self.turn, 1);
        let bytes = &self.buffer[..];
        let consumed = endpoint.handle(NOW, Input::Received { conn, bytes, credit: CREDIT });
        assert_eq!(consumed, self.buffer.len());
        drain(endpoint)
    }
}

/// One lent buffer with many duplicates, some, or none.
fn take_in(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn/take_in");
    group.throughput(Throughput::Elements(BUFFER_FRAMES as u64));
    for new_in_ten in [10, 1, 0] {
        let mut endpoint = endpoint(PEERS);
        let mut deliveries = Deliveries::new();
        while deliveries.next < KNOWN {
            deliveries.renumber(10);
            assert_eq!(deliveries.deliver(&mut endpoint), BUFFER_FRAMES as u64);
        }
        let duplicates = 100 - 10 * new_in_ten;
        group.bench_function(
            BenchmarkId::from_parameter(format!("duplicates={duplicates}")),
            |b| {
                b.iter(|| {
                    deliveries.renumber(new_in_ten);
                    deliveries.deliver(&mut endpoint)
                });
            },
        );
    }
    group.finish();
}

/// One payload of the chain to all peers: the core's share, without the sends.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn/fan_out");
    for peers in [1_000, 10_000] {
        let mut endpoint = endpoint(peers);
        let mut number: u64 = 0;
        group.throughput(Throughput::Elements(u64::from(peers)));
        group.bench_function(BenchmarkId::from_parameter(format!("peers={peers}")), |b| {
            b.iter_batched(
                || {
                    number += 1;
                    let body = number.to_be_bytes();
                    Payload::seal(&NETWORK, Kind::Transaction, &body).expect("small enough")
                },
                |payload| {
                    endpoint.handle(NOW, Input::FromChain(FromChain::Publish(payload)));
                    drain(&mut endpoint)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, take_in, fan_out);
criterion_main!(benches);
