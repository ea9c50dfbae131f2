//! Half load for a long time: memory, disk and latencies of every second.
//! In: half the peak just measured. Out: a sample of every process each second. Never: a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use sidelock::world::clock::{BootClock, Clock};

use super::bench::{loaded, number};
use super::{Bench, Case};
use crate::measure::load::{self, Locks, Outcome, Pace, Plan};
use crate::measure::{probe, usage};
use crate::peers::sidelock::{Cell, Part, UNCACHED};

const WORKERS: usize = 64;
/// Between two syncs of the probe, so that it hardly loads the disk.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_secs(bench.long_run_seconds);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(1, UNCACHED).await?;
    let part = Part {
        cell: &cell,
        pods: &pods,
    };
    let plan = Plan::closed(WORKERS, Duration::from_secs(3));
    let peak = load::run(&part.target(), &plan).await?;
    let half = peak.figures().get("pairs_per_s").copied().unwrap_or(0.0) / 2.0;
    let plan = Plan {
        pace: Pace::Open { per_second: half },
        locks: Locks::Own("long".to_owned()),
        warm_up: Duration::from_secs(2),
        ..Plan::closed(WORKERS * 4, measured)
    };
    bench.say(&format!("{half:.0} pairs/s for {} s", measured.as_secs()));
    let folder = crate::peers::scratch("disk")?;
    let path = folder.path().to_owned();
    let probe = tokio::task::spawn_blocking(move || probe::fdatasync(&path, measured, PROBE_PAUSE));
    let case = Case::new("long", "half load", 0.0);
    let who = case.by("sidelock", 0);
    let target = part.target();
    let (done, series) = tokio::join!(
        loaded(&who, &target, &part, &plan),
        sampled(&part, measured)
    );
    let (outcome, mut run) = done?;
    run.figures.insert("half_load_per_s".to_owned(), half);
    let tail = |of: &Outcome| Some(of.acquire.percentile(99.9)? / of.acquire.percentile(50.0)?);
    if let Some(tail) = tail(&outcome) {
        run.figures.insert("p999_of_p50".to_owned(), tail);
    }
    for (name, values) in &series {
        // The first third is the way to a steady state. Means, since a log that is purged now and then is a saw.
        let third = values.len() / 3;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / number(part.len());
        if let Some(late) = values.last().filter(|_| third > 0) {
            let (middle, last) = (&values[third..2 * third], &values[2 * third..]);
            run.figures
                .insert(format!("{name}_growth"), mean(last) / mean(middle));
            run.figures.insert(format!("{name}_end"), *late);
        }
    }
    run.series = series;
    bench.record(run)?;
    let disk = Outcome {
        acquire: probe.await??,
        seconds: measured.as_secs_f64(),
        ..Outcome::default()
    };
    let mut run = case.by("fdatasync", 0).latencies(&disk);
    if let Some(tail) = tail(&disk) {
        run.figures.insert("p999_of_p50".to_owned(), tail);
    }
    bench.record(run)
}

/// Memory and disk of every process, each second; at most 1200 samples.
async fn sampled(part: &Part<'_>, measured: Duration) -> BTreeMap<String, Vec<f64>> {
    let every = Duration::from_secs(1).max(measured / 1200);
    let until = BootClock.now() + measured;
    let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: String, value: f64| {
        // Tenths are enough, and keep the raw data small.
        series
            .entry(name)
            .or_default()
            .push((value * 10.0).round() / 10.0);
    };
    while BootClock.now() < until {
        for pod in part.pods {
            add(
                "sidecar_rss_mb".to_owned(),
                usage::rss_mb(pod.process.pid()),
            );
        }
        for (place, node) in part.cell.nodes.iter().enumerate() {
            let place = place + 1;
            add(
                format!("core{place}_rss_mb"),
                usage::rss_mb(node.process.pid()),
            );
            add(format!("core{place}_disk_mb"), usage::disk_mb(&node.data));
        }
        tokio::time::sleep(every).await;
    }
    series
}
