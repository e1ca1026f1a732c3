//! What is passed on: each piece of news so many times, those told least often first.

use std::collections::{BTreeMap, BTreeSet};

/// News by name, with how often they were told.
#[derive(Debug)]
pub(super) struct Hearsay<K> {
    order: BTreeSet<(Place, K)>,
    places: BTreeMap<K, Place>,
    made: u64,
}

/// Told so often; among equals the newest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    told: u32,
    age: std::cmp::Reverse<u64>,
}

impl<K: Copy + Ord> Hearsay<K> {
    pub(super) const fn new() -> Self {
        Self { order: BTreeSet::new(), places: BTreeMap::new(), made: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// New, or to be told anew.
    pub(super) fn add(&mut self, name: K) {
        self.remove(&name);
        self.made += 1;
        let place = Place { told: 0, age: std::cmp::Reverse(self.made) };
        self.places.insert(name, place);
        self.order.insert((place, name));
    }

    /// To be told no more.
    pub(super) fn remove(&mut self, name: &K) {
        if let Some(place) = self.places.remove(name) {
            self.order.remove(&(place, *name));
        }
    }

    /// Offers the news in their order; what is taken counts as told once more, and what was told so
    /// often is forgotten.
    pub(super) fn tell(&mut self, times: u32, mut take: impl FnMut(K) -> Take) {
        let mut taken = Vec::new();
        for (place, name) in &self.order {
            match take(*name) {
                Take::Told => taken.push((*place, *name)),
                Take::Passed => {}
                Take::Full => break,
            }
        }
        for (place, name) in taken {
            self.order.remove(&(place, name));
            let place = Place { told: place.told + 1, ..place };
            if place.told >= times {
                self.places.remove(&name);
            } else {
                self.places.insert(name, place);
                self.order.insert((place, name));
            }
        }
    }
}

/// What became of a piece of news that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Take {
    /// It is on its way.
    Told,
    /// Not this one.
    Passed,
    /// Neither this one nor any other.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many at a time.
    fn told(hearsay: &mut Hearsay<u8>, times: u32, count: usize) -> Vec<u8> {
        let mut names = Vec::new();
        hearsay.tell(times, |name| {
            if names.len() == count {
                return Take::Full;
            }
            names.push(name);
            Take::Told
        });
        names
    }

    #[test]
    fn the_newest_of_those_told_least_goes_first_and_each_so_many_times() {
        let mut hearsay = Hearsay::new();
        [1, 2, 3].into_iter().for_each(|name| hearsay.add(name));
        assert_eq!(told(&mut hearsay, 2, 2), [3, 2]);
        assert_eq!(told(&mut hearsay, 2, 2), [1, 3]);
        hearsay.add(4);
        hearsay.add(2); // told anew
        assert_eq!(told(&mut hearsay, 2, 9), [2, 4, 1]);
        assert_eq!(told(&mut hearsay, 2, 9), [2, 4]);
        assert!(hearsay.is_empty() && hearsay.places.is_empty());
    }

    #[test]
    fn what_is_passed_over_keeps_its_place() {
        let mut hearsay = Hearsay::new();
        [1, 2].into_iter().for_each(|name| hearsay.add(name));
        hearsay.tell(1, |name| if name == 2 { Take::Passed } else { Take::Told });
        assert_eq!(told(&mut hearsay, 1, 9), [2]);
    }
}
