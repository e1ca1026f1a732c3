//! A lane: a bounded one-way queue between threads.
//!
//! Many threads may push, one takes out. It is bounded in items and in payload bytes, and both are
//! counted in one atomic word: a push reserves before it stores, so the bounds hold at every
//! instant, whoever else is pushing. A job of the workers reserves when it begins and stores when
//! it is done, so what it makes always has its place, and whoever asks sees it taken. What an item
//! takes beside its payload bytes is bounded with the items. A lane wakes nobody; see
//! [`crate::Waker`].

use peer::{FromChain, ToChain};

use crate::sync::{AtomicU64, Ordering, Queue};

/// Items that a lane can be made for: they are counted in 24 bits.
pub(crate) const ITEMS_LIMIT: usize = (1 << (u64::BITS - BYTES_BITS)) - 1;

/// Payload bytes that a lane can be made for: they are counted in 40 bits.
pub(crate) const BYTES_LIMIT: usize = (1 << BYTES_BITS) - 1;

const BYTES_BITS: u32 = 40;

/// What travels on a lane. The weight of an item never changes: it is asked for when the item
/// is pushed, and again when it is taken out.
pub(crate) trait Weigh {
    /// Payload bytes.
    fn bytes(&self) -> usize;
}

impl Weigh for ToChain {
    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

impl Weigh for FromChain {
    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

/// What a lane still takes: so many items, of so many payload bytes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Items.
    pub items: usize,
    /// Payload bytes of all those items.
    pub bytes: usize,
}

/// Items and bytes in one word, so that one atomic step reserves both.
#[derive(Clone, Copy)]
struct Fill(u64);

impl Fill {
    const fn new(items: usize, bytes: usize) -> Self {
        Self((items as u64) << BYTES_BITS | bytes as u64)
    }

    const fn items(self) -> usize {
        (self.0 >> BYTES_BITS) as usize
    }

    const fn bytes(self) -> usize {
        self.0 as usize & BYTES_LIMIT
    }
}

/// Alone on its cache lines, which both sides write all the time.
#[repr(align(128))]
struct Apart(AtomicU64);

pub(crate) struct Lane<T> {
    queue: Queue<T>,
    /// Reserved before an item is stored, given back after it was taken out.
    fill: Apart,
    bounds: Room,
    /// Items beyond the bounds that may be pushed, and of which [`Lane::room`] does not tell.
    reserved: usize,
}

impl<T: Weigh> Lane<T> {
    /// An empty lane with these bounds and a reserve of items beyond them; together they are at
    /// most [`ITEMS_LIMIT`] and [`BYTES_LIMIT`].
    pub(crate) fn new(bounds: Room, reserved: usize) -> Self {
        let places = bounds.items + reserved;
        assert!(places <= ITEMS_LIMIT && bounds.bytes <= BYTES_LIMIT);
        Self { queue: Queue::new(places), fill: Apart(AtomicU64::new(0)), bounds, reserved }
    }

    pub(crate) const fn bounds(&self) -> Room {
        self.bounds
    }

    /// What may be pushed now without touching the reserve. While nobody else pushes, it only
    /// grows.
    pub(crate) fn room(&self) -> Room {
        let fill = Fill(self.fill.0.load(Ordering::Relaxed));
        Room {
            items: self.bounds.items.saturating_sub(fill.items()),
            bytes: self.bounds.bytes - fill.bytes(),
        }
    }

    /// Whether at least half of the items and half of the bytes are free.
    pub(crate) fn is_half_free(&self) -> bool {
        let room = self.room();
        room.items >= self.bounds.items.div_ceil(2) && room.bytes >= self.bounds.bytes.div_ceil(2)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Stores an item in a place that was [reserved](Self::reserve) with so many bytes: at least
    /// its own, and what it does not need is given back.
    pub(crate) fn commit(&self, item: T, reserved: usize) {
        let bytes = item.bytes();
        assert!(bytes <= reserved, "an item outgrew its reservation");
        if bytes < reserved {
            self.give_back(0, reserved - bytes);
        }
        assert!(self.queue.push(item).is_ok(), "a place was reserved, and was not there");
    }

    /// Takes out one item. One thread does this.
    pub(crate) fn pop(&self) -> Option<T> {
        let item = self.queue.pop()?;
        self.give_back(1, item.bytes());
        Some(item)
    }

    /// Takes out at most `max` items, and appends them. One thread does this.
    pub(crate) fn drain(&self, into: &mut Vec<T>, max: usize) -> usize {
        // Counts what is only reserved, too.
        let here = Fill(self.fill.0.load(Ordering::Relaxed)).items();
        let max = max.min(here);
        into.reserve(max);
        let mut taken = 0;
        let mut bytes = 0;
        while taken < max
            && let Some(item) = self.queue.pop()
        {
            taken += 1;
            bytes += item.bytes();
            into.push(item);
        }
        if taken > 0 {
            self.give_back(taken, bytes);
        }
        taken
    }

    /// Takes a place and so many bytes, for an item that is stored later, or given up. `false`:
    /// there is no room.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let places = self.bounds.items + self.reserved;
        let mut seen = self.fill.0.load(Ordering::Relaxed);
        loop {
            let fill = Fill(seen);
            let full = fill.items() == places || bytes > self.bounds.bytes - fill.bytes();
            if full {
                return false;
            }
            let next = Fill::new(fill.items() + 1, fill.bytes() + bytes).0;
            // Relaxed: the count orders nothing, the queue does.
            match self.fill.0.compare_exchange_weak(
                seen,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Gives back what was reserved, and what was taken out.
    pub(crate) fn give_back(&self, items: usize, bytes: usize) {
        let before = Fill(self.fill.0.fetch_sub(Fill::new(items, bytes).0, Ordering::Release));
        assert!(before.items() >= items && before.bytes() >= bytes, "more taken than pushed");
    }
}
