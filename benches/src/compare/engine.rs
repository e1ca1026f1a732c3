//! The engine itself, in a process of its own like every other server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use molva::{ChainSide, Config, Engine, ToChain};

use super::chain::{Ledger, NAP, Tally};
use super::press::Press;
use super::system;
use super::wire;

/// Settings, for the report.
pub(super) const SETTINGS: &str = "molva, defaults";

/// The name of its thread.
pub(super) const THREAD: &str = "molva-engine";

/// That of its worker.
pub(super) const WORKER_THREAD: &str = "molva-worker";

/// Connections beside those of the load, which the engine keeps for dials and newcomers.
const PLACES_KEPT: u32 = 256;

/// Most events taken from the lane at once.
const BATCH: usize = 4_096;

/// Starts the engine on the network's core and its chain on the caller's; gives its address, and
/// if wanted what keeps its workers busy.
pub(super) fn start(
    connections: u32,
    tally: Arc<Tally>,
    packs: bool,
) -> io::Result<(Engine, SocketAddr, Option<Press>)> {
    let mut config = Config::new(wire::NETWORK);
    config.listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    config.connections_max = connections + PLACES_KEPT;
    config.congestion_control = Some(system::CONGESTION.to_owned());
    system::pin(system::NETWORK_CORE)?;
    let (engine, chain) = Engine::start(config).map_err(io::Error::other)?;
    system::pin(system::DRIVER_CORE)?;
    let handle = engine.handle();
    let addr = handle.local_addrs().first().copied();
    let addr = addr.ok_or_else(|| io::Error::other("the engine listens nowhere"))?;
    let press = packs.then(|| Press::start(&handle, addr, chain.publisher())).transpose()?;
    thread::Builder::new().name("chain".to_owned()).spawn(move || drain(chain, &tally))?;
    Ok((engine, addr, press))
}

fn drain(mut chain: ChainSide, tally: &Arc<Tally>) {
    let mut ledger = Ledger::new(Arc::clone(tally));
    let mut events = Vec::with_capacity(BATCH);
    while let Ok(count) = chain.recv_batch(&mut events, BATCH, Duration::ZERO) {
        for event in events.drain(..) {
            if let ToChain::Payload { payload, .. } = event {
                ledger.enter(payload.frame());
            }
        }
        let metrics = chain.counters().metrics();
        tally.frames.store(metrics.frames_received, Ordering::Relaxed);
        if count < BATCH {
            thread::sleep(NAP);
        }
    }
}
