//! Archives between real sockets: megabytes that delay nobody else and arrive as they were.
#![allow(clippy::disallowed_methods, reason = "a test's own clock")]

mod support;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use molva::{
    Archive, ChainSide, Config, Engine, FromChain, Handle, Hash, Kind, Network, Payload, Rate,
    Request, ToChain,
};

use support::{Client, PATIENCE, PONG, TRANSACTION, next_payload};

const DEV: Network = Network::DEV;

const BYTES: u64 = 20 << 20;

const ARCHIVE: Archive = Archive { block: Hash([7; 32]), height: 9, bytes: BYTES };

const TXHASHSET_REQUEST: u8 = 16;
const TXHASHSET_ARCHIVE: u8 = 17;

fn start(connect: &[SocketAddr]) -> (Engine, ChainSide, SocketAddr) {
    let mut config = Config::new(DEV);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.connections_max = 128;
    config.peer.connect = connect.to_vec();
    // The archive is larger than the default's burst, and the test is not about the rate.
    let rate = Rate { amount: 1 << 30, per: Duration::from_secs(1), burst: 1 << 30 };
    config.peer.rates.answers = rate;
    let (engine, chain) = Engine::start(config).unwrap();
    let addr = engine.handle().local_addrs()[0];
    (engine, chain, addr)
}

/// The byte of the archive at this offset.
const fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A chain that serves the archive to whoever asks, until it is told to stop.
fn serve(mut chain: ChainSide, stop: Arc<AtomicBool>) -> JoinHandle<ChainSide> {
    let body = move || {
        while !stop.load(Ordering::Relaxed) {
            match chain.recv_timeout(Duration::from_millis(10)) {
                Ok(Some(ToChain::Requested { from, request: Request::TxHashSet { .. } })) => {
                    chain.send(FromChain::SendArchive { to: from.conn, archive: ARCHIVE }).unwrap();
                }
                Ok(Some(ToChain::PieceWanted { from, offset, length })) => {
                    let bytes = (offset..offset + u64::from(length)).map(byte).collect();
                    let piece = Payload::piece(bytes);
                    chain.send(FromChain::ArchivePiece { to: from.conn, piece }).unwrap();
                }
                Ok(_) => {}
                Err(end) => panic!("{end}"),
            }
        }
        chain
    };
    bridge::spawn("chain", body).unwrap()
}

#[test]
fn while_an_archive_leaves_the_others_pings_are_answered_and_payloads_flow() {
    let (engine, chain, addr) = start(&[]);
    let publisher = chain.publisher();
    let stop = Arc::new(AtomicBool::new(false));
    let serving = serve(chain, Arc::clone(&stop));
    let mut getter = Client::greet(addr, &DEV);
    let mut other = Client::greet(addr, &DEV);
    let request = [&ARCHIVE.block.0[..], &ARCHIVE.height.to_be_bytes()].concat();
    getter.send(TXHASHSET_REQUEST, &request);
    let (kind, body) = loop {
        let frame = getter.read().unwrap();
        if frame.0 == TXHASHSET_ARCHIVE {
            break frame;
        }
    };
    assert_eq!(kind, TXHASHSET_ARCHIVE);
    assert_eq!(body, [&request[..], &BYTES.to_be_bytes()].concat());

    // The getter reads on and on; beside it the other pings, and gets what the chain publishes.
    let mut offset = 0;
    let mut chunk = vec![0; 256 << 10];
    let (mut pings, mut payloads) = (0u8, 0);
    while offset < BYTES {
        let wanted = chunk.len().min((BYTES - offset) as usize);
        getter.stream.read_exact(&mut chunk[..wanted]).unwrap();
        assert!((offset..).zip(&chunk[..wanted]).all(|(at, one)| *one == byte(at)), "at {offset}");
        offset += wanted as u64;
        publisher.publish(Payload::seal(&DEV, Kind::Transaction, &[pings; 500]).unwrap()).unwrap();
        other.send(support::PING, &[0; 16]);
        let clock = Instant::now();
        let mut ponged = false;
        while !ponged || payloads <= u32::from(pings) {
            match other.read().unwrap().0 {
                PONG => ponged = true,
                TRANSACTION => payloads += 1,
                _ => {}
            }
            assert!(clock.elapsed() < PATIENCE);
        }
        pings += 1;
    }
    // Behind the last byte the frames begin again.
    getter.ping();
    assert_eq!(engine.handle().metrics().closed_by_cause().count(), 0);
    stop.store(true, Ordering::Relaxed);
    serving.join().unwrap();
}

fn until(handle: &Handle, mut done: impl FnMut(&Handle) -> bool) {
    let clock = Instant::now();
    while !done(handle) {
        assert!(clock.elapsed() < PATIENCE, "{:?}", handle.metrics());
        std::thread::yield_now();
    }
}

#[test]
fn an_archive_goes_from_chain_to_chain() {
    let (server, chain, addr) = start(&[]);
    let stop = Arc::new(AtomicBool::new(false));
    let serving = serve(chain, Arc::clone(&stop));
    let (getter, mut chain, _) = start(&[addr]);
    let handle = getter.handle();
    until(&handle, |handle| handle.metrics().peers_outbound == 1);
    let to = handle.peers().unwrap()[0].conn;
    let request = Request::TxHashSet { block: ARCHIVE.block, height: ARCHIVE.height };
    chain.send(FromChain::Request { to, request }).unwrap();
    let (mut begun, mut received) = (false, 0);
    while received < BYTES {
        match chain.recv_timeout(PATIENCE).unwrap().expect("an event in time") {
            ToChain::ArchiveBegins { from, archive } => {
                assert_eq!((from.conn, archive, begun), (to, ARCHIVE, false));
                begun = true;
            }
            ToChain::ArchivePiece { offset, bytes, .. } => {
                assert!(begun && offset == received);
                assert!((offset..).zip(&bytes[..]).all(|(at, one)| *one == byte(at)));
                received += bytes.len() as u64;
            }
            other => assert!(!matches!(other, ToChain::ArchiveBroken { .. })),
        }
    }
    assert_eq!(received, BYTES);
    stop.store(true, Ordering::Relaxed);
    let mut server_chain = serving.join().unwrap();
    let payload = Payload::seal(&DEV, Kind::Transaction, b"as before").unwrap();
    chain.publish(payload.clone()).unwrap();
    assert!(next_payload(&mut server_chain).frame() == payload.frame());
    drop((server, getter));
}
