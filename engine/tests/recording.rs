//! What a whole engine does over real sockets is recorded, and done again without any.

#![allow(clippy::disallowed_methods, reason = "a test's own clock")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use molva::{
    BanTarget, ChainSide, Config, Engine, FromChain, Gossip, Heard, Kind, Network, Payload,
    RecordingError, StartError, replay,
};
use support::{Client, PATIENCE, PING, TRANSACTION};

fn path(name: &str) -> PathBuf {
    let process = std::process::id();
    std::env::temp_dir().join(format!("molva-recording-{process}-{name}"))
}

fn start(change: impl FnOnce(&mut Config)) -> (Engine, ChainSide, SocketAddr) {
    let mut config = Config::new(Network::DEV);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.connections_max = 256; // places beside the outbound peers and the dials
    config.peer.gossip = Gossip::Tree;
    config.peer.ping_period = Duration::from_millis(100);
    change(&mut config);
    let (engine, chain) = Engine::start(config).unwrap();
    let addr = engine.handle().local_addrs()[0];
    (engine, chain, addr)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let clock = Instant::now();
    while !done() {
        assert!(clock.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Handshakes, payloads of all lengths, pings, topics, a ban by an operator and one for a payload
/// that is invalid, bytes that are none, connections that break.
fn busy_life(recording: &Path, bytes_max: u64) {
    let (first, mut chain, addr) = start(|config| {
        config.recording = Some(recording.to_owned());
        config.recording_bytes_max = bytes_max;
    });
    let (second, second_chain, _) = start(|config| config.peer.connect = vec![addr]);
    until("two engines are peers", || second.handle().metrics().peers_extended == 1);
    let weather = second.handle().subscribe(b"weather").unwrap();
    for number in 0..20_u8 {
        first.handle().publish(b"weather", &vec![number; 1 + 3_000 * usize::from(number)]).unwrap();
        let body = vec![number; 1 + 40_000 * usize::from(number)];
        let block = Payload::seal(&Network::DEV, Kind::Block, &body).unwrap();
        second_chain.send(FromChain::Publish(block)).unwrap();
    }
    for _ in 0..20 {
        let payload = support::next_payload(&mut chain);
        chain.send(FromChain::Publish(payload)).unwrap();
    }
    for _ in 0..20 {
        assert!(matches!(weather.recv_timeout(PATIENCE), Ok(Some(Heard::Message { .. }))));
    }
    let mut client = Client::greet(addr, &Network::DEV);
    client.ping();
    client.send(PING, &[0; 16]);
    client.send(TRANSACTION, b"whole");
    let invalid = support::next_payload(&mut chain);
    assert_eq!(invalid.body(), b"whole");
    drop(Client::connect(addr, &Network::DEV));
    let mut garbage = Client::greet(addr, &Network::DEV);
    std::io::Write::write_all(&mut garbage.stream, &[0xff; 64]).unwrap();
    until("it is refused", || garbage.read().is_err());
    let elsewhere = BanTarget::Subnet { ip: [192, 0, 2, 0].into(), prefix: 24 };
    first.handle().ban(elsewhere, Duration::from_secs(9), "a test").unwrap();
    assert!(first.handle().unban(elsewhere).unwrap());
    drop(second);
    until("the others have left", || first.handle().metrics().peers_extended == 0);
    drop(first);
}

#[test]
fn what_an_engine_did_is_done_again() {
    let recording = path("life");
    busy_life(&recording, 256 << 20);
    let bytes = fs::read(&recording).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&recording).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "it holds secrets");
    fs::remove_file(&recording).unwrap();
    let same = replay(&bytes).unwrap();
    assert!(!same.is_cut && same.calls > 100 && same.outputs > 60, "{same:?}");
    // One bit anywhere is noticed.
    for place in (8..bytes.len()).step_by(bytes.len() / 20) {
        let mut changed = bytes.clone();
        changed[place] ^= 0x10;
        let noticed = match replay(&changed) {
            Err(RecordingError::Damaged { .. }) => true,
            Ok(replay) => replay.is_cut,
            Err(_) => false,
        };
        assert!(noticed, "byte {place} of {}", bytes.len());
    }
}

#[test]
fn a_recording_is_bounded_and_the_engine_goes_on() {
    let recording = path("short");
    busy_life(&recording, 100_000);
    let bytes = fs::read(&recording).unwrap();
    fs::remove_file(&recording).unwrap();
    assert!(bytes.len() <= 100_000);
    assert!(replay(&bytes).unwrap().calls > 10);
}

#[test]
fn a_recording_that_cannot_be_written_keeps_from_starting() {
    let mut config = Config::new(Network::DEV);
    config.listen.clear();
    config.recording = Some(path("none").join("there"));
    let Err(StartError::Recording { path, source }) = Engine::start(config) else {
        panic!("it started");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert!(path.ends_with("there"));
}

/// A second engine with the same settings, which cannot start, ended the recording of the first.
#[test]
fn a_recording_that_goes_on_and_a_store_are_not_written_over() {
    let file = path("twice");
    let (engine, chain, _) = start(|config| config.recording = Some(file.clone()));
    let wrong = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::new(Network::DEV);
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.recording = Some(file.clone());
        change(&mut config);
        match Engine::start(config) {
            Err(StartError::Recording { path, source }) => {
                assert_eq!(path, file);
                source.to_string()
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    assert_eq!(wrong(&|_| {}), "another engine records into it");
    assert_eq!(wrong(&|config| config.store = Some(file.clone())), "it is the store");
    drop(chain);
    engine.shutdown(Duration::from_secs(5)).unwrap();
    assert!(!replay(&fs::read(&file).unwrap()).unwrap().is_cut);
    let too_short = wrong(&|config| config.recording_bytes_max = 65_535);
    assert!(too_short.starts_with("recording.bytes_max is below 65,536"), "{too_short}");
    // The next run keeps it, and a file that is something else is left alone.
    let first = fs::read(&file).unwrap();
    drop(start(|config| config.recording = Some(file.clone())));
    let before = path("twice.before");
    assert_eq!(fs::read(&before).unwrap(), first);
    assert_ne!(fs::read(&file).unwrap(), first);
    fs::write(&file, "[network]").unwrap();
    assert_eq!(wrong(&|_| {}), "it holds something else, which would be lost");
    assert_eq!(fs::read(&file).unwrap(), b"[network]");
    fs::remove_file(&file).unwrap();
    fs::remove_file(&before).unwrap();
}
