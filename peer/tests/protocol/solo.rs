//! One endpoint and a test that plays all of its peers: the smallest driver.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{
    Capabilities, FrameHeader, Hand, Hash, Kind, Message, Network, Payload, Ping, Pong, Shake,
};
use peer::{
    Ban, BanTarget, ChainTip, CloseReason, Config, ConnId, Credit, Endpoint, FromChain, Input,
    Instant, Output, PeerInfo, Recipients, Restored, Source, ToChain, Verdict,
};

/// Bodies are opaque on it, so that a test may write what it likes.
pub(crate) const NET: Network = Network::DEV;

/// More than any test can use up.
pub(crate) const UNLIMITED: Credit =
    Credit { frames: u32::MAX, items: u32::MAX, bytes: usize::MAX };

/// Deadlines are coalesced in slots of this width, and so at most this late.
pub(crate) const SLOT: Duration = Duration::from_millis(100);

/// What an endpoint gave out, as data that can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Out {
    Dial(SocketAddr),
    Send(Recipients, Payload),
    Close(ConnId, CloseReason),
    ToChain(ToChain),
    Resolve(Box<str>),
    Opens(ConnId),
    Told(Vec<u8>, Vec<u8>),
    Datagram(SocketAddr, Vec<u8>),
}

impl From<Output> for Out {
    fn from(output: Output) -> Self {
        match output {
            Output::Dial { addr } => Self::Dial(addr),
            Output::Send { to, payload } => Self::Send(to, payload),
            Output::Close { conn, reason } => Self::Close(conn, reason),
            Output::ToChain(event) => Self::ToChain(event),
            Output::Resolve { name } => Self::Resolve(name),
            Output::Opens { conn } => Self::Opens(conn),
            Output::Told { topic, data, .. } => Self::Told(topic.to_vec(), data.to_vec()),
            Output::Datagram { to, bytes } => Self::Datagram(to, bytes),
        }
    }
}

/// An [`Input`] that owns what it carries, so that it can be kept and given again.
#[derive(Clone, Debug)]
pub(crate) enum Recorded {
    Accepted(ConnId, SocketAddr),
    Dialed(ConnId, SocketAddr),
    DialFailed(SocketAddr),
    NotDialed(SocketAddr),
    Received(ConnId, Vec<u8>, Credit),
    Room(Credit),
    Paused(ConnId),
    Resumed(ConnId),
    Dropped(ConnId, Payload),
    Closed(ConnId, CloseReason),
    TurnedAway,
    PieceSent(ConnId),
    Restored(Restored),
    Resolved(Box<str>, Vec<SocketAddr>),
    Ban(Ban),
    Unban(BanTarget),
    FromChain(FromChain),
    Tip(ChainTip),
    Hold(SocketAddr),
    Datagram(SocketAddr, Vec<u8>),
    Publish(Vec<u8>, Vec<u8>),
    Shutdown,
    Timeout,
}

impl Recorded {
    fn of(input: &Input<'_>) -> Self {
        match input {
            Input::Accepted { conn, addr } => Self::Accepted(*conn, *addr),
            Input::Dialed { conn, addr } => Self::Dialed(*conn, *addr),
            Input::DialFailed { addr } => Self::DialFailed(*addr),
            Input::NotDialed { addr } => Self::NotDialed(*addr),
            Input::Received { conn, bytes, credit } => {
                Self::Received(*conn, bytes.to_vec(), *credit)
            }
            Input::Room { credit } => Self::Room(*credit),
            Input::Paused { conn } => Self::Paused(*conn),
            Input::Resumed { conn } => Self::Resumed(*conn),
            Input::Dropped { conn, payload } => Self::Dropped(*conn, Payload::clone(payload)),
            Input::Closed { conn, reason } => Self::Closed(*conn, *reason),
            Input::TurnedAway => Self::TurnedAway,
            Input::PieceSent { conn } => Self::PieceSent(*conn),
            Input::Restored(restored) => Self::Restored(restored.clone()),
            Input::Resolved { name, addrs } => Self::Resolved(name.clone(), addrs.clone()),
            Input::Ban(ban) => Self::Ban(ban.clone()),
            Input::Unban(target) => Self::Unban(*target),
            Input::FromChain(command) => Self::FromChain(command.clone()),
            Input::Tip(tip) => Self::Tip(*tip),
            Input::Hold { addr } => Self::Hold(*addr),
            Input::Datagram { from, bytes } => Self::Datagram(*from, bytes.to_vec()),
            Input::Publish { topic, data } => Self::Publish(topic.to_vec(), data.to_vec()),
            Input::Shutdown => Self::Shutdown,
            Input::Timeout => Self::Timeout,
        }
    }

    pub(crate) fn as_input(&self) -> Input<'_> {
        match self {
            Self::Accepted(conn, addr) => Input::Accepted { conn: *conn, addr: *addr },
            Self::Dialed(conn, addr) => Input::Dialed { conn: *conn, addr: *addr },
            Self::DialFailed(addr) => Input::DialFailed { addr: *addr },
            Self::NotDialed(addr) => Input::NotDialed { addr: *addr },
            Self::Received(conn, bytes, credit) => {
                Input::Received { conn: *conn, bytes, credit: *credit }
            }
            Self::Room(credit) => Input::Room { credit: *credit },
            Self::Paused(conn) => Input::Paused { conn: *conn },
            Self::Resumed(conn) => Input::Resumed { conn: *conn },
            Self::Dropped(conn, payload) => Input::Dropped { conn: *conn, payload },
            Self::Closed(conn, reason) => Input::Closed { conn: *conn, reason: *reason },
            Self::TurnedAway => Input::TurnedAway,
            Self::PieceSent(conn) => Input::PieceSent { conn: *conn },
            Self::Restored(restored) => Input::Restored(restored.clone()),
            Self::Resolved(name, addrs) => {
                Input::Resolved { name: name.clone(), addrs: addrs.clone() }
            }
            Self::Ban(ban) => Input::Ban(ban.clone()),
            Self::Unban(target) => Input::Unban(*target),
            Self::FromChain(command) => Input::FromChain(command.clone()),
            Self::Tip(tip) => Input::Tip(*tip),
            Self::Hold(addr) => Input::Hold { addr: *addr },
            Self::Datagram(from, bytes) => Input::Datagram { from: *from, bytes },
            Self::Publish(topic, data) => Input::Publish { topic, data },
            Self::Shutdown => Input::Shutdown,
            Self::Timeout => Input::Timeout,
        }
    }
}

/// One call of `handle` and all that came of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Instant,
    pub(crate) input: Recorded,
    pub(crate) consumed: usize,
    pub(crate) outputs: Vec<Out>,
}

/// An endpoint and its time.
pub(crate) struct Solo {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    /// All calls so far, if they are kept.
    pub(crate) record: Option<Vec<Step>>,
}

impl Solo {
    pub(crate) fn new(config: Config, seed: u8) -> Self {
        config.check().unwrap();
        Self::cramped(config, seed)
    }

    /// With pools that may be smaller than any engine's.
    pub(crate) fn cramped(config: Config, seed: u8) -> Self {
        let endpoint = Endpoint::new(config, [seed; 32]);
        Self { endpoint, now: Instant::START, record: None }
    }

    /// With small pools, on the development network; it dials nobody but whom it is to hold.
    pub(crate) fn small() -> Self {
        Self::new(passive(NET), 1)
    }

    /// The same, changed as the test needs it.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = passive(NET);
        change(&mut config);
        Self::new(config, 1)
    }

    /// One call, drained.
    pub(crate) fn step(&mut self, input: Input<'_>) -> (usize, Vec<Out>) {
        let recorded = self.record.as_ref().map(|_| Recorded::of(&input));
        let consumed = self.endpoint.handle(self.now, input);
        let outputs: Vec<Out> =
            std::iter::from_fn(|| self.endpoint.poll_output()).map(Out::from).collect();
        if let (Some(record), Some(input)) = (&mut self.record, recorded) {
            record.push(Step { at: self.now, input, consumed, outputs: outputs.clone() });
        }
        (consumed, outputs)
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) -> Vec<Out> {
        self.step(input).1
    }

    /// All of the bytes at once.
    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<Out> {
        let (consumed, outputs) = self.step(Input::Received { conn, bytes, credit: UNLIMITED });
        assert_eq!(consumed, bytes.len(), "there is no reason to leave any");
        outputs
    }

    pub(crate) fn accepted(&mut self, index: u32, generation: u32) -> ConnId {
        let conn = ConnId::new(index, generation);
        let outputs = self.handle(Input::Accepted { conn, addr: addr(index) });
        assert_eq!(outputs, []);
        conn
    }

    /// A peer that dialled us and greeted.
    pub(crate) fn join_as(&mut self, index: u32, generation: u32) -> ConnId {
        let conn = self.accepted(index, generation);
        let outputs = self.receive(conn, &message(&Message::Hand(hand())));
        assert_eq!(sent_kinds(&outputs), [Kind::Shake], "{outputs:?}");
        conn
    }

    pub(crate) fn join(&mut self, index: u32) -> ConnId {
        self.join_as(index, 1)
    }

    pub(crate) fn leave(&mut self, conn: ConnId) {
        let reason = CloseReason::RemoteClosed;
        assert_eq!(self.handle(Input::Closed { conn, reason }), []);
    }

    /// A dial, wanted by the operator, that came to stand; gives the Hand that we sent.
    pub(crate) fn dial(&mut self, index: u32) -> (ConnId, Payload) {
        let (conn, addr) = (ConnId::new(index, 1), addr(index));
        assert_eq!(self.handle(Input::Hold { addr }), [Out::Dial(addr)]);
        let outputs = self.handle(Input::Dialed { conn, addr });
        let [Out::Send(Recipients::One(to), hand)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!((*to, hand.kind()), (conn, Kind::Hand));
        (conn, hand.clone())
    }

    pub(crate) fn publish(&mut self, payload: &Payload) -> Vec<Out> {
        self.handle(Input::FromChain(FromChain::Publish(payload.clone())))
    }

    pub(crate) fn judge(&mut self, conn: ConnId, payload: &Payload, verdict: Verdict) -> Vec<Out> {
        let (from, payload) = (source(conn), payload.clone());
        self.handle(Input::FromChain(FromChain::Verdict { from, payload, verdict }))
    }

    /// Lets time pass, and calls with `Timeout` at each deadline on the way.
    pub(crate) fn run_for(&mut self, wait: Duration) -> Vec<(Instant, Out)> {
        let end = self.now.after(wait);
        let mut outputs = Vec::new();
        for _ in 0..100_000 {
            let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= end) else {
                self.now = end;
                return outputs;
            };
            self.now = due.max(self.now);
            let now = self.now;
            outputs.extend(self.handle(Input::Timeout).into_iter().map(|output| (now, output)));
        }
        panic!("a deadline that does not pass");
    }

    pub(crate) fn info(&self, conn: ConnId) -> PeerInfo {
        self.endpoint.peers().find(|info| info.conn == conn).expect("the peer is here")
    }

    pub(crate) fn is_here(&self, conn: ConnId) -> bool {
        self.endpoint.peers().any(|info| info.conn == conn)
    }
}

/// Bodies up to this many bytes go unasked in these tests: small ones whole, large ones by id.
pub(crate) const UNASKED: usize = 4_500;

/// Small pools, and nobody is dialled but who is held.
pub(crate) fn passive(network: Network) -> Config {
    let mut config = Config::small(network);
    config.relay.unasked_bytes_max = UNASKED;
    config.slots.outbound = 0;
    config
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The remote address of the connection in this slot.
pub(crate) fn addr(index: u32) -> SocketAddr {
    let [_, b, c, d] = index.to_be_bytes();
    SocketAddr::from(([10, b, c, d], 3414))
}

pub(crate) fn source(conn: ConnId) -> Source {
    Source { conn, addr: addr(conn.index()) }
}

/// A frame of any kind byte, written by hand.
pub(crate) fn raw_frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let header = FrameHeader { kind, length: body.len() as u64 }.encode(NET.magic);
    [&header[..], body].concat()
}

/// The 11 bytes that promise a body.
pub(crate) fn promise(kind: u8, length: u64) -> Vec<u8> {
    FrameHeader { kind, length }.encode(NET.magic).to_vec()
}

pub(crate) fn message(message: &Message<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode_frame(&NET, 1000, &mut frame).unwrap();
    frame
}

/// A greeting that is welcome.
pub(crate) fn hand() -> Hand<'static> {
    Hand {
        version: 1000,
        capabilities: Capabilities::GRIN_NODE,
        nonce: 0x0123_4567_89ab_cdef,
        total_difficulty: 17,
        sender_addr: ([192, 0, 2, 1], 13_579).into(),
        receiver_addr: ([192, 0, 2, 2], 2).into(),
        user_agent: "a test",
        genesis: NET.genesis,
    }
}

/// The answer to a greeting that is welcome, from a peer that offers no addresses.
pub(crate) fn shake() -> Shake<'static> {
    Shake {
        version: 1000,
        capabilities: Capabilities::TX_KERNEL_HASH,
        total_difficulty: 18,
        user_agent: "a test",
        genesis: NET.genesis,
    }
}

pub(crate) fn ping(height: u64) -> Vec<u8> {
    message(&Message::Ping(Ping { total_difficulty: 10 * height, height }))
}

pub(crate) fn pong(height: u64) -> Vec<u8> {
    message(&Message::Pong(Pong { total_difficulty: 10 * height, height }))
}

pub(crate) const fn tip(height: u64) -> ChainTip {
    ChainTip { height, total_difficulty: 10 * height }
}

/// A payload of its own for each number.
pub(crate) fn payload(kind: Kind, number: u32) -> Payload {
    Payload::seal(&NET, kind, &number.to_be_bytes()).unwrap()
}

pub(crate) fn transaction(number: u32) -> Payload {
    payload(Kind::Transaction, number)
}

pub(crate) fn hash(number: u8) -> Hash {
    Hash([number; 32])
}

pub(crate) fn sent_kinds(outputs: &[Out]) -> Vec<Kind> {
    let kind = |output: &Out| match output {
        Out::Send(_, payload) => Some(payload.kind()),
        Out::Dial(_)
        | Out::Close(..)
        | Out::ToChain(_)
        | Out::Resolve(_)
        | Out::Opens(_)
        | Out::Told(..)
        | Out::Datagram(..) => None,
    };
    outputs.iter().filter_map(kind).collect()
}

/// The connections that an output is for.
pub(crate) fn recipients(output: &Out) -> Vec<ConnId> {
    match output {
        Out::Send(Recipients::One(conn), _) | Out::Close(conn, _) => vec![*conn],
        Out::Send(Recipients::Many(conns), _) => conns.clone(),
        Out::Dial(_)
        | Out::ToChain(_)
        | Out::Resolve(_)
        | Out::Opens(_)
        | Out::Told(..)
        | Out::Datagram(..) => Vec::new(),
    }
}

pub(crate) fn closes(outputs: &[(Instant, Out)]) -> Vec<(Instant, ConnId, CloseReason)> {
    let close = |(at, output): &(Instant, Out)| match output {
        Out::Close(conn, reason) => Some((*at, *conn, *reason)),
        Out::Send(..)
        | Out::Dial(_)
        | Out::ToChain(_)
        | Out::Resolve(_)
        | Out::Opens(_)
        | Out::Told(..)
        | Out::Datagram(..) => None,
    };
    outputs.iter().filter_map(close).collect()
}
