//! What graphs peer sampling makes, and what of that was claimed of the plain idea: power-law
//! degrees, a small diameter, links near to a spanning tree, links that follow the talk.

mod measures;
mod verdict;

use std::path::{Path, PathBuf};

use super::overlay::{CYCLE, Setting};
use super::{Question, Report, each_case, each_job, limits, seeds};
use crate::graph::Paths;
use crate::plot::{Band, Chart};
use crate::runs::{Cell, Table};
use crate::stats::{Estimate, number};
use measures::{Followed, Mesh, Shape, Sized, Sizes};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1_000)]
    pub nodes: usize,
    /// Cycles of ten seconds before a graph is measured.
    #[arg(long, default_value_t = 60)]
    pub cycles: u32,
    /// Largest network of the comparison with a full mesh.
    #[arg(long, default_value_t = 10_000)]
    pub mesh_nodes: usize,
    /// Runs of each, with networks of their own.
    #[arg(long, default_value_t = 10)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the tables and the charts go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Sizes of the networks that are compared with a full mesh.
const MESHES: [usize; 4] = [10, 100, 1_000, 10_000];

/// All that was found, for the verdict and the tables.
struct Findings {
    /// For each setting its runs.
    shapes: Vec<(Setting, Vec<Shape>)>,
    /// Cycles until nobody is known by more than four times the places of a view.
    stars: Vec<(Setting, Vec<Option<u32>>)>,
    sized: Vec<(Setting, Sizes, Vec<Sized>)>,
    followed: Vec<(Setting, Vec<Followed>)>,
    meshes: Vec<Mesh>,
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::machines(self.nodes)?;
        limits::cycles("cycles", self.cycles)?;
        limits::within("mesh-nodes", self.mesh_nodes, MESHES[0]..=usize::MAX)
    }

    fn head(&self) -> String {
        let Self { nodes, cycles, mesh_nodes, seeds, seed, .. } = self;
        format!(
            "sim experiment peer-sampling: seeds {seed} to {}, {nodes} nodes, {cycles} cycles of \
             {} s, meshes of {mesh_nodes} nodes at most",
            seed + seeds - 1,
            CYCLE.as_secs(),
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let findings = find(self);
        let tables = [
            ("shape", "Graphs after a start at random", shapes_table(&findings)),
            ("star", "Start at one node that all know", stars_table(&findings)),
            ("sizes", "Lists of unequal size", sizes_table(&findings)),
            ("talk", "Links and who talks with whom (Zipf)", talk_table(&findings)),
            ("mesh", "Against a full mesh: all nodes broadcast once", mesh_table(&findings)),
        ];
        let parts = tables.iter().map(|(_, title, table)| format!("{title}\n\n{}", table.text()));
        let text = parts.collect::<Vec<_>>().join("\n");
        let named = |(name, _, table): &(&str, _, Table)| {
            (format!("peer-sampling-{name}.csv"), table.csv())
        };
        let mut files: Vec<(String, String)> = tables.iter().map(named).collect();
        files.push(("peer-sampling.svg".to_owned(), chart(&findings)?));
        Ok(Report { text, verdicts: verdict::of(&findings), files })
    }
}

fn find(parameters: &Parameters) -> Findings {
    let Parameters { nodes, cycles, .. } = *parameters;
    let settings = Setting::all();
    let shapes =
        each(parameters, &settings, |setting, seed| measures::shape(setting, nodes, cycles, seed));
    let stars =
        each(parameters, &settings, |setting, seed| measures::star(setting, nodes, cycles, seed));
    let mut sized = Vec::new();
    let resized: Vec<Setting> =
        ["plain", "one-heartbeat", "newscast", "cyclon", "hyparview+8"].map(Setting::named).into();
    for sizes in Sizes::EACH {
        let found = each(parameters, &resized, |setting, seed| {
            measures::sized(setting, sizes, nodes, cycles, seed)
        });
        sized.extend(found.into_iter().map(|(setting, found)| (setting, sizes, found)));
    }
    let talking: Vec<Setting> = ["plain", "one-way", "one-heartbeat"].map(Setting::named).into();
    let followed = each(parameters, &talking, |setting, seed| {
        measures::followed(setting, nodes.min(300), cycles, seed)
    });
    let mut counts = MESHES.to_vec();
    counts.retain(|count| *count <= parameters.mesh_nodes);
    let meshes = each_job(&counts, |count| measures::mesh(*count, parameters.seed));
    Findings { shapes, stars, sized, followed, meshes }
}

/// A run of each setting with each seed.
fn each<R: Send>(
    parameters: &Parameters,
    settings: &[Setting],
    run: impl Fn(&Setting, u64) -> R + Sync,
) -> Vec<(Setting, Vec<R>)> {
    each_case(settings.to_vec(), |_| seeds(parameters.seed, parameters.seeds), run)
}

fn estimate<R>(runs: &[R], figure: impl Fn(&R) -> f64) -> Estimate {
    Estimate::of(&runs.iter().map(figure).collect::<Vec<_>>())
}

const fn cell(estimate: Estimate, digits: usize) -> Cell {
    Cell::Mean(estimate, digits)
}

type Figure = (&'static str, usize, fn(&Shape) -> f64);

const FIGURES: &[Figure] = &[
    ("in-degree", 1, |one| one.degree_mean),
    ("sd", 2, |one| one.degree_sd),
    ("max", 0, |one| one.degree_max),
    ("unknown nodes", 1, |one| one.unknown),
    ("clustering", 4, |one| one.clustering),
    ("against random", 1, |one| one.clustering / one.random_clustering),
    ("path", 2, |Shape { paths: Paths { mean, .. }, .. }| *mean),
    ("longest", 1, |one| f64::from(one.paths.longest)),
    ("largest piece %", 2, |one| 100.0 * one.giant),
    ("cost / tree", 1, |one| one.tree_ratio),
    ("rounds to 99 %", 1, |one| one.rounds),
    ("uniform", 1, |one| one.rounds_uniform),
    ("messages a node and cycle", 1, |one| one.messages),
];

fn shapes_table(findings: &Findings) -> Table {
    let names: Vec<&str> =
        std::iter::once("overlay").chain(FIGURES.iter().map(|(name, ..)| *name)).collect();
    let mut table = Table::new(&names);
    for (setting, runs) in &findings.shapes {
        let cells = FIGURES.iter().map(|(_, digits, figure)| cell(estimate(runs, figure), *digits));
        table.push(std::iter::once(setting.name.into()).chain(cells).collect());
    }
    table
}

fn stars_table(findings: &Findings) -> Table {
    let mut table = Table::new(&["overlay", "escaped", "of runs", "median of cycles"]);
    for (setting, runs) in &findings.stars {
        let mut escaped: Vec<u32> = runs.iter().copied().flatten().collect();
        escaped.sort_unstable();
        let median = escaped.get(escaped.len() / 2).map_or_else(|| "-".into(), u32::to_string);
        let counts = [escaped.len(), runs.len()].map(|count| count.to_string());
        let [count, of] = counts;
        table.push(vec![setting.name.to_owned(), count, of, median]);
    }
    table
}

fn sizes_table(findings: &Findings) -> Table {
    let mut table = Table::new(&[
        "overlay",
        "sizes",
        "correlation size x in-degree",
        "exponent of in-degrees",
        "its own 95 %",
        "exponent of sizes",
        "max / mean",
    ]);
    for (setting, sizes, runs) in &findings.sized {
        table.push(vec![
            setting.name.into(),
            sizes.name().into(),
            cell(estimate(runs, |one| one.correlation), 2),
            cell(estimate(runs, |one| one.exponent.mean), 2),
            number(estimate(runs, |one| one.exponent.margin.unwrap_or(f64::NAN)).mean, 2).into(),
            cell(estimate(runs, |one| one.sizes_exponent), 2),
            cell(estimate(runs, |one| one.max_over_mean), 1),
        ]);
    }
    table
}

fn talk_table(findings: &Findings) -> Table {
    let names = ["overlay", "correlation", "linked % of all pairs", "linked % of busiest pairs"];
    let mut table = Table::new(&names);
    for (setting, runs) in &findings.followed {
        table.push(vec![
            setting.name.into(),
            cell(estimate(runs, |one| one.correlation), 3),
            cell(estimate(runs, |one| 100.0 * one.linked), 1),
            cell(estimate(runs, |one| 100.0 * one.busiest_linked), 1),
        ]);
    }
    table
}

fn mesh_table(findings: &Findings) -> Table {
    let mut table = Table::new(&[
        "nodes",
        "links of the overlay",
        "of a full mesh",
        "messages, overlay flooded",
        "overlay by trees",
        "full mesh",
        "hops, overlay",
    ]);
    for mesh in &findings.meshes {
        let figures = [
            mesh.nodes as u64,
            mesh.links,
            mesh.full_links(),
            mesh.flooded(),
            mesh.by_trees(),
            mesh.by_trees(),
            u64::from(mesh.longest),
        ];
        table.push(figures.map(|figure| figure.to_string()).to_vec());
    }
    table
}

/// For each setting, the share of the nodes that at least so many others list; both logarithmic.
fn chart(findings: &Findings) -> Result<String, String> {
    let pareto = findings.sized.iter().filter(|(_, sizes, _)| *sizes == Sizes::Pareto);
    let bands: Vec<Band> = pareto
        .map(|(setting, _, runs)| {
            let at = |step: u32| {
                let degree = 10_f64.powf(f64::from(step) / 10.0);
                let share = |one: &Sized| {
                    let many = one.degrees.iter().filter(|figure| **figure >= degree).count();
                    let share = many as f64 / one.degrees.len() as f64;
                    // Below one node of all runs there is nothing to show.
                    share.max(1e-5).log10() + 4.0
                };
                (f64::from(step) / 10.0, estimate(runs, share))
            };
            let points = (0..=26).map(at).filter(|(_, y)| y.mean > 0.0).collect();
            Band { name: setting.name.to_owned(), points }
        })
        .collect();
    let chart = Chart {
        title: "Nodes that many list, where list sizes follow a power law (exponent 2.5)",
        x_name: "log10 of the number of nodes that list one (at least)",
        y_name: "4 + log10 of the share of the nodes",
        most: None,
    };
    chart.lines(&bands)
}
