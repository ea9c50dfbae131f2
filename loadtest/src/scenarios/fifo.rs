//! Who is next: waiters get in line one after the other, each seen to be in line before the next.
//! In: waiters spread over one pod and over eight. Out: how many were overtaken, by tokens.
//! Never: an order that is guessed from times.

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};
use sidelock::world::clock::{BootClock, Clock};

use super::bench::{Who, number};
use super::{Bench, Case};
use crate::clients::http::Http;
use crate::measure::fairness::overtaken;
use crate::peers::sidelock::{Cell, KEPT, Pod, UNCACHED};
use crate::report::raw::Run;

const PODS: usize = 8;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let waiters = bench.by_form(16, 128, 1000);
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    let kept = cell.pods(PODS, KEPT).await?;
    let uncached = cell.pods(PODS, UNCACHED).await?;
    for pods in [1, PODS] {
        let name = match pods {
            1 => format!("{waiters} in line in 1 pod"),
            more => format!("{waiters} in line in {more} pods"),
        };
        let case = Case::new("fifo", name, number(pods));
        for round in 0..bench.rounds {
            for (name, all) in [("sidelock-kept", &kept), ("sidelock", &uncached)] {
                if bench.wants(name) {
                    let run = line(&case.by(name, round), &all[..pods], waiters, round).await?;
                    bench.record(run)?;
                }
            }
        }
    }
    Ok(())
}

async fn line(who: &Who, pods: &[Pod], waiters: usize, round: usize) -> anyhow::Result<Run> {
    let lock = format!("fifo/{}/{round}", pods.len());
    let holder = pods[0]
        .claim(&json!({"lock": lock, "ttl_ms": 600_000}))
        .await?;
    let holder = holder.context("the lock of a new round is free")?;
    let mut queued = Vec::new();
    for place in 0..waiters {
        let pod = place % pods.len();
        let mut http = Http::connect(&pods[pod].url).await?;
        let ask = json!({"lock": lock, "queue": true, "wait_ms": 600_000, "ttl_ms": 600_000});
        let answer = http
            .send(Method::POST, "/v1/claims", serde_json::to_vec(&ask)?)
            .await?;
        if answer.status != 202 {
            bail!("not in line: {}", String::from_utf8_lossy(&answer.body));
        }
        let claim: Value = serde_json::from_slice(&answer.body)?;
        queued.push(tokio::spawn(turn(http, claim, place, pod)));
    }
    let began = BootClock.now();
    let mut http = Http::connect(&pods[0].url).await?;
    http.send(Method::DELETE, &format!("/v1/claims/{holder}"), Vec::new())
        .await?;
    let mut turns = Vec::new();
    for turn in queued {
        turns.push(turn.await??);
    }
    let took = BootClock.now().since(began);
    turns.sort_unstable_by_key(|turn| turn.token);
    let places = |of: Option<usize>| -> Vec<usize> {
        let of = |turn: &&Turn| of.is_none_or(|pod| turn.pod == pod);
        turns.iter().filter(of).map(|turn| turn.place).collect()
    };
    let within: usize = (0..pods.len())
        .map(|pod| overtaken(&places(Some(pod))))
        .sum();
    Ok(who.figures([
        ("overtaken_in_pod", number(within)),
        ("overtaken_among_pods", number(overtaken(&places(None)))),
        ("gap_mean_ms", took.as_secs_f64() * 1e3 / number(waiters)),
    ]))
}

/// A waiter's turn.
struct Turn {
    place: usize,
    pod: usize,
    token: u64,
}

/// Waits for the grant, and gives it back at once.
async fn turn(mut http: Http, mut claim: Value, place: usize, pod: usize) -> anyhow::Result<Turn> {
    let id = claim["claim_id"]
        .as_str()
        .context("no claim id")?
        .to_owned();
    while claim["state"] == "queued" {
        let revision = claim["revision"].as_u64().unwrap_or(0);
        let path = format!("/v1/claims/{id}?wait_revision={revision}&wait_ms=30000");
        let answer = http.send(Method::GET, &path, Vec::new()).await?;
        claim = serde_json::from_slice(&answer.body)?;
    }
    let token = claim["token"]
        .as_u64()
        .with_context(|| format!("no token: {claim}"))?;
    http.send(Method::DELETE, &format!("/v1/claims/{id}"), Vec::new())
        .await?;
    Ok(Turn { place, pod, token })
}
