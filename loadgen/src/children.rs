//! The fleet's child processes, from the parent's side.
//!
//! Invariant: a child never outlives the parent: it ends when its standard input closes, which
//! the kernel does for a parent that dies.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::control::{Event, Order, Spec, Tally, ThreadDone};

/// The hidden subcommand that a child runs.
pub(crate) const FLEET_COMMAND: &str = "fleet";

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
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        for (index, spec) in specs.iter().enumerate() {
            let mut child = Command::new(&own)
                .arg(FLEET_COMMAND)
                // A group of its own: Ctrl-C is for the parent, which ends its children in order.
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|error| format!("starting a fleet: {error}"))?;
            let mut input = child.stdin.take().expect("it is piped");
            let output = child.stdout.take().expect("it is piped");
            let line = serde_json::to_string(spec).expect("a spec is plain data");
            writeln!(input, "{line}").map_err(|error| format!("telling a fleet: {error}"))?;
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let Ok(event) = serde_json::from_str(&line) else { break };
                    if tell.send((index, Some(event))).is_err() {
                        return;
                    }
                }
                // Nobody listens when the run is over, and then it is no news.
                let _ = tell.send((index, None));
            });
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
        let line = serde_json::to_string(&order).expect("an order is plain data");
        for input in self.children.iter_mut().filter_map(|(_, input)| input.as_mut()) {
            writeln!(input, "{line}").map_err(|error| format!("telling a fleet: {error}"))?;
        }
        Ok(())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(|(_, input)| drop(input.take()));
        let deadline = Instant::now() + LEAVING_PATIENCE;
        for (child, _) in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Ending one that has ended is refused, and harmless.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
