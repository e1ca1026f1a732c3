//! Only the engine, with a chain that wants all that is announced: a target for other drivers.
//!
//! Standard output carries JSON lines: first the bound addresses, then the counters once a second.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use molva::{
    ChainSide, Config, Engine, FromChain, Handle, Hash, Kind, Payload, Request, ToChain, Verdict,
};
use serde_json::{Map, Value, json};

use crate::control::CONGESTION_CONTROL;
use crate::flags::Serve;
use crate::waiting::Waiting;

/// Ids asked for that are remembered, so that each is asked for once.
const ASKED_MAX: usize = 1 << 16;

/// Payloads kept for peers that ask for what was announced to them.
const KEPT_MAX: usize = 4_096;
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Where it listens, and how many it takes in, if neither a file nor a flag says it.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const CONNECTIONS: u32 = 18_000;

const REPORT_PERIOD: Duration = Duration::from_secs(1);
const GOODBYE: Duration = Duration::from_secs(3);

/// Runs until the time is over or a signal comes.
pub(crate) fn run(flags: &Serve, told_to_stop: &AtomicBool) -> Result<(), String> {
    let (engine, side) = Engine::start(config(flags)).map_err(|error| error.to_string())?;
    let handle = engine.handle();
    let addrs: Vec<_> = handle.local_addrs().iter().map(ToString::to_string).collect();
    say(&json!({ "listening": addrs }));
    for notice in handle.store_notices() {
        eprintln!("loadgen: {notice}");
    }

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
            say(&counters(&handle, start));
        }
    }
    let end = engine.shutdown(GOODBYE);
    say(&counters(&handle, start));
    chain.join().map_err(|_| "the chain thread panicked")?;
    end.map_err(|end| end.to_string())
}

/// The file's configuration, or one for a bench on loopback; the flags override either.
fn config(flags: &Serve) -> Config {
    let mut config = match &flags.config {
        Some(file) => file.config.clone(),
        None => Config {
            listen: vec![LISTEN],
            connections_max: CONNECTIONS,
            congestion_control: Some(CONGESTION_CONTROL.into()),
            ..Config::new(flags.network())
        },
    };
    if flags.network.is_some() || flags.magic.is_some() {
        config.peer.network = flags.network();
    }
    if !flags.listen.is_empty() {
        config.listen.clone_from(&flags.listen);
    }
    if !flags.connect.is_empty() {
        config.peer.connect.clone_from(&flags.connect);
    }
    if let Some(connections) = flags.connections {
        config.connections_max = connections;
    }
    if flags.config.is_none() {
        // All but the few places that the engine keeps for its own dials.
        config.peer.slots.inbound = config.connections_max;
    }
    config
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop serving.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// All counters in one flat object, and the closes by cause. Bans and addresses are null when the
/// engine has ended.
fn counters(handle: &Handle, start: Instant) -> Value {
    let metrics = handle.metrics();
    let numbers = metrics.numbers().map(|(name, number)| (name.to_owned(), json!(number)));
    let mut line: Map<_, _> = numbers.collect();
    let closed: BTreeMap<_, _> = metrics.closed_by_cause().collect();
    line.insert("closed_by_cause".into(), json!(closed));
    line.insert("seconds".into(), json!(start.elapsed().as_secs_f64()));
    line.insert("bans".into(), json!(handle.bans().ok().map(|bans| bans.len())));
    let book = handle.addresses().ok().map(|book| {
        let tried = book.iter().filter(|record| record.tried).count();
        (book.len() - tried, tried)
    });
    line.insert("book_new".into(), json!(book.map(|(new, _)| new)));
    line.insert("book_tried".into(), json!(book.map(|(_, tried)| tried)));
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
    waiting: Waiting,
}

impl WantingChain {
    fn new(side: ChainSide) -> Self {
        Self {
            side,
            asked: BTreeSet::new(),
            asked_order: VecDeque::new(),
            kept: BTreeMap::new(),
            kept_order: VecDeque::new(),
            kept_bytes: 0,
            waiting: Waiting::default(),
        }
    }

    /// Until the engine ends.
    fn run(mut self) {
        let mut events = Vec::new();
        loop {
            if self.side.recv_batch(&mut events, 1_024, self.waiting.patience()).is_err() {
                return;
            }
            events.drain(..).for_each(|event| self.on_event(event));
            if self.waiting.send(&self.side).is_err() {
                return;
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
                    // It has no history to serve.
                    Request::Headers(_)
                    | Request::TxHashSet { .. }
                    | Request::OutputBitmapSegment(_)
                    | Request::OutputSegment(_)
                    | Request::RangeProofSegment(_)
                    | Request::KernelSegment(_)
                    | Request::Blocks { .. } => return,
                };
                if let Some(payload) = self.kept.get(&id).cloned() {
                    self.send(FromChain::Deliver { to: from.conn, payload });
                }
            }
            // It asks for no archive and sends none.
            ToChain::ArchiveBegins { .. }
            | ToChain::ArchivePiece { .. }
            | ToChain::ArchiveBroken { .. }
            | ToChain::PieceWanted { .. }
            | ToChain::Behind { .. }
            | ToChain::Missing { .. }
            | ToChain::NoHeaders
            | ToChain::Fluffed { .. }
            | ToChain::Aggregate { .. }
            | ToChain::PoolWanted => {}
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
        self.waiting.push(command);
    }
}
