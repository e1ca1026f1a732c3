//! The ring against the real kernel, on loopback. Nothing is timed: a test waits for what must
//! come, a bounded number of turns.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use codec::limits::DATAGRAM_BYTES_MAX;
use codec::{Kind, Network, Payload};
use peer::ConnId;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::ring::Queues;
use super::{
    Batch, BufferConfig, Completion, Gathered, Group, Half, Io, Lease, ListenerId, Ring,
    RingConfig, RingError, Socket, Submission, Until, Wait, pool_bytes,
};

/// Most turns that a test waits for something, of 20 ms each if nothing happens.
const TURNS_MAX: u32 = 1000;

const FEW: BufferConfig =
    BufferConfig { small_bytes: 512, small_count: 16, large_bytes: 8192, large_count: 4 };

const CONN: ConnId = ConnId::new(5, 7);

const NOW: Wait = Wait { timeout: Some(Duration::ZERO), until: Until::First };
const SOON: Wait = Wait { timeout: Some(Duration::from_millis(20)), until: Until::First };

/// A ring with what a test needs around it.
struct Rig {
    ring: Ring,
    wake: OwnedFd,
    chain: OwnedFd,
    submissions: Vec<Submission>,
    /// What completed and was not asked for yet.
    completions: Vec<Completion>,
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

fn config(buffers: BufferConfig, wake: &OwnedFd, chain: &OwnedFd) -> RingConfig {
    let copy = |fd: &OwnedFd| fd.try_clone().unwrap();
    RingConfig {
        connections_max: 64,
        buffers,
        congestion_control: None,
        wake: copy(wake),
        chain: copy(chain),
    }
}

impl Rig {
    fn new(buffers: BufferConfig) -> Self {
        Self::with_queues(buffers, Queues { submissions: 64, completions: 256 })
    }

    fn with_queues(buffers: BufferConfig, queues: Queues) -> Self {
        let (wake, chain) = (event(), event());
        let ring = Ring::with_queues(config(buffers, &wake, &chain), queues).unwrap();
        Self { ring, wake, chain, submissions: Vec::new(), completions: Vec::new() }
    }

    fn turn(&mut self, wait: Wait) {
        self.ring.turn(&mut self.submissions, wait, &mut self.completions).unwrap();
        assert!(self.submissions.is_empty());
    }

    /// Turns until a completion comes of which `pick` makes something.
    fn until<T>(&mut self, mut pick: impl FnMut(&Completion) -> Option<T>) -> (T, Completion) {
        for _ in 0..TURNS_MAX {
            let found = self.completions.iter().enumerate().find_map(|(i, c)| Some((i, pick(c)?)));
            if let Some((index, found)) = found {
                return (found, self.completions.remove(index));
            }
            self.turn(SOON);
        }
        panic!("it did not come; instead: {:?}", self.completions)
    }

    fn listen(&mut self) -> (ListenerId, SocketAddr) {
        let (listener, addr) = self.ring.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        self.submissions.push(Submission::Accept { listener });
        self.turn(NOW);
        (listener, addr)
    }

    fn accept(&mut self) -> (Socket, SocketAddr) {
        self.until(|c| match c {
            Completion::Accepted { result, more: true, .. } => Some(result.unwrap()),
            _ => None,
        })
        .0
    }

    /// One accepted connection and the remote's end of it.
    fn pair(&mut self) -> (Socket, TcpStream) {
        let (_, addr) = self.listen();
        let remote = TcpStream::connect(addr).unwrap();
        let (socket, remote_addr) = self.accept();
        assert_eq!(remote_addr, remote.local_addr().unwrap());
        (socket, remote)
    }

    fn recv(&mut self, conn: ConnId, socket: Socket, group: Group) {
        self.submissions.push(Submission::Recv { conn, socket, group, once: false });
    }

    fn received(&mut self, conn: ConnId) -> (Result<Option<Lease>, i32>, bool) {
        let is_it = |c: &Completion| match c {
            Completion::Received { conn: whose, .. } if *whose == conn => Some(()),
            _ => None,
        };
        match self.until(is_it).1 {
            Completion::Received { result, more, .. } => (result, more),
            _ => unreachable!("picked as received"),
        }
    }

    /// Receives `bytes` bytes in all, giving back each buffer, re-arming when the multishot ended.
    fn read(&mut self, socket: Socket, group: Group, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let (result, more) = self.received(CONN);
            if let Ok(lease) = result {
                let lease = lease.expect("the stream goes on");
                all.extend_from_slice(self.ring.bytes(&lease));
                self.ring.give_back(lease);
            }
            if !more {
                self.recv(CONN, socket, group);
            }
        }
        all
    }

    fn send(&mut self, socket: Socket, frames: Vec<Payload>, skip: usize) {
        let gathered = Gathered { frames, skip };
        self.submissions.push(Submission::Send { conn: CONN, socket, gathered });
    }

    fn sent(&mut self) -> (Gathered, Result<usize, i32>) {
        match self.until(|c| matches!(c, Completion::Sent { .. }).then_some(())).1 {
            Completion::Sent { conn, gathered, result } => {
                assert_eq!(conn, CONN);
                (gathered, result)
            }
            _ => unreachable!("picked as sent"),
        }
    }

    fn close(&mut self, socket: Socket) {
        self.submissions.push(Submission::Close { conn: CONN, socket });
        self.until(|c| matches!(c, Completion::Closed { conn: CONN }).then_some(()));
    }

    fn woken(&mut self) {
        self.until(|c| matches!(c, Completion::Woken).then_some(()));
    }
}

fn payload(bytes: usize) -> Payload {
    let body: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    Payload::seal(&Network::DEV, Kind::Block, &body).unwrap()
}

/// Bytes of a pattern in which no offset looks like a neighbour.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8).collect()
}

#[test]
fn accepts_receives_and_sends() {
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    rig.recv(CONN, socket, Group::Small);
    rig.turn(NOW);
    remote.write_all(b"hello").unwrap();
    assert_eq!(rig.read(socket, Group::Small, 5), b"hello");

    let frames = vec![payload(100), payload(1), payload(5000)];
    let wire: Vec<u8> = frames.iter().flat_map(|p| p.frame()).copied().collect();
    rig.send(socket, frames, 0);
    let (gathered, result) = rig.sent();
    assert_eq!((gathered.frames.len(), result), (3, Ok(wire.len())));
    rig.send(socket, vec![payload(100)], 11);
    assert_eq!(rig.sent().1, Ok(100));
    let mut got = vec![0; wire.len() + 100];
    remote.read_exact(&mut got).unwrap();
    assert_eq!(got[..wire.len()], wire);
    assert_eq!(got[wire.len()..], *payload(100).body());

    drop(remote);
    assert_eq!(rig.received(CONN), (Ok(None), false));
    rig.submissions.push(Submission::NotifyChain);
    rig.close(socket);
    assert_eq!(rig.ring.buffers_free(Group::Small), rig.ring.buffers(Group::Small));
    assert_eq!(workers(), 0, "an operation of every day went to a worker thread");
}

/// Threads that the kernel has made to carry out operations of this thread.
fn workers() -> usize {
    let name = format!("iou-wrk-{}", rustix::thread::gettid().as_raw_nonzero());
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

#[test]
fn a_vectored_send_skips_what_was_delivered() {
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    rig.send(socket, vec![payload(3), payload(4)], 13);
    assert_eq!(rig.sent().1, Ok(16));
    let mut got = [0; 16];
    remote.read_exact(&mut got).unwrap();
    assert_eq!(got[0], payload(3).frame()[13]);
    assert_eq!(got[1..], *payload(4).frame());
}

#[test]
fn every_cut_of_the_stream_keeps_its_bytes() {
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    let all = pattern(20_000);
    rig.recv(CONN, socket, Group::Small);
    rig.turn(NOW);
    for (cut, piece) in [1, 511, 512, 513, 1024, 2000].into_iter().enumerate() {
        let from = cut * 3000;
        remote.write_all(&all[from..from + piece]).unwrap();
        assert_eq!(rig.read(socket, Group::Small, piece), all[from..from + piece]);
    }
}

#[test]
fn a_receive_moves_to_the_other_group_after_its_cancellation() {
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    rig.recv(CONN, socket, Group::Small);
    rig.turn(NOW);
    rig.submissions.push(Submission::CancelRecv { conn: CONN });
    assert_eq!(rig.received(CONN), (Err(libc::ECANCELED), false));
    rig.recv(CONN, socket, Group::Large);
    remote.write_all(&pattern(8000)).unwrap();
    assert_eq!(rig.read(socket, Group::Large, 8000), pattern(8000));
    rig.submissions.push(Submission::CancelRecv { conn: CONN });
    let last = rig.received(CONN);
    assert_eq!(last, (Err(libc::ECANCELED), false));
    rig.close(socket);
}

#[test]
fn no_buffers_end_a_receive_and_nothing_is_lost() {
    let mut rig = Rig::new(BufferConfig { small_count: 2, ..FEW });
    let (socket, mut remote) = rig.pair();
    let all = pattern(5000);
    remote.write_all(&all).unwrap();
    rig.recv(CONN, socket, Group::Small);
    let mut held = Vec::new();
    loop {
        let (result, more) = rig.received(CONN);
        match result {
            Ok(lease) => held.push(lease.unwrap()),
            Err(errno) => {
                assert_eq!((errno, more), (libc::ENOBUFS, false));
                break;
            }
        }
    }
    assert_eq!((held.len(), rig.ring.buffers_free(Group::Small)), (2, 0));
    let mut got = Vec::new();
    for lease in held {
        got.extend_from_slice(rig.ring.bytes(&lease));
        rig.ring.give_back(lease);
    }
    rig.recv(CONN, socket, Group::Small);
    let rest = rig.read(socket, Group::Small, all.len() - got.len());
    got.extend(rest);
    assert_eq!(got, all);
}

#[test]
fn a_full_completion_queue_loses_nothing() {
    const CONNS: u32 = 64;
    let buffers = BufferConfig { small_count: 256, ..FEW };
    let mut rig = Rig::with_queues(buffers, Queues { submissions: 8, completions: 16 });
    let (_, addr) = rig.listen();
    let mut remotes: Vec<_> = (0..CONNS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let mut sockets = Vec::new();
    for _ in 0..TURNS_MAX {
        rig.turn(SOON);
        for completion in std::mem::take(&mut rig.completions) {
            let Completion::Accepted { listener, result, more } = completion else { continue };
            sockets.push(result.unwrap().0);
            if !more {
                rig.submissions.push(Submission::Accept { listener });
            }
        }
        if sockets.len() == CONNS as usize {
            break;
        }
    }
    assert_eq!(sockets.len(), CONNS as usize);

    let conns: Vec<_> = (0..CONNS).map(|i| ConnId::new(i, 1)).collect();
    for (conn, socket) in conns.iter().zip(&sockets) {
        rig.recv(*conn, *socket, Group::Small);
    }
    rig.turn(NOW);
    for remote in &mut remotes {
        remote.write_all(b"one").unwrap();
    }
    drop(remotes);
    let (mut bytes, mut ends, mut cut_short) = (0, 0, 0);
    for _ in 0..TURNS_MAX {
        rig.turn(SOON);
        for completion in std::mem::take(&mut rig.completions) {
            let Completion::Received { conn, result, more } = completion else { continue };
            match result.unwrap() {
                Some(lease) => {
                    bytes += rig.ring.bytes(&lease).len();
                    rig.ring.give_back(lease);
                    if !more {
                        cut_short += 1;
                        rig.recv(conn, sockets[conn.index() as usize], Group::Small);
                    }
                }
                None => ends += 1,
            }
        }
        if ends == CONNS {
            break;
        }
    }
    assert_eq!((bytes, ends), (3 * CONNS as usize, CONNS));
    assert!(cut_short > 0, "64 receives fitted into 16 places: the test tests nothing");
}

#[test]
fn connects_and_is_refused() {
    let mut rig = Rig::new(FEW);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let connected = |rig: &mut Rig| match rig
        .until(|c| matches!(c, Completion::Connected { .. }).then_some(()))
        .1
    {
        Completion::Connected { conn: CONN, result } => result,
        other => panic!("{other:?}"),
    };
    rig.submissions.push(Submission::Connect { conn: CONN, addr });
    let socket = connected(&mut rig).unwrap();
    let (mut remote, _) = listener.accept().unwrap();
    rig.send(socket, vec![payload(10)], 0);
    assert_eq!(rig.sent().1, Ok(21));
    let mut got = [0; 21];
    remote.read_exact(&mut got).unwrap();
    assert_eq!(got, *payload(10).frame());

    drop(listener);
    rig.submissions.push(Submission::Connect { conn: CONN, addr });
    assert_eq!(connected(&mut rig), Err(libc::ECONNREFUSED));
}

#[test]
fn a_connect_can_be_cancelled() {
    let mut rig = Rig::new(FEW);
    // A listener whose queue is full answers nobody: the connect hangs.
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let _first = TcpStream::connect(addr).unwrap();
    rig.submissions.push(Submission::Connect { conn: CONN, addr });
    rig.turn(NOW);
    rig.submissions.push(Submission::CancelConnect { conn: CONN });
    match rig.until(|c| matches!(c, Completion::Connected { .. }).then_some(())).1 {
        Completion::Connected { conn: CONN, result } => assert_eq!(result, Err(libc::ECANCELED)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_shutdown_ends_what_is_in_the_kernel() {
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    rig.recv(CONN, socket, Group::Small);
    rig.send(socket, (0..64).map(|_| payload(1_000_000)).collect(), 0);
    rig.turn(NOW);
    rig.ring.shutdown(socket, Half::Both);
    assert_eq!(rig.received(CONN), (Ok(None), false));
    let (gathered, result) = rig.sent();
    assert_eq!(gathered.frames.len(), 64);
    assert!(result.is_err() || result.is_ok_and(|bytes| bytes < 64_000_000), "{result:?}");
    rig.close(socket);
    let mut rest = Vec::new();
    // The remote may see what was sent, and then an end or a reset; but it must not hang.
    let _ = remote.read_to_end(&mut rest);
    assert!(rest.len() < 64_000_000);
}

#[test]
fn a_large_send_to_a_slow_reader_completes_once_and_whole() {
    const FRAMES: usize = 32;
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    let frame = payload(1 << 20);
    let all = FRAMES * frame.frame().len();
    rig.send(socket, vec![frame.clone(); FRAMES], 0);
    rig.turn(NOW);
    assert_eq!(frame.reference_count(), FRAMES + 1, "the kernel's operation owns the frames");
    let reader = |remote: &mut TcpStream| {
        let (mut read, mut piece) = (0, vec![0; 10_007]);
        while read < all {
            let bytes = remote.read(&mut piece).unwrap();
            assert_ne!(bytes, 0, "the end of the stream after {read} bytes");
            let expected = frame.frame().iter().cycle().skip(read % frame.frame().len());
            assert!(piece[..bytes].iter().eq(expected.take(bytes)), "at byte {read}");
            read += bytes;
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| reader(&mut remote));
        let (gathered, result) = rig.sent();
        assert_eq!((gathered.frames.len(), result), (FRAMES, Ok(all)));
    });
    assert_eq!(frame.reference_count(), 1);
}

#[test]
fn another_thread_wakes_the_loop_again_and_again() {
    let mut rig = Rig::new(FEW);
    rig.turn(NOW);
    for _ in 0..3 {
        let wake = rig.wake.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || rustix::io::write(&wake, &1_u64.to_ne_bytes()).unwrap());
            rig.woken();
        });
    }
    rig.turn(NOW);
    assert!(rig.completions.is_empty(), "one wake each: {:?}", rig.completions);
}

#[test]
fn a_wake_before_the_first_turn_is_not_lost() {
    let mut rig = Rig::new(FEW);
    rustix::io::write(&rig.wake, &1_u64.to_ne_bytes()).unwrap();
    rig.woken();
}

#[test]
fn notifying_the_chain_makes_its_eventfd_readable_and_completes_silently() {
    let mut rig = Rig::new(FEW);
    rig.submissions.push(Submission::NotifyChain);
    rig.submissions.push(Submission::NotifyChain);
    rig.turn(NOW);
    let mut fds = [PollFd::from_borrowed_fd(rig.chain.as_fd(), PollFlags::IN)];
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&second)).unwrap(), 1);
    let mut count = [0; 8];
    rustix::io::read(&rig.chain, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 2);
    assert!(rig.completions.is_empty());
}

#[test]
fn a_batch_larger_than_the_queue_is_submitted_in_one_turn() {
    let mut rig = Rig::with_queues(FEW, Queues { submissions: 8, completions: 16 });
    rig.submissions.extend((0..100).map(|_| Submission::NotifyChain));
    rig.turn(NOW);
    let mut count = [0; 8];
    rustix::io::read(&rig.chain, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 100);
}

#[test]
fn a_batching_wait_ends_with_one_completion_after_its_patience() {
    let mut rig = Rig::new(FEW);
    let until = Until::Batch(Batch { want: 1000, patience: Duration::from_millis(1) });
    rustix::io::write(&rig.wake, &1_u64.to_ne_bytes()).unwrap();
    // Without an end of the wait: were the patience not heeded, this would hang.
    rig.turn(Wait { timeout: None, until });
    assert!(matches!(rig.completions[..], [Completion::Woken]));
    let entries = rig.ring.entries();
    rig.turn(Wait { timeout: Some(Duration::from_millis(1)), until });
    assert_eq!((rig.completions.len(), rig.ring.entries()), (1, entries + 1));
}

#[test]
fn only_a_wake_ends_a_nap_and_what_came_meanwhile_is_reaped() {
    let mut rig = Rig::new(FEW);
    let until = Until::Woken;
    let (_, addr) = rig.listen();
    // A connection completes the accept, and is no end of the nap: that is its time.
    let _client = TcpStream::connect(addr).unwrap();
    rig.turn(Wait { timeout: Some(Duration::from_millis(1)), until });
    assert!(matches!(rig.completions[..], [Completion::Accepted { .. }]), "{:?}", rig.completions);
    rig.completions.clear();
    for _ in 0..2 {
        let wake = rig.wake.try_clone().unwrap();
        let ring = move || rustix::io::write(&wake, &1_u64.to_ne_bytes()).unwrap();
        let waker = bridge::spawn("waker", ring).unwrap();
        // Without an end: were the wake not heard, this would hang.
        rig.turn(Wait { timeout: None, until });
        waker.join().unwrap();
        assert!(matches!(rig.completions[..], [Completion::Woken]), "{:?}", rig.completions);
        rig.completions.clear();
    }
    // A wake before the nap is not slept over.
    rustix::io::write(&rig.wake, &1_u64.to_ne_bytes()).unwrap();
    rig.turn(Wait { timeout: None, until });
    assert!(matches!(rig.completions[..], [Completion::Woken]));
}

#[test]
fn what_is_submitted_is_not_napped_over() {
    let mut rig = Rig::new(FEW);
    rig.submissions.push(Submission::NotifyChain);
    rig.turn(Wait { timeout: None, until: Until::Woken });
    let mut count = [0; 8];
    rustix::io::read(&rig.chain, &mut count).unwrap();
}

#[test]
fn a_peer_that_is_gone_before_its_accept_does_no_harm() {
    let mut rig = Rig::new(FEW);
    let (_, addr) = rig.listen();
    let gone = TcpStream::connect(addr).unwrap();
    rustix::net::sockopt::set_socket_linger(&gone, Some(Duration::ZERO)).unwrap();
    drop(gone);
    let ended = rig.until(|c| match c {
        Completion::Accepted { result, more, .. } => Some((result.map(|_| ()), *more)),
        _ => None,
    });
    assert!(matches!(ended.0, (Err(libc::ENOTCONN) | Ok(()), true)), "{:?}", ended.0);
    let again = TcpStream::connect(addr).unwrap();
    assert_eq!(rig.accept().1, again.local_addr().unwrap());
}

#[test]
fn the_end_closes_sockets_and_returns_frames_of_sends_in_flight() {
    let mut rig = Rig::new(FEW);
    let (socket, mut remote) = rig.pair();
    let frame = payload(1 << 20);
    rig.recv(CONN, socket, Group::Small);
    rig.send(socket, vec![frame.clone(); 64], 0);
    rig.turn(NOW);
    assert_eq!(frame.reference_count(), 65);
    drop(rig);
    assert_eq!(frame.reference_count(), 1, "the operation was ended, not leaked");
    let mut rest = Vec::new();
    remote.read_to_end(&mut rest).unwrap();
}

#[test]
fn settings_that_cannot_be_are_errors_with_names() {
    let (wake, chain) = (event(), event());
    let with = |change: fn(&mut RingConfig)| {
        let mut config = config(FEW, &wake, &chain);
        change(&mut config);
        Ring::new(config).err().expect("it cannot be")
    };
    let unknown = with(|config| config.congestion_control = Some("carrier-pigeon".to_owned()));
    assert!(matches!(unknown, RingError::CongestionControl { .. }), "{unknown}");
    let many = with(|config| config.connections_max = u32::MAX);
    assert!(matches!(many, RingError::Size { value: u32::MAX, .. }), "{many}");
    let odd = with(|config| config.buffers.small_count = 3);
    assert!(matches!(odd, RingError::Size { value: 3, .. }), "{odd}");
}

#[test]
fn the_ring_of_the_defaults_can_be_made() {
    let (wake, chain) = (event(), event());
    let mut config = config(BufferConfig::default(), &wake, &chain);
    config.connections_max = 20_000;
    let known = pool_bytes(config.connections_max, &config.buffers);
    let ring = Ring::new(config).unwrap();
    assert_eq!(ring.buffers(Group::Small), 4096);
    assert!(ring.pool_bytes() > 24 << 20);
    assert_eq!(ring.pool_bytes(), known);
}

impl Rig {
    fn bind_datagrams(&mut self, addr: &str) -> SocketAddr {
        let bound = self.ring.bind_datagrams(addr.parse().unwrap()).unwrap();
        self.submissions.push(Submission::RecvDatagrams);
        self.turn(NOW);
        bound
    }

    fn datagram(&mut self) -> (Result<(SocketAddr, Lease), i32>, bool) {
        let is_it = |c: &Completion| matches!(c, Completion::Datagram { .. }).then_some(());
        match self.until(is_it).1 {
            Completion::Datagram { result, more } => (result, more),
            _ => unreachable!("picked as a datagram"),
        }
    }

    fn send_datagram(&mut self, to: SocketAddr, bytes: Vec<u8>) -> Result<(), i32> {
        self.submissions.push(Submission::SendDatagram { to, bytes });
        self.until(|c| match c {
            Completion::DatagramSent { result } => Some(*result),
            _ => None,
        })
        .0
    }
}

#[test]
fn datagrams_come_with_their_sender_and_too_long_ones_with_an_error() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let mut rig = Rig::new(FEW);
        let addr = rig.bind_datagrams(any);
        let remote = UdpSocket::bind(any).unwrap();
        let from = remote.local_addr().unwrap();
        for length in [1, DATAGRAM_BYTES_MAX] {
            remote.send_to(&vec![7; length], addr).unwrap();
            let (Ok((sender, lease)), true) = rig.datagram() else { panic!("no datagram") };
            assert_eq!((sender, rig.ring.bytes(&lease)), (from, &vec![7; length][..]));
            rig.ring.give_back(lease);
        }
        for length in [DATAGRAM_BYTES_MAX + 1, 20_000] {
            remote.send_to(&vec![7; length], addr).unwrap();
            assert_eq!(rig.datagram(), (Err(libc::EMSGSIZE), true));
        }
        // An empty one ends the receive.
        remote.send_to(b"", addr).unwrap();
        let (Ok((sender, lease)), false) = rig.datagram() else { panic!("no datagram") };
        assert_eq!((sender, rig.ring.bytes(&lease)), (from, &b""[..]));
        rig.ring.give_back(lease);
        rig.submissions.push(Submission::RecvDatagrams);
        remote.send_to(b"again", addr).unwrap();
        let (Ok((_, lease)), true) = rig.datagram() else { panic!("no datagram") };
        assert_eq!(rig.ring.bytes(&lease), b"again");
        rig.ring.give_back(lease);
        let all = rig.ring.buffers(Group::Datagrams);
        assert_eq!(rig.ring.buffers_free(Group::Datagrams), all);
    }
}

#[test]
fn datagrams_for_which_there_is_no_buffer_wait_in_the_socket() {
    let mut rig = Rig::new(FEW);
    let addr = rig.bind_datagrams("127.0.0.1:0");
    let remote = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut leases = Vec::new();
    let mut starved = 0;
    for number in 0..300_u32 {
        remote.send_to(&number.to_be_bytes(), addr).unwrap();
        let result = match rig.datagram().0 {
            Err(libc::ENOBUFS) => {
                starved += 1;
                leases.drain(..).for_each(|lease| rig.ring.give_back(lease));
                rig.submissions.push(Submission::RecvDatagrams);
                rig.datagram().0
            }
            result => result,
        };
        let (_, lease) = result.unwrap();
        assert_eq!(rig.ring.bytes(&lease), number.to_be_bytes());
        leases.push(lease);
    }
    assert_eq!(starved, 1);
}

#[test]
fn datagrams_leave_from_the_bound_address_and_those_that_cannot_are_errors() {
    for (any, other) in [("127.0.0.1:0", "[::1]:9"), ("[::1]:0", "192.0.2.1:9")] {
        let mut rig = Rig::new(FEW);
        let addr = rig.bind_datagrams(any);
        let remote = UdpSocket::bind(any).unwrap();
        let to = remote.local_addr().unwrap();
        for bytes in [vec![1], vec![2; DATAGRAM_BYTES_MAX]] {
            assert_eq!(rig.send_datagram(to, bytes.clone()), Ok(()));
            let mut got = vec![0; 2_000];
            let (length, from) = remote.recv_from(&mut got).unwrap();
            assert_eq!((&got[..length], from), (&bytes[..], addr));
        }
        assert!(rig.send_datagram(other.parse().unwrap(), vec![3]).is_err(), "another family");
        // Nobody is there: the system's answer concerns no later send.
        drop(remote);
        assert_eq!(rig.send_datagram(to, vec![4]), Ok(()));
        assert_eq!(rig.send_datagram(to, vec![5]), Ok(()));
    }
}
