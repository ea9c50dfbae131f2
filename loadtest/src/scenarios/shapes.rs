//! Locks of other shapes: readers with a writer now and then, a semaphore, claims over three locks.
//! In: pods that keep locks and pods that do not. Out: rates and latencies. Never: a peer that has no such thing.

use std::time::Duration;

use super::bench::loaded;
use super::{Bench, Case};
use crate::clients::Shape;
use crate::measure::load::{Locks, Plan};
use crate::peers::sidelock::{Cell, KEPT, Part, Pod, UNCACHED};

const WORKERS: usize = 64;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let kept = cell.pods(2, KEPT).await?;
    let uncached = cell.pods(2, UNCACHED).await?;
    let base = Plan::closed(
        WORKERS,
        Duration::from_millis(bench.by_form(500, 1_500, 3_000)),
    );
    let one = |name: &str| Locks::Named(vec![format!("shapes/{name}")]);
    let cases = [
        (
            "readers, 1 of 100 writes",
            Plan {
                shape: Shape::Shared,
                writers_percent: 1,
                locks: one("shared"),
                ..base.clone()
            },
        ),
        (
            "a semaphore of 10",
            Plan {
                shape: Shape::Permit(10),
                locks: one("semaphore"),
                ..base.clone()
            },
        ),
        (
            "3 locks at once",
            Plan {
                shape: Shape::Several(3),
                locks: Locks::Own("shapes/several".to_owned()),
                ..base
            },
        ),
    ];
    for (name, plan) in cases {
        let case = Case::new("shapes", name, 0.0);
        for round in 0..bench.rounds {
            for (peer, pods) in [("sidelock-kept", &kept), ("sidelock", &uncached)] {
                if bench.wants(peer) {
                    shape(bench, &case, (peer, round), (&cell, pods), &plan).await?;
                }
            }
        }
    }
    Ok(())
}

async fn shape(
    bench: &mut Bench,
    case: &Case,
    (peer, round): (&'static str, usize),
    (cell, pods): (&Cell, &[Pod]),
    plan: &Plan,
) -> anyhow::Result<()> {
    let part = Part { cell, pods };
    let run = loaded(&case.by(peer, round), &part.target(), &part, plan)
        .await?
        .1;
    bench.record(run)
}
