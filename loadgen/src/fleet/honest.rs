//! Well-behaved clients beside an attack: they ping at a steady rate, and write real payloads.
//!
//! Each is a host of a network group of its own; some dial the engine, the others are dialled by
//! it. Blocking sockets: a thread reads each, and one writes to all. Open loop: a Ping is sent when
//! it is due, and its round trip is counted from then, whatever became of the one before.
//! Invariant: the load is the same in every measurement.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codec::{Kind, Network};
use hdrhistogram::Histogram;

use crate::clock::{now_ns, sleep_until};
use crate::control::LATENCY_US_MAX;
use crate::fleet::attack::raider::connect_from;
use crate::plan::{Id, Plan};
use crate::talk::{Order, Said, Window, heard, tell};
use crate::wire::{self, Inbox};

/// Clients that dial the engine, and those that it dials: as many as it looks for by default.
pub(crate) const DIALLING: usize = 24;
pub(crate) const LISTENING: usize = 8;
pub(crate) const CLIENTS: usize = DIALLING + LISTENING;

/// Pings a second of all together, and payloads.
pub(crate) const PINGS_PER_SECOND: u64 = 1_000;
pub(crate) const PAYLOADS_PER_SECOND: u64 = 50;

/// The clients that write payloads, in turn.
const WRITERS: usize = 4;

/// Bytes of a synthetic payload.
pub(crate) const PAYLOAD_BYTES: usize = 300;

/// First network group of those that dial and of those that listen: 127.N.0.1.
const DIALLING_GROUP: u8 = 160;
const LISTENING_GROUP: u8 = 200;

/// Patience for a greeting, for a write, and for Pongs after a measurement.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pings of one client that may be open.
const PINGS_OPEN_MAX: usize = 10_000;

const FAULTS_MAX: usize = 5;
const INBOX_BYTES: usize = 4 * 1024;

/// One client.
struct Client {
    name: usize,
    stream: TcpStream,
    writing: Mutex<()>,
    /// When the Pings without an answer were to be sent, the oldest first.
    open: Mutex<VecDeque<u64>>,
    gone: AtomicBool,
}

/// What all clients share.
struct Crowd {
    network: Network,
    plan: Plan,
    clients: Mutex<Vec<Arc<Client>>>,
    writes: AtomicBool,
    counts: Mutex<Counts>,
}

/// What they count.
struct Counts {
    from_ns: u64,
    until_ns: u64,
    latencies: Histogram<u64>,
    lateness: Histogram<u64>,
    window: Window,
}

impl Counts {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        let latencies = latencies.expect("the bounds are constants");
        Self {
            from_ns: 0,
            until_ns: 0,
            lateness: latencies.clone(),
            latencies,
            window: Window::default(),
        }
    }

    const fn measures(&self, intended_ns: u64) -> bool {
        self.from_ns <= intended_ns && intended_ns < self.until_ns
    }
}

/// The child process.
pub(crate) fn run(target: SocketAddr, seed: u64) -> Result<(), String> {
    let crowd = Arc::new(Crowd {
        network: Network::DEV,
        plan: Plan::new(seed, PAYLOAD_BYTES),
        clients: Mutex::default(),
        writes: AtomicBool::new(false),
        counts: Mutex::new(Counts::new()),
    });
    let listening = crowd.listen().map_err(|error| format!("listening: {error}"))?;
    for name in 0..DIALLING {
        crowd.dial(name, target).map_err(|error| format!("honest client {name}: {error}"))?;
    }
    let pinging = Arc::clone(&crowd);
    std::thread::spawn(move || pinging.ping_all());
    tell(&Said::Ready { listening });
    while let Some(order) = heard() {
        match order {
            Order::Measure { ms } => tell(&Said::Window(crowd.measure(Duration::from_millis(ms)))),
            Order::Rest => {
                crowd.writes.store(false, Ordering::Relaxed);
                tell(&Said::Window(crowd.window()));
            }
            Order::Attack { .. } => return Err("honest clients attack nobody".into()),
        }
    }
    Ok(())
}

impl Crowd {
    fn counted<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().expect("nobody panics with the counts"))
    }

    fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.lock().expect("nobody panics with the clients").clone()
    }

    fn fault(&self, fault: String) {
        self.counted(|counts| {
            if counts.window.faults.len() < FAULTS_MAX {
                counts.window.faults.push(fault);
            }
        });
    }

    fn listen(self: &Arc<Self>) -> io::Result<Vec<SocketAddr>> {
        let mut addrs = Vec::new();
        for index in 0..LISTENING {
            let ip = Ipv4Addr::new(127, LISTENING_GROUP + index as u8, 0, 1);
            let listener = TcpListener::bind((ip, 0))?;
            addrs.push(listener.local_addr()?);
            let crowd = Arc::clone(self);
            std::thread::spawn(move || crowd.accept(DIALLING + index, &listener));
        }
        Ok(addrs)
    }

    /// Takes the engine's first dial; a further one would mean that it had lost the first.
    fn accept(self: &Arc<Self>, name: usize, listener: &TcpListener) {
        let accepted = listener.accept().and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match accepted {
            Ok(stream) => self.add(name, stream, Inbox::new(INBOX_BYTES)),
            Err(error) => self.fault(format!("honest client {name}: {error}")),
        }
    }

    fn dial(self: &Arc<Self>, name: usize, target: SocketAddr) -> io::Result<()> {
        let ip = Ipv4Addr::new(127, DIALLING_GROUP + name as u8, 0, 1);
        let mut stream = connect_from(ip, target, PATIENCE)?;
        let (mut hand, nobody) = (Vec::new(), SocketAddr::from((ip, 0)));
        let nonce = now_ns() ^ (name as u64) << 48;
        wire::hand(&mut hand, &self.network, nonce, nobody, target);
        stream.write_all(&hand)?;
        let mut inbox = Inbox::new(INBOX_BYTES);
        let no_shake = |_| io::Error::other("no Shake");
        loop {
            match inbox.next(&self.network).map_err(io::Error::other)? {
                Some((Kind::Shake, range)) => {
                    let shake = inbox.body(range);
                    wire::check_shake(shake, &self.network).map_err(no_shake)?;
                    break;
                }
                Some(_) => return Err(no_shake(String::new())),
                None => read_into(&mut stream, &mut inbox)?,
            }
        }
        stream.set_read_timeout(None)?;
        self.add(name, stream, inbox);
        Ok(())
    }

    fn add(self: &Arc<Self>, name: usize, stream: TcpStream, inbox: Inbox) {
        let client = Arc::new(Client {
            name,
            stream,
            writing: Mutex::default(),
            open: Mutex::default(),
            gone: AtomicBool::new(false),
        });
        let (crowd, reading) = (Arc::clone(self), Arc::clone(&client));
        self.clients.lock().expect("nobody panics with the clients").push(client);
        std::thread::spawn(move || {
            let end = crowd.serve(&reading, inbox).err();
            reading.gone.store(true, Ordering::Relaxed);
            let end = end.map_or_else(String::new, |error| error.to_string());
            crowd.fault(format!("honest client {}: {end}", reading.name));
        });
    }

    /// Reads until the end, and answers what any peer must.
    fn serve(&self, client: &Client, mut inbox: Inbox) -> io::Result<()> {
        let magic = self.network.magic;
        let mut answer = Vec::new();
        loop {
            while let Some((kind, range)) = inbox.next(&self.network).map_err(io::Error::other)? {
                match kind {
                    Kind::Pong => self.on_pong(client)?,
                    Kind::Ping => wire::ping_or_pong(&mut answer, magic, Kind::Pong),
                    Kind::GetPeerAddrs => wire::no_addresses(&mut answer, magic),
                    Kind::Hand => shake(&mut answer, &self.network),
                    Kind::BanReason => return Err(io::Error::other("the engine said goodbye")),
                    _ => self.on_relayed(kind, inbox.body(range))?,
                }
            }
            if !answer.is_empty() {
                client.write(&answer)?;
                answer.clear();
            }
            read_into(&mut &client.stream, &mut inbox)?;
        }
    }

    fn on_pong(&self, client: &Client) -> io::Result<()> {
        let mut open = client.open.lock().expect("nobody panics with the Pings");
        let intended = open.pop_front().ok_or_else(|| io::Error::other("a Pong without a Ping"))?;
        drop(open);
        let us = (now_ns().saturating_sub(intended) / 1_000).clamp(1, LATENCY_US_MAX);
        self.counted(|counts| {
            if counts.measures(intended) {
                counts.window.pongs += 1;
                counts.latencies.saturating_record(us);
            }
        });
        Ok(())
    }

    /// Only what others of us wrote is relayed: the chain takes nothing else.
    fn on_relayed(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let known = self.plan.identify(body).is_some_and(|id| self.plan.matches(id, kind, body));
        if !known {
            return Err(io::Error::other(format!("a {kind:?} of {} bytes", body.len())));
        }
        self.counted(|counts| counts.window.relayed += 1);
        Ok(())
    }

    fn ping_all(&self) {
        let (start, step) = (now_ns(), 1_000_000_000 / PINGS_PER_SECOND);
        let (mut ping, mut payload) = (Vec::new(), Vec::new());
        wire::ping_or_pong(&mut ping, self.network.magic, Kind::Ping);
        for turn in 0.. {
            let intended = start + turn * step;
            sleep_until(intended);
            let clients = self.clients();
            if clients.is_empty() {
                continue;
            }
            let client = &clients[turn as usize % clients.len()];
            if !client.gone.load(Ordering::Relaxed) {
                self.ping(client, intended, &ping);
            }
            let writer = &clients[turn as usize % WRITERS.min(clients.len())];
            let due = turn % (PINGS_PER_SECOND / PAYLOADS_PER_SECOND) == 1;
            if due && self.writes.load(Ordering::Relaxed) {
                self.write_next(writer, &mut payload);
            }
        }
    }

    fn ping(&self, client: &Client, intended: u64, ping: &[u8]) {
        {
            let mut open = client.open.lock().expect("nobody panics with the Pings");
            if open.len() >= PINGS_OPEN_MAX {
                return;
            }
            open.push_back(intended);
        }
        let late = (now_ns().saturating_sub(intended) / 1_000).clamp(1, LATENCY_US_MAX);
        self.counted(|counts| {
            if counts.measures(intended) {
                counts.window.pings += 1;
                counts.lateness.saturating_record(late);
            }
        });
        // A failed write is told by the thread that reads.
        let _ = client.write(ping);
    }

    /// Writes the next payload of the plan; whole blocks of other sizes are left out, so that all
    /// stretches of time are alike.
    fn write_next(&self, client: &Client, out: &mut Vec<u8>) {
        let sequence = self.counted(|counts| {
            while self.plan.kind(Id { thread: 0, sequence: counts.window.next }) == Kind::Block {
                counts.window.next += 1;
            }
            counts.window.next += 1;
            counts.window.next - 1
        });
        out.clear();
        let id = Id { thread: 0, sequence };
        wire::frame(out, self.network.magic, self.plan.kind(id), |out| self.plan.write(id, out));
        match client.write(out) {
            Ok(()) => self.counted(|counts| counts.window.written += 1),
            Err(error) => self.fault(format!("honest client {}: writing: {error}", client.name)),
        }
    }

    fn measure(&self, time: Duration) -> Window {
        self.writes.store(true, Ordering::Relaxed);
        let from = now_ns();
        let until = from + time.as_nanos() as u64;
        self.counted(|counts| {
            (counts.from_ns, counts.until_ns) = (from, until);
            counts.latencies.reset();
            counts.lateness.reset();
            (counts.window.pings, counts.window.pongs) = (0, 0);
        });
        sleep_until(until);
        let all = |counts: &mut Counts| counts.window.pongs >= counts.window.pings;
        while !self.counted(all) && now_ns() < until + PATIENCE.as_nanos() as u64 {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.window()
    }

    fn window(&self) -> Window {
        let here = |client: &&Arc<Client>| !client.gone.load(Ordering::Relaxed);
        let connected = self.clients().iter().filter(here).count() as u64;
        self.counted(|counts| {
            let steps = counts.latencies.iter_recorded();
            let latencies =
                steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
            let late_p99_us = counts.lateness.value_at_quantile(0.99);
            Window { latencies, late_p99_us, connected, ..counts.window.clone() }
        })
    }
}

impl Client {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().expect("nobody panics while writing");
        (&self.stream).write_all(bytes)
    }
}

/// Reads once; the end of the stream is an error.
fn read_into(stream: &mut impl Read, inbox: &mut Inbox) -> io::Result<()> {
    let mut buffer = inbox.lend();
    let filled = buffer.len();
    buffer.resize(buffer.capacity(), 0);
    let result = stream.read(&mut buffer[filled..]);
    buffer.truncate(filled + *result.as_ref().unwrap_or(&0));
    inbox.take_back(buffer);
    match result? {
        0 => Err(io::Error::other("closed by the engine")),
        _ => Ok(()),
    }
}

/// The answer to the engine's Hand.
fn shake(out: &mut Vec<u8>, network: &Network) {
    wire::frame(out, network.magic, Kind::Shake, |body| {
        body.extend_from_slice(&1_000_u32.to_be_bytes());
        body.extend_from_slice(&[0; 12]); // capabilities, total difficulty
        body.extend_from_slice(&6_u64.to_be_bytes());
        body.extend_from_slice(b"honest");
        body.extend_from_slice(&network.genesis.0);
    });
}
