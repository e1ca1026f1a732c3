//! Asks a simulated network a question, and prints the answer.
//!
//! The exit code is 0 if the run was sound and its criterion holds, 1 if a run was not sound or a
//! law of swarms did not hold, 2 if the criterion does not hold.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::cluster;
use sim::experiment::{
    Report, dandelion, death, eclipse, hubs, joining, log_or_loglog, memory, peer_sampling, relay,
    retransmit_limit, split_memory, tree, who_knows,
};
use sim::swarm::commands;

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

#[derive(Subcommand)]
enum Experiment {
    /// How well is it hidden who made a transaction, and at what cost?
    Dandelion(dandelion::Parameters),
    /// How fast do payloads spread, and at what cost?
    Relay(relay::Parameters),
    /// What does an endpoint with small pools take?
    Memory(memory::Parameters),
    /// What graphs does peer sampling make, and are the claims about them true?
    PeerSampling(peer_sampling::Parameters),
    /// Do all who join HyParView form one piece, however fast they come?
    Joining(joining::Parameters),
    /// Do dead nodes vanish from an overlay, and does the rest hold together?
    Death(death::Parameters),
    /// Does an overlay grow together again after a split?
    SplitMemory(split_memory::Parameters),
    /// How many places of honest views can liars gain?
    Eclipse(eclipse::Parameters),
    /// Does push-pull take log N rounds or log log N?
    LogOrLoglog(log_or_loglog::Parameters),
    /// Where are rumours ultra-fast, and who pays for it?
    Hubs(hubs::Parameters),
    /// How many copies of an event suffice?
    RetransmitLimit(retransmit_limit::Parameters),
    /// What does a broadcast along a tree cost, and does the tree mend itself?
    Tree(tree::Parameters),
    /// How fast do all know of an event, and how surely, on a bad network?
    WhoKnows(who_knows::Parameters),
}

impl Experiment {
    fn report(&self) -> Result<Report, String> {
        match self {
            Self::Dandelion(parameters) => dandelion::experiment(parameters),
            Self::Relay(parameters) => relay::experiment(parameters),
            Self::Memory(parameters) => memory::experiment(parameters),
            Self::PeerSampling(parameters) => peer_sampling::experiment(parameters),
            Self::Joining(parameters) => joining::experiment(parameters),
            Self::Death(parameters) => death::experiment(parameters),
            Self::SplitMemory(parameters) => split_memory::experiment(parameters),
            Self::Eclipse(parameters) => eclipse::experiment(parameters),
            Self::LogOrLoglog(parameters) => log_or_loglog::experiment(parameters),
            Self::Hubs(parameters) => hubs::experiment(parameters),
            Self::RetransmitLimit(parameters) => retransmit_limit::experiment(parameters),
            Self::Tree(parameters) => tree::experiment(parameters),
            Self::WhoKnows(parameters) => who_knows::experiment(parameters),
        }
    }
}

/// The exit code of a sound run whose criterion does not hold.
const DOES_NOT_HOLD: u8 = 2;

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
    let report = match Flags::parse().question {
        Question::Experiment(which) => which.report(),
        Question::Cluster(parameters) => cluster::compare(&parameters),
        Question::Swarm(parameters) => return said(commands::swarm(&parameters)),
        Question::Replay(parameters) => return said(commands::replay(&parameters)),
        Question::Shrink(parameters) => return said(commands::shrink(&parameters)),
        Question::Soak(parameters) => return said(commands::soak(&parameters)),
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
