//! Charts for people: lines with their bands, and bars with their intervals, as SVG.

use std::error::Error;

use plotters::prelude::*;

use crate::stats::Estimate;

const SIZE: (u32, u32) = (1000, 420);

/// Where the legend begins, beside the chart so that it covers nothing.
const LEGEND_AT: u32 = 790;

/// From one line of the legend to the next.
const LEGEND_STEP: i32 = 22;

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

/// What the axes of a chart are, and its title.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    /// What it shows, in a sentence.
    pub title: &'a str,
    /// Name and unit of the horizontal axis.
    pub x_name: &'a str,
    /// Name and unit of the vertical axis.
    pub y_name: &'a str,
    /// The most that there can be, such as 100 %: nothing is drawn above it.
    pub most: Option<f64>,
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

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Chart<'_> {
    /// A chart of lines, as SVG.
    ///
    /// # Errors
    ///
    /// What hindered it.
    pub fn lines(&self, bands: &[Band]) -> Result<String, String> {
        let mut svg = String::new();
        self.draw_lines(&mut svg, bands).map_err(|error| error.to_string())?;
        Ok(svg)
    }

    /// A chart of bars, as SVG: for each group, in order, one bar for each of the names.
    ///
    /// # Errors
    ///
    /// What hindered it.
    pub fn bars(
        &self,
        names: &[&str],
        groups: &[(String, Vec<Estimate>)],
    ) -> Result<String, String> {
        let mut svg = String::new();
        self.draw_bars(&mut svg, names, groups).map_err(|error| error.to_string())?;
        Ok(svg)
    }

    /// Where the vertical axis ends: somewhat above the highest, at one if all is zero.
    fn top<'e>(&self, all: impl Iterator<Item = &'e Estimate>) -> f64 {
        let highest = all.map(|one| one.drawn().1).fold(0.0, f64::max);
        let top = if highest > 0.0 { 1.1 * highest } else { 1.0 };
        self.most.map_or(top, |most| top.min(most))
    }

    /// Where an end of an interval is drawn.
    fn height(&self, y: f64) -> f64 {
        y.clamp(0.0, self.most.unwrap_or(f64::INFINITY))
    }

    fn draw_lines(&self, svg: &mut String, bands: &[Band]) -> Drawn {
        let points = || bands.iter().flat_map(|band| &band.points);
        let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
        let right = if right > 0.0 { right } else { 1.0 };
        let top = self.top(points().map(|(_, y)| y));
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (area, beside) = root.split_horizontally(LEGEND_AT);
        let mut chart = ChartBuilder::on(&area)
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
            .label_style(text)
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .y_label_formatter(&short)
            .x_label_formatter(&short)
            .draw()?;
        for (place, (band, color)) in bands.iter().zip(COLORS.iter().cycle()).enumerate() {
            let upper = band.points.iter().map(|(x, y)| (*x, self.height(y.drawn().1)));
            let lower = band.points.iter().rev().map(|(x, y)| (*x, self.height(y.drawn().0)));
            let outline: Vec<_> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(outline, color.mix(0.15))])?;
            let middle = band.points.iter().map(|(x, y)| (*x, self.height(y.mean)));
            let style = color.stroke_width(2);
            chart.draw_series(LineSeries::new(middle, style))?;
            let y = legend(&beside, place, &band.name)?;
            beside.draw(&PathElement::new([(0, y), (18, y)], style))?;
        }
        root.present()?;
        Ok(())
    }

    fn draw_bars(
        &self,
        svg: &mut String,
        names: &[&str],
        groups: &[(String, Vec<Estimate>)],
    ) -> Drawn {
        let top = self.top(groups.iter().flat_map(|(_, bars)| bars));
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (area, beside) = root.split_horizontally(LEGEND_AT);
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 17).into_font().color(&TEXT))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(-0.5..groups.len() as f64 - 0.5, 0.0..top)?;
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
            .x_labels(groups.len() + 1)
            .x_label_formatter(&|x| label(x).unwrap_or_default())
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .y_label_formatter(&short)
            .draw()?;
        let width = 0.7 / names.len().max(1) as f64;
        for (place, (name, color)) in names.iter().zip(COLORS.iter().cycle()).enumerate() {
            let left = |group: usize| group as f64 - 0.35 + width * place as f64;
            let style = color.mix(0.75).filled();
            let bars = groups.iter().enumerate().map(|(group, (_, bars))| {
                let height = self.height(bars[place].mean);
                Rectangle::new([(left(group), 0.0), (left(group) + 0.9 * width, height)], style)
            });
            chart.draw_series(bars)?;
            let whiskers = groups.iter().enumerate().map(|(group, (_, bars))| {
                let middle = left(group) + 0.45 * width;
                let (low, high) = bars[place].drawn();
                let ends = [low, high].map(|end| (middle, self.height(end)));
                PathElement::new(ends, TEXT.stroke_width(2))
            });
            chart.draw_series(whiskers)?;
            let y = legend(&beside, place, name)?;
            beside.draw(&Rectangle::new([(0, y - 5), (14, y + 5)], style))?;
        }
        root.present()?;
        Ok(())
    }
}

/// Writes a name into the legend; where the sign before it belongs.
fn legend(beside: &Area<'_>, place: usize, name: &str) -> Result<i32, Box<dyn Error>> {
    let y = 60 + LEGEND_STEP * place as i32;
    let text = ("sans-serif", 14).into_font().color(&TEXT);
    beside.draw(&Text::new(name.to_owned(), (24, y - 7), text))?;
    Ok(y)
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: Chart<'_> = Chart { title: "t", x_name: "x", y_name: "y", most: Some(100.0) };

    fn line(figures: &[f64]) -> Band {
        let points = figures.iter().enumerate();
        let points = points.map(|(x, y)| (x as f64, Estimate::exact(*y))).collect();
        Band { name: "line".into(), points }
    }

    fn labels(svg: &str) -> Vec<&str> {
        let texts = svg.lines().filter(|line| !line.starts_with('<') && !line.is_empty());
        texts.collect()
    }

    #[test]
    fn a_share_does_not_exceed_all() {
        let svg = CHART.lines(&[line(&[20.0, 100.0])]).unwrap();
        let labels = labels(&svg);
        assert!(labels.contains(&"100") && labels.contains(&"line"), "{labels:?}");
        assert!(!labels.iter().any(|label| matches!(*label, "110" | "120")), "{labels:?}");
    }

    #[test]
    fn an_axis_of_nothing_has_labels_that_differ() {
        let svg = CHART.lines(&[line(&[0.0, 0.0])]).unwrap();
        let zeros = labels(&svg).iter().filter(|label| **label == "0").count();
        assert!(zeros <= 2, "{svg}");
        let group = ("group".to_owned(), vec![Estimate::exact(0.0)]);
        let svg = CHART.bars(&["bar"], &[group]).unwrap();
        assert!(labels(&svg).contains(&"group"), "{svg}");
    }
}
