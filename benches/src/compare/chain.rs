//! The other end of a server's lane: a thread that takes every payload and checks it.
//!
//! It takes all there is and then naps, so that no server pays for waking it. It runs on the
//! driver's core, beside the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::wire;

/// Payloads of a lane. A chain that naps is behind by some thousand at most.
pub(super) const LANE_PAYLOADS: usize = 1 << 16;

/// How long an empty lane is left alone.
pub(super) const NAP: Duration = Duration::from_micros(500);

/// How long a network thread stands still when the lane is full.
const FULL_NAP: Duration = Duration::from_micros(100);

/// The numbers that a server tells when it is asked.
#[derive(Default)]
pub(super) struct Tally {
    /// Frames that the network thread handled.
    pub(super) frames: AtomicU64,
    /// Payloads that came for the first time.
    pub(super) distinct: AtomicU64,
    /// Payloads that came again, or with other bytes.
    pub(super) wrong: AtomicU64,
}

/// Which payloads came, and whether they were right.
pub(super) struct Ledger {
    tally: Arc<Tally>,
    payload: [u8; wire::FRAME_BYTES],
    seen: Vec<u64>,
}

impl Ledger {
    /// Nothing came yet.
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self { tally, payload: wire::payload(), seen: Vec::new() }
    }

    /// Takes a payload's frame.
    pub(super) fn enter(&mut self, frame: &[u8]) {
        let right = self.is_new_and_right(frame);
        let counter = if right { &self.tally.distinct } else { &self.tally.wrong };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn is_new_and_right(&mut self, frame: &[u8]) -> bool {
        if frame.len() != wire::FRAME_BYTES {
            return false;
        }
        let mut number = [0; 8];
        number.copy_from_slice(&frame[wire::INDEX]);
        let number = u64::from_be_bytes(number);
        self.payload[wire::INDEX].copy_from_slice(&frame[wire::INDEX]);
        if frame != self.payload || number >= u64::from(u32::MAX) {
            return false;
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

/// The network thread's end of a lane.
pub(super) struct Lane(rtrb::Producer<Arc<[u8]>>);

impl Lane {
    /// Hands over a new payload; stands still while there is no room.
    pub(super) fn push(&mut self, payload: Arc<[u8]>) {
        let mut payload = payload;
        while let Err(rtrb::PushError::Full(back)) = self.0.push(payload) {
            payload = back;
            thread::sleep(FULL_NAP);
        }
    }
}

/// Starts the chain's thread on the calling thread's core.
pub(super) fn start(tally: Arc<Tally>) -> std::io::Result<Lane> {
    let (producer, mut consumer) = rtrb::RingBuffer::<Arc<[u8]>>::new(LANE_PAYLOADS);
    thread::Builder::new().name("chain".to_owned()).spawn(move || {
        let mut ledger = Ledger::new(tally);
        while !consumer.is_abandoned() {
            while let Ok(payload) = consumer.pop() {
                ledger.enter(&payload);
            }
            thread::sleep(NAP);
        }
    })?;
    Ok(Lane(producer))
}
