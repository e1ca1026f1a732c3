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

/// What came of a load.
pub(super) struct Load {
    /// Frames written: those asked for, rounded up to whole writes.
    pub(super) frames: u64,
    /// Different payloads so far.
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

/// Longest load.
const LOAD_MAX: Duration = Duration::from_secs(120);

/// One connection to the server.
struct Connection {
    socket: TcpStream,
    decoder: FrameDecoder,
    /// What a write left over.
    tail: Vec<u8>,
    /// Bytes of it that were written.
    written: usize,
    end: End,
}

/// How a connection's part of a load ends: with a ping, whose pong says that all was handled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    None,
    Pinged,
    Ponged,
}

/// A connection that pings.
struct Probe {
    connection: Connection,
    /// When the ping went that is not answered yet.
    asked: Option<Instant>,
    next: Instant,
}

/// Greeted connections, and what they will write.
pub(super) struct Fleet {
    connections: Vec<Connection>,
    probes: Vec<Probe>,
    batch: Batch,
    visits: usize,
}

impl Fleet {
    /// Connects and greets, one after the other. All numbers of the load follow from the seed.
    pub(super) fn connect(
        addr: SocketAddr,
        connections: usize,
        frames_per_write: usize,
        seed: u64,
    ) -> io::Result<Self> {
        let mut greeted = (1..).map(|nonce| Connection::greet(addr, nonce));
        let connections = greeted.by_ref().take(connections).collect::<io::Result<_>>()?;
        let probes = greeted.take(PROBES).map(|connection| connection.map(Probe::new));
        let batch = Batch::new(frames_per_write, seed);
        Ok(Self { connections, probes: probes.collect::<io::Result<_>>()?, batch, visits: 0 })
    }

    /// Most connections that a server sees.
    pub(super) const fn size(connections: usize) -> usize {
        connections + PROBES
    }

    /// Writes so many frames and waits until the server has handled them.
    pub(super) fn drive(&mut self, frames: u64) -> io::Result<Load> {
        let before = self.batch.written;
        self.batch.planned = before + frames;
        for connection in &mut self.connections {
            connection.end = End::None;
        }
        let mut round_trips = Vec::new();
        let begin = Instant::now();
        let mut last_progress = begin;
        while !self.is_done() {
            let progress = self.go_round(&mut round_trips)?;
            let now = Instant::now();
            if progress {
                last_progress = now;
            } else {
                for probe in &mut self.probes {
                    round_trips.extend(probe.look()?);
                }
                thread::sleep(NAP);
            }
            if now - last_progress > PATIENCE || now - begin > LOAD_MAX {
                return Err(io::Error::new(ErrorKind::TimedOut, "the load took too long"));
            }
        }
        let (frames, distinct) = (self.batch.written - before, self.batch.distinct);
        Ok(Load { frames, distinct, elapsed: begin.elapsed(), round_trips })
    }

    fn is_done(&self) -> bool {
        self.connections.iter().all(|connection| connection.end == End::Ponged)
    }

    /// One visit of every connection; says whether any got on.
    fn go_round(&mut self, round_trips: &mut Vec<Duration>) -> io::Result<bool> {
        let mut progress = false;
        for connection in &mut self.connections {
            self.visits += 1;
            if self.visits.is_multiple_of(VISITS_PER_PROBE) {
                let probe = &mut self.probes[self.visits / VISITS_PER_PROBE % PROBES];
                round_trips.extend(probe.look()?);
            }
            progress |= connection.visit(&mut self.batch)?;
        }
        Ok(progress)
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
        let mut greeted = Self { socket, decoder, tail, written, end: End::None };
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
        match self.end {
            End::None => {
                self.end = End::Pinged;
                self.keep(&wire::ping());
                Ok(true)
            }
            End::Pinged => {
                let ponged = self.read(Kind::Pong)? > 0;
                if ponged {
                    self.end = End::Ponged;
                }
                Ok(ponged)
            }
            End::Ponged => Ok(false),
        }
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
    /// Frames to be written in all.
    planned: u64,
    written: u64,
    /// Different payloads in all writes that were taken: the number of the next new one, before
    /// this write.
    distinct: u64,
    /// Number of the next new payload.
    next: u64,
    random: u64,
}

impl Batch {
    fn new(frames: usize, seed: u64) -> Self {
        let bytes = wire::payload().repeat(frames);
        let mut batch =
            Self { bytes, planned: 0, written: 0, distinct: 0, next: 0, random: seed | 1 };
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
        self.renumber();
    }

    fn renumber(&mut self) {
        self.distinct = self.next;
        for frame in self.bytes.chunks_exact_mut(wire::FRAME_BYTES) {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let number = if self.next == 0 || (self.random >> 40).is_multiple_of(NEW_ONE_IN) {
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
