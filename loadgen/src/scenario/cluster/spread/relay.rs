//! A way between engines that takes its time: each is reached at an address of ours, and what comes
//! there goes on to it later, both ways, in its order.
//!
//! Why: the loopback itself takes next to nothing, and what sixty processes on two processors then
//! wait for is their turn. Over ways that take longer than a turn it is the network that is seen.
//! Invariant: bytes come out as they went in; an end of one side ends the other, as late as a byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Bytes that are taken at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// Chunks of one direction that are on their way at most: beyond these the writer waits, as for a
/// full window.
const CHUNKS_MAX: usize = 256;

/// Doors that wait to be opened.
const DOORS_MAX: usize = 16;

/// The way to all engines, on a thread of its own until it is dropped.
pub(super) struct Relay {
    doors: mpsc::Sender<(std::net::TcpListener, watch::Receiver<Option<SocketAddr>>)>,
    /// Where each engine really listens, by number; `None`: it does not.
    targets: Vec<watch::Sender<Option<SocketAddr>>>,
}

impl Relay {
    /// A way that takes so long.
    pub(super) fn start(delay: Duration) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the relay: {error}"))?;
        let (doors, mut opened) = mpsc::channel::<(
            std::net::TcpListener,
            watch::Receiver<Option<SocketAddr>>,
        )>(DOORS_MAX);
        let (tell, started) = std_mpsc::channel();
        let serve = async move {
            let _ = tell.send(());
            while let Some((listener, target)) = opened.recv().await {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    tokio::spawn(keep_door(listener, target, delay));
                }
            }
        };
        // Its end, and with it that of all connections, is that of `doors`.
        let thread = std::thread::Builder::new().name("relay".into());
        thread
            .spawn(move || runtime.block_on(serve))
            .map_err(|error| format!("the relay: {error}"))?;
        started.recv().map_err(|_| "the relay did not begin")?;
        Ok(Self { doors, targets: Vec::new() })
    }

    /// The address at which the next engine is reached.
    pub(super) fn open(&mut self) -> Result<SocketAddr, String> {
        let failed = |error: std::io::Error| format!("opening a door of the relay: {error}");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let (target, known) = watch::channel(None);
        self.doors.blocking_send((listener, known)).map_err(|_| "the relay is gone")?;
        self.targets.push(target);
        Ok(addr)
    }

    /// An engine listens here.
    pub(super) fn lead_to(&self, engine: u32, target: SocketAddr) {
        // Nobody cares once the relay is gone.
        let _ = self.targets[engine as usize].send(Some(target));
    }
}

/// Takes connections for one engine, until it is there no more.
async fn keep_door(
    listener: TcpListener,
    mut target: watch::Receiver<Option<SocketAddr>>,
    delay: Duration,
) {
    let Ok(addr) = target.wait_for(Option::is_some).await.map(|addr| *addr) else { return };
    let Some(addr) = addr else { return };
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(async move {
            // One way is what a dial takes too; the answer comes with the first byte.
            tokio::time::sleep(delay).await;
            // Whoever dials an engine that is gone finds its connection closed.
            if let Ok(far) = TcpStream::connect(addr).await {
                join(near, far, delay);
            }
        });
    }
}

/// Joins both in both directions.
fn join(near: TcpStream, far: TcpStream, delay: Duration) {
    // What the engines do on their sockets; without it the relay would add the wait for an answer.
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let ((near_reads, near_writes), (far_reads, far_writes)) =
        (near.into_split(), far.into_split());
    lead(near_reads, far_writes, delay);
    lead(far_reads, near_writes, delay);
}

/// What is read is written later; `None` is the end of it.
fn lead(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (chunks, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    tokio::spawn(async move {
        let mut bytes = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let chunk = (Instant::now() + delay, bytes[..count].to_vec());
            if chunks.send(chunk).await.is_err() {
                return;
            }
        }
        // The end takes its time too: dropping `chunks` comes behind an empty chunk.
        let _ = chunks.send((Instant::now() + delay, Vec::new())).await;
    });
    tokio::spawn(async move {
        while let Some((at, chunk)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_come_later_and_whole_and_so_does_the_end() {
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let delay = Duration::from_millis(30);
        let mut relay = Relay::start(delay).unwrap();
        let door = relay.open().unwrap();
        relay.lead_to(0, target.local_addr().unwrap());
        let sent: Vec<u8> = (0..100_000_u32).map(|place| place as u8).collect();
        let begun = std::time::Instant::now();
        let mut near = std::net::TcpStream::connect(door).unwrap();
        near.write_all(&sent).unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        let mut far = target.accept().unwrap().0;
        let mut came = Vec::new();
        far.read_to_end(&mut came).unwrap();
        assert!(came == sent && begun.elapsed() >= 2 * delay);
        far.write_all(b"back").unwrap();
        drop(far);
        let mut back = String::new();
        near.read_to_string(&mut back).unwrap();
        assert_eq!(back, "back");
    }
}
