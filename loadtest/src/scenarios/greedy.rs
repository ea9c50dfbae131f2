//! Eight pods on one lock, one of them with eight workers: the lock is shared out by pods.
//! In: a hold of 5 ms. Out: Jain's index over the pods, the longest wait. Never: a pod without a worker.

use std::time::Duration;

use super::bench::loaded;
use super::{Bench, Case};
use crate::measure::fairness::jain;
use crate::measure::load::{Locks, Plan, Target};
use crate::peers::sidelock::{Cell, KEPT, Part};

const PODS: usize = 8;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_millis(bench.by_form(500, 2_000, 5_000));
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(PODS, KEPT).await?;
    let part = Part {
        cell: &cell,
        pods: &pods,
    };
    let mut urls = vec![pods[0].url.clone(); PODS];
    urls.extend(pods[1..].iter().map(|pod| pod.url.clone()));
    let target = Target {
        urls,
        ..part.target()
    };
    let case = Case::new("greedy", "8 workers in 1 pod, 1 in each of 7", 15.0);
    for round in 0..bench.rounds {
        let plan = Plan {
            locks: Locks::Named(vec!["greedy/lock".to_owned()]),
            hold: Duration::from_millis(5),
            warm_up: Duration::from_secs(1),
            ..Plan::closed(target.urls.len(), measured)
        };
        let who = case.by("sidelock-kept", round);
        let (outcome, mut run) = loaded(&who, &target, &part, &plan).await?;
        let (first, others) = outcome.by_url.split_at(PODS);
        let mut shares = vec![first.iter().sum::<u64>()];
        shares.extend(others);
        run.figures.insert("jain_pods".to_owned(), jain(&shares));
        bench.record(run)?;
    }
    Ok(())
}
