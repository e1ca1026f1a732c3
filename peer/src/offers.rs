//! Who offers what, and who was asked for each thing that is wanted.
//!
//! Called by the relay: an announcement is noted here, and what the chain wants of it is asked of
//! one of those who announced it, and of the next when that one is late, gone or has it not.
//!
//! The table is bounded in marks: a mark is one peer's word that it has one item. Whoever is over
//! its share loses its own oldest mark, and when all marks are used up, whoever has most loses one:
//! so a peer that announces what does not exist pushes out its own announcements, and no other's.
//! An item without a mark, and without a request under way, is forgotten. Nothing here leaves a row
//! in the inventory: announcements are free for their senders, and rows are not.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Item, Kind};

use crate::chain::Source;
use crate::event::ConnId;
use crate::recent::Learnt;
use crate::seen::Sequence;
use crate::speed::Speed;
use crate::time::Instant;

/// Marks of one peer: as many as one Have may hold.
pub(crate) const MARKS_PER_PEER_MAX: usize = codec::limits::RECORDS_MAX;

/// Marks of all peers, 200 bytes each with their items: 13 MB at the worst.
pub(crate) const MARKS_MAX: usize = 65_536;

/// Peers of which it is kept that they have one item: more than are ever asked for it.
pub(crate) const ANNOUNCERS_MAX: usize = 32;

/// Items that are wanted at once. Guess: four times what one Have may hold. Whom each was asked of
/// takes 10 MB at the worst.
pub(crate) const FETCHES_MAX: usize = 4_096;

/// Peers that are tried for one item before it is missing: all whose word is kept, and as many who
/// came later or whose header told of it. So many bodies may come at the worst, from peers that
/// were slow one after the other.
pub(crate) const TRIED_MAX: usize = 2 * ANNOUNCERS_MAX;

/// One peer has the item. Marks count up, so that the lowest is the oldest.
#[derive(Clone, Copy, Debug)]
struct Mark {
    conn: ConnId,
    number: u64,
    /// Bytes of the body, as this peer says; 0 if it does not.
    bytes: u32,
}

/// A request that was not answered yet. Whoever had its time stays here: it may still answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Open {
    conn: ConnId,
    at: Instant,
}

/// What the chain wants of an item.
#[derive(Debug)]
struct Fetch {
    kind: Kind,
    /// Who was asked and is here, the oldest first: some of `tried`.
    open: Vec<Open>,
    /// Who was asked, or could not be, since the chain wanted it: at most [`TRIED_MAX`].
    tried: BTreeSet<ConnId>,
    /// When to ask another.
    due: Option<Instant>,
    /// Nobody is left, and this is the last wait.
    is_last_wait: bool,
    /// Whose answer is here, and is being opened or judged.
    answered_by: Option<ConnId>,
}

impl Fetch {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            open: Vec::new(),
            tried: BTreeSet::new(),
            due: None,
            is_last_wait: false,
            answered_by: None,
        }
    }
}

/// One item that somebody has, and that we have not, or that the chain has not judged yet.
#[derive(Debug)]
struct Entry {
    learnt: Learnt,
    /// At most [`ANNOUNCERS_MAX`], the oldest first.
    marks: Vec<Mark>,
    /// The row of a header or compact block that tells of it: who has that has the block.
    row: Option<Sequence>,
    /// Whether the chain knows of it.
    is_told: bool,
    /// Whether others were told that it is coming.
    is_coming: bool,
    fetch: Option<Fetch>,
}

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// The chain does not know of it.
    New,
    /// The chain knows of it, and does not want it now.
    Known,
    /// It is wanted, and there may have been nobody left to ask.
    Wanted,
}

/// What the departure of a mark or of a peer left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Another peer is to be asked for this item now.
    Ask(Item),
    /// This was wanted, and is nowhere to be had.
    Missing(Item, Kind),
}

/// Announcements by item, what the chain wants of them, and how fast whoever was asked answers.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    entries: BTreeMap<Item, Entry>,
    marks: BTreeMap<ConnId, BTreeMap<u64, Item>>,
    /// Peers by the number of their marks.
    ranks: BTreeSet<(usize, ConnId)>,
    mark_count: usize,
    next_mark: u64,
    fetch_count: usize,
    due: BTreeSet<(Instant, Item)>,
    speeds: BTreeMap<ConnId, Speed>,
    /// What evictions have left behind, to be taken with [`Offers::take_left`].
    left: Vec<Left>,
}

impl Offers {
    /// A peer says that it has this. `bytes` is 0 if it does not say how long it is.
    pub(crate) fn offer(&mut self, item: Item, from: Source, bytes: u32, now: Instant) -> Offered {
        let entry = self.entries.entry(item).or_insert_with(|| Entry {
            learnt: Learnt { from: Some(from), at: now },
            marks: Vec::new(),
            row: None,
            is_told: false,
            is_coming: false,
            fetch: None,
        });
        let offered = match (&entry.fetch, entry.is_told) {
            (Some(_), _) => Offered::Wanted,
            (None, true) => Offered::Known,
            (None, false) => Offered::New,
        };
        let conn = from.conn;
        if let Some(mark) = entry.marks.iter_mut().find(|mark| mark.conn == conn) {
            mark.bytes = if bytes > 0 { bytes } else { mark.bytes };
        } else if self.has_place(&item) {
            self.mark(item, conn, bytes);
        }
        offered
    }

    /// Whether one more may be kept who has this: who was tried in vain makes room for it.
    fn has_place(&mut self, item: &Item) -> bool {
        let Some(entry) = self.entries.get(item) else { return false };
        if entry.marks.len() < ANNOUNCERS_MAX {
            return true;
        }
        let Some(fetch) = &entry.fetch else { return false };
        let tried = entry.marks.iter().find(|mark| fetch.tried.contains(&mark.conn));
        let Some(Mark { conn, number, .. }) = tried.copied() else { return false };
        self.unmark(*item, conn, number);
        true
    }

    fn mark(&mut self, item: Item, conn: ConnId, bytes: u32) {
        let Some(entry) = self.entries.get_mut(&item) else { return };
        let number = self.next_mark;
        self.next_mark += 1;
        entry.marks.push(Mark { conn, number, bytes });
        let count = self.count_of(conn);
        self.marks.entry(conn).or_default().insert(number, item);
        self.rank(conn, count);
        self.mark_count += 1;
        if count + 1 > MARKS_PER_PEER_MAX {
            self.drop_oldest_of(conn);
        } else if self.mark_count > MARKS_MAX
            && let Some((_, most)) = self.ranks.last().copied()
        {
            self.drop_oldest_of(most);
        }
    }

    /// The chain knows of this now.
    pub(crate) fn told(&mut self, item: &Item) {
        if let Some(entry) = self.entries.get_mut(item) {
            entry.is_told = true;
        }
    }

    /// The chain does not have this after all, or not yet: it is to hear of the next who offers it.
    pub(crate) fn untold(&mut self, item: &Item) {
        if let Some(entry) = self.entries.get_mut(item) {
            entry.is_told = false;
        }
    }

    /// Whether others are to be told that this is coming: once for each item that is here.
    pub(crate) fn comes(&mut self, item: &Item) -> bool {
        self.entries.get_mut(item).is_some_and(|it| !std::mem::replace(&mut it.is_coming, true))
    }

    /// Whoever has this row has the item.
    pub(crate) fn tell_row(&mut self, item: &Item, row: Sequence) {
        if let Some(entry) = self.entries.get_mut(item) {
            entry.row.get_or_insert(row);
        }
    }

    /// The row that tells of this item, which is forgotten: others are about to get it from us.
    pub(crate) fn take_row(&mut self, item: &Item) -> Option<Sequence> {
        self.entries.get_mut(item)?.row.take()
    }

    pub(crate) fn row(&self, item: &Item) -> Option<Sequence> {
        self.entries.get(item)?.row
    }

    /// When this was first heard of, from whom, and how many say that they have it.
    pub(crate) fn learnt(&self, item: &Item) -> Option<(Learnt, usize)> {
        self.entries.get(item).map(|entry| (entry.learnt, entry.marks.len()))
    }

    pub(crate) fn announcers(&self, item: &Item) -> impl Iterator<Item = ConnId> + use<'_> {
        let marks = self.entries.get(item).map_or(&[][..], |entry| &entry.marks);
        marks.iter().map(|mark| mark.conn)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The chain wants this. `false`: it is not on offer, or too much is wanted.
    pub(crate) fn want(&mut self, item: &Item, kind: Kind) -> bool {
        let room = self.fetch_count < FETCHES_MAX;
        let Some(entry) = self.entries.get_mut(item).filter(|it| it.fetch.is_some() || room) else {
            return false;
        };
        entry.is_told = true;
        match &mut entry.fetch {
            Some(fetch) if fetch.kind == kind => fetch.answered_by = None,
            // Who gave a compact block, or is about to, may be asked for the block.
            Some(fetch) => {
                *fetch = Fetch { due: fetch.due, ..Fetch::new(kind) };
                self.wait(*item, None);
            }
            None => {
                self.fetch_count += 1;
                entry.fetch = Some(Fetch::new(kind));
            }
        }
        true
    }

    /// What is wanted of this item, and how many have not answered, if one peer more may be asked
    /// for it.
    pub(crate) fn wanted(&self, item: &Item) -> Option<(Kind, usize)> {
        let fetch = self.fetch(item).filter(|fetch| fetch.answered_by.is_none())?;
        (fetch.tried.len() < TRIED_MAX).then_some((fetch.kind, fetch.open.len()))
    }

    /// How long this is, by the middle one of the words of those who say it: a few liars move it
    /// little, and in a pair the longer one counts.
    pub(crate) fn bytes(&self, item: &Item) -> Option<u32> {
        let marks = self.entries.get(item).map_or(&[][..], |entry| &entry.marks);
        let mut words: Vec<u32> = marks.iter().map(|it| it.bytes).filter(|it| *it > 0).collect();
        words.sort_unstable();
        words.get(words.len() / 2).copied()
    }

    fn fetch(&self, item: &Item) -> Option<&Fetch> {
        self.entries.get(item)?.fetch.as_ref()
    }

    fn fetch_mut(&mut self, item: &Item) -> Option<&mut Fetch> {
        self.entries.get_mut(item)?.fetch.as_mut()
    }

    /// Whether it is wanted and nobody is asked, or nobody else could be until now.
    pub(crate) fn is_idle(&self, item: &Item) -> bool {
        let fetch = self.fetch(item).filter(|fetch| fetch.answered_by.is_none());
        fetch.is_some_and(|fetch| fetch.open.is_empty() || fetch.is_last_wait)
    }

    /// What is wanted of this item, answered or not.
    pub(crate) fn fetched_kind(&self, item: &Item) -> Option<Kind> {
        Some(self.fetch(item)?.kind)
    }

    /// Whether this peer was not asked yet.
    pub(crate) fn is_untried(&self, item: &Item, conn: ConnId) -> bool {
        self.fetch(item).is_some_and(|fetch| !fetch.tried.contains(&conn))
    }

    /// Whether we wait for this peer to give it.
    fn is_open(&self, item: &Item, conn: ConnId) -> bool {
        self.fetch(item).is_some_and(|fetch| fetch.open.iter().any(|open| open.conn == conn))
    }

    /// This peer is being asked now, and may take until `due`; `None`: it could not be asked.
    pub(crate) fn asked(&mut self, item: Item, conn: ConnId, now: Instant, due: Option<Instant>) {
        let Some(fetch) = self.fetch_mut(&item) else { return };
        fetch.tried.insert(conn);
        if let Some(due) = due {
            fetch.open.push(Open { conn, at: now });
            fetch.is_last_wait = false;
            self.wait(item, Some(due));
        }
    }

    /// There is nobody else to ask. Whether those who were asked may take until `until`; they may
    /// once.
    pub(crate) fn wait_last(&mut self, item: Item, until: Instant) -> bool {
        let Some(fetch) = self.fetch_mut(&item).filter(|fetch| !fetch.open.is_empty()) else {
            return false;
        };
        let before = std::mem::replace(&mut fetch.is_last_wait, true);
        if before {
            return fetch.due.is_some(); // it is not over
        }
        self.wait(item, Some(until));
        true
    }

    fn wait(&mut self, item: Item, due: Option<Instant>) {
        let Some(fetch) = self.fetch_mut(&item) else { return };
        if let Some(before) = std::mem::replace(&mut fetch.due, due) {
            self.due.remove(&(before, item));
        }
        self.due.extend(due.map(|due| (due, item)));
    }

    /// An answer of this peer is here, of this kind. Gives the others that were asked, who need not
    /// answer any more; the item stays on offer until it is settled, since the answer may be worth
    /// nothing.
    pub(crate) fn answered(
        &mut self,
        item: Item,
        given: Kind,
        conn: ConnId,
        bytes: usize,
        now: Instant,
    ) -> Vec<(Kind, ConnId)> {
        // A compact block is not the block; the block will do for its compact one.
        let fetch = self.fetch_mut(&item).filter(|it| given == it.kind || given == item.kind);
        let Some(fetch) = fetch else { return Vec::new() };
        let kind = fetch.kind;
        fetch.answered_by = Some(conn);
        let open = std::mem::take(&mut fetch.open);
        if fetch.tried.len() < TRIED_MAX {
            fetch.tried.insert(conn);
        }
        if let Some(answer) = open.iter().find(|open| open.conn == conn) {
            self.speeds.entry(conn).or_default().note(now.since(answer.at), bytes as u64);
        }
        self.wait(item, None);
        let others = open.into_iter().filter(|open| open.conn != conn);
        others.map(|open| (kind, open.conn)).collect()
    }

    /// The peer does not have it, or what it gave was worth nothing.
    pub(crate) fn refused(&mut self, item: Item, conn: ConnId) {
        let Some(entry) = self.entries.get_mut(&item) else { return };
        if let Some(fetch) = &mut entry.fetch {
            fetch.open.retain(|open| open.conn != conn);
            if fetch.answered_by == Some(conn) {
                fetch.answered_by = None;
            }
        }
        let mark = entry.marks.iter().find(|mark| mark.conn == conn);
        if let Some(number) = mark.map(|mark| mark.number) {
            self.unmark(item, conn, number);
        }
    }

    /// It is here, or not to be had: it is no longer on offer. Gives what was wanted of it, and the
    /// peers that were asked and have not answered.
    pub(crate) fn settle(&mut self, item: Item) -> Vec<(Kind, ConnId)> {
        let asked = self.end_fetch(item);
        if let Some(entry) = self.entries.remove(&item) {
            entry.marks.iter().for_each(|mark| self.forget_mark(mark.conn, mark.number));
        }
        asked
    }

    /// It is not wanted any more, or not now, and stays on offer. Gives the same.
    pub(crate) fn end_fetch(&mut self, item: Item) -> Vec<(Kind, ConnId)> {
        self.wait(item, None);
        let Some(entry) = self.entries.get_mut(&item) else { return Vec::new() };
        let Some(fetch) = entry.fetch.take() else { return Vec::new() };
        if entry.marks.is_empty() {
            self.entries.remove(&item);
        }
        self.fetch_count -= 1;
        fetch.open.into_iter().map(|open| (fetch.kind, open.conn)).collect()
    }

    /// The peer is gone. What is to be done about it is in [`Offers::take_left`].
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.speeds.remove(&conn);
        while self.drop_oldest_of(conn) {}
        let waited: Vec<Item> = self.due.iter().map(|(_, item)| *item).collect();
        for item in waited {
            if self.is_open(&item, conn) {
                self.refused(item, conn);
                self.left.push(Left::Ask(item));
            }
            if let Some(fetch) = self.fetch_mut(&item) {
                fetch.tried.remove(&conn); // who comes and goes uses up no tries
            }
        }
    }

    /// What evictions and departures left to do.
    pub(crate) fn take_left(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.left)
    }

    /// The next item for which somebody is late.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Item> {
        let (at, item) = self.due.first().copied()?;
        (at <= now).then(|| self.wait(item, None))?;
        Some(item)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn speed(&self, conn: ConnId) -> Speed {
        self.speeds.get(&conn).copied().unwrap_or_default()
    }

    fn count_of(&self, conn: ConnId) -> usize {
        self.marks.get(&conn).map_or(0, BTreeMap::len)
    }

    fn oldest_of(&self, conn: ConnId) -> Option<(u64, Item)> {
        let (number, item) = self.marks.get(&conn)?.first_key_value()?;
        Some((*number, *item))
    }

    /// Whether there was one.
    fn drop_oldest_of(&mut self, conn: ConnId) -> bool {
        let oldest = self.oldest_of(conn);
        if let Some((number, item)) = oldest {
            self.unmark(item, conn, number);
        }
        oldest.is_some()
    }

    /// One peer less has the item. Without any, and without an answer to wait for, it is forgotten.
    fn unmark(&mut self, item: Item, conn: ConnId, number: u64) {
        self.forget_mark(conn, number);
        let Some(entry) = self.entries.get_mut(&item) else { return };
        entry.marks.retain(|mark| mark.number != number);
        let idle = entry.fetch.as_ref().is_none_or(|fetch| fetch.open.is_empty());
        if !entry.marks.is_empty() || !idle {
            return;
        }
        let wanted = entry.fetch.as_ref().filter(|it| it.answered_by.is_none()).map(|it| it.kind);
        match wanted {
            // Others may have it: those who have the row.
            Some(_) if entry.row.is_some() => self.left.push(Left::Ask(item)),
            Some(kind) => {
                self.settle(item);
                self.left.push(Left::Missing(item, kind));
            }
            None => drop(self.settle(item)),
        }
    }

    fn forget_mark(&mut self, conn: ConnId, number: u64) {
        let before = self.count_of(conn);
        let Some(marks) = self.marks.get_mut(&conn) else { return };
        if marks.remove(&number).is_none() {
            return;
        }
        if marks.is_empty() {
            self.marks.remove(&conn);
        }
        self.mark_count -= 1;
        self.rank(conn, before);
    }

    /// The peer had `before` marks until now.
    fn rank(&mut self, conn: ConnId, before: usize) {
        self.ranks.remove(&(before, conn));
        let count = self.count_of(conn);
        if count > 0 {
            self.ranks.insert((count, conn));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use codec::Hash;

    use super::*;

    fn source(index: u32) -> Source {
        let addr = SocketAddr::from(([10, 0, 0, 1], 3414));
        Source { conn: ConnId::new(index, 1), addr }
    }

    fn item(number: u64) -> Item {
        Item { kind: Kind::Block, id: Hash::of(&number.to_be_bytes()) }
    }

    fn offer(offers: &mut Offers, number: u64, from: u32) -> Offered {
        offers.offer(item(number), source(from), 9, Instant::START)
    }

    /// The counts agree with what they count, and nothing hangs in the air.
    fn check(offers: &Offers) {
        let marks: usize = offers.marks.values().map(BTreeMap::len).sum();
        let marked: usize = offers.entries.values().map(|entry| entry.marks.len()).sum();
        assert_eq!((marks, marked), (offers.mark_count, offers.mark_count));
        let ranks: BTreeSet<(usize, ConnId)> =
            offers.marks.iter().map(|(conn, marks)| (marks.len(), *conn)).collect();
        assert_eq!(ranks, offers.ranks);
        let fetches = offers.entries.values().filter(|entry| entry.fetch.is_some()).count();
        assert_eq!(fetches, offers.fetch_count);
        for (at, item) in &offers.due {
            assert_eq!(offers.entries[item].fetch.as_ref().unwrap().due, Some(*at));
        }
    }

    #[test]
    fn marks_are_bounded_for_each_and_for_all_and_the_few_of_the_modest_stay() {
        let mut offers = Offers::default();
        offer(&mut offers, u64::MAX, 0);
        for from in 1..=80 {
            for number in 0..1_100 {
                offer(&mut offers, u64::from(from) << 32 | number, from);
            }
        }
        check(&offers);
        assert_eq!(offers.mark_count, MARKS_MAX);
        assert!(offers.ranks.iter().all(|(count, _)| *count <= MARKS_PER_PEER_MAX));
        assert!(offers.learnt(&item(u64::MAX)).is_some(), "the only one of a modest peer");
        for from in 0..=80 {
            offers.leave(source(from).conn);
        }
        check(&offers);
        assert!(offers.is_empty() && offers.ranks.is_empty() && offers.speeds.is_empty());
    }

    #[test]
    fn announcers_of_one_item_are_bounded() {
        let mut offers = Offers::default();
        for from in 0..2 * ANNOUNCERS_MAX as u32 {
            offer(&mut offers, 1, from);
            offer(&mut offers, 1, from);
        }
        assert_eq!(offers.announcers(&item(1)).count(), ANNOUNCERS_MAX);
        check(&offers);
    }

    #[test]
    fn fetches_are_bounded() {
        let mut offers = Offers::default();
        for number in 0..=FETCHES_MAX as u64 {
            offer(&mut offers, number, number as u32);
            let room = number < FETCHES_MAX as u64;
            assert_eq!(offers.want(&item(number), Kind::Block), room);
        }
        assert!(offers.want(&item(0), Kind::CompactBlock), "it is wanted already");
        assert_eq!(offers.fetched_kind(&item(0)), Some(Kind::CompactBlock));
        check(&offers);
        offers.settle(item(0));
        assert!(offers.want(&item(FETCHES_MAX as u64), Kind::Block));
        assert!(!offers.want(&item(u64::MAX), Kind::Block), "nobody offers it");
        check(&offers);
    }

    #[test]
    fn what_nobody_has_any_more_is_missing_unless_its_answer_is_here() {
        let now = Instant::START;
        for answered in [false, true] {
            let mut offers = Offers::default();
            let conn = source(1).conn;
            offer(&mut offers, 1, 1);
            offers.want(&item(1), Kind::Block);
            offers.asked(item(1), conn, now, Some(now.after(Duration::from_secs(1))));
            assert!(!offers.is_idle(&item(1)));
            if answered {
                assert_eq!(offers.answered(item(1), Kind::Block, conn, 100, now), []);
                assert_eq!(offers.deadline(), None);
            }
            offers.leave(conn);
            check(&offers);
            let left = offers.take_left();
            if answered {
                assert_eq!((left, offers.is_empty()), (Vec::new(), true));
            } else {
                assert_eq!(left, [Left::Ask(item(1))]);
                assert!(offers.is_idle(&item(1)));
                assert!(!offers.wait_last(item(1), now), "nobody is waited for");
            }
        }
    }

    #[test]
    fn an_evicted_mark_takes_what_was_wanted_with_it() {
        let mut offers = Offers::default();
        offer(&mut offers, u64::MAX, 1);
        offers.want(&item(u64::MAX), Kind::Block);
        for number in 0..MARKS_PER_PEER_MAX as u64 {
            offer(&mut offers, number, 1);
        }
        assert_eq!(offers.take_left(), [Left::Missing(item(u64::MAX), Kind::Block)]);
        check(&offers);
    }

    #[test]
    fn of_those_who_were_asked_the_others_are_told_when_one_answers() {
        let now = Instant::START;
        let mut offers = Offers::default();
        for from in 0..4 {
            offer(&mut offers, 1, from);
        }
        offers.want(&item(1), Kind::Block);
        for from in 0..3 {
            assert_eq!(offers.wanted(&item(1)), Some((Kind::Block, from as usize)));
            offers.asked(item(1), source(from).conn, now, Some(now));
        }
        assert_eq!(offers.take_due(now), Some(item(1)));
        assert_eq!(offers.take_due(now), None);
        let compact = offers.answered(item(1), Kind::CompactBlock, source(1).conn, 100, now);
        assert_eq!(compact, [], "it is the block that is wanted");
        let others = offers.answered(item(1), Kind::Block, source(1).conn, 100, now);
        assert_eq!(others, [0, 2].map(|from| (Kind::Block, source(from).conn)));
        offers.refused(item(1), source(1).conn);
        assert!(offers.is_idle(&item(1)), "it was worth nothing, and another may be asked");
        check(&offers);
    }

    #[test]
    fn tries_are_bounded_and_come_back_with_who_leaves() {
        let now = Instant::START;
        let mut offers = Offers::default();
        offer(&mut offers, 1, 0);
        offers.want(&item(1), Kind::Block);
        for from in 0..TRIED_MAX as u32 {
            assert!(offers.wanted(&item(1)).is_some());
            offer(&mut offers, 1, from);
            offers.asked(item(1), source(from).conn, now, Some(now));
            assert!(offers.announcers(&item(1)).any(|conn| conn == source(from).conn), "{from}");
        }
        assert_eq!(offers.announcers(&item(1)).count(), ANNOUNCERS_MAX);
        assert_eq!(offers.wanted(&item(1)), None);
        offers.leave(source(3).conn);
        assert_eq!(offers.wanted(&item(1)), Some((Kind::Block, TRIED_MAX - 1)));
        check(&offers);
        assert_eq!(offers.settle(item(1)).len(), TRIED_MAX - 1);
        check(&offers);
    }

    #[test]
    fn who_was_not_tried_does_not_give_way() {
        let mut offers = Offers::default();
        for from in 0..ANNOUNCERS_MAX as u32 {
            offer(&mut offers, 1, from);
        }
        offers.want(&item(1), Kind::Block);
        offer(&mut offers, 1, 99);
        assert!(offers.announcers(&item(1)).all(|conn| conn != source(99).conn));
        offers.asked(item(1), source(7).conn, Instant::START, None);
        offer(&mut offers, 1, 99);
        assert!(offers.announcers(&item(1)).any(|conn| conn == source(99).conn));
        assert!(offers.announcers(&item(1)).all(|conn| conn != source(7).conn));
        check(&offers);
    }

    #[test]
    fn the_last_wait_is_over_at_its_time_and_not_before() {
        let (now, later) = (Instant::START, Instant::from_micros(9));
        let mut offers = Offers::default();
        offer(&mut offers, 1, 0);
        offers.want(&item(1), Kind::Block);
        offers.asked(item(1), source(0).conn, now, Some(now));
        assert_eq!(offers.take_due(now), Some(item(1)));
        assert!(offers.wait_last(item(1), later) && offers.is_idle(&item(1)));
        assert!(offers.wait_last(item(1), later.after(Duration::from_secs(1))));
        assert_eq!(offers.deadline(), Some(later), "it is not made longer");
        assert_eq!(offers.take_due(later), Some(item(1)));
        assert!(!offers.wait_last(item(1), later));
        check(&offers);
    }

    #[test]
    fn what_is_not_wanted_now_stays_on_offer() {
        let now = Instant::START;
        let mut offers = Offers::default();
        offer(&mut offers, 1, 0);
        offers.want(&item(1), Kind::Block);
        offers.asked(item(1), source(0).conn, now, Some(now));
        assert_eq!(offers.end_fetch(item(1)), [(Kind::Block, source(0).conn)]);
        assert_eq!((offers.deadline(), offers.fetched_kind(&item(1))), (None, None));
        assert_eq!(offer(&mut offers, 1, 1), Offered::Known);
        offers.untold(&item(1));
        assert_eq!(offer(&mut offers, 1, 2), Offered::New);
        assert_eq!(offers.announcers(&item(1)).count(), 3);
        check(&offers);
        assert!(offers.want(&item(1), Kind::Block) && offers.is_untried(&item(1), source(0).conn));
        for from in 0..3 {
            offers.leave(source(from).conn);
        }
        assert!(offers.is_empty());
        check(&offers);
    }

    #[test]
    fn the_middle_word_tells_the_length() {
        let mut offers = Offers::default();
        let mut say = |from, bytes| {
            offers.offer(item(1), source(from), bytes, Instant::START);
            offers.bytes(&item(1))
        };
        assert_eq!(say(0, 0), None);
        assert_eq!(say(0, 5), Some(5), "its word came later");
        assert_eq!(say(0, 0), Some(5));
        assert_eq!(say(1, 9), Some(9));
        assert_eq!(say(2, u32::MAX), Some(9));
        assert_eq!(say(3, 1), Some(9));
    }
}
