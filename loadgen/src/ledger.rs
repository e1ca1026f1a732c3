//! The exactly-once check of what the chain receives.
//!
//! The chain thread records every payload; at the end the clients say which ids they wrote, and
//! the ledger says what is missing. Invariant: an id is counted as delivered at most once, and only
//! if its bytes are exactly those of the plan.

use molva::{Freshness, Kind};

use crate::plan::{Id, Plan};

/// Most complaints kept in words; beyond these, only numbers.
const COMPLAINTS_MAX: usize = 10;

/// Which sequences of one thread arrived.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit; `false` if it was set already.
    fn insert(&mut self, index: u64) -> bool {
        let word = (index / 64) as usize;
        if word >= self.0.len() {
            self.0.resize((word + 1).next_power_of_two(), 0);
        }
        let mask = 1 << (index % 64);
        let fresh = self.0[word] & mask == 0;
        self.0[word] |= mask;
        fresh
    }

    fn contains(&self, index: u64) -> bool {
        self.0.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

/// What arrived from the clients of one fleet thread.
#[derive(Default)]
struct Arrivals {
    first: Bits,
    again: Bits,
    highest: u64,
}

/// The counts of a ledger.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    /// Distinct payloads received, whole and unaltered.
    pub(crate) delivered: u64,
    /// Old duplicates that were received again, with the hint that they must have.
    pub(crate) hinted: u64,
    /// First receipts that had the hint all the same: the filter erred, which it may.
    pub(crate) hinted_first: u64,
    /// Payloads received again that must not be.
    pub(crate) doubled: u64,
    /// Payloads that nobody wrote, or not with these bytes.
    pub(crate) corrupted: u64,
    /// Payload bytes received.
    pub(crate) bytes: u64,
}

/// Everything that the chain received.
pub(crate) struct Ledger {
    plan: Plan,
    threads: Vec<Arrivals>,
    /// How many ids of its thread must have followed an old duplicate; `None` if there are none.
    old_age_min: Option<u64>,
    counts: Counts,
    complaints: Vec<String>,
}

/// What the clients of one thread wrote: all new ids below `next` except `unwritten`.
pub(crate) struct Written {
    /// The thread.
    pub(crate) thread: u16,
    /// Ids drawn.
    pub(crate) next: u64,
    /// Ids that may not have been written completely: their connection broke.
    pub(crate) unwritten: Vec<u64>,
}

impl Ledger {
    /// An empty ledger for so many fleet threads.
    pub(crate) fn new(plan: Plan, threads: u16, old_age_min: Option<u64>) -> Self {
        let threads = (0..threads).map(|_| Arrivals::default()).collect();
        Self { plan, threads, old_age_min, counts: Counts::default(), complaints: Vec::new() }
    }

    /// The counts so far.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// What went wrong, in words.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Records one payload that the chain received.
    pub(crate) fn record(&mut self, kind: Kind, body: &[u8], freshness: Freshness) {
        self.counts.bytes += body.len() as u64;
        let Some(id) = self.plan.identify(body) else {
            self.counts.corrupted += 1;
            return self.complain(format!("a {kind:?} of {} bytes that nobody wrote", body.len()));
        };
        let Some(arrivals) = self.threads.get_mut(usize::from(id.thread)) else {
            self.counts.corrupted += 1;
            return self.complain(format!("{id:?} of a thread that there is not"));
        };
        if !self.plan.matches(id, kind, body) {
            self.counts.corrupted += 1;
            return self.complain(format!("{id:?} was altered: {kind:?}, {} bytes", body.len()));
        }
        let hint = freshness == Freshness::PerhapsLongAgo;
        if arrivals.first.insert(id.sequence) {
            arrivals.highest = arrivals.highest.max(id.sequence);
            self.counts.delivered += 1;
            self.counts.hinted_first += u64::from(hint);
            return;
        }
        let age = arrivals.highest - id.sequence;
        let may_come_again = hint && self.old_age_min.is_some_and(|old_age| age >= old_age);
        if may_come_again && arrivals.again.insert(id.sequence) {
            self.counts.hinted += 1;
        } else {
            self.counts.doubled += 1;
            self.complain(format!("{id:?} came twice, {age} ids later, as {freshness:?}"));
        }
    }

    /// How many of the written ids never arrived.
    pub(crate) fn lost(&mut self, written: &[Written]) -> u64 {
        let mut lost = Vec::new();
        let mut count = 0;
        for part in written {
            let arrivals = &self.threads[usize::from(part.thread)];
            for sequence in 0..part.next {
                if arrivals.first.contains(sequence) || part.unwritten.contains(&sequence) {
                    continue;
                }
                count += 1;
                if lost.len() < COMPLAINTS_MAX {
                    lost.push(Id { thread: part.thread, sequence });
                }
            }
        }
        for id in lost {
            self.complain(format!("{id:?} was written and never arrived"));
        }
        count
    }

    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(old_age_min: Option<u64>) -> (Ledger, Plan) {
        (Ledger::new(Plan::new(1, 64), 1, old_age_min), Plan::new(1, 64))
    }

    fn deliver(ledger: &mut Ledger, plan: &Plan, sequence: u64, freshness: Freshness) {
        let id = Id { thread: 0, sequence };
        let mut body = Vec::new();
        plan.write(id, &mut body);
        ledger.record(plan.kind(id), &body, freshness);
    }

    fn written(next: u64, unwritten: &[u64]) -> [Written; 1] {
        [Written { thread: 0, next, unwritten: unwritten.to_vec() }]
    }

    #[test]
    fn everything_once_is_fine() {
        let (mut ledger, plan) = ledger(None);
        for sequence in 0..2_000 {
            deliver(&mut ledger, &plan, sequence, Freshness::New);
        }
        assert_eq!(ledger.lost(&written(2_000, &[])), 0);
        let counts = ledger.counts();
        assert_eq!((counts.delivered, counts.doubled, counts.corrupted), (2_000, 0, 0));
        assert!(ledger.complaints().is_empty());
    }

    #[test]
    fn losing_one_payload_is_noticed() {
        let (mut ledger, plan) = ledger(None);
        for sequence in (0..1_000).filter(|sequence| *sequence != 640) {
            deliver(&mut ledger, &plan, sequence, Freshness::New);
        }
        assert_eq!(ledger.lost(&written(1_000, &[])), 1);
        assert!(ledger.complaints()[0].contains("640"));
        assert_eq!(ledger.lost(&written(1_000, &[640])), 0, "it was not written completely");
    }

    #[test]
    fn doubling_one_payload_is_noticed() {
        let (mut ledger, plan) = ledger(None);
        for sequence in 0..1_000 {
            deliver(&mut ledger, &plan, sequence, Freshness::New);
        }
        deliver(&mut ledger, &plan, 3, Freshness::New);
        assert_eq!(ledger.counts().doubled, 1);
        deliver(&mut ledger, &plan, 4, Freshness::PerhapsLongAgo);
        assert_eq!(ledger.counts().doubled, 2, "no old duplicate was sent");
    }

    #[test]
    fn altering_one_payload_is_noticed() {
        let (mut ledger, plan) = ledger(None);
        for sequence in [5, 7, 1_000] {
            let id = Id { thread: 0, sequence };
            let mut body = Vec::new();
            plan.write(id, &mut body);
            let middle = body.len() / 2;
            body[middle] ^= 0x10;
            ledger.record(plan.kind(id), &body, Freshness::New);
        }
        assert_eq!(ledger.counts().corrupted, 3);
        assert_eq!(ledger.counts().delivered, 0);
        ledger.record(Kind::Transaction, b"x", Freshness::New);
        assert_eq!(ledger.counts().corrupted, 4);
    }

    #[test]
    fn an_old_duplicate_comes_again_once_with_the_hint() {
        let (mut ledger, plan) = ledger(Some(100));
        for sequence in 0..201 {
            deliver(&mut ledger, &plan, sequence, Freshness::New);
        }
        deliver(&mut ledger, &plan, 100, Freshness::PerhapsLongAgo);
        assert_eq!((ledger.counts().hinted, ledger.counts().doubled), (1, 0));
        deliver(&mut ledger, &plan, 100, Freshness::PerhapsLongAgo);
        assert_eq!((ledger.counts().hinted, ledger.counts().doubled), (1, 1), "twice");
        deliver(&mut ledger, &plan, 101, Freshness::PerhapsLongAgo);
        assert_eq!((ledger.counts().hinted, ledger.counts().doubled), (1, 2), "too young");
        deliver(&mut ledger, &plan, 50, Freshness::New);
        assert_eq!((ledger.counts().hinted, ledger.counts().doubled), (1, 3), "without the hint");
    }
}
