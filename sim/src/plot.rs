//! Charts for people: lines with their bands, and bars with their intervals, as SVG.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::runs::write_file;
use crate::stats::Estimate;

const SIZE: (u32, u32) = (860, 420);
const GRID: RGBColor = RGBColor(0xdd, 0xe1, 0xe6);
const TEXT: RGBColor = RGBColor(0x44, 0x4b, 0x55);
const COLORS: [RGBColor; 10] = [
    RGBColor(0x1f, 0x6f, 0xb4),
    RGBColor(0xc4, 0x4e, 0x1c),
    RGBColor(0x1d, 0x7f, 0x4b),
    RGBColor(0x8a, 0x3f, 0xa0),
    RGBColor(0xb3, 0x26, 0x1e),
    RGBColor(0x5c, 0x65, 0x70),
    RGBColor(0xd0, 0x9a, 0x00),
    RGBColor(0x2a, 0xa8, 0xb5),
    RGBColor(0xd9, 0x5f, 0x9e),
    RGBColor(0x7a, 0x8f, 0x2e),
];

/// How much wider a chart of bars is than its bars: the legend stands beside them.
const LEGEND_ROOM: f64 = 1.3;

/// What the axes of a chart are, and its title.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    /// What it shows, in a sentence.
    pub title: &'a str,
    /// Name and unit of the horizontal axis.
    pub x_name: &'a str,
    /// Name and unit of the vertical axis.
    pub y_name: &'a str,
}

/// A line: for each place a mean with its interval.
#[derive(Clone, Debug)]
pub struct Band {
    /// Its name in the legend.
    pub name: String,
    /// Places, ascending, and what was measured there.
    pub points: Vec<(f64, Estimate)>,
}

type Drawn = Result<(), Box<dyn Error>>;

impl Chart<'_> {
    /// Writes a chart of lines.
    ///
    /// # Errors
    ///
    /// What hindered it.
    pub fn lines(&self, path: &Path, bands: &[Band]) -> Result<(), String> {
        let mut svg = String::new();
        let corner = SeriesLabelPosition::UpperRight;
        self.draw_lines(&mut svg, bands, corner).map_err(|error| error.to_string())?;
        write_file(path, &svg)
    }

    /// The same with the legend on the left, where lines that rise leave room for it.
    pub(crate) fn rising_lines(&self, path: &Path, bands: &[Band]) -> Result<(), String> {
        let mut svg = String::new();
        let corner = SeriesLabelPosition::UpperLeft;
        self.draw_lines(&mut svg, bands, corner).map_err(|error| error.to_string())?;
        write_file(path, &svg)
    }

    /// Writes a chart of bars: for each group, in order, one bar for each of the names.
    ///
    /// # Errors
    ///
    /// What hindered it.
    pub fn bars(
        &self,
        path: &Path,
        names: &[&str],
        groups: &[(String, Vec<Estimate>)],
    ) -> Result<(), String> {
        let mut svg = String::new();
        self.draw_bars(&mut svg, names, groups).map_err(|error| error.to_string())?;
        write_file(path, &svg)
    }

    fn draw_lines(&self, svg: &mut String, bands: &[Band], corner: SeriesLabelPosition) -> Drawn {
        let points = || bands.iter().flat_map(|band| &band.points);
        let right = points().map(|(x, _)| *x).fold(1e-9, f64::max);
        let top = points().map(|(_, y)| y.high()).fold(1e-9, f64::max) * 1.1;
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 17).into_font().color(&TEXT))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        let text = ("sans-serif", 14).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(TEXT)
            .label_style(text.clone())
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .y_label_formatter(&short)
            .x_label_formatter(&short)
            .draw()?;
        for (band, color) in bands.iter().zip(COLORS.iter().cycle()) {
            let upper = band.points.iter().map(|(x, y)| (*x, y.high()));
            let lower = band.points.iter().rev().map(|(x, y)| (*x, y.low()));
            let outline: Vec<_> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(outline, color.mix(0.15))])?;
            let middle = band.points.iter().map(|(x, y)| (*x, y.mean));
            let (name, style) = (band.name.as_str(), color.stroke_width(2));
            let line = chart.draw_series(LineSeries::new(middle, style))?;
            line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        legend(&mut chart, corner)?;
        root.present()?;
        Ok(())
    }

    fn draw_bars(
        &self,
        svg: &mut String,
        names: &[&str],
        groups: &[(String, Vec<Estimate>)],
    ) -> Drawn {
        let highs = groups.iter().flat_map(|(_, bars)| bars).map(Estimate::high);
        let top = highs.fold(1e-9, f64::max) * 1.15;
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 17).into_font().color(&TEXT))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(-0.5..groups.len() as f64 * LEGEND_ROOM - 0.5, 0.0..top)?;
        let text = ("sans-serif", 14).into_font().color(&TEXT);
        let label = |x: &f64| {
            let whole = (x - x.round()).abs() < 1e-6 && *x > -0.5;
            groups.get(x.round() as usize).filter(|_| whole).map(|(name, _)| name.clone())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(TEXT)
            .label_style(text)
            .x_labels((groups.len() as f64 * LEGEND_ROOM) as usize + 1)
            .x_label_formatter(&|x| label(x).unwrap_or_default())
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .y_label_formatter(&short)
            .draw()?;
        let width = 0.7 / names.len().max(1) as f64;
        for (place, (name, color)) in names.iter().zip(COLORS.iter().cycle()).enumerate() {
            let left = |group: usize| group as f64 - 0.35 + width * place as f64;
            let bars = groups.iter().enumerate().map(|(group, (_, bars))| {
                let corners = [(left(group), 0.0), (left(group) + 0.9 * width, bars[place].mean)];
                Rectangle::new(corners, color.mix(0.75).filled())
            });
            let drawn = chart.draw_series(bars)?;
            let style = color.mix(0.75).filled();
            drawn
                .label(*name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], style));
            let whiskers = groups.iter().enumerate().map(|(group, (_, bars))| {
                let middle = left(group) + 0.45 * width;
                let ends = [(middle, bars[place].low()), (middle, bars[place].high())];
                PathElement::new(ends, TEXT.stroke_width(2))
            });
            chart.draw_series(whiskers)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
        root.present()?;
        Ok(())
    }
}

type Coordinates =
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>;

fn legend<'a>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Coordinates>,
    corner: SeriesLabelPosition,
) -> Drawn {
    chart
        .configure_series_labels()
        .position(corner)
        .background_style(WHITE.mix(0.8))
        .border_style(GRID)
        .label_font(("sans-serif", 14).into_font().color(&TEXT))
        .draw()?;
    Ok(())
}

/// A number with as many digits as one can read from a chart.
fn short(value: &f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 1e4 => format!("{:.0} k", value / 1e3),
        size if size >= 10.0 || size == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}
