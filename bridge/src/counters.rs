//! The few numbers that the loop and the chain share, behind one lock.
//!
//! The loop only tries the lock: on contention the last values stand until its next turn. The
//! chain and whoever watches may wait for it; it is held for the length of one copy.

use std::sync::Arc;

use parking_lot::Mutex;
use peer::{ChainTip, CloseReason};

macro_rules! metrics {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What the engine has counted since it started, and some levels of this moment.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Metrics {
            $($(#[$doc])+ pub $name: u64,)+
            /// Connections ended, by cause, in the order of [`CloseReason::ALL`].
            pub closed: [u64; CloseReason::ALL.len()],
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self { $($name: 0,)+ closed: [0; CloseReason::ALL.len()] }
            }
        }

        impl Metrics {
            /// All numbers but those by cause, by their names.
            pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

metrics! {
    /// Level: established peers that dialled us.
    peers_inbound,
    /// Level: established peers that we dialled.
    peers_outbound,
    /// Level: established peers of either kind that speak our extension, and so open envelopes.
    peers_extended,
    /// Level: open sockets, established or not.
    connections,
    /// Connections accepted.
    accepted,
    /// Connections that we dialled and that stood.
    dialed,
    /// Whole frames received.
    frames_received,
    /// Pings and Pongs of these.
    pings_received,
    /// Whole frames sent.
    frames_sent,
    /// Bytes received.
    bytes_received,
    /// Bytes sent.
    bytes_sent,
    /// Payloads certainly never seen before, handed to the chain.
    payloads_new,
    /// Payloads perhaps seen long ago, handed to the chain all the same.
    payloads_hinted,
    /// Payloads that the chain had asked for.
    payloads_requested,
    /// Payloads that were known, and so dropped.
    duplicates,
    /// Bytes of those.
    duplicate_bytes,
    /// Bytes of headers that came, in whatever way.
    header_bytes,
    /// Those of them that had come before, or were here already.
    header_bytes_twice,
    /// Bytes of blocks that came, in whatever way.
    block_bytes,
    /// Those of them that had come before, or were here already.
    block_bytes_twice,
    /// Bytes of compact blocks that came, in whatever way.
    compact_block_bytes,
    /// Those of them that had come before, or were here already.
    compact_block_bytes_twice,
    /// Bytes of transactions that came, in whatever way.
    transaction_bytes,
    /// Those of them that had come before, or were here already.
    transaction_bytes_twice,
    /// Frames of unknown kinds, skipped.
    unknown_frames,
    /// Frames dropped because a send queue was full: relayed ones, word of such, stem transactions.
    relay_dropped,
    /// Commands of the chain that were not carried out: a payload of another network, or of a kind
    /// that is not relayed; an archive that was not asked for or has no place, or a piece of one
    /// that was not wanted.
    commands_refused,
    /// Send operations.
    sends,
    /// Frames given to those operations, of any kind: with their number, how many leave together.
    payloads_sent,
    /// Turns of the loop.
    turns,
    /// Times the loop entered the kernel.
    kernel_entries,
    /// Times a receive ended because its buffer group was empty.
    buffers_starved,
    /// Completions that came after their connection was gone.
    completions_stale,
    /// Turns that ended with a peer waiting for room on the lane to the chain.
    lane_stalls,
    /// Level: bytes of frames that are not whole yet.
    assembly_bytes,
    /// Requests of the chain that were not sent: the peer had left, owed too many answers, would
    /// not answer by its protocol version, or an archive more would have been too many.
    requests_unsent,
    /// Level: requests of peers that wait until what they cost is paid for.
    requests_waiting,
    /// Requests of peers beyond those, which went unanswered.
    requests_refused,
    /// Small messages of peers beyond their rate, which were passed over.
    messages_passed_over,
    /// Answers of the chain that were not sent: an empty Headers, a body that the peer's protocol
    /// version has no form for, or too many behind the pace of a grin peer.
    answers_withheld,
    /// Payloads not relayed to a peer that lacked them: its protocol version has no form for them,
    /// they were beyond its pace, or an archive was going out to it.
    relay_withheld,
    /// Messages of topics that came and were new.
    gossip_new,
    /// Those that came and were known.
    gossip_known,
    /// Those that were announced and that nobody sent.
    gossip_missed,
    /// Level: neighbours in the overlay.
    neighbours,
    /// Messages of topics that a subscriber was too slow for.
    gossip_lagged,
    /// Level: members of the cluster that are not presumed dead; ourselves not counted.
    members,
    /// How often a member was suspected.
    members_suspected,
    /// How often a member was presumed dead that had not said goodbye.
    members_lost,
    /// Datagrams that came and were read.
    datagrams_received,
    /// Datagrams that were to leave; those of the next two did not.
    datagrams_sent,
    /// Datagrams that gave way to newer ones, because more were to leave than the system took.
    datagrams_dropped,
    /// Datagrams that the system could not send.
    datagrams_unsent,
    /// Datagrams that no member had sealed for us, or of a length that none has: answered with
    /// nothing.
    datagrams_strange,
    /// Datagrams that a member had sealed, and that were malformed.
    datagrams_malformed,
    /// News of the cluster that were passed over for their time. Many show a wall clock that is
    /// wrong, here or there.
    news_untimely,
    /// Datagrams that were longer than any may be.
    datagrams_truncated,
    /// Datagrams beyond their rate, which were passed over unread.
    datagrams_passed_over,
    /// Stem transactions sent to a successor.
    stems_relayed,
    /// Stem transactions that became public here.
    stems_fluffed,
    /// Payloads packed for peers that open envelopes, each once however many get it.
    packed,
    /// Bytes of their plain frames.
    packed_plain_bytes,
    /// Bytes of their envelopes.
    packed_bytes,
    /// Payloads that packing would have saved too little of, and that travel plain.
    incompressible,
    /// Payloads that travel plain because the workers were behind, or because the lane from the
    /// chain had no room for an envelope beside them.
    left_plain,
    /// Envelopes opened on their way to the chain.
    opened,
    /// Envelopes that did not hold what they said.
    bad_envelopes,
    /// Level: jobs of the workers, and what waits behind them.
    jobs_waiting,
    /// Envelopes that nobody asked for and that were not opened: beyond what their sender may have
    /// us open.
    envelopes_passed_over,
    /// Parts of our pool that peers were told.
    pool_parts_told,
    /// Parts of their pools that peers told when asked.
    pool_parts_heard,
    /// Transactions that we lacked of these, and asked for.
    pool_wanted,
    /// Wanted blocks that were asked of another: their peer was late, left, or did not have them.
    blocks_reassigned,
    /// Wanted blocks that were asked of a second peer, while the first was still waited for.
    blocks_hedged,
    /// Blocks that came when nobody waited for them any more; they are duplicates too.
    blocks_late,
    /// How often the seeds were asked, since there was nobody left to dial.
    reseeds,
    /// Addresses that peers told and that were looked at.
    addresses_heard,
    /// Those of them that were new and found a place in the book.
    addresses_new,
    /// Addresses that peers told beyond their rate, and that were passed over.
    addresses_passed_over,
    /// Requests for addresses beyond the first of a connection, which went unanswered.
    address_requests_passed_over,
    /// Times a connection waited for the rate of all that is received.
    rate_stalls,
    /// Level: 1 while addresses and bans go into a file, 0 while they are in memory only.
    store_on_disk,
    /// Level: changes accepted for the store's file and not yet in it.
    store_lag,
    /// Changes that are in the file, they or later ones of the same record.
    store_committed,
    /// Changes that will never be in the file.
    store_lost,
    /// Bytes of the fixed pools: rings, buffers, tables.
    fixed_pool_bytes,
}

impl Metrics {
    /// Counts one connection that ended.
    pub const fn count_closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    /// Connections ended, by the name of the cause; causes that never occurred are left out.
    pub fn closed_by_cause(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = CloseReason::ALL.iter().map(|reason| reason.name());
        names.zip(self.closed).filter(|&(_, count)| count > 0)
    }
}

/// Height, total difficulty and metrics, shared. Cloning shares them further.
#[derive(Clone, Default)]
pub struct Counters(Arc<Mutex<Numbers>>);

#[derive(Default)]
struct Numbers {
    tip: ChainTip,
    metrics: Metrics,
}

impl Counters {
    /// For the chain: its best chain is this now. The engine tells its peers with the next pings.
    pub fn set_tip(&self, tip: ChainTip) {
        self.0.lock().tip = tip;
    }

    /// The tip that the chain set last.
    #[must_use]
    pub fn tip(&self) -> ChainTip {
        self.0.lock().tip
    }

    /// For the loop: the tip, unless somebody holds the lock.
    #[must_use]
    pub fn try_tip(&self) -> Option<ChainTip> {
        self.0.try_lock().map(|numbers| numbers.tip)
    }

    /// What the engine published last, at most a few turns old.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.lock().metrics.clone()
    }

    /// For the loop: publishes the metrics, unless somebody holds the lock; says whether it did.
    #[must_use]
    pub fn try_set_metrics(&self, metrics: &Metrics) -> bool {
        let Some(mut numbers) = self.0.try_lock() else { return false };
        numbers.metrics.clone_from(metrics);
        true
    }

    /// Publishes the metrics, waiting for the lock: for the last ones, when the engine ends.
    pub fn set_metrics(&self, metrics: &Metrics) {
        self.0.lock().metrics.clone_from(metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_under_their_own_names() {
        let mut metrics = Metrics::default();
        for (times, &reason) in (0..).zip(CloseReason::ALL) {
            (0..times).for_each(|_| metrics.count_closed(reason));
        }
        let expected: Vec<_> =
            CloseReason::ALL.iter().map(|reason| reason.name()).zip(0..).skip(1).collect();
        assert_eq!(metrics.closed_by_cause().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_loop_never_waits_for_the_lock() {
        let counters = Counters::default();
        let tip = ChainTip { height: 7, total_difficulty: 9 };
        counters.set_tip(tip);
        let metrics = Metrics { turns: 3, ..Metrics::default() };

        let held = counters.0.lock();
        assert_eq!(counters.try_tip(), None);
        assert!(!counters.try_set_metrics(&metrics));
        drop(held);

        assert_eq!(counters.try_tip(), Some(tip));
        assert!(counters.try_set_metrics(&metrics));
        assert_eq!((counters.tip(), counters.metrics()), (tip, metrics));
    }
}
