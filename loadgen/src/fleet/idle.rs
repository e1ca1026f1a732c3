//! Idling: the clients ping at a period, spread evenly, and answer the engine's Pings.
//!
//! Open loop: a Ping is sent when it is due, whether or not the one before was answered. Probes
//! are idle clients with a shorter period, in a process of their own beside a flood: they measure
//! what a quiet peer sees of an engine under load, and not how busy the flooding clients are.

use std::rc::Rc;
use std::time::Duration;

use crate::clock::now_ns;
use crate::fleet::client::Client;
use crate::fleet::{Crew, Phase, spawn};
use crate::wire::Inbox;

/// Idle clients receive Pings and Pongs.
pub(crate) const INBOX_BYTES: usize = 128;

/// What the protocol's nodes do.
pub(crate) const IDLE_PERIOD: Duration = Duration::from_secs(10);

/// Often enough for a thousand measurements of ten probes in ten seconds.
pub(crate) const PROBE_PERIOD: Duration = Duration::from_millis(100);

/// Pings of one client that may be open; beyond these it does not read or is not answered.
const PINGS_OPEN_MAX: usize = 100;

/// Starts the clients.
pub(crate) fn start(clients: Vec<(Rc<Client>, Inbox)>, crew: &Rc<Crew>, period: Duration) {
    let mut all = Vec::new();
    for (client, inbox) in clients {
        all.push(Rc::clone(&client));
        spawn(client.serve(Rc::clone(crew), inbox, Crew::on_relayed));
    }
    crew.busy.set(1);
    spawn(ping_all(all, Rc::clone(crew), period));
}

async fn ping_all(clients: Vec<Rc<Client>>, crew: Rc<Crew>, period: Duration) {
    crew.reach(Phase::Go).await;
    let start = now_ns();
    let period = period.as_nanos() as u64;
    let step = period / clients.len().max(1) as u64;
    let mut turn = 0;
    while crew.phase() < Phase::Stop && !clients.is_empty() {
        let client = &clients[turn as usize % clients.len()];
        let intended = start + turn * step;
        let wait = intended.saturating_sub(now_ns());
        if wait > 0 {
            tokio::time::sleep(Duration::from_nanos(wait)).await;
        }
        turn += 1;
        if client.gone.get() {
            continue;
        }
        if client.pings_open() >= PINGS_OPEN_MAX {
            crew.fault(format!("client {}: its Pings are not answered", client.number));
            break;
        }
        // A failed write is told by the task that reads.
        let _ = client.ping(&crew, intended).await;
    }
    crew.busy.set(0);
}
