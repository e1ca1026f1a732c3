//! The server that one writes first: tokio, a task and a buffer for each connection, a hash set.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use codec::{Kind, Split, split};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::chain::{Lane, Tally};
use super::intake::answer;
use super::wire;

/// Settings, for the report.
pub(super) const SETTINGS: &str =
    "tokio current_thread, a task and 16 KiB for each connection, std HashSet of xxh3-128";

/// One connection's buffer. What does not fit is no frame of this load.
const BUFFER_BYTES: usize = 16 << 10;

/// Payloads remembered, as many as our filter remembers exactly.
const SEEN_IDS: usize = 1 << 20;

/// What all connections share. Never held across an await, so the lock is never contended.
struct Shared {
    seen: HashSet<u128>,
    order: VecDeque<u128>,
    lane: Lane,
    tally: Arc<Tally>,
}

/// Serves for ever.
pub(super) fn serve(
    listener: std::net::TcpListener,
    lane: Lane,
    tally: Arc<Tally>,
) -> io::Result<()> {
    let seen = HashSet::new();
    let shared = Arc::new(Mutex::new(Shared { seen, order: VecDeque::new(), lane, tally }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &shared).await {
                    eprintln!("tokio-plain: {error}");
                }
            });
        }
    })
}

async fn converse(mut stream: TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    let mut greeted = false;
    let mut reply = Vec::new();
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let (mut at, mut frames) = (0, 0);
        {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            while let Split::Whole(kind, frame) =
                split(&buffer[at..filled], &wire::NETWORK).map_err(io::Error::other)?
            {
                at += frame.len();
                frames += 1;
                match kind {
                    Kind::Transaction if greeted => shared.on_payload(frame),
                    kind => answer(kind, frame, &mut greeted, &mut reply)?,
                }
            }
            shared.tally.frames.fetch_add(frames, Ordering::Relaxed);
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if !reply.is_empty() {
            stream.write_all(&reply).await?;
            reply.clear();
        }
    }
}

impl Shared {
    fn on_payload(&mut self, frame: &[u8]) {
        let hash = xxh3_128_with_secret(frame, &[0x5a; 192]);
        if !self.seen.insert(hash) {
            return;
        }
        if self.order.len() == SEEN_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.order.push_back(hash);
        self.lane.push(Arc::from(frame));
    }
}
