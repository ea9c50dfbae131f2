//! What a sidecar weighs: memory with 10,000 kept locks, its share of a core at 1,000 requests a second.
//! In: a sidecar, the echo. Out: megabytes, shares, frames of an idle pod. Never: a peak.

use std::time::Duration;

use super::bench::number;
use super::{Bench, Case};
use crate::commands::load::hold;
use crate::measure::load::{self, Locks, Pace, Plan};
use crate::measure::scrape::{FRAMES_SENT, grown, scrape};
use crate::measure::usage;
use crate::peers::sidelock::{Cell, KEPT, Part};

const KEPT_LOCKS: usize = 10_000;
/// Two requests each.
const PAIRS_PER_SECOND: f64 = 500.0;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_secs(bench.by_form(1, 3, 5));
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(2, KEPT).await?;
    let (busy, idle) = (&pods[0], &pods[1]);
    hold(std::slice::from_ref(&busy.url), 64, KEPT_LOCKS, 3).await?;
    let memory = usage::rss_mb(busy.process.pid());
    let part = Part {
        cell: &cell,
        pods: &pods[..1],
    };
    let plan = Plan {
        pace: Pace::Open {
            per_second: PAIRS_PER_SECOND,
        },
        locks: Locks::Own("weight".to_owned()),
        ..Plan::closed(8, measured)
    };
    let mut shares = vec![share(busy.process.pid(), &part.target(), &plan).await?];
    for one in bench.contestants(&["echo"]).await? {
        let (_, pid) = bench.field.running(one).processes()[0];
        shares.push(share(pid, &bench.field.target(one), &plan).await?);
    }
    let case = Case::new("weight", "a sidecar at 1000 requests/s", 0.0);
    for (peer, share) in ["sidelock-kept", "echo"].into_iter().zip(&shares) {
        bench.record(case.by(peer, 0).figures([("core_share", *share)]))?;
    }
    let case = Case::new(
        "weight",
        format!("{KEPT_LOCKS} kept locks"),
        number(KEPT_LOCKS),
    );
    bench.record(
        case.by("sidelock-kept", 0)
            .figures([("sidecar_rss_mb", memory)]),
    )?;
    hold(std::slice::from_ref(&idle.url), 64, KEPT_LOCKS / 2, 0).await?;
    let looked = Duration::from_secs(bench.by_form(3, 9, 30));
    let before = scrape(&idle.url).await?;
    tokio::time::sleep(looked).await;
    let frames = grown(&before, &scrape(&idle.url).await?, FRAMES_SENT).unwrap_or(0.0);
    let per_3_s = frames / looked.as_secs_f64() * 3.0;
    let case = Case::new("weight", "an idle pod that holds 5000", 0.0);
    bench.record(
        case.by("sidelock-kept", 0)
            .figures([("frames_per_3_s", per_3_s)]),
    )
}

/// Of one core, while the load runs.
async fn share(pid: u32, target: &load::Target, plan: &Plan) -> anyhow::Result<f64> {
    let watch = async {
        let before = usage::cpu_seconds(pid);
        tokio::time::sleep(plan.measured).await;
        usage::cpu_seconds(pid) - before
    };
    let (_, used) = load::run_watched(target, plan, watch).await?;
    Ok(used / plan.measured.as_secs_f64())
}
