//! Sockets: their options, and who owns them.
//!
//! Descriptors of connections live in [`OpenSockets`]; the loop has [`Socket`]s, plain handles.
//! A handle that is not in the table any more is our bug, found before a foreign file is closed.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::Socket;

/// Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Binds and listens. Accepted sockets inherit the options: two system calls less for each.
pub(super) fn listen(
    addr: SocketAddr,
    congestion_control: Option<&str>,
) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket(addr, SocketFlags::empty(), congestion_control)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if addr.is_ipv6() {
        // Each address that is listed is itself: [::] does not take 0.0.0.0 along.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &addr)?;
    net::listen(&socket, BACKLOG)?;
    let bound = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok((socket, bound))
}

/// Binds a socket for datagrams.
pub(super) fn datagrams(addr: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &addr)?;
    let bound = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok((socket, bound))
}

/// A socket to connect to `addr` with.
pub(super) fn stream(addr: SocketAddr, congestion_control: Option<&str>) -> io::Result<OwnedFd> {
    socket(addr, SocketFlags::NONBLOCK, congestion_control)
}

fn socket(
    addr: SocketAddr,
    flags: SocketFlags,
    congestion_control: Option<&str>,
) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(name) = congestion_control {
        sockopt::set_tcp_congestion(&socket, name)?;
    }
    Ok(socket)
}

/// Who is at the other end, never IPv4-mapped.
///
/// # Errors
///
/// The errno; ENOTCONN if nobody is there any more.
pub(super) fn remote_addr(socket: BorrowedFd<'_>) -> Result<SocketAddr, i32> {
    let errno = |errno: Errno| errno.raw_os_error();
    let addr = net::getpeername(socket).map_err(errno)?.ok_or(libc::ENOTCONN)?;
    let addr = SocketAddr::try_from(addr).map_err(errno)?;
    Ok(peer::canonical(addr))
}

/// The descriptors of all connections: a bit for each number.
#[derive(Default)]
pub(super) struct OpenSockets {
    words: Vec<u64>,
}

impl OpenSockets {
    /// Takes a descriptor in.
    pub(super) fn insert(&mut self, socket: OwnedFd) -> Socket {
        let socket = Socket(socket.into_raw_fd());
        let (word, bit) = place(socket);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        assert_eq!(self.words[word] & bit, 0, "a descriptor is open once");
        self.words[word] |= bit;
        socket
    }

    /// The descriptor of a handle.
    pub(super) fn borrow(&self, socket: Socket) -> BorrowedFd<'_> {
        assert!(self.contains(socket), "the socket {} is not open", socket.0);
        // SAFETY: it is in the table, which owns it, so it stays open while the table is borrowed.
        unsafe { BorrowedFd::borrow_raw(socket.0) }
    }

    /// Gives a descriptor away.
    pub(super) fn remove(&mut self, socket: Socket) -> OwnedFd {
        assert!(self.contains(socket), "the socket {} is not open", socket.0);
        let (word, bit) = place(socket);
        self.words[word] &= !bit;
        // SAFETY: it was in the table, which owned it, and is not any more.
        unsafe { OwnedFd::from_raw_fd(socket.0) }
    }

    /// Closes all of them.
    pub(super) fn close_all(&mut self) {
        for (index, word) in std::mem::take(&mut self.words).into_iter().enumerate() {
            for bit in (0..u64::BITS).filter(|bit| word >> bit & 1 == 1) {
                let fd = index as RawFd * u64::BITS as RawFd + bit as RawFd;
                // SAFETY: it was in the table, which owned it, and is not any more.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }

    fn contains(&self, socket: Socket) -> bool {
        let (word, bit) = place(socket);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

impl Drop for OpenSockets {
    fn drop(&mut self) {
        self.close_all();
    }
}

/// Word and bit of a descriptor.
fn place(socket: Socket) -> (usize, u64) {
    let fd = usize::try_from(socket.0).expect("a descriptor is not negative");
    (fd / u64::BITS as usize, 1 << (fd % u64::BITS as usize))
}

/// Takes over a descriptor that an accept has made.
///
/// # Safety
///
/// `fd` comes from a completed accept of our ring and has not been taken over before.
pub(super) unsafe fn accepted(fd: RawFd) -> OwnedFd {
    // SAFETY: as the caller promises, it is open and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Ends a half or both of a connection. A connection that is gone already is no error.
pub(super) fn shutdown(socket: &impl AsFd, how: net::Shutdown) {
    match net::shutdown(socket, how) {
        Ok(()) | Err(Errno::NOTCONN) => {}
        Err(errno) => tracing::debug!(%errno, "shutdown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> (OwnedFd, SocketAddr) {
        listen("127.0.0.1:0".parse().unwrap(), None).unwrap()
    }

    #[test]
    fn a_listener_knows_its_port_and_its_options() {
        let (socket, addr) = listen("127.0.0.1:0".parse().unwrap(), Some("reno")).unwrap();
        assert_ne!(addr.port(), 0);
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert_eq!(sockopt::tcp_congestion(&socket).unwrap(), "reno");
    }

    #[test]
    fn both_families_may_have_the_same_port() {
        let (_four, addr) = listen("0.0.0.0:0".parse().unwrap(), None).unwrap();
        let six = SocketAddr::new("::".parse().unwrap(), addr.port());
        assert_eq!(listen(six, None).unwrap().1, six);
    }

    #[test]
    fn nobody_at_the_other_end_is_an_errno() {
        let (socket, _) = loopback();
        assert_eq!(remote_addr(socket.as_fd()), Err(libc::ENOTCONN));
    }

    #[test]
    fn the_table_owns_what_is_in_it() {
        let mut open = OpenSockets::default();
        let (first, second) = (open.insert(loopback().0), open.insert(loopback().0));
        assert!(net::getsockname(open.borrow(first)).is_ok());
        drop(open.remove(first));
        assert!(!open.contains(first) && open.contains(second));
        open.close_all();
        assert!(!open.contains(second));
    }

    #[test]
    #[should_panic(expected = "is not open")]
    fn a_second_close_is_our_bug() {
        let mut open = OpenSockets::default();
        let socket = open.insert(loopback().0);
        drop(open.remove(socket));
        drop(open.remove(socket));
    }
}
