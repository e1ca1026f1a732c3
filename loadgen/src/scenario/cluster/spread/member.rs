//! One engine that spreads messages, in a process of its own.
//!
//! Invariant: what it hears has its instant at once and is told in pauses, so that telling does not
//! slow down what is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use molva::{
    ChainSide, ClusterKey, Config, Engine, Gossip, Handle, Heard, Locality, Overlay, Presumed,
    Seed, Subscription,
};

use super::words::{Hearing, LOOK_PERIOD, Look, Order, Over, Said, Spec, TOPIC};
use crate::child;
use crate::clock::now_ns;
use crate::scenario::cluster::{host::name, profile};

/// So long nothing is heard before what was heard is told.
const QUIET: Duration = Duration::from_millis(150);

/// Most hearings that wait to be told.
const HEARINGS_MAX: usize = 512;

/// Events taken from the engine at a time; its chain wants nothing.
const EVENTS_MAX: usize = 256;

/// Time for the goodbyes.
const GOODBYE: Duration = Duration::from_secs(3);

/// Between two exchanges of addresses: some of them are done when the first message is said.
pub(super) const SHUFFLE_PERIOD: Duration = Duration::from_secs(10);

/// What all of a cluster have in common; it is no secret here.
const SECRET: &[u8] = b"a cluster of engines of one machine";

/// Runs the spec that comes on standard input.
pub(crate) fn run() -> Result<(), String> {
    let spec: Spec = child::spec()?;
    let orders = child::orders();
    let mut member = Member::new(spec)?;
    let lived = member.live(&orders);
    let us = member.us();
    let end = member.engine.shutdown(GOODBYE).map_err(|end| end.to_string());
    child::say(&Said::Ended { us, fault: lived.and(end).err() });
    Ok(())
}

fn us_since(start_ns: u64) -> u64 {
    now_ns().saturating_sub(start_ns) / 1_000
}

/// Small pools; the overlay alone dials. The simulation of the same has the same rules.
pub(super) fn config(
    over: Over,
    contact: Option<SocketAddr>,
    reached_at: SocketAddr,
) -> Result<Config, String> {
    let mut config = profile::small();
    config.gossip_listen = (over == Over::Datagrams).then_some((Ipv4Addr::LOCALHOST, 0).into());
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    let peer = &mut config.peer;
    peer.locality = Locality::Local;
    peer.advertised = reached_at;
    peer.slots.outbound = 0;
    match over {
        Over::Streams => {
            peer.seeds = contact.map(Seed::Addr).into_iter().collect();
            peer.overlay = Overlay::HyParView;
            peer.hyparview.shuffle_period = SHUFFLE_PERIOD;
            peer.gossip = Gossip::Tree;
        }
        Over::Datagrams => {
            let key = ClusterKey::of_secret(SECRET).map_err(|error| error.to_string())?;
            peer.cluster.key = Some(key);
            peer.cluster.contacts = contact.into_iter().collect();
            peer.gossip = Gossip::Datagrams;
        }
    }
    Ok(config)
}

struct Member {
    spec: Spec,
    engine: Engine,
    handle: Handle,
    side: ChainSide,
}

impl Member {
    fn new(spec: Spec) -> Result<Self, String> {
        let config = config(spec.over, spec.contact, spec.reached_at)?;
        let (engine, side) = Engine::start(config).map_err(|error| error.to_string())?;
        let handle = engine.handle();
        let ear = handle.subscribe(TOPIC).map_err(|error| error.to_string())?;
        let start_ns = spec.start_ns;
        std::thread::spawn(move || hear(&ear, start_ns));
        let addr = handle.local_addrs()[0];
        let port = if spec.reached_at.port() == 0 { addr.port() } else { spec.reached_at.port() };
        let seen_at = handle.gossip_addr().unwrap_or_else(|| (addr.ip(), port).into());
        child::say(&Said::Started { us: us_since(start_ns), addr, seen_at });
        Ok(Self { spec, engine, handle, side })
    }

    fn us(&self) -> u64 {
        us_since(self.spec.start_ns)
    }

    /// Until the parent says so, or is gone.
    fn live(&mut self, orders: &mpsc::Receiver<Order>) -> Result<(), String> {
        let mut next = Instant::now() + LOOK_PERIOD;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            match orders.recv_timeout(left) {
                Ok(Order::Publish(message)) => self.publish(message)?,
                Ok(Order::Leave) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let look = self.look().map_err(|end| format!("the engine ended: {end}"))?;
                    child::say(&Said::Looked(look));
                    // Who stood still for a while looks once, and not once for each period.
                    next = Instant::now() + LOOK_PERIOD;
                }
            }
        }
    }

    fn publish(&self, message: u32) -> Result<(), String> {
        let mut data = message.to_be_bytes().to_vec();
        data.resize(self.spec.message_bytes.max(data.len()), 0);
        let us = self.us();
        self.handle.publish(TOPIC, &data).map_err(|error| error.to_string())?;
        child::say(&Said::Published { us, message });
        Ok(())
    }

    fn look(&mut self) -> Result<Look, molva::EngineEnd> {
        self.side.recv_batch(&mut Vec::new(), EVENTS_MAX, Duration::ZERO)?;
        let metrics = self.handle.metrics();
        let mut closed = metrics.closed_by_cause();
        let [alive, suspected, dead] = match self.spec.over {
            Over::Streams => {
                let peers = self.handle.peers()?;
                let peers = peers.iter().filter(|peer| peer.established);
                [peers.filter_map(name).collect(), Vec::new(), Vec::new()]
            }
            Over::Datagrams => {
                let members = self.handle.members()?;
                [Presumed::Alive, Presumed::Suspect, Presumed::Dead].map(|presumed| {
                    let these = members.iter().filter(|member| member.presumed == presumed);
                    these.map(|member| member.addr).collect()
                })
            }
        };
        Ok(Look {
            us: self.us(),
            alive,
            suspected,
            dead,
            new: metrics.gossip_new,
            known: metrics.gossip_known,
            missed: metrics.gossip_missed,
            lagged: metrics.gossip_lagged,
            silent: closed.find(|(cause, _)| *cause == "silent").map_or(0, |(_, count)| count),
        })
    }
}

/// Hears until the engine ends.
fn hear(ear: &Subscription, start_ns: u64) {
    let mut heard: Vec<Hearing> = Vec::new();
    loop {
        let came = ear.recv_timeout(QUIET);
        let us = us_since(start_ns);
        match &came {
            Ok(Some(Heard::Message { data, hops })) => {
                if let Some(number) = data.first_chunk() {
                    heard.push((u32::from_be_bytes(*number), us, *hops));
                }
                if heard.len() < HEARINGS_MAX {
                    continue;
                }
            }
            Ok(Some(Heard::Lagged(_)) | None) | Err(_) => {} // what lagged is counted
        }
        if !heard.is_empty() {
            child::say(&Said::Heard(std::mem::take(&mut heard)));
        }
        if came.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_is_to_be_can_be() {
        for over in [Over::Streams, Over::Datagrams] {
            let contact = Some("127.0.0.1:9".parse().unwrap());
            let config = config(over, contact, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            assert_eq!(config.peer.check(), Ok(()), "{over:?}");
        }
    }
}
