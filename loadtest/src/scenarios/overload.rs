//! Three times what the cell can do, at a rate that does not wait for answers.
//! In: the peak just measured. Out: goodput, how soon the rest is refused. Never: a caller that backs off.

use std::time::Duration;

use super::bench::loaded;
use super::{Bench, Case};
use crate::measure::load::{Pace, Plan};
use crate::measure::usage;
use crate::peers::sidelock::{Cell, Part, UNCACHED};

/// More than a sidecar lets under way, so that it has to refuse.
const WORKERS: usize = 8192;
const TIMES: f64 = 3.0;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_secs(bench.by_form(1, 2, 4));
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(1, UNCACHED).await?;
    let part = Part {
        cell: &cell,
        pods: &pods,
    };
    let (peak, over) = (
        Case::new("overload", "the peak", 1.0),
        Case::new("overload", "three times the peak", TIMES),
    );
    for round in 0..bench.rounds {
        let plan = Plan::closed(256, measured);
        let who = peak.by("sidelock", round);
        let (outcome, run) = loaded(&who, &part.target(), &part, &plan).await?;
        let most = run.figures.get("pairs_per_s").copied().unwrap_or(0.0);
        let usual = outcome.service.percentile(99.0).unwrap_or(0.0);
        bench.record(run)?;
        let plan = Plan {
            pace: Pace::Open {
                per_second: TIMES * most,
            },
            ..Plan::closed(WORKERS, measured)
        };
        let who = over.by("sidelock", round);
        let (outcome, mut run) = loaded(&who, &part.target(), &part, &plan).await?;
        let goodput = run.figures.get("pairs_per_s").copied().unwrap_or(0.0);
        let p99 = outcome.service.percentile(99.0).unwrap_or(0.0);
        run.figures
            .insert("goodput_of_peak".to_owned(), goodput / most);
        run.figures.insert("p99_of_peak".to_owned(), p99 / usual);
        let memory = usage::rss_mb(pods[0].process.pid());
        run.figures.insert("sidecar_rss_mb".to_owned(), memory);
        bench.record(run)?;
    }
    Ok(())
}
