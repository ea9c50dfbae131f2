//! Very many held locks: what they weigh in the leader, and how long a node takes to come back.
//! In: a million claims. Out: megabytes, seconds. Never: a lock released before the end.

use anyhow::Context;
use sidelock::world::clock::{BootClock, Clock};

use super::bench::number;
use super::{Bench, Case};
use crate::commands::load::hold;
use crate::measure::usage;
use crate::peers::sidelock::{Cell, UNCACHED};

const WORKERS: usize = 128;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let count = bench.by_form(2_000, 20_000, 1_000_000);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(4, UNCACHED).await?;
    let urls: Vec<_> = pods.iter().map(|pod| pod.url.clone()).collect();
    let leader = cell.leader().await.context("no leader")?;
    let idle = usage::rss_mb(cell.nodes[leader].process.pid());
    let began = BootClock.now();
    hold(&urls, WORKERS, count, 0).await?;
    let took = BootClock.now().since(began);
    let leader = cell.leader().await.context("no leader")?;
    let memory = usage::rss_mb(cell.nodes[leader].process.pid());
    let disk = usage::disk_mb(&cell.nodes[leader].data);
    let sidecars: f64 = pods
        .iter()
        .map(|pod| usage::rss_mb(pod.process.pid()))
        .sum();
    let follower = (leader + 1) % cell.nodes.len();
    cell.nodes[follower].process.kill();
    let began = BootClock.now();
    cell.restart(follower)?;
    cell.nodes[follower].ready().await?;
    let restart = BootClock.now().since(began);
    let case = Case::new("held", format!("{count} held locks"), number(count));
    let run = case.by("sidelock", 0).figures([
        ("locks", number(count)),
        ("taken_per_s", number(count) / took.as_secs_f64()),
        ("leader_idle_rss_mb", idle),
        ("leader_rss_mb", memory),
        ("sidecars_rss_mb", sidecars),
        ("leader_disk_mb", disk),
        ("restart_s", restart.as_secs_f64()),
    ]);
    bench.record(run)
}
