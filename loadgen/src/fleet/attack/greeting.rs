//! Attacks on connecting and greeting, and on who may come at all.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::clock::{now_ns, sleep_until};
use crate::fleet::attack::raider::{ENDING, Hand, Raid, Raider, await_ends, frame, leave_all};
use crate::talk::{INVALID_TAG, Said, tell};

const HAND: u8 = 1;
const PING: u8 = 3;
const PONG: u8 = 4;
const GET_PEER_ADDRS: u8 = 5;
const TRANSACTION: u8 = 15;

pub(super) fn silent_connections(raid: &Raid) -> io::Result<()> {
    let hosts = raid.beats(1_000).zip(0..500);
    let raiders: io::Result<Vec<_>> = hosts.map(|(_, host)| raid.connect(host)).collect();
    await_ends(raiders?)
}

pub(super) fn slow_loris(raid: &Raid) -> io::Result<()> {
    let hand = frame(&raid.network, HAND, &Hand::new(raid).body());
    let raiders: io::Result<Vec<_>> = (0..64).map(|host| raid.connect(host)).collect();
    let mut raiders = raiders?;
    let (start, end) = (now_ns(), now_ns() + ENDING.as_nanos() as u64);
    // The last byte stays away: it is never a whole Hand.
    for (byte, step) in hand[..hand.len() - 1].iter().zip(1..) {
        raiders.retain_mut(|raider| raider.drain() && raider.write(0, &[*byte]).is_ok());
        if raiders.is_empty() || now_ns() > end {
            break;
        }
        sleep_until(start + step * 500_000_000);
    }
    await_ends(raiders)
}

pub(super) fn connection_churn(raid: &Raid) -> io::Result<()> {
    for (_, turn) in raid.beats(300).zip(0_u16..) {
        let host = turn % 2_000;
        if turn % 4 == 3 {
            raid.connect(host)?.leave();
        } else {
            raid.greet(host)?.leave();
        }
    }
    Ok(())
}

pub(super) fn full_house(raid: &Raid) -> io::Result<()> {
    let hosts = raid.beats(1_000).zip(0..1_300);
    let raiders: io::Result<Vec<_>> = hosts.map(|(_, host)| raid.greet(host)).collect();
    sleep_until(raid.until_ns);
    leave_all(raiders?)
}

pub(super) fn duplicate_connections(raid: &Raid) -> io::Result<()> {
    let mut first = raid.greet(1)?;
    for () in raid.beats(100) {
        refused(raid, raid.connect(1)?)?;
    }
    ping(&mut first)?;
    first.leave();
    Ok(())
}

pub(super) fn wrong_genesis(raid: &Raid) -> io::Result<()> {
    for (_, host) in raid.beats(100).zip(0..) {
        let hand = Hand { genesis: [7; 32], ..Hand::new(raid) };
        let mut raider = raid.connect(host)?;
        raider.send(HAND, &hand.body())?;
        if raider.read().is_ok() {
            return Err(io::Error::other("a stranger was answered"));
        }
    }
    Ok(())
}

pub(super) fn odd_versions(raid: &Raid) -> io::Result<()> {
    let versions = [0, u32::MAX, 1, 2, 999].into_iter().cycle();
    for ((_, host), version) in raid.beats(100).zip(0..).zip(versions) {
        let mut raider = raid.greet_as(host, &Hand { version, ..Hand::new(raid) })?;
        ping(&mut raider)?;
        raider.leave();
    }
    Ok(())
}

pub(super) fn capability_garbage(raid: &Raid) -> io::Result<()> {
    let longest = "x".repeat(400);
    let agents =
        ["", "\0\0", "\n\r\x1b[2J", "'; DROP TABLE address; --", "<script>", "\u{202e}", &longest];
    for ((_, host), agent) in raid.beats(100).zip(0..).zip(agents.into_iter().cycle()) {
        let capabilities = raid.nonce() as u32;
        let user_agent = agent.as_bytes().to_vec();
        let hand = Hand { capabilities, user_agent, ..Hand::new(raid) };
        let mut raider = raid.greet_as(host, &hand)?;
        raider.send(GET_PEER_ADDRS, &capabilities.to_be_bytes())?;
        ping(&mut raider)?;
        raider.leave();
    }
    Ok(())
}

pub(super) fn self_dial(raid: &Raid) -> io::Result<()> {
    for host in 0..3 {
        if host > 0 && raid.is_over() {
            break;
        }
        let listener = TcpListener::bind((raid.host(host), 0))?;
        tell(&Said::Dial(listener.local_addr()?));
        let mut dialled = Raider::adopt(raid, accept(&listener)?)?;
        drop(listener);
        let (_, hand) = dialled.read()?;
        let nonce = hand.get(8..16).ok_or_else(|| io::Error::other("a Hand without a nonce"))?;
        let nonce = nonce.iter().fold(0, |nonce, byte| nonce << 8 | u64::from(*byte));
        let mut raider = raid.connect(1_000 + host)?;
        raider.send(HAND, &Hand { nonce, ..Hand::new(raid) }.body())?;
        if raider.read().is_ok() {
            return Err(io::Error::other("its own nonce was answered"));
        }
        dialled.leave();
    }
    Ok(())
}

/// The engine's dial, within a patience.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    for _ in 0..500 {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the engine did not dial"))
}

pub(super) fn ban_evasion(raid: &Raid) -> io::Result<()> {
    let mut raider = raid.greet(1)?;
    raider.send(TRANSACTION, &[&INVALID_TAG[..], &raid.nonce().to_be_bytes()].concat())?;
    await_ends(vec![raider])?;
    for () in raid.beats(100) {
        refused(raid, raid.connect(1)?)?;
    }
    Ok(())
}

/// A connection that must be ended without an answer.
fn refused(raid: &Raid, mut raider: Raider<'_>) -> io::Result<()> {
    // It may be ended before this is written.
    let _ = raider.send(HAND, &Hand::new(raid).body());
    match raider.read() {
        Ok((kind, _)) => Err(io::Error::other(format!("answered with kind {kind}"))),
        Err(_) => await_ends(vec![raider]),
    }
}

/// Sends a Ping, and reads until it is answered.
fn ping(raider: &mut Raider<'_>) -> io::Result<()> {
    raider.send(PING, &[0; 16])?;
    while raider.read()?.0 != PONG {}
    Ok(())
}

/// An address of a test, as the protocol writes it.
pub(super) fn address(addr: SocketAddr) -> Vec<u8> {
    match addr {
        SocketAddr::V4(v4) => [&[0][..], &v4.ip().octets(), &v4.port().to_be_bytes()].concat(),
        SocketAddr::V6(v6) => [&[1][..], &v6.ip().octets(), &v6.port().to_be_bytes()].concat(),
    }
}
