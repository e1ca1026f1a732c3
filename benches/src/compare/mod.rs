//! The engine against other servers, under one load.
//!
//! Gossip comes in on many connections, nine frames of ten are duplicates, and each new payload is
//! to reach the chain once. The servers differ in how they get at the bytes; they share the
//! greeting, the pings, what they must find, one copy for each new payload, and a bounded lane to
//! a chain that checks every byte. One rival is plain, as one first writes it; the others have our
//! dedup and the best settings that were found for them.
//!
//! Each server is a process with its network thread alone on one core; the driver and the chain
//! have the other. Rounds are interleaved (A B C A B C), and ratios are taken round by round,
//! since neighbours in time share the host's disturbances. CPU time for each frame, of the network
//! thread, is the measure; throughput is bounded by the driver.
//!
//! Apart from these, `compare packing` measures what the engine's workers cost its loop.
//!
//! A round that fails, or a chain that got other payloads than were sent, fails the comparison.

mod chain;
mod child;
mod driver;
mod engine;
mod estimate;
mod intake;
mod libuv;
mod packing;
mod press;
mod report;
mod server;
mod system;
mod tokio_plain;
mod tokio_seen;
mod tokio_uring;
mod wire;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use child::Running;
use driver::Fleet;
use report::{Measured, Report, Round, Workload};
use server::Server;

/// Measures the engine against other servers under the same load.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Args)]
struct Options {
    /// Rounds; in each, every server is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Frames of a round. Default: 4,000,000 in bulk (54 a write), 1,000,000 else. With more than
    /// ten million a duplicate may be older than what the servers remember.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=FRAMES_MAX))]
    frames: Option<u64>,
    /// Connections that write.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    connections: u32,
    /// Frames of one write of the driver, one load after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [54, 4],
        value_parser = clap::value_parser!(u16).range(1..=200))]
    frames_per_write: Vec<u16>,
    /// Only these servers, in this order.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Server>,
}

#[derive(Subcommand)]
enum Role {
    /// Be one of the servers, for a comparison that runs in another process.
    #[command(hide = true)]
    Server {
        server: Server,
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        packs: bool,
    },
    /// Measure what its workers cost the engine's loop while they pack without end.
    Packing(packing::Options),
}

/// Most frames of a round: with the warm-up, as many new payloads as the servers remember exactly.
const FRAMES_MAX: u64 = 9_500_000;

/// Frames of one round: about a second on a small machine.
const fn frames_default(frames_per_write: u16) -> u64 {
    if frames_per_write > 16 { 4_000_000 } else { 1_000_000 }
}

/// Frames before the measurement, of the same load: every server takes its memory from the system
/// once, and that is no cost of a frame.
const WARM_UP_FRAMES: u64 = 500_000;

/// Between a load and a look at the clock of a thread, for it to come to rest: its CPU time is told
/// as of when it last ceased to run.
const SETTLE: Duration = Duration::from_millis(50);

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.role {
        Some(Role::Server { server, connections, packs }) => {
            server::serve(server, connections, packs).map_err(Into::into)
        }
        Some(Role::Packing(options)) => {
            output_directory().and_then(|directory| packing::compare(&options, &directory))
        }
        None => compare(&arguments.options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let directory = output_directory()?;
    let mut servers = Server::ALL.to_vec();
    if !options.only.is_empty() {
        servers.clone_from(&options.only);
    }
    let mut left_out = Vec::new();
    if servers.contains(&Server::Libuv) && libuv::build(&directory)?.is_none() {
        servers.retain(|server| *server != Server::Libuv);
        left_out.push("libuv: pkg-config knows no libuv here (libuv1-dev)".to_owned());
    }
    for server in &servers {
        println!("{:<12} {}", server.name(), server.settings());
    }
    for left_out in &left_out {
        println!("left out     {left_out}");
    }
    system::pin(system::DRIVER_CORE)?;
    let mut workloads = Vec::new();
    for &frames_per_write in &options.frames_per_write {
        let workload = measure(&servers, options, frames_per_write, &directory)?;
        workload.print();
        workloads.push(workload);
    }
    let path = directory.join("report.json");
    fs::write(&path, serde_json::to_vec_pretty(&Report { workloads, left_out })?)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

/// `compare` beside the profile's directory that holds this program.
fn output_directory() -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).ok_or("a program at the root")?;
    let directory = target.join("compare");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// What is done in a round.
struct Plan {
    connections: usize,
    frames: u64,
    frames_per_write: usize,
}

fn measure(
    servers: &[Server],
    options: &Options,
    frames_per_write: u16,
    directory: &Path,
) -> Result<Workload, Box<dyn Error>> {
    let plan = Plan {
        connections: options.connections as usize,
        frames: options.frames.unwrap_or_else(|| frames_default(frames_per_write)),
        frames_per_write: usize::from(frames_per_write),
    };
    let mut measured: Vec<Measured> = servers
        .iter()
        .map(|server| Measured {
            server: server.name(),
            settings: server.settings(),
            rounds: Vec::new(),
        })
        .collect();
    for round in 0..options.rounds {
        let seed = (u64::from(round) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (server, measured) in servers.iter().zip(&mut measured) {
            let result = run(*server, &plan, seed, directory);
            let result =
                result.map_err(|error| format!("{}, round {round}: {error}", server.name()))?;
            measured.rounds.push(result);
        }
    }
    let Plan { connections, frames, frames_per_write } = plan;
    Ok(Workload { frames_per_write, frames, connections, measured })
}

/// One round of one server.
fn run(server: Server, plan: &Plan, seed: u64, directory: &Path) -> Result<Round, Box<dyn Error>> {
    let size = Fleet::size(plan.connections);
    let mut running = Running::start(server, u32::try_from(size)?, false, directory)?;
    let mut fleet = Fleet::connect(running.addr, plan.connections, plan.frames_per_write, seed)?;
    let warm_up = fleet.drive(WARM_UP_FRAMES)?;
    thread::sleep(SETTLE);
    let cpu_before = running.cpu_ns()?;
    let load = fleet.drive(plan.frames)?;
    thread::sleep(SETTLE);
    let cpu_ns = running.cpu_ns()? - cpu_before;
    let account = running.report(load.distinct)?;
    drop(running); // before the fleet, whose end it would complain of
    let (frames, distinct) = (warm_up.frames + load.frames, load.distinct);
    if account.distinct != distinct || account.wrong > 0 || account.frames < frames {
        return Err(format!("sent {frames} frames, {distinct} distinct; got {account:?}").into());
    }
    let mut round_trips: Vec<f64> =
        load.round_trips.iter().map(|trip| trip.as_secs_f64() * 1e6).collect();
    let ping_p99_us =
        report::percentile(&mut round_trips, 99.0).ok_or("no ping was answered under the load")?;
    Ok(Round {
        cpu_ns_per_frame: cpu_ns as f64 / load.frames as f64,
        frames_per_second: load.frames as f64 / load.elapsed.as_secs_f64(),
        ping_p99_us,
    })
}
