//! The socket of datagrams in the scripted kernel.
//!
//! Like the kernel it keeps what nobody receives, ends the receive at an error, at an empty
//! datagram and where no buffer is free (and then loses nothing), and tells of one that is too
//! long. It panics at two receives at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use codec::limits::DATAGRAM_BYTES_MAX;

use super::{Pools, Script, lend};
use crate::io::{Completion, Group};

#[derive(Default)]
pub(super) struct DatagramSocket {
    addr: Option<SocketAddr>,
    armed: bool,
    /// What came, or went wrong.
    inbound: VecDeque<Result<(SocketAddr, Vec<u8>), i32>>,
    /// The next datagram ends the receive.
    cut_short: bool,
    /// Sends in the kernel, the first one first.
    sending: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Sends stay in the kernel until they are told to end.
    holds: bool,
    /// How the next sends end, which otherwise end well.
    results: VecDeque<Result<(), i32>>,
    /// What left.
    sent: Vec<(SocketAddr, Vec<u8>)>,
}

impl Script {
    /// A datagram comes.
    pub(crate) fn datagram(&self, from: SocketAddr, bytes: &[u8]) {
        self.state().datagrams.inbound.push_back(Ok((from, bytes.to_vec())));
    }

    /// The receive of datagrams fails.
    pub(crate) fn datagram_error(&self, errno: i32) {
        self.state().datagrams.inbound.push_back(Err(errno));
    }

    /// The next datagram ends its receive.
    pub(crate) fn cut_datagrams_short(&self) {
        self.state().datagrams.cut_short = true;
    }

    /// From now on whether datagrams that are sent stay in the kernel.
    pub(crate) fn hold_datagrams(&self, yes: bool) {
        self.state().datagrams.holds = yes;
    }

    /// The next datagram that leaves does not.
    pub(crate) fn datagram_send_error(&self, errno: i32) {
        self.state().datagrams.results.push_back(Err(errno));
    }

    /// The datagrams that left since the last call.
    pub(crate) fn take_datagrams(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.state().datagrams.sent)
    }

    /// Datagrams that are sent and in the kernel.
    pub(crate) fn datagrams_sending(&self) -> usize {
        self.0.borrow().datagrams.sending.len()
    }

    /// Whether a receive of datagrams is in the kernel.
    pub(crate) fn receives_datagrams(&self) -> bool {
        self.0.borrow().datagrams.armed
    }
}

impl DatagramSocket {
    pub(super) fn bind(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        assert_eq!(self.addr, None, "one socket of datagrams");
        let port = if addr.port() == 0 { 40_000 } else { addr.port() };
        self.addr = Some(SocketAddr::new(addr.ip(), port));
        self.addr.ok_or_else(|| io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn receive(&mut self) {
        assert!(self.addr.is_some(), "a receive without a socket");
        assert!(!std::mem::replace(&mut self.armed, true), "two receives of datagrams");
    }

    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        assert!(self.addr.is_some(), "a send without a socket");
        self.sending.push_back((to, bytes));
    }

    pub(super) fn deliver(
        &mut self,
        free: &mut [VecDeque<u16>; 3],
        lent: &mut [Vec<bool>; 3],
        pools: &mut Pools,
        into: &mut Vec<Completion>,
    ) {
        while self.armed
            && let Some(next) = self.inbound.pop_front()
        {
            let (result, more) = match next {
                Err(errno) => (Err(errno), false),
                Ok((_, bytes)) if bytes.len() > DATAGRAM_BYTES_MAX => (Err(libc::EMSGSIZE), true),
                Ok((from, bytes)) => {
                    let more = !bytes.is_empty() && !std::mem::take(&mut self.cut_short);
                    match lend(Group::Datagrams, free, lent, pools, bytes) {
                        Ok((lease, _)) => (Ok((from, lease)), more),
                        Err(bytes) => {
                            self.inbound.push_front(Ok((from, bytes)));
                            (Err(libc::ENOBUFS), false)
                        }
                    }
                }
            };
            self.armed = more;
            into.push(Completion::Datagram { result, more });
        }
        while !self.holds
            && let Some(sent) = self.sending.pop_front()
        {
            let result = self.results.pop_front().unwrap_or(Ok(()));
            if result.is_ok() {
                self.sent.push(sent);
            }
            into.push(Completion::DatagramSent { result });
        }
    }
}
