//! The processes of engines, from the parent's side.

use std::process::{Child, ChildStdin};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::words::{Event, Footprint, Order, Spec};
use crate::child;

/// The hidden subcommand that a child runs.
pub(super) const COMMAND: &str = "engines";

/// What complaints call a child.
const NAME: &str = "a process of engines";

/// How long a child may take to leave before it is ended.
const LEAVING_PATIENCE: Duration = Duration::from_secs(10);

/// All children of a run, those that were killed included.
pub(super) struct Processes {
    children: Vec<Process>,
    tell: mpsc::Sender<(usize, Option<Event>)>,
    events: mpsc::Receiver<(usize, Option<Event>)>,
}

struct Process {
    child: Child,
    /// `None` once it was killed or has ended.
    input: Option<ChildStdin>,
    footprint: Footprint,
}

impl Processes {
    pub(super) fn new() -> Self {
        let (tell, events) = mpsc::channel();
        Self { children: Vec::new(), tell, events }
    }

    /// Starts one more; its index.
    pub(super) fn start(&mut self, spec: &Spec) -> Result<usize, String> {
        let (child, mut input, output) = child::start(COMMAND, NAME)?;
        child::tell(&mut input, NAME, spec)?;
        let (index, tell) = (self.children.len(), self.tell.clone());
        child::hear(output, move |event| tell.send((index, event)).is_ok());
        self.children.push(Process { child, input: Some(input), footprint: Footprint::default() });
        Ok(index)
    }

    /// What somebody says within this time. `Err`: one is gone that was to live.
    pub(super) fn listen(&mut self, wait: Duration) -> Result<Option<Event>, String> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((index, event)) = self.events.recv_timeout(left) else { return Ok(None) };
            let process = &mut self.children[index];
            if process.input.is_none() {
                continue;
            }
            match &event {
                Some(Event::Seen { footprint, .. }) => process.footprint = footprint.clone(),
                Some(Event::Ended { .. }) => process.input = None,
                Some(Event::Listening { .. }) => {}
                None => return Err(format!("process {index} of engines ended of itself")),
            }
            return Ok(event);
        }
    }

    /// Ends one at once, without a goodbye.
    pub(super) fn kill(&mut self, index: usize) -> Result<(), String> {
        let process = &mut self.children[index];
        let killed = process.child.kill().and_then(|()| process.child.wait());
        // Not earlier: a child whose input closes says goodbye.
        process.input = None;
        killed.map(drop).map_err(|error| format!("killing process {index} of engines: {error}"))
    }

    /// Tells all that live.
    pub(super) fn order(&mut self, order: &Order) -> Result<(), String> {
        let inputs = self.children.iter_mut().filter_map(|process| process.input.as_mut());
        inputs.into_iter().try_for_each(|input| child::tell(input, NAME, order))
    }

    /// How many live.
    pub(super) fn living(&self) -> usize {
        self.children.iter().filter(|process| process.input.is_some()).count()
    }

    /// What each told last of itself.
    pub(super) fn footprints(&self) -> impl Iterator<Item = &Footprint> {
        self.children.iter().map(|process| &process.footprint)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(|process| drop(process.input.take()));
        let deadline = Instant::now() + LEAVING_PATIENCE;
        for Process { child, .. } in &mut self.children {
            child::see_off(child, deadline);
        }
    }
}
