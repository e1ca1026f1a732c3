//! What must keep its order while jobs are under way: one line for each key that has a job.
//!
//! Whoever stands behind a job waits until it is done; whoever has a key without a line waits for
//! nothing and is not here. Pure: no lanes, no threads.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use peer::{ConnId, Freshness, FromChain, ToChain, Verdict};

/// Whose order an item keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    /// What comes from one connection, or goes to it.
    Conn(ConnId),
    /// To the chain, the blocks that it wants in a row; from it, what is spread.
    Row,
}

impl Key {
    /// `None`: an event that has no place among others.
    pub(crate) const fn of_event(event: &ToChain) -> Option<Self> {
        match event {
            ToChain::Payload { freshness: Freshness::Next, .. } | ToChain::Missing { .. } => {
                Some(Self::Row)
            }
            ToChain::Payload { from, .. }
            | ToChain::Announced { from, .. }
            | ToChain::Requested { from, .. }
            | ToChain::ArchiveBegins { from, .. }
            | ToChain::ArchivePiece { from, .. }
            | ToChain::ArchiveBroken { from }
            | ToChain::PieceWanted { from, .. } => Some(Self::Conn(from.conn)),
            ToChain::Behind { .. }
            | ToChain::NoHeaders
            | ToChain::Fluffed { .. }
            | ToChain::Aggregate { .. }
            | ToChain::PoolWanted => None,
        }
    }

    /// `None`: a command that has no place among others.
    pub(crate) const fn of_command(command: &FromChain) -> Option<Self> {
        match command {
            FromChain::Deliver { to, .. } => Some(Self::Conn(*to)),
            FromChain::Publish(_) | FromChain::Verdict { verdict: Verdict::Accept, .. } => {
                Some(Self::Row)
            }
            FromChain::Verdict { .. }
            | FromChain::Stem(_)
            | FromChain::Settled { .. }
            | FromChain::Aggregated { .. }
            | FromChain::Fetch { .. }
            | FromChain::FindHeaders { .. }
            | FromChain::FetchBlocks { .. }
            | FromChain::CancelBlocks
            | FromChain::Pool { .. }
            | FromChain::NotFound { .. }
            | FromChain::Fork { .. }
            | FromChain::BadEnvelope { .. }
            | FromChain::Request { .. }
            | FromChain::SendArchive { .. }
            | FromChain::GiveUpArchive { .. }
            | FromChain::Accuse { .. }
            | FromChain::ArchivePiece { .. } => None,
        }
    }
}

/// The place of a job in its line: how many entered the line before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

/// All lines of one direction. A key has a line only while a job of it is under way, or what it
/// made waits for an earlier one: as long as all in it hold room on a lane, the lane bounds it.
pub(crate) struct Lines<T>(BTreeMap<Key, Line<T>>);

struct Line<T> {
    /// How many have left it.
    left: u64,
    places: VecDeque<Place<T>>,
}

enum Place<T> {
    /// A job is under way for it.
    Working,
    /// May leave, once it is the first. `None`: nothing came of the job.
    Ready(Option<T>),
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Lines<T> {
    /// A job begins: it gets the last place of its line.
    pub(crate) fn begin(&mut self, key: Key) -> Ticket {
        let line = self
            .0
            .entry(key)
            .or_insert_with(|| Line { left: 0, places: VecDeque::with_capacity(1) });
        line.places.push_back(Place::Working);
        Ticket(line.left + line.places.len() as u64 - 1)
    }

    /// An item that needs no job gets the last place of its line; without one it need not wait, and
    /// comes back.
    pub(crate) fn stand(&mut self, key: Key, item: T) -> Result<(), T> {
        let Some(line) = self.0.get_mut(&key) else { return Err(item) };
        line.places.push_back(Place::Ready(Some(item)));
        Ok(())
    }

    /// The job with this ticket is done.
    pub(crate) fn done(&mut self, key: Key, ticket: Ticket, item: Option<T>) {
        let place = self.0.get_mut(&key).and_then(|line| {
            let at = usize::try_from(ticket.0.checked_sub(line.left)?).ok()?;
            line.places.get_mut(at)
        });
        match place {
            Some(place @ Place::Working) => *place = Place::Ready(item),
            Some(Place::Ready(_)) | None => panic!("a job without a place"),
        }
    }

    /// Takes the first of a line, if it may leave. `Some(None)`: nothing had come of its job.
    pub(crate) fn leave(&mut self, key: Key) -> Option<Option<T>> {
        let line = self.0.get_mut(&key)?;
        match line.places.pop_front()? {
            Place::Ready(item) => {
                line.left += 1;
                if line.places.is_empty() {
                    self.0.remove(&key);
                }
                Some(item)
            }
            Place::Working => {
                line.places.push_front(Place::Working);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Key = Key::Conn(ConnId::new(1, 1));

    #[test]
    fn who_stands_behind_a_job_waits_and_nobody_else() {
        let mut lines = Lines::default();
        assert_eq!(lines.stand(ONE, 0), Err(0));
        let job = lines.begin(ONE);
        assert_eq!(lines.stand(ONE, 2), Ok(()));
        assert_eq!(lines.stand(Key::Row, 9), Err(9));
        assert_eq!(lines.stand(Key::Conn(ConnId::new(1, 2)), 9), Err(9), "another use of the slot");
        assert_eq!(lines.leave(ONE), None);
        lines.done(ONE, job, Some(1));
        assert_eq!(lines.leave(ONE), Some(Some(1)));
        assert_eq!(lines.leave(ONE), Some(Some(2)));
        assert_eq!(lines.leave(ONE), None);
        assert_eq!(lines.stand(ONE, 3), Err(3), "an empty line is none");
    }

    #[test]
    fn jobs_may_end_in_any_order_and_leave_in_that_of_their_beginning() {
        let mut lines = Lines::default();
        let jobs = [0, 1, 2].map(|_| lines.begin(ONE));
        lines.done(ONE, jobs[2], Some(2));
        lines.done(ONE, jobs[0], Some(0));
        assert_eq!(lines.leave(ONE), Some(Some(0)));
        assert_eq!(lines.leave(ONE), None);
        let last = lines.begin(ONE);
        lines.done(ONE, last, Some(3));
        lines.done(ONE, jobs[1], None);
        let left: Vec<_> = std::iter::from_fn(|| lines.leave(ONE)).collect();
        assert_eq!(left, [None, Some(2), Some(3)]);
    }
}
