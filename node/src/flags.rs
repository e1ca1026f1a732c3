//! The flags of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use molva::Seed;

use crate::generate::{GENERATE_MAX, block_bytes};
use crate::rules::ChainName;

/// A small node on the Molva engine: it keeps real Bitcoin blocks and syncs them with others of its
/// kind. It joins no network of Bitcoin's.
#[derive(Parser, Debug)]
#[command(version)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Start, listen and serve until told to end (what happens without a verb, too).
    Run(Box<Run>),
    /// Take the blocks of a file of Bitcoin Core: blk*.dat, or one packed as .bz2.
    Import(Import),
    /// Make blocks with valid, trivial work.
    Generate(Generate),
    /// Give a running node a transaction; it begins a stem.
    Submit(Submit),
    /// Ask a running node how it is.
    Status(Dir),
    /// Have a running node of the regtest chain make blocks of what its mempool has.
    Mine(Mine),
}

/// Where the chain is.
#[derive(Args, Clone, Default, Debug)]
pub(crate) struct Dir {
    /// The data directory [default: .molva-node in the home directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Flags of `run`.
#[derive(Args, Default, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// Settings of the node and of its engine; the flags beside it override it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which chain; a data directory remembers it [default: bitcoin].
    #[arg(long, value_name = "NAME")]
    pub(crate) chain: Option<ChainName>,
    /// Addresses to listen on; port 0 is chosen by the system [default: the chain's port on all
    /// interfaces].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where to learn of peers: an address or a name.
    #[arg(long, value_name = "ADDR")]
    pub(crate) seed: Vec<Seed>,
    /// Peers to hold a connection to.
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: Vec<SocketAddr>,
}

/// Flags of `import`.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// Which chain; a data directory remembers it [default: bitcoin].
    #[arg(long, value_name = "NAME")]
    pub(crate) chain: Option<ChainName>,
}

/// Flags of `generate`.
#[derive(Args, Debug)]
pub(crate) struct Generate {
    /// How many blocks.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(GENERATE_MAX))
    )]
    pub(crate) blocks: u32,
    /// Bytes of each.
    #[arg(long, value_name = "B", default_value = "20000", value_parser = block_bytes)]
    pub(crate) block_bytes: usize,
    /// Which chain of all that there could be.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed_number: u64,
    #[command(flatten)]
    pub(crate) dir: Dir,
}

/// Flags of `submit`.
#[derive(Args, Debug)]
pub(crate) struct Submit {
    /// The transaction, in hexadecimal digits.
    #[arg(required_unless_present = "synthetic")]
    pub(crate) hex: Option<String>,
    /// A transaction that is made up, of its own for each number.
    #[arg(long, value_name = "N", conflicts_with = "hex")]
    pub(crate) synthetic: Option<u64>,
    #[command(flatten)]
    pub(crate) dir: Dir,
}

/// Flags of `mine`.
#[derive(Args, Debug)]
pub(crate) struct Mine {
    /// How many blocks.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) blocks: u32,
    #[command(flatten)]
    pub(crate) dir: Dir,
}

impl Dir {
    /// The directory that was named, or that of this user.
    pub(crate) fn path(&self) -> PathBuf {
        let home = || std::env::home_dir().unwrap_or_default().join(".molva-node");
        self.data.clone().unwrap_or_else(home)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Flags::command().debug_assert();
        assert!(Flags::try_parse_from(["node"]).unwrap().verb.is_none());
        for wrong in [
            &["node", "run", "--chain", "grin"][..],
            &["node", "submit"],
            &["node", "submit", "00", "--synthetic", "1"],
            &["node", "generate"],
            &["node", "generate", "--blocks", "1", "--block-bytes", "10"],
            &["node", "import"],
        ] {
            assert!(Flags::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
