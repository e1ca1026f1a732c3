//! Large bodies that begin: others hear of it and hold back, and what is here is not kept.

use codec::{Envelope, Kind, Message, Network, Packing, Payload, PayloadFormat};
use peer::{ConnId, Input, Verdict};

use super::*;
use crate::solo::{millis, promise, sent_kinds};

/// Blocks begin with a header of 80 bytes.
const HEADED: Network = Network { format: PayloadFormat::Headed { header_bytes: 80 }, ..NET };

fn headed() -> Solo {
    level(passive(HEADED))
}

fn headed_block(number: u8) -> Payload {
    let body = [vec![number; 80], vec![0; 50_000]].concat();
    Payload::seal(&HEADED, Kind::Block, &body).unwrap()
}

fn envelope(plain: &Payload) -> Vec<u8> {
    let (kind, id, data) = (plain.kind(), plain.id(), plain.body());
    let (packing, plain_bytes) = (Packing::Stored, data.len() as u32);
    message(&Message::Packed(Envelope { kind, packing, plain_bytes, id, data }))
}

fn coming(offers: &[Offer]) -> Vec<u8> {
    message(&Message::Coming(Records::new(offers)))
}

#[test]
fn the_first_bytes_of_a_large_body_tell_others_that_it_is_coming() {
    for packed in [false, true] {
        let mut solo = headed();
        let [a, b, c, d] = extended(&mut solo);
        let block = headed_block(1);
        solo.receive(d, &have(&[offer(&block)]));
        let bytes = if packed { envelope(&block) } else { block.frame().to_vec() };
        assert_eq!(solo.receive(a, &bytes[..30]), [], "it does not say yet what it is");
        let expected = [sent(&[b, c], &coming(&[offer(&block)]))];
        assert_eq!(solo.receive(a, &bytes[30..1_500]), expected, "{packed}");
        assert_eq!(solo.receive(a, &bytes[1_500..9_000]), [], "once");
        assert_eq!(solo.receive(b, &bytes[..9_000]), [], "once for all who send it");
    }
}

#[test]
fn who_is_receiving_it_is_told_later_and_only_if_it_still_lacks_it() {
    let mut solo = solo();
    let [a, b, c] = extended(&mut solo);
    let (block, small) = (block(1), transaction(2));
    let word = have(&[offer(&block)]);
    solo.receive(a, &coming(&[offer(&block), offer(&small)]));
    solo.receive(b, &coming(&[offer(&block)]));
    assert_eq!(publish(&mut solo, &small), [sent(&[b, c], small.frame())]);
    assert_eq!(publish(&mut solo, &block), [sent(&[c], &word)]);
    solo.receive(b, &have(&[offer(&block)]));
    let outputs = solo.run_for(millis(1_019));
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    assert_eq!(outputs[0].1, sent(&[a], &have(&[offer(&small)])));
    let outputs = solo.run_for(secs(3)).into_iter().map(|(_, output)| output);
    let late: Vec<Out> =
        outputs.filter(|it| sent_kinds(std::slice::from_ref(it)) == [Kind::Have]).collect();
    assert_eq!(late, [sent(&[a], &word)], "a word delays, and nothing else");
    assert_eq!(publish(&mut solo, &block), []);
}

#[test]
fn a_word_cannot_be_said_anew_to_delay_longer() {
    let mut solo = solo();
    let [a] = extended(&mut solo);
    let block = block(1);
    for _ in 0..3 {
        solo.receive(a, &coming(&[offer(&block)]));
        solo.run_for(millis(400));
    }
    assert_eq!(publish(&mut solo, &block), [sent(&[a], &have(&[offer(&block)]))]);
}

#[test]
fn a_large_body_that_is_here_is_refused_early_and_not_kept() {
    for packed in [false, true] {
        let mut solo = headed();
        let [a, b] = extended(&mut solo);
        let block = headed_block(1);
        solo.receive(a, block.frame());
        let bytes = if packed { envelope(&block) } else { block.frame().to_vec() };
        solo.receive(b, &bytes[..1_000]);
        assert!(solo.endpoint.counts().assembly_bytes > 0, "the chain has not judged it");
        solo.judge(a, &block, Verdict::Accept);
        let late = join_extended(&mut solo, 2, 1);
        let before = solo.endpoint.counts().assembly_bytes;
        assert_eq!(solo.receive(late, &bytes[..1_000]), []);
        solo.receive(late, &bytes[1_000..40_000]);
        assert_eq!(solo.endpoint.counts().assembly_bytes, before);
        let small = transaction(7);
        let rest = [&bytes[40_000..], small.frame()].concat();
        let outputs = solo.receive(late, &rest);
        assert_eq!(outputs.len(), 1, "the frame behind it is read: {outputs:?}");
        let counts = solo.endpoint.counts();
        assert_eq!((counts.duplicates, counts.unknown_frames), (1, 0));
        assert_eq!(counts.duplicate_bytes, bytes.len() as u64);
        assert_eq!(counts.by_kind[1].twice, bytes.len() as u64);
        assert_eq!(solo.info(late).duplicates, 1);
        assert_eq!(publish(&mut solo, &block), [], "it has it");
    }
}

#[test]
fn what_was_asked_for_is_never_refused() {
    let mut solo = headed();
    let [a, b] = extended(&mut solo);
    let block = headed_block(1);
    publish(&mut solo, &block);
    let request = Request::Block(block.id());
    solo.handle(Input::FromChain(FromChain::Request { to: b, request }));
    turn(&mut solo);
    let (head, tail) = block.frame().split_at(5_000);
    assert_eq!(solo.receive(b, head), []);
    assert_eq!(solo.receive(b, tail), [requested(b, &block)]);
    assert!(solo.is_here(a));
}

#[test]
fn words_about_bodies_that_are_only_begun_are_bounded() {
    let mut solo = headed();
    let conns: [ConnId; 200] = extended(&mut solo);
    let mut words = 0;
    for (number, conn) in conns.iter().enumerate() {
        let bytes = [promise(Kind::Block as u8, 90_000), vec![number as u8; 200]].concat();
        words += solo.receive(*conn, &bytes).len();
    }
    assert_eq!(words, 64);
}

#[test]
fn a_body_of_which_nothing_can_be_told_is_kept_as_ever() {
    let mut solo = solo();
    let [a, _] = extended(&mut solo);
    let block = block(1);
    let (head, tail) = block.frame().split_at(5_000);
    assert_eq!(solo.receive(a, head), []);
    assert_eq!(solo.receive(a, tail).len(), 1);
}
