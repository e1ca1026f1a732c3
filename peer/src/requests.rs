//! What a peer and the chain have asked of each other, and what it costs: a part of a session.
//!
//! Requests of the chain are remembered until they are answered. Requests of the peer cost bytes:
//! each class has a bucket, which is charged when an answer leaves. Because an answer comes later
//! than its request, and may never come, a request pledges when it goes to the chain what its
//! answer usually costs at most, and the answer gives the pledge back. So a peer that asks for
//! everything at once is bounded as one that asks in turn.
//!
//! Most peers never ask: what only few need is allocated when it is needed.

use std::collections::VecDeque;

use codec::{Hash, Kind, Limits, Payload, SegmentId};

use crate::archives::Sending;
use crate::assembly::Progress;
use crate::chain::Request;
use crate::config::{
    ARCHIVE_PIECE_BYTES_MAX, ARCHIVE_PIECES_WANTED_MAX, Config, REQUEST_MEMORY,
    REQUESTS_PER_PEER_MAX, REQUESTS_WAITING_MAX,
};
use crate::departed::Purse;
use crate::rates::{Rate, TokenBucket};
use crate::time::Instant;

/// What comes beyond the rate of small messages has that rate once more, with so many bursts: a
/// peer that exceeds it is flooding. Who is a little too fast, however long, is not.
const FLOOD_BURSTS: u64 = 10;

/// Messages that wait for the pace of a peer. grin's own queue holds 100.
const DELAYED_MAX: usize = 64;

/// Bytes of these; one is let in whatever its size. As much as the default burst of one class.
const DELAYED_BYTES_MAX: usize = 8 << 20;

/// What a transaction pledges. Guess: some times one of two inputs and two outputs. A larger one
/// is paid for when it leaves.
const TRANSACTION_PLEDGE: u64 = 32 << 10;

/// The requests that share a rate: each class costs us something else to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Headers,
    Blocks,
    Transactions,
    Segments,
    Archive,
    /// Bodies of messages of topics.
    Gossip,
}

impl Class {
    pub(crate) const ALL: [Self; 6] = [
        Self::Headers,
        Self::Blocks,
        Self::Transactions,
        Self::Segments,
        Self::Archive,
        Self::Gossip,
    ];

    pub(crate) const fn of_request(request: &Request) -> Self {
        match request {
            Request::Headers(_) => Self::Headers,
            Request::Block(_) | Request::CompactBlock(_) | Request::Blocks { .. } => Self::Blocks,
            Request::Transaction(_) => Self::Transactions,
            Request::TxHashSet { .. } => Self::Archive,
            Request::OutputBitmapSegment(_)
            | Request::OutputSegment(_)
            | Request::RangeProofSegment(_)
            | Request::KernelSegment(_) => Self::Segments,
        }
    }

    /// The class that a delivery of this kind is an answer of.
    pub(crate) const fn of_answer(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Headers => Some(Self::Headers),
            Kind::Header | Kind::Block | Kind::CompactBlock => Some(Self::Blocks),
            Kind::Transaction => Some(Self::Transactions),
            Kind::TxHashSetArchive => Some(Self::Archive),
            Kind::OutputBitmapSegment
            | Kind::OutputSegment
            | Kind::RangeProofSegment
            | Kind::KernelSegment => Some(Self::Segments),
            _ => None,
        }
    }

    /// What a request pledges: the largest answer that the protocol calls nominal.
    pub(crate) const fn pledge(self, limits: &Limits) -> u64 {
        let kind = match self {
            Self::Headers => Kind::Headers,
            Self::Blocks => Kind::Block,
            Self::Segments => Kind::KernelSegment,
            Self::Transactions => return TRANSACTION_PLEDGE,
            Self::Gossip => return codec::limits::GOSSIP_DATA_BYTES_MAX as u64,
            Self::Archive => return (ARCHIVE_PIECES_WANTED_MAX * ARCHIVE_PIECE_BYTES_MAX) as u64,
        };
        limits.body_bytes_max(kind) / codec::limits::NOMINAL_FACTOR
    }
}

/// A request of the chain to a peer that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// Kind of the answer.
    pub(crate) kind: Kind,
    pub(crate) wanted: Wanted,
    pub(crate) at: Instant,
}

/// What an answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Only the chain can tell: headers, an archive.
    Any,
    Id(Hash),
    Segment(SegmentId),
}

impl Asked {
    fn is_remembered(&self, now: Instant) -> bool {
        now.since(self.at) < REQUEST_MEMORY
    }
}

/// What became of a request of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// It may go to the chain now.
    Now,
    /// Its class is in debt, or others of its class wait.
    Later,
}

/// The part of a session that is about requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    asked: Vec<Asked>,
    /// Small messages that it may still send.
    messages: TokenBucket,
    /// Those beyond, of which it may send some.
    beyond: TokenBucket,
    /// Addresses that it may still tell us.
    pub(crate) addresses: TokenBucket,
    /// Messages that we may still send it, where that is counted.
    pace: TokenBucket,
    /// How the frame that is being assembled gets on.
    pub(crate) progress: Progress,
    account: Option<Box<Account>>,
}

const _: () = assert!(size_of::<Requests>() <= 144, "every peer has one");

/// What only a peer has that asked for something, or with which an archive is exchanged.
#[derive(Debug, Default)]
pub(crate) struct Account {
    answers: [TokenBucket; Class::ALL.len()],
    /// Parts of our pool that it may still be told.
    pub(crate) parts: TokenBucket,
    /// Bytes that we may still open for it unasked.
    pub(crate) unpacking: TokenBucket,
    /// Requests that the chain has, by class: each has pledged.
    pledged: [u32; Class::ALL.len()],
    /// At most [`REQUESTS_WAITING_MAX`].
    waiting: VecDeque<Request>,
    delayed: VecDeque<Payload>,
    delayed_bytes: usize,
    /// Whether it stands in the list of those for whom something goes to the chain.
    pub(crate) is_listed: bool,
    /// Whether the chain was told that it asks for an archive, and has not begun to send one.
    pub(crate) wants_archive: bool,
    pub(crate) sending: Option<Sending>,
    /// Bytes of the archive that came so far, while one comes.
    pub(crate) receiving: Option<u64>,
}

impl Requests {
    /// Its host begins, or begins again, with this.
    pub(crate) fn open(&mut self, purse: &Purse) {
        (self.messages, self.addresses) = (purse.messages, purse.addresses);
        let Purse { answers, parts, unpacking, .. } = *purse;
        let none = TokenBucket::default();
        if answers.iter().chain([&parts, &unpacking]).any(|bucket| *bucket != none) {
            let account = self.account_mut();
            (account.answers, account.parts, account.unpacking) = (answers, parts, unpacking);
        }
    }

    /// What its host is left with.
    pub(crate) fn purse(&self) -> Purse {
        let mut purse =
            Purse { messages: self.messages, addresses: self.addresses, ..Purse::default() };
        if let Some(account) = &self.account {
            purse.answers = account.answers;
            (purse.parts, purse.unpacking) = (account.parts, account.unpacking);
        }
        purse
    }

    /// Notes a request of the chain. `false`: too many wait already, this one must not be sent.
    pub(crate) fn ask(&mut self, asked: Asked) -> bool {
        self.asked.retain(|old| old.is_remembered(asked.at));
        let room = self.asked.len() < REQUESTS_PER_PEER_MAX;
        if room {
            self.asked.push(asked);
        }
        room
    }

    /// Whether an answer of this kind is awaited.
    pub(crate) fn has_asked(&self, kind: Kind, now: Instant) -> bool {
        self.asked.iter().any(|asked| asked.kind == kind && asked.is_remembered(now))
    }

    /// Whether any answer is awaited.
    pub(crate) fn awaits(&self, now: Instant) -> bool {
        self.asked.iter().any(|asked| asked.is_remembered(now))
    }

    /// Whether an archive is on its way in either direction.
    pub(crate) fn has_archive(&self) -> bool {
        let account = self.account.as_deref();
        account.is_some_and(|account| account.sending.is_some() || account.receiving.is_some())
    }

    /// Whether an archive goes out to this peer.
    pub(crate) fn sends_archive(&self) -> bool {
        self.account.as_deref().is_some_and(|account| account.sending.is_some())
    }

    /// A request that was noted could not be sent.
    pub(crate) fn take_back(&mut self, asked: Asked) {
        if let Some(index) = self.asked.iter().rposition(|other| *other == asked) {
            self.asked.remove(index);
        }
    }

    /// Blocks that will not come.
    pub(crate) fn forget_blocks(&mut self, ids: &[Hash]) {
        let is_one = |asked: &Asked| {
            let named = |id: &Hash| asked.wanted == Wanted::Id(*id);
            asked.kind == Kind::Block && ids.iter().any(named)
        };
        self.asked.retain(|asked| !is_one(asked));
    }

    /// Takes the request that this answers. What was wanted decides, where it can: headers are
    /// asked for by a locator, and only the chain knows what an `opaque` segment is. `names` says
    /// whether the answer has this id too: a transaction has that of each of its kernels.
    pub(crate) fn answered(
        &mut self,
        kind: Kind,
        now: Instant,
        opaque: bool,
        answer: impl FnOnce() -> Wanted,
        names: impl Fn(Hash) -> bool,
    ) -> bool {
        if !self.has_asked(kind, now) {
            return false;
        }
        self.asked.retain(|asked| asked.is_remembered(now));
        let answer = answer();
        let fits = |asked: &Asked| asked.kind == kind && asked.wanted == answer;
        let may_fit = |asked: &Asked| {
            let unknown = match asked.wanted {
                Wanted::Any => true,
                Wanted::Id(id) => kind == Kind::Transaction && names(id),
                Wanted::Segment(_) => opaque,
            };
            asked.kind == kind && unknown
        };
        let found = self.asked.iter().position(fits);
        let found = found.or_else(|| self.asked.iter().position(may_fit));
        if let Some(index) = found {
            self.asked.remove(index);
            if self.asked.is_empty() {
                self.asked = Vec::new();
            }
        }
        found.is_some()
    }

    /// Whether a small message may be looked at now.
    pub(crate) fn admits_message(&self, rate: Rate, now: Instant) -> bool {
        self.messages.ready_at(rate, now) == now
    }

    /// One was looked at.
    pub(crate) fn charge_message(&mut self, rate: Rate, now: Instant) {
        self.messages.charge(1, rate, now);
    }

    /// One is passed over. If that is a flood, answers how many there were at least.
    pub(crate) fn pass_over_message(&mut self, rate: Rate, now: Instant) -> Option<u64> {
        let burst = rate.burst.saturating_mul(FLOOD_BURSTS);
        let flood = !self.beyond.take(1, Rate { burst, ..rate }, now);
        flood.then_some(burst)
    }

    /// This will not come, or is not wanted from here any more.
    pub(crate) fn give_up(&mut self, kind: Kind, id: Hash) {
        self.asked.retain(|asked| asked.kind != kind || asked.wanted != Wanted::Id(id));
    }

    /// A message of ours that may be left out: whether it may be sent.
    pub(crate) fn take_pace(&mut self, pace: Rate, now: Instant) -> bool {
        self.pace.take(1, pace, now)
    }

    /// A message of ours that is sent whatever the pace.
    pub(crate) fn charge_pace(&mut self, pace: Rate, now: Instant) {
        self.pace.charge(1, pace, now);
    }

    /// A message of ours that is to leave in its order: given back if it may leave now, kept if it
    /// must wait. `Err`: too many wait, and it is lost.
    pub(crate) fn pace(
        &mut self,
        payload: Payload,
        pace: Option<Rate>,
        now: Instant,
    ) -> Result<Option<Payload>, Payload> {
        let Some(pace) = pace else { return Ok(Some(payload)) };
        let none_waits = self.account.as_deref().is_none_or(|account| account.delayed.is_empty());
        if none_waits && self.pace.take(1, pace, now) {
            return Ok(Some(payload));
        }
        let account = self.account_mut();
        let bytes = account.delayed_bytes + payload.frame().len();
        let full = account.delayed.len() == DELAYED_MAX || bytes > DELAYED_BYTES_MAX;
        if full && !account.delayed.is_empty() {
            return Err(payload);
        }
        account.delayed_bytes = bytes;
        account.delayed.push_back(payload);
        Ok(None)
    }

    /// The next message that waited and may leave now.
    pub(crate) fn take_delayed(&mut self, pace: Rate, now: Instant) -> Option<Payload> {
        let account = self.account.as_deref_mut()?;
        if account.delayed.is_empty() || !self.pace.take(1, pace, now) {
            return None;
        }
        let payload = account.delayed.pop_front()?;
        account.delayed_bytes -= payload.frame().len();
        Some(payload)
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }

    pub(crate) fn known_account(&mut self) -> Option<&mut Account> {
        self.account.as_deref_mut()
    }

    pub(crate) fn account_mut(&mut self) -> &mut Account {
        self.account.get_or_insert_default()
    }

    /// When something here is due.
    pub(crate) fn deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        let account = self.account.as_deref()?;
        let (answers, pace) = (config.rates.answers, config.rates.grin_pace);
        let delayed = pace.filter(|_| !account.delayed.is_empty());
        let delayed = delayed.map(|pace| self.pace.ready_at(pace, now));
        let stalled = account.sending.as_ref().and_then(Sending::stalled_at);
        let chain = if account.is_listed { None } else { account.ready_at(answers, now) };
        [delayed, stalled, chain].into_iter().flatten().min()
    }
}

impl Account {
    pub(crate) fn bucket(&mut self, class: Class) -> &mut TokenBucket {
        &mut self.answers[class as usize]
    }

    /// Whether what it had of this class is paid for.
    pub(crate) fn is_ready(&self, class: Class, rate: Rate, now: Instant) -> bool {
        self.answers[class as usize].ready_at(rate, now) == now
    }

    fn waits(&self, class: Class) -> bool {
        self.waiting.iter().any(|request| Class::of_request(request) == class)
    }

    pub(crate) fn turn(&self, class: Class, rate: Rate, now: Instant) -> Turn {
        if self.is_ready(class, rate, now) && !self.waits(class) { Turn::Now } else { Turn::Later }
    }

    /// Keeps a request for later. `false`: enough wait.
    pub(crate) fn keep(&mut self, request: Request) -> bool {
        let room = self.waiting.len() < REQUESTS_WAITING_MAX;
        if room {
            self.waiting.push_back(request);
        }
        room
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// The first request that waited and whose class is out of debt.
    pub(crate) fn first_ready(&self, rate: Rate, now: Instant) -> Option<usize> {
        self.waiting.iter().position(|request| self.is_ready(Class::of_request(request), rate, now))
    }

    pub(crate) fn waiting(&self, index: usize) -> Option<&Request> {
        self.waiting.get(index)
    }

    pub(crate) fn take_waiting(&mut self, index: usize) {
        self.waiting.remove(index);
    }

    /// Whether there is something for the chain now.
    pub(crate) fn has_ready(&self, rate: Rate, now: Instant) -> bool {
        self.ready_at(rate, now).is_some_and(|at| at <= now)
    }

    /// When there will be something for the chain: a request whose class is out of debt, or the
    /// wish for a piece of an archive.
    fn ready_at(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let classes = Class::ALL.into_iter().filter(|class| {
            let wish = *class == Class::Archive && self.wish().is_some();
            wish || self.waits(*class)
        });
        classes.map(|class| self.answers[class as usize].ready_at(rate, now)).min()
    }

    /// The length of the piece that could be wanted next.
    pub(crate) fn wish(&self) -> Option<u32> {
        self.sending.as_ref().and_then(Sending::wish)
    }

    /// A request of this class goes to the chain.
    pub(crate) fn pledge(&mut self, class: Class, bytes: u64, rate: Rate, now: Instant) {
        self.pledged[class as usize] += 1;
        self.answers[class as usize].charge(bytes, rate, now);
    }

    /// An answer of this class: if it fulfils a pledge, that is given back.
    pub(crate) fn settle(
        &mut self,
        class: Class,
        bytes: u64,
        pledge: u64,
        rate: Rate,
        now: Instant,
    ) {
        let pledged = &mut self.pledged[class as usize];
        let fulfils = *pledged > 0;
        *pledged = pledged.saturating_sub(1);
        let bucket = &mut self.answers[class as usize];
        if fulfils {
            bucket.give_back(pledge, rate, now);
        }
        bucket.charge(bytes, rate, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_answered_is_not_awaited_for_ever() {
        let now = Instant::START;
        let mut requests = Requests::default();
        assert!(!requests.awaits(now));
        requests.ask(Asked { kind: Kind::Block, wanted: Wanted::Any, at: now });
        assert!(requests.awaits(now));
        assert!(!requests.awaits(now.after(REQUEST_MEMORY)));
    }

    #[test]
    fn another_transaction_is_no_answer() {
        let (now, hash) = (Instant::START, |byte| Hash([byte; 32]));
        let mut requests = Requests::default();
        requests.ask(Asked { kind: Kind::Transaction, wanted: Wanted::Id(hash(1)), at: now });
        let mut answered = |first, other: Option<Hash>| {
            let answer = || Wanted::Id(first);
            requests.answered(Kind::Transaction, now, false, answer, |id| other == Some(id))
        };
        assert!(!answered(hash(2), None), "it came by itself");
        assert!(answered(hash(2), Some(hash(1))), "it was asked for by its second kernel");
        assert!(!answered(hash(1), None), "nobody asks any more");
    }

    #[test]
    fn a_host_goes_on_with_what_it_was_left_with() {
        let (rates, now) = (crate::config::Rates::default(), Instant::START);
        let mut requests = Requests::default();
        requests.open(&Purse::of_newcomer(&rates, now));
        assert!(requests.account().is_none(), "most never ask");
        assert_eq!(requests.addresses.level(rates.addresses, now), 1);
        requests.charge_message(rates.messages, now);
        requests.account_mut().pledge(Class::Blocks, 1 << 20, rates.answers, now);
        let mut again = Requests::default();
        again.open(&requests.purse());
        assert_eq!(again.messages.level(rates.messages, now), 9_999);
        let level = again.account_mut().bucket(Class::Blocks).level(rates.answers, now);
        assert_eq!(level, 7 << 20);
    }
}
