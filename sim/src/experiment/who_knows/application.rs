//! News on the messages of an application: who is not talked to learns nothing.

use std::sync::Arc;
use std::time::Duration;

use peer::gossip::PushPullRules;
use peer::gossip::push_pull::Rides;

use super::{Parameters, all_know, shown, times};
use crate::dice::rng;
use crate::experiment::overlay::{rng_of, some_of};
use crate::experiment::{Verdicts, each_case, pairs, seeds};
use crate::machines::{Addresses, Crowd, Load, Member};
use crate::runs::Table;
use crate::stats::{number, quantile};

/// Who talks with whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Talk {
    /// All as much, with anybody.
    Uniform,
    /// The n-th in a random order sends and gets a share of 1/n of what the first does.
    Zipf,
    /// One in ten is silent and is not talked to; the others as in `Uniform`.
    Idle,
}

impl Talk {
    const ALL: [Self; 3] = [Self::Uniform, Self::Zipf, Self::Idle];

    const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Idle => "idle tenth",
        }
    }

    /// Weight of each node, by its place in the order.
    fn weights(self, nodes: usize) -> Vec<f64> {
        let weight = |place: usize| match self {
            Self::Uniform => 1.0,
            Self::Zipf => 1.0 / (place + 1) as f64,
            Self::Idle => f64::from(place >= nodes / 10),
        };
        (0..nodes).map(weight).collect()
    }
}

/// Longer than an event is remembered: who does not know then never will.
const WATCHED: Duration = Duration::from_secs(75);

/// One run.
#[derive(Clone, PartialEq, Debug)]
struct Outcome {
    /// Seconds until each of those who are talked to knew, ascending.
    knew: Vec<f64>,
    /// How many are talked to.
    talked_to: usize,
    /// Those who are not, and know all the same.
    idle_know: usize,
}

/// All runs of one load.
pub(super) struct Measured {
    talk: Talk,
    rate: f64,
    runs: Vec<Outcome>,
}

impl Measured {
    fn median(&self, share: f64) -> f64 {
        let until = |run: &Outcome| {
            let place = ((share * run.talked_to as f64).ceil() as usize).max(1) - 1;
            run.knew.get(place).copied().unwrap_or(f64::INFINITY)
        };
        quantile(&mut self.runs.iter().map(until).collect::<Vec<_>>(), 0.5)
    }

    /// Of those who are talked to, in percent.
    fn never(&self) -> f64 {
        let of = |figure: fn(&Outcome) -> usize| self.runs.iter().map(figure).sum::<usize>() as f64;
        let talked_to = of(|run| run.talked_to);
        100.0 * (talked_to - of(|run| run.knew.len())) / talked_to.max(1.0)
    }

    fn whole(&self) -> usize {
        self.runs.iter().filter(|run| run.knew.len() == run.talked_to).count()
    }

    fn idle_know(&self) -> usize {
        self.runs.iter().map(|run| run.idle_know).sum()
    }
}

fn run(talk: Talk, rate: f64, nodes: usize, seed: u64) -> Outcome {
    let dice = rng(seed);
    let addresses = Addresses::honest();
    let order = some_of(nodes, nodes, &mut dice.fork("order"));
    let weights = talk.weights(nodes);
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let mut receivers = Vec::new();
    let mut rates = vec![0.0; nodes];
    for (node, weight) in order.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0) {
        sum += weight / total;
        receivers.push((addresses.of(*node), sum));
        rates[*node] = rate * nodes as f64 * weight / total;
    }
    let receivers: Arc<[_]> = receivers.into();
    let rides = Rides::Application;
    let rules = PushPullRules { rides, cluster_size: Some(nodes), ..PushPullRules::default() };
    let mut crowd = Crowd::new(addresses, dice.fork("crowd"));
    for (node, rate) in rates.iter().enumerate() {
        let load = Load { rate: *rate, receivers: receivers.clone() };
        let own = addresses.of(node);
        crowd.add(Member::new(rules.clone(), own, &rng_of(&dice, node), Some(load)), &[]);
    }
    let (talked_to, idle): (Vec<usize>, Vec<usize>) =
        (0..nodes).partition(|node| rates[*node] > 0.0);
    // The one in the middle of the order talks as much as most do.
    let begun = crowd.now();
    crowd.tell(order[nodes / 2], |member, now| member.publish(now));
    let second = Duration::from_secs(1);
    while crowd.now().since(begun) < WATCHED && !(idle.is_empty() && all_know(&crowd, &talked_to)) {
        crowd.run(second);
    }
    let idle_know = idle.iter().filter(|node| crowd.machine(**node).knew().is_some()).count();
    let knew = times(&crowd, &talked_to, begun, second);
    Outcome { knew, talked_to: talked_to.len(), idle_know }
}

/// All runs of all loads.
pub(super) fn measure(parameters: &Parameters) -> Vec<Measured> {
    let cases = pairs(&Talk::ALL, &parameters.rates);
    let done = each_case(
        cases,
        |_| seeds(parameters.seed, parameters.seeds),
        |(talk, rate), seed| run(**talk, *rate, parameters.talkers, seed),
    );
    let measured = |((talk, rate), runs): ((&Talk, _), _)| Measured { talk: *talk, rate, runs };
    done.into_iter().map(measured).collect()
}

pub(super) fn table(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "talk",
        "messages a node and second",
        "50 % know",
        "99 % know",
        "all know",
        "runs whole",
        "of",
        "never learn %",
        "idle that know",
    ]);
    for one in all {
        table.push(vec![
            one.talk.name().to_owned(),
            one.rate.to_string(),
            shown(one.median(0.5)),
            shown(one.median(0.99)),
            shown(one.median(1.0)),
            one.whole().to_string(),
            one.runs.len().to_string(),
            number(one.never(), 2),
            one.idle_know().to_string(),
        ]);
    }
    table
}

/// Where everybody is talked to once a second or more, everybody learns; who is idle never does.
pub(super) fn verdict(all: &[Measured], verdicts: &mut Verdicts) {
    for one in all.iter().filter(|one| one.talk == Talk::Uniform && one.rate >= 1.0) {
        let (whole, runs) = (one.whole(), one.runs.len());
        let line = format!(
            "on {} messages a node and second, uniform: all know in {whole} of {runs} runs",
            one.rate
        );
        verdicts.judge(whole == runs, line);
    }
    let idle = all.iter().filter(|one| one.talk == Talk::Idle);
    let know: usize = idle.map(Measured::idle_know).sum();
    verdicts.judge(know == 0, format!("{know} nodes to which nobody talks know, wanted none"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_talked_to_learns_and_who_is_not_does_not() {
        let uniform = run(Talk::Uniform, 10.0, 30, 1);
        assert_eq!((uniform.knew.len(), uniform.talked_to), (30, 30));
        let idle = run(Talk::Idle, 10.0, 30, 1);
        assert_eq!((idle.knew.len(), idle.talked_to, idle.idle_know), (27, 27, 0));
    }

    #[test]
    fn the_sooner_the_more_is_said() {
        let time = |rate| run(Talk::Uniform, rate, 30, 2).knew.last().copied().unwrap();
        assert!(time(100.0) < time(1.0));
    }

    #[test]
    fn weights_are_those_of_their_names() {
        assert_eq!(Talk::Zipf.weights(3), [1.0, 0.5, 1.0 / 3.0]);
        assert_eq!(Talk::Idle.weights(10).iter().sum::<f64>(), 9.0);
        assert_eq!(Talk::Uniform.weights(2), [1.0, 1.0]);
    }
}
