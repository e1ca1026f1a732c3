//! Where rumours are ultra-fast, and who pays for it: graphs with hubs, and hubs with a limit.
//!
//! On the model of `rumour.rs`, not on the protocol's machines.

use std::path::{Path, PathBuf};

use super::log_or_loglog::{Figure, SMALL, TIMES, check, runs};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::dice::rng;
use crate::list::List;
use crate::plot::{Band, Chart};
use crate::rumour::{Course, Ground, ROUNDS_MAX, Rules, spread};
use crate::runs::Table;
use crate::squaring::{Squaring, slope, triples};
use crate::stats::{Estimate, number, quantile};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// Numbers of nodes, separated by commas; one must have its square and its fourth power among
    /// them.
    #[arg(
        long,
        value_name = "N,N,..",
        default_value_t = [16, 256, 1_024, 4_096, 16_384, 65_536].into()
    )]
    pub nodes: List<u32>,
    /// Density exponents of the degrees, more than 2, separated by commas.
    #[arg(long, value_name = "X,X,..", default_value_t = [2.2, 2.5, 2.8, 3.5].into())]
    pub exponents: List<f64>,
    /// Calls that a node answers in a round, separated by commas; 0 for any number.
    #[arg(long, value_name = "N,N,..", default_value_t = [0, 256, 64, 16].into())]
    pub caps: List<u32>,
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

/// The least weight of a node, about its degree.
const LEAST: f64 = 3.0;

/// Sizes from which on the growth of the load is fitted.
const FITTED_FROM: u32 = 1_024;

/// The exponent and the cap that are judged.
const JUDGED: (f64, u32) = (2.5, 16);

/// All runs of one graph, number of nodes and cap.
struct Case {
    /// Of the degrees; nothing where everybody may call anybody.
    exponent: Option<f64>,
    nodes: u32,
    cap: u32,
    runs: Vec<Course>,
}

impl Case {
    fn of(&self, figure: Figure) -> Vec<f64> {
        self.runs.iter().map(figure).collect()
    }

    fn median(&self, figure: Figure) -> f64 {
        quantile(&mut self.of(figure), 0.5)
    }

    fn graph(&self) -> String {
        self.exponent.map_or_else(|| "complete".into(), |exponent| format!("exponent {exponent}"))
    }
}

/// One graph, and a rumour over it with each of the caps.
fn run(exponent: Option<f64>, nodes: u32, caps: &[u32], seed: u64) -> Vec<Course> {
    let dice = rng(seed).fork(&format!("{exponent:?} {nodes}"));
    let ground = match exponent {
        None => Ground::Complete(nodes),
        Some(exponent) => Ground::power_law(nodes, exponent, LEAST, &mut dice.fork("graph")),
    };
    let course = |cap: &u32| {
        let rules = Rules { cap: (*cap > 0).then_some(*cap), ..Rules::PUSH_PULL };
        spread(&ground, rules, &mut dice.fork("rumour"))
    };
    caps.iter().map(course).collect()
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        check(&self.nodes, 1 << 22, self.seed, [self.seeds, self.seeds_large])?;
        limits::all_within("exponents", &self.exponents, 2.05..=9.0)
    }

    fn head(&self) -> String {
        let Self { nodes, exponents, caps, seed, seeds, seeds_large, .. } = self;
        format!(
            "sim experiment hubs: a model in rounds; {nodes} nodes, exponents {exponents}, \
             {caps} answers at most, {seeds} seeds from {seed}, {seeds_large} above {SMALL} nodes; \
             given up after {ROUNDS_MAX} rounds"
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let graphs: Vec<Option<f64>> =
            std::iter::once(None).chain(self.exponents.iter().copied().map(Some)).collect();
        let done = each_case(
            pairs(&graphs, &self.nodes),
            |(_, nodes)| seeds(self.seed, runs(*nodes, self.seeds, self.seeds_large)),
            |(exponent, nodes), seed| run(**exponent, *nodes, &self.caps, seed),
        );
        let mut cases = Vec::new();
        for ((exponent, nodes), runs) in done {
            for (place, cap) in self.caps.iter().enumerate() {
                let runs = runs.iter().map(|courses: &Vec<Course>| courses[place]).collect();
                cases.push(Case { exponent: *exponent, nodes, cap: *cap, runs });
            }
        }
        let rows = squarings(self, &cases);
        let (rounds, squares) = (rounds_table(&cases), squares_table(&cases, &rows));
        let [spread, load, caps] = charts(&cases)?;
        let files = vec![
            ("hubs.csv".to_owned(), rounds.csv()),
            ("hubs-squares.csv".to_owned(), squares.csv()),
            ("hubs.svg".to_owned(), spread),
            ("hubs-load.svg".to_owned(), load),
            ("hubs-caps.svg".to_owned(), caps),
        ];
        let text = format!("{}\n{}", rounds.text(), squares.text());
        Ok(Report { text, verdicts: verdict(&cases, &rows), files })
    }
}

/// A quotient of one graph without caps.
struct Row {
    exponent: Option<f64>,
    sizes: [u32; 3],
    time: &'static str,
    found: Option<Squaring>,
}

fn squarings(parameters: &Parameters, cases: &[Case]) -> Vec<Row> {
    let mut dice = rng(parameters.seed).fork("bootstrap");
    let mut graphs: Vec<Option<f64>> = cases.iter().map(|case| case.exponent).collect();
    graphs.dedup();
    let mut rows = Vec::new();
    for exponent in graphs {
        for sizes in triples(&parameters.nodes) {
            for (time, figure) in TIMES {
                let of = |nodes| {
                    let of = find(cases, exponent, nodes, 0);
                    of.map(|case| case.of(figure)).unwrap_or_default()
                };
                let [one, squared, fourth] = sizes.map(of);
                let found = Squaring::of([&one, &squared, &fourth], &mut dice);
                rows.push(Row { exponent, sizes, time, found });
            }
        }
    }
    rows
}

fn find(cases: &[Case], exponent: Option<f64>, nodes: u32, cap: u32) -> Option<&Case> {
    cases.iter().find(|case| (case.exponent, case.nodes, case.cap) == (exponent, nodes, cap))
}

/// The exponent with which the largest number of calls grows, without caps.
fn growth(cases: &[Case], exponent: Option<f64>) -> f64 {
    let of = cases.iter().filter(|case| case.exponent == exponent && case.cap == 0);
    let points: Vec<(f64, f64)> = of
        .filter(|case| case.nodes >= FITTED_FROM)
        .map(|case| (f64::from(case.nodes).log2(), load(case).mean))
        .collect();
    slope(&points)
}

/// The mean of the largest number of calls, as a logarithm.
fn load(case: &Case) -> Estimate {
    Estimate::of(&case.of(|one| one.load.max(1.0).log2()))
}

fn rounds_table(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "graph",
        "nodes",
        "answers at most",
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
    let cell = |rounds: f64, digits: usize| match rounds.is_finite() {
        true => format!("{rounds:.digits$}"),
        false => format!("> {ROUNDS_MAX}"),
    };
    for case in cases {
        let cap = if case.cap == 0 { "any".into() } else { case.cap.to_string() };
        let mut row = vec![case.graph(), case.nodes.to_string(), cap, case.runs.len().to_string()];
        row.extend(TIMES.map(|(_, figure)| cell(case.median(figure), 0)));
        row.extend(TIMES.map(|(_, figure)| {
            // Of times that some runs did not have there is no mean.
            let mean = case.of(figure).iter().sum::<f64>() / case.runs.len() as f64;
            if mean.is_finite() { format!("{mean:.2}") } else { "-".into() }
        }));
        row.push(cell(case.median(|one| one.load), 0));
        row.push(format!("{:.1}", Estimate::of(&case.of(|one| one.copies)).mean));
        table.push(row);
    }
    table
}

fn squares_table(cases: &[Case], rows: &[Row]) -> Table {
    let mut table =
        Table::new(&["graph", "nodes", "time", "quotient", "low", "high", "load grows with N^"]);
    for Row { exponent, sizes: [one, squared, fourth], time, found } in rows {
        let cell = |figure: fn(&Squaring) -> f64| {
            found.as_ref().map_or_else(|| "-".into(), |found| format!("{:.2}", figure(found)))
        };
        let graph = exponent.map_or_else(|| "complete".into(), |of| format!("exponent {of}"));
        table.push(vec![
            graph,
            format!("{one} {squared} {fourth}"),
            (*time).to_owned(),
            cell(|found| found.ratio),
            cell(|found| found.low),
            cell(|found| found.high),
            number(growth(cases, *exponent), 2),
        ]);
    }
    table
}

/// A line over the number of nodes, as far as every run had the figure.
fn band<'a>(
    name: String,
    cases: impl Iterator<Item = &'a Case>,
    figure: impl Fn(&Case) -> Estimate,
) -> Band {
    let of = cases.map(|case| (f64::from(case.nodes).log2(), figure(case)));
    let mut points: Vec<_> = of.filter(|(_, estimate)| estimate.mean.is_finite()).collect();
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Band { name, points }
}

/// Of rounds, of loads and of limits to them.
fn charts(cases: &[Case]) -> Result<[String; 3], String> {
    let mut graphs: Vec<(Option<f64>, String)> =
        cases.iter().map(|case| (case.exponent, case.graph())).collect();
    graphs.dedup();
    let free = |exponent: Option<f64>| {
        cases.iter().filter(move |case| case.cap == 0 && case.exponent == exponent)
    };
    let x_name = "number of nodes, log2";
    let mut bands = Vec::new();
    for (time, figure) in [TIMES[1], TIMES[2]] {
        for (exponent, name) in &graphs {
            let name = format!("{name}: {time}");
            bands.push(band(name, free(*exponent), |case| Estimate::of(&case.of(figure))));
        }
    }
    let title = "Rounds until 99 in 100 and all know, by the exponent of the degrees (95 %)";
    let rounds = Chart { title, x_name, y_name: "rounds", most: None }.lines(&bands)?;
    let bands: Vec<Band> =
        graphs.iter().map(|(exponent, name)| band(name.clone(), free(*exponent), load)).collect();
    let title = "The most calls that reach one node in one round (means, 95 % intervals)";
    let y_name = "calls in a round, log2";
    let loads = Chart { title, x_name, y_name, most: None }.lines(&bands)?;
    let mut limits: Vec<u32> = cases.iter().map(|case| case.cap).collect();
    limits.sort_unstable();
    limits.dedup();
    let bands: Vec<Band> = limits
        .into_iter()
        .map(|cap| {
            let is = move |case: &&Case| case.exponent == Some(JUDGED.0) && case.cap == cap;
            let name = if cap == 0 { "no limit".into() } else { format!("{cap} answers a round") };
            let all = |case: &Case| Estimate::of(&case.of(|one| one.all));
            band(name, cases.iter().filter(is), all)
        })
        .collect();
    let title = "Rounds until all know where hubs answer only so many calls (exponent 2.5, 95 %)";
    let caps = Chart { title, x_name, y_name: "rounds", most: None }.lines(&bands)?;
    Ok([rounds, loads, caps])
}

/// Of the exponent 2.5: almost all are told in log log N, the last not; the hub's load grows like a
/// power, and a limit to it makes the last wait.
fn verdict(cases: &[Case], rows: &[Row]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let (exponent, cap) = JUDGED;
    for row in rows.iter().filter(|row| row.exponent == Some(exponent)) {
        let [one, squared, fourth] = row.sizes;
        let at = format!("exponent {exponent}, {one}, {squared} and {fourth} nodes");
        let ratio = row.found.map_or(f64::NAN, |found| found.ratio);
        let said = row.found.map_or_else(|| "none".into(), |found| found.text());
        match row.time {
            "99 %" => {
                let line = format!("{at}: quotient of 99 %, {said}, in 0.7 to 1.2");
                verdicts.judge((0.7..=1.2).contains(&ratio), line);
            }
            "all" => {
                let line = format!("{at}: quotient of all, {said}, above 1.6");
                verdicts.judge(ratio > 1.6, line);
            }
            _ => {}
        }
    }
    let grows = growth(cases, Some(exponent));
    if grows.is_finite() {
        let line = "the load grows with N to the power of";
        let line = format!("exponent {exponent}: {line} {grows:.4}, within 0.08 of 0.63");
        verdicts.judge((grows - 0.63).abs() <= 0.08, line);
    }
    let free = find(cases, Some(exponent), 65_536, 0);
    let rounds = |count: f64| match count.is_finite() {
        true => format!("{count:.0} rounds"),
        false => format!("more than {ROUNDS_MAX} rounds"),
    };
    if let (Some(free), Some(capped)) = (free, find(cases, Some(exponent), 65_536, cap)) {
        let [free, capped] = [free, capped].map(|case| case.median(|one| one.all));
        let line = format!(
            "exponent {exponent}, 65536 nodes: with {cap} answers a round all know after \
             {}, without a limit after {}; at least 4 times as long",
            rounds(capped),
            rounds(free),
        );
        verdicts.judge(capped >= 4.0 * free, line);
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_a_cap_takes_no_less() {
        let run = || {
            let parameters = Parameters {
                nodes: [16, 256, 65_536].into(),
                exponents: [2.5].into(),
                caps: [0, 64].into(),
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
        let courses = super::run(Some(2.5), 16_384, &[0, 16], 1);
        assert!(courses[1].all > courses[0].all + 5.0, "{courses:?}");
        assert!(courses[0].load > 100.0, "{courses:?}");
    }

    #[test]
    fn graphs_that_cannot_be_drawn_are_refused() {
        let parameters = Parameters {
            nodes: [16, 256, 65_536].into(),
            exponents: [2.0].into(),
            caps: [0].into(),
            seeds: 1,
            seeds_large: 1,
            seed: 1,
            out: PathBuf::new(),
        };
        assert!(parameters.check().is_err());
        let nodes = [16, 256].into();
        assert!(Parameters { nodes, exponents: [2.5].into(), ..parameters }.check().is_err());
    }
}
