//! The book by its rules: what it takes, keeps, picks, tells and forgets.

use std::collections::BTreeSet;

use codec::limits::PEER_ADDRS_MAX;

use super::samples::{SAMPLES, TOLD_MIN};
use super::*;

mod attacks;
mod laws;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const NONE: Capabilities = Capabilities::UNKNOWN;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Addresses of public hosts, nearly each in a group of its own.
fn host(n: u32) -> SocketAddr {
    let [b, c, d, _] = (n.wrapping_mul(0x9e37_79b1)).to_be_bytes();
    SocketAddr::new(IpAddr::from([11 + (n % 80) as u8, b, c, d]), 3_414)
}

fn book(seed: u8) -> AddressBook {
    let rng = Rng::from_seed([seed; 32]);
    AddressBook::new(BookLimits::default(), Locality::Internet, rng)
}

/// One place in the tried table, so that every second success is a contest.
fn narrow_book() -> AddressBook {
    let limits = BookLimits { tried_buckets: 1, bucket_places: 1, ..BookLimits::default() };
    AddressBook::new(limits, Locality::Internet, Rng::from_seed([1; 32]))
}

fn hear(book: &mut AddressBook, addr: SocketAddr) -> bool {
    book.hear(addr, addr.ip(), NONE, NOW, NOW)
}

fn changes(book: &mut AddressBook) -> Vec<Change> {
    let mut changes = Vec::new();
    book.take_changes(usize::MAX, &mut changes);
    changes
}

fn record(book: &AddressBook, addr: SocketAddr) -> Option<AddressRecord> {
    book.records().find(|record| record.addr == addr)
}

fn group(text: &str) -> Group {
    Locality::Internet.group(addr(text))
}

#[test]
fn limits_are_checked() {
    let limits = BookLimits::default();
    assert!(limits.is_valid() && BookLimits::small().is_valid());
    assert!(!BookLimits { new_buckets: 8, ..limits }.is_valid());
    assert!(!BookLimits { new_buckets: 1_000, ..limits }.is_valid());
    assert!(!BookLimits { tried_buckets: 0, ..limits }.is_valid());
    assert!(!BookLimits { tried_buckets: 8_192, ..limits }.is_valid());
    assert!(!BookLimits { bucket_places: 512, ..limits }.is_valid());
    assert!(!BookLimits { new_failures_max: 0, ..limits }.is_valid());
    assert!(!BookLimits { horizon: Duration::ZERO, ..limits }.is_valid());
}

#[test]
fn what_cannot_be_dialled_or_is_too_old_is_not_taken() {
    let mut book = book(1);
    for text in ["10.0.0.1:3414", "127.0.0.1:3414", "8.8.8.8:0", "[::1]:3414"] {
        assert!(!hear(&mut book, addr(text)));
        book.succeeded(addr(text), NONE, NOW);
    }
    let old = UnixTime::from_secs(NOW.secs() - 30 * 86_400);
    assert!(!book.hear(host(1), host(2).ip(), NONE, old, NOW));
    assert_eq!(book.counts(), (0, 0));
    assert!(hear(&mut book, addr("[::ffff:8.8.8.8]:3414")));
    assert!(!hear(&mut book, addr("8.8.8.8:3414")), "one host");
    let future = NOW.after(DAY);
    assert!(book.hear(host(1), host(2).ip(), NONE, future, NOW));
    assert_eq!(record(&book, host(1)).unwrap().last_seen, NOW);
}

#[test]
fn changes_are_told_once_and_together() {
    let mut book = book(1);
    hear(&mut book, host(1));
    for _ in 0..3 {
        book.attempt(host(1), NOW);
        book.succeeded(host(1), NONE, NOW);
    }
    hear(&mut book, host(2));
    hear(&mut book, host(3));
    book.forget(host(3));
    assert!(book.has_changes());
    let told = changes(&mut book);
    assert_eq!(told[0], Change::Secret(book.secret));
    assert_eq!(told[1], Change::AddressGone(host(3)));
    let mut expected: Vec<_> = book.records().map(Change::Address).collect();
    expected.sort_by_key(|change| format!("{change:?}"));
    let mut rest = told[2..].to_vec();
    rest.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(rest, expected);
    assert!(!book.has_changes() && changes(&mut book).is_empty());

    book.hear(host(1), host(9).ip(), NONE, NOW.after(secs(60)), NOW.after(secs(60)));
    assert!(!book.has_changes(), "what everybody repeats is no change");
    book.seen(host(1), NOW.after(secs(60)));
    book.seen(host(2), NOW.after(secs(60)));
    let mut one = Vec::new();
    book.take_changes(1, &mut one);
    assert_eq!((one.len(), changes(&mut book).len()), (1, 1));
}

#[test]
fn a_new_address_is_forgotten_after_three_failures_and_a_tried_one_after_ten_in_a_week() {
    let mut book = book(1);
    let mut now = NOW;
    hear(&mut book, host(1));
    book.succeeded(host(2), NONE, now);
    for _ in 0..2 {
        book.failed(host(1), now);
    }
    assert_eq!(book.counts(), (1, 1));
    book.failed(host(1), now);
    assert_eq!(book.counts(), (0, 1));
    for _ in 0..20 {
        now = now.after(secs(3_600));
        book.failed(host(2), now);
    }
    assert_eq!(book.counts(), (0, 1), "a day is not a week");
    book.failed(host(2), NOW.after(7 * DAY));
    assert_eq!(book.counts(), (0, 0));

    hear(&mut book, host(3));
    book.failed(host(3), NOW.after(30 * DAY));
    assert_eq!(book.counts(), (0, 0), "beyond the horizon one failure is enough");
    book.check();
}

#[test]
fn word_of_another_port_never_turns_us_away_from_one_that_works() {
    let (known, other) = (addr("8.8.8.8:1"), addr("8.8.8.8:2"));
    let mut book = book(1);
    hear(&mut book, known);
    hear(&mut book, other);
    assert!(record(&book, known).is_some(), "not tested yet");
    book.failed(known, NOW);
    book.failed(other, NOW);
    hear(&mut book, other);
    assert_eq!(record(&book, other).unwrap().failures, 1, "the host's, whatever its port");
    let told = changes(&mut book);
    assert!(told.contains(&Change::AddressGone(known)));
    assert!(!told.contains(&Change::AddressGone(other)));

    book.succeeded(other, NONE, NOW);
    book.failed(other, NOW);
    hear(&mut book, known);
    assert!(record(&book, other).unwrap().tried, "it worked once");
    book.succeeded(known, NONE, NOW);
    assert!(record(&book, known).unwrap().tried, "our own success decides");
    assert!(changes(&mut book).contains(&Change::AddressGone(other)));
    assert_eq!(book.counts(), (0, 1));
    book.check();
}

#[test]
fn a_tried_address_is_tested_before_it_loses_its_place() {
    let later = NOW.after(DAY);
    let contested = || {
        let mut book = narrow_book();
        book.succeeded(host(1), NONE, NOW);
        book.succeeded(host(2), NONE, NOW.after(secs(60)));
        assert_eq!(book.contested(NOW.after(secs(60))), None, "it answered just now");
        book.succeeded(host(2), NONE, later);
        assert_eq!(book.counts(), (1, 1));
        assert_eq!(book.contested(later), Some(host(1)));
        assert_eq!(book.contested(later), Some(host(1)), "until it is decided");
        book
    };
    let mut book = contested();
    book.failed(host(1), later);
    assert!(record(&book, host(2)).unwrap().tried && !record(&book, host(1)).unwrap().tried);
    assert_eq!((book.counts(), book.contested(later)), ((1, 1), None));
    book.check();

    let verdicts: [fn(&mut AddressBook, UnixTime); 3] = [
        |book, now| book.succeeded(host(1), NONE, now),
        |book, now| book.seen(host(1), now),
        |book, _| book.forget(host(2)),
    ];
    for verdict in verdicts {
        let mut book = contested();
        verdict(&mut book, later);
        assert_eq!(book.contested(later), None);
        book.failed(host(1), later);
        assert!(record(&book, host(1)).unwrap().tried);
        book.check();
    }
    let mut book = contested();
    assert_eq!(book.contested(later.after(CONTEST_MAX)), None, "no failure, no eviction");
    assert!(record(&book, host(1)).unwrap().tried);

    let mut book = contested();
    book.forget(host(1));
    book.succeeded(host(2), NONE, later);
    assert!(record(&book, host(2)).unwrap().tried, "the place is free");
}

#[test]
fn contests_are_bounded_and_take_turns() {
    let limits = BookLimits { bucket_places: 1, ..BookLimits::default() };
    let mut book = AddressBook::new(limits, Locality::Internet, Rng::from_seed([1; 32]));
    let later = NOW.after(DAY);
    for n in 0..600 {
        book.succeeded(host(n), NONE, if n < 300 { NOW } else { later });
    }
    assert_eq!(book.contests.len(), CONTESTS_MAX);
    let asked: BTreeSet<_> = (0..CONTESTS_MAX).filter_map(|_| book.contested(later)).collect();
    assert_eq!(asked.len(), CONTESTS_MAX);
    book.check();
}

#[test]
fn told_by_many_an_address_stands_in_several_places_which_are_gifts() {
    let mut book = book(1);
    for n in 0..10_000 {
        book.hear(host(0), host(n).ip(), NONE, NOW, NOW);
    }
    assert_eq!((book.counts(), book.new.used()), ((1, 0), PLACES_PER_ADDRESS_MAX));
    book.check();
    book.succeeded(host(0), NONE, NOW);
    assert_eq!((book.counts(), book.new.used()), ((0, 1), 0));
    book.check();

    let limits = BookLimits { new_buckets: 16, bucket_places: 1, ..BookLimits::default() };
    let mut book = AddressBook::new(limits, Locality::Internet, Rng::from_seed([1; 32]));
    for n in 0..10_000 {
        book.hear(host(0), host(n).ip(), NONE, NOW, NOW);
    }
    assert!(book.new.used() > 1);
    for n in 1..1_000 {
        book.hear(host(n), host(n).ip(), NONE, NOW, NOW);
    }
    assert!(book.entries.iter().all(|(_, entry)| entry.extra.is_empty()));
    assert!(record(&book, host(0)).is_some(), "its home is its own");
    assert_eq!(book.counts(), (16, 0));
    book.check();
}

#[test]
fn whoever_fits_is_found_in_a_small_book() {
    let mut book = book(1);
    assert_eq!(book.pick(Pick::Any, NOW, &mut |_| true), None);
    for n in 0..300 {
        hear(&mut book, host(n));
        if n % 3 == 0 {
            book.succeeded(host(n), NONE, NOW);
        }
        book.attempt(host(n), NOW);
    }
    let known: Vec<_> = book.records().collect();
    for wanted in known {
        let mut only = |record: &AddressRecord| record.addr == wanted.addr;
        assert_eq!(book.pick(Pick::Any, NOW, &mut only), Some(wanted.addr));
        let part = if wanted.tried { Pick::Stalest } else { Pick::New };
        assert_eq!(book.pick(part, NOW, &mut only), Some(wanted.addr));
        let part = if wanted.tried { Pick::New } else { Pick::Stalest };
        assert_eq!(book.pick(part, NOW, &mut only), None);
    }
    let mut looks = 0;
    book.pick(Pick::Any, NOW, &mut |_| {
        looks += 1;
        false
    });
    assert!(looks <= DRAWS_MAX + 2 * SCANNED_MAX);
}

#[test]
fn an_address_that_failed_or_was_just_dialled_is_picked_less_often() {
    let mut book = book(1);
    for n in 0..30 {
        hear(&mut book, host(n));
    }
    book.failed(host(0), NOW);
    book.failed(host(0), NOW);
    book.attempt(host(1), NOW);
    let mut picked = [0u32; 30];
    for _ in 0..30_000 {
        let addr = book.pick(Pick::New, NOW, &mut |_| true).unwrap();
        picked[(0..30).position(|n| host(n) == addr).unwrap()] += 1;
    }
    assert!((250..750).contains(&picked[0]), "four ninths of the others: {picked:?}");
    assert!(picked[1] < 60, "{picked:?}");
    assert!(picked[2..].iter().all(|times| *times > 500), "{picked:?}");
}

#[test]
fn the_stalest_is_the_one_longest_untested() {
    let mut book = book(1);
    for n in 0..50u32 {
        book.succeeded(host(n), NONE, NOW.after(secs(u64::from(n))));
    }
    book.attempt(host(0), NOW.after(secs(100)));
    assert_eq!(book.pick(Pick::Stalest, NOW, &mut |_| true), Some(host(1)));
    let mut fits = |record: &AddressRecord| record.addr != host(1);
    assert_eq!(book.pick(Pick::Stalest, NOW, &mut fits), Some(host(2)));
}

#[test]
fn only_what_we_reached_ourselves_is_told() {
    let mut book = book(1);
    for n in 0..40 {
        hear(&mut book, host(n));
    }
    assert!(book.sample(group("8.8.8.8:1"), NONE, NOW).is_empty());
    for n in 0..20 {
        let offers = if n < 5 { Capabilities::PEER_LIST } else { NONE };
        book.succeeded(host(n), offers, NOW);
    }
    let told = book.sample(group("8.8.8.8:1"), NONE, NOW);
    let expected: BTreeSet<_> = (0..20).map(host).collect();
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), expected, "a young book tells all");
    book.failed(host(0), NOW);
    book.forget(host(1));
    assert_eq!(book.sample(group("8.8.8.8:1"), NONE, NOW).len(), 18);
    assert_eq!(book.sample(group("8.8.8.8:1"), Capabilities::PEER_LIST, NOW).len(), 3);
    assert!(book.sample(group("8.8.8.8:1"), NONE, NOW.after(30 * DAY)).is_empty());
}

#[test]
fn a_sample_is_a_share_and_the_same_for_a_day() {
    let mut book = book(1);
    for n in 0..1_000 {
        book.succeeded(host(n), NONE, NOW);
    }
    let (_, tried) = book.counts();
    let told = book.sample(group("8.8.8.8:1"), NONE, NOW);
    assert_eq!(told.len(), tried * 23 / 100);
    assert!(told.len() > TOLD_MIN && told.len() < PEER_ADDRS_MAX);
    for n in 1_000..1_100 {
        book.succeeded(host(n), NONE, NOW);
    }
    assert_eq!(book.sample(group("8.8.200.200:1"), NONE, NOW), told, "one group, one sample");
    let others = (0..300).map(|n| book.sample(Locality::Internet.group(host(n)), NONE, NOW));
    let different: BTreeSet<_> = others.collect();
    assert_eq!(different.len(), SAMPLES, "many groups hear no more");
    let rarely = |other: &Vec<SocketAddr>| {
        told.iter().filter(|addr| other.contains(addr)).count() < told.len() / 2
    };
    assert_eq!(different.iter().filter(|other| rarely(other)).count(), SAMPLES - 1);
    assert_eq!(book.sample(group("8.8.8.8:1"), NONE, NOW), told, "and change nothing");
    assert!(rarely(&book.sample(group("8.8.8.8:1"), NONE, NOW.after(DAY))));
    for n in 1_100..3_000 {
        book.succeeded(host(n), NONE, NOW);
    }
    let later = NOW.after(2 * DAY);
    assert_eq!(book.sample(group("8.8.8.8:1"), NONE, later).len(), PEER_ADDRS_MAX);
}

#[test]
fn on_one_machine_every_engine_finds_a_place() {
    let limits = BookLimits::small();
    let mut book = AddressBook::new(limits, Locality::Local, Rng::from_seed([1; 32]));
    let engines = (1..=300).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let heard = engines.filter(|addr| hear(&mut book, *addr)).count();
    assert!(heard > 230, "{heard} of 300 in 1,024 places");
    book.check();
}
