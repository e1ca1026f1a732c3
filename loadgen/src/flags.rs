//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use codec::{Hash, Limits, Network, PayloadFormat};

use crate::control::Backend;
use crate::files::Files;
use crate::scenario::cluster::spread::{self, MEMBER_COMMAND};
use crate::scenario::hostile::helper::HELPER_COMMAND;

/// A rude crowd of clients beside an embedded engine: real TCP, the real handshake, real traffic.
/// It checks that every payload arrives exactly once and byte for byte, and exits with 1 if not.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
    /// Without a scenario, this is `flood`.
    #[command(flatten)]
    pub(crate) flood: Flood,
}

/// What to run.
#[derive(Subcommand, Debug)]
pub(crate) enum Scenario {
    /// Clients write real traffic as fast as the engine reads it; 90 % of the frames are
    /// duplicates. The default.
    Flood(Flood),
    /// The chain publishes at a rate, and every client must get every payload.
    Broadcast(Broadcast),
    /// Connections that only ping: memory and CPU of each.
    Idle(Plain),
    /// Clients connect, greet and leave, again and again.
    Churn(Plain),
    /// Only the engine, with a chain that wants all that is announced: a target for others.
    Serve(Serve),
    /// Many engines on loopback, each with a store of its own and one seed address: they find each
    /// other, a share of them is killed, one comes back. Then as many, each a process, form an
    /// overlay and spread messages, and a log tells all that happened, for `sim cluster`.
    Cluster(Cluster),
    /// One attack after the other on an engine, beside clients that behave.
    Hostile(Hostile),
    /// Many engines that relay: every item is published once and must reach every engine once. What
    /// comes twice is counted with Molva's extension, as plain grin nodes, and by flooding.
    Relay(Relay),
    /// One engine catches up with eight that give so much a second each, some of which stall, are
    /// slow or lie.
    Sync(Sync),
    /// A fleet of clients, started by this program itself.
    #[command(hide = true)]
    Fleet,
    /// The honest clients of `hostile`, or its attackers, started by this program itself.
    #[command(hide = true, name = HELPER_COMMAND)]
    HostileHelper,
    /// Engines of a cluster, started by this program itself.
    #[command(hide = true)]
    Engines,
    /// One engine that spreads messages, started by this program itself.
    #[command(hide = true, name = MEMBER_COMMAND)]
    Member,
}

/// What all scenarios have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Connections [default: flood 1000, broadcast 8000, idle 10000, churn 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: Option<u32>,
    /// How long to run, such as 500ms, 10s or 2m [default: 10s; idle 20s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Bytes of a synthetic payload.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = payload_bytes)]
    pub(crate) payload_bytes: usize,
    #[command(flatten)]
    pub(crate) reports: Reports,
    /// How the clients talk to the kernel [default: tokio-uring; tokio for a flood of more than
    /// 2,000 connections of a thread].
    #[arg(long, value_enum)]
    pub(crate) backend: Option<Backend>,
    /// Child processes [default: one for 9,000 connections].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) children: Option<u16>,
    /// Threads of each child.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,
    /// Frames of one write of a flooding client; 54 synthetic ones are 16 KiB.
    #[arg(long, value_name = "N", default_value_t = 54,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) frames_per_write: u32,
    /// The number from which all payloads follow.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Where the reports go.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reports {
    /// Where the machine-readable report goes [default: target/loadgen/report.json for a flood,
    /// target/loadgen/SCENARIO.json for the others].
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Where the report for people goes [default: beside the other one].
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
}

impl Reports {
    /// Both files, for a scenario of this name: they can be written.
    pub(crate) fn prepare(&self, scenario: &str) -> Result<Files, String> {
        let stem = if scenario == "flood" { "report" } else { scenario };
        let default = |extension: &str| PathBuf::from(format!("target/loadgen/{stem}.{extension}"));
        let json = self.json.clone().unwrap_or_else(|| default("json"));
        Files::prepare(json, self.html.clone().unwrap_or_else(|| default("html")))
    }
}

/// Whom to load.
#[derive(Args, Clone, Copy, Default, Debug)]
pub(crate) struct Elsewhere {
    /// An engine elsewhere, instead of the embedded one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) target: Option<SocketAddr>,
}

/// Flags of `idle` and `churn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Plain {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) elsewhere: Elsewhere,
}

/// Flags of `flood`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flood {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) elsewhere: Elsewhere,
    /// Also send duplicates that are older than the engine remembers exactly, each once; they must
    /// arrive, with the hint. The embedded engine then remembers 262,144 payloads exactly.
    #[arg(long)]
    pub(crate) old_duplicates: bool,
    /// Payloads that the embedded engine remembers exactly; duplicates are at most a quarter as
    /// old. With few of them the memory of what was seen fits into the processor's cache.
    #[arg(long, value_name = "N", conflicts_with = "old_duplicates",
          value_parser = clap::value_parser!(u32).range(1_024..=1_048_576))]
    pub(crate) recent_ids: Option<u32>,
}

/// Flags of `broadcast`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Broadcast {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Payloads a second.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Publish as fast as the lane takes, instead of at a rate.
    #[arg(long)]
    pub(crate) burst: bool,
}

/// Flags of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// The engine's whole configuration, as docs/configuration.md describes it; the flags beside
    /// it override it.
    #[arg(long, value_name = "FILE", value_parser = config_file)]
    pub(crate) config: Option<ConfigFile>,
    /// Addresses to listen on; port 0 is chosen by the system [default: 127.0.0.1:0].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Peers to hold a connection to.
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: Vec<SocketAddr>,
    /// A preset [default: dev].
    #[arg(long, value_name = "NAME", value_parser = ["grin-main", "grin-test", "dev"])]
    pub(crate) network: Option<String>,
    /// Magic of another network: four hexadecimal digits. Needs --genesis.
    #[arg(long, value_name = "HEX", requires = "genesis", value_parser = magic)]
    pub(crate) magic: Option<[u8; 2]>,
    /// Genesis of another network: 64 hexadecimal digits. Needs --magic.
    #[arg(long, value_name = "HEX", requires = "magic", value_parser = genesis)]
    pub(crate) genesis: Option<Hash>,
    /// Most connections [default: 18000].
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<u32>,
    /// How long to run [default: until told to end].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
}

impl Serve {
    /// The network of the flags: a preset, that of the file, or dev, with magic and genesis
    /// replaced if given.
    pub(crate) fn network(&self) -> Network {
        let preset = self.network.as_deref().and_then(Network::preset);
        let said = self.config.as_ref().map(|file| file.config.peer.network.clone());
        let is_said = preset.is_some() || said.is_some();
        let mut network = preset.or(said).unwrap_or(Network::DEV);
        let (Some(magic), Some(genesis)) = (self.magic, self.genesis) else { return network };
        (network.magic, network.genesis) = (magic, genesis);
        if !is_said {
            network.name = "custom";
            network.limits = Limits::MAINNET;
            network.format = PayloadFormat::Opaque;
        }
        network
    }
}

/// Flags of `cluster`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    /// Engines.
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(8..=2_000))]
    pub(crate) engines: u32,
    /// Processes that they live in; those to be killed live in some of their own.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(2..=64))]
    pub(crate) processes: u16,
    /// The share that is killed, from 0 to 0.9.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0 / 3.0, value_parser = share)]
    pub(crate) kill: f64,
    /// The configuration of the engines that heal [default: a fast profile, which the report
    /// shows].
    /// Listeners, stores, seeds and locality are the cluster's.
    #[arg(long, value_name = "FILE", value_parser = config_file)]
    pub(crate) config: Option<ConfigFile>,
    /// How long the network is watched between its forming and the kill.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Run one of the two parts alone.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Part>,
    #[command(flatten)]
    pub(crate) spread: spread::Flags,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

/// A part of `cluster`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    /// The engines find each other, a share is killed, one comes back.
    Heal,
    /// Messages spread among at most 200 engines over an overlay, and what happens is logged.
    Spread,
}

/// A configuration of an engine: its text, and what it says.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    pub(crate) text: String,
    pub(crate) config: molva::Config,
}

fn config_file(path: &str) -> Result<ConfigFile, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let config = molva::Config::from_toml(&text).map_err(|error| error.to_string())?;
    Ok(ConfigFile { text, config })
}

/// Flags of `relay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Relay {
    /// Engines.
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(3..=300))]
    pub(crate) engines: u32,
    /// Others that each engine dials.
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) degree: u32,
    /// Transactions of 1.6 kB, published one after the other at random engines.
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) transactions: u32,
    /// Blocks among them.
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) blocks: u32,
    /// Outputs of a block, of 717 bytes each.
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(2..=1_700))]
    pub(crate) block_outputs: u32,
    /// Items published a second, over all engines.
    #[arg(long, value_name = "N", default_value_t = 50.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Bodies up to this many bytes go unasked [default: the engine's own].
    #[arg(long, value_name = "N")]
    pub(crate) unasked_bytes: Option<usize>,
    /// The number from which items and connections follow.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

/// Flags of `sync`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sync {
    /// Blocks of the chain.
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(80..=100_000))]
    pub(crate) blocks: u32,
    /// Bytes of a block.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = block_bytes)]
    pub(crate) block_bytes: usize,
    /// Bytes a second that a server gives.
    #[arg(long, value_name = "N", default_value_t = 2_000_000,
          value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    pub(crate) rate_bytes: u64,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

/// Flags of `hostile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Hostile {
    /// How long to measure before each attack, and how long each attack lasts.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// The attacks to make, separated by commas [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) attacks: Vec<String>,
    /// Say which attacks there are, and do nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// The honest clients' p99 may grow by so much whatever it was: a busy machine does that.
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = duration)]
    pub(crate) noise: Duration,
    /// The number from which all honest payloads follow.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

fn magic(text: &str) -> Result<[u8; 2], String> {
    let number = (text.len() == 4).then(|| u16::from_str_radix(text, 16).ok()).flatten();
    number.map(u16::to_be_bytes).ok_or_else(|| "four hexadecimal digits are wanted".into())
}

fn genesis(text: &str) -> Result<Hash, String> {
    Hash::parse(text).ok_or_else(|| "64 hexadecimal digits are wanted".into())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("no unit of time: {unit}")),
    };
    let number: f64 = number.parse().map_err(|_| format!("no number: {number}"))?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("it must be more than nothing".into()) } else { Ok(time) }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().map_err(|_| format!("no number: {text}"))?;
    let range = crate::receipts::STAMP_BYTES..=1_000_000;
    if range.contains(&bytes) { Ok(bytes) } else { Err(format!("must be in {range:?}")) }
}

fn block_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().map_err(|_| format!("no number: {text}"))?;
    let range = 200..=5_000_000;
    if range.contains(&bytes) { Ok(bytes) } else { Err(format!("must be in {range:?}")) }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=0.9).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 0.9".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.001 to 1,000,000".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Flags::command().debug_assert();
        assert!(Flags::try_parse_from(["loadgen", "--connections", "20"]).is_ok());
        assert!(Flags::try_parse_from(["loadgen", "idle", "--connections", "0"]).is_err());
        let broadcast = ["loadgen", "broadcast", "--rate", "7.5"];
        assert!(Flags::try_parse_from(broadcast).is_ok());
        let elsewhere = [&broadcast[..], &["--target", "127.0.0.1:1"]].concat();
        assert!(Flags::try_parse_from(elsewhere).is_err(), "only an embedded chain publishes");
        assert!(Flags::try_parse_from(["loadgen", "serve", "--network", "bogus"]).is_err());
        assert!(Flags::try_parse_from(["loadgen", "idle", "--target", "127.0.0.1:1"]).is_ok());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        for wrong in ["", "s", "-1s", "3y", "0s", "nan"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn magic_and_genesis_override_a_network() {
        let genesis = "11".repeat(32);
        let line = ["loadgen", "serve", "--magic", "492c", "--genesis", &genesis];
        let parse = |line: &[&str]| match Flags::try_parse_from(line).unwrap().scenario {
            Some(Scenario::Serve(serve)) => serve.network(),
            other => panic!("{other:?}"),
        };
        let custom = parse(&line);
        assert_eq!((custom.magic, custom.format), ([0x49, 0x2c], PayloadFormat::Opaque));
        let both = parse(&[&line[..], &["--network", "grin-main"]].concat());
        assert_eq!((both.magic, both.format), ([0x49, 0x2c], PayloadFormat::Grin));
        assert_eq!(both.genesis.0, [0x11; 32]);
        assert!(Flags::try_parse_from(&line[..4]).is_err(), "one without the other");
    }
}
