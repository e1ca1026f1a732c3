//! The loop: one thread, one ring.
//!
//! A turn is [`EventLoop::enter`] (submit everything, wait, reap: one system call) and
//! [`EventLoop::work`] (react to what completed, take from the chain, serve deadlines, gather
//! sends). It carries out what the core decides and decides nothing about the protocol itself.
//!
//! Liveness: a connection that cannot go on is in exactly one list (of those waiting for a turn,
//! for room on the lane, for the download's rate, or for buffers), and each list is served when its
//! resource is there. The loop never waits while work is at hand, and announces its sleep before it
//! looks a last time.

mod closing;
mod connecting;
mod control;
mod datagrams;
mod keeping;
mod metrics;
mod receiving;
mod recording;
mod sending;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bridge::store::Store;
use bridge::{LoopSide, Metrics, Wanted};
use codec::Payload;
use crossbeam_channel::Receiver;
use peer::{
    ChainTip, Change, CloseReason, ConnId, Endpoint, Input, Instant, Output, Rate, Recipients,
    TokenBucket, UnixTime,
};

pub(crate) use self::control::Control;
use self::datagrams::Datagrams;
pub(crate) use self::receiving::PARKED_COPIES_BYTES_MAX;
pub(crate) use self::recording::Recording;
use self::waiting::{NAP, Pace};
use crate::connection::Connections;
use crate::io::{Completion, Io, ListenerId, Submission, Until, Wait};
use crate::resolver::Resolver;
use crate::send_queue::SEND_BYTES;
use crate::topics::Topics;

/// Completions handled in one turn; the rest follow in the next. About a millisecond of frames at
/// most, so that answers and deadlines do not wait for all that has come.
const COMPLETIONS_PER_TURN: usize = 256;

/// Commands of the chain in one turn, if their payloads are not more than one send takes: a turn
/// must not add more to a queue than it can take out.
const FROM_CHAIN_PER_TURN: usize = 256;

/// While more connections than this wait for their send to be submitted, the chain's commands
/// wait on their lane: a broadcast paces itself.
const SEND_BACKLOG_MAX: usize = 4_096;

/// How long the chain's commands wait for a majority that lags; then its queues fill up and drop.
/// Long enough for a system that is behind as a whole, and as long as hostile readers can hold
/// everybody up.
const CROWD_HOLD_MAX: Duration = Duration::from_secs(2);

/// How often dials, goodbyes and sends in the kernel are looked at, while there are any.
const WATCH_PERIOD: Duration = Duration::from_millis(250);

/// What to tell the core when its outputs are drained.
enum Deferred {
    Dropped(ConnId, Payload),
    Lost(ConnId, CloseReason),
    NotDialed(SocketAddr),
    Unresolved(Box<str>),
}

struct Listener {
    id: ListenerId,
    /// Accepting ended, and is tried again then.
    retry_at: Option<Instant>,
}

/// What the loop must know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopConfig {
    pub(crate) connections_max: u32,
    /// Size of a small receive buffer.
    pub(crate) small_bytes: usize,
    /// Most bytes that are copied out of parked buffers, of all connections together.
    pub(crate) parked_copies_max: usize,
    /// Bytes taken from all connections together.
    pub(crate) download: Option<Rate>,
    /// Port of names that come without one.
    pub(crate) port: u16,
    /// The wall clock at the loop's start.
    pub(crate) started: UnixTime,
}

/// The engine's thread, as a value.
pub(crate) struct EventLoop {
    io: Box<dyn Io>,
    endpoint: Endpoint,
    bridge: LoopSide,
    control: Receiver<Control>,
    now: Instant,
    tip: Option<ChainTip>,
    config: LoopConfig,
    connections: Connections,
    listeners: Vec<Listener>,
    datagrams: Datagrams,
    /// Have something to send.
    dirty: VecDeque<ConnId>,
    /// Have control messages to send.
    urgent: VecDeque<ConnId>,
    /// Wait for a turn, for room on the lane, for the download's rate, for buffers of either
    /// group. Those that left stay in their list until it is served or pruned.
    runnable: VecDeque<ConnId>,
    lane_waiters: VecDeque<ConnId>,
    rate_waiters: VecDeque<ConnId>,
    buffer_waiters: [VecDeque<ConnId>; 2],
    /// What is left of the download's rate.
    download: TokenBucket,
    resolver: Resolver,
    topics: Topics,
    store: Store,
    recording: Option<Recording>,
    /// On their way to the store; empty between turns.
    changes: Vec<Change>,
    /// When more changes are to be looked for.
    changes_at: Option<Instant>,
    /// Bytes of what is parked outside of the buffers.
    copied_bytes: usize,
    /// Are dialling or saying goodbye.
    watched: Vec<ConnId>,
    deferred: Vec<Deferred>,
    submissions: Vec<Submission>,
    completions: Vec<Completion>,
    /// Reaped, and to be handled in this turn or the next ones.
    reaped: VecDeque<Completion>,
    spare: Vec<Vec<Payload>>,
    metrics: Metrics,
    sends_in_kernel: usize,
    /// Connections whose queue is half full although they read.
    crowded: usize,
    /// Since when more than half of the connections are crowded.
    crowded_since: Option<Instant>,
    /// The chain's commands wait for sends to leave.
    held_back: bool,
    pace: Pace,
    watch_at: Instant,
    lane_stalled_since: Option<Instant>,
    /// When the loop ends, whatever is left.
    stop_at: Option<Instant>,
    /// When the engine ends: some time is left for the store.
    ends_at: Option<Instant>,
}

impl EventLoop {
    pub(crate) fn new(
        io: Box<dyn Io>,
        endpoint: Endpoint,
        bridge: LoopSide,
        control: Receiver<Control>,
        store: Store,
        config: LoopConfig,
    ) -> Self {
        Self {
            resolver: Resolver::new(config.port, bridge.waker()),
            topics: Topics::default(),
            store,
            recording: None,
            changes: Vec::new(),
            changes_at: None,
            io,
            endpoint,
            bridge,
            control,
            now: Instant::START,
            tip: None,
            connections: Connections::new(config.connections_max),
            config,
            listeners: Vec::new(),
            datagrams: Datagrams::default(),
            dirty: VecDeque::new(),
            urgent: VecDeque::new(),
            runnable: VecDeque::new(),
            lane_waiters: VecDeque::new(),
            rate_waiters: VecDeque::new(),
            download: TokenBucket::default(),
            buffer_waiters: [VecDeque::new(), VecDeque::new()],
            copied_bytes: 0,
            watched: Vec::new(),
            deferred: Vec::new(),
            submissions: Vec::new(),
            completions: Vec::new(),
            reaped: VecDeque::new(),
            spare: Vec::new(),
            metrics: Metrics::default(),
            sends_in_kernel: 0,
            crowded: 0,
            crowded_since: None,
            held_back: false,
            pace: Pace::new(),
            watch_at: Instant::START,
            lane_stalled_since: None,
            stop_at: None,
            ends_at: None,
        }
    }

    /// Listens on one more address; the answer has the port that port 0 became.
    pub(crate) fn listen(&mut self, addr: SocketAddr) -> std::io::Result<SocketAddr> {
        let (id, bound) = self.io.listen(addr)?;
        self.listeners.push(Listener { id, retry_at: None });
        self.submissions.push(Submission::Accept { listener: id });
        if self.listeners.len() == 1 {
            self.endpoint.advertise(bound.port());
        }
        Ok(bound)
    }

    /// Turns until the end. The errors are the ring's own; connections cause none.
    pub(crate) fn run(&mut self, clock: &crate::clock::Clock) -> std::io::Result<()> {
        self.work(clock.now());
        while !self.is_over() {
            self.enter()?;
            self.work(clock.now());
        }
        self.publish_metrics();
        Ok(())
    }

    /// Submits, waits and reaps: the turn's one system call.
    pub(crate) fn enter(&mut self) -> std::io::Result<()> {
        let wait = self.wait();
        self.io.turn(&mut self.submissions, wait, &mut self.completions)?;
        self.pace.reaped(self.completions.len());
        self.reaped.extend(self.completions.drain(..));
        self.bridge.awake();
        self.metrics.turns += 1;
        Ok(())
    }

    /// Everything that a turn does between two waits.
    pub(crate) fn work(&mut self, now: Instant) {
        self.now = now;
        for _ in 0..self.reaped.len().min(COMPLETIONS_PER_TURN) {
            let Some(completion) = self.reaped.pop_front() else { break };
            self.complete(completion);
        }
        self.take_control();
        self.take_tip();
        self.take_from_chain();
        self.run_runnable();
        self.serve_lane_waiters();
        self.serve_rate_waiters();
        self.serve_buffer_waiters();
        self.serve_deadlines();
        self.give_room();
        self.hand_changes();
        self.flush_dirty();
        self.flush_datagrams();
        if self.bridge.chain_waits() {
            self.submissions.push(Submission::NotifyChain);
        }
        self.pace.worked(self.now, self.endpoint.counts());
        self.publish_metrics();
        self.write_recording();
    }

    fn is_over(&self) -> bool {
        let has_left = || self.connections.is_empty() && self.datagrams.is_idle();
        self.stop_at.is_some_and(|at| has_left() || self.now >= at)
    }

    /// How long the next wait may be.
    fn wait(&mut self) -> Wait {
        let unsent = !(self.dirty.is_empty() && self.urgent.is_empty());
        let at_hand = unsent || !(self.reaped.is_empty() && self.runnable.is_empty());
        let starved = !self.lane_waiters.is_empty() || self.lacks_room();
        let at_hand = at_hand || self.has_servable_waiters() || !self.control.is_empty();
        // While commands are held back they are on the lane, and no reason to stay awake.
        let wanted = Wanted { commands: !self.held_back, room: starved };
        if at_hand || !self.bridge.prepare_sleep(wanted) {
            return Wait { timeout: Some(Duration::ZERO), until: Until::First };
        }
        let watch = (self.is_watching() || self.held_back || starved).then_some(self.watch_at);
        let accept = self.listeners.iter().filter_map(|listener| listener.retry_at).min();
        let refill = if self.rate_waiters.is_empty() { None } else { self.refilled_at() };
        let own = [watch, accept, self.datagrams.retry_at, refill, self.changes_at, self.stop_at];
        let until = own.into_iter().chain([self.endpoint.poll_timeout()]).flatten().min();
        let timeout = until.map(|until| until.since(self.now));
        // A nap is long enough for a burst of datagrams to fill their socket.
        if watch.is_none() && !self.datagrams.is_bound && self.pace.naps(self.now) {
            let timeout = Some(timeout.map_or(NAP, |timeout| timeout.min(NAP)));
            return Wait { timeout, until: Until::Woken };
        }
        Wait { timeout, until: self.pace.until(self.endpoint.counts()) }
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            // What they bring is counted elsewhere.
            Completion::Received { .. } | Completion::Sent { .. } | Completion::Woken => {}
            _ => self.pace.spoken(self.now),
        }
        match completion {
            Completion::Accepted { listener, result, more } => {
                self.on_accepted(listener, result, more);
            }
            Completion::Connected { conn, result } => self.on_connected(conn, result),
            Completion::Received { conn, result, more } => self.on_received(conn, result, more),
            Completion::Sent { conn, gathered, result } => self.on_sent(conn, gathered, result),
            Completion::Closed { conn } => self.on_closed(conn),
            Completion::Datagram { result, more } => self.on_datagram(result, more),
            Completion::DatagramSent { result } => self.on_datagram_sent(result),
            Completion::Woken => {}
        }
    }

    fn feed(&mut self, input: Input<'_>) {
        self.endpoint.handle(self.now, input);
        self.settle();
    }

    /// Carries out the core's outputs, and tells it what came of them.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.endpoint.poll_output() {
                self.perform(output);
            }
            match self.deferred.pop() {
                None => return,
                Some(Deferred::Dropped(conn, payload)) => {
                    self.endpoint.handle(self.now, Input::Dropped { conn, payload: &payload });
                }
                Some(Deferred::NotDialed(addr)) => {
                    self.endpoint.handle(self.now, Input::NotDialed { addr });
                }
                Some(Deferred::Unresolved(name)) => {
                    let addrs = Vec::new();
                    self.endpoint.handle(self.now, Input::Resolved { name, addrs });
                }
                Some(Deferred::Lost(conn, reason)) => {
                    self.endpoint.handle(self.now, Input::Closed { conn, reason });
                    self.on_lost(conn, reason);
                }
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial { addr } => self.dial(addr),
            Output::Send { to: Recipients::One(conn), payload } => self.enqueue(conn, payload),
            Output::Send { to: Recipients::Many(conns), payload } => {
                for conn in conns {
                    self.enqueue(conn, payload.clone());
                }
            }
            Output::Close { conn, reason } => self.say_goodbye(conn, reason),
            Output::ToChain(event) => self.bridge.push(event),
            Output::Opens { conn } => self.bridge.opens(conn),
            Output::Datagram { to, bytes } => self.enqueue_datagram(to, bytes),
            Output::Told { topic, data, hops } => {
                self.metrics.gossip_lagged += self.topics.tell(&topic, &data, hops);
            }
            Output::Resolve { name } => {
                self.deferred.extend(self.resolver.ask(name).map(Deferred::Unresolved));
            }
        }
    }

    fn serve_deadlines(&mut self) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
            self.feed(Input::Timeout);
        }
        for listener in &mut self.listeners {
            if listener.retry_at.is_some_and(|at| at <= self.now) {
                listener.retry_at = None;
                self.submissions.push(Submission::Accept { listener: listener.id });
            }
        }
        self.retry_datagrams();
        if self.watch_at <= self.now {
            self.watch_at = self.now.after(WATCH_PERIOD);
            self.look_at_watched();
            if self.sends_in_kernel > 0 {
                self.look_at_sends();
            }
        }
    }

    fn take_tip(&mut self) {
        let tip = self.bridge.counters().try_tip();
        if let Some(tip) = tip.filter(|tip| Some(*tip) != self.tip) {
            self.tip = Some(tip);
            self.feed(Input::Tip(tip));
        }
    }

    fn take_from_chain(&mut self) {
        let mut bytes = 0;
        for _ in 0..FROM_CHAIN_PER_TURN {
            let behind = self.dirty.len() > SEND_BACKLOG_MAX;
            self.held_back = behind || self.waits_for_crowd();
            if self.held_back {
                return;
            }
            let Some(command) = self.bridge.pop() else { return };
            bytes += command.bytes();
            self.pace.spoken(self.now);
            self.feed(Input::FromChain(command));
            if bytes >= SEND_BYTES {
                return;
            }
        }
    }

    /// Whether the commands wait because more than half of the connections lag behind.
    fn waits_for_crowd(&mut self) -> bool {
        if 2 * self.crowded <= self.connections.len() {
            self.crowded_since = None;
            return false;
        }
        self.now.since(*self.crowded_since.get_or_insert(self.now)) < CROWD_HOLD_MAX
    }
}
