//! One child process of `hostile`, from the parent's side.

use std::process::{Child, ChildStdin};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child;
use crate::talk::{Order, Role, Said};

/// The hidden subcommand that it runs.
pub(crate) const HELPER_COMMAND: &str = "hostile-helper";

/// How long it may take to leave before it is ended.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2);

/// A child process, and what it says.
pub(super) struct Helper {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    said: mpsc::Receiver<Said>,
}

impl Helper {
    /// Starts it.
    pub(super) fn start(name: &'static str, role: &Role) -> Result<Self, String> {
        let (child, input, output) = child::start(HELPER_COMMAND, name)?;
        let (tell, said) = mpsc::channel();
        // When it says no more, its end of the channel is dropped with the thread.
        child::hear(output, move |word| word.is_some_and(|word| tell.send(word).is_ok()));
        let mut helper = Self { name, child, input: Some(input), said };
        helper.write(role)?;
        Ok(helper)
    }

    /// Tells it what to do.
    pub(super) fn order(&mut self, order: &Order) -> Result<(), String> {
        self.write(order)
    }

    /// What it says within this time, if anything. `Err`: it is gone.
    pub(super) fn hear(&self, patience: Duration) -> Result<Option<Said>, String> {
        match self.said.recv_timeout(patience) {
            Ok(said) => Ok(Some(said)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(format!("{} ended", self.name)),
        }
    }

    /// What it says within this time; it must say something.
    pub(super) fn answer(&self, patience: Duration) -> Result<Said, String> {
        let said = self.hear(patience)?;
        said.ok_or_else(|| format!("{} did not answer within {patience:?}", self.name))
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        child::tell(input, self.name, line)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.input.take());
        child::see_off(&mut self.child, Instant::now() + LEAVING_PATIENCE);
    }
}
