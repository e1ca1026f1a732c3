//! Measures of a graph: who is known by how many, how far apart, in how many pieces.
//!
//! Asked by the experiments about overlays. A [`Graph`] has the nodes that live, each with those it
//! lists; an entry that points to a dead node is counted and left out. Invariant: what is measured
//! on a sample is drawn from a generator that the caller brings.

use std::collections::VecDeque;

use peer::Rng;

use crate::stats::Estimate;

/// Nodes by number, and whom each lists.
#[derive(Clone, Debug)]
pub struct Graph {
    out: Vec<Vec<u32>>,
    /// The same without directions, sorted, nobody twice.
    both: Vec<Vec<u32>>,
    alive: Vec<u32>,
    /// Entries that point to the dead.
    dead_entries: usize,
}

/// Distances between the nodes of a sample and all that they reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Paths {
    /// The mean.
    pub mean: f64,
    /// The largest that was met.
    pub longest: u32,
}

impl Graph {
    /// Of these lists, among the nodes that live.
    pub fn new(mut out: Vec<Vec<u32>>, lives: impl Fn(usize) -> bool) -> Self {
        let alive: Vec<u32> = (0..out.len() as u32).filter(|node| lives(*node as usize)).collect();
        let mut dead_entries = 0;
        let mut both = vec![Vec::new(); out.len()];
        for (node, list) in out.iter_mut().enumerate() {
            if !lives(node) {
                list.clear();
            }
            let before = list.len();
            list.retain(|other| lives(*other as usize));
            dead_entries += before - list.len();
            for other in list {
                both[node].push(*other);
                both[*other as usize].push(node as u32);
            }
        }
        for list in &mut both {
            list.sort_unstable();
            list.dedup();
        }
        Self { out, both, alive, dead_entries }
    }

    /// Nodes that live.
    #[must_use]
    pub fn alive(&self) -> &[u32] {
        &self.alive
    }

    /// Whom each node has a link with, in either direction.
    #[must_use]
    pub fn undirected(&self) -> &[Vec<u32>] {
        &self.both
    }

    /// Share of all entries that point to the dead.
    #[must_use]
    pub fn dead_share(&self) -> f64 {
        let entries = self.entries() + self.dead_entries;
        self.dead_entries as f64 / entries.max(1) as f64
    }

    /// Entries that point to the living.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.out.iter().map(Vec::len).sum()
    }

    /// For each node that lives, how many list it.
    #[must_use]
    pub fn in_degrees(&self) -> Vec<f64> {
        let mut degrees = vec![0_u32; self.out.len()];
        self.out.iter().flatten().for_each(|other| degrees[*other as usize] += 1);
        self.alive.iter().map(|node| f64::from(degrees[*node as usize])).collect()
    }

    /// Links between two nodes, counted once.
    #[must_use]
    pub fn links(&self) -> usize {
        self.both.iter().map(Vec::len).sum::<usize>() / 2
    }

    /// Of the pairs of neighbours of a node, how many are linked: the mean over `sample` nodes.
    #[must_use]
    pub fn clustering(&self, sample: usize, rng: &mut Rng) -> f64 {
        let nodes = self.sample(sample, rng);
        let of = |node: &u32| {
            let near = &self.both[*node as usize];
            let pairs = near.len() * near.len().saturating_sub(1) / 2;
            let linked: usize = near
                .iter()
                .map(|one| {
                    let theirs = &self.both[*one as usize];
                    let later = near.iter().filter(|other| *other > one);
                    later.filter(|other| theirs.binary_search(other).is_ok()).count()
                })
                .sum();
            if pairs == 0 { 0.0 } else { linked as f64 / pairs as f64 }
        };
        nodes.iter().map(of).sum::<f64>() / nodes.len().max(1) as f64
    }

    /// Distances from `sample` nodes, in hops.
    #[must_use]
    pub fn paths(&self, sample: usize, rng: &mut Rng) -> Paths {
        let (mut sum, mut count, mut longest) = (0_u64, 0_u64, 0);
        for source in self.sample(sample, rng) {
            for hops in self.distances(source).into_iter().filter(|hops| *hops != u32::MAX) {
                sum += u64::from(hops);
                count += u64::from(hops > 0);
                longest = longest.max(hops);
            }
        }
        Paths { mean: sum as f64 / count.max(1) as f64, longest }
    }

    /// Share of the living that the largest piece has.
    #[must_use]
    pub fn giant(&self) -> f64 {
        let sizes = self.components();
        f64::from(sizes.first().copied().unwrap_or(0)) / self.alive.len().max(1) as f64
    }

    /// Sizes of the pieces, the largest first.
    #[must_use]
    pub fn components(&self) -> Vec<u32> {
        let mut seen = vec![false; self.both.len()];
        let mut sizes = Vec::new();
        let mut stack = Vec::new();
        for node in &self.alive {
            if seen[*node as usize] {
                continue;
            }
            seen[*node as usize] = true;
            stack.push(*node);
            let mut size = 0;
            while let Some(node) = stack.pop() {
                size += 1;
                for other in &self.both[node as usize] {
                    if !std::mem::replace(&mut seen[*other as usize], true) {
                        stack.push(*other);
                    }
                }
            }
            sizes.push(size);
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    fn distances(&self, source: u32) -> Vec<u32> {
        let mut hops = vec![u32::MAX; self.both.len()];
        hops[source as usize] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for other in &self.both[node as usize] {
                if hops[*other as usize] == u32::MAX {
                    hops[*other as usize] = hops[node as usize] + 1;
                    queue.push_back(*other);
                }
            }
        }
        hops
    }

    fn sample(&self, count: usize, rng: &mut Rng) -> Vec<u32> {
        if count >= self.alive.len() {
            return self.alive.clone();
        }
        (0..count).filter_map(|_| rng.pick(&self.alive).copied()).collect()
    }
}

/// The exponent of a power law by Hill's estimator on the largest tenth of the figures, as that of
/// the density (2 to 3 where networks are said to have hubs), with its 95 % interval. Figures are
/// counts: the least of the tail is lowered by a half, as Clauset et al. 2009 have it.
#[must_use]
pub fn power_law(figures: &[f64]) -> Option<Estimate> {
    let mut sorted: Vec<f64> = figures.iter().copied().filter(|figure| *figure >= 1.0).collect();
    sorted.sort_unstable_by(|a, b| f64::total_cmp(b, a));
    let least = *sorted.get(sorted.len() / 10)? - 0.5;
    let tail: Vec<f64> = sorted.into_iter().take_while(|figure| *figure > least).collect();
    let count = tail.len() as f64;
    let logs: f64 = tail.iter().map(|figure| (figure / least).ln()).sum();
    let index = count / logs;
    let margin = Some(1.96 * index / count.sqrt());
    (tail.len() >= 10).then_some(Estimate { mean: 1.0 + index, margin })
}

/// How much two figures go together: Pearson's, 0 where one never changes.
#[must_use]
pub fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len().max(1) as f64;
    let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (x, y) = (x - mean_x, y - mean_y);
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    if xx * yy == 0.0 { 0.0 } else { xy / (xx * yy).sqrt() }
}

/// What the cheapest tree that holds all nodes together costs. Prim 1957, in the square of their
/// number.
pub fn spanning_tree_cost(nodes: usize, cost: impl Fn(usize, usize) -> f64) -> f64 {
    let mut nearest = vec![f64::INFINITY; nodes];
    let mut inside = vec![false; nodes];
    let (mut node, mut total) = (0, 0.0);
    for _ in 1..nodes {
        inside[node] = true;
        let mut next = (f64::INFINITY, node);
        for other in 0..nodes {
            if !inside[other] {
                nearest[other] = nearest[other].min(cost(node, other));
                if nearest[other] < next.0 {
                    next = (nearest[other], other);
                }
            }
        }
        total += next.0;
        node = next.1;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::{Dice, rng};

    fn ring(count: u32) -> Graph {
        let out = (0..count).map(|node| vec![(node + 1) % count]).collect();
        Graph::new(out, |_| true)
    }

    #[test]
    fn a_ring_is_measured_as_one() {
        let ring = ring(10);
        let paths = ring.paths(100, &mut rng(1));
        assert_eq!(paths.longest, 5);
        // 2 (1 + 2 + 3 + 4) + 5 over 9 others.
        assert!((paths.mean - 25.0 / 9.0).abs() < 1e-9);
        assert_eq!((ring.giant(), ring.links(), ring.entries()), (1.0, 10, 10));
        assert_eq!(ring.clustering(100, &mut rng(1)), 0.0);
        assert_eq!(ring.in_degrees(), [1.0; 10]);
    }

    #[test]
    fn a_triangle_is_a_cluster() {
        let triangle = Graph::new(vec![vec![1], vec![2], vec![0], vec![0]], |_| true);
        let mean = triangle.clustering(9, &mut rng(1));
        // Of the three neighbours of node 0 one pair is linked.
        assert!((mean - (1.0 / 3.0 + 1.0 + 1.0) / 4.0).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn the_dead_are_counted_and_left_out() {
        let graph = Graph::new(vec![vec![1, 2], vec![], vec![3], vec![]], |node| node != 2);
        assert_eq!(graph.dead_share(), 0.5);
        assert_eq!(graph.components(), [2, 1]);
        assert_eq!(graph.alive(), [0, 1, 3]);
    }

    #[test]
    fn a_drawn_power_law_is_found_again() {
        let mut dice = rng(5);
        for exponent in [2.2, 3.0] {
            let draw = |_| (10.0 * (1.0 - dice.unit()).powf(-1.0 / (exponent - 1.0))).round();
            let figures: Vec<f64> = (0..20_000).map(draw).collect();
            let found = power_law(&figures).unwrap();
            let (low, high) = found.drawn();
            assert!(low < exponent && exponent < high, "{exponent}: {found:?}");
        }
        let equal = power_law(&[20.0; 1_000]).unwrap();
        assert!(equal.mean > 30.0, "no tail has a large exponent: {equal:?}");
    }

    #[test]
    fn what_goes_together_correlates() {
        let line: Vec<(f64, f64)> = (0..9).map(f64::from).map(|x| (x, 3.0 - x)).collect();
        assert!((correlation(&line) + 1.0).abs() < 1e-9);
        assert_eq!(correlation(&[(1.0, 2.0), (1.0, 3.0)]), 0.0);
    }

    #[test]
    fn the_tree_of_a_line_is_the_line() {
        let cost = |a: usize, b: usize| (a as f64 * a as f64 - b as f64 * b as f64).abs();
        assert_eq!(spanning_tree_cost(5, cost), 16.0);
        assert_eq!(spanning_tree_cost(1, cost), 0.0);
    }
}
