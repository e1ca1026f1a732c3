//! What a seed makes up: nodes and how they are set, what goes wrong and when, and what is made.

use std::time::Duration;

use codec::limits::GOSSIP_DATA_BYTES_MAX;
use codec::{Capabilities, Network as Protocol};
use peer::gossip::PlumtreeRules;
use peer::overlay::HyParViewRules;
use peer::{Config, DandelionRules, Embargo, Gossip, Overlay, Policy, Rng, Scheme, Seed, UnixTime};

use super::backends::Backends;
use crate::dice;
use crate::fault::Fault;
use crate::model::{Credits, Cuts, Latency, Model};
use crate::network::{Network, NodeId};

/// Nodes of a swarm, least and most.
const NODES: [u64; 2] = [3, 30];

/// Seconds in which things go wrong, least and most.
const ACTIVE_SECS: [u64; 2] = [30, 120];

/// Most faults of a swarm; a crash and the restart behind it are two.
const FAULTS_MAX: u64 = 24;

/// Most things that are made while things go wrong.
const ACTS_MAX: u64 = 40;

/// Whether there is an overlay, and whether there is a tree: half of all swarms have neither.
const TOPICS: [(u64, [bool; 2]); 4] =
    [(5, [false, false]), (2, [false, true]), (1, [true, false]), (2, [true, true])];

/// Most messages of topics while things go wrong, and the longest there can be.
const SPEECHES_MAX: u64 = 60;
const SPEECH_MAX: u64 = GOSSIP_DATA_BYTES_MAX as u64;

/// Bytes of messages that are kept at least: more than what is said while the laws demand that all
/// of it arrives.
const KEPT_BYTES_LEAST: usize = 300_000;

/// Longest embargo of a stem: short, so that a lost one shows before the run is over.
pub(super) const EMBARGO_MAX: Duration = Duration::from_secs(12);

/// What somebody makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Transaction {
        bytes: usize,
    },
    Stem {
        bytes: usize,
    },
    Block {
        bytes: usize,
    },
    /// A transaction that every other chain calls invalid.
    Lie {
        bytes: usize,
    },
    /// A message of a topic.
    Say {
        bytes: usize,
    },
}

/// A swarm, before it runs.
pub(super) struct Plan {
    pub(super) configs: Vec<Config>,
    /// Whether an overlay chooses links, whether messages of topics go along a tree, and whether
    /// all nodes speak the extension, so that all can have part in both.
    pub(super) overlay: bool,
    pub(super) tree: bool,
    pub(super) whole: bool,
    pub(super) model: Model,
    /// Whose chain lies, if one does: the last node, which nobody needs.
    pub(super) liar: Option<NodeId>,
    /// One payload in so many is put off by a chain once; `None`: none.
    pub(super) later_one_in: Option<u64>,
    /// How long the chain of each node looks at what it gets.
    pub(super) paces: Vec<Duration>,
    pub(super) active: Duration,
    /// After the beginning of the active time, in order.
    pub(super) faults: Vec<(Duration, Fault)>,
    pub(super) acts: Vec<(Duration, NodeId, Act)>,
}

/// One of several, each with its weight.
fn weighted<T: Copy>(rng: &mut Rng, choices: &[(u64, T)]) -> T {
    let total = choices.iter().map(|(weight, _)| weight).sum();
    let mut draw = rng.below(total);
    for (weight, choice) in choices {
        if draw < *weight {
            return *choice;
        }
        draw -= weight;
    }
    unreachable!("the draw is below the sum of the weights")
}

fn between(rng: &mut Rng, [least, most]: [u64; 2]) -> u64 {
    least + rng.below(most - least + 1)
}

fn within(rng: &mut Rng, whole: Duration) -> Duration {
    Duration::from_micros(rng.below(whole.as_micros() as u64 + 1))
}

impl Plan {
    /// What this seed makes up.
    pub(super) fn of_seed(seed: u64) -> Self {
        let root = dice::rng(seed).fork("swarm");
        let mut rng = root.fork("shape");
        let nodes = between(&mut rng, NODES) as usize;
        let liar = (nodes > 3 && rng.chance(1, 5)).then(|| nodes - 1);
        let active = Duration::from_secs(between(&mut rng, ACTIVE_SECS));
        let later_one_in = rng.chance(1, 3).then(|| between(&mut rng, [5, 50]));
        let slowest = weighted(&mut rng, &[(2, 5), (2, 100), (1, 2_000)]);
        let paces = (0..nodes).map(|_| within(&mut rng, Duration::from_millis(slowest))).collect();
        let mut configs = configs(nodes, liar, &mut root.fork("configs"));
        let mut topics = root.fork("topics");
        let [overlay, tree] = weighted(&mut topics, &TOPICS);
        if overlay || tree {
            speak(&mut configs, [overlay, tree], &mut topics);
        }
        let mut acts = acts(nodes, liar, active, &mut root.fork("acts"));
        if tree {
            acts.extend(speeches(nodes, active, &mut topics));
            acts.sort_by_key(|(at, ..)| *at);
        }
        Self {
            overlay,
            tree,
            whole: configs.iter().all(|config| config.extension),
            configs,
            model: model(&mut root.fork("model")),
            liar,
            later_one_in,
            paces,
            active,
            faults: faults(nodes, active, &mut root.fork("faults")),
            acts,
        }
    }
}

fn model(rng: &mut Rng) -> Model {
    let ms = Duration::from_millis;
    let latencies = [
        (2, Latency::Regions),
        (1, Latency::Constant(ms(1 + rng.below(100)))),
        (1, Latency::Uniform(ms(1), ms(2 + rng.below(300)))),
        (1, Latency::LogNormal { median: ms(50), sigma: 0.8 }),
    ];
    let cuts = [(2, Cuts::Packets), (1, Cuts::Frames), (2, Cuts::Anywhere)];
    let mbit = between(rng, [5, 100]);
    Model {
        latency: weighted(rng, &latencies),
        bandwidth: rng.chance(1, 2).then_some(mbit * 1_000_000),
        cuts: weighted(rng, &cuts),
        credits: weighted(rng, &[(2, Credits::Ample), (1, Credits::Random)]),
        queue_bytes_max: weighted(rng, &[(3, 10 << 20), (1, 300_000)]),
        ..Model::default()
    }
}

/// Who is configured how. Each dials one of those before it, so that all hang together, whoever is
/// left out behind them; or a few are the seeds, and the others find each other.
fn configs(nodes: usize, liar: Option<NodeId>, rng: &mut Rng) -> Vec<Config> {
    let policies = [(3, Policy::Announce), (1, Policy::Sqrt), (1, Policy::Flood)];
    let policy = weighted(rng, &policies);
    let [mixed_policies, by_seeds] = [rng.chance(1, 4), nodes > 4 && rng.chance(1, 4)];
    // In a hundred.
    let some = between(rng, [20, 80]);
    let extended = weighted(rng, &[(4, 100), (1, 0), (2, some)]);
    let unasked_bytes_max = weighted(rng, &[(3, 0), (1, 1_000), (1, 10_000)]);
    let schemes = [(3, Scheme::PlusPlus), (1, Scheme::Grin), (1, Scheme::AggregateOnStem)];
    let scheme = weighted(rng, &schemes);
    let seeds = 1 + rng.below(2) as usize;
    let mut dials = dials(nodes, liar, rng);
    let config = |node: NodeId| {
        let mut config = Config::small(Protocol::DEV);
        config.started = UnixTime::from_secs(1_700_000_000);
        config.locality = peer::Locality::Internet;
        config.extension = rng.below(100) < extended;
        config.relay.policy = if mixed_policies { weighted(rng, &policies) } else { policy };
        config.relay.unasked_bytes_max = unasked_bytes_max;
        config.dandelion = dandelion(scheme);
        let addr = |other: &NodeId| Network::<Backends>::addr(*other, config.network.port);
        if by_seeds {
            config.seeds = (0..seeds).map(|seed| Seed::Addr(addr(&seed))).collect();
            config.slots.outbound = 3;
            config.slots.feeler_period = Duration::from_secs(20);
        } else {
            config.connect = std::mem::take(&mut dials[node]).iter().map(addr).collect();
            config.capabilities = Capabilities::UNKNOWN;
            config.slots.outbound = 0;
            config.slots.feeler_period = Duration::from_secs(1_000_000);
        }
        config
    };
    (0..nodes).map(config).collect()
}

/// Has all take part in an overlay, in a tree, or in both, by rules that are far apart: timers that
/// ask too soon and such that ask late, small views, little that is kept.
fn speak(configs: &mut [Config], [overlay, tree]: [bool; 2], rng: &mut Rng) {
    let ms = Duration::from_millis;
    let active_max = between(rng, [3, 7]) as usize;
    let shuffle_period = Duration::from_secs(between(rng, [5, 60]));
    let sampler_every = between(rng, [2, 20]) as u32;
    let hyparview =
        HyParViewRules { shuffle_period, sampler_every, ..HyParViewRules::sized(active_max) };
    let plumtree = PlumtreeRules {
        graft_after: ms(weighted(rng, &[(2, 20), (1, 100), (2, 500), (1, 2_000)])),
        graft_again_after: ms(weighted(rng, &[(1, 20), (2, 200)])),
        announce_after: ms(weighted(rng, &[(3, 5), (1, 0), (1, 100)])),
        shorten_by: weighted(rng, &[(3, None), (1, Some(1)), (1, Some(4))]),
        ..PlumtreeRules::default()
    };
    let gossip_bytes_max = weighted(rng, &[(2, 8 << 20), (1, KEPT_BYTES_LEAST)]);
    let whole = rng.chance(3, 4);
    if overlay && configs[0].seeds.is_empty() {
        // Who knows nobody can only wait for others, who may find each other without it.
        configs[0].connect = vec![Network::<Backends>::addr(1, configs[0].network.port)];
    }
    for (node, config) in configs.iter_mut().enumerate() {
        config.advertised = Network::<Backends>::addr(node, config.network.port);
        config.extension |= whole;
        (config.hyparview, config.plumtree) = (hyparview, plumtree);
        config.gossip_bytes_max = gossip_bytes_max;
        if overlay {
            config.overlay = Overlay::HyParView;
        }
        if tree {
            config.gossip = Gossip::Tree;
        }
    }
}

fn speeches(
    nodes: usize,
    active: Duration,
    rng: &mut Rng,
) -> impl Iterator<Item = (Duration, NodeId, Act)> {
    let count = 1 + rng.below(SPEECHES_MAX);
    (0..count).map(move |_| {
        let bytes =
            weighted(rng, &[(6, [4, 1_000]), (2, [1_000, 20_000]), (1, [SPEECH_MAX, SPEECH_MAX])]);
        let bytes = between(rng, bytes) as usize;
        (within(rng, active), rng.below(nodes as u64) as usize, Act::Say { bytes })
    })
}

fn dials(nodes: usize, liar: Option<NodeId>, rng: &mut Rng) -> Vec<Vec<NodeId>> {
    let more = rng.below(4);
    let mut dials = vec![Vec::new(); nodes];
    for (node, dials) in dials.iter_mut().enumerate().skip(1) {
        dials.push(rng.below(node as u64) as usize);
        for _ in 0..more {
            let other = rng.below(nodes as u64) as usize;
            // Two may dial each other: one of the connections goes.
            if other != node && Some(other) != liar && !dials.contains(&other) {
                dials.push(other);
            }
        }
    }
    dials
}

fn dandelion(scheme: Scheme) -> DandelionRules {
    let [patience, base, epoch] = [2, 4, 30].map(Duration::from_secs);
    let embargo = Embargo::Uniform { base, spread: EMBARGO_MAX - base };
    DandelionRules { embargo, epoch, patience, ..DandelionRules::of(scheme) }
}

fn faults(nodes: usize, active: Duration, rng: &mut Rng) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    if rng.chance(1, 8) {
        return faults; // all goes well, and more must hold
    }
    let count = 1 + rng.below(FAULTS_MAX);
    while (faults.len() as u64) < count {
        let at = within(rng, active);
        let node = rng.below(nodes as u64) as usize;
        // Most are shorter than all patience of the endpoints, some longer.
        let longest = weighted(rng, &[(3, 8), (1, 90)]);
        let lasts = within(rng, Duration::from_secs(longest)).min(active - at);
        match rng.below(8) {
            0 => faults.push((at, Fault::Stall { node, lasts })),
            1 => faults.push((at, Fault::Pause { node, lasts })),
            2 | 3 => faults.push((at, Fault::Reset { node })),
            4 => faults.push((at, Fault::RefuseDials { node, lasts })),
            5 => {
                let members = (0..nodes).filter(|_| rng.chance(1, 2)).collect();
                let one_way = rng.chance(1, 3);
                faults.push((at, Fault::Partition { members, one_way, lasts }));
            }
            _ => {
                let ends = [Fault::Crash { node }, Fault::Leave { node }];
                faults.push((at, ends[rng.below(2) as usize].clone()));
                let with_store = rng.chance(1, 2);
                faults.push((at + lasts, Fault::Restart { node, with_store }));
            }
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn acts(
    nodes: usize,
    liar: Option<NodeId>,
    active: Duration,
    rng: &mut Rng,
) -> Vec<(Duration, NodeId, Act)> {
    let count = 1 + rng.below(ACTS_MAX);
    let act = |_| {
        let node = rng.below(nodes as u64) as usize;
        let act = if Some(node) == liar { Act::Lie { bytes: 900 } } else { random_act(rng) };
        (within(rng, active), node, act)
    };
    let mut acts: Vec<_> = (0..count).map(act).collect();
    acts.sort_by_key(|(at, ..)| *at);
    acts
}

fn random_act(rng: &mut Rng) -> Act {
    let bytes = weighted(rng, &[(6, [100, 3_000]), (2, [3_000, 60_000])]);
    let bytes = between(rng, bytes) as usize;
    let block = weighted(rng, &[(4, [500, 20_000]), (1, [20_000, 300_000])]);
    match rng.below(10) {
        0..=4 => Act::Transaction { bytes },
        5 | 6 => Act::Stem { bytes },
        _ => Act::Block { bytes: between(rng, block) as usize },
    }
}
