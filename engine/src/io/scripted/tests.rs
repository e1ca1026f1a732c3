//! The scripted kernel behaves like the kernel, and notices a loop that does not.

use codec::{Kind, Network, Payload};

use super::*;
use crate::io::Until;

const CONN: ConnId = ConnId::new(1, 1);

const NOW: Wait = Wait { timeout: Some(Duration::ZERO), until: Until::First };

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn payload(bytes: usize) -> Payload {
    Payload::seal(&Network::DEV, Kind::Block, &vec![3; bytes]).unwrap()
}

fn turn<const N: usize>(io: &mut ScriptedIo, submissions: [Submission; N]) -> Vec<Completion> {
    let mut completions = Vec::new();
    io.turn(&mut Vec::from(submissions), NOW, &mut completions).unwrap();
    completions
}

/// A listener that is accepting, and one accepted connection.
fn accepted() -> (ScriptedIo, Script, Socket) {
    let (mut io, script) = ScriptedIo::new((4, 3), (10, 1));
    let (listener, bound) = io.listen(addr(0)).unwrap();
    assert_eq!((bound, io.listen(bound).is_err()), (addr(50_000), true));
    let socket = script.accept(0, addr(9));
    let completions = turn(&mut io, [Submission::Accept { listener }]);
    let [Completion::Accepted { result, more: true, .. }] = completions[..] else {
        panic!("{completions:?}")
    };
    assert_eq!(result, Ok((socket, addr(9))));
    (io, script, socket)
}

fn recv(socket: Socket) -> Submission {
    Submission::Recv { conn: CONN, socket, group: Group::Small, once: false }
}

fn send(socket: Socket, skip: usize) -> Submission {
    let gathered = Gathered { frames: vec![payload(1), payload(2)], skip };
    Submission::Send { conn: CONN, socket, gathered }
}

/// The bytes of what was received, the buffers given back, and how it ended.
fn read(io: &mut ScriptedIo, completions: Vec<Completion>) -> (Vec<Vec<u8>>, Option<i32>) {
    let (mut pieces, mut end) = (Vec::new(), None);
    for completion in completions {
        let Completion::Received { conn: CONN, result, more } = completion else {
            panic!("{completion:?}")
        };
        match result {
            Ok(Some(lease)) => {
                pieces.push(io.bytes(&lease).to_vec());
                io.give_back(lease);
                end = (!more).then_some(-1);
            }
            Ok(None) => end = Some(0),
            Err(errno) => end = Some(errno),
        }
    }
    (pieces, end)
}

#[test]
fn bytes_come_in_pieces_of_a_buffer_and_wait_for_buffers() {
    let (mut io, script, socket) = accepted();
    script.receive(socket, b"abcdef");
    assert!(turn(&mut io, []).is_empty(), "nobody receives");
    let completions = turn(&mut io, [recv(socket)]);
    assert_eq!((script.conn(socket), script.receiving(socket)), (Some(CONN), Some(Group::Small)));
    assert_eq!((script.lent(Group::Small), io.buffers_free(Group::Small)), (2, 1));
    assert_eq!(read(&mut io, completions), (vec![b"abcd".to_vec(), b"ef".to_vec()], None));

    script.receive(socket, &[7; 13]);
    let completions = turn(&mut io, []);
    assert_eq!((completions.len(), script.receiving(socket)), (4, None));
    assert_eq!(read(&mut io, completions), (vec![vec![7; 4]; 3], Some(libc::ENOBUFS)));
    script.end(socket);
    let completions = turn(&mut io, [recv(socket)]);
    assert_eq!(read(&mut io, completions), (vec![vec![7]], Some(0)));
    assert_eq!((io.buffers(Group::Small), io.pool_bytes(), io.entries()), (3, 22, 0));
    script.check_home();
}

#[test]
fn a_receive_ends_by_cancellation_by_being_cut_short_and_by_an_error() {
    let (mut io, script, socket) = accepted();
    assert!(turn(&mut io, [recv(socket)]).is_empty());
    script.receive(socket, b"a");
    let completions = turn(&mut io, [Submission::CancelRecv { conn: CONN }]);
    assert_eq!(read(&mut io, completions), (vec![b"a".to_vec()], Some(libc::ECANCELED)));
    script.cut_short(socket);
    script.receive(socket, b"b");
    let completions = turn(&mut io, [recv(socket)]);
    assert_eq!(read(&mut io, completions), (vec![b"b".to_vec()], Some(-1)));
    script.reset(socket, libc::ECONNRESET);
    let completions = turn(&mut io, [recv(socket)]);
    assert_eq!(read(&mut io, completions), (vec![], Some(libc::ECONNRESET)));
}

#[test]
fn sends_end_as_the_script_says() {
    let (mut io, script, socket) = accepted();
    let sent = |completions: Vec<Completion>| match <[_; 1]>::try_from(completions) {
        Ok([Completion::Sent { conn: CONN, gathered, result }]) => (gathered.frames.len(), result),
        other => panic!("{other:?}"),
    };
    script.take_recorded();
    assert!(turn(&mut io, [send(socket, 2)]).is_empty());
    assert_eq!(script.sending(socket), Some(23));
    let [Recorded::Send { frames, skip: 2, .. }] = &script.take_recorded()[..] else {
        panic!("a send was recorded")
    };
    assert_eq!(frames.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [12, 13]);
    script.sent(socket, 12);
    assert_eq!(sent(turn(&mut io, [])), (2, Ok(12)));
    let wire = [payload(1).frame(), payload(2).frame()].concat();
    assert_eq!(script.take_wire(socket), wire[2..14]);

    turn(&mut io, [send(socket, 0)]);
    script.sent_all(socket);
    assert_eq!(sent(turn(&mut io, [])), (2, Ok(25)));
    assert_eq!(script.take_wire(socket), wire);
    turn(&mut io, [send(socket, 0)]);
    script.send_error(socket, libc::ETIMEDOUT);
    assert_eq!(sent(turn(&mut io, [])), (2, Err(libc::ETIMEDOUT)));
    script.sends_complete_at_once(true);
    assert_eq!(sent(turn(&mut io, [send(socket, 0)])), (2, Ok(25)));
    io.shutdown(socket, Half::Write);
    assert_eq!(sent(turn(&mut io, [send(socket, 0)])), (2, Err(libc::EPIPE)));
    assert_eq!(script.shut(socket), Some(Half::Write));
}

#[test]
fn connects_end_as_the_script_says() {
    let (mut io, script) = ScriptedIo::new((4, 1), (4, 1));
    let conns = [1, 2, 3].map(|index| ConnId::new(index, 0));
    let dials = [0, 1, 2].map(|i| Submission::Connect { conn: conns[i], addr: addr(i as u16) });
    assert!(turn(&mut io, dials).is_empty());
    assert_eq!(script.dials()[1], (conns[1], addr(1)));
    let socket = script.connect(addr(0));
    script.refuse(addr(1), libc::ECONNREFUSED);
    let completions = turn(&mut io, [Submission::CancelConnect { conn: conns[2] }]);
    let results = completions.into_iter().map(|completion| match completion {
        Completion::Connected { conn, result } => (conn, result),
        other => panic!("{other:?}"),
    });
    let expected = [Ok(socket), Err(libc::ECONNREFUSED), Err(libc::ECANCELED)];
    assert!(results.eq(conns.into_iter().zip(expected)));
    script.check_home();
}

#[test]
fn accepts_fail_and_end() {
    let (mut io, script, _) = accepted();
    script.accept_last(0, addr(1));
    script.accept_error(0, libc::EMFILE, false);
    assert!(matches!(turn(&mut io, [])[..], [Completion::Accepted { more: false, .. }]));
    let again = Submission::Accept { listener: ListenerId(0) };
    let completions = turn(&mut io, [again]);
    let [Completion::Accepted { result, more: false, .. }] = completions[..] else {
        panic!("{completions:?}")
    };
    assert_eq!(result, Err(libc::EMFILE));
}

#[test]
fn a_shutdown_ends_operations_and_then_the_socket_may_be_closed() {
    let (mut io, script, socket) = accepted();
    turn(&mut io, [recv(socket), send(socket, 0)]);
    io.shutdown(socket, Half::Both);
    let completions = turn(&mut io, [Submission::NotifyChain]);
    assert!(matches!(
        completions[..],
        [
            Completion::Received { result: Ok(None), more: false, .. },
            Completion::Sent { result: Err(libc::EPIPE), .. }
        ]
    ));
    let completions = turn(&mut io, [Submission::Close { conn: CONN, socket }]);
    assert!(matches!(completions[..], [Completion::Closed { conn: CONN }]));
    assert!(!script.is_open(socket));
    assert_eq!(script.take_waits().len(), 4);
    assert_eq!(script.take_recorded()[3], Recorded::NotifyChain);
}

#[test]
fn late_completions_come_from_nowhere() {
    let (mut io, script, _) = accepted();
    script.wake();
    script.receive_late(ConnId::new(9, 0), Group::Large, b"late");
    script.complete(Completion::Closed { conn: ConnId::new(9, 0) });
    let mut completions = turn(&mut io, []);
    assert_eq!(script.lent(Group::Large), 1);
    let Completion::Received { result: Ok(Some(lease)), .. } = completions.remove(1) else {
        panic!("{completions:?}")
    };
    assert_eq!(io.bytes(&lease), b"late");
    io.give_back(lease);
    assert!(matches!(completions[..], [Completion::Woken, Completion::Closed { .. }]));
}

#[test]
#[should_panic(expected = "closed with an operation in the kernel")]
fn a_close_too_early_is_noticed() {
    let (mut io, _, socket) = accepted();
    turn(&mut io, [recv(socket)]);
    turn(&mut io, [Submission::Close { conn: CONN, socket }]);
}

#[test]
#[should_panic(expected = "two sends")]
fn a_second_send_is_noticed() {
    let (mut io, _, socket) = accepted();
    turn(&mut io, [send(socket, 0), send(socket, 0)]);
}

#[test]
#[should_panic(expected = "never given back")]
fn a_lost_buffer_is_noticed() {
    let (mut io, script, socket) = accepted();
    script.receive(socket, b"x");
    turn(&mut io, [recv(socket)]);
    script.check_home();
}

#[test]
#[should_panic(expected = "given back twice")]
fn a_second_return_is_noticed() {
    let (mut io, script, socket) = accepted();
    script.receive(socket, b"x");
    turn(&mut io, [recv(socket)]);
    for _ in 0..2 {
        io.give_back(Lease { group: Group::Small, buffer: 0, start: 0, bytes: 1 });
    }
}
