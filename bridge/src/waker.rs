//! Wakers: an eventfd that is written only when the other side has announced its sleep.
//!
//! The sleeper announces, fences, and looks a last time at everything it waits for. Whoever has
//! something for it puts that in place, fences, and looks whether a sleep is announced. Of the two
//! looks the second sees what the first side wrote, so no wake is lost; the announcement is taken
//! back by the one who writes, so one sleep costs one write.

use std::io;

use crate::sync::{Arc, AtomicBool, Event, Fd, Ordering, fence};

/// Wakes one thread, from any thread.
///
/// [`Waker::wake`] is for those who have left something for the sleeper elsewhere than on a lane.
#[derive(Clone)]
pub struct Waker(Arc<Inner>);

struct Inner {
    /// The sleep is announced, and nobody has written since.
    asleep: AtomicBool,
    /// `wake` was called, and the sleeper has not heard it yet.
    called: AtomicBool,
    event: Event,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            asleep: AtomicBool::new(false),
            called: AtomicBool::new(false),
            event: Event::new()?,
        })))
    }

    /// Wakes the thread, or keeps it from falling asleep once. Writes the eventfd only if it
    /// sleeps. What the caller did before is seen by the thread when it is awake.
    pub fn wake(&self) {
        self.0.called.store(true, Ordering::Release);
        self.notify();
    }

    /// Wakes the sleeper if it sleeps. For what it looks at itself, once its sleep is announced.
    pub(crate) fn notify(&self) {
        if self.take_sleep() {
            self.0.event.add();
        }
    }

    /// Whether the sleeper sleeps; if so, the caller must see to it that the eventfd is written.
    pub(crate) fn take_sleep(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with the one in `announce`
        let asleep = &self.0.asleep;
        // A failure writes nothing: it must not be taken for an answer to a later announcement.
        asleep.load(Ordering::Relaxed)
            && asleep.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Writes the eventfd whether or not somebody sleeps: for the last words of a side.
    pub(crate) fn force(&self) {
        self.0.event.add();
    }

    pub(crate) fn fd(&self) -> Fd<'_> {
        self.0.event.fd()
    }

    pub(crate) fn event(&self) -> &Event {
        &self.0.event
    }

    /// The sleeper will sleep. It must look at everything once more now, before it does.
    pub(crate) fn announce(&self) {
        self.0.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `take_sleep`
    }

    /// The sleeper is awake, and needs no waking.
    pub(crate) fn awake(&self) {
        // A swap, so that whoever took this announcement did so before the next one is made.
        self.0.asleep.swap(false, Ordering::AcqRel);
    }

    /// Whether `wake` was called since this was asked last.
    pub(crate) fn take_called(&self) -> bool {
        self.0.called.swap(false, Ordering::Acquire)
    }
}
