//! The chain's side of the embedded engine: what the backend of a node would be.
//!
//! A [`Chain`] is a thread that receives everything the engine delivers, until the engine ends.
//! Invariant: it never makes the engine wait on purpose; what it counts is read while it runs.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use molva::{ChainSide, EngineEnd, ToChain};

use crate::ledger::{Counts, Ledger, Written};

/// Most events taken at a time.
const BATCH: usize = 4_096;

/// How long to wait for an event before looking whether the run is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// A chain thread that checks what it receives against a ledger.
pub(crate) struct Chain {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` for a chain that merely drains; locked for a batch at a time.
    ledger: Mutex<Option<Ledger>>,
    /// Why the engine ended, if it has.
    end: Mutex<Option<String>>,
}

impl Chain {
    /// Starts the thread; without a ledger it drops what it receives.
    pub(crate) fn start(side: ChainSide, ledger: Option<Ledger>) -> io::Result<Self> {
        let shared = Arc::new(Shared { ledger: Mutex::new(ledger), end: Mutex::new(None) });
        let own = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("chain".into()).spawn(move || receive(side, &own))?;
        Ok(Self { thread, shared })
    }

    /// What the ledger counted so far; zeros without one.
    pub(crate) fn counts(&self) -> Counts {
        let ledger = self.shared.ledger.lock().expect("the chain thread does not panic");
        ledger.as_ref().map_or_else(Counts::default, Ledger::counts)
    }

    /// Why the engine ended, if it did so of itself.
    pub(crate) fn end(&self) -> Option<String> {
        self.shared.end.lock().expect("the chain thread does not panic").clone()
    }

    /// Compares with what was written: the number of lost payloads, and all complaints.
    pub(crate) fn settle(&self, written: &[Written]) -> (u64, Vec<String>) {
        let mut ledger = self.shared.ledger.lock().expect("the chain thread does not panic");
        ledger.as_mut().map_or_else(Default::default, |ledger| {
            let lost = ledger.lost(written);
            (lost, ledger.complaints().to_vec())
        })
    }

    /// Waits for the thread, which ends with the engine.
    pub(crate) fn join(self) {
        self.thread.join().expect("the chain thread does not panic");
    }
}

fn receive(mut side: ChainSide, shared: &Shared) {
    let mut events = Vec::with_capacity(BATCH);
    let end: EngineEnd = loop {
        match side.recv_batch(&mut events, BATCH, PATIENCE) {
            Ok(_) => {}
            Err(end) => break end,
        }
        let mut ledger = shared.ledger.lock().expect("nobody panics with the ledger");
        let Some(ledger) = ledger.as_mut() else {
            events.clear();
            continue;
        };
        for event in events.drain(..) {
            if let ToChain::Payload { payload, freshness, .. } = event {
                ledger.record(payload.kind(), payload.body(), freshness);
            }
        }
    };
    *shared.end.lock().expect("nobody panics with it") = Some(format!("{end:?}"));
}
