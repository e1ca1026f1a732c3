//! What holds whatever happens.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

#[derive(Clone, Debug)]
enum Step {
    Hear { n: u32, port: u16, source: u32 },
    Introduce(u32),
    Attempt(u32),
    Failed(u32),
    Succeeded(u32, u16),
    Seen(u32),
    Forget(u32),
    Pick(u8),
    Contested,
    Sample(u32),
    TakeChanges(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0u32..400;
    let port = 1u16..4;
    prop_oneof![
        6 => (n.clone(), port.clone(), 0u32..40)
            .prop_map(|(n, port, source)| Step::Hear { n, port, source }),
        1 => n.clone().prop_map(Step::Introduce),
        1 => n.clone().prop_map(Step::Attempt),
        4 => n.clone().prop_map(Step::Failed),
        6 => (n.clone(), port).prop_map(|(n, port)| Step::Succeeded(n, port)),
        1 => n.clone().prop_map(Step::Seen),
        1 => n.clone().prop_map(Step::Forget),
        2 => (0u8..3).prop_map(Step::Pick),
        1 => Just(Step::Contested),
        1 => n.prop_map(Step::Sample),
        1 => (0usize..20).prop_map(Step::TakeChanges),
        1 => (0u64..400_000).prop_map(Step::Pass),
    ]
}

fn at(n: u32, port: u16) -> SocketAddr {
    SocketAddr::new(host(n).ip(), port)
}

/// What the book has at this host, else what it could have.
fn known(book: &AddressBook, n: u32) -> SocketAddr {
    let id = book.hosts.get(&Locality::Internet.host(host(n)));
    id.map_or_else(|| host(n), |id| book.entries[*id].record.addr)
}

/// Carries out a step; what came of it.
fn perform(book: &mut AddressBook, step: &Step, now: &mut UnixTime) -> String {
    match *step {
        Step::Hear { n, port, source } => {
            return book.hear(at(n, port), host(source).ip(), NONE, *now, *now).to_string();
        }
        Step::Introduce(n) => return book.introduce(host(n), NONE, *now).to_string(),
        Step::Attempt(n) => book.attempt(known(book, n), *now),
        Step::Failed(n) => book.failed(known(book, n), *now),
        Step::Succeeded(n, port) => book.succeeded(at(n, port), NONE, *now),
        Step::Seen(n) => book.seen(known(book, n), *now),
        Step::Forget(n) => book.forget(host(n)),
        Step::Pick(what) => {
            let what = [Pick::Any, Pick::New, Pick::Stalest][usize::from(what)];
            return format!("{:?}", book.pick(what, *now, &mut |record| record.failures < 2));
        }
        Step::Contested => return format!("{:?}", book.contested(*now)),
        Step::Sample(n) => {
            return format!("{:?}", book.sample(Locality::Internet.group(host(n)), NONE, *now));
        }
        Step::TakeChanges(max) => {
            let mut changes = Vec::new();
            book.take_changes(max, &mut changes);
            return format!("{changes:?}");
        }
        Step::Pass(time) => *now = now.after(secs(time)),
    }
    String::new()
}

fn small(seed: u8) -> AddressBook {
    let limits = BookLimits {
        new_buckets: 16,
        tried_buckets: 8,
        bucket_places: 4,
        tried_failures_max: 2,
        tried_failing: DAY,
        ..BookLimits::default()
    };
    AddressBook::new(limits, Locality::Internet, Rng::from_seed([seed; 32]))
}

/// Whatever a store could hold.
fn stored() -> impl Strategy<Value = AddressRecord> {
    let times = (any::<u64>(), any::<u64>(), any::<u64>());
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        (0u32..60).prop_map(|n| host(n).ip()),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|ip| IpAddr::V6(std::net::Ipv4Addr::from(ip).to_ipv6_mapped())),
    ];
    (ip.clone(), 0u16..4, ip, any::<bool>(), times, any::<u32>()).prop_map(
        |(ip, port, source, tried, (seen, attempt, success), failures)| AddressRecord {
            addr: SocketAddr::new(ip, port),
            source,
            tried,
            capabilities: NONE,
            last_seen: UnixTime::from_secs(seen),
            last_attempt: UnixTime::from_secs(attempt),
            last_success: UnixTime::from_secs(success % 3),
            failures,
        },
    )
}

/// What a store has after these changes.
fn keep(kept: &mut Vec<AddressRecord>, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Address(record) => {
                kept.retain(|known| known.addr != record.addr);
                kept.push(record);
            }
            Change::AddressGone(addr) => kept.retain(|known| known.addr != addr),
            Change::Ban(_) | Change::BanGone(_) | Change::Anchors(_) | Change::Secret(_) => {}
        }
    }
}

fn sorted(records: impl IntoIterator<Item = AddressRecord>) -> Vec<AddressRecord> {
    let mut records: Vec<_> = records.into_iter().collect();
    records.sort_by_key(|record| record.addr);
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_book_agrees_with_itself_and_its_store(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let (mut book, mut now) = (small(1), NOW);
        let mut kept = Vec::new();
        for step in &steps {
            match step {
                Step::TakeChanges(max) => {
                    let mut changes = Vec::new();
                    book.take_changes(*max, &mut changes);
                    keep(&mut kept, changes);
                }
                _ => drop(perform(&mut book, step, &mut now)),
            }
            book.check();
        }
        keep(&mut kept, changes(&mut book));
        prop_assert_eq!(sorted(kept), sorted(book.records()));
    }

    #[test]
    fn a_restart_has_the_same_book(steps in prop::collection::vec(step(), 1..400), seed: u8) {
        let (mut book, mut now) = (small(1), NOW);
        for step in &steps {
            perform(&mut book, step, &mut now);
        }
        let mut again = small(seed);
        again.restore(Some(book.secret), book.records().collect(), now);
        again.check();
        prop_assert!(!again.has_changes());
        prop_assert_eq!(again.counts(), book.counts());
        for (_, entry) in &book.entries {
            let id = again.hosts[&Locality::Internet.host(entry.record.addr)];
            prop_assert_eq!(&again.entries[id].record, &entry.record);
            prop_assert_eq!(again.entries[id].home, entry.home);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_answers(steps in prop::collection::vec(step(), 1..200)) {
        let run = || {
            let (mut book, mut now) = (small(1), NOW);
            let said = steps.iter().map(|step| perform(&mut book, step, &mut now));
            said.collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn any_store_gives_a_book(
        records in prop::collection::vec(stored(), 0..400),
        secret: Option<[u8; 32]>,
        heard in 0u32..20,
    ) {
        let mut book = small(2);
        for n in 0..heard {
            hear(&mut book, host(n));
        }
        book.restore(secret, records.clone(), NOW);
        book.check();
        // A store has one record for each address.
        let mut kept = Vec::new();
        keep(&mut kept, records.into_iter().map(Change::Address).collect());
        // Of more the store may keep some that are gone.
        let all_told = kept.len() + heard as usize <= book.limits.addresses_max();
        let told = changes(&mut book);
        prop_assert_eq!(told.contains(&Change::Secret(book.secret)), secret.is_none());
        keep(&mut kept, told);
        let known = sorted(book.records());
        for record in &known {
            prop_assert!(record.last_seen <= NOW && record.last_attempt <= NOW);
            prop_assert!(Locality::Internet.is_reachable(record.addr));
        }
        if all_told {
            prop_assert_eq!(sorted(kept), known);
        }
    }
}
