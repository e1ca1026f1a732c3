//! The engine's end. Nothing here waits, and nothing makes a system call but an envelope for a
//! worker that sleeps, and `end`, which waits for the workers.

use std::collections::VecDeque;
use std::thread::JoinHandle;

use peer::{ConnId, FromChain, ToChain};

use crate::counters::Counters;
use crate::lane::Room;
use crate::shared::{EngineEnd, Shared};
use crate::sync::{Arc, Fd, Ordering};
use crate::waker::Waker;
use crate::workers::PackingCounts;

/// What a sleeping loop is to be woken for, beside the calls of a [`Waker`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Commands on the lane from the chain. A loop that holds them back does not want them: what
    /// is on the lane does not keep it awake, though a newer one may wake it.
    pub commands: bool,
    /// Room on the lane to the chain: half of it.
    pub room: bool,
}

/// The engine's end of the bridge, owned by its thread.
///
/// In each turn: [`pop`](Self::pop) and [`push`](Self::push) as far as there is
/// [`room`](Self::room), then [`chain_waits`](Self::chain_waits); before a wait
/// [`prepare_sleep`](Self::prepare_sleep), after it [`awake`](Self::awake). Dropping it ends the
/// engine for the chain: as a panic if the thread is panicking, else as stopped.
pub struct LoopSide {
    shared: Arc<Shared>,
    /// Something was pushed since the chain's sleep was last looked at.
    pushed: bool,
    /// Pushed and not handed over yet: bounded by the lane, on which each has its place.
    late: VecDeque<ToChain>,
    /// Threads of the workers; they end before this does.
    workers: Vec<JoinHandle<()>>,
}

impl LoopSide {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pushed: false, late: VecDeque::new(), workers: Vec::new() }
    }

    #[cfg(not(loom))]
    pub(crate) fn joins(&mut self, worker: JoinHandle<()>) {
        self.workers.push(worker);
    }

    /// What the lane to the chain still takes, without the places kept for events that wait for no
    /// room ([`EVENTS_RESERVED`](peer::EVENTS_RESERVED)). Between own pushes it only grows.
    #[must_use]
    pub fn room(&self) -> Room {
        if self.chain_gone() {
            return self.shared.to_chain.bounds();
        }
        self.shared.to_chain.room()
    }

    /// Whether at least half of the lane to the chain is free: what a starved loop waits for.
    #[must_use]
    pub fn is_half_free(&self) -> bool {
        self.chain_gone() || self.shared.to_chain.is_half_free()
    }

    /// Hands an event to the chain. If the chain is gone, the event is dropped.
    ///
    /// An envelope goes to a worker, and the chain gets what it holds; if it does not hold what it
    /// says, [`pop`](Self::pop) tells [`FromChain::BadEnvelope`]. What comes behind it from the
    /// same connection, or behind it in the row of blocks that the chain wants, waits for it.
    ///
    /// # Panics
    ///
    /// If there is no [`room`](Self::room) for it, nor a kept place.
    pub fn push(&mut self, event: ToChain) {
        if self.chain_gone() {
            return;
        }
        let bytes = event.bytes();
        let reserved = self.shared.to_chain.reserve(bytes);
        assert!(reserved, "pushed without room on the lane to the chain");
        if self.late.is_empty() && self.shared.workers.passes(&event) {
            self.shared.to_chain.commit(event, bytes);
            self.pushed = true;
        } else {
            self.late.push_back(event);
            self.hand_over(false);
        }
    }

    /// What jobs are under way for, or may be, goes where it belongs, unless a worker is at that
    /// place just now.
    fn hand_over(&mut self, waits: bool) {
        if self.late.is_empty() {
            return;
        }
        let Self { shared, pushed, late, .. } = self;
        shared.workers.on_way_out(late, waits, |event, bytes| {
            shared.to_chain.commit(event, bytes);
            *pushed = true;
        });
    }

    /// This connection opens envelopes: what is delivered to it is worth packing.
    pub fn opens(&self, conn: ConnId) {
        self.shared.workers.note_opener(conn);
    }

    /// So many peers open envelopes now: what is spread is worth packing if any does.
    pub fn set_openers(&self, count: u64) {
        self.shared.workers.set_openers(count);
    }

    /// What the workers have done, and have to do.
    #[must_use]
    pub fn packing_counts(&self) -> PackingCounts {
        self.shared.workers.counts()
    }

    /// Once a turn, after the pushes: whether the chain sleeps and something is there for it. The
    /// caller adds one to [`chain_fd`](Self::chain_fd) then, which it will not be told again.
    #[must_use]
    pub fn chain_waits(&mut self) -> bool {
        self.hand_over(false);
        // An empty lane: the chain took everything before it fell asleep.
        std::mem::take(&mut self.pushed)
            && !self.shared.to_chain.is_empty()
            && self.shared.chain_waker.take_sleep()
    }

    /// The eventfd that the chain sleeps on.
    #[must_use]
    pub fn chain_fd(&self) -> Fd<'_> {
        self.shared.chain_waker.fd()
    }

    /// Takes the oldest command of the chain; bad envelopes come before all.
    pub fn pop(&mut self) -> Option<FromChain> {
        let Some(bad) = self.shared.workers.take_bad() else { return self.shared.from_chain.pop() };
        self.shared.to_chain.give_back(1, 0);
        Some(bad)
    }

    /// The eventfd that the loop sleeps on. It need not be read: each wake adds one, and a
    /// multishot poll reports each addition.
    #[must_use]
    pub fn wake_fd(&self) -> Fd<'_> {
        self.shared.loop_waker.fd()
    }

    /// Announces the sleep and looks a last time; whether the loop may sleep. From then on
    /// [`wake_fd`](Self::wake_fd) is written when a command comes, when a [`Waker`] calls, when
    /// the chain is dropped, and, if room is wanted, when at least half of the lane to the chain
    /// is free.
    #[must_use]
    pub fn prepare_sleep(&mut self, wanted: Wanted) -> bool {
        // Handed over only now, the chain may have to be woken for it: not before another turn.
        let late = !self.late.is_empty();
        self.hand_over(false);
        let shared = &self.shared;
        shared.loop_starved.store(wanted.room, Ordering::Relaxed);
        shared.loop_waker.announce();
        let called = shared.loop_waker.take_called();
        let here = !shared.from_chain.is_empty() || shared.workers.has_bad();
        let commands = wanted.commands && here;
        let room = wanted.room && shared.to_chain.is_half_free();
        let may_sleep = !called && !commands && !room && !late;
        if !may_sleep {
            self.awake();
        }
        may_sleep
    }

    /// After the wait: no wakes are needed any more. What was left for the loop, by whoever
    /// called its [`Waker`], is to be looked at after this.
    pub fn awake(&mut self) {
        self.shared.loop_waker.awake();
        self.shared.loop_starved.store(false, Ordering::Relaxed);
        self.shared.loop_waker.take_called();
    }

    /// For those who leave something for the loop elsewhere than on the lane.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.shared.loop_waker.clone()
    }

    /// Whether the [`ChainSide`](crate::ChainSide) was dropped. Publishers may be left.
    #[must_use]
    pub fn chain_gone(&self) -> bool {
        self.shared.is_chain_gone()
    }

    /// The shared numbers.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Tells the chain how the engine ended, after what is on its lane or on its way there.
    /// Commands that the loop has not taken are dropped.
    pub fn end(mut self, end: EngineEnd) {
        self.finish(end);
    }

    fn finish(&mut self, end: EngineEnd) {
        self.hand_over(true);
        self.shared.workers.stop();
        for worker in self.workers.drain(..) {
            // One that panicked has said so itself.
            drop(worker.join());
        }
        self.shared.finish(end);
    }
}

impl Drop for LoopSide {
    fn drop(&mut self) {
        self.finish(if std::thread::panicking() {
            EngineEnd::Panicked("its thread unwound".to_owned())
        } else {
            EngineEnd::Stopped
        });
    }
}
