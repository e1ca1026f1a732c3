//! tokio's loop with our way of taking frames in, and one buffer for all connections: a read is
//! handled before the next one, so the buffer stays in the cache.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::chain::{Lane, Tally};
use super::intake::{Intake, Stream};

/// Settings, for the report.
pub(super) const SETTINGS: &str =
    "tokio current_thread, a task for each connection, one shared buffer of 64 KiB, our dedup";

const BUFFER_BYTES: usize = 64 << 10;

/// What all connections share. Never held across an await, so the lock is never contended.
struct Shared {
    intake: Intake,
    buffer: Vec<u8>,
}

/// Serves for ever.
pub(super) fn serve(
    listener: std::net::TcpListener,
    lane: Lane,
    tally: Arc<Tally>,
) -> io::Result<()> {
    let shared = Shared { intake: Intake::new(lane, tally), buffer: vec![0; BUFFER_BYTES] };
    let shared = Arc::new(Mutex::new(shared));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &shared).await {
                    eprintln!("tokio-seen: {error}");
                }
            });
        }
    })
}

async fn converse(mut socket: TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut stream = Stream::default();
    loop {
        let more = poll_fn(|cx| poll_take_in(cx, &mut socket, &mut stream, shared)).await?;
        if !more {
            return Ok(());
        }
        if !stream.reply.is_empty() {
            socket.write_all(&stream.reply).await?;
            stream.reply.clear();
        }
    }
}

/// One read and all that follows from it; `false` at the end of the stream. The buffer is only
/// lent, which the usual `read().await` cannot do.
fn poll_take_in(
    cx: &mut Context<'_>,
    socket: &mut TcpStream,
    stream: &mut Stream,
    shared: &Mutex<Shared>,
) -> Poll<io::Result<bool>> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let Shared { intake, buffer } = &mut *shared;
    let mut read = ReadBuf::new(buffer);
    match Pin::new(socket).poll_read(cx, &mut read) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) if read.filled().is_empty() => Poll::Ready(Ok(false)),
        Poll::Ready(Ok(())) => Poll::Ready(intake.take_in(stream, read.filled()).map(|()| true)),
    }
}
