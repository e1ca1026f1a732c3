//! A client's socket, on either backend: the only code of the fleet that knows them apart.
//!
//! Reads and writes own their buffer and give it back, as io_uring needs it and as epoll does not
//! mind.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio_uring::buf::BoundedBuf;

use crate::control::{Backend, CONGESTION_CONTROL};

/// A connected TCP socket.
pub(crate) enum Socket {
    /// Operations go through the thread's ring.
    Ring(tokio_uring::net::TcpStream),
    /// Readiness comes from the thread's epoll.
    Epoll(tokio::net::TcpStream),
}

/// A socket and what is known of it.
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    pub(crate) local: SocketAddr,
    /// Whether it took [`CONGESTION_CONTROL`].
    pub(crate) cubic: bool,
}

/// Source addresses that clients of a loopback engine come from, so that one address' 28,000
/// ephemeral ports are no limit: 127.0.0.2 and following.
const SOURCES: u32 = 64;

/// Dials, from one of many loopback addresses if the target is on loopback.
pub(crate) async fn dial(backend: Backend, target: SocketAddr, number: u32) -> io::Result<Dialled> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    let cubic = sockopt::set_tcp_congestion(&fd, CONGESTION_CONTROL).is_ok();
    sockopt::set_tcp_nodelay(&fd, true)?;
    if target.is_ipv4() && target.ip().is_loopback() {
        let source = Ipv4Addr::new(127, 0, 0, 2 + (number % SOURCES) as u8);
        rustix::net::bind(&fd, &SocketAddr::from((source, 0)))?;
    }
    match rustix::net::connect(&fd, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let stream = tokio::net::TcpStream::from_std(fd.into())?;
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    let local = stream.local_addr()?;
    let socket = match backend {
        Backend::Tokio => Socket::Epoll(stream),
        Backend::TokioUring => {
            let stream = stream.into_std()?;
            // On a non-blocking socket the ring would answer EAGAIN instead of waiting.
            stream.set_nonblocking(false)?;
            Socket::Ring(tokio_uring::net::TcpStream::from_std(stream))
        }
    };
    Ok(Dialled { socket, local, cubic })
}

impl Socket {
    /// Appends what comes to `buffer`, which must have room; 0 is the end of the stream.
    pub(crate) async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match self {
            Self::Ring(stream) => {
                let filled = buffer.len();
                let (result, slice) = stream.read(buffer.slice(filled..)).await;
                (result, slice.into_inner())
            }
            Self::Epoll(stream) => loop {
                if let Err(error) = stream.readable().await {
                    return (Err(error), buffer);
                }
                match stream.try_read_buf(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return (result, buffer),
                }
            },
        }
    }

    /// Writes all of `buffer`.
    pub(crate) async fn write_all(&self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Ring(stream) => stream.write_all(buffer).await,
            Self::Epoll(stream) => {
                let mut done = 0;
                while done < buffer.len() {
                    if let Err(error) = stream.writable().await {
                        return (Err(error), buffer);
                    }
                    match stream.try_write(&buffer[done..]) {
                        Ok(written) => done += written,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return (Err(error), buffer),
                    }
                }
                (Ok(()), buffer)
            }
        }
    }

    /// Tells the other side that nothing more is written.
    pub(crate) fn finish(&self) {
        // It may be gone already, and then there is nobody to tell.
        let _ = match self {
            Self::Ring(stream) => stream.shutdown(std::net::Shutdown::Write),
            Self::Epoll(stream) => {
                rustix::net::shutdown(stream, rustix::net::Shutdown::Write).map_err(io::Error::from)
            }
        };
    }
}
