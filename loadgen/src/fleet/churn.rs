//! Churn: connect, greet, leave, and again; each worker has one connection at a time.

use std::rc::Rc;
use std::time::Duration;

use crate::clock::now_ns;
use crate::fleet::client::Client;
use crate::fleet::{Crew, Phase, spawn};
use crate::wire::Inbox;

/// Only a Shake is expected.
const INBOX_BYTES: usize = 512;

/// Patience for the engine's end of stream after ours.
const LEAVING_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a failure: a refusing engine is not to be hammered.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the workers; they wait for the go.
pub(crate) fn start(crew: &Rc<Crew>) {
    for number in crew.first_client..crew.first_client + crew.connections {
        crew.busy.set(crew.busy.get() + 1);
        spawn(come_and_go(number, Rc::clone(crew)));
    }
}

async fn come_and_go(worker: u32, crew: Rc<Crew>) {
    crew.reach(Phase::Go).await;
    let mut number = worker;
    while crew.phase() < Phase::Stop {
        let mut inbox = Inbox::new(INBOX_BYTES);
        let start = now_ns();
        match Client::connect(&crew, number, &mut inbox).await {
            Ok(client) => {
                crew.latency(now_ns() - start);
                let leaving = client.leave(&crew, &mut inbox);
                if tokio::time::timeout(LEAVING_PATIENCE, leaving).await.is_err() {
                    crew.fault(format!("worker {worker}: the engine did not let it go"));
                }
            }
            Err(fault) => {
                crew.fault(format!("worker {worker}: {fault}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
        number = number.wrapping_add(1);
    }
    crew.busy.set(crew.busy.get() - 1);
}
