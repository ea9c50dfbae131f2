//! Ten thousand idle sidecars: what their sessions cost the core.
//! In: simulated sessions, each with a stream to every node, renewing as a sidecar does.
//! Out: processor time of all nodes. Never: a claim.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::bench::number;
use super::{Bench, Case};
use crate::clients::session::TTL;
use crate::measure::scrape::TERM;
use crate::measure::usage;
use crate::peers::process::{Process, wait_for};
use crate::peers::scratch;
use crate::peers::sidelock::Cell;

/// Sidecars of one process, each with three connections.
const IN_PROCESS_MAX: usize = 2_500;

/// What the simulated sidecars have seen, all together.
#[derive(Debug, Default)]
struct Seen {
    attached: u64,
    acknowledged: u64,
    lost: u64,
}

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let sidecars: usize = bench.by_form(50, 500, 10_000);
    let measured = Duration::from_secs(bench.by_form(3, 5, 20));
    let cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let folder = scratch("idle")?;
    let cores = cell.cores().join(",");
    let mut processes = Vec::new();
    let count = sidecars.div_ceil(IN_PROCESS_MAX);
    for place in 0..count {
        let share = (sidecars / count).to_string();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sessions", "--core", &cores, "--count", &share]);
        processes.push(Process::start(
            folder.path(),
            &place.to_string(),
            &mut command,
        )?);
    }
    let seen = || Seen::of(folder.path(), count);
    let wanted = u64::try_from(sidecars / count * count)?;
    wait_for("a session for each sidecar", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        seen().is_ok_and(|seen| seen.attached >= wanted)
    })
    .await?;
    // A round of renewals, so that the opening is over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pids = cell.core_pids();
    let term = async || {
        let all = cell.counters().await;
        let terms = all.iter().filter_map(|node| node.get(TERM).copied());
        terms.fold(0.0, f64::max)
    };
    let before = (usage::cpu_seconds_of(&pids), seen()?, term().await);
    tokio::time::sleep(measured).await;
    let after = (usage::cpu_seconds_of(&pids), seen()?, term().await);
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

impl Seen {
    /// By the last whole line that each process wrote.
    fn of(folder: &Path, count: usize) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for place in 0..count {
            let text = std::fs::read_to_string(folder.join(format!("{place}.log")))?;
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let line = whole.lines().next_back().context("no line yet")?;
            let seen: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let of = |name: &str| seen[name].as_u64().unwrap_or(0);
            all.attached += of("attached");
            all.acknowledged += of("acknowledged");
            all.lost += of("lost");
        }
        Ok(all)
    }
}
