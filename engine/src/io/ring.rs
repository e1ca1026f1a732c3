//! The ring: one io_uring, made and used by one thread.
//!
//! Set up for completions only where they are asked for (DEFER_TASKRUN): nothing completes outside
//! of [`Io::turn`], and every turn enters with GETEVENTS, also one that does not wait.
//!
//! Hang: a turn waits in the kernel for a completion, a wake or its timeout, nowhere else.
//! Order of the end: cancel, wait for the last completions, close the ring, free the memory.

use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Parameters, Probe, cqueue, opcode, squeue};
use rustix::net::Shutdown;

use super::bell::Bell;
use super::buffers::{BufferConfig, DATAGRAM_GROUP_BYTES, RecvBuffers};
use super::error::{RingError, Surroundings};
use super::op;
use super::operations::{ENTRIES_PER_SUBMISSION, Operations};
use super::sockets;
use super::{Completion, Group, Half, Io, Lease, ListenerId, Socket, Submission, Until, Wait};

/// Entries of the submission queue; a larger batch is submitted in pieces.
const SUBMISSIONS: u32 = 4096;

/// Bounds of the completion queue. The upper one is the kernel's.
const COMPLETIONS_MIN: u32 = 2 * SUBMISSIONS;
const COMPLETIONS_MAX: u32 = 65_536;

/// Completions that one connection may have waiting at once: a receive, a send, and room for a
/// multishot that has several. An overflow loses nothing, but ends multishots.
const COMPLETIONS_PER_CONNECTION: u32 = 4;

/// How often a submission is tried that the kernel has no memory for.
const SUBMIT_TRIES_MAX: u32 = 64;

/// How long the end waits for the last completions: rounds, and the most that one takes.
const END_ROUNDS_MAX: u32 = 100;
const END_ROUND: Duration = Duration::from_millis(10);

/// What a ring is made of.
#[derive(Debug)]
pub(crate) struct RingConfig {
    /// Most connections, inbound and outbound; sizes the completion queue.
    pub(crate) connections_max: u32,
    /// The receive buffers.
    pub(crate) buffers: BufferConfig,
    /// For all sockets; `None` leaves the system's.
    pub(crate) congestion_control: Option<String>,
    /// The eventfd that wakes the loop.
    pub(crate) wake: OwnedFd,
    /// The eventfd that wakes the chain.
    pub(crate) chain: OwnedFd,
}

/// Entries of the two queues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queues {
    pub(super) submissions: u32,
    pub(super) completions: u32,
}

impl Queues {
    const fn for_connections(connections: u32) -> Self {
        let wanted = connections.saturating_mul(COMPLETIONS_PER_CONNECTION);
        let completions = if wanted < COMPLETIONS_MIN {
            COMPLETIONS_MIN
        } else if wanted > COMPLETIONS_MAX {
            COMPLETIONS_MAX
        } else {
            wanted.next_power_of_two()
        };
        Self { submissions: SUBMISSIONS, completions }
    }
}

/// Bytes of the queues and the buffers of a ring, before there is one.
pub(crate) const fn pool_bytes(connections_max: u32, buffers: &BufferConfig) -> usize {
    let Queues { submissions, completions } = Queues::for_connections(connections_max);
    queue_bytes(submissions, completions).saturating_add(buffers.memory_bytes())
}

/// Bytes of the buffers beside those, if there is a socket for datagrams.
pub(crate) const DATAGRAM_POOL_BYTES: usize = DATAGRAM_GROUP_BYTES;

const fn queue_bytes(submissions: u32, completions: u32) -> usize {
    submissions as usize * size_of::<squeue::Entry>()
        + completions as usize * size_of::<cqueue::Entry>()
}

/// The kernel, by io_uring. Not `Send`: the kernel refuses any thread but the one that made it.
pub(crate) struct Ring {
    uring: ManuallyDrop<IoUring>,
    door: ManuallyDrop<Door>,
    bell: Bell,
    /// Behind the ring in every respect: what it may touch, so it goes last.
    operations: ManuallyDrop<Operations>,
    /// Whether the kernel can wait for a batch (since 6.12).
    waits_for_batch: bool,
    entries: u64,
}

impl Ring {
    /// Makes the ring, on the thread that is to use it.
    ///
    /// # Errors
    ///
    /// What is missing, and what to do about it.
    pub(crate) fn new(config: RingConfig) -> Result<Self, RingError> {
        let queues = Queues::for_connections(config.connections_max);
        Self::with_queues(config, queues)
    }

    /// The same with other queues.
    pub(super) fn with_queues(config: RingConfig, queues: Queues) -> Result<Self, RingError> {
        let RingConfig { connections_max, buffers, congestion_control, wake, chain } = config;
        if connections_max > op::INDEX_MAX {
            let must = "below 2^24";
            let what = "the limit of connections";
            return Err(RingError::Size { what, value: connections_max, must });
        }
        if let Some(name) = &congestion_control {
            let any = SocketAddr::from(([0, 0, 0, 0], 0));
            sockets::stream(any, Some(name))
                .map_err(|source| RingError::CongestionControl { name: name.clone(), source })?;
        }
        let buffers = RecvBuffers::new(buffers)?;
        let around = Surroundings::read();
        let bell = Bell::new(&wake)
            .map_err(|error| RingError::diagnose("watch for wakes", error, &around))?;
        let uring = set_up(queues, &around)?;
        // From here on the value is whole: whatever fails, its drop closes the ring before it
        // frees the buffers.
        let ring = Self {
            waits_for_batch: uring.params().is_feature_min_timeout(),
            door: ManuallyDrop::new(Door::new(uring.as_raw_fd())),
            bell,
            uring: ManuallyDrop::new(uring),
            operations: ManuallyDrop::new(Operations::new(
                buffers,
                congestion_control,
                wake,
                chain,
            )),
            entries: 0,
        };
        // SAFETY: the buffers are part of the operations, which our drop keeps until the ring is
        // closed, or for ever if operations remain in it.
        unsafe { ring.operations.buffers.register(&ring.uring.submitter()) }
            .map_err(|error| RingError::diagnose("register receive buffers", error, &around))?;
        Ok(ring)
    }

    /// Enters the kernel: submits what is in the queue, runs what is due, and waits for `want`
    /// completions if that is not 0. What is short-lived is no error: a signal, a timeout, no
    /// memory for a submission, no room for a completion; whoever needs more comes again.
    fn enter(
        &mut self,
        want: u32,
        timeout: Option<Duration>,
        patience: Duration,
    ) -> io::Result<()> {
        let timespec = timeout.map(Timespec::from);
        let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
        let mut args = SubmitArgs::new().min_wait_usec(micros);
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        self.entries += 1;
        let pushed = self.uring.submission().len() as u32;
        if let Err(error) = self.door.enter(pushed, want, &args) {
            match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                _ => return Err(error),
            }
        }
        if self.uring.submission().is_empty() {
            self.operations.all_submitted();
        }
        Ok(())
    }

    /// Submits what is in the queue without waiting, and takes what completed, so that the
    /// kernel has room for more.
    fn submit(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        for _ in 0..SUBMIT_TRIES_MAX {
            self.enter(0, None, Duration::ZERO)?;
            self.reap(completions);
            if self.uring.submission().is_empty() {
                return Ok(());
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        let Wait { timeout, until } = wait;
        if timeout == Some(Duration::ZERO) {
            return self.enter(0, None, Duration::ZERO);
        }
        match until {
            Until::Batch(batch) if self.waits_for_batch && batch.want > 1 => {
                let patience = timeout.map_or(batch.patience, |most| most.min(batch.patience));
                self.enter(batch.want, timeout, patience)
            }
            Until::First | Until::Batch(_) => self.enter(1, timeout, Duration::ZERO),
            Until::Woken => {
                let nothing_to_do =
                    self.uring.submission().is_empty() && self.uring.completion().is_empty();
                if nothing_to_do {
                    self.bell.wait(timeout)?;
                }
                self.enter(0, None, Duration::ZERO)
            }
        }
    }

    /// Takes what completed. What did not fit into the queue comes with the next entry.
    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let operations = &mut *self.operations;
        completions.extend(self.uring.completion().filter_map(|entry| operations.complete(&entry)));
    }

    /// Ends all operations; whether the kernel is done with our memory.
    fn end_operations(&mut self) -> bool {
        let mut ended = Vec::new();
        for _ in 0..END_ROUNDS_MAX {
            if self.operations.is_quiet() {
                return true;
            }
            // Again in each round: one that is just being carried out is not found at first.
            if !self.uring.submission().is_full() {
                self.operations.cancel_all(&mut self.uring.submission());
            }
            if self.enter(1, Some(END_ROUND), Duration::ZERO).is_err() {
                return false;
            }
            self.reap(&mut ended);
            ended.clear();
        }
        self.operations.is_quiet()
    }
}

impl Io for Ring {
    fn listen(&mut self, addr: SocketAddr) -> io::Result<(ListenerId, SocketAddr)> {
        let listeners = &mut self.operations.listeners;
        let id = u16::try_from(listeners.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let congestion_control = self.operations.congestion_control.as_deref();
        let (socket, bound) = sockets::listen(addr, congestion_control)?;
        self.operations.listeners.push(socket);
        Ok((ListenerId(id), bound))
    }

    fn bind_datagrams(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        assert!(self.operations.datagrams.socket.is_none(), "there is one socket for datagrams");
        let (socket, bound) = sockets::datagrams(addr)?;
        // SAFETY: the buffers are part of the operations, which our drop keeps until the ring is
        // closed, or for ever if operations remain in it.
        unsafe { self.operations.buffers.add_datagrams(&self.uring.submitter()) }?;
        self.operations.datagrams.socket = Some(socket);
        Ok(bound)
    }

    fn turn(
        &mut self,
        submissions: &mut Vec<Submission>,
        mut wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let before = completions.len();
        self.operations.buffers.publish();
        self.operations.watch_wake(&mut self.uring.submission());
        for submission in submissions.drain(..) {
            let queue = self.uring.submission();
            let room = queue.capacity() - queue.len();
            drop(queue);
            if room < ENTRIES_PER_SUBMISSION {
                self.submit(completions)?;
            }
            let at_once = self.operations.begin(submission, &mut self.uring.submission());
            completions.extend(at_once);
        }
        if completions.len() > before {
            wait.timeout = Some(Duration::ZERO);
        }
        let idle = wait.timeout == Some(Duration::ZERO) && self.uring.submission().is_empty();
        if !idle || self.uring.completion().is_empty() {
            self.wait(wait)?;
        }
        self.reap(completions);
        if !self.uring.submission().is_empty() {
            self.submit(completions)?;
        }
        Ok(())
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        self.operations.buffers.bytes(lease)
    }

    fn give_back(&mut self, lease: Lease) {
        self.operations.buffers.give_back(lease);
    }

    fn buffers_free(&self, group: Group) -> u32 {
        self.operations.buffers.free(group)
    }

    fn buffers_shown(&self, group: Group) -> u32 {
        self.operations.buffers.shown(group)
    }

    fn buffers(&self, group: Group) -> u32 {
        self.operations.buffers.count(group)
    }

    fn shutdown(&mut self, socket: Socket, half: Half) {
        // A direct call: in the ring it would always go to a worker thread.
        let how = match half {
            Half::Write => Shutdown::Write,
            Half::Both => Shutdown::Both,
        };
        sockets::shutdown(&self.operations.open.borrow(socket), how);
    }

    fn entries(&self) -> u64 {
        self.entries
    }

    fn pool_bytes(&self) -> usize {
        let params = self.uring.params();
        let queues = queue_bytes(params.sq_entries(), params.cq_entries());
        queues + self.operations.buffers.mapped_bytes()
    }
}

impl Drop for Ring {
    /// Closing a ring does not end its operations at once: the kernel does that later, on its own,
    /// and could still write into a buffer. So they are ended and awaited before. If that fails (a
    /// worker that hangs, a foreign thread), their memory is leaked on purpose.
    fn drop(&mut self) {
        let quiet = self.end_operations();
        // SAFETY: each value is dropped once, here, and not used after: the door first, because a
        // registered descriptor keeps the ring open, then the ring, then what it may touch.
        unsafe {
            ManuallyDrop::drop(&mut self.door);
            ManuallyDrop::drop(&mut self.uring);
        }
        self.operations.open.close_all();
        if quiet {
            // SAFETY: dropped once, here; no operation is in the kernel, and the ring is closed.
            unsafe { ManuallyDrop::drop(&mut self.operations) };
        } else {
            tracing::error!("operations did not end: their memory is left to the kernel");
        }
    }
}

fn set_up(queues: Queues, around: &Surroundings) -> Result<IoUring, RingError> {
    let uring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(queues.completions)
        .dontfork()
        .build(queues.submissions)
        .map_err(|error| RingError::diagnose("set up io_uring", error, around))?;
    let mut probe = Probe::new();
    uring
        .submitter()
        .register_probe(&mut probe)
        .map_err(|error| RingError::diagnose("ask io_uring what it can", error, around))?;
    match missing_feature(uring.params()).or_else(|| missing_operation(&probe)) {
        Some(missing) => Err(RingError::KernelTooOld { release: around.release.clone(), missing }),
        None => Ok(uring),
    }
}

fn missing_feature(params: &Parameters) -> Option<&'static str> {
    let features = [
        (params.is_feature_nodrop(), "completions that are never dropped"),
        (params.is_feature_submit_stable(), "submissions that are copied when taken"),
        (params.is_feature_ext_arg(), "waits with a timeout"),
        (params.is_feature_fast_poll(), "sockets that are polled without a thread"),
        (params.is_feature_skip_cqe_on_success(), "operations that succeed silently"),
    ];
    features.into_iter().find_map(|(is_there, name)| (!is_there).then_some(name))
}

fn missing_operation(probe: &Probe) -> Option<&'static str> {
    let operations = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::AsyncCancel2::CODE, "cancel"),
        (opcode::Close::CODE, "close"),
        (opcode::Connect::CODE, "connect"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::RecvMulti::CODE, "receive"),
        (opcode::RecvMsgMulti::CODE, "receive of datagrams"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "vectored send"),
        (opcode::Write::CODE, "write"),
    ];
    operations.into_iter().find_map(|(code, name)| (!probe.is_supported(code)).then_some(name))
}

/// The way into the kernel: the one system call of a turn, through a descriptor registered with
/// the thread where the kernel can do that, which spares it the look into the file table.
struct Door {
    ring: RawFd,
    registered: Option<u32>,
}

/// The kernel's `io_uring_rsrc_update`.
#[repr(C)]
struct RegisteredRing {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// The kernel's `IORING_REGISTER_RING_FDS` and its reverse.
const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

impl Door {
    fn new(ring: RawFd) -> Self {
        let mut wanted = RegisteredRing { offset: u32::MAX, reserved: 0, data: ring as u64 };
        let registered = register(ring, REGISTER_RING_FDS, &mut wanted).then_some(wanted.offset);
        Self { ring, registered }
    }

    fn enter(&self, submit: u32, want: u32, args: &SubmitArgs<'_, '_>) -> io::Result<()> {
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let (fd, flags) = match self.registered {
            Some(offset) => (offset as RawFd, flags | EnterFlags::REGISTERED_RING),
            None => (self.ring, flags),
        };
        // SAFETY: the ring is open as long as the door; the arguments are the kernel's own type,
        // borrowed for the call, and so is the timespec that they point to. What the submissions
        // point to is the business of whoever pushed them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                submit,
                want,
                flags.bits(),
                ptr::from_ref(args),
                size_of_val(args),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(offset) = self.registered {
            let mut gone = RegisteredRing { offset, reserved: 0, data: 0 };
            register(self.ring, UNREGISTER_RING_FDS, &mut gone);
        }
    }
}

fn register(ring: RawFd, what: libc::c_uint, arg: &mut RegisteredRing) -> bool {
    let arg = ptr::from_mut(arg);
    // SAFETY: the ring is open, and the argument is one value of the type that these two calls
    // read and write, borrowed for the call.
    unsafe { libc::syscall(libc::SYS_io_uring_register, ring, what, arg, 1) == 1 }
}
