//! One lock that all want: how long from one grant to the next, who gets it, what it costs the core.
//! In: 2 to 1000 waiters, in one pod and in eight; etcd, ZooKeeper and Redis beside them.
//! Out: gaps, fairness, messages. Never: a hold, so that a gap is the hand-over alone.

use std::time::Duration;

use super::bench::{Who, loaded, number};
use super::{Bench, Case};
use crate::measure::fairness::{gaps, jain};
use crate::measure::histogram::Latencies;
use crate::measure::load::{Locks, Outcome, Plan, Target};
use crate::peers::Running;
use crate::peers::sidelock::{Cell, KEPT, Part, UNCACHED};
use crate::report::raw::Run;

const PODS: usize = 8;
/// Those that can wait in line, and Redis, whose clients ask again.
const OTHERS: &[&str] = &["etcd-gateway", "etcd-grpc", "redis", "zookeeper"];

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let rounds = bench.rounds.min(bench.by_form(1, 2, 5));
    let waiters: &[usize] = bench.by_form(&[16], &[2, 1000], &[2, 16, 128, 1000]);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let kept = cell.pods(PODS, KEPT).await?;
    let uncached = cell.pods(PODS, UNCACHED).await?;
    let others = bench.contestants(OTHERS).await?;
    for waiters in waiters {
        for pods in [1, PODS] {
            let case = case(*waiters, pods);
            for round in 0..rounds {
                for (name, all) in [("sidelock-kept", &kept), ("sidelock", &uncached)] {
                    if !bench.wants(name) {
                        continue;
                    }
                    let part = Part {
                        cell: &cell,
                        // Of two waiters, none is in a third pod.
                        pods: &all[..pods.min(*waiters)],
                    };
                    let run = hot(&case.by(name, round), &part.target(), &part, *waiters).await?;
                    bench.record(run)?;
                }
                // Their clients have no pods.
                for one in others.iter().filter(|_| pods == 1) {
                    let target = bench.field.target(*one);
                    let running = bench.field.running(*one);
                    let run = hot(&case.by(one.name, round), &target, running, *waiters).await?;
                    bench.record(run)?;
                }
            }
        }
    }
    Ok(())
}

fn case(waiters: usize, pods: usize) -> Case {
    let pods = match pods {
        1 => "1 pod".to_owned(),
        more => format!("{more} pods"),
    };
    Case::new(
        "hot",
        format!("{waiters} waiters in {pods}"),
        number(waiters),
    )
}

async fn hot(
    who: &Who,
    target: &Target,
    running: &dyn Running,
    waiters: usize,
) -> anyhow::Result<Run> {
    let plan = Plan {
        // Long enough for each of a thousand to have had it once.
        warm_up: Duration::from_millis(if waiters >= 100 { 1_000 } else { 300 }),
        locks: Locks::Named(vec!["hot/lock".to_owned()]),
        log_grants: true,
        ..Plan::closed(waiters, Duration::from_millis(1_500))
    };
    let (outcome, mut run) = loaded(who, target, running, &plan).await?;
    run.figures.extend(contention(&outcome, waiters));
    let acquisitions = number(outcome.grants.len());
    for (per, name) in [
        ("frames_sent", "frames_per_grant"),
        ("operations_sent", "operations_per_grant"),
    ] {
        if let Some(count) = run.figures.get(per).filter(|_| acquisitions > 0.0) {
            run.figures.insert(name.to_owned(), count / acquisitions);
        }
    }
    let histogram = gap_histogram(&outcome);
    run.histograms.insert("gap".to_owned(), histogram.encode());
    Ok(run)
}

/// Gaps between grants, and how even the shares are.
fn contention(outcome: &Outcome, waiters: usize) -> Vec<(String, f64)> {
    let mut shares = vec![0; waiters];
    for grant in &outcome.grants {
        shares[grant.worker] += 1;
    }
    let gaps = gap_histogram(outcome);
    let figures = [
        ("gap_mean_ms", gaps.mean()),
        ("gap_p50_ms", gaps.percentile(50.0)),
        ("gap_p99_ms", gaps.percentile(99.0)),
        ("jain_workers", Some(jain(&shares))),
    ];
    let there = figures
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    there.collect()
}

fn gap_histogram(outcome: &Outcome) -> Latencies {
    let mut histogram = Latencies::default();
    for gap in gaps(
        outcome
            .grants
            .iter()
            .map(|grant| grant.granted_ns)
            .collect(),
    ) {
        histogram.record(Duration::from_nanos(gap));
    }
    histogram
}
