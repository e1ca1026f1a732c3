//! Whether push-pull grows with the logarithm of the number of nodes, or with that one's logarithm.
//!
//! On the model of `rumour.rs`, not on the protocol's machines.

use std::path::{Path, PathBuf};

use super::{Question, Report, Verdicts, check_seeds, each_case, limits, pairs, seeds};
use crate::dice::rng;
use crate::list::List;
use crate::plot::{Band, Chart};
use crate::rumour::{Course, Ground, Rules, spread};
use crate::runs::Table;
use crate::squaring::{Squaring, slope, triples};
use crate::stats::{Estimate, quantile};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// Numbers of nodes, separated by commas; some must have their square and their fourth power
    /// among them.
    #[arg(
        long,
        value_name = "N,N,..",
        default_value_t = [16, 32, 256, 1_024, 4_096, 16_384, 65_536, 1_048_576].into()
    )]
    pub nodes: List<u32>,
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

/// How many runs there are of so many nodes.
pub(super) const fn runs(nodes: u32, small: u64, large: u64) -> u64 {
    if nodes <= SMALL { small } else { large }
}

/// Whether the sizes can be compared, and the seeds are there.
pub(super) fn check(
    nodes: &List<u32>,
    most: u32,
    first: u64,
    [small, large]: [u64; 2],
) -> Result<(), String> {
    // Two calls to others need others, and eight links at least nine nodes.
    limits::all_within("nodes", nodes, 16..=most)?;
    if triples(nodes).is_empty() {
        return Err(format!("--nodes {nodes}: none has its square and fourth power among them"));
    }
    check_seeds(first, small)?;
    check_seeds(first, large).map_err(|error| error.replace("--seeds", "--seeds-large"))
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        check(&self.nodes, 1 << 24, self.seed, [self.seeds, self.seeds_large])
    }

    fn head(&self) -> String {
        let Self { nodes, seed, seeds, seeds_large, .. } = self;
        format!(
            "sim experiment log-or-loglog: a model in rounds; {nodes} nodes, {seeds} seeds from \
             {seed}, {seeds_large} above {SMALL} nodes"
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let settings = settings();
        let done = each_case(
            pairs(&settings, &self.nodes),
            |(_, nodes)| seeds(self.seed, runs(*nodes, self.seeds, self.seeds_large)),
            |(setting, nodes), seed| run(setting, *nodes, seed),
        );
        let case =
            |((setting, nodes), runs): ((&Setting, _), _)| Case { name: setting.name, nodes, runs };
        let cases: Vec<_> = done.into_iter().map(case).collect();
        let rows = squarings(self, &cases);
        let (rounds, squares) = (rounds_table(&cases), squares_table(&rows));
        let files = vec![
            ("log-or-loglog.csv".to_owned(), rounds.csv()),
            ("log-or-loglog-squares.csv".to_owned(), squares.csv()),
            ("log-or-loglog.svg".to_owned(), rounds_chart(&cases)?),
            ("log-or-loglog-squares.svg".to_owned(), squares_chart(&rows)?),
        ];
        let text = format!("{}\n{}", rounds.text(), squares.text());
        Ok(Report { text, verdicts: verdict(&cases, &rows), files })
    }
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

fn rounds_table(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "setting",
        "nodes",
        "runs",
        "50 % median",
        "99 % median",
        "all median",
        "50 % mean",
        "99 % mean",
        "all mean",
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
fn rounds_chart(cases: &[Case]) -> Result<String, String> {
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
        most: None,
    };
    chart.lines(&bands)
}

/// For each setting the quotients at the largest sizes.
fn squares_chart(rows: &[Row]) -> Result<String, String> {
    let largest = rows.iter().map(|row| row.sizes).max().unwrap_or_default();
    let bar = |row: &Row| match &row.found {
        // The chart's whiskers are as long on both sides; the table has the two ends.
        Some(found) => Estimate { mean: found.ratio, margin: Some((found.high - found.low) / 2.0) },
        None => Estimate::exact(0.0),
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
    let y_name = "[T(N^4)-T(N^2)] / [T(N^2)-T(N)]";
    let chart = Chart { title: &title, x_name: "", y_name, most: None };
    chart.bars(&TIMES.map(|(name, _)| name), &groups)
}

/// Half of the nodes: the quotient is that of the logarithm, the slope that of threefold growth.
fn verdict(cases: &[Case], rows: &[Row]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for row in rows.iter().filter(|row| row.name == JUDGED && row.time == "50 %") {
        let [one, squared, fourth] = row.sizes;
        let at = format!("{JUDGED}, {one}, {squared} and {fourth} nodes, 50 %");
        let Some(found) = &row.found else {
            verdicts.judge(false, format!("{at}: there is no quotient"));
            continue;
        };
        let law = match (found.low > 1.5, found.high < 1.5) {
            (true, _) => "log",
            (_, true) => "log log",
            _ => "undecided",
        };
        verdicts.judge(
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
    let line = "half know after so many rounds for each doubling";
    let line = format!("{JUDGED}: {line}: {slope:.4}, within 0.03 of 0.631");
    match slope.is_finite() {
        true => verdicts.judge((slope - 0.631).abs() <= 0.03, line),
        false => verdicts.untold(format!("{JUDGED}: too few sizes for the slope")),
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let run = || {
            let parameters = Parameters {
                nodes: [16, 256, 65_536].into(),
                seeds: 10,
                seeds_large: 2,
                seed: 1,
                out: PathBuf::new(),
            };
            parameters.check().unwrap();
            parameters.ask().unwrap()
        };
        let first = run();
        assert_eq!(first, run());
        assert!(first.files[2].1.starts_with("<svg"));
    }

    #[test]
    fn sizes_without_squares_are_refused() {
        let (out, seeds, nodes) = (PathBuf::new(), 1, [16, 256].into());
        let parameters = Parameters { nodes, seeds, seeds_large: 1, seed: 1, out };
        assert!(parameters.check().is_err());
    }
}
