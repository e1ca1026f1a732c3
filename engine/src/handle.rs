//! The engine as its owner sees it, and the handle that shows and steers it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bridge::{ChainSide, Counters, EngineEnd, Metrics, Waker};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use peer::PeerInfo;

use crate::config::Config;
use crate::event_loop::Control;
use crate::start::{StartError, start};

/// Commands of handles that may wait for the loop: people and scrapers ask, not programs in a loop.
pub(crate) const CONTROL_MAX: usize = 64;

/// How often somebody who waits for an answer looks whether the engine still lives.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a dropped engine takes for its goodbyes.
const DROP_DEADLINE: Duration = Duration::from_millis(200);

/// A running engine. Dropping it ends it; [`Engine::shutdown`] does so with a proper goodbye.
pub struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<EngineEnd>>,
}

/// Shows and steers a running engine, from any thread. Outliving it is harmless.
#[derive(Clone)]
pub struct Handle {
    pub(crate) control: Sender<Control>,
    pub(crate) waker: Waker,
    pub(crate) counters: Counters,
    pub(crate) local_addrs: Box<[SocketAddr]>,
    /// How the engine ended, once it has.
    pub(crate) ended: Arc<OnceLock<EngineEnd>>,
}

impl Engine {
    /// Starts an engine on a thread of its own, named `molva-engine`. It listens when this returns.
    ///
    /// # Errors
    ///
    /// [`StartError`], with the cause and the cure.
    pub fn start(config: Config) -> Result<(Self, ChainSide), StartError> {
        let (handle, thread, chain) = start(config)?;
        Ok((Self { handle, thread: Some(thread) }, chain))
    }

    /// The handle, as many as are wanted.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Says goodbye to all peers, lets what is queued for control leave, and ends within the
    /// deadline. The chain receives what is on its lane, and then the end.
    ///
    /// # Errors
    ///
    /// How the engine ended, if it had not to be asked: it panicked or its ring failed.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), EngineEnd> {
        match self.end(deadline) {
            EngineEnd::Stopped => Ok(()),
            end => Err(end),
        }
    }

    fn end(&mut self, within: Duration) -> EngineEnd {
        let Some(thread) = self.thread.take() else { return EngineEnd::Stopped };
        // A loop that is gone takes no commands, and one that has many is awake.
        drop(self.handle.control.send_timeout(Control::Shutdown { within }, within));
        self.handle.waker.wake();
        thread.join().unwrap_or_else(|_| EngineEnd::Panicked("its thread unwound".to_owned()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end(DROP_DEADLINE);
    }
}

impl Handle {
    /// The addresses that the engine listens on, with the ports that port 0 became.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Counts of everything, closes by cause among them, at most a turn old.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.counters.metrics()
    }

    /// The numbers shared with the engine: set the tip of your chain here.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All peers, in slot order, those in their handshake included.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn peers(&self) -> Result<Vec<PeerInfo>, EngineEnd> {
        let (answer, peers) = bounded(1);
        self.send(Control::Peers(answer))?;
        // A command that is sent in the very moment in which the loop ends is answered by nobody.
        loop {
            match peers.recv_timeout(LOOK_AGAIN) {
                Ok(peers) => return Ok(peers),
                Err(RecvTimeoutError::Timeout) if self.ended.get().is_none() => {}
                Err(_) => return Err(self.end()),
            }
        }
    }

    /// Dials this address, and again with a back-off whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn hold(&self, addr: SocketAddr) -> Result<(), EngineEnd> {
        self.send(Control::Hold(addr))
    }

    fn send(&self, control: Control) -> Result<(), EngineEnd> {
        self.control.send(control).map_err(|_| self.end())?;
        self.waker.wake();
        Ok(())
    }

    fn end(&self) -> EngineEnd {
        self.ended.get().cloned().unwrap_or(EngineEnd::Stopped)
    }
}
