//! Transactions that no block has yet: bounded in number and in bytes.
//!
//! Two of them live in a node: the mempool, which is public, and the stem pool, which nobody can
//! ask for. Without the outputs that they spend there are no fees, and so nothing says which
//! transaction is worth more: when there is no room, **the eldest goes**. Of two that spend the
//! same output, the first stays, until a block says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{OutPoint, Transaction};
use molva::{Kind, Network, Payload, PayloadId};

/// Bounds of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PoolLimits {
    pub(crate) transactions_max: usize,
    pub(crate) bytes_max: usize,
}

impl PoolLimits {
    /// Of the mempool. Guess: some blocks' worth; the number is what an exchange of pools tells.
    pub(crate) const MEMPOOL: Self = Self { transactions_max: 20_000, bytes_max: 64 << 20 };

    /// Of the stem pool. Guess: a stem lasts minutes, and most are somebody else's.
    pub(crate) const STEMS: Self = Self { transactions_max: 2_000, bytes_max: 16 << 20 };
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Pooled {
    /// It is here now; these had to go.
    New {
        evicted: Vec<PayloadId>,
    },
    Known,
    /// It spends what another one here spends.
    Conflicts,
    /// It alone is more than the pool may hold.
    TooLarge,
}

struct Entry {
    /// As a Transaction.
    payload: Payload,
    spends: Vec<OutPoint>,
    age: u64,
}

/// See the head of this file.
pub(crate) struct Pool {
    limits: PoolLimits,
    entries: BTreeMap<PayloadId, Entry>,
    spent: BTreeMap<OutPoint, PayloadId>,
    /// The eldest first.
    ages: BTreeMap<u64, PayloadId>,
    next_age: u64,
    bytes: usize,
}

impl Pool {
    pub(crate) const fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            spent: BTreeMap::new(),
            ages: BTreeMap::new(),
            next_age: 0,
            bytes: 0,
        }
    }

    /// Takes a transaction; `body` are its bytes.
    pub(crate) fn add(
        &mut self,
        network: &Network,
        transaction: &Transaction,
        body: &[u8],
    ) -> Pooled {
        let id = network.id(Kind::Transaction, body);
        if self.contains(&id) {
            return Pooled::Known;
        }
        let spends: Vec<_> = transaction.input.iter().map(|input| input.previous_output).collect();
        if spends.iter().any(|output| self.spent.contains_key(output)) {
            return Pooled::Conflicts;
        }
        let Ok(payload) = Payload::seal(network, Kind::Transaction, body) else {
            return Pooled::TooLarge;
        };
        if self.limits.transactions_max == 0 || body.len() > self.limits.bytes_max {
            return Pooled::TooLarge;
        }
        let mut evicted = Vec::new();
        while self.entries.len() >= self.limits.transactions_max
            || self.bytes + body.len() > self.limits.bytes_max
        {
            let Some((_, &eldest)) = self.ages.first_key_value() else { break };
            self.remove(&eldest);
            evicted.push(eldest);
        }
        self.spent.extend(spends.iter().map(|output| (*output, id)));
        self.ages.insert(self.next_age, id);
        self.bytes += body.len();
        self.entries.insert(id, Entry { payload, spends, age: self.next_age });
        self.next_age += 1;
        Pooled::New { evicted }
    }

    /// Lets a transaction go.
    pub(crate) fn remove(&mut self, id: &PayloadId) -> Option<Payload> {
        let entry = self.entries.remove(id)?;
        self.ages.remove(&entry.age);
        for output in &entry.spends {
            self.spent.remove(output);
        }
        self.bytes -= entry.payload.body().len();
        Some(entry.payload)
    }

    /// A block has this transaction: it goes, and whatever spends the same goes with it. Gives the
    /// ids of all that went.
    pub(crate) fn settle(&mut self, transaction: &Transaction) -> BTreeSet<PayloadId> {
        let outputs = transaction.input.iter().map(|input| input.previous_output);
        let gone: BTreeSet<_> =
            outputs.filter_map(|output| self.spent.get(&output)).copied().collect();
        for id in &gone {
            self.remove(id);
        }
        gone
    }

    pub(crate) fn contains(&self, id: &PayloadId) -> bool {
        self.entries.contains_key(id)
    }

    pub(crate) fn get(&self, id: &PayloadId) -> Option<&Payload> {
        self.entries.get(id).map(|entry| &entry.payload)
    }

    /// All ids, in ascending order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PayloadId> {
        self.entries.keys().copied()
    }

    /// All transactions, the eldest first.
    pub(crate) fn by_age(&self) -> impl Iterator<Item = &Payload> {
        self.ages.values().map(|id| &self.entries[id].payload)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;
    use proptest::prelude::*;

    use super::*;
    use crate::generate::synthetic;
    use crate::rules::ChainName;

    const LIMITS: PoolLimits = PoolLimits { transactions_max: 3, bytes_max: 1_000 };

    fn network() -> Network {
        ChainName::Regtest.network()
    }

    fn add(pool: &mut Pool, transaction: &Transaction) -> (PayloadId, Pooled) {
        let body = serialize(transaction);
        (network().id(Kind::Transaction, &body), pool.add(&network(), transaction, &body))
    }

    #[test]
    fn the_eldest_goes_when_there_are_too_many_or_too_large_ones() {
        let mut pool = Pool::new(LIMITS);
        let ids: Vec<_> = (0..3).map(|n| add(&mut pool, &synthetic(n, 100)).0).collect();
        assert_eq!(add(&mut pool, &synthetic(1, 100)).1, Pooled::Known);
        let (newest, pooled) = add(&mut pool, &synthetic(3, 100));
        assert_eq!(pooled, Pooled::New { evicted: vec![ids[0]] });
        let (large, pooled) = add(&mut pool, &synthetic(4, 700));
        assert_eq!(pooled, Pooled::New { evicted: vec![ids[1]] }, "one is enough");
        assert_eq!((pool.len(), pool.contains(&large), pool.contains(&newest)), (3, true, true));
        assert_eq!(add(&mut pool, &synthetic(5, 1_200)).1, Pooled::TooLarge);
        let (_, pooled) = add(&mut pool, &synthetic(6, 900));
        assert_eq!(pooled, Pooled::New { evicted: vec![ids[2], newest, large] });
    }

    #[test]
    fn a_block_takes_its_transactions_and_what_conflicts_with_them() {
        let mut pool = Pool::new(LIMITS);
        let (one, other) = (synthetic(1, 100), synthetic(2, 100));
        let (id, _) = add(&mut pool, &one);
        add(&mut pool, &other);
        let mut rival = synthetic(3, 100);
        rival.input[0].previous_output = one.input[0].previous_output;
        assert_eq!(add(&mut pool, &rival).1, Pooled::Conflicts);
        assert_eq!(pool.settle(&rival), BTreeSet::from([id]));
        assert_eq!(pool.settle(&rival), BTreeSet::new());
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.settle(&other).len(), 1);
        assert_eq!((pool.len(), pool.bytes(), pool.by_age().count()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn no_bound_is_ever_exceeded(
            steps in prop::collection::vec((0_u64..12, 60_usize..600, 0..4), 0..60),
        ) {
            let mut pool = Pool::new(LIMITS);
            for (n, bytes, step) in steps {
                let transaction = synthetic(n, bytes);
                if step == 0 {
                    pool.settle(&transaction);
                } else {
                    add(&mut pool, &transaction);
                }
                let bytes: usize = pool.by_age().map(|payload| payload.body().len()).sum();
                prop_assert_eq!(bytes, pool.bytes());
                prop_assert!(bytes <= LIMITS.bytes_max && pool.len() <= LIMITS.transactions_max);
                prop_assert_eq!(pool.ids().count(), pool.len());
                prop_assert_eq!(pool.spent.len(), pool.len(), "one input each");
                prop_assert_eq!(pool.ages.len(), pool.len());
            }
        }
    }
}
