//! The load: many connections that write as fast as the server takes it, and a few that ping.
//!
//! The driver never waits for an event: it goes round its non-blocking sockets and naps only when
//! all of them are full, so that the server is not charged with waking it. A turn of the server
//! is bounded work for one connection, and so is a visit here: one write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use codec::{FrameDecoder, Kind};
use rustix::net::sockopt;

use super::system;
use super::wire;

/// What is driven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Connections that write.
    pub(super) connections: usize,
    /// Frames in all.
    pub(super) frames: u64,
    /// Frames of one write.
    pub(super) frames_per_write: usize,
    /// Numbers of the load follow from it.
    pub(super) seed: u64,
}

/// What came of it.
pub(super) struct Load {
    /// Frames written: those planned, rounded up to whole writes.
    pub(super) frames: u64,
    /// Different payloads among them.
    pub(super) distinct: u64,
    /// From the first write to the pong that says that the last frame was handled.
    pub(super) elapsed: Duration,
    /// Of the pings under the load.
    pub(super) round_trips: Vec<Duration>,
}

/// Connections that ping under the load.
const PROBES: usize = 16;

/// Visits of writing connections between two looks at a probe.
const VISITS_PER_PROBE: usize = 4;

/// A probe rests so long between a pong and the next ping.
const PROBE_REST: Duration = Duration::from_millis(2);

/// When every socket is full.
const NAP: Duration = Duration::from_micros(200);

/// Send buffer of a connection: some writes deep, but not the megabytes that the system would grow
/// it to, for a thousand of those are no longer in any cache.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// A duplicate is one of so many latest payloads: fewer than any server remembers.
const DUPLICATES_WITHIN: u64 = 500_000;

/// One frame in so many is new: 90 % duplicates.
const NEW_ONE_IN: u64 = 10;

/// A greeting takes no longer, nor does a pause without any progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest round.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// One connection to the server.
struct Connection {
    socket: TcpStream,
    decoder: FrameDecoder,
    /// What a write left over.
    tail: Vec<u8>,
    /// Bytes of it that were written.
    written: usize,
    /// The ping after the last frame is on its way.
    asked: bool,
    pongs: u32,
}

/// A connection that pings.
struct Probe {
    connection: Connection,
    /// When the ping went that is not answered yet.
    asked: Option<Instant>,
    next: Instant,
}

/// Greeted connections, before the load.
pub(super) struct Fleet {
    connections: Vec<Connection>,
    probes: Vec<Probe>,
}

impl Fleet {
    /// Connects and greets, one after the other.
    pub(super) fn connect(addr: SocketAddr, connections: usize) -> io::Result<Self> {
        let mut greeted = (1..).map(|nonce| Connection::greet(addr, nonce));
        let connections = greeted.by_ref().take(connections).collect::<io::Result<_>>()?;
        let probes = greeted.take(PROBES).map(|connection| connection.map(Probe::new));
        Ok(Self { connections, probes: probes.collect::<io::Result<_>>()? })
    }

    /// Most connections that a server sees.
    pub(super) const fn size(connections: usize) -> usize {
        connections + PROBES
    }

    /// Writes all frames and waits until the server has handled them.
    pub(super) fn drive(&mut self, plan: &Plan) -> io::Result<Load> {
        let mut batch = Batch::new(plan);
        let mut round_trips = Vec::new();
        let begin = Instant::now();
        let mut last_progress = begin;
        let mut visits = 0;
        loop {
            let (mut progress, mut done) = (false, true);
            for connection in &mut self.connections {
                visits += 1;
                if visits % VISITS_PER_PROBE == 0 {
                    let probe = &mut self.probes[visits / VISITS_PER_PROBE % PROBES];
                    round_trips.extend(probe.look()?);
                }
                progress |= connection.visit(&mut batch)?;
                done &= connection.pongs > 0;
            }
            if done {
                break;
            }
            if progress {
                last_progress = Instant::now();
                if begin.elapsed() > ROUND_MAX {
                    return Err(io::Error::new(ErrorKind::TimedOut, "the round took too long"));
                }
                continue;
            }
            if last_progress.elapsed() > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server takes nothing more"));
            }
            for probe in &mut self.probes {
                round_trips.extend(probe.look()?);
            }
            thread::sleep(NAP);
        }
        let elapsed = begin.elapsed();
        Ok(Load { frames: batch.written, distinct: batch.next, elapsed, round_trips })
    }
}

impl Connection {
    fn greet(addr: SocketAddr, nonce: u64) -> io::Result<Self> {
        let mut socket = TcpStream::connect(addr)?;
        system::tune(&socket)?;
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(&wire::hand(nonce))?;
        let decoder = FrameDecoder::default();
        let (tail, written) = (Vec::new(), 0);
        let mut greeted = Self { socket, decoder, tail, written, asked: false, pongs: 0 };
        while greeted.read(Kind::Shake)? == 0 {}
        greeted.socket.set_nonblocking(true)?;
        Ok(greeted)
    }

    /// Writes what is left over, or the batch, or at the end a ping; says whether it got on.
    fn visit(&mut self, batch: &mut Batch) -> io::Result<bool> {
        if self.written < self.tail.len() {
            let written = written(self.socket.write(&self.tail[self.written..]))?;
            self.written += written;
            return Ok(written > 0);
        }
        if let Some(bytes) = batch.bytes() {
            let written = written(self.socket.write(bytes))?;
            if written > 0 {
                self.keep(&bytes[written..]);
                batch.take();
            }
            return Ok(written > 0);
        }
        if !self.asked {
            self.asked = true;
            self.keep(&wire::ping());
            return Ok(true);
        }
        if self.pongs == 0 {
            self.pongs += self.read(Kind::Pong)?;
            return Ok(self.pongs > 0);
        }
        Ok(false)
    }

    fn keep(&mut self, rest: &[u8]) {
        self.tail.clear();
        self.tail.extend_from_slice(rest);
        self.written = 0;
    }

    /// Reads what is there and counts the frames of one kind.
    fn read(&mut self, wanted: Kind) -> io::Result<u32> {
        let mut buffer = [0; 1024];
        let read = match self.socket.read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("the server closed a connection")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        let mut input = &buffer[..read];
        let mut count = 0;
        while let Some(frame) =
            self.decoder.next(&mut input, &wire::NETWORK).map_err(io::Error::other)?
        {
            count += u32::from(frame.kind() == wanted);
        }
        Ok(count)
    }
}

/// Bytes that a non-blocking write took.
fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

impl Probe {
    fn new(connection: Connection) -> Self {
        Self { connection, asked: None, next: Instant::now() }
    }

    /// Pings if it is time, and gives the round trip if a pong came.
    fn look(&mut self) -> io::Result<Option<Duration>> {
        if let Some(asked) = self.asked {
            if self.connection.read(Kind::Pong)? == 0 {
                return Ok(None);
            }
            let now = Instant::now();
            self.asked = None;
            self.next = now + PROBE_REST;
            return Ok(Some(now - asked));
        }
        let now = Instant::now();
        if now >= self.next {
            self.connection.socket.write_all(&wire::ping())?;
            self.asked = Some(now);
        }
        Ok(None)
    }
}

/// The next write. It differs from the one before only in the numbers of its payloads, so that
/// making it costs next to nothing.
struct Batch {
    bytes: Vec<u8>,
    planned: u64,
    written: u64,
    /// Number of the next new payload.
    next: u64,
    random: u64,
}

impl Batch {
    fn new(plan: &Plan) -> Self {
        let bytes = wire::payload().repeat(plan.frames_per_write);
        let random = plan.seed | 1;
        let mut batch = Self { bytes, planned: plan.frames, written: 0, next: 0, random };
        batch.renumber();
        batch
    }

    /// The write that is due, if any.
    fn bytes(&self) -> Option<&[u8]> {
        (self.written < self.planned).then_some(&self.bytes)
    }

    /// It was written, or is kept by its connection.
    fn take(&mut self) {
        self.written += (self.bytes.len() / wire::FRAME_BYTES) as u64;
        if self.written < self.planned {
            self.renumber();
        }
    }

    fn renumber(&mut self) {
        for frame in self.bytes.chunks_exact_mut(wire::FRAME_BYTES) {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let number = if self.next == 0 || (self.random >> 40) % NEW_ONE_IN == 0 {
                self.next += 1;
                self.next - 1
            } else {
                let back = (self.random & 0xffff_ffff) % self.next.min(DUPLICATES_WITHIN);
                self.next - 1 - back
            };
            frame[wire::INDEX].copy_from_slice(&number.to_be_bytes());
        }
    }
}
