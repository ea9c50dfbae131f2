//! A lock that is kept and idle at one pod, taken by another; beside it a round trip to the core.
//! In: fresh locks. Out: latencies of the first acquire. Never: a lock that is in use.

use std::time::Duration;

use serde_json::json;
use sidelock::world::clock::{BootClock, Clock};

use super::{Bench, Case};
use crate::measure::load::Outcome;
use crate::peers::sidelock::{Cell, KEPT, Pod, UNCACHED};

/// As often as makes a sidecar keep a lock.
const TOUCHES: usize = 3;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let locks = bench.by_form(10, 30, 100);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(2, KEPT).await?;
    let plain = cell.pod(UNCACHED).await?;
    let (kept, trip) = (Outcome::default(), Outcome::default());
    let mut outcomes = [kept, trip];
    for number in 0..locks {
        let lock = format!("idle/{number}");
        for _ in 0..TOUCHES {
            pods[0].touch(&lock).await?;
        }
        for (outcome, (pod, lock)) in outcomes
            .iter_mut()
            .zip([(&pods[1], lock), (&plain, format!("trip/{number}"))])
        {
            outcome.acquire.record(first(pod, &lock).await?);
        }
    }
    for (outcome, (name, peer)) in outcomes.iter().zip([
        ("kept and idle elsewhere", "sidelock-kept"),
        ("free, a round trip to the core", "sidelock"),
    ]) {
        let case = Case::new("hand-over", name, 0.0);
        bench.record(case.by(peer, 0).latencies(outcome))?;
    }
    Ok(())
}

async fn first(pod: &Pod, lock: &str) -> anyhow::Result<Duration> {
    let began = BootClock.now();
    let body = json!({"lock": lock, "wait_ms": 5_000});
    anyhow::ensure!(
        pod.claim(&body).await?.is_some(),
        "an idle lock was refused"
    );
    Ok(BootClock.now().since(began))
}
