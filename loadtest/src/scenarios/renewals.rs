//! Very many claims whose apps renew them, each at a third of its lease.
//! In: 100,000 claims of one pod. Out: how late renewals are, what they cost the core. Never: a lease that ends.

use std::time::Duration;

use anyhow::bail;
use hyper::Method;
use sidelock::world::clock::{BootClock, Clock, Instant};

use super::bench::{loaded_by, number};
use super::{Bench, Case};
use crate::clients::http::Http;
use crate::commands::load::hold;
use crate::measure::histogram::Latencies;
use crate::measure::load::Outcome;
use crate::measure::schedule::Schedule;
use crate::peers::sidelock::{Cell, KEPT, Part};

const WORKERS: usize = 64;
/// A lease of 30 s, so that each is renewed every 10 s.
const EVERY: Duration = Duration::from_secs(10);

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let count = bench.by_form(2_000, 20_000, 100_000);
    let measured = Duration::from_secs(bench.by_form(1, 5, 20));
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let pods = cell.pods(1, KEPT).await?;
    let part = Part {
        cell: &cell,
        pods: &pods,
    };
    let claims = hold(&part.target().urls, WORKERS, count, 0).await?;
    let per_second = number(count) / EVERY.as_secs_f64();
    let case = Case::new("renewals", format!("{count} claims"), number(count));
    let who = case.by("sidelock-kept", 0);
    let work = renew(&pods[0].url, claims, per_second, measured);
    let (outcome, mut run) = loaded_by(&who, &part, work).await?;
    let rate = number(usize::try_from(outcome.acquire.count())?) / outcome.seconds;
    run.figures.remove("pairs_per_s");
    run.figures.insert("renewals_per_s".to_owned(), rate);
    run.figures.insert("wanted_per_s".to_owned(), per_second);
    bench.record(run)
}

async fn renew(
    url: &str,
    claims: Vec<String>,
    per_second: f64,
    measured: Duration,
) -> anyhow::Result<Outcome> {
    let start = BootClock.now();
    let mut tasks = Vec::new();
    for number in 0..WORKERS {
        let own: Vec<_> = claims
            .iter()
            .skip(number)
            .step_by(WORKERS)
            .cloned()
            .collect();
        let http = Http::connect(url).await?;
        let schedule = Schedule::new(per_second, number, WORKERS);
        tasks.push(tokio::spawn(worker(http, own, schedule, start, measured)));
    }
    let mut outcome = Outcome {
        seconds: measured.as_secs_f64(),
        ..Outcome::default()
    };
    for task in tasks {
        outcome.acquire.merge(&task.await??);
    }
    Ok(outcome)
}

async fn worker(
    mut http: Http,
    claims: Vec<String>,
    mut schedule: Schedule,
    start: Instant,
    measured: Duration,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    for id in claims.iter().cycle() {
        let due = start + schedule.due();
        schedule.advance();
        if due >= start + measured {
            break;
        }
        tokio::time::sleep(due.since(BootClock.now())).await;
        let path = format!("/v1/claims/{id}/renew");
        let answer = http.send(Method::POST, &path, Vec::new()).await?;
        if answer.status != 200 {
            bail!(
                "a renewal was refused: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        latencies.record(BootClock.now().since(due));
    }
    Ok(latencies)
}
