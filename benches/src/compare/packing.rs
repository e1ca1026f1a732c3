//! What a saturated pool of workers costs the engine's loop.
//!
//! One engine under the usual load, in short slices, with its workers at rest and packing blocks
//! without end; the worker shares the loop's core, the worst place that it can have. Two slices in
//! a row make a pair, and pairs begin with either in turn: what disturbs the machine for longer
//! than a pair, or drifts, disturbs both alike. What is told is the median of the ratios of all
//! pairs, and the interval in which it lies.
//!
//! Driver, chain and press have the other core, so throughput tells how they share it, too. The
//! loop's own cost is its thread's: the time for which it ran for each frame, and together with
//! that for which it could have run and another had the core.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::child::Running;
use super::driver::Fleet;
use super::estimate::{Estimate, VALUES_MIN};
use super::server::Server;
use super::{SETTLE, WARM_UP_FRAMES, engine, system};

/// Of its throughput, what the engine is to keep.
const KEPT_MIN: f64 = 0.95;

/// The numbers of all payloads follow from it.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// How the cost of packing is measured.
#[derive(Args)]
pub(super) struct Options {
    /// Pairs of slices, one with the workers at rest and one with them packing.
    #[arg(long, default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(i64::from(VALUES_MIN)..=1_000))]
    pairs: u32,
    /// Frames of a slice: the default is a third of a second on a small machine.
    #[arg(long, default_value_t = 1_500_000,
        value_parser = clap::value_parser!(u64).range(10_000..=10_000_000))]
    frames: u64,
    /// Connections that write.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    connections: u32,
    /// Frames of one write of the driver.
    #[arg(long, default_value_t = 54, value_parser = clap::value_parser!(u16).range(1..=200))]
    frames_per_write: u16,
}

/// What one slice gave.
#[derive(Clone, Copy, Serialize)]
struct Slice {
    /// Nanoseconds for which the loop's thread ran, for each frame.
    cpu_ns: f64,
    /// These, and those for which it waited for its core.
    core_ns: f64,
    frames_per_second: f64,
    /// Of the slice, the share for which the worker ran.
    worker_share: f64,
}

/// Two slices in a row.
#[derive(Clone, Copy, Serialize)]
struct Pair {
    resting: Slice,
    packing: Slice,
}

/// What is written to a file.
#[derive(Serialize)]
struct Report {
    frames_per_write: u16,
    frames: u64,
    connections: u32,
    pairs: Vec<Pair>,
}

/// Measures, prints, and writes `packing.json` into the directory.
pub(super) fn compare(options: &Options, directory: &Path) -> Result<(), Box<dyn Error>> {
    system::pin(system::DRIVER_CORE)?;
    let Options { pairs, frames, connections, frames_per_write } = *options;
    let mut stage = Stage::build(options, directory)?;
    let pairs = (0..pairs).map(|number| stage.pair(frames, number % 2 == 1));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    stage.strike()?;
    let report = Report { frames_per_write, frames, connections, pairs };
    report.print()?;
    let path = directory.join("packing.json");
    fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

/// The engine, and its load.
struct Stage {
    running: Running,
    fleet: Fleet,
    /// Frames and different payloads so far.
    frames: u64,
    distinct: u64,
}

impl Stage {
    fn build(options: &Options, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let connections = options.connections as usize;
        let size = u32::try_from(Fleet::size(connections))?;
        let running = Running::start(Server::Engine, size, true, directory)?;
        let frames_per_write = usize::from(options.frames_per_write);
        let fleet = Fleet::connect(running.addr, connections, frames_per_write, SEED)?;
        let mut stage = Self { running, fleet, frames: 0, distinct: 0 };
        stage.slice(WARM_UP_FRAMES)?;
        Ok(stage)
    }

    fn pair(&mut self, frames: u64, packing_first: bool) -> Result<Pair, Box<dyn Error>> {
        let mut slice = |packs: bool| {
            self.running.pack(packs)?;
            self.slice(frames)
        };
        if packing_first {
            let packing = slice(true)?;
            return Ok(Pair { resting: slice(false)?, packing });
        }
        Ok(Pair { resting: slice(false)?, packing: slice(true)? })
    }

    fn slice(&mut self, frames: u64) -> Result<Slice, Box<dyn Error>> {
        let times = |running: &Running, name| system::thread_time(running.id(), name);
        let before = times(&self.running, engine::THREAD)?;
        let (began, worker) = (Instant::now(), times(&self.running, engine::WORKER_THREAD)?);
        let load = self.fleet.drive(frames)?;
        let worker = times(&self.running, engine::WORKER_THREAD)?.ran_ns - worker.ran_ns;
        let took = began.elapsed();
        thread::sleep(SETTLE);
        let after = times(&self.running, engine::THREAD)?;
        self.frames += load.frames;
        self.distinct = load.distinct;
        let ran = (after.ran_ns - before.ran_ns) as f64;
        let waited = (after.waited_ns - before.waited_ns) as f64;
        Ok(Slice {
            cpu_ns: ran / load.frames as f64,
            core_ns: (ran + waited) / load.frames as f64,
            frames_per_second: load.frames as f64 / load.elapsed.as_secs_f64(),
            worker_share: worker as f64 / took.as_nanos() as f64,
        })
    }

    /// Whether everything that was sent came.
    fn strike(mut self) -> Result<(), Box<dyn Error>> {
        let account = self.running.report(self.distinct)?;
        drop(self.running); // before the fleet, whose end it would complain of
        let Self { frames, distinct, .. } = self;
        if account.distinct != distinct || account.wrong > 0 || account.frames < frames {
            let sent = format!("sent {frames} frames, {distinct} distinct; got {account:?}");
            return Err(sent.into());
        }
        Ok(())
    }
}

/// What a row shows of a slice.
type Row = fn(&Slice) -> f64;

const CPU: Row = |slice| slice.cpu_ns;
const CORE: Row = |slice| slice.core_ns;
const THROUGHPUT: Row = |slice| slice.frames_per_second / 1e6;

impl Report {
    fn print(&self) -> Result<(), Box<dyn Error>> {
        let Self { frames_per_write, frames, connections, pairs } = self;
        println!(
            "{} pairs of slices of {frames} frames, {frames_per_write} a write, {connections} \
             connections\n{:<36}{:>9}{:>9}   ratio, median (95 % interval)",
            pairs.len(),
            "",
            "resting",
            "packing",
        );
        let rows = [
            ("CPU of the loop, ns a frame", CPU),
            ("with waiting for its core, ns", CORE),
            ("million frames a second", THROUGHPUT),
        ];
        for (name, row) in rows {
            let [resting, packing, ratio] = self.estimates(row)?;
            let (resting, packing) = (resting.median, packing.median);
            println!("{name:<36}{resting:>9.2}{packing:>9.2}   {}", show(ratio));
        }
        let [resting, packing, _] = self.estimates(|slice| 100.0 * slice.worker_share)?;
        let (resting, packing) = (resting.median, packing.median);
        println!("{:<36}{resting:>9.1}{packing:>9.1}", "the worker ran, % of the time");
        let [.., core] = self.estimates(CORE)?;
        let kept =
            Estimate { median: 1.0 / core.median, low: 1.0 / core.high, high: 1.0 / core.low };
        println!("of what it could do, at least {KEPT_MIN}:");
        println!("the loop keeps        {}: {}", show(kept), verdict(kept));
        let [.., throughput] = self.estimates(THROUGHPUT)?;
        println!("throughput keeps      {}: {}", show(throughput), verdict(throughput));
        Ok(())
    }

    /// With the workers at rest, packing, and the ratios, pair by pair.
    fn estimates(&self, row: Row) -> Result<[Estimate; 3], Box<dyn Error>> {
        let of = |value: fn(&Pair, Row) -> f64| {
            let values = self.pairs.iter().map(|pair| value(pair, row));
            Estimate::of(values).ok_or("too few pairs")
        };
        Ok([
            of(|pair, row| row(&pair.resting))?,
            of(|pair, row| row(&pair.packing))?,
            of(|pair, row| row(&pair.packing) / row(&pair.resting))?,
        ])
    }
}

/// What an interval says about the aim: perhaps nothing.
fn verdict(kept: Estimate) -> &'static str {
    if kept.low >= KEPT_MIN {
        "met"
    } else if kept.high < KEPT_MIN {
        "MISSED"
    } else {
        "not settled by so many pairs"
    }
}

fn show(estimate: Estimate) -> String {
    let Estimate { median, low, high } = estimate;
    format!("{median:.3} ({low:.3} to {high:.3})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_around_the_aim_settles_nothing() {
        let verdict = |low, high| verdict(Estimate { median: 1.0, low, high });
        assert_eq!(verdict(0.96, 0.99), "met");
        assert_eq!(verdict(0.80, 0.94), "MISSED");
        assert_eq!(verdict(0.90, 1.10), "not settled by so many pairs");
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let slice =
            |cpu_ns| Slice { cpu_ns, core_ns: 0.0, frames_per_second: 0.0, worker_share: 0.0 };
        let pair = |factor: u32| {
            let resting = f64::from(factor) * 100.0;
            Pair { resting: slice(resting), packing: slice(1.25 * resting) }
        };
        let pairs = (1..=7).map(pair).collect();
        let report = Report { frames_per_write: 1, frames: 1, connections: 1, pairs };
        let [resting, packing, ratio] = report.estimates(CPU).unwrap();
        assert_eq!((resting.median, packing.median), (400.0, 500.0));
        assert_eq!(ratio, Estimate { median: 1.25, low: 1.25, high: 1.25 });
    }
}
