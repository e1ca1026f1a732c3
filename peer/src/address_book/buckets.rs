//! One table of the book: buckets of places, each empty or with the id of one entry.
//!
//! Invariant: a bucket's count is the number of its places in use.

use std::num::NonZeroU32;

use crate::rng::Rng;

/// A place of a table, counted through all buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

impl Place {
    pub(super) const fn new(index: u32) -> Self {
        Self(index)
    }
}

pub(super) struct Buckets {
    /// Ids plus one: zeroed memory, which costs nothing until it is used.
    cells: Vec<Option<NonZeroU32>>,
    /// Places in use, for each bucket.
    filled: Vec<u16>,
    /// Buckets with a place in use.
    busy: usize,
    used: usize,
    bucket_places: usize,
}

impl Buckets {
    pub(super) fn new(buckets: u32, bucket_places: u32) -> Self {
        let (buckets, bucket_places) = (buckets as usize, bucket_places as usize);
        Self {
            cells: vec![None; buckets * bucket_places],
            filled: vec![0; buckets],
            busy: 0,
            used: 0,
            bucket_places,
        }
    }

    pub(super) fn get(&self, place: Place) -> Option<usize> {
        self.cells[place.0 as usize].map(id)
    }

    /// Puts an entry into an empty place.
    pub(super) fn put(&mut self, place: Place, id: usize) {
        let cell = &mut self.cells[place.0 as usize];
        assert!(cell.is_none(), "a place holds one entry");
        *cell = NonZeroU32::new(id as u32 + 1);
        let filled = &mut self.filled[place.0 as usize / self.bucket_places];
        self.busy += usize::from(*filled == 0);
        *filled += 1;
        self.used += 1;
    }

    /// Empties a place in use.
    pub(super) fn clear(&mut self, place: Place) {
        let cell = &mut self.cells[place.0 as usize];
        assert!(cell.is_some(), "only what is there can be taken away");
        *cell = None;
        let filled = &mut self.filled[place.0 as usize / self.bucket_places];
        *filled -= 1;
        self.busy -= usize::from(*filled == 0);
        self.used -= 1;
    }

    /// Places in use.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// One entry of one bucket in use, either chosen evenly. Why not evenly among all entries: who
    /// reaches few buckets gains nothing by filling them to the brim.
    pub(super) fn random(&self, rng: &mut Rng) -> Option<usize> {
        if self.busy == 0 {
            return None;
        }
        let nth = rng.below(self.busy as u64) as usize;
        let busy = self.filled.iter().enumerate().filter(|(_, filled)| **filled > 0);
        let (bucket, filled) = busy.clone().nth(nth)?;
        let nth = rng.below(u64::from(*filled)) as usize;
        let cells = &self.cells[bucket * self.bucket_places..][..self.bucket_places];
        cells.iter().flatten().nth(nth).copied().map(id)
    }

    /// The entries of all places, once around from a random one.
    pub(super) fn around(&self, rng: &mut Rng) -> impl Iterator<Item = usize> {
        let start = rng.below(self.cells.len() as u64) as usize;
        let (before, from) = self.cells.split_at(start);
        from.iter().chain(before).flatten().copied().map(id)
    }

    /// The entries of all places, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, usize)> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(place, cell)| cell.map(|cell| (Place(place as u32), id(cell))))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.cells.as_slice()) + size_of_val(self.filled.as_slice())
    }

    /// That the counts are those of the places.
    pub(super) fn check(&self) {
        let filled = |bucket: &[Option<NonZeroU32>]| bucket.iter().flatten().count() as u16;
        let counts: Vec<u16> = self.cells.chunks(self.bucket_places).map(filled).collect();
        assert_eq!(self.filled, counts);
        assert_eq!(self.busy, counts.iter().filter(|count| **count > 0).count());
        assert_eq!(self.used, counts.iter().map(|count| usize::from(*count)).sum());
    }
}

fn id(cell: NonZeroU32) -> usize {
    cell.get() as usize - 1
}
