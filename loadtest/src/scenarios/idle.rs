//! Ten thousand idle sidecars: what their sessions cost the core.
//! In: simulated sessions, each with a stream to every node, renewing as a sidecar does.
//! Out: processor time of all nodes. Never: a claim.

use std::time::Duration;

use super::bench::number;
use super::fleet::{Fleet, Seen};
use super::{Bench, Case};
use crate::clients::session::TTL;
use crate::measure::scrape::TERM;
use crate::measure::usage;
use crate::peers::sidelock::Cell;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let sidecars: usize = bench.by_form(50, 500, 10_000);
    let measured = Duration::from_secs(bench.by_form(3, 5, 20));
    let cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let fleet = Fleet::start(&cell.cores(), sidecars, &[]).await?;
    // A round of renewals, so that the opening is over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pids = cell.core_pids();
    let term = async || {
        let all = cell.counters().await;
        let terms = all.iter().filter_map(|node| node.get(TERM).copied());
        terms.fold(0.0, f64::max)
    };
    let before = (usage::cpu_seconds_of(&pids), fleet.seen()?, term().await);
    tokio::time::sleep(measured).await;
    let after = (usage::cpu_seconds_of(&pids), fleet.seen()?, term().await);
    let memory = pids
        .iter()
        .map(|pid| usage::rss_mb(*pid))
        .fold(0.0, f64::max);
    let since = |of: fn(&Seen) -> u64| f64_of(of(&after.1) - of(&before.1));
    let case = Case::new("idle", format!("{sidecars} sidecars"), number(sidecars));
    let run = case.by("sidelock", 0).figures([
        ("cores_used", (after.0 - before.0) / measured.as_secs_f64()),
        (
            "renewals_per_s",
            since(|seen| seen.acknowledged) / measured.as_secs_f64(),
        ),
        // Fewer than this: the machine was full, and the processor time is a lower limit.
        ("wanted_per_s", number(sidecars) * 3.0 / TTL.as_secs_f64()),
        ("elections", after.2 - before.2),
        ("lost_streams", since(|seen| seen.lost)),
        ("node_rss_mb", memory),
    ]);
    bench.record(run)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "renewals of a run are far below 2^52"
)]
fn f64_of(count: u64) -> f64 {
    count as f64
}
