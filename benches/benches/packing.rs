//! What packing saves and costs: levels of zstd on a real block and its transactions, whether a
//! trained dictionary helps small ones, where packing begins to pay, and what noise costs.
//!
//! Tables, not samples: a ratio is exact; a speed is reckoned from the CPU time of the thread, in
//! the best of some runs, since the machine's other work only ever slows one down. What a saturated
//! pool costs the loop is measured by `compare packing`.

use std::hint::black_box;
use std::time::Duration;

use bitcoin::consensus::encode;
use rustix::time::{ClockId, clock_gettime};
use zstd::bulk::{Compressor, Decompressor};

/// Levels that are asked about: what may be configured, and two beyond.
const LEVELS: [i32; 9] = [-5, -1, 1, 2, 3, 5, 7, 9, 12];

/// Of each measurement.
const RUNS: u32 = 5;

/// How long a run takes at least.
const RUN: Duration = Duration::from_millis(60);

/// Bytes of trained dictionaries.
const DICTIONARIES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

/// Limits of the classes of small bodies, in bytes.
const CLASSES: [usize; 6] = [256, 512, 1 << 10, 2 << 10, 4 << 10, usize::MAX];

fn main() {
    let block = bitcoin_test_data::blocks::mainnet_702861();
    let decoded: bitcoin::Block = encode::deserialize(block).expect("the published block decodes");
    let transactions: Vec<_> = decoded.txdata.iter().map(encode::serialize).collect();
    println!("a real block of {} bytes with {} transactions", block.len(), transactions.len());
    levels("the block", &[block.to_vec()]);
    levels("its transactions, one by one", &transactions);
    classes(&transactions);
    dictionaries(&transactions);
    pieces(block);
    grin();
}

/// Ratio and speed of each level.
fn levels(what: &str, bodies: &[Vec<u8>]) {
    println!("\n{what}\n{:>6} {:>8} {:>12} {:>12}", "level", "ratio", "pack, MB/s", "open, MB/s");
    let plain: usize = bodies.iter().map(Vec::len).sum();
    for level in LEVELS {
        let mut compressor = Compressor::new(level).expect("memory");
        let packed: Vec<_> = pack(&mut compressor, bodies);
        let ratio = packed.iter().map(Vec::len).sum::<usize>() as f64 / plain as f64;
        let packing = best(|| {
            black_box(pack(&mut compressor, bodies));
        });
        let mut decompressor = Decompressor::new().expect("memory");
        let opening = best(|| {
            for (packed, body) in packed.iter().zip(bodies) {
                black_box(decompressor.decompress(packed, body.len()).expect("it was packed"));
            }
        });
        let speed = |time: Duration| plain as f64 / 1e6 / time.as_secs_f64();
        println!("{level:>6} {ratio:>8.3} {:>12.0} {:>12.0}", speed(packing), speed(opening));
    }
}

fn pack(compressor: &mut Compressor<'_>, bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    bodies.iter().map(|body| compressor.compress(body).expect("memory")).collect()
}

/// The least time of some runs; each repeats the work for a while.
fn best(mut work: impl FnMut()) -> Duration {
    let run = |_| {
        let (begin, mut times) = (cpu_time(), 0);
        while cpu_time() - begin < RUN {
            work();
            times += 1;
        }
        (cpu_time() - begin) / times
    };
    (0..RUNS).map(run).min().unwrap_or_default()
}

/// What this thread has had of the CPU.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What is saved of small bodies, by their length; an envelope's head of 38 bytes is counted.
fn classes(transactions: &[Vec<u8>]) {
    println!("\ntransactions by length, level 3, envelope included");
    println!(
        "{:>10} {:>8} {:>8} {:>14} {:>10}",
        "up to", "count", "ratio", "saved, B each", "µs each"
    );
    let mut above = 0;
    for limit in CLASSES {
        let class: Vec<_> = transactions
            .iter()
            .filter(|one| (above..limit).contains(&one.len()))
            .cloned()
            .collect();
        above = limit;
        row(&limit.to_string(), &class, &mut Compressor::new(3).expect("memory"));
    }
}

fn row(name: &str, bodies: &[Vec<u8>], compressor: &mut Compressor<'_>) {
    let count = bodies.len();
    if count == 0 {
        return;
    }
    let plain: usize = bodies.iter().map(Vec::len).sum();
    let packed: usize = pack(compressor, bodies).iter().map(|packed| packed.len() + 38).sum();
    let time = best(|| {
        black_box(pack(compressor, bodies));
    });
    let saved = (plain as f64 - packed as f64) / count as f64;
    let each = time.as_secs_f64() * 1e6 / count as f64;
    let ratio = packed as f64 / plain as f64;
    println!("{name:>10} {count:>8} {ratio:>8.3} {saved:>14.0} {each:>10.1}");
}

/// Trained on one half, tested on the other.
fn dictionaries(transactions: &[Vec<u8>]) {
    let (trained, tested): (Vec<_>, Vec<_>) =
        transactions.iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let bodies = |half: Vec<(usize, &Vec<u8>)>| -> Vec<Vec<u8>> {
        half.into_iter().map(|(_, body)| body.clone()).collect()
    };
    let (trained, tested) = (bodies(trained), bodies(tested));
    println!("\na dictionary for transactions under 1 KiB, level 3, envelope included");
    println!(
        "{:>10} {:>8} {:>8} {:>14} {:>10}",
        "bytes", "count", "ratio", "saved, B each", "µs each"
    );
    let small: Vec<_> = tested.into_iter().filter(|one| one.len() < 1 << 10).collect();
    row("none", &small, &mut Compressor::new(3).expect("memory"));
    for bytes in DICTIONARIES {
        let dictionary = zstd::dict::from_samples(&trained, bytes).expect("enough samples");
        let mut compressor = Compressor::with_dictionary(3, &dictionary).expect("memory");
        row(&dictionary.len().to_string(), &small, &mut compressor);
    }
}

/// Where packing begins to pay: pieces of the block, as bodies of their own.
fn pieces(block: &[u8]) {
    println!("\npieces of the block, level 3, envelope included");
    println!(
        "{:>10} {:>8} {:>8} {:>14} {:>10}",
        "bytes", "count", "ratio", "saved, B each", "µs each"
    );
    for bytes in [256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10] {
        let pieces: Vec<_> = block.chunks_exact(bytes).map(<[u8]>::to_vec).collect();
        row(&bytes.to_string(), &pieces, &mut Compressor::new(3).expect("memory"));
    }
}

/// Mimblewimble: what is not a signature, a commitment or a range proof is small.
fn grin() {
    let vector = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.trim().bytes().map(hex).collect();
        let frame: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        frame[11..].to_vec()
    };
    println!("\nbodies of the reference implementation, level 3, envelope included");
    println!("{:>10} {:>8} {:>8} {:>14} {:>10}", "", "count", "ratio", "saved, B each", "µs each");
    let mut compressor = Compressor::new(3).expect("memory");
    for (name, text) in [
        ("tx", include_str!("../../codec/tests/vectors/tx_plain_v3.hex")),
        ("block", include_str!("../../codec/tests/vectors/block_with_tx_v3.hex")),
        ("outputs", include_str!("../../codec/tests/vectors/output_segment.hex")),
        ("kernels", include_str!("../../codec/tests/vectors/kernel_segment_v3.hex")),
    ] {
        row(name, &[vector(text)], &mut compressor);
    }
    // A block full of outputs: features, commitment, length, proof; only two are not noise.
    let mut noise = Noise(1);
    let output = |_| {
        let (commitment, proof) = (noise.bytes(33), noise.bytes(675));
        [&[0][..], &commitment, &675u64.to_be_bytes(), &proof].concat()
    };
    let outputs: Vec<u8> = (0..1_500).flat_map(output).collect();
    row("full block", std::slice::from_ref(&outputs), &mut compressor);
    row("its sample", &[outputs[..16 << 10].to_vec()], &mut compressor);
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}

struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let next = |_| {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 56) as u8
        };
        (0..count).map(next).collect()
    }
}
