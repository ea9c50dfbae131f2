//! Acquires of one pod while 100,000 claims of another, which was killed, expire at once.
//! In: a steady rate. Out: latencies in calm and meanwhile. Never: claims that were released.

use std::time::Duration;

use super::bench::loaded;
use super::{Bench, Case};
use crate::clients::http;
use crate::commands::load::hold;
use crate::measure::load::{Locks, Pace, Plan};
use crate::peers::sidelock::{Cell, Part, UNCACHED};

const PER_SECOND: f64 = 300.0;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let count = bench.by_form(2_000, 20_000, 100_000);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let mut pods = cell.pods(1, UNCACHED).await?;
    let dying = cell
        .pod(&["--no-delegations", "--session-ttl", "5s"])
        .await?;
    let steady = Plan {
        pace: Pace::Open {
            per_second: PER_SECOND,
        },
        locks: Locks::Own("expiry".to_owned()),
        ..Plan::closed(8, Duration::from_secs(3))
    };
    hold(std::slice::from_ref(&dying.url), 64, count, 0).await?;
    let calm = Case::new("expiry", "in calm", 0.0);
    let during = Case::new("expiry", format!("while {count} claims expire"), 1.0);
    let part = Part {
        cell: &cell,
        pods: &pods,
    };
    let (_, run) = loaded(&calm.by("sidelock", 0), &part.target(), &part, &steady).await?;
    bench.record(run)?;
    drop(dying);
    let plan = Plan {
        warm_up: Duration::ZERO,
        measured: Duration::from_secs(9),
        ..steady
    };
    let (_, mut run) = loaded(&during.by("sidelock", 0), &part.target(), &part, &plan).await?;
    let left = http::get(&pods.remove(0).url, "/v1/locks?prefix=held%2F&limit=1").await?;
    let left = left["items"].as_array().map_or(0, Vec::len);
    run.figures
        .insert("some_left".to_owned(), super::bench::number(left));
    bench.record(run)
}
