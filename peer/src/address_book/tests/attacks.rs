//! What somebody gains who owns one group, or tells us everything.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Any addresses, any ports, as many as one likes, told from all over one /16.
    #[test]
    fn one_group_of_sources_holds_a_sixteenth_of_the_new_places(
        seed: [u8; 32],
        source in (11u8..100, any::<u8>()),
        told in any::<u32>(),
    ) {
        let limits = BookLimits::default();
        let mut book = AddressBook::new(limits, Locality::Internet, Rng::from_seed(seed));
        let mut dice = Rng::from_seed(seed).fork("attacker");
        for n in 0..40_000u32 {
            let mut addr = host(told.wrapping_add(n));
            addr.set_port(1 + dice.below(65_535) as u16);
            let low = dice.u64().to_le_bytes();
            let source = IpAddr::from([source.0, source.1, low[0], low[1]]);
            book.hear(addr, source, NONE, NOW, NOW);
        }
        let places = limits.new_buckets * limits.bucket_places;
        prop_assert!(book.new.used() > 3_000, "the attack is real: {}", book.new.used());
        prop_assert!(book.new.used() as u32 <= places / 16);
        let honest = (0..2_000).map(|n| host(told.wrapping_sub(n + 1)));
        let honest: Vec<_> = honest.filter(|addr| hear(&mut book, *addr)).collect();
        prop_assert!(honest.len() > 1_700, "{} of 2,000 find a place", honest.len());
        let mut theirs = 0;
        for _ in 0..1_000 {
            let addr = book.pick(Pick::New, NOW, &mut |_| true).unwrap();
            theirs += u32::from(!honest.contains(&addr));
        }
        prop_assert!(theirs < 150, "{theirs} of 1,000 picks, a sixteenth expected");
        book.check();
    }

    /// All hosts of one /16, all of them reached.
    #[test]
    fn one_group_of_addresses_holds_an_eighth_of_a_quarter_of_the_tried_places(
        seed: [u8; 32],
        own in (11u8..100, any::<u8>()),
    ) {
        let limits = BookLimits::default();
        let mut book = AddressBook::new(limits, Locality::Internet, Rng::from_seed(seed));
        for n in 0..20_000u16 {
            let [c, d] = n.to_be_bytes();
            let addr = SocketAddr::from(([own.0, own.1, c, d], 3_414));
            book.succeeded(addr, NONE, NOW.after(secs(u64::from(n) * 60)));
        }
        let (_, tried) = book.counts();
        prop_assert!(tried > 256, "the attack is real: {tried}");
        prop_assert!(tried as u32 <= 8 * limits.bucket_places);
        book.check();
    }
}

#[test]
fn who_tells_others_addresses_first_does_not_keep_them_in_its_own_buckets() {
    let mut book = book(3);
    let attacker = IpAddr::from([11, 11, 1, 1]);
    for n in 0..500 {
        book.hear(host(n), attacker, NONE, NOW, NOW);
    }
    for n in 1_000_000..1_040_000 {
        book.hear(host(n), attacker, NONE, NOW, NOW);
    }
    for teller in 0..20 {
        for n in 0..500 {
            book.hear(host(n), host(500 + teller).ip(), NONE, NOW, NOW);
        }
    }
    let honest: BTreeSet<_> = (0..500).map(host).collect();
    let picks = (0..1_000).filter_map(|_| book.pick(Pick::New, NOW, &mut |_| true));
    let ours = picks.filter(|addr| honest.contains(addr)).count();
    assert!(ours > 800, "{ours} of 1,000 picks");
    book.check();
}

#[test]
fn a_flood_moves_nobody_who_was_there_before() {
    let limits = BookLimits { new_buckets: 16, bucket_places: 4, ..BookLimits::default() };
    let mut book = AddressBook::new(limits, Locality::Internet, Rng::from_seed([1; 32]));
    for n in 0..30 {
        hear(&mut book, host(n));
        if n % 2 == 0 {
            book.succeeded(host(n), NONE, NOW);
        }
    }
    let before: Vec<_> = book.records().collect();
    for n in 1_000..20_000 {
        hear(&mut book, host(n));
    }
    assert_eq!(book.new.used(), 64, "the book is full");
    let after: Vec<_> = book.records().collect();
    assert!(before.iter().all(|record| after.contains(record)));
    for n in 1_000..20_000 {
        book.hear(host(n), host(n).ip(), NONE, NOW.after(30 * DAY), NOW.after(30 * DAY));
    }
    let untouched = book.records().filter(|record| !record.tried && before.contains(record));
    assert_eq!(untouched.count(), 0, "but a month later nobody misses them");
    book.check();
}

#[test]
fn a_full_book_stays_within_its_memory() {
    let limits = BookLimits {
        new_buckets: 16,
        tried_buckets: 32,
        bucket_places: 4,
        ..BookLimits::default()
    };
    let mut book = AddressBook::new(limits, Locality::Internet, Rng::from_seed([1; 32]));
    for n in 0..20_000 {
        let addr = host(n);
        if n % 2 == 0 {
            book.succeeded(addr, NONE, NOW);
            book.failed(addr, NOW.after(DAY));
        } else {
            book.hear(addr, host(n / 7).ip(), NONE, NOW, NOW.after(DAY));
        }
        book.sample(Locality::Internet.group(addr), NONE, NOW.after(secs(u64::from(n))));
    }
    assert_eq!(book.counts(), (64, 128), "every place is taken");
    assert_eq!(book.entries.len(), limits.addresses_max());
    assert_eq!(book.entries.capacity(), limits.addresses_max());
    book.check();
    let gone = changes(&mut book);
    assert!(gone.len() <= 1 + 2 * limits.addresses_max());

    assert!(book.memory_bytes() <= limits.memory_bytes());
    let most = BookLimits::default().memory_bytes();
    assert!(most <= 24 << 20, "{most} bytes, of which {} for an entry", size_of::<Entry>());
}
