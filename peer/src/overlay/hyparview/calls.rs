//! What waits for a connection or an answer: requests for a link, and replies to shuffles.
//!
//! Owned by the machine. Each call has a deadline, so that nobody is waited for without end; a dial
//! that is overdue is given up here and may still come. Invariants: one call and one letter a peer,
//! no more of them than the constants say.

use std::net::SocketAddr;

use codec::HyParViewMessage;

use crate::time::Instant;

/// Most requests for a link at once. As many as a large active view is refilled with in parallel.
const CALLS_MAX: usize = 32;

/// Most of them that others brought about: newcomers to be taken in. Half, so that what they say
/// does not keep a node from looking after itself.
const ADOPTIONS_MAX: usize = 16;

/// Most replies to shuffles that wait for a connection. The origin of a shuffle is what a stranger
/// said: it makes us dial no more than these within a timeout.
const LETTERS_MAX: usize = 8;

/// Why somebody is asked for a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// There is a free place.
    Fill,
    /// We are not in yet, or too few links stand and the passive view is exhausted.
    Rejoin,
    /// A newcomer to be taken in, or a sampler to be visited: room is made for it.
    Adopt,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The connection is to come.
    Dialing,
    /// The request of this epoch was sent.
    Asked { epoch: u64 },
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) peer: SocketAddr,
    pub(super) why: Why,
    pub(super) phase: Phase,
    pub(super) deadline: Instant,
}

/// A message for somebody to whom a connection is to come.
#[derive(Debug)]
struct Letter {
    to: SocketAddr,
    message: HyParViewMessage,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    letters: Vec<Letter>,
}

impl Calls {
    /// Requests for a link under way.
    pub(super) const fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether a contact is asked now.
    pub(super) fn is_rejoining(&self) -> bool {
        self.calls.iter().any(|call| call.why == Why::Rejoin)
    }

    /// Whether one more may begin.
    pub(super) fn has_room(&self, why: Why) -> bool {
        let adoptions = || self.calls.iter().filter(|call| call.why == Why::Adopt).count();
        self.calls.len() < CALLS_MAX && (why != Why::Adopt || adoptions() < ADOPTIONS_MAX)
    }

    pub(super) fn get(&self, peer: SocketAddr) -> Option<&Call> {
        self.calls.iter().find(|call| call.peer == peer)
    }

    pub(super) fn get_mut(&mut self, peer: SocketAddr) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.peer == peer)
    }

    pub(super) fn push(&mut self, call: Call) {
        self.calls.push(call);
    }

    pub(super) fn remove(&mut self, peer: SocketAddr) -> Option<Call> {
        let index = self.calls.iter().position(|call| call.peer == peer)?;
        Some(self.calls.remove(index))
    }

    /// One whose deadline has passed.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<Call> {
        self.letters.retain(|letter| letter.deadline > now);
        let index = self.calls.iter().position(|call| call.deadline <= now)?;
        Some(self.calls.remove(index))
    }

    /// Whether a dial to it is under way.
    pub(super) fn is_dialing(&self, peer: SocketAddr) -> bool {
        let by_call = self.get(peer).is_some_and(|call| call.phase == Phase::Dialing);
        by_call || self.letters.iter().any(|letter| letter.to == peer)
    }

    /// Whether its connection is needed.
    pub(super) fn needs(&self, peer: SocketAddr) -> bool {
        self.get(peer).is_some() || self.is_dialing(peer)
    }

    /// Keeps a message until the connection is there; whether there was room.
    pub(super) fn write(
        &mut self,
        to: SocketAddr,
        message: HyParViewMessage,
        deadline: Instant,
    ) -> bool {
        let has_room =
            self.letters.len() < LETTERS_MAX && !self.letters.iter().any(|letter| letter.to == to);
        if has_room {
            self.letters.push(Letter { to, message, deadline });
        }
        has_room
    }

    /// What was kept for it.
    pub(super) fn take_letter(&mut self, to: SocketAddr) -> Option<HyParViewMessage> {
        let index = self.letters.iter().position(|letter| letter.to == to)?;
        Some(self.letters.remove(index).message)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let calls = self.calls.iter().map(|call| call.deadline);
        calls.chain(self.letters.iter().map(|letter| letter.deadline)).min()
    }

    /// Forgets everything; whom a request was sent to.
    pub(super) fn clear(&mut self) -> Vec<SocketAddr> {
        self.letters.clear();
        let asked = self.calls.drain(..).filter(|call| call.phase != Phase::Dialing);
        asked.map(|call| call.peer).collect()
    }

    #[cfg(test)]
    pub(super) fn check(&self, now: Instant) {
        assert!(self.calls.len() <= CALLS_MAX && self.letters.len() <= LETTERS_MAX);
        assert!(self.deadline().is_none_or(|deadline| deadline > now), "something is overdue");
        for call in &self.calls {
            let twins = self.calls.iter().filter(|other| other.peer == call.peer);
            assert_eq!(twins.count(), 1, "two calls to {}", call.peer);
        }
    }
}
