//! Two pods whose workers take another's lock once in twenty times.
//! In: pods that keep locks, pods that do not, the echo. Out: rates. Never: a worker bound to one lock.

use std::time::Duration;

use super::bench::loaded;
use super::{Bench, Case};
use crate::measure::load::{Locks, Plan};
use crate::peers::sidelock::{Cell, KEPT, Part, UNCACHED};

const WORKERS: usize = 64;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_millis(bench.by_form(500, 900, 3_000));
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let kept = cell.pods(2, KEPT).await?;
    let uncached = cell.pods(2, UNCACHED).await?;
    let echo = bench.contestants(&["echo"]).await?;
    let case = Case::workers("locality", WORKERS);
    for round in 0..bench.rounds {
        for (name, pods) in [("sidelock-kept", &kept), ("sidelock", &uncached)] {
            if !bench.wants(name) {
                continue;
            }
            let plan = Plan {
                locks: Locks::Local {
                    folder: format!("locality/{name}"),
                    percent: 95,
                },
                ..Plan::closed(WORKERS, measured)
            };
            let part = Part { cell: &cell, pods };
            let run = loaded(&case.by(name, round), &part.target(), &part, &plan)
                .await?
                .1;
            bench.record(run)?;
        }
        for one in &echo {
            bench
                .measure(&case, *one, round, &Plan::closed(WORKERS, measured))
                .await?;
        }
    }
    Ok(())
}
