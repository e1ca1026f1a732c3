//! Who is asked for headers, and who never shows any for the work that it claims.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codec::Hash;

use crate::event::ConnId;
use crate::time::Instant;

/// How long one peer may take for headers before another is asked. As in grin.
const HEADERS_PATIENCE: Duration = Duration::from_secs(10);

/// Peers that one search asks at most: with all of them silent it ends in 80 s, within the time
/// that makes a fraud.
const ASKED_MAX: usize = 8;

/// How long a peer may claim work and show no header while it is asked again and again. As in grin.
const FRAUD_TIME: Duration = Duration::from_secs(120);

/// So many questions must have come to nothing by then: one may have been lost to a pause.
const FRAUD_MISSES: u32 = 3;

/// Headers that are being looked for, and who failed to show some.
#[derive(Debug, Default)]
pub(crate) struct HeaderSearch {
    search: Option<Search>,
    /// A question beside the search, which does not wait for it: to a peer that was silent.
    again: Option<Asked>,
    /// Questions that came to nothing since a peer last showed a header; of connected ones only.
    misses: BTreeMap<(ConnId, Miss), Misses>,
}

#[derive(Debug)]
struct Search {
    locator: Arc<[Hash]>,
    /// At most [`ASKED_MAX`].
    asked: Vec<ConnId>,
    current: Option<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    conn: ConnId,
    at: Instant,
    due: Instant,
}

/// How a question comes to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Miss {
    /// The answer has no header.
    Empty,
    /// There is none in time.
    Silent,
}

/// Questions in a row that came to nothing.
#[derive(Clone, Copy, Debug)]
struct Misses {
    count: u32,
    /// When the first of them was asked.
    since: Instant,
    /// When the last of them had come to nothing.
    last: Instant,
}

impl HeaderSearch {
    /// Looks for headers behind these, and no longer behind others.
    pub(crate) fn begin(&mut self, locator: Arc<[Hash]>) {
        self.search = Some(Search { locator, asked: Vec::new(), current: None });
    }

    pub(crate) fn end(&mut self) {
        self.search = None;
    }

    /// What is to be asked now, unless somebody is being asked.
    pub(crate) fn unasked(&self) -> Option<Arc<[Hash]>> {
        let search = self.search.as_ref().filter(|search| search.current.is_none())?;
        Some(search.locator.clone())
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.search.is_some()
    }

    /// Whether this peer may still be asked.
    pub(crate) fn may_ask(&self, conn: ConnId) -> bool {
        let search = self.search.as_ref();
        search.is_some_and(|it| it.asked.len() < ASKED_MAX && !it.asked.contains(&conn))
    }

    /// Whether somebody was asked in vain since this search began.
    pub(crate) fn asked_in_vain(&self) -> bool {
        self.search.as_ref().is_some_and(|search| !search.asked.is_empty())
    }

    /// What a peer's turn is behind, the worst last: nothing, an empty answer, ten seconds of
    /// silence, with which a few liars could hold up one search after the other.
    pub(crate) fn failing(&self, conn: ConnId) -> [bool; 2] {
        [Miss::Silent, Miss::Empty].map(|miss| self.misses.contains_key(&(conn, miss)))
    }

    /// This peer has its turn; whether the question left or not, it has it once.
    pub(crate) fn asked(&mut self, conn: ConnId, left: bool, now: Instant) {
        let Some(search) = &mut self.search else { return };
        search.asked.push(conn);
        search.current = left.then(|| Asked::new(conn, now));
        self.again.take_if(|again| again.conn == conn);
    }

    /// Who is to be asked once more beside the search, of those that this admits: who has been
    /// silent for longest. So whoever is silent always is banned in the end, though nobody waits
    /// for it any more, and whoever was once is cleared.
    pub(crate) fn silent(&self, admits: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let search = self.search.as_ref().filter(|_| self.again.is_none())?;
        let silent = self.misses.iter().filter_map(|((conn, miss), misses)| {
            let waits = *miss == Miss::Silent && !search.asked.contains(conn) && admits(*conn);
            waits.then_some((misses.since, *conn))
        });
        silent.min().map(|(_, conn)| conn)
    }

    /// It was.
    pub(crate) fn asked_again(&mut self, conn: ConnId, now: Instant) {
        self.again = Some(Asked::new(conn, now));
    }

    /// Headers came of this peer, whoever asked. They end the search, unless it was asked beside
    /// it: who is waited for may show others.
    pub(crate) fn on_shown(&mut self, conn: ConnId) {
        self.forgive(|other| other != conn);
        if self.again.take_if(|again| again.conn == conn).is_none() {
            self.search = None;
        }
    }

    /// An answer without a header. Whether it answers a question of ours.
    pub(crate) fn on_none(&mut self, conn: ConnId, now: Instant) -> bool {
        let Some(asked) = self.take_question(conn) else { return false };
        self.misses.remove(&(conn, Miss::Silent));
        self.miss(asked, Miss::Empty, now);
        true
    }

    /// It gives blocks that are wanted: it is not silent, but perhaps slow.
    pub(crate) fn on_block(&mut self, conn: ConnId, now: Instant) {
        if let Some(misses) = self.misses.get_mut(&(conn, Miss::Silent)) {
            misses.since = now;
        }
    }

    fn questions(&self) -> [Option<&Asked>; 2] {
        [self.search.as_ref().and_then(|search| search.current.as_ref()), self.again.as_ref()]
    }

    /// The question that this peer has.
    fn take_question(&mut self, conn: ConnId) -> Option<Asked> {
        let current = self.search.as_mut().map(|search| &mut search.current);
        let mut questions = current.into_iter().chain([&mut self.again]);
        questions.find_map(|question| question.take_if(|asked| asked.conn == conn))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.questions().into_iter().flatten().map(|asked| asked.due).min()
    }

    /// The next who was asked and is late; not who is `excused`, if that is our doing or an answer
    /// is coming.
    pub(crate) fn take_late(
        &mut self,
        now: Instant,
        excused: impl Fn(ConnId) -> bool,
    ) -> Option<ConnId> {
        let current = self.search.as_mut().and_then(|search| search.current.as_mut());
        let asked = current.into_iter().chain(self.again.as_mut());
        let mut late = None;
        for asked in asked.filter(|asked| asked.due <= now) {
            if excused(asked.conn) {
                asked.due = now.after(HEADERS_PATIENCE);
            } else {
                late = Some(asked.conn);
            }
        }
        let asked = self.take_question(late?)?;
        self.miss(asked, Miss::Silent, now);
        Some(asked.conn)
    }

    fn miss(&mut self, asked: Asked, miss: Miss, now: Instant) {
        let first = Misses { count: 0, since: asked.at, last: asked.at };
        let misses = self.misses.entry((asked.conn, miss)).or_insert(first);
        if asked.at.since(misses.last) > FRAUD_TIME {
            *misses = first; // what was long ago does not count
        }
        misses.count += 1;
        misses.last = now;
    }

    /// Whether this peer was asked long and often enough, and showed nothing.
    pub(crate) fn is_fraud(&self, conn: ConnId, now: Instant) -> bool {
        let misses = [Miss::Empty, Miss::Silent].map(|miss| self.misses.get(&(conn, miss)));
        misses
            .into_iter()
            .flatten()
            .any(|misses| misses.count >= FRAUD_MISSES && now.since(misses.since) >= FRAUD_TIME)
    }

    /// Blocks are being fetched: the headers are ahead of our tip, and that nobody has more says
    /// nothing against whoever claims more than our tip. To answer nothing still does.
    pub(crate) fn on_blocks_wanted(&mut self) {
        self.misses.retain(|(_, miss), _| *miss == Miss::Silent);
    }

    /// These claim work, the others no more than we have.
    pub(crate) fn forgive(&mut self, claims: impl Fn(ConnId) -> bool) {
        self.misses.retain(|(conn, _), _| claims(*conn));
    }

    /// The peer is gone. Whether the search waited for it.
    pub(crate) fn left(&mut self, conn: ConnId) -> bool {
        self.forgive(|other| other != conn);
        self.again.take_if(|again| again.conn == conn);
        self.take_question(conn).is_some()
    }
}

impl Asked {
    const fn new(conn: ConnId, now: Instant) -> Self {
        Self { conn, at: now, due: now.after(HEADERS_PATIENCE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIAR: ConnId = ConnId::new(1, 1);
    const OTHER: ConnId = ConnId::new(2, 1);

    const fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    /// Asks the liar, in vain, each so many seconds; answers when it is a fraud.
    fn fraud_at(period: u64) -> Option<u64> {
        let mut headers = HeaderSearch::default();
        (0..1_000).step_by(period as usize).find(|secs| {
            headers.begin([].into());
            headers.asked(LIAR, true, at(*secs));
            assert_eq!(headers.take_late(at(secs + 9), |_| false), None);
            assert_eq!(headers.take_late(at(secs + 10), |_| false), Some(LIAR));
            headers.is_fraud(LIAR, at(secs + 10))
        })
    }

    #[test]
    fn a_fraud_was_asked_for_two_minutes_and_not_now_and_then() {
        assert_eq!(fraud_at(20), Some(120));
        assert_eq!(fraud_at(100), Some(200), "at least three times");
        assert_eq!(fraud_at(140), None);
    }

    #[test]
    fn one_header_clears_and_an_excuse_is_no_miss() {
        let mut headers = HeaderSearch::default();
        headers.begin([].into());
        headers.asked(LIAR, true, at(0));
        assert_eq!(headers.take_late(at(10), |_| true), None);
        assert_eq!(headers.deadline(), Some(at(20)));
        assert!(headers.on_none(LIAR, at(11)));
        assert_eq!(headers.failing(LIAR), [false, true]);
        assert!(!headers.on_none(LIAR, at(11)), "one question, one answer");
        assert!(!headers.may_ask(LIAR) && headers.unasked().is_some());
        headers.on_shown(LIAR);
        assert_eq!(headers.failing(LIAR), [false, false]);
        assert!(headers.unasked().is_none());
    }

    /// A search in which this peer was silent.
    fn silence(headers: &mut HeaderSearch, conn: ConnId, from: u64) {
        headers.begin([].into());
        headers.asked(conn, true, at(from));
        assert_eq!(headers.take_late(at(from + 10), |_| false), Some(conn));
    }

    #[test]
    fn an_empty_answer_is_forgiven_while_blocks_are_fetched_and_silence_is_not() {
        let mut headers = HeaderSearch::default();
        silence(&mut headers, LIAR, 0);
        headers.begin([].into());
        headers.asked(OTHER, true, at(10));
        assert!(headers.on_none(OTHER, at(11)));
        headers.on_blocks_wanted();
        assert_eq!([LIAR, OTHER].map(|conn| headers.failing(conn)), [[true, false], [false; 2]]);
    }

    #[test]
    fn who_was_silent_is_asked_again_beside_the_search_until_it_is_a_fraud_or_cleared() {
        let mut headers = HeaderSearch::default();
        silence(&mut headers, LIAR, 0);
        silence(&mut headers, OTHER, 10);
        for from in (20..120).step_by(10) {
            headers.begin([].into());
            assert_eq!(headers.silent(|conn| conn != LIAR), Some(OTHER));
            assert_eq!(headers.silent(|_| true), Some(LIAR), "the first to be silent");
            headers.asked_again(LIAR, at(from));
            assert_eq!((headers.silent(|_| true), headers.deadline()), (None, Some(at(from + 10))));
            headers.end();
            assert_eq!(headers.take_late(at(from + 10), |_| false), Some(LIAR));
            assert_eq!(headers.is_fraud(LIAR, at(from + 10)), from == 110, "{from}");
        }
        headers.left(LIAR);
        headers.begin([].into());
        headers.asked_again(OTHER, at(120));
        headers.on_shown(OTHER);
        assert!(headers.is_on(), "others are waited for");
        assert_eq!((headers.failing(OTHER), headers.silent(|_| true)), ([false; 2], None));
    }

    #[test]
    fn who_gives_blocks_is_no_fraud_and_still_behind_others() {
        let mut headers = HeaderSearch::default();
        for from in (0..300).step_by(20) {
            silence(&mut headers, LIAR, from);
            assert!(!headers.is_fraud(LIAR, at(from + 10)));
            headers.on_block(LIAR, at(from + 15));
        }
        assert_eq!(headers.failing(LIAR), [true, false]);
    }

    #[test]
    fn one_search_asks_eight() {
        let mut headers = HeaderSearch::default();
        headers.begin([].into());
        let conns = (0..20).map(|index| ConnId::new(index, 1));
        for conn in conns.clone().filter(|conn| conn.index() < 8) {
            assert!(headers.may_ask(conn));
            headers.asked(conn, false, at(0));
        }
        assert!(conns.into_iter().all(|conn| !headers.may_ask(conn)));
    }
}
