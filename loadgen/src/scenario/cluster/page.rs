//! The cluster's report for people: one file of HTML with its charts inside.

use std::collections::BTreeMap;
use std::fmt::Write;

use plotters::prelude::*;

use super::graph::Point;
use super::report::{EngineRow, Report};
use crate::page::{
    Area, CHART_SIZE, GRID, LINE, TEXT, chart, document, escaped, figure, inlined, list, short,
};

/// The whole page.
pub(super) fn page(report: &Report) -> Result<String, String> {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<h1>A cluster of {} engines</h1>\
         <p class=\"sub\">on loopback</p>\
         <p class=\"verdict {}\">{}</p>",
        report.engines,
        if report.verdict == "passed" { "passed" } else { "failed" },
        escaped(report.verdict),
    );
    list(&mut out, "What went wrong", &report.errors);
    if !report.phases.is_empty() {
        healing(&mut out, report)?;
    }
    if let Some(figures) = report.spread.first() {
        figure(
            &mut out,
            "Engines that know a message, over time, first run",
            who_knows(&figures.curve)?,
        );
    }
    out.push_str("<h2>All figures</h2><table>");
    let closed = report.closed_by_cause.iter();
    let closed = closed.map(|(cause, count)| (format!("closed: {cause}"), count.to_string()));
    let profile = report.profile.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    for (name, value) in report.rows().into_iter().chain(profile).chain(closed) {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escaped(&name), escaped(&value));
    }
    out.push_str("</table>");
    Ok(document(&format!("cluster: {}", report.verdict), &out))
}

/// The first part: they find each other, and find each other again.
fn healing(out: &mut String, report: &Report) -> Result<(), String> {
    out.push_str("<div class=\"key\">");
    for phase in &report.phases {
        let seconds = phase.seconds;
        let seconds = seconds.map_or_else(|| "not".into(), |seconds| format!("{seconds:.1} s"));
        let (name, limit) = (phase.name, phase.limit_seconds);
        let _ = write!(out, "<div><b>{seconds}</b><span>{name}, limit {limit} s</span></div>");
    }
    out.push_str("</div>");
    let met = |point: &Point| Some(f64::from(point.met));
    let dead = |point: &Point| point.dead.map(f64::from);
    let parts = |point: &Point| Some(f64::from(point.components));
    let known = |point: &Point| Some(point.addresses_mean);
    let samples = &report.samples;
    figure(out, "Engines with their outbound peers", over_time(samples, "engines", met)?);
    figure(out, "Parts of the network", over_time(samples, "parts", parts)?);
    figure(out, "Dead addresses in all books", over_time(samples, "addresses", dead)?);
    figure(out, "Addresses in a book, mean", over_time(samples, "addresses", known)?);
    figure(out, "Peers of an engine, formed", histogram(&report.formed)?);
    figure(out, "Peers of an engine, healed", histogram(&report.healed)?);
    Ok(())
}

/// A line over the whole run; `None` where nothing was measured.
fn over_time(
    samples: &[Point],
    unit: &str,
    value: impl Fn(&Point) -> Option<f64>,
) -> Result<Option<String>, String> {
    let measured = |point: &Point| Some((point.seconds, value(point)?));
    let points: Vec<_> = samples.iter().filter_map(measured).collect();
    let (Some(last), true) = (samples.last(), points.len() > 1) else { return Ok(None) };
    let top = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let area = Area { x: (0.0, last.seconds), y: (0.0, top), x_name: "time, s", y_name: unit };
    chart(&area, points, &|x| format!("{x:.0}"), &short).map(Some)
}

/// The share of the engines that know a message, over the time since it was said.
fn who_knows(curve: &[(f64, f64)]) -> Result<Option<String>, String> {
    let (Some(last), true) = (curve.last(), curve.len() > 1) else { return Ok(None) };
    let points = curve.iter().map(|(ms, share)| (*ms, 100.0 * share)).collect();
    let (x_name, y_name) = ("milliseconds since it was said", "percent of the engines");
    let area = Area { x: (0.0, last.0), y: (0.0, 105.0), x_name, y_name };
    chart(&area, points, &short, &short).map(Some)
}

/// How many engines have so many peers.
fn histogram(engines: &[EngineRow]) -> Result<Option<String>, String> {
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    engines.iter().for_each(|engine| *counts.entry(engine.degree).or_default() += 1);
    if counts.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    draw(&mut svg, &counts).map_err(|error| error.to_string())?;
    inlined(&svg).map(Some)
}

fn draw(svg: &mut String, counts: &BTreeMap<u32, u32>) -> Result<(), Box<dyn std::error::Error>> {
    let most_peers = counts.keys().next_back().copied().unwrap_or(0);
    let most_engines = counts.values().copied().max().unwrap_or(0);
    let root = SVGBackend::with_string(svg, CHART_SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .margin_right(28)
        .x_label_area_size(42)
        .y_label_area_size(72)
        .build_cartesian_2d(0..most_peers + 2, 0..most_engines + 1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(("sans-serif", 14).into_font().color(&TEXT))
        .x_desc("peers")
        .y_desc("engines")
        .draw()?;
    let bar = |(peers, engines): (&u32, &u32)| {
        Rectangle::new([(*peers, 0), (peers + 1, *engines)], LINE.filled())
    };
    chart.draw_series(counts.iter().map(bar))?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::cluster::report::Phase;

    #[test]
    fn a_page_is_one_file_with_its_charts() {
        let mut report = Report::new(3, 1, &[("slots.dials", "16".into())]);
        let point = |seconds| Point { seconds, met: 3, dead: Some(1), ..Point::default() };
        report.samples = vec![point(0.5), point(1.0)];
        let addr = "127.0.0.1:1".parse().unwrap();
        report.formed =
            vec![EngineRow { engine: 0, addr, degree: 2, outbound: 1, new: 0, tried: 2 }];
        let conditions = BTreeMap::from([("all connected", Some(1.0))]);
        report.phases.push(Phase::new("form", 0.0, 60.0, conditions));
        report.error("a <b> & more");
        report.conclude();
        let page = page(&report).unwrap();
        assert_eq!(page.matches("<svg").count(), 5);
        assert_eq!(page.matches("Nothing was measured").count(), 1, "nobody was killed");
        assert!(page.contains("a &lt;b&gt; &amp; more") && page.contains("slots.dials"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
    }
}
