//! Flooding: every client writes batches of frames as fast as the engine reads them.
//!
//! A Ping in every few batches bounds what a client has written and the engine has not yet
//! handled: without it, socket buffers would hold so much that a duplicate could be handled long
//! after younger ids, and its age would be unknown. A hundredth of the clients writes nothing but
//! Pings at a fixed rate, and measures what a quiet peer sees of an engine under load.

use std::rc::Rc;
use std::time::Duration;

use codec::Kind;

use crate::clock::now_ns;
use crate::fleet::client::Client;
use crate::fleet::{Crew, Phase, spawn};
use crate::plan::{Draw, Id};
use crate::wire::{self, Inbox};

/// Clients of a flood receive little: answers and Pings.
pub(crate) const INBOX_BYTES: usize = 512;

/// Pings of one client that may wait for their answer.
pub(crate) const PINGS_OPEN_MAX: u32 = 2;

/// One client of this many is a probe, and at least one, if there are any to spare.
const CLIENTS_PER_PROBE: usize = 100;
const CLIENTS_TO_SPARE: usize = 4;

/// Period of a probe's Pings.
const PROBE_PERIOD: Duration = Duration::from_millis(10);

/// A buffer that grew beyond this is not kept: it held a block.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// Starts the clients; they wait for the go.
pub(crate) fn start(clients: Vec<(Rc<Client>, Inbox)>, crew: &Rc<Crew>) {
    let probes = match clients.len() {
        0..CLIENTS_TO_SPARE => 0,
        count => count.div_ceil(CLIENTS_PER_PROBE),
    };
    for (index, (client, inbox)) in clients.into_iter().enumerate() {
        crew.busy.set(crew.busy.get() + 1);
        spawn(Rc::clone(&client).serve(Rc::clone(crew), inbox, unexpected));
        if index < probes {
            spawn(probe(client, Rc::clone(crew)));
        } else {
            spawn(write(client, Rc::clone(crew)));
        }
    }
}

/// The engine relays nothing here: the chain accepts nothing.
fn unexpected(crew: &Crew, kind: Kind, body: &[u8]) {
    crew.fault(format!("a {kind:?} of {} bytes that nobody asked for", body.len()));
}

async fn probe(client: Rc<Client>, crew: Rc<Crew>) {
    crew.reach(Phase::Go).await;
    let mut intended = now_ns();
    while crew.phase() < Phase::Stop && !client.gone.get() {
        let wait = intended.saturating_sub(now_ns());
        tokio::time::sleep(Duration::from_nanos(wait)).await;
        if client.ping(&crew, intended).await.is_err() {
            break;
        }
        while client.pings_open.get() > 0 && !client.gone.get() {
            client.pong.notified().await;
        }
        intended += PROBE_PERIOD.as_nanos() as u64;
    }
    crew.busy.set(crew.busy.get() - 1);
}

/// One batch: what of it is new, and what is not.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    fresh: Vec<u64>,
    frames: u64,
    duplicates: u64,
    old: u64,
}

async fn write(client: Rc<Client>, crew: Rc<Crew>) {
    crew.reach(Phase::Go).await;
    let mut batch = Batch::default();
    let mut writes = 0;
    while crew.phase() < Phase::Stop && !client.gone.get() {
        batch.fill(&crew, client.number);
        writes += 1;
        if writes % crew.spec.writes_per_ping == 0 {
            while client.pings_open.get() >= PINGS_OPEN_MAX && !client.gone.get() {
                client.pong.notified().await;
            }
            wire::ping_or_pong(&mut batch.bytes, crew.network.magic, Kind::Ping);
            client.pings_open.set(client.pings_open.get() + 1);
            crew.tally(|tally| tally.pings += 1);
            batch.frames += 1;
        }
        let bytes = std::mem::take(&mut batch.bytes);
        let (result, bytes) = client.write(&crew, batch.frames, bytes).await;
        batch.bytes = bytes;
        if result.is_err() {
            // The reading task tells why the connection ended.
            crew.unwritten.borrow_mut().append(&mut batch.fresh);
            break;
        }
        let mut sequencer = crew.sequencer.borrow_mut();
        batch.fresh.iter().for_each(|sequence| sequencer.written(client.number, *sequence));
        crew.tally(|tally| {
            tally.duplicates += batch.duplicates;
            tally.old += batch.old;
        });
    }
    crew.busy.set(crew.busy.get() - 1);
}

impl Batch {
    fn fill(&mut self, crew: &Crew, client: u32) {
        self.fresh.clear();
        if self.bytes.capacity() > BUFFER_KEPT_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.frames = u64::from(crew.spec.frames_per_write);
        (self.duplicates, self.old) = (0, 0);
        let mut sequencer = crew.sequencer.borrow_mut();
        for _ in 0..self.frames {
            let sequence = match sequencer.draw(client) {
                Draw::New(sequence) => {
                    self.fresh.push(sequence);
                    sequence
                }
                Draw::Again(sequence) => {
                    self.duplicates += 1;
                    sequence
                }
                Draw::Old(sequence) => {
                    self.old += 1;
                    sequence
                }
            };
            let id = Id { thread: crew.thread, sequence };
            wire::frame(&mut self.bytes, crew.network.magic, crew.plan.kind(id), |out| {
                crew.plan.write(id, out);
            });
        }
    }
}
