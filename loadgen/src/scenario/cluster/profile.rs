//! How the engines of a cluster are set up: small, and quick to notice who is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use molva::{
    BookLimits, BufferConfig, Config, InventoryLimits, LaneConfig, Locality, Network, PeerConfig,
    Seed, SeenLimits, Slots,
};

/// Outbound peers of each engine, if the cluster is large enough for it.
const OUTBOUND: u32 = 8;

/// Of those who live after the kill, each engine wants at most one in so many for its outbound
/// peers: as a pair has one connection, half of all is the most that a network can have, and what
/// is near to it takes luck.
const SHARE_OF_LIVING: u32 = 4;

/// Connections of one engine: those of everybody's first contact are the most.
const CONNECTIONS_MAX: u32 = 512;

/// Smallest bytes of a lane: twice the largest frame of mainnet. They are a bound, not a pool.
const LANE_BYTES: usize = 22 << 20;

/// The outbound peers that each engine looks for, in a cluster of which so many live on.
pub(super) fn outbound(living: u32) -> u32 {
    OUTBOUND.min((living.saturating_sub(1) / SHARE_OF_LIVING).max(1))
}

/// The engines' setup, from the text of a configuration or the fast profile.
pub(super) fn config(text: Option<&str>, outbound: u32) -> Result<Config, String> {
    match text {
        Some(text) => Config::from_toml(text).map_err(|error| error.to_string()),
        None => Ok(fast(outbound)),
    }
}

/// What is the cluster's to say, whatever the configuration says of it.
pub(super) fn placed(mut config: Config, store: PathBuf, seed: Option<SocketAddr>) -> Config {
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config.store = Some(store);
    config.peer.locality = Locality::Local;
    config.peer.advertised = (Ipv4Addr::UNSPECIFIED, 0).into();
    config.peer.connect.clear();
    config.peer.seeds = seed.map(Seed::Addr).into_iter().collect();
    config
}

/// Small, and with a book that forgets within seconds.
fn fast(outbound: u32) -> Config {
    let mut config = small();
    config.peer.book = BookLimits {
        new_failures_max: 1,
        tried_failures_max: 2,
        tried_failing: Duration::from_secs(5),
        ..BookLimits::default()
    };
    config.peer.slots = Slots {
        outbound,
        dials: 16,
        feeler_period: Duration::from_millis(250),
        ..Slots::default()
    };
    config
}

/// Pools of a few hundred kilobytes: there are many engines on one machine.
pub(super) fn small() -> Config {
    Config {
        peer: PeerConfig {
            seen: SeenLimits { recent_ids: 1_024, older_ids: 4_096, older_bits_per_id: 12 },
            inventory: InventoryLimits { rows: 256, slots: CONNECTIONS_MAX },
            assembly_bytes_max: 16 << 20,
            ..PeerConfig::new(Network::DEV)
        },
        connections_max: CONNECTIONS_MAX,
        buffers: BufferConfig {
            small_bytes: 4 << 10,
            small_count: 64,
            large_bytes: 64 << 10,
            large_count: 4,
        },
        lanes: LaneConfig {
            to_chain_items: 256,
            to_chain_bytes: LANE_BYTES,
            from_chain_items: 64,
            from_chain_bytes: LANE_BYTES,
            ..LaneConfig::default()
        },
        ..Config::new(Network::DEV)
    }
}

/// The settings that decide how fast a cluster forms and heals, for the report.
pub(super) fn shown(config: &Config) -> Vec<(&'static str, String)> {
    let (slots, book) = (&config.peer.slots, &config.peer.book);
    vec![
        ("slots.outbound", slots.outbound.to_string()),
        ("slots.outbound_floor", slots.outbound_floor.to_string()),
        ("slots.dials", slots.dials.to_string()),
        ("slots.feeler_period", format!("{:?}", slots.feeler_period)),
        ("book.new_failures_max", book.new_failures_max.to_string()),
        ("book.tried_failures_max", book.tried_failures_max.to_string()),
        ("book.tried_failing", format!("{:?}", book.tried_failing)),
        ("timeouts.ping_period", format!("{:?}", config.peer.ping_period)),
        ("limits.connections_max", config.connections_max.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_a_configuration() {
        let seed = "127.0.0.1:9".parse().unwrap();
        let config = placed(config(None, 8).unwrap(), "store".into(), Some(seed));
        assert_eq!(config.peer.check(), Ok(()));
        assert_eq!(config.peer.seeds, [Seed::Addr(seed)]);
        assert!(shown(&config).contains(&("slots.feeler_period", "250ms".into())));
    }

    #[test]
    fn the_target_fits_the_cluster() {
        let targets = [2, 8, 12, 33, 134].map(outbound);
        assert_eq!(targets, [1, 1, 2, 8, 8]);
    }

    #[test]
    fn a_file_decides_all_but_the_place() {
        let text =
            "[network]\npreset = \"dev\"\n[slots]\noutbound = 3\n[timeouts]\nsilence = \"7s\"";
        let config = config(Some(text), 8).unwrap();
        let config = placed(config, "store".into(), None);
        assert_eq!(config.peer.slots.outbound, 3);
        assert_eq!(config.peer.silence_timeout, Duration::from_secs(7));
        assert_eq!(config.peer.seeds, []);
    }
}
