//! Bans, and shorter displeasure: who is refused, until when, and why.
//!
//! The endpoint asks before it dials and when somebody comes; operators and a store see the same
//! [`Ban`]s. An operator's lists of the denied and the allowed are consulted here too, so that
//! there is one answer to who is refused.
//!
//! Invariants: at most [`BANS_MAX`] bans and [`DISCOURAGED_MAX`] discouraged hosts; a rule's ban
//! never displaces an operator's; the end of a ban never moves to an earlier time.

mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use codec::{BanReason, Kind};

use crate::address::HostKey;
use crate::record::Change;
use crate::time::{Instant, UnixTime};
use target::Targets;
pub use target::{BanTarget, TargetError};

macro_rules! ban_causes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $reason:ident;)+) => {
        /// What a ban is for. Only what its sender alone can have forged.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum BanCause { $($(#[$doc])+ $name,)+ }

        impl BanCause {
            /// Every cause, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in tables, counters and logs: lower case, words joined by underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The code that a grin peer is told.
            #[must_use]
            pub const fn reason(self) -> BanReason {
                match self { $(Self::$name => BanReason::$reason,)+ }
            }
        }
    };
}

ban_causes! {
    /// A block that breaks the rules of the chain.
    BadBlock = "bad_block", BadBlock;
    /// A compact block that does.
    BadCompactBlock = "bad_compact_block", BadCompactBlock;
    /// A header that does.
    BadHeader = "bad_header", BadBlockHeader;
    /// An archive of unspent outputs, or a segment of one, that does.
    BadTxHashSet = "bad_tx_hash_set", BadTxHashSet;
    /// A transaction that does. Grin has no code for it, since it bans nobody for one.
    BadTransaction = "bad_transaction", None;
    /// Claimed more work than it could show.
    FraudHeight = "fraud_height", FraudHeight;
    /// An operator's wish.
    Operator = "operator", ManualBan;
}

/// Who decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decider {
    /// A rule of the engine, or the chain's verdict.
    Rule,
    /// A person, through the handle.
    Operator,
}

/// The [name](BanCause::name).
impl fmt::Display for BanCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "rule",
            Self::Operator => "operator",
        })
    }
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Evidence {
    /// The message concerned.
    pub kind: Option<Kind>,
    /// Its bytes.
    pub bytes: u64,
    /// For people: ids, numbers. At most [`NOTE_BYTES_MAX`] bytes, the rest is cut off.
    pub note: Box<str>,
}

/// One ban.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// Whom it concerns.
    pub target: BanTarget,
    /// What it is for.
    pub cause: BanCause,
    /// What was seen.
    pub evidence: Evidence,
    /// Who decided.
    pub by: Decider,
    /// Since when. It is in force even if this is yet to come: clocks are set back.
    pub start: UnixTime,
    /// Until when: at this second it is over.
    pub end: UnixTime,
}

/// Longest note of an [`Evidence`], in bytes: two ids in hex and some words.
pub const NOTE_BYTES_MAX: usize = 200;

/// Most bans at once: with the longest of notes at most 40 MB. Six new culprits a second fill it in
/// the three hours that a rule's ban lasts by default.
pub const BANS_MAX: usize = 65_536;

/// Most hosts that are discouraged at once: two full houses of the default size, 3 MB.
pub(crate) const DISCOURAGED_MAX: usize = 16_384;

impl BanCause {
    /// The cause of this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.name() == name)
    }
}

/// Who is banned or discouraged now.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    /// Nobody of these is wanted; and if there are some of the others, nobody else but these.
    denied: Targets<()>,
    allowed: Targets<()>,
    bans: Targets<Ban>,
    /// The bans by rules and by operators, those that end first in front.
    by_rule: BTreeSet<(UnixTime, BanTarget)>,
    by_operator: BTreeSet<(UnixTime, BanTarget)>,
    /// Bans that a store has not heard of.
    changed: BTreeSet<BanTarget>,
    /// Bans that are no more, which a store may still have. At most [`BANS_MAX`].
    gone: BTreeSet<BanTarget>,
    discouraged: BTreeMap<BanTarget, Instant>,
    /// The same, those that end first in front.
    discouraged_until: BTreeSet<(Instant, BanTarget)>,
}

impl Bans {
    /// Nobody is banned yet, and the lists are the operator's.
    pub(crate) fn new(denied: &[BanTarget], allowed: &[BanTarget]) -> Self {
        let [denied, allowed] = [denied, allowed].map(|list| list.iter().copied().collect());
        Self { denied, allowed, ..Self::default() }
    }

    /// Whether this address is neither dialled nor let in: by a list, or by a ban.
    pub(crate) fn refuses(&self, addr: SocketAddr, now: UnixTime) -> bool {
        let is_of = |list: &Targets<()>| list.concerning(addr).next().is_some();
        is_of(&self.denied)
            || (self.allowed.len() > 0 && !is_of(&self.allowed))
            || self.find(addr, now).is_some()
    }

    /// Adds a ban, or joins it with what the target has already: the later end counts, an
    /// operator's cause stays. When there are too many, the rule's ban that ends first goes, and
    /// an operator's only for another operator's. Answers whether the target is banned by this: it
    /// is not if there was no room, or if the ban ends as it starts.
    pub(crate) fn ban(&mut self, ban: Ban) -> bool {
        let target = ban.target.canonical();
        if ban.end <= ban.start {
            return false;
        }
        self.put(ban);
        self.changed.insert(target);
        self.make_room();
        self.bans.get(&target).is_some()
    }

    /// Lifts exactly this ban, and the displeasure with it; false if there was no such ban.
    pub(crate) fn unban(&mut self, target: BanTarget) -> bool {
        let target = target.canonical();
        if let Some(until) = self.discouraged.remove(&target) {
            self.discouraged_until.remove(&(until, target));
        }
        self.remove(target).is_some()
    }

    /// The ban that refuses this address now, if any; of several the narrowest.
    pub(crate) fn find(&self, addr: SocketAddr, now: UnixTime) -> Option<&Ban> {
        self.bans.concerning(addr).find(|ban| ban.end > now)
    }

    /// The ban of exactly this target, if there is one.
    pub(crate) fn get(&self, target: BanTarget) -> Option<&Ban> {
        self.bans.get(&target.canonical())
    }

    /// All bans, by target; those that ended since the last [`expire`](Self::expire) included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values()
    }

    /// Not to be dialled, and the first to be evicted or refused when full, for a while. In memory
    /// only; of more than [`DISCOURAGED_MAX`] hosts the one for which it ends first goes, so that
    /// many short displeasures do not wash a long one away.
    pub(crate) fn discourage(&mut self, host: HostKey, until: Instant) {
        let target = BanTarget::from(host);
        let earlier = self.discouraged.get(&target).copied();
        if earlier.is_some_and(|earlier| earlier >= until) {
            return;
        }
        if let Some(earlier) = earlier {
            self.discouraged_until.remove(&(earlier, target));
        }
        self.discouraged.insert(target, until);
        self.discouraged_until.insert((until, target));
        if self.discouraged.len() > DISCOURAGED_MAX
            && let Some((_, first)) = self.discouraged_until.pop_first()
        {
            self.discouraged.remove(&first);
        }
    }

    /// Whether this host misbehaved lately. An IPv6 host answers for its /64.
    pub(crate) fn is_discouraged(&self, host: HostKey, now: Instant) -> bool {
        self.discouraged.get(&BanTarget::from(host)).is_some_and(|until| *until > now)
    }

    /// Drops the bans that have ended.
    pub(crate) fn expire(&mut self, now: UnixTime) {
        for by in [Decider::Rule, Decider::Operator] {
            while let Some(&(end, target)) = self.ends(by).first()
                && end <= now
            {
                self.remove(target);
            }
        }
    }

    /// From a store: what is still in force, without noting it as changed. What has ended is noted
    /// as gone, so that the store forgets it too.
    pub(crate) fn restore(&mut self, bans: Vec<Ban>, now: UnixTime) {
        for ban in bans {
            let target = ban.target.canonical();
            if ban.end > now {
                self.put(ban);
                self.make_room();
            } else if self.bans.get(&target).is_none() {
                self.note_gone(target);
            }
        }
    }

    /// Moves up to `max` changes out (the latest state of each target, once).
    pub(crate) fn take_changes(&mut self, max: usize, into: &mut Vec<Change>) {
        for _ in 0..max {
            if let Some(target) = self.gone.pop_first() {
                into.push(Change::BanGone(target));
            } else if let Some(target) = self.changed.pop_first() {
                into.extend(self.bans.get(&target).cloned().map(Change::Ban));
            } else {
                return;
            }
        }
    }

    /// Whether there is something to take.
    pub(crate) fn has_changes(&self) -> bool {
        !self.gone.is_empty() || !self.changed.is_empty()
    }

    fn ends(&mut self, by: Decider) -> &mut BTreeSet<(UnixTime, BanTarget)> {
        match by {
            Decider::Rule => &mut self.by_rule,
            Decider::Operator => &mut self.by_operator,
        }
    }

    /// Puts a ban into all tables, joined with the target's earlier one.
    fn put(&mut self, mut ban: Ban) {
        ban.target = ban.target.canonical();
        let cut = ban.evidence.note.floor_char_boundary(NOTE_BYTES_MAX);
        if cut < ban.evidence.note.len() {
            ban.evidence.note = ban.evidence.note[..cut].into();
        }
        if let Some(earlier) = self.unlink(ban.target) {
            ban = joined(earlier, ban);
        }
        self.gone.remove(&ban.target);
        self.ends(ban.by).insert((ban.end, ban.target));
        self.bans.insert(ban.target, ban);
    }

    /// Takes a ban out of all tables but those of changes.
    fn unlink(&mut self, target: BanTarget) -> Option<Ban> {
        let ban = self.bans.remove(&target)?;
        self.ends(ban.by).remove(&(ban.end, target));
        Some(ban)
    }

    fn remove(&mut self, target: BanTarget) -> Option<Ban> {
        let ban = self.unlink(target)?;
        self.changed.remove(&target);
        self.note_gone(target);
        Some(ban)
    }

    /// A driver that never takes the changes must not cost memory without bound; it has no store
    /// whose leftovers could matter.
    fn note_gone(&mut self, target: BanTarget) {
        self.gone.insert(target);
        if self.gone.len() > BANS_MAX {
            self.gone.pop_first();
        }
    }

    fn make_room(&mut self) {
        if self.bans.len() > BANS_MAX
            && let Some(&(_, target)) = self.by_rule.first().or_else(|| self.by_operator.first())
        {
            self.remove(target);
        }
    }
}

/// What holds for a target that is banned again: an operator's word stands above a rule's, the
/// later of two equals replaces the other unless it ends sooner, and the later end counts.
fn joined(earlier: Ban, later: Ban) -> Ban {
    if earlier.end <= later.start {
        return later;
    }
    let end = earlier.end.max(later.end);
    let keeps = match (earlier.by, later.by) {
        (Decider::Operator, Decider::Rule) => true,
        (Decider::Rule, Decider::Operator) => false,
        (Decider::Rule, Decider::Rule) | (Decider::Operator, Decider::Operator) => {
            earlier.end > later.end
        }
    };
    Ban { end, ..if keeps { earlier } else { later } }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::address::Locality;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn target(text: &str) -> BanTarget {
        text.parse().unwrap()
    }

    fn secs(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn ban(target: BanTarget, by: Decider, start: u64, end: u64) -> Ban {
        let cause = if by == Decider::Rule { BanCause::BadBlock } else { BanCause::Operator };
        Ban { target, cause, evidence: Evidence::default(), by, start: secs(start), end: secs(end) }
    }

    fn changes(bans: &mut Bans) -> Vec<Change> {
        let mut changes = Vec::new();
        bans.take_changes(usize::MAX, &mut changes);
        changes
    }

    #[test]
    fn every_cause_has_a_name_of_its_own_that_leads_back() {
        for &cause in BanCause::ALL {
            assert_eq!(BanCause::from_name(cause.name()), Some(cause));
        }
        assert_eq!(BanCause::from_name("none"), None);
        assert_eq!(BanCause::BadHeader.reason() as i32, 3);
        assert_eq!(BanCause::Operator.reason() as i32, 5);
    }

    #[test]
    fn the_lists_keep_out_the_denied_and_all_that_are_not_among_the_allowed() {
        let (net, host) = ([target("192.0.2.0/24")], [target("192.0.2.7"), target("192.0.2.7")]);
        let refused = |denied: &[BanTarget], allowed: &[BanTarget]| {
            let bans = Bans::new(denied, allowed);
            ["192.0.2.7:1", "192.0.2.8:1", "8.8.8.8:1"].map(|it| bans.refuses(addr(it), secs(0)))
        };
        assert_eq!(refused(&[], &[]), [false, false, false]);
        assert_eq!(refused(&host, &net), [true, false, true]);
        assert_eq!(refused(&[], &net), [false, false, true]);
        assert_eq!(refused(&net, &[]), [true, true, false]);
    }

    #[test]
    fn an_ended_ban_refuses_nobody_and_hides_no_wider_one() {
        let mut bans = Bans::default();
        bans.ban(ban(target("192.0.2.0/24"), Decider::Operator, 0, 100));
        bans.ban(ban(target("192.0.2.7"), Decider::Rule, 0, 50));
        let found = |bans: &Bans, now| {
            bans.find(addr("192.0.2.7:1"), secs(now)).map(|ban| ban.target.to_string())
        };
        assert_eq!(found(&bans, 49).as_deref(), Some("192.0.2.7"));
        assert_eq!(found(&bans, 50).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(found(&bans, 100), None);
        bans.expire(secs(50));
        assert_eq!(bans.iter().count(), 1);
        bans.expire(secs(100));
        assert_eq!(bans.iter().count(), 0);
    }

    #[test]
    fn of_two_bans_the_later_end_counts_and_the_operator_s_cause_stays() {
        let (mut bans, one) = (Bans::default(), target("192.0.2.7"));
        let state = |bans: &Bans| {
            let ban = bans.bans.get(&one).unwrap();
            (ban.by, ban.end.secs())
        };
        bans.ban(ban(one, Decider::Rule, 0, 100));
        bans.ban(ban(one, Decider::Rule, 1, 90));
        assert_eq!(state(&bans), (Decider::Rule, 100));
        bans.ban(ban(one, Decider::Operator, 2, 50));
        assert_eq!(state(&bans), (Decider::Operator, 100));
        bans.ban(ban(one, Decider::Rule, 3, 200));
        assert_eq!(state(&bans), (Decider::Operator, 200));
        bans.ban(ban(one, Decider::Rule, 200, 300));
        assert_eq!(state(&bans), (Decider::Rule, 300), "the operator's had ended");
        assert!(bans.unban(one) && !bans.unban(one));
    }

    #[test]
    fn a_ban_without_length_is_none() {
        let mut bans = Bans::default();
        assert!(!bans.ban(ban(target("192.0.2.7"), Decider::Operator, 5, 5)));
        assert!(bans.iter().next().is_none() && !bans.has_changes());
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        let (mut bans, one) = (Bans::default(), target("192.0.2.7"));
        let mut long = ban(one, Decider::Operator, 0, 1);
        long.evidence.note = "ä".repeat(NOTE_BYTES_MAX).replacen('ä', "a", 1).into();
        bans.ban(long);
        assert_eq!(bans.bans.get(&one).unwrap().evidence.note.len(), NOTE_BYTES_MAX - 1);
    }

    #[test]
    fn when_full_the_rule_s_ban_that_ends_first_goes_and_an_operator_s_never_for_it() {
        let host = |n: u32| BanTarget::subnet(Ipv4Addr::from_bits(n).into(), 32).unwrap();
        let mut bans = Bans::default();
        for n in 0..BANS_MAX as u32 - 2 {
            assert!(bans.ban(ban(host(n), Decider::Operator, 0, 10)));
        }
        assert!(bans.ban(ban(host(1 << 20), Decider::Rule, 0, 200)));
        assert!(bans.ban(ban(host(2 << 20), Decider::Rule, 0, 100)));
        assert!(bans.ban(ban(host(3 << 20), Decider::Rule, 0, 150)), "the one that ended at 100");
        assert!(bans.bans.get(&host(2 << 20)).is_none());
        assert!(!bans.ban(ban(host(4 << 20), Decider::Rule, 0, 99)), "it ends first itself");
        for n in 5..=7 {
            assert!(bans.ban(ban(host(n << 20), Decider::Operator, 0, 20)), "{n}");
        }
        assert!(!bans.ban(ban(host(8 << 20), Decider::Rule, 0, 1_000)), "only operators' are left");
        assert_eq!((bans.bans.len(), bans.by_rule.len()), (BANS_MAX, 0));
    }

    #[test]
    fn a_store_hears_the_latest_state_of_each_target_once() {
        let (mut bans, one, two) = (Bans::default(), target("192.0.2.7"), target("192.0.2.8"));
        bans.restore(
            vec![ban(one, Decider::Rule, 0, 100), ban(two, Decider::Rule, 0, 60)],
            secs(60),
        );
        assert!(bans.find(addr("192.0.2.7:1"), secs(60)).is_some());
        assert_eq!(changes(&mut bans), [Change::BanGone(two)], "ended while nobody looked");
        bans.ban(ban(two, Decider::Rule, 60, 70));
        bans.unban(two);
        bans.ban(ban(two, Decider::Operator, 60, 80));
        bans.unban(one);
        assert!(bans.has_changes());
        let mut first = Vec::new();
        bans.take_changes(1, &mut first);
        assert_eq!(first, [Change::BanGone(one)]);
        assert_eq!(changes(&mut bans), [Change::Ban(ban(two, Decider::Operator, 60, 80))]);
        assert!(!bans.has_changes());
    }

    #[test]
    fn displeasure_passes_and_a_flood_of_short_ones_does_not_wash_it_away() {
        let mut bans = Bans::default();
        let at = |secs| Instant::START.after(Duration::from_secs(secs));
        let host = |text| Locality::Internet.host(addr(text));
        bans.discourage(host("192.0.2.7:1"), at(600));
        bans.discourage(host("192.0.2.7:1"), at(60));
        bans.discourage(host("[2001:db8::1]:1"), at(600));
        for n in 0..2 * DISCOURAGED_MAX as u32 {
            let ip = Ipv4Addr::from_bits((10 << 24) + n);
            bans.discourage(Locality::Internet.host((ip, 1).into()), at(60));
        }
        assert_eq!(bans.discouraged.len(), DISCOURAGED_MAX);
        assert_eq!(bans.discouraged_until.len(), DISCOURAGED_MAX);
        assert!(bans.is_discouraged(host("192.0.2.7:2"), at(599)));
        assert!(!bans.is_discouraged(host("192.0.2.7:2"), at(600)));
        assert!(bans.is_discouraged(host("[2001:db8::ffff:1]:1"), at(0)), "the same /64");
        bans.unban(target("192.0.2.7"));
        assert!(!bans.is_discouraged(host("192.0.2.7:1"), at(0)), "an operator's pardon");
    }

    proptest! {
        /// The look-up by prefix agrees with asking every ban, over any history.
        #[test]
        fn find_misses_no_ban_and_invents_none(
            steps in prop::collection::vec((0..16_u32, 24..=32_u8, 0..3_u8, 1..40_u64), 0..60),
        ) {
            let mut bans = Bans::default();
            let mut model: BTreeMap<BanTarget, UnixTime> = BTreeMap::new();
            for (now, (ip, prefix, call, last)) in steps.into_iter().enumerate() {
                let (now, end) = (now as u64, now as u64 + last);
                let ip = Ipv4Addr::from_bits(ip << 4).into();
                let it = BanTarget::subnet(ip, prefix).unwrap();
                match call {
                    0 => prop_assert_eq!(bans.unban(it), model.remove(&it).is_some()),
                    1 => {
                        bans.expire(secs(now));
                        model.retain(|_, end| *end > secs(now));
                    }
                    _ => {
                        bans.ban(ban(it, Decider::Rule, now, end));
                        let kept = model.entry(it).or_default();
                        *kept = secs(end).max(*kept);
                    }
                }
                for ip in 0..=255 {
                    let addr = SocketAddr::new(Ipv4Addr::from_bits(ip).into(), 1);
                    let found = bans.find(addr, secs(now));
                    let expected =
                        model.iter().any(|(it, end)| it.contains(addr) && *end > secs(now));
                    prop_assert_eq!(found.is_some(), expected);
                    prop_assert!(found.is_none_or(|ban| ban.target.contains(addr)));
                }
                prop_assert_eq!(bans.bans.len(), bans.by_rule.len());
            }
        }
    }
}
