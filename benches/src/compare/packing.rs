//! Work without end for the engine's workers, and as little as can be for its loop.
//!
//! Somebody who opens envelopes greets and leaves. What is delivered to that connection from then
//! on is packed, and the loop finds nobody to send it to.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use codec::{Capabilities, Kind, Payload};
use molva::{ConnId, FromChain, Handle, Publisher, SendError};

use super::wire;

/// How long a full lane is left alone: a lane full of blocks lasts the workers longer.
const NAP: Duration = Duration::from_millis(5);

/// How long the greeting and the leaving may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the workers busy from now on.
pub(super) fn saturate(handle: &Handle, addr: SocketAddr, publisher: Publisher) -> io::Result<()> {
    let to = leaver(handle, addr)?;
    let mut body = bitcoin_test_data::blocks::mainnet_702861().to_vec();
    thread::Builder::new().name("packer".to_owned()).spawn(move || {
        for number in 0_u64.. {
            // Each another one: what was packed lately is not packed again.
            body[..8].copy_from_slice(&number.to_be_bytes());
            let payload = Payload::seal(&wire::NETWORK, Kind::Block, &body);
            let payload = payload.expect("real blocks are within the limit");
            let mut command = FromChain::Deliver { to, payload };
            loop {
                match publisher.send(command) {
                    Ok(()) => break,
                    Err(SendError::Full(again)) => command = again,
                    Err(SendError::Gone(_)) => return,
                }
                thread::sleep(NAP);
            }
        }
    })?;
    Ok(())
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
