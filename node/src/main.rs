//! A small node on the engine: the reference of how a backend uses it.
//!
//! It keeps Bitcoin's blocks, or blocks of its own making, in a durable store, checks what can be
//! checked without their scripts, holds a mempool, and syncs all of it with other nodes of its
//! kind. [`backend`] is the part to read first: it is the thread that talks with the engine.
//! Invariant: what a peer or an operator has heard of from us survives the end of the process.

mod backend;
mod catch_up;
mod chain;
mod config;
mod control;
mod flags;
mod generate;
mod headers;
mod import;
mod pool;
mod rules;
mod run;
mod say;
#[cfg(test)]
mod scratch;
mod store;
mod validate;

use std::path::Path;
use std::process::ExitCode;

use bitcoin::consensus::serialize;
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use chain::Chain;
use flags::{Flags, Submit, Verb};
use generate::Wanted;

/// Bytes of a transaction that is made up.
const SYNTHETIC_BYTES: usize = 400;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let levels = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    tracing_subscriber::fmt()
        .with_env_filter(levels.from_env_lossy())
        .with_writer(std::io::stderr)
        .init();
    match carry_out(flags.verb.unwrap_or_else(|| Verb::Run(Box::default()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: Verb) -> Result<(), String> {
    match verb {
        Verb::Run(flags) => run::run(&flags),
        Verb::Import(flags) => {
            let chain = Chain::open(&flags.dir.path(), flags.chain);
            let mut chain = chain.map_err(|error| error.to_string())?;
            import::import(&flags.file, &mut chain).map_err(|error| error.to_string())
        }
        Verb::Generate(flags) => {
            let wanted = Wanted {
                blocks: flags.blocks,
                block_bytes: flags.block_bytes,
                seed: flags.seed_number,
            };
            generate::generate(&flags.dir.path(), &wanted, backend::now())
        }
        Verb::Submit(flags) => submit(&flags),
        Verb::Status(dir) => ask(&dir.path(), "status"),
        Verb::Mine(flags) => ask(&flags.dir.path(), &format!("mine {}", flags.blocks)),
    }
}

fn submit(flags: &Submit) -> Result<(), String> {
    let made = flags
        .synthetic
        .map(|number| generate::hex(&serialize(&generate::synthetic(number, SYNTHETIC_BYTES))));
    let hex = made.or_else(|| flags.hex.clone()).unwrap_or_default();
    generate::transaction_of_hex(&hex)?;
    ask(&flags.dir.path(), &format!("tx {hex}"))
}

/// Prints the answer of a running node; a refusal is a failure.
fn ask(dir: &Path, line: &str) -> Result<(), String> {
    let answer = control::call(dir, line)?;
    print!("{answer}");
    let is_refused = answer.contains(r#""event":"refused""#);
    if is_refused { Err("the node refused it".to_owned()) } else { Ok(()) }
}
