//! The engines of a run, each a process, from the parent's side.
//!
//! Invariant: each is ended by this program, by its own handle, whatever becomes of the run.

use std::process::{Child, ChildStdin};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::words::{Order, Said, Spec};
use crate::child;

/// The hidden subcommand that a child runs.
pub(crate) const COMMAND: &str = "member";

/// What complaints call a child.
const NAME: &str = "an engine's process";

/// How long children may take to leave before they are ended.
const LEAVING_PATIENCE: Duration = Duration::from_secs(10);

/// All engines, by number.
pub(super) struct Members {
    members: Vec<Member>,
    tell: mpsc::Sender<(u32, Option<Said>)>,
    said: mpsc::Receiver<(u32, Option<Said>)>,
}

struct Member {
    child: Child,
    /// `None` once it was killed or told to leave.
    input: Option<ChildStdin>,
    /// It may say no more without a word.
    may_end: bool,
}

impl Members {
    pub(super) fn new() -> Self {
        let (tell, said) = mpsc::channel();
        Self { members: Vec::new(), tell, said }
    }

    /// Starts the next one.
    pub(super) fn start(&mut self, spec: &Spec) -> Result<(), String> {
        let (child, mut input, output) = child::start(COMMAND, NAME)?;
        child::tell(&mut input, NAME, spec)?;
        let (engine, tell) = (self.members.len() as u32, self.tell.clone());
        child::hear(output, move |said| tell.send((engine, said)).is_ok());
        self.members.push(Member { child, input: Some(input), may_end: false });
        Ok(())
    }

    /// What somebody says within this time. `Err`: one is gone that was to live.
    pub(super) fn listen(&mut self, wait: Duration) -> Result<Option<(u32, Said)>, String> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((engine, said)) = self.said.recv_timeout(left) else { return Ok(None) };
            match said {
                Some(said) => return Ok(Some((engine, said))),
                None if self.members[engine as usize].may_end => {}
                None => return Err(format!("engine {engine} ended of itself")),
            }
        }
    }

    pub(super) fn order(&mut self, engine: u32, order: Order) -> Result<(), String> {
        let member = &mut self.members[engine as usize];
        member.may_end |= order == Order::Leave;
        let Some(input) = &mut member.input else {
            return Err(format!("engine {engine} is told to do something, and is gone"));
        };
        child::tell(input, NAME, &order)
    }

    /// Ends one at once, without a goodbye.
    pub(super) fn kill(&mut self, engine: u32) -> Result<(), String> {
        let member = &mut self.members[engine as usize];
        member.may_end = true;
        let killed = member.child.kill().and_then(|()| member.child.wait());
        // Not earlier: a child whose input closes says goodbye.
        member.input = None;
        killed.map(drop).map_err(|error| format!("killing engine {engine}: {error}"))
    }

    /// Has one stand still, or go on. One that stands still when this program dies is sent SIGHUP
    /// and SIGCONT by the system, since its group has nobody left, and ends.
    pub(super) fn pause(&self, engine: u32, stands: bool) -> Result<(), String> {
        let child = &self.members[engine as usize].child;
        let signal = if stands { Signal::STOP } else { Signal::CONT };
        let done = kill_process(Pid::from_child(child), signal);
        done.map_err(|error| format!("pausing engine {engine}: {error}"))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in &mut self.members {
            if member.input.take().is_some() {
                // One that stood still could not leave; that it is gone already is no harm.
                let _ = kill_process(Pid::from_child(&member.child), Signal::CONT);
            }
        }
        let deadline = Instant::now() + LEAVING_PATIENCE;
        for member in &mut self.members {
            child::see_off(&mut member.child, deadline);
        }
    }
}
