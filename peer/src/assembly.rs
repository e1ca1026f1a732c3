//! The memory of half-received frames: bounded for all peers together.
//!
//! When it is used up, the slowest gives way. Memory is held by who is slow, and only by who is
//! slow: a frame that comes fast is whole soon, and its memory free. So who would use up the memory
//! to have others cut off has to be faster than they are, with each of as many frames as the memory
//! holds (48 of the largest blocks by default), and then they are whole as soon. Who has been at it
//! longest would be the wrong one, since newer frames can be begun at will, and who holds most as
//! well: it is whoever is about to finish.
//!
//! The speed is that since the frame was begun or that of late, whichever is less: a burst at first
//! makes nobody fast for longer than two seconds. Frames just begun are spared while there
//! are others.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::event::ConnId;
use crate::fault::Fault;
use crate::peer::Peer;
use crate::time::Instant;

/// A frame younger than this has no speed worth the name. One round trip of the slowest path.
const GRACE: Duration = Duration::from_secs(1);

/// What "of late" means: at least this long, and at most twice as long while something comes. A
/// burst protects for so long, so it is short; but a lost packet must not make a fast peer slow.
const WINDOW: Duration = Duration::from_secs(1);

/// How the frame that a peer sends gets on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    begun: Instant,
    /// Two moments since then, the older one first, and the bytes that were here.
    marks: [(Instant, u32); 2],
}

impl Default for Progress {
    fn default() -> Self {
        Self::begin(Instant::START)
    }
}

impl Progress {
    /// A frame begins.
    pub(crate) const fn begin(now: Instant) -> Self {
        Self { begun: now, marks: [(now, 0); 2] }
    }

    /// So many bytes of it are here now.
    pub(crate) fn note(&mut self, now: Instant, bytes: usize) {
        let [_, newer] = self.marks;
        if now.since(newer.0) >= WINDOW {
            self.marks = [newer, (now, u32::try_from(bytes).unwrap_or(u32::MAX))];
        }
    }

    /// We did not read for this long.
    pub(crate) fn forgive(&mut self, pause: Duration, now: Instant) {
        self.begun = self.begun.after(pause).min(now);
        for (at, _) in &mut self.marks {
            *at = at.after(pause).min(now);
        }
    }

    fn is_new(&self, now: Instant) -> bool {
        now.since(self.begun) < GRACE
    }

    /// Bytes a second: since it was begun, or of late if that is less.
    fn speed(&self, now: Instant, bytes: usize) -> u64 {
        let [(at, before), _] = self.marks;
        let speed = |bytes: u64, time: Duration| bytes * 1_000_000 / (time.as_micros() as u64 + 1);
        let whole = speed(bytes as u64, now.since(self.begun));
        whole.min(speed((bytes as u64).saturating_sub(u64::from(before)), now.since(at)))
    }
}

impl Endpoint {
    /// Keeps the half-received frames of all peers within their memory.
    pub(crate) fn bound_assembly(&mut self) {
        while self.counts.assembly_bytes > self.config.assembly_bytes_max as u64 {
            let Some(conn) = self.slowest() else { return };
            self.on_fault(conn, &Fault::AssemblyFull);
        }
    }

    fn slowest(&self) -> Option<ConnId> {
        let holding = self.peers.iter().filter(|(_, peer)| peer.decoder.buffered_bytes() > 0);
        let speed = |peer: &Peer| {
            // While we do not read it, it cannot be fast.
            let at = peer.paused_since().unwrap_or(self.now);
            let here = peer.decoder.assembling().map_or(0, |(_, here, _)| here);
            let progress = peer.session().map(|session| session.requests.progress);
            // A greeting is too small to be worth it.
            progress.map_or((true, u64::MAX), |progress| {
                (progress.is_new(at), progress.speed(at, here))
            })
        };
        holding.map(|(conn, peer)| (speed(peer), conn)).min().map(|(_, conn)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn a_burst_makes_nobody_fast_for_long() {
        let mut progress = Progress::begin(at(0));
        assert!(progress.is_new(at(999)) && !progress.is_new(at(1_000)));
        progress.note(at(500), 4_000_000);
        assert!(progress.speed(at(1_000), 4_000_000) > 3_900_000);
        for second in 1..10 {
            progress.note(at(second * 1_000), 4_000_000 + second as usize * 40_000);
        }
        let speed = progress.speed(at(10_000), 4_400_000);
        assert!((30_000..50_000).contains(&speed), "{speed}");
    }

    #[test]
    fn a_steady_frame_has_one_speed() {
        let mut progress = Progress::begin(at(0));
        for tenth in 1..200 {
            let bytes = tenth as usize * 10_000;
            progress.note(at(tenth * 100), bytes);
            let speed = progress.speed(at(tenth * 100), bytes);
            assert!((99_000..=100_000).contains(&speed), "{tenth}: {speed}");
        }
    }

    #[test]
    fn a_late_start_counts_as_slow() {
        let mut progress = Progress::begin(at(0));
        progress.note(at(9_000), 11);
        progress.note(at(11_000), 2_000_000);
        assert!(progress.speed(at(12_000), 3_000_000) <= 250_000);
    }

    #[test]
    fn our_own_pauses_are_forgiven() {
        let mut progress = Progress::begin(at(0));
        progress.note(at(2_000), 200_000);
        progress.forgive(Duration::from_secs(60), at(62_000));
        let speed = progress.speed(at(63_000), 300_000);
        assert!((90_000..110_000).contains(&speed), "{speed}");
    }
}
