//! An engine under attack: one attack after the other, with well-behaved clients beside.
//!
//! The parent has the engine and its chain; a child has the honest clients, another the attackers.
//! For each attack the honest clients measure twice, just before it and during it; the engine's own
//! counts before and after say what became of every attacker. Invariant: a run that passed has
//! explained the end of every connection of an attacker, lost no honest payload and no honest
//! connection, and kept the honest clients' p99 below twice what it was, or within the noise.

mod chain;
pub(crate) mod helper;
mod report;
mod trial;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use molva::{Config, Engine, Handle, Locality, Network};

use crate::control::CONGESTION_CONTROL;
use crate::flags::Hostile;
use crate::fleet::attack::{ATTACKS, Attack};
use crate::fleet::honest::{self, CLIENTS, DIALLING, LISTENING, PAYLOAD_BYTES};
use crate::ledger::{Ledger, Written};
use crate::plan::{Id, Plan};
use crate::process;
use crate::talk::{Order, Role, Said, Window};
use chain::Chain;
use helper::Helper;
use report::{HostileReport, MemoryBound};

/// Inbound peers that the engine lets in: an attack is to fill the house within a second or two.
const INBOUND: u32 = 1_000;

/// Bytes of one connection: what an idle one was measured to need, doubled and rounded up, as the
/// honest ones are not idle.
const CONNECTION_BYTES: u64 = 16 << 10;

/// The chain of this test, its ledger, the children's words, and what an allocator keeps.
const CHAIN_BYTES: u64 = 64 << 20;

const STARTING_PATIENCE: Duration = Duration::from_secs(20);
const GOODBYE: Duration = Duration::from_secs(5);

/// Honest traffic before the first attack.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// Everything that runs.
struct Scene {
    engine: Engine,
    handle: Handle,
    chain: Chain,
    honest: Helper,
    attackers: Helper,
    /// Honest payloads that were lost so far.
    lost: u64,
    unrelayed: u64,
    spoiled: u64,
    window: Window,
}

/// Says which attacks there are.
pub(crate) fn say_all() {
    for attack in ATTACKS {
        println!("{:<24} {}", attack.name, attack.what);
        println!("{:<24}   ends as: {}", "", attack.expected.join(", "));
    }
}

/// Runs the attacks and reports; whether everything was as it must be. `Err` is what kept it from
/// running.
pub(crate) fn run(flags: &Hostile, told_to_stop: &AtomicBool) -> Result<bool, String> {
    let chosen = choose(&flags.attacks)?;
    let files = flags.reports.prepare("hostile")?;
    process::raise_descriptor_limit();
    let process_bytes = process::resident_bytes().unwrap_or_default();
    let (mut scene, memory_bound) = Scene::start(flags.seed, process_bytes)?;
    let mut report = HostileReport {
        scenario: "hostile",
        seconds_per_attack: flags.duration.as_secs_f64(),
        honest_clients: CLIENTS as u64,
        honest_pings_per_second: honest::PINGS_PER_SECOND,
        noise_floor_us: flags.noise.as_micros() as u64,
        memory_bound,
        notes: notes(&memory_bound, flags.noise),
        ..HostileReport::default()
    };
    scene.measure(WARM_UP)?;
    for attack in chosen {
        if told_to_stop.load(Ordering::Relaxed) {
            report.errors.push("interrupted".into());
            break;
        }
        eprintln!("hostile: {}", attack.name);
        let trial = trial::run(&mut scene, attack, flags, memory_bound.total_bytes);
        match trial {
            Ok(trial) => report.attacks.push(trial),
            Err(error) => {
                report.errors.push(format!("{}: {error}", attack.name));
                break;
            }
        }
    }
    report.honest_payloads = scene.window.written;
    report.errors.extend(scene.end());
    report.verdict = if report.is_fine() { "passed" } else { "FAILED" };
    print!("{}", report.table());
    files.write(&report, Ok(report.page()))?;
    println!("  reports: {files}");
    Ok(report.is_fine())
}

/// The attacks of these names, or all.
fn choose(names: &[String]) -> Result<Vec<&'static Attack>, String> {
    if names.is_empty() {
        return Ok(ATTACKS.iter().collect());
    }
    let find = |name: &String| {
        let found = ATTACKS.iter().find(|attack| attack.name == name);
        found.ok_or_else(|| format!("no attack {name}: `hostile --list` says which there are"))
    };
    names.iter().map(find).collect()
}

impl Scene {
    fn start(seed: u64, process_bytes: u64) -> Result<(Self, MemoryBound), String> {
        let network = Network::DEV;
        let mut config = Config::new(network.clone());
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.peer.locality = Locality::Hosts;
        config.peer.slots.inbound = INBOUND;
        config.congestion_control = Some(CONGESTION_CONTROL.into());
        let connections = u64::from(config.connections_max);
        let lanes = &config.lanes;
        let lane_bytes = (lanes.to_chain_bytes + lanes.from_chain_bytes) as u64;
        let assembly_bytes = config.peer.assembly_bytes_max as u64;
        let (engine, side) = Engine::start(config).map_err(|error| error.to_string())?;
        let handle = engine.handle();
        let target = handle.local_addrs()[0];

        let ledger = Ledger::new(Plan::new(seed, PAYLOAD_BYTES), 1, None);
        let chain = Chain::start(side, &network, ledger).map_err(|error| error.to_string())?;
        let honest = Helper::start("the honest clients", &Role::Honest { target, seed })?;
        let attackers = Helper::start("the attackers", &Role::Attackers { target })?;
        let (Said::Ready { listening }, Said::Ready { .. }) =
            (honest.answer(STARTING_PATIENCE)?, attackers.answer(STARTING_PATIENCE)?)
        else {
            return Err("a child said something before it was ready".into());
        };
        for addr in listening {
            handle.hold(addr).map_err(|end| end.to_string())?;
        }
        let scene = Self {
            engine,
            handle,
            chain,
            honest,
            attackers,
            lost: 0,
            unrelayed: 0,
            spoiled: 0,
            window: Window::default(),
        };
        scene.await_honest()?;
        let mut bound = MemoryBound {
            process_bytes,
            fixed_pool_bytes: scene.handle.metrics().fixed_pool_bytes,
            assembly_bytes,
            lane_bytes,
            connection_bytes: connections * CONNECTION_BYTES,
            chain_bytes: CHAIN_BYTES,
            total_bytes: 0,
        };
        bound.total_bytes = bound.process_bytes
            + bound.fixed_pool_bytes
            + bound.assembly_bytes
            + bound.lane_bytes
            + bound.connection_bytes
            + bound.chain_bytes;
        Ok((scene, bound))
    }

    fn await_honest(&self) -> Result<(), String> {
        let deadline = Instant::now() + STARTING_PATIENCE;
        let (mut inbound, mut outbound) = (0, 0);
        while Instant::now() < deadline {
            let metrics = self.handle.metrics();
            (inbound, outbound) = (metrics.peers_inbound, metrics.peers_outbound);
            if (inbound, outbound) == (DIALLING as u64, LISTENING as u64) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("only {inbound} inbound and {outbound} outbound honest clients"))
    }

    /// The honest clients measure for so long, and nothing else happens.
    fn measure(&mut self, time: Duration) -> Result<Window, String> {
        self.honest.order(&Order::Measure { ms: time.as_millis() as u64 })?;
        match self.honest.answer(time + STARTING_PATIENCE)? {
            Said::Window(window) => Ok(window),
            said => Err(format!("{said:?} instead of a measurement")),
        }
    }

    /// Ends everything; what is wrong in the end.
    fn end(self) -> Vec<String> {
        let Self { engine, chain, honest, attackers, window, .. } = self;
        let plan = Plan::new(0, PAYLOAD_BYTES);
        let left_out =
            |sequence: &u64| plan.kind(Id { thread: 0, sequence: *sequence }) == molva::Kind::Block;
        let unwritten = (0..window.next).filter(left_out).collect();
        let mut errors = chain.settle(&[Written { thread: 0, next: window.next, unwritten }]);
        drop((honest, attackers));
        if let Err(end) = engine.shutdown(GOODBYE) {
            errors.push(format!("the engine ended: {end}"));
        }
        chain.join();
        errors
    }
}

fn notes(bound: &MemoryBound, noise: Duration) -> Vec<String> {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    vec![
        format!(
            "Honest: {DIALLING} clients dial the engine and {LISTENING} are dialled by it, each of \
             a network group of its own. Together they send {} Pings a second, each due at a fixed \
             instant from which its round trip counts, and {} payloads a second, which must arrive \
             once at the chain and once at every other client.",
            honest::PINGS_PER_SECOND,
            honest::PAYLOADS_PER_SECOND
        ),
        format!(
            "Before and during are the same time, one right after the other. An attack fails if \
             the p99 doubles and grows by more than {noise:?}, three times in a row: other work on \
             the machine can do that too. All pairs are in the JSON, and how late the honest \
             clients themselves were in writing, which is part of each round trip."
        ),
        "The attackers are paced so that they, the honest clients and the engine together do not \
         need all of the machine; their share of a core is in the JSON."
            .into(),
        format!(
            "Memory is bounded by {:.0} MB: {:.0} of this process without the engine, {:.0} of \
             fixed pools, {:.0} for half-received frames, {:.0} on the lanes, {:.0} for all \
             connections that there may be, {:.0} for this test's chain.",
            megabytes(bound.total_bytes),
            megabytes(bound.process_bytes),
            megabytes(bound.fixed_pool_bytes),
            megabytes(bound.assembly_bytes),
            megabytes(bound.lane_bytes),
            megabytes(bound.connection_bytes),
            megabytes(bound.chain_bytes),
        ),
        format!(
            "The engine has its defaults, but {INBOUND} inbound places, and every loopback address \
             is a host of its own, with 127.x for its group. Each attack has its own group."
        ),
    ]
}
