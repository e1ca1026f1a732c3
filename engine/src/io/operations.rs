//! What is in the kernel: every operation that has not completed, with the memory it may touch.
//!
//! Called by the ring only, which turns the loop's [`Submission`]s into kernel entries here and the
//! kernel's entries into [`Completion`]s.
//!
//! Invariant: what an entry points to (frames, addresses, buffers) belongs to this value from the
//! push of the entry to its last completion; so this value must outlive the ring.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};

use io_uring::squeue::{self, SubmissionQueue};
use io_uring::{cqueue, opcode, types};
use peer::ConnId;
use rustix::net::SocketAddrAny;

use super::buffers::{RecvBuffers, group_id};
use super::datagrams::Datagrams;
use super::op::{Op, OpKind};
use super::sends::Sends;
use super::sockets::{self, OpenSockets};
use super::{Completion, Group, Lease, ListenerId, Submission};

/// Most entries that one [`Submission`] becomes.
pub(super) const ENTRIES_PER_SUBMISSION: usize = 2;

/// What is added to the chain's eventfd; here for ever, so that the kernel may read it at any time.
static ONE: u64 = 1;

pub(super) struct Operations {
    pub(super) buffers: RecvBuffers,
    pub(super) open: OpenSockets,
    pub(super) listeners: Vec<OwnedFd>,
    /// For sockets that we connect or listen on; `None` leaves the system's.
    pub(super) congestion_control: Option<String>,
    pub(super) datagrams: Datagrams,
    sends: Sends,
    connects: BTreeMap<ConnId, Box<Connecting>>,
    /// The eventfd that wakes the loop: polled, never read.
    wake: OwnedFd,
    /// Whether the poll of it is in the kernel.
    wake_armed: bool,
    /// The eventfd that the chain sleeps on.
    chain: OwnedFd,
    /// Operations that the kernel owes a last completion.
    awaited: u64,
}

/// A connect in the kernel; boxed, because the kernel has the address of `addr`.
struct Connecting {
    socket: OwnedFd,
    addr: SocketAddrAny,
}

impl Operations {
    pub(super) fn new(
        buffers: RecvBuffers,
        congestion_control: Option<String>,
        wake: OwnedFd,
        chain: OwnedFd,
    ) -> Self {
        Self {
            buffers,
            open: OpenSockets::default(),
            listeners: Vec::new(),
            congestion_control,
            datagrams: Datagrams::default(),
            sends: Sends::default(),
            connects: BTreeMap::new(),
            wake,
            wake_armed: false,
            chain,
            awaited: 0,
        }
    }

    /// Whether the kernel is done with all memory here.
    pub(super) const fn is_quiet(&self) -> bool {
        self.awaited == 0
    }

    /// The kernel has taken every entry that was pushed.
    pub(super) const fn all_submitted(&mut self) {
        self.sends.all_submitted();
    }

    /// Polls the loop's eventfd, if no poll is in the kernel. The first look is at the level, so a
    /// wake between two polls is not lost.
    pub(super) fn watch_wake(&mut self, queue: &mut SubmissionQueue<'_>) {
        if !self.wake_armed {
            self.wake_armed = true;
            let fd = types::Fd(self.wake.as_raw_fd());
            let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
            self.push(queue, Op::at(OpKind::Wake, 0), entry);
        }
    }

    /// Asks for the end of everything.
    pub(super) fn cancel_all(&mut self, queue: &mut SubmissionQueue<'_>) {
        self.cancel(queue, types::CancelBuilder::any());
    }

    /// Pushes the entries of a submission, for which the queue has room. A connect that fails
    /// before it begins completes at once.
    pub(super) fn begin(
        &mut self,
        submission: Submission,
        queue: &mut SubmissionQueue<'_>,
    ) -> Option<Completion> {
        match submission {
            Submission::Accept { listener } => self.accept(listener, queue),
            Submission::Connect { conn, addr } => {
                if let Err(errno) = self.connect(conn, addr, queue) {
                    return Some(Completion::Connected { conn, result: Err(errno) });
                }
            }
            Submission::Recv { conn, socket, group, once } => {
                let fd = types::Fd(self.open.borrow(socket).as_raw_fd());
                let entry = if once {
                    // Without a length: as much as the buffer that is chosen holds.
                    let recv = opcode::Recv::new(fd, std::ptr::null_mut(), 0);
                    recv.buf_group(group_id(group)).build().flags(squeue::Flags::BUFFER_SELECT)
                } else {
                    opcode::RecvMulti::new(fd, group_id(group)).build()
                };
                self.push(queue, Op::of(recv(group), conn), entry);
            }
            Submission::CancelRecv { conn } => {
                for kind in [OpKind::RecvSmall, OpKind::RecvLarge] {
                    self.cancel_op(queue, Op::of(kind, conn));
                }
            }
            Submission::CancelConnect { conn } => {
                self.cancel_op(queue, Op::of(OpKind::Connect, conn));
            }
            Submission::Send { conn, socket, gathered } => {
                let fd = self.open.borrow(socket).as_raw_fd();
                let (op, entry) = self.sends.start(conn, fd, gathered);
                self.push(queue, op, entry);
            }
            Submission::Close { conn, socket } => {
                // From here on the descriptor is the kernel's: its number may come back with an
                // accept before this close completes.
                let fd = self.open.remove(socket).into_raw_fd();
                let entry = opcode::Close::new(types::Fd(fd)).build();
                self.push(queue, Op::of(OpKind::Close, conn), entry);
            }
            Submission::RecvDatagrams => {
                let entry = self.datagrams.receive();
                self.push(queue, Op::at(OpKind::RecvDatagrams, 0), entry);
            }
            Submission::SendDatagram { to, bytes } => {
                let (op, entry) = self.datagrams.send(to, bytes);
                self.push(queue, op, entry);
            }
            Submission::NotifyChain => self.notify_chain(queue),
        }
        None
    }

    /// What a kernel entry means to the loop; `None` if nothing.
    pub(super) fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let op = Op::unpack(entry.user_data()).expect("the kernel returns what we gave it");
        let more = cqueue::more(entry.flags());
        if op.kind.is_awaited() && !more {
            self.awaited -= 1;
        }
        let result = u32::try_from(entry.result()).map_err(|_| -entry.result());
        match op.kind {
            OpKind::Accept => Some(self.accepted(op, result, more)),
            OpKind::Connect => Some(self.connected(op.conn(), result)),
            OpKind::RecvSmall => Some(self.received(Group::Small, op.conn(), entry, result)),
            OpKind::RecvLarge => Some(self.received(Group::Large, op.conn(), entry, result)),
            OpKind::Send => Some(self.sends.finish(op, result.map(|bytes| bytes as usize))),
            OpKind::Close => {
                debug_assert!(result.is_ok(), "the socket was ours and open: {result:?}");
                Some(Completion::Closed { conn: op.conn() })
            }
            OpKind::RecvDatagrams => Some(self.received_datagram(entry, result)),
            OpKind::SendDatagram => Some(self.datagrams.sent(op, result)),
            OpKind::Wake => {
                self.wake_armed = more;
                result.is_ok().then_some(Completion::Woken)
            }
            OpKind::Notify => {
                tracing::warn!(errno = result.err(), "the chain could not be notified");
                None
            }
            OpKind::Cancel => None,
        }
    }

    fn accept(&mut self, listener: ListenerId, queue: &mut SubmissionQueue<'_>) {
        let fd = types::Fd(self.listeners[usize::from(listener.0)].as_raw_fd());
        let entry =
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build();
        self.push(queue, Op::at(OpKind::Accept, listener.0.into()), entry);
    }

    fn connect(
        &mut self,
        conn: ConnId,
        addr: SocketAddr,
        queue: &mut SubmissionQueue<'_>,
    ) -> Result<(), i32> {
        let socket = sockets::stream(addr, self.congestion_control.as_deref())
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        let connecting = Box::new(Connecting { socket, addr: addr.into() });
        let fd = types::Fd(connecting.socket.as_raw_fd());
        let (addr, bytes) = (connecting.addr.as_ptr().cast(), connecting.addr.addr_len());
        let before = self.connects.insert(conn, connecting);
        assert!(before.is_none(), "{conn:?} is being connected already");
        let entry = opcode::Connect::new(fd, addr, bytes).build();
        self.push(queue, Op::of(OpKind::Connect, conn), entry);
        Ok(())
    }

    fn notify_chain(&mut self, queue: &mut SubmissionQueue<'_>) {
        let fd = types::Fd(self.chain.as_raw_fd());
        let entry = opcode::Write::new(fd, (&raw const ONE).cast(), size_of_val(&ONE) as u32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(queue, Op::at(OpKind::Notify, 0), entry);
    }

    fn cancel_op(&mut self, queue: &mut SubmissionQueue<'_>, op: Op) {
        self.cancel(queue, types::CancelBuilder::user_data(op.pack()));
    }

    fn cancel(&mut self, queue: &mut SubmissionQueue<'_>, which: types::CancelBuilder) {
        let entry = opcode::AsyncCancel2::new(which).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.push(queue, Op::at(OpKind::Cancel, 0), entry);
    }

    fn push(&mut self, queue: &mut SubmissionQueue<'_>, op: Op, entry: squeue::Entry) {
        if op.kind.is_awaited() {
            self.awaited += 1;
        }
        // SAFETY: what the entry points to is a frame, a datagram, an address, a header or a buffer
        // owned by `self` until the last completion, a list of parts that is kept until the kernel
        // has taken the entry, or a static; and the ring does not outlive `self`. The descriptor is
        // open: it comes from a table here, or is given away with the entry (close).
        unsafe { queue.push(&entry.user_data(op.pack())) }.expect("the queue has room");
    }

    fn accepted(&mut self, op: Op, result: Result<u32, i32>, more: bool) -> Completion {
        let listener = ListenerId(u16::try_from(op.index).expect("the index of a listener"));
        let result = result.and_then(|fd| {
            // SAFETY: this is the one place where a completed accept is taken over.
            let socket = unsafe { sockets::accepted(fd as RawFd) };
            // A peer that has gone already has no address; its socket is closed here.
            let addr = sockets::remote_addr(socket.as_fd())?;
            Ok((self.open.insert(socket), addr))
        });
        Completion::Accepted { listener, result, more }
    }

    fn connected(&mut self, conn: ConnId, result: Result<u32, i32>) -> Completion {
        let connecting = self.connects.remove(&conn).expect("a connect completes once");
        let result = result.map(|_| self.open.insert(connecting.socket));
        Completion::Connected { conn, result }
    }

    fn received(
        &mut self,
        group: Group,
        conn: ConnId,
        entry: &cqueue::Entry,
        result: Result<u32, i32>,
    ) -> Completion {
        let lease = self.lease(group, entry, result);
        Completion::Received {
            conn,
            result: result.map(|_| lease),
            more: cqueue::more(entry.flags()),
        }
    }

    /// The buffer that came with a completion, if there is something in it.
    fn lease(
        &mut self,
        group: Group,
        entry: &cqueue::Entry,
        result: Result<u32, i32>,
    ) -> Option<Lease> {
        if result == Err(libc::ENOBUFS) {
            self.buffers.ran_out(group);
        }
        let buffer = cqueue::buffer_select(entry.flags());
        let bytes = result.unwrap_or(0);
        let mut lease = buffer.map(|buffer| self.buffers.lend(group, buffer, bytes));
        if bytes == 0
            && let Some(unused) = lease.take()
        {
            self.buffers.give_back(unused);
        }
        assert!(bytes == 0 || lease.is_some(), "bytes came without a buffer");
        lease
    }

    /// A datagram, behind the head that the kernel wrote into its buffer.
    fn received_datagram(&mut self, entry: &cqueue::Entry, result: Result<u32, i32>) -> Completion {
        let lease = self.lease(Group::Datagrams, entry, result);
        let more = cqueue::more(entry.flags());
        let Some(mut lease) = lease else {
            let errno = result.err().unwrap_or(libc::EIO);
            return Completion::Datagram { result: Err(errno), more };
        };
        let result = match self.datagrams.read(self.buffers.bytes(&lease)) {
            Ok((from, start)) => {
                lease.start = start as u32;
                lease.bytes -= lease.start;
                Ok((from, lease))
            }
            Err(errno) => {
                self.buffers.give_back(lease);
                Err(errno)
            }
        };
        Completion::Datagram { result, more }
    }
}

/// The kind of a receive into a group.
const fn recv(group: Group) -> OpKind {
    match group {
        Group::Small => OpKind::RecvSmall,
        Group::Large => OpKind::RecvLarge,
        Group::Datagrams => OpKind::RecvDatagrams,
    }
}
