//! One endpoint that catches up, and whole endpoints that it may ask, over links with a delay.
//!
//! Time is virtual and everything follows from the seeds. Behind each endpoint stands the smallest
//! chain: blocks of one size by number, the ids of which all know.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use codec::{Hash, Kind, Payload};
use peer::{
    ChainTip, Config, ConnId, Credit, Freshness, FromChain, Input, Instant, Rate, Recipients,
    Request, ToChain, Verdict,
};

use crate::solo::{NET, Out, Solo, UNLIMITED, addr, millis, passive};

/// What a server does when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// Answers, at so many bytes a second.
    Serve(u64),
    /// Never answers.
    Stall,
    /// Answers with blocks of its own making.
    Lie,
}

/// The blocks that there are: the first has height 1.
pub(crate) struct Chain {
    ids: Vec<Hash>,
    heights: BTreeMap<Hash, u64>,
    bytes: usize,
}

impl Chain {
    pub(crate) fn new(count: u64, bytes: usize) -> Rc<Self> {
        let mut chain = Self { ids: Vec::new(), heights: BTreeMap::new(), bytes };
        for height in 1..=count {
            let id = chain.block(height).id();
            chain.ids.push(id);
            chain.heights.insert(id, height);
        }
        Rc::new(chain)
    }

    pub(crate) fn block(&self, height: u64) -> Payload {
        let mut body = vec![0; self.bytes];
        body[..8].copy_from_slice(&height.to_be_bytes());
        Payload::seal(&NET, Kind::Block, &body).unwrap()
    }

    pub(crate) fn height(&self) -> u64 {
        self.ids.len() as u64
    }
}

enum Event {
    Bytes {
        to: usize,
        conn: ConnId,
        bytes: Rc<Vec<u8>>,
        from: usize,
    },
    /// What the server's chain says.
    Say {
        node: usize,
        command: FromChain,
    },
}

/// A link's bytes that were not consumed, at the side of the client.
#[derive(Default)]
struct Pipe(VecDeque<u8>);

pub(crate) struct Network {
    pub(crate) client: Solo,
    servers: Vec<Server>,
    chain: Rc<Chain>,
    events: BTreeMap<(Instant, u64), Event>,
    count: u64,
    now: Instant,
    pipes: Vec<Pipe>,
    /// The next block that the client's chain has not wanted, and not got.
    wanted_to: u64,
    pub(crate) next: u64,
    pub(crate) missing: Vec<Hash>,
    pub(crate) received_bytes: RefCell<u64>,
}

struct Server {
    solo: Solo,
    manner: Manner,
}

/// One way, of each link.
const DELAY: Duration = Duration::from_millis(10);

/// How long a server's chain takes to find an answer.
const LOOK_UP: Duration = Duration::from_millis(1);

/// What a server gives at once, after a rest.
pub(crate) const BURST: u64 = 1 << 20;

/// Blocks that the client's chain keeps wanted.
const WANTED: u64 = 1_536;

impl Network {
    pub(crate) fn new(chain: &Rc<Chain>, manners: &[Manner], extension: bool) -> Self {
        let mut config = passive(NET);
        config.extension = extension;
        let mut network = Self {
            client: Solo::new(config, 1),
            servers: Vec::new(),
            chain: chain.clone(),
            events: BTreeMap::new(),
            count: 0,
            now: Instant::START,
            pipes: Vec::new(),
            wanted_to: 0,
            next: 1,
            missing: Vec::new(),
            received_bytes: RefCell::default(),
        };
        for (index, manner) in manners.iter().enumerate() {
            network.join(index, *manner);
        }
        network
    }

    fn join(&mut self, index: usize, manner: Manner) {
        let mut config: Config = passive(NET);
        if let Manner::Serve(rate) = manner {
            config.rates.answers =
                Rate { amount: rate, per: Duration::from_secs(1), burst: BURST.min(rate) };
        }
        let mut solo = Solo::new(config, 10 + index as u8);
        let height = self.chain.height();
        let tip = ChainTip { height, total_difficulty: 10 * height };
        solo.handle(Input::Tip(tip));
        self.servers.push(Server { solo, manner });
        self.pipes.push(Pipe::default());
        let conn = conn(index);
        let outputs = self.servers[index].solo.handle(Input::Accepted { conn, addr: addr(99) });
        assert_eq!(outputs, []);
        let addr = addr(index as u32);
        assert_eq!(self.client.handle(Input::Hold { addr }), [Out::Dial(addr)]);
        let outputs = self.client.handle(Input::Dialed { conn, addr });
        self.perform(CLIENT, outputs);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn feed(&mut self, node: usize, input: Input<'_>) -> usize {
        let solo = match node {
            CLIENT => &mut self.client,
            index => &mut self.servers[index].solo,
        };
        solo.now = self.now;
        let (consumed, outputs) = solo.step(input);
        self.perform(node, outputs);
        consumed
    }

    fn perform(&mut self, node: usize, outputs: Vec<Out>) {
        for output in outputs {
            match output {
                Out::Send(Recipients::One(conn), payload) => {
                    let to = if node == CLIENT { conn.index() as usize } else { CLIENT };
                    let bytes = Rc::new(payload.frame().to_vec());
                    let at = self.now.after(DELAY);
                    self.at(at, Event::Bytes { to, conn, bytes, from: node });
                }
                Out::ToChain(event) if node == CLIENT => self.on_client_event(event),
                Out::ToChain(ToChain::Requested { request, .. }) => self.answer(node, &request),
                Out::ToChain(_) | Out::Opens(_) | Out::Told(..) | Out::Dial(_) | Out::Close(..) => {
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(&mut self, node: usize, request: &Request) {
        let (first, count) = match request {
            Request::Block(id) => (*id, 1),
            Request::Blocks { first, count } => (*first, *count),
            _ => return,
        };
        let manner = self.servers[node].manner;
        let Some(height) = self.chain.heights.get(&first).copied() else { return };
        let last = self.chain.height().min(height + u64::from(count) - 1);
        for height in height..=last {
            let payload = match manner {
                Manner::Stall => return,
                Manner::Serve(_) => self.chain.block(height),
                Manner::Lie => Payload::seal(&NET, Kind::Block, &[7; 20]).unwrap(),
            };
            let command = FromChain::Deliver { to: conn(node), payload };
            let at = self.now.after(LOOK_UP);
            self.at(at, Event::Say { node, command });
        }
    }

    fn on_client_event(&mut self, event: ToChain) {
        match event {
            ToChain::Payload { payload, freshness: Freshness::Next, .. } => {
                assert_eq!(payload.id(), self.chain.ids[self.next as usize - 1], "in their order");
                *self.received_bytes.borrow_mut() += payload.frame().len() as u64;
                self.next += 1;
                self.want();
            }
            ToChain::Payload { from, payload, .. } => {
                let verdict = Verdict::Invalid;
                let command = FromChain::Verdict { from, payload, verdict };
                let at = self.now.after(LOOK_UP);
                self.at(at, Event::Say { node: CLIENT, command });
            }
            ToChain::Missing { id, .. } => {
                self.missing.push(id);
                self.next += 1;
            }
            _ => {}
        }
    }

    /// The client's chain wants some more blocks.
    fn want(&mut self) {
        let target = (self.next - 1 + WANTED).min(self.chain.height());
        if target < self.wanted_to + 256 && target < self.chain.height() {
            return;
        }
        if target == self.wanted_to {
            return;
        }
        let ids = self.chain.ids[self.wanted_to as usize..target as usize].into();
        let height = self.wanted_to + 1;
        self.wanted_to = target;
        let command = FromChain::FetchBlocks { height, ids };
        let at = self.now;
        self.at(at, Event::Say { node: CLIENT, command });
    }

    /// Syncs, and answers how long it took; at most so long.
    pub(crate) fn sync(&mut self, most: Duration) -> Duration {
        self.run_until(self.now.after(millis(200)));
        let begun = self.now;
        self.want();
        let end = begun.after(most);
        while self.next <= self.chain.height() && self.now < end {
            self.step(end);
        }
        self.now.since(begun)
    }

    fn run_until(&mut self, end: Instant) {
        while self.now < end {
            self.step(end);
        }
    }

    /// The next thing that happens.
    fn step(&mut self, end: Instant) {
        let deadline = |solo: &Solo| solo.endpoint.poll_timeout();
        let timers = self.servers.iter().enumerate().map(|(index, it)| (deadline(&it.solo), index));
        let timers = timers.chain([(deadline(&self.client), CLIENT)]);
        let timer = timers.filter_map(|(at, node)| Some((at?, node))).min();
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let due = timer.map(|(at, _)| at).into_iter().chain(event).chain([end]).min();
        self.now = due.unwrap_or(end).max(self.now);
        if let Some((at, node)) = timer
            && at <= self.now
        {
            self.feed(node, Input::Timeout);
        } else if event.is_some_and(|at| at <= self.now) {
            let (_, event) = self.events.pop_first().unwrap();
            match event {
                Event::Say { node, command } => {
                    self.feed(node, Input::FromChain(command));
                }
                Event::Bytes { to: CLIENT, conn, bytes, from } => {
                    self.pipes[from].0.extend(bytes.iter());
                    self.receive(from, conn, UNLIMITED);
                }
                Event::Bytes { to, conn, bytes, .. } => {
                    let credit = UNLIMITED;
                    self.feed(to, Input::Received { conn, bytes: &bytes, credit });
                }
            }
        }
        if self.client.endpoint.wants_room() {
            self.feed(CLIENT, Input::Room { credit: UNLIMITED });
        }
    }

    fn receive(&mut self, from: usize, conn: ConnId, credit: Credit) {
        let mut bytes = std::mem::take(&mut self.pipes[from].0);
        let consumed =
            self.feed(CLIENT, Input::Received { conn, bytes: bytes.make_contiguous(), credit });
        bytes.drain(..consumed);
        self.pipes[from].0 = bytes;
    }
}

const CLIENT: usize = usize::MAX;

fn conn(server: usize) -> ConnId {
    ConnId::new(server as u32, 1)
}
