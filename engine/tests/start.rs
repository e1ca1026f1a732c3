//! What keeps an engine from starting is told before it does, with numbers.

use std::net::{SocketAddr, TcpListener};

use molva::{Config, Engine, Network, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn config() -> Config {
    let mut config = Config::new(Network::DEV);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.connections_max = 16;
    config
}

fn refusal(config: Config) -> StartError {
    match Engine::start(config) {
        Ok(_) => panic!("the engine started"),
        Err(error) => error,
    }
}

#[test]
fn a_port_in_use_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (engine, _chain) = Engine::start(config()).unwrap();
    for taken in [other.local_addr().unwrap(), engine.handle().local_addrs()[0]] {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let error = refusal(Config { listen: vec![free, taken], ..config() });
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        let StartError::Listen { addr, source } = error else { panic!("{error}") };
        assert_eq!((addr, source.kind()), (taken, std::io::ErrorKind::AddrInUse));
    }
}

#[test]
fn connections_have_a_least_and_a_most() {
    for connections_max in [0, (1 << 24) - 1, u32::MAX] {
        let error = refusal(Config { connections_max, ..config() });
        assert!(matches!(error, StartError::Connections(told) if told == connections_max));
        assert!(error.to_string().contains(&connections_max.to_string()), "{error}");
    }
}

#[test]
fn more_connections_than_descriptors_are_refused_with_both_numbers() {
    let Some(hard) = getrlimit(Resource::Nofile).maximum else { return };
    let Ok(asked) = u32::try_from(hard) else { return };
    if asked >= 1 << 23 {
        return; // more descriptors than an engine can ask for
    }
    let error = refusal(Config { connections_max: asked, ..config() });
    let text = error.to_string();
    let StartError::Descriptors { connections_max, needed, limit } = error else {
        panic!("{error}")
    };
    assert_eq!((connections_max, limit), (asked, hard));
    assert!(needed > hard);
    assert!(text.contains(&needed.to_string()) && text.contains(&hard.to_string()), "{text}");
}

#[test]
fn pools_beyond_their_memory_are_refused_with_both_numbers() {
    let error = refusal(Config { memory_bytes_max: 1 << 20, ..config() });
    let text = error.to_string();
    let StartError::Memory { needed, max } = error else { panic!("{error}") };
    assert_eq!(max, 1 << 20);
    assert!(text.contains(&needed.to_string()) && text.contains(&max.to_string()), "{text}");
    // What it says it needs is enough, and a byte less is not.
    assert!(matches!(
        refusal(Config { memory_bytes_max: needed - 1, ..config() }),
        StartError::Memory { .. }
    ));
    Engine::start(Config { memory_bytes_max: needed, ..config() }).unwrap();
}

#[test]
fn settings_of_the_protocol_are_checked_before_anything_is_made() {
    let mut rows = config();
    rows.peer.inventory.rows = 3;
    let mut slots = config();
    slots.peer.inventory.slots = 0;
    let mut recent = config();
    recent.peer.seen.recent_ids = 0;
    let mut connect = config();
    connect.peer.connect = vec!["127.0.0.1:1".parse().unwrap(); 1_025];
    let settings = [
        (rows, "inventory.rows is 3"),
        (slots, "inventory.slots is 0"),
        (recent, "seen.recent_ids is 0"),
        (connect, "connect has 1025"),
    ];
    for (config, text) in settings {
        let error = refusal(config);
        assert!(matches!(error, StartError::Config(_)), "{error}");
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn lanes_too_small_for_a_frame_are_refused() {
    let mut config = config();
    config.lanes.to_chain_bytes = 1_000;
    let error = refusal(config);
    let text = error.to_string();
    let StartError::Lanes { needed } = error else { panic!("{error}") };
    assert!(text.contains(&needed.to_string()), "{text}");
    let mut config = self::config();
    config.lanes.to_chain_bytes = needed;
    config.lanes.from_chain_bytes = needed;
    Engine::start(config).unwrap();
}

#[test]
fn buffers_that_cannot_be_are_refused() {
    let mut config = config();
    config.buffers.small_count = 3;
    assert!(matches!(refusal(config), StartError::Ring(_)));
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let limits = getrlimit(Resource::Nofile);
    let lower = Rlimit { current: Some(512), maximum: limits.maximum };
    setrlimit(Resource::Nofile, lower).unwrap();
    let (_engine, _chain) = Engine::start(config()).unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, limits.maximum);
}
