//! The chain's end: one receiver, and as many senders as it likes.

use std::time::{Duration, Instant};

use codec::Payload;
use peer::{FromChain, ToChain};

use crate::counters::Counters;
use crate::shared::{EngineEnd, SendError, Shared};
use crate::sync::{Arc, Fd, Ordering};

/// The chain's end of the bridge: receives events, sends commands.
///
/// Every event is received once, in the order of the pushes. When the engine has ended, what it
/// pushed before comes first, then [`EngineEnd`] for ever. Dropping it is fine at any time.
pub struct ChainSide {
    shared: Arc<Shared>,
    /// The sleep is announced; it is to be taken back before the next event.
    announced: bool,
}

impl ChainSide {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, announced: false }
    }

    /// Receives the next event, waiting for it.
    ///
    /// # Errors
    ///
    /// [`EngineEnd`] when the engine has ended and its last event was received.
    pub fn recv(&mut self) -> Result<ToChain, EngineEnd> {
        loop {
            if let Some(event) = self.try_recv()? {
                return Ok(event);
            }
            self.shared.chain_waker.event().wait(None);
        }
    }

    /// Receives the next event, waiting at most this long for it.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, wait: Duration) -> Result<Option<ToChain>, EngineEnd> {
        let mut patience = Patience::new(wait);
        loop {
            if let Some(event) = self.try_recv()? {
                return Ok(Some(event));
            }
            let Some(left) = patience.left() else { return Ok(None) };
            self.shared.chain_waker.event().wait(Some(left));
        }
    }

    /// Appends what is there, at most `max` events; only if nothing is there, waits at most this
    /// long for something. Says how many it appended.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_batch(
        &mut self,
        into: &mut Vec<ToChain>,
        max: usize,
        wait: Duration,
    ) -> Result<usize, EngineEnd> {
        if max == 0 {
            return Ok(0);
        }
        let Some(first) = self.recv_timeout(wait)? else { return Ok(0) };
        into.push(first);
        let rest = self.shared.to_chain.drain(into, max - 1);
        self.shared.made_room();
        Ok(1 + rest)
    }

    /// Receives the next event if one is there. `None` has announced the chain's sleep: when
    /// something comes [`fd`](Self::fd) becomes readable, and stays so until the next `None`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<ToChain>, EngineEnd> {
        if self.announced {
            self.announced = false;
            self.shared.chain_waker.awake();
        }
        if let Some(event) = self.take() {
            return Ok(Some(event));
        }
        // Cleared before the announcement, so that no wake that answers it is lost. A late wake of
        // an earlier one may come after: the caller finds nothing, and comes here again.
        self.shared.chain_waker.event().clear();
        self.shared.chain_waker.announce();
        self.announced = true;
        // The end is asked for first: if it has come, all events are there to be taken.
        let end = self.shared.end().cloned();
        match (self.take(), end) {
            (Some(event), _) => Ok(Some(event)),
            (None, None) => Ok(None),
            (None, Some(end)) => Err(end),
        }
    }

    /// Becomes readable when something comes after a `None` of [`try_recv`](Self::try_recv): for
    /// chains that wait in a poll of their own. Wait and never read it. It may be readable without
    /// need.
    #[must_use]
    pub fn fd(&self) -> Fd<'_> {
        self.shared.chain_waker.fd()
    }

    /// Hands a command to the engine. It is done in one of its next turns.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the command, if the lane is full or the engine has ended.
    pub fn send(&self, command: FromChain) -> Result<(), SendError> {
        self.shared.send(command)
    }

    /// Has a payload spread to all peers that lack it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn publish(&self, payload: Payload) -> Result<(), SendError> {
        self.shared.send(FromChain::Publish(payload))
    }

    /// Another sender, for another thread.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher { shared: Arc::clone(&self.shared) }
    }

    /// The shared numbers.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn take(&self) -> Option<ToChain> {
        let event = self.shared.to_chain.pop()?;
        self.shared.made_room();
        Some(event)
    }
}

impl Drop for ChainSide {
    fn drop(&mut self) {
        self.shared.chain_gone.store(true, Ordering::Release);
        while self.shared.to_chain.pop().is_some() {}
        self.shared.loop_waker.wake();
    }
}

/// Sends commands to the engine from any thread. Cloning makes another sender of the same lane.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    /// As [`ChainSide::send`].
    ///
    /// # Errors
    ///
    /// As [`ChainSide::send`].
    pub fn send(&self, command: FromChain) -> Result<(), SendError> {
        self.shared.send(command)
    }

    /// As [`ChainSide::publish`].
    ///
    /// # Errors
    ///
    /// As [`ChainSide::send`].
    pub fn publish(&self, payload: Payload) -> Result<(), SendError> {
        self.shared.send(FromChain::Publish(payload))
    }
}

/// What is left of a wait. The chain's own thread reads the clock here, and only when it must wait.
struct Patience {
    wait: Duration,
    since: Option<Instant>,
}

impl Patience {
    const fn new(wait: Duration) -> Self {
        Self { wait, since: None }
    }

    /// Counts from the first call.
    #[expect(clippy::disallowed_methods, reason = "a chain's thread waits here, not the loop")]
    fn left(&mut self) -> Option<Duration> {
        let passed = self.since.get_or_insert_with(Instant::now).elapsed();
        self.wait.checked_sub(passed).filter(|left| !left.is_zero())
    }
}
