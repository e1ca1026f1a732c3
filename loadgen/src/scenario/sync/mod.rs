//! One engine catches up with others: how much of what they can give does it get?
//!
//! Every server gives so many bytes a second and no more. With good servers alone, with one, and
//! with some that stall, are slow or lie, what the client gets is compared with what the honest
//! ones have to give.

mod blocks;
mod client;
mod report;
mod server;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use molva::{Config, Engine, InventoryLimits, Locality, PeerConfig, Rate, SeenLimits, Slots};

use crate::flags::Sync;
use crate::process;
use crate::scenario::meeting::{await_peers, end};
use blocks::{Blocks, NETWORK};
use client::Client;
use report::{Case, SyncReport};
use server::{Manner, Server};

/// How much slower the slow server is.
const SLOWNESS: u64 = 20;

/// Of what the honest servers have to give, the share that must come.
const SHARE_MIN: f64 = 0.85;

/// A server holds its rate over a time as short as this.
const BURST: Duration = Duration::from_millis(125);

/// A run may take so many times what it would at the full rate, and a while beside it.
const PATIENCE_FACTOR: u32 = 5;
const PATIENCE_BESIDE: Duration = Duration::from_secs(20);

/// Time for all connections to stand.
const FORM_LIMIT: Duration = Duration::from_secs(10);

/// Runs all cases and reports; whether everything was as it must be.
pub(crate) fn run(flags: &Sync, told_to_stop: &AtomicBool) -> Result<bool, String> {
    let files = flags.reports.prepare("sync")?;
    process::raise_descriptor_limit();
    let mut report = SyncReport::new(flags);
    let blocks = Arc::new(Blocks::generate(flags.blocks as usize, flags.block_bytes));
    // Alone, a server needs as long for an eighth as eight for all.
    let eighth = Arc::new(Blocks::generate(flags.blocks as usize / 8, flags.block_bytes));
    let good = vec![Manner::Good; 8];
    let mixed =
        [&[Manner::Good; 4][..], &[Manner::Slow, Manner::Stalled, Manner::Stalled, Manner::Liar]]
            .concat();
    let cases = [
        ("one good", &eighth, vec![Manner::Good]),
        ("eight good", &blocks, good),
        ("four good, one slow, two stalled, one liar", &blocks, mixed),
    ];
    for (name, blocks, manners) in cases {
        if told_to_stop.load(Ordering::Relaxed) {
            report.errors.push("interrupted".into());
            break;
        }
        let case = Run::start(flags, blocks, &manners)?.finish(name, flags, told_to_stop)?;
        println!("{}", case.line());
        report.cases.push(case);
    }
    report.conclude(SHARE_MIN);
    print!("{}", report.table());
    files.write(&report, Ok(report.page()))?;
    println!("  reports: {files}");
    Ok(report.is_fine())
}

struct Run {
    manners: Vec<Manner>,
    blocks: Arc<Blocks>,
    engine: Engine,
    client: Client,
    servers: Vec<Engine>,
    chains: Vec<std::thread::JoinHandle<Result<(), String>>>,
    over: Arc<AtomicBool>,
}

/// Pools for one run, everything else as users have it.
fn config() -> Config {
    let mut peer = PeerConfig::new(NETWORK);
    peer.seen = SeenLimits { recent_ids: 1 << 16, older_ids: 1 << 16, older_bits_per_id: 12 };
    peer.inventory = InventoryLimits { rows: 1 << 12, slots: 512 };
    peer.locality = Locality::Local;
    peer.slots = Slots { outbound: 0, ..Slots::default() };
    Config { peer, connections_max: 64, ..Config::new(NETWORK) }
}

fn server(manner: Manner, rate: u64) -> Config {
    let amount = if manner == Manner::Slow { rate / SLOWNESS } else { rate };
    let burst = (amount as f64 * BURST.as_secs_f64()) as u64;
    let mut config = config();
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config.peer.rates.answers = Rate { amount, per: Duration::from_secs(1), burst };
    config
}

impl Run {
    fn start(flags: &Sync, blocks: &Arc<Blocks>, manners: &[Manner]) -> Result<Self, String> {
        let over = Arc::new(AtomicBool::new(false));
        let (mut servers, mut chains) = (Vec::new(), Vec::new());
        let mut own = config();
        own.listen = Vec::new();
        for manner in manners.iter().copied() {
            let (engine, side) = Engine::start(server(manner, flags.rate_bytes))
                .map_err(|error| format!("a server: {error}"))?;
            own.peer.connect.push(engine.handle().local_addrs()[0]);
            let (blocks, over) = (Arc::clone(blocks), Arc::clone(&over));
            let chain = Server { side, blocks, manner, over };
            let thread = std::thread::Builder::new().name("chain".into());
            chains.push(thread.spawn(move || chain.run()).map_err(|error| error.to_string())?);
            servers.push(engine);
        }
        let (engine, side) = Engine::start(own).map_err(|error| error.to_string())?;
        await_peers([(engine.handle(), manners.len())], FORM_LIMIT)?;
        Ok(Self {
            manners: manners.to_vec(),
            client: Client::new(side, Arc::clone(blocks)),
            blocks: Arc::clone(blocks),
            engine,
            servers,
            chains,
            over,
        })
    }

    fn finish(
        mut self,
        name: &'static str,
        flags: &Sync,
        told_to_stop: &AtomicBool,
    ) -> Result<Case, String> {
        let rate = self.manners.iter().map(|manner| match manner {
            Manner::Good => flags.rate_bytes as f64,
            Manner::Slow => flags.rate_bytes as f64 / SLOWNESS as f64,
            Manner::Stalled | Manner::Liar => 0.0,
        });
        let rate: f64 = rate.sum();
        let bytes = self.blocks.len() as f64 * flags.block_bytes as f64;
        let limit = Duration::from_secs_f64(bytes / rate) * PATIENCE_FACTOR + PATIENCE_BESIDE;
        self.client.run(limit, || told_to_stop.load(Ordering::Relaxed))?;
        let handle = self.engine.handle();
        let metrics = handle.metrics();
        let bans = handle.bans().map_err(|end| end.to_string())?;
        self.over.store(true, Ordering::Relaxed);
        let mut case = Case::new(name, &self.manners, self.blocks.len(), rate);
        case.take(&self.client.seen, &metrics, bans.len());
        for chain in self.chains {
            chain.join().map_err(|_| "a chain panicked".to_owned())??;
        }
        case.errors.extend(end(self.servers.into_iter().chain([self.engine])));
        Ok(case)
    }
}
