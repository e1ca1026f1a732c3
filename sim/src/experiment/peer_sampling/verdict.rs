//! What follows from the figures, claim by claim.

use super::super::Verdicts;
use super::measures::{Sized, Sizes};
use super::{Findings, estimate};
use crate::stats::{beside, number};

/// One line: what was claimed or is to be reproduced, what was found, whether that is so.
struct Judged {
    /// A criterion of the machines; else a claim, which may well be refuted.
    is_criterion: bool,
    claim: &'static str,
    found: String,
    /// `None`: it takes an interval, and there is none.
    holds: Option<bool>,
}

/// All lines.
pub(super) fn of(findings: &Findings) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for Judged { is_criterion, claim, found, holds } in
        criteria(findings).into_iter().chain(claims(findings))
    {
        let line = format!("{claim}: {found}");
        if is_criterion {
            verdicts.judge_intervals(holds, line);
        } else {
            verdicts.claim(holds, line);
        }
    }
    verdicts
}

/// What must come out, or the machines are not those that were meant.
fn criteria(findings: &Findings) -> Vec<Judged> {
    let shape = |name: &str, figure: fn(&super::Shape) -> f64| {
        let found = findings.shapes.iter().find(|(setting, _)| setting.name == name);
        estimate(&found.expect("all settings were run").1, figure)
    };
    let against = |one: &super::Shape| one.clustering / one.random_clustering;
    let sd = shape("cyclon", |one| one.degree_sd);
    let cyclon = shape("cyclon", against);
    let seed = shape("one-heartbeat", against);
    let longest = findings
        .shapes
        .iter()
        .filter(|(setting, _)| setting.places() >= 20)
        .map(|(_, runs)| estimate(runs, |one| f64::from(one.paths.longest)).mean)
        .fold(0.0, f64::max);
    let criterion = |claim, found, holds| Judged { is_criterion: true, claim, found, holds };
    vec![
        criterion(
            "Cyclon's in-degrees have sd <= 3",
            sd.text(2),
            sd.high().map(|high| high <= 3.0),
        ),
        criterion(
            "Cyclon clusters <= 1.3 times as a random graph",
            cyclon.text(2),
            cyclon.high().map(|high| high <= 1.3),
        ),
        criterion(
            "one-heartbeat clusters > 4 times so",
            seed.text(1),
            seed.low().map(|low| low > 4.0),
        ),
        criterion(
            "no two nodes of 20 places are > 5 hops apart",
            beside(longest, 5.0, 1),
            Some(longest <= 5.0),
        ),
    ]
}

/// What was claimed of the plain idea.
fn claims(findings: &Findings) -> Vec<Judged> {
    let mut judged = vec![power_law(findings, "plain"), power_law(findings, "one-heartbeat")];
    for (setting, runs) in &findings.stars {
        if matches!(setting.name, "plain" | "one-way" | "one-heartbeat") {
            let soon = runs.iter().filter(|run| run.is_some_and(|cycles| cycles <= 20)).count();
            judged.push(Judged {
                is_criterion: false,
                claim: "it leaves a star within 20 cycles",
                found: format!("{}: {soon} of {} runs", setting.name, runs.len()),
                holds: Some(soon == runs.len()),
            });
        }
    }
    for (setting, runs) in &findings.shapes {
        if matches!(setting.name, "plain" | "one-way") {
            let ratio = estimate(runs, |one| one.tree_ratio);
            judged.push(Judged {
                is_criterion: false,
                claim: "its links cost <= 1.5 times the cheapest tree",
                found: format!("{}: {}", setting.name, ratio.text(1)),
                holds: ratio.high().map(|high| high <= 1.5),
            });
        }
    }
    for (setting, runs) in &findings.followed {
        let with = estimate(runs, |one| one.correlation);
        judged.push(Judged {
            is_criterion: false,
            claim: "its links follow the talk (correlation >= 0.5)",
            found: format!("{}: {}", setting.name, with.text(3)),
            holds: with.low().map(|low| low >= 0.5),
        });
    }
    judged.push(uniform(findings));
    judged
}

/// Lists whose sizes follow a power law make degrees that do: the exponents agree as well as the
/// estimator can tell them apart, and those are listed most that have the largest lists.
fn power_law(findings: &Findings, name: &str) -> Judged {
    let found = findings
        .sized
        .iter()
        .find(|(setting, sizes, _)| setting.name == name && *sizes == Sizes::Pareto);
    let runs: &[Sized] = &found.expect("these settings were run").2;
    let exponent = estimate(runs, |one| one.exponent.mean);
    let apart = estimate(runs, |one| (one.exponent.mean - one.sizes_exponent).abs());
    let own = estimate(runs, |one| one.exponent.margin.unwrap_or(f64::NAN)).mean;
    let with = estimate(runs, |one| one.correlation);
    Judged {
        is_criterion: false,
        claim: "lists of power-law sizes make in-degrees of the same exponent (correlation >= 0.9)",
        found: format!(
            "{name}: exponent {}, {} from that of the sizes, correlation {}",
            exponent.text(2),
            number(apart.mean, 2),
            with.text(2)
        ),
        holds: with.low().map(|low| apart.mean <= own && exponent.mean < 3.0 && low >= 0.9),
    }
}

/// News spread over the plain overlay nearly as fast as where everybody may call anybody.
fn uniform(findings: &Findings) -> Judged {
    let found = findings.shapes.iter().find(|(setting, _)| setting.name == "plain");
    let runs = &found.expect("all settings were run").1;
    let slower = estimate(runs, |one| one.rounds / one.rounds_uniform);
    Judged {
        is_criterion: false,
        claim: "push-pull over plain takes <= 1.5 times as many rounds as uniform",
        found: slower.text(2),
        holds: slower.high().map(|high| high <= 1.5),
    }
}
