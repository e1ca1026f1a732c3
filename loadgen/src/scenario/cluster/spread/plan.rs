//! What is to happen when: drawn before the run from its seed.
//!
//! Invariant: no engine has two faults, and none of those who say something has any.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Flags;
use super::inject::Fault;
use crate::noise::Noise;

/// One thing that is to happen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Step {
    Publish { engine: u32, message: u32 },
    Kill(u32),
    Leave(u32),
    Pause(u32),
    Resume(u32),
    Lose(f64),
}

/// All of it, by the time since the first message.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan(pub(super) Vec<(Duration, Step)>);

/// After the last step before the run ends: what was announced has been asked for, twice. Datagrams
/// take some periods of a second in which members tell each other.
pub(super) const REST: Duration = Duration::from_secs(2);
pub(super) const REST_DATAGRAMS: Duration = Duration::from_secs(15);

/// And so much longer where somebody misses something: members compare what they know each 30 s.
pub(super) const COMPARED: Duration = Duration::from_secs(35);

/// Fewest engines that nothing goes wrong with: a contact, and one who says something.
const SOUND_MIN: usize = 2;

impl Plan {
    /// Draws who has which fault, and who says which message. The contact of all is spared: who it
    /// is that others ask first is no matter of gossip.
    pub(super) fn draw(flags: &Flags, engines: u32, seed: u64) -> Result<Self, String> {
        let mut noise = Noise(seed);
        let mut free: Vec<u32> = (1..engines).collect();
        let mut steps = Vec::new();
        for inject in &flags.inject {
            let mut some = |count: u32| -> Result<Vec<u32>, String> {
                if free.len() < count as usize + SOUND_MIN {
                    return Err(format!("{engines} engines are too few for these faults"));
                }
                let draw = |_| free.swap_remove((noise.next() % free.len() as u64) as usize);
                Ok((0..count).map(draw).collect())
            };
            let at = inject.at;
            match inject.fault {
                Fault::Kill(count) => {
                    steps.extend(some(count)?.into_iter().map(|one| (at, Step::Kill(one))));
                }
                Fault::Leave(count) => {
                    steps.extend(some(count)?.into_iter().map(|one| (at, Step::Leave(one))));
                }
                Fault::Pause(count, lasts) => {
                    for one in some(count)? {
                        steps.extend([(at, Step::Pause(one)), (at + lasts, Step::Resume(one))]);
                    }
                }
                Fault::Loss(share, lasts) => {
                    steps.push((at, Step::Lose(share)));
                    steps.extend(lasts.map(|lasts| (at + lasts, Step::Lose(0.0))));
                }
            }
        }
        for message in 0..flags.messages {
            let engine = free[(noise.next() % free.len() as u64) as usize];
            steps.push((flags.every * message, Step::Publish { engine, message }));
        }
        // Of what is to happen at once the faults come first.
        steps.sort_by_key(|(at, _)| *at);
        Ok(Self(steps))
    }

    /// Engines that are gone in the end.
    pub(super) fn gone(&self) -> BTreeSet<u32> {
        let gone = self.0.iter().filter_map(|(_, step)| match step {
            Step::Kill(engine) | Step::Leave(engine) => Some(*engine),
            _ => None,
        });
        gone.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::cluster::spread::tests::flags;

    #[test]
    fn who_says_something_has_no_fault_and_nobody_two() {
        let line = "--messages 200 --inject kill=4@1s --inject leave=3@2s --inject pause=5@1s+2s";
        let flags = flags(line);
        let plan = Plan::draw(&flags, 20, 7).unwrap();
        assert_eq!(plan, Plan::draw(&flags, 20, 7).unwrap());
        assert_ne!(plan, Plan::draw(&flags, 20, 8).unwrap());
        let faulty = plan.0.iter().filter_map(|(_, step)| match step {
            Step::Kill(one) | Step::Leave(one) | Step::Pause(one) => Some(*one),
            _ => None,
        });
        let faulty: Vec<u32> = faulty.collect();
        let all: BTreeSet<_> = faulty.iter().copied().collect();
        assert_eq!((faulty.len(), all.len(), all.contains(&0)), (12, 12, false));
        assert_eq!(plan.gone().len(), 7);
        let speak = plan.0.iter().filter_map(|(_, step)| match step {
            Step::Publish { engine, .. } => Some(*engine),
            _ => None,
        });
        assert!(speak.clone().count() == 200 && speak.into_iter().all(|one| !all.contains(&one)));
        assert!(plan.0.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn too_many_faults_are_an_error() {
        assert!(Plan::draw(&flags("--inject kill=18@1s"), 20, 1).is_err());
        assert!(Plan::draw(&flags("--inject kill=17@1s"), 20, 1).is_ok());
    }
}
