//! What became of the messages of one run, on real sockets or simulated, and its figures.

use crate::stats::quantile;

/// A message was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// The microsecond.
    pub us: u64,
    /// Who said it.
    pub node: usize,
}

/// A message was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The microsecond.
    pub us: u64,
    /// Links that it came over, if they were counted.
    pub hops: Option<u16>,
}

/// How a node sees the others.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// The microsecond.
    pub us: u64,
    /// Whose sight this is.
    pub node: usize,
    /// Whom it takes to live.
    pub alive: Vec<usize>,
    /// Who does not answer.
    pub suspected: Vec<usize>,
    /// Whom it takes to be dead.
    pub dead: Vec<usize>,
    /// Connections that it gave up until now since the other was silent.
    pub silent: u64,
}

/// One run.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Course {
    /// When each node was killed or left, if it was.
    pub gone: Vec<Option<u64>>,
    /// The messages, in the order of their numbers.
    pub published: Vec<Published>,
    /// For each message what each node heard.
    pub heard: Vec<Vec<Option<Heard>>>,
    /// Messages that came to each node and were new to it.
    pub new: Vec<u64>,
    /// Those that came and were known.
    pub known: Vec<u64>,
    /// Sights of the others, in any order.
    pub seen: Vec<Seen>,
}

/// The figures of one run, of the nodes that live in the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// Links that a message came over, mean over all deliveries; `None`: they were not counted.
    pub hops: Option<f64>,
    /// Copies that came to who had the message, for each that was new.
    pub duplicates: f64,
    /// Milliseconds until half of those who hear a message have heard it, mean over the messages: a
    /// median would jump where some take no time and others wait for the next telling.
    pub half_ms: f64,
    /// The same of 95 % of them: nobody who has to wait for a comparison, which is seldom and takes
    /// a hundred times as long, decides on the mean.
    pub most_ms: f64,
    /// The same of all of them.
    pub all_ms: f64,
    /// Share of the deliveries that there should have been.
    pub delivered: f64,
}

impl Course {
    fn lives(&self, node: usize, us: u64) -> bool {
        self.gone[node].is_none_or(|gone| gone > us)
    }

    fn lives_on(&self, node: usize) -> bool {
        self.gone[node].is_none()
    }

    /// Microseconds since a message was said at which who lives in the end heard it, ascending.
    fn times(&self, message: usize) -> Vec<f64> {
        let begun = self.published[message].us;
        let heard = self.heard[message].iter().enumerate();
        let heard = heard.filter(|(node, _)| self.lives_on(*node)).filter_map(|(_, heard)| *heard);
        let mut times: Vec<f64> =
            heard.map(|heard| heard.us.saturating_sub(begun) as f64).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    }

    /// The figures of the run.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let all: Vec<Vec<f64>> = (0..self.published.len()).map(|one| self.times(one)).collect();
        let until = |share: f64| {
            let times = all.iter().filter(|times| !times.is_empty());
            let at: Vec<f64> = times.map(|times| quantile(&mut times.clone(), share)).collect();
            at.iter().sum::<f64>() / at.len().max(1) as f64 / 1e3
        };
        let living: Vec<usize> = (0..self.gone.len()).filter(|node| self.lives_on(*node)).collect();
        let heard = self.heard.iter().flat_map(|heard| living.iter().map(|node| heard[*node]));
        let hops: Vec<f64> =
            heard.flatten().filter_map(|heard| heard.hops).map(f64::from).collect();
        let sum = |counts: &[u64]| living.iter().map(|node| counts[*node] as f64).sum::<f64>();
        let delivered: usize = all.iter().map(Vec::len).sum();
        let wanted = self.published.len() * living.len().saturating_sub(1);
        Figures {
            hops: (!hops.is_empty()).then(|| hops.iter().sum::<f64>() / hops.len() as f64),
            duplicates: sum(&self.known) / sum(&self.new).max(1.0),
            half_ms: until(0.5),
            most_ms: until(0.95),
            all_ms: until(1.0),
            delivered: delivered as f64 / wanted.max(1) as f64,
        }
    }

    /// Of those who live in the end, the share that knows a message so long after it was said, who
    /// said it included; mean over the messages.
    #[must_use]
    pub fn know_after(&self, us: f64) -> f64 {
        let living = (0..self.gone.len()).filter(|node| self.lives_on(*node)).count();
        let heard = |one| self.times(one).partition_point(|time| *time <= us);
        let know: usize = (0..self.published.len()).map(|one| heard(one) + 1).sum();
        know as f64 / (living * self.published.len()).max(1) as f64
    }

    /// How many are taken to be dead at an instant and live, over all who take them to be. Over
    /// streams, where a node knows only of connections: those given up so far for silence.
    #[must_use]
    pub fn wrongly_dead(&self, us: u64) -> usize {
        let mut latest: Vec<Option<&Seen>> = vec![None; self.gone.len()];
        for seen in self.seen.iter().filter(|seen| seen.us <= us) {
            let before = &mut latest[seen.node];
            if before.is_none_or(|before| before.us <= seen.us) {
                *before = Some(seen);
            }
        }
        let sights = latest.into_iter().flatten().filter(|seen| self.lives(seen.node, us));
        let wrong = |seen: &Seen| seen.dead.iter().filter(|node| self.lives(**node, us)).count();
        sights.map(|seen| wrong(seen) + seen.silent as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three nodes of which the last is gone after 9 ms; the first said two messages.
    fn course() -> Course {
        let heard = |us, hops| Some(Heard { us, hops: Some(hops) });
        Course {
            gone: vec![None, None, Some(9_000)],
            published: vec![Published { us: 1_000, node: 0 }, Published { us: 5_000, node: 0 }],
            heard: vec![
                vec![None, heard(2_000, 1), heard(3_000, 2)],
                vec![None, heard(8_000, 2), None],
            ],
            new: vec![0, 2, 1],
            known: vec![1, 0, 7],
            seen: vec![
                Seen { us: 10, node: 0, dead: vec![1], ..Seen::default() },
                Seen { us: 6_000, node: 0, dead: vec![1, 2], ..Seen::default() },
                Seen { us: 7_000, node: 2, dead: vec![0], silent: 1, ..Seen::default() },
            ],
        }
    }

    #[test]
    fn figures_are_of_those_who_live_on() {
        let figures = course().figures();
        assert_eq!(figures.hops, Some(1.5));
        assert_eq!(figures.duplicates, 0.5);
        assert_eq!((figures.most_ms, figures.all_ms), (2.0, 2.0));
        assert_eq!(figures.delivered, 1.0);
        assert_eq!(course().know_after(0.0), 0.5);
        assert_eq!(course().know_after(1_000.0), 0.75);
        assert_eq!(course().know_after(3_000.0), 1.0);
    }

    #[test]
    fn who_is_gone_is_rightly_dead_and_sees_nothing() {
        let at = [0, 10, 6_000, 7_000, 9_000].map(|us| course().wrongly_dead(us));
        assert_eq!(at, [0, 1, 2, 4, 1]);
    }

    #[test]
    fn a_run_without_messages_has_figures() {
        let figures =
            Course { gone: vec![None; 3], new: vec![0; 3], known: vec![0; 3], ..Course::default() }
                .figures();
        assert_eq!((figures.hops, figures.all_ms, figures.delivered), (None, 0.0, 0.0));
    }
}
