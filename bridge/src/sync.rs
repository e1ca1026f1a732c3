//! Where atomics, storage and eventfds come from, so that a model checker can stand in for them.
//!
//! Ordinarily they are std's, crossbeam's and the kernel's. Under `--cfg loom` they are loom's,
//! and the things that loom cannot see into are replaced: the storage of a lane by a mutexed
//! `VecDeque`, the eventfd by a counter with a condition variable, the lock of the workers by
//! loom's. What the model proves is our own protocol around them; that the crossbeam queue, the
//! eventfd and the lock keep their word is theirs.
//!
//! Numbers that order nothing (counts, hints) stay std's in the model too.

pub(crate) use std::sync::atomic::AtomicU64 as Hint;

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    pub(crate) use crossbeam_queue::ArrayQueue as Queue;
    use parking_lot::{Condvar, Mutex};

    pub(crate) use crate::event::Event;

    pub(crate) type Guard<'a, T> = parking_lot::MutexGuard<'a, T>;

    /// A value behind a lock, and who waits for it to change.
    #[derive(Default)]
    pub(crate) struct Monitor<T> {
        value: Mutex<T>,
        changed: Condvar,
    }

    impl<T> Monitor<T> {
        pub(crate) fn lock(&self) -> Guard<'_, T> {
            self.value.lock()
        }

        /// `None`: somebody holds it.
        pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.value.try_lock()
        }

        pub(crate) fn wait<'a>(&'a self, mut guard: Guard<'a, T>) -> Guard<'a, T> {
            self.changed.wait(&mut guard);
            guard
        }

        pub(crate) fn wake_one(&self) {
            self.changed.notify_one();
        }

        pub(crate) fn wake_all(&self) {
            self.changed.notify_all();
        }
    }

    /// The file descriptor of an eventfd, lent.
    pub type Fd<'a> = std::os::fd::BorrowedFd<'a>;
}

#[cfg(not(loom))]
pub use real::Fd;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
pub use model::Fd;
#[cfg(loom)]
pub(crate) use model::*;

#[cfg(loom)]
mod model {
    use std::collections::VecDeque;
    use std::io;
    use std::time::Duration;

    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    use loom::sync::{Condvar, Mutex};

    pub(crate) type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

    /// In the place of the other one.
    #[derive(Default)]
    pub(crate) struct Monitor<T> {
        value: Mutex<T>,
        changed: Condvar,
    }

    impl<T> Monitor<T> {
        pub(crate) fn lock(&self) -> Guard<'_, T> {
            self.value.lock().unwrap()
        }

        /// Waits for whoever holds it: one who tries again and again never ends in the model.
        pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
            Some(self.lock())
        }

        pub(crate) fn wait<'a>(&'a self, guard: Guard<'a, T>) -> Guard<'a, T> {
            self.changed.wait(guard).unwrap()
        }

        pub(crate) fn wake_one(&self) {
            self.changed.notify_one();
        }

        pub(crate) fn wake_all(&self) {
            self.changed.notify_all();
        }
    }

    /// In the place of a file descriptor.
    pub type Fd<'a> = &'a Event;

    /// In the place of crossbeam's queue.
    pub(crate) struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> Queue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.items.lock().unwrap().is_empty()
        }
    }

    /// In the place of an eventfd.
    pub struct Event {
        count: Mutex<u64>,
        raised: Condvar,
    }

    impl Event {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self { count: Mutex::new(0), raised: Condvar::new() })
        }

        pub(crate) fn fd(&self) -> Fd<'_> {
            self
        }

        /// Adds one.
        pub fn add(&self) {
            *self.count.lock().unwrap() += 1;
            self.raised.notify_all();
        }

        /// Sets the count to zero.
        pub fn clear(&self) {
            *self.count.lock().unwrap() = 0;
        }

        /// Waits until the count is not zero. The model knows no time.
        pub fn wait(&self, _timeout: Option<Duration>) {
            let mut count = self.count.lock().unwrap();
            while *count == 0 {
                count = self.raised.wait(count).unwrap();
            }
        }
    }
}
