//! The network: nodes, links between them, and the one schedule that moves everything.
//!
//! It drives each endpoint through the door that the engine uses, and contains no protocol. The
//! invariant: everything follows from the seed, the model and what was asked for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use codec::Payload;
use peer::{
    ChainTip, CloseReason, Config, ConnId, Credit, Endpoint, FromChain, Input, Instant, Output,
    Recipients, Rng, ToChain,
};

use crate::dice;
use crate::digest::Digest;
use crate::fault::Fault;
use crate::link::{Link, Segment};
use crate::model::{Credits, Model};
use crate::node::Node;
use crate::schedule::Schedule;
use crate::traffic::Traffic;

mod arriving;
mod datagrams;
mod dialing;
mod faulty;
mod looking;
mod pausing;
mod plants;
mod recording;

pub use plants::Plant;
use recording::Recordings;

/// A node, by its place.
pub type NodeId = usize;

/// What the chain of a node says, each after so long.
#[derive(Default)]
pub struct Answers(Vec<(Duration, Answer)>);

/// One word of a chain.
pub(crate) enum Answer {
    Command(FromChain),
    Tip(ChainTip),
}

impl Answers {
    /// It says this after so long.
    pub fn push(&mut self, (wait, command): (Duration, FromChain)) {
        self.0.push((wait, Answer::Command(command)));
    }

    /// It has this tip after so long.
    pub fn tip(&mut self, wait: Duration, tip: ChainTip) {
        self.0.push((wait, Answer::Tip(tip)));
    }
}

/// What a node hears about a topic.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What it is about.
    pub topic: &'a [u8],
    /// What it says.
    pub data: &'a [u8],
    /// Links that it came over, if they were counted.
    pub hops: Option<u16>,
}

/// Plays the chains of all nodes, and sees what arrives.
pub trait Script {
    /// The endpoint of a node tells its chain something.
    fn on_event(&mut self, now: Instant, node: NodeId, event: ToChain, answers: &mut Answers);

    /// The last byte of a frame reached a node. Nothing follows from it: who looks on learns what
    /// the node itself could.
    fn on_frame(&mut self, now: Instant, from: NodeId, to: NodeId, frame: &Payload);

    /// A node heard something about a topic.
    fn on_told(&mut self, _now: Instant, _node: NodeId, _told: &Told<'_>) {}

    /// A process of this node begins.
    fn on_start(&mut self, _now: Instant, _node: NodeId, _answers: &mut Answers) {}

    /// A connection of a node ended, by its own doing or not.
    fn on_closed(&mut self, _now: Instant, _node: NodeId, _remote: NodeId, _reason: CloseReason) {}
}

/// What happens at an instant.
pub(crate) enum Event {
    /// A deadline of the endpoint.
    Wake { node: NodeId },
    /// A segment has come over its link.
    Arrive { link: usize, side: usize, segment: Segment },
    /// It has come over the line of its receiver too.
    Deliver { link: usize, side: usize, segment: Segment },
    /// A datagram comes.
    Datagram { from: NodeId, to: NodeId, bytes: Vec<u8> },
    /// The line of a node can take the next segment.
    LineFree { node: NodeId },
    /// What was not consumed is given again.
    Retry { link: usize, side: usize },
    /// A dial reaches whom it is for.
    Knock { from: NodeId, life: u32, addr: SocketAddr, latency: Duration },
    /// The answer to a dial reaches who dialled.
    Dialed { from: NodeId, life: u32, to: NodeId, latency: Duration },
    /// There is no answer, or a refusal.
    DialFailed { from: NodeId, life: u32, addr: SocketAddr },
    /// Who was dialled has the connection.
    Accepted { link: usize },
    /// The chain of a node says something.
    Command { node: NodeId, life: u32, answer: Answer },
    /// A name is not known to anybody.
    Unresolved { node: NodeId, life: u32, name: Box<str> },
    /// A process goes on that stood still.
    Resume { node: NodeId },
    /// Something goes wrong.
    Fault(Fault),
    /// It is over.
    Release,
}

/// What an endpoint is told as soon as its outputs are drained.
enum Deferred {
    Dropped(ConnId, Payload),
}

/// Wakes of one node at one instant that are too many: a deadline that does not pass.
const WAKES_MAX: u32 = 1_000;

/// How often room is made for what waits within one input; more is a wish that nothing fulfils.
const ROOMS_MAX: u32 = 100_000;

/// Frames that one connection may have handled at once, as in a turn of the engine.
const FRAMES_PER_RECEIVE: u32 = 256;

/// Hundreds or thousands of endpoints, and the bytes between them.
pub struct Network<S> {
    now: Instant,
    model: Model,
    schedule: Schedule<Event>,
    nodes: Vec<Node>,
    by_addr: BTreeMap<SocketAddr, NodeId>,
    links: Vec<Link>,
    partition: Option<Partition>,
    traffic: Traffic,
    seeds: Rng,
    latencies: Rng,
    datagrams: Rng,
    cuts: Rng,
    credits: Rng,
    faults: Rng,
    plants: Rng,
    plant: Option<Plant>,
    digest: Option<Digest>,
    recordings: Option<Recordings>,
    dropped: u64,
    answers: Answers,
    deferred: Vec<Deferred>,
    /// Plays the chains.
    pub script: S,
}

/// Who is cut off from the others.
struct Partition {
    members: Vec<bool>,
    one_way: bool,
    until: Instant,
}

impl<S: Script> Network<S> {
    /// A network without nodes.
    #[must_use]
    pub fn new(model: Model, script: S, seed: u64) -> Self {
        let root = dice::rng(seed);
        Self {
            now: Instant::START,
            model,
            schedule: Schedule::default(),
            nodes: Vec::new(),
            by_addr: BTreeMap::new(),
            links: Vec::new(),
            partition: None,
            traffic: Traffic::default(),
            seeds: root.fork("nodes"),
            latencies: root.fork("latencies"),
            datagrams: root.fork("datagrams"),
            cuts: root.fork("cuts"),
            credits: root.fork("credits"),
            faults: root.fork("faults"),
            plants: root.fork("plants"),
            plant: None,
            digest: None,
            recordings: None,
            dropped: 0,
            answers: Answers::default(),
            deferred: Vec::new(),
            script,
        }
    }

    /// The address of a node: each in a /16 of its own, as far as there are enough.
    #[must_use]
    pub fn addr(node: NodeId, port: u16) -> SocketAddr {
        // 11.0.0.0 to 99.255.0.0 have 22,784 of these, none of them reserved.
        let [group, round] = [node % GROUPS, node / GROUPS];
        let [a, b] = [11 + group / 256, group % 256];
        let [c, d] = [round / 254, 1 + round % 254];
        (Ipv4Addr::new(a as u8, b as u8, c as u8, d as u8), port).into()
    }

    /// One more node. It dials whom its configuration names as soon as time passes.
    ///
    /// # Panics
    ///
    /// If no endpoint can be made of the configuration.
    pub fn add(&mut self, config: Config) -> NodeId {
        config.check().expect("a configuration that an engine would take");
        let node = self.nodes.len();
        let addr = Self::addr(node, config.network.port);
        self.by_addr.insert(addr, node);
        self.nodes.push(Node::new(config, addr));
        self.start(node, false);
        node
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The present instant.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What was sent so far.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// How many events were made so far: the work that a run was.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.schedule.made()
    }

    /// The endpoint of a node, unless its process ended.
    #[must_use]
    pub fn endpoint(&self, node: NodeId) -> Option<&Endpoint> {
        self.nodes[node].endpoint.as_deref()
    }

    /// Connections whose handshake is done at both ends.
    #[must_use]
    pub fn established(&self) -> u64 {
        let count = |side: fn(&peer::Counts) -> u64| -> u64 {
            let endpoints = self.nodes.iter().filter_map(|node| node.endpoint.as_ref());
            endpoints.map(|endpoint| side(endpoint.counts())).sum()
        };
        count(|counts| counts.outbound).min(count(|counts| counts.inbound))
    }

    /// Has something go wrong, now or later.
    pub fn schedule(&mut self, at: Instant, fault: Fault) {
        self.schedule.push(at.max(self.now), Event::Fault(fault));
    }

    /// The chain of a node says something, now.
    pub fn command(&mut self, node: NodeId, command: FromChain) {
        let life = self.nodes[node].life;
        self.carry_out(Event::Command { node, life, answer: Answer::Command(command) });
    }

    /// The chain of a node says this, each after so long.
    pub fn answer(&mut self, node: NodeId, answers: Answers) {
        self.answers = answers;
        self.schedule_answers(node);
    }

    /// A node says something about a topic, now.
    pub fn publish(&mut self, node: NodeId, topic: &[u8], data: &[u8]) {
        self.feed(node, Input::Publish { topic, data });
    }

    /// Lets time pass.
    pub fn run_until(&mut self, end: Instant) {
        while let Some((at, event)) = self.schedule.pop_until(end) {
            self.now = at;
            self.carry_out(event);
        }
        self.now = self.now.max(end);
    }

    fn carry_out(&mut self, event: Event) {
        let Some(event) = self.put_off(event) else { return };
        match event {
            Event::Wake { node } => self.on_wake(node),
            Event::Arrive { link, side, segment } => self.on_arrive(link, side, segment),
            Event::Deliver { link, side, segment } => self.deliver(link, side, segment),
            Event::Datagram { from, to, bytes } => self.on_datagram(from, to, &bytes),
            Event::LineFree { node } => {
                self.nodes[node].line_watched = false;
                self.pump(node);
            }
            Event::Retry { link, side } => self.retry(link, side),
            Event::Knock { from, life, addr, latency } => self.on_knock(from, life, addr, latency),
            Event::Dialed { from, life, to, latency } => self.on_dialed(from, life, to, latency),
            Event::DialFailed { from, life, addr } => {
                self.feed_life(from, life, Input::DialFailed { addr });
            }
            Event::Accepted { link } => self.on_accepted(link),
            Event::Command { node, life, answer: Answer::Command(command) } => {
                self.feed_life(node, life, Input::FromChain(command));
            }
            Event::Command { node, life, answer: Answer::Tip(tip) } => {
                self.feed_life(node, life, Input::Tip(tip));
            }
            Event::Unresolved { node, life, name } => {
                self.feed_life(node, life, Input::Resolved { name, addrs: Vec::new() });
            }
            Event::Resume { node } => self.resume(node),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Release => self.release_all(),
        }
    }

    /// A process of this node begins. All instants of a run are on one clock, and so is the wall
    /// clock that a configuration tells: what is kept is as old as it is.
    fn start(&mut self, node: NodeId, with_store: bool) {
        let mut seed = [0; 32];
        self.seeds.fill(&mut seed);
        let endpoint = self.endpoint_of(node, seed);
        self.nodes[node].endpoint = Some(Box::new(endpoint));
        if with_store {
            let restored = self.nodes[node].store.restored();
            self.feed(node, Input::Restored(restored));
        }
        // A new endpoint begins its own time with the first input.
        self.feed(node, Input::Timeout);
        let mut answers = std::mem::take(&mut self.answers);
        self.script.on_start(self.now, node, &mut answers);
        self.answers = answers;
        self.schedule_answers(node);
    }

    fn feed_life(&mut self, node: NodeId, life: u32, input: Input<'_>) {
        if self.nodes[node].life == life {
            self.feed(node, input);
        }
    }

    /// Gives one input to one node, and carries out what comes of it.
    fn feed(&mut self, node: NodeId, input: Input<'_>) -> usize {
        let Some(endpoint) = &mut self.nodes[node].endpoint else { return 0 };
        let consumed = endpoint.handle(self.now, input);
        self.settle(node);
        consumed
    }

    fn settle(&mut self, node: NodeId) {
        for rooms in 0.. {
            assert!(rooms < ROOMS_MAX, "node {node} wants room without end");
            while let Some(output) = self.poll_output(node) {
                self.perform(node, output);
            }
            let Some(endpoint) = &mut self.nodes[node].endpoint else { return };
            match self.deferred.pop() {
                Some(Deferred::Dropped(conn, payload)) => {
                    endpoint.handle(self.now, Input::Dropped { conn, payload: &payload });
                }
                None if endpoint.wants_room() => {
                    let credit = self.model.credit(&mut self.credits);
                    let credit = Credit { items: credit.items.max(1), ..credit };
                    endpoint.handle(self.now, Input::Room { credit });
                    if self.model.credits == Credits::Random {
                        // What is left waits for the next input, as on a lane that is full.
                        while let Some(output) = self.poll_output(node) {
                            self.perform(node, output);
                        }
                        break;
                    }
                }
                None => break,
            }
        }
        let Node { endpoint, store, .. } = &mut self.nodes[node];
        if let Some(endpoint) = endpoint {
            store.take_from(endpoint);
        }
        self.pump(node);
        self.watch(node);
    }

    fn poll_output(&mut self, node: NodeId) -> Option<Output> {
        self.nodes[node].endpoint.as_mut()?.poll_output()
    }

    fn perform(&mut self, node: NodeId, output: Output) {
        if let Some(digest) = &mut self.digest {
            digest.note(self.now, node, &output);
        }
        match output {
            Output::Send { to: Recipients::One(conn), payload } => {
                self.send(node, conn, payload);
            }
            Output::Send { to: Recipients::Many(conns), payload } => {
                for conn in conns {
                    if let Some(dropped) = self.send(node, conn, payload.clone()) {
                        self.deferred.push(Deferred::Dropped(conn, dropped));
                    }
                }
            }
            Output::Close { conn, reason } => self.close(node, conn, reason),
            Output::Dial { addr } => self.dial(node, addr),
            Output::ToChain(event) => self.tell(node, event),
            Output::Opens { .. } => {} // nobody packs here
            Output::Datagram { to, bytes } => self.send_datagram(node, to, bytes),
            Output::Told { topic, data, hops } => {
                let told = Told { topic: &topic, data: &data, hops };
                self.script.on_told(self.now, node, &told);
            }
            Output::Resolve { name } => {
                let life = self.nodes[node].life;
                self.schedule.push(self.now, Event::Unresolved { node, life, name });
            }
        }
    }

    fn tell(&mut self, node: NodeId, event: ToChain) {
        let mut answers = std::mem::take(&mut self.answers);
        self.script.on_event(self.now, node, event, &mut answers);
        self.answers = answers;
        self.schedule_answers(node);
    }

    fn schedule_answers(&mut self, node: NodeId) {
        let life = self.nodes[node].life;
        for (wait, answer) in self.answers.0.drain(..) {
            self.schedule.push(self.now.after(wait), Event::Command { node, life, answer });
        }
    }

    /// Queues a payload; gives it back if there was no room.
    fn send(&mut self, node: NodeId, conn: ConnId, payload: Payload) -> Option<Payload> {
        let found = self.nodes[node].link_of(conn);
        let (link, side) = found.expect("the core sends to connections that it was told of");
        if self.loses(&payload) {
            return None;
        }
        let pipe = &mut self.links[link].pipes[1 - side];
        let dropped = pipe.push(payload, self.model.queue_bytes_max);
        self.dropped += u64::from(dropped.is_some());
        self.list(link, 1 - side);
        dropped
    }

    /// The core ended it: its last words leave, if it has any.
    fn close(&mut self, node: NodeId, conn: ConnId, reason: CloseReason) {
        let found = self.nodes[node].link_of(conn);
        let (link, side) = found.expect("the core closes a connection once");
        self.nodes[node].forget(conn);
        self.links[link].pipes[side].abandoned = true;
        self.links[link].pipes[1 - side].say_goodbye();
        self.list(link, 1 - side);
        let remote = self.links[link].ends[1 - side].node;
        self.script.on_closed(self.now, node, remote, reason);
    }

    /// Puts a pipe in the line of its writer, if it has something to be sent.
    fn list(&mut self, link: usize, side: usize) {
        let writer = self.links[link].ends[1 - side].node;
        let pipe = &mut self.links[link].pipes[side];
        if !pipe.listed && pipe.has_some() {
            pipe.listed = true;
            self.nodes[writer].ready.push_back((link, side));
        }
    }

    /// Sends segments, one of each connection in turn, while the node's line takes them.
    fn pump(&mut self, node: NodeId) {
        while self.nodes[node].line_free_at <= self.now {
            let Some((link, side)) = self.nodes[node].ready.pop_front() else { return };
            let bytes_max = self.model.segment_bytes(&mut self.cuts);
            let Link { pipes, latency, .. } = &mut self.links[link];
            let pipe = &mut pipes[side];
            let (latency, segment) = (*latency, pipe.cut(bytes_max));
            pipe.listed = pipe.has_some();
            if pipe.listed {
                self.nodes[node].ready.push_back((link, side));
            }
            let Some(segment) = segment else { continue };
            self.traffic.count(segment.pieces());
            let sent = self.now.after(self.model.line_time(segment.bytes_count()));
            self.nodes[node].line_free_at = sent;
            self.schedule.push(sent.after(latency), Event::Arrive { link, side, segment });
        }
        let node_ = &mut self.nodes[node];
        if !node_.ready.is_empty() && !node_.line_watched {
            node_.line_watched = true;
            self.schedule.push(node_.line_free_at, Event::LineFree { node });
        }
    }

    /// Makes sure that the node wakes at its next deadline.
    fn watch(&mut self, node: NodeId) {
        let now = self.now;
        let node_ = &mut self.nodes[node];
        let Some(due) = node_.endpoint.as_ref().and_then(|endpoint| endpoint.poll_timeout()) else {
            return;
        };
        let due = due.max(now);
        if node_.wake_at.is_none_or(|at| due < at) {
            node_.wake_at = Some(due);
            self.schedule.push(due, Event::Wake { node });
        }
    }

    fn on_wake(&mut self, node: NodeId) {
        if self.nodes[node].wake_at != Some(self.now) {
            return; // watched anew for an earlier instant
        }
        self.nodes[node].wake_at = None;
        let (at, count) = self.nodes[node].woken;
        let count = if at == self.now { count + 1 } else { 1 };
        assert!(count < WAKES_MAX, "a deadline of node {node} does not pass");
        self.nodes[node].woken = (self.now, count);
        self.feed(node, Input::Timeout);
    }

    /// The connection at this side of a link is gone.
    fn lose(&mut self, link: usize, side: usize, reason: CloseReason) {
        let end = self.links[link].ends[side];
        self.links[link].pipes[side].abandoned = true;
        let back = &mut self.links[link].pipes[1 - side];
        match reason {
            CloseReason::RemoteClosed => back.say_goodbye(),
            _ => back.ended = true,
        }
        self.list(link, 1 - side);
        if self.nodes[end.node].link_of(end.conn) == Some((link, side)) {
            self.nodes[end.node].forget(end.conn);
            let remote = self.links[link].ends[1 - side].node;
            self.script.on_closed(self.now, end.node, remote, reason);
            if self.conceals_close() {
                return;
            }
            self.feed(end.node, Input::Closed { conn: end.conn, reason });
        }
    }
}

/// Groups of addresses before the first one is used again.
const GROUPS: usize = (99 - 11 + 1) * 256;

impl Model {
    fn credit(&self, rng: &mut Rng) -> Credit {
        match self.credits {
            Credits::Ample => {
                Credit { frames: FRAMES_PER_RECEIVE, items: u32::MAX, bytes: usize::MAX }
            }
            Credits::Random => Credit {
                frames: rng.below(4) as u32,
                items: rng.below(4) as u32,
                bytes: rng.below(4_000_000) as usize,
            },
        }
    }
}
