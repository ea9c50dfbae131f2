//! Ten thousand idle sidecars: what their sessions cost the core.
//! In: simulated sessions, each with a stream to every node, renewing as a sidecar does.
//! Out: processor time of all nodes. Never: a claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use futures::StreamExt;
use sidelock::world::clock::{BootClock, Clock};

use super::bench::number;
use super::{Bench, Case};
use crate::clients::session::{Counts, Session};
use crate::measure::usage;
use crate::peers::process::READY_WITHIN;
use crate::peers::sidelock::Cell;

/// Sessions that are opened at a time.
const OPENING_MAX: usize = 100;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let sidecars = bench.by_form(50, 500, sidecars_max());
    let measured = Duration::from_secs(bench.by_form(2, 5, 20));
    let cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let counts = Arc::new(Counts::default());
    let cores = cell.cores();
    let opening = futures::stream::iter(0..sidecars)
        .map(|number| Session::open(&cores, number, Arc::clone(&counts)))
        .buffer_unordered(OPENING_MAX);
    let mut sessions: Vec<Session> = Vec::new();
    let mut opening = std::pin::pin!(opening);
    while let Some(session) = opening.next().await {
        sessions.push(session?);
        if sessions.len().is_multiple_of(1000) {
            bench.say(&format!(
                "{} of {sidecars} sessions are open",
                sessions.len()
            ));
        }
    }
    all_renewing(&counts, sidecars).await?;
    let pids = cell.core_pids();
    let before = (usage::cpu_seconds_of(&pids), acknowledged(&counts));
    tokio::time::sleep(measured).await;
    let used = usage::cpu_seconds_of(&pids) - before.0;
    let renewed = acknowledged(&counts) - before.1;
    let memory = pids
        .iter()
        .map(|pid| usage::rss_mb(*pid))
        .fold(0.0, f64::max);
    let case = Case::new("idle", format!("{sidecars} sidecars"), number(sidecars));
    let run = case.by("sidelock", 0).figures([
        ("cores_used", used / measured.as_secs_f64()),
        ("renewals_per_s", renewed / measured.as_secs_f64()),
        (
            "lost_sessions",
            number(usize::try_from(counts.lost.load(Ordering::Relaxed))?),
        ),
        ("node_rss_mb", memory),
    ]);
    bench.record(run)
}

/// Ten thousand, or as many as open files allow: a node has one connection of each, we have three.
fn sidecars_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    });
    10_000.min(files.saturating_sub(500) / 3)
}

async fn all_renewing(counts: &Counts, sidecars: usize) -> anyhow::Result<()> {
    let until = BootClock.now() + READY_WITHIN;
    let wanted = u64::try_from(sidecars)?;
    while counts.attached.load(Ordering::Relaxed) < wanted {
        if BootClock.now() > until {
            let have = counts.attached.load(Ordering::Relaxed);
            bail!("only {have} of {sidecars} sessions are attached after {READY_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // One round of renewals, so that the opening is over.
    tokio::time::sleep(Duration::from_secs(4)).await;
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "renewals of a run are far below 2^52"
)]
fn acknowledged(counts: &Counts) -> f64 {
    let count: &AtomicU64 = &counts.acknowledged;
    count.load(Ordering::Relaxed) as f64
}
