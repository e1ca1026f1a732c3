//! One child process of `hostile`, from the parent's side.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;

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
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(own)
            .arg(HELPER_COMMAND)
            // A group of its own: Ctrl-C is for the parent, which ends its children in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("starting {name}: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("it is piped");
        let (tell, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(word) = serde_json::from_str(&line) else { break };
                if tell.send(word).is_err() {
                    break;
                }
            }
        });
        let mut helper = Self { name, child, input, said };
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
        let line = serde_json::to_string(line).expect("it is plain data");
        let input = self.input.as_mut().ok_or("its input is closed")?;
        writeln!(input, "{line}").map_err(|error| format!("telling {}: {error}", self.name))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + LEAVING_PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Ending one that has ended is refused, and harmless.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
