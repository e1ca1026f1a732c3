//! The loop against a scripted kernel: every turn and every instant is chosen, nothing waits.

mod closing;
mod datagrams;
mod pacing;
mod receiving;
mod sending;

use std::net::SocketAddr;
use std::time::Duration;

use bridge::ChainSide;
use bridge::store::{self, StoreConfig};
use codec::{Capabilities, FrameDecoder, Hand, Kind, Message, Network, Payload, Ping};
use crossbeam_channel::{Sender, bounded};
use peer::{CloseReason, Config, FromChain, Gossip, Instant, InventoryLimits, ToChain, Verdict};

use super::*;
use crate::io::Socket;
use crate::io::scripted::{Recorded, Script, ScriptedIo};

/// Far beyond what a test lets pass, unless it sets a deadline of its own.
const NEVER: Duration = Duration::from_secs(100_000);

/// What a test may choose.
struct Setup {
    connections_max: u32,
    small: (usize, u16),
    large: (usize, u16),
    lanes: bridge::Config,
    parked_copies_max: usize,
    store: StoreConfig,
    peer: Config,
}

impl Default for Setup {
    fn default() -> Self {
        let mut peer = Config::small(Network::DEV);
        peer.ping_period = NEVER;
        peer.silence_timeout = NEVER;
        // Nobody is looked for.
        peer.slots = peer::Slots { outbound: 0, outbound_floor: 0, ..peer.slots };
        peer.slots.feeler_period = NEVER;
        Self {
            connections_max: 128,
            small: (4_096, 64),
            large: (65_536, 8),
            lanes: bridge::Config { to_chain_items: 1_024, ..bridge::Config::default() },
            parked_copies_max: PARKED_COPIES_BYTES_MAX,
            store: StoreConfig::default(),
            peer,
        }
    }
}

/// A loop with everything around it: the kernel's script, the chain, the engine's handle, time.
struct Stage {
    event_loop: EventLoop,
    script: Script,
    chain: ChainSide,
    control: Sender<Control>,
    now: Instant,
    accepted: u16,
}

impl Stage {
    /// A loop that listens and has had its first turn.
    fn new(setup: Setup) -> Self {
        let (io, script) = ScriptedIo::new(setup.small, setup.large);
        let (loop_side, chain) = bridge::open(setup.lanes, &setup.peer.network).unwrap();
        let (control, commands) = bounded(16);
        let config = LoopConfig {
            connections_max: setup.connections_max,
            small_bytes: setup.small.0,
            parked_copies_max: setup.parked_copies_max,
            download: setup.peer.rates.download,
            port: setup.peer.network.port,
            started: setup.peer.started,
        };
        let (store, restored, _) = store::open(setup.store);
        let datagrams = (setup.peer.gossip == Gossip::Datagrams).then_some(setup.peer.advertised);
        let endpoint = Endpoint::new(setup.peer, [7; 32]);
        let mut event_loop =
            EventLoop::new(Box::new(io), endpoint, loop_side, commands, store, config);
        event_loop.restore(restored);
        event_loop.listen(addr(3414)).unwrap();
        datagrams.map(|addr| event_loop.bind_datagrams(addr).unwrap());
        event_loop.work(Instant::START);
        let mut stage =
            Self { event_loop, script, chain, control, now: Instant::START, accepted: 0 };
        stage.turn();
        stage
    }

    fn turn(&mut self) {
        self.event_loop.enter().unwrap();
        self.event_loop.work(self.now);
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    /// Turns until the loop has nothing at hand, twice in a row since what it asked for without a
    /// submission comes with the next turn; it must come to rest.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..200 {
            quiet = if self.turn_of_rest() { quiet + 1 } else { 0 };
            if quiet == 2 {
                return;
            }
        }
        panic!("the loop does not come to rest");
    }

    /// Time passes, and a turn is made.
    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.turn();
    }

    /// Somebody dials, and we receive from it.
    fn accept(&mut self) -> Socket {
        self.accepted += 1;
        let socket = self.script.accept(0, addr(self.accepted));
        self.turns(2);
        socket
    }

    /// So many peers whose handshake is done, and what they got was read.
    fn establish(&mut self, count: usize) -> Vec<Socket> {
        let before = self.metrics().peers_inbound;
        self.script.sends_complete_at_once(true);
        let sockets: Vec<_> = (0..count)
            .map(|_| {
                self.accepted += 1;
                let socket = self.script.accept(0, addr(self.accepted));
                self.script.receive(socket, &hand());
                socket
            })
            .collect();
        self.settle();
        for socket in &sockets {
            assert_eq!(kinds(&self.script.take_wire(*socket))[0], Kind::Shake);
        }
        assert_eq!(self.metrics().peers_inbound - before, count as u64);
        self.script.sends_complete_at_once(false);
        self.script.take_recorded();
        self.script.take_waits();
        sockets
    }

    /// All sends in the kernel of these end well, and those that follow, until none is left.
    fn deliver(&mut self, sockets: &[Socket]) {
        let mut quiet = 0;
        for _ in 0..1_000 {
            quiet += 1;
            for socket in sockets {
                if self.script.is_open(*socket) && self.script.sending(*socket).is_some() {
                    self.script.sent_all(*socket);
                    quiet = 0;
                }
            }
            if !self.turn_of_rest() {
                quiet = 0;
            }
            if quiet == 2 {
                return;
            }
        }
        panic!("sends without end");
    }

    /// A turn; whether the loop found nothing at hand, before it and after.
    fn turn_of_rest(&mut self) -> bool {
        self.turn();
        let waited = self.last_wait() != Some(Duration::ZERO);
        let lists = self.event_loop.dirty.is_empty() && self.event_loop.urgent.is_empty();
        waited && self.event_loop.submissions.is_empty() && lists
    }

    fn publish(&self, payload: &Payload) {
        self.chain.publish(payload.clone()).unwrap();
    }

    /// Everything that is on the lane to the chain.
    fn received(&mut self) -> Vec<Payload> {
        let mut payloads = Vec::new();
        while let Some(event) = self.chain.try_recv().unwrap() {
            if let ToChain::Payload { payload, .. } = event {
                payloads.push(payload);
            }
        }
        payloads
    }

    fn metrics(&self) -> Metrics {
        self.chain.counters().metrics()
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.metrics().closed[reason as usize]
    }

    /// Closes by cause.
    fn closed_by_cause(&self) -> Vec<(&'static str, u64)> {
        self.metrics().closed_by_cause().collect()
    }

    /// Closes by any cause.
    fn closed_in_all(&self) -> u64 {
        self.metrics().closed.iter().sum()
    }

    /// The peer gets its answer to a ping in these next turns.
    fn answers_ping(&mut self, socket: Socket) -> bool {
        self.script.take_wire(socket);
        self.script.receive(socket, &ping());
        for _ in 0..4 {
            self.turn();
            if self.script.sending(socket).is_some() {
                self.script.sent_all(socket);
            }
        }
        kinds(&self.script.take_wire(socket)).contains(&Kind::Pong)
    }

    /// The last wait of the loop, since it was last asked for.
    fn last_wait(&self) -> Option<Duration> {
        self.script.take_waits().last().expect("a turn").timeout
    }
}

fn addr(port: u16) -> SocketAddr {
    // On loopback each port is a host of its own.
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn frame(message: &Message<'_>) -> Vec<u8> {
    message.to_payload(&Network::DEV, 1000).unwrap().frame().to_vec()
}

fn hand() -> Vec<u8> {
    frame(&Message::Hand(Hand {
        version: 1000,
        capabilities: Capabilities::default(),
        nonce: 99,
        total_difficulty: 0, // no more than ours: the chain need not hear of it
        sender_addr: addr(65_000), // nobody's that a test knows otherwise
        receiver_addr: addr(2),
        user_agent: "test",
        genesis: Network::DEV.genesis,
    }))
}

fn ping() -> Vec<u8> {
    frame(&Message::Ping(Ping { total_difficulty: 0, height: 0 }))
}

/// A frame of a kind that nobody knows, without a body: the cheapest that a peer can send.
fn unknown() -> Vec<u8> {
    let [high, low] = Network::DEV.magic;
    vec![high, low, 200, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A transaction unlike any of another number.
fn transaction(number: u32, bytes: usize) -> Payload {
    let mut body = vec![0x5a; bytes];
    body[..4].copy_from_slice(&number.to_be_bytes());
    Payload::seal(&Network::DEV, Kind::Transaction, &body).unwrap()
}

fn frames(payloads: &[Payload]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| payload.frame().to_vec()).collect()
}

/// The kinds of the frames that a remote got; it got nothing but whole frames.
fn kinds(wire: &[u8]) -> Vec<Kind> {
    let (mut rest, mut decoder) = (wire, FrameDecoder::default());
    let mut kinds = Vec::new();
    while let Some(frame) = decoder.next(&mut rest, &Network::DEV).unwrap() {
        kinds.push(frame.kind());
    }
    assert!(rest.is_empty() && decoder.is_empty(), "half a frame");
    kinds
}
