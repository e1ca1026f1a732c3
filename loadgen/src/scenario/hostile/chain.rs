//! The chain of an engine under attack: it checks what the honest clients write, judges what the
//! attackers write, and serves whoever asks from one large block and one large transaction.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use molva::{ChainSide, FromChain, Kind, Network, Payload, Request, ToChain, Verdict};

use crate::ledger::{Counts, Ledger, Written};
use crate::talk::{INVALID_TAG, SPAM_TAG};
use crate::waiting::Waiting;

/// Bytes of the block that answers every request for one.
const BLOCK_BYTES: usize = 1_000_000;

/// Bytes of the transaction that answers every request for one.
const TRANSACTION_BYTES: usize = 100_000;

const BATCH: usize = 1_024;

/// A running chain.
pub(super) struct Chain {
    thread: JoinHandle<()>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Chain {
    pub(super) fn start(side: ChainSide, network: &Network, ledger: Ledger) -> io::Result<Self> {
        let ledger = Arc::new(Mutex::new(ledger));
        let seal = |kind, bytes: usize| {
            Payload::seal(network, kind, &vec![7; bytes]).map_err(io::Error::other)
        };
        let judge = Judge {
            side,
            ledger: Arc::clone(&ledger),
            block: seal(Kind::Block, BLOCK_BYTES)?,
            transaction: seal(Kind::Transaction, TRANSACTION_BYTES)?,
            waiting: Waiting::default(),
        };
        let thread = std::thread::Builder::new().name("chain".into()).spawn(move || judge.run())?;
        Ok(Self { thread, ledger })
    }

    fn ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock().expect("the chain thread does not panic"))
    }

    /// What arrived from the honest clients.
    pub(super) fn counts(&self) -> Counts {
        self.ledger(|ledger| ledger.counts())
    }

    /// Compares with what was written, in the end: all complaints.
    pub(super) fn settle(&self, written: &[Written]) -> Vec<String> {
        self.ledger(|ledger| {
            ledger.lost(written);
            ledger.complaints().to_vec()
        })
    }

    /// Waits for the thread, which ends with the engine.
    pub(super) fn join(self) {
        self.thread.join().expect("the chain thread does not panic");
    }
}

/// The chain's thread.
struct Judge {
    side: ChainSide,
    ledger: Arc<Mutex<Ledger>>,
    block: Payload,
    transaction: Payload,
    waiting: Waiting,
}

impl Judge {
    /// Until the engine ends.
    fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH);
        loop {
            if self.side.recv_batch(&mut events, BATCH, self.waiting.patience()).is_err() {
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
            ToChain::Payload { from, payload, freshness } => {
                let body = payload.body();
                let verdict = if body.starts_with(&SPAM_TAG) {
                    return;
                } else if body.starts_with(&INVALID_TAG) {
                    Verdict::Invalid
                } else {
                    let mut ledger = self.ledger.lock().expect("nobody panics with the ledger");
                    ledger.record(payload.kind(), body, freshness);
                    Verdict::Accept
                };
                self.send(FromChain::Verdict { from, payload, verdict });
            }
            ToChain::Requested { from, request } => {
                let payload = match request {
                    Request::Block(_) => self.block.clone(),
                    Request::Transaction(_) => self.transaction.clone(),
                    _ => return,
                };
                self.send(FromChain::Deliver { to: from.conn, payload });
            }
            _ => {}
        }
    }

    fn send(&mut self, command: FromChain) {
        self.waiting.push(command);
    }
}
