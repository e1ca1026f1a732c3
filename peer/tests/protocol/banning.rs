//! Bans and shorter displeasure: who is refused, until when, and what it is told.

use codec::{BanReason, Kind, Message};
use peer::{
    Ban, BanCause, BanTarget, Change, CloseReason, ConnId, Decider, Evidence, FromChain, Input,
    Source, UnixTime, Verdict,
};

use crate::solo::{
    Out, Solo, addr, closes, hand, message, payload, promise, raw_frame, secs, shake, source,
    transaction,
};

fn now_is(secs: u64) -> Solo {
    Solo::with(|config| config.started = UnixTime::from_secs(secs))
}

fn target(text: &str) -> BanTarget {
    text.parse().unwrap()
}

fn wish(target: BanTarget, end: u64) -> Ban {
    Ban {
        target,
        cause: BanCause::Operator,
        evidence: Evidence::default(),
        by: Decider::Operator,
        start: UnixTime::from_secs(0),
        end: UnixTime::from_secs(end),
    }
}

fn reason(reason: BanReason) -> Vec<u8> {
    message(&Message::BanReason(reason))
}

/// That it got this goodbye, and then the end.
fn assert_banned(outputs: &[Out], conn: ConnId, told: BanReason) {
    let [Out::Send(to, goodbye), close] = outputs else { panic!("{outputs:?}") };
    assert_eq!(*to, peer::Recipients::One(conn));
    assert_eq!(goodbye.frame(), reason(told));
    assert_eq!(*close, Out::Close(conn, CloseReason::Banned));
}

fn assert_refused(solo: &mut Solo, conn: ConnId) {
    let outputs = solo.handle(Input::Accepted { conn, addr: addr(conn.index()) });
    assert_eq!(outputs, [Out::Close(conn, CloseReason::Banned)], "unanswered, at once");
    assert!(!solo.is_here(conn));
}

#[test]
fn whom_the_chain_accuses_is_banned_for_that() {
    let mut solo = now_is(5_000);
    let guilty = solo.join(0);
    let (from, note) = (source(guilty), "height 900,000 was claimed".into());
    let accusation = FromChain::Accuse { from, cause: BanCause::FraudHeight, note };
    let outputs = solo.handle(Input::FromChain(accusation.clone()));
    assert_banned(&outputs, guilty, BanReason::FraudHeight);
    let bans: Vec<Ban> = solo.endpoint.bans().cloned().collect();
    let [ban] = &bans[..] else { panic!("{bans:?}") };
    assert_eq!((ban.cause, ban.by), (BanCause::FraudHeight, Decider::Rule));
    assert_eq!(&*ban.evidence.note, "height 900,000 was claimed");
    assert_eq!(solo.handle(Input::FromChain(accusation)), [], "it has left, and stays banned");
}

#[test]
fn who_brings_an_invalid_payload_is_banned_with_the_evidence() {
    let causes = [
        (Kind::Block, BanCause::BadBlock, BanReason::BadBlock),
        (Kind::CompactBlock, BanCause::BadCompactBlock, BanReason::BadCompactBlock),
        (Kind::Header, BanCause::BadHeader, BanReason::BadBlockHeader),
        (Kind::Transaction, BanCause::BadTransaction, BanReason::None),
        (Kind::StemTransaction, BanCause::BadTransaction, BanReason::None),
    ];
    for (kind, cause, told) in causes {
        let mut solo = now_is(5_000);
        let (guilty, other) = (solo.join(0), solo.join(1));
        let bad = payload(kind, 7);
        solo.receive(guilty, bad.frame());
        solo.run_for(secs(20));
        assert_banned(&solo.judge(guilty, &bad, Verdict::Invalid), guilty, told);
        assert!(solo.is_here(other));
        let bans: Vec<Ban> = solo.endpoint.bans().cloned().collect();
        let [ban] = &bans[..] else { panic!("{bans:?}") };
        assert_eq!((ban.cause, ban.by), (cause, Decider::Rule));
        assert_eq!(ban.target, target("10.0.0.0"));
        assert_eq!(ban.evidence.kind, Some(kind));
        assert_eq!(ban.evidence.bytes, bad.frame().len() as u64);
        assert!(ban.evidence.note.contains(&bad.id().to_string()), "{}", ban.evidence.note);
        assert_eq!(ban.start, UnixTime::from_secs(5_020));
        assert_eq!(ban.end, UnixTime::from_secs(5_020 + 10_800));
        assert_refused(&mut solo, ConnId::new(0, 2));
        let mut changes = Vec::new();
        solo.endpoint.take_changes(1_000, &mut changes);
        assert!(changes.contains(&Change::Ban(ban.clone())));
    }
}

#[test]
fn a_peer_that_left_in_time_is_banned_all_the_same() {
    let mut solo = now_is(0);
    let conn = solo.join(0);
    let bad = payload(Kind::Block, 7);
    solo.receive(conn, bad.frame());
    solo.leave(conn);
    let innocent = solo.join_as(1, 1);
    assert_eq!(solo.judge(conn, &bad, Verdict::Invalid), []);
    assert_eq!(solo.endpoint.bans().count(), 1);
    assert!(solo.is_here(innocent));
    assert_refused(&mut solo, ConnId::new(0, 2));
}

#[test]
fn a_verdict_hits_whoever_sits_behind_the_address_now() {
    let mut solo = now_is(0);
    let old = solo.join(0);
    solo.leave(old);
    let new = solo.join_as(0, 2);
    let bad = payload(Kind::Block, 7);
    assert_banned(&solo.judge(old, &bad, Verdict::Invalid), new, BanReason::BadBlock);
}

#[test]
fn a_valid_payload_and_a_later_one_ban_nobody() {
    let mut solo = now_is(0);
    let conn = solo.join(0);
    for verdict in [Verdict::Accept, Verdict::Later] {
        solo.receive(conn, transaction(1).frame());
        solo.judge(conn, &transaction(1), verdict);
    }
    assert!(solo.is_here(conn));
    assert_eq!(solo.endpoint.bans().count(), 0);
}

#[test]
fn an_operator_bans_a_subnet_and_lifts_it_again() {
    let mut solo = now_is(100);
    let conns = [0, 1, 2, 0x0001_0000].map(|index| solo.join(index));
    let (outbound, _) = solo.dial(3);
    solo.receive(outbound, &message(&Message::Shake(shake())));
    let outputs = solo.handle(Input::Ban(wish(target("10.0.0.0/16"), 1_000)));
    assert_eq!(outputs.len(), 8, "{outputs:?}");
    for (pair, conn) in outputs.chunks(2).zip([conns[0], conns[1], conns[2], outbound]) {
        assert_banned(pair, conn, BanReason::ManualBan);
    }
    assert!(solo.is_here(conns[3]), "another subnet");
    assert_refused(&mut solo, ConnId::new(9, 1));
    let dials = solo.run_for(secs(400));
    assert!(dials.iter().all(|(_, output)| !matches!(output, Out::Dial(_))), "{dials:?}");

    solo.handle(Input::Unban(target("10.0.0.0/24")));
    assert_eq!(solo.endpoint.bans().count(), 1, "exactly this one");
    solo.handle(Input::Unban(target("10.0.0.0/16")));
    assert_eq!(solo.endpoint.bans().count(), 0);
    solo.join_as(9, 2);
    let dials = solo.run_for(secs(60));
    assert!(dials.iter().any(|(_, output)| *output == Out::Dial(addr(3))), "held, and free again");
}

#[test]
fn a_ban_ends_by_itself_and_is_shown_no_more() {
    let mut solo = now_is(100);
    solo.handle(Input::Ban(wish(target("10.0.0.0"), 400)));
    solo.run_for(secs(299));
    assert_refused(&mut solo, ConnId::new(0, 1));
    solo.run_for(secs(1));
    let conn = solo.join_as(0, 2);
    solo.leave(conn);
    solo.run_for(secs(60));
    assert_eq!(solo.endpoint.bans().count(), 0);
    let mut changes = Vec::new();
    solo.endpoint.take_changes(1_000, &mut changes);
    assert!(changes.contains(&Change::BanGone(target("10.0.0.0"))));
    assert_eq!(solo.endpoint.poll_timeout(), None, "nothing is left to look at");
}

#[test]
fn who_is_denied_or_not_allowed_stays_out() {
    let mut solo = Solo::with(|config| config.denied = vec![target("10.0.0.0/30")]);
    assert_refused(&mut solo, ConnId::new(3, 1));
    solo.join(4);
    let addr = addr(2);
    assert_eq!(solo.handle(Input::Hold { addr }), [], "and is not dialled, held or not");
    let mut solo = Solo::with(|config| {
        config.allowed = vec![target("10.0.0.0/30")];
        config.denied = vec![target("10.0.0.2")];
    });
    solo.join(3);
    assert_refused(&mut solo, ConnId::new(4, 1));
    assert_refused(&mut solo, ConnId::new(2, 1));
}

#[test]
fn a_banned_name_is_refused_when_it_greets() {
    let mut solo = now_is(0);
    solo.handle(Input::Ban(wish(target("127.0.0.1:3414"), 1_000)));
    let conn = ConnId::new(0, 1);
    let from = "127.0.0.1:50000".parse().unwrap();
    assert_eq!(solo.handle(Input::Accepted { conn, addr: from }), []);
    let greeting = codec::Hand { sender_addr: ([0; 4], 3414).into(), ..hand() };
    let outputs = solo.receive(conn, &message(&Message::Hand(greeting)));
    assert_eq!(outputs, [Out::Close(conn, CloseReason::Banned)], "unanswered");
}

/// How long after this an address that is held is dialled again.
fn wait_after(bytes: &[u8], greeted: bool) -> u64 {
    let mut solo = now_is(0);
    let (conn, _) = solo.dial(0);
    if greeted {
        solo.receive(conn, &message(&Message::Shake(shake())));
    }
    let outputs = solo.receive(conn, bytes);
    assert!(matches!(outputs[..], [Out::Close(..)]), "{outputs:?}");
    let dials = solo.run_for(secs(12_000));
    let (at, _) = dials.iter().find(|(_, output)| matches!(output, Out::Dial(_))).unwrap();
    assert_eq!(solo.endpoint.bans().count(), 0, "no ban for what proves nothing");
    at.micros() / 1_000_000
}

#[test]
fn faults_are_discouraged_as_long_as_they_deserve() {
    let genesis = codec::Hash([9; 32]);
    let foreign = message(&Message::Shake(codec::Shake { genesis, ..shake() }));
    let mut magic = message(&Message::Shake(shake()));
    magic[0] ^= 1;
    for (bytes, greeted, least) in [
        (&foreign[..], false, 60),
        (&magic, false, 60),
        (&magic, true, 600),
        (&raw_frame(Kind::Ping as u8, &[0; 3]), true, 600),
        (&promise(Kind::Ping as u8, 1 << 40), true, 600),
        (&raw_frame(Kind::Shake as u8, &[]), true, 600),
        (&reason(BanReason::None), true, 30),
    ] {
        let waited = wait_after(bytes, greeted);
        assert!((least..least + 10 + least / 4).contains(&waited), "{least}: {waited} {bytes:?}");
    }
}

/// Trap 15: who bans us refuses us for three hours; each try in that time would only remind it.
#[test]
fn who_bans_us_is_left_alone_for_as_long_as_grin_bans() {
    for told in [BanReason::BadBlock, BanReason::ManualBan, BanReason::BadHandshake] {
        let waited = wait_after(&reason(told), true);
        assert!((10_800..10_900).contains(&waited), "{waited}");
    }
    let mut solo = now_is(0);
    let conn = solo.join(0);
    let outputs = solo.receive(conn, &reason(BanReason::FraudHeight));
    assert_eq!(outputs, [Out::Close(conn, CloseReason::BannedByRemote)], "and we do not ban back");
    assert_eq!(solo.endpoint.bans().count(), 0);
    solo.join_as(0, 2);
}

#[test]
fn bans_come_back_from_a_store() {
    let mut solo = now_is(500);
    let restored = peer::Restored {
        bans: vec![wish(target("10.0.0.1"), 1_000), wish(target("10.0.0.2"), 400)],
        ..peer::Restored::default()
    };
    assert_eq!(solo.handle(Input::Restored(restored)), []);
    assert_refused(&mut solo, ConnId::new(1, 1));
    solo.join(2);
    assert_eq!(solo.endpoint.bans().count(), 1);
}

#[test]
fn a_verdict_on_whom_we_never_saw_is_a_ban() {
    let mut solo = now_is(0);
    let from = Source { conn: ConnId::new(70, 3), ..source(ConnId::new(70, 3)) };
    let bad = payload(Kind::Block, 1);
    let verdict = FromChain::Verdict { from, payload: bad, verdict: Verdict::Invalid };
    assert_eq!(solo.handle(Input::FromChain(verdict)), []);
    assert_refused(&mut solo, ConnId::new(70, 4));
    assert_eq!(closes(&solo.run_for(secs(10))), []);
}

#[test]
fn whom_we_ban_we_recommend_to_nobody() {
    let mut solo = now_is(0);
    let (conn, _) = solo.dial(0);
    solo.receive(conn, &message(&Message::Shake(shake())));
    solo.judge(conn, &transaction(1), Verdict::Invalid);
    let asker = solo.join(5);
    let asks = Message::GetPeerAddrs(codec::Capabilities::UNKNOWN);
    let outputs = solo.receive(asker, &message(&asks));
    let [Out::Send(_, told)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(told.frame(), message(&Message::PeerAddrs(codec::PeerAddrs::new(&[]))));
}
