//! Idling: the clients ping every ten seconds, spread evenly, and answer the engine's Pings.

use std::rc::Rc;
use std::time::Duration;

use codec::Kind;

use crate::clock::now_ns;
use crate::fleet::client::Client;
use crate::fleet::{Crew, Phase, spawn};
use crate::wire::Inbox;

/// Idle clients receive Pings and Pongs.
pub(crate) const INBOX_BYTES: usize = 128;

/// What the protocol's nodes do.
const PING_PERIOD: Duration = Duration::from_secs(10);

/// Starts the clients.
pub(crate) fn start(clients: Vec<(Rc<Client>, Inbox)>, crew: &Rc<Crew>) {
    let mut all = Vec::new();
    for (client, inbox) in clients {
        all.push(Rc::clone(&client));
        spawn(client.serve(Rc::clone(crew), inbox, unexpected));
    }
    crew.busy.set(1);
    spawn(ping_all(all, Rc::clone(crew)));
}

fn unexpected(crew: &Crew, kind: Kind, body: &[u8]) {
    crew.fault(format!("a {kind:?} of {} bytes that nobody asked for", body.len()));
}

async fn ping_all(clients: Vec<Rc<Client>>, crew: Rc<Crew>) {
    crew.reach(Phase::Go).await;
    let start = now_ns();
    let period = PING_PERIOD.as_nanos() as u64;
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
        if client.pings_open.get() > 0 {
            crew.fault(format!("client {}: a Ping was not answered for 10 s", client.number));
        }
        // A failed write is told by the task that reads.
        let _ = client.ping(&crew, intended.max(1)).await;
    }
    crew.busy.set(0);
}
