//! From the start of a process to /readyz, and what it holds in memory when idle.
//! In: sidecar, core node, `sidelock dev`. Out: times and megabytes. Never: a warm process.

use std::process::Command;
use std::time::Duration;

use sidelock::world::clock::{BootClock, Clock};

use super::{Bench, Case};
use crate::measure::usage;
use crate::peers::process::{Process, free_port, wait_for};
use crate::peers::scratch;
use crate::peers::sidelock::{Cell, KEPT, ready};

/// Long enough for allocations of the start to settle.
const IDLE: Duration = Duration::from_millis(1_500);

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for round in 0..bench.rounds {
        sidecar(bench, round).await?;
        dev(bench, round).await?;
    }
    Ok(())
}

async fn sidecar(bench: &mut Bench, round: usize) -> anyhow::Result<()> {
    let began = BootClock.now();
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let formed = BootClock.now().since(began);
    let (process, took) = alone(bench, &["sidecar", "--core", &cell.cores().join(",")]).await?;
    // A sidecar that has its session, unlike the one that was just ready.
    let pod = cell.pod(KEPT).await?;
    tokio::time::sleep(IDLE).await;
    drop(process);
    let case = Case::new("startup", "sidecar", 0.0);
    let run = case.by("sidelock", round).figures([
        ("ready_ms", took.as_secs_f64() * 1e3),
        ("idle_rss_mb", usage::rss_mb(pod.process.pid())),
    ]);
    bench.record(run)?;
    let memory = cell
        .core_pids()
        .into_iter()
        .map(usage::rss_mb)
        .fold(0.0, f64::max);
    let case = Case::new("startup", "3 core nodes that form a cell", 0.0);
    let run = case.by("sidelock", round).figures([
        ("ready_ms", formed.as_secs_f64() * 1e3),
        ("idle_rss_mb", memory),
    ]);
    bench.record(run)
}

async fn dev(bench: &mut Bench, round: usize) -> anyhow::Result<()> {
    let (process, took) = alone(bench, &["dev"]).await?;
    tokio::time::sleep(IDLE).await;
    let case = Case::new("startup", "sidelock dev", 0.0);
    let run = case.by("sidelock", round).figures([
        ("ready_ms", took.as_secs_f64() * 1e3),
        ("idle_rss_mb", usage::rss_mb(process.0.pid())),
    ]);
    bench.record(run)
}

/// A process, its folder, and how long it took to be ready.
async fn alone(
    bench: &Bench,
    args: &[&str],
) -> anyhow::Result<((Process, tempfile::TempDir), Duration)> {
    let folder = scratch("startup")?;
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let mut command = Command::new(&bench.field.binaries().sidelock);
    // `dev` keeps its data in a temporary directory, which a killed process cannot take away.
    command
        .args(args)
        .args(["--http", &address])
        .env("TMPDIR", folder.path());
    let began = BootClock.now();
    let process = Process::start(folder.path(), "alone", &mut command)?;
    wait_for("a process", async || ready(&url).await).await?;
    Ok(((process, folder), BootClock.now().since(began)))
}
