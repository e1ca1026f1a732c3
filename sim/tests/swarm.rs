//! Random swarms: the laws hold in each of them, a run can be repeated, and what is planted in the
//! driver is noticed.

use indicatif::ProgressBar;
use sim::swarm::{Case, Run};
use sim::{Plant, in_parallel};

/// Schedules of the first test.
const SEEDS: u64 = 240;

/// In so many seeds each plant is noticed at least once.
const PLANT_SEEDS: u64 = 24;

/// Swarms whose processes are recorded.
const RECORDED_SEEDS: u64 = 8;

fn runs(cases: &[Case]) -> Vec<Run> {
    in_parallel(cases, &ProgressBar::hidden(), Case::run)
}

#[test]
fn the_laws_hold_in_every_swarm() {
    let cases: Vec<Case> = (0..SEEDS).map(Case::of_seed).collect();
    let failed = runs(&cases).into_iter().filter(|run| run.failure.is_some());
    let told: String = failed.map(|run| run.text()).collect();
    assert!(told.is_empty(), "\n{told}");
}

#[test]
fn a_seed_gives_the_same_outputs_each_time_and_another_seed_others() {
    let cases: Vec<Case> = (0..8).chain(0..8).map(Case::of_seed).collect();
    let runs = runs(&cases);
    let (first, second) = runs.split_at(8);
    assert_eq!(first, second);
    let digests: std::collections::BTreeSet<_> = first.iter().map(|run| run.digest).collect();
    assert_eq!(digests.len(), 8);
}

#[test]
fn each_process_can_be_recorded_and_does_the_same_again() {
    let recorded = |seed| Case { record: true, ..Case::of_seed(seed) };
    let cases: Vec<Case> = (0..RECORDED_SEEDS).map(recorded).collect();
    let plain: Vec<Case> = (0..RECORDED_SEEDS).map(Case::of_seed).collect();
    for (run, plain) in runs(&cases).iter().zip(runs(&plain)) {
        assert_eq!(run.digest, plain.digest, "who writes down changes nothing");
        assert!(run.recordings.len() >= 3);
        for (node, life, recording) in &run.recordings {
            let again = peer::replay(recording);
            let same = again.unwrap_or_else(|error| panic!("node {node}, life {life}: {error}"));
            assert!(!same.is_cut && same.outputs > 0, "node {node}, life {life}: {same:?}");
        }
    }
}

#[test]
fn what_is_planted_in_the_driver_is_noticed() {
    for plant in Plant::ALL {
        let case = |seed| Case { plant: Some(plant), ..Case::of_seed(seed) };
        let cases: Vec<Case> = (0..PLANT_SEEDS).map(case).collect();
        let noticed = runs(&cases).iter().filter(|run| run.failure.is_some()).count();
        assert!(noticed > 0, "{} goes unnoticed in {PLANT_SEEDS} seeds", plant.name());
    }
}

#[test]
fn a_schedule_that_fails_is_made_smaller_and_can_be_repeated() {
    let case = |seed| Case { plant: Some(Plant::ConcealCloses), ..Case::of_seed(seed) };
    let cases: Vec<Case> = (0..PLANT_SEEDS).map(case).collect();
    let whole = runs(&cases).into_iter().find(|run| run.failure.is_some() && run.faults.len() > 3);
    let whole = whole.expect("a plant that shows where connections end");
    let small = whole.case.shrink().expect("it fails");
    assert!(small.failure.is_some() && small.faults.len() < whole.faults.len(), "{}", small.text());
    assert_eq!(small.case.run(), small);
    assert!(small.text().contains(&small.case.command()));
}
