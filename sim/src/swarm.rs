//! Swarms: one seed makes up a network, what it does and what goes wrong with it; then the faults
//! cease, and laws must hold. In the manner of TigerBeetle's VOPR.
//!
//! The laws, of all nodes whose chain does not lie:
//!
//! - At any time: no panic, no ban of an honest node, no connection that ends for a fault of the
//!   protocol, every table within its bounds, no chain given the same twice in one life, no
//!   deadline that does not pass, no second that takes events without end.
//! - When all are up again and no fault is left, the network hangs together within [`HEAL_MAX`],
//!   and [`SYNC_MAX`] later every chain has the best block of all.
//! - What is published from then on comes to every chain within [`SPREAD_MAX`], over links that
//!   stand all the while.
//! - In a swarm with an overlay, that one too hangs together by then. Messages of topics that are
//!   said from then on are told to all nodes within [`TOLD_MAX`], over links that stand all the
//!   while; who hears of one asks for it in time, and who is asked answers. At any time, nothing is
//!   told that nobody said, and nothing twice.
//! - A stem is public at its maker, if that one's process still lives: its embargo sees to it.
//! - If, before, no connection ended, no queue was full and no chain put anything off, what was
//!   made while things went wrong came to all as well.
//! - At rest there is no half frame and no waiting request, and endpoint and driver know the same
//!   connections.
//!
//! The invariant: everything follows from the seed and from which faults are kept.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use peer::{Instant, Rng};

use crate::dice;
use crate::fault::Fault;
use crate::network::{Answers, Network, NodeId, Plant};

mod backends;
pub mod commands;
mod laws;
mod plan;
mod shrink;
mod speaking;
mod talk;

use backends::Backends;
use plan::{Act, EMBARGO_MAX, Plan};
pub use speaking::TOLD_MAX;
use talk::Speech;

/// How long the network may take to hang together, at first and after the faults. The longest
/// back-off of a dial is ten minutes.
pub const HEAL_MAX: Duration = Duration::from_secs(1_500);

/// How long catching up may take from then on: a chain is told every ten seconds that it is behind,
/// and who is asked in vain costs some of them.
pub const SYNC_MAX: Duration = Duration::from_secs(300);

/// How long a payload may take to come to all; for a stem, its embargo goes before.
pub const SPREAD_MAX: Duration = Duration::from_secs(60);

/// How long the network is let settle until it is at rest.
const REST_MAX: Duration = Duration::from_secs(30);

/// How often the last payloads are published anew, when links did not stand still meanwhile.
const ROUNDS_MAX: usize = 4;

const SECOND: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Case {
    /// What everything follows from.
    pub seed: u64,
    /// Faults that are kept, by their places in the schedule; `None`: all.
    pub keep: Option<Vec<usize>>,
    /// A fault of the driver itself, to see that it is noticed.
    pub plant: Option<Plant>,
    /// Whose story is to be told: the number of something that is made.
    pub watch: Option<usize>,
    /// Whether each process is recorded.
    pub record: bool,
}

/// What came of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What was run.
    pub case: Case,
    /// One line about the swarm.
    pub summary: String,
    /// Faults that were carried out: place in the schedule, time since the first, and what.
    pub faults: Vec<(usize, Duration, Fault)>,
    /// What became of what was watched.
    pub story: Vec<String>,
    /// Which node, which of its lives, and the recording of that process.
    pub recordings: Vec<(NodeId, u32, Vec<u8>)>,
    /// A number of all outputs of all endpoints.
    pub digest: u64,
    /// Events of the simulation.
    pub events: u64,
    /// Virtual time that it took.
    pub lasted: Duration,
    /// Which law did not hold.
    pub failure: Option<String>,
}

impl Case {
    /// All of this seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The command that runs it again.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!("cargo run --release --bin sim -- replay --seed {}", self.seed);
        if let Some(keep) = &self.keep {
            let places: Vec<String> = keep.iter().map(ToString::to_string).collect();
            command.push_str(&format!(" --keep '{}'", places.join(",")));
        }
        if let Some(plant) = self.plant {
            command.push_str(&format!(" --plant {}", plant.name()));
        }
        command
    }

    /// Runs it. A panic is a failure as any other.
    #[must_use]
    pub fn run(&self) -> Run {
        let plan = Plan::of_seed(self.seed);
        let mut swarm = Swarm::new(&plan, self);
        let caught = catch_unwind(AssertUnwindSafe(|| swarm.live(&plan)));
        let failure = match caught {
            Ok(lived) => lived.err(),
            Err(panic) => Some(format!("panic: {}", words_of(&*panic))),
        };
        let recordings = swarm.network.take_recordings();
        let network = &swarm.network;
        let at = |failure| format!("{failure} (virtual time {:?})", network.now());
        Run {
            case: self.clone(),
            summary: summary(&plan),
            faults: swarm.faults,
            story: network.script.story.clone(),
            recordings,
            digest: network.digest(),
            events: network.events(),
            lasted: network.now().since(Instant::START),
            failure: failure.map(at),
        }
    }

    /// The same with as few faults as it takes to fail; `None` if it does not fail.
    #[must_use]
    pub fn shrink(&self) -> Option<Run> {
        let whole = self.run();
        whole.failure.as_ref()?;
        let with = |keep: &[usize]| Self { keep: Some(keep.to_vec()), ..self.clone() };
        let places: Vec<usize> = whole.faults.iter().map(|(place, ..)| *place).collect();
        let mut fails = |keep: &[usize]| with(keep).run().failure.is_some();
        Some(with(&shrink::smallest(&places, &mut fails)).run())
    }
}

impl Run {
    /// All of it, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("seed {}: {}\n", self.case.seed, self.summary);
        for (place, at, fault) in &self.faults {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {place:>3}  +{:>7.3} s  {fault:?}", at.as_secs_f64());
        }
        for line in &self.story {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(
            text,
            "  {} events in {:.0} virtual seconds, digest {:016x}",
            self.events,
            self.lasted.as_secs_f64(),
            self.digest
        );
        match &self.failure {
            None => text.push_str("  all laws hold\n"),
            Some(failure) => {
                let _ = writeln!(text, "  FAILED: {failure}\n  again: {}", self.case.command());
            }
        }
        text
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn summary(plan: &Plan) -> String {
    let nodes = plan.configs.len();
    let extended = plan.configs.iter().filter(|config| config.extension).count();
    let rules = plan.configs[0].relay;
    let by = if plan.configs[0].seeds.is_empty() { "held" } else { "found by seeds" };
    let (overlay, gossip) = (plan.configs[0].overlay, plan.configs[0].gossip);
    format!(
        "{nodes} nodes, {extended} extended, peers {by}, overlay {overlay:?}, topics {gossip:?}, \
         {:?} over {} bytes, liar {:?}, \
         later {:?}, {:?}, {} acts in {:?}",
        rules.policy,
        rules.unasked_bytes_max,
        plan.liar,
        plan.later_one_in,
        plan.model,
        plan.acts.len(),
        plan.active
    )
}

/// A swarm that runs.
struct Swarm {
    network: Network<Backends>,
    dice: Rng,
    faults: Vec<(usize, Duration, Fault)>,
}

impl Swarm {
    fn new(plan: &Plan, case: &Case) -> Self {
        let mut network = Network::new(plan.model, Backends::new(plan, case.seed), case.seed);
        network.keep_digest();
        if case.record {
            network.record();
        }
        network.script.watched = case.watch;
        if let Some(plant) = case.plant {
            network.plant(plant);
        }
        let kept = |place: &usize| case.keep.as_ref().is_none_or(|keep| keep.contains(place));
        let faults = plan.faults.iter().enumerate().filter(|(place, _)| kept(place));
        let faults = faults.map(|(place, (at, fault))| (place, *at, fault.clone())).collect();
        Self { network, dice: dice::rng(case.seed).fork("last words"), faults }
    }

    fn live(&mut self, plan: &Plan) -> Result<(), String> {
        plan.configs.iter().for_each(|config| {
            self.network.add(config.clone());
        });
        self.heal()?;
        self.heal_overlay(plan)?;
        let before = self.disturbances();
        self.go_wrong(plan)?;
        self.wait(plan.active + SECOND, |_| false)?;
        let calm = self.disturbances() == before;
        for node in 0..self.network.len() {
            let with_store = self.dice.chance(1, 2);
            self.network.schedule(self.network.now(), Fault::Restart { node, with_store });
        }
        self.network.script.later_one_in = None;
        self.heal()?;
        self.heal_overlay(plan)?;
        self.catch_up()?;
        let first = 0;
        if calm {
            let reached = self.wait(SPREAD_MAX, |swarm| swarm.missing(first).is_none())?;
            if !reached {
                return Err(format!("although nothing was lost, {}", self.lacks(first)));
            }
        }
        self.stems_are_public()?;
        self.last_words()?;
        self.speak(plan)?;
        self.rest()
    }

    /// What may have lost a payload: connections that ended, full queues, chains that put off.
    const fn disturbances(&self) -> [u64; 4] {
        let Backends { closes, put_off, missing, .. } = self.network.script;
        [closes, put_off, missing, self.network.dropped()]
    }

    /// Lets this time pass, second by second, or less if it is `done` before: whether it was.
    fn wait(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        let end = self.network.now().after(most);
        while !done(self) {
            if self.network.now() >= end {
                return Ok(false);
            }
            let events = self.network.events();
            self.network.run_until(self.network.now().after(SECOND).min(end));
            laws::always(&self.network, events)?;
        }
        Ok(true)
    }

    fn links(&self) -> BTreeSet<(NodeId, NodeId, usize)> {
        self.network.standing().into_iter().collect()
    }

    fn heal(&mut self) -> Result<(), String> {
        let whole = |swarm: &Self| laws::apart(&swarm.network, &swarm.links()).is_empty();
        if self.wait(HEAL_MAX, whole)? {
            return Ok(());
        }
        let apart = laws::apart(&self.network, &self.links());
        Err(format!("after {HEAL_MAX:?} without a fault these are cut off from node 0: {apart:?}"))
    }

    fn go_wrong(&mut self, plan: &Plan) -> Result<(), String> {
        let begun = self.network.now();
        for (_, at, fault) in &self.faults {
            self.network.schedule(begun.after(*at), fault.clone());
        }
        for (at, node, act) in &plan.acts {
            let wait = begun.after(*at).since(self.network.now());
            self.wait(wait, |_| false)?;
            self.act(*node, *act);
        }
        let rest = begun.after(plan.active).since(self.network.now());
        self.wait(rest, |_| false).map(|_| ())
    }

    fn act(&mut self, node: NodeId, act: Act) {
        if self.network.endpoint(node).is_none() {
            return;
        }
        if let Act::Say { bytes } = act {
            if !self.network.is_paused(node) {
                let Speech { topic, data } =
                    self.network.script.talk.say(node, bytes, &mut self.dice);
                self.network.publish(node, topic, &data);
            }
            return;
        }
        let mut answers = Answers::default();
        self.network.script.make(node, act, &mut answers);
        self.network.answer(node, answers);
    }

    fn catch_up(&mut self) -> Result<(), String> {
        let behind = |swarm: &Self| -> Vec<NodeId> {
            let best = swarm.network.script.best_work();
            let work = |node: &NodeId| swarm.network.script.tip_of(*node).total_difficulty;
            laws::honest(&swarm.network).filter(|node| work(node) < best).collect()
        };
        if self.wait(SYNC_MAX, |swarm| behind(swarm).is_empty())? {
            return Ok(());
        }
        Err(format!("after {SYNC_MAX:?} these have not the best block: {:?}", behind(self)))
    }

    /// Who lacks something that was made from this entry on, and all should have.
    fn missing(&self, from: usize) -> Option<(usize, NodeId)> {
        let script = &self.network.script;
        let made = (from..script.entries.len())
            .filter(|entry| Some(script.entries[*entry].origin) != script.liar);
        let mut lacking = made.flat_map(|entry| {
            let lacks = move |node: &NodeId| !script.has(*node, entry);
            laws::honest(&self.network).filter(lacks).map(move |node| (entry, node))
        });
        lacking.next()
    }

    fn lacks(&self, from: usize) -> String {
        let Some((entry, node)) = self.missing(from) else { return "nothing is lacking".into() };
        let made = &self.network.script.entries[entry];
        let word = if made.is_stem { "stem " } else { "" };
        format!("node {node} lacks {word}{:?} {entry} of node {}", made.kind, made.origin)
    }

    fn stems_are_public(&mut self) -> Result<(), String> {
        let hidden = |swarm: &Self| {
            let script = &swarm.network.script;
            script.entries.iter().enumerate().position(|(number, entry)| {
                let lives = swarm.network.life(entry.origin) + 1 == entry.life;
                entry.is_stem && lives && !script.has(entry.origin, number)
            })
        };
        if self.wait(2 * EMBARGO_MAX, |swarm| hidden(swarm).is_none())? {
            return Ok(());
        }
        Err(format!("stem {:?} is not public at its maker, embargo or not", hidden(self)))
    }

    /// What is published without a fault comes to all, if the links that stood all the while join
    /// all; else once more.
    fn last_words(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let before = self.links();
            let first = self.network.script.entries.len();
            let makers: Vec<NodeId> = laws::honest(&self.network).collect();
            for act in LAST_WORDS {
                let maker = self.dice.pick(&makers).copied().unwrap_or(0);
                self.act(maker, act);
                let pause = Duration::from_millis(self.dice.below(2_000));
                self.wait(pause, |_| false)?;
            }
            let most = SPREAD_MAX + EMBARGO_MAX;
            let reached = self.wait(most, |swarm| swarm.missing(first).is_none())?;
            let stood = before.intersection(&self.links()).copied().collect();
            if reached {
                return Ok(());
            }
            if laws::apart(&self.network, &stood).is_empty() {
                return Err(format!("without a fault, after {most:?}, {}", self.lacks(first)));
            }
        }
        Err(format!("{ROUNDS_MAX} times links did not stand for a minute"))
    }

    fn rest(&mut self) -> Result<(), String> {
        self.wait(5 * SECOND, |_| false)?; // a second copy would come now
        let quiet = |swarm: &Self| laws::at_rest(&swarm.network).is_ok();
        if self.wait(REST_MAX, quiet)? { Ok(()) } else { laws::at_rest(&self.network) }
    }
}

/// What is published when all is well again.
const LAST_WORDS: [Act; 6] = [
    Act::Transaction { bytes: 500 },
    Act::Block { bytes: 30_000 },
    Act::Stem { bytes: 900 },
    Act::Transaction { bytes: 20_000 },
    Act::Stem { bytes: 6_000 },
    Act::Block { bytes: 2_000 },
];
