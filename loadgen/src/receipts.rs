//! The exactly-once check of what one client receives from a broadcast.
//!
//! Invariant: `next` and what lies in `ahead` are exactly the indices received, once each.

use std::collections::BTreeSet;

use crate::plan;

/// Bytes in front of a broadcast body: the index and the instant it was to be published.
pub(crate) const STAMP_BYTES: usize = 16;

/// Which broadcast payloads one client has received.
#[derive(Default)]
pub(crate) struct Receipts {
    /// All below arrived.
    next: u64,
    /// Those that arrived before an earlier one; none is `next` or below it.
    ahead: BTreeSet<u64>,
}

impl Receipts {
    /// Notes an index; `false` if it was received before.
    pub(crate) fn insert(&mut self, index: u64) -> bool {
        if index < self.next {
            return false;
        }
        if index > self.next {
            return self.ahead.insert(index);
        }
        self.next += 1;
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
        true
    }
}

/// Appends a broadcast body: index, instant, pseudo-random bytes that follow from both.
pub(crate) fn write_body(index: u64, intended_ns: u64, bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&index.to_be_bytes());
    out.extend_from_slice(&intended_ns.to_be_bytes());
    plan::fill(index ^ intended_ns.rotate_left(32), bytes.max(STAMP_BYTES) - STAMP_BYTES, out);
}

/// The index and the instant of a broadcast body.
pub(crate) fn stamp(body: &[u8]) -> Option<(u64, u64)> {
    let (index, rest) = body.split_first_chunk()?;
    let (intended, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*index), u64::from_be_bytes(*intended)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_counts_once_in_any_order() {
        let mut receipts = Receipts::default();
        for index in [0, 3, 1, 2, 5] {
            assert!(receipts.insert(index));
        }
        assert_eq!((receipts.next, receipts.ahead.len()), (4, 1));
        for index in [0, 3, 5] {
            assert!(!receipts.insert(index), "{index} is doubled");
        }
        assert!(receipts.insert(4), "it was missing");
        assert_eq!((receipts.next, receipts.ahead.len()), (6, 0));
    }

    #[test]
    fn a_body_tells_its_stamp() {
        let mut body = Vec::new();
        write_body(7, 99, 300, &mut body);
        assert_eq!(body.len(), 300);
        assert_eq!(stamp(&body), Some((7, 99)));
        assert_eq!(stamp(&body[..15]), None);
    }
}
