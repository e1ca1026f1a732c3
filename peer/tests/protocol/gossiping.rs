//! Messages of topics between one endpoint and its peers.

use std::time::Duration;

use codec::{Capabilities, Context, Kind, Message, PlumtreeMessage, Shake};
use peer::{Config, Gossip, Input, Rate};

use crate::envelopes::join_extended;
use crate::solo::{NET, Out, Solo, message, shake};

fn bodies(outputs: &[Out]) -> usize {
    let is_body = |output: &&Out| match output {
        Out::Send(_, payload) if payload.kind() == Kind::Plumtree => payload.frame().len() > 1_000,
        _ => false,
    };
    outputs.iter().filter(is_body).count()
}

#[test]
fn who_asks_for_one_body_again_and_again_pays_for_it() {
    let burst = 8 << 10;
    let rate = Rate { amount: 1 << 10, per: Duration::from_secs(1), burst };
    let mut solo = Solo::with(|config: &mut Config| {
        config.gossip = Gossip::Tree;
        config.rates.answers = rate;
    });
    let (eager, other) = (join_extended(&mut solo, 0, 1), join_extended(&mut solo, 1, 1));
    let outputs = solo.handle(Input::Publish { topic: b"weather", data: &[7; 4_000] });
    let [Out::Send(_, payload)] = &outputs[..] else { panic!("{outputs:?}") };
    let context = Context { version: 1000, network: &NET };
    let said = Message::decode(payload.kind(), payload.body(), &context);
    let Ok(Message::Plumtree(PlumtreeMessage::Gossip(gossip))) = said else { panic!("{said:?}") };
    let graft = message(&Message::Plumtree(PlumtreeMessage::Graft { id: Some(gossip.id()) }));
    let asks = |solo: &mut Solo, conn| bodies(&solo.receive(conn, &graft));
    let answered: usize = (0..20).map(|_| asks(&mut solo, eager)).sum();
    assert_eq!(answered, 2, "the burst");
    assert_eq!(solo.endpoint.counts().requests_refused, 18);
    assert_eq!(asks(&mut solo, other), 1, "each pays for itself");
    solo.run_for(Duration::from_secs(5));
    assert_eq!(asks(&mut solo, eager), 1);
}

#[test]
fn what_comes_with_the_greeting_counts() {
    let mut solo = Solo::with(|config: &mut Config| config.gossip = Gossip::Tree);
    let (conn, _) = solo.dial(0);
    let capabilities = Capabilities::GRIN_NODE | Capabilities::EXTENSION;
    let mut bytes = message(&Message::Shake(Shake { capabilities, ..shake() }));
    bytes.extend(message(&Message::Plumtree(PlumtreeMessage::Prune)));
    solo.receive(conn, &bytes);
    // Its link is in the tree no more: it gets no body.
    let outputs = solo.handle(Input::Publish { topic: b"weather", data: &[7; 4_000] });
    assert_eq!(bodies(&outputs), 0, "{outputs:?}");
}
