//! A rude crowd of clients beside an embedded engine.
//!
//! The parent process holds the engine, its chain, and the check of what arrived; the clients live
//! in child processes (this program again, with a hidden subcommand) and have a frame writer and
//! reader of their own. Invariant: the exit code is 0 only if every distinct payload was delivered
//! exactly once and byte for byte, and no connection ended that must not.

mod chain;
mod child;
mod children;
mod clock;
mod control;
mod files;
mod flags;
mod fleet;
mod ledger;
mod noise;
mod page;
mod plan;
mod process;
mod receipts;
mod report;
mod scenario;
mod stop;
mod talk;
mod waiting;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use flags::{Flags, Scenario};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let scenario = flags.scenario.unwrap_or(Scenario::Flood(flags.flood));
    match run(scenario) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Exit code of a run that a signal ended: 128 and the number of SIGINT, as shells count.
const INTERRUPTED: u8 = 130;

/// The exit code: 0 if everything was as it must be; `Err` is what kept it from running.
fn run(scenario: Scenario) -> Result<ExitCode, String> {
    if matches!(scenario, Scenario::Fleet) {
        return fleet::run().map(|()| ExitCode::SUCCESS);
    }
    if matches!(scenario, Scenario::Engines) {
        return scenario::cluster::run_engines().map(|()| ExitCode::SUCCESS);
    }
    if matches!(scenario, Scenario::Member) {
        return scenario::cluster::spread::run_member().map(|()| ExitCode::SUCCESS);
    }
    if matches!(scenario, Scenario::HostileHelper) {
        return fleet::help().map(|()| ExitCode::SUCCESS);
    }
    let told_to_stop = stop::watch().map_err(|error| error.to_string())?;
    if let Scenario::Serve(serve) = &scenario {
        return scenario::serve::run(serve, &told_to_stop).map(|()| ExitCode::SUCCESS);
    }
    if let Scenario::Cluster(cluster) = &scenario {
        let report = scenario::cluster::run(cluster, &told_to_stop)?;
        return Ok(scenario::cluster::exit_code(&report, INTERRUPTED));
    }
    if let Scenario::Hostile(hostile) = &scenario {
        if hostile.list {
            scenario::hostile::say_all();
            return Ok(ExitCode::SUCCESS);
        }
        let fine = scenario::hostile::run(hostile, &told_to_stop)?;
        return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Scenario::Relay(relay) = &scenario {
        let fine = scenario::relay::run(relay, &told_to_stop)?;
        return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Scenario::Sync(sync) = &scenario {
        let fine = scenario::sync::run(sync, &told_to_stop)?;
        return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let report = scenario::run(scenario, &told_to_stop)?;
    Ok(match (report.is_fine(), report.is_interrupted) {
        (true, false) => ExitCode::SUCCESS,
        (true, true) => INTERRUPTED.into(),
        (false, _) => ExitCode::FAILURE,
    })
}
