//! Messages of topics in a swarm in which all is well: whom they must reach, and over what.

use std::collections::BTreeSet;
use std::time::Duration;

use super::plan::{Act, Plan};
use super::{HEAL_MAX, SECOND, Swarm, laws};
use crate::model::Credits;
use crate::network::NodeId;

/// How long a message of a topic may take to be told to all: a hop that nobody expected costs as
/// much as the longest timer there is, and a way has some of them.
pub const TOLD_MAX: Duration = Duration::from_secs(60);

/// Messages of one round, in bytes: together less than what every node keeps.
const SPEECHES: [usize; 8] = [30, 500, 12_000, 4, 3_000, 50_000, 900, 64];

/// Rounds in which all must be told, and how often one is begun anew since links did not stand.
const ROUNDS: usize = 3;
const ATTEMPTS_MAX: usize = 12;

/// How long what was asked for may be on its way, and how much later than it came something may be
/// read where credits are drawn.
const UNDER_WAY: Duration = Duration::from_secs(5);

type Links = BTreeSet<(NodeId, NodeId, usize)>;

impl Swarm {
    /// The links that messages of topics go over, and that stand at both ends.
    fn branches(&self, plan: &Plan) -> Links {
        if plan.overlay {
            return self.network.neighbouring().into_iter().collect();
        }
        let extended = |node: &NodeId| plan.configs[*node].extension;
        let links = self.links().into_iter();
        links.filter(|(from, to, _)| extended(from) && extended(to)).collect()
    }

    /// The overlay hangs together, if all can have part in it.
    pub(super) fn heal_overlay(&mut self, plan: &Plan) -> Result<(), String> {
        if !(plan.overlay && plan.whole) {
            return Ok(());
        }
        let apart = |swarm: &Self| laws::apart(&swarm.network, &swarm.branches(plan));
        if self.wait(HEAL_MAX, |swarm| apart(swarm).is_empty())? {
            return Ok(());
        }
        let apart = apart(self);
        Err(format!("after {HEAL_MAX:?} these are not in the overlay of node 0: {apart:?}"))
    }

    /// What is said without a fault is told to all, if the links that stood all the while join all;
    /// else once more. Who hears of something asks for it, and is answered.
    pub(super) fn speak(&mut self, plan: &Plan) -> Result<(), String> {
        if !plan.tree {
            return Ok(());
        }
        let mut done = 0;
        for _ in 0..ATTEMPTS_MAX {
            done += usize::from(self.speak_once(plan)?);
            if done == ROUNDS {
                return Ok(());
            }
        }
        Err(format!("{ATTEMPTS_MAX} times the links of topics did not stand for a minute"))
    }

    /// Whether all were told who must be.
    fn speak_once(&mut self, plan: &Plan) -> Result<bool, String> {
        let mut stood = self.branches(plan);
        let nodes: Vec<NodeId> = laws::honest(&self.network).collect();
        let first = self.network.script.talk.count();
        self.network.script.talk.listen();
        for bytes in SPEECHES {
            let speaker = self.dice.pick(&nodes).copied().unwrap_or(0);
            self.act(speaker, Act::Say { bytes });
            let pause = Duration::from_millis(self.dice.below(400));
            self.wait_standing(plan, pause, &mut stood)?;
        }
        let untold = |swarm: &Self| swarm.network.script.talk.untold(first, &nodes);
        let end = self.network.now().after(TOLD_MAX);
        while self.network.now() < end && plan.whole && untold(self).is_some() {
            self.wait_standing(plan, SECOND, &mut stood)?;
        }
        let rules = plan.configs[0].plumtree;
        self.wait_standing(plan, rules.graft_within() + UNDER_WAY, &mut stood)?;
        let pairs = stood.iter().map(|(from, to, _)| (*from.min(to), *from.max(to))).collect();
        let slack = if plan.model.credits == Credits::Random { UNDER_WAY } else { Duration::ZERO };
        let due = rules.graft_within() + slack;
        self.network.script.talk.asked_and_answered(first, &pairs, due)?;
        match untold(self).filter(|_| plan.whole) {
            None => Ok(true),
            Some(_) if !laws::apart(&self.network, &stood).is_empty() => Ok(false),
            Some((message, node)) => Err(format!(
                "without a fault, after {TOLD_MAX:?}, node {node} was not told message {message}"
            )),
        }
    }

    /// Lets time pass, and strikes out the links that did not stand.
    fn wait_standing(
        &mut self,
        plan: &Plan,
        wait: Duration,
        stood: &mut Links,
    ) -> Result<(), String> {
        let end = self.network.now().after(wait);
        while self.network.now() < end {
            self.wait(SECOND.min(end.since(self.network.now())), |_| false)?;
            let now = self.branches(plan);
            stood.retain(|link| now.contains(link));
        }
        Ok(())
    }
}
