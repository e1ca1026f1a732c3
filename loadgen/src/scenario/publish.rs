//! The chain's side of a broadcast: payloads published at a rate, whatever becomes of them.
//!
//! Open loop: the instants of publishing are fixed before the run, and each payload carries its
//! own, so that an engine that holds up its chain is charged for the delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use molva::{FromChain, Kind, Network, Payload, Publisher, SendError};

use crate::clock::{now_ns, sleep_until};
use crate::receipts;

/// Pause when the lane is full.
const PAUSE: Duration = Duration::from_micros(50);

/// A thread that publishes.
pub(crate) struct Publishing {
    thread: JoinHandle<()>,
    over: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
}

impl Publishing {
    /// Starts to publish bodies of this size, at a rate or (`None`) as fast as the lane takes.
    pub(crate) fn start(
        publisher: Publisher,
        network: Network,
        payload_bytes: usize,
        rate: Option<f64>,
    ) -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let published = Arc::new(AtomicU64::new(0));
        let (own_over, own_published) = (Arc::clone(&over), Arc::clone(&published));
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(move || {
            let start = now_ns();
            let mut body = Vec::new();
            while !own_over.load(Ordering::Relaxed) {
                let index = own_published.load(Ordering::Relaxed);
                let intended = match rate {
                    Some(rate) => start + (index as f64 / rate * 1e9) as u64,
                    None => now_ns(),
                };
                sleep_until(intended);
                if own_over.load(Ordering::Relaxed) {
                    return;
                }
                body.clear();
                receipts::write_body(index, intended, payload_bytes, &mut body);
                let payload = Payload::seal(&network, Kind::Transaction, &body)
                    .expect("the flags bound the size");
                if !publish(&publisher, payload, &own_over) {
                    return;
                }
                own_published.store(index + 1, Ordering::Relaxed);
            }
        })?;
        Ok(Self { thread, over, published })
    }

    /// Payloads published so far.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Publishes no more; how many it were.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the publisher does not panic");
        self.published.load(Ordering::Relaxed)
    }
}

/// Publishes one payload, waiting for the lane; `false` if the engine is gone or the run over.
fn publish(publisher: &Publisher, mut payload: Payload, over: &AtomicBool) -> bool {
    loop {
        match publisher.publish(payload) {
            Ok(()) => return true,
            Err(SendError::Full(FromChain::Publish(back))) if !over.load(Ordering::Relaxed) => {
                std::thread::sleep(PAUSE);
                payload = back;
            }
            Err(SendError::Full(_) | SendError::Gone(_)) => return false,
        }
    }
}
