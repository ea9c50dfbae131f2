//! What traces cost: pairs of a sidecar that sends none, beside those of one at 1 % and of one that samples all.
//! In: sidecars of one cell, a collector that throws all away. Out: rates, and the ratios within a round.
//! Never: a ratio of rates that were measured minutes apart.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::bench::loaded;
use super::{Bench, Case};
use crate::measure::load::{Locks, Plan};
use crate::peers::sidelock::{Cell, KEPT, Part, Pod};

const WORKERS: usize = 64;
const PEER: &str = "sidelock-kept";
const SAMPLER: &str = "parentbased_traceidratio";

/// Name of the case, share of the requests that are traced. The control tells how far apart two sidecars are
/// that do the same.
const SHARES: [(&str, Option<&str>); 4] = [
    ("no traces", None),
    ("no traces, a second sidecar", None),
    ("traces of 1 %", Some("0.01")),
    ("traces of all", Some("1.0")),
];

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let measured = Duration::from_millis(bench.by_form(500, 1_000, 1_000));
    // The ratio wanted is close to 1, and the machine drifts: many short rounds.
    let rounds = bench.by_form(1, 4, 8);
    let (endpoint, _sink) = sink().await?;
    let mut cell = Cell::start(&bench.field.binaries().sidelock).await?;
    for set in 0..bench.rounds {
        // Other processes in each set: one that happens to lie well in memory is a few percent faster for life.
        let pods = sidecars(&mut cell, &endpoint).await?;
        for round in 0..rounds {
            let number = set * rounds + round;
            measure(bench, (&cell, &pods), number, measured).await?;
        }
    }
    Ok(())
}

/// One of each.
async fn sidecars(cell: &mut Cell, endpoint: &str) -> anyhow::Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (_, share) in SHARES {
        let env = match share {
            Some(share) => vec![
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
                ("OTEL_TRACES_SAMPLER", SAMPLER),
                ("OTEL_TRACES_SAMPLER_ARG", share),
            ],
            None => Vec::new(),
        };
        pods.push(cell.pod_with(KEPT, &env).await?);
    }
    Ok(pods)
}

/// Each of them once. The order turns, so that none always comes after the same.
async fn measure(
    bench: &mut Bench,
    (cell, pods): (&Cell, &[Pod]),
    round: usize,
    measured: Duration,
) -> anyhow::Result<()> {
    let (mut runs, mut untraced) = (Vec::new(), None);
    for turn in 0..pods.len() {
        let which = (turn + round) % pods.len();
        let case = Case::new("tracing", SHARES[which].0, 0.0);
        let plan = Plan {
            locks: Locks::Own(format!("tracing/{which}")),
            ..Plan::closed(WORKERS, measured)
        };
        let pods = &pods[which..=which];
        let part = Part { cell, pods };
        let run = loaded(&case.by(PEER, round), &part.target(), &part, &plan)
            .await?
            .1;
        if which == 0 {
            untraced = run.figures.get("pairs_per_s").copied();
        }
        runs.push(run);
    }
    for mut run in runs {
        let rate = run.figures.get("pairs_per_s").copied();
        if let Some((rate, untraced)) = rate.zip(untraced) {
            run.figures
                .insert("of_untraced".to_owned(), rate / untraced);
        }
        bench.record(run)?;
    }
    Ok(())
}

/// A collector that takes whatever comes, for as long as the set of its task lives.
async fn sink() -> anyhow::Result<(String, JoinSet<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}/v1/traces", listener.local_addr()?);
    let router = Router::new().fallback(async || ());
    let serving = async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the sink of traces: {error}");
        }
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serving);
    Ok((endpoint, tasks))
}
