//! The numbers that the chain and operators see: the core's and the loop's own, once a turn.

use bridge::store::{Place, StoreStatus};
use bridge::{Metrics, PackingCounts};
use peer::Counts;

use super::EventLoop;

impl EventLoop {
    pub(super) fn publish_metrics(&mut self) {
        let metrics = &mut self.metrics;
        note_counts(metrics, self.endpoint.counts());
        note_store(metrics, self.store.status());
        note_packing(metrics, &self.bridge.packing_counts());
        self.bridge.set_openers(metrics.peers_extended);
        metrics.connections = self.connections.len() as u64;
        metrics.kernel_entries = self.io.entries();
        metrics.fixed_pool_bytes = (self.endpoint.memory_bytes() + self.io.pool_bytes()) as u64;
        // On contention the last values stand until the next turn.
        let _ = self.bridge.counters().try_set_metrics(metrics);
    }
}

/// Copies fields of the same name; with the others in brackets there is no rest, so that none is
/// forgotten.
macro_rules! copy {
    ($from:ident: $type:ident { $($name:ident)+ } [$($other:ident)*] to $to:ident) => {
        let $type { $($name,)+ $($other,)* } = *$from;
        $($to.$name = $name;)+
    };
}

/// The core's counts.
const fn note_counts(metrics: &mut Metrics, counts: &Counts) {
    copy!(counts: Counts {
        frames_received pings_received bytes_received payloads_new payloads_hinted
        payloads_requested duplicates duplicate_bytes unknown_frames requests_unsent
        commands_refused requests_waiting requests_refused messages_passed_over gossip_new
        gossip_known gossip_missed neighbours members members_suspected members_lost
        datagrams_received datagrams_sent datagrams_strange datagrams_malformed news_untimely
        datagrams_passed_over answers_withheld relay_withheld stems_relayed stems_fluffed
        blocks_late blocks_hedged blocks_reassigned pool_wanted pool_parts_heard pool_parts_told
        envelopes_passed_over assembly_bytes addresses_heard addresses_new addresses_passed_over
        address_requests_passed_over reseeds closed
    } [inbound outbound extended by_kind] to metrics);
    metrics.peers_inbound = inbound;
    metrics.peers_outbound = outbound;
    metrics.peers_extended = extended;
    let [header, block, compact_block, transaction] = by_kind;
    metrics.header_bytes = header.received;
    metrics.header_bytes_twice = header.twice;
    metrics.block_bytes = block.received;
    metrics.block_bytes_twice = block.twice;
    metrics.compact_block_bytes = compact_block.received;
    metrics.compact_block_bytes_twice = compact_block.twice;
    metrics.transaction_bytes = transaction.received;
    metrics.transaction_bytes_twice = transaction.twice;
}

/// What the workers did, and have to do.
const fn note_packing(metrics: &mut Metrics, counts: &PackingCounts) {
    copy!(counts: PackingCounts {
        packed packed_plain_bytes packed_bytes incompressible left_plain opened bad_envelopes
        jobs_waiting
    } [] to metrics);
}

/// How the store is doing.
pub(super) fn note_store(metrics: &mut Metrics, status: StoreStatus) {
    let StoreStatus { place, lag, committed, lost } = status;
    metrics.store_on_disk = u64::from(place == Place::Disk);
    metrics.store_lag = lag;
    metrics.store_committed = committed;
    metrics.store_lost = lost;
}
