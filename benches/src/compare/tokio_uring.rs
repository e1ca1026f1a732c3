//! tokio-uring's loop with our way of taking frames in. Reads own their buffer, so each connection
//! has one.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio_uring::net::{TcpListener, TcpStream};

use super::chain::{Lane, Tally};
use super::intake::{Intake, Stream};

/// Settings, for the report.
pub(super) const SETTINGS: &str =
    "tokio-uring, COOP_TASKRUN and SINGLE_ISSUER, 64 KiB for each connection, our dedup";

const BUFFER_BYTES: usize = 64 << 10;

const RING_ENTRIES: u32 = 4_096;

/// Serves for ever.
pub(super) fn serve(
    listener: std::net::TcpListener,
    lane: Lane,
    tally: Arc<Tally>,
) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer().setup_cqsize(4 * RING_ENTRIES);
    let intake = Rc::new(RefCell::new(Intake::new(lane, tally)));
    tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring).start(async {
        let listener = TcpListener::from_std(listener);
        loop {
            let (socket, _) = listener.accept().await?;
            let intake = Rc::clone(&intake);
            tokio_uring::spawn(async move {
                if let Err(error) = converse(socket, &intake).await {
                    eprintln!("tokio-uring: {error}");
                }
            });
        }
    })
}

async fn converse(socket: TcpStream, intake: &RefCell<Intake>) -> io::Result<()> {
    let mut stream = Stream::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (read, back) = socket.read(buffer).await;
        buffer = back;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        intake.borrow_mut().take_in(&mut stream, &buffer[..read])?;
        if !stream.reply.is_empty() {
            let (written, reply) = socket.write_all(std::mem::take(&mut stream.reply)).await;
            written?;
            stream.reply = reply;
            stream.reply.clear();
        }
    }
}
