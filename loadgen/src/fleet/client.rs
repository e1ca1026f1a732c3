//! One client: its connection, its greeting, and the answers that any peer owes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use codec::Kind;
use tokio::sync::{Mutex, Notify};

use crate::clock::now_ns;
use crate::fleet::Crew;
use crate::fleet::socket::{Socket, dial};
use crate::plan::Stretch;
use crate::wire::{self, Inbox};

/// Patience for connecting and greeting; the engine's own is 10 s.
const GREETING_PATIENCE: Duration = Duration::from_secs(20);

/// What a Ping is for.
#[derive(Clone, Copy)]
pub(crate) enum Ping {
    /// To measure its round trip from the instant at which it was to be sent.
    Measure {
        /// That instant.
        intended_ns: u64,
    },
    /// To learn that the engine has handled the writes before it.
    Mark(Stretch),
}

/// A connection whose handshake is done.
pub(crate) struct Client {
    pub(crate) number: u32,
    socket: Socket,
    /// Held while writing, so that frames of two tasks never mix.
    writing: Mutex<()>,
    /// Pings without an answer, the oldest first.
    pings_open: RefCell<VecDeque<Ping>>,
    /// Told at each Pong, and when the connection ends.
    pub(crate) pong: Notify,
    pub(crate) gone: Cell<bool>,
}

impl Client {
    /// Dials and greets.
    pub(crate) async fn connect(
        crew: &Crew,
        number: u32,
        inbox: &mut Inbox,
    ) -> Result<Rc<Self>, String> {
        let greeting = Self::greet(crew, number, inbox);
        match tokio::time::timeout(GREETING_PATIENCE, greeting).await {
            Ok(result) => result,
            Err(_) => Err("no greeting in time".into()),
        }
    }

    async fn greet(crew: &Crew, number: u32, inbox: &mut Inbox) -> Result<Rc<Self>, String> {
        let target: SocketAddr = crew.spec.target;
        let dialled = dial(crew.spec.backend, target, number)
            .await
            .map_err(|error| format!("dialling: {error}"))?;
        if !dialled.cubic {
            crew.cubic.set(false);
        }
        let client = Self {
            number,
            socket: dialled.socket,
            writing: Mutex::new(()),
            pings_open: RefCell::default(),
            pong: Notify::new(),
            gone: Cell::new(false),
        };
        let mut hand = Vec::new();
        // Port 0: it listens nowhere, and is not to be dialled.
        let nowhere = SocketAddr::new(dialled.local.ip(), 0);
        wire::hand(&mut hand, &crew.network, crew.nonce(), nowhere, target);
        client.write(crew, 1, hand).await.0.map_err(|error| format!("writing a Hand: {error}"))?;
        loop {
            if let Some((kind, range)) = inbox.next(&crew.network)? {
                if kind != Kind::Shake {
                    return Err(format!("{kind:?} before the Shake"));
                }
                wire::check_shake(inbox.body(range), &crew.network)?;
                crew.tally(|tally| {
                    tally.handshakes += 1;
                    tally.frames_received += 1;
                });
                return Ok(Rc::new(client));
            }
            client.read(crew, inbox).await?;
        }
    }

    /// Reads once; an error is the end of this connection.
    async fn read(&self, crew: &Crew, inbox: &mut Inbox) -> Result<(), String> {
        let (result, buffer) = self.socket.read(inbox.lend()).await;
        inbox.take_back(buffer);
        match result {
            Ok(0) => Err("closed by the engine".into()),
            Ok(bytes) => {
                crew.tally(|tally| tally.bytes_received += bytes as u64);
                Ok(())
            }
            Err(error) => Err(format!("reading: {error}")),
        }
    }

    /// Writes whole frames, and counts them if they were written.
    pub(crate) async fn write(
        &self,
        crew: &Crew,
        frames: u64,
        bytes: Vec<u8>,
    ) -> (io::Result<()>, Vec<u8>) {
        let _writing = self.writing.lock().await;
        let (result, bytes) = self.socket.write_all(bytes).await;
        if result.is_ok() {
            crew.tally(|tally| {
                tally.frames_sent += frames;
                tally.bytes_sent += bytes.len() as u64;
            });
        }
        (result, bytes)
    }

    /// Pings without an answer yet.
    pub(crate) fn pings_open(&self) -> usize {
        self.pings_open.borrow().len()
    }

    /// Notes a Ping that is about to be written.
    pub(crate) fn opens_ping(&self, crew: &Crew, ping: Ping) {
        self.pings_open.borrow_mut().push_back(ping);
        crew.tally(|tally| tally.pings += 1);
    }

    /// Sends one Ping that was to be sent at `intended_ns`.
    pub(crate) async fn ping(&self, crew: &Crew, intended_ns: u64) -> io::Result<()> {
        let mut frame = Vec::new();
        wire::ping_or_pong(&mut frame, crew.network.magic, Kind::Ping);
        self.opens_ping(crew, Ping::Measure { intended_ns });
        self.write(crew, 1, frame).await.0
    }

    /// Reads until the connection ends, answers what must be answered, and gives every other frame
    /// to `on_frame`. A fault of the engine, and an end that it made, is counted.
    pub(crate) async fn serve(
        self: Rc<Self>,
        crew: Rc<Crew>,
        mut inbox: Inbox,
        mut on_frame: impl FnMut(&Crew, Kind, &[u8]),
    ) {
        let fault = loop {
            let answers = match self.take_frames(&crew, &mut inbox, &mut on_frame) {
                Ok(answers) => answers,
                Err(fault) => break fault,
            };
            if answers.0 > 0
                && let Err(error) = self.write(&crew, answers.0, answers.1).await.0
            {
                break format!("answering: {error}");
            }
            if let Err(fault) = self.read(&crew, &mut inbox).await {
                break fault;
            }
        };
        self.gone.set(true);
        for ping in self.pings_open.take() {
            if let Ping::Mark(stretch) = ping {
                crew.sequencer.borrow_mut().end(stretch);
            }
        }
        self.pong.notify_one();
        crew.tally(|tally| tally.connected -= 1);
        crew.fault(format!("client {}: {fault}", self.number));
    }

    fn take_frames(
        &self,
        crew: &Crew,
        inbox: &mut Inbox,
        on_frame: &mut impl FnMut(&Crew, Kind, &[u8]),
    ) -> Result<(u64, Vec<u8>), String> {
        let (mut count, mut answers) = (0, Vec::new());
        while let Some((kind, range)) = inbox.next(&crew.network)? {
            crew.tally(|tally| tally.frames_received += 1);
            match kind {
                Kind::Ping => {
                    wire::ping_or_pong(&mut answers, crew.network.magic, Kind::Pong);
                    crew.tally(|tally| tally.pings_answered += 1);
                    count += 1;
                }
                Kind::GetPeerAddrs => {
                    wire::no_addresses(&mut answers, crew.network.magic);
                    count += 1;
                }
                Kind::Pong => self.on_pong(crew)?,
                Kind::BanReason => return Err("banned by the engine".into()),
                _ => on_frame(crew, kind, inbox.body(range)),
            }
        }
        Ok((count, answers))
    }

    fn on_pong(&self, crew: &Crew) -> Result<(), String> {
        let open = self.pings_open.borrow_mut().pop_front().ok_or("a Pong without a Ping")?;
        crew.tally(|tally| tally.pongs += 1);
        match open {
            Ping::Measure { intended_ns } => crew.latency(now_ns().saturating_sub(intended_ns)),
            Ping::Mark(stretch) => crew.sequencer.borrow_mut().end(stretch),
        }
        self.pong.notify_one();
        Ok(())
    }

    /// Leaves as a peer should: says that nothing more comes, and reads until the end.
    pub(crate) async fn leave(&self, crew: &Crew, inbox: &mut Inbox) {
        self.socket.finish();
        loop {
            while matches!(inbox.next(&crew.network), Ok(Some(_))) {
                crew.tally(|tally| tally.frames_received += 1);
            }
            if self.read(crew, inbox).await.is_err() {
                return;
            }
        }
    }
}
