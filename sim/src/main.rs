//! Asks a simulated network a question, and prints the answer.
//!
//! The exit code is 0 if the run was sound and its criterion holds, 1 if a run was not sound, 2 if
//! the criterion does not hold.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::experiment::{dandelion, memory, relay};

/// Whole endpoints over a simulated network, in virtual time.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// How well is it hidden who made a transaction, and at what cost?
    Dandelion(dandelion::Parameters),
    /// How fast do payloads spread, and at what cost?
    Relay(relay::Parameters),
    /// What does an endpoint with small pools take?
    Memory(memory::Parameters),
}

/// The exit code of a sound run whose criterion does not hold.
const DOES_NOT_HOLD: u8 = 2;

fn main() -> ExitCode {
    let report = match Flags::parse().question {
        Question::Dandelion(parameters) => dandelion::experiment(&parameters),
        Question::Relay(parameters) => relay::experiment(&parameters),
        Question::Memory(parameters) => memory::experiment(&parameters),
    };
    match report {
        Ok(report) => {
            // Whoever read may have gone; that is no reason to fail.
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(report.text.as_bytes());
            for file in report.files {
                let _ = writeln!(out, "written: {}", file.display());
            }
            if report.holds { ExitCode::SUCCESS } else { DOES_NOT_HOLD.into() }
        }
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::FAILURE
        }
    }
}
