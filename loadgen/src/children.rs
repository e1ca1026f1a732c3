//! The fleet's child processes, from the parent's side.

use std::process::{Child, ChildStdin};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::child;
use crate::control::{Event, Order, Spec, Tally, ThreadDone};

/// The hidden subcommand that a child runs.
pub(crate) const FLEET_COMMAND: &str = "fleet";

/// What complaints call a child.
const NAME: &str = "a fleet";

/// How long a child may take to leave before it is ended.
const LEAVING_PATIENCE: Duration = Duration::from_secs(5);

/// All children of a run.
pub(crate) struct Children {
    children: Vec<(Child, Option<ChildStdin>)>,
    events: mpsc::Receiver<(usize, Option<Event>)>,
    tallies: Vec<Tally>,
    ready: usize,
    done: Vec<ThreadDone>,
    done_count: usize,
}

impl Children {
    /// Starts one child for each spec.
    pub(crate) fn start(specs: &[Spec]) -> Result<Self, String> {
        let (tell, events) = mpsc::channel();
        let mut children = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let (child, mut input, output) = child::start(FLEET_COMMAND, NAME)?;
            child::tell(&mut input, NAME, spec)?;
            let tell = tell.clone();
            child::hear(output, move |event| tell.send((index, event)).is_ok());
            children.push((child, Some(input)));
        }
        let tallies = vec![Tally::default(); specs.len()];
        Ok(Self { children, events, tallies, ready: 0, done: Vec::new(), done_count: 0 })
    }

    /// Takes in what the children say, for as long as `wait`. `Err`: one of them is gone.
    pub(crate) fn listen(&mut self, wait: Duration) -> Result<(), String> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (index, event) = match self.events.recv_timeout(left) {
                Ok(said) => said,
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err("all fleets ended".into()),
            };
            match event {
                Some(Event::Ready(tally)) => {
                    self.tallies[index] = tally;
                    self.ready += 1;
                }
                Some(Event::Progress(tally)) => self.tallies[index] = tally,
                Some(Event::Done(tally, threads)) => {
                    self.tallies[index] = tally;
                    self.done.extend(threads);
                    self.done_count += 1;
                }
                None => return Err(format!("fleet {index} ended of itself")),
            }
        }
    }

    /// Whether all connections of all children stand, or have failed.
    pub(crate) const fn all_ready(&self) -> bool {
        self.ready == self.children.len()
    }

    /// Whether all children have said their last word.
    pub(crate) const fn all_done(&self) -> bool {
        self.done_count == self.children.len()
    }

    /// The counts of all children together.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.tallies.iter().for_each(|tally| sum.add(tally));
        sum
    }

    /// The last words of all fleet threads.
    pub(crate) fn done(&self) -> &[ThreadDone] {
        &self.done
    }

    /// Tells all children.
    pub(crate) fn order(&mut self, order: Order) -> Result<(), String> {
        let inputs = self.children.iter_mut().filter_map(|(_, input)| input.as_mut());
        inputs.into_iter().try_for_each(|input| child::tell(input, NAME, &order))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(|(_, input)| drop(input.take()));
        let deadline = Instant::now() + LEAVING_PATIENCE;
        for (child, _) in &mut self.children {
            child::see_off(child, deadline);
        }
    }
}
