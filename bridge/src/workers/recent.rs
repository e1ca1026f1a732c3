//! What was packed lately: a payload that goes to many peers is packed once, and one that cannot be
//! packed is tried once.

use std::collections::VecDeque;

use codec::Payload;

use crate::sync::Monitor;

/// Payloads remembered: more than are in demand at one time.
const ITEMS_MAX: usize = 64;

/// Bytes of them, plain and packed: three of the largest blocks of the reference network.
pub(crate) const BYTES_MAX: usize = 32 << 20;

/// What all workers know.
#[derive(Default)]
pub(super) struct Recent(Monitor<Results>);

/// What is known of a payload.
pub(super) enum Known<'a> {
    /// It is packed, or known to save nothing.
    Result(Payload),
    /// Nothing: whoever asked is at it now.
    New(Claim<'a>),
}

/// Whoever holds this works at a payload, and others who ask for it wait. However it ends, by a
/// result, with nothing, in a panic, they go on.
pub(super) struct Claim<'a> {
    recent: &'a Recent,
    payload: Payload,
    result: Option<Payload>,
}

impl Recent {
    /// Looks for the same kind and bytes, wherever they are in memory; waits while another worker
    /// is at them.
    pub(super) fn look(&self, payload: &Payload) -> Known<'_> {
        let mut results = self.0.lock();
        loop {
            if let Some(result) = results.find(payload) {
                return Known::Result(result);
            }
            if !results.in_work.contains(payload) {
                results.in_work.push(payload.clone());
                return Known::New(Claim { recent: self, payload: payload.clone(), result: None });
            }
            results = self.0.wait(results);
        }
    }
}

impl Claim<'_> {
    /// This came of the work.
    pub(super) fn settle(mut self, result: Payload) {
        self.result = Some(result);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.recent.0.lock().over(&self.payload, self.result.take());
        self.recent.0.wake_all();
    }
}

/// Results, the one that was asked for last at the end.
#[derive(Default)]
struct Results {
    results: VecDeque<Payload>,
    bytes: usize,
    /// Some worker is at these.
    in_work: Vec<Payload>,
}

impl Results {
    fn find(&mut self, payload: &Payload) -> Option<Payload> {
        let at = self.results.iter().position(|result| result == payload)?;
        let found = self.results.remove(at)?;
        self.results.push_back(found.clone());
        Some(found)
    }

    /// The work at this payload is over. `None`: nothing is known of it.
    fn over(&mut self, payload: &Payload, result: Option<Payload>) {
        self.in_work.retain(|one| one != payload);
        let Some(result) = result.filter(|result| bytes(result) <= BYTES_MAX) else { return };
        self.bytes += bytes(&result);
        self.results.push_back(result);
        while self.results.len() > ITEMS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.results.pop_front() else { return };
            self.bytes -= bytes(&oldest);
        }
    }
}

fn bytes(payload: &Payload) -> usize {
    payload.frame().len() + payload.packed().map_or(0, |packed| packed.frame().len())
}

#[cfg(test)]
mod tests {
    use codec::{Kind, Network};

    use super::*;

    fn payload(byte: u8, length: usize) -> Payload {
        Payload::seal(&Network::DEV, Kind::Block, &vec![byte; length]).unwrap()
    }

    fn claim<'a>(recent: &'a Recent, payload: &Payload) -> Claim<'a> {
        match recent.look(payload) {
            Known::New(claim) => claim,
            Known::Result(result) => panic!("{result:?} is known"),
        }
    }

    fn knows(recent: &Recent, payload: &Payload) -> bool {
        matches!(recent.look(payload), Known::Result(_))
    }

    #[test]
    fn equal_bytes_are_one_payload_wherever_they_are() {
        let recent = Recent::default();
        claim(&recent, &payload(1, 9)).settle(payload(1, 9));
        assert!(knows(&recent, &payload(1, 9)));
        drop(claim(&recent, &payload(1, 8)));
        assert!(!knows(&recent, &payload(1, 8)), "nothing came of it");
    }

    #[test]
    fn who_waits_for_a_worker_that_panics_works_itself() {
        let recent = Recent::default();
        let one = payload(1, 9);
        let claimed = claim(&recent, &one);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| claim(&recent, &one).settle(one.clone()));
            let panics = scope.spawn(|| {
                let _held = claimed;
                panic!("on purpose");
            });
            assert!(panics.join().is_err());
            waits.join().unwrap();
        });
        assert!(knows(&recent, &one));
        assert!(recent.0.lock().in_work.is_empty());
    }

    #[test]
    fn items_and_bytes_are_bounded_and_the_least_asked_for_goes() {
        let recent = Recent::default();
        for byte in 0..=ITEMS_MAX as u8 {
            let one = payload(byte, 4);
            claim(&recent, &one).settle(one.clone());
            assert!(knows(&recent, &payload(0, 4)));
        }
        let lengths = |results: &Results| (results.results.len(), results.in_work.len());
        assert_eq!(lengths(&recent.0.lock()), (ITEMS_MAX, 0));
        assert!(!knows(&recent, &payload(1, 4)), "it was asked for least");
        for byte in 0..8 {
            let one = payload(byte, 5 << 20);
            claim(&recent, &one).settle(one.clone());
            let results = recent.0.lock();
            let held: usize = results.results.iter().map(bytes).sum();
            assert_eq!(held, results.bytes);
            assert!(held <= BYTES_MAX);
        }
        assert_eq!(lengths(&recent.0.lock()), (6, 0));
    }
}
