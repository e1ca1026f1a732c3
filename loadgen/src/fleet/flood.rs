//! Flooding: every client writes batches of frames as fast as the engine reads them.
//!
//! A Ping at the end of every few writes says when the engine has handled them, and two at most
//! wait for an answer. This bounds what is under way, and with the sequencer's slack the age that
//! a duplicate has when it is handled: without it, socket buffers would hold so much, and one
//! client could wait for so long, that it would be unknown.

use std::rc::Rc;
use std::time::Duration;

use codec::Kind;

use crate::fleet::client::{Client, Ping};
use crate::fleet::{Crew, Phase, spawn};
use crate::plan::{Draw, Id, Stretch};
use crate::wire::{self, Inbox};

/// Clients of a flood receive little: answers and Pings.
pub(crate) const INBOX_BYTES: usize = 512;

/// Pings of one client that may wait for their answer.
pub(crate) const PINGS_OPEN_MAX: usize = 2;

/// Pause when there is nothing to write until others have been handled.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts the clients; they wait for the go.
pub(crate) fn start(clients: Vec<(Rc<Client>, Inbox)>, crew: &Rc<Crew>) {
    for (client, inbox) in clients {
        crew.busy.set(crew.busy.get() + 1);
        spawn(Rc::clone(&client).serve(Rc::clone(crew), inbox, Crew::on_relayed));
        spawn(write(client, Rc::clone(crew)));
    }
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
    let mut frames = 0;
    while crew.phase() < Phase::Stop && !client.gone.get() {
        let stretch = crew.sequencer.borrow_mut().begin();
        match write_stretch(&client, &crew, stretch).await {
            Some(0) => {
                crew.sequencer.borrow_mut().end(stretch);
                tokio::time::sleep(PAUSE).await;
            }
            Some(written) => frames += written,
            None => {
                crew.sequencer.borrow_mut().end(stretch);
                break;
            }
        }
    }
    let (slowest, fastest) = crew.client_frames.get().unwrap_or((frames, frames));
    crew.client_frames.set(Some((slowest.min(frames), fastest.max(frames))));
    crew.busy.set(crew.busy.get() - 1);
}

/// Writes some batches, and a Ping in the last; how many frames, or `None` if the connection broke.
async fn write_stretch(client: &Client, crew: &Crew, stretch: Stretch) -> Option<u64> {
    let number = u16::try_from(client.number).expect("the flags allow 60,000 clients");
    let mut batch = Batch::default();
    let mut frames = 0;
    for write in 1..=crew.spec.writes_per_ping {
        batch.fill(crew, number);
        let cut_short = batch.frames < u64::from(crew.spec.frames_per_write);
        let last = write == crew.spec.writes_per_ping || cut_short;
        if last && frames + batch.frames == 0 {
            return Some(0);
        }
        if last {
            while client.pings_open() >= PINGS_OPEN_MAX && !client.gone.get() {
                client.pong.notified().await;
            }
            wire::ping_or_pong(&mut batch.bytes, crew.network.magic, Kind::Ping);
            client.opens_ping(crew, Ping::Mark(stretch));
            batch.frames += 1;
        }
        let bytes = std::mem::take(&mut batch.bytes);
        let (result, bytes) = client.write(crew, batch.frames, bytes).await;
        batch.bytes = bytes;
        if result.is_err() {
            // The reading task tells why the connection ended.
            crew.unwritten.borrow_mut().append(&mut batch.fresh);
            return None;
        }
        frames += batch.frames;
        let mut sequencer = crew.sequencer.borrow_mut();
        batch.fresh.iter().for_each(|sequence| sequencer.written(number, *sequence));
        crew.tally(|tally| {
            tally.duplicates += batch.duplicates;
            tally.old += batch.old;
        });
        if last {
            break;
        }
    }
    Some(frames)
}

impl Batch {
    fn fill(&mut self, crew: &Crew, client: u16) {
        self.fresh.clear();
        self.bytes.clear();
        (self.frames, self.duplicates, self.old) = (0, 0, 0);
        let mut sequencer = crew.sequencer.borrow_mut();
        for _ in 0..crew.spec.frames_per_write {
            let Some(draw) = sequencer.draw(client) else { return };
            self.frames += 1;
            let sequence = match draw {
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
