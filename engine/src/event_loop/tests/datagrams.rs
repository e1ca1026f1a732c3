//! Datagrams: a receive that ends is begun anew, whatever ended it; what cannot leave is dropped
//! and counted.

use codec::datagram::{Call, ClusterKey, Datagram, Ends, NewsList};
use codec::limits::DATAGRAM_BYTES_MAX;
use peer::Gossip;

use super::*;
use crate::event_loop::datagrams::{DATAGRAM_QUEUE_MAX, DATAGRAMS_IN_KERNEL_MAX};
use crate::io::scripted::DATAGRAM_BUFFERS;

const KEY: ClusterKey = ClusterKey([4; 32]);

/// Our port.
const OWN: u16 = 3416;

const RETRY: Duration = Duration::from_millis(100);

/// A loop with a socket for datagrams, whose core says nothing unless it is asked.
fn stage() -> Stage {
    let mut setup = Setup::default();
    setup.peer.advertised = addr(OWN);
    setup.peer.gossip = Gossip::Datagrams;
    let cluster = &mut setup.peer.cluster;
    cluster.key = Some(KEY);
    (cluster.rules.period, cluster.rules.tells) = (NEVER, None);
    (cluster.rules.sync_period, cluster.rules.recall_period) = (NEVER, NEVER);
    let mut stage = Stage::new(setup);
    stage.settle();
    assert!(stage.script.receives_datagrams());
    stage
}

/// Of the member that has this port.
fn ping(from: u16, number: u32) -> Vec<u8> {
    let (call, news) = (Call::Ping { number }, NewsList::default());
    let ends = Ends { from: addr(from), to: addr(OWN) };
    Datagram { incarnation: 1, token: 1, echo: 0, call, news }.seal(&KEY, ends)
}

/// The numbers of the pings that were answered to these addresses since the last call.
fn answered(stage: &Stage) -> Vec<(SocketAddr, u32)> {
    let number = |(to, bytes): (SocketAddr, Vec<u8>)| {
        let ends = Ends { from: addr(OWN), to };
        match Datagram::open(&KEY, ends, &bytes) {
            Ok(Datagram { call: Call::Ack { number }, .. }) => (to, number),
            other => panic!("{other:?}"),
        }
    };
    stage.script.take_datagrams().into_iter().map(number).collect()
}

#[test]
fn what_comes_is_answered_however_many_buffers_there_are() {
    let mut stage = stage();
    let count = 3 * u32::from(DATAGRAM_BUFFERS) + 1;
    let asked: Vec<_> = (1..=count).map(|number| (addr(number as u16), number)).collect();
    for (from, number) in &asked {
        stage.script.datagram(*from, &ping(from.port(), *number));
    }
    stage.settle();
    assert_eq!(answered(&stage), asked, "each once, and in their order");
    assert_eq!(stage.metrics().buffers_starved, 3);
    assert!(stage.script.receives_datagrams());
    stage.script.check_home();
    assert_eq!(stage.event_loop.endpoint.members().count(), asked.len());
}

#[test]
fn a_receive_that_ends_is_begun_anew() {
    let mut stage = stage();
    stage.script.cut_datagrams_short();
    stage.script.datagram(addr(1), &ping(1, 1));
    stage.script.datagram(addr(2), b""); // which ends it too
    stage.script.datagram(addr(3), &[0; DATAGRAM_BYTES_MAX + 1]);
    stage.script.datagram(addr(4), &ping(4, 4));
    stage.settle();
    assert_eq!(answered(&stage), [(addr(1), 1), (addr(4), 4)]);
    let metrics = stage.metrics();
    assert_eq!((metrics.datagrams_strange, metrics.datagrams_truncated), (1, 1));
    // What may come again at once is not met again at once.
    stage.script.datagram_error(libc::ECONNREFUSED);
    stage.script.datagram(addr(5), &ping(5, 5));
    stage.settle();
    assert!(!stage.script.receives_datagrams());
    stage.turn();
    assert_eq!(stage.last_wait(), Some(RETRY));
    assert_eq!(answered(&stage), []);
    stage.pass(RETRY);
    stage.settle();
    assert_eq!(answered(&stage), [(addr(5), 5)]);
    assert!(stage.script.receives_datagrams());
    stage.script.check_home();
}

#[test]
fn what_the_system_does_not_take_is_dropped_the_oldest_first() {
    let mut stage = stage();
    stage.script.hold_datagrams(true);
    let beyond = 10;
    let in_kernel = DATAGRAMS_IN_KERNEL_MAX;
    for number in 0..in_kernel {
        stage.script.datagram(addr(1), &ping(1, number as u32));
    }
    stage.settle();
    assert_eq!(stage.script.datagrams_sending(), in_kernel);
    for number in 0..DATAGRAM_QUEUE_MAX + beyond {
        stage.event_loop.enqueue_datagram(addr(2), (number as u32).to_be_bytes().to_vec());
    }
    stage.settle();
    assert_eq!(stage.script.datagrams_sending(), in_kernel, "and no more");
    assert_eq!(stage.metrics().datagrams_dropped, beyond as u64);
    // One cannot leave: it is gone, and the others go on.
    stage.script.datagram_send_error(libc::ENETUNREACH);
    stage.script.hold_datagrams(false);
    stage.settle();
    let sent: Vec<_> = stage.script.take_datagrams().split_off(in_kernel - 1);
    let numbers = sent.iter().map(|(_, bytes)| u32::from_be_bytes(bytes[..].try_into().unwrap()));
    assert!(numbers.eq(beyond as u32..(DATAGRAM_QUEUE_MAX + beyond) as u32));
    assert_eq!(stage.metrics().datagrams_unsent, 1);
    assert_eq!(stage.script.datagrams_sending(), 0);
}

#[test]
fn the_end_waits_until_goodbyes_have_left_and_not_for_ever() {
    for leaves in [true, false] {
        let mut stage = stage();
        stage.script.datagram(addr(1), &ping(1, 1));
        stage.settle();
        assert_eq!(answered(&stage).len(), 1);
        stage.script.hold_datagrams(true);
        stage.control.send(Control::Shutdown { within: Duration::from_secs(1) }).unwrap();
        stage.turns(2);
        assert!(stage.script.datagrams_sending() > 0 && !stage.event_loop.is_over());
        if leaves {
            stage.script.hold_datagrams(false);
            stage.turns(2);
            assert_eq!(stage.script.take_datagrams()[0].0, addr(1));
        } else {
            stage.pass(Duration::from_secs(1));
        }
        assert!(stage.event_loop.is_over());
    }
}
