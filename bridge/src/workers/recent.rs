//! What was packed lately: a payload that goes to many peers is packed once, and one that cannot be
//! packed is tried once.

use std::collections::VecDeque;

use codec::Payload;

/// Payloads remembered: more than are in demand at one time.
const ITEMS_MAX: usize = 64;

/// Bytes of them, plain and packed: three of the largest blocks of the reference network.
pub(crate) const BYTES_MAX: usize = 32 << 20;

/// Results, the one that was asked for last at the end.
#[derive(Default)]
pub(super) struct Recent {
    results: VecDeque<Payload>,
    bytes: usize,
    /// Some worker is at these.
    in_work: Vec<Payload>,
}

/// What is known of a payload.
pub(super) enum Known {
    /// It is packed, or known to save nothing.
    Result(Payload),
    /// Another worker is at it: ask again when that is done.
    InWork,
    /// Nothing: whoever asked is at it now, and says what came of it.
    New,
}

impl Recent {
    /// Looks for the same kind and bytes, wherever they are in memory.
    pub(super) fn look(&mut self, payload: &Payload) -> Known {
        if let Some(at) = self.results.iter().position(|result| result == payload) {
            let found = self.results.remove(at);
            self.results.extend(found.clone());
            return found.map_or(Known::New, Known::Result);
        }
        if self.in_work.contains(payload) {
            return Known::InWork;
        }
        self.in_work.push(payload.clone());
        Known::New
    }

    /// The work at this payload is over. `None`: nothing is known of it.
    pub(super) fn over(&mut self, payload: &Payload, result: Option<Payload>) {
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

    #[test]
    fn equal_bytes_are_one_payload_wherever_they_are() {
        let mut recent = Recent::default();
        assert!(matches!(recent.look(&payload(1, 9)), Known::New));
        assert!(matches!(recent.look(&payload(1, 9)), Known::InWork));
        recent.over(&payload(1, 9), Some(payload(1, 9)));
        assert!(matches!(recent.look(&payload(1, 9)), Known::Result(_)));
        assert!(matches!(recent.look(&payload(1, 8)), Known::New));
        recent.over(&payload(1, 8), None);
        assert!(matches!(recent.look(&payload(1, 8)), Known::New), "nothing came of it");
    }

    #[test]
    fn items_and_bytes_are_bounded_and_the_least_asked_for_goes() {
        let mut recent = Recent::default();
        for byte in 0..=ITEMS_MAX as u8 {
            let one = payload(byte, 4);
            assert!(matches!(recent.look(&one), Known::New));
            recent.over(&one, Some(one.clone()));
            assert!(matches!(recent.look(&payload(0, 4)), Known::Result(_)));
        }
        assert_eq!((recent.results.len(), recent.in_work.len()), (ITEMS_MAX, 0));
        assert!(matches!(recent.look(&payload(1, 4)), Known::New), "it was asked for least");
        for byte in 0..8 {
            let one = payload(byte, 5 << 20);
            recent.over(&one, Some(one.clone()));
            let held: usize = recent.results.iter().map(bytes).sum();
            assert_eq!(held, recent.bytes);
            assert!(held <= BYTES_MAX);
        }
        assert_eq!(recent.results.len(), 6);
    }
}
