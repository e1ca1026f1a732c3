//! The same run in virtual time: the engines that began when they did, the messages when they were
//! said, the faults as they were commanded, over links that take what they took.

use std::collections::BTreeMap;
use std::time::Duration;

use codec::Payload;
use codec::datagram::ClusterKey;
use peer::gossip::push_pull::Presumed;
use peer::{CloseReason, Config, Gossip, Instant, Overlay, Seed, ToChain};

use super::course::{Course, Heard, Published, Seen};
use super::log::{Fault, Log, Over, Setting};
use crate::fault;
use crate::model::{DatagramFaults, Latency, Model};
use crate::network::{Answers, Network, NodeId, Script, Told};

const TOPIC: &[u8] = b"cluster";

/// Everybody is of one cluster.
const KEY: ClusterKey = ClusterKey([7; 32]);

const PORT: u16 = codec::Network::DEV.port;

/// How often it is written down how nodes see each other, as engines do it.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

type Net = Network<Ears>;

/// Writes down what is heard.
struct Ears {
    heard: Vec<Vec<Option<Heard>>>,
    silent: Vec<u64>,
}

impl Script for Ears {
    fn on_event(&mut self, _: Instant, _: NodeId, _: ToChain, _: &mut Answers) {}

    fn on_frame(&mut self, _: Instant, _: NodeId, _: NodeId, _: &Payload) {}

    fn on_told(&mut self, now: Instant, node: NodeId, told: &Told<'_>) {
        let number = told.data.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize);
        if let Some(heard) = number.and_then(|number| self.heard.get_mut(number)) {
            heard[node].get_or_insert_with(|| Heard { us: now.micros(), hops: told.hops });
        }
    }

    fn on_closed(&mut self, _: Instant, node: NodeId, _: NodeId, reason: CloseReason) {
        self.silent[node] += u64::from(reason == CloseReason::Silent);
    }
}

/// As `loadgen cluster` sets up its engines.
fn config(setting: &Setting, node: NodeId) -> Config {
    let mut config = Config::small(codec::Network::DEV);
    config.advertised = Net::addr(node, PORT);
    config.seeds = (node > 0).then(|| Seed::Addr(Net::addr(0, PORT))).into_iter().collect();
    config.slots.outbound = 0; // the overlay alone dials
    match setting.over {
        Over::Streams => {
            config.overlay = Overlay::HyParView;
            config.hyparview.active_max = setting.rules.links;
            config.hyparview.shuffle_period = Duration::from_micros(setting.rules.shuffle_us);
            config.gossip = Gossip::Tree;
        }
        Over::Datagrams => {
            config.cluster.key = Some(KEY);
            config.cluster.contacts = (node > 0).then(|| Net::addr(0, PORT)).into_iter().collect();
            config.gossip = Gossip::Datagrams;
        }
    }
    config
}

/// What happens, beside faults, which the network carries out itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Start,
    Publish(usize),
    /// From now on so many of a hundred datagrams are lost.
    Lose(u64),
    Look,
}

fn at(us: u64) -> Instant {
    Instant::START.after(Duration::from_micros(us))
}

/// One run by this seed, in which a link takes so long.
pub(super) fn replay(log: &Log, latency: Duration, seed: u64) -> Course {
    let nodes = log.setting.engines;
    let messages = log.course.published.len();
    let script = Ears { heard: vec![vec![None; nodes]; messages], silent: vec![0; nodes] };
    let latency = Latency::Constant(latency);
    let model = Model { latency, ..Model::default() };
    let mut net = Net::new(model, script, seed);
    let mut seen = Vec::new();
    for (us, step) in steps(log) {
        net.run_until(at(us));
        match step {
            Step::Start => {
                let node = net.len();
                net.add(config(&log.setting, node));
                if net.len() == nodes {
                    schedule_faults(&mut net, log);
                }
            }
            Step::Publish(message) => {
                let mut data = (message as u32).to_be_bytes().to_vec();
                data.resize(log.setting.message_bytes.max(data.len()), 0);
                net.publish(log.course.published[message].node, TOPIC, &data);
            }
            Step::Lose(lost_percent) => {
                net.set_datagrams(DatagramFaults { lost_percent, ..DatagramFaults::default() });
            }
            Step::Look => look(&net, &mut seen),
        }
    }
    course(log, net, seen)
}

/// All of it in the order of time.
fn steps(log: &Log) -> Vec<(u64, Step)> {
    let mut steps: Vec<(u64, Step)> = log.started.iter().map(|us| (*us, Step::Start)).collect();
    let said = log.course.published.iter().enumerate();
    steps.extend(said.map(|(message, said)| (said.us, Step::Publish(message))));
    steps.extend(log.faults.iter().filter_map(|(us, fault)| match fault {
        Fault::Loss(share) => Some((*us, Step::Lose((100.0 * share).round() as u64))),
        _ => None,
    }));
    let period = LOOK_PERIOD.as_micros() as u64;
    steps.extend(
        (1..).map(|look| look * period).take_while(|us| *us < log.end).map(|us| (us, Step::Look)),
    );
    steps.push((log.end, Step::Look));
    steps.sort_unstable();
    steps
}

fn schedule_faults(net: &mut Net, log: &Log) {
    for (us, wrong) in &log.faults {
        let fault = match *wrong {
            Fault::Kill(node) => fault::Fault::Crash { node },
            Fault::Leave(node) => fault::Fault::Leave { node },
            Fault::Pause(node, lasts) => {
                fault::Fault::Pause { node, lasts: Duration::from_micros(lasts) }
            }
            Fault::Loss(_) => continue,
        };
        net.schedule(at(*us), fault);
    }
}

fn look(net: &Net, seen: &mut Vec<Seen>) {
    let us = net.now().micros();
    let first = seen.len();
    seen.extend((0..net.len()).map(|node| Seen {
        us,
        node,
        silent: net.script.silent[node],
        ..Seen::default()
    }));
    for (one, other, _) in net.standing() {
        seen[first + one].alive.push(other);
        seen[first + other].alive.push(one);
    }
    let numbers: BTreeMap<_, _> =
        (0..net.len()).map(|node| (Net::addr(node, PORT), node)).collect();
    for one in &mut seen[first..] {
        for member in net.endpoint(one.node).into_iter().flat_map(|endpoint| endpoint.members()) {
            let list = match member.presumed {
                Presumed::Alive => &mut one.alive,
                Presumed::Suspect => &mut one.suspected,
                Presumed::Dead => &mut one.dead,
                Presumed::Left => continue,
            };
            list.extend(numbers.get(&member.addr));
        }
    }
}

fn course(log: &Log, net: Net, seen: Vec<Seen>) -> Course {
    let count = |node: usize, figure: fn(&peer::Counts) -> u64| {
        net.endpoint(node).map_or(0, |endpoint| figure(endpoint.counts()))
    };
    let nodes = || 0..net.len();
    Course {
        gone: log.course.gone.clone(),
        published: log.course.published.iter().map(|said| Published { ..*said }).collect(),
        new: nodes().map(|node| count(node, |counts| counts.gossip_new)).collect(),
        known: nodes().map(|node| count(node, |counts| counts.gossip_known)).collect(),
        heard: net.script.heard,
        seen,
    }
}
