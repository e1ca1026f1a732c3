//! What an operator may want to count.

use crate::event::CloseReason;

/// What happened so far, in plain numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Peers with a finished handshake that dialled us.
    pub inbound: u64,
    /// Peers with a finished handshake that we dialled.
    pub outbound: u64,
    /// Frames that came, unknown kinds included.
    pub frames_received: u64,
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
            frames_received: 0,
            bytes_received: 0,
            payloads_new: 0,
            payloads_hinted: 0,
            payloads_requested: 0,
            duplicates: 0,
            duplicate_bytes: 0,
            unknown_frames: 0,
            requests_unsent: 0,
            commands_refused: 0,
            requests_waiting: 0,
            requests_refused: 0,
            messages_passed_over: 0,
            answers_withheld: 0,
            relay_withheld: 0,
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
