//! Whether push-pull grows with the logarithm of the number of nodes, or with that one's logarithm.
//!
//! On the model of `rumour.rs`, not on the protocol's machines.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{Report, each_case, pairs};
use crate::dice::rng;
use crate::plot::{Band, Chart};
use crate::rumour::{Course, Ground, Rules, spread};
use crate::runs::Table;
use crate::squaring::{Squaring, slope, triples};
use crate::stats::{Estimate, quantile};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// Numbers of nodes; some must have their square and their fourth power among them.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [16, 32, 256, 1_024, 4_096, 16_384, 65_536, 1_048_576]
    )]
    pub nodes: Vec<u32>,
    /// Runs of each number of nodes up to 1,024.
    #[arg(long, default_value_t = 200)]
    pub seeds: u64,
    /// Runs of each that is larger.
    #[arg(long, default_value_t = 20)]
    pub seeds_large: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the tables and the charts go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// The largest number of nodes that is small.
pub(super) const SMALL: u32 = 1_024;

/// Sizes from which on the slope is fitted; below, rounding to whole rounds bends the line.
const FITTED_FROM: u32 = 256;

/// A figure of one run.
pub(super) type Figure = fn(&Course) -> f64;

/// What is looked at of a course, by its name in the tables.
pub(super) const TIMES: [(&str, Figure); 3] =
    [("50 %", |one| one.half), ("99 %", |one| one.most), ("all", |one| one.all)];

/// Who calls whom, and how.
#[derive(Clone, Copy, Debug)]
struct Setting {
    name: &'static str,
    complete: bool,
    rules: Rules,
}

/// The one that is judged.
const JUDGED: &str = "complete push-pull";

fn settings() -> Vec<Setting> {
    let three = Rules { calls: 3, ..Rules::PUSH_PULL };
    let memory = Rules { remembers: true, ..Rules::PUSH_PULL };
    [
        (JUDGED, true, Rules::PUSH_PULL),
        ("complete push-pull x3", true, three),
        ("complete push", true, Rules::PUSH),
        ("complete pull", true, Rules::PULL),
        ("8-regular push-pull", false, Rules::PUSH_PULL),
        ("8-regular push-pull with memory", false, memory),
    ]
    .map(|(name, complete, rules)| Setting { name, complete, rules })
    .to_vec()
}

/// All runs of one setting with one number of nodes.
struct Case {
    name: &'static str,
    nodes: u32,
    runs: Vec<Course>,
}

impl Case {
    fn of(&self, figure: Figure) -> Vec<f64> {
        self.runs.iter().map(figure).collect()
    }
}

fn run(setting: &Setting, nodes: u32, seed: u64) -> Course {
    let mut dice = rng(seed).fork(&format!("{} {nodes}", setting.name));
    let ground = match setting.complete {
        true => Ground::Complete(nodes),
        false => Ground::regular(nodes, 8, &mut dice),
    };
    spread(&ground, setting.rules, &mut dice)
}

/// Seeds of the runs with so many nodes.
pub(super) fn seeds(nodes: u32, first: u64, small: u64, large: u64) -> std::ops::Range<u64> {
    first..first + if nodes <= SMALL { small } else { large }.max(1)
}

/// All runs, and what follows from them.
///
/// # Errors
///
/// What hindered writing, or that there are no sizes to compare.
pub fn experiment(parameters: &Parameters) -> Result<Report, String> {
    let Parameters { nodes, seed, seeds: small, seeds_large, .. } = parameters;
    // Two calls to others need others, and eight links at least nine nodes.
    if triples(nodes).is_empty() || nodes.iter().any(|nodes| !(16..=1 << 24).contains(nodes)) {
        return Err("give --nodes from 16 to 2^24, one with its square and fourth power".into());
    }
    let seeds = |nodes| seeds(nodes, *seed, *small, *seeds_large);
    let settings = settings();
    let cases = pairs(&settings, nodes);
    let done = each_case(
        cases,
        |(_, nodes)| seeds(*nodes),
        |(setting, nodes), seed| run(setting, *nodes, seed),
    );
    let case =
        |((setting, nodes), runs): ((&Setting, _), _)| Case { name: setting.name, nodes, runs };
    let cases: Vec<_> = done.into_iter().map(case).collect();
    report(parameters, &cases)
}

/// A quotient of one setting.
struct Row {
    name: &'static str,
    sizes: [u32; 3],
    time: &'static str,
    found: Option<Squaring>,
}

fn squarings(parameters: &Parameters, cases: &[Case]) -> Vec<Row> {
    let mut dice = rng(parameters.seed).fork("bootstrap");
    let mut rows = Vec::new();
    for setting in settings() {
        for sizes in triples(&parameters.nodes) {
            for (time, figure) in TIMES {
                let of = |nodes| {
                    let is = |case: &&Case| case.name == setting.name && case.nodes == nodes;
                    cases.iter().find(is).map(|case| case.of(figure)).unwrap_or_default()
                };
                let [one, squared, fourth] = sizes.map(of);
                let found = Squaring::of([&one, &squared, &fourth], &mut dice);
                rows.push(Row { name: setting.name, sizes, time, found });
            }
        }
    }
    rows
}

fn report(parameters: &Parameters, cases: &[Case]) -> Result<Report, String> {
    let Parameters { seed, seeds, seeds_large, out, .. } = parameters;
    let rows = squarings(parameters, cases);
    let (rounds, squares) = (rounds_table(cases), squares_table(&rows));
    let mut text = format!(
        "sim experiment log-or-loglog: a model in rounds; {seeds} seeds from {seed}, {seeds_large} \
         above {SMALL} nodes\n\n{}\n{}\n",
        rounds.text(),
        squares.text(),
    );
    let (holds, verdict) = verdict(cases, &rows);
    text += &verdict;
    let names = [
        "log-or-loglog.csv",
        "log-or-loglog-squares.csv",
        "log-or-loglog.svg",
        "log-or-loglog-squares.svg",
    ];
    let files = names.map(|name| out.join(name));
    rounds.write(&files[0])?;
    squares.write(&files[1])?;
    rounds_chart(cases, &files[2])?;
    squares_chart(&rows, &files[3])?;
    Ok(Report { text, holds, files: files.to_vec() })
}

fn rounds_table(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "setting",
        "nodes",
        "runs",
        "50 % median",
        "99 %",
        "all",
        "50 % mean",
        "99 %",
        "all",
        "most calls to one",
        "copies a node",
    ]);
    for case in cases {
        let median = |figure: Figure| format!("{:.0}", quantile(&mut case.of(figure), 0.5));
        let mean = |figure: Figure| Estimate::of(&case.of(figure)).mean;
        let mut row =
            vec![case.name.to_owned(), case.nodes.to_string(), case.runs.len().to_string()];
        row.extend(TIMES.map(|(_, figure)| median(figure)));
        row.extend(TIMES.map(|(_, figure)| format!("{:.2}", mean(figure))));
        row.push(median(|one| one.load));
        row.push(format!("{:.1}", mean(|one| one.copies)));
        table.push(row);
    }
    table
}

fn squares_table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["setting", "nodes", "time", "quotient", "low", "high"]);
    for Row { name, sizes: [one, squared, fourth], time, found } in rows {
        let cell = |figure: fn(&Squaring) -> f64| {
            found.as_ref().map_or_else(|| "-".into(), |found| format!("{:.2}", figure(found)))
        };
        table.push(vec![
            (*name).to_owned(),
            format!("{one} {squared} {fourth}"),
            (*time).to_owned(),
            cell(|found| found.ratio),
            cell(|found| found.low),
            cell(|found| found.high),
        ]);
    }
    table
}

/// Mean rounds with their intervals.
fn rounds_chart(cases: &[Case], path: &Path) -> Result<(), String> {
    let lines = [
        (JUDGED, TIMES[0]),
        (JUDGED, TIMES[1]),
        (JUDGED, TIMES[2]),
        ("complete push-pull x3", TIMES[2]),
        ("8-regular push-pull", TIMES[2]),
        ("complete push", TIMES[2]),
    ];
    let bands = lines.map(|(name, (time, figure))| {
        let of = cases.iter().filter(|case| case.name == name);
        let mut points: Vec<_> =
            of.map(|case| (f64::from(case.nodes).log2(), Estimate::of(&case.of(figure)))).collect();
        points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Band { name: format!("{name}: {time}"), points }
    });
    let chart = Chart {
        title: "Rounds until half, 99 in 100 and all nodes know (means, 95 % intervals)",
        x_name: "number of nodes, log2",
        y_name: "rounds",
    };
    chart.rising_lines(path, &bands)
}

/// For each setting the quotients at the largest sizes.
fn squares_chart(rows: &[Row], path: &Path) -> Result<(), String> {
    let Some(largest) = rows.iter().map(|row| row.sizes).max() else { return Ok(()) };
    let bar = |row: &Row| match &row.found {
        // The chart's whiskers are as long on both sides; the table has the two ends.
        Some(found) => Estimate { mean: found.ratio, margin: (found.high - found.low) / 2.0 },
        None => Estimate { mean: 0.0, margin: 0.0 },
    };
    let groups: Vec<(String, Vec<Estimate>)> = settings()
        .iter()
        .map(|setting| {
            let of = rows.iter().filter(|row| row.name == setting.name && row.sizes == largest);
            (
                setting.name.trim_start_matches("complete ").replace("push-pull with ", ""),
                of.map(bar).collect(),
            )
        })
        .collect();
    let title = format!(
        "The test of squares at {}, {} and {} nodes: 2 is log N, 1 is log log N",
        largest[0], largest[1], largest[2]
    );
    let chart = Chart { title: &title, x_name: "", y_name: "[T(N^4)-T(N^2)] / [T(N^2)-T(N)]" };
    chart.bars(path, &TIMES.map(|(name, _)| name), &groups)
}

/// Half of the nodes: the quotient is that of the logarithm, the slope that of threefold growth.
fn verdict(cases: &[Case], rows: &[Row]) -> (bool, String) {
    let (mut all, mut text) = (true, String::new());
    let mut judge = |holds: bool, line: String| {
        all &= holds;
        let said = if holds { "holds" } else { "DOES NOT HOLD" };
        let _ = writeln!(text, "verdict: {said}: {line}");
    };
    for row in rows.iter().filter(|row| row.name == JUDGED && row.time == "50 %") {
        let [one, squared, fourth] = row.sizes;
        let at = format!("{JUDGED}, {one}, {squared} and {fourth} nodes, 50 %");
        let Some(found) = &row.found else {
            judge(false, format!("{at}: there is no quotient"));
            continue;
        };
        let law = match (found.low > 1.5, found.high < 1.5) {
            (true, _) => "log",
            (_, true) => "log log",
            _ => "undecided",
        };
        judge(
            law == "log" && (1.7..=2.15).contains(&found.ratio),
            format!("{at}: {law}, quotient {} in 1.7 to 2.15", found.text()),
        );
    }
    let points: Vec<(f64, f64)> = cases
        .iter()
        .filter(|case| case.name == JUDGED && case.nodes >= FITTED_FROM)
        .map(|case| (f64::from(case.nodes).log2(), Estimate::of(&case.of(TIMES[0].1)).mean))
        .collect();
    let slope = slope(&points);
    judge(
        (slope - 0.631).abs() <= 0.03,
        format!("{JUDGED}: half know after {slope:.3} rounds for each doubling, 0.631 +- 0.03"),
    );
    (all, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let run = |name: &str| {
            let out = std::env::temp_dir()
                .join(format!("molva-log-or-loglog-{}-{name}", std::process::id()));
            let parameters = Parameters {
                nodes: vec![16, 256, 65_536],
                seeds: 10,
                seeds_large: 2,
                seed: 1,
                out: out.clone(),
            };
            let report = experiment(&parameters).unwrap();
            let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
            let files: Vec<String> = report.files.iter().map(read).collect();
            std::fs::remove_dir_all(out).unwrap();
            (report.text, report.holds, files)
        };
        let first = run("first");
        assert_eq!(first, run("second"));
        assert!(first.2[2].starts_with("<svg"));
    }

    #[test]
    fn sizes_without_squares_are_refused() {
        let (out, seeds) = (PathBuf::new(), 1);
        let nodes = vec![16, 256];
        let parameters = Parameters { nodes, seeds, seeds_large: 1, seed: 1, out };
        assert!(experiment(&parameters).is_err());
    }
}
