//! Only the engine, with a chain that wants all that is announced: a target for other drivers.
//!
//! Standard output carries JSON lines: first the bound addresses, then the counters once a second.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use molva::{
    ChainSide, Config, Engine, FromChain, Hash, Kind, Metrics, Payload, Request, SendError,
    ToChain, Verdict,
};
use serde_json::{Map, Value, json};

use crate::control::CONGESTION_CONTROL;
use crate::flags::Serve;

/// Ids asked for that are remembered, so that each is asked for once.
const ASKED_MAX: usize = 1 << 16;

/// Payloads kept for peers that ask for what was announced to them.
const KEPT_MAX: usize = 4_096;
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Commands that wait for room on the lane; beyond these a payload is not relayed.
const WAITING_MAX: usize = 65_536;

const REPORT_PERIOD: Duration = Duration::from_secs(1);
const GOODBYE: Duration = Duration::from_secs(3);

/// Runs until the time is over or a signal comes.
pub(crate) fn run(flags: &Serve, told_to_stop: &AtomicBool) -> Result<(), String> {
    let mut config = Config::new(flags.network()?);
    config.listen.clone_from(&flags.listen);
    config.peer.connect.clone_from(&flags.connect);
    config.connections_max = flags.connections;
    config.congestion_control = Some(CONGESTION_CONTROL.into());
    let (engine, side) = Engine::start(config).map_err(|error| error.to_string())?;
    let handle = engine.handle();
    let addrs: Vec<_> = handle.local_addrs().iter().map(ToString::to_string).collect();
    say(&json!({ "listening": addrs }));

    let chain = std::thread::Builder::new()
        .name("chain".into())
        .spawn(move || WantingChain::new(side).run())
        .map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut next = start + REPORT_PERIOD;
    let over = || flags.duration.is_some_and(|duration| start.elapsed() >= duration);
    while !over() && !told_to_stop.load(Ordering::Relaxed) && !chain.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        if Instant::now() >= next {
            next += REPORT_PERIOD;
            say(&counters(&handle.metrics(), start));
        }
    }
    let end = engine.shutdown(GOODBYE);
    say(&counters(&handle.metrics(), start));
    chain.join().map_err(|_| "the chain thread panicked")?;
    end.map_err(|end| end.to_string())
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop serving.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

macro_rules! flat {
    ($metrics:expr, $($name:ident)+) => {
        [$((stringify!($name), $metrics.$name),)+]
    };
}

/// All counters in one flat object, and the closes by cause.
fn counters(metrics: &Metrics, start: Instant) -> Value {
    let numbers = flat!(metrics,
        peers_inbound peers_outbound connections accepted dialed frames_received frames_sent
        bytes_received bytes_sent payloads_new payloads_hinted payloads_requested duplicates
        duplicate_bytes unknown_frames relay_dropped sends payloads_sent turns kernel_entries
        buffers_starved completions_stale lane_stalls assembly_bytes fixed_pool_bytes);
    let mut line = Map::new();
    line.insert("seconds".into(), json!(start.elapsed().as_secs_f64()));
    numbers.iter().for_each(|(name, count)| {
        line.insert((*name).into(), json!(count));
    });
    let closed: BTreeMap<_, _> = metrics.closed_by_cause().collect();
    line.insert("closed_by_cause".into(), json!(closed));
    Value::Object(line)
}

/// A chain that asks for everything announced, accepts everything, and answers what it can.
struct WantingChain {
    side: ChainSide,
    asked: BTreeSet<Hash>,
    asked_order: VecDeque<Hash>,
    kept: BTreeMap<Hash, Payload>,
    kept_order: VecDeque<Hash>,
    kept_bytes: usize,
    waiting: VecDeque<FromChain>,
}

impl WantingChain {
    const fn new(side: ChainSide) -> Self {
        Self {
            side,
            asked: BTreeSet::new(),
            asked_order: VecDeque::new(),
            kept: BTreeMap::new(),
            kept_order: VecDeque::new(),
            kept_bytes: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Until the engine ends.
    fn run(mut self) {
        let mut events = Vec::new();
        loop {
            let patience = if self.waiting.is_empty() { 100 } else { 1 };
            if self.side.recv_batch(&mut events, 1_024, Duration::from_millis(patience)).is_err() {
                return;
            }
            events.drain(..).for_each(|event| self.on_event(event));
            while let Some(command) = self.waiting.pop_front() {
                match self.side.send(command) {
                    Ok(()) => {}
                    Err(SendError::Full(command)) => {
                        self.waiting.push_front(command);
                        break;
                    }
                    Err(SendError::Gone(_)) => return,
                }
            }
        }
    }

    fn on_event(&mut self, event: ToChain) {
        match event {
            ToChain::Payload { from, payload, .. } => {
                let id = payload.id();
                if payload.kind() == Kind::Header && self.asks(id) {
                    self.send(FromChain::Request { to: from.conn, request: Request::Block(id) });
                }
                self.keep(id, &payload);
                self.send(FromChain::Verdict { from, payload, verdict: Verdict::Accept });
            }
            ToChain::Announced { from, kind, id } => {
                if !self.kept.contains_key(&id) && self.asks(id) {
                    let request = match kind {
                        Kind::Header | Kind::Block => Request::Block(id),
                        Kind::CompactBlock => Request::CompactBlock(id),
                        _ => Request::Transaction(id),
                    };
                    self.send(FromChain::Request { to: from.conn, request });
                }
            }
            ToChain::Requested { from, request } => {
                let id = match request {
                    Request::Block(id) | Request::CompactBlock(id) | Request::Transaction(id) => id,
                    Request::Headers(_) => return,
                };
                if let Some(payload) = self.kept.get(&id).cloned() {
                    self.send(FromChain::Deliver { to: from.conn, payload });
                }
            }
        }
    }

    /// Whether this id is asked for now for the first time.
    fn asks(&mut self, id: Hash) -> bool {
        if !self.asked.insert(id) {
            return false;
        }
        self.asked_order.push_back(id);
        if self.asked_order.len() > ASKED_MAX
            && let Some(oldest) = self.asked_order.pop_front()
        {
            self.asked.remove(&oldest);
        }
        true
    }

    /// Keeps a block or a transaction for those who ask for it. A header has its block's id.
    fn keep(&mut self, id: Hash, payload: &Payload) {
        if !matches!(payload.kind(), Kind::Block | Kind::Transaction) || self.kept.contains_key(&id)
        {
            return;
        }
        self.kept.insert(id, payload.clone());
        self.kept_order.push_back(id);
        self.kept_bytes += payload.frame().len();
        while self.kept_order.len() > KEPT_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept_order.pop_front() else { return };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.kept_bytes -= gone.frame().len();
            }
        }
    }

    fn send(&mut self, command: FromChain) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(command);
        }
    }
}
