//! The configuration of a running node: its own settings in `[node]`, and beside it those of the
//! engine, as docs/configuration.md describes them, but for `[network]`, which follows from the
//! chain. An unknown key is an error that names it.

use std::path::{Path, PathBuf};

use molva::{Config, Locality, Network};
use serde::Deserialize;

use crate::flags::Run;
use crate::pool::PoolLimits;
use crate::rules::ChainName;

/// Most connections, if the file does not say it. Guess: a node that serves blocks has a hundred
/// peers, and the engine's own default needs more descriptors than many a system grants.
const CONNECTIONS: u32 = 512;

/// What `[node]` says.
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
struct Own {
    chain: Option<ChainName>,
    data: Option<PathBuf>,
    mempool: Mempool,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
struct Mempool {
    transactions_max: Option<usize>,
    bytes_max: Option<usize>,
}

/// A file that was read: the node's part, and the engine's as text.
#[derive(Default, Debug)]
pub(crate) struct File {
    own: Own,
    engine: Option<String>,
}

/// Everything that can be chosen about a node, but for what the engine is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) chain: Option<ChainName>,
    pub(crate) mempool: PoolLimits,
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<File, String> {
    let told = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    parse(&text).map_err(told)
}

fn parse(text: &str) -> Result<File, String> {
    let mut table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let own = match table.remove("node") {
        None => Own::default(),
        Some(own) => serde_path_to_error::deserialize(own)
            .map_err(|error| format!("node.{}: {}", error.path(), error.inner().message()))?,
    };
    if table.contains_key("network") {
        return Err("network: it follows from the chain, which is node.chain".to_owned());
    }
    let preset = toml::Table::from_iter([("preset".to_owned(), Network::DEV.name.into())]);
    table.insert("network".to_owned(), preset.into());
    let engine = toml::to_string(&table).map_err(|error| error.to_string())?;
    // The lines are those of another text by now, so only the key is told.
    Config::from_toml(&engine).map_err(|error| format!("{}: {}", error.key, error.problem))?;
    Ok(File { own, engine: Some(engine) })
}

impl File {
    /// The node's settings, as the file says them and the flags override them.
    pub(crate) fn settings(&self, flags: &Run) -> Settings {
        let said = flags.dir.data.clone().or_else(|| self.own.data.clone());
        let Mempool { transactions_max, bytes_max } = self.own.mempool;
        let default = PoolLimits::MEMPOOL;
        Settings {
            data: said.unwrap_or_else(|| flags.dir.path()),
            chain: flags.chain.or(self.own.chain),
            mempool: PoolLimits {
                transactions_max: transactions_max.unwrap_or(default.transactions_max),
                bytes_max: bytes_max.unwrap_or(default.bytes_max),
            },
        }
    }

    /// The engine's, for this chain.
    pub(crate) fn engine(&self, flags: &Run, chain: ChainName, data: &Path) -> Config {
        let network = chain.network();
        let default = Config::new(network.clone());
        let said = |key: &str| {
            let text = self.engine.as_deref().unwrap_or_default();
            let table: toml::Table = text.parse().unwrap_or_default();
            key.split('.')
                .try_fold(toml::Value::from(table), |at, key| at.get(key).cloned())
                .is_some()
        };
        let mut config = self
            .engine
            .as_deref()
            .and_then(|text| Config::from_toml(text).ok())
            .unwrap_or_else(|| default.clone());
        config.peer.network = network;
        if !said("listen") {
            config.listen = default.listen;
        }
        if !said("user_agent") {
            config.peer.user_agent = concat!("molva-node/", env!("CARGO_PKG_VERSION")).to_owned();
        }
        if !said("advertised") {
            config.peer.advertised = default.peer.advertised;
        }
        if !said("rates.grin_pace") {
            config.peer.rates.grin_pace = None;
        }
        if !said("limits.connections_max") {
            config.connections_max = CONNECTIONS;
        }
        if !said("store") {
            config.store = Some(data.join("peers.sqlite"));
        }
        if !flags.listen.is_empty() {
            config.listen.clone_from(&flags.listen);
        }
        if !flags.seed.is_empty() {
            config.peer.seeds.clone_from(&flags.seed);
        }
        if !flags.connect.is_empty() {
            config.peer.connect.clone_from(&flags.connect);
        }
        // Who listens to this machine alone has its peers here.
        let is_local = config.listen.iter().all(|addr| addr.ip().is_loopback());
        config.peer.locality = if is_local { Locality::Local } else { Locality::Internet };
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        for (text, expected) in [
            ("[node]\nchian = \"regtest\"", "node.chian: unknown field `chian`"),
            ("[node]\nchain = \"grin\"", "node.chain: unknown variant `grin`"),
            ("[node.mempool]\nbytes = 1", "node.mempool.bytes: unknown field `bytes`"),
            ("[slots]\noutbond = 1", "slots.outbond: unknown field `outbond`"),
            ("[network]\nport = 1", "network: it follows from the chain"),
            ("listen = [\"x\"]", "listen[0]: invalid socket address"),
            ("[node", "TOML parse error"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
    }

    #[test]
    fn the_file_says_and_the_flags_override() {
        let text = "listen = [\"127.0.0.1:1\"]\n[slots]\noutbound = 3\n\
                    [node]\nchain = \"regtest\"\ndata = \"/d\"\n[node.mempool]\nbytes_max = 9\n";
        let file = parse(text).unwrap();
        let settings = file.settings(&Run::default());
        assert_eq!(settings.chain, Some(ChainName::Regtest));
        assert_eq!(settings.data, Path::new("/d"));
        assert_eq!(settings.mempool.bytes_max, 9);
        let flags = Run {
            listen: vec!["127.0.0.1:2".parse().unwrap()],
            chain: Some(ChainName::Bitcoin),
            ..Run::default()
        };
        assert_eq!(file.settings(&flags).chain, Some(ChainName::Bitcoin));
        let config = file.engine(&Run::default(), ChainName::Regtest, Path::new("/d"));
        assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(config.peer.slots.outbound, 3);
        assert_eq!(config.peer.network, ChainName::Regtest.network());
        assert_eq!(config.peer.locality, Locality::Local);
        let config = file.engine(&flags, ChainName::Regtest, Path::new("/d"));
        assert_eq!(config.listen, flags.listen);
    }

    #[test]
    fn without_a_file_all_has_its_default() {
        let config = File::default().engine(&Run::default(), ChainName::Bitcoin, Path::new("/d"));
        assert_eq!(config.listen.len(), 2);
        assert!(config.listen.iter().all(|addr| addr.port() == ChainName::Bitcoin.network().port));
        assert_eq!(config.peer.locality, Locality::Internet);
        assert_eq!(config.store, Some("/d/peers.sqlite".into()));
        assert_eq!(config.connections_max, CONNECTIONS);
    }
}
