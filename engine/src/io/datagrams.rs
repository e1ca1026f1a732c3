//! Datagrams in the kernel: one socket, one receive that goes on, and the sends in flight.
//!
//! A received datagram lies in its buffer behind a head that the kernel writes: lengths, flags, and
//! the sender's address. What is sent is owned here, with its address and its header, until it
//! completes; slots are used again, so that a datagram costs no allocation.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use codec::limits::DATAGRAM_BYTES_MAX;
use io_uring::types::{Fd, RecvMsgOut};
use io_uring::{opcode, squeue};
use rustix::net::SocketAddrAny;

use super::buffers::group_id;
use super::op::{Op, OpKind};
use super::{Completion, Group};

/// Room for the address of a sender of either family.
const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// The kernel's `io_uring_recvmsg_out`: four lengths and flags of 32 bits.
const HEAD_BYTES: usize = 16;

/// Bytes of a buffer: the longest datagram, and what the kernel writes before it. Of a longer one
/// only the beginning comes, with a flag that says so.
pub(super) const BUFFER_BYTES: u32 = (HEAD_BYTES + NAME_BYTES + DATAGRAM_BYTES_MAX) as u32;

/// Buffers: what comes in a burst while a turn runs long. Guess; a socket buffer holds as many.
pub(super) const BUFFER_COUNT: u16 = 256;

/// The socket, and what is in the kernel for it.
pub(super) struct Datagrams {
    pub(super) socket: Option<OwnedFd>,
    /// What the receive asks for: where datagrams come from. Here for ever, boxed, since the kernel
    /// has its address.
    wanted: Box<libc::msghdr>,
    /// Grows to the most sends that were in flight at once, which the loop bounds.
    #[expect(
        clippy::vec_box,
        reason = "the kernel has the address of each while others are added"
    )]
    slots: Vec<Box<Outgoing>>,
    /// Slots that are not in flight.
    free: Vec<u32>,
}

/// A send in flight.
struct Outgoing {
    header: libc::msghdr,
    part: libc::iovec,
    to: SocketAddrAny,
    bytes: Vec<u8>,
    in_flight: bool,
}

/// Zeroes.
const EMPTY: libc::msghdr =
    // SAFETY: a message header is integers and pointers, for which zeroes are legal.
    unsafe { std::mem::zeroed() };

impl Default for Datagrams {
    fn default() -> Self {
        let wanted = libc::msghdr { msg_namelen: NAME_BYTES as libc::socklen_t, ..EMPTY };
        Self { socket: None, wanted: Box::new(wanted), slots: Vec::new(), free: Vec::new() }
    }
}

impl Datagrams {
    fn fd(&self) -> Fd {
        Fd(self.socket.as_ref().expect("a socket for datagrams is bound").as_raw_fd())
    }

    /// The submission that receives until told otherwise.
    pub(super) fn receive(&self) -> squeue::Entry {
        opcode::RecvMsgMulti::new(self.fd(), &raw const *self.wanted, group_id(Group::Datagrams))
            .build()
    }

    /// Where a datagram that fills this much of a buffer came from, and where in the buffer it
    /// begins.
    ///
    /// # Errors
    ///
    /// An errno: EMSGSIZE, if it was too long; EAFNOSUPPORT, if it comes from no IP.
    pub(super) fn read(&self, buffer: &[u8]) -> Result<(SocketAddr, usize), i32> {
        let out = RecvMsgOut::parse(buffer, &self.wanted).map_err(|()| libc::EIO)?;
        if out.is_payload_truncated() {
            return Err(libc::EMSGSIZE);
        }
        let from = sender(out.name_data()).ok_or(libc::EAFNOSUPPORT)?;
        Ok((peer::canonical(from), buffer.len() - out.payload_data().len()))
    }

    /// Keeps the datagram and makes the submission that sends it.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) -> (Op, squeue::Entry) {
        let index = self.free.pop().unwrap_or_else(|| {
            let part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
            let (to, bytes) = (to.into(), Vec::new());
            let slot = Outgoing { header: EMPTY, part, to, bytes, in_flight: false };
            self.slots.push(Box::new(slot));
            self.slots.len() as u32 - 1
        });
        let fd = self.fd();
        let slot = &mut *self.slots[index as usize];
        assert!(!slot.in_flight, "a slot that is free is not in flight");
        (slot.to, slot.bytes, slot.in_flight) = (to.into(), bytes, true);
        // The kernel only reads from the parts and the address of a send.
        slot.part.iov_base = slot.bytes.as_ptr().cast_mut().cast();
        slot.part.iov_len = slot.bytes.len();
        slot.header.msg_name = slot.to.as_ptr().cast_mut().cast();
        slot.header.msg_namelen = slot.to.addr_len();
        slot.header.msg_iov = &raw mut slot.part;
        slot.header.msg_iovlen = 1;
        let header = &raw const slot.header;
        let flags = libc::MSG_NOSIGNAL as u32;
        let entry = opcode::SendMsg::new(fd, header).flags(flags).build();
        (Op::at(OpKind::SendDatagram, index), entry)
    }

    /// A send has ended.
    pub(super) fn sent(&mut self, op: Op, result: Result<u32, i32>) -> Completion {
        let slot = &mut *self.slots[op.index as usize];
        assert!(slot.in_flight, "a datagram was sent twice");
        (slot.bytes, slot.in_flight) = (Vec::new(), false);
        self.free.push(op.index);
        Completion::DatagramSent { result: result.map(drop) }
    }
}

/// The address in the kernel's form: family, port and IP, in the order of the network but for the
/// family.
fn sender(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::from(*name.get(4..)?.first_chunk::<4>()?),
        libc::AF_INET6 => IpAddr::from(*name.get(8..)?.first_chunk::<16>()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(addr: SocketAddr) -> Vec<u8> {
        let any = SocketAddrAny::from(addr);
        // SAFETY: the address is kept, initialised, for as many bytes as it says.
        unsafe { std::slice::from_raw_parts(any.as_ptr().cast(), any.addr_len() as usize).to_vec() }
    }

    #[test]
    fn addresses_of_both_families_are_read_and_no_part_of_one() {
        for addr in ["192.0.2.7:4000", "[2001:db8::7]:65535"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let name = name(addr);
            assert_eq!(sender(&name), Some(addr));
            let least = if addr.is_ipv4() { 8 } else { 24 };
            assert!((0..least).all(|end| sender(&name[..end]).is_none()));
        }
        assert_eq!(sender(&[0; NAME_BYTES]), None, "no family");
    }

    #[test]
    fn slots_are_used_again_and_keep_what_the_kernel_reads() {
        let mut datagrams = Datagrams::default();
        let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let socket = super::super::sockets::datagrams("127.0.0.1:0".parse().unwrap()).unwrap().0;
        datagrams.socket = Some(socket);
        let (first, _) = datagrams.send(to, vec![1; 10]);
        let (second, _) = datagrams.send(to, vec![2; 20]);
        assert_ne!(first.index, second.index);
        assert_eq!(datagrams.slots[first.index as usize].part.iov_len, 10);
        datagrams.sent(first, Ok(10));
        let (third, _) = datagrams.send(to, vec![3; 30]);
        assert_eq!((third.index, datagrams.slots.len()), (first.index, 2));
        let slot = &datagrams.slots[third.index as usize];
        assert_eq!(slot.part.iov_base.cast_const().cast(), slot.bytes.as_ptr());
    }

    #[test]
    #[should_panic(expected = "sent twice")]
    fn a_second_completion_is_our_bug() {
        let mut datagrams = Datagrams::default();
        let socket = super::super::sockets::datagrams("[::1]:0".parse().unwrap()).unwrap().0;
        datagrams.socket = Some(socket);
        let (op, _) = datagrams.send("[::1]:9".parse().unwrap(), vec![1]);
        datagrams.sent(op, Ok(1));
        datagrams.sent(op, Ok(1));
    }
}
