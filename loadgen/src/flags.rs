//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use codec::{Hash, Limits, Network, PayloadFormat};

use crate::control::Backend;

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
    Idle(Common),
    /// Clients connect, greet and leave, again and again.
    Churn(Common),
    /// Only the engine, with a chain that wants all that is announced: a target for others.
    Serve(Serve),
    /// A fleet of clients, started by this program itself.
    #[command(hide = true)]
    Fleet,
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
    /// Where the machine-readable report goes.
    #[arg(long, value_name = "PATH", default_value = "target/loadgen/report.json")]
    pub(crate) json: PathBuf,
    /// Where the report for people goes.
    #[arg(long, value_name = "PATH", default_value = "target/loadgen/report.html")]
    pub(crate) html: PathBuf,
    /// An engine elsewhere, instead of the embedded one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) target: Option<SocketAddr>,
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

/// Flags of `flood`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flood {
    #[command(flatten)]
    pub(crate) common: Common,
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
    /// Addresses to listen on; port 0 is chosen by the system.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Peers to hold a connection to.
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: Vec<SocketAddr>,
    /// Preset: grin-main, grin-test or dev [default: dev].
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// Magic of another network: four hexadecimal digits. Needs --genesis.
    #[arg(long, value_name = "HEX", requires = "genesis")]
    pub(crate) magic: Option<String>,
    /// Genesis of another network: 64 hexadecimal digits. Needs --magic.
    #[arg(long, value_name = "HEX", requires = "magic")]
    pub(crate) genesis: Option<String>,
    /// Most connections.
    #[arg(long, value_name = "N", default_value_t = 18_000)]
    pub(crate) connections: u32,
    /// How long to run [default: until told to end].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
}

impl Serve {
    /// The network of the flags: a preset, or dev, with magic and genesis replaced if given.
    pub(crate) fn network(&self) -> Result<Network, String> {
        let mut network = match &self.network {
            Some(name) => Network::preset(name).ok_or_else(|| format!("no network {name}"))?,
            None => Network::DEV,
        };
        let (Some(magic), Some(genesis)) = (&self.magic, &self.genesis) else { return Ok(network) };
        let bytes = (magic.len() == 4).then(|| u16::from_str_radix(magic, 16).ok()).flatten();
        network.magic = bytes.ok_or("--magic is four hexadecimal digits")?.to_be_bytes();
        network.genesis = Hash::parse(genesis).ok_or("--genesis is 64 hexadecimal digits")?;
        if self.network.is_none() {
            network.name = "custom";
            network.limits = Limits::MAINNET;
            network.format = PayloadFormat::Opaque;
        }
        Ok(network)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
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
        let both = ["loadgen", "broadcast", "--rate", "7.5", "--target", "127.0.0.1:1"];
        assert!(Flags::try_parse_from(both).is_ok());
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
            Some(Scenario::Serve(serve)) => serve.network().unwrap(),
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
