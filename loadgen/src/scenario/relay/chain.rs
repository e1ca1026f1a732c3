//! The backend of one engine: it publishes what is its own, takes everything, serves what it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use molva::{ChainSide, FromChain, Hash, Kind, Payload, Request, ToChain, Verdict};

use super::workload::Item;
use crate::waiting::Waiting;

/// Most events taken at a time.
const BATCH: usize = 256;

/// What all chains of a run share.
pub(super) struct Shared {
    pub(super) items: Vec<Item>,
    pub(super) by_id: BTreeMap<Hash, usize>,
    /// When the first item is published; the others follow in this interval.
    pub(super) start: Instant,
    pub(super) interval: Duration,
    /// Items that arrived somewhere for the first time, over all engines.
    pub(super) arrived: AtomicU64,
    pub(super) over: AtomicBool,
}

/// What one chain saw.
#[derive(Default)]
pub(super) struct Seen {
    /// From publication to arrival, of the items of others.
    pub(super) latencies: Vec<Duration>,
    /// Items that arrived.
    pub(super) items: u64,
    /// Items that came more than once.
    pub(super) doubled: u64,
    /// Payloads that nobody published.
    pub(super) altered: u64,
    /// Items that the engine could not get.
    pub(super) missing: u64,
}

pub(super) struct Chain {
    own: usize,
    side: ChainSide,
    shared: Arc<Shared>,
    have: Vec<Option<Payload>>,
    /// The next item that may be this chain's to publish.
    next: usize,
    waiting: Waiting,
    seen: Seen,
}

impl Chain {
    pub(super) fn new(own: usize, side: ChainSide, shared: Arc<Shared>) -> Self {
        let have = vec![None; shared.items.len()];
        Self {
            own,
            side,
            shared,
            have,
            next: 0,
            waiting: Waiting::default(),
            seen: Seen::default(),
        }
    }

    /// Until the run is over; `Err` if the engine ended of itself.
    pub(super) fn run(mut self) -> Result<Seen, String> {
        let mut events = Vec::with_capacity(BATCH);
        while !self.shared.over.load(Ordering::Relaxed) {
            let patience = self.publish_due().min(self.waiting.patience());
            self.side.recv_batch(&mut events, BATCH, patience).map_err(|end| end.to_string())?;
            events.drain(..).for_each(|event| self.on_event(event));
            self.waiting.send(&self.side).map_err(|_| "the engine ended".to_owned())?;
        }
        Ok(self.seen)
    }

    fn due(&self, item: usize) -> Instant {
        self.shared.start + self.shared.interval * item as u32
    }

    /// Publishes what is due; how long the next has time.
    fn publish_due(&mut self) -> Duration {
        loop {
            let Some(item) = self.shared.items.get(self.next) else { return Duration::MAX };
            if item.origin == self.own {
                let left = self.due(self.next).saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return left;
                }
                self.have[self.next] = Some(item.payload.clone());
                self.waiting.push(FromChain::Publish(item.payload.clone()));
                if self.waiting.send(&self.side).is_err() {
                    return Duration::ZERO; // the next receive says why
                }
            }
            self.next += 1;
        }
    }

    fn on_event(&mut self, event: ToChain) {
        match event {
            ToChain::Payload { from, payload, .. } if payload.kind() == Kind::Header => {
                let id = payload.id();
                self.fetch(Kind::Block, id);
                self.waiting.push(FromChain::Verdict { from, payload, verdict: Verdict::Keep });
            }
            ToChain::Payload { from, payload, .. } => {
                self.take(&payload);
                self.waiting.push(FromChain::Verdict { from, payload, verdict: Verdict::Accept });
            }
            ToChain::Announced { kind, id, .. } => match kind {
                Kind::TransactionKernel | Kind::Transaction => self.fetch(Kind::Transaction, id),
                _ => self.fetch(Kind::Block, id),
            },
            ToChain::Requested { from, request } => {
                let (kind, id) = match request {
                    Request::Transaction(id) => (Kind::Transaction, id),
                    Request::Block(id) => (Kind::Block, id),
                    _ => return,
                };
                let index = self.shared.by_id.get(&id);
                let answer = match index.and_then(|index| self.have[*index].clone()) {
                    Some(payload) => FromChain::Deliver { to: from.conn, payload },
                    None => FromChain::NotFound { to: from.conn, kind, id },
                };
                self.waiting.push(answer);
            }
            ToChain::Missing { .. } => self.seen.missing += 1,
            // Nobody has archives, stems, pools, or more work here.
            _ => {}
        }
    }

    fn fetch(&mut self, kind: Kind, id: Hash) {
        let index = self.shared.by_id.get(&id);
        if index.is_some_and(|index| self.have[*index].is_none()) {
            self.waiting.push(FromChain::Fetch { kind, id });
        }
    }

    fn take(&mut self, payload: &Payload) {
        let index = self.shared.by_id.get(&payload.id()).copied();
        let Some(index) = index.filter(|index| self.shared.items[*index].payload == *payload)
        else {
            self.seen.altered += 1;
            return;
        };
        if self.have[index].replace(payload.clone()).is_some() {
            self.seen.doubled += 1;
            return;
        }
        self.seen.items += 1;
        self.seen.latencies.push(self.due(index).elapsed());
        self.shared.arrived.fetch_add(1, Ordering::Relaxed);
    }
}
