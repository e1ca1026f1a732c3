//! What one link takes, as a run tells it.
//!
//! A message comes to a node from a neighbour that had it over one link less. Where only one
//! neighbour comes into question, the time between the two tellings is what that link took: the
//! sockets, the wait for a processor, and the way of the message through an engine. The mean of
//! these times is all that a simulation takes over of the machine; how many links follow upon each
//! other, which ones, and how often, is its own.

use super::course::{Course, Seen};
use crate::stats::quantile;

/// From so many microseconds on it was no link that took the time: the message was asked for, after
/// a while that Plumtree's rules say.
const ASKED_FOR: f64 = 100_000.0;

/// Fewest links that tell anything.
const SAMPLES_MIN: usize = 20;

/// Times of single links.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Delay {
    /// Microseconds. Some are negative: a listener may be told late of what its engine passed on.
    samples: Vec<f64>,
}

impl Delay {
    /// Those of some runs; `None`: there are too few to tell anything.
    pub(super) fn of<'a>(courses: impl Iterator<Item = &'a Course>) -> Option<Self> {
        let mut samples: Vec<f64> = courses.flat_map(links).collect();
        samples.retain(|us| *us < ASKED_FOR);
        (samples.len() >= SAMPLES_MIN).then_some(Self { samples })
    }

    /// How many links.
    pub(super) const fn count(&self) -> usize {
        self.samples.len()
    }

    /// Microseconds, mean.
    pub(super) fn mean(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.samples.len() as f64
    }

    /// Microseconds that this share of the links took at most.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        quantile(&mut self.samples.clone(), share)
    }
}

fn links(course: &Course) -> Vec<f64> {
    let mut seen: Vec<&Seen> = course.seen.iter().collect();
    seen.sort_by_key(|seen| (seen.node, seen.us));
    let mut links = Vec::new();
    for (published, heard) in course.published.iter().zip(&course.heard) {
        for (node, one) in heard.iter().enumerate() {
            let Some((us, hops)) = one.and_then(|one| Some((one.us, one.hops?))) else { continue };
            let Some(sight) = sight(&seen, node, us) else { continue };
            let had_at = |other: &usize| match heard[*other] {
                _ if hops == 1 => (*other == published.node).then_some(published.us),
                Some(had) if had.hops == Some(hops - 1) => Some(had.us),
                _ => None,
            };
            let mut came = sight.alive.iter().filter_map(had_at);
            if let (Some(had_at), None) = (came.next(), came.next()) {
                links.push(us as f64 - had_at as f64);
            }
        }
    }
    links
}

/// The last sight of a node before an instant, or the first after.
fn sight<'a>(seen: &[&'a Seen], node: usize, us: u64) -> Option<&'a Seen> {
    let place = seen.partition_point(|seen| (seen.node, seen.us) <= (node, us));
    let near = [place.checked_sub(1), Some(place)].into_iter().flatten();
    let mut near = near.filter_map(|place| seen.get(place).copied());
    near.find(|seen| seen.node == node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::course::{Heard, Published};

    /// A line of nodes, and one message from its first.
    fn line(nodes: usize) -> Course {
        let heard = |node: usize| Some(Heard { us: 100 * node as u64, hops: Some(node as u16) });
        let sight = |node: usize| {
            let alive = [node.wrapping_sub(1), node + 1];
            let alive = alive.into_iter().filter(|other| *other < nodes).collect();
            Seen { us: 1_000_000, node, alive, ..Seen::default() }
        };
        Course {
            gone: vec![None; nodes],
            published: vec![Published { us: 0, node: 0 }],
            heard: vec![(0..nodes).map(|node| heard(node).filter(|_| node > 0)).collect()],
            new: vec![0; nodes],
            known: vec![0; nodes],
            seen: (0..nodes).map(sight).collect(),
        }
    }

    #[test]
    fn each_link_of_a_line_is_known() {
        let delay = Delay::of([line(30)].iter()).unwrap();
        assert_eq!((delay.count(), delay.mean(), delay.quantile(0.5)), (29, 100.0, 100.0));
    }

    #[test]
    fn who_may_have_it_of_two_tells_nothing_and_few_tell_nothing() {
        let mut course = line(30);
        // Another neighbour over as many links.
        course.heard[0][20] = Some(Heard { us: 600, hops: Some(6) });
        course.seen[7].alive.push(20);
        course.seen[20].alive.clear();
        assert_eq!(Delay::of([&course].into_iter()).unwrap().count(), 26);
        assert_eq!(Delay::of([line(10)].iter()), None);
    }
}
