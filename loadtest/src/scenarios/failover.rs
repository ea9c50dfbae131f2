//! The leader is killed in the middle: how long until the next lock is granted.
//! In: a cell under load, kills. Out: the time to the first new grant. Never: a node that is told to leave.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use sidelock::world::clock::{BootClock, Clock};

use super::{Bench, Case};
use crate::measure::load::{self, Pace, Plan};
use crate::peers::process::READY_WITHIN;
use crate::peers::sidelock::{Cell, Part, Pod, UNCACHED};

/// A moderate load beside it, as there would be.
const PER_SECOND: f64 = 200.0;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let kills = bench.by_form(1, 3, 20);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(2, UNCACHED).await?;
    let case = Case::new(
        "failover",
        format!("a leader killed, {PER_SECOND} pairs/s"),
        0.0,
    );
    for round in 0..kills {
        let plan = Plan {
            pace: Pace::Open {
                per_second: PER_SECOND,
            },
            warm_up: Duration::ZERO,
            ..Plan::closed(16, Duration::from_secs(3))
        };
        let part = Part {
            cell: &cell,
            pods: &pods[1..],
        };
        let target = part.target();
        let load = tokio::spawn(async move { load::run(&target, &plan).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let place = cell
            .leader()
            .await
            .context("a cell that is ready has a leader")?;
        cell.nodes[place].process.kill();
        let took = first_grant(&pods[0], round).await?;
        let outcome = load.await??;
        cell.restart(place)?;
        cell.nodes[place].ready().await?;
        let longest = outcome.acquire.percentile(100.0).unwrap_or(0.0);
        let refused = outcome.refused.count() + outcome.errors.values().sum::<u64>();
        let run = case.by("sidelock", round).figures([
            ("first_grant_ms", took.as_secs_f64() * 1e3),
            ("longest_acquire_ms", longest),
            ("refused_or_failed", f64::from(u32::try_from(refused)?)),
        ]);
        bench.record(run)?;
    }
    Ok(())
}

async fn first_grant(pod: &Pod, round: usize) -> anyhow::Result<Duration> {
    let began = BootClock.now();
    let body = json!({"lock": format!("failover/{round}"), "wait_ms": 5_000, "ttl_ms": 60_000});
    loop {
        if pod.claim(&body).await?.is_some() {
            return Ok(BootClock.now().since(began));
        }
        if BootClock.now().since(began) > READY_WITHIN {
            bail!("no grant within {READY_WITHIN:?} of a leader's death");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
