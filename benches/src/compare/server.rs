//! A server under test, seen from inside its process.
//!
//! It prints `port N`. For each line `report N` on its input it waits until N payloads came (or
//! for a while), then prints one line of JSON. It ends with its input. The program on libuv
//! behaves alike. The engine, if it was asked to, has its workers busy from the line `pack` on,
//! and at rest from `rest` on, and prints `done`.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::chain::{self, Lane, Tally};
use super::press::Press;
use super::{engine, libuv, system, tokio_plain, tokio_seen, tokio_uring};

/// A server of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(super) enum Server {
    /// The engine.
    Engine,
    /// tokio as one first writes it.
    TokioPlain,
    /// tokio with our dedup.
    TokioSeen,
    /// tokio-uring with our dedup.
    TokioUring,
    /// A C program on libuv with a port of our dedup.
    Libuv,
}

impl Server {
    /// All that are compared, in the order of a round.
    pub(super) const ALL: [Self; 5] =
        [Self::Engine, Self::TokioPlain, Self::TokioSeen, Self::TokioUring, Self::Libuv];

    /// Name in flags and tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::TokioPlain => "tokio-plain",
            Self::TokioSeen => "tokio-seen",
            Self::TokioUring => "tokio-uring",
            Self::Libuv => "libuv",
        }
    }

    /// What it is and how it is set up.
    pub(super) const fn settings(self) -> &'static str {
        match self {
            Self::Engine => engine::SETTINGS,
            Self::TokioPlain => tokio_plain::SETTINGS,
            Self::TokioSeen => tokio_seen::SETTINGS,
            Self::TokioUring => tokio_uring::SETTINGS,
            Self::Libuv => libuv::SETTINGS,
        }
    }

    /// Name of the thread whose CPU time counts.
    pub(super) const fn network_thread(self) -> &'static str {
        match self {
            Self::Engine => engine::THREAD,
            Self::TokioPlain | Self::TokioSeen | Self::TokioUring | Self::Libuv => "network",
        }
    }
}

/// What a server says of a round.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Account {
    /// Frames that its network thread handled, greetings and pings included.
    pub(super) frames: u64,
    /// Payloads that its chain got, each once.
    pub(super) distinct: u64,
    /// Payloads that its chain got twice, or with other bytes.
    pub(super) wrong: u64,
}

/// How long a report waits for payloads that are still on their way.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// After that, how long it waits for payloads that should not come.
const REPORT_AFTERMATH: Duration = Duration::from_millis(20);

/// Serves until the input ends; the engine packs when it is told to, if it is to.
pub(super) fn serve(server: Server, connections: u32, packs: bool) -> io::Result<()> {
    system::pin(system::DRIVER_CORE)?;
    let tally = Arc::new(Tally::default());
    match server {
        Server::Engine => {
            let (engine, addr, press) = engine::start(connections, Arc::clone(&tally), packs)?;
            answer(addr, &tally, press.as_ref())?;
            engine.shutdown(Duration::from_secs(1)).map_err(io::Error::other)
        }
        Server::TokioPlain => serve_with(tokio_plain::serve, &tally),
        Server::TokioSeen => serve_with(tokio_seen::serve, &tally),
        Server::TokioUring => serve_with(tokio_uring::serve, &tally),
        Server::Libuv => Err(io::Error::other("that server is a program of its own")),
    }
}

type Serve = fn(std::net::TcpListener, Lane, Arc<Tally>) -> io::Result<()>;

fn serve_with(serve: Serve, tally: &Arc<Tally>) -> io::Result<()> {
    let listener = system::listen()?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let lane = chain::start(Arc::clone(tally))?;
    let shared = Arc::clone(tally);
    thread::Builder::new().name("network".to_owned()).spawn(move || {
        let served = system::pin(system::NETWORK_CORE).and_then(|()| serve(listener, lane, shared));
        if let Err(error) = served {
            eprintln!("the server ended: {error}");
        }
    })?;
    answer(addr, tally, None)
}

/// Answers the parent until it has no more to ask.
fn answer(addr: SocketAddr, tally: &Tally, press: Option<&Press>) -> io::Result<()> {
    println!("port {}", addr.port());
    for line in io::stdin().lock().lines() {
        let line = line?;
        if let (Some(press), "pack" | "rest") = (press, line.as_str()) {
            press.turn(line == "pack")?;
            println!("done");
            continue;
        }
        let expected = line.strip_prefix("report ").and_then(|number| number.parse().ok());
        let expected: u64 = expected.ok_or_else(|| io::Error::other("expected `report N`"))?;
        let since = Instant::now();
        while tally.distinct.load(Ordering::Relaxed) < expected && since.elapsed() < REPORT_PATIENCE
        {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(REPORT_AFTERMATH);
        let account = Account {
            frames: tally.frames.load(Ordering::Relaxed),
            distinct: tally.distinct.load(Ordering::Relaxed),
            wrong: tally.wrong.load(Ordering::Relaxed),
        };
        println!("{}", serde_json::to_string(&account)?);
    }
    Ok(())
}
