//! How a rumour spreads among abstract nodes: in how many rounds, and who is called how often.
//!
//! A model, asked by the experiments `log-or-loglog`, `hubs` and `retransmit-limit`; it has none of
//! the machines of [`peer::overlay`] and [`peer::gossip`]. Rounds are synchronous, a call takes no
//! time, nobody joins or leaves, and a node is a number. What is told in a round is told on in the
//! next. Invariant: the same generator gives the same course.

use peer::Rng;

use crate::dice::Dice;

/// Rounds after which a rumour that does not reach everybody is given up.
pub(crate) const ROUNDS_MAX: u32 = 400;

/// Sources that are tried, until one is in the largest piece. A piece that most nodes are in is
/// missed so often once in a million million runs.
const SOURCES_MAX: u32 = 40;

/// Passes in which links from a node to itself, and second links of a pair, are mended. Two or
/// three do in a large graph; what is left of them in a tiny one does no harm.
const MENDS_MAX: u32 = 200;

/// Datagrams that a node sends in a round, of those that it may send at all. As memberlist does.
const DATAGRAMS: u32 = 3;

/// Whom a node may call.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    /// Any of so many; nothing is stored.
    Complete(u32),
    /// Those that it has a link with.
    Links {
        /// Where the neighbours of each node begin, and where those of the last end.
        starts: Vec<u32>,
        /// All neighbours, node after node.
        ends: Vec<u32>,
    },
}

impl Ground {
    /// Each has links with `degree` others, at random: the stubs are paired, and pairs that would
    /// be no link change an end with another pair.
    pub(crate) fn regular(nodes: u32, degree: u32, dice: &mut Rng) -> Self {
        let mut stubs: Vec<u32> = (0..nodes * degree).map(|stub| stub / degree).collect();
        dice.shuffle(&mut stubs);
        let mut links: Vec<(u32, u32)> =
            stubs.chunks_exact(2).map(|two| (two[0], two[1])).collect();
        for _ in 0..MENDS_MAX {
            for (a, b) in &mut links {
                (*a, *b) = (*a.min(b), *a.max(b));
            }
            links.sort_unstable();
            let wrong: Vec<usize> = (0..links.len())
                .filter(|link| {
                    let (a, b) = links[*link];
                    a == b || *link > 0 && links[link - 1] == (a, b)
                })
                .collect();
            if wrong.is_empty() {
                break;
            }
            for link in wrong {
                let other = dice.below(links.len() as u64) as usize;
                (links[link].1, links[other].1) = (links[other].1, links[link].1);
            }
        }
        Self::of_links(nodes, &links)
    }

    /// A power law of degrees with this density exponent, by Chung and Lu 2002: node `i` of `N`
    /// has the weight `least · (N / i)^(1 / (exponent - 1))`, and two nodes have a link with the
    /// probability of the product of their weights by the sum of all, at most 1. Drawn as by Miller
    /// and Hagberg 2011, in the number of links.
    pub(crate) fn power_law(nodes: u32, exponent: f64, least: f64, dice: &mut Rng) -> Self {
        let power = 1.0 / (exponent - 1.0);
        let weight = |rank: u32| least * (f64::from(nodes) / f64::from(rank + 1)).powf(power);
        let weights: Vec<f64> = (0..nodes).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let mut links = Vec::new();
        for one in 0..nodes {
            let chance =
                |other: u32| (weights[one as usize] * weights[other as usize] / sum).min(1.0);
            let mut other = one + 1;
            let mut at_most = if other < nodes { chance(other) } else { 0.0 };
            while other < nodes {
                if at_most < 1.0 {
                    // So many in a row would have no link, each with the chance of the first.
                    let skipped = (1.0 - dice.unit()).ln() / (-at_most).ln_1p();
                    other = other.saturating_add(skipped as u32);
                }
                if other < nodes {
                    let exact = chance(other);
                    if dice.unit() * at_most < exact {
                        links.push((one, other));
                    }
                    at_most = exact;
                    other += 1;
                }
            }
        }
        Self::of_links(nodes, &links)
    }

    /// Of these links.
    pub(crate) fn of_links(nodes: u32, links: &[(u32, u32)]) -> Self {
        let mut starts = vec![0_u32; nodes as usize + 1];
        for (a, b) in links {
            starts[*a as usize + 1] += 1;
            starts[*b as usize + 1] += 1;
        }
        for node in 0..nodes as usize {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut ends = vec![0; 2 * links.len()];
        let mut put = |node: u32, other: u32| {
            let place = &mut next[node as usize];
            ends[*place as usize] = other;
            *place += 1;
        };
        for (a, b) in links {
            put(*a, *b);
            put(*b, *a);
        }
        Self::Links { starts, ends }
    }

    pub(crate) fn nodes(&self) -> u32 {
        match self {
            Self::Complete(nodes) => *nodes,
            Self::Links { starts, .. } => starts.len() as u32 - 1,
        }
    }

    pub(crate) fn degree(&self, node: u32) -> u32 {
        match self {
            Self::Complete(nodes) => nodes.saturating_sub(1),
            Self::Links { starts, .. } => starts[node as usize + 1] - starts[node as usize],
        }
    }

    /// The neighbour at a place below the degree.
    fn neighbour(&self, node: u32, place: u32) -> u32 {
        match self {
            Self::Complete(_) => place + u32::from(place >= node),
            Self::Links { starts, ends } => ends[(starts[node as usize] + place) as usize],
        }
    }

    /// A node of the largest piece, and how many there are in it.
    fn source(&self, dice: &mut Rng) -> (u32, u32) {
        let mut found = (0, 0);
        for _ in 0..SOURCES_MAX {
            let source = dice.below(u64::from(self.nodes())) as u32;
            let size = self.reached(source);
            if size > found.1 {
                found = (source, size);
            }
            if 2 * u64::from(size) > u64::from(self.nodes()) {
                break;
            }
        }
        found
    }

    /// How many a node can reach, itself among them.
    fn reached(&self, source: u32) -> u32 {
        let Self::Links { starts, ends } = self else { return self.nodes() };
        let mut seen = vec![false; self.nodes() as usize];
        seen[source as usize] = true;
        let (mut stack, mut count) = (vec![source], 0);
        while let Some(node) = stack.pop() {
            count += 1;
            let near = starts[node as usize] as usize..starts[node as usize + 1] as usize;
            for other in &ends[near] {
                if !std::mem::replace(&mut seen[*other as usize], true) {
                    stack.push(*other);
                }
            }
        }
        count
    }
}

/// Who tells whom in a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Who knows calls, and tells.
    pub(crate) push: bool,
    /// Who does not know calls, and asks.
    pub(crate) pull: bool,
    /// Calls that a node makes in a round.
    pub(crate) calls: u32,
    /// Whether a node does not call the one that it called last.
    pub(crate) remembers: bool,
    /// Calls that a node answers in a round, drawn from those that reach it.
    pub(crate) cap: Option<u32>,
}

impl Rules {
    pub(crate) const PUSH: Self = Self { pull: false, ..Self::PUSH_PULL };
    pub(crate) const PULL: Self = Self { push: false, ..Self::PUSH_PULL };
    /// Everybody calls one, and they tell each other.
    pub(crate) const PUSH_PULL: Self =
        Self { push: true, pull: true, calls: 1, remembers: false, cap: None };
}

/// What came of a rumour. Rounds are infinite where [`ROUNDS_MAX`] did not do; shares are of the
/// largest piece.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Course {
    /// Rounds until half of them knew.
    pub(crate) half: f64,
    /// Until 99 in 100 did.
    pub(crate) most: f64,
    /// Until all did.
    pub(crate) all: f64,
    /// The most calls that reached one node in one round.
    pub(crate) load: f64,
    /// How often the rumour was sent, by node.
    pub(crate) copies: f64,
}

/// A rumour from a random node of the largest piece until all there know.
pub(crate) fn spread(ground: &Ground, rules: Rules, dice: &mut Rng) -> Course {
    let (source, size) = ground.source(dice);
    let mut crowd = Crowd::new(ground.nodes());
    crowd.learns(source);
    let never = f64::INFINITY;
    let (mut half, mut most, mut all) = (never, never, never);
    for round in 0..=ROUNDS_MAX {
        let (known, size) = (u64::from(crowd.known), u64::from(size));
        for (time, reached) in [
            (&mut half, 2 * known >= size),
            (&mut most, 100 * known >= 99 * size),
            (&mut all, known == size),
        ] {
            if reached {
                *time = time.min(f64::from(round));
            }
        }
        if known == size || round == ROUNDS_MAX {
            break;
        }
        crowd.round(ground, rules, dice);
    }
    let copies = crowd.copies as f64 / f64::from(size.max(1));
    Course { half, most, all, load: f64::from(crowd.load_max), copies }
}

/// Who knows, and what a round needs.
struct Crowd {
    knows: Vec<bool>,
    known: u32,
    load_max: u32,
    copies: u64,
    /// Whom each called last, as a place among its neighbours.
    last: Vec<u32>,
    calls: Vec<(u32, u32)>,
    /// Calls to each that are still to be looked at in this round.
    load: Vec<u32>,
    /// How many of them it will answer.
    open: Vec<u32>,
    fresh: Vec<u32>,
}

/// The place of a neighbour that nobody is at.
const NOBODY: u32 = u32::MAX;

impl Crowd {
    fn new(nodes: u32) -> Self {
        let nodes = nodes as usize;
        Self {
            knows: vec![false; nodes],
            known: 0,
            load_max: 0,
            copies: 0,
            last: Vec::new(),
            calls: Vec::with_capacity(nodes),
            load: vec![0; nodes],
            open: Vec::new(),
            fresh: Vec::new(),
        }
    }

    fn learns(&mut self, node: u32) {
        let knew = std::mem::replace(&mut self.knows[node as usize], true);
        self.known += u32::from(!knew);
    }

    fn round(&mut self, ground: &Ground, rules: Rules, dice: &mut Rng) {
        self.call(ground, rules, dice);
        self.load_max = self.load_max.max(self.load.iter().copied().max().unwrap_or(0));
        if let Some(cap) = rules.cap {
            self.open.clear();
            self.open.extend(self.load.iter().map(|load| load.min(&cap)));
        }
        let calls = std::mem::take(&mut self.calls);
        for (caller, called) in &calls {
            if rules.cap.is_some() && !self.answers(*called, dice) {
                continue;
            }
            let [here, there] = [caller, called].map(|node| self.knows[*node as usize]);
            self.copies += u64::from(rules.push && here) + u64::from(rules.pull && there);
            if rules.push && here && !there {
                self.fresh.push(*called);
            } else if rules.pull && there && !here {
                self.fresh.push(*caller);
            }
        }
        self.calls = calls;
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.drain(..).for_each(|node| self.learns(node));
        self.fresh = fresh;
    }

    /// Everybody who has a reason to calls.
    fn call(&mut self, ground: &Ground, rules: Rules, dice: &mut Rng) {
        self.calls.clear();
        self.load.fill(0);
        if rules.remembers && self.last.is_empty() {
            self.last = vec![NOBODY; self.knows.len()];
        }
        for caller in 0..ground.nodes() {
            let wants = if self.knows[caller as usize] { rules.push } else { rules.pull };
            let degree = ground.degree(caller);
            if !wants || degree == 0 {
                continue;
            }
            for _ in 0..rules.calls {
                let last = self.last.get(caller as usize).copied().unwrap_or(NOBODY);
                let place = if last != NOBODY && degree > 1 {
                    let place = dice.below(u64::from(degree - 1)) as u32;
                    place + u32::from(place >= last)
                } else {
                    dice.below(u64::from(degree)) as u32
                };
                if let Some(last) = self.last.get_mut(caller as usize) {
                    *last = place;
                }
                let called = ground.neighbour(caller, place);
                self.load[called as usize] += 1;
                self.calls.push((caller, called));
            }
        }
    }

    /// Whether this call is among those that are answered: of all that are left as likely as any.
    fn answers(&mut self, called: u32, dice: &mut Rng) -> bool {
        let [left, open] = [&mut self.load, &mut self.open].map(|of| &mut of[called as usize]);
        let answers = open == left || dice.chance(u64::from(*open), u64::from(*left));
        *left -= 1;
        *open -= u32::from(answers);
        answers
    }
}

/// A rumour in datagrams, which each node that hears it sends on so many times and no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limited {
    /// How many nodes there are.
    pub(crate) nodes: u32,
    /// Datagrams that a node sends in all.
    pub(crate) sends: u32,
    /// Share of the datagrams that get lost.
    pub(crate) loss: f64,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Left {
    /// Nodes that no datagram told.
    pub(crate) missed: u32,
    /// Rounds until nobody had any to send.
    pub(crate) rounds: u32,
    /// Rounds of push-pull without loss after which all knew; infinite if they did not do.
    pub(crate) mended: f64,
}

impl Limited {
    /// The rule of memberlist: `lambda · ⌈log10(N + 1)⌉` datagrams.
    pub(crate) fn sends(nodes: u32, lambda: u32) -> u32 {
        lambda * (f64::from(nodes) + 1.0).log10().ceil() as u32
    }

    /// The share that is never told in the limit of many nodes, where a rumour does not end at its
    /// source: the least `s` with `s = exp(-m (1 - p) (1 - s))`.
    pub(crate) fn share_missed(&self) -> f64 {
        let heard = f64::from(self.sends) * (1.0 - self.loss);
        let mut share = 0.0_f64;
        // From below to the least solution; near a mean of one it takes many steps.
        for _ in 0..10_000 {
            let next = (-heard * (1.0 - share)).exp();
            if (next - share).abs() <= f64::EPSILON * next {
                break;
            }
            share = next;
        }
        share
    }

    /// From the first node until nobody has any datagram to send; then push-pull until all know.
    pub(crate) fn spread(&self, dice: &mut Rng) -> Left {
        let ground = Ground::Complete(self.nodes);
        let mut crowd = Crowd::new(self.nodes);
        crowd.learns(0);
        let mut sending = vec![(0, self.sends)];
        let mut fresh = Vec::new();
        let mut rounds = 0;
        while !sending.is_empty() {
            for (node, left) in &mut sending {
                for _ in 0..DATAGRAMS.min(*left) {
                    *left -= 1;
                    let place = dice.below(u64::from(ground.degree(*node))) as u32;
                    let to = ground.neighbour(*node, place);
                    if dice.unit() >= self.loss && !crowd.knows[to as usize] {
                        crowd.learns(to);
                        fresh.push((to, self.sends));
                    }
                }
            }
            sending.retain(|(_, left)| *left > 0);
            sending.append(&mut fresh);
            rounds += 1;
        }
        let missed = self.nodes - crowd.known;
        let mut mended = 0;
        while crowd.known < self.nodes && mended < ROUNDS_MAX {
            crowd.round(&ground, Rules::PUSH_PULL, dice);
            mended += 1;
        }
        let whole = crowd.known == self.nodes;
        Left { missed, rounds, mended: if whole { f64::from(mended) } else { f64::INFINITY } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::rng;
    use crate::stats::quantile;

    fn mean(runs: u64, figure: impl Fn(u64) -> f64) -> f64 {
        (0..runs).map(figure).sum::<f64>() / runs as f64
    }

    #[test]
    fn two_and_three_nodes_take_as_long_as_one_can_reckon() {
        let two = spread(&Ground::Complete(2), Rules::PUSH_PULL, &mut rng(1));
        assert_eq!((two.half, two.most, two.all, two.load), (0.0, 1.0, 1.0, 1.0));
        let one = spread(&Ground::Complete(1), Rules::PUSH_PULL, &mut rng(1));
        assert_eq!((one.all, one.load), (0.0, 0.0));
        let three =
            |rules| mean(20_000, |seed| spread(&Ground::Complete(3), rules, &mut rng(seed)).all);
        // Push: one round to the second, then each of two meets the third with 1/2.
        assert!((three(Rules::PUSH) - (1.0 + 4.0 / 3.0)).abs() < 0.02);
        // The third asks the source at once with 1/2, and else one of two that know.
        assert!((three(Rules::PUSH_PULL) - 1.5).abs() < 0.02);
        // Of two that ask: none with 1/4 and again, one with 1/2 and a round more, both with 1/4;
        // the last asks one of two that know.
        assert!((three(Rules::PULL) - 2.0).abs() < 0.02, "{}", three(Rules::PULL));
    }

    #[test]
    fn a_star_takes_two_rounds_and_its_hub_answers_all() {
        let links: Vec<(u32, u32)> = (1..10).map(|leaf| (0, leaf)).collect();
        let star = Ground::of_links(10, &links);
        for seed in 0..20 {
            let course = spread(&star, Rules::PUSH_PULL, &mut rng(seed));
            assert!(course.all <= 2.0 && course.load == 9.0, "{course:?}");
            let capped = Rules { cap: Some(1), ..Rules::PUSH_PULL };
            let course = spread(&star, capped, &mut rng(seed));
            // The hub tells the one that it calls and the one that it answers.
            assert!(course.all >= 5.0 && course.load == 9.0, "{course:?}");
        }
        let no_cap = Rules { cap: Some(9), ..Rules::PUSH_PULL };
        assert_eq!(
            spread(&star, no_cap, &mut rng(3)),
            spread(&star, Rules::PUSH_PULL, &mut rng(3)),
            "a cap that nothing meets draws nothing"
        );
    }

    #[test]
    fn whoever_remembers_calls_both_neighbours_in_turn() {
        let links: Vec<(u32, u32)> = (0..20).map(|node| (node, (node + 1) % 20)).collect();
        let ring = Ground::of_links(20, &links);
        let rules = Rules { remembers: true, ..Rules::PUSH_PULL };
        for seed in 0..50 {
            // The news passes every link within two rounds, and ten links are the farthest.
            assert!(spread(&ring, rules, &mut rng(seed)).all <= 20.0);
        }
    }

    #[test]
    fn graphs_have_the_degrees_that_they_should() {
        for nodes in [16, 32, 1_000] {
            let ground = Ground::regular(nodes, 8, &mut rng(4));
            assert!((0..nodes).all(|node| ground.degree(node) == 8));
            let Ground::Links { starts, ends } = &ground else { panic!("it has links") };
            for node in 0..nodes {
                let near = starts[node as usize] as usize..starts[node as usize + 1] as usize;
                let mut near = ends[near].to_vec();
                near.sort_unstable();
                near.dedup();
                assert!(near.len() == 8 && !near.contains(&node), "{nodes}: {near:?}");
            }
        }
        let ground = Ground::power_law(1 << 14, 2.5, 3.0, &mut rng(4));
        let degrees: Vec<f64> = (0..1 << 14).map(|node| f64::from(ground.degree(node))).collect();
        let mean = degrees.iter().sum::<f64>() / f64::from(1 << 14);
        // The weights have the mean 9, less what the largest would have beyond one link a pair.
        assert!((7.5..9.0).contains(&mean), "{mean}");
        let found = crate::graph::power_law(&degrees).unwrap();
        assert!((2.3..2.7).contains(&found.mean), "{found:?}");
        // Node 0 has the weight 3 · 2^(14 · 2/3), cut where a link is certain.
        assert!((1_200.0..1_940.0).contains(&degrees[0]), "{}", degrees[0]);
        assert!(ground.reached(0) > 16_000);
    }

    #[test]
    fn rounds_are_those_of_the_books() {
        let plain = |nodes, _: &mut Rng| Ground::Complete(nodes);
        let regular = |nodes, dice: &mut Rng| Ground::regular(nodes, 8, dice);
        let hubs = |nodes, dice: &mut Rng| Ground::power_law(nodes, 2.5, 3.0, dice);
        type Make<'a> = &'a dyn Fn(u32, &mut Rng) -> Ground;
        let three = Rules { calls: 3, ..Rules::PUSH_PULL };
        let memory = Rules { remembers: true, ..Rules::PUSH_PULL };
        // Medians of an implementation independent of this one.
        let cases: [(Make<'_>, Rules, [[f64; 3]; 2]); 7] = [
            (&plain, Rules::PUSH, [[8.0, 13.0, 14.0], [10.0, 15.0, 18.0]]),
            (&plain, Rules::PULL, [[8.0, 11.0, 11.0], [10.0, 13.0, 14.0]]),
            (&plain, Rules::PUSH_PULL, [[5.0, 7.0, 8.0], [7.0, 9.0, 9.0]]),
            (&plain, three, [[3.0, 4.0, 4.0], [4.0, 5.0, 5.0]]),
            (&regular, Rules::PUSH_PULL, [[6.0, 9.0, 9.0], [8.0, 10.0, 11.0]]),
            (&hubs, Rules::PUSH_PULL, [[6.0, 8.0, 10.0], [7.0, 9.0, 11.0]]),
            (&hubs, memory, [[5.0, 8.0, 9.0], [6.0, 9.0, 10.0]]),
        ];
        for (case, (make, rules, expected)) in cases.iter().enumerate() {
            for (nodes, expected) in [256, 1024].into_iter().zip(expected) {
                let run = |seed| {
                    let mut dice = rng(seed);
                    let ground = make(nodes, &mut dice);
                    spread(&ground, *rules, &mut dice)
                };
                let runs: Vec<Course> = (0..101).map(run).collect();
                let median = |figure: fn(&Course) -> f64| {
                    quantile(&mut runs.iter().map(figure).collect::<Vec<_>>(), 0.5)
                };
                let found = [median(|of| of.half), median(|of| of.most), median(|of| of.all)];
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() <= 1.0, "case {case}, {nodes}: {found}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_course() {
        let rules = Rules { remembers: true, cap: Some(4), ..Rules::PUSH_PULL };
        let course = |seed| {
            let mut dice = rng(seed);
            let ground = Ground::power_law(500, 2.5, 3.0, &mut dice);
            spread(&ground, rules, &mut dice)
        };
        assert_eq!(course(9), course(9));
        assert_ne!(course(9), course(10));
    }

    #[test]
    fn a_limit_leaves_as_many_as_the_formula_says() {
        let sends = [50, 1_024, 4_096, 16_384].map(|nodes| Limited::sends(nodes, 4));
        assert_eq!(sends, [8, 16, 16, 20]);
        for (lambda, loss, expected) in [(1, 0.0, 81.0), (1, 0.3, 307.0), (2, 0.1, 3.1)] {
            let limited = Limited { nodes: 4096, sends: Limited::sends(4096, lambda), loss };
            let formula = 4096.0 * limited.share_missed();
            assert!((formula / expected - 1.0).abs() < 0.02, "{lambda} {loss}: {formula}");
            let missed = (0..60).map(|seed| f64::from(limited.spread(&mut rng(seed)).missed));
            // A rumour that ends near its source is not what the formula is about.
            let lived: Vec<f64> = missed.filter(|missed| *missed < 2_048.0).collect();
            assert!(lived.len() >= 55, "{} of 60", lived.len());
            let found = lived.iter().sum::<f64>() / lived.len() as f64;
            assert!((found / formula - 1.0).abs() < 0.25, "{lambda} {loss}: {found}, {formula}");
        }
        let lone = Limited { nodes: 100, sends: 1, loss: 1.0 };
        let left = lone.spread(&mut rng(1));
        assert_eq!((left.missed, left.rounds, lone.share_missed()), (99, 1, 1.0));
        assert!(left.mended > 2.0 && left.mended < 20.0);
    }
}
