//! What a send queue had no room for is told again when it is spread again.

use codec::{Kind, Message, Payload};
use peer::{ConnId, Input, Recipients};

use crate::envelopes::join_extended;
use crate::solo::{NET, Out, Solo, UNASKED, message, millis};

/// Who hears of it by a Have, and that.
fn haves(solo: &mut Solo, payload: &Payload) -> Vec<(Vec<ConnId>, Payload)> {
    let mut outputs = solo.publish(payload);
    outputs.extend(solo.run_for(millis(0)).into_iter().map(|(_, output)| output));
    let have = |output| match output {
        Out::Send(Recipients::Many(to), payload) if payload.kind() == Kind::Have => {
            Some((to, payload))
        }
        _ => None,
    };
    outputs.into_iter().filter_map(have).collect()
}

#[test]
fn an_announcement_that_was_dropped_is_made_again() {
    let mut solo = Solo::small();
    let [slow, quick] = [0, 1].map(|index| join_extended(&mut solo, index, 1));
    let block = Payload::seal(&NET, Kind::Block, &[7; UNASKED + 1]).unwrap();
    let told = haves(&mut solo, &block);
    let [(to, have)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(to[..], [slow, quick]);
    assert_eq!(haves(&mut solo, &block), []);
    assert_eq!(solo.handle(Input::Dropped { conn: slow, payload: have }), []);
    assert_eq!(haves(&mut solo, &block), [(vec![slow], have.clone())]);
}

#[test]
fn what_cannot_be_dropped_is_passed_over() {
    let mut solo = Solo::small();
    let conn = join_extended(&mut solo, 0, 1);
    for bytes in [&message(&Message::Error)[..], &[0, 9, 1]] {
        let payload = Payload::seal(&NET, Kind::Have, bytes).unwrap();
        assert_eq!(solo.handle(Input::Dropped { conn, payload: &payload }), []);
    }
}
