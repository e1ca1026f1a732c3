//! One attack under way, its clock and its counts; and one attacker: a blocking socket that comes
//! from an address of the attack's own group.
//!
//! Everything here is bounded: connecting, reading and writing by a patience, an attack by its end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use codec::Network;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::clock::{now_ns, sleep_until};
use crate::wire::HEADER_BYTES;

/// Patience for connecting, and for one read or write.
const PATIENCE: Duration = Duration::from_secs(2);

/// Patience, after an attack, for the engine to end what it must: its own are 10 s, looked at a
/// little later.
pub(crate) const ENDING: Duration = Duration::from_secs(14);

/// Longest frame that is read.
const FRAME_BYTES_MAX: u64 = 16 << 20;

/// An attack under way.
pub(crate) struct Raid {
    pub(crate) target: SocketAddr,
    pub(crate) network: Network,
    /// The attackers' addresses are 127.`group`.x.y.
    pub(crate) group: u8,
    pub(crate) until_ns: u64,
    pub(crate) connections: AtomicU64,
    pub(crate) frames_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    nonce: AtomicU64,
}

impl Raid {
    pub(crate) fn new(target: SocketAddr, group: u8, time: Duration) -> Self {
        Self {
            target,
            network: Network::DEV,
            group,
            until_ns: now_ns() + time.as_nanos() as u64,
            connections: AtomicU64::new(0),
            frames_sent: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            nonce: AtomicU64::new(now_ns()),
        }
    }

    /// The address of one attacking host.
    pub(crate) const fn host(&self, host: u16) -> Ipv4Addr {
        let [high, low] = host.to_be_bytes();
        Ipv4Addr::new(127, self.group, high, low)
    }

    pub(crate) fn is_over(&self) -> bool {
        now_ns() >= self.until_ns
    }

    /// A beat of so many a second, until the end of the attack.
    pub(crate) fn beats(&self, per_second: u64) -> Beats {
        Beats { next_ns: now_ns(), step_ns: 1_000_000_000 / per_second, until_ns: self.until_ns }
    }

    /// Numbers that do not come again.
    pub(crate) fn nonce(&self) -> u64 {
        let count = self.nonce.fetch_add(1, Ordering::Relaxed);
        (count ^ count >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Connects one host.
    pub(crate) fn connect(&self, host: u16) -> io::Result<Raider<'_>> {
        let stream = connect_from(self.host(host), self.target, PATIENCE)?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Raider { raid: self, stream })
    }

    /// Connects one host, and greets as one should.
    pub(crate) fn greet(&self, host: u16) -> io::Result<Raider<'_>> {
        self.greet_as(host, &Hand::new(self))
    }

    /// Connects one host, and greets as wanted; it must be answered.
    pub(crate) fn greet_as(&self, host: u16, hand: &Hand) -> io::Result<Raider<'_>> {
        let mut raider = self.connect(host)?;
        raider.send(1, &hand.body())?;
        match raider.read()? {
            (2, _) => Ok(raider),
            (kind, _) => Err(io::Error::other(format!("kind {kind} instead of a Shake"))),
        }
    }

    /// Greets with so many hosts, one after the other.
    pub(crate) fn greet_many(&self, hosts: u16) -> io::Result<Vec<Raider<'_>>> {
        (0..hosts).map(|host| self.greet(host)).collect()
    }
}

/// When to act next.
pub(crate) struct Beats {
    next_ns: u64,
    step_ns: u64,
    until_ns: u64,
}

impl Iterator for Beats {
    type Item = ();

    /// Waits for the beat. One that is late follows at once, but what a stall of ours has left out
    /// is not made up for: it would come as a burst.
    fn next(&mut self) -> Option<()> {
        const LATE_MAX_NS: u64 = 50_000_000;
        self.next_ns = self.next_ns.max(now_ns().saturating_sub(LATE_MAX_NS));
        if self.next_ns >= self.until_ns {
            return None;
        }
        sleep_until(self.next_ns);
        self.next_ns += self.step_ns;
        Some(())
    }
}

/// A greeting of one's choice.
pub(crate) struct Hand {
    pub(crate) version: u32,
    pub(crate) capabilities: u32,
    pub(crate) nonce: u64,
    pub(crate) user_agent: Vec<u8>,
    pub(crate) genesis: [u8; 32],
}

impl Hand {
    /// As one should.
    pub(crate) fn new(raid: &Raid) -> Self {
        Self {
            version: 1_000,
            capabilities: 0,
            nonce: raid.nonce(),
            user_agent: b"attacker".to_vec(),
            genesis: raid.network.genesis.0,
        }
    }

    /// The body; neither address has a port, so that nobody dials back.
    pub(crate) fn body(&self) -> Vec<u8> {
        let nowhere = [0, 127, 0, 0, 1, 0, 0];
        [
            &self.version.to_be_bytes()[..],
            &self.capabilities.to_be_bytes(),
            &self.nonce.to_be_bytes(),
            &0_u64.to_be_bytes(),
            &nowhere,
            &nowhere,
            &(self.user_agent.len() as u64).to_be_bytes(),
            &self.user_agent,
            &self.genesis,
        ]
        .concat()
    }
}

/// One attacker's connection.
pub(crate) struct Raider<'a> {
    raid: &'a Raid,
    stream: TcpStream,
}

impl Raider<'_> {
    /// Takes over a connection that the engine made.
    pub(crate) fn adopt(raid: &Raid, stream: TcpStream) -> io::Result<Raider<'_>> {
        set_patience(&stream, PATIENCE)?;
        raid.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Raider { raid, stream })
    }

    /// Sends one frame.
    pub(crate) fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.write(1, &frame(&self.raid.network, kind, body))
    }

    /// Writes bytes that make up so many frames.
    pub(crate) fn write(&mut self, frames: u64, bytes: &[u8]) -> io::Result<()> {
        let result = self.stream.write_all(bytes);
        if result.is_ok() {
            self.raid.frames_sent.fetch_add(frames, Ordering::Relaxed);
            self.raid.bytes_sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        result
    }

    /// The next frame: its kind and its body.
    pub(crate) fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header)?;
        let length = header[3..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body)?;
        let bytes = (HEADER_BYTES + body.len()) as u64;
        self.raid.bytes_received.fetch_add(bytes, Ordering::Relaxed);
        Ok((header[2], body))
    }

    /// Reads at most so much of what is there, without waiting; `false` when the engine has ended
    /// the connection.
    pub(crate) fn sip(&mut self, max: usize) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut left = max;
        let _ = self.stream.set_nonblocking(true);
        let stands = loop {
            let room = left.min(buffer.len());
            if room == 0 {
                break true;
            }
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => break false,
                Ok(bytes) => {
                    left -= bytes;
                    self.raid.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
                }
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        let _ = self.stream.set_nonblocking(false);
        stands
    }

    /// Reads all that is there; `false` when the engine has ended the connection.
    pub(crate) fn drain(&mut self) -> bool {
        self.sip(usize::MAX)
    }

    /// Leaves as a peer should: says that nothing more comes, and reads to the end.
    pub(crate) fn leave(mut self) {
        // It may be gone already; then there is nobody to tell.
        let _ = self.stream.shutdown(Shutdown::Write);
        self.await_end(now_ns() + PATIENCE.as_nanos() as u64);
    }

    /// Reads until the engine ends the connection; whether it did so in time.
    pub(crate) fn await_end(&mut self, until_ns: u64) -> bool {
        let mut buffer = [0; 16 << 10];
        loop {
            let left = until_ns.saturating_sub(now_ns());
            if left == 0 {
                return false;
            }
            let _ = self.stream.set_read_timeout(Some(Duration::from_nanos(left)));
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(bytes) => {
                    self.raid.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }
}

/// Waits until the engine has ended all of them.
pub(crate) fn await_ends(raiders: Vec<Raider<'_>>) -> io::Result<()> {
    let until = now_ns() + ENDING.as_nanos() as u64;
    let stand =
        raiders.into_iter().filter_map(|mut raider| (!raider.await_end(until)).then_some(()));
    match stand.count() {
        0 => Ok(()),
        count => Err(io::Error::other(format!("the engine still keeps {count} connections"))),
    }
}

/// All leave.
pub(crate) fn leave_all(raiders: Vec<Raider<'_>>) -> io::Result<()> {
    raiders.into_iter().for_each(Raider::leave);
    Ok(())
}

/// Magic, kind, length, body.
pub(crate) fn frame(network: &Network, kind: u8, body: &[u8]) -> Vec<u8> {
    [&header(network, kind, body.len() as u64)[..], body].concat()
}

/// Magic, kind, and a length of one's choice.
pub(crate) fn header(network: &Network, kind: u8, length: u64) -> Vec<u8> {
    [&network.magic[..], &[kind], &length.to_be_bytes()].concat()
}

/// Connects from a chosen address.
pub(crate) fn connect_from(
    source: Ipv4Addr,
    target: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(patience))?;
    rustix::net::bind(&fd, &SocketAddr::from((source, 0)))?;
    rustix::net::connect(&fd, &target)?;
    let stream = TcpStream::from(fd);
    set_patience(&stream, patience)?;
    Ok(stream)
}

fn set_patience(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}
