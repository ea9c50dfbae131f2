//! One lock that goes to and fro between two pods with one worker each.
//! In: pods that keep locks, pods that do not, etcd. Out: rates. Never: a third.

use std::time::Duration;

use super::bench::loaded;
use super::{Bench, Case};
use crate::measure::load::{Locks, Plan};
use crate::peers::sidelock::{Cell, KEPT, Part, UNCACHED};

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_millis(bench.by_form(500, 900, 3_000));
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let kept = cell.pods(2, KEPT).await?;
    let uncached = cell.pods(2, UNCACHED).await?;
    let others = bench
        .contestants(&["etcd-gateway", "etcd-grpc", "zookeeper"])
        .await?;
    let case = Case::workers("ping-pong", 2);
    let plan = |name: &str| Plan {
        locks: Locks::Named(vec![format!("ping-pong/{name}")]),
        ..Plan::closed(2, measured)
    };
    for round in 0..bench.rounds {
        for (name, pods) in [("sidelock-kept", &kept), ("sidelock", &uncached)] {
            if bench.wants(name) {
                let part = Part { cell: &cell, pods };
                let who = case.by(name, round);
                let run = loaded(&who, &part.target(), &part, &plan(name)).await?.1;
                bench.record(run)?;
            }
        }
        for one in &others {
            bench.measure(&case, *one, round, &plan(one.name)).await?;
        }
    }
    Ok(())
}
