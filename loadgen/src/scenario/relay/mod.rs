//! Many engines in one process: every item is published once, and must reach every other engine
//! once. What it cost in bytes is compared: with Molva's extension, as plain grin nodes, and by
//! flooding.

mod chain;
mod report;
mod workload;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use molva::{
    BufferConfig, Capabilities, Config, Engine, Handle, InventoryLimits, LaneConfig, Locality,
    Network, PeerConfig, Policy, SeenLimits, Slots,
};

use crate::flags::Relay;
use crate::noise::Noise;
use crate::process;
use crate::scenario::meeting::{await_peers, end};
use chain::{Chain, Seen, Shared};
use report::{ModeReport, RelayReport};
use workload::{Amount, items};

/// What the engines of a run may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Molva's extension, and ids first.
    Extension,
    /// What grin's own protocol has: kernel hashes and headers first.
    GrinOnly,
    /// Everything whole to everybody.
    Flood,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Extension, Self::GrinOnly, Self::Flood];

    const fn name(self) -> &'static str {
        match self {
            Self::Extension => "extension",
            Self::GrinOnly => "grin-only",
            Self::Flood => "flood",
        }
    }
}

/// Time for all connections to stand.
const FORM_LIMIT: Duration = Duration::from_secs(30);

/// Time for the last items to arrive everywhere.
const ARRIVE_LIMIT: Duration = Duration::from_secs(30);

/// After everything has arrived: time for what is doubled to come too.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Smallest bytes of a lane: twice the largest frame of mainnet. They are a bound, not a pool.
const LANE_BYTES: usize = 22 << 20;

/// Of all payload bytes, the share that may come twice with the extension.
const DUPLICATE_SHARE_MAX: f64 = 0.1;

/// Runs all modes and reports; whether everything was as it must be.
pub(crate) fn run(flags: &Relay, told_to_stop: &AtomicBool) -> Result<bool, String> {
    let files = flags.reports.prepare("relay")?;
    process::raise_descriptor_limit();
    let mut report = RelayReport::new(flags);
    for mode in Mode::ALL {
        if told_to_stop.load(Ordering::Relaxed) {
            report.errors.push("interrupted".into());
            break;
        }
        let of_mode = Run::start(flags, mode)?.finish(told_to_stop)?;
        println!("{}", of_mode.line());
        report.modes.push(of_mode);
    }
    report.conclude(DUPLICATE_SHARE_MAX);
    print!("{}", report.table());
    files.write(&report, Ok(report.page()))?;
    println!("  reports: {files}");
    Ok(report.is_fine())
}

struct Run {
    mode: Mode,
    engines: Vec<(Engine, Handle)>,
    chains: Vec<std::thread::JoinHandle<Result<Seen, String>>>,
    shared: Arc<Shared>,
    /// Bytes that had come when the first item was published.
    bytes_before: u64,
}

fn network() -> Network {
    Network { name: "relay", magic: [0x49, 0x2b], ..Network::GRIN_MAIN }
}

/// The engines' setup: pools for one run, everything else as users have it.
fn config(flags: &Relay, mode: Mode) -> Config {
    let network = network();
    let mut peer = PeerConfig::new(network.clone());
    peer.seen = SeenLimits { recent_ids: 1 << 16, older_ids: 1 << 16, older_bits_per_id: 12 };
    peer.inventory = InventoryLimits { rows: 1 << 13, slots: 512 };
    peer.assembly_bytes_max = 32 << 20;
    peer.locality = Locality::Local;
    peer.capabilities = Capabilities::PEER_LIST | Capabilities::TX_KERNEL_HASH;
    peer.slots = Slots { outbound: 0, ..Slots::default() };
    peer.extension = mode == Mode::Extension;
    // All are ours: nobody counts five hundred messages a minute.
    peer.rates.grin_pace = None;
    if mode == Mode::Flood {
        peer.relay.policy = Policy::Flood;
    }
    if let Some(bytes) = flags.unasked_bytes {
        peer.relay.unasked_bytes_max = bytes;
    }
    Config {
        peer,
        listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        connections_max: 512,
        buffers: BufferConfig {
            small_bytes: 16 << 10,
            small_count: 64,
            large_bytes: 256 << 10,
            large_count: 4,
        },
        lanes: LaneConfig {
            to_chain_items: 4_096,
            to_chain_bytes: LANE_BYTES,
            from_chain_items: 4_096,
            from_chain_bytes: LANE_BYTES,
            ..LaneConfig::default()
        },
        ..Config::new(network)
    }
}

impl Run {
    fn start(flags: &Relay, mode: Mode) -> Result<Self, String> {
        let count = flags.engines as usize;
        let mut engines = Vec::with_capacity(count);
        let mut sides = Vec::with_capacity(count);
        for number in 0..count {
            let (engine, side) = Engine::start(config(flags, mode))
                .map_err(|error| format!("engine {number}: {error}"))?;
            let handle = engine.handle();
            engines.push((engine, handle));
            sides.push(side);
        }
        let expected = connect(&engines, flags)?;
        let handles = engines.iter().map(|(_, handle)| handle.clone());
        await_peers(handles.zip(expected), FORM_LIMIT)?;
        let amount = Amount {
            transactions: flags.transactions,
            blocks: flags.blocks,
            outputs: flags.block_outputs,
            engines: count,
            seed: flags.seed,
        };
        let items = items(&network(), &amount);
        let by_id = items.iter().enumerate().map(|(index, item)| (item.id, index));
        let shared = Arc::new(Shared {
            by_id: by_id.collect::<BTreeMap<_, _>>(),
            items,
            start: Instant::now() + Duration::from_millis(200),
            interval: Duration::from_secs_f64(1.0 / flags.rate),
            arrived: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let bytes_before = bytes_received(&engines);
        let spawn = |(own, side)| {
            let chain = Chain::new(own, side, Arc::clone(&shared));
            std::thread::Builder::new().name("chain".into()).spawn(move || chain.run())
        };
        let chains: std::io::Result<Vec<_>> = sides.into_iter().enumerate().map(spawn).collect();
        let chains = chains.map_err(|error| error.to_string())?;
        Ok(Self { mode, engines, chains, shared, bytes_before })
    }

    fn finish(self, told_to_stop: &AtomicBool) -> Result<ModeReport, String> {
        let Self { mode, engines, chains, shared, bytes_before } = self;
        let wanted = (shared.items.len() * (engines.len() - 1)) as u64;
        let last = shared.start + shared.interval * shared.items.len() as u32;
        let limit = last + ARRIVE_LIMIT;
        while shared.arrived.load(Ordering::Relaxed) < wanted
            && Instant::now() < limit
            && !told_to_stop.load(Ordering::Relaxed)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(AFTERMATH);
        let mut report = ModeReport::new(mode.name(), &shared.items, engines.len());
        report.bytes_received = bytes_received(&engines) - bytes_before;
        for (_, handle) in &engines {
            report.count(&handle.metrics());
        }
        shared.over.store(true, Ordering::Relaxed);
        for chain in chains {
            let seen = chain.join().map_err(|_| "a chain panicked".to_owned())??;
            report.take(seen);
        }
        report.errors.extend(end(engines.into_iter().map(|(engine, _)| engine)));
        report.conclude();
        Ok(report)
    }
}

/// Each engine holds some others, drawn at random; how many connections that makes of each.
fn connect(engines: &[(Engine, Handle)], flags: &Relay) -> Result<Vec<usize>, String> {
    let mut noise = Noise(flags.seed ^ 0x6772_6170);
    let mut degree = vec![0; engines.len()];
    let mut linked = std::collections::BTreeSet::new();
    for (one, (_, handle)) in engines.iter().enumerate() {
        let mut made = 0;
        // A ring first, so that nobody is left out; then others.
        let mut other = (one + 1) % engines.len();
        let mut tries = 0;
        while made < flags.degree && tries < 64 * flags.degree {
            tries += 1;
            if other != one && linked.insert((one.min(other), one.max(other))) {
                let addr = engines[other].1.local_addrs()[0];
                handle.hold(addr).map_err(|error| error.to_string())?;
                degree[one] += 1;
                degree[other] += 1;
                made += 1;
            }
            other = noise.next() as usize % engines.len();
        }
    }
    Ok(degree)
}

fn bytes_received(engines: &[(Engine, Handle)]) -> u64 {
    engines.iter().map(|(_, handle)| handle.metrics().bytes_received).sum()
}
