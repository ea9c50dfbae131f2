//! Plots as SVG: latencies by peer, rates by workers, gaps by waiters, memory and disk over time.
//! In: raw data. Out: files beside the report. Never: a font of the system, or a picture of nothing.

use std::path::Path;

use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::raw::{Raw, Run};
use super::table::Table;
use crate::measure::histogram::Latencies;

const SIZE: (u32, u32) = (900, 520);

/// A named line.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// What is on the axes.
struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

/// Writes those for which there is data; tells their names.
pub fn write(folder: &Path, raw: &Raw) -> anyhow::Result<Vec<String>> {
    let table = Table::new(&raw.runs);
    let mut written = Vec::new();
    for scenario in ["single", "pairs"] {
        for case in table.cases(scenario) {
            let name = format!("{scenario}-latency-{}.svg", case.name.replace(' ', "-"));
            let axes = Axes {
                title: &format!("Acquire, {}", case.name),
                x: "1 / (1 - percentile)",
                y: "ms",
            };
            let lines = latencies(raw, scenario, &case.name);
            draw(folder, &name, &axes, &lines, &mut written)?;
        }
    }
    let axes = Axes {
        title: "Uncontended pairs",
        x: "workers",
        y: "pairs/s",
    };
    let lines = by_x(&table, "pairs", "pairs_per_s", |_| true);
    draw(folder, "pairs-rate.svg", &axes, &lines, &mut written)?;
    for pods in ["1 pod", "8 pods"] {
        let axes = Axes {
            title: &format!("One hot lock, {pods}: from grant to grant"),
            x: "waiters",
            y: "ms, mean",
        };
        let lines = by_x(&table, "hot", "gap_mean_ms", |case| case.ends_with(pods));
        let name = format!("hot-gap-{}.svg", pods.replace(' ', "-"));
        draw(folder, &name, &axes, &lines, &mut written)?;
    }
    for (what, y) in [("rss_mb", "MB resident"), ("disk_mb", "MB on disk")] {
        let axes = Axes {
            title: "Half load for a long time",
            x: "seconds",
            y,
        };
        let lines = series(raw, what);
        draw(
            folder,
            &format!("long-{what}.svg"),
            &axes,
            &lines,
            &mut written,
        )?;
    }
    Ok(written)
}

/// All rounds of a peer in one distribution.
fn latencies(raw: &Raw, scenario: &str, case: &str) -> Vec<Line> {
    let mut peers: Vec<(String, Latencies)> = Vec::new();
    for run in raw
        .runs
        .iter()
        .filter(|run| run.scenario == scenario && run.case == case)
    {
        let Some(one) = run.histogram("acquire") else {
            continue;
        };
        match peers.iter_mut().find(|(name, _)| *name == run.peer) {
            Some((_, all)) => all.merge(&one),
            None => peers.push((run.peer.clone(), one)),
        }
    }
    let points = |all: &Latencies| {
        let count = all.count();
        // From the median to the last percentile that ten values stand behind.
        let steps = (0..=24).map(|step| 2.0 * 10_f64.powf(f64::from(step) / 6.0));
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let steps = steps.take_while(|nines| *nines <= count as f64 / 10.0);
        let steps =
            steps.filter_map(|nines| Some((nines, all.percentile(100.0 * (1.0 - 1.0 / nines))?)));
        steps.collect()
    };
    let lines = peers.iter().map(|(name, all)| Line {
        name: name.clone(),
        points: points(all),
    });
    lines.collect()
}

/// The medians of a figure over the cases of a scenario.
fn by_x(table: &Table, scenario: &str, figure: &str, takes: impl Fn(&str) -> bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for case in table.cases(scenario).filter(|case| takes(&case.name)) {
        for peer in &case.peers {
            let Some(spread) = peer.figure(figure) else {
                continue;
            };
            let point = (case.x, spread.median);
            match lines.iter_mut().find(|line| line.name == peer.name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    name: peer.name.clone(),
                    points: vec![point],
                }),
            }
        }
    }
    lines.retain(|line| line.points.len() > 1);
    lines
}

fn series(raw: &Raw, what: &str) -> Vec<Line> {
    let long: Option<&Run> = raw.runs.iter().find(|run| !run.series.is_empty());
    let named = long.iter().flat_map(|run| &run.series);
    let lines = named
        .filter(|(name, _)| name.ends_with(what))
        .map(|(name, values)| Line {
            name: name.trim_end_matches(what).trim_end_matches('_').to_owned(),
            points: (1_u32..)
                .map(f64::from)
                .zip(values.iter().copied())
                .collect(),
        });
    lines.collect()
}

/// Logarithmic on both axes, but for a series over time.
fn draw(
    folder: &Path,
    name: &str,
    axes: &Axes<'_>,
    lines: &[Line],
    written: &mut Vec<String>,
) -> anyhow::Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    if !points().any(|(_, y)| *y > 0.0) {
        return Ok(());
    }
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MAX, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let x = least(&mut points().map(|(x, _)| *x))..most(&mut points().map(|(x, _)| *x));
    let y = least(&mut points().map(|(_, y)| *y))..most(&mut points().map(|(_, y)| *y));
    let path = folder.join(name);
    let root = SVGBackend::new(&path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root);
    chart
        .caption(axes.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70);
    if axes.x == "seconds" {
        lines_on(chart.build_cartesian_2d(x, 0.0..y.end * 1.1)?, axes, lines)?;
    } else {
        let y = (y.start / 1.3).max(1e-3)..y.end * 1.3;
        lines_on(
            chart.build_cartesian_2d(x.log_scale(), y.log_scale())?,
            axes,
            lines,
        )?;
    }
    root.present()?;
    written.push(name.to_owned());
    Ok(())
}

fn lines_on<'a, X, Y>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    axes: &Axes<'_>,
    lines: &[Line],
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let label = |value: &f64| super::markdown::digits(*value);
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(WHITE)
        .draw()?;
    for (number, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(line.points.clone(), colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}
