//! What an operator may want to count.

use codec::Kind;

use crate::event::CloseReason;

/// The kinds that are relayed, in the order of [`Counts::by_kind`].
pub const RELAY_KINDS: [Kind; 4] =
    [Kind::Header, Kind::Block, Kind::CompactBlock, Kind::Transaction];

/// Bytes of payloads of one kind, headers of their frames included. What came in an envelope counts
/// for what it holds, with the bytes of the envelope.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KindBytes {
    /// All that came.
    pub received: u64,
    /// Those of payloads that had come before, or were here already.
    pub twice: u64,
}

/// What happened so far, in plain numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Peers with a finished handshake that dialled us.
    pub inbound: u64,
    /// Peers with a finished handshake that we dialled.
    pub outbound: u64,
    /// Those of both that speak our extension.
    pub extended: u64,
    /// Frames that came, unknown kinds included.
    pub frames_received: u64,
    /// Pings and Pongs of these.
    pub pings_received: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// Payloads handed to the chain as new.
    pub payloads_new: u64,
    /// Payloads handed to the chain as perhaps seen long ago.
    pub payloads_hinted: u64,
    /// Payloads handed to the chain because it had asked.
    pub payloads_requested: u64,
    /// Payloads dropped because they were seen before.
    pub duplicates: u64,
    /// Bytes of these, headers included.
    pub duplicate_bytes: u64,
    /// Bytes of relayed payloads, in the order of [`RELAY_KINDS`].
    pub by_kind: [KindBytes; RELAY_KINDS.len()],
    /// Frames of unknown kinds, passed over.
    pub unknown_frames: u64,
    /// Requests of the chain that were not sent: the peer had left, owed too many answers, would
    /// not answer by its protocol version, or an archive more would have been too many.
    pub requests_unsent: u64,
    /// Commands of the chain that were not carried out: a payload of another network, or of a kind
    /// that is not relayed; an archive that was not asked for or has no place, or a piece of one
    /// that was not wanted.
    pub commands_refused: u64,
    /// Requests of peers that wait until what they cost is paid for, now.
    pub requests_waiting: u64,
    /// Requests of peers beyond those, which went unanswered.
    pub requests_refused: u64,
    /// Small messages of peers beyond their rate, which were passed over.
    pub messages_passed_over: u64,
    /// Answers of the chain that were not sent: an empty Headers, a body that the peer's protocol
    /// version has no form for, or too many behind the pace of a grin peer.
    pub answers_withheld: u64,
    /// Payloads not relayed to a peer that lacked them: its protocol version has no form for them,
    /// they were beyond its pace, or an archive was going out to it.
    pub relay_withheld: u64,
    /// Envelopes that nobody asked for and that were not opened: beyond what their sender may have
    /// us open.
    pub envelopes_passed_over: u64,
    /// Parts of our pool that peers were told.
    pub pool_parts_told: u64,
    /// Parts of their pools that peers told when asked.
    pub pool_parts_heard: u64,
    /// Transactions that we lacked of these, and asked for.
    pub pool_wanted: u64,
    /// Stem transactions sent to a successor.
    pub stems_relayed: u64,
    /// Stem transactions that became public here.
    pub stems_fluffed: u64,
    /// Messages of topics that came and were new.
    pub gossip_new: u64,
    /// Those that came and were known: the cost of a tree that is not one.
    pub gossip_known: u64,
    /// Those that were announced and that nobody sent.
    pub gossip_missed: u64,
    /// Level: neighbours in the overlay.
    pub neighbours: u64,
    /// Members of the cluster that are not presumed dead, now; ourselves not counted.
    pub members: u64,
    /// How often a member was suspected.
    pub members_suspected: u64,
    /// How often a member was presumed dead that had not said goodbye.
    pub members_lost: u64,
    /// Datagrams that came and were read.
    pub datagrams_received: u64,
    /// Datagrams that were given out to be sent.
    pub datagrams_sent: u64,
    /// Datagrams that no member had sealed for us, or of a length that none has: answered with
    /// nothing.
    pub datagrams_strange: u64,
    /// Datagrams that a member had sealed, and that were malformed.
    pub datagrams_malformed: u64,
    /// News of the cluster that were passed over for their time. Many show a wall clock that is
    /// wrong, here or there.
    pub news_untimely: u64,
    /// Datagrams beyond their rate, which were passed over unread.
    pub datagrams_passed_over: u64,
    /// Wanted blocks that were asked of another: their peer was late, left, or did not have them.
    pub blocks_reassigned: u64,
    /// Wanted blocks that were asked of a second peer, while the first was still waited for.
    pub blocks_hedged: u64,
    /// Blocks that came when nobody waited for them any more; they are duplicates too.
    pub blocks_late: u64,
    /// Bytes that half-received frames occupy now.
    pub assembly_bytes: u64,
    /// Addresses that peers told and that were looked at.
    pub addresses_heard: u64,
    /// Those of them that were new to us and found a place in the book.
    pub addresses_new: u64,
    /// Addresses that peers told beyond their rate, and that were passed over.
    pub addresses_passed_over: u64,
    /// Requests for addresses beyond the first of a connection, which went unanswered.
    pub address_requests_passed_over: u64,
    /// How often the seeds were asked, since there was nobody left to dial.
    pub reseeds: u64,
    /// Connections that ended, those refused at accept included, by the position of their reason in
    /// [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            inbound: 0,
            outbound: 0,
            extended: 0,
            frames_received: 0,
            pings_received: 0,
            bytes_received: 0,
            payloads_new: 0,
            payloads_hinted: 0,
            payloads_requested: 0,
            duplicates: 0,
            duplicate_bytes: 0,
            by_kind: [KindBytes::default(); RELAY_KINDS.len()],
            unknown_frames: 0,
            requests_unsent: 0,
            commands_refused: 0,
            requests_waiting: 0,
            requests_refused: 0,
            messages_passed_over: 0,
            answers_withheld: 0,
            relay_withheld: 0,
            stems_relayed: 0,
            stems_fluffed: 0,
            envelopes_passed_over: 0,
            pool_parts_told: 0,
            pool_parts_heard: 0,
            pool_wanted: 0,
            gossip_new: 0,
            gossip_known: 0,
            gossip_missed: 0,
            neighbours: 0,
            members: 0,
            members_suspected: 0,
            members_lost: 0,
            datagrams_received: 0,
            datagrams_sent: 0,
            datagrams_strange: 0,
            datagrams_malformed: 0,
            news_untimely: 0,
            datagrams_passed_over: 0,
            blocks_reassigned: 0,
            blocks_hedged: 0,
            blocks_late: 0,
            assembly_bytes: 0,
            addresses_heard: 0,
            addresses_new: 0,
            addresses_passed_over: 0,
            address_requests_passed_over: 0,
            reseeds: 0,
            closed: [0; CloseReason::ALL.len()],
        }
    }
}

impl Counts {
    /// A payload came; `twice`: it was here already.
    pub(crate) const fn note_payload(&mut self, kind: Kind, bytes: usize, twice: bool) {
        let place = match kind {
            Kind::Header => 0,
            Kind::Block => 1,
            Kind::CompactBlock => 2,
            Kind::Transaction => 3,
            _ => return,
        };
        let of_kind = &mut self.by_kind[place];
        of_kind.received += bytes as u64;
        if twice {
            of_kind.twice += bytes as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_relayed_kind_has_its_place() {
        let mut counts = Counts::default();
        for (place, kind) in RELAY_KINDS.into_iter().enumerate() {
            counts.note_payload(kind, 10, false);
            counts.note_payload(kind, place, true);
            let expected = KindBytes { received: 10 + place as u64, twice: place as u64 };
            assert_eq!(counts.by_kind[place], expected);
        }
        counts.note_payload(Kind::StemTransaction, 10, false);
        let sum: u64 = counts.by_kind.iter().map(|it| it.received).sum();
        assert_eq!(sum, 46);
    }
}
