//! A kernel made of a script, for tests of the loop: no descriptor, no waiting, any fault at will.
//!
//! A test makes a [`ScriptedIo`] for the loop and keeps its [`Script`]: what the remotes do is
//! queued there and completes with the next turn, if the loop has asked for it. Like the kernel it
//! keeps bytes that nobody receives, ends a receive that finds no buffer, and completes in a turn
//! first what came before it, then what the turn submits.
//!
//! It panics where the loop would harm itself: a socket closed while an operation of it is in the
//! kernel, two sends or two receives of one socket at once, a send without bytes, a buffer given
//! back twice, a handle of a closed socket. [`Script::check_home`] finds what was never given back.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use codec::limits::DATAGRAM_BYTES_MAX;
use peer::ConnId;

use self::datagrams::DatagramSocket;
use super::{
    Completion, Gathered, Group, Half, Io, Lease, ListenerId, SEND_FRAMES_MAX, Socket, Submission,
    Wait,
};

mod datagrams;
#[cfg(test)]
mod tests;

/// The loop's end.
pub(crate) struct ScriptedIo {
    script: Script,
    /// Buffers by group; here, and not in the shared state, so that leases can be read.
    pools: Pools,
}

/// The memory of each group's buffers.
type Pools = [Vec<Box<[u8]>>; 3];

/// Buffers of datagrams, once there is a socket for them.
pub(crate) const DATAGRAM_BUFFERS: u16 = 8;

/// The test's end.
#[derive(Clone)]
pub(crate) struct Script(Rc<RefCell<State>>);

/// A submission as it was recorded; the frames of a send by address and length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Recorded {
    Accept { listener: ListenerId },
    Connect { conn: ConnId, addr: SocketAddr },
    Recv { conn: ConnId, socket: Socket, group: Group, once: bool },
    CancelRecv { conn: ConnId },
    CancelConnect { conn: ConnId },
    Send { conn: ConnId, socket: Socket, frames: Vec<(*const u8, usize)>, skip: usize },
    Close { conn: ConnId, socket: Socket },
    RecvDatagrams,
    SendDatagram { to: SocketAddr, bytes: usize },
    NotifyChain,
}

#[derive(Default)]
struct State {
    listeners: Vec<Listener>,
    streams: BTreeMap<i32, Stream>,
    dials: BTreeMap<ConnId, Dial>,
    next_socket: i32,
    /// Buffers at home, in the order of their return, by group.
    free: [VecDeque<u16>; 3],
    /// Which buffers are lent out, by group.
    lent: [Vec<bool>; 3],
    datagrams: DatagramSocket,
    /// Completions from nowhere: late ones, wakes.
    injected: VecDeque<Injected>,
    closed: Vec<ConnId>,
    sends_complete_at_once: bool,
    recorded: Vec<Recorded>,
    waits: Vec<Wait>,
}

struct Listener {
    addr: SocketAddr,
    armed: bool,
    arrivals: VecDeque<Arrival>,
}

struct Arrival {
    result: Result<(Socket, SocketAddr), i32>,
    /// Whether the multishot goes on.
    more: bool,
}

struct Dial {
    addr: SocketAddr,
    result: Option<Result<Socket, i32>>,
}

/// One connection: the socket, what is in the kernel for it, and what the remote did.
#[derive(Default)]
struct Stream {
    conn: Option<ConnId>,
    recv: Option<Group>,
    /// The receive is a single one.
    once: bool,
    send: Option<Gathered>,
    send_result: Option<Result<usize, i32>>,
    /// Bytes that came, in the pieces in which they came.
    inbound: VecDeque<Vec<u8>>,
    /// What comes after them: the end (0) or an errno.
    inbound_end: Option<i32>,
    /// The next receive ends its multishot.
    cut_short: bool,
    cancelled: bool,
    /// Bytes that the remote got.
    wire: Vec<u8>,
    shut: Option<Half>,
}

enum Injected {
    Completion(Completion),
    Received { conn: ConnId, group: Group, bytes: Vec<u8> },
}

impl ScriptedIo {
    /// Both ends; each group has `count` buffers of `bytes` bytes.
    pub(crate) fn new(small: (usize, u16), large: (usize, u16)) -> (Self, Script) {
        let sizes = [small, large, (0, 0)];
        let state = State {
            free: sizes.map(|(_, count)| (0..count).collect()),
            lent: sizes.map(|(_, count)| vec![false; count.into()]),
            ..State::default()
        };
        let script = Script(Rc::new(RefCell::new(state)));
        let pool = |(bytes, count)| vec![vec![0; bytes].into_boxed_slice(); usize::from(count)];
        (Self { script: script.clone(), pools: sizes.map(pool) }, script)
    }
}

/// What the remotes and the system do.
impl Script {
    /// Somebody dials a listener (by the order of `listen`).
    pub(crate) fn accept(&self, listener: u16, from: SocketAddr) -> Socket {
        self.arrive(listener, from, true)
    }

    /// The same, and with it the multishot ends.
    pub(crate) fn accept_last(&self, listener: u16, from: SocketAddr) -> Socket {
        self.arrive(listener, from, false)
    }

    /// An accept fails; with EMFILE the kernel also ends the multishot (`more` is false).
    pub(crate) fn accept_error(&self, listener: u16, errno: i32, more: bool) {
        let arrival = Arrival { result: Err(errno), more };
        self.state().listeners[usize::from(listener)].arrivals.push_back(arrival);
    }

    /// The dialled one answers.
    pub(crate) fn connect(&self, addr: SocketAddr) -> Socket {
        let mut state = self.state();
        let socket = state.open_socket();
        state.dial(addr).result = Some(Ok(socket));
        socket
    }

    /// The dialled one does not want, or is not there.
    pub(crate) fn refuse(&self, addr: SocketAddr, errno: i32) {
        self.state().dial(addr).result = Some(Err(errno));
    }

    /// Bytes come, in one piece (cut only by the size of a buffer).
    pub(crate) fn receive(&self, socket: Socket, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        self.stream(socket).inbound.push_back(bytes.to_vec());
    }

    /// The stream ends after what came.
    pub(crate) fn end(&self, socket: Socket) {
        self.stream(socket).inbound_end = Some(0);
    }

    /// The connection breaks after what came; a send in flight fails too.
    pub(crate) fn reset(&self, socket: Socket, errno: i32) {
        let mut stream = self.stream(socket);
        stream.inbound_end = Some(errno);
        stream.shut = Some(Half::Both);
        if stream.send.is_some() {
            stream.send_result = Some(Err(errno));
        }
    }

    /// The next receive that brings bytes ends its multishot.
    pub(crate) fn cut_short(&self, socket: Socket) {
        self.stream(socket).cut_short = true;
    }

    /// The send in flight ends after this many bytes.
    pub(crate) fn sent(&self, socket: Socket, bytes: usize) {
        let mut stream = self.stream(socket);
        assert!(bytes <= stream.sending().expect("a send is in flight"));
        stream.send_result = Some(Ok(bytes));
    }

    /// The send in flight ends as it should.
    pub(crate) fn sent_all(&self, socket: Socket) {
        let bytes = self.sending(socket).expect("a send is in flight");
        self.sent(socket, bytes);
    }

    /// The send in flight fails.
    pub(crate) fn send_error(&self, socket: Socket, errno: i32) {
        let mut stream = self.stream(socket);
        assert!(stream.send.is_some(), "a send is in flight");
        stream.send_result = Some(Err(errno));
    }

    /// From now on whether every send ends at once and in full.
    pub(crate) fn sends_complete_at_once(&self, yes: bool) {
        self.state().sends_complete_at_once = yes;
    }

    /// Another thread wakes the loop.
    pub(crate) fn wake(&self) {
        self.complete(Completion::Woken);
    }

    /// A completion from nowhere, as of an operation of a slot's earlier use.
    pub(crate) fn complete(&self, completion: Completion) {
        self.state().injected.push_back(Injected::Completion(completion));
    }

    /// Bytes from nowhere, with a buffer that must come home all the same.
    pub(crate) fn receive_late(&self, conn: ConnId, group: Group, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.state().injected.push_back(Injected::Received { conn, group, bytes });
    }

    fn arrive(&self, listener: u16, from: SocketAddr, more: bool) -> Socket {
        let mut state = self.state();
        let socket = state.open_socket();
        let arrivals = &mut state.listeners[usize::from(listener)].arrivals;
        arrivals.push_back(Arrival { result: Ok((socket, from)), more });
        socket
    }
}

/// What the loop did.
impl Script {
    /// Everything submitted since the last call.
    pub(crate) fn take_recorded(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.state().recorded)
    }

    /// How the turns since the last call waited.
    pub(crate) fn take_waits(&self) -> Vec<Wait> {
        std::mem::take(&mut self.state().waits)
    }

    /// The bytes that the remote got since the last call.
    pub(crate) fn take_wire(&self, socket: Socket) -> Vec<u8> {
        std::mem::take(&mut self.stream(socket).wire)
    }

    /// The connection that the loop made of this socket, as soon as it did something with it.
    pub(crate) fn conn(&self, socket: Socket) -> Option<ConnId> {
        self.look(socket).conn
    }

    /// The group of the receive in the kernel.
    pub(crate) fn receiving(&self, socket: Socket) -> Option<Group> {
        self.look(socket).recv
    }

    /// Bytes of the send in the kernel.
    pub(crate) fn sending(&self, socket: Socket) -> Option<usize> {
        self.look(socket).sending()
    }

    /// What was shut down.
    pub(crate) fn shut(&self, socket: Socket) -> Option<Half> {
        self.look(socket).shut
    }

    /// Whether the socket was not closed yet.
    pub(crate) fn is_open(&self, socket: Socket) -> bool {
        self.0.borrow().streams.contains_key(&socket.0)
    }

    /// Connects in the kernel.
    pub(crate) fn dials(&self) -> Vec<(ConnId, SocketAddr)> {
        self.0.borrow().dials.iter().map(|(conn, dial)| (*conn, dial.addr)).collect()
    }

    /// Buffers of a group that are lent out.
    pub(crate) fn lent(&self, group: Group) -> usize {
        self.0.borrow().lent[place(group)].iter().filter(|lent| **lent).count()
    }

    /// Asserts that every buffer is at home, and that the kernel has no send and no connect.
    pub(crate) fn check_home(&self) {
        for group in [Group::Small, Group::Large, Group::Datagrams] {
            assert_eq!(self.lent(group), 0, "{group:?} buffers that were never given back");
        }
        let state = self.0.borrow();
        assert!(state.dials.is_empty(), "connects in the kernel");
        assert!(state.streams.values().all(|stream| stream.send.is_none()), "sends in the kernel");
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    fn stream(&self, socket: Socket) -> RefMut<'_, Stream> {
        RefMut::map(self.state(), |state| state.stream(socket))
    }

    fn look(&self, socket: Socket) -> Ref<'_, Stream> {
        Ref::map(self.0.borrow(), |state| state.streams.get(&socket.0).expect("an open socket"))
    }
}

impl Io for ScriptedIo {
    fn listen(&mut self, addr: SocketAddr) -> io::Result<(ListenerId, SocketAddr)> {
        let listeners = &mut self.script.state().listeners;
        if addr.port() != 0 && listeners.iter().any(|listener| listener.addr == addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = u16::try_from(listeners.len()).expect("few listeners");
        let port = if addr.port() == 0 { 50_000 + id } else { addr.port() };
        let addr = SocketAddr::new(addr.ip(), port);
        listeners.push(Listener { addr, armed: false, arrivals: VecDeque::new() });
        Ok((ListenerId(id), addr))
    }

    fn bind_datagrams(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let mut state = self.script.state();
        let [.., pool] = &mut self.pools;
        pool.resize_with(DATAGRAM_BUFFERS.into(), || vec![0; DATAGRAM_BYTES_MAX].into());
        state.free[place(Group::Datagrams)] = (0..DATAGRAM_BUFFERS).collect();
        state.lent[place(Group::Datagrams)] = vec![false; DATAGRAM_BUFFERS.into()];
        state.datagrams.bind(addr)
    }

    fn turn(
        &mut self,
        submissions: &mut Vec<Submission>,
        wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let state = &mut *self.script.state();
        state.waits.push(wait);
        state.deliver(&mut self.pools, completions);
        for submission in submissions.drain(..) {
            state.recorded.push(Recorded::of(&submission));
            state.submit(submission);
        }
        state.deliver(&mut self.pools, completions);
        Ok(())
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        let memory = &self.pools[place(lease.group)][usize::from(lease.buffer)];
        &memory[lease.start as usize..][..lease.bytes as usize]
    }

    fn give_back(&mut self, lease: Lease) {
        let mut state = self.script.state();
        let lent = &mut state.lent[place(lease.group)][usize::from(lease.buffer)];
        assert!(*lent, "a buffer was given back twice");
        *lent = false;
        state.free[place(lease.group)].push_back(lease.buffer);
    }

    fn buffers_free(&self, group: Group) -> u32 {
        self.script.state().free[place(group)].len() as u32
    }

    fn buffers_shown(&self, group: Group) -> u32 {
        self.buffers_free(group)
    }

    fn buffers(&self, group: Group) -> u32 {
        self.pools[place(group)].len() as u32
    }

    fn shutdown(&mut self, socket: Socket, half: Half) {
        let mut stream = self.script.stream(socket);
        stream.shut = if stream.shut == Some(Half::Both) { stream.shut } else { Some(half) };
        if half == Half::Both && stream.inbound_end.is_none() {
            stream.inbound_end = Some(0);
        }
        if stream.send.is_some() && stream.send_result.is_none() {
            stream.send_result = Some(Err(libc::EPIPE));
        }
    }

    fn entries(&self) -> u64 {
        0
    }

    fn pool_bytes(&self) -> usize {
        self.pools.iter().flatten().map(|buffer| buffer.len()).sum()
    }
}

impl State {
    fn open_socket(&mut self) -> Socket {
        self.next_socket += 1;
        self.streams.insert(self.next_socket, Stream::default());
        Socket(self.next_socket)
    }

    fn stream(&mut self, socket: Socket) -> &mut Stream {
        self.streams.get_mut(&socket.0).expect("an open socket")
    }

    fn dial(&mut self, addr: SocketAddr) -> &mut Dial {
        let undecided = |dial: &&mut Dial| dial.addr == addr && dial.result.is_none();
        self.dials.values_mut().find(undecided).expect("a connect in the kernel")
    }

    fn submit(&mut self, submission: Submission) {
        match submission {
            Submission::Accept { listener } => {
                let armed = &mut self.listeners[usize::from(listener.0)].armed;
                assert!(!*armed, "two accepts of one listener");
                *armed = true;
            }
            Submission::Connect { conn, addr } => {
                let before = self.dials.insert(conn, Dial { addr, result: None });
                assert!(before.is_none(), "two connects of {conn:?}");
            }
            Submission::Recv { conn, socket, group, once } => {
                let stream = self.stream(socket);
                stream.belongs_to(conn);
                assert!(stream.recv.is_none(), "two receives of {conn:?}");
                stream.recv = Some(group);
                stream.once = once;
            }
            Submission::CancelRecv { conn } => {
                let of_conn = |stream: &&mut Stream| stream.conn == Some(conn);
                if let Some(stream) = self.streams.values_mut().find(of_conn) {
                    stream.cancelled = stream.recv.is_some();
                }
            }
            Submission::CancelConnect { conn } => {
                if let Some(dial) = self.dials.get_mut(&conn) {
                    dial.result.get_or_insert(Err(libc::ECANCELED));
                }
            }
            Submission::Send { conn, socket, gathered } => {
                let at_once = self.sends_complete_at_once;
                let stream = self.stream(socket);
                stream.belongs_to(conn);
                stream.start_send(gathered, at_once);
            }
            Submission::Close { conn, socket } => {
                let stream = self.streams.remove(&socket.0).expect("an open socket is closed");
                assert!(
                    stream.recv.is_none() && stream.send.is_none(),
                    "{conn:?} is closed with an operation in the kernel"
                );
                self.closed.push(conn);
            }
            Submission::RecvDatagrams => self.datagrams.receive(),
            Submission::SendDatagram { to, bytes } => self.datagrams.send(to, bytes),
            Submission::NotifyChain => {}
        }
    }

    fn deliver(&mut self, pools: &mut Pools, into: &mut Vec<Completion>) {
        for injected in std::mem::take(&mut self.injected) {
            into.push(match injected {
                Injected::Completion(completion) => completion,
                Injected::Received { conn, group, bytes } => {
                    let (lease, rest) = lend(group, &mut self.free, &mut self.lent, pools, bytes)
                        .expect("a free buffer for late bytes");
                    assert!(rest.is_none(), "late bytes fit into a buffer");
                    Completion::Received { conn, result: Ok(Some(lease)), more: false }
                }
            });
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            while listener.armed
                && let Some(Arrival { result, more }) = listener.arrivals.pop_front()
            {
                listener.armed = more;
                let listener = ListenerId(index as u16);
                into.push(Completion::Accepted { listener, result, more });
            }
        }
        let dials = std::mem::take(&mut self.dials);
        for (conn, dial) in dials {
            match dial.result {
                Some(result) => into.push(Completion::Connected { conn, result }),
                None => drop(self.dials.insert(conn, dial)),
            }
        }
        for stream in self.streams.values_mut() {
            stream.deliver_received(&mut self.free, &mut self.lent, pools, into);
            stream.deliver_sent(into);
        }
        into.extend(self.closed.drain(..).map(|conn| Completion::Closed { conn }));
        self.datagrams.deliver(&mut self.free, &mut self.lent, pools, into);
    }
}

impl Stream {
    /// A socket is one connection's all its life.
    fn belongs_to(&mut self, conn: ConnId) {
        assert_eq!(*self.conn.get_or_insert(conn), conn, "one socket of two connections");
    }

    fn sending(&self) -> Option<usize> {
        let gathered = self.send.as_ref()?;
        Some(gathered.frames.iter().map(|p| p.frame().len()).sum::<usize>() - gathered.skip)
    }

    fn start_send(&mut self, gathered: Gathered, at_once: bool) {
        let conn = self.conn;
        assert!(self.send.is_none(), "two sends of {conn:?}");
        assert!((1..=SEND_FRAMES_MAX).contains(&gathered.frames.len()), "frames of a send");
        assert!(gathered.skip < gathered.frames[0].frame().len(), "a skip within the first frame");
        self.send = Some(gathered);
        if self.shut.is_some() {
            self.send_result = Some(Err(libc::EPIPE));
        } else if at_once {
            self.send_result = self.sending().map(Ok);
        }
    }

    fn deliver_sent(&mut self, into: &mut Vec<Completion>) {
        let Some(result) = self.send_result.take() else { return };
        let gathered = self.send.take().expect("a result belongs to a send");
        let bytes = gathered.frames.iter().flat_map(|payload| payload.frame());
        let delivered = bytes.skip(gathered.skip).take(result.unwrap_or(0));
        self.wire.extend(delivered);
        let conn = self.conn.expect("a send has a connection");
        into.push(Completion::Sent { conn, gathered, result });
    }

    fn deliver_received(
        &mut self,
        free: &mut [VecDeque<u16>; 3],
        lent: &mut [Vec<bool>; 3],
        pools: &mut Pools,
        into: &mut Vec<Completion>,
    ) {
        while let Some(group) = self.recv {
            let mut more = false;
            let result = if let Some(bytes) = self.inbound.pop_front() {
                match lend(group, free, lent, pools, bytes) {
                    Ok((lease, rest)) => {
                        more = !std::mem::take(&mut self.cut_short) && !self.once;
                        rest.into_iter().for_each(|rest| self.inbound.push_front(rest));
                        Ok(Some(lease))
                    }
                    Err(bytes) => {
                        self.inbound.push_front(bytes);
                        Err(libc::ENOBUFS)
                    }
                }
            } else if let Some(errno) = self.inbound_end {
                // An error is told once; after it the stream is at its end.
                self.inbound_end = Some(0);
                if errno == 0 { Ok(None) } else { Err(errno) }
            } else if std::mem::take(&mut self.cancelled) {
                Err(libc::ECANCELED)
            } else {
                return;
            };
            let conn = self.conn.expect("a receive has a connection");
            into.push(Completion::Received { conn, result, more });
            if !more {
                self.recv = None;
                self.cancelled = false;
            }
        }
    }
}

impl Recorded {
    fn of(submission: &Submission) -> Self {
        match submission {
            Submission::Accept { listener } => Self::Accept { listener: *listener },
            Submission::Connect { conn, addr } => Self::Connect { conn: *conn, addr: *addr },
            Submission::Recv { conn, socket, group, once } => {
                Self::Recv { conn: *conn, socket: *socket, group: *group, once: *once }
            }
            Submission::CancelRecv { conn } => Self::CancelRecv { conn: *conn },
            Submission::CancelConnect { conn } => Self::CancelConnect { conn: *conn },
            Submission::Send { conn, socket, gathered } => {
                let frames = gathered.frames.iter().map(|payload| payload.frame());
                let frames = frames.map(|frame| (frame.as_ptr(), frame.len())).collect();
                Self::Send { conn: *conn, socket: *socket, frames, skip: gathered.skip }
            }
            Submission::Close { conn, socket } => Self::Close { conn: *conn, socket: *socket },
            Submission::RecvDatagrams => Self::RecvDatagrams,
            Submission::SendDatagram { to, bytes } => {
                Self::SendDatagram { to: *to, bytes: bytes.len() }
            }
            Submission::NotifyChain => Self::NotifyChain,
        }
    }
}

/// Puts bytes into a free buffer; what does not fit is handed back, or all if there is no buffer.
fn lend(
    group: Group,
    free: &mut [VecDeque<u16>; 3],
    lent: &mut [Vec<bool>; 3],
    pools: &mut Pools,
    mut bytes: Vec<u8>,
) -> Result<(Lease, Option<Vec<u8>>), Vec<u8>> {
    let Some(buffer) = free[place(group)].pop_front() else { return Err(bytes) };
    let memory = &mut pools[place(group)][usize::from(buffer)];
    let rest = (bytes.len() > memory.len()).then(|| bytes.split_off(memory.len()));
    memory[..bytes.len()].copy_from_slice(&bytes);
    lent[place(group)][usize::from(buffer)] = true;
    Ok((Lease { group, buffer, start: 0, bytes: bytes.len() as u32 }, rest))
}

const fn place(group: Group) -> usize {
    match group {
        Group::Small => 0,
        Group::Large => 1,
        Group::Datagrams => 2,
    }
}
