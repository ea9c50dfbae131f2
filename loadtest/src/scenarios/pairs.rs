//! Uncontended pairs of acquire and release, as fast as they go.
//! In: all peers, several numbers of workers. Out: rates and latencies. Never: two workers with one lock.

use std::time::Duration;

use super::{Bench, Case};
use crate::measure::load::{Locks, Plan};

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_millis(bench.by_form(500, 1_000, 3_000));
    let workers: &[usize] = bench.by_form(&[16], &[1, 64], &[1, 16, 64, 256]);
    let contestants = bench.contestants(&[]).await?;
    for workers in workers {
        let case = Case::workers("pairs", *workers);
        for round in 0..bench.rounds {
            for one in &contestants {
                let plan = Plan {
                    locks: Locks::Own(format!("pairs/{}", one.name)),
                    ..Plan::closed(*workers, measured)
                };
                bench.measure(&case, *one, round, &plan).await?;
            }
        }
    }
    Ok(())
}
