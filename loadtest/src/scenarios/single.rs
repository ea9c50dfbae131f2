//! One uncontended acquire now and then: what a caller waits when the system is idle.
//! In: all peers, a low rate. Out: latencies. Never: a queue.

use std::time::Duration;

use super::{Bench, Case};
use crate::measure::load::{Locks, Pace, Plan};

/// Far below what any peer can do alone.
const PER_SECOND: f64 = 40.0;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_millis(bench.by_form(500, 900, 4_000));
    let contestants = bench.contestants(&[]).await?;
    let case = Case::workers("single", 1);
    for round in 0..bench.rounds {
        bench.disk(&case, round, measured).await?;
        for one in &contestants {
            let plan = Plan {
                pace: Pace::Open {
                    per_second: PER_SECOND,
                },
                locks: Locks::Own(format!("single/{}", one.name)),
                ..Plan::closed(1, measured)
            };
            bench.measure(&case, *one, round, &plan).await?;
        }
    }
    Ok(())
}
