//! The engine as its owner sees it, and the handle that shows and steers it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bridge::store::{StoreNotice, StoreStatus};
use bridge::{ChainSide, Counters, EngineEnd, Metrics, Waker};
use codec::limits::TOPIC_BYTES_MAX;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use peer::gossip::push_pull::MemberInfo;
use peer::{AddressRecord, Ban, BanTarget, Gossip, PeerInfo};

use crate::config::Config;
use crate::event_loop::Control;
use crate::start::{StartError, start};
use crate::topics::{Subscription, TopicError, subscription};

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
    pub(crate) store_notices: Box<[StoreNotice]>,
    pub(crate) gossip: Gossip,
    pub(crate) gossip_addr: Option<SocketAddr>,
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
        // It waits for some turns at most: each takes as many commands as may wait. A loop that is
        // gone takes none, and the send fails.
        drop(self.handle.control.send(Control::Shutdown { within }));
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

    /// The address that datagrams are received on, with the port that port 0 became; `None` without
    /// [`Gossip::Datagrams`].
    #[must_use]
    pub const fn gossip_addr(&self) -> Option<SocketAddr> {
        self.gossip_addr
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
        self.ask(Control::Peers)
    }

    /// All bans in force.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn bans(&self) -> Result<Vec<Ban>, EngineEnd> {
        self.ask(Control::Bans)
    }

    /// Bans somebody for this long, in the operator's name. Its connections get the reason and
    /// end, and no other is made. An earlier ban of the same target that ends later stays. The
    /// note is for people, and cut after [`NOTE_BYTES_MAX`](peer::NOTE_BYTES_MAX) bytes.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn ban(&self, target: BanTarget, lasts: Duration, note: &str) -> Result<(), EngineEnd> {
        self.send(Control::Ban { target, lasts, note: note.into() })
    }

    /// Lifts the ban of exactly this target; whether there was one.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn unban(&self, target: BanTarget) -> Result<bool, EngineEnd> {
        self.ask(|asker| Control::Unban { target, asker })
    }

    /// All addresses of the book: tens of thousands, if it is full.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn addresses(&self) -> Result<Vec<AddressRecord>, EngineEnd> {
        self.ask(Control::Addresses)
    }

    /// Where others reach us: configured, or what enough of them agree on.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn external_address(&self) -> Result<Option<SocketAddr>, EngineEnd> {
        self.ask(Control::ExternalAddress)
    }

    /// How the store is doing: where it keeps, and how far it lags.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn store(&self) -> Result<StoreStatus, EngineEnd> {
        self.ask(Control::Store)
    }

    /// What the store had to tell when it was opened: that its file was set aside, that records
    /// were passed over, or why there is no file. Nothing, if all is well.
    #[must_use]
    pub fn store_notices(&self) -> &[StoreNotice] {
        &self.store_notices
    }

    /// Members of the cluster but for ourselves, and what is thought of each; none without
    /// [`Gossip::Datagrams`].
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn members(&self) -> Result<Vec<MemberInfo>, EngineEnd> {
        self.ask(Control::Members)
    }

    /// Dials this address, and again with a back-off whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// The engine has ended.
    pub fn hold(&self, addr: SocketAddr) -> Result<(), EngineEnd> {
        self.send(Control::Hold(addr))
    }

    /// Says something about a topic to all nodes of the network that care. It leaves soon; whoever
    /// subscribed hears it once, unless it does not keep up.
    ///
    /// # Errors
    ///
    /// [`TopicError`]; nothing was said then.
    pub fn publish(&self, topic: &[u8], data: &[u8]) -> Result<(), TopicError> {
        self.check_topic(topic)?;
        let (length, limit) = (data.len(), self.gossip.data_bytes_max());
        if length > limit {
            return Err(TopicError::DataTooLong { length, limit });
        }
        Ok(self.send(Control::Publish { topic: topic.into(), data: data.into() })?)
    }

    /// Hears what others say about a topic from now on; not what this node says.
    ///
    /// # Errors
    ///
    /// [`TopicError`].
    pub fn subscribe(&self, topic: &[u8]) -> Result<Subscription, TopicError> {
        self.check_topic(topic)?;
        let (subscriber, subscription) = subscription();
        let topic = topic.into();
        let has_room = self.ask(|asker| Control::Subscribe { topic, subscriber, asker })?;
        if has_room { Ok(subscription) } else { Err(TopicError::TooMany) }
    }

    fn check_topic(&self, topic: &[u8]) -> Result<(), TopicError> {
        if self.gossip == Gossip::None {
            return Err(TopicError::Off);
        }
        let length = topic.len();
        if length > TOPIC_BYTES_MAX {
            return Err(TopicError::TopicTooLong { length });
        }
        Ok(())
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Control) -> Result<T, EngineEnd> {
        let (sender, answer) = bounded(1);
        self.send(question(sender))?;
        // A command that is sent in the very moment in which the loop ends is answered by nobody.
        loop {
            match answer.recv_timeout(LOOK_AGAIN) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) if self.ended.get().is_none() => {}
                Err(_) => return Err(self.end()),
            }
        }
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

#[cfg(test)]
mod tests {
    use codec::Network;

    use super::*;

    #[test]
    fn a_shutdown_arrives_although_many_commands_wait() {
        let (loop_side, _chain) = bridge::open(bridge::Config::default(), &Network::DEV).unwrap();
        let (control, commands) = bounded(CONTROL_MAX);
        let handle = Handle {
            control,
            waker: loop_side.waker(),
            counters: loop_side.counters().clone(),
            local_addrs: Box::default(),
            store_notices: Box::default(),
            gossip: Gossip::None,
            gossip_addr: None,
            ended: Arc::default(),
        };
        for _ in 0..CONTROL_MAX {
            handle.hold("127.0.0.1:1".parse().unwrap()).unwrap();
        }
        // A loop whose turn takes a moment, and which then ends when it is told to.
        let thread = bridge::spawn("loop", move || {
            let _ = crossbeam_channel::after(Duration::from_millis(300)).recv();
            loop {
                match commands.recv_timeout(Duration::from_secs(2)) {
                    Ok(Control::Shutdown { .. }) => return EngineEnd::Stopped,
                    Ok(_) => {}
                    Err(_) => return EngineEnd::Failed("nobody told it to end".to_owned()),
                }
            }
        });
        let engine = Engine { handle, thread: Some(thread.unwrap()) };
        assert_eq!(engine.shutdown(Duration::from_millis(100)), Ok(()));
    }
}
