//! The experiments, small: the same seed gives the same bytes, and the verdicts hold.

use std::path::{Path, PathBuf};

use sim::experiment::{Outcome, Question, dandelion, relay};

fn out(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn few_transactions(name: &str) -> dandelion::Parameters {
    dandelion::Parameters {
        nodes: 120,
        degree: 6,
        transactions: 60,
        every_ms: 500,
        seeds: 4,
        seed: 1,
        spies: 0.1,
        scheme: dandelion::Scheme::All,
        fluff_percent: 10,
        out: out(name),
    }
}

#[test]
fn dandelion_hides_who_made_a_transaction() {
    let parameters = few_transactions("hides");
    let found = |scheme| {
        let outcomes: Vec<_> = (1..=4)
            .map(|seed| dandelion::run(&parameters, scheme, seed).expect("the run is sound"))
            .collect();
        let recall = outcomes.iter().map(|outcome| outcome.guess.recall).sum::<f64>() / 4.0;
        let hops = outcomes.iter().map(|outcome| outcome.hops).sum::<f64>() / 4.0;
        (recall, hops)
    };
    let (plain, none) = found(dandelion::Scheme::Flood);
    let (hidden, hops) = found(dandelion::Scheme::PlusPlus);
    assert!(hidden < plain / 2.0 && hidden < 0.25, "recall {hidden}, of flood {plain}");
    assert!(none == 0.0 && (4.0..16.0).contains(&hops), "{hops} hops of a stem");
}

#[test]
fn the_same_seed_gives_the_same_report_and_the_same_files() {
    let run = |name: &str| {
        let scheme = dandelion::Scheme::PlusPlus;
        let parameters = dandelion::Parameters {
            nodes: 60,
            transactions: 10,
            seeds: 3,
            scheme,
            ..few_transactions(name)
        };
        parameters.check().unwrap();
        parameters.ask().unwrap()
    };
    let (first, second) = (run("first"), run("second"));
    assert_eq!(first, second);
    assert!(first.files[1].1.starts_with("<svg"), "{}", first.files[1].1);
}

#[test]
fn announcing_saves_bytes_and_loses_nothing() {
    let parameters = relay::Parameters {
        nodes: 50,
        degree: 5,
        transactions: 30,
        every_ms: 500,
        blocks: 1,
        mbit: 20,
        seeds: 2,
        seed: 1,
        policy: relay::Policy::All,
        threshold_sweep: false,
        out: out("relay"),
    };
    let report = parameters.ask().unwrap();
    assert_eq!(report.verdicts.outcome(), Outcome::Holds, "{}", report.verdicts);
}
