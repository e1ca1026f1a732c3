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
    /// Peers whose latest answer to a question for headers was none; of connected ones only.
    misses: BTreeMap<ConnId, Misses>,
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

    pub(crate) fn has_missed(&self, conn: ConnId) -> bool {
        self.misses.contains_key(&conn)
    }

    /// This peer has its turn; whether the question left or not, it has it once.
    pub(crate) fn asked(&mut self, conn: ConnId, left: bool, now: Instant) {
        let Some(search) = &mut self.search else { return };
        search.asked.push(conn);
        search.current = left.then(|| Asked { conn, at: now, due: now.after(HEADERS_PATIENCE) });
    }

    /// Headers came of this peer, whoever asked.
    pub(crate) fn on_shown(&mut self, conn: ConnId) {
        self.misses.remove(&conn);
        self.search = None;
    }

    /// An answer without a header. Whether it answers the search.
    pub(crate) fn on_none(&mut self, conn: ConnId, now: Instant) -> bool {
        let Some(search) = &mut self.search else { return false };
        let Some(asked) = search.current.take_if(|asked| asked.conn == conn) else { return false };
        self.miss(asked, now);
        true
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.search.as_ref()?.current?.due)
    }

    /// Whoever is asked and is late; `excused` if that is our doing, or an answer is coming.
    pub(crate) fn take_late(
        &mut self,
        now: Instant,
        excused: impl FnOnce(ConnId) -> bool,
    ) -> Option<ConnId> {
        let search = self.search.as_mut()?;
        let asked = search.current.as_mut().filter(|asked| asked.due <= now)?;
        if excused(asked.conn) {
            asked.due = now.after(HEADERS_PATIENCE);
            return None;
        }
        let asked = search.current.take()?;
        self.miss(asked, now);
        Some(asked.conn)
    }

    fn miss(&mut self, asked: Asked, now: Instant) {
        let first = Misses { count: 0, since: asked.at, last: asked.at };
        let misses = self.misses.entry(asked.conn).or_insert(first);
        if asked.at.since(misses.last) > FRAUD_TIME {
            *misses = first; // what was long ago does not count
        }
        misses.count += 1;
        misses.last = now;
    }

    /// Whether this peer was asked long and often enough, and showed nothing.
    pub(crate) fn is_fraud(&self, conn: ConnId, now: Instant) -> bool {
        self.misses.get(&conn).is_some_and(|misses| {
            misses.count >= FRAUD_MISSES && now.since(misses.since) >= FRAUD_TIME
        })
    }

    /// Blocks are being fetched: the headers are ahead of our tip, and that nobody has more says
    /// nothing against whoever claims more than our tip. Or a peer claims no more than that.
    pub(crate) fn forgive(&mut self, keep: impl Fn(ConnId) -> bool) {
        self.misses.retain(|conn, _| keep(*conn));
    }

    /// The peer is gone. Whether the search waited for it.
    pub(crate) fn left(&mut self, conn: ConnId) -> bool {
        self.misses.remove(&conn);
        let Some(search) = &mut self.search else { return false };
        search.current.take_if(|asked| asked.conn == conn).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIAR: ConnId = ConnId::new(1, 1);

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
        assert!(headers.on_none(LIAR, at(11)) && headers.has_missed(LIAR));
        assert!(!headers.on_none(LIAR, at(11)), "one question, one answer");
        assert!(!headers.may_ask(LIAR) && headers.unasked().is_some());
        headers.on_shown(LIAR);
        assert!(!headers.has_missed(LIAR) && headers.unasked().is_none());
    }
}
