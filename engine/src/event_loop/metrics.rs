//! The numbers that the chain and operators see: the core's and the loop's own, once a turn.

use bridge::Metrics;
use bridge::store::{Place, StoreStatus};
use peer::Counts;

use super::EventLoop;

impl EventLoop {
    pub(super) fn publish_metrics(&mut self) {
        let metrics = &mut self.metrics;
        note_counts(metrics, self.endpoint.counts());
        note_store(metrics, self.store.status());
        metrics.connections = self.connections.len() as u64;
        metrics.kernel_entries = self.io.entries();
        metrics.fixed_pool_bytes = (self.endpoint.memory_bytes() + self.io.pool_bytes()) as u64;
        // On contention the last values stand until the next turn.
        let _ = self.bridge.counters().try_set_metrics(metrics);
    }
}

/// The core's counts, without a rest: none of them is forgotten here.
const fn note_counts(metrics: &mut Metrics, counts: &Counts) {
    let Counts {
        inbound,
        outbound,
        frames_received,
        bytes_received,
        payloads_new,
        payloads_hinted,
        payloads_requested,
        duplicates,
        duplicate_bytes,
        unknown_frames,
        requests_unsent,
        commands_refused,
        requests_waiting,
        requests_refused,
        messages_passed_over,
        answers_withheld,
        relay_withheld,
        assembly_bytes,
        addresses_heard,
        addresses_new,
        addresses_passed_over,
        address_requests_passed_over,
        reseeds,
        closed,
    } = *counts;
    metrics.peers_inbound = inbound;
    metrics.peers_outbound = outbound;
    metrics.frames_received = frames_received;
    metrics.bytes_received = bytes_received;
    metrics.payloads_new = payloads_new;
    metrics.payloads_hinted = payloads_hinted;
    metrics.payloads_requested = payloads_requested;
    metrics.duplicates = duplicates;
    metrics.duplicate_bytes = duplicate_bytes;
    metrics.unknown_frames = unknown_frames;
    metrics.requests_unsent = requests_unsent;
    metrics.commands_refused = commands_refused;
    metrics.requests_waiting = requests_waiting;
    metrics.requests_refused = requests_refused;
    metrics.messages_passed_over = messages_passed_over;
    metrics.answers_withheld = answers_withheld;
    metrics.relay_withheld = relay_withheld;
    metrics.assembly_bytes = assembly_bytes;
    metrics.addresses_heard = addresses_heard;
    metrics.addresses_new = addresses_new;
    metrics.addresses_passed_over = addresses_passed_over;
    metrics.address_requests_passed_over = address_requests_passed_over;
    metrics.reseeds = reseeds;
    metrics.closed = closed;
}

/// How the store is doing.
pub(super) fn note_store(metrics: &mut Metrics, status: StoreStatus) {
    let StoreStatus { place, lag, committed, lost } = status;
    metrics.store_on_disk = u64::from(place == Place::Disk);
    metrics.store_lag = lag;
    metrics.store_committed = committed;
    metrics.store_lost = lost;
}
