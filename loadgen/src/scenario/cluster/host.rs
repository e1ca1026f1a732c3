//! One process of engines: starts them, looks at them in every period, ends them politely.
//!
//! Invariant: the parent learns of every engine that ended of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use molva::{ChainSide, Config, Direction, Engine, Handle, PeerInfo};

use super::profile;
use super::words::{Event, Footprint, Order, PERIOD, Sight, Spec, store};
use crate::{child, process};

/// Rest between two starts: the machine is also for those that run.
const STAGGER: Duration = Duration::from_millis(5);

/// Time for the goodbyes of all engines.
const GOODBYE: Duration = Duration::from_secs(5);

/// Periods between two readings of the resident memory, which takes long.
const PERIODS_PER_READING: u64 = 4;

/// Events taken from an engine in a period; nothing is published here.
const EVENTS_MAX: usize = 256;

/// Runs the spec that comes on standard input.
pub(crate) fn run() -> Result<(), String> {
    process::raise_descriptor_limit();
    let spec: Spec = child::spec()?;
    let orders = child::orders();
    let mut host = Host::new(spec)?;
    host.live(&orders)?;
    let faults = host.end();
    child::say(&Event::Ended { faults });
    Ok(())
}

struct Running {
    number: u32,
    engine: Engine,
    handle: Handle,
    side: ChainSide,
}

struct Host {
    spec: Spec,
    config: Config,
    engines: Vec<Running>,
    dead: Option<BTreeSet<SocketAddr>>,
    resident_before: u64,
    resident_bytes: u64,
    periods: u64,
    faults: Vec<String>,
}

impl Host {
    fn new(spec: Spec) -> Result<Self, String> {
        Ok(Self {
            config: profile::config(spec.config.as_deref(), spec.outbound)?,
            spec,
            engines: Vec::new(),
            dead: None,
            resident_before: process::resident_bytes().unwrap_or(0),
            resident_bytes: 0,
            periods: 0,
            faults: Vec::new(),
        })
    }

    /// Until the parent says stop, or is gone.
    fn live(&mut self, orders: &mpsc::Receiver<Order>) -> Result<(), String> {
        let mut next = Instant::now();
        loop {
            let more = self.start_next()?;
            let now = Instant::now();
            if now >= next {
                next = now + PERIOD;
                self.look()?;
            }
            let left = next.saturating_duration_since(Instant::now());
            match orders.recv_timeout(if more { STAGGER } else { left }) {
                Ok(Order::Dead(dead)) => self.dead = Some(dead.into_iter().collect()),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(Order::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Whether there are more to start.
    fn start_next(&mut self) -> Result<bool, String> {
        let Some(&number) = self.spec.engines.get(self.engines.len()) else { return Ok(false) };
        let store = store(&self.spec.folder, number);
        let config = profile::placed(self.config.clone(), store, self.spec.seed);
        let (engine, side) =
            Engine::start(config).map_err(|error| format!("engine {number}: {error}"))?;
        let handle = engine.handle();
        let addr = handle.local_addrs()[0];
        self.spec.seed.get_or_insert(addr);
        let notices = handle.store_notices().iter();
        self.faults.extend(notices.map(|notice| format!("engine {number}: {notice}")));
        self.engines.push(Running { number, engine, handle, side });
        child::say(&Event::Listening { engine: number, addr });
        Ok(self.engines.len() < self.spec.engines.len())
    }

    fn look(&mut self) -> Result<(), String> {
        let mut footprint = Footprint { cpu_ns: process::cpu_ns(), ..Footprint::default() };
        let mut sights = Vec::with_capacity(self.engines.len());
        for running in &mut self.engines {
            let number = running.number;
            let sight = running.sight(self.dead.as_ref());
            sights.push(sight.map_err(|end| format!("engine {number} ended: {end}"))?);
            running.count(&mut footprint);
        }
        if self.periods.is_multiple_of(PERIODS_PER_READING) {
            let resident = process::resident_bytes().unwrap_or(0);
            self.resident_bytes = resident.saturating_sub(self.resident_before);
        }
        self.periods += 1;
        footprint.resident_bytes = self.resident_bytes;
        child::say(&Event::Seen { engines: sights, footprint });
        Ok(())
    }

    /// All at once: they say goodbye to each other.
    fn end(self) -> Vec<String> {
        let ending = |running: Running| {
            let Running { number, engine, side, .. } = running;
            let end = engine.shutdown(GOODBYE);
            drop(side);
            end.err().map(|end| format!("engine {number} ended: {end}"))
        };
        let mut faults = self.faults;
        std::thread::scope(|scope| {
            let spawn = |running| scope.spawn(move || ending(running));
            let threads: Vec<_> = self.engines.into_iter().map(spawn).collect();
            let ends = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
            faults.extend(ends.flatten());
        });
        faults
    }
}

impl Running {
    fn sight(&mut self, dead: Option<&BTreeSet<SocketAddr>>) -> Result<Sight, molva::EngineEnd> {
        // The chain of a cluster wants nothing.
        self.side.recv_batch(&mut Vec::new(), EVENTS_MAX, Duration::ZERO)?;
        let peers = self.handle.peers()?;
        let established = peers.iter().filter(|peer| peer.established);
        let outbound = established.clone().filter(|peer| peer.direction == Direction::Outbound);
        let book = self.handle.addresses()?;
        let tried = book.iter().filter(|record| record.tried).count();
        let is_dead = |dead: &BTreeSet<_>| {
            book.iter().filter(|record| dead.contains(&record.addr)).count() as u32
        };
        Ok(Sight {
            engine: self.number,
            outbound: outbound.count() as u32,
            peers: established.filter_map(name).collect(),
            new: (book.len() - tried) as u32,
            tried: tried as u32,
            dead: dead.map(is_dead),
        })
    }

    fn count(&self, footprint: &mut Footprint) {
        let metrics = self.handle.metrics();
        footprint.dialed += metrics.dialed;
        footprint.reseeds += metrics.reseeds;
        footprint.store_lost += metrics.store_lost;
        let closed: BTreeMap<_, _> = metrics.closed_by_cause().collect();
        for (cause, count) in closed {
            *footprint.closed_by_cause.entry(cause.to_owned()).or_default() += count;
        }
    }
}

/// Where a peer listens: on loopback the name of its engine.
pub(super) fn name(peer: &PeerInfo) -> Option<SocketAddr> {
    match peer.direction {
        Direction::Outbound => Some(peer.addr),
        Direction::Inbound => peer.listening_port.map(|port| SocketAddr::new(peer.addr.ip(), port)),
    }
}
