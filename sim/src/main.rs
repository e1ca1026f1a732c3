//! Asks a simulated network a question, and prints the answer.
//!
//! The exit code is 0 if the run was sound and its criteria hold, 1 if a run was not sound or a law
//! of swarms did not hold, 2 if a criterion does not hold (or the command line is wrong), 3 if none
//! fails and one cannot be told from so few runs, or runs so short.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::cluster;
use sim::experiment::{Experiment, Outcome, answer};
use sim::swarm::commands;
use sim::whole_lists;

/// Whole endpoints over a simulated network, in virtual time.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// Asks a question, and judges the answer.
    #[command(subcommand)]
    Experiment(Experiment),
    /// Is what happened on real sockets what a simulation of the same says?
    Cluster(cluster::Parameters),
    /// Do the laws hold in the swarms of these seeds?
    Swarm(commands::Swarm),
    /// What happens in the swarm of one seed?
    Replay(commands::Replay),
    /// Which of its faults does the swarm of this seed need to fail?
    Shrink(commands::Replay),
    /// Is there a seed whose swarm fails? Seed after seed, until one does or the time is over.
    Soak(commands::Soak),
}

/// The exit code of a sound run of which a criterion does not hold.
const DOES_NOT_HOLD: u8 = 2;

/// Of one of which a criterion cannot be told, and the others hold.
const CANNOT_BE_TOLD: u8 = 3;

/// Of a swarm: a law that does not hold is no answer to a question, but a bug.
fn said(answer: Result<String, String>) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let (text, code) = match answer {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(text) => (text, ExitCode::FAILURE),
    };
    let _ = out.write_all(text.as_bytes());
    code
}

fn main() -> ExitCode {
    let flags = Flags::parse_from(whole_lists(std::env::args_os()));
    let outcome = match flags.question {
        Question::Experiment(which) => answer(which.question(), std::io::stdout()),
        Question::Cluster(parameters) => cluster::Comparison::open(parameters)
            .and_then(|comparison| answer(&comparison, std::io::stdout())),
        Question::Swarm(parameters) => return said(commands::swarm(&parameters)),
        Question::Replay(parameters) => return said(commands::replay(&parameters)),
        Question::Shrink(parameters) => return said(commands::shrink(&parameters)),
        Question::Soak(parameters) => return said(commands::soak(&parameters)),
    };
    match outcome {
        Ok(Outcome::Holds) => ExitCode::SUCCESS,
        Ok(Outcome::Fails) => DOES_NOT_HOLD.into(),
        Ok(Outcome::Untold) => CANNOT_BE_TOLD.into(),
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::FAILURE
        }
    }
}
