//! Archives of unspent outputs, in and out: raw bytes between the frames, in pieces.
//!
//! In: behind the frame that announces one, each piece goes to the chain as it comes, under the
//! credit of its receive. Nothing is stored here, so its length costs us nothing, and other peers
//! are not held up by it.
//!
//! Out: the chain is asked for a few pieces ahead of those that have left, as its peer's rate and
//! ours allow. What is out of the chain's hands is so bounded by the window, whatever the length.
//! Until the last piece has left nothing else can pass to that peer, and so nothing is relayed to
//! it.
//!
//! Places for archives are few, so both ways have a least rate, [`FRAME_RATE_MIN`]: who comes or
//! reads more slowly gives its place to another, however steadily it goes on.

use std::time::Duration;

use codec::{Archive, Kind, Message, Payload};

use crate::chain::{Source, ToChain};
use crate::config::{
    ARCHIVE_BYTES_MAX, ARCHIVE_PIECE_BYTES_MAX, ARCHIVE_PIECES_WANTED_MAX, ARCHIVE_STALL,
    ARCHIVES_SENT_MAX, FRAME_RATE_MIN,
};
use crate::endpoint::{Endpoint, sealed};
use crate::event::{CloseReason, ConnId, Credit, Output, Recipients};
use crate::fault::Fault;
use crate::peer::Peer;
use crate::requests::Class;
use crate::time::Instant;

const PIECE: u64 = ARCHIVE_PIECE_BYTES_MAX as u64;

/// An archive that comes has its least rate over each stretch of so many bytes: a fast beginning
/// buys no slow end. As a frame of that length it may take 10 s longer; so it is long beside that.
const STRETCH: u64 = 1 << 20;

/// What reading a piece may take.
const PIECE_TIME: Duration = Duration::from_millis(PIECE * 1_000 / FRAME_RATE_MIN);

/// An archive that goes out to a peer. Each byte of it is wanted, then given, then sent.
#[derive(Debug)]
pub(crate) struct Sending {
    bytes: u64,
    wanted: u64,
    given: u64,
    /// Pieces that were given and have not left.
    queued: usize,
    /// When it last got on: since then it waits for the peer while pieces are queued, else for the
    /// chain while some are wanted.
    moved: Instant,
    /// How far the peer is behind the least rate.
    behind: Duration,
}

impl Sending {
    const fn new(bytes: u64, now: Instant) -> Self {
        Self { bytes, wanted: 0, given: 0, queued: 0, moved: now, behind: Duration::ZERO }
    }

    /// Pieces that were wanted and have not left.
    const fn under_way(&self) -> usize {
        (self.wanted - self.given).div_ceil(PIECE) as usize + self.queued
    }

    /// The length of the piece that could be wanted next.
    pub(crate) fn wish(&self) -> Option<u32> {
        let length = (self.bytes - self.wanted).min(PIECE) as u32;
        (length > 0 && self.under_way() < ARCHIVE_PIECES_WANTED_MAX).then_some(length)
    }

    /// The next piece is wanted.
    fn want(&mut self, length: u32, now: Instant) {
        if self.under_way() == 0 {
            self.moved = now; // until here it was our own rates that held it up
        }
        self.wanted += u64::from(length);
    }

    /// The chain gives a piece. `false`: not one that was wanted.
    fn give(&mut self, length: usize, now: Instant) -> bool {
        let expected = (self.wanted - self.given).min(PIECE);
        if expected == 0 || length as u64 != expected {
            return false;
        }
        self.given += expected;
        if self.queued == 0 {
            self.moved = now; // until here it was the chain
        }
        self.queued += 1;
        true
    }

    /// A piece has left. Whether it was the last.
    fn sent(&mut self, now: Instant) -> bool {
        self.queued = self.queued.saturating_sub(1);
        self.behind = (self.behind + now.since(self.moved)).saturating_sub(PIECE_TIME);
        self.moved = now;
        self.given == self.bytes && self.queued == 0
    }

    /// When it will have stood still for too long, or the peer be too far behind.
    pub(crate) fn stalled_at(&self) -> Option<Instant> {
        let behind = if self.queued > 0 { self.behind } else { Duration::ZERO };
        (self.under_way() > 0).then(|| self.moved.after(ARCHIVE_STALL.saturating_sub(behind)))
    }
}

impl Endpoint {
    /// The answer to our request for an archive: its bytes follow the frame.
    pub(crate) fn on_archive(
        &mut self,
        conn: ConnId,
        archive: Archive,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        let Some(from) = self.source(conn) else { return Ok(true) };
        if archive.bytes > ARCHIVE_BYTES_MAX {
            return Err(Fault::ArchiveTooLong(archive.bytes));
        }
        if !self.hand_over(ToChain::ArchiveBegins { from, archive }, credit) {
            return Ok(false);
        }
        let now = self.now;
        let Some(peer) = self.peers.get_mut(conn).filter(|_| archive.bytes > 0) else {
            return Ok(true);
        };
        peer.decoder.begin_attachment(archive.bytes);
        peer.begin_frame(now);
        peer.promise_frame(archive.bytes.min(STRETCH));
        if let Some(session) = peer.session_mut() {
            session.requests.account_mut().receiving = Some(0);
            self.serving.archives_received += 1;
        }
        self.schedule(conn);
        Ok(true)
    }

    /// Takes the next bytes of an archive, if it is in the middle of one. `false`: no credit.
    pub(crate) fn take_pieces(
        &mut self,
        conn: ConnId,
        rest: &mut &[u8],
        credit: &mut Credit,
    ) -> bool {
        while let Some(peer) = self.peers.get_mut(conn)
            && peer.decoder.attachment_bytes_missing() > 0
            && !rest.is_empty()
        {
            if !credit.allows(1) {
                return false;
            }
            let from = Source { conn, addr: peer.addr };
            let max = ARCHIVE_PIECE_BYTES_MAX.min(credit.bytes);
            let before = peer.decoder.attachment_bytes_missing();
            let bytes = peer.decoder.take_attachment(rest, max);
            let missing = peer.decoder.attachment_bytes_missing();
            let is_last = missing == 0;
            if missing.div_ceil(STRETCH) < before.div_ceil(STRETCH) {
                peer.begin_frame(self.now);
                peer.promise_frame(missing.min(STRETCH));
            }
            // It has no hands free for a pong.
            peer.lives(self.now);
            let account = peer.session_mut().and_then(|session| session.requests.known_account());
            let Some(account) = account else { return true };
            let offset = account.receiving.unwrap_or(0);
            account.receiving = (!is_last).then_some(offset + bytes.len() as u64);
            if is_last {
                self.serving.archives_received -= 1;
            }
            let event = ToChain::ArchivePiece { from, offset, bytes: bytes.into() };
            assert!(self.hand_over(event, credit), "the credit was looked at");
        }
        true
    }

    /// The chain begins to give a peer the archive that it asked for.
    pub(crate) fn send_archive(&mut self, to: ConnId, archive: Archive) {
        let full = self.serving.archives_sent == ARCHIVES_SENT_MAX;
        let Some(session) = self.peers.get_mut(to).and_then(Peer::session_mut) else {
            self.counts.commands_refused += 1;
            return;
        };
        let wanted = session
            .requests
            .known_account()
            .filter(|account| account.wants_archive && account.sending.is_none());
        let Some(account) = wanted.filter(|_| !full && archive.bytes <= ARCHIVE_BYTES_MAX) else {
            self.counts.commands_refused += 1;
            return;
        };
        account.wants_archive = false;
        if archive.bytes > 0 {
            account.sending = Some(Sending::new(archive.bytes, self.now));
            self.serving.archives_sent += 1;
        }
        let frame = sealed(&self.config.network, &Message::TxHashSetArchive(archive));
        self.settle(to, Class::Archive, frame.frame().len());
        self.send_answer(to, frame);
        self.serve(to);
    }

    /// The chain gives the next bytes of an archive.
    pub(crate) fn send_piece(&mut self, to: ConnId, piece: Payload) {
        let now = self.now;
        let session = self.peers.get_mut(to).and_then(Peer::session_mut);
        let account = session.and_then(|session| session.requests.known_account());
        let sending = account.and_then(|account| account.sending.as_mut());
        let length = piece.frame().len();
        if piece.is_piece() && sending.is_some_and(|sending| sending.give(length, now)) {
            self.outbox.push_back(Output::Send { to: Recipients::One(to), payload: piece });
        } else {
            self.counts.commands_refused += 1;
        }
    }

    /// A piece has left: there is room for another.
    pub(crate) fn on_piece_sent(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(conn) else { return };
        // Our pings wait behind the archive, so it cannot answer any.
        peer.lives(now);
        let account = peer.session_mut().and_then(|session| session.requests.known_account());
        let Some(account) = account else { return };
        let Some(sending) = &mut account.sending else { return };
        if sending.sent(now) {
            account.sending = None;
            self.serving.archives_sent -= 1;
        }
        self.serve(conn);
    }

    /// Wishes for the next piece of the archive that goes to this peer. `None`: it needs none now.
    /// `Some(false)`: no room on the lane.
    pub(crate) fn want_piece(&mut self, conn: ConnId, credit: Option<&mut Credit>) -> Option<bool> {
        let (rate, now) = (self.config.rates.answers, self.now);
        let from = self.source(conn)?;
        let account = self.peers.get_mut(conn)?.session_mut()?.requests.known_account()?;
        if account.bucket(Class::Archive).ready_at(rate, now) > now {
            return None;
        }
        let length = account.wish()?;
        let offset = account.sending.as_ref()?.wanted;
        if !self.tell_chain(ToChain::PieceWanted { from, offset, length }, credit) {
            return Some(false);
        }
        let account = self.peers.get_mut(conn)?.session_mut()?.requests.known_account()?;
        account.sending.as_mut()?.want(length, now);
        account.bucket(Class::Archive).charge(u64::from(length), rate, now);
        self.charge_upload(u64::from(length));
        Some(true)
    }

    /// The chain wants no more of an archive that it asked for, or has no more of one that it
    /// sends. The rest stands before all else on the connection, so that ends; nobody is blamed.
    pub(crate) fn give_up_archive(&mut self, conn: ConnId) {
        let session = self.peers.get(conn).and_then(Peer::session);
        let has_one = session.is_some_and(|session| {
            let requests = &session.requests;
            requests.has_archive() || requests.has_asked(Kind::TxHashSetArchive, self.now)
        });
        if has_one {
            self.close(conn, CloseReason::ArchiveGivenUp);
        } else {
            self.counts.commands_refused += 1;
        }
    }

    /// Closes a peer to which an archive stands still. Whether it did.
    pub(crate) fn close_stalled(&mut self, conn: ConnId) -> bool {
        let session = self.peers.get(conn).and_then(Peer::session);
        let sending =
            session.and_then(|session| session.requests.account()?.sending.as_ref()?.stalled_at());
        let stalled = sending.is_some_and(|at| at <= self.now);
        if stalled {
            self.close(conn, CloseReason::ArchiveStalled);
        }
        stalled
    }
}
