//! Dropping duplicates: what a look-up costs, one by one and in batches, against other filters and
//! against the memory of the reference node; and what it costs to keep who has what.
//!
//! The stream of all `seen` benches is the same: frames of 300 bytes, nine of ten of them known,
//! drawn over all that the exact set remembers. Frames lie in a warm buffer, as after a receive;
//! what is cold is the table. Times are CPU time of the bench's one thread, so that whatever else
//! runs on the machine takes caches from it, but no time. Rates of false hints and of caught
//! duplicates are counted, not timed, and printed first.

use std::collections::{HashSet, VecDeque};
use std::hint::black_box;
use std::time::Duration;

use bloomfilter::Bloom;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use fastbloom::BloomFilter;
use peer::{
    Fingerprint, Inventory, InventoryLimits, PeerSlot, Rng, SEEN_SECRET_BYTES, SeenFilter,
    SeenLimits, Sequence,
};
use rustix::time::{ClockId, clock_gettime};
use siphasher::sip128::SipHasher13;
use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

/// A relayed transaction, about.
const FRAME_BYTES: usize = 300;

/// Frames cut from one lent buffer before any is handled.
const BATCH: usize = 32;

/// New payloads in ten frames.
const NEW_IN_TEN: u64 = 1;

/// Where a frame says which payload it is.
const NUMBER_AT: usize = 20;

fn secret() -> [u8; SEEN_SECRET_BYTES] {
    let mut secret = [0; SEEN_SECRET_BYTES];
    Rng::from_seed([9; 32]).fill(&mut secret);
    secret
}

/// Its halves must differ, or the two hashes of `bloomfilter` are one.
fn seed() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

/// Numbers of payloads: new ones count up, known ones are drawn from the last `recent`.
struct Stream {
    /// How far back each of the next frames reaches; 0 is a new payload. Drawn beforehand.
    ages: Vec<u32>,
    at: usize,
    newest: u64,
    recent: u64,
}

impl Stream {
    fn new(recent: u64) -> Self {
        let mut rng = Rng::from_seed([3; 32]);
        let mut age = |_| match rng.chance(NEW_IN_TEN, 10) {
            true => 0,
            false => 1 + rng.below(recent - BATCH as u64) as u32,
        };
        Self { ages: (0..1 << 20).map(&mut age).collect(), at: 0, newest: recent, recent }
    }

    fn next(&mut self) -> u64 {
        let age = u64::from(self.ages[self.at]);
        self.at = (self.at + 1) % self.ages.len();
        self.newest += u64::from(age == 0);
        self.newest - age.saturating_sub(1)
    }

    /// Writes the next payloads' numbers into their frames.
    fn fill(&mut self, frames: &mut [[u8; FRAME_BYTES]]) {
        for frame in frames {
            write(frame, self.next());
        }
    }
}

fn write(frame: &mut [u8; FRAME_BYTES], number: u64) {
    frame[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&number.to_le_bytes());
}

fn frames() -> Vec<[u8; FRAME_BYTES]> {
    let mut frames = vec![[0; FRAME_BYTES]; BATCH];
    let mut rng = Rng::from_seed([4; 32]);
    frames.iter_mut().for_each(|frame| rng.fill(frame));
    let first = frames[0];
    frames.fill(first);
    frames
}

/// A filter that has seen all of the stream's past.
fn filled(limits: SeenLimits, stream: &Stream, frame: &[u8; FRAME_BYTES]) -> SeenFilter {
    let mut seen = SeenFilter::new(limits, &secret());
    let mut frame = *frame;
    for number in 0..=stream.recent {
        write(&mut frame, number);
        seen.remember(seen.fingerprint(&frame));
    }
    seen
}

/// The engine's way: fingerprints, then perhaps loads, then look-ups.
fn receive(seen: &mut SeenFilter, frames: &[[u8; FRAME_BYTES]], touch: bool) -> u64 {
    let prints: [Fingerprint; BATCH] = std::array::from_fn(|i| seen.fingerprint(&frames[i]));
    if touch {
        black_box(seen.touch(&prints));
    }
    let mut known = 0;
    for print in prints {
        match seen.lookup(print) {
            Some(_) => known += 1,
            None => drop(seen.remember(print)),
        }
    }
    known
}

/// Each frame from its bytes to the answer before the next one is looked at.
fn receive_one_by_one(seen: &mut SeenFilter, frames: &[[u8; FRAME_BYTES]]) -> u64 {
    let mut known = 0;
    for frame in frames {
        let print = seen.fingerprint(black_box(frame));
        match black_box(seen.lookup(print)) {
            Some(_) => known += 1,
            None => drop(seen.remember(print)),
        }
    }
    known
}

fn seen(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("seen");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, recent_ids) in [("1048576", 1 << 20), ("16384", 1 << 14), ("1024", 1 << 10)] {
        let limits = SeenLimits { recent_ids, older_ids: 4 * recent_ids, ..SeenLimits::DEFAULT };
        let mut stream = Stream::new(u64::from(recent_ids));
        let mut frames = frames();
        let mut seen = filled(limits, &stream, &frames[0]);
        group.bench_function(format!("receive/set={name},touch=batch"), |b| {
            b.iter(|| {
                stream.fill(&mut frames);
                receive(&mut seen, &frames, true)
            });
        });
        group.bench_function(format!("receive/set={name},touch=none"), |b| {
            b.iter(|| {
                stream.fill(&mut frames);
                receive(&mut seen, &frames, false)
            });
        });
        group.bench_function(format!("receive/set={name},touch=one_by_one"), |b| {
            b.iter(|| {
                stream.fill(&mut frames);
                receive_one_by_one(&mut seen, &frames)
            });
        });
    }
    plain(&mut group);
    per_peer(&mut group);
    group.finish();
}

type Group<'a> = BenchmarkGroup<'a, CpuTime>;

/// The usual way: a bloom in front of the standard set, frame by frame.
fn plain(group: &mut Group<'_>) {
    let recent = 1 << 20;
    let mut stream = Stream::new(recent);
    let mut frames = frames();
    let secret = secret();
    let mut set: HashSet<u128> = HashSet::with_capacity(recent as usize);
    let mut order = VecDeque::with_capacity(recent as usize + 1);
    let mut bloom = Bloom::<u128>::new_with_seed(4 << 20, recent as usize, &seed()).unwrap();
    let mut receive = move |frame: &[u8; FRAME_BYTES]| {
        let print = xxh3_128_with_secret(&frame[2..], &secret);
        if bloom.check(&print) && set.contains(&print) {
            return true;
        }
        bloom.set(&print);
        set.insert(print);
        order.push_back(print);
        if order.len() > recent as usize {
            set.remove(&order.pop_front().unwrap());
        }
        false
    };
    for number in 0..=recent {
        write(&mut frames[0], number);
        receive(&frames[0]);
    }
    group.bench_function("receive/set=1048576,by=hash_set_and_bloomfilter", |b| {
        b.iter(|| {
            stream.fill(&mut frames);
            frames.iter().filter(|frame| receive(black_box(frame))).count()
        });
    });
}

/// Peers of the reference node's memory, and hashes that it keeps of each.
const PEERS: usize = 1000;
const HASHES_PER_PEER: usize = 30;

/// The reference node's memory: the last hashes of each peer, and nothing across peers.
struct PerPeer(Vec<VecDeque<u128>>);

impl PerPeer {
    fn new() -> Self {
        Self(vec![VecDeque::with_capacity(HASHES_PER_PEER); PEERS])
    }

    fn receive(&mut self, peer: usize, print: u128) -> bool {
        let hashes = &mut self.0[peer];
        let found = hashes.iter().position(|hash| *hash == print);
        match found {
            Some(place) => drop(hashes.remove(place)),
            None if hashes.len() == HASHES_PER_PEER => drop(hashes.pop_front()),
            None => {}
        }
        hashes.push_back(print);
        found.is_some()
    }
}

fn per_peer(group: &mut Group<'_>) {
    let mut stream = Stream::new(1 << 20);
    let mut rng = Rng::from_seed([6; 32]);
    let peers: Vec<usize> = (0..1 << 16).map(|_| rng.below(PEERS as u64) as usize).collect();
    let mut frames = frames();
    let secret = secret();
    let mut memory = PerPeer::new();
    let mut at = 0;
    group.bench_function("receive/peers=1000,by=thirty_hashes_per_peer", |b| {
        b.iter(|| {
            stream.fill(&mut frames);
            at = (at + BATCH) % peers.len();
            let from = frames.iter().zip(&peers[at..]);
            from.filter(|(frame, peer)| {
                memory.receive(**peer, xxh3_128_with_secret(&black_box(frame)[2..], &secret))
            })
            .count()
        });
    });
}

/// Ids of a generation in the comparison of blooms, and bits for each.
const OLDER_IDS: usize = 4 << 20;
const BITS: usize = SeenLimits::DEFAULT.older_bits_per_id as usize;

/// Two generations of somebody else's filter, turned over as ours are.
struct Generations<F> {
    young: F,
    old: F,
    ids: usize,
    clear: fn(&mut F),
}

impl<F> Generations<F> {
    fn new(new: impl Fn() -> F, clear: fn(&mut F)) -> Self {
        Self { young: new(), old: new(), ids: 0, clear }
    }

    /// Counts an insertion, and turns the generations over when the young one is full.
    fn count(&mut self) {
        if self.ids == OLDER_IDS {
            std::mem::swap(&mut self.young, &mut self.old);
            (self.clear)(&mut self.young);
            self.ids = 0;
        }
        self.ids += 1;
    }
}

fn ours() -> impl FnMut(u64) -> bool {
    let limits = SeenLimits { recent_ids: 1, ..SeenLimits::DEFAULT };
    let mut seen = SeenFilter::new(limits, &secret());
    move |number| seen.remember(seen.fingerprint(&framed(number))).perhaps_long_ago
}

fn bloomfilter() -> impl FnMut(u64) -> bool {
    let new = || Bloom::<u128>::new_with_seed(OLDER_IDS * BITS / 8, OLDER_IDS, &seed()).unwrap();
    let mut filter = Generations::new(new, Bloom::clear);
    let secret = secret();
    move |number| {
        let print = xxh3_128_with_secret(&framed(number)[2..], &secret);
        let hinted = filter.young.check(&print) || filter.old.check(&print);
        filter.count();
        filter.young.set(&print);
        hinted
    }
}

fn fastbloom() -> impl FnMut(u64) -> bool {
    let new = || BloomFilter::with_num_bits(OLDER_IDS * BITS).seed(&5).expected_items(OLDER_IDS);
    let mut filter = Generations::new(new, BloomFilter::clear);
    let secret = secret();
    move |number| {
        let hash = xxh3_128_with_secret(&framed(number)[2..], &secret) as u64;
        let hinted = filter.young.contains_hash(hash) || filter.old.contains_hash(hash);
        filter.count();
        filter.young.insert_hash(hash);
        hinted
    }
}

/// A short frame, so that the filter is measured and not the hash.
fn framed(number: u64) -> [u8; 10] {
    let mut frame = [0; 10];
    frame[2..].copy_from_slice(&number.to_le_bytes());
    frame
}

/// Fills both generations with new ids, prints how many of the last ones were hinted, which must
/// all be errors, and then times new ids: two queries and one insertion.
fn bloom_by(group: &mut Group<'_>, name: &str, mut remember: impl FnMut(u64) -> bool) {
    let full = 2 * OLDER_IDS as u64;
    let last = full - OLDER_IDS as u64 / 4;
    for number in 0..last {
        remember(number);
    }
    let wrong = (last..full).filter(|number| remember(*number)).count();
    println!("bloom/false_hints/by={name}: {wrong} of {}, nearly full", full - last);
    let mut number = full;
    group.bench_function(format!("remember/bits={BITS},by={name}"), |b| {
        b.iter(|| {
            number += 1;
            remember(black_box(number))
        });
    });
}

fn bloom(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("bloom");
    bloom_by(&mut group, "ours", ours());
    bloom_by(&mut group, "bloomfilter", bloomfilter());
    bloom_by(&mut group, "fastbloom", fastbloom());
    group.finish();
}

/// What share of duplicates each memory catches, where a payload comes from some ten of a thousand
/// peers, all within the time of 1,000 or of a million newer payloads.
fn caught(_: &mut Criterion<CpuTime>) {
    for recent in [1000, 1 << 20] {
        let mut stream = Stream::new(recent);
        let mut rng = Rng::from_seed([6; 32]);
        let mut seen = SeenFilter::new(SeenLimits::DEFAULT, &secret());
        let mut memory = PerPeer::new();
        let mut before: HashSet<u64> = (0..=recent).collect();
        for number in 0..=recent {
            seen.remember(seen.fingerprint(&framed(number)));
        }
        let (mut duplicates, mut by_seen, mut by_peer) = (0u64, 0u64, 0u64);
        for _ in 0..4_000_000 {
            let number = stream.next();
            let duplicate = !before.insert(number);
            let print = seen.fingerprint(&framed(number));
            let known = seen.lookup(print).is_some();
            seen.remember(print);
            let in_peer = memory.receive(rng.below(PEERS as u64) as usize, u128::from(number));
            duplicates += u64::from(duplicate);
            by_seen += u64::from(known);
            by_peer += u64::from(in_peer);
        }
        println!(
            "seen/caught/within={recent}: of {duplicates} duplicates the seen filter {by_seen}, \
             thirty hashes per peer {by_peer}"
        );
    }
}

fn inventory(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("inventory");
    for peers in [100u64, 1000, 10_000] {
        let mut inventory = Inventory::new(InventoryLimits::DEFAULT);
        let rows = u64::from(InventoryLimits::DEFAULT.rows);
        let slots: Vec<PeerSlot> = (0..peers).map_while(|_| inventory.join()).collect();
        let mut rng = Rng::from_seed([8; 32]);
        inventory.open_row(Sequence::new(rows - 1));
        for _ in 0..1_000_000 {
            let slot = *rng.pick(&slots).expect("there are peers");
            inventory.note(slot, Sequence::new(rng.below(rows)));
        }
        let sequences: Vec<Sequence> =
            (0..1 << 16).map(|_| Sequence::new(rng.below(rows))).collect();
        let mut batches = sequences.chunks_exact(BATCH).cycle();
        let mut peer = slots.iter().cycle();
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(format!("note/peers={peers}"), |b| {
            b.iter(|| {
                let slot = *peer.next().expect("endless");
                let batch = batches.next().expect("endless");
                batch.iter().for_each(|sequence| inventory.note(slot, *sequence));
            });
        });
        group.throughput(Throughput::Elements(1));
        let mut lacking = Vec::with_capacity(slots.len());
        let mut sequence = sequences.iter().cycle();
        group.bench_function(format!("lacking/peers={peers}"), |b| {
            b.iter(|| {
                lacking.clear();
                inventory.lacking(*sequence.next().expect("endless"), &mut lacking);
                lacking.len()
            });
        });
        let mut next = rows;
        group.bench_function(format!("open_row/peers={peers}"), |b| {
            b.iter(|| {
                inventory.open_row(Sequence::new(next));
                next += 1;
            });
        });
        let leaving: Vec<PeerSlot> = slots.iter().step_by(512).copied().collect();
        group.throughput(Throughput::Elements(leaving.len() as u64 * rows));
        group.bench_function(format!("sweep/peers={peers},blocks={}", leaving.len()), |b| {
            b.iter(|| {
                leaving.iter().for_each(|slot| inventory.leave(*slot));
                while inventory.sweep(4096) {}
                leaving.iter().for_each(|slot| assert_eq!(inventory.join(), Some(*slot)));
            });
        });
    }
    group.finish();
}

/// Payloads that a filter kept for each peer remembers, and how rarely it errs: as Bitcoin's nodes
/// keep of every peer, in 539 kB. This one takes 291 kB, since it keeps its generations apart.
const KNOWN_OF_A_PEER: usize = 50_000;
const FALSE_SHARE: f64 = 1e-6;

/// Three generations of half as many ids each, of which the oldest is cleared when the youngest is
/// full: so at least [`KNOWN_OF_A_PEER`] are remembered.
struct Rolling {
    generations: [BloomFilter; 3],
    ids: usize,
}

impl Rolling {
    fn new() -> Self {
        let generation = || {
            BloomFilter::with_false_pos(FALSE_SHARE / 3.0)
                .seed(&5)
                .expected_items(KNOWN_OF_A_PEER / 2)
        };
        Self { generations: std::array::from_fn(|_| generation()), ids: 0 }
    }

    fn bytes(&self) -> usize {
        self.generations.iter().map(|filter| filter.num_bits() / 8).sum()
    }

    fn note(&mut self, id: u64) {
        if self.ids == KNOWN_OF_A_PEER / 2 {
            self.generations.rotate_right(1);
            self.generations[0].clear();
            self.ids = 0;
        }
        self.ids += 1;
        self.generations[0].insert_hash(id);
    }

    fn has(&self, id: u64) -> bool {
        self.generations.iter().any(|filter| filter.contains_hash(id))
    }
}

/// Who has what, for the same peers and payloads, by the matrix and by a filter for each peer: what
/// a note costs, and what it costs to find those who lack a payload, in one row and in two.
fn holders(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("holders");
    let mut rng = Rng::from_seed([8; 32]);
    let ids: Vec<u64> = (0..1 << 14).map(|_| rng.u64()).collect();
    for peers in [125_u64, 1000] {
        let mut inventory = Inventory::new(InventoryLimits::DEFAULT);
        let slots: Vec<PeerSlot> = (0..peers).map_while(|_| inventory.join()).collect();
        inventory.open_row(Sequence::new(ids.len() as u64 - 1));
        let mut filters: Vec<Rolling> = (0..peers).map(|_| Rolling::new()).collect();
        println!(
            "holders/bytes_of_a_peer/peers={peers}: a filter for each {}, the matrix {}",
            filters[0].bytes(),
            InventoryLimits::DEFAULT.rows / 8,
        );
        let notes: Vec<(usize, usize)> = (0..1 << 16)
            .map(|_| (rng.below(peers) as usize, rng.below(ids.len() as u64) as usize))
            .collect();
        for (peer, id) in &notes {
            inventory.note(slots[*peer], Sequence::new(*id as u64));
            filters[*peer].note(ids[*id]);
        }
        for count in [1_000, 10_000] {
            let mut batches = notes.chunks_exact(count).cycle();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("note/peers={peers},notes={count},by=matrix"), |b| {
                b.iter(|| {
                    for (peer, id) in batches.next().expect("endless") {
                        inventory.note(slots[*peer], Sequence::new(*id as u64));
                    }
                });
            });
            group.bench_function(format!("note/peers={peers},notes={count},by=filters"), |b| {
                b.iter(|| {
                    for (peer, id) in batches.next().expect("endless") {
                        filters[*peer].note(ids[*id]);
                    }
                });
            });
        }
        lacking(&mut group, peers, &inventory, &filters, &ids);
    }
    group.finish();
}

fn lacking(
    group: &mut Group<'_>,
    peers: u64,
    inventory: &Inventory,
    filters: &[Rolling],
    ids: &[u64],
) {
    group.throughput(Throughput::Elements(1));
    let mut found = Vec::with_capacity(filters.len());
    let mut numbers = (0..ids.len()).cycle().step_by(61);
    for rows in [1, 2] {
        group.bench_function(format!("lacking/peers={peers},rows={rows},by=matrix"), |b| {
            b.iter(|| {
                let number = numbers.next().expect("endless") as u64;
                let both = [number, number ^ 1].map(Sequence::new);
                found.clear();
                inventory.lacking_all(&both[..rows], &mut found);
                found.len()
            });
        });
    }
    group.bench_function(format!("lacking/peers={peers},rows=1,by=filters"), |b| {
        b.iter(|| {
            let id = ids[numbers.next().expect("endless")];
            filters.iter().filter(|filter| !filter.has(black_box(id))).count()
        });
    });
}

fn hash(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(FRAME_BYTES as u64));
    let frame = frames()[0];
    let (first, mut second) = (secret(), secret());
    Rng::from_seed([2; 32]).fill(&mut second);
    group.bench_function("digest/bytes=300,by=xxh3_128_keyed", |b| {
        b.iter(|| xxh3_128_with_secret(black_box(&frame), &first));
    });
    group.bench_function("digest/bytes=300,by=xxh3_64_keyed_twice", |b| {
        b.iter(|| {
            let frame = black_box(&frame);
            [xxh3_64_with_secret(frame, &first), xxh3_64_with_secret(frame, &second)]
        });
    });
    let sip = SipHasher13::new_with_keys(1, 2);
    group.bench_function("digest/bytes=300,by=siphash_1_3_128", |b| {
        b.iter(|| u128::from(sip.hash(black_box(&frame))));
    });
    let mut blake = blake2b_simd::Params::new();
    blake.hash_length(32).key(&first[..32]);
    group.bench_function("digest/bytes=300,by=blake2b_256_keyed", |b| {
        b.iter(|| blake.hash(black_box(&frame)));
    });
    group.finish();
}

/// CPU time of the calling thread.
struct CpuTime;

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, start: Duration) -> Duration {
        cpu_time() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

criterion_group! {
    name = dedup;
    config = Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = caught, seen, bloom, inventory, holders, hash
}
criterion_main!(dedup);
