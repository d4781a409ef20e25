//! Plots of kept figures, as SVG.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::figures::{Case, Page, Spread, file};

const SIZE: (u32, u32) = (800, 420);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
];

/// A line: its points, and where the figure was in its least and its most round.
type Line = Vec<(f64, Spread)>;

/// What a plot says beside its lines.
struct Frame<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    most_x: f64,
}

/// Draws figures over the number of resources: a line for each figure of each series of cases, with its least and most.
pub(crate) fn draw(page: &Page, scenario: &str, name: &str, title: &str, unit: &str, figures: &[&str]) -> Result<()> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for case in &page.cases {
        for figure in figures {
            if let Some(spread) = case.spread(figure) {
                lines.entry(label(case, figure)).or_default().push((case.resources as f64, spread));
            }
        }
    }
    let most_x = lines.values().flatten().map(|(x, _)| *x).fold(1.0, f64::max);
    plot(&file(&format!("{scenario}-{name}"), "svg"), &Frame { title, x: "resources", y: unit, most_x }, &lines)
}

/// Draws latencies over the share of those that took no longer.
pub(crate) fn latencies(page: &Page, scenario: &str, title: &str) -> Result<()> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for case in &page.cases {
        for curve in case.latencies.values() {
            let exact = |ms: u64| Spread { median: ms as f64, least: ms as f64, most: ms as f64 };
            let line = curve.iter().map(|(share, ms)| (*share, exact(*ms))).collect();
            lines.insert(format!("{} resources, {}", case.resources, case.what), line);
        }
    }
    let frame = Frame { title, x: "% that took no longer", y: "ms from created to ready", most_x: 100.0 };
    plot(&file(&format!("{scenario}-latency"), "svg"), &frame, &lines)
}

fn plot(path: &Path, frame: &Frame<'_>, lines: &BTreeMap<String, Line>) -> Result<()> {
    let most_y = lines.values().flatten().map(|(_, y)| y.most).fold(1.0, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(broken)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(frame.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..frame.most_x * 1.05, 0.0..most_y * 1.25)
        .map_err(broken)?;
    chart
        .configure_mesh()
        .x_desc(frame.x)
        .y_desc(frame.y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .disable_x_mesh()
        .light_line_style(WHITE)
        .draw()
        .map_err(broken)?;
    for ((label, line), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let medians = line.iter().map(|(x, y)| (*x, y.median));
        let bars = line.iter().map(|(x, y)| ErrorBar::new_vertical(*x, y.least, y.median, y.most, colour.filled(), 8));
        chart
            .draw_series(LineSeries::new(medians, colour.stroke_width(2)))
            .map_err(broken)?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(bars).map_err(broken)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(broken)?;
    area.present().map_err(broken)
}

fn label(case: &Case, figure: &str) -> String {
    let figure = figure.rsplit_once(", ").map_or(figure, |(figure, _)| figure);
    format!("{figure} ({})", case.what)
}

fn broken(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot could not be drawn: {error}")
}
