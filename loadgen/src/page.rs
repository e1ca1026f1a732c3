//! The report for people: one file of HTML with its charts inside.

use std::fmt::Write;

use plotters::prelude::*;

use crate::report::{Report, Sample, grouped};

/// Most labels that the horizontal axis has room for.
const X_LABELS_MAX: usize = 16;

pub(crate) const CHART_SIZE: (u32, u32) = (860, 320);
pub(crate) const LINE: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
pub(crate) const GRID: RGBColor = RGBColor(0xdd, 0xe1, 0xe6);
pub(crate) const TEXT: RGBColor = RGBColor(0x44, 0x4b, 0x55);

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2025; background: #f4f6f8; margin: 0; }
main { max-width: 900px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
.sub { color: #5c6570; margin: 0 0 20px; }
.verdict { border-radius: 8px; padding: 14px 18px; font-weight: 600; color: #fff; }
.passed { background: #1d7f4b; } .failed { background: #b3261e; }
.key { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin: 20px 0; }
.key div, figure, table { background: #fff; border: 1px solid #dde1e6; border-radius: 8px; }
.key div { padding: 12px 16px; } .key b { display: block; font-size: 22px; }
.key span { color: #5c6570; font-size: 14px; }
figure { margin: 0; padding: 12px; } figure svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; } td { padding: 6px 16px; }
tr + tr td { border-top: 1px solid #eceff2; } td + td { text-align: right;
  font-variant-numeric: tabular-nums; }
li { margin: 4px 0; }";

/// The whole page.
pub(crate) fn page(report: &Report) -> Result<String, String> {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<h1>Load test: {}</h1>\
         <p class=\"sub\">{} connections for {:.1} s, {}, clients on {}</p>",
        escaped(&report.scenario),
        grouped(report.connections),
        report.seconds,
        escaped(&report.target),
        escaped(&report.backend),
    );
    let (class, sentence) = verdict(report);
    let _ = write!(out, "<p class=\"verdict {class}\">{}</p>", escaped(&sentence));
    list(&mut out, "What went wrong", &report.errors);
    out.push_str("<div class=\"key\">");
    for (value, name) in key_figures(report) {
        let _ = write!(out, "<div><b>{}</b><span>{}</span></div>", escaped(&value), escaped(&name));
    }
    out.push_str("</div>");
    let unit = if report.scenario == "churn" { "handshakes/s" } else { "frames/s" };
    figure(&mut out, "Rate over time", rate_chart(&report.samples, unit)?);
    figure(&mut out, &format!("Latency: {}", latency_meaning(report)), latency_chart(report)?);
    out.push_str("<h2>All figures</h2><table>");
    for (name, value) in report.rows() {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(&value));
    }
    for (cause, count) in &report.closed_by_cause {
        let cause = escaped(cause);
        let _ = write!(out, "<tr><td>closed: {cause}</td><td>{}</td></tr>", grouped(*count));
    }
    out.push_str("</table>");
    list(&mut out, "How to read this", &report.notes);
    Ok(document(&format!("{}: {}", report.scenario, report.verdict), &out))
}

/// A page of one file with this inside.
pub(crate) fn document(title: &str, inside: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>loadgen {}</title><style>{STYLE}</style></head><body><main>{inside}\
         </main></body></html>\n",
        escaped(title)
    )
}

fn verdict(report: &Report) -> (&'static str, String) {
    if !report.is_fine() {
        return ("failed", format!("Failed: {}", report.errors[0]));
    }
    if report.is_interrupted {
        return ("failed", "Interrupted: what had been sent until then was checked".into());
    }
    let sentence = match (report.scenario.as_str(), report.delivered) {
        ("flood" | "broadcast", 1..) => format!(
            "Passed: {} payloads, every one delivered exactly once and byte for byte",
            grouped(report.delivered)
        ),
        _ => "Passed: nothing was closed, nothing was left unanswered".into(),
    };
    ("passed", sentence)
}

fn key_figures(report: &Report) -> Vec<(String, String)> {
    let rate = grouped(report.frames_per_second as u64);
    let cpu = format!("{:.0} %", 100.0 * report.engine_cpu_share);
    let p99 = (format!("{:.1} ms", report.latency_us.p99 as f64 / 1e3), "latency, p99".into());
    let core = (cpu, "of one core used by the engine".to_owned());
    if report.is_elsewhere {
        let unit =
            if report.scenario == "churn" { "handshakes a second" } else { "frames a second" };
        return vec![(rate, unit.into()), p99];
    }
    match report.scenario.as_str() {
        "idle" => vec![
            (
                format!("{:.0} B", report.user_bytes_per_connection),
                "engine memory per connection".into(),
            ),
            (
                format!("{:.0} B", report.kernel_bytes_per_connection),
                "kernel memory per connection".into(),
            ),
            core,
            p99,
        ],
        "churn" => vec![
            (format!("{:.0}", report.handshakes_per_second), "handshakes a second".into()),
            p99,
            core,
        ],
        _ => vec![
            (rate, "frames a second".into()),
            (format!("{:.0} MB/s", report.bytes_per_second / 1e6), "payload and headers".into()),
            (
                format!("{:.0} ns", report.engine_cpu_ns_per_frame),
                "engine CPU time per frame".into(),
            ),
            p99,
        ],
    }
}

fn latency_meaning(report: &Report) -> &'static str {
    match report.scenario.as_str() {
        "broadcast" => "from the intended instant of publishing to each client's receipt",
        "churn" => "from dialling to the engine's Shake",
        "idle" => "from a client's Ping to the engine's Pong",
        _ => "from a quiet client's Ping to the Pong, beside the flood",
    }
}

pub(crate) fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{title}</h2><ul>");
    items.iter().for_each(|item| {
        let _ = write!(out, "<li>{}</li>", escaped(item));
    });
    out.push_str("</ul>");
}

pub(crate) fn figure(out: &mut String, title: &str, chart: Option<String>) {
    let _ = write!(out, "<h2>{}</h2>", escaped(title));
    match chart {
        Some(svg) => {
            let _ = write!(out, "<figure>{svg}</figure>");
        }
        None => out.push_str("<p class=\"sub\">Nothing was measured.</p>"),
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn rate_chart(samples: &[Sample], unit: &str) -> Result<Option<String>, String> {
    let (Some(last), true) = (samples.last(), samples.len() > 1) else { return Ok(None) };
    let top = samples.iter().map(|sample| sample.frames_per_second).fold(1.0, f64::max) * 1.1;
    let points = samples.iter().map(|sample| (sample.seconds, sample.frames_per_second)).collect();
    let area = Area { x: (0.0, last.seconds), y: (0.0, top), x_name: "time, s", y_name: unit };
    chart(&area, points, &|x| format!("{x:.0}"), &short).map(Some)
}

/// Percentiles over the number of nines: the tail gets as much room as the middle.
fn latency_chart(report: &Report) -> Result<Option<String>, String> {
    let curve = &report.latency_curve;
    if curve.len() < 2 {
        return Ok(None);
    }
    let points: Vec<_> =
        curve.iter().map(|(share, us)| (-(1.0 - share).log10(), *us as f64 / 1e3)).collect();
    let top = points.iter().map(|point| point.1).fold(0.001, f64::max) * 1.1;
    let right = points.last().map_or(1.0, |point| point.0);
    let area = Area { x: (0.0, right), y: (0.0, top), x_name: "percentile", y_name: "latency, ms" };
    chart(&area, points, &percentile, &short).map(Some)
}

/// The percentile of a number of nines.
fn percentile(nines: &f64) -> String {
    let digits = (nines.round() as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
}

pub(crate) fn short(value: &f64) -> String {
    match *value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

pub(crate) struct Area<'a> {
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    pub(crate) x_name: &'a str,
    pub(crate) y_name: &'a str,
}

type Label<'a> = &'a dyn Fn(&f64) -> String;

pub(crate) fn chart(
    area: &Area<'_>,
    points: Vec<(f64, f64)>,
    x_label: Label<'_>,
    y_label: Label<'_>,
) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, area, points, x_label, y_label).map_err(|error| error.to_string())?;
    inlined(&svg)
}

/// Scaled by the page, and no numbers of pixels that would fight with it.
pub(crate) fn inlined(svg: &str) -> Result<String, String> {
    let size = format!("width=\"{}\" height=\"{}\" ", CHART_SIZE.0, CHART_SIZE.1);
    let start = svg.find("<svg").ok_or("the chart is no SVG")?;
    Ok(svg[start..].replacen(&size, "", 1))
}

fn draw(
    svg: &mut String,
    area: &Area<'_>,
    points: Vec<(f64, f64)>,
    x_label: Label<'_>,
    y_label: Label<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, CHART_SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let text = ("sans-serif", 14).into_font().color(&TEXT);
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .margin_right(28)
        .x_label_area_size(42)
        .y_label_area_size(72)
        .build_cartesian_2d(area.x.0..area.x.1, area.y.0..area.y.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(text)
        .x_labels((area.x.1.floor() as usize + 1).min(X_LABELS_MAX))
        .x_desc(area.x_name)
        .y_desc(area.y_name)
        .x_label_formatter(x_label)
        .y_label_formatter(y_label)
        .draw()?;
    chart.draw_series(LineSeries::new(points, LINE.stroke_width(2)))?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_one_file_with_its_charts() {
        let sample = |seconds| Sample { seconds, frames_per_second: 2e6, bytes_per_second: 6e8 };
        let mut report = Report {
            scenario: "flood".into(),
            samples: vec![sample(0.5), sample(1.0)],
            latency_curve: vec![(0.0, 10), (0.9, 100), (0.99, 1_000)],
            ..Default::default()
        };
        report.error("a <b> & more");
        report.conclude();
        let page = page(&report).unwrap();
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.matches("<polyline").count() >= 2);
        assert!(page.contains("a &lt;b&gt; &amp; more"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
    }

    #[test]
    fn nothing_measured_is_said() {
        let page = page(&Report::default()).unwrap();
        assert_eq!(page.matches("Nothing was measured").count(), 2);
    }

    #[test]
    fn percentiles_are_written_as_people_do() {
        let labels: Vec<_> = [0.0, 1.0, 2.0, 3.0].iter().map(percentile).collect();
        assert_eq!(labels, ["0 %", "90 %", "99 %", "99.9 %"]);
    }
}
