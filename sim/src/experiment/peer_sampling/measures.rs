//! The runs, each with what is measured of it.

use peer::Rng;

use super::super::overlay::{Setting, Start, pareto};
use crate::dice::{Dice, rng};
use crate::graph::{Graph, Paths, correlation, power_law, spanning_tree_cost};
use crate::machines::latency;
use crate::stats::{Estimate, quantile};

/// Nodes that clustering and paths are measured at.
const SAMPLE: usize = 100;

/// The graph after a start at random.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) degree_mean: f64,
    pub(super) degree_sd: f64,
    pub(super) degree_max: f64,
    /// Nodes that nobody lists.
    pub(super) unknown: f64,
    pub(super) clustering: f64,
    /// That of a random graph with as many links.
    pub(super) random_clustering: f64,
    pub(super) paths: Paths,
    pub(super) giant: f64,
    /// Latencies of all links over those of the cheapest tree.
    pub(super) tree_ratio: f64,
    /// Rounds of push-pull over the overlay until 99 in 100 nodes know.
    pub(super) rounds: f64,
    /// The same where everybody calls anybody.
    pub(super) rounds_uniform: f64,
    /// Messages of a node in a cycle.
    pub(super) messages: f64,
}

pub(super) fn shape(setting: &Setting, nodes: usize, cycles: u32, seed: u64) -> Shape {
    let mut crowd = setting.crowd(nodes, Start::Random, None, seed);
    crowd.cycles(f64::from(cycles / 2));
    let before = crowd.sent();
    crowd.cycles(f64::from(cycles - cycles / 2));
    let messages = (crowd.sent() - before) as f64 / nodes as f64;
    let mut dice = rng(seed).fork("measures");
    let views = crowd.views();
    let graph = crowd.graph();
    let degrees = graph.in_degrees();
    let mean = degrees.iter().sum::<f64>() / degrees.len() as f64;
    let squares: f64 = degrees.iter().map(|degree| (degree - mean).powi(2)).sum();
    let near = 2.0 * graph.links() as f64 / nodes as f64;
    let mut rounds: Vec<f64> = (0..5).map(|_| spread(nodes, Some(&views), &mut dice)).collect();
    let mut uniform: Vec<f64> = (0..5).map(|_| spread(nodes, None, &mut dice)).collect();
    Shape {
        degree_mean: mean,
        degree_sd: (squares / degrees.len() as f64).sqrt(),
        degree_max: degrees.iter().copied().fold(0.0, f64::max),
        unknown: degrees.iter().filter(|degree| **degree == 0.0).count() as f64,
        clustering: graph.clustering(SAMPLE, &mut dice),
        random_clustering: near / (nodes - 1) as f64,
        paths: graph.paths(SAMPLE, &mut dice),
        giant: graph.giant(),
        tree_ratio: tree_ratio(&graph, &crowd.plane()),
        rounds: quantile(&mut rounds, 0.5),
        rounds_uniform: quantile(&mut uniform, 0.5),
        messages: messages / f64::from(cycles - cycles / 2),
    }
}

fn tree_ratio(graph: &Graph, plane: &[[f32; 2]]) -> f64 {
    let cost = |one: usize, other: usize| latency(plane[one], plane[other]).as_secs_f64();
    let ends = graph.undirected().iter().enumerate();
    let twice: f64 = ends
        .map(|(node, near)| near.iter().map(|other| cost(node, *other as usize)).sum::<f64>())
        .sum();
    twice / 2.0 / spanning_tree_cost(plane.len(), cost)
}

/// Rounds of push-pull, one call a node a round, until 99 in 100 know; callers draw from their
/// views or, without such, from all. A hundred rounds stand for never.
fn spread(nodes: usize, views: Option<&[Vec<u32>]>, dice: &mut Rng) -> f64 {
    let mut knows = vec![false; nodes];
    knows[dice.below(nodes as u64) as usize] = true;
    for round in 1..=100 {
        let before = knows.clone();
        for caller in 0..nodes {
            let called = match views {
                Some(views) => dice.pick(&views[caller]).map(|called| *called as usize),
                None => Some(dice.below(nodes as u64) as usize),
            };
            let Some(called) = called else { continue };
            if before[caller] || before[called] {
                knows[caller] = true;
                knows[called] = true;
            }
        }
        if knows.iter().filter(|knows| **knows).count() * 100 >= 99 * nodes {
            return f64::from(round);
        }
    }
    100.0
}

/// Cycles until nobody is listed by more than four times the places of a view, from a start where
/// all know one node. `None`: it does not come to that.
pub(super) fn star(setting: &Setting, nodes: usize, cycles: u32, seed: u64) -> Option<u32> {
    let mut crowd = setting.crowd(nodes, Start::Star, None, seed);
    let most = 4.0 * setting.places() as f64;
    (1..=cycles).find(|_| {
        crowd.cycles(1.0);
        let graph = crowd.graph();
        // An overlay without links has not escaped, but not begun.
        graph.entries() > nodes && graph.in_degrees().into_iter().fold(0.0, f64::max) <= most
    })
}

/// How places are shared out among nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sizes {
    /// Each number between 5 and 50 as likely as any other.
    Uniform,
    /// A power law with the exponent 2.5, from 5 to 300.
    Pareto,
}

impl Sizes {
    pub(super) const EACH: [Self; 2] = [Self::Uniform, Self::Pareto];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform 5-50",
            Self::Pareto => "power law 5-300",
        }
    }

    fn draw(self, nodes: usize, dice: &mut Rng) -> Vec<usize> {
        match self {
            Self::Uniform => (0..nodes).map(|_| 5 + dice.below(46) as usize).collect(),
            // An active view has at most 256 places, and no view more than there are nodes.
            Self::Pareto => pareto(nodes, 2.5, 5.0, 256.0_f64.min(nodes as f64 / 4.0), dice),
        }
    }
}

/// A graph of unequal lists.
#[derive(Clone, Debug)]
pub(super) struct Sized {
    /// Between a node's places and how many list it.
    pub(super) correlation: f64,
    /// Of the density of in-degrees, with the interval that the estimator has itself.
    pub(super) exponent: Estimate,
    pub(super) sizes_exponent: f64,
    pub(super) max_over_mean: f64,
    pub(super) degrees: Vec<f64>,
}

pub(super) fn sized(
    setting: &Setting,
    sizes: Sizes,
    nodes: usize,
    cycles: u32,
    seed: u64,
) -> Sized {
    let drawn = sizes.draw(nodes, &mut rng(seed).fork("sizes"));
    let mut crowd = setting.crowd(nodes, Start::Random, Some(&drawn), seed);
    crowd.cycles(f64::from(cycles));
    let degrees = crowd.graph().in_degrees();
    let drawn: Vec<f64> = drawn.into_iter().map(|size| size as f64).collect();
    let pairs: Vec<(f64, f64)> = drawn.iter().copied().zip(degrees.iter().copied()).collect();
    let nothing = Estimate { mean: f64::NAN, margin: None };
    let mean = degrees.iter().sum::<f64>() / nodes as f64;
    Sized {
        correlation: correlation(&pairs),
        exponent: power_law(&degrees).unwrap_or(nothing),
        sizes_exponent: power_law(&drawn).unwrap_or(nothing).mean,
        max_over_mean: degrees.iter().copied().fold(0.0, f64::max) / mean,
        degrees,
    }
}

/// Whether links come to follow who talks with whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    /// Over all pairs: how much they talk, and the share of the time that they are linked.
    pub(super) correlation: f64,
    /// Share of all pairs that are linked.
    pub(super) linked: f64,
    /// The same of the hundred that talk most.
    pub(super) busiest_linked: f64,
}

/// Messages that a node sends and receives in a cycle beside those of the overlay.
const TALK: usize = 10;

pub(super) fn followed(setting: &Setting, nodes: usize, cycles: u32, seed: u64) -> Followed {
    let mut dice = rng(seed).fork("talk");
    let mut pairs: Vec<(usize, usize)> =
        (0..nodes).flat_map(|one| (one + 1..nodes).map(move |other| (one, other))).collect();
    dice.shuffle(&mut pairs);
    let mut sum = 0.0;
    let shares: Vec<f64> = (1..=pairs.len())
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut crowd = setting.crowd(nodes, Start::Random, None, seed);
    let mut linked = vec![0.0; pairs.len()];
    let measured = cycles / 3;
    for cycle in 0..cycles {
        for part in 0..10 {
            for _ in 0..(nodes * TALK / 10) {
                let place = shares.partition_point(|share| *share < dice.unit() * sum);
                let (one, other) = pairs[place.min(pairs.len() - 1)];
                let (one, other) = if part % 2 == 0 { (one, other) } else { (other, one) };
                crowd.contact(one, other);
            }
            crowd.cycles(0.1);
        }
        if cycle + measured < cycles {
            continue;
        }
        let graph = crowd.graph();
        let both = graph.undirected();
        for (place, (one, other)) in pairs.iter().enumerate() {
            if both[*one].binary_search(&(*other as u32)).is_ok() {
                linked[place] += 1.0 / f64::from(measured);
            }
        }
    }
    let rates = (1..=pairs.len()).map(|rank| 1.0 / rank as f64);
    let both: Vec<(f64, f64)> = rates.zip(linked.iter().copied()).collect();
    let mean = |linked: &[f64]| linked.iter().sum::<f64>() / linked.len().max(1) as f64;
    Followed {
        correlation: correlation(&both),
        linked: mean(&linked),
        busiest_linked: mean(&linked[..linked.len().min(100)]),
    }
}

/// An overlay beside a full mesh of as many nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mesh {
    pub(super) nodes: usize,
    /// Links of the overlay.
    pub(super) links: u64,
    /// Hops to the farthest.
    pub(super) longest: u32,
}

impl Mesh {
    /// Links of a full mesh.
    pub(super) const fn full_links(&self) -> u64 {
        self.nodes as u64 * (self.nodes as u64 - 1) / 2
    }

    /// Messages of one broadcast by each node, passed on over all links but the one it came by.
    pub(super) const fn flooded(&self) -> u64 {
        self.nodes as u64 * (2 * self.links + 1).saturating_sub(self.nodes as u64)
    }

    /// The same along a tree; as many as in a full mesh, where the source sends to all.
    pub(super) const fn by_trees(&self) -> u64 {
        self.nodes as u64 * (self.nodes as u64 - 1)
    }
}

pub(super) fn mesh(nodes: usize, seed: u64) -> Mesh {
    let mut crowd = Setting::named("plain").crowd(nodes, Start::Random, None, seed);
    crowd.cycles(30.0);
    let graph = crowd.graph();
    let longest = graph.paths(SAMPLE, &mut rng(seed).fork("mesh")).longest;
    Mesh { nodes, links: graph.links() as u64, longest }
}
