//! What keeps an engine from starting is told before it does, with numbers.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use molva::{Config, Engine, Network, Seed, StartError};
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
        assert!(error.to_string().contains("another program listens there"), "{error}");
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
    let mut silence = config();
    silence.peer.silence_timeout = Duration::from_secs(1);
    let mut seed = config();
    seed.peer.seeds = vec![Seed::Name("a b".to_owned())];
    let settings = [
        (rows, "inventory.rows is 3"),
        (slots, "inventory.slots is 0"),
        (recent, "seen.recent_ids is 0"),
        (connect, "connect has 1025"),
        (silence, "timeouts.silence is 1s"),
        (seed, "seeds[0]: an address or a DNS name"),
    ];
    for (config, text) in settings {
        let error = refusal(config);
        assert!(matches!(error, StartError::Config(_)), "{error}");
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn lanes_out_of_their_bounds_are_refused_by_name() {
    let mut config = config();
    config.lanes.to_chain_bytes = 1_000;
    let error = refusal(config);
    let text = error.to_string();
    let StartError::Lanes(told) = error else { panic!("{error}") };
    assert!(text.contains("to_chain_bytes") && text.contains(&told.min.to_string()), "{text}");
    let mut config = self::config();
    config.lanes.to_chain_bytes = told.min;
    config.lanes.from_chain_bytes = told.min;
    Engine::start(config).unwrap();
    let mut config = self::config();
    config.lanes.from_chain_items = 1;
    let text = refusal(config).to_string();
    assert!(text.starts_with("lanes.from_chain_items is 1, "), "{text}");
}

#[test]
fn buffers_that_cannot_be_are_refused_by_name() {
    let mut config = config();
    config.buffers.small_count = 3;
    let error = refusal(config);
    assert!(matches!(error, StartError::Ring(_)), "{error}");
    assert!(error.to_string().starts_with("buffers.small_count is 3, "), "{error}");
}

#[test]
fn pools_beyond_all_memory_are_refused_and_not_tried() {
    let mut seen = config();
    (seen.peer.seen.older_ids, seen.peer.seen.older_bits_per_id) = (u32::MAX, 512);
    let mut assembly = config();
    assembly.peer.assembly_bytes_max = usize::MAX;
    let mut lanes = config();
    lanes.lanes.to_chain_bytes = (1 << 40) - 1;
    for config in [seen, assembly, lanes] {
        let error = refusal(config);
        assert!(matches!(error, StartError::Memory { .. }), "{error}");
    }
}

#[test]
fn an_address_cannot_be_listened_on_twice() {
    let addr: SocketAddr = "127.0.0.1:45671".parse().unwrap();
    let error = refusal(Config { listen: vec![addr; 2], ..config() });
    assert!(matches!(error, StartError::ListenTwice(told) if told == addr), "{error}");
    // Port 0 is another one each time.
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Engine::start(Config { listen: vec![any; 2], ..config() }).unwrap();
}

#[test]
fn a_store_is_a_file() {
    let folder = std::env::temp_dir().join(format!("molva-start-folder-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    for path in [PathBuf::new(), PathBuf::from("/"), folder.clone()] {
        let error = refusal(Config { store: Some(path.clone()), ..config() });
        assert!(matches!(&error, StartError::StorePath(told) if *told == path), "{error}");
    }
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn a_start_that_failed_lets_go_of_its_store() {
    let folder = std::env::temp_dir().join(format!("molva-start-store-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir(&folder).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    for n in 0..20 {
        let store = Some(folder.join(format!("peers-{n}.sqlite")));
        let listen = vec![other.local_addr().unwrap()];
        refusal(Config { listen, store: store.clone(), ..config() });
        let (engine, _chain) = Engine::start(Config { store, ..config() }).unwrap();
        assert_eq!(engine.handle().store_notices(), []);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let limits = getrlimit(Resource::Nofile);
    let lower = Rlimit { current: Some(512), maximum: limits.maximum };
    setrlimit(Resource::Nofile, lower).unwrap();
    let (_engine, _chain) = Engine::start(config()).unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, limits.maximum);
}
