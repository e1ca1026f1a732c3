//! What handles ask of the loop, what the resolver answers, and the shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use bridge::store::StoreStatus;
use crossbeam_channel::Sender;
use peer::gossip::push_pull::MemberInfo;
use peer::{
    AddressRecord, Ban, BanCause, BanTarget, Decider, Evidence, Input, Instant, PeerInfo, UnixTime,
};

use super::EventLoop;
use super::closing::GOODBYE_TIMEOUT;
use super::keeping::STORE_PATIENCE;
use crate::connection::Phase;
use crate::handle::CONTROL_MAX;
use crate::io::Submission;
use crate::topics::Subscriber;

/// What the engine's handle asks of the loop.
#[derive(Debug)]
pub(crate) enum Control {
    Peers(Sender<Vec<PeerInfo>>),
    Bans(Sender<Vec<Ban>>),
    Addresses(Sender<Vec<AddressRecord>>),
    ExternalAddress(Sender<Option<SocketAddr>>),
    Store(Sender<StoreStatus>),
    Members(Sender<Vec<MemberInfo>>),
    Hold(SocketAddr),
    Publish { topic: Box<[u8]>, data: Box<[u8]> },
    Subscribe { topic: Box<[u8]>, subscriber: Subscriber, asker: Sender<bool> },
    Ban { target: BanTarget, lasts: Duration, note: Box<str> },
    Unban { target: BanTarget, asker: Sender<bool> },
    Shutdown { within: Duration },
}

impl EventLoop {
    pub(super) fn take_control(&mut self) {
        // As many as may wait: whoever asks without end does not keep the turn from going on.
        for _ in 0..CONTROL_MAX {
            let Ok(control) = self.control.try_recv() else { break };
            self.on_control(control);
        }
        while let Some((name, addrs)) = self.resolver.answer() {
            self.feed(Input::Resolved { name, addrs });
        }
        if self.bridge.chain_gone() && self.stop_at.is_none() {
            tracing::info!("the chain is gone");
            self.shut_down(GOODBYE_TIMEOUT);
        }
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::Peers(asker) => answer(&asker, self.endpoint.peers().collect()),
            Control::Bans(asker) => answer(&asker, self.endpoint.bans().cloned().collect()),
            Control::Addresses(asker) => answer(&asker, self.endpoint.addresses().collect()),
            Control::ExternalAddress(asker) => answer(&asker, self.endpoint.external_address()),
            Control::Store(asker) => answer(&asker, self.store.status()),
            Control::Members(asker) => answer(&asker, self.endpoint.members().collect()),
            Control::Hold(addr) => self.feed(Input::Hold { addr }),
            Control::Publish { topic, data } => {
                self.feed(Input::Publish { topic: &topic, data: &data });
            }
            Control::Subscribe { topic, subscriber, asker } => {
                answer(&asker, self.topics.add(topic, subscriber));
            }
            Control::Ban { target, lasts, note } => {
                let start = self.wall();
                let evidence = Evidence { note, ..Evidence::default() };
                let (cause, by, end) = (BanCause::Operator, Decider::Operator, start.after(lasts));
                self.feed(Input::Ban(Ban { target, cause, evidence, by, start, end }));
            }
            Control::Unban { target, asker } => {
                let was_banned = self.endpoint.ban_of(target).is_some();
                self.feed(Input::Unban(target));
                answer(&asker, was_banned);
            }
            Control::Shutdown { within } => self.shut_down(within),
        }
    }

    fn wall(&self) -> UnixTime {
        self.config.started.after(self.now.since(Instant::START))
    }

    fn shut_down(&mut self, within: Duration) {
        let first = self.stop_at.is_none();
        // The store gets a quarter of the time at the end, and no more than it needs.
        let ends_at = self.now.after(within);
        let stop_at = self.now.after(within - (within / 4).min(STORE_PATIENCE));
        self.ends_at = Some(self.ends_at.map_or(ends_at, |earlier| earlier.min(ends_at)));
        self.stop_at = Some(self.stop_at.map_or(stop_at, |earlier| earlier.min(stop_at)));
        if !first {
            return;
        }
        self.resolver.stop();
        self.feed(Input::Shutdown);
        let dialing = self.connections.iter().filter_map(|(conn, connection)| {
            matches!(connection.phase(), Phase::Dialing { .. }).then_some(conn)
        });
        for conn in dialing {
            self.submissions.push(Submission::CancelConnect { conn });
        }
    }
}

/// Whoever asked may have gone: then the answer is dropped.
fn answer<T>(asker: &Sender<T>, answer: T) {
    let _ = asker.try_send(answer);
}
