//! A rude crowd of clients beside an embedded engine.
//!
//! The parent process holds the engine, its chain, and the check of what arrived; the clients live
//! in child processes (this program again, with a hidden subcommand) and have a frame writer and
//! reader of their own. Invariant: the exit code is 0 only if every distinct payload was delivered
//! exactly once and byte for byte, and no connection ended that must not.

mod chain;
mod children;
mod clock;
mod control;
mod flags;
mod fleet;
mod ledger;
mod page;
mod plan;
mod process;
mod receipts;
mod report;
mod scenario;
mod stop;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use flags::{Flags, Scenario};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let scenario = flags.scenario.unwrap_or(Scenario::Flood(flags.flood));
    match run(scenario) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as it must be; `Err` is what kept it from running.
fn run(scenario: Scenario) -> Result<bool, String> {
    if matches!(scenario, Scenario::Fleet) {
        return fleet::run().map(|()| true);
    }
    let told_to_stop = stop::watch().map_err(|error| error.to_string())?;
    if let Scenario::Serve(serve) = &scenario {
        return scenario::serve::run(serve, &told_to_stop).map(|()| true);
    }
    scenario::run(scenario, &told_to_stop).map(|report| report.is_fine())
}
