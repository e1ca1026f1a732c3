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

use codec::{Form, Hash, Kind, Locator, Message, Payload, PayloadFormat};

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
use crate::rates::TokenBucket;
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
        let handed_over = self.hand_over(ToChain::Requested { from, request }, credit);
        if handed_over {
            self.pledge(conn, class);
        }
        handed_over
    }

    pub(crate) fn on_announcement(
        &mut self,
        conn: ConnId,
        kind: Kind,
        id: Hash,
        credit: &mut Credit,
    ) -> bool {
        let Some(from) = self.source(conn) else { return true };
        self.hand_over(ToChain::Announced { from, kind, id }, credit)
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
            FromChain::Request { to, request } => self.ask(to, &request),
            FromChain::Deliver { to, payload } => self.deliver(to, payload),
            FromChain::SendArchive { to, archive } => self.send_archive(to, archive),
            FromChain::ArchivePiece { to, piece } => self.send_piece(to, piece),
            FromChain::GiveUpArchive { conn } => self.give_up_archive(conn),
            FromChain::Accuse { from, cause, note } => {
                self.ban_source(from, cause, Evidence { kind: None, bytes: 0, note });
            }
        }
    }

    fn on_verdict(&mut self, from: Source, payload: Payload, verdict: Verdict) {
        match verdict {
            Verdict::Accept => {
                self.on_valid(from, payload.kind());
                self.spread(payload);
            }
            Verdict::Later => self.relay.unsee(&payload),
            Verdict::Invalid => self.on_invalid(from, &payload),
        }
    }

    /// Whether what the chain wants sent, or judges, is a payload of this network: anything else
    /// would end the connections that it goes to.
    fn is_ours(&self, command: &FromChain) -> bool {
        let (payload, fits) = match command {
            FromChain::Publish(payload) => (payload, payload.kind().is_relay()),
            FromChain::Verdict { payload, .. } => (payload, !payload.is_piece()),
            // An archive's frame goes by `SendArchive` only: what follows it must be accounted for.
            FromChain::Deliver { payload, .. } => {
                (payload, payload.kind() != Kind::TxHashSetArchive)
            }
            FromChain::Request { .. }
            | FromChain::SendArchive { .. }
            | FromChain::GiveUpArchive { .. }
            | FromChain::Accuse { .. }
            | FromChain::ArchivePiece { .. } => return true,
        };
        fits && payload.frame().starts_with(&self.config.network.magic)
    }

    /// Sends a payload to all that lack it and can have it: as it is where all peers are alike,
    /// else once for each form of the protocol, within the pace of each, and to nobody to whom an
    /// archive is going out, behind which it would grow old.
    fn spread(&mut self, payload: Payload) {
        let pace = self.config.rates.grin_pace;
        if pace.is_none() && self.serving.archives_sent == 0 && self.relay.suits_all(&payload) {
            self.outbox.extend(self.relay.spread(payload));
            return;
        }
        let now = self.now;
        for form in Form::ALL {
            let count = self.relay.peers_of(form);
            if count == 0 {
                continue;
            }
            let Ok(copy) = payload.convert(&self.config.network, form.version()) else {
                self.counts.relay_withheld += count as u64;
                continue;
            };
            let Self { relay, peers, counts, .. } = self;
            let output = relay.spread_to(copy, |conn| {
                let Some(session) = peers.get_mut(conn).and_then(Peer::session_mut) else {
                    return false;
                };
                if Form::of_version(session.agreement.version) != form {
                    return false;
                }
                let admitted = !session.requests.sends_archive()
                    && pace.is_none_or(|pace| session.requests.take_pace(pace, now));
                counts.relay_withheld += u64::from(!admitted);
                admitted
            });
            self.outbox.extend(output);
        }
    }

    fn ask(&mut self, to: ConnId, request: &Request) {
        let (message, kind, wanted) = question(request);
        let (now, pace) = (self.now, self.config.rates.grin_pace);
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
            Some(payload) => self.send_or_wait(to, payload),
            None => self.counts.requests_unsent += 1,
        }
    }

    /// Archives that we asked for and that may still begin: each has its place among the received.
    fn archives_asked(&self) -> usize {
        let sessions = self.peers.iter().filter_map(|(_, peer)| peer.session());
        let asked =
            |session: &&Session| session.requests.has_asked(Kind::TxHashSetArchive, self.now);
        sessions.filter(asked).count()
    }

    fn deliver(&mut self, to: ConnId, payload: Payload) {
        let Some(session) = self.peers.get(to).and_then(Peer::session) else { return };
        let (version, slot) = (session.agreement.version, session.slot);
        let class = Class::of_answer(payload.kind());
        let sendable = if is_empty_headers(&payload) {
            None
        } else {
            payload.convert(&self.config.network, version).ok()
        };
        let bytes = sendable.as_ref().map_or(0, |payload| payload.frame().len());
        if let Some(class) = class {
            self.settle(to, class, bytes);
        }
        let note = |payload: &Payload| {
            payload.kind().is_relay() && payload.frame().len() <= NOTED_BYTES_MAX
        };
        if let Some(payload) = sendable.as_ref().filter(|payload| note(payload)) {
            self.relay.mark(slot, payload);
        }
        let (now, pace) = (self.now, self.config.rates.grin_pace);
        let paced = sendable
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
        let (pace, now) = (self.config.rates.grin_pace, self.now);
        if let Some((pace, requests)) = pace.zip(self.requests_mut(conn)) {
            requests.charge_pace(pace, now);
        }
    }

    fn requests_mut(&mut self, conn: ConnId) -> Option<&mut Requests> {
        self.peers.get_mut(conn)?.session_mut().map(|session| &mut session.requests)
    }

    /// A request went to the chain: its answer is paid for in advance.
    fn pledge(&mut self, conn: ConnId, class: Class) {
        let (rate, now) = (self.config.rates.answers, self.now);
        let bytes = class.pledge(&self.config.network.limits);
        if let Some(account) = self.requests_mut(conn).map(Requests::account_mut) {
            account.wants_archive |= class == Class::Archive;
            account.pledge(class, bytes, rate, now);
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
    fn upload_owed(&self) -> bool {
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
            self.serve_listed(Some(credit));
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
        !ended.is_empty() || (!listed.is_empty() && !self.upload_owed())
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
        let class = Class::of_request(&request);
        if !self.tell_chain(ToChain::Requested { from, request }, credit) {
            return Served::NoRoom;
        }
        if let Some(account) = self.requests_mut(conn).and_then(Requests::known_account) {
            account.take_waiting(index);
        }
        self.counts.requests_waiting -= 1;
        self.pledge(conn, class);
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
    }
}

/// A Headers without a header: the count alone. It would end the connection of a grin peer.
fn is_empty_headers(payload: &Payload) -> bool {
    payload.kind() == Kind::Headers && matches!(payload.body(), [] | [0] | [0, 0])
}
