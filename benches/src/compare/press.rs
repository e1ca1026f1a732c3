//! Work without end for the engine's workers, while it is wanted, and as little as can be for its
//! loop.
//!
//! Somebody who opens envelopes greets and leaves. What is delivered to that connection from then
//! on is packed, and the loop finds nobody to send it to.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use codec::{Capabilities, Kind, Payload};
use molva::{ConnId, FromChain, Handle, Publisher, SendError};

use super::wire;

/// Blocks that the workers have before them: never none, and below the backlog from which on the
/// bridge has others travel plain.
const BLOCKS: usize = 3;

/// How long to leave the workers alone: a third of what a block takes them at the least.
const NAP: Duration = Duration::from_millis(1);

/// How long the greeting, the leaving, and a change may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the workers busy while it is on. At first it is off.
pub(super) struct Press(Arc<Shared>);

#[derive(Default)]
struct Shared {
    on: AtomicBool,
    /// Blocks that are packed or wait for it.
    blocks: AtomicUsize,
}

impl Press {
    /// For the engine at this address.
    pub(super) fn start(handle: &Handle, addr: SocketAddr, to: Publisher) -> io::Result<Self> {
        let conn = leaver(handle, addr)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::Builder::new().name("press".to_owned()).spawn(move || own.feed(conn, &to))?;
        Ok(Self(shared))
    }

    /// Turns it on or off; returns when the workers have all their blocks, or none any more.
    pub(super) fn turn(&self, on: bool) -> io::Result<()> {
        self.0.on.store(on, Ordering::Relaxed);
        let blocks = if on { BLOCKS } else { 0 };
        let since = Instant::now();
        while self.0.blocks.load(Ordering::Relaxed) != blocks {
            if since.elapsed() > PATIENCE {
                return Err(io::Error::other("the workers did not follow"));
            }
            thread::sleep(NAP);
        }
        Ok(())
    }
}

impl Shared {
    /// Until the engine ends.
    fn feed(&self, to: ConnId, publisher: &Publisher) {
        let mut body = bitcoin_test_data::blocks::mainnet_702861().to_vec();
        let mut blocks = VecDeque::with_capacity(BLOCKS);
        for number in 0_u64.. {
            while !self.wants_another(&mut blocks) {
                thread::sleep(NAP);
            }
            // Each another one: what was packed lately is not packed again.
            body[..8].copy_from_slice(&number.to_be_bytes());
            let payload = Payload::seal(&wire::NETWORK, Kind::Block, &body);
            let payload = payload.expect("real blocks are within the limit");
            blocks.push_back(payload.clone());
            let mut command = FromChain::Deliver { to, payload };
            while let Err(error) = publisher.send(command) {
                let SendError::Full(again) = error else { return };
                command = again;
                thread::sleep(NAP);
            }
        }
    }

    /// Forgets what is packed, which is a copy and leaves us the original alone.
    fn wants_another(&self, blocks: &mut VecDeque<Payload>) -> bool {
        blocks.retain(|block| block.reference_count() > 1);
        self.blocks.store(blocks.len(), Ordering::Relaxed);
        self.on.load(Ordering::Relaxed) && blocks.len() < BLOCKS
    }
}

/// The connection of somebody who opened envelopes and is gone.
fn leaver(handle: &Handle, addr: SocketAddr) -> io::Result<ConnId> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&wire::hand_of(u64::MAX, Capabilities::EXTENSION))?;
    socket.read_exact(&mut [0; 1])?;
    let peers = || handle.peers().map_err(io::Error::other);
    let found = peers()?.first().map(|peer| peer.conn);
    let conn = found.ok_or_else(|| io::Error::other("nobody greeted"))?;
    drop(socket);
    let since = Instant::now();
    while !peers()?.is_empty() {
        if since.elapsed() > PATIENCE {
            return Err(io::Error::other("nobody left"));
        }
        thread::sleep(NAP);
    }
    Ok(conn)
}
