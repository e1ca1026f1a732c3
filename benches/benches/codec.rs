//! Frames in and out: what cutting a stream costs, and small messages to bytes and back.
//!
//! Bytes lie in a warm buffer, as after a receive. Frames are pings (27 bytes, the smallest that
//! are common) and transactions of 300 bytes, header included.

use std::hint::black_box;

use codec::{
    Context, FRAME_HEADER_BYTES, Frame, FrameDecoder, Kind, Message, Network, Payload, Ping, Pong,
    Split, split,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A relayed transaction, about.
const FRAME_BYTES: usize = 300;

/// Bytes of the streams: they fit the second-level cache.
const STREAM_BYTES: usize = 256 << 10;

const NETWORK: Network = Network::DEV;

/// Newest version: messages do not depend on it, but the codec asks.
const VERSION: u32 = 1000;

fn transaction() -> Vec<u8> {
    let body = [7; FRAME_BYTES - FRAME_HEADER_BYTES];
    let payload = Payload::seal(&NETWORK, Kind::Transaction, &body).expect("small enough");
    payload.frame().to_vec()
}

fn ping() -> Vec<u8> {
    encoded(&PING)
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode_frame(&NETWORK, VERSION, &mut frame).expect("it has a form in every version");
    frame
}

const PING: Message<'_> = Message::Ping(Ping { total_difficulty: 1 << 40, height: 1 << 20 });
const PONG: Message<'_> = Message::Pong(Pong { total_difficulty: 1 << 40, height: 1 << 20 });

/// Whole frames, cut from the front as the batching reader does.
fn split_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/split");
    for (name, frame) in [("ping", ping()), ("transaction", transaction())] {
        let stream = frame.repeat(STREAM_BYTES / frame.len());
        group.throughput(Throughput::Elements((stream.len() / frame.len()) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("frame={name}")), |b| {
            b.iter(|| {
                let mut input = black_box(&stream[..]);
                while let Ok(Split::Whole(kind, frame)) = split(input, &NETWORK) {
                    black_box((kind, frame));
                    input = &input[frame.len()..];
                }
                assert!(input.is_empty());
            });
        });
    }
    group.finish();
}

/// A stream of transactions in slices of a receive buffer, whose ends cut frames apart.
fn decode_stream(c: &mut Criterion) {
    let stream = transaction().repeat(STREAM_BYTES / FRAME_BYTES);
    let frames = (stream.len() / FRAME_BYTES) as u64;
    let mut group = c.benchmark_group("codec/decode_stream");
    group.throughput(Throughput::Elements(frames));
    for slice_bytes in [16 << 10, 64 << 10] {
        group.bench_function(BenchmarkId::from_parameter(format!("slice={slice_bytes}")), |b| {
            b.iter(|| {
                let mut decoder = FrameDecoder::default();
                let mut count = 0;
                for mut slice in black_box(&stream[..]).chunks(slice_bytes) {
                    while let Ok(Some(frame)) = decoder.next(&mut slice, &NETWORK) {
                        black_box(frame.bytes());
                        count += 1;
                    }
                }
                assert_eq!(count, frames);
            });
        });
    }
    group.finish();
}

/// Small messages, both ways.
fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/encode");
    for (name, message) in [("ping", PING), ("pong", PONG)] {
        let mut out = Vec::with_capacity(64);
        group.bench_function(BenchmarkId::from_parameter(format!("message={name}")), |b| {
            b.iter(|| {
                out.clear();
                black_box(&message).encode_frame(&NETWORK, VERSION, &mut out).is_ok()
            });
        });
    }
    group.finish();
    let context = Context { version: VERSION, network: &NETWORK };
    let mut group = c.benchmark_group("codec/decode");
    for (name, message) in [("ping", PING), ("pong", PONG)] {
        let frame = encoded(&message);
        let body = &frame[FRAME_HEADER_BYTES..];
        group.bench_function(BenchmarkId::from_parameter(format!("message={name}")), |b| {
            b.iter(|| Message::decode(message.kind(), black_box(body), &context).is_ok());
        });
    }
    group.finish();
}

/// What a payload costs to make: from a body of the chain, and from a frame that came.
fn payloads(c: &mut Criterion) {
    let frame = transaction();
    let body = &frame[FRAME_HEADER_BYTES..];
    let mut group = c.benchmark_group("codec/payload");
    group.bench_function(BenchmarkId::from_parameter("from=body"), |b| {
        b.iter(|| Payload::seal(&NETWORK, Kind::Transaction, black_box(body)).is_ok());
    });
    group.bench_function(BenchmarkId::from_parameter("from=frame"), |b| {
        b.iter(|| {
            let frame = Frame::Borrowed(Kind::Transaction, black_box(&frame));
            Payload::from_frame(&NETWORK, frame)
        });
    });
    group.finish();
}

criterion_group!(benches, split_frames, decode_stream, messages, payloads);
criterion_main!(benches);
