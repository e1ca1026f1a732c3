//! Commands of a chain that wait for room on the lane to the engine.

use std::collections::VecDeque;
use std::time::Duration;

use molva::{ChainSide, FromChain, SendError};

/// Commands that wait; beyond these a command is dropped.
const WAITING_MAX: usize = 65_536;

/// How long a chain waits for events: long, unless commands wait for their own turn.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_WAITING: Duration = Duration::from_millis(1);

/// The engine has ended.
pub(crate) struct Gone;

/// The commands that wait, in their order.
#[derive(Default)]
pub(crate) struct Waiting(VecDeque<FromChain>);

impl Waiting {
    /// Puts one more behind the others, if there is room.
    pub(crate) fn push(&mut self, command: FromChain) {
        if self.0.len() < WAITING_MAX {
            self.0.push_back(command);
        }
    }

    /// How long the chain may wait for its next event.
    pub(crate) fn patience(&self) -> Duration {
        if self.0.is_empty() { PATIENCE } else { PATIENCE_WAITING }
    }

    /// Sends as many as the lane takes.
    pub(crate) fn send(&mut self, side: &ChainSide) -> Result<(), Gone> {
        while let Some(command) = self.0.pop_front() {
            match side.send(command) {
                Ok(()) => {}
                Err(SendError::Full(command)) => {
                    self.0.push_front(command);
                    break;
                }
                Err(SendError::Gone(_)) => return Err(Gone),
            }
        }
        Ok(())
    }
}
