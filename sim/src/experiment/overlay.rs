//! What the experiments about overlays have in common: which overlays are compared, and how a crowd
//! of each begins.

use std::time::Duration;

use peer::overlay::{HyParView, HyParViewRules, Keep, Sampling, SamplingRules};
use peer::{Locality, Rng};

use crate::dice::{Dice, rng};
use crate::graph::Graph;
use crate::machines::{Addresses, Crowd, Machine};

/// One period of every machine here, in which a node begins one exchange or shuffle.
pub(crate) const CYCLE: Duration = Duration::from_secs(10);

/// Contacts that a node begins with, where it does not begin at a single one.
const CONTACTS: usize = 20;

/// An overlay that is compared with others.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) rules: Rules,
}

/// Which machine it is of.
#[derive(Clone, Debug)]
pub(crate) enum Rules {
    Sampling(SamplingRules),
    HyParView(HyParViewRules),
}

/// Whom nodes know when they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// Others at random.
    Random,
    /// The first node only.
    Star,
}

/// A crowd of any machine.
pub(crate) trait Overlay {
    fn cycles(&mut self, count: f64);
    fn views(&self) -> Vec<Vec<u32>>;
    fn graph(&self) -> Graph;
    fn kill(&mut self, nodes: &[usize]);
    fn split(&mut self, side: &dyn Fn(usize) -> u8);
    fn contact(&mut self, from: usize, to: usize);
    fn plane(&self) -> Vec<[f32; 2]>;
    fn sent(&self) -> u64;
}

impl<M: Machine> Overlay for Crowd<M> {
    fn cycles(&mut self, count: f64) {
        self.run(CYCLE.mul_f64(count));
    }

    fn views(&self) -> Vec<Vec<u32>> {
        Self::views(self)
    }

    fn graph(&self) -> Graph {
        Graph::new(Self::views(self), |node| self.is_alive(node))
    }

    fn kill(&mut self, nodes: &[usize]) {
        Self::kill(self, nodes);
    }

    fn split(&mut self, side: &dyn Fn(usize) -> u8) {
        Self::split(self, side);
    }

    fn contact(&mut self, from: usize, to: usize) {
        Self::contact(self, from, to);
    }

    fn plane(&self) -> Vec<[f32; 2]> {
        Self::plane(self)
    }

    fn sent(&self) -> u64 {
        Self::sent(self)
    }
}

impl Setting {
    pub(crate) fn sampling(name: &'static str, rules: SamplingRules) -> Self {
        let rules = SamplingRules { locality: Locality::Local, ..rules };
        Self { name, rules: Rules::Sampling(rules) }
    }

    pub(crate) fn hyparview(name: &'static str, samplers: usize) -> Self {
        let rules = HyParViewRules { shuffle_period: CYCLE, samplers, ..hyparview_local(5) };
        Self { name, rules: Rules::HyParView(rules) }
    }

    /// The plain idea in its readings, and what it is measured by.
    pub(crate) fn all() -> Vec<Self> {
        let plain = SamplingRules::plain;
        vec![
            Self::sampling("plain", plain()),
            Self::sampling("plain-stalest", SamplingRules { keep: Keep::Stalest, ..plain() }),
            Self::sampling("one-way", SamplingRules::one_way()),
            Self::sampling("one-heartbeat", SamplingRules::one_heartbeat()),
            Self::sampling("newscast", SamplingRules::newscast()),
            Self::sampling("cyclon", SamplingRules::cyclon()),
            Self::hyparview("hyparview", 0),
            Self::hyparview("hyparview+8", 8),
        ]
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Self {
        let found = Self::all().into_iter().find(|setting| setting.name == name);
        found.expect("settings are asked for by their names")
    }

    /// The same with samplers beside the view.
    pub(crate) fn with_samplers(self, name: &'static str, count: usize) -> Self {
        let rules = match self.rules {
            Rules::Sampling(rules) => Rules::Sampling(rules.with_samplers(count)),
            Rules::HyParView(rules) => {
                Rules::HyParView(HyParViewRules { samplers: count, ..rules })
            }
        };
        Self { name, rules }
    }

    /// Places of a node's view.
    pub(crate) fn places(&self) -> usize {
        match &self.rules {
            Rules::Sampling(rules) => rules.view,
            Rules::HyParView(rules) => rules.active_max,
        }
    }

    /// A crowd of so many nodes that has begun; with views of these sizes, if there are such.
    pub(crate) fn crowd(
        &self,
        nodes: usize,
        start: Start,
        sizes: Option<&[usize]>,
        seed: u64,
    ) -> Box<dyn Overlay> {
        let dice = rng(seed);
        let addresses = Addresses::honest();
        let place = |node: usize| sizes.map(|sizes| sizes[node]);
        let own = |node: usize| (addresses.of(node), rng_of(&dice, node));
        match &self.rules {
            Rules::Sampling(rules) => {
                let make = |node: usize| {
                    let (addr, rng) = own(node);
                    let view = place(node).unwrap_or(rules.view);
                    Sampling::new(rules.clone().with_view(view), addr, rng)
                };
                Box::new(begin(nodes, addresses, start, &dice, make))
            }
            Rules::HyParView(rules) => {
                let make = |node: usize| {
                    let (addr, rng) = own(node);
                    let sized = place(node).map_or(*rules, |active_max| {
                        let HyParViewRules { shuffle_period, samplers, .. } = *rules;
                        HyParViewRules { shuffle_period, samplers, ..hyparview_local(active_max) }
                    });
                    HyParView::new(sized, addr, rng)
                };
                Box::new(begin(nodes, addresses, start, &dice, make))
            }
        }
    }
}

fn hyparview_local(active_max: usize) -> HyParViewRules {
    HyParViewRules { locality: Locality::Local, ..HyParViewRules::sized(active_max) }
}

/// A node's own generator.
pub(crate) fn rng_of(dice: &Rng, node: usize) -> Rng {
    dice.fork(&format!("node {node}"))
}

/// All nodes begin, one after the other, within two cycles.
fn begin<M: Machine>(
    nodes: usize,
    addresses: Addresses,
    start: Start,
    dice: &Rng,
    make: impl Fn(usize) -> M,
) -> Crowd<M> {
    let mut crowd = Crowd::new(addresses, dice.fork("crowd"));
    let mut draws = dice.fork("contacts");
    let wait = 2 * CYCLE / nodes as u32;
    for node in 0..nodes {
        // Whoever dials can only know who is there.
        let known = if M::CONNECTS { node } else { nodes };
        let contacts: Vec<usize> = match start {
            Start::Star => vec![0],
            Start::Random if M::CONNECTS => {
                (0..known.min(1)).map(|_| draws.below(known as u64) as usize).collect()
            }
            Start::Random => (0..CONTACTS).map(|_| draws.below(known as u64) as usize).collect(),
        };
        crowd.add(make(node), &contacts);
        if M::CONNECTS {
            crowd.run(wait);
        }
    }
    crowd
}

/// List sizes from a power law with this density exponent, between the two.
pub(crate) fn pareto(
    count: usize,
    exponent: f64,
    least: f64,
    most: f64,
    dice: &mut Rng,
) -> Vec<usize> {
    let index = exponent - 1.0;
    let cut = (least / most).powf(index);
    let draw = |_| {
        let share = 1.0 - dice.unit() * (1.0 - cut);
        (least * share.powf(-1.0 / index)).round() as usize
    };
    (0..count).map(draw).collect()
}

/// The first of so many nodes in a random order.
pub(crate) fn some_of(nodes: usize, count: usize, dice: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..nodes).collect();
    dice.shuffle(&mut order);
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_overlay() {
        for setting in Setting::all() {
            let views = || {
                let mut crowd = setting.crowd(60, Start::Random, None, 7);
                crowd.cycles(5.0);
                (crowd.views(), crowd.sent())
            };
            assert_eq!(views(), views(), "{}", setting.name);
        }
    }

    #[test]
    fn every_overlay_holds_a_hundred_nodes_together_and_forgets_the_dead() {
        for setting in Setting::all() {
            let mut crowd = setting.crowd(100, Start::Random, None, 3);
            crowd.cycles(20.0);
            let graph = crowd.graph();
            assert!(graph.giant() > 0.9, "{}: {:?}", setting.name, graph.components());
            crowd.kill(&(0..20).collect::<Vec<_>>());
            crowd.cycles(60.0);
            let dead = crowd.graph().dead_share();
            // Who keeps the stalest of those that answer has no dead either.
            assert!(dead < 0.02, "{}: {dead}", setting.name);
        }
    }

    #[test]
    fn two_way_links_are_listed_by_both_ends() {
        for setting in ["plain", "plain-stalest", "hyparview", "hyparview+8"].map(Setting::named) {
            let mut crowd = setting.crowd(100, Start::Random, None, 4);
            crowd.cycles(20.0);
            let views = crowd.views();
            let (mut links, mut halves) = (0, 0);
            for (node, view) in views.iter().enumerate() {
                links += view.len();
                let half = |other: &&u32| !views[**other as usize].contains(&(node as u32));
                halves += view.iter().filter(half).count();
            }
            assert!(halves * 10 <= links, "{}: {halves} of {links}", setting.name);
        }
    }

    #[test]
    fn drawn_sizes_keep_their_bounds_and_have_their_exponent() {
        let sizes = pareto(20_000, 2.5, 5.0, 300.0, &mut rng(1));
        assert!(sizes.iter().all(|size| (5..=300).contains(size)));
        let figures: Vec<f64> = sizes.iter().map(|size| *size as f64).collect();
        let found = crate::graph::power_law(&figures).unwrap();
        // The cut at 300 makes the tail a little thinner.
        assert!((2.3..2.9).contains(&found.mean), "{found:?}");
    }
}
