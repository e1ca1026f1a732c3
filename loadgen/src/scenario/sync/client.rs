//! The backend of the engine that catches up: it checks headers and blocks, and wants them in
//! order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use molva::{
    ChainSide, ChainTip, Freshness, FromChain, Hash, Kind, Payload, Source, ToChain, Verdict,
};

use super::blocks::{Blocks, NETWORK, before, difficulty, is_whole, read_headers};
use crate::waiting::Waiting;

/// Most events taken at a time.
const BATCH: usize = 256;

/// Blocks that are wanted of the engine at once, and how few there are when more are asked for.
const WANTED_MAX: usize = 1_024;
const WANTED_FEW: usize = 768;

/// How long to ask nobody for headers when nobody had some.
const HEADERS_REST: Duration = Duration::from_millis(500);

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Blocks connected, in order, and the bytes of their bodies.
    pub(super) blocks: usize,
    pub(super) bytes: u64,
    /// Blocks that were not what their headers said.
    pub(super) invalid: u64,
    /// Blocks that came out of their order.
    pub(super) out_of_order: u64,
    /// Times that the engine could not get a block.
    pub(super) missing: u64,
    /// From the first block to the last.
    pub(super) took: Duration,
}

pub(super) struct Client {
    side: ChainSide,
    /// What everything is compared with, byte for byte.
    truth: Arc<Blocks>,
    waiting: Waiting,
    /// Ids by height, from 1 on, as the headers said.
    headers: Vec<Hash>,
    heights: BTreeMap<Hash, usize>,
    /// Heights up to this were asked of the engine.
    wanted: usize,
    /// Blocks that came before one that had to be asked for again.
    parked: BTreeMap<usize, Payload>,
    /// When to ask for headers, if they are to be asked for.
    ask_headers: Option<Instant>,
    begun: Option<Instant>,
    pub(super) seen: Seen,
}

impl Client {
    pub(super) fn new(side: ChainSide, truth: Arc<Blocks>) -> Self {
        Self {
            side,
            truth,
            waiting: Waiting::default(),
            headers: Vec::new(),
            heights: BTreeMap::new(),
            wanted: 0,
            parked: BTreeMap::new(),
            ask_headers: None,
            begun: None,
            seen: Seen::default(),
        }
    }

    /// Until everything is here, or the limit has passed; `Err` if the engine ended of itself.
    pub(super) fn run(&mut self, limit: Duration, stop: impl Fn() -> bool) -> Result<(), String> {
        let (start, mut events) = (Instant::now(), Vec::with_capacity(BATCH));
        self.set_tip();
        while self.seen.blocks < self.truth.len() && start.elapsed() < limit && !stop() {
            let patience = self.waiting.patience();
            self.side.recv_batch(&mut events, BATCH, patience).map_err(|end| end.to_string())?;
            events.drain(..).for_each(|event| self.on_event(event));
            self.want_more();
            self.waiting.send(&self.side).map_err(|_| "the engine ended".to_owned())?;
        }
        Ok(())
    }

    fn set_tip(&self) {
        let height = self.seen.blocks as u64;
        let tip = ChainTip { height, total_difficulty: difficulty(height) };
        self.side.counters().set_tip(tip);
    }

    fn on_event(&mut self, event: ToChain) {
        match event {
            ToChain::Behind { .. } if self.headers.len() == self.seen.blocks => {
                self.ask_headers.get_or_insert_with(Instant::now);
            }
            ToChain::NoHeaders => self.ask_headers = Some(Instant::now() + HEADERS_REST),
            ToChain::Payload { from, payload, freshness } => match payload.kind() {
                Kind::Headers => self.on_headers(from, payload),
                Kind::Block => self.on_block(from, payload, freshness),
                _ => {}
            },
            ToChain::Missing { .. } => {
                self.seen.missing += 1;
                self.want_again();
            }
            _ => {}
        }
    }

    fn on_headers(&mut self, from: Source, payload: Payload) {
        let headers = read_headers(payload.body()).unwrap_or_default();
        let mut last = self.headers.last().copied().unwrap_or(NETWORK.genesis);
        for header in headers {
            if before(header) != last {
                let verdict = Verdict::Invalid;
                return self.waiting.push(FromChain::Verdict { from, payload, verdict });
            }
            last = Hash::of(header);
            self.headers.push(last);
            self.heights.insert(last, self.headers.len());
        }
        if !headers.is_empty() && self.headers.len() < self.truth.len() {
            self.ask_headers = Some(Instant::now());
        }
    }

    fn on_block(&mut self, from: Source, payload: Payload, freshness: Freshness) {
        self.begun.get_or_insert_with(Instant::now);
        let id = payload.id();
        let Some(height) = self.heights.get(&id).copied() else {
            return; // announced, or of another chain
        };
        if !is_whole(payload.body()) {
            self.seen.invalid += 1;
            let verdict = Verdict::Invalid;
            self.waiting.push(FromChain::Verdict { from, payload, verdict });
            if freshness == Freshness::Next {
                let ids = Arc::from([id]);
                self.waiting.push(FromChain::FetchBlocks { height: height as u64, ids });
            }
            return;
        }
        self.waiting.push(FromChain::Verdict {
            from,
            payload: payload.clone(),
            verdict: Verdict::Keep,
        });
        if height > self.seen.blocks {
            self.seen.out_of_order += u64::from(height > self.seen.blocks + 1);
            self.parked.insert(height, payload);
        }
        self.connect();
    }

    fn connect(&mut self) {
        while let Some(block) = self.parked.remove(&(self.seen.blocks + 1)) {
            self.seen.blocks += 1;
            self.seen.bytes += block.body().len() as u64;
            let truth = self.truth.at(self.seen.blocks);
            assert!(truth == Some(&block), "a header names one body");
            self.set_tip();
            self.seen.took = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        }
    }

    /// Everything that is not here, anew.
    fn want_again(&mut self) {
        self.waiting.push(FromChain::CancelBlocks);
        self.parked.clear();
        self.wanted = self.seen.blocks;
    }

    fn want_more(&mut self) {
        if self.ask_headers.is_some_and(|at| at <= Instant::now()) {
            self.ask_headers = None;
            let last = self.headers.last().copied().unwrap_or(NETWORK.genesis);
            self.waiting
                .push(FromChain::FindHeaders { locator: Arc::from([last, NETWORK.genesis]) });
        }
        let few = self.wanted - self.seen.blocks < WANTED_FEW;
        let end = self.headers.len().min(self.seen.blocks + WANTED_MAX);
        if few && end > self.wanted {
            let ids = Arc::from(&self.headers[self.wanted..end]);
            let height = self.wanted as u64 + 1;
            self.waiting.push(FromChain::FetchBlocks { height, ids });
            self.wanted = end;
        }
    }
}
