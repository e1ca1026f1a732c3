//! Requests and answers: what peers ask of the chain and the chain of peers, within their rates.
//!
//! A request of a peer goes to the chain at once while the peer's class and the upload of all peers
//! are out of debt, waits for that among a few, or is passed over. Those whose turn has come stand
//! in one list, and go one by one in its order, as the lane has room: nobody waits behind the many
//! requests of another.
//!
//! Dropping a request never ends a connection: no answer is an answer in this protocol. Only a
//! flood of small messages far beyond their rate does.

use std::collections::VecDeque;

use codec::limits::RANGE_BYTES_MAX;
use codec::{Hash, Item, Kind, Locator, Message, Payload, PayloadFormat};

use crate::bans::Evidence;
use crate::chain::{FromChain, Request, Source, ToChain, Verdict};
use crate::config::{
    ARCHIVES_RECEIVED_MAX, ARCHIVES_SENT_MAX, EVENTS_RESERVED, REQUESTS_UNCREDITED_MAX,
};
use crate::departed::{Departed, Purse};
use crate::endpoint::{Endpoint, sealed};
use crate::event::{ConnId, Credit, Output, Recipients};
use crate::fault::Fault;
use crate::peer::{Peer, Session};
use crate::rates::{Rate, TokenBucket};
use crate::requests::{Asked, Class, Requests, Turn, Wanted};
use crate::time::Instant;

/// Largest payload of which it is noted that a peer got it on request. The note saves us from
/// relaying it to that peer later, and costs a fingerprint of all its bytes. What is larger is a
/// block that somebody catches up with, and is hardly ever relayed afterwards.
const NOTED_BYTES_MAX: usize = 64 << 10;

/// What serving all peers together needs.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    /// What may still be sent in answers to all peers.
    upload: TokenBucket,
    /// Peers of whom something is to go to the chain: each once, whoever waits longest first.
    listed: VecDeque<ConnId>,
    /// Events that went without a credit since one was last seen with room: the driver keeps
    /// [`EVENTS_RESERVED`] places, and a credit tells that they are free again.
    uncredited: usize,
    departed: Departed,
    pub(crate) archives_sent: usize,
    pub(crate) archives_received: usize,
    /// Archives that broke, of which the chain does not know yet. They keep their places among the
    /// sent and the received until it does, and so are as few.
    ended: VecDeque<(Source, Way)>,
}

/// Which way an archive went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Out,
    In,
}

/// What came of the wish to tell the chain something of a peer.
enum Served {
    /// It was told.
    Told,
    /// There is nothing to tell now.
    Nothing,
    /// The lane has no room for it.
    NoRoom,
}

impl Endpoint {
    /// A peer asks for something. `false`: no credit, not consumed.
    pub(crate) fn on_request(
        &mut self,
        conn: ConnId,
        request: Request,
        credit: &mut Credit,
    ) -> bool {
        if let Some((kind, id)) = request.names()
            && self.answer_from_recent(conn, kind, id)
        {
            return true;
        }
        let Some(from) = self.source(conn) else { return true };
        let (rate, now, owed) = (self.config.rates.answers, self.now, self.upload_owed());
        let Some(account) = self.requests_mut(conn).map(Requests::account_mut) else { return true };
        let class = Class::of_request(&request);
        if class == Class::Archive && account.sending.is_some() {
            self.counts.requests_refused += 1;
            return true;
        }
        if owed || account.turn(class, rate, now) == Turn::Later {
            if account.keep(request) {
                self.counts.requests_waiting += 1;
                self.list(conn);
                self.schedule(conn);
            } else {
                self.counts.requests_refused += 1;
            }
            return true;
        }
        let answers = self.answers_pledged(&request);
        let handed_over = self.hand_over(ToChain::Requested { from, request }, credit);
        if handed_over {
            self.pledge(conn, class, answers);
        }
        handed_over
    }

    /// Whether a small message may be looked at, or is to be passed over.
    pub(crate) fn admits_message(&mut self, conn: ConnId) -> Result<bool, Fault> {
        let (rate, now) = (self.config.rates.messages, self.now);
        let Some(requests) = self.requests_mut(conn) else { return Ok(true) };
        if requests.admits_message(rate, now) {
            return Ok(true);
        }
        let flood = requests.pass_over_message(rate, now);
        self.counts.messages_passed_over += 1;
        flood.map_or(Ok(false), |passed_over| Err(Fault::Flooding(passed_over)))
    }

    /// A small message was looked at.
    pub(crate) fn charge_message(&mut self, conn: ConnId) {
        let (rate, now) = (self.config.rates.messages, self.now);
        if let Some(requests) = self.requests_mut(conn) {
            requests.charge_message(rate, now);
        }
    }

    pub(crate) fn on_command(&mut self, command: FromChain) {
        if !self.is_ours(&command) {
            self.counts.commands_refused += 1;
            return;
        }
        match command {
            FromChain::Publish(payload) => self.spread(payload),
            FromChain::Verdict { from, payload, verdict } => {
                self.on_verdict(from, payload, verdict);
            }
            FromChain::Request { to, request } => {
                self.ask(to, &request);
            }
            FromChain::Deliver { to, payload } => self.deliver(to, payload),
            FromChain::SendArchive { to, archive } => self.send_archive(to, archive),
            FromChain::ArchivePiece { to, piece } => self.send_piece(to, piece),
            FromChain::GiveUpArchive { conn } => self.give_up_archive(conn),
            FromChain::Stem(payload) => self.stem(payload),
            FromChain::Settled { ids } => self.settle_stems(&ids),
            FromChain::Aggregated { batch, payload } => self.on_aggregated(batch, payload),
            FromChain::Fetch { kind, id } => self.fetch(kind, id),
            FromChain::FindHeaders { locator } => self.find_headers(&locator),
            FromChain::FetchBlocks { height, ids } => self.fetch_blocks(height, &ids),
            FromChain::CancelBlocks => self.cancel_blocks(),
            FromChain::Pool { ids } => self.on_pool(ids),
            FromChain::NotFound { to, kind, id } => self.not_found(to, kind, id),
            FromChain::Fork { conn } => self.on_fork(conn),
            FromChain::BadEnvelope { from, kind, id } => self.on_bad_envelope(from, kind, id),
            FromChain::Accuse { from, cause, note } => {
                self.ban_source(from, cause, Evidence { kind: None, bytes: 0, note });
            }
        }
    }

    fn on_verdict(&mut self, from: Source, payload: Payload, verdict: Verdict) {
        self.relay_judged(from, &payload, verdict);
        match verdict {
            Verdict::Accept => {
                self.on_valid(from, payload.kind());
                if payload.kind() == Kind::StemTransaction {
                    self.stem_on(from, payload);
                } else {
                    self.spread_from(payload, Some(from));
                }
            }
            Verdict::Keep => self.on_valid(from, payload.kind()),
            // It was never said to be seen.
            Verdict::Later if payload.kind() == Kind::StemTransaction => {}
            Verdict::Later => {
                self.relay.unsee(&payload);
                self.forget_envelope(&payload);
            }
            Verdict::Invalid => self.on_invalid(from, &payload),
        }
    }

    /// Whether what the chain wants sent, or judges, is a payload of this network: anything else
    /// would end the connections that it goes to.
    fn is_ours(&self, command: &FromChain) -> bool {
        let (payload, fits) = match command {
            FromChain::Publish(payload) => (payload, payload.kind().is_relay()),
            FromChain::Verdict { payload, .. } => (payload, !payload.is_piece()),
            FromChain::Stem(payload) => {
                (payload, matches!(payload.kind(), Kind::Transaction | Kind::StemTransaction))
            }
            FromChain::Aggregated { payload: Some(payload), .. } => {
                (payload, payload.kind() == Kind::StemTransaction)
            }
            // An archive's frame goes by `SendArchive` only: what follows it must be accounted for.
            FromChain::Deliver { payload, .. } => {
                (payload, payload.kind() != Kind::TxHashSetArchive)
            }
            FromChain::Request { .. }
            | FromChain::SendArchive { .. }
            | FromChain::GiveUpArchive { .. }
            | FromChain::Accuse { .. }
            | FromChain::Settled { .. }
            | FromChain::Aggregated { payload: None, .. }
            | FromChain::Fetch { .. }
            | FromChain::FindHeaders { .. }
            | FromChain::FetchBlocks { .. }
            | FromChain::CancelBlocks
            | FromChain::Pool { .. }
            | FromChain::NotFound { .. }
            | FromChain::Fork { .. }
            | FromChain::BadEnvelope { .. }
            | FromChain::ArchivePiece { .. } => return true,
        };
        fits && payload.frame().starts_with(&self.config.network.magic)
    }

    /// Asks a peer. Whether the question leaves, now or at its pace.
    pub(crate) fn ask(&mut self, to: ConnId, request: &Request) -> bool {
        let (message, kind, wanted) = question(request);
        if let Some((kind, id)) = request.names()
            && self.relaying.readers.contains(&to)
        {
            return self.want(to, Item { kind, id });
        }
        let (now, pace) = (self.now, self.pace_of(to));
        let full = kind == Kind::TxHashSetArchive
            && self.serving.archives_received + self.archives_asked() >= ARCHIVES_RECEIVED_MAX;
        let grin = self.config.network.format == PayloadFormat::Grin;
        let payload = sealed(&self.config.network, &message);
        let session = self.peers.get_mut(to).and_then(Peer::session_mut);
        let session = session.filter(|session| {
            // grin answers these to peers of version 3 and more only.
            let silent = grin
                && session.agreement.version <= 2
                && matches!(kind, Kind::Block | Kind::CompactBlock);
            !full && !silent
        });
        let asked = Asked { kind, wanted, at: now };
        let paced = session.map(|session| &mut session.requests).and_then(|requests| {
            if !requests.ask(asked) {
                return None;
            }
            let paced = requests.pace(payload, pace, now);
            if paced.is_err() {
                requests.take_back(asked);
            }
            paced.ok()
        });
        match paced {
            Some(payload) => {
                self.send_or_wait(to, payload);
                true
            }
            None => {
                self.counts.requests_unsent += 1;
                false
            }
        }
    }

    /// Asks a peer of ours for one thing, with all that it is asked for in this turn.
    fn want(&mut self, to: ConnId, item: Item) -> bool {
        let asked = Asked { kind: item.kind, wanted: Wanted::Id(item.id), at: self.now };
        let noted = self.requests_mut(to).is_some_and(|requests| requests.ask(asked));
        if !noted {
            self.counts.requests_unsent += 1;
        } else if self.relaying.batches.want(to, item) {
            self.send_batches();
        }
        noted
    }

    /// Asks a peer of ours for blocks of its chain in a row, each of which is awaited by itself.
    /// Whether the question leaves.
    pub(crate) fn ask_range(&mut self, to: ConnId, ids: &[Hash]) -> bool {
        let Some(first) = ids.first().copied() else { return false };
        let (now, count) = (self.now, ids.len() as u16);
        let range = Message::GetBlocks(codec::BlockRange { first, count });
        let payload = sealed(&self.config.network, &range);
        let asked = |id: &Hash| Asked { kind: Kind::Block, wanted: Wanted::Id(*id), at: now };
        let left = self.requests_mut(to).is_some_and(|requests| {
            let known = ids.iter().take_while(|id| requests.ask(asked(id))).count();
            if known < ids.len() {
                ids[..known].iter().for_each(|id| requests.take_back(asked(id)));
            }
            known == ids.len()
        });
        if left {
            self.send_or_wait(to, Some(payload));
        } else {
            self.counts.requests_unsent += 1;
        }
        left
    }

    /// A peer will not give these blocks: they are not awaited any more.
    pub(crate) fn unask(&mut self, of: ConnId, ids: &[Hash]) {
        if let Some(requests) = self.requests_mut(of) {
            requests.forget_blocks(ids);
        }
    }

    /// Archives that we asked for and that may still begin: each has its place among the received.
    fn archives_asked(&self) -> usize {
        let sessions = self.peers.iter().filter_map(|(_, peer)| peer.session());
        let asked =
            |session: &&Session| session.requests.has_asked(Kind::TxHashSetArchive, self.now);
        sessions.filter(asked).count()
    }

    pub(crate) fn deliver(&mut self, to: ConnId, payload: Payload) {
        let Some(session) = self.peers.get(to).and_then(Peer::session) else { return };
        let (version, slot) = (session.agreement.version, session.slot);
        let class = Class::of_answer(payload.kind());
        let sendable = if is_empty_headers(&payload) && !session.is_extended() {
            None
        } else {
            payload.convert(&self.config.network, version).ok()
        };
        let dressed = sendable.clone().map(|payload| self.dressed(to, payload));
        let bytes = dressed.as_ref().map_or(0, |payload| payload.frame().len());
        if let Some(class) = class {
            self.settle(to, class, bytes);
        }
        let note = |payload: &Payload| {
            payload.kind().is_relay() && payload.frame().len() <= NOTED_BYTES_MAX
        };
        if let Some(payload) = sendable.as_ref().filter(|payload| note(payload)) {
            self.relay.mark(slot, payload);
        }
        let (now, pace) = (self.now, self.pace_of(to));
        let paced = dressed
            .zip(self.requests_mut(to))
            .and_then(|(payload, requests)| requests.pace(payload, pace, now).ok());
        match paced {
            Some(payload) => {
                self.charge_upload(bytes as u64);
                self.send_or_wait(to, payload);
            }
            None => self.counts.answers_withheld += 1,
        }
        self.serve(to);
    }

    /// The pace of all that goes to this peer.
    fn pace_of(&self, conn: ConnId) -> Option<Rate> {
        let session = self.peers.get(conn).and_then(Peer::session);
        session.and_then(|session| session.pace(self.config.rates.grin_pace))
    }

    /// Sends what its pace lets through; what it kept is looked for at its time.
    fn send_or_wait(&mut self, to: ConnId, payload: Option<Payload>) {
        match payload {
            Some(payload) => {
                self.outbox.push_back(Output::Send { to: Recipients::One(to), payload });
            }
            None => self.schedule(to),
        }
    }

    /// Counts a message that is sent whatever the pace.
    pub(crate) fn charge_pace(&mut self, conn: ConnId) {
        let (pace, now) = (self.pace_of(conn), self.now);
        if let Some((pace, requests)) = pace.zip(self.requests_mut(conn)) {
            requests.charge_pace(pace, now);
        }
    }

    pub(crate) fn requests_mut(&mut self, conn: ConnId) -> Option<&mut Requests> {
        self.peers.get_mut(conn)?.session_mut().map(|session| &mut session.requests)
    }

    /// For how many answers a request pledges: for one, or for as many large blocks as a range may
    /// be answered with. Each answer gives one pledge back, so that a range of three blocks or more
    /// holds up nothing once its first are there.
    fn answers_pledged(&self, request: &Request) -> u32 {
        let Request::Blocks { count, .. } = request else { return 1 };
        let one = Class::Blocks.pledge(&self.config.network.limits).max(1);
        let most = (RANGE_BYTES_MAX as u64 / one).max(1);
        u32::from(*count).min(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// A request went to the chain: its answers are paid for in advance.
    fn pledge(&mut self, conn: ConnId, class: Class, answers: u32) {
        let (rate, now) = (self.config.rates.answers, self.now);
        let bytes = class.pledge(&self.config.network.limits);
        if let Some(account) = self.requests_mut(conn).map(Requests::account_mut) {
            account.wants_archive |= class == Class::Archive;
            for _ in 0..answers {
                account.pledge(class, bytes, rate, now);
            }
        }
    }

    /// An answer of the chain: its peer is charged for it, and gets its pledge back.
    pub(crate) fn settle(&mut self, conn: ConnId, class: Class, bytes: usize) {
        let (rate, now) = (self.config.rates.answers, self.now);
        let (pledge, bytes) = (class.pledge(&self.config.network.limits), bytes as u64);
        if let Some(requests) = self.requests_mut(conn) {
            requests.account_mut().settle(class, bytes, pledge, rate, now);
        }
    }

    /// Sends an answer, whatever the pace.
    pub(crate) fn send_answer(&mut self, conn: ConnId, payload: Payload) {
        self.charge_upload(payload.frame().len() as u64);
        self.send(conn, payload);
    }

    /// Something leaves that counts for the upload of all peers. Never in advance, as a peer
    /// pledges: who asks for what nobody answers would use up what others are to get.
    pub(crate) fn charge_upload(&mut self, bytes: u64) {
        if let Some(rate) = self.config.rates.upload {
            self.serving.upload.charge(bytes, rate, self.now);
        }
    }

    /// Whether the answers to all peers together are in debt.
    pub(crate) fn upload_owed(&self) -> bool {
        let rate = self.config.rates.upload;
        rate.is_some_and(|rate| self.serving.upload.ready_at(rate, self.now) > self.now)
    }

    /// When those on the list can be served again, if the upload keeps them waiting.
    pub(crate) fn serving_deadline(&self) -> Option<Instant> {
        let rate = self.config.rates.upload.filter(|_| !self.serving.listed.is_empty())?;
        let at = self.serving.upload.ready_at(rate, self.now);
        (at > self.now).then_some(at)
    }

    /// Something of one peer changed: looks after it, and tells the chain what there is.
    pub(crate) fn serve(&mut self, conn: ConnId) {
        if self.look_after(conn) {
            self.serve_listed(None);
        }
    }

    /// Looks after one peer: messages that its pace kept, and what is to go to the chain, which is
    /// only listed here. Whether it was.
    pub(crate) fn look_after(&mut self, conn: ConnId) -> bool {
        if self.close_stalled(conn) {
            return false;
        }
        let (pace, now) = (self.config.rates.grin_pace, self.now);
        let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else {
            return false;
        };
        if let Some(pace) = pace {
            while let Some(payload) = session.requests.take_delayed(pace, now) {
                self.outbox.push_back(Output::Send { to: Recipients::One(conn), payload });
            }
        }
        let listed = self.list(conn);
        self.schedule(conn);
        listed
    }

    /// Puts a peer on the list if something of it is to go to the chain now, and it is not there.
    fn list(&mut self, conn: ConnId) -> bool {
        let (rate, now) = (self.config.rates.answers, self.now);
        let account = self.requests_mut(conn).and_then(Requests::known_account);
        let ready = account.filter(|account| !account.is_listed && account.has_ready(rate, now));
        let Some(account) = ready else { return false };
        account.is_listed = true;
        self.serving.listed.push_back(conn);
        true
    }

    /// A receive came with this credit; what it left is for those who waited.
    pub(crate) fn serve_with(&mut self, credit: &mut Credit) {
        if credit.items > 0 && self.has_events() {
            self.tell_waiting(credit);
            self.serve_listed(Some(credit));
        }
    }

    /// Something for the chain that no receive has to do with: it goes with the next credit. Who
    /// calls bounds how many wait.
    pub(crate) fn tell_later(&mut self, event: ToChain) {
        self.events.push_back(event);
    }

    /// Tells the chain what waited, as far as there is room.
    fn tell_waiting(&mut self, credit: &mut Credit) {
        while let Some(event) = self.events.pop_front() {
            if !credit.allows(event.bytes()) {
                self.events.push_front(event);
                return;
            }
            self.hand_over(event, credit);
        }
        while let Some(event) = self.next_block(|event| credit.allows(event.bytes())) {
            self.hand_over(event, credit);
        }
    }

    /// The lane has room, though nothing was received.
    pub(crate) fn on_room(&mut self, mut credit: Credit) {
        self.note_credit(&credit);
        self.serve_with(&mut credit);
    }

    /// Whether something is to go to the chain now, if only there is room.
    pub(crate) fn has_events(&self) -> bool {
        let Serving { listed, ended, .. } = &self.serving;
        !ended.is_empty()
            || (!listed.is_empty() && !self.upload_owed())
            || !self.events.is_empty()
            || self.has_blocks()
    }

    /// A credit with room tells that all places kept for events without a credit are free.
    pub(crate) const fn note_credit(&mut self, credit: &Credit) {
        if credit.items > 0 {
            self.serving.uncredited = 0;
        }
    }

    /// Tells the chain what is to be told, one event of a peer after the other, until nothing is
    /// left or the lane is full. Without a credit, a few tell that it is: some events need more
    /// room than others, but a walk along all who wait would be theirs to cause. Whoever was
    /// looked at goes behind those who were not.
    pub(crate) fn serve_listed(&mut self, mut credit: Option<&mut Credit>) {
        while let Some((from, way)) = self.serving.ended.front().copied() {
            if !self.tell_chain(ToChain::ArchiveBroken { from }, credit.as_deref_mut()) {
                return;
            }
            self.serving.ended.pop_front();
            match way {
                Way::Out => self.serving.archives_sent -= 1,
                Way::In => self.serving.archives_received -= 1,
            }
        }
        let mut without_room = 0;
        while without_room < self.serving.listed.len().min(REQUESTS_UNCREDITED_MAX)
            && !self.upload_owed()
        {
            let Some(conn) = self.serving.listed.pop_front() else { return };
            match self.serve_one(conn, credit.as_deref_mut()) {
                Served::Told => {
                    without_room = 0;
                    self.serving.listed.push_back(conn);
                }
                Served::NoRoom if credit.is_some() => {
                    return self.serving.listed.push_front(conn);
                }
                Served::NoRoom => {
                    without_room += 1;
                    self.serving.listed.push_back(conn);
                }
                Served::Nothing => {
                    let account = self.requests_mut(conn).and_then(Requests::known_account);
                    if let Some(account) = account {
                        account.is_listed = false;
                    }
                    self.schedule(conn);
                }
            }
        }
    }

    fn serve_one(&mut self, conn: ConnId, mut credit: Option<&mut Credit>) -> Served {
        match self.want_piece(conn, credit.as_deref_mut()) {
            Some(true) => return Served::Told,
            Some(false) => return Served::NoRoom,
            None => {}
        }
        let (rate, now) = (self.config.rates.answers, self.now);
        let Some(from) = self.source(conn) else { return Served::Nothing };
        let Some(account) = self.requests_mut(conn).and_then(Requests::known_account) else {
            return Served::Nothing;
        };
        let Some(index) = account.first_ready(rate, now) else { return Served::Nothing };
        let Some(request) = account.waiting(index).cloned() else { return Served::Nothing };
        let (class, answers) = (Class::of_request(&request), self.answers_pledged(&request));
        if !self.tell_chain(ToChain::Requested { from, request }, credit) {
            return Served::NoRoom;
        }
        if let Some(account) = self.requests_mut(conn).and_then(Requests::known_account) {
            account.take_waiting(index);
        }
        self.counts.requests_waiting -= 1;
        self.pledge(conn, class, answers);
        self.hand_out(conn);
        Served::Told
    }

    /// Tells the chain something that no receive has to do with: under a credit if there is one,
    /// else in one of the places that the driver keeps. What carries a list needs a credit.
    pub(crate) fn tell_chain(&mut self, event: ToChain, credit: Option<&mut Credit>) -> bool {
        if let Some(credit) = credit {
            return self.hand_over(event, credit);
        }
        let ends = ARCHIVES_SENT_MAX + ARCHIVES_RECEIVED_MAX;
        let share = match event {
            ToChain::ArchiveBroken { .. } => EVENTS_RESERVED,
            ToChain::PieceWanted { .. } => EVENTS_RESERVED - ends,
            _ => REQUESTS_UNCREDITED_MAX,
        };
        let room = self.serving.uncredited < share && event.bytes() == 0;
        if room {
            self.serving.uncredited += 1;
            self.outbox.push_back(Output::ToChain(event));
        }
        room
    }

    /// The handshake is done: the host goes on with what it left behind, if it was here.
    pub(crate) fn begin_requests(&mut self, conn: ConnId) {
        let (locality, rates, now) = (self.config.locality, self.config.rates, self.now);
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let host = locality.host(peer.addr);
        if let Some(session) = peer.session_mut() {
            let purse = self.serving.departed.take(host);
            session.requests.open(&purse.unwrap_or_else(|| Purse::of_newcomer(&rates, now)));
        }
    }

    /// The peer is gone: its requests too, and the chain is told of archives that broke.
    pub(crate) fn forget_requests(&mut self, from: Source, requests: &Requests) {
        let host = self.config.locality.host(from.addr);
        self.serving.departed.leave(host, requests.purse(), &self.config.rates, self.now);
        let Some(account) = requests.account() else { return };
        self.counts.requests_waiting -= account.waiting_count() as u64;
        if account.is_listed {
            self.serving.listed.retain(|conn| *conn != from.conn);
        }
        if account.sending.is_some() {
            self.serving.ended.push_back((from, Way::Out));
        }
        if account.receiving.is_some() {
            self.serving.ended.push_back((from, Way::In));
        }
        self.serve_listed(None);
    }
}

/// A request as a message, the kind of its answer, and what that must be.
fn question(request: &Request) -> (Message<'_>, Kind, Wanted) {
    match request {
        Request::Headers(locator) => {
            (Message::GetHeaders(Locator::new(locator)), Kind::Headers, Wanted::Any)
        }
        Request::Block(id) => (Message::GetBlock(*id), Kind::Block, Wanted::Id(*id)),
        Request::CompactBlock(id) => {
            (Message::GetCompactBlock(*id), Kind::CompactBlock, Wanted::Id(*id))
        }
        Request::Transaction(id) => {
            (Message::GetTransaction(*id), Kind::Transaction, Wanted::Id(*id))
        }
        Request::TxHashSet { block, height } => {
            let request = codec::ArchiveRequest { block: *block, height: *height };
            (Message::TxHashSetRequest(request), Kind::TxHashSetArchive, Wanted::Any)
        }
        Request::OutputBitmapSegment(id) => {
            (Message::GetOutputBitmapSegment(*id), Kind::OutputBitmapSegment, Wanted::Segment(*id))
        }
        Request::OutputSegment(id) => {
            (Message::GetOutputSegment(*id), Kind::OutputSegment, Wanted::Segment(*id))
        }
        Request::RangeProofSegment(id) => {
            (Message::GetRangeProofSegment(*id), Kind::RangeProofSegment, Wanted::Segment(*id))
        }
        Request::KernelSegment(id) => {
            (Message::GetKernelSegment(*id), Kind::KernelSegment, Wanted::Segment(*id))
        }
        Request::Blocks { first, count } => {
            let range = codec::BlockRange { first: *first, count: *count };
            (Message::GetBlocks(range), Kind::Block, Wanted::Id(*first))
        }
    }
}

/// A Headers without a header: the count alone. It would end the connection of a grin peer; one of
/// ours learns from it that it need not wait.
pub(crate) fn is_empty_headers(payload: &Payload) -> bool {
    payload.kind() == Kind::Headers && matches!(payload.body(), [] | [0] | [0, 0])
}
